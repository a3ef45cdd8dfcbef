"""The questions for the Twilio secret: each answer is checked at once, and asked for again."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.scripted_terminal import CREDENTIALS, VALID, ScriptedTerminal
from tooling.deploy import secret_questions
from tooling.deploy.secret_questions import Terminal
from tooling.deploy.twilio_api import TwilioError
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED = TwilioError("does not accept this key", "compare it", is_refusal=True)
UNREACHED = TwilioError("could not be reached", "check the network", is_refusal=False)


def ask(*answers: str, errors: tuple[TwilioError, ...] = ()) -> tuple[Any, ScriptedTerminal]:
    """Return the secret and the terminal; Twilio's first answers are ``errors``."""
    person, outcomes = ScriptedTerminal(*answers), list(errors)

    def check_credentials(values: Mapping[str, str]) -> None:
        assert len(person.asked) >= 3
        if outcomes:
            raise outcomes.pop(0)

    values = secret_questions.ask_for_secret(person.terminal, check_credentials)
    assert person.answers == [], "not every answer was asked for"
    return values, person


def test_questions_make_the_secret_in_the_order_given() -> None:
    values, person = ask(*CREDENTIALS, VALID["sender"], *VALID["recipients"], "")
    assert values == VALID
    assert [question.partition(" (")[0] for question in person.asked] == [
        "Account SID",
        "API key SID",
        "API key secret",
        "Sender",
        "Phone of recipient 1",
        "Phone of recipient 2",
        "Phone of recipient 3",
    ]


def test_only_the_keys_secret_is_hidden_and_announced_as_hidden() -> None:
    _, person = ask(*CREDENTIALS, VALID["sender"], *VALID["recipients"], "")
    assert person.hidden == [
        "API key secret (hidden: nothing shows while you type or paste): ",
    ]
    assert VALID["api_key_secret"] not in person.shown


def test_real_terminal_hides_by_getpass() -> None:
    terminal = Terminal(print)
    assert (terminal.ask, terminal.ask_hidden) == (input, getpass.getpass)


def test_spaces_around_an_answer_are_removed() -> None:
    values, person = ask(
        f"  {CREDENTIALS[0]}\t", *CREDENTIALS[1:], " Signwatch ", " +4915112345678 ", " "
    )
    assert values["account_sid"] == CREDENTIALS[0]
    assert (values["sender"], values["recipients"]) == ("Signwatch", ["+4915112345678"])
    assert "understood as" not in person.shown


def test_wrong_answer_is_asked_for_again_with_the_reason_and_without_repeating_it() -> None:
    values, person = ask(
        "SK" + "9" * 32,
        CREDENTIALS[0],
        "hunter2",
        CREDENTIALS[1],
        "hunter2",
        CREDENTIALS[2],
        "15005550006",
        VALID["sender"],
        "",
        "hunter2",
        "+10000000",
        *VALID["recipients"],
        "",
    )
    no_plus = (
        "  this does not begin with + and a country code. "
        "Try: write + and the country code in front, as in +4915112345678"
    )
    assert values == VALID
    assert person.announced[1:-1] == [
        "  this is the SID of an API key. Try: it is AC and 32 hexadecimal digits",
        "  this has the wrong form. Try: it is SK and 32 hexadecimal digits",
        "  this has the wrong form. Try: it is shown once, when the API key was created",
        no_plus,
        no_plus,
        no_plus,
    ]
    assert person.announced[-1] == (
        "  this is too short for a number of +1: the area code may be missing. "
        "Try: compare its digits with the phone's own settings"
    )


def test_number_that_was_understood_differently_is_shown() -> None:
    values, person = ask(*CREDENTIALS, "+1 500 555 0006", "+49015112345678", "")
    assert (values["sender"], values["recipients"]) == ("+15005550006", ["+4915112345678"])
    assert person.announced[1:] == [
        "  understood as +15005550006",
        "  understood as +4915112345678",
    ]


def test_recipient_given_twice_is_once_in_the_secret() -> None:
    answers = ("+4915112345679", "+4915112345678", "+49 0151 12345679", "")
    values, person = ask(*CREDENTIALS, "Signwatch", *answers)
    assert values["recipients"] == ["+4915112345679", "+4915112345678"]
    assert person.announced[-1] == "  this is recipient 1 already"


def test_credentials_that_twilio_refuses_are_asked_for_again() -> None:
    wrong = ["AC" + "0" * 32, "SK" + "0" * 32, "another-secret"]
    values, person = ask(*wrong, *CREDENTIALS, "Signwatch", "+4915112345678", "", errors=(REFUSED,))
    assert [values[name] for name in ("account_sid", "api_key_sid", "api_key_secret")] == (
        CREDENTIALS
    )
    assert str(REFUSED) in person.announced
    assert "Store these three" not in person.shown


def test_credentials_that_nobody_could_check_are_taken_only_after_a_question() -> None:
    rest = ("Signwatch", "+4915112345678", "")
    values, _ = ask(*CREDENTIALS, "y", *rest, errors=(UNREACHED,))
    assert values["account_sid"] == CREDENTIALS[0]
    _, person = ask(*CREDENTIALS, "", *CREDENTIALS, *rest, errors=(UNREACHED,))
    assert "Store these three without Twilio's check? [y/N] " in person.asked


@pytest.mark.parametrize(
    ("answer", "is_yes"), [("y", True), (" YES ", True), ("", False), ("no", False), ("yup", False)]
)
def test_only_yes_is_a_yes(answer: str, is_yes: bool) -> None:
    assert ScriptedTerminal(answer).terminal.confirm("Sure?") is is_yes


def test_end_of_input_is_refused() -> None:
    person = ScriptedTerminal(CREDENTIALS[0], EOFError)
    with (
        pytest.raises(RefusedError, match="were not all answered; nothing was stored"),
        secret_questions.refuse_early_end(),
    ):
        secret_questions.ask_for_secret(person.terminal, lambda _: None)


def test_interruption_says_that_nothing_was_stored() -> None:
    person = ScriptedTerminal(CREDENTIALS[0], KeyboardInterrupt)
    with (
        pytest.raises(KeyboardInterrupt, match="nothing was stored"),
        secret_questions.refuse_early_end(),
    ):
        secret_questions.ask_for_secret(person.terminal, lambda _: None)
