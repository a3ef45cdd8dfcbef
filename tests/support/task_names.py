"""The tasks of this project as Invoke reads them, and which of them a command line names."""

from __future__ import annotations

import functools
import shlex

from invoke import Collection
from invoke.loader import FilesystemLoader

from tests.support.repository import ROOT
from tooling.terminal.program import Program


@functools.cache
def collection() -> Collection:
    module, _ = FilesystemLoader(start=str(ROOT)).load("tasks")
    return Collection.from_module(module)


def task_names(tasks: Collection) -> dict[str, str]:
    """Return each task as a person types it, with its full name: "networks" for "networks.list"."""
    names = {}
    for full_name, aliases in tasks.task_names.items():
        families = [alias for alias in aliases if alias in tasks.collections]
        names[families[0] if families else full_name] = full_name
    return names


def parse(command: str) -> list[str]:
    """Return the tasks that a command line names, parsed as ``./inv`` does."""
    program = Program(collection(), {})
    program.create_config()
    program.normalize_argv(shlex.split(command, comments=True))
    program.parse_core_args()
    program.parse_collection()
    program.parse_tasks()
    help_of = program.args.help.value
    names = [context.name or "" for context in program.tasks]
    return [*names, help_of] if isinstance(help_of, str) else names
