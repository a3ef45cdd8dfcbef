"""``explain``: each record is classed and judged as the function does, and shown so that no record can do harm."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tests.support.sign_ins import CASES, NETWORKS, event
from tooling.analysis import explain, record_files
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path

CLASS = {"SignIn": "sign-in", "Step": "step", "NotASignIn": "other", "Unreadable": "unreadable"}
KEYS = [
    "file",
    "index",
    "event_id",
    "event_name",
    "class",
    "kind",
    "who",
    "identity",
    "source",
    "outcome",
    "mfa",
    "verdict",
    "severity",
    "reasons",
    "text",
]
RECOGNISED = "recognised source"
OFFICE = "203.0.113.0/24"


class Terminal(io.StringIO):
    """A text that a person looks at."""

    def isatty(self) -> bool:
        return True


def judged_by(networks: str = "", label: str = "") -> explain.Criteria:
    return explain.choose({"AccountLabel": label}, networks)


def streams(
    stdin: bytes = b"", err: io.StringIO | None = None, clock: Any = lambda: 0.0
) -> explain.Streams:
    return explain.Streams(lambda: io.BytesIO(stdin), io.StringIO(), err or io.StringIO(), clock)


def explained(record: object, by: explain.Criteria | None = None) -> explain.Explained:
    return explain.explain(record_files.Found("it.json", 0, record), by or judged_by())


def shown(*given: object, networks: str = "", as_json: bool = False) -> str:
    """What is shown of these records, which come by standard input as one log file."""
    where = streams(json.dumps({"Records": given}).encode())
    explain.run(["-"], judged_by(networks), where, as_json=as_json)
    return str(where.out.getvalue())  # type: ignore[attr-defined] # it is a StringIO


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder with the event of each case file."""
    for name, case in CASES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(case["event"]))
    return tmp_path


