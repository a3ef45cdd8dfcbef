"""Asks for the values of the Twilio secret, one after another, and checks each answer at once.

A wrong answer is asked for again, with the reason. Only the key's secret is typed unseen.
"""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.deploy import secret
from tooling.deploy.phone_numbers import WrongValueError, normalise
from tooling.deploy.twilio_api import TwilioError
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

QUESTIONS = {
    "account_sid": "Account SID (AC...): ",
    "api_key_sid": "API key SID (SK...): ",
    "api_key_secret": "API key secret (hidden: nothing shows while you type or paste): ",
    "sender": "Sender (phone number, MG... or name): ",
}
INTRODUCTION = (
    "Twilio's console shows the account SID, and creates API keys. A key limited to messages is"
    " enough. Ctrl-C ends this; nothing is stored before the last question."
)
NOTHING_STORED = "nothing was stored"


class Terminal(NamedTuple):
    """How a person is told something, and asked with and without an echo."""

    announce: Callable[[str], None]  # one line
    ask: Callable[[str], str] = input
    ask_hidden: Callable[[str], str] = getpass.getpass

    def confirm(self, question: str) -> bool:
        """Return whether the answer to a question is yes; Enter is no."""
        return self.ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def refuse_early_end() -> Iterator[None]:
    """Say that nothing was stored if the ``with`` block ends by Ctrl-C or Ctrl-D.

    Raises RefusedError for Ctrl-D, the end of the input.
    """
    try:
        yield
    except EOFError:
        what = f"the questions were not all answered; {NOTHING_STORED}"
        raise RefusedError("secret", what, "run the same task again") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(NOTHING_STORED) from None


def ask_for_secret(
    terminal: Terminal, check_credentials: Callable[[Mapping[str, str]], None]
) -> dict[str, Any]:
    """Return the secret from a person's answers, each of them checked.

    ``check_credentials`` raises TwilioError if Twilio does not accept them.
    """
    terminal.announce(INTRODUCTION)
    credentials = _ask_for_credentials(terminal, check_credentials)
    sender = _ask_for_field(terminal, "sender")
    return {**credentials, "sender": sender, "recipients": _ask_for_recipients(terminal)}


def _ask_for_credentials(
    terminal: Terminal, check_credentials: Callable[[Mapping[str, str]], None]
) -> dict[str, str]:
    """Return credentials that Twilio accepts, or that the person wants to store unchecked."""
    while True:
        credentials = {name: _ask_for_field(terminal, name) for name in secret.CREDENTIAL_FIELDS}
        try:
            check_credentials(credentials)
        except TwilioError as error:
            terminal.announce(str(error))
            is_unknown = not error.is_refusal
            if is_unknown and terminal.confirm("Store these three without Twilio's check?"):
                return credentials
            terminal.announce("The three values again:")
        else:
            return credentials


def _ask_for_field(terminal: Terminal, name: str) -> str:
    """Ask until the answer is a value of this field; return it."""
    ask = terminal.ask_hidden if name == "api_key_secret" else terminal.ask
    while True:
        answer = ask(QUESTIONS[name]).strip()
        try:
            value = secret.check_field(name, answer)
        except WrongValueError as error:
            _announce_wrong_answer(terminal, error)
            continue
        _announce_change(terminal, answer, value)
        return value


def _ask_for_recipients(terminal: Terminal) -> list[str]:
    """Ask for one phone number after another until an empty answer; return each once, in order."""
    numbers: list[str] = []
    while True:
        hint = "Enter alone ends the list" if numbers else "such as +4915112345678"
        answer = terminal.ask(f"Phone of recipient {len(numbers) + 1} ({hint}): ").strip()
        if not answer and numbers:
            return numbers
        try:
            number = normalise(answer)
        except WrongValueError as error:
            _announce_wrong_answer(terminal, error)
            continue
        _announce_change(terminal, answer, number)
        if number in numbers:
            terminal.announce(f"  this is recipient {numbers.index(number) + 1} already")
        else:
            numbers.append(number)


def _announce_wrong_answer(terminal: Terminal, error: WrongValueError) -> None:
    terminal.announce(f"  this {error}")


def _announce_change(terminal: Terminal, answer: str, value: str) -> None:
    """Say how a phone number was understood, if that is not as it was typed."""
    if value != answer:
        terminal.announce(f"  understood as {value}")
