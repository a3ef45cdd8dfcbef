"""The sandbox: the function's environment, files and modules, and closing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import wait_until
from tests.support.sandbox import CODE, group_size, is_alive, zip_files
from tooling.settings import ROOT

if TYPE_CHECKING:
    from tests.support.sandbox import MakeSandbox

pytestmark = pytest.mark.local


def test_context_has_the_functions_names_and_remaining_time(make_sandbox: MakeSandbox) -> None:
    result = make_sandbox("function.look", timeout=30.0).invoke({}, "request-1")
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:watch"
    assert result.payload["context"] == [
        "request-1",
        "watch",
        "$LATEST",
        "256",
        arn,
        "/aws/lambda/watch",
        result.stream,
    ]
    assert 25_000 < result.payload["remaining_ms"] <= 30_000


def test_child_gets_no_variable_of_the_host(
    make_sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("SOMETHING_OF_THE_HOST", "seen")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    sandbox = make_sandbox("function.look", AWS_ACCESS_KEY_ID="ASIAEXAMPLE", TABLE="ledger")
    variables = sandbox.invoke({}, "1").payload["environment"]
    assert not {"AWS_PROFILE", "SOMETHING_OF_THE_HOST"} & variables.keys()
    assert "/somewhere" not in variables["PYTHONPATH"]
    assert os.environ["HOME"] != variables["HOME"]
    assert variables["AWS_ACCESS_KEY_ID"] == "ASIAEXAMPLE"
    assert (variables["TABLE"], variables["AWS_REGION"]) == ("ledger", "eu-west-1")


def test_function_cannot_replace_reserved_variables(make_sandbox: MakeSandbox) -> None:
    changes = {
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "other",
        "_HANDLER": "x.y",
        "LAMBDA_TASK_ROOT": "/",
    }
    plain = make_sandbox("function.look").invoke({}, "request-1").payload["environment"]
    changed = make_sandbox(
        "function.look", **changes, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", TZ="UTC"
    ).invoke({}, "request-1")
    variables = changed.payload["environment"]
    assert changed.error == ""
    for name in ("AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "_HANDLER"):
        assert variables[name] == plain[name]
    assert variables["LAMBDA_TASK_ROOT"] == changed.payload["folder"]
    assert variables["AWS_LAMBDA_RUNTIME_API"] != "127.0.0.1:1"
    assert (plain["TZ"], variables["TZ"]) == (":UTC", "UTC")


def test_modules_are_imported_from_task_root_layers_and_runtime_only(
    make_sandbox: MakeSandbox, client: str, pythons: dict[str, Path]
) -> None:
    payload = make_sandbox("function.look").invoke({}, "request-1").payload
    task = Path(payload["folder"])
    version = payload["environment"]["AWS_EXECUTION_ENV"].removeprefix("AWS_Lambda_python")
    layer = task.parent / "opt" / "python"
    assert payload["path"][:3] == [
        str(task),
        str(layer / "lib" / f"python{version}" / "site-packages"),
        str(layer),
    ]
    command = [str(pythons[client]), "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    own_paths = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert set(payload["path"][3:]) <= set(own_paths)
    assert not any(str(ROOT / "tooling") in entry for entry in payload["path"])


def test_later_layer_replaces_earlier_one_and_code_replaces_both(
    make_sandbox: MakeSandbox, tmp_path: Path
) -> None:
    first = zip_files(
        {
            "python/one.py": "name = 'first'",
            "python/two.py": "name = 'first'",
            "python/own.py": "name = 'x'",
        }
    )
    second = tmp_path / "second.zip"
    second.write_bytes(zip_files({"python/two.py": "name = 'second'"}))
    text = (
        "import one, two, own\n"
        "def handler(event, context):\n    return [one.name, two.name, own.name]\n"
    )
    code = tmp_path / "code.zip"
    code.write_bytes(zip_files({"function.py": text, "own.py": "name = 'code'"}))
    assert make_sandbox("function.handler", code, (first, second)).invoke({}, "1").payload == [
        "first",
        "second",
        "code",
    ]


def test_file_modes_of_the_zip_are_restored(make_sandbox: MakeSandbox) -> None:
    text = (
        "import os\ndef handler(event, context):\n"
        "    return [os.stat(name).st_mode & 0o777 for name in ('tool', 'data')]\n"
    )
    code = zip_files({"function.py": text, "tool": "", "data": ""}, {"tool": 0o755, "data": 0o640})
    assert make_sandbox("function.handler", code).invoke({}, "request-1").payload == [0o755, 0o640]


def test_cold_start_has_an_empty_temporary_folder_and_no_byte_code(
    make_sandbox: MakeSandbox,
) -> None:
    text = (
        "import os, tempfile\nimport other\ndef handler(event, context):\n"
        "    found = os.listdir(tempfile.gettempdir())\n"
        "    open(tempfile.gettempdir() + '/mine', 'w').close()\n    if event: os._exit(1)\n"
        "    return [found, os.path.exists('__pycache__')]\n"
    )
    sandbox = make_sandbox("function.handler", zip_files({"function.py": text, "other.py": ""}))
    assert sandbox.invoke({}, "request-1").payload == [[], False]
    assert sandbox.invoke({}, "request-2").payload == [["mine"], False]
    sandbox.invoke({"die": True}, "request-3")
    assert sandbox.invoke({}, "request-4").payload == [[], False]


def test_calls_from_several_threads_run_one_after_another(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("function.act")
    sandbox.invoke({}, "request")
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        calls = {
            n: pool.submit(sandbox.invoke, {"sleep": 0.1, "log": f"call {n}"}, f"request-{n}")
            for n in range(4)
        }
    assert time.monotonic() - start >= 0.4
    for n, call in calls.items():
        assert call.result().log[:2] == [
            f"START RequestId: request-{n} Version: $LATEST",
            f"call {n}",
        ]


def test_close_ends_a_running_call_and_its_child_processes(
    make_sandbox: MakeSandbox, tmp_path: Path
) -> None:
    sandbox = make_sandbox("function.act", timeout=60.0)
    pid = sandbox.invoke({}, "request-1").payload
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.invoke, {"child": True, "sleep": 60}, "request-2")
        wait_until(lambda: group_size(pid) > 1)
        sandbox.close()
        assert running.result(timeout=5).payload["errorType"] == "Runtime.ExitError"
    wait_until(lambda: group_size(pid) == 0)
    assert not (tmp_path / "sandboxes").exists()
    sandbox.close()
    with pytest.raises(RuntimeError, match="the sandbox of watch is closed"):
        sandbox.invoke({}, "request-3")


def test_close_does_not_wait_for_a_detached_process(make_sandbox: MakeSandbox) -> None:
    text = (
        "import subprocess\ndef handler(event, context):\n"
        "    return subprocess.Popen(['sleep', '60'], start_new_session=True).pid\n"
    )
    sandbox = make_sandbox("function.handler", zip_files({"function.py": text}))
    pid = sandbox.invoke({}, "request-1").payload
    try:
        start = time.monotonic()
        sandbox.close()
        assert time.monotonic() - start < 10
    finally:
        os.kill(pid, signal.SIGKILL)


def test_close_removes_only_its_own_folder(make_sandbox: MakeSandbox, tmp_path: Path) -> None:
    other = tmp_path / "sandboxes" / "other"
    other.mkdir(parents=True)
    sandbox = make_sandbox()
    sandbox.invoke({}, "request-1")
    sandbox.close()
    assert list((tmp_path / "sandboxes").iterdir()) == [other]
    other.rmdir()
    other.parent.rmdir()


def test_child_ends_when_its_host_is_killed(
    client: str, pythons: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "code.zip").write_bytes(zip_files({"function.py": CODE}))
    host = (
        "import sys, time\nfrom pathlib import Path\n"
        "from tooling.local.sandbox.execution_environment import Sandbox\n"
        "from tooling.local.sandbox.function import Function, Package\n"
        "code, python, folder = sys.argv[1:]\n"
        "function = Function('f', '111122223333', 'us-east-1', 'function.act')\n"
        "sandbox = Sandbox(Package(code), function, Path(python), Path(folder))\n"
        "print(sandbox.invoke({}, 'request-1').payload, flush=True)\ntime.sleep(60)\n"
    )
    command = [
        sys.executable,
        "-c",
        host,
        str(tmp_path / "code.zip"),
        str(pythons[client]),
        str(tmp_path / "host"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        pid = int(running.stdout.readline())
        assert is_alive(pid)
        running.kill()
    wait_until(lambda: not is_alive(pid))
