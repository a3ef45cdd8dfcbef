"""The tasks of this project as Invoke reads them, and which of them a command line names."""

from __future__ import annotations

import functools
import shlex

from invoke import Collection, Program
from invoke.loader import FilesystemLoader
from invoke.parser import Parser
from invoke.parser.context import ParserContext

from tests.support.repository import ROOT


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
    """Return the tasks that a command line names, parsed as Invoke does: its own flags first."""
    own_flags = Parser(initial=ParserContext(args=Program().core_args()), ignore_unknown=True)
    own = own_flags.parse_argv(shlex.split(command, comments=True)[1:])
    tasks = Parser(contexts=collection().to_contexts()).parse_argv(own.unparsed)
    names = [context.name or "" for context in tasks]
    help_of = own[0].args["help"].value
    return [*names, help_of] if isinstance(help_of, str) else names
