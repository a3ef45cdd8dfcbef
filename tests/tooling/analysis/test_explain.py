"""``explain``: records are judged as the function judges them and printed safely."""

from __future__ import annotations

import io
import json
import os
import platform
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tests.support.sign_ins import CASES, NETWORKS, event
from tooling.analysis import explain, record_files
from tooling.analysis.explain_report import ExplainedRecord, Streams
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = {"SignIn": "sign-in", "Step": "step", "NotASignIn": "other", "Unreadable": "unreadable"}
SIGN_IN_KEYS = ["kind", "who", "identity", "source", "outcome", "mfa"]
VERDICT_KEYS = ["verdict", "severity", "reasons", "text"]
KEYS = ["file", "index", "event_id", "event_name", "class", *SIGN_IN_KEYS, *VERDICT_KEYS]
OFFICE = "203.0.113.0/24"
ENDPOINT = {"AllowedVpcEndpointIds": "vpce-01234567"}
RECORD_CASES = {name: case for name, case in CASES.items() if isinstance(case["event"], dict)}


class Terminal(io.StringIO):
    """Standard error with a person who reads it."""

    def isatty(self) -> bool:
        return True


class Buffers(Streams):
    """Streams that keep what is printed."""

    out: io.StringIO
    err: io.StringIO


def criteria(networks: str = "", label: str = "") -> explain.Criteria:
    return explain.choose_criteria({"AccountLabel": label}, networks)


def buffers(
    stdin: bytes = b"", err: io.StringIO | None = None, clock: Any = lambda: 0.0
) -> Buffers:
    return Buffers(lambda: io.BytesIO(stdin), io.StringIO(), err or io.StringIO(), clock)


def explain_value(value: object, by: explain.Criteria | None = None) -> ExplainedRecord:
    return explain.explain(record_files.FileRecord("it.json", 0, value), by or criteria())


def output_of(*records: object, networks: str = "", as_json: bool = False) -> str:
    """What is printed for these records, given on standard input as one log file."""
    streams = buffers(json.dumps({"Records": records}).encode())
    explain.run(["-"], criteria(networks), streams, as_json=as_json)
    return streams.out.getvalue()


