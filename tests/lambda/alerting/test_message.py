"""What a text says, and that no record can make it longer, emptier or tempting to tap on."""

from __future__ import annotations

import re

import pytest

from signwatch import gsm7
from signwatch.alerting import message
from signwatch.detection import bursts, signin, verdict
from tests.support.fuzzing import LINK, PHONE_NUMBER
from tests.support.sign_ins import ALL_PATHS, CASES, event

ALERT = verdict.Verdict("alert", "normal", ("unrecognised source",))
HIGH = verdict.Verdict("alert", "high", ("root success", "unrecognised source"))
SIGN_IN = signin.SignIn(
    event_id="8a1edcc0-7b39-5a6b-bf97-31990bbd78a2",
    event_name="ConsoleLogin",
    kind="console",
    what="Console sign-in",
    who="Anaya",
    identity="iam-user",
    account="111122223333",
    region="us-east-1",
    source="198.51.100.23",
    outcome="success",
    mfa="no",
    time="2026-11-24T10:12:31Z",
)
UNREADABLE = signin.Unreadable(
    event_id="8a1edcc0-7b39-5a6b-bf97-31990bbd78a2",
    event_name="ConsoleLogin",
    account="111122223333",
    region="us-east-1",
    source="",
    time="2026-11-24T10:12:31Z",
    who="Anaya",
    reason="the record names no source address",
)


def compose_text(
    sign_in: signin.SignIn | signin.Unreadable,
    decision: verdict.Verdict = ALERT,
    *,
    label: str = "",
    delay_seconds: int | None = None,
    zone: str = "",
    known_networks: str = "",
) -> str:
    return message.compose(
        sign_in,
        decision,
        label=label,
        delay_seconds=delay_seconds,
        zone=zone,
        known_networks=known_networks,
    ).text


def line_value(text: str, name: str) -> str:
    """Return what stands behind ``name: `` in the one line that begins with it."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ")


def test_text_says_what_who_where_from_when_and_which_event() -> None:
    assert compose_text(SIGN_IN, label="production", delay_seconds=200).splitlines() == [
        "AWS SIGN-IN ALERT account production",
        "Console sign-in",
        'Who: "Anaya"',
        "From: 198.51.100.23",
        "MFA NO",
        "us-east-1 2026-11-24 10:12:31 UTC, 3 min ago",
        "Id 8a1edcc0",
    ]


def test_text_of_an_unreadable_record_says_so_and_what_is_known() -> None:
    assert compose_text(UNREADABLE).splitlines() == [
        "AWS SIGN-IN ALERT account ...3333",
        "Unreadable sign-in (ConsoleLogin): the record names no source address",
        'Who: "Anaya"',
        "From: not recorded",
        "us-east-1 2026-11-24 10:12:31 UTC",
        "Id 8a1edcc0",
    ]


def test_unreadable_record_without_a_name_has_an_unnamed_event() -> None:
    lines = compose_text(UNREADABLE._replace(event_name="")).splitlines()
    assert lines[1] == "Unreadable sign-in (unnamed event): the record names no source address"


def test_high_alert_says_so_in_the_first_word_of_text_subject_and_body() -> None:
    alert = message.compose(SIGN_IN, HIGH, label="production", delay_seconds=None)
    assert alert.text.startswith("HIGH AWS SIGN-IN ALERT account production\n")
    assert alert.subject == "HIGH AWS sign-in alert, account production: Console sign-in"
    assert alert.body.startswith("HIGH AWS SIGN-IN ALERT account production\n")


def test_switched_role_names_the_role_its_account_and_the_account_of_origin() -> None:
    record = event("role-is-switched")
    record["detail"]["userIdentity"]["arn"] = (
        "arn:aws:sts::111122223333:assumed-role/OrganizationAccountAccessRole/Anaya"
    )
    sign_in = signin.read(record)
    assert isinstance(sign_in, signin.SignIn)
    alert = message.compose(sign_in, ALERT, label="", delay_seconds=None)
    for lines in (alert.text.splitlines(), alert.body.splitlines()):
        assert lines[1:6] == [
            "Role switched in the console",
            'Who: "Anaya"',
            'Role: "OrganizationAccountAccessRole" in 111122223333',
            "From account: 444455556666",
            "From: 203.0.113.10",
        ]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("command-line-gets-role-keys", ['Role: "AdministratorAccess" in 111122223333']),
        ("federated-user-takes-a-role-by-saml", ['Role: "SamlAdmin" in 111122223333']),
        ("console-session-is-prepared", ['Role: "SamlAdmin" in 111122223333']),
        (
            "organisation-takes-a-root-session",
            ["In account: 111122223333", "From account: 444455556666"],
        ),
        ("iam-user-signs-in-with-mfa", []),
    ],
)
def test_role_and_accounts_are_named(name: str, lines: list[str]) -> None:
    sign_in = signin.read(event(name))
    assert isinstance(sign_in, signin.SignIn)
    shown = [
        line
        for line in compose_text(sign_in).splitlines()
        if line.startswith(("Role: ", "In account: ", "From account: "))
    ]
    assert shown == lines


def test_role_of_an_unknown_account_is_named_alone() -> None:
    assert line_value(compose_text(SIGN_IN._replace(role="Admin")), "Role") == '"Admin"'


def test_session_of_a_federated_user_names_its_role() -> None:
    sign_in = signin.read(event("identity-center-user-lands-in-the-console"))
    assert isinstance(sign_in, signin.SignIn)
    assert line_value(compose_text(sign_in), "Permission set").startswith(
        '"AdministratorAccess" in '
    )
    alert = message.compose(sign_in, ALERT, label="", delay_seconds=None)
    assert 'Role: "AWSReservedSSO_AdministratorAccess_' in alert.body


@pytest.mark.parametrize("label", ["", "l" * 20])
@pytest.mark.parametrize("padding", ["", "x" * 50, "x" * 120])
def test_two_permission_sets_never_look_alike(label: str, padding: str) -> None:
    """AWS's own prefix and suffix are not shown, and a name that is cut has a checksum."""
    shown = set()
    for name in ("AdministratorAccess", "AdministratorAccessReadOnly", "AdministratorAudit"):
        role = f"AWSReservedSSO_{padding}{name}_0123456789abcdef"
        sign_in = SIGN_IN._replace(role=role, source="2001:db8:1111:2222:3333:4444:5555:6666")
        sign_in = sign_in._replace(who="w" * 64, target_account="111122223333", mfa="provider")
        text = compose_text(sign_in, label=label, delay_seconds=7200, zone="Europe/Berlin")
        shown.add(line_value(text, "Permission set"))
    assert len(shown) == 3


