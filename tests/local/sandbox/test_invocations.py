"""Invocations on both runtime clients: answers, logs, errors, exits and timeouts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import wait_until
from tests.support.sandbox import is_alive, zip_files
from tooling.local.sandbox import process_log
from tooling.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import MakeSandbox
    from tooling.local.sandbox.execution_environment import Result

pytestmark = pytest.mark.local


def report_fields(result: Result) -> dict[str, str]:
    """Return the fields of the REPORT line."""
    return dict(part.split(": ", 1) for part in result.log[-1].removeprefix("REPORT ").split("\t"))


@pytest.mark.parametrize(
    "event", [{"a": [1, None, "é"]}, [1, 2], "text", None, {"big": "x" * 2_000_000}]
)
def test_handler_answers_with_the_event_it_got(make_sandbox: MakeSandbox, event: Any) -> None:
    result = make_sandbox().invoke(event, "request-1")
    assert (result.payload, result.error) == (event, "")


def test_new_sandbox_starts_no_thread_and_makes_no_folder(
    make_sandbox: MakeSandbox, tmp_path: Path
) -> None:
    threads = threading.active_count()
    make_sandbox(code=b"not even a zip")
    assert threading.active_count() == threads
    assert not (tmp_path / "sandboxes").exists()


def test_package_that_is_not_a_zip_raises_and_leaves_no_folder(make_sandbox: MakeSandbox) -> None:
    with pytest.raises(zipfile.BadZipFile):
        make_sandbox(code=b"not a zip").invoke({}, "request-1")


def test_second_call_reuses_the_process_of_the_first(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("function.look")
    first, second = sandbox.invoke({}, "request-1"), sandbox.invoke({}, "request-2")
    assert (first.cold, second.cold) == (True, False)
    assert (first.payload["count"], second.payload["count"]) == (1, 2)
    assert first.payload["pid"] == second.payload["pid"]
    assert first.stream == second.stream


def test_log_has_the_records_that_lambda_adds(make_sandbox: MakeSandbox, client: str) -> None:
    sandbox = make_sandbox("function.act")
    result = sandbox.invoke({"log": "first\nsecond"}, "request-1")
    title, loaded, start, one, two, end, report = result.log
    python = "Python {}.{}".format(*sys.version_info[:2]) if client == "plain" else "Python 3."
    name = "plain child process, " if client == "plain" else "awslambdaric 4."
    assert title.startswith(f"INIT_START Runtime Version: {name}")
    assert python in title
    assert [loaded, start, one, two, end] == [
        "loaded",
        "START RequestId: request-1 Version: $LATEST",
        "first",
        "second",
        "END RequestId: request-1",
    ]
    assert report.startswith("REPORT RequestId: request-1\tDuration: ")
    fields = report_fields(result)
    spent, init = (
        float(fields[name].removesuffix(" ms")) for name in ("Duration", "Init Duration")
    )
    assert 0 < spent + init <= result.seconds * 1000
    assert fields["Memory Size"] == "256 MB"


def test_warm_call_logs_no_init(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("function.act")
    sandbox.invoke({}, "request-1")
    result = sandbox.invoke({"log": "again"}, "request-2")
    assert result.log[:3] == [
        "START RequestId: request-2 Version: $LATEST",
        "again",
        "END RequestId: request-2",
    ]
    assert "Init Duration" not in result.log[-1]


def test_all_output_before_the_answer_is_in_the_log(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("function.act")
    for n in range(50):
        text = f"{n} " + "x" * 100_000  # more than a pipe holds
        assert sandbox.invoke({"log": text}, f"request-{n}").log[-3] == text


def test_log_is_complete_when_its_reader_thread_is_late(
    make_sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, follow = threading.Event(), process_log.ProcessLog._follow
    monkeypatch.setattr(
        process_log.ProcessLog, "_follow", lambda self: (released.wait(30), follow(self))
    )
    try:
        assert make_sandbox("function.act").invoke({"log": "here"}, "request-1").log[-3] == "here"
    finally:
        released.set()


def test_carriage_return_becomes_a_line_break_in_the_record(make_sandbox: MakeSandbox) -> None:
    assert (
        make_sandbox("function.act").invoke({"log": "one\rtwo"}, "request-1").log[-3] == "one\ntwo"
    )


def test_logging_call_has_level_and_request_id(make_sandbox: MakeSandbox) -> None:
    record = make_sandbox("function.act").invoke({"warn": "careful"}, "request-1").log[-3]
    assert record.startswith("[WARNING]\t20")
    assert record.endswith("Z\trequest-1\tcareful")


def test_handler_error_is_returned_and_the_process_stays(
    make_sandbox: MakeSandbox,
) -> None:
    sandbox = make_sandbox("function.fail")
    result = sandbox.invoke({"what": "thing"}, "request-1")
    assert (result.error, result.payload["errorType"]) == ("Unhandled", "ValueError")
    assert (result.payload["errorMessage"], result.payload["requestId"]) == (
        "no such thing",
        "request-1",
    )
    assert 'raise ValueError("no such " + event["what"])' in "".join(result.payload["stackTrace"])
    record = result.log[-3]
    assert record.startswith(
        "[ERROR] ValueError: no such thing\nTraceback (most recent call last):\n"
    )
    assert not sandbox.invoke({"what": "thing"}, "request-2").cold


def test_answer_that_is_not_json_is_an_error(make_sandbox: MakeSandbox) -> None:
    code = zip_files({"function.py": "def handler(event, context):\n    return object()\n"})
    result = make_sandbox("function.handler", code).invoke({}, "request-1")
    assert result.error == "Unhandled"
    assert "JSON serializable" in result.payload["errorMessage"]


@pytest.mark.parametrize(
    ("handler", "text", "kind", "message"),
    [
        (
            "absent.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'absent': No module named 'absent'",
        ),
        (
            "function.handler",
            "import twilio",
            "Runtime.ImportModuleError",
            "No module named 'twilio'",
        ),
        (
            "function.handler",
            "",
            "Runtime.HandlerNotFound",
            "Handler 'handler' missing on module 'function'",
        ),
        (
            "function.handler",
            "def",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'function'",
        ),
        ("function.handler", "1 / 0", "ZeroDivisionError", "division by zero"),
        ("handler", "", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
    ],
)
def test_handler_that_cannot_be_loaded_is_an_error(
    make_sandbox: MakeSandbox, handler: str, text: str, kind: str, message: str
) -> None:
    result = make_sandbox(handler, zip_files({"function.py": text})).invoke({}, "request-1")
    assert (result.error, result.cold, result.payload["errorType"]) == ("Unhandled", True, kind)
    assert message in result.payload["errorMessage"]
    assert result.log[0].startswith("INIT_START")
    assert any(record.startswith(f"[ERROR] {kind}: ") for record in result.log)


def test_failed_init_is_retried_by_the_next_call(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("absent.handler")
    first, second = sandbox.invoke({}, "request-1"), sandbox.invoke({}, "request-2")
    assert (first.cold, second.cold, second.error) == (True, True, "Unhandled")
    assert second.payload["errorType"] == "Runtime.ImportModuleError"
    assert "START RequestId: request-2 Version: $LATEST" in second.log


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"exit": 3}, "Runtime exited with error: exit status 3"),
        ({"exit": 0}, "Runtime exited without providing a reason"),
        ({"signal": signal.SIGKILL}, "Runtime exited with error: signal: killed"),
    ],
)
def test_dead_process_is_an_exit_error_and_the_next_call_is_cold(
    make_sandbox: MakeSandbox, event: dict[str, int], why: str
) -> None:
    sandbox = make_sandbox("function.act")
    before = sandbox.invoke({}, "request-1")
    result = sandbox.invoke({**event, "log": "last words"}, "request-2")
    assert (result.error, result.cold) == ("Unhandled", False)
    assert result.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: request-2 Error: {why}",
    }
    assert result.log[1:3] == [
        "last words",
        f"RequestId: request-2 Error: {why}\nRuntime.ExitError",
    ]
    after = sandbox.invoke({}, "request-3")
    assert (after.error, after.cold) == ("", True)
    assert (after.payload, after.stream) != (before.payload, before.stream)


def test_process_that_exits_during_init_is_an_exit_error(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(
        "function.handler",
        zip_files({"function.py": "import os\nprint('oh', flush=True)\nos._exit(5)"}),
    )
    result = sandbox.invoke({}, "request-1")
    assert result.payload["errorType"] == "Runtime.ExitError"
    assert "exit status 5" in result.payload["errorMessage"]
    assert "oh" in result.log


def test_process_killed_while_idle_loses_no_event(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox("function.act")
    killed = sandbox.invoke({}, "request-1").payload
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed))
    result = sandbox.invoke({"log": "taken"}, "request-2")
    assert (result.error, result.cold) == ("", True)
    assert result.payload != killed
    assert result.log[0].startswith("INIT_START")
    assert (
        result.log.count("START RequestId: request-2 Version: $LATEST")
        == result.log.count("taken")
        == 1
    )


def test_warm_call_does_not_wait_for_a_delayed_tcp_acknowledgement(
    make_sandbox: MakeSandbox,
) -> None:
    sandbox = make_sandbox()
    sandbox.invoke({}, "request")
    seconds = sorted(sandbox.invoke({}, f"request-{n}").seconds for n in range(21))
    assert seconds[10] < 0.035  # a delayed acknowledgement takes 0.04


def test_call_that_times_out_is_killed_and_the_next_is_cold(
    make_sandbox: MakeSandbox,
) -> None:
    sandbox = make_sandbox("function.act", timeout=1.0)
    pid = sandbox.invoke({}, "request-1").payload
    result = sandbox.invoke({"sleep": 60, "log": "begun", "child": True}, "request-2")
    assert result.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: request-2 Error: Task timed out after 1.00 seconds",
    }
    assert (result.error, result.log[1]) == ("Unhandled", "begun")
    assert result.log[2].endswith("Z request-2 Task timed out after 1.00 seconds")
    assert 1.0 <= result.seconds < 5.0
    assert not is_alive(pid)
    after = sandbox.invoke({"log": "after"}, "request-3")
    assert (after.error, after.cold, after.log[-3]) == ("", True, "after")


def test_handler_that_never_loads_times_out(
    make_sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tooling.local.sandbox.client_process.INIT_TIMEOUT_SECONDS", 1.0)
    result = make_sandbox(
        "function.handler", zip_files({"function.py": "import time\ntime.sleep(60)"})
    ).invoke({}, "request-1")
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert result.seconds < 5.0


def test_sandbox_imports_only_the_standard_library() -> None:
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import tooling.local.sandbox.execution_environment\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(process.stdout.split()) == {"tooling", "__main__"}
