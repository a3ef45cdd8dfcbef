"""Words on an account, as a person types them: each mistake is one clear sentence with the agreed exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from signwatch.detection import allowance
from tests.support.aws import ACCOUNT
from tests.support.command_line import FAMILY, NEEDED, TARGETED, Aws, Run, expect, target
from tests.support.repository import ROOT
from tooling.deploy import package, stack
from tooling.deploy.bootstrap import Bootstrap

if TYPE_CHECKING:
    from pathlib import Path

    from tooling.settings import Settings

pytestmark = pytest.mark.joint

OTHER = "999999999999"


class TestAccount:
    @pytest.mark.parametrize("word", TARGETED)
    def test_credentials_of_another_account_are_refused_before_any_write(
        self, aws: Aws, run: Run, word: str
    ) -> None:
        aws.owner = OTHER
        expect(
            run(*target(word)),
            2,
            word,
            f"belong to account {OTHER}, not to {ACCOUNT}; nothing was written",
        )
        assert aws.asked == ["GetCallerIdentity"]

    @pytest.mark.parametrize("word", TARGETED)
    def test_an_unknown_profile_is_refused_by_name(self, aws: Aws, run: Run, word: str) -> None:
        expect(
            run(*target(word, "-p", "nosuch")),
            2,
            word,
            "profile 'nosuch': is not in your AWS configuration",
        )
        assert aws.asked == []

    @pytest.mark.parametrize("word", TARGETED)
    def test_an_account_that_is_not_named_is_refused(self, aws: Aws, run: Run, word: str) -> None:
        expect(
            run(word, "--config", "empty.toml", *NEEDED.get(word, ())), 2, word, "give --account ID"
        )
        assert aws.asked == []

    @pytest.mark.parametrize("word", ["deploy", "outputs", "secret", "destroy", *FAMILY])
    def test_a_missing_bootstrap_says_what_to_run(self, aws: Aws, run: Run, word: str) -> None:
        expect(
            run(*target(word)),
            2,
            word,
            f"account {ACCOUNT} has no bootstrap in eu-west-1",
            "invoke bootstrap",
        )
        assert aws.asked == ["GetCallerIdentity", "GetParametersByPath"]

    def test_a_configuration_file_that_does_not_exist_is_refused(self, run: Run) -> None:
        expect(
            run("deploy", "--config", "nowhere.toml"), 2, "deploy", "nowhere.toml: cannot be read"
        )


class TestInput:
    @pytest.mark.parametrize("networks", ["203.0.113.0/99", "nonsense", "0.0.0.0/0"])
    def test_a_bad_range_is_refused_before_aws_is_asked(
        self, aws: Aws, run: Run, networks: str
    ) -> None:
        ended = run(*target("deploy", "--set", f"KnownNetworks={networks}"))
        expect(ended, 2, "deploy", "parameter KnownNetworks", repr(networks))
        assert aws.asked == []

    def test_each_set_counts(self, run: Run) -> None:
        ended = run(*target("deploy", "--set", "KnownNetworks=203.0.113.0/24", "--set", "Typo=1"))
        expect(ended, 2, "deploy", "parameter Typo: is not a parameter of the stack")

    def test_what_is_set_reaches_the_deployment(
        self, aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deploy(_: object, chosen: Settings, *more: object, **flags: object) -> dict[str, str]:
            assert chosen.parameters == {"AccountLabel": "acme", "KnownNetworks": "203.0.113.0/24"}
            return {"FunctionName": "deployed"}

        aws.contract = {f"/signwatch/bootstrap/{item.name}": "x" for item in fields(Bootstrap)}
        monkeypatch.setattr(stack, "deploy", deploy)
        monkeypatch.setattr(package, "build", lambda *_, **__: None)
        given = (
            "--set",
            "AccountLabel=acme",
            "--set",
            "KnownNetworks=203.0.113.0/24",
            "--no-assume-role",
        )
        ended = run(*target("deploy", *given))
        assert (ended.code, ended.err) == (0, "")
        assert "deployed" in ended.out

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
        expect(
            ended,
            2,
            "secret",
            "secret, recipients: number 1 of 1 is not a phone number in E.164 form",
        )
        assert "2345678" not in (ended.out + ended.err).replace("+4915112345678", "")
        assert "made-up-secret" not in ended.out + ended.err
        assert "PutSecretValue" not in aws.asked

    @pytest.mark.parametrize("word", ["outputs", "secret", *FAMILY])
    def test_a_stack_of_that_name_that_is_somebody_elses_is_left_alone(
        self, aws: Aws, run: Run, word: str
    ) -> None:
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
            ("networks.allow", ("--cidr", ""), "there is no terminal to ask at"),
            (
                "networks.revoke",
                ("--cidr", "203.0.113.7", "--id", "x"),
                "takes exactly one of --cidr, --label, --id",
            ),
            ("networks.revoke", ("--cidr", "office"), "is not an address"),
            ("networks.check", ("--address", "AWS Internal"), "is not one address"),
            ("networks.check", ("--address", "203.0.113.0/24"), "is not one address"),
        ],
    )
    def test_what_no_list_can_hold_is_refused_before_aws_is_asked(
        self,
        aws: Aws,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        word: str,
        flags: tuple[str, ...],
        said: str,
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        expect(run(*target(word, *flags)), 2, word, said)
        assert aws.asked == []

    @pytest.mark.parametrize(("flags", "times"), [((), 1), (("--no-assume-role",), 0)])
    def test_a_word_acts_as_the_deploy_role_unless_it_is_told_not_to(
        self, live: Aws, run: Run, flags: tuple[str, ...], times: int
    ) -> None:
        live.contract["/signwatch/bootstrap/deploy_role_arn"] = (
            f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy"
        )
        assert run(*target("networks", *flags)).code == 0
        assert live.asked.count("AssumeRole") == times

    @pytest.mark.usefixtures("live")
    def test_both_lists_are_shown_by_the_familys_own_word(self, run: Run) -> None:
        ended = run(*target("networks", "--no-assume-role"))
        assert (ended.code, ended.err) == (0, "")
        assert "203.0.113.0/24" in ended.out
        assert "198.51.100.7/32  hotel  for Anaya alone  forever" in ended.out

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
        ended = run(
            *target("networks.allow", "--cidr", "203.0.114.7", "--for", "12h", "--no-assume-role")
        )
        assert (ended.code, ended.err) == (0, "")
        assert "203.0.114.7/32" in ended.out
        assert "for everybody" in ended.out
        assert live.asked[-1] == "PutParameter"

    def test_revoke_deletes_what_it_names(self, live: Aws, run: Run) -> None:
        ended = run(*target("networks.revoke", "--label", "hotel", "--no-assume-role"))
        assert (ended.code, ended.err) == (0, "")
        assert "198.51.100.7/32" in ended.out
        assert live.asked[-1] == "DeleteParameter"


def test_ctrl_c_while_a_word_waits_for_aws_is_one_sentence_and_130(
    aws: Aws, tmp_path: Path
) -> None:
    aws.is_silent = True
    (tmp_path / "empty.toml").touch()
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *target("deploy")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
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
