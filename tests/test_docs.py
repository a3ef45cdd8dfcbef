"""The pages are held true: what they name exists, and what exists is named."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from invoke import Program

from signwatch import settings as function_settings
from signwatch.alerting import message
from signwatch.detection import signin, verdict
from tests.support import repository
from tests.support.repository import ROOT
from tests.support.sign_ins import event
from tests.support.task_names import collection, parse, task_names
from tooling import errors, templates, terraform
from tooling.deploy import stack
from tooling.settings import Settings
from tooling.terminal.task import INTERRUPTED_EXIT_CODE

if TYPE_CHECKING:
    from pathlib import Path

    from invoke.parser.context import ParserContext

pytestmark = pytest.mark.joint

README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "signwatch.example.toml").read_text()
PAGES = {str(path): (ROOT / path).read_text() for path in repository.pages()}
GIVEN_VARIABLES = {
    "account_id",
    "region",
    "prefix",
}  # top-level keys of signwatch.toml, not of its [bootstrap]
LICENSE_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # the text that apache.org publishes
SUFFIXES = (".md", ".py", ".yaml", ".yml", ".toml", ".tf", ".json", ".txt", ".in")


def test_the_example_names_sections_that_are_there() -> None:
    named = re.findall(r'See "([^"]+)" in the README', EXAMPLE)
    assert named
    assert [name for name in named if f"\n## {name}\n" not in README] == []


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def flags(context: ParserContext) -> set[str]:
    """The long flags of a task, and the short ones of profile and account, the two that the pages use."""
    arguments = list(context.args.values())
    long = {
        f"--{name.replace('_', '-')}"
        for argument in arguments
        for name in argument.names
        if len(name) > 1
    }
    targets = [argument for argument in arguments if argument.name in ("profile", "account")]
    return long | {f"-{name}" for argument in targets for name in argument.names if len(name) == 1}


def documented_flags(cell: str) -> set[str]:
    found = re.search(r"\*Target\* stands for ([^.]+)\.", README)
    assert found
    return set(code(cell)) | set(code(found[1]) if cell.startswith("target") else ())


def commands(text: str) -> list[str]:
    """The ``./inv`` commands of a page, in blocks and in running text."""
    shell = "\n".join(repository.blocks(text, "sh")).replace("\\\n", " ")
    lines = [line.strip() for line in shell.splitlines() if line.strip().startswith("./inv ")]
    spans = [span for span in code(repository.FENCE.sub("", text)) if span.startswith("./inv ")]
    return lines + spans


def user_parameters() -> dict[str, str | None]:
    """Each parameter that a user chooses, with the template's default."""
    declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
    return {
        name: str(body["Default"]) if "Default" in body else None
        for name, body in declared.items()
        if name not in stack.GIVEN
    }


def documented_default(cell: str) -> str | None:
    found = code(cell)
    return found[0].strip('"') if found else None


def uncommented(text: str) -> dict[str, Any]:
    """The example file with its commented-out lines switched on."""
    return tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))


def bootstrap_variables() -> dict[str, Any]:
    defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
    return {name: default for name, default in defaults.items() if name not in GIVEN_VARIABLES}


class TestTasks:
    def test_the_table_names_every_task_and_no_other(self) -> None:
        assert {code(row[0])[0] for row in repository.table(README, "Tasks")} == set(
            task_names(collection())
        )

    @pytest.mark.parametrize(
        "context", collection().to_contexts(), ids=lambda context: context.name
    )
    def test_the_table_names_every_flag_of_a_task_and_no_other(
        self, context: ParserContext
    ) -> None:
        rows = {
            code(row[0])[0]: documented_flags(row[2]) for row in repository.table(README, "Tasks")
        }
        (word,) = [word for word, name in task_names(collection()).items() if name == context.name]
        assert rows[word] == flags(context)

    @pytest.mark.parametrize("page", PAGES)
    def test_every_command_on_a_page_is_one_that_invoke_understands(self, page: str) -> None:
        named = {task for command in commands(PAGES[page]) for task in parse(command)}
        assert named <= set(collection().task_names)

    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_asks_for_the_time_as_both_linux_and_macos_can_tell_it(self, page: str) -> None:
        """GNU's date reckons with -d, that of macOS with -v; the AWS CLI takes seconds since 1970 for every time."""
        asked = re.findall(r"\$\((date [^)]*)\)", PAGES[page])
        assert [one for one in asked if not re.fullmatch(r"date (-u )?\+\S+", one)] == []
        assert len(asked) == len(re.findall(r"\bdate (?=[-+])", PAGES[page]))

    def test_a_command_with_an_unknown_flag_would_be_found(self) -> None:
        with pytest.raises(Exception, match="--no-such-flag"):
            parse("./inv deploy --no-such-flag")

    def test_the_exit_codes_are_those_that_the_errors_carry(self) -> None:
        meanings = {
            int(code_): meaning for code_, meaning in repository.table(README, "Exit codes")
        }
        assert set(meanings) == {0, INTERRUPTED_EXIT_CODE} | {
            kind.exit_code for kind in errors.ToolError.__subclasses__()
        }
        for kind in (errors.FailedError, errors.RefusedError, errors.UnknownStateError):
            assert kind.__doc__
            assert (
                kind.__doc__.lower()
                == f"{meanings[kind.exit_code]}: exit code {kind.exit_code}.".lower()
            )


