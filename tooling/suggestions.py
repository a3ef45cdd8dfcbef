"""Finds the right name or value that a person probably meant who wrote a similar one."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_SIMILARITY = 0.6  # from 0, nothing in common, to 1, equal; as in difflib.get_close_matches


def find_similar(text: str, options: Iterable[str]) -> str | None:
    """Return the option that is most like ``text``, or None if none reaches MIN_SIMILARITY.

    Case, spaces, hyphens and underscores do not count: "known_networks" equals "KnownNetworks".
    """
    nearest = find_nearest(text, options)
    if nearest is None or _measure_similarity(text, nearest) < MIN_SIMILARITY:
        return None
    return nearest


def find_nearest(text: str, options: Iterable[str]) -> str | None:
    """Return the option that is most like ``text``, however little; None if there is no option."""
    return max(sorted(options), key=lambda option: _measure_similarity(text, option), default=None)


def _measure_similarity(one: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1, which means equal."""
    return SequenceMatcher(None, _simplify(one), _simplify(other)).ratio()


def _simplify(name: str) -> str:
    """Return the name in lower case, without spaces, hyphens and underscores."""
    return name.casefold().translate({ord(separator): None for separator in " -_"})
