"""The question before a write: who answers it, and what stops the task."""

from __future__ import annotations

import io

import pytest

from tooling.errors import PlanShownError, RefusedError
from tooling.terminal.approval import Approval


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def approval(answer: str | None = None, *, yes: bool = False, plan: bool = False) -> Approval:
    """An approval whose person gives this answer; None: nobody answers."""

    def ask(question: str) -> str:
        assert question in ("Go on? [y/N] ", "Type it: ")
        if answer is None:
            raise EOFError
        return answer

    return Approval("deploy", yes=yes, plan=plan, ask_person=ask)


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " YES "])
def test_yes_goes_on(answer: str) -> None:
    approval(answer).ask("Go on?")


@pytest.mark.parametrize("answer", ["", "n", "no", "yess", "j", None])
def test_anything_else_stops_before_a_write(answer: str | None) -> None:
    with pytest.raises(RefusedError, match="deploy: was not confirmed; nothing was changed"):
        approval(answer).ask("Go on?")


@pytest.mark.parametrize(("answer", "stops"), [("signwatch", False), ("y", True), ("", True)])
def test_text_must_be_typed(answer: str, *, stops: bool) -> None:
    if stops:
        with pytest.raises(RefusedError, match="was not confirmed"):
            approval(answer).ask_for_text("Type it:", "signwatch")
    else:
        approval(answer).ask_for_text("Type it:", "signwatch")


def test_yes_flag_answers_every_question() -> None:
    flagged = approval(yes=True)
    flagged.ask("Go on?")
    flagged.ask_for_text("Type it:", "signwatch")


def test_one_answer_holds_for_the_whole_plan() -> None:
    lines: list[str] = []
    shared = approval("y").share("After it, forwarders change.", lines.append)
    assert not shared.was_given
    shared.ask("Go on?")
    assert shared.was_given
    assert lines == ["After it, forwarders change."]
    refused = approval("n").share("", lines.append)
    with pytest.raises(RefusedError, match="nothing was changed"):
        refused.ask("Go on?")
    assert not refused.was_given
    assert len(lines) == 1


def test_plan_flag_stops_after_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    flagged = approval("y", plan=True)
    with pytest.raises(PlanShownError):
        flagged.confirm(["Allow 203.0.113.7"])
    assert capsys.readouterr().out == "Allow 203.0.113.7\n"
    with pytest.raises(PlanShownError):
        flagged.ask_for_text("Type it:", "signwatch")


@pytest.mark.parametrize(
    ("flags", "refused"), [({}, True), ({"yes": True}, False), ({"plan": True}, False)]
)
def test_without_a_terminal_a_flag_is_needed(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], *, refused: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    flags = {"yes": False, "plan": False, **flags}
    if refused:
        with pytest.raises(
            RefusedError, match="there is no terminal to ask on; nothing was changed"
        ):
            Approval.of_flags("deploy", **flags)
    else:
        Approval.of_flags("deploy", **flags)


def test_on_a_terminal_no_flag_is_needed_and_both_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    Approval.of_flags("deploy", yes=False, plan=False)
    with pytest.raises(RefusedError, match="has both --yes and --plan"):
        Approval.of_flags("deploy", yes=True, plan=True)