class TestParameters:
    def test_the_table_has_every_parameter_that_a_user_chooses_with_its_default(self) -> None:
        table = repository.table(README, "Parameters of the stack")
        assert {code(row[0])[0]: documented_default(row[1]) for row in table} == user_parameters()

    def test_the_example_file_has_every_parameter_with_its_default(self) -> None:
        assert set(uncommented(EXAMPLE)["parameters"]) == set(user_parameters())
        commented = set(uncommented(EXAMPLE)["parameters"]) - set(
            tomllib.loads(EXAMPLE)["parameters"]
        )
        shown = {name: str(uncommented(EXAMPLE)["parameters"][name]) for name in commented}
        assert shown == {
            name: default for name, default in user_parameters().items() if name in commented
        }

    def test_the_example_file_shows_values_for_what_has_no_default(self) -> None:
        required = {name for name, default in user_parameters().items() if default is None}
        assert required <= set(tomllib.loads(EXAMPLE)["parameters"])

    def test_the_table_has_every_variable_of_the_bootstrap_with_its_default(self) -> None:
        table = repository.table(README, "Variables of the bootstrap")
        rows = {code(row[0])[0]: documented_default(row[1]) for row in table}
        assert rows == {name: str(default) for name, default in bootstrap_variables().items()}

    def test_the_example_file_has_every_variable_of_the_bootstrap(self) -> None:
        assert set(uncommented(EXAMPLE)["bootstrap"]) == set(bootstrap_variables())

    @pytest.mark.parametrize(
        "text", [EXAMPLE, None], ids=["as it is", "with all lines switched on"]
    )
    def test_the_example_file_is_one_that_the_tasks_accept(
        self, text: str | None, tmp_path: Any
    ) -> None:
        path = tmp_path / "signwatch.toml"
        path.write_text(text or re.sub(r"^# (?=\w+ = )", "", EXAMPLE, flags=re.MULTILINE))
        loaded = Settings.load(config=str(path))
        assert set(loaded.parameters) <= set(user_parameters())
        assert loaded.prefix == "signwatch"

    def test_the_defaults_of_region_and_prefix_are_those_of_the_bootstrap(self) -> None:
        rows = {
            code(row[0])[0]: documented_default(row[1])
            for row in repository.table(README, "Configuration")
        }
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        assert (rows["region"], rows["prefix"]) == (defaults["region"], defaults["prefix"])

    def test_the_table_of_causes_has_every_one_that_can_be_switched_off(self) -> None:
        causes = [
            row for row in repository.table(README, "What alerts") if len(row) == 2
        ]  # the table with two columns
        named = [name for row in causes for name in code(row[0])]
        assert sorted(named) == sorted(map(verdict.cause_name, verdict.CAUSES))

    def test_the_table_has_every_environment_key_of_the_function(self) -> None:
        rows = [code(row[0])[0] for row in repository.table(README, "Environment of the function")]
        assert sorted(rows) == sorted(function_settings.ENVIRONMENT_KEYS)


class TestText:
    def test_the_text_in_the_readme_is_what_the_function_composes(self) -> None:
        event = json.loads((ROOT / "tooling" / "local" / "demo_sign_ins.json").read_text())[1][
            "event"
        ]
        event["detail"] |= {
            "eventID": "8a1edcc0-7b39-5a6b-bf97-31990bbd78a2",
            "eventTime": "2026-11-24T10:12:31Z",
            "awsRegion": "us-east-1",
            "recipientAccountId": "111122223333",
        }
        sign_in = signin.read(event)
        assert isinstance(sign_in, signin.SignIn)
        judged = verdict.judge(sign_in, recognised=False)
        composed = message.compose(sign_in, judged, label="production", delay=200)
        assert repository.blocks(README, "text")[0] == composed.text + "\n"

    def test_the_size_and_the_delay_in_the_readme_are_those_of_the_function(self) -> None:
        prose = " ".join(README.split())
        assert f"({message.TEXT_MAX_SEPTETS} GSM-7 septets)" in prose
        assert message.LATE_AFTER_SECONDS == 120
        assert "more than two minutes after the sign-in says how late it is" in prose


