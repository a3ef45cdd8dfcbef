"""The screen: whole lines, marks beside colours, and text of AWS that is not read as markup."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tooling.deploy import bootstrap, changeset
from tooling.deploy.stack_events import StackEvent
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

LONG_NAME = "a-name-that-does-not-end-" * 10


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Screen:
    """A screen that prints to no terminal."""
    for name in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Screen()


def change(action: str, replacement: str = "", resource: str = "Topic") -> changeset.Change:
    return changeset.Change("signwatch", resource, "AWS::SNS::Topic", action, replacement)


def stack_event(reason: str, status: str = "CREATE_FAILED") -> StackEvent:
    return StackEvent("signwatch-lambda", "Function", "AWS::Lambda::Function", status, reason, "")


@pytest.mark.parametrize("text", [LONG_NAME, "[bold]not markup[/bold] [/]", "s3://bucket/[0]"])
def test_line_is_printed_unchanged_and_unwrapped(
    screen: Screen, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    screen.announce(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_heading_has_an_empty_line_before_it_and_is_not_markup(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_heading("Step [red]1[/red]")
    assert capsys.readouterr().out == "\nStep [red]1[/red]\n"


def test_pairs_are_one_line_each_in_a_pipe(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_pairs({"A": "1", "LongName": LONG_NAME})
    assert capsys.readouterr().out == f"A         1\nLongName  {LONG_NAME}\n"


def test_a_long_value_is_whole_below_its_name_on_a_terminal(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.rich = Console(force_terminal=True, color_system=None, width=100, soft_wrap=True)
    screen.print_pairs({"A": "1", "LongName": LONG_NAME})
    assert capsys.readouterr().out == f"A         1\nLongName\n  {LONG_NAME}\n"


TEXT = "Unreadable sign-in (ConsoleLogin): no source address\nfrom an unknown place, at 12:00"
EMAIL = "Subject: AWS sign-in alert\n" + "Look the event up in CloudTrail. " * 5


def test_text_message_is_shown_whole(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_alert(TEXT, "")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert {len(line) for line in lines} == {44}
    assert " ".join(line.strip("│ ") for line in lines[1:-1]) == TEXT.replace("\n", " ")


@pytest.mark.parametrize(
    ("width", "is_beside"), [(160, True), (100, True), (99, False), (60, False)]
)
def test_email_is_shown_whole_beside_the_text_or_below_it(
    screen: Screen, capsys: pytest.CaptureFixture[str], width: int, *, is_beside: bool
) -> None:
    screen.rich.width = width
    screen.print_alert(TEXT, EMAIL)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) == (100 if is_beside else 55)
    assert ("text message" in lines[0] and "e-mail" in lines[0]) is is_beside
    start = 45 if is_beside else 0
    shown = " ".join(line[start:].strip("│ ") for line in lines)
    for word in EMAIL.split():
        assert word in shown


def test_step_is_one_line_with_its_duration(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    with screen.show_step("Deploy: the stacks") as announce:
        assert capsys.readouterr().out == "Deploy: the stacks".ljust(80)
        announce("not shown without a terminal")
    assert re.fullmatch(r" +\d+\.\d s\n", capsys.readouterr().out)


def test_failed_step_ends_its_line(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), screen.show_step("Deploy: the stacks"):
        raise ValueError("no")
    assert capsys.readouterr().out == "Deploy: the stacks".ljust(80) + "\n"


def test_step_shows_what_it_does_now_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.rich = Console(force_terminal=True, width=100, file=io.StringIO())
    with screen.show_step("Deploy: the stacks") as announce:
        announce("Topic CREATE_COMPLETE")
    assert isinstance(screen.rich.file, io.StringIO)
    assert "Topic CREATE_COMPLETE" in screen.rich.file.getvalue()
    assert re.fullmatch(r"Deploy: the stacks +\d+\.\d s\n", capsys.readouterr().out)


def test_no_pairs_print_nothing(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_pairs({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("action", "mark"), [("create", "+"), ("update", "~"), ("delete", "-"), ("replace", "!")]
)
def test_plan_marks_each_kind_of_change(
    screen: Screen, capsys: pytest.CaptureFixture[str], action: str, mark: str
) -> None:
    screen.print_plan([bootstrap.Change(action, 'aws_s3_bucket.x["a"]')])
    assert capsys.readouterr().out.splitlines()[1].split() == [mark, 'aws_s3_bucket.x["a"]', action]


@pytest.mark.parametrize(
    ("action", "replacement", "mark", "note"),
    [
        ("Add", "", "+", ""),
        ("Modify", "", "~", ""),
        ("Remove", "", "-", ""),
        ("Modify", "yes", "!", "replaces it"),
        ("Modify", "maybe", "~", "may replace it"),
    ],
)
def test_change_set_distinguishes_certain_and_possible_replacements(
    screen: Screen,
    capsys: pytest.CaptureFixture[str],
    action: str,
    replacement: str,
    mark: str,
    note: str,
) -> None:
    screen.print_change_set([change(action, replacement)])
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == [mark, "signwatch.Topic", "SNS::Topic", *note.split()]


def test_unknown_action_is_shown(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_change_set([change("SyncWithActual")])
    assert "signwatch.Topic" in capsys.readouterr().out


def test_long_name_in_a_table_is_folded_and_not_cut(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_change_set([change("Add", resource=LONG_NAME)])
    assert LONG_NAME in "".join(capsys.readouterr().out.split()).replace("SNS::Topic", "")


def test_failed_event_shows_its_whole_reason(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_event(stack_event(f"[red]no[/red] {LONG_NAME}"))
    assert capsys.readouterr().out.splitlines() == [
        "  CREATE_FAILED",
        "    signwatch-lambda.Function  [red]no[/red]",
        f"    {LONG_NAME}",
    ]


def test_other_event_is_shown_without_its_reason(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_event(stack_event("Resource creation Initiated", "CREATE_IN_PROGRESS"))
    assert capsys.readouterr().out == f"  {'CREATE_IN_PROGRESS':<28} signwatch-lambda.Function\n"


def test_stack_operation_is_shown_on_the_same_screen(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    questions: list[str] = []
    display = screen.make_display(questions.append)
    display.approve("Go on?")
    display.announce("line")
    display.show_changes((change("Add"),))
    display.show_event(stack_event("no"))
    out = capsys.readouterr().out
    assert questions == ["Go on?"]
    assert out.index("line") < out.index("signwatch.Topic") < out.index("CREATE_FAILED")


def test_change_set_is_added_to_the_job_summary(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    screen.print_change_set([change("Modify", replacement="yes", resource="A|B"), change("Add")])
    screen.print_change_set([change("Remove")])
    assert file.read_text().split("\n\n")[:2] == [
        "### Change set",
        (
            "|  | resource | kind |  |\n| --- | --- | --- | --- |\n"
            "| ! | signwatch.A\\|B | SNS::Topic | replaces it |\n"
            "| + | signwatch.Topic | SNS::Topic |  |"
        ),
    ]
    assert file.read_text().count("### Change set") == 2


def test_matrix_is_as_wide_as_its_cells_and_plain_without_a_terminal(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.print_table(
        ("path", "rule"), [("root", "Rule"), ("[red]keys[/red]", "none")], [False, True]
    )
    width = len("[red]keys[/red]")
    assert (
        capsys.readouterr().out
        == f"{'path':<{width}}  rule\n{'root':<{width}}  Rule\n[red]keys[/red]  none\n"
    )


def test_only_wrong_rows_of_a_matrix_are_red_on_a_terminal(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.rich = Console(force_terminal=True, color_system="standard", soft_wrap=True)
    screen.print_table(("path",), [("root",), ("keys",)], [False, True])
    assert capsys.readouterr().out.splitlines()[1:] == ["root", "\x1b[31mkeys\x1b[0m"]