@pytest.mark.parametrize(
    "role",
    [
        "AdministratorAccess",
        "AWSReservedSSO_Admin",
        "AWSReservedSSO_Admin_0123456789abcdeg",
        "xAWSReservedSSO_Admin_0123456789abcdef",
    ],
)
def test_only_a_role_of_identity_center_is_shown_as_a_permission_set(role: str) -> None:
    text = compose_text(SIGN_IN._replace(role=role))
    assert "Permission set" not in text
    assert "Role: " in text


def test_origin_account_is_named_only_if_it_is_another() -> None:
    sign_in = SIGN_IN._replace(role="Admin", target_account="1" * 12)
    assert "From account" not in compose_text(sign_in._replace(origin_account="1" * 12))
    assert "From account: 222222222222" in compose_text(sign_in._replace(origin_account="2" * 12))
    unknown_target = sign_in._replace(target_account="", account="3" * 12)
    assert "From account" not in compose_text(unknown_target._replace(origin_account="3" * 12))
    assert "From account: 4444" in compose_text(unknown_target._replace(origin_account="4" * 12))
    assert "From account: 3333" in compose_text(
        sign_in._replace(account="3" * 12, origin_account="3" * 12)
    )


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("vpce-0123456789abcdef0", "Via vpce-0123456789abcdef0"),
        ("vpce-evil.com", 'Via "vpce-evil. com"'),
        ("0123456789", 'Via "0123_4567_89"'),
        ("vpce-0123456789abcdef01", "Via vpce-0123456789abcdef0"),
        ("v" * 99, f'Via "{"v" * 17}..."'),
    ],
)
def test_vpc_endpoint_is_named(endpoint: str, line: str) -> None:
    lines = compose_text(SIGN_IN._replace(vpc_endpoint=endpoint)).splitlines()
    assert lines[3:5] == ["From: 198.51.100.23", line]


@pytest.mark.parametrize(
    ("account", "line"),
    [
        ("4444", 'From account: "4444"'),
        ("evil.com", 'From account: "evil. com"'),
        ("www.evil.com", 'From account: "www. ev..."'),
        ("a" * 99, f'From account: "{"a" * 7}..."'),
        ("١١١١٢٢٢٢٣٣٣٣", 'From account: "???????..."'),
    ],
)
def test_account_that_is_no_number_is_quoted(account: str, line: str) -> None:
    assert line in compose_text(SIGN_IN._replace(origin_account=account)).splitlines()


