"""Terraform: reading its files, running it, its error messages, and the bootstrap's own tests."""

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
from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling import terraform
from tooling.errors import FailedError, RefusedError
from tooling.terraform import MIRROR_VARIABLE, Terraform

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = ROOT / "terraform-bootstrap"
PAGE = (SOURCE / "README.md").read_text(encoding="utf-8")
APPLY_PROGRAM = """
import sys
from pathlib import Path
from tooling.terraform import Terraform
Terraform(Path(sys.argv[1]), Path(sys.argv[2]), dict(__import__("os").environ)).apply()
"""


def parse(name: str) -> dict[str, Any]:
    """A file of the configuration as data."""
    options = hcl2.SerializationOptions(strip_string_quotes=True)
    text = (SOURCE / name).read_text(encoding="utf-8")
    return dict(hcl2.loads(text, serialization_options=options))


def blocks(name: str, kind: str) -> dict[str, Any]:
    """The blocks of one kind in a file of the configuration, by label."""
    return {
        label: body
        for block in parse(name)[kind]
        for label, body in block.items()
        if label != "__is_block__"
    }


def resource(name: str, kind: str, label: str) -> dict[str, Any]:
    """The body of one resource in a file of the configuration."""
    (body,) = [
        block[kind][label] for block in parse(name)["resource"] if label in block.get(kind, {})
    ]
    return dict(body)


def error_messages() -> set[str]:
    """The error messages of all variables."""
    return {
        rule["error_message"]
        for body in blocks("variables.tf", "variable").values()
        for rule in body["validation"]
    }


