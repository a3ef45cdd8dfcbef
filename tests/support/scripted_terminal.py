"""A person at a terminal who gives the answers of a script, and made-up values of the secret."""

from __future__ import annotations

import io
from typing import Any

from tooling.deploy.secret_questions import Terminal

VALID: dict[str, Any] = {
    "account_sid": "AC" + "1" * 32,
    "api_key_sid": "SK" + "2" * 32,
    "api_key_secret": "-".join(("made", "up", "secret")),
    "sender": "+15005550006",
    "recipients": ["+4915112345679", "+4915112345678"],
}
CREDENTIALS = [VALID[name] for name in ("account_sid", "api_key_sid", "api_key_secret")]


class TerminalInput(io.StringIO):
    """Standard input of a terminal, which must be read by questions only."""

    def isatty(self) -> bool:
        return True

    def read(self, *_: Any) -> str:
        raise AssertionError("read without a question")


class ScriptedTerminal:
    """Answers one question after another; keeps what was asked, hidden or not, and announced.

    An answer that is an exception is raised.
    """

    def __init__(self, *answers: str | type[BaseException]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.hidden: list[str] = []
        self.announced: list[str] = []
        self.terminal = Terminal(self.announced.append, self.ask, self.ask_hidden)

    def ask(self, question: str) -> str:
        self.asked.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    def ask_hidden(self, question: str) -> str:
        self.hidden.append(question)
        return self.ask(question)

    @property
    def shown(self) -> str:
        """All that was on the screen, except the person's own answers."""
        return "\n".join([*self.announced, *self.asked])
