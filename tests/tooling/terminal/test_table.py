"""Every table of the tasks at 60, 100 and 160 columns: whole, no wider, and plain in a pipe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from rich.console import Console

from signwatch.detection import allowance
from tests.support.repository import ROOT
from tooling.analysis import coverage
from tooling.checks import scan
from tooling.checks.linters import TOOLS, ToolResult
from tooling.deploy import bootstrap, changeset
from tooling.deploy.stack_events import StackEvent
from tooling.operate import drift, network_list
from tooling.operate.networks import RecognisedNetworks, StoredAllowance
from tooling.terminal import table
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOW = 1_795_687_200.0
ACCOUNT_ARN = "arn:aws:secretsmanager:us-east-1:111122223333:secret"
CONTRACT = {
    "template_bucket_name": "signwatch-templates-111122223333-us-east-1",
    "boundary_policy_arn": "arn:aws:iam::111122223333:policy/signwatch-boundary",
}
OUTPUTS = {
    "FunctionName": "signwatch-function",
    "TwilioSecretArn": f"{ACCOUNT_ARN}:TwilioSecret-ba23c8c58ad4-9593d9",
    "UndeliveredEventsQueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/undelivered",
}
ENCRYPTION = 'aws_s3_bucket_server_side_encryption_configuration.encrypted["access_logs"]'
CHILD = "signwatch-FoundationStack-7EEB2513DD32"
CHANGES = [
    changeset.Change("signwatch", "FoundationStack", "AWS::CloudFormation::Stack", "Modify", ""),
    changeset.Change(CHILD, "UndeliveredEventsQueue", "AWS::SQS::Queue", "Modify", "maybe"),
]
DRIFTS = drift.DriftReport(
    (
        drift.Drift(
            CHILD,
            "AlertTopic",
            "AWS::SNS::Topic",
            "MODIFIED",
            ("/DisplayName: somebody's own name, not the name that was deployed",),
        ),
        drift.Drift("signwatch", "Rule", "AWS::Events::Rule", "DELETED", ()),
    ),
    9,
)
STORED = [
    allowance.make("2001:db8:1:2:3:4:5:6", "the hotel in Oslo", "Anaya", int(NOW) + 9000),
    allowance.make("198.51.100.0/24", "lab"),
]
NETWORKS = RecognisedNetworks(
    "203.0.113.0/24,0.0.0.0/0",
    ("vpce-0123456789abcdef0",),
    (
        *(StoredAllowance(f"/signwatch/networks/{item.name}", item) for item in STORED),
        StoredAllowance("/signwatch/networks/broken", None, "no JSON: line 1 column 2 (char 1)"),
    ),
    has_allowance_support=True,
)
SCAN = scan.Report(tuple(ToolResult(tool.name, tool.scope, 9, 0, 12.34) for tool in TOOLS))
EVENTS = [
    StackEvent(CHILD, "UndeliveredEventsQueuePolicy", "", "UPDATE_ROLLBACK_COMPLETE", "", ""),
    StackEvent(CHILD, "MainKey", "", "CREATE_FAILED", "Resource handler returned: no", ""),
]


def show_coverage(screen: Screen) -> None:
    paths = coverage.load_paths()
    rules = coverage.load_rules(ROOT / "cfn")
    rows = coverage.build_rows(paths, rules[:1], lambda *_: True)
    screen.print_table(coverage.COLUMNS, [row.format_cells() for row in rows])


def show_pairs(screen: Screen, values: dict[str, str]) -> None:
    """Print them as on a terminal: in a pipe, each is one line of any length."""
    width = screen.rich.width
    screen.rich = Console(force_terminal=True, color_system=None, width=width, soft_wrap=True)
    screen.print_pairs(values)


def show_events(screen: Screen) -> None:
    for event in EVENTS:
        screen.print_event(event)
    screen.print_table((), ())  # ends the line of progress


class Case(NamedTuple):
    """How a table is shown, and the words that must be whole on one line, or whole after a wrap."""

    show: Callable[[Screen], None]
    whole: Sequence[str]


CASES = {
    "contract": Case(lambda screen: show_pairs(screen, CONTRACT), list(CONTRACT.values())),
    "outputs": Case(lambda screen: show_pairs(screen, OUTPUTS), list(OUTPUTS.values())),
    "plan": Case(
        lambda screen: screen.print_plan([bootstrap.Change("create", ENCRYPTION)]), [ENCRYPTION]
    ),
    "change set": Case(
        lambda screen: screen.print_change_set(CHANGES),
        [f"{CHILD}.UndeliveredEventsQueue", "may replace it", "CloudFormation::Stack"],
    ),
    "stack events": Case(
        show_events, [f"{CHILD}.UndeliveredEventsQueuePolicy", f"{CHILD}.MainKey", "returned: no"]
    ),
    "drift": Case(
        lambda screen: screen.print_table(drift.COLUMNS, DRIFTS.format_rows()),
        [f"{CHILD}.AlertTopic", "AWS::SNS::Topic", "somebody's own name", "signwatch.Rule"],
    ),
    "networks": Case(
        lambda screen: network_list.show(NETWORKS, NOW, screen),
        [STORED[0].name, "2001:db8:1:2:3:4:5:6/128", "the hotel in Oslo", "in 2 h 30 min"],
    ),
    "scan": Case(
        lambda screen: screen.print_table(scan.COLUMNS, SCAN.format_rows()),
        [tool.name for tool in TOOLS],
    ),
    "coverage": Case(show_coverage, ["ConsoleSignInRule", "federation: keys by delegated access"]),
}


def capture(width: int, show: Callable[[Screen], None], capfd: pytest.CaptureFixture[str]) -> str:
    """Return what a screen in a pipe shows of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("FORCE_COLOR", "1")  # a pipe stays plain
        show(Screen())
    return capfd.readouterr().out


