"""IAM on the local AWS emulator: policies, condition keys, and the list of decisions."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount, policy

pytestmark = [pytest.mark.local]

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def denied_if(condition: bool) -> AbstractContextManager[object]:
    return pytest.raises(ClientError, match="AccessDenied") if condition else nullcontext()


def create_assumable_role(
    account: EmulatorAccount,
    name: str,
    *statements: dict[str, Any],
    path: str = "/",
    condition: dict[str, Any] | None = None,
) -> str:
    """Create a role that the account's principals may assume, under this condition."""
    iam, principal = account.client("iam"), {"AWS": f"arn:aws:iam::{account.account_id}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    if condition:
        trust["Condition"] = condition
    role = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=policy(trust))
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
    arn: str = role["Role"]["Arn"]
    return arn


def test_role_can_do_only_what_its_policies_allow(account: EmulatorAccount) -> None:
    """IAM user guide, "Policy evaluation logic"."""
    allow = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}
    role = create_assumable_role(account, "reader", allow)
    account.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    ssm = account.client("ssm", key=account.assume_role(role))
    assert ssm.get_parameter(Name="/here")["Parameter"]["Value"] == "yes"
    with denied_if(True):
        ssm.put_parameter(Name="/here", Value="no", Type="String", Overwrite=True)


@pytest.mark.parametrize(("transport", "denied"), [("false", False), ("true", True)])
def test_plain_http_counts_as_tls(
    account: EmulatorAccount, transport: str, *, denied: bool
) -> None:
    """AWS global condition context keys, aws:SecureTransport."""
    role = account.create_role({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    bucket = f"bucket-{account.account_id}"
    account.client("s3", region="us-east-1").create_bucket(Bucket=bucket)
    s3 = account.client("s3", key=account.assume_role(role))
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"Bool": {"aws:SecureTransport": transport}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(deny))
    with denied_if(denied):
        s3.put_object(Bucket=bucket, Key="key", Body=b"")


@pytest.mark.parametrize(
    ("pattern", "matches"), [("/aws-reserved/*/owner", True), ("/owner-of-another", False)]
)
def test_principal_arn_of_a_session_is_its_roles_arn_with_the_path(
    account: EmulatorAccount, pattern: str, *, matches: bool
) -> None:
    """AWS global condition context keys, aws:PrincipalArn."""
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    path = "/aws-reserved/sso.amazonaws.com/"
    owner = create_assumable_role(account, "owner", assume, path=path)
    principal_arn = f"arn:aws:iam::{account.account_id}:role{pattern}"
    condition = {"ArnLike": {"aws:PrincipalArn": principal_arn}}
    deploy = create_assumable_role(account, "deploy", condition=condition)
    sts = account.client("sts", key=account.assume_role(owner, "anna"))
    with denied_if(not matches):
        sts.assume_role(RoleArn=deploy, RoleSessionName="deploy")


def test_role_can_read_parameters_below_its_path_only(account: EmulatorAccount) -> None:
    """Systems Manager, "Actions, resources, and condition keys", GetParametersByPath."""
    name = "/mine/bootstrap/name"
    account.client("ssm").put_parameter(Name=name, Value="x", Type="SecureString")
    arn = f"arn:aws:ssm:{account.region}:{account.account_id}:parameter/mine/bootstrap"
    allow = {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": arn}
    ssm = account.client("ssm", key=account.assume_role(account.create_role(allow)))
    response = ssm.get_parameters_by_path(Path="/mine/bootstrap", WithDecryption=True)
    assert [parameter["Value"] for parameter in response["Parameters"]] == ["x"]
    with denied_if(True):
        ssm.get_parameters_by_path(Path="/others")


def test_decisions_are_listed_once_and_for_their_account_only(account: EmulatorAccount) -> None:
    account.client("ssm").put_parameter(Name="/here", Value="yes", Type="String")
    arn = f"arn:aws:ssm:{account.region}:{account.account_id}:parameter/here"
    role = account.create_role({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": arn})
    ssm = account.client("ssm", key=account.assume_role(role))
    for _ in range(2):
        ssm.get_parameter(Name="/here")
    with denied_if(True):
        ssm.delete_parameter(Name="/here")
    common = {"account": account.account_id, "role": role.rpartition("/")[2], "resource": arn}
    assert account.emulator.decisions(account.account_id) == [
        {**common, "action": "ssm:DeleteParameter", "allowed": False},
        {**common, "action": "ssm:GetParameter", "allowed": True},
    ]
    another = EmulatorAccount.on(account.emulator)
    assert account.emulator.decisions(another.account_id) == []
