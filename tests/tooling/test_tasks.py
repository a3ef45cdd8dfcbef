"""Tasks on an account, as a person types them: a mistake is one sentence with its exit code."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from signwatch.detection import allowance
from tests.support.aws import ACCOUNT
from tests.support.command_line import (
    ACCOUNT_TASKS,
    ASKING_TASKS,
    NEEDED_FLAGS,
    NETWORKS_TASKS,
    TASKS_MODULE,
    Aws,
    Run,
    expect,
    on_account,
)
from tests.support.repository import ROOT
from tooling import terraform
from tooling.deploy import destruction, package, stack
from tooling.deploy.bootstrap import Bootstrap
from tooling.invocation import FLAGS_OF_TASKS, TARGET_FLAGS
from tooling.operate import forwarders

if TYPE_CHECKING:
    from pathlib import Path

    from tooling.settings import Settings

pytestmark = pytest.mark.joint

OTHER_ACCOUNT = "999999999999"
CONTRACT = {f"/signwatch/bootstrap/{field.name}": "x" for field in fields(Bootstrap)}


class TestAccount:
    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    def test_credentials_of_another_account_are_refused_before_any_write(
        self, aws: Aws, run: Run, task: str
    ) -> None:
        aws.owner = OTHER_ACCOUNT
        expect(
            run(*on_account(task)),
            2,
            task,
            f"belong to account {OTHER_ACCOUNT}, not to {ACCOUNT}; nothing was written",
        )
        assert aws.actions == ["GetCallerIdentity"]

    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    def test_unknown_profile_is_refused_by_name(self, aws: Aws, run: Run, task: str) -> None:
        expect(
            run(*on_account(task, "-p", "nosuch")),
            2,
            task,
            "profile 'nosuch': is not in your AWS configuration",
        )
        assert aws.actions == []

    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    def test_account_must_be_named(self, aws: Aws, run: Run, task: str) -> None:
        flags = (*NEEDED_FLAGS.get(task, ()), *(("--yes",) if task in ASKING_TASKS else ()))
        expect(
            run(task, "--config", "empty.toml", *flags),
            2,
            task,
            "give --account ID",
        )
        assert aws.actions == []

    @pytest.mark.parametrize("task", ["deploy", "outputs", "secret", "destroy", *NETWORKS_TASKS])
    def test_missing_bootstrap_says_which_task_to_run(self, aws: Aws, run: Run, task: str) -> None:
        expect(
            run(*on_account(task)),
            2,
            task,
            f"account {ACCOUNT} has no bootstrap in eu-west-1",
            f"or run: ./inv bootstrap -a {ACCOUNT} --region eu-west-1 --config empty.toml\n",
        )
        assert aws.actions == ["GetCallerIdentity", "GetParametersByPath"]

    def test_region_of_the_environment_is_taken_and_said(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        end = run("outputs", "-a", ACCOUNT, "--config", "empty.toml")
        assert end.out == "Region eu-central-1, from AWS_REGION\n"
        assert f"account {ACCOUNT} has no bootstrap in eu-central-1" in end.err
        assert aws.actions == ["GetCallerIdentity", "GetParametersByPath"]

    def test_endpoint_of_one_service_without_a_scheme_is_refused_before_any_call(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "localhost:4566")
        expect(run(*on_account("deploy")), 2, "deploy", "AWS_ENDPOINT_URL_CLOUDFORMATION: is")
        assert aws.actions == []

    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    @pytest.mark.parametrize("flag", ["profile", "account", "region", "prefix", "config"])
    def test_empty_flag_is_refused_by_name(self, aws: Aws, run: Run, task: str, flag: str) -> None:
        if flag in FLAGS_OF_TASKS.get(task, TARGET_FLAGS):
            expect(run(task, f"--{flag}", ""), 2, task, f"--{flag}: has an empty value")
        assert aws.actions == []

    def test_missing_configuration_file_is_refused(self, run: Run) -> None:
        expect(
            run("deploy", "--yes", "--config", "nowhere.toml"),
            2,
            "deploy",
            "nowhere.toml: cannot be read",
        )


class TestInput:
    @pytest.mark.parametrize("networks", ["203.0.113.0/99", "nonsense", "0.0.0.0/0"])
    def test_bad_range_is_refused_before_any_call_to_aws(
        self, aws: Aws, run: Run, networks: str
    ) -> None:
        end = run(*on_account("deploy", "--set", f"KnownNetworks={networks}"))
        expect(end, 2, "deploy", "--set KnownNetworks: ", repr(networks))
        assert aws.actions == []

    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    @pytest.mark.parametrize(
        ("line", "remedy"),
        [
            ("knownnetworks = ['203.0.113.0/24']", "write KnownNetworks"),
            ("AlertOff = 'unrecognized-source'", "write unrecognised-source"),
            ("TimeZone = 'Europe/Berln'", "write Europe/Berlin"),
            ("KnownNetworks = '203.0.113.77/24'", "write 203.0.113.0/24"),
        ],
    )
    def test_wrong_parameter_in_the_file_is_refused_by_every_task_before_any_call_to_aws(
        self, aws: Aws, run: Run, tmp_path: Path, task: str, line: str, remedy: str
    ) -> None:
        (tmp_path / "empty.toml").write_text(f"[parameters]\n{line}\n")
        end = run(*on_account(task))
        name, _, _ = line.partition(" ")
        expect(end, 2, task, f"empty.toml [parameters] {name}: ", remedy)
        assert aws.actions == []

    def test_wrong_parameter_in_the_file_is_refused_by_explain(
        self, run: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "wrong.toml").write_text("[parameters]\nTimeZone = 'Europe/Berln'\n")
        end = run("explain", "records.json", "--config", "wrong.toml")
        expect(end, 2, "explain", "wrong.toml [parameters] TimeZone: ", "write Europe/Berlin")

    @pytest.mark.parametrize("task", ACCOUNT_TASKS)
    def test_wrong_variable_of_the_bootstrap_is_refused_by_every_task(
        self, aws: Aws, run: Run, tmp_path: Path, task: str
    ) -> None:
        (tmp_path / "empty.toml").write_text("[bootstrap]\ntrusted_principals = ['x']\n")
        end = run(*on_account(task))
        expect(end, 2, task, "[bootstrap] trusted_principals: ", "use trusted_principal_arns as in")
        assert aws.actions == []

    def test_set_can_be_given_several_times(self, run: Run) -> None:
        end = run(*on_account("deploy", "--set", "KnownNetworks=203.0.113.0/24", "--set", "Typo=1"))
        expect(end, 2, "deploy", "--set Typo: is not a parameter of the stack")

    def test_parameters_of_set_reach_the_deployment(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deploy(_: object, settings: Settings, *__: object, **___: object) -> dict[str, str]:
            assert settings.parameters == {
                "AccountLabel": "acme",
                "KnownNetworks": "203.0.113.0/24",
            }
            return {"FunctionName": "deployed"}

        aws.contract = dict(CONTRACT)
        monkeypatch.setattr(stack, "deploy", deploy)
        monkeypatch.setattr(package, "build", lambda *_, **__: None)
        flags = (
            "--set",
            "AccountLabel=acme",
            "--set",
            "KnownNetworks=203.0.113.0/24",
            "--no-assume-role",
        )
        end = run(*on_account("deploy", *flags))
        assert (end.code, end.err) == (0, "")
        assert "deployed" in end.out

    @pytest.mark.parametrize(
        ("has_changes", "answers", "asked", "code"),
        [
            (True, "y\n", "Execute this change set?", 0),
            (True, "n\n", "Execute this change set?", 2),
            (False, "y\n", "Go on with the forwarders?", 0),
            (False, "n\n", "Go on with the forwarders?", 2),
        ],
    )
    def test_stack_and_forwarders_are_one_question(
        self,
        aws: Aws,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        *,
        has_changes: bool,
        answers: str,
        asked: str,
        code: int,
    ) -> None:
        def deploy(*_: object, display: stack.Display, **__: object) -> dict[str, str]:
            if has_changes:
                display.approve("Execute this change set?")
            return {"FunctionName": "deployed"}

        def apply(*_: object) -> forwarders.Report:
            applied.append(True)
            return forwarders.Report({})

        applied: list[bool] = []
        aws.contract = dict(CONTRACT)
        monkeypatch.setattr(stack, "deploy", deploy)
        monkeypatch.setattr(package, "build", lambda *_, **__: None)
        monkeypatch.setattr(forwarders, "apply", apply)
        terminal = io.StringIO(answers)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        line = [flag for flag in on_account("deploy", "--no-assume-role") if flag != "--yes"]
        line[line.index("home")] = "us-east-1"
        end = run(*line)
        assert end.code == code, end.err
        assert end.out.count("[y/N]") == 1
        assert asked in end.out
        if has_changes:
            assert "After it, forwarders change as listed above: us-east-1." in end.out
        assert applied == [True] * (code == 0)
        assert ("deployed" in end.out) == (code == 0)
        assert ("nothing was changed" in end.err) == (code == 2)

    @pytest.mark.parametrize("flags", [(), ("--everything",)])
    def test_destroy_hands_on_the_forwarders_that_there_are(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
    ) -> None:
        def destroy(*_: object, forwarders: stack.ForwarderRemoval, **__: object) -> None:
            print("handed on:", *forwarders.regions)

        removal = stack.ForwarderRemoval(("us-east-1",))
        aws.contract = dict(CONTRACT)
        monkeypatch.setattr(stack, "destroy", destroy)
        monkeypatch.setattr(destruction, "destroy_everything", destroy)
        monkeypatch.setattr(forwarders, "prepare_removal", lambda *_: removal)
        monkeypatch.setattr(terraform, "require_program", lambda: None)
        monkeypatch.setattr(TASKS_MODULE, "_set_terraform_provider", lambda _: None)
        role = () if flags else ("--no-assume-role",)
        end = run(*on_account("destroy", *role, *flags))
        assert (end.code, end.err) == (0, "")
        assert "handed on: us-east-1" in end.out

    def test_bad_phone_number_is_refused_and_not_printed(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws.contract = dict(CONTRACT)
        values = {
            "account_sid": "AC" + "1" * 32,
            "api_key_sid": "SK" + "2" * 32,
            "api_key_secret": "-".join(("made", "up", "secret")),
            "sender": "Signwatch",
            "recipients": ["0151 2345678"],
        }
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(values)))
        end = run(*on_account("secret", "--no-assume-role"))
        expect(
            end,
            2,
            "secret",
            "secret, recipients: number 1 of 1 does not begin with + and a country code",
        )
        assert "2345678" not in (end.out + end.err).replace("+4915112345678", "")
        assert "made-up-secret" not in end.out + end.err
        assert "PutSecretValue" not in aws.actions

    @pytest.mark.parametrize("task", ["outputs", "secret", *NETWORKS_TASKS])
    def test_stack_that_another_tool_made_is_refused(self, aws: Aws, run: Run, task: str) -> None:
        aws.contract = dict(CONTRACT)
        aws.prefix = "another"
        end = run(*on_account(task, "--no-assume-role"))
        expect(end, 2, task, "was not made by this tool")

    @pytest.mark.parametrize("task", ASKING_TASKS)
    def test_without_a_terminal_a_task_writes_only_with_yes(
        self, aws: Aws, run: Run, task: str
    ) -> None:
        words = [word for word in on_account(task) if word != "--yes"]
        expect(run(*words), 2, task, "there is no terminal to ask on", "add --yes")
        assert aws.actions == []


class TestNetworks:
    @pytest.fixture
    def live(self, aws: Aws) -> Aws:
        """A stack that knows one network, with an allowance and the bootstrap's contract."""
        hotel = allowance.make("198.51.100.7", "hotel", "Anaya")
        aws.contract = dict(CONTRACT)
        aws.contract[f"/signwatch/networks/{hotel.name}"] = allowance.encode(hotel)
        aws.parameters = {"KnownNetworks": "203.0.113.0/24", "AllowedVpcEndpointIds": ""}
        return aws

    @pytest.mark.parametrize(
        ("task", "flags", "text"),
        [
            ("networks.allow", ("--cidr", "0.0.0.0/0"), "is wider than /8"),
            ("networks.allow", ("--cidr", "203.0.113.77/24"), "write 203.0.113.0/24 for the range"),
            ("networks.allow", ("--cidr", "AWS Internal"), "is not an address"),
            (
                "networks.allow",
                ("--cidr", "203.0.113.7", "--for", "soon"),
                "--for soon: is not a duration",
            ),
            (
                "networks.allow",
                ("--cidr", "203.0.113.7", "--label", "a\nb"),
                "the label is not a line",
            ),
            ("networks.allow", ("--cidr", ""), "--cidr: has an empty value"),
            (
                "networks.revoke",
                ("--cidr", "203.0.113.7", "--id", "x"),
                "takes exactly one of --cidr, --label, --id",
            ),
            ("networks.revoke", ("--cidr", "office"), "is not an address"),
            ("networks.revoke", ("--cidr", "0.0.0.0/0"), "select it by --id"),
            ("networks.check", ("--address", "AWS Internal"), "is not a single IP address"),
            ("networks.check", ("--address", "203.0.113.0/24"), "is not a single IP address"),
        ],
    )
    def test_unusable_network_is_refused_before_any_call_to_aws(
        self,
        aws: Aws,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        task: str,
        flags: tuple[str, ...],
        text: str,
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        expect(run(*on_account(task, *flags)), 2, task, text)
        assert aws.actions == []

    @pytest.mark.parametrize(("flags", "times"), [((), 1), (("--no-assume-role",), 0)])
    def test_task_acts_as_the_deploy_role_unless_no_assume_role_is_set(
        self, live: Aws, run: Run, flags: tuple[str, ...], times: int
    ) -> None:
        live.contract["/signwatch/bootstrap/deploy_role_arn"] = (
            f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy"
        )
        assert run(*on_account("networks", *flags)).code == 0
        assert live.actions.count("AssumeRole") == times

    @pytest.mark.usefixtures("live")
    def test_networks_shows_both_lists(self, run: Run) -> None:
        end = run(*on_account("networks", "--no-assume-role"))
        assert (end.code, end.err) == (0, "")
        assert "203.0.113.0/24" in end.out
        assert "198.51.100.7/32  hotel  Anaya  forever" in end.out

    def test_unusable_entry_is_a_finding_and_its_control_characters_are_escaped(
        self, live: Aws, run: Run
    ) -> None:
        entry = {"cidr": "\x1b[2J", "label": "x", "who": None, "expires": None}
        live.contract["/signwatch/networks/broken"] = json.dumps(entry)
        end = run(*on_account("networks", "--no-assume-role"))
        assert end.code == 1
        assert "UNUSABLE" in end.out
        assert "recognises nothing" in end.out
        assert "\x1b" not in end.out

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
    def test_check_ends_in_1_when_no_entry_recognises_the_address(
        self, run: Run, flags: tuple[str, ...], code: int
    ) -> None:
        end = run(*on_account("networks.check", *flags, "--no-assume-role"))
        assert (end.code, end.err) == (code, "")

    def test_allow_writes_an_entry_and_shows_it(self, live: Aws, run: Run) -> None:
        end = run(
            *on_account(
                "networks.allow", "--cidr", "203.0.114.7", "--for", "12h", "--no-assume-role"
            )
        )
        assert (end.code, end.err) == (0, "")
        assert "203.0.114.7/32" in end.out
        assert "for everybody" in end.out
        assert live.actions[-1] == "PutParameter"

    @pytest.mark.parametrize(
        ("task", "flags", "plan"),
        [
            ("networks.allow", ("--cidr", "203.0.114.7"), "Allow within a minute"),
            ("networks.revoke", ("--label", "hotel"), "Revoke within a minute"),
        ],
    )
    def test_plan_shows_and_writes_nothing(
        self, live: Aws, run: Run, task: str, flags: tuple[str, ...], plan: str
    ) -> None:
        end = run(*on_account(task, *flags, "--no-assume-role", "--plan"))
        assert (end.code, end.err) == (0, "")
        assert plan in end.out
        assert end.out.endswith("Nothing was changed.\n")
        assert not {"PutParameter", "DeleteParameter"} & set(live.actions)

    def test_revoke_deletes_the_entry_with_the_label(self, live: Aws, run: Run) -> None:
        end = run(*on_account("networks.revoke", "--label", "hotel", "--no-assume-role"))
        assert (end.code, end.err) == (0, "")
        assert "198.51.100.7/32" in end.out
        assert live.actions[-1] == "DeleteParameter"


def test_ctrl_c_during_a_call_to_aws_is_one_sentence_and_exit_code_130(
    aws: Aws, tmp_path: Path
) -> None:
    aws.is_silent = True
    (tmp_path / "empty.toml").touch()
    command = [str(ROOT / "inv"), *on_account("deploy")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert aws.arrived.wait(20)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors.strip().splitlines() == [
        "invoke deploy: interrupted; what was begun may be half done: run the same task again"
    ]
    assert aws.actions == ["GetCallerIdentity"]
