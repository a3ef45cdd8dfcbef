"""Each case file is judged as it says, and nothing ends without a verdict."""

from __future__ import annotations

import random
from types import MappingProxyType
from typing import Any

import pytest

from signwatch.detection import networks, signin, verdict
from tests.support.sign_ins import ALL_PATHS, CASES, NETWORKS, event, mutant, read

KNOWN_NETWORKS = {place: networks.parse_list(text) for place, text in NETWORKS.items()}
ALL_CAUSE_NAMES = tuple(map(verdict.format_cause, verdict.CAUSES))


def is_recognised(reading: signin.ParsedEvent, place: str) -> bool:
    if not isinstance(reading, signin.SignIn):
        return False
    known, endpoint = KNOWN_NETWORKS[place], reading.vpc_endpoint
    return networks.recognises_sign_in(known, reading.source, endpoint, allowed_endpoints=())


def judge(
    record: object, place: str, *, approved_elsewhere: bool = False, off: tuple[str, ...] = ()
) -> verdict.Verdict:
    """Read and judge a record with the recognised networks of a place."""
    reading = read(record)
    recognised = is_recognised(reading, place)
    return verdict.judge(
        reading, recognised=recognised, approved_elsewhere=approved_elsewhere, off=off
    )


@pytest.mark.parametrize("place", NETWORKS)
@pytest.mark.parametrize("name", CASES)
def test_case_is_judged_as_expected(name: str, place: str) -> None:
    expected = CASES[name]["expected"][place]
    decision = judge(event(name), place)
    assert (decision.level, decision.severity) == (expected["level"], expected["severity"])
    assert decision.reasons
    assert all(decision.reasons)


def test_every_level_and_every_severity_has_a_case() -> None:
    expected = [case["expected"][place] for case in CASES.values() for place in NETWORKS]
    assert {case["level"] for case in expected} == {"alert", "note", "recognised", "ignored"}
    assert {case["severity"] for case in expected} == {"high", "normal", ""}


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
        (
            "command-line-refreshes-its-token",
            "anywhere",
            ("session used elsewhere", "unrecognised source"),
        ),
        ("command-line-refreshes-its-token", "recognised", ("recognised source",)),
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
def test_verdict_gives_its_reasons(name: str, place: str, reasons: tuple[str, ...]) -> None:
    assert judge(event(name), place).reasons == reasons


def test_every_mutant_of_a_sign_in_gets_a_verdict() -> None:
    """A success makes no alert only if its source is recognised and it cannot be root's."""
    rng = random.Random(13)  # noqa: S311 - the same mutants each time
    for _ in range(1000):
        reading = signin.read(mutant(rng))
        recognised = is_recognised(reading, "recognised")
        level = verdict.judge(reading, recognised=recognised, approved_elsewhere=False).level
        if isinstance(reading, signin.Unreadable):
            assert level == "alert"
        elif isinstance(reading, signin.SignIn):
            may_be_root = reading.identity == "root" or (
                reading.identity == "unknown" and reading.kind == "console"
            )
            if reading.kind == "session-use":  # from a recognised source it is nothing new
                may_be_root = False
            if reading.kind in verdict.OPT_IN_CAUSE_BY_KIND:
                assert level == "note"
            elif reading.outcome == "success" and (not recognised or may_be_root):
                assert level == "alert"
            assert level in ("alert", "note", "recognised")
        else:
            assert level == "ignored"


@pytest.mark.parametrize(
    "name",
    ["aws-login-of-root-refreshes-its-token", "application-of-root-refreshes-its-token"],
)
def test_refreshed_token_of_root_is_reported_once_a_day_and_cannot_be_switched_off(
    name: str,
) -> None:
    record = event(name)
    decision = judge(record, "anywhere")
    assert (decision.level, decision.severity, decision.send_text) == ("alert", "high", True)
    assert decision.reasons in (
        ("session used elsewhere", "unrecognised source", "root session"),
        ("root success", "unrecognised source"),
    )
    assert decision.deduplication_key
    off = {verdict.format_cause(cause) for cause in verdict.CAUSES}
    assert verdict.judge(signin.read(record), recognised=False, off=off) == decision
    record["detail"]["eventID"] = "another"
    assert judge(record, "anywhere").deduplication_key == decision.deduplication_key
    record["detail"]["sourceIPAddress"] = "192.0.2.1"
    assert judge(record, "anywhere").deduplication_key != decision.deduplication_key


