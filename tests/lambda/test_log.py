"""The log: one JSON line each, which CloudWatch reads metrics from and no recorded text can break."""

from __future__ import annotations

import json

import pytest

from signwatch import log


def test_a_line_carries_its_values_and_its_metrics_as_cloudwatch_reads_them() -> None:
    made = json.loads(
        log.format_line(
            {"who": "Anaya"},
            {"SignIns": 1.0, "DelaySeconds": 75.0},
            1000.5,
            dimensions={"Verdict": "alert"},
        )
    )
    assert made == {
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


def test_a_line_without_metrics_is_no_metric() -> None:
    assert json.loads(log.format_line({"problem": "ledger"}, {}, 0.0)) == {"problem": "ledger"}


@pytest.mark.parametrize(
    "text", ['a"b', "a\nb", "a\r\u2028\x85b", "\x1b[2J", "\ud800", '{"verdict": "recognised"}']
)
def test_a_recorded_text_stays_one_value_on_one_line_of_ascii(text: str) -> None:
    made = log.format_line({"who": text}, {}, 0.0)
    assert json.loads(made) == {"who": text}
    assert len(made.splitlines()) == 1
    assert made.isascii()


def test_a_long_text_is_cut() -> None:
    assert json.loads(log.format_line({"who": "x" * 5000, "delay_s": None}, {}, 0.0)) == {
        "who": "x" * 200,
        "delay_s": None,
    }


def test_a_recorded_text_cannot_stand_in_for_a_metric() -> None:
    assert (
        json.loads(log.format_line({"TextsSent": "9"}, {"TextsSent": 1.0}, 0.0))["TextsSent"] == 1.0
    )


def test_writing_prints_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.write({"who": "Anaya"}, {}, 0.0)
    assert capsys.readouterr().out == '{"who": "Anaya"}\n'
