"""forget: the allowances of one person go, those of others stay, and the rest is named."""

from __future__ import annotations

import pytest

from signwatch.detection import allowance
from tests.support.listener import confirm_all
from tests.tooling.operate.test_networks import FOLDER, HOTEL, NOW, SETTINGS, account_with, stored
from tooling.errors import PlanShownError, RefusedError
from tooling.operate import forget

OF_ALL = allowance.make("198.51.100.0/24", "office")


@pytest.mark.parametrize("who", ["Anaya", "anaya"])
def test_allowances_of_the_person_are_deleted_and_no_others(who: str) -> None:
    aws = account_with(HOTEL, OF_ALL)
    lines = forget.forget(aws, SETTINGS, who, NOW, confirm_all)
    assert lines[0].startswith("Deleted: 198.51.100.7/32  hotel in Oslo  for Anaya")
    assert set(stored(aws)) == {f"{FOLDER}/{OF_ALL.name}"}
    assert "stay in the log groups" in lines[1]


@pytest.mark.parametrize("who", ["Paulo", "Ana", "office"])
def test_nothing_is_deleted_or_asked_for_anybody_else(who: str) -> None:
    aws = account_with(HOTEL, OF_ALL)

    def fail(_lines: list[str]) -> None:
        raise AssertionError("there is nothing to confirm")

    assert forget.forget(aws, SETTINGS, who, NOW, fail)[0] == f"No allowance is for {who}."
    assert len(stored(aws)) == 2


def test_nothing_is_deleted_unless_it_is_confirmed() -> None:
    aws, plans = account_with(HOTEL), []

    def stop(lines: list[str]) -> None:
        plans.extend(lines)
        raise PlanShownError

    with pytest.raises(PlanShownError):
        forget.forget(aws, SETTINGS, "Anaya", NOW, stop)
    assert plans[0].startswith("Delete: 198.51.100.7/32")
    assert len(stored(aws)) == 1


@pytest.mark.parametrize("who", ["", " "])
def test_a_person_must_be_named(who: str) -> None:
    with pytest.raises(RefusedError, match="names nobody"):
        forget.require_who(who)