def test_refreshed_token_of_a_user_who_may_be_root_is_texted_once_a_day() -> None:
    record = event("aws-login-of-an-unknown-kind-of-user-refreshes-its-token")
    decision = judge(record, "anywhere")
    assert (decision.level, decision.severity, decision.send_text) == ("alert", "normal", True)
    assert (decision.causes, decision.deduplication_key != "") == ((), True)
    record["detail"]["eventID"] = "another"
    assert judge(record, "anywhere") == decision


def test_every_authorisation_of_an_application_by_root_is_reported() -> None:
    record = event("application-of-root-refreshes-its-token")
    record["detail"]["additionalEventData"]["grant_type"] = "authorization_code"
    assert judge(record, "anywhere").severity == "high"
    assert judge(record, "anywhere").deduplication_key == ""


def test_role_keys_are_reported_once_a_day_for_a_person_and_a_source() -> None:
    record = event("command-line-gets-role-keys")
    key = judge(record, "anywhere").deduplication_key
    record["detail"]["eventID"] = "another"
    assert judge(record, "anywhere").deduplication_key == key != ""
    record["detail"]["sourceIPAddress"] = "192.0.2.1"
    assert judge(record, "anywhere").deduplication_key != key
    record = event("command-line-gets-role-keys")
    record["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "somebody else"
    assert judge(record, "anywhere").deduplication_key != key


@pytest.mark.parametrize(
    "change",
    [
        {"role_name": "ReadOnly"},
        {"account_id": "222233334444"},
        {"role_name": "ReadOnly", "account_id": "222233334444"},
    ],
)
def test_role_keys_of_another_role_or_account_are_reported_too(change: dict[str, str]) -> None:
    record = event("command-line-gets-role-keys")
    key = judge(record, "anywhere").deduplication_key
    record["detail"]["serviceEventDetails"] |= change
    assert judge(record, "anywhere").deduplication_key != key


def test_role_keys_through_another_vpc_endpoint_are_reported_too() -> None:
    record = event("command-line-gets-role-keys")
    key = judge(record, "anywhere").deduplication_key
    record["detail"]["vpcEndpointId"] = "vpce-0123456789abcdef0"
    assert judge(record, "anywhere").deduplication_key != key


def test_missing_mfa_is_reported_once_a_day_for_a_user_at_any_recognised_source() -> None:
    record = event("iam-user-signs-in-without-mfa")
    key = judge(record, "recognised").deduplication_key
    record["detail"]["sourceIPAddress"] = "203.0.113.77"
    assert judge(record, "recognised").deduplication_key == key != ""
    assert judge(record, "anywhere").deduplication_key == ""


def test_missing_mfa_on_console_and_command_line_is_one_report() -> None:
    console = event("iam-user-signs-in-without-mfa")
    command_line = event("aws-login-is-approved-in-the-browser")
    user = console["detail"]["userIdentity"]
    user["sessionContext"] = {"attributes": {"mfaAuthenticated": "false"}}
    command_line["detail"]["userIdentity"] = user
    key = judge(command_line, "recognised").deduplication_key
    assert key == judge(console, "recognised").deduplication_key != ""


@pytest.mark.parametrize(
    "name", ["application-refreshes-its-token", "application-exchanges-a-token"]
)
def test_token_that_programs_get_often_is_reported_once_a_day_for_each_source(name: str) -> None:
    record = event(name)
    record["detail"]["userIdentity"] = {"type": "IAMUser", "userName": "anaya"}
    key = judge(record, "anywhere").deduplication_key
    record["detail"]["sourceIPAddress"] = "192.0.2.9"
    assert judge(record, "anywhere").deduplication_key not in ("", key)


def read_sign_in(name: str) -> signin.SignIn:
    reading = signin.read(event(name))
    assert isinstance(reading, signin.SignIn)
    return reading


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (
            "command-line-gets-role-keys",
            "role-keys#192.0.2.5#vpce-1#222233334444/Admin",
        ),
        (
            "application-exchanges-a-token",
            "token-exchange#192.0.2.5#vpce-1#222233334444/Admin",
        ),
        (
            "keys-come-by-delegated-access",
            "delegated-access#192.0.2.5#vpce-1#222233334444/Admin",
        ),
        ("application-refreshes-its-token", "application#192.0.2.5#vpce-1#claude.ai"),
        ("command-line-refreshes-its-token", "session-use#c00002#vpce-1"),
        ("iam-user-signs-in-with-mfa", None),
        ("federation-token-is-made", None),
        ("application-gets-a-token", None),
    ],
)
def test_deduplication_key_says_what_is_reported_once_a_day(name: str, subject: str | None) -> None:
    sign_in = read_sign_in(name)._replace(
        account="111122223333",
        who="anaya",
        source="192.0.2.5",
        vpc_endpoint="vpce-1",
        target_account="222233334444",
        role="Admin",
        client="claude.ai",
    )
    key = f"111122223333#anaya#{subject}" if subject else ""
    assert verdict.judge(sign_in, recognised=False).deduplication_key == key
    unknown = sign_in._replace(who="unknown")
    is_refresh = sign_in.kind in ("session-use", "application") and subject is not None
    key = key.replace("anaya", "unknown") if is_refresh else ""
    assert verdict.judge(unknown, recognised=False).deduplication_key == key