class TestExample:
    def test_the_example_of_explain_is_what_the_word_shows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = (
            "iam-user-signs-in-with-mfa",
            "root-signs-in-with-mfa",
            "iam-user-fails",
            "portal-lists-accounts",
        )
        (tmp_path / "records.json").write_text(
            json.dumps({"Records": [event(name)["detail"] for name in names]})
        )
        monkeypatch.chdir(tmp_path)
        (command,) = [
            typed for typed in commands(README) if typed.startswith("./inv explain records.json")
        ]
        Program().run(["inv", "--search-root", str(ROOT), *command.split()[1:]], exit=False)
        assert repository.blocks(README, "text")[1] == capsys.readouterr().out


class TestPages:
    @pytest.mark.parametrize("page", PAGES)
    def test_every_link_into_the_repository_leads_somewhere(self, page: str) -> None:
        for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            found = destination(page, path)
            assert found.exists(), target
            assert not anchor or anchor in anchors(found.read_text()), target

    @pytest.mark.parametrize("page", PAGES)
    def test_every_path_that_a_page_names_exists(self, page: str) -> None:
        missing = [path for path in named_paths(PAGES[page]) if not exists(path, page)]
        assert missing == []

    def test_a_path_that_does_not_exist_would_be_found(self) -> None:
        assert named_paths("see `tooling/nowhere.py`") == ["tooling/nowhere.py"]
        assert not exists("tooling/nowhere.py", "README.md")

    def test_every_message_quoted_in_troubleshooting_is_one_that_the_tasks_print(self) -> None:
        sources = " ".join(path.read_text() for path in sorted((ROOT / "tooling").rglob("*.py")))
        quoted = re.findall(
            r'"([^"]+)"', " ".join(row[0] for row in repository.table(README, "Troubleshooting"))
        )
        assert quoted
        for fragment in [
            part.strip() for sentence in quoted for part in sentence.split("...") if part.strip()
        ]:
            words = r"[\s\S]{0,40}?".join(re.escape(word) for word in fragment.split(": "))
            assert re.search(words, sources), fragment

    def test_the_readme_says_that_nothing_was_deployed_until_every_point_is_settled(self) -> None:
        points = repository.table(PAGES["docs/first-real-deploy.md"], "Answers")
        is_open = any(row[-1] == "open" for row in points)
        assert len(points) == 9
        assert is_open == (
            "nothing here has been deployed to a real AWS account yet" in " ".join(README.split())
        )

    def test_the_changelog_has_the_version_of_the_project(self) -> None:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        headings = re.findall(
            r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", PAGES["CHANGELOG.md"], re.MULTILINE
        )
        assert headings[0] == ("Unreleased", "")
        assert headings[1][0] == version
        assert all(date for _, date in headings[1:])

    def test_the_licence_is_the_published_text(self) -> None:
        assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == LICENSE_SHA256


def destination(page: str, path: str) -> Path:
    """The file that a link stands for; GitHub's page of a workflow, beside the repository, stands for its file."""
    on_github = re.fullmatch(r"\.\./\.\./actions/(workflows/[\w-]+\.yml)(/badge\.svg)?", path)
    if on_github:
        return ROOT / ".github" / on_github[1]
    return (ROOT / page).parent / path if path else ROOT / page


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", repository.FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_paths(text: str) -> list[str]:
    """The code spans of a page that look like files or folders of this repository."""
    tops = {path.parts[0] for path in repository.files()}
    spans = [
        span
        for span in code(repository.FENCE.sub("", text))
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]*)*", span)
    ]
    spans = [span for span in spans if span not in SUFFIXES]
    return [
        span
        for span in spans
        if ("/" in span and span.split("/")[0] in tops) or span.endswith(SUFFIXES)
    ]


def exists(path: str, page: str) -> bool:
    """Whether a named path is there, beside the page or anywhere as a bare name, or is one that git ignores."""
    relative = path.rstrip("/")
    beside = any(True for folder in (ROOT, (ROOT / page).parent) for _ in folder.glob(relative))
    anywhere = "/" not in path and path in {found.name for found in repository.files()}
    return beside or anywhere or repository.is_ignored(path)
