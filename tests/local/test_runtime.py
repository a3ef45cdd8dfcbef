"""One execution environment of Lambda, on AWS's runtime client and on the plain child process that stands in for it."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tooling.environment import ensure
from tooling.local import runtime
from tooling.local.runtime import Function, Package, Result, Sandbox
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Sandbox]

pytestmark = pytest.mark.local

CLIENTS = ["awslambdaric", "plain"]
CODE = """
import json, logging, os, subprocess, sys, time
print("loaded")
count = 0
def echo(event, context):
    return event
def look(event, context):
    global count
    count += 1
    told = [context.aws_request_id, context.function_name, context.function_version, context.memory_limit_in_mb,
            context.invoked_function_arn, context.log_group_name, context.log_stream_name]
    return {"pid": os.getpid(), "count": count, "path": sys.path, "environment": dict(os.environ), "told": told,
            "folder": os.getcwd(), "left": context.get_remaining_time_in_millis()}
def fail(event, context):
    raise ValueError("no such " + event["what"])
def act(event, context):
    if event.get("log"):
        print(event["log"], flush=True)
    if event.get("warn"):
        logging.getLogger("mine").warning(event["warn"])
    if event.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if event.get("signal"):
        os.kill(os.getpid(), event["signal"])
    if event.get("exit") is not None:
        os._exit(event["exit"])
    time.sleep(event.get("sleep", 0))
    return os.getpid()
"""


def zipped(files: dict[str, str], modes: dict[str, int] | None = None) -> bytes:
    """Return a zip of these files, with these modes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(entry, text)
    return made.getvalue()


def wait(holds: Callable[[], Any]) -> None:
    """Wait until it holds, ten seconds at most."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that nobody has reaped is dead."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(told.strip()) and not told.startswith("Z")


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python with awslambdaric, and one without."""
    bare = tmp_path_factory.mktemp("bare")
    venv.create(bare, symlinks=True)
    return {"awslambdaric": ensure("runtime"), "plain": bare / "bin" / "python"}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """Each of the two clients."""
    name: str = request.param
    if name == "awslambdaric" and sys.platform != "linux":
        pytest.skip("there is no wheel of awslambdaric for this system")
    return name


