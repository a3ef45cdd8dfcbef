"""Judging: each case file is judged as it says, and nothing ends without a verdict."""

from __future__ import annotations

import random

import pytest

from signwatch.detection import networks, sign_in_paths, signin, verdict
from tests.support.sign_ins import CASES, NETWORKS, event, mutant

KNOWN = {place: networks.parse(text) for place, text in NETWORKS.items()}


def judged(
    told: object, place: str, *, approved_elsewhere: bool = False, off: tuple[str, ...] = ()
) -> tuple[signin.Reading, verdict.Verdict]:
    reading = signin.read(told)
    recognised = isinstance(reading, signin.SignIn) and networks.recognises(
        KNOWN[place], reading.source
    )
    return reading, verdict.judge(
        reading, recognised=recognised, approved_elsewhere=approved_elsewhere, off=off
    )


@pytest.mark.parametrize("place", NETWORKS)
@pytest.mark.parametrize("name", CASES)
def test_a_case_is_judged_as_it_says(name: str, place: str) -> None:
    expected = CASES[name]["expected"][place]
    decided = judged(event(name), place)[1]
    assert (decided.level, decided.severity) == (expected["level"], expected["severity"])
    assert decided.reasons
    assert all(decided.reasons)


def test_the_cases_show_every_level_and_every_severity() -> None:
    shown = [case["expected"][place] for case in CASES.values() for place in NETWORKS]
    assert {one["level"] for one in shown} == {"alert", "note", "recognised", "ignored"}
    assert {one["severity"] for one in shown} == {"high", "normal", ""}


@pytest.mark.parametrize(
    ("name", "place", "reasons"),
    [
        ("root-signs-in-with-mfa", "recognised", ("root success", "recognised source")),
        ("root-fails", "anywhere", ("root failure", "unrecognised source")),
        ("iam-user-signs-in-with-mfa", "anywhere", ("unrecognised source",)),
        ("iam-user-signs-in-with-mfa", "recognised", ("recognised source",)),
        ("iam-user-fails", "anywhere", ("failure", "unrecognised source")),
        (
            "record-without-a-source",
            "recognised",
            ("unreadable: the record names no source address",),
        ),
        ("command-line-refreshes-its-token", "anywhere", ("step: a token was refreshed",)),
        ("role-is-assumed-by-a-program", "anywhere", ("not a sign-in",)),
        ("organisation-takes-a-root-session", "recognised", ("assume root", "recognised source")),
        ("root-asks-for-a-new-password", "recognised", ("password recovery", "recognised source")),
        (
            "command-line-gets-a-token-by-device-code",
            "recognised",
            ("device code", "recognised source"),
        ),
        ("iam-user-signs-in-without-mfa", "recognised", ("no MFA", "recognised source")),
        ("identity-center-sign-in-from-aws-internal", "anywhere", ("source inside AWS",)),
        (
            "command-line-waits-for-its-device-code",
            "anywhere",
            ("step: a program asked whether its device code is approved",),
        ),
        (
            "aws-login-without-an-identity",
            "recognised",
            ("success of an unknown kind of user", "recognised source"),
        ),
        (
            "record-without-an-identity",
            "recognised",
            ("success of an unknown kind of user", "recognised source"),
        ),
    ],
)
def test_the_reasons_say_why(name: str, place: str, reasons: tuple[str, ...]) -> None:
    assert judged(event(name), place)[1].reasons == reasons


def test_no_mutant_of_a_sign_in_ends_in_silence() -> None:
    """A successful sign-in is only ever passed over when its source is recognised and it is not root's."""
    chance = random.Random(13)  # noqa: S311 - the same mutants each time
    for _ in range(1000):
        reading, decided = judged(mutant(chance), "recognised")
        if isinstance(reading, signin.Unreadable):
            assert decided.level == "alert"
        elif isinstance(reading, signin.SignIn):
            inside = networks.recognises(KNOWN["recognised"], reading.source)
            if reading.outcome == "success" and (not inside or reading.identity == "root"):
                assert decided.level == "alert"
            if (
                reading.outcome == "success"
                and reading.kind == "console"
                and reading.identity == "unknown"
            ):
                assert decided.level == "alert"
            assert decided.level in ("alert", "note", "recognised")
        else:
            assert decided.level == "ignored"