def test_deduplication_key_of_a_missing_mfa_has_neither_source_nor_path() -> None:
    sign_in = read_sign_in("iam-user-signs-in-without-mfa")._replace(
        account="111122223333", who="anaya"
    )
    decision = verdict.judge(sign_in, recognised=True)
    assert decision.deduplication_key == "111122223333#anaya#no MFA"


@pytest.mark.parametrize(
    ("name", "may_be_root"),
    [
        ("iam-user-signs-in-with-mfa", True),
        ("aws-login-gets-a-token", True),
        ("application-gets-a-token", True),
        ("role-is-switched", False),
        ("federation-token-is-made", False),
    ],
)
def test_unknown_user_may_be_root_on_the_paths_of_root(name: str, *, may_be_root: bool) -> None:
    unknown = read_sign_in(name)._replace(identity="unknown")
    success = verdict.judge(unknown, recognised=True)
    failure = verdict.judge(unknown._replace(outcome="failure"), recognised=True)
    if may_be_root:
        assert success.reasons == ("success of an unknown kind of user", "recognised source")
        assert failure.reasons == ("failure of an unknown kind of user", "recognised source")
    assert (success.level == "alert") is may_be_root
    assert (failure.level == "alert") is may_be_root


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("federated-user-takes-a-role-by-saml", "note"),
        ("federation-token-is-made", "note"),
        ("application-exchanges-a-token", "note"),
        ("keys-come-by-delegated-access", "note"),
        ("iam-user-signs-in-with-mfa", "alert"),
        ("role-is-switched", "alert"),
        ("command-line-gets-role-keys", "alert"),
    ],
)
def test_failure_of_a_program_is_a_note(name: str, level: str) -> None:
    sign_in = read_sign_in(name)._replace(outcome="failure", identity="iam-user")
    decision = verdict.judge(sign_in, recognised=False)
    assert (decision.level, decision.reasons) == (level, ("failure", "unrecognised source"))
    assert verdict.judge(sign_in, recognised=True).level == "note"


