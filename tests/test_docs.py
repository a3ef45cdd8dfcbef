"""Compares the pages with the code: what a page names exists, and what exists is on its page."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from invoke import Exit

from signwatch import settings as function_settings
from signwatch.alerting import message
from signwatch.detection import signin, verdict
from tests.support import repository
from tests.support.command_line import make_program
from tests.support.repository import ROOT
from tests.support.sign_ins import event
from tests.support.task_names import collection, parse, task_names
from tooling import errors, parameters, templates, terraform
from tooling.settings import Settings
from tooling.terminal.task import INTERRUPTED_EXIT_CODE

if TYPE_CHECKING:
    from invoke.parser.context import ParserContext

pytestmark = pytest.mark.joint

EXAMPLE = (ROOT / "signwatch.example.toml").read_text()
PAGES = {str(path): (ROOT / path).read_text() for path in repository.pages()}
README = PAGES["README.md"]
ALERTS = PAGES["docs/alerts.md"]
CONFIGURATION = PAGES["docs/configuration.md"]
CONTRIBUTING = PAGES["CONTRIBUTING.md"]
EXPLAIN = PAGES["docs/explain-and-coverage.md"]
HOW_IT_WORKS = PAGES["docs/how-it-works.md"]
TASKS = PAGES["docs/tasks.md"]
TROUBLESHOOTING = PAGES["docs/troubleshooting.md"]
# Variables that are top-level keys of signwatch.toml and not keys of its [bootstrap].
TOP_LEVEL_VARIABLES = {"account_id", "region", "prefix"}
# The text that apache.org publishes.
LICENSE_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
README_MAX_LINES = 200
UNLISTED_PAGES = {"README.md", ".github/pull_request_template.md"}
SUFFIXES = (".md", ".py", ".yaml", ".yml", ".toml", ".tf", ".json", ".txt", ".in")


def code(cell: str) -> list[str]:
    """The code spans of a text."""
    return re.findall(r"`([^`]+)`", cell)


def flags(context: ParserContext) -> set[str]:
    """The long flags of a task, and the short flags of profile and account, which the pages use."""
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
    """The flags in a cell of the table of tasks, with those that "target" stands for."""
    named = set(code(cell))
    if cell.startswith("target"):
        target = re.search(r"\*Target\* stands for\s([^.]+)\.", TASKS)
        assert target
        named |= set(code(target[1]))
    return named


def commands(text: str) -> list[str]:
    """The ``./inv`` commands of a page, in blocks and in running text."""
    shell = "\n".join(repository.blocks(text, "sh")).replace("\\\n", " ")
    lines = [line.strip() for line in shell.splitlines() if line.strip().startswith("./inv ")]
    spans = [span for span in code(repository.FENCE.sub("", text)) if span.startswith("./inv ")]
    return lines + spans


def user_parameters() -> dict[str, str | None]:
    """Each parameter that a user may set, with the template's default."""
    declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
    return {
        name: str(body["Default"]) if "Default" in body else None
        for name, body in declared.items()
        if name not in parameters.DEPLOY_PARAMETERS
    }


def documented_default(cell: str) -> str | None:
    spans = code(cell)
    return spans[0].strip('"') if spans else None


def uncommented(text: str) -> dict[str, Any]:
    """The example file with its commented-out values."""
    return tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))


def bootstrap_variables() -> dict[str, Any]:
    defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
    return {name: default for name, default in defaults.items() if name not in TOP_LEVEL_VARIABLES}