class TestJudging:
    @pytest.mark.parametrize(
        ("endpoint", "level"), [("vpce-01234567", "recognised"), ("vpce-7654321", "alert")]
    )
    def test_a_public_address_from_somebody_elses_vpc_is_not_recognised(
        self, endpoint: str, level: str
    ) -> None:
        record = event("iam-user-signs-in-with-mfa")
        record["detail"]["vpcEndpointId"] = endpoint
        by = explain.choose({"AllowedVpcEndpointIds": "vpce-01234567"}, OFFICE)
        assert explained(record, by).verdict.level == level

    @pytest.mark.parametrize(
        ("name", "told"),
        [("root-fails", explain.OF_ROOT), ("iam-user-fails", explain.LOUDER["failures"])],
    )
    def test_a_failure_says_when_it_is_texted(self, name: str, told: str) -> None:
        assert explained(event(name)).verdict.reasons[-1] == told

    def test_a_right_password_is_a_step_and_says_what_may_become_of_it(self) -> None:
        found = explained(event("second-factor-is-asked-for"))
        assert (found.kind, found.verdict.level) == ("step", "ignored")
        assert found.verdict.reasons == ("step: the second factor was asked for", explain.PENDING)

    @pytest.mark.parametrize("networks", NETWORKS.values())
    def test_a_right_password_alerts_where_the_owner_says_so(self, networks: str) -> None:
        by = explain.choose({"AlertOn": "right-password-without-a-sign-in"}, networks)
        found = explained(event("second-factor-is-asked-for"), by)
        assert (found.kind, found.verdict.level, found.verdict.reasons[-1]) == (
            "sign-in",
            "alert",
            explain.UNFOLLOWED,
        )
        assert "Right password, no sign-in after it" in found.text

    @pytest.mark.parametrize(
        ("endpoint", "level"), [("vpce-01234567", "recognised"), ("vpce-7654321", "alert")]
    )
    def test_a_listed_private_address_is_recognised_through_an_allowed_endpoint(
        self, endpoint: str, level: str
    ) -> None:
        record = event("iam-user-signs-in-from-a-private-address")
        record["detail"]["vpcEndpointId"] = endpoint
        by = explain.choose({"AllowedVpcEndpointIds": "vpce-01234567"}, "10.0.0.0/8")
        assert explained(record, by).verdict.level == level

    @pytest.mark.parametrize("place", NETWORKS)
    def test_each_case_file_has_the_class_and_the_verdict_that_it_says(
        self, cases: Path, place: str
    ) -> None:
        where = streams()
        explain.run([str(cases)], judged_by(NETWORKS[place]), where, as_json=True)
        rows = [json.loads(line) for line in where.out.getvalue().splitlines()]  # type: ignore[attr-defined] # a StringIO
        assert len(rows) == len(CASES) > 70
        for row, (name, case) in zip(rows, CASES.items(), strict=True):
            expected = case["expected"]
            assert row["file"] == str(cases / f"{name}.json")
            assert row["class"] == CLASS[expected["class"]]
            device_code = (
                expected.get("outcome") == "success" and "(device code)" in expected["what"]
            )  # whose approval nobody here knows of
            louder = {"level": "alert", "severity": "high"} if device_code else expected[place]
            assert (row["verdict"], row["severity"]) == (louder["level"], louder["severity"])
            told = {
                key: expected[key]
                for key in ("kind", "who", "identity", "source", "outcome", "mfa")
                if key in expected
            }
            assert {key: row[key] for key in told} == told
            assert bool(row["text"]) == (row["verdict"] == "alert")

    @pytest.mark.parametrize("record", [[], [1], 7, None, "x", {}, {"detail": 5}, {"Records": 5}])
    def test_what_is_no_record_is_unreadable_and_an_alert(self, record: object) -> None:
        values = explained(record).values()
        assert (values["class"], values["verdict"]) == ("unreadable", "alert")
        assert list(values) == KEYS

    def test_every_class_has_exactly_the_agreed_keys(self) -> None:
        names = (
            "iam-user-fails",
            "portal-lists-accounts",
            "role-is-assumed-by-a-program",
            "detail-is-no-record",
        )
        rows = [json.loads(line) for line in shown(*map(event, names), as_json=True).splitlines()]
        assert [row["class"] for row in rows] == ["sign-in", "step", "other", "unreadable"]
        assert [list(row) for row in rows] == [KEYS] * 4
        assert [row["index"] for row in rows] == [0, 1, 2, 3]
        assert rows[1] | {"event_id": "", "event_name": "", "reasons": [], "file": "", "index": 0} == {
            **dict.fromkeys(KEYS, ""), "class": "step", "verdict": "ignored", "reasons": [], "index": 0,
        }  # fmt: skip

    def test_what_is_told_of_once_a_day_is_told_each_time_and_says_so(self) -> None:
        told = event("command-line-gets-role-keys")
        rows = [json.loads(line) for line in shown(told, told, as_json=True).splitlines()]
        assert [(row["verdict"], row["reasons"]) for row in rows] == [
            ("alert", ["role keys", "unrecognised source", "told of once a day, here each time"])
        ] * 2

    def test_the_text_has_the_accounts_label_and_no_delay(self) -> None:
        text = explained(event("iam-user-signs-in-without-mfa"), judged_by(label="production")).text
        assert "account production" in text
        assert " ago" not in text


class TestChoosing:
    def test_the_configurations_networks_count_unless_others_are_given(self) -> None:
        file = {"KnownNetworks": OFFICE, "AccountLabel": "production"}
        assert explain.choose(file, None).written == OFFICE
        assert explain.choose(file, "192.0.2.1").written == "192.0.2.1"
        assert explain.choose(file, "").known.usable == ()
        assert explain.choose({}, None).known.usable == ()
        assert explain.choose(file, None).label == "production"

    def test_a_network_that_can_recognise_nothing_is_refused_by_where_it_stands(self) -> None:
        assert "--networks: '10.0.0.0/99'" in refusal_of(lambda: explain.choose({}, "10.0.0.0/99"))
        refused = refusal_of(lambda: explain.choose({"KnownNetworks": "office"}, None))
        assert "parameter KnownNetworks: 'office'" in refused