def test_role_keys_are_told_of_once_a_day_a_person_and_a_source() -> None:
    told = event("command-line-gets-role-keys")
    first = judged(told, "anywhere")[1].deduplication_key
    told["detail"]["eventID"] = "another"
    assert judged(told, "anywhere")[1].deduplication_key == first != ""
    told["detail"]["sourceIPAddress"] = "192.0.2.1"
    assert judged(told, "anywhere")[1].deduplication_key != first
    told = event("command-line-gets-role-keys")
    told["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "somebody else"
    assert judged(told, "anywhere")[1].deduplication_key != first


def test_a_missing_second_factor_is_told_of_once_a_day_a_user_from_wherever_it_is_recognised() -> (
    None
):
    told = event("iam-user-signs-in-without-mfa")
    first = judged(told, "recognised")[1].deduplication_key
    told["detail"]["sourceIPAddress"] = "203.0.113.77"
    assert judged(told, "recognised")[1].deduplication_key == first != ""
    assert judged(told, "anywhere")[1].deduplication_key == ""


def test_a_missing_second_factor_is_the_same_on_the_command_line() -> None:
    told, console = (
        event("aws-login-is-approved-in-the-browser"),
        event("iam-user-signs-in-without-mfa"),
    )
    told["detail"]["userIdentity"] = console["detail"]["userIdentity"]
    told["detail"]["userIdentity"]["sessionContext"] = {"attributes": {"mfaAuthenticated": "false"}}
    assert (
        judged(told, "recognised")[1].deduplication_key
        == judged(console, "recognised")[1].deduplication_key
        != ""
    )


def test_what_was_told_of_is_a_note_with_its_reasons() -> None:
    decided = verdict.mark_repeated(judged(event("command-line-gets-role-keys"), "anywhere")[1])
    assert decided == verdict.Verdict(
        "note", "", ("role keys", "unrecognised source", "told of within a day")
    )


@pytest.mark.parametrize(("failures", "texts"), [(1, False), (2, False), (3, True), (50, True)])
def test_failures_are_texted_from_the_third_on(failures: int, texts: bool) -> None:
    decided = verdict.apply_failure_count(
        judged(event("iam-user-fails"), "anywhere")[1], failures, is_first=failures == 1
    )
    assert (decided.level, decided.grouped, decided.send_text) == ("alert", "failures", texts)
    assert decided.reasons[-1] == f"{failures} failures within 15 minutes"


def test_a_console_link_is_counted_with_the_sign_in_that_follows() -> None:
    assert judged(event("console-session-is-prepared"), "anywhere")[1].grouped == "linked"
    follows = verdict.mark_linked(judged(event("federated-user-signs-in"), "anywhere")[1])
    assert (follows.level, follows.grouped, follows.reasons) == (
        "alert",
        "linked",
        ("unrecognised source", "after a console link"),
    )


@pytest.mark.parametrize("place", NETWORKS)
def test_a_device_code_that_may_have_been_approved_elsewhere_is_a_high_alert(place: str) -> None:
    told = event("command-line-gets-a-token-by-device-code")
    decided = judged(told, place, approved_elsewhere=True)[1]
    assert (decided.level, decided.severity, decided.reasons[0]) == (
        "alert",
        "high",
        "device code elsewhere",
    )
    reading = signin.read(told)
    assert verdict.judge(reading, recognised=True).severity == "high"  # where nobody knows


class TestAlertOff:
    @pytest.mark.parametrize(
        ("name", "place", "cause"),
        [
            ("iam-user-signs-in-with-mfa", "anywhere", "unrecognised-source"),
            ("identity-center-sign-in-from-aws-internal", "anywhere", "source-inside-aws"),
            ("iam-user-signs-in-without-mfa", "recognised", "no-mfa"),
            ("command-line-gets-a-token-by-device-code", "recognised", "device-code-elsewhere"),
            ("iam-user-fails", "anywhere", "failure"),
            ("root-fails", "recognised", "root-failure"),
            ("unknown-kind-of-user-fails", "recognised", "failure-of-an-unknown-kind-of-user"),
            ("role-is-switched", "anywhere", "switched-role"),
            ("federation-token-is-made", "anywhere", "federation-token"),
            ("console-session-is-prepared", "anywhere", "console-link"),
            ("command-line-gets-role-keys", "anywhere", "role-keys"),
            ("root-asks-for-a-new-password", "recognised", "password-recovery"),
            ("aws-itself-sees-an-anomaly", "recognised", "aws-anomaly"),
        ],
    )
    def test_a_cause_that_is_switched_off_makes_a_note(
        self, name: str, place: str, cause: str
    ) -> None:
        elsewhere = cause == "device-code-elsewhere"
        assert judged(event(name), place, approved_elsewhere=elsewhere)[1].level == "alert"
        decided = judged(event(name), place, approved_elsewhere=elsewhere, off=(cause,))[1]
        assert (decided.level, decided.severity, decided.reasons[-1]) == (
            "note",
            "",
            "switched off",
        )
        every_other = tuple(
            other for other in map(verdict.cause_name, verdict.CAUSES) if other != cause
        )
        assert (
            judged(event(name), place, approved_elsewhere=elsewhere, off=every_other)[1].level
            == "alert"
        )

    def test_each_cause_can_be_switched_off_in_a_test_above(self) -> None:
        (marks,) = self.test_a_cause_that_is_switched_off_makes_a_note.pytestmark  # type: ignore[attr-defined] # set by pytest
        assert {case[2] for case in marks.args[1]} == set(map(verdict.cause_name, verdict.CAUSES))

    def test_one_cause_is_enough_to_alert(self) -> None:
        told = event("iam-user-signs-in-without-mfa")
        for off in (("no-mfa",), ("unrecognised-source",)):
            assert judged(told, "anywhere", off=off)[1].level == "alert"
        assert judged(told, "anywhere", off=("no-mfa", "unrecognised-source"))[1].level == "note"

    @pytest.mark.parametrize("place", NETWORKS)
    @pytest.mark.parametrize(
        "name",
        [
            "root-signs-in-with-mfa",
            "organisation-takes-a-root-session",
            "record-without-a-source",
            "record-without-an-identity",
        ],
    )
    def test_what_may_be_root_or_cannot_be_read_is_never_switched_off(
        self, name: str, place: str
    ) -> None:
        assert (
            judged(event(name), place, off=tuple(map(verdict.cause_name, verdict.CAUSES)))[1].level
            == "alert"
        )


class TestRightPassword:
    NAME = "right-password-without-a-sign-in"

    @pytest.mark.parametrize(
        ("place", "source"),
        [("anywhere", "unrecognised source"), ("recognised", "recognised source")],
    )
    def test_without_a_sign_in_it_is_a_note_and_an_alert_where_that_is_switched_on(
        self, place: str, source: str
    ) -> None:
        inside = networks.recognises(KNOWN[place], "203.0.113.10")
        waiting = signin.read_unfinished(event("second-factor-is-asked-for"))
        for on, level, severity in ((), "note", ""), ((self.NAME,), "alert", "normal"):
            decided = verdict.judge(waiting, recognised=inside, on=on)
            assert (decided.level, decided.severity) == (level, severity)
            assert decided.reasons == ("right password without a sign-in", source)
            assert (decided.grouped, decided.send_text) == ("", True)

    def test_nothing_else_is_switched_on_by_its_name(self) -> None:
        for name in CASES:
            reading = signin.read(event(name))
            assert verdict.judge(reading, recognised=True, on=(self.NAME,)) == verdict.judge(
                reading, recognised=True
            )

    def test_it_is_not_among_the_causes_that_can_be_switched_off(self) -> None:
        assert set(map(verdict.cause_name, verdict.ON_DEMAND)) == {self.NAME}
        assert not set(verdict.ON_DEMAND) & set(verdict.CAUSES)


def test_each_kind_of_path_that_alerts_from_everywhere_or_is_only_noted_is_one_that_is_read() -> (
    None
):
    kinds = {path.kind for path in (*sign_in_paths.PATHS.values(), sign_in_paths.ANOMALY)}
    assert {*verdict.ALWAYS, *verdict.NOTED} <= kinds
