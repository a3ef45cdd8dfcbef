"""The sums in docs/cost.md follow from its assumptions, and its resources are those of cfn/."""

from __future__ import annotations

import ast
import operator
import re
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.log import NAMESPACE
from tests.support import repository, templates
from tests.support.repository import ROOT
from tooling.deploy import stack

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.joint

PAGE = (ROOT / "docs" / "cost.md").read_text()
MAX_USD_A_MONTH = 4.0
DAYS_A_MONTH = 30.4
TIMES = "\N{MULTIPLICATION SIGN}"
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

ASSUMPTIONS = repository.table(PAGE, "Assumptions")
COUNTED = repository.table(PAGE, "Counted in the templates")
ROWS = repository.table(PAGE, "The sum")
ITEMS, TOTAL = ROWS[:-1], ROWS[-1]


def number(cell: str) -> float:
    return float(cell.strip("*").replace(",", ""))


def values(year: int) -> dict[str, float]:
    """Every sign of the page with its value in the first (0) or third (1) year."""
    assumed = {sign: number(years[year]) for sign, *years, _ in ASSUMPTIONS}
    return assumed | {sign: number(amount) for sign, amount, _ in COUNTED}


def calculate(formula: str, signs: dict[str, float]) -> float:
    """Work out a formula of signs, numbers, plus, times and division."""

    def visit(node: ast.expr) -> float:
        if isinstance(node, ast.Name):
            return signs[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return float(node.value)
        assert isinstance(node, ast.BinOp), f"cannot work out: {formula}"
        return OPERATORS[type(node.op)](visit(node.left), visit(node.right))

    text = formula.replace(TIMES, "*").replace(",", "")
    return visit(ast.parse(text, mode="eval").body)


def unit_price(item: str) -> float:
    (price,) = [number(row[4]) for row in ITEMS if row[0] == item]
    return price


def resources_of(resource_type: str) -> list[dict[str, Any]]:
    """The properties of each resource of a type in all templates, with the default bus."""
    bodies = [
        body
        for name in templates.NAMES
        for body in templates.load(name)["Resources"].values()
        if body.get("Condition") != "HasCustomBus"
    ]
    return [body["Properties"] for body in bodies if body["Type"] == resource_type]


@pytest.mark.parametrize("year", [0, 1], ids=["year one", "year three"])
class TestSum:
    @pytest.mark.parametrize("row", ITEMS, ids=[row[0] for row in ITEMS])
    def test_amount_follows_from_the_assumptions(self, row: list[str], year: int) -> None:
        shown = number(row[2 + year])
        assert shown == pytest.approx(calculate(row[1], values(year)), rel=0.001, abs=0.00005)

    @pytest.mark.parametrize("row", ITEMS, ids=[row[0] for row in ITEMS])
    def test_price_is_amount_times_unit_price(self, row: list[str], year: int) -> None:
        assert number(row[5 + year]) == round(number(row[2 + year]) * number(row[4]), 4)

    def test_total_is_the_sum_of_the_items(self, year: int) -> None:
        assert number(TOTAL[5 + year]) == round(sum(number(row[5 + year]) for row in ITEMS), 4)

    def test_total_is_what_the_page_says_first(self, year: int) -> None:
        said = re.search(r"\*\*([\d.]+) USD a month in year one and ([\d.]+) USD in year", PAGE)
        assert said
        assert said[1 + year] == f"{number(TOTAL[5 + year]):.2f}"

    def test_total_is_at_most_four_dollars(self, year: int) -> None:
        assert number(TOTAL[5 + year]) <= MAX_USD_A_MONTH


class TestPage:
    def test_fixed_part_is_that_of_its_four_items(self) -> None:
        said = re.search(r"polls of\s+the queue are ([\d.]+) USD", PAGE)
        assert said
        fixed = ("KMS key", "Secret", "Alarms", "SQS, polls of the mappings")
        assert said[1] == f"{sum(number(row[5]) for row in ITEMS if row[0] in fixed):.2f}"

    def test_every_item_names_its_price_page(self) -> None:
        pages = {row[0] for row in repository.table(PAGE, "Prices")}
        assert {row[7] for row in ITEMS} == pages - {"Twilio"}

    def test_every_sign_is_used(self) -> None:
        used = set(re.findall(r"[a-z]+", " ".join(row[1] for row in ITEMS)))
        assert used == set(values(0))

    @pytest.mark.parametrize(
        "row", repository.table(PAGE, "What adds to it"), ids=lambda row: row[0]
    )
    def test_price_of_a_change_follows_from_its_formula(self, row: list[str]) -> None:
        assert row[2] == f"{calculate(row[1], values(1)):.2f}"

    @pytest.mark.parametrize(
        "row", repository.table(PAGE, "A busy account"), ids=lambda row: row[0]
    )
    def test_prices_of_a_busy_account_follow_from_its_events(self, row: list[str]) -> None:
        events, signs = number(row[0]) * DAYS_A_MONTH, values(1)
        gigabytes = events * signs["bytes"] / 1_000_000_000
        storage = 0.15 * signs["kept"] * unit_price("Log storage, compressed, GB")
        log_group = gigabytes * (unit_price("Log ingestion, trail, GB") + storage)
        second_copy = events * 2 / 100_000
        assert row[1:] == [f"{amount:.2f}" for amount in (gigabytes, log_group, second_copy)]


class TestDestroy:
    def test_what_stays_costs_what_the_task_says(self) -> None:
        assert unit_price("KMS key") == stack.KEPT_KEY_USD
        assert unit_price("S3 storage, log and digest files, GB") == stack.KEPT_GB_USD


class TestTemplates:
    @pytest.mark.parametrize("row", COUNTED, ids=lambda row: row[0])
    def test_resources_are_counted_as_the_templates_hold_them(self, row: list[str]) -> None:
        assert number(row[1]) == len(resources_of(row[2].strip("`")))

    def test_keys_rotate_as_seldom_as_the_page_says(self) -> None:
        said = re.search(r"rotates every ([\d,]+) days", PAGE)
        assert said
        for key in resources_of("AWS::KMS::Key"):
            assert key.get("RotationPeriodInDays", 365) == number(said[1])

    def test_alarms_have_the_price_of_standard_resolution(self) -> None:
        """A metric expression costs as much as all its metrics; a period below 60 s costs more."""
        for alarm in resources_of("AWS::CloudWatch::Alarm"):
            assert "Metrics" not in alarm
            assert alarm["Period"] >= 60

    def test_logs_are_kept_as_long_as_the_page_assumes(self) -> None:
        days = templates.load("parent")["Parameters"]["LogRetentionDays"]["Default"]
        assert values(1)["kept"] == round(days / DAYS_A_MONTH)

    def test_memory_of_the_function_is_that_of_its_gigabyte_seconds(self) -> None:
        (memory,) = [made["MemorySize"] for made in resources_of("AWS::Lambda::Function")]
        (formula,) = [row[1] for row in ITEMS if row[0] == "Lambda, GB-seconds"]
        assert formula.startswith(f"{memory / 1024} {TIMES} ")

    def test_page_names_every_custom_metric(self) -> None:
        sources = (ROOT / "lambda" / NAMESPACE.lower()).rglob("*.py")
        code = " ".join(path.read_text() for path in sources)
        literals = re.findall(r"\"([A-Z]\w+)\"\]? ?[:=] ?(?:\d|float\(|age_seconds)", code)
        (line,) = re.findall(
            r"^- \*\*Custom metrics\*\*: (.*?)(?=^- )", PAGE, re.MULTILINE | re.DOTALL
        )
        assert set(re.findall(r"`(\w+)`", line)) == set(literals)
