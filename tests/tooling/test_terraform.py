"""Terraform: its files read as data, its errors as sentences, its state kept, and its own tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hcl2
import pytest

from tests.support import repository
from tests.support.repository import ROOT
from tooling import terraform
from tooling.errors import FailedError, RefusedError
from tooling.terraform import MIRROR, Terraform

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = ROOT / "terraform-bootstrap"
README = (SOURCE / "README.md").read_text(encoding="utf-8")
ASK_TO_STOP = """
import sys
from pathlib import Path
from tooling.terraform import Terraform
Terraform(Path(sys.argv[1]), Path(sys.argv[2]), dict(__import__("os").environ)).apply()
"""


def blocks(name: str, kind: str) -> dict[str, Any]:
    """The blocks of one kind in a file of the configuration, by name."""
    options = hcl2.SerializationOptions(strip_string_quotes=True)
    parsed = hcl2.loads((SOURCE / name).read_text(encoding="utf-8"), serialization_options=options)
    return {
        label: body
        for block in parsed[kind]
        for label, body in block.items()
        if label != "__is_block__"
    }


def resource(name: str, kind: str, label: str) -> dict[str, Any]:
    """The body of one resource in a file of the configuration."""
    options = hcl2.SerializationOptions(strip_string_quotes=True)
    parsed = hcl2.loads((SOURCE / name).read_text(encoding="utf-8"), serialization_options=options)
    found: dict[str, Any] = next(
        block[kind][label] for block in parsed["resource"] if label in block.get(kind, {})
    )
    return found


def sentences() -> set[str]:
    """Every sentence with which a variable refuses a value."""
    return {
        rule["error_message"]
        for body in blocks("variables.tf", "variable").values()
        for rule in body["validation"]
    }


def words(text: str) -> str:
    """The text without Terraform's frame and line breaks."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Terraform]:
    """Make a ``terraform`` of the given shell lines the only one on PATH; returns a prepared configuration."""

    def make(lines: str) -> Terraform:
        path = tmp_path / "bin" / "terraform"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        (tmp_path / "source").mkdir()
        environment = {"PATH": os.environ["PATH"], "TF_LOG": "TRACE", "TF_VAR_prefix": "stray"}
        return Terraform.prepare(
            tmp_path / "source", tmp_path / "run", tmp_path / "state" / "x.tfstate", environment
        )

    return make


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A copy of the configuration and its tests, with the provider."""
    folder = tmp_path_factory.mktemp("configuration")
    made = Terraform.prepare(SOURCE, folder / "run", folder / "x.tfstate", _quiet())
    shutil.copytree(SOURCE / "tests", made.folder / "tests")
    made.init()
    return made


class TestDefaults:
    def test_each_variable_with_a_default_is_read_with_its_value(self, tmp_path: Path) -> None:
        bodies = {"a": 'default = "x"', "b": "default = [1]", "c": "type = string"}
        text = "".join(f'variable "{name}" {{\n  {body}\n}}\n' for name, body in bodies.items())
        (tmp_path / "variables.tf").write_text(text)
        assert terraform.load_defaults(tmp_path) == {"a": "x", "b": [1]}

    def test_the_bootstrap_asks_for_nothing_but_the_account(self) -> None:
        assert set(blocks("variables.tf", "variable")) - set(terraform.load_defaults(SOURCE)) == {
            "account_id"
        }

    @pytest.mark.parametrize(
        "text", [None, 'variable "a" {', "\xff"], ids=["missing", "unfinished", "no HCL"]
    )
    def test_a_file_that_cannot_be_read_is_refused_with_its_name(
        self, tmp_path: Path, text: str | None
    ) -> None:
        if text is not None:
            (tmp_path / "variables.tf").write_text(text, encoding="latin-1")
        with pytest.raises(RefusedError, match=r"variables\.tf: cannot be read"):
            terraform.load_defaults(tmp_path)


class TestProgram:
    def test_a_missing_program_is_refused_with_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(
            RefusedError, match=r"(?s)terraform: was not found on PATH.*install Terraform 1\.9"
        ):
            terraform.find()

    @pytest.mark.parametrize(
        "heading",
        [
            "Failed to query available provider packages",
            "Failed to install provider",
            "Invalid provider registry host",
        ],
    )
    def test_an_init_that_gets_no_provider_says_how_to_get_one(
        self, program: Callable[[str], Terraform], heading: str
    ) -> None:
        made = program(f"echo 'Error: {heading}' >&2; exit 1")
        with pytest.raises(
            FailedError, match=rf"(?s)terraform init: failed:\nError: {heading}.*Try: .*{MIRROR}"
        ):
            made.init()

    def test_an_init_that_fails_for_another_reason_does_not_blame_the_network(
        self, program: Callable[[str], Terraform]
    ) -> None:
        made = program("echo 'Error: Unsupported Terraform Core version' >&2; exit 1")
        with pytest.raises(
            FailedError, match=r"terraform init: failed:\nError: Unsupported Terraform"
        ) as failed:
            made.init()
        assert failed.value.remedy.startswith("mend what Terraform names above")

    def test_a_failed_plan_says_what_terraform_said(
        self, program: Callable[[str], Terraform]
    ) -> None:
        with pytest.raises(
            FailedError,
            match=r"(?s)terraform plan: failed:\nno such thing.*run the same word again",
        ):
            program("echo 'no such thing' >&2; exit 1").plan({})

    def test_a_plan_without_changes_is_none_and_one_with_changes_is_its_json(
        self, program: Callable[[str], Terraform]
    ) -> None:
        made = program(
            'case "$1" in show) echo "{\\"resource_changes\\": []}";; *) exit "${CODE:-0}";; esac'
        )
        assert made.plan({"prefix": "guard"}) is None
        assert json.loads((made.folder / "run.auto.tfvars.json").read_text()) == {"prefix": "guard"}
        changed = Terraform(made.folder, made.state, {**made.environment, "CODE": "2"})
        assert changed.plan({}) == {"resource_changes": []}

    def test_settings_of_the_persons_own_terraform_stay_out(
        self, program: Callable[[str], Terraform]
    ) -> None:
        made = program('env > "environment"')
        made.apply()
        seen = dict(
            line.split("=", 1) for line in (made.folder / "environment").read_text().splitlines()
        )
        assert {name for name in seen if name.startswith("TF_")} == {"TF_IN_AUTOMATION"}

    def test_the_mirror_is_named_by_its_full_path(
        self, program: Callable[[str], Terraform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = program('echo "$@" > arguments')
        monkeypatch.chdir(tmp_path)
        Terraform(made.folder, made.state, {**made.environment, MIRROR: "mirror"}).init()
        assert f"-plugin-dir={tmp_path.resolve()}/mirror" in (made.folder / "arguments").read_text()


class TestConfigurationOfTheProgram:
    def test_a_file_that_is_there_is_named_by_its_full_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("rc").write_text("")
        found = terraform._cli_configuration({"TF_CLI_CONFIG_FILE": "rc"})
        assert found == {"TF_CLI_CONFIG_FILE": str(tmp_path.resolve() / "rc")}

    @pytest.mark.parametrize(
        "environment", [{}, {"TF_CLI_CONFIG_FILE": ""}, {"TF_CLI_CONFIG_FILE": "/no/such/file"}]
    )
    def test_no_file_and_a_missing_one_are_left_out(self, environment: dict[str, str]) -> None:
        assert terraform._cli_configuration(environment) == {}


class TestPrepare:
    def test_a_copy_has_the_files_of_the_source_alone_and_its_own_state(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.tf").write_text("")
        made = Terraform.prepare(SOURCE, tmp_path / "run", tmp_path / "deep" / "x.tfstate", {})
        names = {path.name for path in made.folder.glob("*.tf")}
        assert names == {path.name for path in SOURCE.glob("*.tf")} | {"backend_override.tf"}
        assert (
            str(tmp_path / "deep" / "x.tfstate")
            in (made.folder / "backend_override.tf").read_text()
        )
        assert made.state.parent.is_dir()


@pytest.mark.joint
class TestGitHub:
    """What neither a plan nor the local AWS emulator can show."""

    def test_the_deploy_role_waits_for_the_role_that_it_trusts(self) -> None:
        waits = str(resource("roles.tf", "aws_iam_role", "deploy")["depends_on"])
        assert "aws_iam_role.github" in waits

    def test_the_provider_is_never_destroyed(self) -> None:
        provider = resource("github.tf", "aws_iam_openid_connect_provider", "github")
        assert [block["prevent_destroy"] for block in provider["lifecycle"]] == [True]


@pytest.mark.joint
class TestReadme:
    def test_its_table_has_every_variable_with_default_and_description(self) -> None:
        defaults = terraform.load_defaults(SOURCE)
        shown = {
            name: f"`{default}`" if default != "" else '`""`' for name, default in defaults.items()
        }
        expected = [
            [f"`{name}`", shown.get(name, "required"), body["description"]]
            for name, body in blocks("variables.tf", "variable").items()
        ]
        assert repository.table(README, "Variables") == expected

    def test_its_table_has_every_output_with_its_description(self) -> None:
        outputs = blocks("outputs.tf", "output")
        expected = [[f"`{name}`", body["description"]] for name, body in outputs.items()]
        assert repository.table(README, "Outputs") == expected


@pytest.mark.terraform
class TestWithTheProgram:
    def test_the_tests_of_the_configuration_pass(self, copy: Terraform) -> None:
        done = subprocess.run(
            ["terraform", "test", "-no-color"],
            cwd=copy.folder,
            env=_quiet(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        files = len(list((SOURCE / "tests").glob("*.tftest.hcl")))
        assert done.stdout.count("... pass\n") > files, done.stdout

    def test_each_variable_refuses_with_its_sentence(self, tmp_path: Path) -> None:
        """Of the variables alone, as a plan of everything starts the provider each time."""
        (tmp_path / "variables").mkdir()
        shutil.copy(SOURCE / "variables.tf", tmp_path / "variables")
        alone = Terraform.prepare(
            tmp_path / "variables", tmp_path / "run", tmp_path / "x.tfstate", _quiet()
        )
        alone.init()
        bad = {
            "account_id": "1",
            "region": "x",
            "prefix": "X",
            "sso_permission_set_names": ["*"],
            "old_version_days": -1,
        }
        said = ""
        for values in (
            bad,
            {"account_id": "111122223333"},
            {"account_id": "111122223333", "trusted_principal_arns": ["*"]},
            {
                "account_id": "111122223333",
                "github_repository": "org/*",
                "github_subject_form": "x",
            },
            {"account_id": "111122223333", "github_owner_id": "*", "github_repository_id": "*"},
            {"account_id": "111122223333", "github_repository": "org/repo"},
            {
                "account_id": "111122223333",
                "github_environment": "*",
                "github_oidc_provider_arn": "*",
            },
        ):
            with pytest.raises(RefusedError, match="terraform variables: were refused") as refused:
                alone.plan(values)
            said += words(str(refused.value)) + " "
        assert {sentence for sentence in sentences() if sentence not in said} == set()

    def test_a_mirror_without_the_provider_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        environment = _quiet() | {MIRROR: str(tmp_path / "empty")}
        made = Terraform.prepare(SOURCE, tmp_path / "run", tmp_path / "x.tfstate", environment)
        with pytest.raises(
            FailedError, match=rf"(?s)terraform init: failed:.*hashicorp/aws.*{MIRROR}"
        ):
            made.init()

    def test_a_checkout_that_was_moved_finds_its_state_again(self, tmp_path: Path) -> None:
        source, old, new = tmp_path / "source", tmp_path / "old", tmp_path / "new"
        source.mkdir()
        (source / "main.tf").write_text('resource "terraform_data" "made" {}\n')
        made = Terraform.prepare(source, old / "run", old / "x.tfstate", _quiet())
        made.init()
        assert made.plan({}) is not None
        made.apply()
        old.rename(new)
        moved = Terraform.prepare(source, new / "run", new / "x.tfstate", _quiet())
        moved.init()
        assert moved.plan({}) is None

    def test_what_is_never_deleted_is_refused_with_the_section_that_says_how_to_let_go_of_it(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "main.tf").write_text(
            'variable "count_of_it" { type = number }\n'
            'resource "terraform_data" "kept" {\n  count = var.count_of_it\n'
            "  lifecycle {\n    prevent_destroy = true\n  }\n}\n"
        )
        made = Terraform.prepare(
            tmp_path / "source", tmp_path / "run", tmp_path / "x.tfstate", _quiet()
        )
        made.init()
        made.plan({"count_of_it": 1})
        made.apply()
        with pytest.raises(
            RefusedError, match=r"(?s)terraform plan: would delete what .*terraform_data\.kept"
        ) as refused:
            made.plan({"count_of_it": 0})
        (heading, page) = re.findall(r'see "([^"]+)" in (\S+\.md)', refused.value.remedy)[0]
        assert (
            "state rm"
            in (ROOT / page)
            .read_text(encoding="utf-8")
            .split(f"\n## {heading}\n")[1]
            .split("\n## ")[0]
        )

    def test_a_signal_lets_it_keep_what_it_has_made_in_its_state(self, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "main.tf").write_text(
            'resource "terraform_data" "made" {}\n'
            'resource "terraform_data" "slow" {\n'
            '  depends_on = [terraform_data.made]\n  provisioner "local-exec" {\n'
            '    command = "touch started; exec sleep 60"\n  }\n}\n'
        )
        made = Terraform.prepare(
            tmp_path / "source", tmp_path / "run", tmp_path / "x.tfstate", _quiet()
        )
        made.init()
        made.plan({})
        command = [sys.executable, "-c", ASK_TO_STOP, str(made.folder), str(made.state)]
        with subprocess.Popen(
            command, cwd=ROOT, env=_quiet(), stderr=subprocess.PIPE, text=True
        ) as running:
            _wait_for(made.folder / "started")
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)
        assert "KeyboardInterrupt" in said
        kept = json.loads(made.state.read_text())["resources"]
        assert "made" in {one["name"] for one in kept}
        assert not (tmp_path / ".x.tfstate.lock.info").exists()


def _quiet() -> dict[str, str]:
    """This process's environment without settings of the person's own Terraform."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TF_")}


def _wait_for(path: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.05)
