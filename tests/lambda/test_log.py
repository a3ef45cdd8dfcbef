"""The log: one line of JSON each, with metrics for CloudWatch, that no recorded text can break."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from signwatch import log

if TYPE_CHECKING:
    from pathlib import Path


def test_line_has_its_values_and_its_metrics_in_cloudwatchs_format() -> None:
    line = json.loads(
        log.format_line(
            {"who": "Anaya"},
            {"SignIns": 1.0, "DelaySeconds": 75.0},
            1000.5,
            dimensions={"Verdict": "alert"},
        )
    )
    assert line == {
        "who": "Anaya",
        "Verdict": "alert",
        "SignIns": 1.0,
        "DelaySeconds": 75.0,
        "_aws": {
            "Timestamp": 1000500,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Signwatch",
                    "Dimensions": [["Verdict"]],
                    "Metrics": [
                        {"Name": "SignIns", "Unit": "Count"},
                        {"Name": "DelaySeconds", "Unit": "Seconds"},
                    ],
                }
            ],
        },
    }


def test_line_without_metrics_has_no_metric_directive() -> None:
    assert json.loads(log.format_line({"problem": "ledger"}, {}, 0.0)) == {"problem": "ledger"}


@pytest.mark.parametrize(
    "text", ['a"b', "a\nb", "a\r\u2028\x85b", "\x1b[2J", "\ud800", '{"verdict": "recognised"}']
)
def test_recorded_text_is_one_value_on_one_line_of_ascii(text: str) -> None:
    line = log.format_line({"who": text}, {}, 0.0)
    assert json.loads(line) == {"who": text}
    assert len(line.splitlines()) == 1
    assert line.isascii()


def test_long_text_is_cut() -> None:
    line = log.format_line({"who": "x" * 5000, "delay_s": None}, {}, 0.0)
    assert json.loads(line) == {"who": "x" * 200, "delay_s": None}


def test_metric_replaces_a_recorded_text_of_the_same_name() -> None:
    line = log.format_line({"TextsSent": "9"}, {"TextsSent": 1.0}, 0.0)
    assert json.loads(line)["TextsSent"] == 1.0


def test_write_prints_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.write({"who": "Anaya"}, {}, 0.0)
    assert capsys.readouterr().out == '{"who": "Anaya"}\n'


def test_line_is_written_before_lambda_freezes_the_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as buffered:
        monkeypatch.setattr(sys, "stdout", buffered)
        log.write({"who": "Anaya"}, {}, 0.0)
        assert (tmp_path / "log").read_text() == '{"who": "Anaya"}\n'


def test_failure_names_the_problem_and_the_type_of_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.write_failure("state", TimeoutError("a number"), 0.0, event_id="event-1")
    assert json.loads(capsys.readouterr().out) == {
        "level": "ERROR",
        "event_id": "event-1",
        "problem": "state",
        "error": "TimeoutError",
    }