class TestShowing:
    def test_people_see_a_line_a_record_the_text_below_an_alert_and_the_sums(self) -> None:
        names = (
            "iam-user-signs-in-with-mfa",
            "iam-user-fails",
            "portal-lists-accounts",
            "root-signs-in-with-mfa",
        )
        lines = shown(*map(event, names), networks=OFFICE).splitlines()
        assert lines[:3] == [
            '2026-11-20T10:00:00Z  recognised  Console sign-in  "Anaya"  203.0.113.10  recognised source',
            '2026-11-20T10:00:00Z  note        Console sign-in FAILED  "Paulo"  203.0.113.10  failure; '
            + RECOGNISED,
            "2026-11-20T10:00:00Z  ignored     ListAccounts  step: the portal listed accounts",
        ]
        assert lines[3].startswith('2026-11-20T10:00:00Z  alert high  Root console sign-in  "root"')
        assert lines[4].startswith("    AWS SIGN-IN ALERT account")
        assert lines[-2:] == [
            "records 4, files 1: 1 alert, 1 noted, 1 recognised, 1 ignored (steps 1, other events 0)",
            f"recognised networks: {OFFICE}",
        ]

    def test_events_of_other_kinds_are_only_counted(self) -> None:
        other = event("role-is-assumed-by-a-program")
        lines = shown(other, other).splitlines()
        assert lines == [
            "",
            "records 2, files 1: 0 alert, 0 noted, 0 recognised, 2 ignored (steps 0, other events 2)",
            "recognised networks: none, so every source is unrecognised",
        ]

    @pytest.mark.parametrize("as_json", [True, False])
    @pytest.mark.parametrize(
        "bad",
        ["\x1b[2J", "\r", "\n", "\x07", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ud800"],
    )
    def test_nothing_that_a_terminal_obeys_comes_through(self, bad: str, as_json: bool) -> None:
        told = event("iam-user-signs-in-without-mfa")
        step = event("portal-lists-accounts")
        for key in ("eventTime", "sourceIPAddress", "eventID", "awsRegion", "recipientAccountId"):
            told["detail"][key] = f"x{bad}y"
        told["detail"]["userIdentity"] = {"type": "IAMUser", "userName": f"x{bad}y"}
        step["detail"]["eventTime"] = f"x{bad}y"
        unnamed = {
            "eventSource": f"signin{bad}.x",
            "eventName": f"x{bad}y",
            "sourceIPAddress": f"x{bad}y",
        }
        out = shown(told, step, unnamed, [f"x{bad}y"], as_json=as_json)
        assert all(one.isprintable() for line in out.split("\n") for one in line)
        assert f"x{bad}y" not in out
        assert out.count('"x') >= 1
        if as_json:
            assert json.loads(out.split("\n")[0])["who"] == f"x{bad}y"

    def test_a_long_name_is_cut_for_people_and_whole_in_json(self) -> None:
        told = event("iam-user-signs-in-without-mfa")
        told["detail"]["userIdentity"]["userName"] = "a" * 9000
        assert f'"{"a" * 80}..."' in shown(told)
        assert json.loads(shown(told, as_json=True))["who"] == "a" * 9000

    def test_a_screen_that_knows_few_characters_gets_the_others_escaped(self) -> None:
        told = event("iam-user-signs-in-with-mfa")
        told["detail"]["userIdentity"]["userName"] = "Žofie"
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        where = explain.Streams(lambda: io.BytesIO(json.dumps(told).encode()), out, io.StringIO())
        explain.run(["-"], judged_by(), where)
        assert b'"\\u017dofie"' in out.buffer.getvalue()

    def test_a_name_of_a_file_does_no_harm_either(self, tmp_path: Path) -> None:
        (tmp_path / "x\x1b[2Jy.json").write_text("{")
        where = streams()
        with pytest.raises(FailedError):
            explain.run([str(tmp_path)], judged_by(), where)
        assert "x\\x1b[2Jy.json: line 1, column 2: is not JSON" in where.err.getvalue()  # type: ignore[attr-defined] # a StringIO

    @pytest.mark.parametrize(("err", "is_told"), [(Terminal(), True), (io.StringIO(), False)])
    def test_on_a_terminal_whoever_waits_is_told_how_far_it_is(
        self, err: io.StringIO, is_told: bool
    ) -> None:
        ticks = iter(range(100))
        where = streams(json.dumps({"Records": [{}] * 5}).encode(), err, lambda: float(next(ticks)))
        explain.run(["-"], judged_by(), where, as_json=True)
        assert ("3 records in 1 files ..." in err.getvalue()) == is_told
        assert err.getvalue().endswith("\r\x1b[K" if is_told else "")

    def test_nobody_is_told_before_two_seconds(self) -> None:
        err = Terminal()
        explain.run(["-"], judged_by(), streams(b"{}", err, lambda: 1.9))
        assert err.getvalue() == ""


class TestEnd:
    def test_what_cannot_be_read_is_told_of_the_rest_is_shown_and_the_end_is_1(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "a.json").write_text("{")
        (tmp_path / "b.json").write_text(json.dumps(event("iam-user-fails")))
        where = streams()
        with pytest.raises(FailedError, match="1 place named above could not be read") as failed:
            explain.run([str(tmp_path)], judged_by(), where)
        assert failed.value.exit_code == 1
        assert "Paulo" in where.out.getvalue()  # type: ignore[attr-defined] # it is a StringIO
        assert where.err.getvalue().count("\nTry: ") == 1  # type: ignore[attr-defined] # it is a StringIO

    @pytest.mark.parametrize("text", ['{"Records": []}', " \n", "[]", '{"Events": []}'])
    def test_a_file_without_a_record_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(RefusedError, match=r"a\.json: holds no record"):
            explain.run([str(tmp_path / "a.json")], judged_by(), streams())

    def test_a_file_that_is_named_a_second_time_is_not_taken_for_an_empty_one(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "a.json").write_text(json.dumps(event("iam-user-fails")))
        where = streams()
        explain.run([str(tmp_path), str(tmp_path / "a.json")], judged_by(), where)
        assert "records 1, files 1:" in where.out.getvalue()  # type: ignore[attr-defined] # it is a StringIO

    @pytest.mark.joint
    def test_whoever_has_seen_enough_may_close_the_pipe(self, cases: Path) -> None:
        done = in_a_process(f"{cases}", more="| head -n 1")
        assert (done.stdout.count("\n"), done.stderr) == (1, "")


def in_a_process(typed: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run the word as a person does, with no AWS configuration, and then say which modules it has loaded."""
    start = f"['invoke', '--search-root', {str(ROOT)!r}, 'explain', *sys.argv[1:]]"
    program = f"import sys; from invoke import Program; Program().run({start}, exit=False)"
    if not more:
        loaded = "{name.split('.')[0] for name in sys.modules} & {'boto3', 'botocore', 'twilio'}"
        program += f"; print(sorted({loaded}), file=sys.stderr)"
    command = f'"$0" -B -c "$1" {typed} {more}'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, program],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.joint
@pytest.mark.parametrize("more", ["", "--json"])
def test_the_word_imports_neither_boto3_nor_twilio(cases: Path, more: str) -> None:
    done = in_a_process(f"{cases} {more}")
    assert done.stderr == "[]\n"
    assert done.stdout.count("\n") >= len(CASES)


@pytest.mark.joint
def test_nor_does_it_for_an_end_in_1(cases: Path) -> None:
    (cases / "broken.json").write_text("{")
    done = in_a_process(f"{cases}")
    assert done.stderr.endswith("then run the same word again\n[]\n")
