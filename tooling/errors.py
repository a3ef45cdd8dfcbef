"""The errors that end a task: each says where, what and what to try, and has an exit code."""

from __future__ import annotations

DEBUG_VARIABLE = "SIGNWATCH_DEBUG"  # if it is set, unexpected errors keep their traceback


class ToolError(Exception):
    """A task cannot go on. ``str()`` gives the sentence for the person at the terminal.

    ``where`` names the file, resource, account or command; ``what`` says what is wrong with it;
    ``remedy`` says what to try.
    """

    exit_code = 1

    def __init__(self, where: str, what: str, remedy: str) -> None:
        super().__init__(where, what, remedy)
        self.where, self.what, self.remedy = where, what, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\nTry: {self.remedy}"


class PlanShownError(Exception):
    """A task was asked for its plan alone (--plan), and has shown it: exit code 0."""


class FailedError(ToolError):
    """A finding, or a failure that AWS reported: exit code 1."""

    exit_code = 1


class RefusedError(ToolError):
    """Refused before any write (input, account, missing program or file): exit code 2."""

    exit_code = 2


class UnknownStateError(ToolError):
    """AWS goes on without us, or the state is unknown: exit code 3."""

    exit_code = 3