@pytest.mark.parametrize(
    ("sources", "shown"),
    [
        ("203.0.113.10, 198.51.100.23", "198.51.100.23, 203.0.113.10"),
        ("203.0.113.10, 209.85.128.1", "209.85.128.1, 203.0.113.10"),
        (
            "203.0.113.10, 203.0.113.11, 203.0.113.12, 203.0.113.13, 198.51.100.23",
            "198.51.100.23, 203.0.113.10 and 3 more",
        ),
        (
            "203.0.113.10, 203.0.113.11, 203.0.113.12, 198.51.100.23, AWS Internal",
            '198.51.100.23, "AWS Internal" and 3 more',
        ),
        (
            "203.0.113.10,2001:db8:85a3:1111:2222:8a2e:370:7334,2001:db8:85a3:1111:2222:8a2e:370:7335",
            "2001:db8:85a3:1111:2222:8a2e:370:7334 and 2 more",
        ),
        (
            "203.0.113.100,198.51.100.100,198.51.100.101",
            "198.51.100.100, 198.51.100.101, 203.0.113.100",
        ),
        (
            "203.0.113.100,198.51.100.100,198.51.100.101,198.51.100.102",
            "198.51.100.100, 198.51.100.101 and 2 more",
        ),
        ("203.0.113.10, " + "a" * 32, '"' + "a" * 17 + '...", 203.0.113.10'),
        ("AWS Internal, 198.51.100.23", '198.51.100.23, "AWS Internal"'),
        ("203.0.113.10,, 198.51.100.23, ", "198.51.100.23, 203.0.113.10"),
        (" , 198.51.100.23", "198.51.100.23"),
        (",", '","'),
        ("AWS Internal,", '"AWS Internal,"'),
        ("AWS Internal, signin.amazonaws.com", '"AWS Internal", "signin. amazonaws..."'),
        ("a" * 20 + ", " + "b" * 20 + ",c", f'"{"a" * 20}" and 2 more'),
        ("signin.amazonaws.com,203.0.113.10", '"signin. amazonaws...", 203.0.113.10'),
    ],
)
def test_list_of_sources_begins_with_the_unrecognised_ones(sources: str, shown: str) -> None:
    text = compose_text(SIGN_IN._replace(source=sources), known_networks="203.0.113.0/24")
    assert line_value(text, "From") == shown


@pytest.mark.parametrize("name", CASES)
def test_every_case_that_may_alert_has_a_whole_text(name: str) -> None:
    reading = signin.read(event(name))
    if isinstance(reading, signin.SignIn | signin.Unreadable):
        text = compose_text(reading)
        assert "From: " in text
        assert not text.endswith("...")


@pytest.mark.parametrize(
    ("mfa", "line"),
    [
        ("yes", "MFA yes"),
        ("no", "MFA NO"),
        ("provider", "MFA up to the identity provider"),
        ("unrecorded", "MFA not recorded"),
    ],
)
def test_every_value_of_mfa_has_a_text(mfa: str, line: str) -> None:
    assert compose_text(SIGN_IN._replace(mfa=mfa)).splitlines()[4] == line


def test_text_of_a_failure_says_failed() -> None:
    root = SIGN_IN._replace(
        what="Root console sign-in", identity="root", who="root", outcome="failure"
    )
    assert compose_text(root).splitlines()[1:3] == ["Root console sign-in FAILED", "Who: root user"]


def test_user_whose_name_is_root_user_is_not_shown_as_root() -> None:
    assert line_value(compose_text(SIGN_IN._replace(who="root user")), "Who") == '"root user"'


@pytest.mark.parametrize(
    ("delay_seconds", "shown"),
    [
        (None, ""),
        (0, ""),
        (120, ""),
        (121, ", 2 min ago"),
        (7199, ", 119 min ago"),
        (7200, ", 2 h ago"),
    ],
)
def test_late_text_says_how_late_it_is(delay_seconds: int | None, shown: str) -> None:
    when = compose_text(SIGN_IN, delay_seconds=delay_seconds).splitlines()[5]
    assert when == f"us-east-1 2026-11-24 10:12:31 UTC{shown}"


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-26", "soon"]
)
def test_time_that_cannot_be_read_is_called_unknown(time: str) -> None:
    assert compose_text(SIGN_IN._replace(time=time)).count("us-east-1 time unknown") == 1


def test_time_of_another_zone_is_shown_in_utc() -> None:
    assert "10:12:31 UTC" in compose_text(SIGN_IN._replace(time="2026-11-24T12:12:31+02:00"))


@pytest.mark.parametrize(
    ("account", "label", "shown"),
    [
        ("111122223333", "", "...3333"),
        ("111122223333", "production", "production"),
        ("", "", "unknown"),
        ("evil.com", "", "unknown"),
        ("١١١١٢٢٢٢٣٣٣٣", "", "unknown"),
        ("111122223333", "\u202e", "...3333"),
        ("111122223333", "x" * 20, "x" * 20),
        ("111122223333", "x" * 21, "x" * 17 + "..."),
    ],
)
def test_account_is_shown_by_its_label_or_its_last_digits(
    account: str, label: str, shown: str
) -> None:
    assert message.format_account(account, label) == shown


