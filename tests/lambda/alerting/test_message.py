"""Composing: what a text says, and that no record can make it longer, emptier or more tempting than that."""

from __future__ import annotations

import pytest

from signwatch import gsm7
from signwatch.alerting import message
from signwatch.detection import sign_in_paths, signin, verdict
from tests.support.fuzzing import ALPHABET, LINK, NUMBER, OURS
from tests.support.sign_ins import CASES, event

ALERT = verdict.Verdict("alert", "normal", ("unrecognised source",))
EXAMPLE = signin.SignIn(
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
    why="the record names no source address",
)


def composed(
    sign_in: signin.SignIn | signin.Unreadable,
    decided: verdict.Verdict = ALERT,
    *,
    label: str = "",
    delay: int | None = None,
    zone: str = "",
) -> str:
    return message.compose(sign_in, decided, label=label, delay=delay, zone=zone).text


def line(text: str, name: str) -> str:
    (found,) = [one for one in text.splitlines() if one.startswith(f"{name}: ")]
    return found.removeprefix(f"{name}: ")


def test_a_text_says_what_who_where_from_when_and_which() -> None:
    assert composed(EXAMPLE, label="production", delay=200).splitlines() == [
        "AWS SIGN-IN ALERT account production",
        "Console sign-in",
        'Who: "Anaya"',
        "From: 198.51.100.23",
        "MFA NO",
        "us-east-1 2026-11-24 10:12:31 UTC, 3 min ago",
        "Id 8a1edcc0",
    ]


def test_the_text_of_an_unreadable_record_says_so_and_what_is_known() -> None:
    assert composed(UNREADABLE).splitlines() == [
        "AWS SIGN-IN ALERT account ...3333",
        "Unreadable sign-in (ConsoleLogin): the record names no source address",
        'Who: "Anaya"',
        "From: not recorded",
        "us-east-1 2026-11-24 10:12:31 UTC",
        "Id 8a1edcc0",
    ]


@pytest.mark.parametrize("name", CASES)
def test_every_case_that_alerts_can_be_told(name: str) -> None:
    reading = signin.read(event(name))
    if isinstance(reading, signin.SignIn | signin.Unreadable):
        text = composed(reading)
        assert "From: " in text
        assert not text.endswith("...")


@pytest.mark.parametrize("mfa", ["yes", "no", "provider", "unrecorded"])
def test_every_state_of_mfa_that_is_read_can_be_told(mfa: str) -> None:
    assert composed(EXAMPLE._replace(mfa=mfa)).splitlines()[4] == message.MFA[mfa]


def test_a_failure_is_called_one() -> None:
    root = EXAMPLE._replace(
        what="Root console sign-in", identity="root", who="root", outcome="failure"
    )
    assert composed(root).splitlines()[1:3] == ["Root console sign-in FAILED", "Who: root user"]


def test_a_user_who_is_called_root_is_not_shown_as_the_root_user() -> None:
    assert line(composed(EXAMPLE._replace(who="root user")), "Who") == '"root user"'


@pytest.mark.parametrize(
    ("delay", "told"),
    [
        (None, ""),
        (0, ""),
        (120, ""),
        (121, ", 2 min ago"),
        (7199, ", 119 min ago"),
        (7200, ", 2 h ago"),
    ],
)
def test_a_late_text_says_how_late(delay: int | None, told: str) -> None:
    assert (
        composed(EXAMPLE, delay=delay).splitlines()[5] == f"us-east-1 2026-11-24 10:12:31 UTC{told}"
    )


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-26"]
)
def test_a_time_that_no_calendar_holds_is_called_unknown(time: str) -> None:
    assert composed(EXAMPLE._replace(time=time)).count("time unknown") == 1


def test_a_time_in_another_zone_is_told_in_utc_and_none_is_called_unknown() -> None:
    assert "10:12:31 UTC" in composed(EXAMPLE._replace(time="2026-11-24T12:12:31+02:00"))
    assert "us-east-1 time unknown" in composed(EXAMPLE._replace(time="soon"))


