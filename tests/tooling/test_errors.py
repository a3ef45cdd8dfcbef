"""The errors of the tooling: each says where, what and what to try, and has an exit code."""

from __future__ import annotations

import copy

import pytest

from tooling.errors import FailedError, RefusedError, ToolError, UnknownStateError


def test_text_says_where_what_and_what_to_try() -> None:
    error = RefusedError("prefix x", "is too short", "write it like signwatch")
    assert str(error) == "prefix x: is too short\nTry: write it like signwatch"
    assert (error.where, error.what, error.remedy) == (
        "prefix x",
        "is too short",
        "write it like signwatch",
    )


@pytest.mark.parametrize(
    ("kind", "code"), [(FailedError, 1), (RefusedError, 2), (UnknownStateError, 3)]
)
def test_each_kind_has_its_exit_code(kind: type[ToolError], code: int) -> None:
    assert kind("where", "what", "remedy").exit_code == code


def test_copy_is_the_same_as_when_another_process_returns_an_error() -> None:
    error = copy.copy(FailedError("where", "what", "remedy"))
    assert str(error) == "where: what\nTry: remedy"
    assert error.exit_code == 1