@pytest.mark.parametrize(
    "source",
    [
        "198.51.100.23",
        "2001:db8:85a3::8a2e:370:7334",
        "::ffff:198.51.100.23",
        "2001:0db8:1111:2222:3333:4444:255.255.255.255",
        "203.0.113.10, 203.0.113.11",
    ],
)
def test_address_is_shown_as_it_is(source: str) -> None:
    assert line_value(compose_text(SIGN_IN._replace(source=source)), "From") == source


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("AWS Internal", '"AWS Internal"'),
        ("cafe.de", '"cafe. de"'),
        ("fe80::1%evil.com", '"fe80: : 1%evil. com"'),
        ("203.0.113.10, evil.com", '203.0.113.10, "evil. com"'),
        ("", "not recorded"),
        (" ", "not recorded"),
    ],
)
def test_source_that_is_no_address_is_quoted_and_made_harmless(source: str, shown: str) -> None:
    assert line_value(compose_text(SIGN_IN._replace(source=source)), "From") == shown
    assert not LINK.search(shown.removeprefix("203.0.113.10"))


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        ("jdoe@example.com", "jdoe at example. com"),
        ("https://evil.example/x", "https: //evil. example/x"),
        ("call +1 (900) 555-0199 now", "call +1_900_555_0199 now #0611f5"),
        ("19005550199", "1900_5550_199"),
        ("544894e8-80c1-707f-60e3-3ba6510dfac1", "544894e8-80c1-707f-60e3-3ba6510dfac1"),
        ('x"\nFrom: 203.0.113.10', "x' From: 203_0_113_10 #839d6d"),
        ("evil\uff0ecom \u202emoc\u200b", "evil. com moc #c45c47"),
        ("Ren\u00e9e Jos\u0065\u0301 \u0141ukasz \u65e5\u672c", "Renée José Lukasz ?? #01aaa7"),
        ("\u0395\u03bb\u03ad\u03bd\u03b7", "Eleni #8d5280"),
        ("\u0415\u043b\u0435\u043d\u0430", "Elena #eefc87"),
        ("\u674e\u96f7", "name #3a4732"),
        ("\u0645\u062d\u0645\u062f", "name #0cb4c9"),
        ("", ""),
    ],
)
def test_name_is_made_harmless_and_stays_readable(who: str, shown: str) -> None:
    assert line_value(compose_text(SIGN_IN._replace(who=who)), "Who") == f'"{shown}"'
    assert not LINK.search(shown)
    assert not PHONE_NUMBER.search(shown)


def test_name_cannot_begin_a_line_of_its_own() -> None:
    text = compose_text(SIGN_IN._replace(who='x"\r\n\u2028\x85\x0bFrom: 203.0.113.10'))
    assert line_value(text, "From") == "198.51.100.23"
    assert len(text.splitlines()) == 7


def test_long_name_is_truncated_and_pushes_nothing_out() -> None:
    text = compose_text(SIGN_IN._replace(who="[" * 500))
    assert line_value(text, "Who") == '"' + "[" * 12 + '... #88f17b"'
    assert text.endswith("Id 8a1edcc0")


USER_ID = "544894e8-80c1-707f-60e3-3ba6510dfac1"
DIGITS_ID = "12345678-1234-1234-1234-123456789012"


@pytest.mark.parametrize(
    ("who", "user_id", "shown"),
    [
        (USER_ID, USER_ID, USER_ID),
        (DIGITS_ID, DIGITS_ID, DIGITS_ID),
        (f"906722b2c1-{USER_ID}", f"906722b2c1-{USER_ID}", USER_ID),
        ("\u674e\u96f7", USER_ID, USER_ID),
        ("\u202e", DIGITS_ID, DIGITS_ID),
        ("anaya.lee", USER_ID, "anaya. lee"),
        ("\u0395\u03bb\u03ad\u03bd\u03b7", USER_ID, "Eleni #8d5280"),
        (DIGITS_ID, "", "1234_5678_1234_1234_1234_... #a3a8ee"),
        ("19005550199", "19005550199", "1900_5550_199"),
    ],
)
@pytest.mark.parametrize("sign_in", [SIGN_IN, UNREADABLE])
def test_id_of_an_identity_center_user_is_neither_cut_nor_changed(
    sign_in: signin.SignIn | signin.Unreadable, who: str, user_id: str, shown: str
) -> None:
    alert = message.compose(
        sign_in._replace(who=who, user_id=user_id), ALERT, label="", delay_seconds=None
    )
    assert line_value(alert.text, "Who") == f'"{shown}"'
    assert (f"\nUser id: {user_id}\n" in alert.body) is ("-" in user_id)


