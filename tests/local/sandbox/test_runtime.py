"""A function called, on AWS's runtime client and on its stand-in: answers, logs, errors, and a death or a timeout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import until
from tests.support.sandbox import is_alive, zipped
from tooling.local.sandbox import runtime
from tooling.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Make
    from tooling.local.sandbox.runtime import Result

pytestmark = pytest.mark.local


def report_of(result: Result) -> dict[str, str]:
    """Return the fields of the REPORT line."""
    return dict(part.split(": ", 1) for part in result.log[-1].removeprefix("REPORT ").split("\t"))


@pytest.mark.parametrize(
    "event", [{"a": [1, None, "é"]}, [1, 2], "text", None, {"big": "x" * 2_000_000}]
)
def test_an_event_goes_in_and_the_answer_comes_out(make: Make, event: Any) -> None:
    result = make().invoke(event, "request-1")
    assert (result.payload, result.error) == (event, "")


def test_making_a_sandbox_does_nothing_yet(make: Make, tmp_path: Path) -> None:
    threads = threading.active_count()
    make(code=b"not even a zip")
    assert threading.active_count() == threads
    assert not (tmp_path / "sandboxes").exists()


def test_a_package_that_is_no_zip_is_an_error_and_leaves_nothing(make: Make) -> None:
    with pytest.raises(zipfile.BadZipFile):
        make(code=b"not a zip").invoke({}, "request-1")


def test_the_first_call_is_cold_and_the_next_is_the_same_process(make: Make) -> None:
    sandbox = make("function.look")
    first, second = sandbox.invoke({}, "request-1"), sandbox.invoke({}, "request-2")
    assert (first.cold, second.cold) == (True, False)
    assert (first.payload["count"], second.payload["count"]) == (1, 2)
    assert first.payload["pid"] == second.payload["pid"]
    assert first.stream == second.stream


def test_the_log_is_framed_as_lambda_frames_it(make: Make, client: str) -> None:
    sandbox = make("function.act")
    result = sandbox.invoke({"log": "first\nsecond"}, "request-1")
    title, loaded, start, one, two, end, report = result.log
    python = "Python {}.{}".format(*sys.version_info[:2]) if client == "plain" else "Python 3."
    named = "plain child process, " if client == "plain" else "awslambdaric 4."
    assert title.startswith(f"INIT_START Runtime Version: {named}")
    assert python in title
    assert [loaded, start, one, two, end] == [
        "loaded",
        "START RequestId: request-1 Version: $LATEST",
        "first",
        "second",
        "END RequestId: request-1",
    ]
    assert report.startswith("REPORT RequestId: request-1\tDuration: ")
    fields = report_of(result)
    spent, init = (
        float(fields[name].removesuffix(" ms")) for name in ("Duration", "Init Duration")
    )
    assert 0 < spent + init <= result.seconds * 1000
    assert fields["Memory Size"] == "256 MB"


def test_a_warm_call_logs_no_start_of_the_runtime(make: Make) -> None:
    sandbox = make("function.act")
    sandbox.invoke({}, "request-1")
    result = sandbox.invoke({"log": "again"}, "request-2")
    assert result.log[:3] == [
        "START RequestId: request-2 Version: $LATEST",
        "again",
        "END RequestId: request-2",
    ]
    assert "Init Duration" not in result.log[-1]


def test_everything_written_before_the_answer_is_in_the_log(make: Make) -> None:
    sandbox = make("function.act")
    for n in range(50):
        text = f"{n} " + "x" * 100_000  # more than a pipe holds
        assert sandbox.invoke({"log": text}, f"request-{n}").log[-3] == text


def test_the_log_is_complete_although_its_reader_is_late(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, follow = threading.Event(), runtime._Log._follow
    monkeypatch.setattr(runtime._Log, "_follow", lambda self: (released.wait(30), follow(self)))
    try:
        assert make("function.act").invoke({"log": "here"}, "request-1").log[-3] == "here"
    finally:
        released.set()


def test_a_carriage_return_is_a_line_break_inside_a_record(make: Make) -> None:
    assert make("function.act").invoke({"log": "one\rtwo"}, "request-1").log[-3] == "one\ntwo"


def test_a_log_call_carries_level_and_request(make: Make) -> None:
    record = make("function.act").invoke({"warn": "careful"}, "request-1").log[-3]
    assert record.startswith("[WARNING]\t20")
    assert record.endswith("Z\trequest-1\tcareful")


def test_an_error_of_the_handler_is_answered_and_the_process_lives_on(make: Make) -> None:
    sandbox = make("function.fail")
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


def test_an_answer_that_is_no_json_is_an_error(make: Make) -> None:
    code = zipped({"function.py": "def handler(event, context):\n    return object()\n"})
    result = make("function.handler", code).invoke({}, "request-1")
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
def test_a_handler_that_cannot_be_loaded_is_an_error(
    make: Make, handler: str, text: str, kind: str, message: str
) -> None:
    result = make(handler, zipped({"function.py": text})).invoke({}, "request-1")
    assert (result.error, result.cold, result.payload["errorType"]) == ("Unhandled", True, kind)
    assert message in result.payload["errorMessage"]
    assert result.log[0].startswith("INIT_START")
    assert any(record.startswith(f"[ERROR] {kind}: ") for record in result.log)


def test_a_start_that_failed_is_tried_anew_on_the_next_call(make: Make) -> None:
    sandbox = make("absent.handler")
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
def test_a_process_that_dies_is_an_exit_error_and_the_next_call_is_cold(
    make: Make, event: dict[str, int], why: str
) -> None:
    sandbox = make("function.act")
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


def test_a_process_that_dies_while_it_loads_is_an_exit_error(make: Make) -> None:
    sandbox = make(
        "function.handler",
        zipped({"function.py": "import os\nprint('oh', flush=True)\nos._exit(5)"}),
    )
    result = sandbox.invoke({}, "request-1")
    assert result.payload["errorType"] == "Runtime.ExitError"
    assert "exit status 5" in result.payload["errorMessage"]
    assert "oh" in result.log


def test_a_process_killed_while_idle_takes_no_event_with_it(make: Make) -> None:
    sandbox = make("function.act")
    killed = sandbox.invoke({}, "request-1").payload
    os.kill(killed, signal.SIGKILL)
    until(lambda: not is_alive(killed))
    result = sandbox.invoke({"log": "taken"}, "request-2")
    assert (result.error, result.cold) == ("", True)
    assert result.payload != killed
    assert result.log[0].startswith("INIT_START")
    assert (
        result.log.count("START RequestId: request-2 Version: $LATEST")
        == result.log.count("taken")
        == 1
    )


def test_a_warm_call_waits_for_no_timer_of_tcp(make: Make) -> None:
    sandbox = make()
    sandbox.invoke({}, "request")
    seconds = sorted(sandbox.invoke({}, f"request-{n}").seconds for n in range(21))
    assert seconds[10] < 0.035  # a delayed acknowledgement takes 0.04


def test_a_call_that_takes_too_long_is_killed_and_the_next_is_cold(make: Make) -> None:
    sandbox = make("function.act", timeout=1.0)
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


def test_a_handler_that_never_loads_times_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tooling.local.sandbox.runtime.INIT_TIMEOUT", 1.0)
    result = make(
        "function.handler", zipped({"function.py": "import time\ntime.sleep(60)"})
    ).invoke({}, "request-1")
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert result.seconds < 5.0


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport tooling.local.sandbox.runtime\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"tooling", "__main__"}
