"""Starts ``explain`` without Invoke; ``./inv`` runs this file by path.

Importing Invoke takes as much time as explaining 30,000 records. A command line that is not plain,
such as one with an unknown flag or a short one, is therefore left to Invoke, and every other is
understood in the same way.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - pathlib is not loaded yet
TASK = "explain"
FLAGS_WITH_VALUE = ("--networks", "--config")


class Arguments(NamedTuple):
    """The arguments of ``explain``."""

    paths: list[str]
    networks: str | None
    config: str | None
    as_json: bool


def parse_plain(words: Sequence[str]) -> Arguments | None:
    """Return the arguments in the words after the task's name; None if Invoke must parse them.

    Plain are paths, --json, and --networks and --config with a value in the next word.
    """
    paths: list[str] = []
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word in FLAGS_WITH_VALUE:
            value = next(rest, "")
            if word in values or not value or value.startswith("-"):
                return None
            values[word] = value
        elif word == "-" or (word and not word.startswith("-")):
            paths.append(word)
        elif word != "--json":
            return None
    if not paths:
        return None
    networks, config = map(values.get, FLAGS_WITH_VALUE)
    return Arguments(paths, networks, config, as_json="--json" in words)


def run(arguments: Arguments) -> None:
    """Explain the records at the paths. Raises RefusedError and FailedError as ``explain`` does."""
    from tooling import settings
    from tooling.analysis import explain

    parameters = settings.read_parameters(arguments.config)
    criteria = explain.choose_criteria(parameters, arguments.networks)
    explain.run(arguments.paths, criteria, as_json=arguments.as_json)


def main(words: Sequence[str]) -> None:
    """Run the task that the words of the command line name, with or without Invoke."""
    arguments = parse_plain(words[1:]) if words[:1] == [TASK] else None
    if arguments is None:
        command = [sys.executable, "-P", "-m", "invoke", "--search-root", ROOT, *words]
        os.execv(command[0], command)  # noqa: S606 - Invoke takes the place of this process
    try:
        run(arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the same end as under Invoke
        from tooling.terminal.task import exit_with_error

        exit_with_error(TASK, error)


if __name__ == "__main__":
    sys.path[:0] = [ROOT, os.path.join(ROOT, "lambda")]  # noqa: PTH118 - pathlib is not loaded yet
    main(sys.argv[1:])
