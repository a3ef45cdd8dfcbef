"""A deploy on stand-ins: this checkout's root stack, what the bootstrap made for it, and what AWS says of both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.aws import ACCOUNT, REGION, STACK_ID, Aliases, CloudFormation, Objects, account
from tests.support.listener import Listener
from tests.support.repository import ROOT
from tooling.deploy import stack
from tooling.deploy.bootstrap import Bootstrap
from tooling.deploy.package import Artifact, Artifacts
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

MADE = Bootstrap(
    template_bucket_name="templates",
    artifact_bucket_name="artifacts",
    access_log_bucket_name="access-logs",
    deploy_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy",
    service_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-service",
    boundary_policy_arn=f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary",
)
TAGS = [{"Key": "signwatch:prefix", "Value": "signwatch"}]
FOREIGN = [{"Key": "signwatch:prefix", "Value": "another"}]
TABLE = {
    "LogicalResourceId": "Table",
    "ResourceType": "AWS::DynamoDB::Table",
    "Action": "Modify",
    "Replacement": "True",
}
TOPIC = {"LogicalResourceId": "Topic", "ResourceType": "AWS::SNS::Topic", "Action": "Add"}


def live(status: str, tags: list[dict[str, str]] = TAGS, **more: Any) -> dict[str, Any]:
    return {"StackId": STACK_ID, "StackStatus": status, "Tags": tags, **more}


class World:
    """This checkout with its templates, two small zips, S3 and CloudFormation, and somebody who listens."""

    def __init__(self, folder: Path, cloudformation: CloudFormation) -> None:
        self.s3, self.cloudformation, self.listener = Objects(), cloudformation, Listener()
        self.iam = Aliases()
        self.aws = account(s3=self.s3, cloudformation=cloudformation, iam=self.iam)
        self.artifacts = Artifacts(_artifact(folder, "function"), _artifact(folder, "layer"))
        self.settings = Settings(
            account=ACCOUNT,
            region=REGION,
            prefix="signwatch",
            parameters={"AlertEmail": "a@example.com"},
            root=ROOT,
        )

    def deploy(self, **options: bool) -> dict[str, str]:
        console = self.listener.stack()
        return stack.deploy(
            self.aws, self.settings, MADE, self.artifacts, console=console, **options
        )

    def destroy(self) -> tuple[str, ...]:
        return stack.destroy(self.aws, self.settings, MADE, console=self.listener.stack())

    def choose(self, **parameters: str) -> None:
        self.settings = replace(
            self.settings, parameters={**self.settings.parameters, **parameters}
        )


def _artifact(folder: Path, kind: str) -> Artifact:
    path = folder / f"{kind}.zip"
    path.write_bytes(kind.encode())
    return Artifact(path, f"{kind}/1-plain.zip", "1", "plain", "", path.stat().st_size)