@pytest.mark.parametrize(
    ("who", "full_name"),
    [
        ("\u0395\u03bb\u03ad\u03bd\u03b7", "\u0395\u03bb\u03ad\u03bd\u03b7"),
        ("\u674e\u96f7", "\u674e\u96f7"),
        ("\u0645\u062d\u0645\u062f", "\u0645\u062d\u0645\u062f"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("\U0001f98a", "\U0001f98a"),
        ("Anaya\u200b", r"Anaya\u200b"),
        ("\u202eA\u2028B\x00\x85\ud800", r"\u202eA\u2028B\u0000\u0085\ud800"),
        ("A\nFrom: \u674e", "A\\u000aFrom: \u674e"),
        (r"A\u202e" + "\u674e", r"A\\u202e" + "\u674e"),
        ("\u674e@evil\uff0ecom.evil.com", "\u674e at evil\\uff0ecom. evil. com"),
        ('\u674e"x', "\u674e'x"),
        ("\u674e" * 300, "\u674e" * 256 + ". . ."),
    ],
)
def test_email_has_the_full_name_in_its_own_script_and_escaped(who: str, full_name: str) -> None:
    alert = message.compose(SIGN_IN._replace(who=who), ALERT, label="", delay_seconds=None)
    assert line_value(alert.body, "Full name") == f'"{full_name}"'
    assert "Full name" not in alert.text
    alert.body.encode()


@pytest.mark.parametrize(
    "who", ["Anaya", "jdoe@example.com", "19005550199", "Ren\u00e9e", "", "a" * 60]
)
def test_email_has_no_full_name_if_its_first_lines_show_it_whole(who: str) -> None:
    alert = message.compose(SIGN_IN._replace(who=who), ALERT, label="", delay_seconds=None)
    assert "Full name" not in alert.body


APPLICATION = SIGN_IN._replace(kind="application", what="Application authorised (OAuth)")


def test_authorised_application_is_named_by_its_host() -> None:
    alert = message.compose(
        APPLICATION._replace(client="claude.ai"), ALERT, label="", delay_seconds=None
    )
    assert alert.text.splitlines()[1] == 'Application authorised (OAuth): "claude. ai"'
    assert '\nApplication: "claude. ai"\n' in alert.body


def test_application_takes_the_room_that_the_other_fields_leave() -> None:
    longest = APPLICATION._replace(
        **LONG_FIELDS, client="[" * 500, outcome="failure", mfa="provider"
    )
    text = compose_text(longest, label="[" * 20, delay_seconds=360_000_000, zone="Asia/Kathmandu")
    assert text.splitlines()[1].startswith('Application authorised (OAuth) FAILED: "...')
    assert text.endswith("\nId 8a1edcc0")
    assert gsm7.count_septets(text) <= 306
    assert compose_text(APPLICATION._replace(client="x" * 99)).splitlines()[1].count("x") == 12


@pytest.mark.parametrize("filling", ["", "r" * 64])
def test_two_applications_never_look_alike(filling: str) -> None:
    """Hosts whose ends are alike, in the full and in shorter texts."""
    hosts = [f"{name}.of-a-long-site.example.com" for name in ("agent", "attacker", "agents")]
    shown = set()
    for client in (*hosts, "x.example.com", "y.example.com"):
        sign_in = APPLICATION._replace(
            client=client,
            role=filling,
            who=f"w{filling}",
            source="2001:0db8:1111:2222:3333:4444:255.255.255.255",
            vpc_endpoint="vpce-0123456789abcdef0",
        )
        shown.add(compose_text(sign_in, label="l" * 20).splitlines()[1])
    assert len(shown) == 5


def test_end_of_a_long_host_is_shown_and_a_look_alike_has_a_checksum() -> None:
    host = "claude.ai.session-verification.attacker-site.com"
    line = compose_text(APPLICATION._replace(client=host)).splitlines()[1]
    assert re.search(r'-site\. com #[0-9a-f]{6}"$', line)
    assert '"...' in line
    whole = compose_text(APPLICATION._replace(client="agents.example.com")).splitlines()[1]
    assert whole.endswith('"agents. example. com"')
    for host, shown in (("cl\u0430ude.ai", "claude. ai"), ("x.cl\u0430ude.ai.", "x. claude. ai.")):
        look_alike = compose_text(APPLICATION._replace(client=host)).splitlines()[1]
        assert re.search(rf'"{re.escape(shown)} #[0-9a-f]{{6}}"$', look_alike)


def test_short_form_cuts_the_application_as_it_cuts_names() -> None:
    sign_in = APPLICATION._replace(
        client="x" * 99,
        role="r" * 99,
        source="2001:0db8:1111:2222:3333:4444:255.255.255.255",
        vpc_endpoint="vpce-0123456789abcdef0",
        target_account="111122223333",
        origin_account="444455556666",
    )
    lines = compose_text(sign_in, label="l" * 20).splitlines()
    with_id = compose_text(sign_in._replace(who=USER_ID, user_id=USER_ID), label="l" * 20)
    assert line_value(with_id, "Who") == '"5... #8a96ed"'
    assert re.fullmatch(r'Application authorised \(OAuth\): "\.{3}x{6} #[0-9a-f]{6}"', lines[1])
    assert re.fullmatch(r'Role: "r{13}\.\.\. #[0-9a-f]{6}" in \.\.\.3333', lines[3])


DEVICE_CODE = SIGN_IN._replace(
    kind="token", what="Command line sign-in (device code)", grant="device code", mfa="unrecorded"
)
PORTAL = SIGN_IN._replace(kind="identity-center", what="Identity Center sign-in", mfa="provider")


@pytest.mark.parametrize(
    ("sign_in", "reason", "line"),
    [
        (DEVICE_CODE, verdict.DEVICE_CODE, "MFA not recorded; approved elsewhere"),
        (DEVICE_CODE, verdict.APPROVAL_UNKNOWN, "MFA not recorded; approval unknown"),
        (PORTAL, verdict.DEVICE_CODE, "MFA up to the identity provider; code used elsewhere"),
    ],
)
def test_text_says_what_is_wrong_with_a_device_code_and_fits(
    sign_in: signin.SignIn, reason: str, line: str
) -> None:
    sign_in = sign_in._replace(who="[" * 500, source="[" * 500, region="r" * 500)
    decision = verdict.Verdict("alert", "high", (reason, "recognised source"))
    text = compose_text(
        sign_in, decision, label="[" * 20, delay_seconds=360_000_000, zone="Asia/Kathmandu"
    )
    assert line in text.splitlines()
    assert text.endswith("\nId 8a1edcc0")
    assert gsm7.count_septets(text) <= 306


def test_short_form_keeps_what_is_wrong_with_a_device_code() -> None:
    sign_in = DEVICE_CODE._replace(
        role="r" * 36,
        source="2001:db8:1111:2222:3333:4444:5555:6666",
        vpc_endpoint="vpce-0123456789abcdef0",
        target_account="111122223333",
        origin_account="444455556666",
    )
    decision = verdict.Verdict("alert", "high", (verdict.DEVICE_CODE, "recognised source"))
    text = compose_text(sign_in, decision, label="l" * 20, delay_seconds=7200)
    assert "From account: ...6666" in text
    assert "MFA not recorded; approved elsewhere" in text


def all_sign_in_names() -> list[str]:
    """Return every text that ``SignIn.what`` can have."""
    paths = ALL_PATHS
    with_grant = [
        f"{path.what} ({grant})"
        for path in paths
        if path.kind == "token"
        for grant in signin.GRANT_BY_TYPE.values()
    ]
    names = [path.what for path in paths]
    return [*names, *with_grant, *signin.WHAT_BY_IDENTITY.values(), signin.WHAT_UNFINISHED]


LONG_FIELDS = {"who": "[" * 500, "source": "[" * 500, "region": "r" * 500}
LONGEST_SIGN_IN = SIGN_IN._replace(
    **LONG_FIELDS, what=max(all_sign_in_names(), key=len), outcome="failure", mfa="provider"
)
LONGEST_UNREADABLE = UNREADABLE._replace(**LONG_FIELDS, event_name="[" * 99, reason="w" * 99)


@pytest.mark.parametrize("sign_in", [LONGEST_SIGN_IN, LONGEST_UNREADABLE])
def test_longest_text_and_subject_still_fit(sign_in: signin.SignIn | signin.Unreadable) -> None:
    """A hundred thousand hours late, with a local time and the longest of every field."""
    alert = message.compose(
        sign_in, ALERT, label="é" * 99, delay_seconds=360_000_000, zone="Asia/Kathmandu"
    )
    assert alert.text.endswith("(15:57 +0545), 100000 h ago\nId 8a1edcc0")
    assert gsm7.count_septets(alert.text) <= 306
    assert alert.subject.isascii()
    assert len(alert.subject) < 100


@pytest.mark.parametrize("severity", ["high", "normal"])
@pytest.mark.parametrize("mfa", ["yes", "no", "provider"])
def test_text_with_every_field_at_full_length_fits(severity: str, mfa: str) -> None:
    """Its names are cut, and it has accounts by their last digits; the e-mail has everything."""
    addresses = ["2001:db8:1111:2222:3333:4444:255.255.255.255"] * 5
    sign_in = LONGEST_SIGN_IN._replace(
        mfa=mfa,
        role="[" * 500,
        source=",".join(addresses),
        vpc_endpoint="vpce-0123456789abcdef0",
        target_account="111122223333",
        origin_account="444455556666",
    )
    decision = verdict.Verdict("alert", severity, ("unrecognised source",))
    alert = message.compose(
        sign_in, decision, label="é" * 99, delay_seconds=360_000_000, zone="Asia/Kathmandu"
    )
    assert gsm7.count_septets(alert.text) <= 306
    lines = alert.text.splitlines()
    assert re.fullmatch(r'Role: "\.\.\. #[0-9a-f]{6}" in \.\.\.3333', lines[3])
    assert lines[4] == "From account: ...6666"
    assert "Via vpce-0123456789abcdef0" in lines
    assert f"From: {addresses[0]} and 4 more" in lines
    shown_mfa = {"yes": ["MFA yes"], "no": ["MFA NO"], "provider": []}
    assert [line for line in lines if line.startswith("MFA")] == shown_mfa[mfa]
    assert lines[-2:] == ["2026-11-24 10:12:31 UTC", "Id 8a1edcc0"]
    body_lines = alert.body.splitlines()
    assert body_lines[2].startswith(f'Who: "{"[" * 122}... #')
    assert re.fullmatch(r'Role: "\[{122}\.\.\. #[0-9a-f]{6}" in 111122223333', body_lines[3])
    assert body_lines[4:6] == ["From account: 444455556666", f"From: {', '.join(addresses)}"]
    assert "(15:57 +0545)" in alert.body


def test_details_are_left_out_before_names_are_cut() -> None:
    sign_in = SIGN_IN._replace(
        who="w" * 36,
        role="r" * 36,
        source="2001:db8:1111:2222:3333:4444:5555:6666",
        mfa="provider",
        target_account="111122223333",
    )
    text = compose_text(sign_in, label="l" * 20, delay_seconds=7200, zone="Europe/Berlin")
    assert line_value(text, "Who") == f'"{"w" * 36}"'
    assert line_value(text, "Role") == f'"{"r" * 36}" in ...3333'
    assert "MFA" not in text
    assert "\n2026-11-24 10:12:31 UTC\n" in text


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        ("", ""),
        ("Europe/Berlin", " (11:12 +0100)"),
        ("America/St_Johns", " (06:42 -0330)"),
        ("UTC", " (10:12 +0000)"),
        ("Mars/Olympus", ""),
        ("../etc/passwd", ""),
        ("/etc/localtime", ""),
        ("a\x00b", ""),
        ("Europe", ""),
    ],
)
def test_local_time_stands_beside_utc_and_an_unknown_zone_is_left_out(
    zone: str, local: str
) -> None:
    when = compose_text(SIGN_IN, zone=zone).splitlines()[-2]
    assert when == f"us-east-1 2026-11-24 10:12:31 UTC{local}"


