"""The entry: it takes the environment's settings and hands the event on, and is light until there is an alert."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from signwatch import dependencies, handler
from tests.support.repository import ROOT
from tests.support.sign_ins import RECOGNISED, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

PROGRAM = """import json, sys
sys.path.insert(0, sys.argv[1])
from signwatch.handler import handler
answer = handler(json.loads(sys.argv[2]), None)
print(json.dumps([answer, sorted({name.split(".")[0] for name in sys.modules})]))"""


def test_a_recognised_sign_in_imports_neither_boto3_nor_twilio() -> None:
    told = event("iam-user-signs-in-with-mfa")
    command = [sys.executable, "-I", "-B", "-c", PROGRAM, str(ROOT / "lambda"), json.dumps(told)]
    done = subprocess.run(
        command, env={"KNOWN_NETWORKS": RECOGNISED}, capture_output=True, text=True, check=True
    )
    decision, last = (json.loads(line) for line in done.stdout.splitlines())
    answer, loaded = last
    assert answer == {"event_id": told["detail"]["eventID"], "verdict": "recognised"}
    assert decision["verdict"] == "recognised"
    assert not {"boto3", "botocore", "twilio", "requests", "dataclasses"} & set(loaded)


def test_an_error_is_raised_so_that_lambda_tries_again(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    world.missing = {"dynamodb", "secretsmanager", "sns"}
    monkeypatch.setattr(dependencies, "_client", world.client)
    with pytest.raises(Exception, match="e-mail: failed"):
        handler.handler(event("root-signs-in-with-mfa"), None)


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWN_NETWORKS", "203.0.113.10")
    assert handler.handler(event("iam-user-signs-in-with-mfa"), None)["verdict"] == "recognised"
