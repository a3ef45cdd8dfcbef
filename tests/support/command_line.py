"""The command line as a person uses it: its words, how one ends, and a loopback AWS that answers them."""

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
from tests.support.task_names import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invoke import Argument, Collection


def loaded() -> Any:
    """A copy of tasks.py of our own: Invoke takes the help sentences out of a task when it reads them."""
    spec = importlib.util.spec_from_file_location("words", ROOT / "tasks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tasks = loaded()
NAMESPACE: Collection = tasks.namespace
FAMILY = ("networks", "networks.allow", "networks.revoke", "networks.check")
TARGETED = ("bootstrap", "deploy", "outputs", "drift", "secret", "destroy", "coverage", *FAMILY)
WRITING = (
    "bootstrap",
    "package",
    "deploy",
    "secret",
    "destroy",
    "networks.allow",
    "networks.revoke",
    "demo",
)
NEEDED = {  # flags without which a word does nothing
    "networks.allow": ("--cidr", "203.0.113.7"),
    "networks.revoke": ("--cidr", "203.0.113.7"),
    "networks.check": ("--address", "203.0.113.7"),
}
WORDS = tuple(sorted(words(NAMESPACE)))
HELP = {word: dict(NAMESPACE[word].help) for word in WORDS}
Run = Any  # a word and its flags -> Ended


class Ended(NamedTuple):
    """How a word ended."""

    code: int
    out: str
    err: str


def arguments_of(word: str) -> list[Argument]:
    NAMESPACE[word].help = dict(HELP[word])
    found: list[Argument] = NAMESPACE[word].get_arguments()
    return found


def target(word: str, *more: str) -> tuple[str, ...]:
    needed = (
        ()
        if more and more[0] in ("--cidr", "--address", "--label", "--id")
        else NEEDED.get(word, ())
    )
    return (word, "-a", ACCOUNT, "--region", "eu-west-1", "--config", "empty.toml", *needed, *more)


def expect(ended: Ended, code: int, word: str, *said: str) -> None:
    """Hold an end against what was agreed: one sentence where, what and what to try, and no traceback."""
    assert ended.code == code, ended.err
    assert ended.err.startswith(f"invoke {word}: ")
    assert ended.err.count(f"invoke {word}: ") == 1
    assert ended.err.count("\nTry: ") == 1
    assert "Traceback" not in ended.out + ended.err
    for text in said:
        assert text in ended.err


class Aws:
    """A loopback AWS: who the caller is, the bootstrap's contract, one stack; it keeps what was asked."""

    def __init__(self) -> None:
        self.owner, self.contract, self.asked = ACCOUNT, dict[str, str](), list[str]()
        self.prefix, self.parameters = "signwatch", dict[str, str]()
        self.is_silent, self.arrived, self.release = False, threading.Event(), threading.Event()

    def answer(self, action: str, body: str) -> str:
        self.asked.append(action)
        self.arrived.set()
        if self.is_silent:
            self.release.wait(30)
        return {
            "GetCallerIdentity": f"<Account>{self.owner}</Account><Arn>{CALLER}</Arn>",
            "GetParametersByPath": json.dumps(
                {
                    "Parameters": [
                        {"Name": name, "Value": value} for name, value in self.below(body).items()
                    ]
                }
            ),
            "AssumeRole": (
                "<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>made-up</SecretAccessKey>"
                "<SessionToken>made-up</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials>"
                "<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:x</AssumedRoleId>"
                f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/signwatch-deploy/x</Arn></AssumedRoleUser>"
            ),
            "PutParameter": "{}",
            "DeleteParameter": "{}",
            "DescribeStacks": (
                f"<Stacks><member><StackId>{STACK_ID}</StackId><StackName>signwatch</StackName>"
                "<StackStatus>CREATE_COMPLETE</StackStatus><Outputs><member><OutputKey>TwilioSecretArn</OutputKey>"
                "<OutputValue>arn:aws:secretsmanager:eu-west-1:111122223333:secret:x</OutputValue></member></Outputs>"
                f"<Parameters>{self.written()}</Parameters>"
                f"<Tags><member><Key>signwatch:prefix</Key><Value>{self.prefix}</Value></member></Tags></member></Stacks>"
            ),
        }[action]

    def below(self, body: str) -> dict[str, str]:
        """The parameters below the path that a GetParametersByPath asks for."""
        path = (
            json.loads(body)["Path"]
            if body.startswith("{") and "Path" in json.loads(body)
            else "none"
        )
        return {name: value for name, value in self.contract.items() if name.startswith(f"{path}/")}

    def written(self) -> str:
        pairs = self.parameters.items()
        keys = [
            f"<ParameterKey>{name}</ParameterKey><ParameterValue>{text}</ParameterValue>"
            for name, text in pairs
        ]
        return "".join(f"<member>{one}</member>" for one in keys)


@functools.cache
def read_model(path: str) -> Any:
    return JSONFileLoader().load_file(path)


class ReadOnce(JSONFileLoader):  # type: ignore[misc] # botocore ships no types
    """Reads each of botocore's service descriptions once: a tenth of a second each."""

    def load_file(self, file_path: str) -> Any:
        return read_model(file_path)


@contextlib.contextmanager
def served(aws: Aws) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            target = self.headers.get("X-Amz-Target")
            action = target.rpartition(".")[2] if target else parse_qs(body)["Action"][0]
            said = aws.answer(action, body)
            text = said if target else f"<R><{action}Result>{said}</{action}Result></R>"
            with contextlib.suppress(OSError):  # whoever asked may be gone
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            aws.release.set()
            server.shutdown()
            thread.join()
