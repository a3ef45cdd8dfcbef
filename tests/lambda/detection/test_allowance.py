"""Allowances: what is written is read back, what nobody can read is refused, and each ends when it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signwatch import gsm7
from signwatch.detection import allowance, networks
from signwatch.detection.record import digest

AT = 1_795_687_200  # 2026-11-26T10:00:00Z
HOTEL = allowance.make("198.51.100.7", "hotel in Oslo", "Anaya", AT)
KEPT = {
    "cidr": "198.51.100.7/32",
    "label": "hotel in Oslo",
    "who": "Anaya",
    "expires": "2026-11-26T10:00:00Z",
}


@pytest.mark.parametrize(
    "one",
    [
        HOTEL,
        allowance.make("2001:db8::/48", "lab"),
        allowance.make("::ffff:192.0.2.0/120", "Büro, 3. Stock", "rolle/ä", AT),
        allowance.make("0.0.0.0/0", "everywhere", wide=True),
        allowance.make("10.0.0.0/8", "data centre"),
    ],
    ids=lambda one: one.label,
)
def test_what_is_written_is_read_back(one: allowance.Allowance) -> None:
    assert allowance.decode(allowance.encode(one)) == one


def test_it_is_kept_as_one_object_with_the_agreed_keys() -> None:
    assert json.loads(allowance.encode(HOTEL)) == KEPT
    assert json.loads(allowance.encode(allowance.make("2001:db8::/48", "lab"))) == {
        "cidr": "2001:db8::/48",
        "label": "lab",
        "who": None,
        "expires": None,
    }


def test_its_name_is_one_that_systems_manager_takes_and_stands_for_the_range_and_the_person() -> (
    None
):
    assert HOTEL.name == "0770e1b78b85f670"
    assert HOTEL.name == allowance.make("198.51.100.7/32", "another label", "ANAYA").name
    others = [allowance.make("198.51.100.8", "x", "Anaya"), allowance.make("198.51.100.7", "x")]
    assert HOTEL.name not in {one.name for one in others}


BROKEN: list[tuple[str, Any, str]] = [
    ("cut off", '{"cidr": "198.5', "it is not JSON"),
    ("nested without end", "[" * 100_000, "it is not JSON"),
    ("a list", [KEPT], "it is not one object"),
    ("a key too few", {"cidr": "198.51.100.7", "label": "x", "who": None}, "it is not one object"),
    ("a key too many", KEPT | {"expire": None}, "it is not one object"),
    ("no range", KEPT | {"cidr": "AWS Internal"}, "is not an address"),
    ("a list of ranges", KEPT | {"cidr": "198.51.100.7,198.51.100.8"}, "is not an address"),
    ("a number as range", KEPT | {"cidr": 7}, "of the wrong kind"),
    ("too wide", KEPT | {"cidr": "0.0.0.0/0"}, "is wider than /8"),
    (
        "too wide, and wide is a text",
        KEPT | {"cidr": "0.0.0.0/0", "wide": "true"},
        "of the wrong kind",
    ),
    ("no label", KEPT | {"label": ""}, "it has no label"),
    ("a label that begins a line", KEPT | {"label": "a\nb"}, "the label is no line"),
    ("a label without end", KEPT | {"label": "a" * 129}, "the label is no line"),
    ("a label that turns the line round", KEPT | {"label": "\u202ea"}, "the label is no line"),
    ("a label that names a parameter", KEPT | {"label": "{{ssm:x}}"}, "two opening braces"),
    ("nobody", KEPT | {"who": ""}, "of the wrong kind"),
    ("false for nobody", KEPT | {"who": False}, "of the wrong kind"),
    ("a space as person", KEPT | {"who": " "}, "the person or role is no line"),
    ("zero for never", KEPT | {"expires": 0}, "of the wrong kind"),
    ("no zone", KEPT | {"expires": "2026-11-26T10:00:00"}, "its expires is not a moment"),
    ("no moment", KEPT | {"expires": "soon"}, "its expires is not a moment"),
    (
        "before all time",
        KEPT | {"expires": "0001-01-01T00:00:00+14:00"},
        "its expires is not a moment",
    ),
]


@pytest.mark.parametrize(
    ("text", "said"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_what_is_no_allowance_is_refused_with_a_sentence(text: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        allowance.decode(text if isinstance(text, str) else json.dumps(text))


def test_it_ends_at_the_second_of_its_expiry() -> None:
    assert HOTEL.is_current(AT - 1)
    assert not HOTEL.is_current(AT)
    assert allowance.make("198.51.100.7", "x").is_current(10.0**12)


@pytest.mark.parametrize(
    ("names", "is_for"),
    [(("Anaya", ""), True), (("anaya", ""), True), (("Paulo", "ANAYA"), True), (("Paulo", "Admin"), False),
     (("Anaya2", "xAnaya"), False), (("", ""), False)],
)  # fmt: skip
def test_it_is_for_a_whole_name_of_a_person_or_a_role(names: tuple[str, str], is_for: bool) -> None:
    assert HOTEL.is_for(*names) is is_for


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        ("anaya.lee", "anaya. lee"),
        ("jdoe@example.com", "jdoe at example. com"),
        ("build-20261126", "build-2026_1126"),
    ],
)
def test_a_name_may_be_given_as_the_text_shows_it(who: str, shown: str) -> None:
    assert gsm7.safe_name(who) == shown
    for given, recorded in ((who, shown), (shown, who), (shown.upper(), who), (who, who)):
        assert allowance.make("198.51.100.7", "x", given).is_for(recorded)


@pytest.mark.parametrize(
    ("who", "other"), [("a" * 40 + "1", "a" * 40 + "2"), ("\u4e00lee", "\u4e8clee")]
)
def test_names_that_differ_only_where_the_text_shows_nothing_of_it_are_two(
    who: str, other: str
) -> None:
    assert gsm7.safe_name(who) == gsm7.safe_name(other)
    assert not allowance.make("198.51.100.7", "x", who).is_for(other)


def test_without_a_name_it_is_for_everybody() -> None:
    assert allowance.make("198.51.100.7", "x").is_for("anybody", "")


def test_it_recognises_what_is_in_its_range() -> None:
    assert networks.recognises(HOTEL.found, "198.51.100.7")
    assert not networks.recognises(HOTEL.found, "198.51.100.8")


def test_digest_is_sha256_in_hex_cut_to_a_length() -> None:
    assert digest("abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert len(digest("abc")) == 64
    assert digest("abc", 12) == "ba7816bf8f01"