def test_refreshes_of_each_application_are_reported_but_all_its_authorisations() -> None:
    refresh = event("application-refreshes-its-token")
    key = judge(refresh, "anywhere").deduplication_key
    refresh["detail"]["requestParameters"]["client_id"] += "2"
    assert judge(refresh, "anywhere").deduplication_key not in ("", key)
    for name in ("application-is-authorised-in-the-browser", "application-gets-a-token"):
        assert judge(event(name), "anywhere").deduplication_key == ""


def test_repeated_alert_is_a_note_with_its_reasons() -> None:
    decision = verdict.mark_repeated(judge(event("command-line-gets-role-keys"), "anywhere"))
    assert decision == verdict.Verdict(
        "note", "", ("role keys", "unrecognised source", "already reported within a day")
    )


def test_site_of_the_last_sign_in_makes_a_note_with_its_reasons() -> None:
    decision = verdict.mark_site_of_last_sign_in(
        judge(event("command-line-refreshes-its-token"), "anywhere")
    )
    assert decision == verdict.Verdict(
        "note",
        "",
        ("session used elsewhere", "unrecognised source", "where the person last signed in"),
    )


def test_pending_alert_is_a_note_with_its_reasons() -> None:
    decision = verdict.mark_held_back(judge(event("command-line-gets-role-keys"), "anywhere"))
    assert decision == verdict.Verdict(
        "note",
        "",
        ("role keys", "unrecognised source", "being reported; looked at again in 15 minutes"),
    )


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("iam-user-fails", "others"),
        ("unknown-kind-of-user-fails", "others"),
        ("identity-center-factor-is-wrong", "others"),
        ("root-fails", "root"),
        ("root-asks-for-a-new-password", "recoveries"),
        ("record-without-an-outcome", "unreadable"),
        ("iam-user-signs-in-with-mfa", ""),
        ("root-signs-in-with-mfa", ""),
        ("organisation-takes-a-root-session", ""),
        ("organisation-is-refused-a-root-session", "sessions"),
        ("aws-itself-sees-an-anomaly", ""),
    ],
)
def test_what_strangers_can_cause_is_counted_in_a_stream(name: str, stream: str) -> None:
    assert judge(event(name), "anywhere").stream == stream


@pytest.mark.parametrize(
    ("name", "has_limit"),
    [
        ("iam-user-signs-in-with-mfa", True),
        ("identity-center-user-signs-in-with-totp", True),
        ("root-signs-in-with-mfa", False),
        ("aws-login-of-root-refreshes-its-token", False),
        ("organisation-takes-a-root-session", False),
        ("aws-itself-sees-an-anomaly", False),
        ("aws-login-without-an-identity", False),
    ],
)
def test_texts_about_root_have_no_limit(name: str, *, has_limit: bool) -> None:
    assert judge(event(name), "anywhere").has_text_limit is has_limit


def test_count_is_a_reason_from_the_second_on_and_notes_keep_it() -> None:
    first = verdict.apply_count(judge(event("root-fails"), "anywhere"), 1, 1)
    assert (first.number, first.reasons) == (1, ("root failure", "unrecognised source"))
    tenth = verdict.apply_count(judge(event("root-fails"), "anywhere"), 10, 2)
    reasons = ("root failure", "unrecognised source", "10 failed sign-ins of root within 2 h")
    assert (tenth.reasons, tenth.number, tenth.hours) == (reasons, 10, 2)
    assert verdict.mark_counted(tenth) == verdict.Verdict("note", "", reasons, grouped="failures")


def test_console_link_and_the_sign_in_after_it_are_linked() -> None:
    assert judge(event("command-line-gets-role-keys"), "anywhere").grouped == ""
    assert judge(event("console-session-is-prepared"), "anywhere").grouped == "linked"
    decision = verdict.mark_linked(judge(event("federated-user-signs-in"), "anywhere"))
    assert (decision.level, decision.grouped) == ("alert", "linked")
    assert decision.reasons == ("unrecognised source", "after a console link")


