"""Words on this machine, as a person types them: their flags and help, what they run, and the code they end in."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import (
    NAMESPACE,
    TARGETED,
    WORDS,
    WRITING,
    Aws,
    Run,
    arguments_of,
    expect,
    target,
    tasks,
)
from tests.support.repository import ROOT
from tooling import environment, terraform
from tooling.checks import mutations, scan, test_run
from tooling.environment import BrokenEnvironmentError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint


class TestMachine:
    @pytest.mark.parametrize(
        "typed",
        [target("bootstrap"), ("demo",), ("test",), ("test", "--unit", "--terraform")],
        ids=" ".join,
    )
    def test_a_missing_terraform_is_refused(
        self,
        aws: Aws,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        typed: tuple[str, ...],
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
        expect(run(*typed), 2, typed[0], "terraform: was not found on PATH", "install Terraform")
        assert aws.asked == []

    def test_a_busy_port_is_refused(self, run: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            expect(
                run("demo", "--port", str(port)),
                2,
                "demo",
                f"--port {port}: cannot be used",
                "in use",
            )

    @pytest.mark.parametrize("port", ["http", "70000", "-1"])
    def test_what_is_no_port_is_refused(self, run: Run, port: str) -> None:
        expect(run("demo", f"--port={port}"), 2, "demo", f"--port {port}: cannot be used")

    @pytest.mark.parametrize("word", WRITING)
    def test_a_dry_run_of_a_word_that_writes_is_refused(self, run: Run, word: str) -> None:
        expect(
            run("--dry", word),
            2,
            word,
            f"--dry: would not keep {word} from writing",
            "nothing was done",
        )

    def test_an_environment_that_cannot_be_made_is_refused(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise BrokenEnvironmentError(".venv-local: no\nTry: again")

        monkeypatch.setattr(test_run, "ensure", broken)
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
        monkeypatch.setattr(test_run, "run", tested)
        return parts

    def test_a_scan_with_a_finding_shows_its_rows_and_ends_in_1(
        self, run: Run, parts: SimpleNamespace
    ) -> None:
        parts.scan = False
        assert run("scan") == (1, "a row\n", "")

    def test_an_unknown_tool_is_refused_with_the_names_of_all(self, run: Run) -> None:
        expect(
            run("scan", "--only", "checkow"),
            2,
            "scan",
            "--only checkow: is no tool of the scan",
            "shellcheck",
        )

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

        monkeypatch.setattr(test_run, "fuzz", fuzz)
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
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        for name in ("region", "prefix"):
            assert tasks.TARGET[name].endswith(f"else {defaults[name]}")

    def test_profile_and_account_are_p_and_a_wherever_they_are(self) -> None:
        found = {
            word: {argument.name: argument.nicknames for argument in arguments_of(word)}
            for word in WORDS
        }
        assert {
            word for word, flags in found.items() if "profile" in flags or "account" in flags
        } == set(TARGETED)
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

    @pytest.mark.parametrize(
        "typed", [("here.json",), ("--path", "here.json"), ("--json", "here.json")]
    )
    def test_explain_takes_its_path_with_and_without_the_flag(
        self, run: Run, tmp_path: Path, typed: tuple[str, ...]
    ) -> None:
        (tmp_path / "here.json").write_text("{}")
        ended = run("explain", *typed, "--config", "empty.toml")
        assert (ended.code, ended.err) == (0, "")
        assert "unreadable" in ended.out

    def test_the_words_that_do_not_write_are_few(self) -> None:
        assert set(WORDS) - set(WRITING) == {
            *(
                "outputs",
                "drift",
                "networks",
                "networks.check",
                "scan",
                "test",
                "check",
                "explain",
                "coverage",
            )
        }
