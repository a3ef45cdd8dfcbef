"""The words of this project as Invoke reads them: which there are, and what a command line asks for."""

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


def words(found: Collection) -> dict[str, str]:
    """Each word as a person types it, with its full name: a family's own word is the first of its tasks."""
    named = found.task_names.items()
    return {
        next((alias for alias in aliases if alias in found.collections), name): name
        for name, aliases in named
    }


def parse(command: str) -> list[str]:
    """Parse as Invoke's program does: its own flags first, then tasks with theirs; return the tasks named."""
    own = Parser(initial=ParserContext(args=Program().core_args()), ignore_unknown=True)
    result = own.parse_argv(shlex.split(command, comments=True)[1:])
    tasks = Parser(contexts=collection().to_contexts()).parse_argv(result.unparsed)
    asked = result[0].args["help"].value
    return [context.name or "" for context in tasks] + ([asked] if isinstance(asked, str) else [])