@pytest.mark.parametrize("place", NETWORKS)
def test_device_code_approved_elsewhere_or_perhaps_so_is_a_high_alert(place: str) -> None:
    record = event("command-line-gets-a-token-by-device-code")
    decision = judge(record, place, approved_elsewhere=True)
    assert (decision.level, decision.severity) == ("alert", "high")
    assert decision.reasons[0] == "device code elsewhere"
    assert verdict.judge(signin.read(record), recognised=True).severity == "high"


def test_device_code_of_an_unknown_approval_is_a_high_alert_in_any_network() -> None:
    reading = signin.read(event("command-line-gets-a-token-by-device-code"))
    for recognised, source in ((True, "recognised source"), (False, "unrecognised source")):
        decision = verdict.judge(reading, recognised=recognised, both_addresses_recognised=True)
        assert (decision.level, decision.severity) == ("alert", "high")
        assert decision.reasons == ("device code, its approval unknown", source)


def test_only_a_portal_sign_in_or_a_device_code_is_about_a_device_code() -> None:
    for name, is_about in (
        ("iam-user-signs-in-with-mfa", False),
        ("command-line-gets-role-keys", False),
        ("identity-center-user-signs-in-with-totp", True),
        ("command-line-gets-a-token-by-device-code", True),
    ):
        reasons = judge(event(name), "anywhere", approved_elsewhere=True).reasons
        assert ("device code elsewhere" in reasons) is is_about


def test_device_code_between_two_recognised_addresses_is_a_note() -> None:
    reading = signin.read(event("command-line-gets-a-token-by-device-code"))
    decision = verdict.judge(
        reading, recognised=True, approved_elsewhere=True, both_addresses_recognised=True
    )
    assert (decision.level, decision.severity) == ("note", "")
    assert decision.reasons == ("device code elsewhere", "recognised source")


def test_keys_of_unknown_roles_are_reported_once_a_day_and_mute_no_known_role() -> None:
    """An unknown role or account counts as one of its own."""
    keys = set()
    for missing in ((), ("role_name",), ("account_id",), ("role_name", "account_id")):
        record = event("command-line-gets-role-keys")
        for field in missing:
            del record["detail"]["serviceEventDetails"][field]
        decision = judge(record, "anywhere")
        assert (decision.level, decision.send_text) == ("alert", True)
        record["detail"]["eventID"] = "another"
        assert judge(record, "anywhere").deduplication_key == decision.deduplication_key
        keys.add(decision.deduplication_key)
    assert len(keys) == 4
    assert "" not in keys


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("AWS Internal", "source inside AWS"),
        ("AWS Internal (console)", "source inside AWS"),
        ("AWS Internal, 198.51.100.23", "unrecognised source"),
        ("198.51.100.23, AWS Internal", "unrecognised source"),
    ],
)
def test_only_a_source_without_an_address_is_inside_aws(source: str, reason: str) -> None:
    """``source-inside-aws`` in AlertOff must not silence an address that is listed beside it."""
    sign_in = read_sign_in("iam-user-signs-in-with-mfa")._replace(source=source)
    assert verdict.judge(sign_in, recognised=False).causes == (reason,)


def test_refreshes_of_an_unknown_application_or_person_are_reported_once_a_day() -> None:
    sign_in = read_sign_in("application-of-root-refreshes-its-token")._replace(client="")
    for identity, who in (("root", "root"), ("unknown", "unknown"), ("iam-user", "unknown")):
        unknown = sign_in._replace(identity=identity, who=who)
        decision = verdict.judge(unknown, recognised=False)
        assert decision.level == "alert"
        key = f"111122223333#{who}#application#203.0.113.10##"
        assert decision.deduplication_key == key


