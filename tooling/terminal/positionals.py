"""Lets a task take several paths, as a shell makes them of ``explain *.json``.

Invoke gives one word to a positional flag, and takes the next word for another task. Where the flag
can be repeated, its name is therefore written before each word: ``explain --path a.json --path
b.json``. Invoke has no place for this, so a method of its program is replaced. It is then the same
however Invoke was started.
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
    """A positional that can be repeated. Invoke would take its own empty list for a value."""

    def __init__(self, argument: Argument) -> None:
        super().__init__(names=argument.names, kind=list, help=argument.help, positional=True)
        self.raw_value = self._value = None

    def set_value(self, value: Any, cast: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - Invoke's own signature
        """Add a value."""
        self.raw_value = value
        self._value = [*(self._value or []), value]


def extend_invoke() -> None:
    """Let Invoke's program name the positionals of a command line before it parses the tasks."""
    program: Any = invoke.Program  # Any, because mypy lets nobody replace a method
    program._make_parser = _make_parser_and_name_positionals


def _make_parser_and_name_positionals(program: invoke.Program) -> Any:
    """Return Invoke's parser of the tasks; rewrite the words of the first task, which it parses."""
    parser = _make_parser(program)
    words = program.core.unparsed
    if words and words[0] in parser.contexts:
        context = parser.contexts[words[0]]
        program.core.unparsed = name_positionals(words, context, program.initial_context.flags)
    return parser


def name_positionals(
    words: Sequence[str], context: ParserContext, own_flags: Mapping[str, Argument]
) -> list[str]:
    """Return the words of a task with its flag's name before each positional.

    They are unchanged if the task, whose flags are in ``context``, has no positional that can be
    repeated. ``own_flags`` are Invoke's own.
    """
    names = [argument.name for argument in context.positional_args if argument.kind is list]
    if not names:
        return list(words)
    named = [words[0]]
    is_value = False  # of the flag before it
    for word in words[1:]:
        is_flag = word.startswith("-") and word != "-"
        if not is_value and not is_flag:
            named.append(f"--{names[0]}")
        named.append(word)
        is_value = not is_value and is_flag and _takes_next_word(word, context.flags, own_flags)
    return named


def _takes_next_word(word: str, *flag_groups: Mapping[str, Argument]) -> bool:
    """Return whether the next word is the value of this flag: of --networks, -n, or -jn.

    The first group that has a flag decides. A value may also be in the same word.
    """
    flags = [_find_flag(word, flag_groups)]
    if flags == [None] and not word.startswith("--"):
        flags = [_find_flag(f"-{letter}", flag_groups) for letter in word[1:]]
    *others, last = flags
    if last is None or any(flag is None or flag.takes_value for flag in others):
        return False
    return last.takes_value and not last.optional


def _find_flag(name: str, flag_groups: Iterable[Mapping[str, Argument]]) -> Argument | None:
    """Return the flag of this name in the first group that has it."""
    for flags in flag_groups:
        if name in flags:  # a Lexicon finds its aliases only so
            return flags[name]
    return None