@pytest.mark.parametrize(
    ("account", "label", "told"),
    [
        ("111122223333", "", "...3333"),
        ("111122223333", "production", "production"),
        ("", "", "unknown"),
        ("evil.com", "", "unknown"),
        ("١١١١٢٢٢٢٣٣٣٣", "", "unknown"),
        ("111122223333", "\u202e", "...3333"),
        ("111122223333", "x" * 40, "x" * 17 + "..."),
    ],
)
def test_the_account_goes_by_its_label_or_its_last_digits(
    account: str, label: str, told: str
) -> None:
    assert message.format_account(account, label) == told


@pytest.mark.parametrize(
    "source",
    [
        "198.51.100.23",
        "2001:db8:85a3::8a2e:370:7334",
        "::ffff:198.51.100.23",
        "203.0.113.10, 203.0.113.11",
    ],
)
def test_an_address_is_shown_as_it_is(source: str) -> None:
    assert line(composed(EXAMPLE._replace(source=source)), "From") == source


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("AWS Internal", '"AWS Internal"'),
        ("cafe.de", '"cafe. de"'),
        ("fe80::1%evil.com", None),
        ("203.0.113.10, evil.com", None),
        ("", "not recorded"),
    ],
)
def test_a_source_that_is_no_address_is_quoted_and_made_harmless(
    source: str, told: str | None
) -> None:
    shown = line(composed(EXAMPLE._replace(source=source)), "From")
    assert shown == told or (told is None and shown[0] == shown[-1] == '"')
    assert not LINK.search(shown)


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("jdoe@example.com", "jdoe at example. com"),
        ("https://evil.example/x", "https: //evil. example/x"),
        ("call +1 (900) 555-0199 now", "call +1_900_555_0199 now"),
        ("19005550199", "1900_5550_199"),
        ("544894e8-80c1-707f-60e3-3ba6510dfac1", "544894e8-80c1-707f-60e3-3ba6510dfac1"),
        ('x"\nFrom: 203.0.113.10', "x' From: 2030_1131_0"),
        ("evil\uff0ecom \u202emoc\u200b", "evil. com moc"),
        ("Ren\u00e9e Jos\u0065\u0301 \u0141ukasz \u65e5\u672c", "Renée José ?ukasz ??"),
        ("", ""),
    ],
)
def test_a_name_is_made_harmless_and_stays_readable(who: str, told: str) -> None:
    shown = line(composed(EXAMPLE._replace(who=who)), "Who")
    assert shown == f'"{told}"' or who.startswith('x"')
    assert not LINK.search(shown)
    assert not NUMBER.search(shown)


def test_a_name_cannot_begin_a_line_of_its_own() -> None:
    text = composed(EXAMPLE._replace(who='x"\r\n\u2028\x85\x0bFrom: 203.0.113.10'))
    assert line(text, "From") == "198.51.100.23"
    assert len(text.splitlines()) == 7


def test_a_long_name_is_cut_and_pushes_nothing_out() -> None:
    text = composed(EXAMPLE._replace(who="[" * 500))
    assert line(text, "Who") == '"' + "[" * 16 + '..."'
    assert text.endswith("Id 8a1edcc0")


LONGEST = max(
    *(path.what for path in sign_in_paths.PATHS.values()),
    *(
        f"{path.what} ({grant})"
        for path in sign_in_paths.PATHS.values()
        if path.kind == "token"
        for grant in signin.GRANTS.values()
    ),
    *signin.WHAT.values(),
    key=len,
)


CODE = EXAMPLE._replace(
    kind="token", what="Command line sign-in (device code)", grant="device code", mfa="unrecorded"
)
PORTAL = EXAMPLE._replace(kind="identity-center", what="Identity Center sign-in", mfa="provider")
APPROVALS = [  # what is told of an approval, by the reason
    (CODE, verdict.DEVICE_CODE, "MFA not recorded; approved elsewhere"),
    (CODE, verdict.APPROVAL_UNKNOWN, "MFA not recorded; approval unknown"),
    (PORTAL, verdict.DEVICE_CODE, "MFA up to the identity provider; code used elsewhere"),
]