@pytest.mark.parametrize("name", ["application-exchanges-a-token", "keys-come-by-delegated-access"])
@pytest.mark.parametrize("recognised", [True, False])
def test_tokens_that_root_gets_often_are_reported_once_a_day(
    name: str, *, recognised: bool
) -> None:
    sign_in = read_sign_in(name)._replace(identity="root", who="root")
    decision = verdict.judge(sign_in, recognised=recognised)
    assert (decision.level, decision.severity, decision.causes) == ("alert", "high", ())
    assert decision.deduplication_key


class TestAlertOff:
    CASE_OF_EACH_CAUSE = (
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
        ("application-is-authorised-in-the-browser", "anywhere", "application-authorised"),
        ("application-exchanges-a-token", "anywhere", "token-exchange"),
        ("keys-come-by-delegated-access", "anywhere", "delegated-access"),
        ("root-asks-for-a-new-password", "recognised", "password-recovery"),
        ("aws-itself-sees-an-anomaly", "recognised", "aws-anomaly"),
        ("command-line-refreshes-its-token", "anywhere", "session-used-elsewhere"),
    )

    @pytest.mark.parametrize(("name", "place", "cause"), CASE_OF_EACH_CAUSE)
    def test_cause_that_is_switched_off_makes_a_note(
        self, name: str, place: str, cause: str
    ) -> None:
        elsewhere = cause == "device-code-elsewhere"
        off = (cause,)
        all_but_cause_off = tuple(name for name in ALL_CAUSE_NAMES if name != cause)
        assert judge(event(name), place, approved_elsewhere=elsewhere).level == "alert"
        decision = judge(event(name), place, approved_elsewhere=elsewhere, off=off)
        assert (decision.level, decision.severity) == ("note", "")
        assert decision.reasons[-1] == "switched off"
        decision = judge(event(name), place, approved_elsewhere=elsewhere, off=all_but_cause_off)
        assert decision.level == "alert"

    def test_every_cause_has_a_case(self) -> None:
        with_a_case = {cause for _, _, cause in self.CASE_OF_EACH_CAUSE}
        assert {*with_a_case, TestRightPassword.NAME} == set(ALL_CAUSE_NAMES)

    def test_one_cause_is_enough_for_an_alert(self) -> None:
        record = event("iam-user-signs-in-without-mfa")
        for off in (("no-mfa",), ("unrecognised-source",)):
            assert judge(record, "anywhere", off=off).level == "alert"
        assert judge(record, "anywhere", off=("no-mfa", "unrecognised-source")).level == "note"

    @pytest.mark.parametrize(
        ("place", "off", "level"),
        [
            ("anywhere", ("device-code-elsewhere",), "alert"),
            ("anywhere", ("unrecognised-source",), "alert"),
            ("anywhere", ("device-code-elsewhere", "unrecognised-source"), "note"),
            ("recognised", ("device-code-elsewhere",), "note"),
            ("recognised", ("recognised-source",), "alert"),
        ],
    )
    def test_unrecognised_source_of_a_device_code_is_a_cause_too(
        self, place: str, off: tuple[str, ...], level: str
    ) -> None:
        record = event("command-line-gets-a-token-by-device-code")
        assert judge(record, place, approved_elsewhere=True, off=off).level == level

    def test_assume_root_cannot_be_switched_off(self) -> None:
        off = (*ALL_CAUSE_NAMES, "assume-root", "unrecognised-source", "recognised-source")
        for place in NETWORKS:
            decision = judge(event("organisation-takes-a-root-session"), place, off=off)
            assert (decision.level, decision.severity) == ("alert", "high")

    def test_note_says_what_it_would_be_without_the_switch(self) -> None:
        decision = judge(event("iam-user-fails"), "anywhere", off=("failure",))
        assert decision == verdict.Verdict(
            "note", "", ("failure", "unrecognised source", "switched off")
        )

    def test_note_is_not_changed(self) -> None:
        reading = signin.read(event("workspaces-user-signs-in"))
        for off in (("workspaces-sign-in",), ("no-mfa",)):
            decision = verdict.judge(reading, recognised=False, off=off)
            assert decision.reasons == ("WorkSpaces sign-in", "unrecognised source")

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
    def test_possible_root_and_unreadable_records_alert_with_all_causes_off(
        self, name: str, place: str
    ) -> None:
        assert judge(event(name), place, off=ALL_CAUSE_NAMES).level == "alert"


