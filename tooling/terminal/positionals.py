"""Lets a task take several paths, as a shell makes them of ``explain *.json``.

Invoke reads flags alone. The name of the flag is therefore written before each word that has none:
``explain a.json b.json`` becomes ``explain --path a.json --path b.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from invoke import Argument


def name_positionals(
    words: Sequence[str], word_flag: str, *flag_groups: Mapping[str, Argument]
) -> list[str]:
    """Return the words of one task with ``word_flag`` before each word that is no flag.

    ``["explain", "a.json"] -> ["explain", "--path", "a.json"]``. ``flag_groups`` are the flags of
    the task and those of Invoke, which show what is the value of a flag.
    """
    task_name, *arguments = words
    named = [task_name]
    is_flag_value = False  # the word is the value of the flag before it
    for word in arguments:
        is_flag = not is_flag_value and word.startswith("-") and word != "-"
        if not is_flag_value and not is_flag:
            named.append(word_flag)
        named.append(word)
        is_flag_value = is_flag and _takes_next_word(word, flag_groups)
    return named


def _takes_next_word(word: str, flag_groups: Iterable[Mapping[str, Argument]]) -> bool:
    """Return whether the next word is the value of this flag, such as --networks.

    The first group that has the flag decides. A word that holds its value (``--networks=...``) is
    the name of no flag.
    """
    for flags in flag_groups:
        if word in flags:  # not flags.get: Invoke's mapping finds short names only like this
            return flags[word].takes_value and not flags[word].optional
    return False