@pytest.fixture
def make(client: str, pythons: dict[str, Path], tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a sandbox; all of them leave no thread and no folder."""
    made: list[Sandbox] = []
    before = set(threading.enumerate())

    def sandbox(
        handler: str = "function.echo",
        code: bytes | Path | None = None,
        layers: tuple[bytes | Path, ...] = (),
        timeout: float = 10.0,
        **environment: str,
    ) -> Sandbox:
        function = Function(
            "watch", "111122223333", "eu-west-1", handler, timeout=timeout, memory=256, environment=environment
        )
        package = Package(zipped({"function.py": CODE}) if code is None else code, layers)
        made.append(Sandbox(package, function, pythons[client], tmp_path / "sandboxes"))
        return made[-1]

    yield sandbox
    for one in made:
        one.close()
    assert set(threading.enumerate()) <= before
    assert not (tmp_path / "sandboxes").exists()


def report_of(result: Result) -> dict[str, str]:
    """Return the fields of the REPORT line."""
    return dict(part.split(": ", 1) for part in result.log[-1].removeprefix("REPORT ").split("\t"))


@pytest.mark.parametrize("event", [{"a": [1, None, "é"]}, [1, 2], "text", None, {"big": "x" * 2_000_000}])
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
    spent, init = (float(fields[name].removesuffix(" ms")) for name in ("Duration", "Init Duration"))
    assert 0 < spent + init <= result.seconds * 1000
    assert fields["Memory Size"] == "256 MB"


def test_a_warm_call_logs_no_start_of_the_runtime(make: Make) -> None:
    sandbox = make("function.act")
    sandbox.invoke({}, "request-1")
    result = sandbox.invoke({"log": "again"}, "request-2")
    assert result.log[:3] == ["START RequestId: request-2 Version: $LATEST", "again", "END RequestId: request-2"]
    assert "Init Duration" not in result.log[-1]


def test_everything_written_before_the_answer_is_in_the_log(make: Make) -> None:
    sandbox = make("function.act")
    for n in range(50):
        text = f"{n} " + "x" * 100_000  # more than a pipe holds
        assert sandbox.invoke({"log": text}, f"request-{n}").log[-3] == text


def test_the_log_is_complete_although_its_reader_is_late(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert (result.payload["errorMessage"], result.payload["requestId"]) == ("no such thing", "request-1")
    assert 'raise ValueError("no such " + event["what"])' in "".join(result.payload["stackTrace"])
    record = result.log[-3]
    assert record.startswith("[ERROR] ValueError: no such thing\nTraceback (most recent call last):\n")
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
        ("function.handler", "import twilio", "Runtime.ImportModuleError", "No module named 'twilio'"),
        ("function.handler", "", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'function'"),
        ("function.handler", "def", "Runtime.UserCodeSyntaxError", "Syntax error in module 'function'"),
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
    assert result.payload == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: request-2 Error: {why}"}
    assert result.log[1:3] == ["last words", f"RequestId: request-2 Error: {why}\nRuntime.ExitError"]
    after = sandbox.invoke({}, "request-3")
    assert (after.error, after.cold) == ("", True)
    assert (after.payload, after.stream) != (before.payload, before.stream)


def test_a_process_that_dies_while_it_loads_is_an_exit_error(make: Make) -> None:
    sandbox = make("function.handler", zipped({"function.py": "import os\nprint('oh', flush=True)\nos._exit(5)"}))
    result = sandbox.invoke({}, "request-1")
    assert result.payload["errorType"] == "Runtime.ExitError"
    assert "exit status 5" in result.payload["errorMessage"]
    assert "oh" in result.log


def test_a_process_killed_while_idle_takes_no_event_with_it(make: Make) -> None:
    sandbox = make("function.act")
    killed = sandbox.invoke({}, "request-1").payload
    os.kill(killed, signal.SIGKILL)
    wait(lambda: not is_alive(killed))
    result = sandbox.invoke({"log": "taken"}, "request-2")
    assert (result.error, result.cold) == ("", True)
    assert result.payload != killed
    assert result.log[0].startswith("INIT_START")
    assert result.log.count("START RequestId: request-2 Version: $LATEST") == result.log.count("taken") == 1


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
    monkeypatch.setattr("tooling.local.runtime.INIT_TIMEOUT", 1.0)
    result = make("function.handler", zipped({"function.py": "import time\ntime.sleep(60)"})).invoke({}, "request-1")
    assert result.payload["errorType"] == "Sandbox.Timedout"
    assert result.seconds < 5.0


def test_the_handler_is_told_who_it_is_and_when_its_time_is_up(make: Make) -> None:
    result = make("function.look", timeout=30.0).invoke({}, "request-1")
    arn = "arn:aws:lambda:eu-west-1:111122223333:function:watch"
    assert result.payload["told"] == [
        "request-1",
        "watch",
        "$LATEST",
        "256",
        arn,
        "/aws/lambda/watch",
        result.stream,
    ]
    assert 25_000 < result.payload["left"] <= 30_000


def test_the_child_sees_nothing_of_the_hosts_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("SOMETHING_OF_THE_HOST", "seen")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = (
        make("function.look", AWS_ACCESS_KEY_ID="ASIAEXAMPLE", TABLE="ledger").invoke({}, "1").payload["environment"]
    )
    assert not {"AWS_PROFILE", "SOMETHING_OF_THE_HOST"} & found.keys()
    assert "/somewhere" not in found["PYTHONPATH"]
    assert os.environ["HOME"] != found["HOME"]
    assert (found["AWS_ACCESS_KEY_ID"], found["TABLE"], found["AWS_REGION"]) == ("ASIAEXAMPLE", "ledger", "eu-west-1")


def test_the_functions_own_environment_replaces_nothing_reserved(make: Make) -> None:
    changes = {
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "other",
        "_HANDLER": "x.y",
        "LAMBDA_TASK_ROOT": "/",
    }
    plain = make("function.look").invoke({}, "request-1").payload["environment"]
    changed = make("function.look", **changes, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", TZ="UTC").invoke({}, "request-1")
    found = changed.payload["environment"]
    assert changed.error == ""
    for name in ("AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "_HANDLER"):
        assert found[name] == plain[name]
    assert found["LAMBDA_TASK_ROOT"] == changed.payload["folder"]
    assert found["AWS_LAMBDA_RUNTIME_API"] != "127.0.0.1:1"
    assert (plain["TZ"], found["TZ"]) == (":UTC", "UTC")


def test_modules_come_from_the_task_root_the_layers_and_the_runtime_alone(
    make: Make, client: str, pythons: dict[str, Path]
) -> None:
    payload = make("function.look").invoke({}, "request-1").payload
    task = Path(payload["folder"])
    version = payload["environment"]["AWS_EXECUTION_ENV"].removeprefix("AWS_Lambda_python")
    layer = task.parent / "opt" / "python"
    assert payload["path"][:3] == [str(task), str(layer / "lib" / f"python{version}" / "site-packages"), str(layer)]
    asked = [str(pythons[client]), "-I", "-c", "import json, sys; print(json.dumps(sys.path))"]
    own = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    assert set(payload["path"][3:]) <= set(own)
    assert not any(str(ROOT / "tooling") in entry for entry in payload["path"])


def test_layers_lie_over_each_other_in_order_and_under_the_code(make: Make, tmp_path: Path) -> None:
    first = zipped(
        {"python/one.py": "name = 'first'", "python/two.py": "name = 'first'", "python/own.py": "name = 'x'"}
    )
    second = tmp_path / "second.zip"
    second.write_bytes(zipped({"python/two.py": "name = 'second'"}))
    text = "import one, two, own\ndef handler(event, context):\n    return [one.name, two.name, own.name]\n"
    code = tmp_path / "code.zip"
    code.write_bytes(zipped({"function.py": text, "own.py": "name = 'code'"}))
    assert make("function.handler", code, (first, second)).invoke({}, "1").payload == ["first", "second", "code"]


def test_the_modes_in_the_zip_are_kept(make: Make) -> None:
    text = (
        "import os\ndef handler(event, context):\n    return [os.stat(n).st_mode & 0o777 for n in ('tool', 'data')]\n"
    )
    code = zipped({"function.py": text, "tool": "", "data": ""}, {"tool": 0o755, "data": 0o640})
    assert make("function.handler", code).invoke({}, "request-1").payload == [0o755, 0o640]


def test_a_cold_start_finds_an_empty_temporary_folder_and_no_byte_code(make: Make) -> None:
    text = (
        "import os, tempfile\nimport other\ndef handler(event, context):\n"
        "    found = os.listdir(tempfile.gettempdir())\n"
        "    open(tempfile.gettempdir() + '/mine', 'w').close()\n    if event: os._exit(1)\n"
        "    return [found, os.path.exists('__pycache__')]\n"
    )
    sandbox = make("function.handler", zipped({"function.py": text, "other.py": ""}))
    assert sandbox.invoke({}, "request-1").payload == [[], False]
    assert sandbox.invoke({}, "request-2").payload == [["mine"], False]
    sandbox.invoke({"die": True}, "request-3")
    assert sandbox.invoke({}, "request-4").payload == [[], False]


def test_calls_from_several_threads_come_one_after_another(make: Make) -> None:
    sandbox = make("function.act")
    sandbox.invoke({}, "request")
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        said = {n: pool.submit(sandbox.invoke, {"sleep": 0.1, "log": f"call {n}"}, f"request-{n}") for n in range(4)}
    assert time.monotonic() - start >= 0.4
    for n, result in said.items():
        assert result.result().log[:2] == [f"START RequestId: request-{n} Version: $LATEST", f"call {n}"]


def test_closing_ends_a_call_that_runs_and_everything_that_it_started(make: Make, tmp_path: Path) -> None:
    sandbox = make("function.act", timeout=60.0)
    pid = sandbox.invoke({}, "request-1").payload
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.invoke, {"child": True, "sleep": 60}, "request-2")
        wait(lambda: group(pid) > 1)
        sandbox.close()
        assert running.result(timeout=5).payload["errorType"] == "Runtime.ExitError"
    wait(lambda: group(pid) == 0)
    assert not (tmp_path / "sandboxes").exists()
    sandbox.close()
    with pytest.raises(RuntimeError, match="the sandbox of watch is closed"):
        sandbox.invoke({}, "request-3")


def test_closing_does_not_wait_for_a_process_that_left_the_group(make: Make) -> None:
    text = (
        "import subprocess\ndef handler(event, context):\n"
        "    return subprocess.Popen(['sleep', '60'], start_new_session=True).pid\n"
    )
    sandbox = make("function.handler", zipped({"function.py": text}))
    pid = sandbox.invoke({}, "request-1").payload
    try:
        start = time.monotonic()
        sandbox.close()
        assert time.monotonic() - start < 10
    finally:
        os.kill(pid, signal.SIGKILL)


def group(leader: int) -> int:
    """Return how many processes of the leader's group run."""
    told = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return sum(line.split()[0] == str(leader) and "Z" not in line for line in told.splitlines())


def test_closing_leaves_what_is_not_its_own(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "sandboxes" / "other"
    other.mkdir(parents=True)
    sandbox = make()
    sandbox.invoke({}, "request-1")
    sandbox.close()
    assert list((tmp_path / "sandboxes").iterdir()) == [other]
    other.rmdir()
    other.parent.rmdir()


def test_the_child_ends_when_its_host_is_killed_hard(client: str, pythons: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(zipped({"function.py": CODE}))
    host = (
        "import sys, time\nfrom pathlib import Path\nfrom tooling.local.runtime import Function, Package, Sandbox\n"
        "code, python, folder = sys.argv[1:]\nfunction = Function('f', '111122223333', 'us-east-1', 'function.act')\n"
        "sandbox = Sandbox(Package(code), function, Path(python), Path(folder))\n"
        "print(sandbox.invoke({}, 'request-1').payload, flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", host, str(tmp_path / "code.zip"), str(pythons[client]), str(tmp_path / "host")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        pid = int(running.stdout.readline())
        assert is_alive(pid)
        running.kill()
    wait(lambda: not is_alive(pid))


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport tooling.local.runtime\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"tooling", "__main__"}
