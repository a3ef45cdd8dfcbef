"""The command line as a person uses it: the tasks, how they end, and a loopback AWS."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from botocore.loaders import JSONFileLoader

from tests.support.aws import ACCOUNT, CALLER, STACK_ID
from tests.support.repository import ROOT
from tests.support.task_names import task_names
from tooling.terminal.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invoke import Argument, Collection


def load_tasks() -> Any:
    """Return tasks.py as a module."""
    spec = importlib.util.spec_from_file_location("tasks_copy", ROOT / "tasks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TASKS_MODULE = load_tasks()
NAMESPACE: Collection = TASKS_MODULE.namespace
NETWORKS_TASKS = ("networks", "networks.allow", "networks.revoke", "networks.check")
ACCOUNT_TASKS = (
    *("bootstrap", "deploy", "outputs", "drift", "secret", "signin-test", "clean", "destroy"),
    *("forget", "coverage", *NETWORKS_TASKS),
)
WRITING_TASKS = (
    *("bootstrap", "package", "deploy", "secret", "clean", "destroy"),
    *("networks.allow", "networks.revoke", "networks.refresh", "forget", "demo"),
)
# Writing tasks that ask before they write. "secret" has questions of its own.
ASKING_TASKS = (
    *("bootstrap", "deploy", "clean", "destroy", "forget"),
    *("networks.allow", "networks.revoke"),
)
NEEDED_FLAGS = {  # flags without which a task does nothing
    "deploy": ("--regions", "home"),  # no forwarders
    "networks.allow": ("--cidr", "203.0.113.7"),
    "networks.revoke": ("--cidr", "203.0.113.7"),
    "forget": ("--who", "Anaya"),
    "networks.check": ("--address", "203.0.113.7"),
}
TASKS = tuple(sorted(task_names(NAMESPACE)))
Run = Any  # a function: a task and its flags -> TaskEnd


class TaskEnd(NamedTuple):
    """How a task ended."""

    code: int
    out: str
    err: str


def make_program() -> Program:
    """Return the program that ./inv runs."""
    return Program(NAMESPACE, TASKS_MODULE.GROUPS)


def arguments_of(task: str) -> list[Argument]:
    arguments: list[Argument] = NAMESPACE[task].get_arguments()
    return arguments


def on_account(task: str, *flags: str) -> tuple[str, ...]:
    """Return a command line for the test account, with the flags that the task needs."""
    account = ("-a", ACCOUNT, "--region", "eu-west-1", "--config", "empty.toml")
    names_a_network = flags and flags[0] in ("--cidr", "--address", "--label", "--id")
    needed = () if names_a_network else NEEDED_FLAGS.get(task, ())
    approval = ("--yes",) if task in ASKING_TASKS and "--plan" not in flags else ()
    return (task, *account, *needed, *approval, *flags)


def expect(end: TaskEnd, code: int, task: str, *texts: str) -> None:
    """Assert the exit code, and one sentence with a remedy and without a traceback."""
    assert end.code == code, end.err
    assert end.err.startswith(f"invoke {task}: ")
    assert end.err.count(f"invoke {task}: ") == 1
    assert end.err.count("\nTry: ") == 1
    assert "Traceback" not in end.out + end.err
    for text in texts:
        assert text in end.err


class Aws:
    """A loopback AWS: a caller, the bootstrap's contract, a stack; it records the actions.

    It has no forwarders.
    """

    def __init__(self) -> None:
        self.owner, self.contract, self.actions = ACCOUNT, dict[str, str](), list[str]()
        self.prefix, self.parameters = "signwatch", dict[str, str]()
        self.is_silent, self.arrived, self.release = False, threading.Event(), threading.Event()

    def answer(self, action: str, body: str) -> str:
        self.actions.append(action)
        self.arrived.set()
        status = "DELETE_COMPLETE" if "-forwarder" in body else "CREATE_COMPLETE"
        if self.is_silent:
            self.release.wait(30)
        return {
            "GetCallerIdentity": f"<Account>{self.owner}</Account><Arn>{CALLER}</Arn>",
            "GetParametersByPath": self._contract_json(body),
            "AssumeRole": (
                "<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>"
                "<SecretAccessKey>made-up</SecretAccessKey><SessionToken>made-up</SessionToken>"
                "<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials>"
                "<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:x</AssumedRoleId>"
                f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/signwatch-deploy/x</Arn>"
                "</AssumedRoleUser>"
            ),
            "DescribeRegions": "",  # then the Regions of sign-ins are asked alone
            "ListInstances": '{"Instances": []}',
            "PutParameter": "{}",
            "DeleteParameter": "{}",
            "DescribeStacks": (
                f"<Stacks><member><StackId>{STACK_ID}</StackId><StackName>signwatch</StackName>"
                f"<StackStatus>{status}</StackStatus>"
                "<Outputs><member><OutputKey>TwilioSecretArn</OutputKey>"
                "<OutputValue>arn:aws:secretsmanager:eu-west-1:111122223333:secret:x</OutputValue>"
                f"</member></Outputs><Parameters>{self._parameters_xml()}</Parameters>"
                f"<Tags><member><Key>signwatch:prefix</Key><Value>{self.prefix}</Value></member>"
                "</Tags></member></Stacks>"
            ),
        }[action]

    def _contract_json(self, body: str) -> str:
        """Return the parameters below the path that a GetParametersByPath asks for."""
        request = json.loads(body) if body.startswith("{") else {}
        below = f"{request.get('Path', 'none')}/"
        entries = [
            {"Name": name, "Value": value}
            for name, value in self.contract.items()
            if name.startswith(below)
        ]
        return json.dumps({"Parameters": entries})

    def _parameters_xml(self) -> str:
        return "".join(
            f"<member><ParameterKey>{name}</ParameterKey>"
            f"<ParameterValue>{value}</ParameterValue></member>"
            for name, value in self.parameters.items()
        )


@functools.cache
def read_model(path: str) -> Any:
    return JSONFileLoader().load_file(path)


class CachingLoader(JSONFileLoader):  # type: ignore[misc] # botocore ships no types
    """Reads each of botocore's service descriptions once: a tenth of a second each."""

    def load_file(self, file_path: str) -> Any:
        return read_model(file_path)


@contextlib.contextmanager
def serve(aws: Aws) -> Iterator[str]:
    """Serve the loopback AWS; the value is its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            target = self.headers.get("X-Amz-Target")  # of services that speak JSON
            action = target.rpartition(".")[2] if target else parse_qs(body)["Action"][0]
            answer = aws.answer(action, body)
            if not target:
                answer = f"<R><{action}Result>{answer}</{action}Result></R>"
            with contextlib.suppress(OSError):  # the client may be gone
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            aws.release.set()
            server.shutdown()
            thread.join()
