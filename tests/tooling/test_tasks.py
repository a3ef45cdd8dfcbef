"""The words as a person types them: each mistake is one clear sentence with the agreed exit code and no traceback."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from botocore.loaders import JSONFileLoader, Loader
from invoke import Argument, Collection, Program

from signwatch import allowance
from tests.support.aws import ACCOUNT, CALLER, STACK_ID
from tests.support.repository import ROOT
from tests.support.words import words
from tooling import environment, mutations, scan, suite, terraform
from tooling.bootstrap import Bootstrap
from tooling.environment import BrokenEnvironmentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.joint


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
WRITING = ("bootstrap", "package", "deploy", "secret", "destroy", "networks.allow", "networks.revoke", "demo")
NEEDED = {  # flags without which a word does nothing
    "networks.allow": ("--cidr", "203.0.113.7"),
    "networks.revoke": ("--cidr", "203.0.113.7"),
    "networks.check": ("--address", "203.0.113.7"),
}
WORDS = tuple(sorted(words(NAMESPACE)))
HELP = {word: dict(NAMESPACE[word].help) for word in WORDS}
OTHER = "999999999999"


class Ended(NamedTuple):
    """How a word ended."""

    code: int
    out: str
    err: str


def arguments_of(word: str) -> list[Argument]:
    NAMESPACE[word].help = dict(HELP[word])
    found: list[Argument] = NAMESPACE[word].get_arguments()
    return found


Run = Any  # a word and its flags -> Ended


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
                {"Parameters": [{"Name": name, "Value": value} for name, value in self.below(body).items()]}
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
        path = json.loads(body)["Path"] if body.startswith("{") and "Path" in json.loads(body) else "none"
        return {name: value for name, value in self.contract.items() if name.startswith(f"{path}/")}

    def written(self) -> str:
        pairs = self.parameters.items()
        keys = [f"<ParameterKey>{name}</ParameterKey><ParameterValue>{text}</ParameterValue>" for name, text in pairs]
        return "".join(f"<member>{one}</member>" for one in keys)


read_defaults = functools.cache(terraform.defaults)  # every word reads the Terraform files, and here there are many


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


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """Credentials of a made-up user, and every service on the loopback AWS."""
    aws = Aws()
    monkeypatch.setattr(Loader, "FILE_LOADER_CLASS", ReadOnce)
    (tmp_path / "aws-config").write_text("[profile known]\nregion = us-east-1\n")
    with served(aws) as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_CONFIG_FILE": str(tmp_path / "aws-config"),
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a word as the command line does, in a folder of its own and with no signwatch.toml of anybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terraform, "defaults", read_defaults)
    monkeypatch.delenv("SIGNWATCH_DEBUG", raising=False)
    (tmp_path / "empty.toml").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "terraform").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def run(*typed: str) -> Ended:
        for word, sentences in HELP.items():
            NAMESPACE[word].help = dict(sentences)
        capsys.readouterr()
        code: Any = 0
        try:
            Program(namespace=NAMESPACE).run(["inv", *typed])
        except SystemExit as left:
            code = left.code
        return Ended(code or 0, *capsys.readouterr())

    return run


def target(word: str, *more: str) -> tuple[str, ...]:
    needed = () if more and more[0] in ("--cidr", "--address", "--label", "--id") else NEEDED.get(word, ())
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


class TestAccount:
    @pytest.mark.parametrize("word", TARGETED)
    def test_credentials_of_another_account_are_refused_before_any_write(self, aws: Aws, run: Run, word: str) -> None:
        aws.owner = OTHER
        expect(run(*target(word)), 2, word, f"belong to account {OTHER}, not to {ACCOUNT}; nothing was written")
        assert aws.asked == ["GetCallerIdentity"]

    @pytest.mark.parametrize("word", TARGETED)
    def test_an_unknown_profile_is_refused_by_name(self, aws: Aws, run: Run, word: str) -> None:
        expect(run(*target(word, "-p", "nosuch")), 2, word, "profile 'nosuch': is not in your AWS configuration")
        assert aws.asked == []

    @pytest.mark.parametrize("word", TARGETED)
    def test_an_account_that_is_not_named_is_refused(self, aws: Aws, run: Run, word: str) -> None:
        expect(run(word, "--config", "empty.toml", *NEEDED.get(word, ())), 2, word, "give --account ID")
        assert aws.asked == []

    @pytest.mark.parametrize("word", ["deploy", "outputs", "secret", "destroy", *FAMILY])
    def test_a_missing_bootstrap_says_what_to_run(self, aws: Aws, run: Run, word: str) -> None:
        expect(run(*target(word)), 2, word, f"account {ACCOUNT} has no bootstrap in eu-west-1", "invoke bootstrap")
        assert aws.asked == ["GetCallerIdentity", "GetParametersByPath"]

    def test_a_configuration_file_that_does_not_exist_is_refused(self, run: Run) -> None:
        expect(run("deploy", "--config", "nowhere.toml"), 2, "deploy", "nowhere.toml: cannot be read")


class TestInput:
    @pytest.mark.parametrize("networks", ["203.0.113.0/99", "nonsense", "0.0.0.0/0"])
    def test_a_bad_range_is_refused_before_aws_is_asked(self, aws: Aws, run: Run, networks: str) -> None:
        ended = run(*target("deploy", "--set", f"KnownNetworks={networks}"))
        expect(ended, 2, "deploy", "parameter KnownNetworks", repr(networks))
        assert aws.asked == []

    def test_each_set_counts(self, run: Run) -> None:
        ended = run(*target("deploy", "--set", "KnownNetworks=203.0.113.0/24", "--set", "Typo=1"))
        expect(ended, 2, "deploy", "parameter Typo: is not one of the stack's")

    def test_a_bad_phone_number_is_refused_and_not_repeated(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws.contract = {f"/signwatch/bootstrap/{item.name}": "x" for item in fields(Bootstrap)}
        given = {
            "account_sid": "AC" + "1" * 32,
            "api_key_sid": "SK" + "2" * 32,
            "api_key_secret": "-".join(("made", "up", "secret")),
            "sender": "Signwatch",
            "recipients": ["0151 2345678"],
        }
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
        ended = run(*target("secret", "--no-assume-role"))
        expect(ended, 2, "secret", "secret, recipients: number 1 of 1 is not a phone number in E.164 form")
        assert "2345678" not in (ended.out + ended.err).replace("+4915112345678", "")
        assert "made-up-secret" not in ended.out + ended.err
        assert "PutSecretValue" not in aws.asked

    @pytest.mark.parametrize("word", ["outputs", "secret", *FAMILY])
    def test_a_stack_of_that_name_that_is_somebody_elses_is_left_alone(self, aws: Aws, run: Run, word: str) -> None:
        aws.contract = {f"/signwatch/bootstrap/{item.name}": "x" for item in fields(Bootstrap)}
        aws.prefix = "another"
        ended = run(*target(word, "--no-assume-role"))
        expect(ended, 2, word, "was not made by this tool")

    def test_a_stack_is_not_deleted_for_another_word(self, aws: Aws, run: Run) -> None:
        aws.contract = {f"/signwatch/bootstrap/{item.name}": "x" for item in fields(Bootstrap)}
        ended = run(*target("destroy", "--no-assume-role", "--confirm", "yes"))
        expect(ended, 2, "destroy", "was not deleted: the prefix was not typed")
        assert aws.asked == ["GetCallerIdentity", "GetParametersByPath"]


class TestNetworks:
    @pytest.fixture
    def live(self, aws: Aws) -> Aws:
        """A stack that knows one network, with an allowance and the bootstrap's contract."""
        one = allowance.make("198.51.100.7", "hotel", "Anaya")
        aws.contract = {f"/signwatch/bootstrap/{item.name}": "x" for item in fields(Bootstrap)}
        aws.contract[f"/signwatch/networks/{one.name}"] = allowance.encode(one)
        aws.parameters = {"KnownNetworks": "203.0.113.0/24", "AllowedVpcEndpointIds": ""}
        return aws

    @pytest.mark.parametrize(
        ("word", "flags", "said"),
        [
            ("networks.allow", ("--cidr", "0.0.0.0/0"), "is wider than /8"),
            ("networks.allow", ("--cidr", "203.0.113.7/24"), "is not a range in CIDR form"),
            ("networks.allow", ("--cidr", "AWS Internal"), "is not an address"),
            ("networks.allow", ("--cidr", "203.0.113.7", "--for", "soon"), "--for soon: is no length of time"),
            ("networks.allow", ("--cidr", "203.0.113.7", "--label", "a\nb"), "the label is no line"),
            ("networks.allow", ("--cidr", ""), "there is no terminal to ask at"),
            ("networks.revoke", ("--cidr", "203.0.113.7", "--id", "x"), "takes exactly one of --cidr, --label, --id"),
            ("networks.revoke", ("--cidr", "office"), "is not an address"),
            ("networks.check", ("--address", "AWS Internal"), "is not one address"),
            ("networks.check", ("--address", "203.0.113.0/24"), "is not one address"),
        ],
    )
    def test_what_no_list_can_hold_is_refused_before_aws_is_asked(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch, word: str, flags: tuple[str, ...], said: str
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        expect(run(*target(word, *flags)), 2, word, said)
        assert aws.asked == []

    @pytest.mark.usefixtures("live")
    def test_both_lists_are_shown_by_the_familys_own_word(self, run: Run) -> None:
        ended = run(*target("networks", "--no-assume-role"))
        assert (ended.code, ended.err) == (0, "")
        assert "203.0.113.0/24" in ended.out
        assert "198.51.100.7/32  hotel  for Anaya alone  for ever" in ended.out

    def test_an_unusable_entry_is_a_finding_and_nothing_in_it_reaches_the_terminal_as_it_is(
        self, live: Aws, run: Run
    ) -> None:
        kept = {"cidr": "\x1b[2J", "label": "x", "who": None, "expires": None}
        live.contract["/signwatch/networks/broken"] = json.dumps(kept)
        ended = run(*target("networks", "--no-assume-role"))
        assert ended.code == 1
        assert "UNUSABLE, matches nothing" in ended.out
        assert "\x1b" not in ended.out

    @pytest.mark.parametrize(
        ("flags", "code"),
        [
            (("--address", "203.0.113.7"), 0),
            (("--address", "198.51.100.7", "--who", "anaya"), 0),
            (("--address", "198.51.100.7"), 1),
            (("--address", "198.51.100.8"), 1),
        ],
    )
    @pytest.mark.usefixtures("live")
    def test_check_ends_in_1_when_nothing_recognises_the_address(
        self, run: Run, flags: tuple[str, ...], code: int
    ) -> None:
        ended = run(*target("networks.check", *flags, "--no-assume-role"))
        assert (ended.code, ended.err) == (code, "")

    def test_allow_writes_and_says_how_to_name_what_it_wrote(self, live: Aws, run: Run) -> None:
        ended = run(*target("networks.allow", "--cidr", "203.0.114.7", "--for", "12h", "--no-assume-role"))
        assert (ended.code, ended.err) == (0, "")
        assert "203.0.114.7/32" in ended.out
        assert "for everybody" in ended.out
        assert live.asked[-1] == "PutParameter"

    def test_revoke_deletes_what_it_names(self, live: Aws, run: Run) -> None:
        ended = run(*target("networks.revoke", "--label", "hotel", "--no-assume-role"))
        assert (ended.code, ended.err) == (0, "")
        assert "198.51.100.7/32" in ended.out
        assert live.asked[-1] == "DeleteParameter"


class TestMachine:
    @pytest.mark.parametrize(
        "typed", [target("bootstrap"), ("demo",), ("test",), ("test", "--unit", "--terraform")], ids=" ".join
    )
    def test_a_missing_terraform_is_refused(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
        expect(run(*typed), 2, typed[0], "terraform: was not found on PATH", "install Terraform")
        assert aws.asked == []

    def test_a_busy_port_is_refused(self, run: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            expect(run("demo", "--port", str(port)), 2, "demo", f"--port {port}: cannot be used", "in use")

    @pytest.mark.parametrize("port", ["http", "70000", "-1"])
    def test_what_is_no_port_is_refused(self, run: Run, port: str) -> None:
        expect(run("demo", f"--port={port}"), 2, "demo", f"--port {port}: cannot be used")

    @pytest.mark.parametrize("word", WRITING)
    def test_a_dry_run_of_a_word_that_writes_is_refused(self, run: Run, word: str) -> None:
        expect(run("--dry", word), 2, word, f"--dry: would not keep {word} from writing", "nothing was done")

    def test_an_environment_that_cannot_be_made_is_refused(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> None:
            raise BrokenEnvironmentError(".venv-local: no\nTry: again")

        monkeypatch.setattr(suite, "ensure", broken)
        expect(run("test"), 2, "test", ".venv-local: no")


class TestCodes:
    @pytest.fixture
    def parts(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """The scan and the tests, which end as they are told and say in which order they ran."""
        parts = SimpleNamespace(scan=True, test=0, ran=[])

        def scanned(*_: Any, **__: Any) -> Any:
            parts.ran.append("scan")
            return SimpleNamespace(passed=parts.scan, lines=lambda: ["a row"])

        def tested(*_: Any, parts: set[str], **__: Any) -> int:
            ran.append(sorted(parts))
            return int(codes.test)

        codes, ran = parts, parts.ran
        monkeypatch.setattr(scan, "run", scanned)
        monkeypatch.setattr(suite, "run", tested)
        return parts

    def test_a_scan_with_a_finding_shows_its_rows_and_ends_in_1(self, run: Run, parts: SimpleNamespace) -> None:
        parts.scan = False
        assert run("scan") == (1, "a row\n", "")

    def test_an_unknown_tool_is_refused_with_the_names_of_all(self, run: Run) -> None:
        expect(run("scan", "--only", "checkow"), 2, "scan", "--only checkow: is no tool of the scan", "shellcheck")

    @pytest.mark.parametrize("caught", [True, False])
    def test_mutations_alone_run_nothing_else_and_end_with_their_sum(
        self, run: Run, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caught: bool
    ) -> None:
        told = SimpleNamespace(passed=caught, lines=lambda: ["missed", "mutations caught 1/2"])
        monkeypatch.setattr(mutations, "run", lambda *_: told)
        monkeypatch.setattr(environment, "ensure", lambda *_: ROOT)
        assert run("test", "--mutations") == (int(not caught), "missed\nmutations caught 1/2\n", "")
        assert parts.ran == []

    def test_fuzzing_alone_runs_no_test_and_ends_as_it_does(
        self, run: Run, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts: list[int] = []

        def fuzz(_root: Path, count: int) -> int:
            counts.append(count)
            return 1

        monkeypatch.setattr(suite, "fuzz", fuzz)
        assert run("test", "--fuzz", "300").code == 1
        assert (counts, parts.ran) == ([300], [])
        expect(run("test", "--fuzz", "many"), 2, "test", "--fuzz many: is not a number of records")

    def test_a_clean_scan_ends_in_0(self, run: Run, parts: SimpleNamespace) -> None:
        assert run("scan").code == 0
        assert parts.ran == ["scan"]

    @pytest.mark.parametrize("code", [0, 1])
    def test_tests_end_as_pytest_does(self, run: Run, parts: SimpleNamespace, code: int) -> None:
        parts.test = code
        assert run("test").code == code

    @pytest.mark.parametrize(
        ("flags", "chosen"),
        [
            ((), []),
            (("--unit",), ["unit"]),
            (("--end-to-end",), ["end_to_end"]),
            (("--terraform", "--unit"), ["terraform", "unit"]),
        ],
    )
    def test_flags_choose_the_parts(
        self, run: Run, parts: SimpleNamespace, flags: tuple[str, ...], chosen: list[str]
    ) -> None:
        run("test", *flags)
        assert parts.ran == [chosen]

    def test_check_scans_and_then_runs_all_tests(self, run: Run, parts: SimpleNamespace) -> None:
        assert run("check").code == 0
        assert parts.ran == ["scan", []]

    def test_check_ends_in_1_for_a_finding(self, run: Run, parts: SimpleNamespace) -> None:
        parts.scan = False
        assert run("check").code == 1


class TestCommandLine:
    @pytest.mark.parametrize("word", WORDS)
    def test_every_word_says_what_it_does_in_one_line(self, word: str) -> None:
        first = (NAMESPACE[word].__doc__ or "").splitlines()[0]
        assert first.endswith(".")
        assert len(first) < 120

    @pytest.mark.parametrize("word", WORDS)
    def test_every_flag_has_a_help_sentence_with_its_default(self, word: str) -> None:
        for argument in arguments_of(word):
            assert "default: " in (argument.help or ""), f"{word} {argument.name}"

    @pytest.mark.parametrize("word", WORDS)
    def test_help_shows_each_flag_with_its_default(self, run: Run, word: str) -> None:
        ended = run("--help", word)
        arguments = arguments_of(word)
        assert ended.code == 0
        assert " ".join(ended.out.split()).count("default: ") == len(arguments)

    def test_the_defaults_of_region_and_prefix_are_those_of_the_terraform_files(self) -> None:
        defaults = terraform.defaults(ROOT / "terraform-bootstrap")
        for name in ("region", "prefix"):
            assert tasks.TARGET[name].endswith(f"else {defaults[name]}")

    def test_profile_and_account_are_p_and_a_wherever_they_are(self) -> None:
        found = {word: {argument.name: argument.nicknames for argument in arguments_of(word)} for word in WORDS}
        assert {word for word, flags in found.items() if "profile" in flags or "account" in flags} == set(TARGETED)
        for word in TARGETED:
            assert (found[word]["profile"], found[word]["account"]) == (("p",), ("a",))

    @pytest.mark.parametrize("word", WORDS)
    def test_only_explain_takes_a_positional(self, word: str) -> None:
        taken = [argument.name for argument in arguments_of(word) if argument.positional]
        assert taken == (["path"] if word == "explain" else [])

    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_a_positional_does_not_swallow_help(self, run: Run, flag: str) -> None:
        ended = run("explain", flag)
        assert (ended.code, ended.err) == (0, "")
        assert " ".join(ended.out.split()).count("default: ") == len(arguments_of("explain"))

    @pytest.mark.parametrize("typed", [("here.json",), ("--path", "here.json"), ("--json", "here.json")])
    def test_explain_takes_its_path_with_and_without_the_flag(
        self, run: Run, tmp_path: Path, typed: tuple[str, ...]
    ) -> None:
        (tmp_path / "here.json").write_text("{}")
        ended = run("explain", *typed, "--config", "empty.toml")
        assert (ended.code, ended.err) == (0, "")
        assert "unreadable" in ended.out

    def test_the_words_that_do_not_write_are_few(self) -> None:
        assert set(WORDS) - set(WRITING) == {
            *("outputs", "drift", "networks", "networks.check", "scan", "test", "check", "explain", "coverage")
        }


def test_ctrl_c_while_a_word_waits_for_aws_is_one_sentence_and_130(aws: Aws, tmp_path: Path) -> None:
    aws.is_silent = True
    (tmp_path / "empty.toml").touch()
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *target("deploy")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert aws.arrived.wait(20)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.strip().splitlines() == [
        "invoke deploy: interrupted; what was begun may be half done: run the same word again"
    ]
    assert aws.asked == ["GetCallerIdentity"]