@pytest.mark.parametrize(("told", "reason", "line"), APPROVALS)
def test_what_is_wrong_with_a_device_code_is_told_and_fits(
    told: signin.SignIn, reason: str, line: str
) -> None:
    long = told._replace(who="[" * 500, source="[" * 500, region="r" * 500)
    decided = verdict.Verdict("alert", "high", (reason, "recognised source"))
    text = composed(long, decided, label="[" * 20, delay=360_000_000, zone="Asia/Kathmandu")
    assert line in text.splitlines()
    assert text.endswith("\nId 8a1edcc0")
    assert gsm7.septets(text) <= message.TEXT_MAX_SEPTETS


@pytest.mark.parametrize("told", [EXAMPLE, UNREADABLE])
def test_everything_at_its_longest_still_fits(told: signin.SignIn | signin.Unreadable) -> None:
    """A hundred thousand hours late, in a zone with its time, with the longest of everything that a record holds."""
    long = {"who": "[" * 500, "source": "[" * 500, "region": "r" * 500}
    more = {"what": LONGEST, "outcome": "failure", "mfa": "provider"}
    told = told._replace(
        **long,
        **(more if isinstance(told, signin.SignIn) else {"event_name": "[" * 99, "why": "w" * 99}),
    )
    text = composed(told, label="[" * 20, delay=360_000_000, zone="Asia/Kathmandu")
    assert text.endswith("(15:57 +0545), 100000 h ago\nId 8a1edcc0")
    assert gsm7.septets(text) <= message.TEXT_MAX_SEPTETS


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
def test_the_time_of_a_zone_stands_beside_utc_and_an_unknown_zone_costs_nothing(
    zone: str, local: str
) -> None:
    assert (
        composed(EXAMPLE, zone=zone).splitlines()[-2] == f"us-east-1 2026-11-24 10:12:31 UTC{local}"
    )


def test_the_zone_keeps_its_summer_time() -> None:
    assert "10:12:31 UTC (12:12 +0200)" in composed(
        EXAMPLE._replace(time="2026-07-24T10:12:31Z"), zone="Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("region", "told"),
    [
        ("eu-west-1", ""),
        ("cn-north-1", " in aws-cn"),
        ("us-gov-west-1", " in aws-us-gov"),
        ("", ""),
    ],
)
def test_the_e_mail_names_a_partition_of_its_own(region: str, told: str) -> None:
    body = message.compose(EXAMPLE._replace(region=region), ALERT, label="", delay=None).body
    assert f"\nAccount: 111122223333{told}\n" in body


def test_characters_of_the_extension_table_count_twice() -> None:
    assert gsm7.septets("a[€~") == 7
    assert gsm7.septets("") == 0


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("Größe à la carte", "Größe à la carte"),
        ("ç ő ﬁ", "c o f"),
        ("\u201cx\u201d \u2013 \u2018y\u2019 \u2026 `", "'x' - 'y' ... '"),
        ("a\u0000b\u202ec\u200bd\ue000e\ud800f", "abcdef"),
        ("z\u0335\u0336\u0489", "z"),
        ("a\tb\u00a0\r\nc", "a b c"),
        ("日本 😀", "?? ?"),
        ("[]{}\\~^|€", "[]{}\\~^|€"),
    ],
)
def test_text_is_mapped_to_one_line_of_gsm_7(text: str, mapped: str) -> None:
    assert gsm7.to_gsm7(text) == mapped


def test_the_e_mail_says_the_same_and_how_to_look_it_up() -> None:
    told = message.compose(EXAMPLE, ALERT, label="production", delay=200)
    assert told.body.startswith(told.text + "\n")
    for part in (
        "Why: unrecognised source",
        f"CloudTrail event: {EXAMPLE.event_id}",
        "Account: 111122223333",
    ):
        assert part in told.body.splitlines()
    assert told.subject == "AWS sign-in alert, account production: Console sign-in"


def assert_harmless(text: str) -> None:
    """Nothing to tap on, but for what AWS alone writes."""
    shown = OURS.sub("", text)
    assert not LINK.search(shown), text
    assert not NUMBER.search(shown), text
    assert ALPHABET.issuperset(text), text