class TestTasks:
    def test_the_table_names_every_task_and_no_other(self) -> None:
        named = {code(row[0])[0] for row in repository.table(TASKS, "Tasks")}
        assert named == set(task_names(collection()))

    @pytest.mark.parametrize(
        "context", collection().to_contexts(), ids=lambda context: context.name
    )
    def test_the_table_names_every_flag_of_a_task_and_no_other(
        self, context: ParserContext
    ) -> None:
        rows = {
            code(row[0])[0]: documented_flags(row[2]) for row in repository.table(TASKS, "Tasks")
        }
        (task,) = [task for task, name in task_names(collection()).items() if name == context.name]
        assert rows[task] == flags(context)

    @pytest.mark.parametrize("page", PAGES)
    def test_every_command_on_a_page_is_one_that_invoke_understands(self, page: str) -> None:
        named = {task for command in commands(PAGES[page]) for task in parse(command)}
        assert named <= set(collection().task_names)

    @pytest.mark.parametrize("page", PAGES)
    def test_a_date_command_on_a_page_works_on_linux_and_macos(self, page: str) -> None:
        """GNU's date calculates with -d, that of macOS with -v, so the pages use neither."""
        dates = re.findall(r"\$\((date [^)]*)\)", PAGES[page])
        assert [date for date in dates if not re.fullmatch(r"date (-u )?\+\S+", date)] == []
        assert len(dates) == len(re.findall(r"\bdate (?=[-+])", PAGES[page]))

    def test_a_command_with_an_unknown_flag_is_refused(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(Exit):
            parse("./inv deploy --no-such-flag")
        assert "--no-such-flag" in capsys.readouterr().err

    def test_the_table_of_exit_codes_is_that_of_the_error_classes(self) -> None:
        rows = repository.table(TASKS, "Exit codes")
        meanings = {int(exit_code): meaning for exit_code, meaning in rows}
        assert set(meanings) == {0, INTERRUPTED_EXIT_CODE} | {
            kind.exit_code for kind in errors.ToolError.__subclasses__()
        }
        for kind in (errors.FailedError, errors.RefusedError, errors.UnknownStateError):
            expected = f"{meanings[kind.exit_code]}: exit code {kind.exit_code}."
            assert str(kind.__doc__).lower() == expected.lower()


class TestParameters:
    def test_the_table_has_every_parameter_of_the_user_with_its_default(self) -> None:
        table = repository.table(CONFIGURATION, "Parameters of the stack")
        assert {code(row[0])[0]: documented_default(row[1]) for row in table} == user_parameters()

    def test_the_example_file_has_every_parameter_with_its_default(self) -> None:
        assert set(uncommented(EXAMPLE)["parameters"]) == set(user_parameters())
        active = tomllib.loads(EXAMPLE)["parameters"]
        commented_out = {
            name: str(value)
            for name, value in uncommented(EXAMPLE)["parameters"].items()
            if name not in active
        }
        assert commented_out == {name: user_parameters()[name] for name in commented_out}

    def test_the_example_file_has_values_for_parameters_without_a_default(self) -> None:
        required = {name for name, default in user_parameters().items() if default is None}
        assert required <= set(tomllib.loads(EXAMPLE)["parameters"])

    def test_the_table_has_every_variable_of_the_bootstrap_with_its_default(self) -> None:
        table = repository.table(CONFIGURATION, "Variables of the bootstrap")
        rows = {code(row[0])[0]: documented_default(row[1]) for row in table}
        assert rows == {name: str(default) for name, default in bootstrap_variables().items()}

    def test_the_example_file_has_every_variable_of_the_bootstrap(self) -> None:
        assert set(uncommented(EXAMPLE)["bootstrap"]) == set(bootstrap_variables())

    @pytest.mark.parametrize(
        "text", [EXAMPLE, None], ids=["as it is", "with all lines uncommented"]
    )
    def test_the_tasks_accept_the_example_file(self, text: str | None, tmp_path: Any) -> None:
        path = tmp_path / "signwatch.toml"
        path.write_text(text or re.sub(r"^# (?=\w+ = )", "", EXAMPLE, flags=re.MULTILINE))
        loaded = Settings.load(config=str(path))
        assert set(loaded.parameters) <= set(user_parameters())
        assert loaded.prefix == "signwatch"

    def test_the_defaults_of_region_and_prefix_are_those_of_the_bootstrap(self) -> None:
        rows = {
            code(row[0])[0]: documented_default(row[1])
            for row in repository.table(CONFIGURATION, "Configuration")
        }
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        assert (rows["region"], rows["prefix"]) == (defaults["region"], defaults["prefix"])

    def test_the_example_file_refers_to_sections_that_exist(self) -> None:
        references = re.findall(r'See "([^"]+)" in (\S+\.md)', EXAMPLE)
        assert references
        for heading, page in references:
            assert repository.section(PAGES[page], heading)

    def test_the_table_has_every_cause_that_can_be_switched_off(self) -> None:
        causes = [name for row in repository.table(ALERTS, "Causes") for name in code(row[0])]
        assert sorted(causes) == sorted(map(verdict.format_cause, verdict.CAUSES))

    def test_the_table_has_every_cause_that_can_be_switched_on(self) -> None:
        rows = repository.table(ALERTS, "Causes to switch on")
        causes = [name for row in rows for name in code(row[0])]
        assert sorted(causes) == sorted(map(verdict.format_cause, verdict.OPT_IN_CAUSES))

    def test_the_table_has_every_environment_key_of_the_function(self) -> None:
        rows = repository.table(CONFIGURATION, "Environment of the function")
        keys = [code(row[0])[0] for row in rows]
        assert sorted(keys) == sorted(function_settings.ENVIRONMENT_KEYS)


class TestText:
    def test_the_text_in_the_readme_is_the_one_that_the_function_composes(self) -> None:
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
        composed = message.compose(sign_in, judged, label="production", delay_seconds=200)
        assert repository.blocks(README, "text")[0] == composed.text + "\n"

    def test_the_size_and_the_delay_on_the_pages_are_those_of_the_function(self) -> None:
        assert f"({message.TEXT_MAX_SEPTETS} GSM-7 septets)" in " ".join(HOW_IT_WORKS.split())
        assert message.LATE_AFTER_SECONDS == 120
        late = "more than two minutes after the sign-in says how late it is"
        assert late in " ".join(README.split())


class TestExample:
    def test_the_example_of_explain_is_the_output_of_the_task(
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
            typed for typed in commands(EXPLAIN) if typed.startswith("./inv explain records.json")
        ]
        make_program().run(command.split(), exit=False)
        assert repository.blocks(EXPLAIN, "text")[0] == capsys.readouterr().out


class TestContributing:
    def test_the_tree_has_a_line_for_every_folder(self) -> None:
        (tree,) = repository.blocks(CONTRIBUTING, "text")
        assert set(described_folders(tree)) == {
            folder.as_posix() for folder in folders() if not is_mirror(folder)
        }

    def test_a_folder_of_the_tests_without_its_room_needs_a_line(self) -> None:
        assert is_mirror(Path("tests/tooling/deploy"))
        assert is_mirror(Path("tests/local/adapter"))
        assert not is_mirror(Path("tests/tooling/no_such_room"))

    def test_the_table_of_changes_names_an_existing_path_in_each_row(self) -> None:
        for _, where in repository.table(CONTRIBUTING, "Where to change what"):
            paths = named_paths(where)
            assert paths
            assert [path for path in paths if not (ROOT / path).exists()] == []


class TestOrganisation:
    def test_members_get_a_forwarder_in_every_region_but_not_the_installation_twice(self) -> None:
        text = PAGES["docs/organisation.md"]
        _, members, management = repository.blocks(text, "sh")
        for block in (members, management):
            assert "aws ec2 describe-regions" in block
            assert not re.search(r"\b[a-z]{2}-[a-z]+-\d\b", block)  # no list of Regions
        assert "AccountFilterType=DIFFERENCE,Accounts=INSTALLATION" in members
        assert "If `EventBusName` changes later, `BUS` changes too" in text


class TestPages:
    @pytest.mark.parametrize("page", PAGES)
    def test_every_link_into_the_repository_has_a_target(self, page: str) -> None:
        for target in targets(PAGES[page]):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            file = destination(page, path)
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target

    @pytest.mark.parametrize("page", PAGES)
    def test_every_path_that_a_page_names_exists(self, page: str) -> None:
        missing = [path for path in named_paths(PAGES[page]) if not exists(path, page)]
        assert missing == []

    def test_a_path_that_does_not_exist_is_found(self) -> None:
        assert named_paths("see `tooling/nowhere.py`") == ["tooling/nowhere.py"]
        assert not exists("tooling/nowhere.py", "README.md")

    def test_every_message_quoted_in_troubleshooting_is_one_that_the_tasks_print(self) -> None:
        sources = " ".join(path.read_text() for path in sorted((ROOT / "tooling").rglob("*.py")))
        symptoms = " ".join(row[0] for row in repository.table(TROUBLESHOOTING, "Troubleshooting"))
        quotes = re.findall(r'"([^"]+)"', symptoms)
        assert quotes
        fragments = [part.strip() for quote in quotes for part in quote.split("...")]
        for fragment in filter(None, fragments):
            pattern = r"[\s\S]{0,40}?".join(re.escape(part) for part in fragment.split(": "))
            assert re.search(pattern, sources), fragment

    def test_the_readme_says_that_nothing_was_deployed_while_a_point_is_open(self) -> None:
        points = repository.table(PAGES["docs/first-real-deploy.md"], "Answers")
        is_open = any(row[-1] == "open" for row in points)
        assert len(points) == 16
        sentence = "nothing here has been deployed to a real AWS account yet"
        assert is_open == (sentence in " ".join(README.split()))

    def test_the_readme_is_short_and_links_every_page(self) -> None:
        assert len(README.splitlines()) <= README_MAX_LINES
        links = {link for row in repository.table(README, "Read more") for link in targets(row[0])}
        assert links == {page for page in PAGES if page not in UNLISTED_PAGES}

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


def described_folders(tree: str) -> list[str]:
    """The folders of a tree in which each line has an indented folder, then its description."""
    described = []
    parents: list[str] = []
    for line in tree.splitlines():
        entry = re.fullmatch(r"( *)(\S+)/(?: {2,}(\S.*))?", line)
        assert entry, line
        parents = [*parents[: len(entry[1]) // 2], entry[2]]
        folder = "/".join(parents)
        assert entry[3] or folder == "lambda", f"{folder} has no description"
        described.append(folder)
    return described


def folders() -> set[Path]:
    """Every folder of the repository."""
    return {parent for file in repository.files() for parent in file.parents} - {Path()}


def is_mirror(folder: Path) -> bool:
    """Whether a folder of the tests belongs to the room of the same name."""
    parent = {"lambda": "lambda/signwatch", "tooling": "tooling", "local": "tooling/local"}
    parts = folder.parts
    if len(parts) != 3 or parts[0] != "tests" or parts[1] not in parent:
        return False
    return (ROOT / parent[parts[1]] / parts[2]).is_dir()


def targets(text: str) -> list[str]:
    """The targets of the links in a text."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


def destination(page: str, path: str) -> Path:
    """The file that a link means: for GitHub's page of a workflow, the workflow's file."""
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
    paths = []
    for span in code(repository.FENCE.sub("", text)):
        is_below_a_top = "/" in span and span.split("/")[0] in tops
        is_file = span.endswith(SUFFIXES) and span not in SUFFIXES
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]*)*", span) and (is_below_a_top or is_file):
            paths.append(span)
    return paths


def exists(path: str, page: str) -> bool:
    """Whether a path exists, from the root, from the page's folder or as a name, or is ignored."""
    folders = (ROOT, (ROOT / page).parent)
    if any(any(folder.glob(path.rstrip("/"))) for folder in folders):
        return True
    if "/" not in path and path in {file.name for file in repository.files()}:
        return True
    return repository.is_ignored(path)
