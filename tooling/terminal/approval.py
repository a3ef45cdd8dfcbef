"""Asks a person before a task writes: the flags --yes and --plan of every writing task.

A task shows its plan first. Then it asks on a terminal; --yes answers in scripts, --plan stops
there. Without a terminal and without one of the flags, it is refused before it does anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tooling.errors import PlanShownError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

APPROVAL_HELP = {
    "yes": "change it without a question, as scripts must; default: off",
    "plan": "show what would change, and stop; default: off",
}
ANSWERS = ("y", "yes")
REMEDY = "answer y, or add --yes; --plan only shows what would change"


@dataclass(frozen=True)
class Approval:
    """Decides whether a task may write, by its flags and by what the person answers."""

    task_name: str
    yes: bool
    plan: bool
    ask_person: Callable[[str], str] = input  # raises EOFError if nobody answers

    @classmethod
    def of_flags(cls, task_name: str, *, yes: bool, plan: bool) -> Approval:
        """Return the approval that the flags of this run choose.

        Raises RefusedError if both are set, or if neither is and there is no terminal to ask on.
        """
        if yes and plan:
            raise RefusedError(task_name, "has both --yes and --plan", "leave one of them out")
        if not (yes or plan or sys.stdin.isatty()):
            what = "changes something, and there is no terminal to ask on; nothing was changed"
            raise RefusedError(task_name, what, "add --yes, or --plan to see what would change")
        return cls(task_name, yes=yes, plan=plan)

    def ask(self, question: str) -> None:
        """Return if the task may go on: with --yes, or after a yes.

        Raises PlanShownError with --plan, RefusedError if the person answers anything else.
        """
        self._ask(f"{question} [y/N] ", lambda answer: answer.lower() in ANSWERS)

    def share(self, note: str, announce: Callable[[str], None]) -> SharedApproval:
        """Return an approval of several steps: one answer holds for all; ``note`` names the others.

        ``announce`` shows the note, if there is one, before the question.
        """
        return SharedApproval(self, note, announce)

    def confirm(self, lines: Iterable[str]) -> None:
        """Print the plan, and return if the task may go on, as ``ask``."""
        for line in lines:
            print(line)
        self.ask("Go on?")

    def ask_for_text(self, question: str, text: str) -> None:
        """Return if the task may go on, as ``ask``; the person must type ``text``."""
        self._ask(f"{question} ", lambda answer: answer == text)

    def _ask(self, question: str, is_right: Callable[[str], bool]) -> None:
        """Ask a question unless a flag answers it."""
        if self.plan:
            raise PlanShownError
        if self.yes:
            return
        try:
            answer = self.ask_person(question)
        except EOFError:
            answer = ""
        if not is_right(answer.strip()):
            raise RefusedError(self.task_name, "was not confirmed; nothing was changed", REMEDY)


@dataclass
class SharedApproval:
    """Asks about the first step of a plan, and remembers whether the person has agreed."""

    approval: Approval
    note: str
    announce: Callable[[str], None]
    was_given: bool = False

    def ask(self, question: str) -> None:
        """Return if the task may go on, as ``Approval.ask``."""
        if self.note:
            self.announce(self.note)
        self.approval.ask(question)
        self.was_given = True
