"""What a person sees: whole lines, marks beside colours, and text from AWS that is never taken for markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console as Rich

from tooling.deploy import bootstrap, changeset
from tooling.deploy.stack_events import StackEvent
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

LONG = "a-name-that-does-not-end-" * 10


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Screen:
    """A screen that prints to no terminal."""
    for name in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Screen()


def change(action: str, replacement: str = "", resource: str = "Topic") -> changeset.Change:
    return changeset.Change("signwatch", resource, "AWS::SNS::Topic", action, replacement)


def failed(reason: str, status: str = "CREATE_FAILED") -> StackEvent:
    return StackEvent("signwatch-lambda", "Function", "AWS::Lambda::Function", status, reason, "")


@pytest.mark.parametrize("text", [LONG, "[bold]not markup[/bold] [/]", "s3://bucket/[0]"])
def test_a_line_is_printed_as_it_is_and_in_one_piece(
    screen: Screen, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    screen.announce(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_heading_stands_apart_and_is_no_markup(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.heading("Step [red]1[/red]")
    assert capsys.readouterr().out == "\nStep [red]1[/red]\n"


def test_names_and_values_stand_in_two_columns(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.pairs({"A": "1", "LongName": LONG})
    assert capsys.readouterr().out == f"A         1\nLongName  {LONG}\n"


def test_a_text_message_is_shown_whole(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    text = "Unreadable sign-in (ConsoleLogin): the record names no source address\nfrom an unknown place"
    screen.phone(text)
    lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} == {44}
    assert " ".join(line.strip("│ ") for line in lines[1:-1]) == text.replace("\n", " ")


def test_no_names_print_nothing(screen: Screen, capsys: pytest.CaptureFixture[str]) -> None:
    screen.pairs({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("action", "mark"), [("create", "+"), ("update", "~"), ("delete", "-"), ("replace", "!")]
)
def test_a_plan_marks_each_kind_of_change(
    screen: Screen, capsys: pytest.CaptureFixture[str], action: str, mark: str
) -> None:
    screen.plan([bootstrap.Change(action, 'aws_s3_bucket.x["a"]')])
    assert capsys.readouterr().out.splitlines()[1].split() == [mark, 'aws_s3_bucket.x["a"]', action]


@pytest.mark.parametrize(
    ("action", "replacement", "mark", "said"),
    [
        ("Add", "", "+", ""),
        ("Modify", "", "~", ""),
        ("Remove", "", "-", ""),
        ("Modify", "yes", "!", "replaces it"),
        ("Modify", "maybe", "~", "may replace it"),
    ],
)
def test_a_change_set_tells_certain_from_possible_replacements(
    screen: Screen,
    capsys: pytest.CaptureFixture[str],
    action: str,
    replacement: str,
    mark: str,
    said: str,
) -> None:
    screen.change_set([change(action, replacement)])
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == [mark, "signwatch.Topic", "SNS::Topic", *said.split()]


def test_an_action_that_is_not_known_yet_is_shown_too(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.change_set([change("SyncWithActual")])
    assert "signwatch.Topic" in capsys.readouterr().out


def test_a_long_name_in_a_table_is_folded_and_never_cut(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.change_set([change("Add", resource=LONG)])
    assert LONG in "".join(capsys.readouterr().out.split()).replace("SNS::Topic", "")


def test_a_failed_event_says_why_in_full(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.event(failed(f"[red]no[/red] {LONG}"))
    assert (
        capsys.readouterr().out
        == f"  {'CREATE_FAILED':<28} signwatch-lambda.Function  [red]no[/red] {LONG}\n"
    )


def test_any_other_event_is_one_short_line(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.event(failed("Resource creation Initiated", "CREATE_IN_PROGRESS"))
    assert capsys.readouterr().out == f"  {'CREATE_IN_PROGRESS':<28} signwatch-lambda.Function\n"


def test_a_stack_operation_is_shown_on_the_same_screen(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    console = screen.stack()
    console.announce("line")
    console.table((change("Add"),))
    console.event(failed("no"))
    out = capsys.readouterr().out
    assert out.index("line") < out.index("signwatch.Topic") < out.index("CREATE_FAILED")


def test_in_a_pipeline_the_change_table_stands_in_the_summary_as_well(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    screen.change_set([change("Modify", replacement="yes", resource="A|B"), change("Add")])
    screen.change_set([change("Remove")])
    assert file.read_text().split("\n\n")[:2] == [
        "### Change set",
        (
            "|  | resource | kind |  |\n| --- | --- | --- | --- |\n"
            "| ! | signwatch.A\\|B | SNS::Topic | replaces it |\n| + | signwatch.Topic | SNS::Topic |  |"
        ),
    ]
    assert file.read_text().count("### Change set") == 2


def test_a_matrix_is_as_wide_as_it_has_to_be_and_plain_where_there_is_no_terminal(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.matrix(("path", "rule"), [("root", LONG), ("[red]keys[/red]", "none")], [False, True])
    width = len("[red]keys[/red]")
    assert (
        capsys.readouterr().out
        == f"{'path':<{width}}  rule\n{'root':<{width}}  {LONG}\n[red]keys[/red]  none\n"
    )


def test_a_row_that_is_wrong_is_red_on_a_terminal_and_the_others_are_not(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.rich = Rich(force_terminal=True, color_system="standard", soft_wrap=True)
    screen.matrix(("path",), [("root",), ("keys",)], [False, True])
    assert capsys.readouterr().out.splitlines()[1:] == ["root", "\x1b[31mkeys\x1b[0m"]
