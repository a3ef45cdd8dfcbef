"""This checkout's root stack on fake AWS clients, for the tests of deploy and destroy."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.aws import (
    ACCOUNT,
    REGION,
    S3,
    STACK_ID,
    CloudFormation,
    CloudTrail,
    Iam,
    Logs,
    account,
)
from tests.support.listener import Listener
from tests.support.repository import ROOT
from tooling.deploy import stack
from tooling.deploy.bootstrap import Bootstrap
from tooling.deploy.package import Artifact, ArtifactKey, Artifacts
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = Bootstrap(
    template_bucket_name="templates",
    artifact_bucket_name="artifacts",
    access_log_bucket_name="access-logs",
    deploy_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy",
    service_role_arn=f"arn:aws:iam::{ACCOUNT}:role/signwatch-service",
    boundary_policy_arn=f"arn:aws:iam::{ACCOUNT}:policy/signwatch-boundary",
)
DIGEST = "0" * 32  # of an artifact's inputs
OWN_TAGS = [{"Key": "signwatch:prefix", "Value": "signwatch"}]
FOREIGN_TAGS = [{"Key": "signwatch:prefix", "Value": "another"}]
REPLACED_TABLE = {
    "LogicalResourceId": "Table",
    "ResourceType": "AWS::DynamoDB::Table",
    "Action": "Modify",
    "Replacement": "True",
}
BUCKET = {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "trail-1"}
KEY = {"ResourceType": "AWS::KMS::Key", "PhysicalResourceId": "key-1"}
NEW_TOPIC = {"LogicalResourceId": "Topic", "ResourceType": "AWS::SNS::Topic", "Action": "Add"}


def stack_in(status: str, tags: list[dict[str, str]] = OWN_TAGS) -> dict[str, Any]:
    """A stack in this status as DescribeStacks returns it."""
    return {"StackId": STACK_ID, "StackStatus": status, "Tags": tags}


class FakeDeployment:
    """This checkout with its templates, two small zips, S3, CloudFormation and a listener."""

    def __init__(self, folder: Path, cloudformation: CloudFormation) -> None:
        self.folder = folder
        self.cloudformation = cloudformation
        self.s3, self.iam, self.listener = S3(), Iam(), Listener()
        self.cloudtrail, self.logs = CloudTrail(), Logs()
        self.contract = CONTRACT
        self.aws = account(
            s3=self.s3,
            cloudformation=cloudformation,
            cloudtrail=self.cloudtrail,
            iam=self.iam,
            logs=self.logs,
        )
        self.artifacts = Artifacts(self.make_artifact("function"), self.make_artifact("layer"))
        self.settings = Settings(
            account=ACCOUNT,
            region=REGION,
            prefix="signwatch",
            parameters={"AlertEmail": "a@example.com"},
            root=ROOT,
        )

    def make_artifact(
        self, kind: str, content: bytes = b"zip", *, digest: str = DIGEST, variant: str = "plain"
    ) -> Artifact:
        path = self.folder / f"{kind}.zip"
        path.write_bytes(content)
        key = ArtifactKey(kind, digest, variant, hashlib.sha256(content).hexdigest())
        return Artifact(path, key)

    def deploy(self, **options: bool) -> dict[str, str]:
        display = self.listener.stack()
        return stack.deploy(
            self.aws, self.settings, self.contract, self.artifacts, display=display, **options
        )

    def destroy(self) -> None:
        stack.destroy(self.aws, self.settings, CONTRACT, display=self.listener.stack())

    def choose(self, **parameters: str) -> None:
        """Let the user choose these parameters too."""
        parameters = {**self.settings.parameters, **parameters}
        self.settings = replace(self.settings, parameters=parameters)