def json_of(*records: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output_of(*records, as_json=True).splitlines()]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder with the event of each case file; one that is a text is no record in a file."""
    for name, case in RECORD_CASES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(case["event"]))
    return tmp_path


class TestExplain:
    @pytest.mark.parametrize(
        ("case", "networks"),
        [
            ("iam-user-signs-in-with-mfa", OFFICE),
            ("iam-user-signs-in-from-a-private-address", "10.0.0.0/8"),
        ],
    )
    @pytest.mark.parametrize(
        ("endpoint", "level"), [("vpce-01234567", "recognised"), ("vpce-7654321", "alert")]
    )
    def test_a_listed_address_is_recognised_only_through_an_allowed_endpoint(
        self, case: str, networks: str, endpoint: str, level: str
    ) -> None:
        record = event(case)
        record["detail"]["vpcEndpointId"] = endpoint
        by = explain.choose_criteria(ENDPOINT, networks)
        assert explain_value(record, by).verdict.level == level

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("root-fails", explain.COUNTED_REASON),
            ("root-asks-for-a-new-password", explain.COUNTED_REASON),
            ("record-without-an-outcome", explain.COUNTED_REASON),
            ("iam-user-fails", explain.FAILURES_REASON),
            ("console-session-is-prepared", explain.CONSOLE_LINK_REASON),
        ],
    )
    def test_an_alert_says_how_other_events_may_change_it(self, name: str, reason: str) -> None:
        assert explain_value(event(name)).verdict.reasons[-1] == reason

    def test_an_alert_that_is_sent_once_a_day_is_shown_each_time(self) -> None:
        record = event("command-line-gets-role-keys")
        reasons = [
            "role keys",
            "unrecognised source",
            "reported once a day; shown each time here",
        ]
        verdicts = [(row["verdict"], row["reasons"]) for row in json_of(record, record)]
        assert verdicts == [("alert", reasons)] * 2

    @pytest.mark.parametrize("off", ["", "device-code-elsewhere"])
    def test_a_device_code_says_that_its_approval_is_not_known(self, off: str) -> None:
        by = explain.choose_criteria({"AlertOff": off}, NETWORKS["recognised"])
        record = event("command-line-gets-a-token-by-device-code")
        values = json.loads(explain_value(record, by).format_json())
        level, severity = ("note", "") if off else ("alert", "high")
        assert (values["verdict"], values["severity"]) == (level, severity)
        assert values["reasons"].count(explain.APPROVAL_REASON) == 1
        assert "not known here" in explain.APPROVAL_REASON
        refreshed = explain_value(event("command-line-refreshes-its-token"), by)
        assert explain.APPROVAL_REASON not in refreshed.verdict.reasons

    def test_use_of_a_session_elsewhere_is_mailed(self) -> None:
        explained = explain_value(event("command-line-refreshes-its-token"))
        assert explained.verdict.reasons == (
            "session used elsewhere",
            "unrecognised source",
            "mailed once a day, not where the person last signed in; shown each time here",
        )

    @pytest.mark.parametrize(
        ("networks", "what"),
        [("", "alerts if no sign-in follows"), (OFFICE, "noted if no sign-in follows")],
    )
    def test_a_right_password_is_a_step_that_may_be_more_later(
        self, networks: str, what: str
    ) -> None:
        explained = explain_value(event("second-factor-is-asked-for"), criteria(networks))
        assert (explained.class_name, explained.verdict.level) == ("step", "ignored")
        assert explained.verdict.reasons == (
            "step: the second factor was asked for",
            f"{what} within 15 minutes",
        )

    @pytest.mark.parametrize("networks", NETWORKS.values())
    def test_a_right_password_is_an_alert_if_alert_on_names_it(self, networks: str) -> None:
        by = explain.choose_criteria({"AlertOn": "right-password-without-a-sign-in"}, networks)
        explained = explain_value(event("second-factor-is-asked-for"), by)
        assert (explained.class_name, explained.verdict.level) == ("sign-in", "alert")
        assert explained.verdict.reasons[-1] == explain.UNFINISHED_ALERT
        assert "Right password, no sign-in after it" in explained.text

    @pytest.mark.parametrize("place", NETWORKS)
    def test_each_case_file_has_its_expected_class_and_verdict(
        self, cases: Path, place: str
    ) -> None:
        streams = buffers()
        explain.run([str(cases)], criteria(NETWORKS[place]), streams, as_json=True)
        rows = [json.loads(line) for line in streams.out.getvalue().splitlines()]
        assert len(rows) == len(RECORD_CASES) > 70
        for row, (name, case) in zip(rows, RECORD_CASES.items(), strict=True):
            expected = case["expected"]
            assert row["file"] == str(cases / f"{name}.json")
            assert row["class"] == CLASSES[expected["class"]]
            verdict = expected[place]
            if expected.get("outcome") == "success" and "(device code)" in expected["what"]:
                verdict = {"level": "alert", "severity": "high"}  # its approval is unknown here
            assert (row["verdict"], row["severity"]) == (verdict["level"], verdict["severity"])
            for key in SIGN_IN_KEYS:
                assert key not in expected or row[key] == expected[key]
            assert bool(row["text"]) == (row["verdict"] == "alert")

    @pytest.mark.parametrize("value", [[], [1], 7, None, "x", {}, {"detail": 5}, {"Records": 5}])
    def test_a_value_that_is_not_a_record_is_an_alert(self, value: object) -> None:
        values = json.loads(explain_value(value).format_json())
        assert (values["class"], values["verdict"]) == ("unreadable", "alert")
        assert list(values) == KEYS

    def test_the_text_has_the_label_of_the_account_and_no_delay(self) -> None:
        record = event("iam-user-signs-in-without-mfa")
        text = explain_value(record, criteria(label="production")).text
        assert "account production" in text
        assert " ago" not in text


class TestChoose:
    def test_networks_of_the_flag_replace_those_of_the_configuration(self) -> None:
        parameters = {"KnownNetworks": OFFICE, "AccountLabel": "production"}
        assert explain.choose_criteria(parameters, None).networks == OFFICE
        assert explain.choose_criteria(parameters, "192.0.2.1").networks == "192.0.2.1"
        assert explain.choose_criteria(parameters, "").networks == ""
        assert explain.choose_criteria({}, None).networks == ""
        assert explain.choose_criteria(parameters, None).account_label == "production"

    def test_an_unusable_network_is_refused_with_its_origin(self) -> None:
        message = refusal_of(lambda: explain.choose_criteria({}, "10.0.0.0/99"))
        assert "--networks: '10.0.0.0/99'" in message
        message = refusal_of(lambda: explain.choose_criteria({"KnownNetworks": "office"}, None))
        assert "parameter KnownNetworks: 'office'" in message


class TestOutput:
    def test_people_see_a_line_per_record_the_text_of_an_alert_and_totals(self) -> None:
        names = (
            "iam-user-signs-in-with-mfa",
            "iam-user-fails",
            "portal-lists-accounts",
            "root-signs-in-with-mfa",
        )
        lines = output_of(*map(event, names), networks=OFFICE).splitlines()
        time = "2026-11-20T10:00:00Z"
        reasons = "failure; recognised source"
        assert lines[:3] == [
            f'{time}  recognised  Console sign-in  "Anaya"  203.0.113.10  recognised source',
            f'{time}  note        Console sign-in FAILED  "Paulo"  203.0.113.10  {reasons}',
            f"{time}  ignored     ListAccounts  step: the portal listed accounts",
        ]
        assert lines[3].startswith(f'{time}  alert high  Root console sign-in  "root"')
        assert lines[4].startswith("    HIGH AWS SIGN-IN ALERT account")
        levels = "1 alert, 1 noted, 1 recognised, 1 ignored (steps 1, other events 0)"
        assert lines[-2:] == [
            f"records 4, files 1: {levels}",
            f"recognised networks: {OFFICE}",
        ]

    def test_people_see_only_the_number_of_other_events(self) -> None:
        other = event("role-is-assumed-by-a-program")
        levels = "0 alert, 0 noted, 0 recognised, 2 ignored (steps 0, other events 2)"
        assert output_of(other, other).splitlines() == [
            "",
            f"records 2, files 1: {levels}",
            "recognised networks: none, so every source is unrecognised",
        ]

    def test_json_has_the_same_keys_for_every_class(self) -> None:
        names = (
            "iam-user-fails",
            "portal-lists-accounts",
            "role-is-assumed-by-a-program",
            "detail-is-no-record",
        )
        rows = json_of(*map(event, names))
        assert [row["class"] for row in rows] == ["sign-in", "step", "other", "unreadable"]
        assert [list(row) for row in rows] == [KEYS] * 4
        assert [row["index"] for row in rows] == [0, 1, 2, 3]
        step = rows[1]
        assert (step["verdict"], step["severity"], step["text"]) == ("ignored", "", "")
        assert [step[key] for key in SIGN_IN_KEYS] == [""] * len(SIGN_IN_KEYS)

    @pytest.mark.parametrize("name", RECORD_CASES)
    def test_a_line_of_json_is_written_as_python_writes_it(self, name: str) -> None:
        for line in output_of(event(name), as_json=True).splitlines():
            assert json.dumps(json.loads(line)) == line

    @pytest.mark.parametrize("as_json", [True, False])
    @pytest.mark.parametrize(
        "bad",
        ["\x1b[2J", "\r", "\n", "\x07", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ud800"],
    )
    def test_control_characters_of_records_are_escaped(self, bad: str, as_json: bool) -> None:
        text = f"x{bad}y"
        sign_in = event("iam-user-signs-in-without-mfa")
        step = event("portal-lists-accounts")
        for key in ("eventTime", "sourceIPAddress", "eventID", "awsRegion", "recipientAccountId"):
            sign_in["detail"][key] = text
        sign_in["detail"]["userIdentity"] = {"type": "IAMUser", "userName": text}
        step["detail"]["eventTime"] = text
        unnamed = {"eventSource": f"signin{bad}.x", "eventName": text, "sourceIPAddress": text}
        output = output_of(sign_in, step, unnamed, as_json=as_json)
        assert all(line.isprintable() for line in output.split("\n"))
        assert text not in output
        assert output.count('"x') >= 1
        if as_json:
            assert json.loads(output.split("\n")[0])["who"] == text

    def test_a_long_name_is_cut_for_people_but_not_in_json(self) -> None:
        record = event("iam-user-signs-in-without-mfa")
        record["detail"]["userIdentity"]["userName"] = "a" * 9000
        assert f'"{"a" * 80}..."' in output_of(record)
        assert json_of(record)[0]["who"] == "a" * 9000

    def test_characters_that_the_output_cannot_encode_are_escaped(self) -> None:
        record = event("iam-user-signs-in-with-mfa")
        record["detail"]["userIdentity"]["userName"] = "Žofie"
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        streams = Streams(lambda: io.BytesIO(json.dumps(record).encode()), out, io.StringIO())
        explain.run(["-"], criteria(), streams)
        assert b'"\\u017dofie"' in out.buffer.getvalue()

    def test_control_characters_of_a_file_name_are_escaped(self, tmp_path: Path) -> None:
        (tmp_path / "x\x1b[2Jy.json").write_text("{")
        streams = buffers()
        with pytest.raises(FailedError):
            explain.run([str(tmp_path)], criteria(), streams)
        assert "x\\x1b[2Jy.json: line 1, column 2: is not JSON" in streams.err.getvalue()

    @pytest.mark.parametrize(("err", "is_shown"), [(Terminal(), True), (io.StringIO(), False)])
    def test_progress_is_shown_only_on_a_terminal(self, err: io.StringIO, is_shown: bool) -> None:
        ticks = iter(range(100))
        stdin = json.dumps({"Records": [{"eventName": "x", "eventID": "x"}] * 5}).encode()
        streams = buffers(stdin, err, lambda: float(next(ticks)))
        explain.run(["-"], criteria(), streams, as_json=True)
        assert ("3 records in 1 files ..." in err.getvalue()) == is_shown
        assert err.getvalue().endswith("\r\x1b[K" if is_shown else "")

    def test_no_progress_is_shown_before_two_seconds(self) -> None:
        err = Terminal()
        explain.run(
            ["-"], criteria(), buffers(b'{"eventName": "x", "eventID": "x"}', err, lambda: 1.9)
        )
        assert err.getvalue() == ""


class TestRun:
    def test_a_fault_ends_in_1_after_the_other_records_are_shown(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("{")
        (tmp_path / "b.json").write_text(json.dumps(event("iam-user-fails")))
        streams = buffers()
        with pytest.raises(FailedError, match="1 place named above could not be read") as failure:
            explain.run([str(tmp_path)], criteria(), streams)
        assert failure.value.exit_code == 1
        assert "Paulo" in streams.out.getvalue()
        assert streams.err.getvalue().count("\nTry: ") == 1

    def test_a_blank_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(" \n")
        with pytest.raises(RefusedError, match=r"a\.json: contains no record"):
            explain.run([str(tmp_path / "a.json")], criteria(), buffers())

    def test_a_file_that_is_named_twice_is_not_refused_as_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(event("iam-user-fails")))
        streams = buffers()
        explain.run([str(tmp_path), str(tmp_path / "a.json")], criteria(), streams)
        assert "records 1, files 1:" in streams.out.getvalue()

    def test_a_file_that_a_closed_pipe_leaves_unread_is_not_refused_as_empty(
        self, cases: Path, tmp_path: Path
    ) -> None:
        last = tmp_path / "last.json"
        last.write_text("{}")
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "w", buffering=1) as out:
            streams = Streams(io.BytesIO, out, io.StringIO())
            explain.run([str(cases / "root-fails.json"), str(last)], criteria(), streams)
        assert streams.err.tell() == 0

    @pytest.mark.joint
    def test_a_closed_pipe_is_no_error(self, cases: Path) -> None:
        process = run_in_process(f"{cases}", pipe="| head -n 1")
        assert (process.stdout.count("\n"), process.stderr) == (1, "")


def run_in_process(arguments: str, pipe: str = "") -> subprocess.CompletedProcess[str]:
    """Run the task without an AWS configuration; then print the AWS and Twilio modules loaded."""
    program = f"import sys; sys.path.append({str(ROOT)!r}); import tasks; program = tasks.program"
    program += "; inv = program.Program(tasks.namespace, tasks.GROUPS)"
    program += "; inv.run(['./inv', 'explain', *sys.argv[1:]], exit=False)"
    if not pipe:
        loaded = "{name.split('.')[0] for name in sys.modules} & {'boto3', 'botocore', 'twilio'}"
        program += f"; print(sorted({loaded}), file=sys.stderr)"
    command = f'"$0" -B -c "$1" {arguments} {pipe}'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, program],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.joint
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not need it")
def test_memory_that_a_file_took_is_used_again() -> None:
    program = """
import resource, sys
from tooling.analysis import explain
explain._keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks = [b"x" * (8 << 20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "lambda")])
    faults = subprocess.check_output(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths}, text=True
    )
    pages_of_a_turn = (24 << 20) // resource.getpagesize()
    assert int(faults) < 2 * pages_of_a_turn  # ten times as many if memory is given back


@pytest.mark.joint
@pytest.mark.parametrize("flag", ["", "--json"])
def test_neither_boto3_nor_twilio_is_imported(cases: Path, flag: str) -> None:
    process = run_in_process(f"{cases} {flag}")
    assert process.stderr == "[]\n"
    assert process.stdout.count("\n") >= len(RECORD_CASES)


@pytest.mark.joint
def test_neither_boto3_nor_twilio_is_imported_if_a_file_is_broken(cases: Path) -> None:
    (cases / "broken.json").write_text("{")
    process = run_in_process(f"{cases}")
    assert process.stderr.endswith("then run the same task again\n[]\n")
