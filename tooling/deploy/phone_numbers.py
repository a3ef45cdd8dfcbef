"""Phone numbers as Twilio takes them: read with the library phonenumbers, and shown in part.

E.164 is the international form: + and at most 15 digits, the country code first (+4915112345678).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

EXAMPLE = "+4915112345678"
DIGITS_REMEDY = f"write + and digits alone, as in {EXAMPLE}"
SEPARATORS = "()-./\N{EN DASH}"
INTERNATIONAL_CALL_PREFIX = "00"  # most countries dial it before a country code


class WrongValueError(ValueError):
    """A value has the wrong form: ``what`` is wrong, and a ``remedy``. Neither repeats the value.

    ``what`` continues a sentence that begins with the name of the value.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}. Try: {self.remedy}"


def normalise(text: str) -> str:
    """Return a phone number in E.164 form: ``"+49 (0)151 12345678" -> "+4915112345678"``.

    Raises WrongValueError if it has no country code, or if no country has such a number.
    """
    import phonenumbers

    # A number that was copied from an address book is often framed by invisible characters.
    text = "".join(char for char in text if unicodedata.category(char) != "Cf").strip()
    if not text.startswith("+"):
        raise WrongValueError("does not begin with + and a country code", _advise_plus(text))
    if not all(char in SEPARATORS or char.isdigit() or char.isspace() for char in text[1:]):
        what = "has a character that is no part of a phone number"  # phonenumbers reads o as 6
        raise WrongValueError(what, DIGITS_REMEDY)
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException as error:
        raise _explain_unreadable(error.error_type) from None
    if not phonenumbers.is_valid_number(number):
        raise _explain_invalid(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def mask(number: str) -> str:
    """Return a number in E.164 form with its middle left out: ``"+4915112345678" -> "+49...78"``.

    It may appear in the log of a script; its owner still recognises it.
    """
    import phonenumbers

    return f"+{phonenumbers.parse(number).country_code}...{number[-2:]}"


def _advise_plus(text: str) -> str:
    """Return what to try with a number that does not begin with +."""
    if text.startswith(INTERNATIONAL_CALL_PREFIX):
        return f"write + in place of the leading {INTERNATIONAL_CALL_PREFIX}, as in {EXAMPLE}"
    if text.startswith("0"):
        return f"write + and the country code in place of the leading 0, as in {EXAMPLE}"
    return f"write + and the country code in front, as in {EXAMPLE}"


def _explain_unreadable(error_type: int) -> WrongValueError:
    """Return the error for a text that is no phone number."""
    import phonenumbers

    if error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
        what = "begins with a country code that does not exist"
        return WrongValueError(what, f"write + and the country code, as in {EXAMPLE}")
    return WrongValueError("is not a phone number", DIGITS_REMEDY)


def _explain_invalid(number: PhoneNumber) -> WrongValueError:
    """Return the error for a number that is read but does not exist."""
    import phonenumbers

    code = f"+{number.country_code}"
    reason = phonenumbers.is_possible_number_with_reason(number)
    lengths = {
        phonenumbers.ValidationResult.TOO_SHORT: f"is too short for a number of {code}",
        phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: (
            f"is too short for a number of {code}: the area code may be missing"
        ),
        phonenumbers.ValidationResult.TOO_LONG: f"is too long for a number of {code}",
        phonenumbers.ValidationResult.INVALID_LENGTH: f"has too few or many digits for {code}",
    }
    what = lengths.get(reason, f"is not a number that {code} has given out")
    return WrongValueError(what, "compare its digits with the phone's own settings")