def unwrap(text: str) -> str:
    """A message of Terraform without its frame and line breaks."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Terraform]:
    """Put a ``terraform`` of shell lines first on PATH and prepare a configuration with it."""

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
    run = Terraform.prepare(SOURCE, folder / "run", folder / "x.tfstate", clean_environment())
    shutil.copytree(SOURCE / "tests", run.folder / "tests")
    run.init()
    return run


class TestDefaults:
    def test_the_default_of_each_variable_is_read(self, tmp_path: Path) -> None:
        bodies = {"a": 'default = "x"', "b": "default = [1]", "c": "type = string"}
        text = "".join(f'variable "{name}" {{\n  {body}\n}}\n' for name, body in bodies.items())
        (tmp_path / "variables.tf").write_text(text)
        assert terraform.load_defaults(tmp_path) == {"a": "x", "b": [1]}

    def test_the_bootstrap_requires_only_the_account(self) -> None:
        assert set(blocks("variables.tf", "variable")) - set(terraform.load_defaults(SOURCE)) == {
            "account_id"
        }

    @pytest.mark.parametrize(
        "text", [None, 'variable "a" {', "\xff"], ids=["missing", "unfinished", "no HCL"]
    )
    def test_an_unreadable_file_is_refused_with_its_name(
        self, tmp_path: Path, text: str | None
    ) -> None:
        if text is not None:
            (tmp_path / "variables.tf").write_text(text, encoding="latin-1")
        with pytest.raises(RefusedError, match=r"variables\.tf: cannot be read"):
            terraform.load_defaults(tmp_path)


class TestProgram:
    def test_a_missing_terraform_is_refused_with_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(
            RefusedError, match=r"(?s)terraform: was not found on PATH.*install Terraform 1\.9"
        ):
            terraform.require_program()

    @pytest.mark.parametrize(
        "heading",
        [
            "Failed to query available provider packages",
            "Failed to install provider",
            "Invalid provider registry host",
        ],
    )
    def test_init_without_a_provider_says_how_to_get_one(
        self, program: Callable[[str], Terraform], heading: str
    ) -> None:
        run = program(f"echo 'Error: {heading}' >&2; exit 1")
        with pytest.raises(
            RefusedError,
            match=rf"(?s)terraform init: failed:\nError: {heading}.*Try: .*{MIRROR_VARIABLE}",
        ):
            run.init()

    def test_another_failure_of_init_does_not_blame_the_network(
        self, program: Callable[[str], Terraform]
    ) -> None:
        run = program("echo 'Error: Unsupported Terraform Core version' >&2; exit 1")
        with pytest.raises(
            RefusedError, match=r"terraform init: failed:\nError: Unsupported Terraform"
        ) as failed:
            run.init()
        assert failed.value.remedy.startswith("fix what Terraform names above")

    def test_a_failed_plan_shows_the_message_of_terraform(
        self, program: Callable[[str], Terraform]
    ) -> None:
        with pytest.raises(
            RefusedError,  # nothing was written
            match=r"(?s)terraform plan: failed:\nno such thing.*run the same task again",
        ):
            program("echo 'no such thing' >&2; exit 1").plan({})

    def test_a_plan_that_aws_refuses_is_a_failure_of_aws(
        self, program: Callable[[str], Terraform]
    ) -> None:
        message = "Error: reading IAM Role: operation error IAM: GetRole, StatusCode: 403"
        with pytest.raises(FailedError, match="operation error IAM"):
            program(f"echo '{message}' >&2; exit 1").plan({})

    @pytest.mark.parametrize(
        ("found", "is_refused"),
        [("1.8.5", True), ("1.9.0", False), ("1.12.0-beta1", False), ("2.0.0", False)],
    )
    def test_older_terraform_than_the_configuration_allows_is_refused(
        self, found: str, is_refused: bool
    ) -> None:
        text = refusal_of(lambda: terraform.require_version(found, ">= 1.9"))
        assert ("1.9 or newer is needed" in text) is is_refused

    def test_a_plan_is_none_without_changes_and_json_with_changes(
        self, program: Callable[[str], Terraform]
    ) -> None:
        run = program(
            'case "$1" in show) echo "{\\"resource_changes\\": []}";; *) exit "${CODE:-0}";; esac'
        )
        assert run.plan({"prefix": "guard"}) is None
        assert json.loads((run.folder / "run.auto.tfvars.json").read_text()) == {"prefix": "guard"}
        changed = Terraform(run.folder, run.state, {**run.environment, "CODE": "2"})
        assert changed.plan({}) == {"resource_changes": []}

    def test_terraform_settings_of_the_environment_are_ignored(
        self, program: Callable[[str], Terraform]
    ) -> None:
        run = program('env > "environment"')
        run.apply()
        lines = (run.folder / "environment").read_text().splitlines()
        names = {line.split("=", 1)[0] for line in lines}
        assert {name for name in names if name.startswith("TF_")} == {"TF_IN_AUTOMATION"}

    def test_the_mirror_is_passed_as_a_full_path(
        self, program: Callable[[str], Terraform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = program('echo "$@" > arguments')
        monkeypatch.chdir(tmp_path)
        Terraform(run.folder, run.state, {**run.environment, MIRROR_VARIABLE: "mirror"}).init()
        assert f"-plugin-dir={tmp_path.resolve()}/mirror" in (run.folder / "arguments").read_text()


class TestEnvironment:
    def test_an_existing_file_is_passed_as_a_full_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("rc").write_text("")
        variables = terraform.clean_environment({"TF_CLI_CONFIG_FILE": "rc"})
        assert variables["TF_CLI_CONFIG_FILE"] == str(tmp_path.resolve() / "rc")

    @pytest.mark.parametrize(
        "environment", [{}, {"TF_CLI_CONFIG_FILE": ""}, {"TF_CLI_CONFIG_FILE": "/no/such/file"}]
    )
    def test_no_file_and_a_missing_file_are_ignored(self, environment: dict[str, str]) -> None:
        assert "TF_CLI_CONFIG_FILE" not in terraform.clean_environment(environment)


class TestPrepare:
    def test_a_copy_has_only_the_files_of_the_source_and_a_state_of_its_own(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old.tf").write_text("")
        run = Terraform.prepare(SOURCE, tmp_path / "run", tmp_path / "deep" / "x.tfstate", {})
        names = {path.name for path in run.folder.glob("*.tf")}
        assert names == {path.name for path in SOURCE.glob("*.tf")} | {"backend_override.tf"}
        assert (
            str(tmp_path / "deep" / "x.tfstate") in (run.folder / "backend_override.tf").read_text()
        )
        assert run.state.parent.is_dir()


@pytest.mark.joint
class TestGitHub:
    """What neither a plan nor the local AWS emulator can show."""

    def test_the_deploy_role_is_created_after_the_role_that_it_trusts(self) -> None:
        dependencies = str(resource("roles.tf", "aws_iam_role", "deploy")["depends_on"])
        assert "aws_iam_role.github" in dependencies

    def test_the_provider_is_never_destroyed(self) -> None:
        provider = resource("github.tf", "aws_iam_openid_connect_provider", "github")
        assert [block["prevent_destroy"] for block in provider["lifecycle"]] == [True]


@pytest.mark.joint
class TestPage:
    def test_the_table_has_every_variable_with_default_and_description(self) -> None:
        defaults = terraform.load_defaults(SOURCE)
        quotes = '""'
        cells = {name: f"`{str(default) or quotes}`" for name, default in defaults.items()}
        expected = [
            [f"`{name}`", cells.get(name, "required"), body["description"]]
            for name, body in blocks("variables.tf", "variable").items()
        ]
        assert repository.table(PAGE, "Variables") == expected

    def test_the_table_has_every_output_with_its_description(self) -> None:
        outputs = blocks("outputs.tf", "output")
        expected = [[f"`{name}`", body["description"]] for name, body in outputs.items()]
        assert repository.table(PAGE, "Outputs") == expected


@pytest.mark.terraform
class TestWithTerraform:
    def test_the_tests_of_the_configuration_pass(self, copy: Terraform) -> None:
        done = subprocess.run(
            ["terraform", "test", "-no-color"],
            cwd=copy.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        files = len(list((SOURCE / "tests").glob("*.tftest.hcl")))
        assert done.stdout.count("... pass\n") > files, done.stdout

    def test_each_variable_refuses_with_its_error_message(self, tmp_path: Path) -> None:
        """Plans the variables alone, because a plan of everything starts the provider each time."""
        (tmp_path / "variables").mkdir()
        shutil.copy(SOURCE / "variables.tf", tmp_path / "variables")
        run = Terraform.prepare(
            tmp_path / "variables", tmp_path / "run", tmp_path / "x.tfstate", clean_environment()
        )
        run.init()
        invalid = {
            "account_id": "1",
            "region": "x",
            "prefix": "X",
            "sso_permission_set_names": ["*"],
            "old_version_days": -1,
            "trail_log_group_name": "audit*",
        }
        output = ""
        for values in (
            invalid,
            {"account_id": "111122223333", "prefix": "ssm-watch"},
            {"account_id": "111122223333", "trusted_principal_arns": ["*"]},
            {
                "account_id": "111122223333",
                "github_repository": "org/*",
                "github_subject_form": "x",
            },
            {"account_id": "111122223333", "github_owner_id": "*", "github_repository_id": "*"},
            {"account_id": "111122223333", "github_repository": "org/repo"},
            {"account_id": "111122223333", "github_repository": "org/repo.git"},
            {
                "account_id": "111122223333",
                "github_environment": "*",
                "github_oidc_provider_arn": "*",
            },
        ):
            with pytest.raises(RefusedError, match="terraform variables: were refused") as refused:
                run.plan(values)
            output += unwrap(str(refused.value)) + " "
        assert {text for text in error_messages() if text not in output} == set()

    def test_a_mirror_without_the_provider_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        environment = clean_environment() | {MIRROR_VARIABLE: str(tmp_path / "empty")}
        run = Terraform.prepare(SOURCE, tmp_path / "run", tmp_path / "x.tfstate", environment)
        with pytest.raises(
            RefusedError, match=rf"(?s)terraform init: failed:.*hashicorp/aws.*{MIRROR_VARIABLE}"
        ):
            run.init()

    def test_a_moved_checkout_finds_its_state(self, tmp_path: Path) -> None:
        source, old, new = tmp_path / "source", tmp_path / "old", tmp_path / "new"
        source.mkdir()
        (source / "main.tf").write_text('resource "terraform_data" "created" {}\n')
        run = Terraform.prepare(source, old / "run", old / "x.tfstate", clean_environment())
        run.init()
        assert run.plan({}) is not None
        run.apply()
        old.rename(new)
        moved = Terraform.prepare(source, new / "run", new / "x.tfstate", clean_environment())
        moved.init()
        assert moved.plan({}) is None

    def test_deleting_a_protected_resource_is_refused_with_the_section_that_helps(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "main.tf").write_text(
            'variable "instances" { type = number }\n'
            'resource "terraform_data" "protected" {\n  count = var.instances\n'
            "  lifecycle {\n    prevent_destroy = true\n  }\n}\n"
        )
        run = Terraform.prepare(
            tmp_path / "source", tmp_path / "run", tmp_path / "x.tfstate", clean_environment()
        )
        run.init()
        run.plan({"instances": 1})
        run.apply()
        with pytest.raises(
            RefusedError,
            match=r"(?s)terraform plan: would delete a resource .*terraform_data\.protected",
        ) as refused:
            run.plan({"instances": 0})
        (heading, page) = re.findall(r'see "([^"]+)" in (\S+\.md)', refused.value.remedy)[0]
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "state rm" in text.split(f"\n## {heading}\n")[1].split("\n## ")[0]

    def test_an_apply_tells_how_many_resources_are_done_while_it_runs(self, tmp_path: Path) -> None:
        """The slow resource waits for what is announced of the other one."""
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "main.tf").write_text(
            'resource "terraform_data" "fast" {}\n'
            'resource "terraform_data" "slow" {\n  depends_on = [terraform_data.fast]\n'
            '  provisioner "local-exec" {\n'
            '    command = "for _ in $(seq 100); do [ -e seen ] && exit; sleep 0.1; done; exit 1"\n'
            "  }\n}\n"
        )
        folder, lines = tmp_path / "run", list[str]()

        def announce(line: str) -> None:
            lines.append(line)
            if line == "terraform apply: 1 of 2 resources ...":
                (folder / "seen").touch()

        source, state = tmp_path / "source", tmp_path / "x.tfstate"
        run = Terraform.prepare(source, folder, state, clean_environment(), announce)
        run.init()
        run.plan({})
        run.apply(2)
        assert lines == [
            "terraform init ...",
            "terraform plan ...",
            "terraform apply ...",
            "terraform apply: 1 of 2 resources ...",
            "terraform apply: 2 of 2 resources ...",
        ]
        run.plan({})
        assert lines[-1] == "terraform plan: 2 resources read ..."

    def test_a_signal_leaves_created_resources_in_the_state(self, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "main.tf").write_text(
            'resource "terraform_data" "created" {}\n'
            'resource "terraform_data" "slow" {\n'
            '  depends_on = [terraform_data.created]\n  provisioner "local-exec" {\n'
            '    command = "touch started; exec sleep 60"\n  }\n}\n'
        )
        run = Terraform.prepare(
            tmp_path / "source", tmp_path / "run", tmp_path / "x.tfstate", clean_environment()
        )
        run.init()
        run.plan({})
        command = [sys.executable, "-c", APPLY_PROGRAM, str(run.folder), str(run.state)]
        with subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for(run.folder / "started")
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in output
        resources = json.loads(run.state.read_text())["resources"]
        assert "created" in {item["name"] for item in resources}
        assert not (tmp_path / ".x.tfstate.lock.info").exists()


def clean_environment() -> dict[str, str]:
    """The environment of this process without settings of Terraform."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TF_")}


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} was not created"
        time.sleep(0.05)