class TestAlertOn:
    NOTED_CASES = (
        ("workspaces-user-signs-in", "workspaces-sign-in"),
        ("transfer-web-app-user-signs-in", "transfer-web-app-sign-in"),
        ("role-is-taken-by-web-identity", "web-identity"),
    )

    @pytest.mark.parametrize("outcome", ["success", "failure"])
    @pytest.mark.parametrize(("name", "cause"), NOTED_CASES)
    def test_other_services_and_web_identities_are_notes_unless_switched_on(
        self, name: str, cause: str, outcome: str
    ) -> None:
        reading = signin.read(event(name))
        assert isinstance(reading, signin.SignIn)
        reading = reading._replace(outcome=outcome)
        for recognised in (True, False):
            assert verdict.judge(reading, recognised=recognised).level == "note"
        decision = verdict.judge(reading, recognised=False, on=(cause,))
        assert (decision.level, decision.severity) == ("alert", "normal")
        failure = ("failure",) if outcome == "failure" else ()
        reason = decision.reasons[0]
        assert verdict.format_cause(reason) == cause
        assert decision.reasons == (reason, *failure, "unrecognised source")
        assert decision.grouped == ("failures" if outcome == "failure" else "")
        assert verdict.judge(reading, recognised=True, on=(cause,)).level == "note"

    def test_each_cause_can_be_switched_on(self) -> None:
        louder = {"right-password-without-a-sign-in", "session-used-elsewhere"}
        noted = {cause for _, cause in self.NOTED_CASES}
        assert set(map(verdict.format_cause, verdict.OPT_IN_CAUSES)) == louder | noted
        switchable_off = set(map(verdict.format_cause, verdict.CAUSES))
        assert (switchable_off & (louder | noted)) == louder


class TestSessionUse:
    NAME = "command-line-refreshes-its-token"

    def test_it_is_mailed_and_texted_if_alert_on_names_it(self) -> None:
        reading = signin.read(event(self.NAME))
        decision = verdict.judge(reading, recognised=False)
        assert (decision.level, decision.severity, decision.send_text) == ("alert", "normal", False)
        on = ("session-used-elsewhere",)
        assert verdict.judge(reading, recognised=False, on=on).send_text is True
        assert verdict.judge(reading, recognised=False, on=("no-mfa",)).send_text is False
        assert verdict.judge(reading, recognised=False, off=("no-mfa",)).send_text is False
        assert verdict.judge(reading, recognised=True, on=on).level == "recognised"

    @pytest.mark.parametrize(
        ("change", "is_same"),
        [
            ({"sourceIPAddress": "198.51.100.1"}, True),
            ({"sourceIPAddress": "198.51.101.77"}, False),
            ({"recipientAccountId": "222233334444"}, False),
            ({"vpcEndpointId": "vpce-0123456789abcdef0"}, False),
        ],
    )
    def test_it_is_told_once_a_day_for_a_person_and_a_site(
        self, change: dict[str, str], *, is_same: bool
    ) -> None:
        record = event(self.NAME)
        key = judge(record, "anywhere").deduplication_key
        record["detail"] |= {"eventID": "another", **change}
        assert (judge(record, "anywhere").deduplication_key == key) is is_same
        assert key

    def test_unknown_persons_count_as_one(self) -> None:
        record = event(self.NAME)
        record["detail"]["userIdentity"] = {}
        assert judge(record, "anywhere").deduplication_key

    def test_site_of_an_ipv6_address_has_64_bits(self) -> None:
        keys = []
        for address in ("2001:db9:1:2::1", "2001:db9:1:2:ffff::9", "2001:db9:1:3::1"):
            record = event(self.NAME)
            record["detail"]["sourceIPAddress"] = address
            keys.append(judge(record, "anywhere").deduplication_key)
        assert keys[0] == keys[1] != keys[2]