@pytest.mark.parametrize("width", [60, 100, 160])
@pytest.mark.parametrize("name", CASES)
def test_table_is_whole_plain_and_no_wider_than_the_screen(
    name: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = capture(width, CASES[name].show, capsys)
    lines = shown.splitlines()
    for line in lines:
        longest_word = max(map(len, line.split()), default=0)
        # A sentence is left to the terminal to wrap, and an id that is too long stays whole.
        is_sentence = line.startswith(("VPC endpoints", "Allowances"))
        assert len(line) <= width or longest_word > width - 8 or is_sentence, line
        assert line == line.rstrip()
        assert line.isprintable()
    assert "…" not in shown
    for text in CASES[name].whole:
        assert is_shown(text, lines), f"{text}\n{shown}"


def is_shown(text: str, lines: list[str]) -> bool:
    """Whether the text is on one line, or wrapped in one column of several lines."""
    if any(text in line for line in lines):
        return True
    for number, line in enumerate(lines):
        for match in re.finditer(r"\S+(?: \S+)*", line):
            column, cell = match.start(), match.group()
            for following in lines[number + 1 :]:
                part = re.match(r"\S+(?: \S+)*", following[column:])
                if not part or following[column - 1 : column].strip():
                    break
                cell += ("" if text.startswith(cell + part.group()) else " ") + part.group()
                if text in cell or text.replace(" ", "") in cell.replace(" ", ""):
                    return True
    return False


def test_a_column_is_never_squeezed_until_it_cannot_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At 60 columns, the cells of a sign-in path are below each other, with their names."""
    shown = capture(60, show_coverage, capsys).splitlines()
    first = shown.index("console: IAM user")
    assert [line.split()[0] for line in shown[first + 1 : first + 3]] == ["rule", "class"]


def test_numbers_are_on_the_right_of_their_column() -> None:
    (made,) = table.lay_out(("tool", "seconds"), [("a", "1.5"), ("b", "12.0")], 80)
    assert [column.justify for column in made.columns] == ["left", "right"]  # type: ignore[union-attr] # it is a table


def test_a_column_without_a_cell_is_left_out_and_so_is_a_table_without_rows() -> None:
    (made,) = table.lay_out(("a", "b"), [("1", "")], 80)
    assert len(made.columns) == 1  # type: ignore[union-attr] # it is a table
    assert list(table.lay_out(("a", "b"), [], 80)) == []


@pytest.mark.parametrize(
    ("columns", "width"), [("60", 60), ("", 100), ("0", 100), ("8", 100), ("wide", 100)]
)
def test_a_pipe_is_as_wide_as_columns_says(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen().rich.width == width
