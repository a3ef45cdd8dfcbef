"""Lets a task take several paths, as a shell makes them of ``explain *.json``.

A positional is a flag whose value may stand without the flag's name: ``explain a.json``. Invoke
gives it one word, and takes the next word for another task. Where the flag can be repeated, its
name is therefore written before each word: ``explain --path a.json --path b.json``. Invoke offers
no way to do this, so a method of its class Program is replaced. That works however Invoke was
started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import invoke

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from invoke import Argument
    from invoke.parser.context import ParserContext

_make_parser = invoke.Program._make_parser  # Invoke's own


class RepeatedPositional(invoke.Argument):
    """A positional that can be repeated. Its value is None, then a list of the words given.

    Invoke's own list is empty at first, and Invoke would take that for a value that was given.
    """

    def __init__(self, argument: Argument) -> None:
        super().__init__(names=argument.names, kind=list, help=argument.help, positional=True)
        self.raw_value = self._value = None

    def set_value(self, value: Any, cast: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - Invoke's own signature
        """Add ``value`` to the list of values."""
        self.raw_value = value
        self._value = [*(self._value or []), value]


def extend_invoke() -> None:
    """Make Invoke write the names of positionals into the command line before it parses tasks."""
    program: Any = invoke.Program  # Any, because mypy lets nobody replace a method
    program._make_parser = _make_parser_and_name_positionals


def _make_parser_and_name_positionals(program: invoke.Program) -> Any:
    """Return Invoke's parser of the tasks; name the positionals of the first task before it runs.

    Invoke calls this when the words of the tasks are known and not yet parsed.
    """
    parser = _make_parser(program)
    words = program.core.unparsed  # ["explain", "a.json", "b.json"]
    if words and words[0] in parser.contexts:
        context = parser.contexts[words[0]]
        program.core.unparsed = name_positionals(words, context, program.initial_context.flags)
    return parser


def name_positionals(
    words: Sequence[str], context: ParserContext, own_flags: Mapping[str, Argument]
) -> list[str]:
    """Return the words of a task with the positional's name before each of its values.

    ``["explain", "a.json"] -> ["explain", "--path", "a.json"]``. The words are unchanged if the
    task has no positional that can be repeated. ``context`` has the task's flags, ``own_flags`` are
    Invoke's own.
    """
    names = [argument.name for argument in context.positional_args if argument.kind is list]
    if not names:
        return list(words)
    task_name, *arguments = words
    named = [task_name]
    is_flag_value = False  # the word is the value of the flag before it
    for word in arguments:
        is_flag = not is_flag_value and word.startswith("-") and word != "-"
        if not is_flag_value and not is_flag:
            named.append(f"--{names[0]}")
        named.append(word)
        is_flag_value = is_flag and _takes_next_word(word, context.flags, own_flags)
    return named


def _takes_next_word(word: str, *flag_groups: Mapping[str, Argument]) -> bool:
    """Return whether the next word is the value of this flag: of --networks, -n, or -jn.

    ``-jn`` is short for ``-j -n``: the last flag takes the value. It takes none if the word has the
    value in it (``--networks=...``, ``-n...``). The first group that has a flag decides.
    """
    flags = [_find_flag(word, flag_groups)]
    if flags == [None] and not word.startswith("--"):
        flags = [_find_flag(f"-{letter}", flag_groups) for letter in word[1:]]
    *others, last = flags
    has_value_in_word = any(flag is None or flag.takes_value for flag in others)
    if last is None or has_value_in_word:
        return False
    return last.takes_value and not last.optional


def _find_flag(name: str, flag_groups: Iterable[Mapping[str, Argument]]) -> Argument | None:
    """Return the flag of this name in the first group that has it."""
    for flags in flag_groups:
        if name in flags:  # not flags.get: Invoke's mapping finds short names only like this
            return flags[name]
    return None
