"""How this run was called, and whether it has already changed something.

Messages name commands as the person typed theirs, so that they can be pasted. The exit code of an
unexpected end depends on whether anything may have been written before it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM_VARIABLE = "SIGNWATCH_PROGRAM"  # the script ``inv`` sets it to the name it was called by
DEFAULT_PROGRAM = "./inv"
PROGRAM_NAMES = ("inv", "invoke")
# Flags that choose the account, in the order in which they are spelled.
TARGET_FLAGS = {
    "profile": "-p",
    "account": "-a",
    "region": "--region",
    "prefix": "--prefix",
    "config": "--config",
}
# Which of them a task takes; every other task takes all of them.
FLAGS_OF_TASKS: dict[str, tuple[str, ...]] = {
    "coverage": ("profile", "account", "region", "config"),
    "explain": ("config",),
    **dict.fromkeys(("package", "networks.refresh", "scan", "test", "check", "demo"), ()),
}


@dataclass
class Run:
    """The run of one task: the flags and the profile of its account, and whether it has written."""

    flags: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None  # of the account that was opened; None: that of the environment
    has_written: bool = False


_runs = [Run()]  # the present one is the last


@contextmanager
def start_run(flags: Mapping[str, str | None]) -> Iterator[Run]:
    """Begin the run of a task; ``flags`` are those of TARGET_FLAGS with their values."""
    run = Run({name: value for name, value in flags.items() if value})
    _runs.append(run)
    try:
        yield run
    finally:
        _runs.remove(run)


def present_run() -> Run:
    """Return the run of the present task."""
    return _runs[-1]


def mark_written() -> None:
    """Record that this run may have changed something in AWS."""
    present_run().has_written = True


def spell(task: str, *arguments: str) -> str:
    """Return the command that runs a task, as this run was called and for the same account.

    ``arguments`` follow as they are: ``spell("deploy", "--set", "Name=Value")`` is
    "./inv deploy -p NAME -a ID --set Name=Value" if this run was called with -p and -a.
    """
    flags = present_run().flags
    words = [spell_program(), task]
    for name in FLAGS_OF_TASKS.get(task, tuple(TARGET_FLAGS)):
        if name in flags:
            words += [TARGET_FLAGS[name], shlex.quote(flags[name])]
    return " ".join([*words, *arguments])


def spell_program(
    environment: Mapping[str, str] | None = None, argv: Sequence[str] | None = None
) -> str:
    """Return how a person calls the program of this run: ./inv, inv, invoke or a path.

    The shell hands over the whole path of a program that it found on PATH; then the name is enough.
    ``environment`` and ``argv`` are by default those of this process.
    """
    environment = os.environ if environment is None else environment
    argv = sys.argv if argv is None else argv
    called = environment.get(PROGRAM_VARIABLE, "")
    if not called and Path(argv[0]).name in PROGRAM_NAMES:
        called = argv[0]
    if not called:
        return DEFAULT_PROGRAM
    name = Path(called).name
    is_on_path = shutil.which(name, path=environment.get("PATH", "")) == called
    return name if is_on_path else shlex.quote(called)
