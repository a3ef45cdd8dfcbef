"""Allowances are read back as they were written, refused when unreadable, and end on time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signwatch import gsm7
from signwatch.detection import allowance, networks

EXPIRY = 1_795_687_200  # 2026-11-26T10:00:00Z
HOTEL = allowance.make("198.51.100.7", "hotel in Oslo", "Anaya", EXPIRY)
HOTEL_JSON = {
    "cidr": "198.51.100.7/32",
    "label": "hotel in Oslo",
    "who": "Anaya",
    "expires": "2026-11-26T10:00:00Z",
}


@pytest.mark.parametrize(
    "written",
    [
        HOTEL,
        allowance.make("2001:db8::/48", "lab"),
        allowance.make("::ffff:192.0.2.0/120", "Büro, 3. Stock", "rolle/ä", EXPIRY),
        allowance.make("10.0.0.0/8", "the widest range"),
        allowance.make("10.0.0.0/8", "data centre"),
    ],
    ids=lambda written: written.label,
)
def test_allowance_is_read_back_as_written(written: allowance.Allowance) -> None:
    assert allowance.decode(allowance.encode(written)) == written


def test_allowance_is_written_as_one_object_with_the_agreed_keys() -> None:
    assert json.loads(allowance.encode(HOTEL)) == HOTEL_JSON
    assert json.loads(allowance.encode(allowance.make("2001:db8::/48", "lab"))) == {
        "cidr": "2001:db8::/48",
        "label": "lab",
        "who": None,
        "expires": None,
    }


def test_name_is_a_stable_digest_of_range_and_person() -> None:
    assert HOTEL.name == "0770e1b78b85f670"
    assert HOTEL.name == allowance.make("198.51.100.7/32", "another label", "ANAYA").name
    assert HOTEL.name != allowance.make("198.51.100.8", "x", "Anaya").name
    assert HOTEL.name != allowance.make("198.51.100.7", "x").name


@pytest.mark.parametrize(
    ("stored", "error"),
    [
        pytest.param('{"cidr": "198.5', "^it is not JSON$", id="cut off"),
        pytest.param("[" * 100_000, "it is not JSON", id="nested without end"),
        pytest.param([HOTEL_JSON], "it is not one object", id="a list"),
        pytest.param(
            {"cidr": "198.51.100.7", "label": "x", "who": None},
            "it is not one object",
            id="a key missing",
        ),
        pytest.param(HOTEL_JSON | {"expire": None}, "it is not one object", id="an unknown key"),
        pytest.param(HOTEL_JSON | {"cidr": "AWS Internal"}, "is not an address", id="no range"),
        pytest.param(
            HOTEL_JSON | {"cidr": "198.51.100.7,198.51.100.8"},
            "is not an address",
            id="a list of ranges",
        ),
        pytest.param(HOTEL_JSON | {"cidr": 7}, "of the wrong kind", id="a number as range"),
        pytest.param(HOTEL_JSON | {"label": 7}, "of the wrong kind", id="a number as label"),
        pytest.param(HOTEL_JSON | {"cidr": "0.0.0.0/0"}, "is wider than /8", id="too wide"),
        pytest.param(
            HOTEL_JSON | {"cidr": "0.0.0.0/0", "wide": True},
            "is wider than /8",
            id="too wide, and marked as wide",
        ),
        pytest.param(
            HOTEL_JSON | {"cidr": "2000::/18", "wide": True},
            "is wider than /19",
            id="IPv6, too wide, and marked as wide",
        ),
        pytest.param(HOTEL_JSON | {"label": ""}, "^it has no label$", id="no label"),
        pytest.param(
            HOTEL_JSON | {"label": "a\nb"}, "the label is not a line", id="label of two lines"
        ),
        pytest.param(
            HOTEL_JSON | {"label": "a" * 129}, "the label is not a line", id="label too long"
        ),
        pytest.param(
            HOTEL_JSON | {"label": "\u202ea"},
            "the label is not a line",
            id="label that changes the writing direction",
        ),
        pytest.param(
            HOTEL_JSON | {"label": "{{ssm:x}}"}, "two opening braces", id="label names a parameter"
        ),
        pytest.param(
            HOTEL_JSON | {"who": ""}, "^one of its values is of the wrong kind$", id="empty person"
        ),
        pytest.param(HOTEL_JSON | {"who": False}, "of the wrong kind", id="false as person"),
        pytest.param(
            HOTEL_JSON | {"who": " "}, "the person or role is not a line", id="space as person"
        ),
        pytest.param(HOTEL_JSON | {"expires": 0}, "of the wrong kind", id="zero as expiry"),
        pytest.param(
            HOTEL_JSON | {"expires": "2026-11-26T10:00:00"},
            "its expires is not a time",
            id="expiry without a zone",
        ),
        pytest.param(
            HOTEL_JSON | {"expires": "soon"},
            "^its expires is not a time like 2026-11-24T10:12:31Z$",
            id="no time",
        ),
        pytest.param(
            HOTEL_JSON | {"expires": "0001-01-01T00:00:00+14:00"},
            "its expires is not a time",
            id="before year 1",
        ),
    ],
)
def test_anything_else_is_refused_with_a_sentence(stored: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        allowance.decode(stored if isinstance(stored, str) else json.dumps(stored))


def test_mark_of_an_earlier_version_on_a_narrow_range_changes_nothing() -> None:
    assert allowance.decode(json.dumps(HOTEL_JSON | {"wide": True})) == HOTEL


def test_label_may_have_128_characters() -> None:
    assert allowance.make("198.51.100.7", "a" * 128).label == "a" * 128


def test_allowance_ends_at_the_second_of_its_expiry() -> None:
    assert HOTEL.is_current(EXPIRY - 1)
    assert not HOTEL.is_current(EXPIRY)
    assert allowance.make("198.51.100.7", "x").is_current(10.0**12)


@pytest.mark.parametrize(
    ("names", "is_for"),
    [
        (("Anaya", ""), True),
        (("anaya", ""), True),
        (("Paulo", "ANAYA"), True),
        (("Paulo", "Admin"), False),
        (("Anaya2", "xAnaya"), False),
        (("", ""), False),
    ],
)
def test_whole_name_of_a_person_or_a_role_must_match(names: tuple[str, str], is_for: bool) -> None:
    assert HOTEL.is_for(*names) is is_for


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("anaya.lee", "anaya. lee"),
        ("jdoe@example.com", "jdoe at example. com"),
        ("JDoe@Example.com", "JDoe at Example. com"),
        ("build-20261126", "build-2026_1126"),
    ],
)
def test_name_may_be_written_as_the_text_message_shows_it(name: str, shown: str) -> None:
    assert gsm7.sanitise_name(name) == shown
    for who, recorded in ((name, shown), (shown, name), (shown.upper(), name), (name, name)):
        assert allowance.make("198.51.100.7", "x", who).is_for(recorded)


@pytest.mark.parametrize(
    ("who", "similar"), [("a" * 40 + "1", "a" * 40 + "2"), ("\u4e00lee", "\u4e8clee")]
)
def test_names_that_only_a_checksum_tells_apart_do_not_match(who: str, similar: str) -> None:
    without_checksum = [gsm7.sanitise_name(name).partition(" #")[0] for name in (who, similar)]
    assert without_checksum[0] == without_checksum[1]
    assert not allowance.make("198.51.100.7", "x", gsm7.sanitise_name(who)).is_for(who)
    assert not allowance.make("198.51.100.7", "x", who).is_for(similar)


def test_allowance_without_a_name_is_for_everybody() -> None:
    for names in (("anybody", ""), ("anybody", "Admin"), ("", "")):
        assert allowance.make("198.51.100.7", "x").is_for(*names)


def test_allowance_recognises_addresses_in_its_range_alone() -> None:
    assert networks.recognises(HOTEL.parsed_cidr, "198.51.100.7")
    assert not networks.recognises(HOTEL.parsed_cidr, "198.51.100.8")