def test_local_time_observes_summer_time() -> None:
    summer = SIGN_IN._replace(time="2026-07-24T10:12:31Z")
    assert "10:12:31 UTC (12:12 +0200)" in compose_text(summer, zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("region", "shown"),
    [
        ("eu-west-1", ""),
        ("cn-north-1", " in aws-cn"),
        ("us-gov-west-1", " in aws-us-gov"),
        ("", ""),
    ],
)
def test_email_names_any_partition_but_the_usual_one(region: str, shown: str) -> None:
    body = message.compose(
        SIGN_IN._replace(region=region), ALERT, label="", delay_seconds=None
    ).body
    assert f"\nAccount: 111122223333{shown}\n" in body


def test_email_says_the_same_and_how_to_find_the_event() -> None:
    alert = message.compose(SIGN_IN, ALERT, label="production", delay_seconds=200)
    assert alert.subject == "AWS sign-in alert, account production: Console sign-in"
    assert alert.body == (
        f"{alert.text}\n\n"
        "Why: unrecognised source\n"
        "CloudTrail event: 8a1edcc0-7b39-5a6b-bf97-31990bbd78a2\n"
        "Account: 111122223333\n\n"
        "If this was you or somebody you know, add the address to the recognised networks.\n"
        "If it was nobody you know: change the password, delete the user's access keys, and end"
        " the sessions.\n"
        "In any case, look up in CloudTrail what was done."
    )


