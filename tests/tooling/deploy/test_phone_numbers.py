"""Phone numbers as people write them become the form that Twilio takes, or are refused."""

from __future__ import annotations

import re

import pytest

from tooling.deploy.phone_numbers import WrongValueError, mask, normalise


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+4915112345678", "+4915112345678"),
        ("+49015112345678", "+4915112345678"),
        ("+49 (0)151 12345678", "+4915112345678"),
        (" +49-151/123 456 78 ", "+4915112345678"),
        ("+44 07400 123456", "+447400123456"),
        ("+1 (202) 555-0123", "+12025550123"),
        ("+3906123456", "+3906123456"),  # Italy keeps the 0
        ("\u202d+49 151 12345678\u202c", "+4915112345678"),
        ("+49\u00a0151\u201312345678", "+4915112345678"),
        ("+15005550006", "+15005550006"),  # Twilio's own test number
    ],
)
def test_number_is_normalised(text: str, number: str) -> None:
    assert normalise(text) == number


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("", "does not begin with +", "write + and the country code in front"),
        ("4915112345678", "does not begin with +", "write + and the country code in front"),
        ("015112345678", "does not begin with +", "in place of the leading 0, as"),
        ("004915112345678", "does not begin with +", "in place of the leading 00, as"),
        ("+10000000", r"is too short for a number of \+1: the area code", "compare its digits"),
        ("+1202555012", r"is too short for a number of \+1", "compare its digits"),
        ("+120255501234", r"is too long for a number of \+1", "compare its digits"),
        ("+12000000000", r"is not a number that \+1 has given out", "compare its digits"),
        ("+49151123456", r"is not a number that \+49 has given out", "compare its digits"),
        ("+999123456789", "a country code that does not exist", "write + and the country code"),
        ("+", "is not a phone number", r"write \+ and digits alone"),
        ("+49 call me", "has a character that is no part", r"write \+ and digits alone"),
        ("+1202555o123", "has a character that is no part", r"write \+ and digits alone"),
        ("+4915112345678x", "has a character that is no part", r"write \+ and digits alone"),
        ("+4915112345678 x5", "has a character that is no part", r"write \+ and digits alone"),
        ("+4915112345678,+12025550123", "has a character", r"write \+ and digits alone"),
        ("+" + "1" * 400, "is not a phone number", r"write \+ and digits alone"),
    ],
)
def test_wrong_number_is_refused_with_the_fitting_advice(text: str, what: str, remedy: str) -> None:
    with pytest.raises(WrongValueError) as refusal:
        normalise(text)
    assert re.search(what.replace("with +", r"with \+"), refusal.value.what)
    assert re.search(remedy.replace("write + and", r"write \+ and"), refusal.value.remedy)


@pytest.mark.parametrize("text", ["015198765432", "+10000000", "+4915198765432 x5", "+49 hunter2"])
def test_refusal_does_not_repeat_the_number(text: str) -> None:
    with pytest.raises(WrongValueError) as refusal:
        normalise(text)
    assert text not in str(refusal.value)
    assert "98765432" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("number", "shown"), [("+4915112345678", "+49...78"), ("+12025550123", "+1...23")]
)
def test_shown_number_lacks_its_middle(number: str, shown: str) -> None:
    assert mask(number) == shown
