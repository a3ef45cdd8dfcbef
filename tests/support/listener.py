"""Records what a task shows, in place of a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tooling.deploy.stack import Display

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.deploy.stack_events import StackEvent


@dataclass
class Listener:
    """The lines, the planned changes, the change table and the events that a run showed."""

    lines: list[str] = field(default_factory=list)
    planned: list[Any] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)
    events: list[StackEvent] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    answer: Callable[[], None] = lambda: None

    def announce(self, text: str) -> None:
        self.lines.append(text)

    def plan(self, changes: Any) -> None:
        self.planned.extend(changes)

    def stack(self) -> Display:
        return Display(self.announce, self.changes.extend, self.events.append, self.approve)

    def approve(self, question: str) -> None:
        """Record the question and answer yes; tests replace ``answer`` to stop."""
        self.questions.append(question)
        self.answer()

    def text(self) -> str:
        return "\n".join(self.lines)


def confirm_all(_lines: list[str]) -> None:
    """Approve every plan of networks.allow and networks.revoke."""