def test_email_joins_the_reasons_and_says_what_is_not_known() -> None:
    alert = message.compose(
        SIGN_IN._replace(account="", event_id=""), HIGH, label="", delay_seconds=None
    )
    assert alert.text.splitlines()[-1] == "Id none"
    assert alert.body.splitlines()[8:11] == [
        "Why: root success; unrecognised source",
        "CloudTrail event: without an id",
        "Account: unknown",
    ]


def test_each_field_is_cut_to_its_length() -> None:
    unreadable = UNREADABLE._replace(
        event_id="a" * 99,
        event_name="E" * 99,
        account="1" * 99,
        region="r" * 99,
        source="s" * 99,
        reason="w" * 99,
    )
    alert = message.compose(unreadable, ALERT, label="l" * 99, delay_seconds=None)
    assert alert.text.splitlines() == [
        f"AWS SIGN-IN ALERT account {'l' * 17}...",
        f"Unreadable sign-in ({'E' * 17}...): {'w' * 36}...",
        'Who: "Anaya"',
        f'From: "{"s" * 40}..."',
        f"{'r' * 13}... 2026-11-24 10:12:31 UTC",
        f"Id {'a' * 8}",
    ]
    assert f"CloudTrail event: {'a' * 64}" in alert.body.splitlines()
    assert f"Account: {'1' * 12}" in alert.body.splitlines()
    subject = message.compose(
        SIGN_IN._replace(what="w" * 99), ALERT, label="", delay_seconds=None
    ).subject
    assert subject == f"AWS sign-in alert, account ...3333: {'w' * 63}"


@pytest.mark.parametrize(
    ("event_id", "shown"),
    [("19005550199", "19005550"), ("evil.com", "evil...."), ("X19005550199", "X1900...")],
)
def test_id_that_is_no_id_is_made_harmless(event_id: str, shown: str) -> None:
    assert compose_text(SIGN_IN._replace(event_id=event_id)).endswith(f"\nId {shown}")


