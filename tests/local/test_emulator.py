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

from tests.support.emulator import EmulatorAccount, policy, until
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


def test_it_answers_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.startswith("http://127.0.0.1:")
        laptop = EmulatorAccount.on(running)
        assert laptop.client("sts").get_caller_identity()["Account"] == laptop.account
        assert (tmp_path / "run").is_dir()
    assert not answers(running.endpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="reads Linux's table of listening sockets"
)
def test_it_listens_on_loopback_alone(emulator: Emulator) -> None:
    port = f":{int(emulator.endpoint.rpartition(':')[2]):04X}"
    tables = [
        table.read_text().splitlines()
        for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6"))
        if table.exists()
    ]
    rows = [row.split() for table in tables for row in table[1:]]
    listening = [row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"]
    assert listening == [f"0100007F{port}"]


def test_the_environment_points_boto3_at_the_account(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name, value in emulator.environment("444455556666", "eu-central-1").items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    assert session.region_name == "eu-central-1"
    assert session.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::444455556666:root"


def test_nothing_of_the_callers_environment_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    made = emulators._environment(ensure("runtime"), tmp_path, 1, "token")
    assert {name for name in made if name.startswith("AWS_")} == set()
    assert "PYTHONSTARTUP" not in made


def test_a_port_that_is_taken_is_refused_with_what_the_emulator_said(
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


def test_a_free_port_that_is_taken_in_between_is_left_for_another(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = int(emulator.endpoint.rpartition(":")[2]), emulators._free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(emulators, "_free_port", lambda: next(ports))
    with Emulator.start(ensure("local"), ensure("runtime"), tmp_path / "run") as running:
        assert running.endpoint.endswith(f":{free}")


def test_an_emulator_that_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    """An environment without the emulator: Python says so, and the error shows it."""
    with (
        pytest.raises(EmulatorError, match=r"(?s)ended with exit code 1.*ministack"),
        Emulator.start(ensure("runtime"), ensure("runtime"), tmp_path / "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_process_that_started_it(tmp_path: Path, end: signal.Signals) -> None:
    process, endpoint = holder(tmp_path / "run")
    assert answers(endpoint)
    with process:
        process.send_signal(end)
        process.wait(10)
    until(lambda: not answers(endpoint))
    until(lambda: list(tmp_path.iterdir()) == [])


def test_iam_is_enforced(emulator: Emulator) -> None:
    """IAM user guide, "Policy evaluation logic": a role may do what its policies allow."""
    laptop = EmulatorAccount.on(emulator)
    allow = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}
    role = trusting(laptop, {"AWS": f"arn:aws:iam::{laptop.account}:root"}, allow)
    laptop.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    ssm = laptop.client("ssm", key=key)
    assert ssm.get_parameter(Name="/here")["Parameter"]["Value"] == "yes"
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.put_parameter(Name="/here", Value="no", Type="String", Overwrite=True)


@pytest.mark.parametrize(("transport", "denied"), [("false", False), ("true", True)])
def test_plain_http_to_the_laptop_counts_as_tls(
    emulator: Emulator, transport: str, *, denied: bool
) -> None:
    """AWS global condition context keys, aws:SecureTransport; with "true" the same policy does bite."""
    laptop = EmulatorAccount.on(emulator)
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    role = trusting(laptop, {"AWS": f"arn:aws:iam::{laptop.account}:root"}, allow)
    bucket = f"bucket-{laptop.account}"
    laptop.client("s3", region="us-east-1").create_bucket(Bucket=bucket)
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    s3 = laptop.client("s3", key=key)
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
def test_a_sessions_principal_is_its_role_with_the_path(
    emulator: Emulator, pattern: str, *, fits: bool
) -> None:
    """AWS global condition context keys, aws:PrincipalArn: for a session it is the role's ARN, with its path."""
    laptop = EmulatorAccount.on(emulator)
    root = {"AWS": f"arn:aws:iam::{laptop.account}:root"}
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    owner = trusting(laptop, root, assume, name="owner", path="/aws-reserved/sso.amazonaws.com/")
    condition = {
        "ArnLike": {
            "aws:PrincipalArn": f"arn:aws:iam::{laptop.account}:role{pattern.removeprefix('*')}"
        }
    }
    deploy = trusting(laptop, root, name="deploy", condition=condition)
    key = laptop.client("sts").assume_role(RoleArn=owner, RoleSessionName="anna")["Credentials"]
    sts = laptop.client("sts", key=key)
    call: Callable[[], object] = lambda: sts.assume_role(RoleArn=deploy, RoleSessionName="deploy")  # noqa: E731 - a name for the call
    if fits:
        call()
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


def trusting(
    laptop: EmulatorAccount, principal: dict[str, str], *statements: dict[str, Any], name: str = "", path: str = "/",
    condition: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """A role that this principal may assume, under this condition."""
    iam, name = laptop.client("iam"), name or f"role-{os.urandom(4).hex()}"
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust |= {"Condition": condition} if condition else {}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=document)
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
    arn: str = made["Role"]["Arn"]
    return arn


def test_a_role_reads_the_parameters_below_its_own_path_alone(emulator: Emulator) -> None:
    """AWS Systems Manager, "Actions, resources, and condition keys": GetParametersByPath is asked for the path."""
    laptop = EmulatorAccount.on(emulator)
    laptop.client("ssm").put_parameter(Name="/mine/bootstrap/name", Value="x", Type="SecureString")
    arn = f"arn:aws:ssm:{laptop.region}:{laptop.account}:parameter/mine/bootstrap"
    statement = {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": arn}
    role = laptop.role(statement)
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="reader")["Credentials"]
    ssm = laptop.client("ssm", key=key)
    (found,) = ssm.get_parameters_by_path(Path="/mine/bootstrap", WithDecryption=True)["Parameters"]
    assert found["Value"] == "x"
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.get_parameters_by_path(Path="/others")


def test_what_was_decided_on_a_role_is_remembered_once_and_for_its_account_alone(
    emulator: Emulator,
) -> None:
    laptop = EmulatorAccount.on(emulator)
    laptop.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    arn = f"arn:aws:ssm:{laptop.region}:{laptop.account}:parameter/here"
    role = laptop.role({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arn})
    key = laptop.client("sts").assume_role(RoleArn=role, RoleSessionName="reader")["Credentials"]
    ssm = laptop.client("ssm", key=key)
    for _ in range(2):
        ssm.get_parameter(Name="/here")
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.delete_parameter(Name="/here")
    same = {"account": laptop.account, "role": role.rpartition("/")[2], "resource": arn}
    assert emulator.decisions(laptop.account) == [
        {**same, "action": "ssm:DeleteParameter", "allowed": False},
        {**same, "action": "ssm:GetParameter", "allowed": True},
    ]
    assert emulator.decisions(EmulatorAccount.on(emulator).account) == []
