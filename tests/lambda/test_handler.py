"""The entry point: reads the settings, raises errors, and loads little for a recognised sign-in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from signwatch import dependencies, handler
from tests.support.deliveries import trail_batch
from tests.support.repository import ROOT
from tests.support.sign_ins import RECOGNISED, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

PROGRAM = """import json, sys
sys.path.insert(0, sys.argv[1])
from signwatch.handler import handler
result = handler(json.loads(sys.argv[2]), None)
print(json.dumps([result, sorted(sys.modules)]))"""
MODULES = {  # all that a recognised sign-in needs
    "signwatch",
    "signwatch.dependencies",
    "signwatch.detection",
    "signwatch.detection.envelope",
    "signwatch.detection.networks",
    "signwatch.detection.record",
    "signwatch.detection.sign_in_paths",
    "signwatch.detection.signin",
    "signwatch.detection.verdict",
    "signwatch.handler",
    "signwatch.log",
    "signwatch.pipeline",
    "signwatch.settings",
}
UNUSED = {"boto3", "botocore", "twilio", "requests", "dataclasses", "hashlib", "unicodedata"}


@pytest.mark.parametrize("via", ["bus", "trail"])
def test_recognised_sign_in_loads_only_what_it_uses(via: str) -> None:
    sign_in = event("iam-user-signs-in-with-mfa")
    handed_over = trail_batch(json.dumps(sign_in["detail"])) if via == "trail" else sign_in
    text = json.dumps(handed_over)
    command = [sys.executable, "-I", "-B", "-c", PROGRAM, str(ROOT / "lambda"), text]
    process = subprocess.run(
        command, env={"KNOWN_NETWORKS": RECOGNISED}, capture_output=True, text=True, check=True
    )
    decision, last_line = (json.loads(line) for line in process.stdout.splitlines())
    result, modules = last_line
    assert result == {
        "batchItemFailures": [],
        "event_id": sign_in["detail"]["eventID"],
        "verdict": "recognised",
    }
    assert (decision["verdict"], decision["via"]) == ("recognised", via)
    assert {name for name in modules if name.split(".")[0] == "signwatch"} == MODULES
    assert not UNUSED & set(modules)
    assert ("zlib" in modules) is (via == "trail")


def test_error_is_raised_so_that_lambda_retries(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    world.missing = {"dynamodb", "secretsmanager", "sns"}
    monkeypatch.setattr(dependencies, "get_client", world.client)
    with pytest.raises(Exception, match="e-mail: failed"):
        handler.handler(event("root-signs-in-with-mfa"), None)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWN_NETWORKS", "203.0.113.10")
    assert handler.handler(event("iam-user-signs-in-with-mfa"), None)["verdict"] == "recognised"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_cold_start_does_not_compile_string_annotations(module: str) -> None:
    """typing compiles each string annotation of a NamedTuple when its class is created."""
    source = Path(str(sys.modules[module].__file__)).read_text()
    assert "NamedTuple" not in source or "from __future__ import annotations" not in source