def test_text_takes_the_fullest_form_that_fits() -> None:
    """The text grows by one letter at a time, and the role shows which form it has."""
    forms, previous = [], ""
    for length in range(200):
        sign_in = SIGN_IN._replace(
            what="W" * length, role="r" * 99, target_account="111122223333", mfa="provider"
        )
        text = compose_text(sign_in, delay_seconds=7200)
        form = (line_value(text, "Role"), "us-east-1" in text, "MFA" in text)
        if form not in forms:
            forms.append(form)
            assert gsm7.count_septets(previous) in (0, 306)
        previous = text
        assert text.endswith("Id 8a1edcc0") or gsm7.count_septets(text) == 306
    checksum = "#e80b7f"
    cut_roles = [f"{'r' * shown}... {checksum}" for shown in (25, 13, 1)]
    short_roles = [*cut_roles, checksum]
    assert forms == [
        (f'"{cut_roles[0]}" in 111122223333', True, True),
        *((f'"{role}" in ...3333', False, False) for role in short_roles),
    ]
    assert form == forms[-1]
    assert text.endswith("...")


HOST, PHONE, ACCOUNT_NUMBER = "https://evil.example.com/a", "+1 555 010 9999", "111122223333"
LONGEST_BURST = bursts.BurstClosing(
    ACCOUNT_NUMBER,
    tuple(
        bursts.StreamClosing(stream, 100_000, 24, (HOST, PHONE, "198.51.100.7"), (HOST, "a\u202eb"))
        for stream in verdict.STREAMS
    ),
    is_texted=True,
)
SIGN_IN_CLOSING = bursts.SignInClosing(
    ACCOUNT_NUMBER,
    HOST,
    "198.51.100.7",
    "8a1edcc0-7b39-5a6b-bf97-31990bbd78a2",
    (
        bursts.FurtherEvent("1", "2026-11-24T10:12:31Z", "Role keys", HOST, "444455556666"),
        bursts.FurtherEvent("2", "soon", "Command line sign-in", "", "111122223333"),
    ),
)


class TestClosing:
    @pytest.mark.parametrize(
        "closing", [LONGEST_BURST, SIGN_IN_CLOSING, bursts.TextsClosing(100_000, 200)]
    )
    def test_text_fits_and_nothing_in_it_can_be_tapped_on(self, closing: bursts.Closing) -> None:
        composed = message.compose_closing(closing, label="[" * 20)
        assert gsm7.count_septets(composed.text) <= 306
        assert not composed.text.endswith("...")
        assert len(composed.subject) < 100
        assert composed.subject.isascii()
        for text in (composed.text, composed.subject, composed.body):
            assert "evil.example" not in text
            assert "://" not in text
            assert PHONE not in text
            assert "\u202e" not in text

    def test_burst_has_a_number_the_latest_addresses_and_names_and_advice_for_each_stream(
        self,
    ) -> None:
        stream = bursts.StreamClosing("root", 12, 2, ("198.51.100.7", "203.0.113.9"), ())
        closing = bursts.BurstClosing(ACCOUNT_NUMBER, (stream,), is_texted=True)
        composed = message.compose_closing(closing, label="shop")
        assert composed.text.splitlines() == [
            "AWS SIGN-IN ALERT account shop",
            "Failed sign-ins of root: 12 in 2 h",
            "See the e-mail.",
        ]
        assert composed.subject == (
            "AWS sign-in alert, account shop: Failed sign-ins of root: 12 in 2 h"
        )
        lines = composed.body.splitlines()
        assert lines[3:5] == [
            "Failed sign-ins of root: 12 in 2 h",
            "From, the latest few: 198.51.100.7, 203.0.113.9",
        ]
        assert "somebody is guessing passwords" in lines[5]
        bodies = message.compose_closing(LONGEST_BURST, label="").body
        for advice in (
            "the mailbox of root",
            "in a form that is not known yet",
            "knows the password",
            "look up the caller in the management account",
        ):
            assert advice in bodies

    def test_sign_in_has_a_line_for_each_further_event(self) -> None:
        composed = message.compose_closing(SIGN_IN_CLOSING, label="")
        assert composed.subject == (
            "AWS sign-in alert, account ...3333: Further events of the sign-in with Id 8a1edcc0: 2"
        )
        assert "From: 198.51.100.7" in composed.body
        assert '10:12:31 UTC Role keys, role "' in composed.body
        assert "in 444455556666" in composed.body
        assert "\nCommand line sign-in in 111122223333\n" in composed.body

    def test_texts_are_named_with_their_limit(self) -> None:
        composed = message.compose_closing(bursts.TextsClosing(3, 20), label="shop")
        assert composed.text.splitlines() == [
            "AWS SIGN-IN ALERT account shop",
            "Alerts without a text: 3",
            "They came by e-mail only, after 20 texts in an hour.",
            "Read the e-mails now.",
        ]
        assert "TextsAnHour" in composed.body
