"""The local AWS emulator as a process: it starts, serves loopback alone, stops, and never outlives who started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount, policy, wait_until
from tooling.environment import ensure
from tooling.local import emulator as emulators
from tooling.local.emulator import Emulator, EmulatorError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.local]

HOLDER = """
import sys, time
from pathlib import Path
from tooling.local.emulator import Emulator
with Emulator.start(*map(Path, sys.argv[1:])) as emulator:
    print(emulator.endpoint, flush=True)
    time.sleep(60)
"""


def answers(endpoint: str) -> bool:
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def holder(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that runs a local AWS emulator of its own; return it and the endpoint."""
    command = [
        sys.executable,
        "-c",
        HOLDER,
        str(ensure("local")),
        str(ensure("runtime")),
        str(folder),
    ]
    process = subprocess.Popen(
        command, cwd=emulators.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_emulator_answers_on_loopback_and_leaves_no_files(tmp_path: Path) -> None:
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.startswith("http://127.0.0.1:")
        account = EmulatorAccount.on(running)
        assert account.client("sts").get_caller_identity()["Account"] == account.account_id
        assert (tmp_path / "run").is_dir()
    assert not answers(running.endpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="reads Linux's table of listening sockets"
)
def test_emulator_listens_on_loopback_only(emulator: Emulator) -> None:
    port = f":{int(emulator.endpoint.rpartition(':')[2]):04X}"
    tables = [
        table.read_text().splitlines()
        for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6"))
        if table.exists()
    ]
    rows = [row.split() for table in tables for row in table[1:]]
    listening = [row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"]
    assert listening == [f"0100007F{port}"]


def test_environment_points_boto3_at_the_account(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name, value in emulator.environment("444455556666", "eu-central-1").items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    assert session.region_name == "eu-central-1"
    assert session.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::444455556666:root"


def test_emulator_gets_no_variable_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    made = emulators._environment(ensure("runtime"), tmp_path, 1, "token")
    assert {name for name in made if name.startswith("AWS_")} == set()
    assert "PYTHONSTARTUP" not in made


def test_port_in_use_is_an_error_with_the_emulators_message(
    tmp_path: Path, emulator: Emulator
) -> None:
    port = int(emulator.endpoint.rpartition(":")[2])
    with (
        pytest.raises(EmulatorError, match=r"already in use|another run"),
        Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run", port=port),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert answers(emulator.endpoint)


def test_another_port_is_tried_when_the_free_one_was_taken(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = int(emulator.endpoint.rpartition(":")[2]), emulators._free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(emulators, "_free_port", lambda: next(ports))
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.endswith(f":{free}")


def test_emulator_that_dies_is_reported_with_its_last_log_lines(tmp_path: Path) -> None:
    """An environment without the emulator: Python says so, and the error shows it."""
    with (
        pytest.raises(EmulatorError, match=r"(?s)ended with exit code 1.*ministack"),
        Emulator.start(ensure("runtime"), ensure("runtime"), tmp_path / "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_emulator_ends_with_its_parent_process(tmp_path: Path, end: signal.Signals) -> None:
    process, endpoint = holder(tmp_path / "run")
    assert answers(endpoint)
    with process:
        process.send_signal(end)
        process.wait(10)
    wait_until(lambda: not answers(endpoint))
    wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_role_can_do_only_what_its_policies_allow(emulator: Emulator) -> None:
    """IAM user guide, "Policy evaluation logic": a role may do what its policies allow."""
    account = EmulatorAccount.on(emulator)
    allow = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}
    role = trusting(account, {"AWS": f"arn:aws:iam::{account.account_id}:root"}, allow)
    account.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    key = account.assume_role(role)
    ssm = account.client("ssm", key=key)
    assert ssm.get_parameter(Name="/here")["Parameter"]["Value"] == "yes"
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.put_parameter(Name="/here", Value="no", Type="String", Overwrite=True)


@pytest.mark.parametrize(("transport", "denied"), [("false", False), ("true", True)])
def test_plain_http_counts_as_tls(emulator: Emulator, transport: str, *, denied: bool) -> None:
    """AWS global condition context keys, aws:SecureTransport; with "true" the same policy does bite."""
    account = EmulatorAccount.on(emulator)
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    role = trusting(account, {"AWS": f"arn:aws:iam::{account.account_id}:root"}, allow)
    bucket = f"bucket-{account.account_id}"
    account.client("s3", region="us-east-1").create_bucket(Bucket=bucket)
    key = account.assume_role(role)
    s3 = account.client("s3", key=key)
    condition = {"Bool": {"aws:SecureTransport": transport}}
    objects = {"Resource": f"arn:aws:s3:::{bucket}/*", "Condition": condition}
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=policy({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", **objects}),
    )
    if denied:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=bucket, Key="key", Body=b"")
    else:
        s3.put_object(Bucket=bucket, Key="key", Body=b"")


@pytest.mark.parametrize(
    ("pattern", "fits"), [("*/aws-reserved/*/owner", True), ("*/owner-of-another", False)]
)
def test_principal_arn_of_a_session_is_its_roles_arn_with_the_path(
    emulator: Emulator, pattern: str, *, fits: bool
) -> None:
    """AWS global condition context keys, aws:PrincipalArn: for a session it is the role's ARN, with its path."""
    account = EmulatorAccount.on(emulator)
    root = {"AWS": f"arn:aws:iam::{account.account_id}:root"}
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    owner = trusting(account, root, assume, name="owner", path="/aws-reserved/sso.amazonaws.com/")
    condition = {
        "ArnLike": {
            "aws:PrincipalArn": f"arn:aws:iam::{account.account_id}:role{pattern.removeprefix('*')}"
        }
    }
    deploy = trusting(account, root, name="deploy", condition=condition)
    key = account.assume_role(owner, "anna")
    sts = account.client("sts", key=key)
    call: Callable[[], object] = lambda: sts.assume_role(RoleArn=deploy, RoleSessionName="deploy")  # noqa: E731 - a name for the call
    if fits:
        call()
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


def trusting(
    account: EmulatorAccount, principal: dict[str, str], *statements: dict[str, Any], name: str = "", path: str = "/",
    condition: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """A role that this principal may assume, under this condition."""
    iam, name = account.client("iam"), name or f"role-{os.urandom(4).hex()}"
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust |= {"Condition": condition} if condition else {}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=document)
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
    arn: str = made["Role"]["Arn"]
    return arn


def test_role_can_read_parameters_below_its_path_only(emulator: Emulator) -> None:
    """AWS Systems Manager, "Actions, resources, and condition keys": GetParametersByPath is asked for the path."""
    account = EmulatorAccount.on(emulator)
    account.client("ssm").put_parameter(Name="/mine/bootstrap/name", Value="x", Type="SecureString")
    arn = f"arn:aws:ssm:{account.region}:{account.account_id}:parameter/mine/bootstrap"
    statement = {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": arn}
    role = account.create_role(statement)
    key = account.assume_role(role, "reader")
    ssm = account.client("ssm", key=key)
    (found,) = ssm.get_parameters_by_path(Path="/mine/bootstrap", WithDecryption=True)["Parameters"]
    assert found["Value"] == "x"
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.get_parameters_by_path(Path="/others")


def test_decisions_are_listed_once_and_for_their_account_only(
    emulator: Emulator,
) -> None:
    account = EmulatorAccount.on(emulator)
    account.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    arn = f"arn:aws:ssm:{account.region}:{account.account_id}:parameter/here"
    role = account.create_role({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arn})
    key = account.assume_role(role, "reader")
    ssm = account.client("ssm", key=key)
    for _ in range(2):
        ssm.get_parameter(Name="/here")
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.delete_parameter(Name="/here")
    same = {"account": account.account_id, "role": role.rpartition("/")[2], "resource": arn}
    assert emulator.decisions(account.account_id) == [
        {**same, "action": "ssm:DeleteParameter", "allowed": False},
        {**same, "action": "ssm:GetParameter", "allowed": True},
    ]
    assert emulator.decisions(EmulatorAccount.on(emulator).account_id) == []