class TestRightPassword:
    """Without a sign-in after it, it is never quieter than a wrong password."""

    NAME = "right-password-without-a-sign-in"

    @staticmethod
    def judge(
        user: dict[str, str] | None = None,
        *,
        recognised: bool = False,
        off: tuple[str, ...] = (),
        on: tuple[str, ...] = (),
    ) -> verdict.Verdict:
        record = event("second-factor-is-asked-for")
        if user:
            record["detail"]["userIdentity"] = dict(user)
        unfinished = signin.read_unfinished(record)
        return verdict.judge(unfinished, recognised=recognised, off=off, on=on)

    ROOT = MappingProxyType({"type": "Root", "accountId": "111122223333"})
    UNKNOWN = MappingProxyType({"accountId": "111122223333"})

    @pytest.mark.parametrize(
        ("user", "recognised", "level"),
        [
            (None, False, "alert"),
            (None, True, "note"),
            (ROOT, False, "alert"),
            (ROOT, True, "alert"),
            (UNKNOWN, False, "alert"),
            (UNKNOWN, True, "alert"),
        ],
    )
    def test_root_and_every_unrecognised_source_alert(
        self, user: Any, level: str, *, recognised: bool
    ) -> None:
        decision = self.judge(user, recognised=recognised)
        assert (decision.level, decision.severity) == (level, "normal" if level == "alert" else "")
        source = "recognised source" if recognised else "unrecognised source"
        assert decision.reasons == ("right password without a sign-in", source)
        assert (decision.grouped, decision.send_text) == ("", True)

    @pytest.mark.parametrize(("on", "level"), [((), "note"), ((NAME,), "alert")])
    def test_alert_on_makes_recognised_sources_alert_too(
        self, on: tuple[str, ...], level: str
    ) -> None:
        assert self.judge(recognised=True, on=on).level == level

    def test_alert_off_makes_a_note(self) -> None:
        decision = self.judge(off=(self.NAME,))
        assert (decision.level, decision.reasons[-1]) == ("note", "switched off")

    @pytest.mark.parametrize("recognised", [True, False])
    @pytest.mark.parametrize(
        ("user", "failure"),
        [(ROOT, "root-failure"), (UNKNOWN, "failure-of-an-unknown-kind-of-user")],
    )
    def test_that_of_root_alerts_until_its_failures_are_off_too(
        self, user: Any, failure: str, *, recognised: bool
    ) -> None:
        for off in ((self.NAME,), (failure,)):
            assert self.judge(user, recognised=recognised, off=off).level == "alert"
        both = (self.NAME, failure)
        assert self.judge(user, recognised=recognised, off=both).level == "note"

    def test_alert_off_wins_over_alert_on(self) -> None:
        assert self.judge(recognised=True, off=(self.NAME,), on=(self.NAME,)).level == "note"

    def test_alert_on_changes_no_other_verdict(self) -> None:
        for name in CASES:
            reading = signin.read(event(name))
            for recognised in (True, False):
                decision = verdict.judge(reading, recognised=recognised)
                switched = verdict.judge(reading, recognised=recognised, on=(self.NAME,))
                assert switched == decision


def test_kinds_named_in_the_policy_are_kinds_of_paths() -> None:
    kinds_in_policy = {
        *verdict.ALWAYS_ALERT_BY_KIND,
        *verdict.CAUSE_BY_KIND,
        *verdict.NOTED_KINDS,
        *verdict.PROGRAM_KINDS,
        *verdict.ROOT_KINDS,
        *verdict.OPT_IN_CAUSE_BY_KIND,
        *verdict.REPEATED_KINDS,
    }
    assert kinds_in_policy <= {path.kind for path in ALL_PATHS}
