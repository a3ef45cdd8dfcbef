"""What the tests of the local AWS emulator share: accounts, clients, waiting, and small resources."""

from __future__ import annotations

import io
import json
import secrets
import time
import uuid
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import boto3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tooling.local.emulator import Emulator

T = TypeVar("T")
REGION = "eu-west-1"
LONGEST = 20.0  # seconds that something may take to happen
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@dataclass(frozen=True)
class EmulatorAccount:
    """A fresh account on the local AWS emulator, used as its root user."""

    emulator: Emulator
    account: str
    region: str = REGION

    @classmethod
    def on(cls, emulator: Emulator) -> EmulatorAccount:
        return cls(emulator, str(10**11 + secrets.randbelow(9 * 10**11)))

    def client(
        self, service: str, *, region: str = "", key: Mapping[str, str] | None = None
    ) -> Any:
        """A client of the root user, or of the ``Credentials`` of an AssumeRole answer."""
        key = key or {"AccessKeyId": self.account, "SecretAccessKey": "test"}
        return boto3.client(
            service, endpoint_url=self.emulator.endpoint, region_name=region or self.region,
            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
            aws_session_token=key.get("SessionToken"),
        )  # fmt: skip

    def event(
        self, name: str = "ConsoleLogin", source: str = "signin", **detail: Any
    ) -> dict[str, Any]:
        """An event as AWS emits it, by default a console sign-in through CloudTrail."""
        record = {
            "eventVersion": "1.08", "eventID": str(uuid.uuid4()), "eventSource": f"{source}.amazonaws.com",
            "eventName": name, "userIdentity": {"type": "IAMUser", "userName": "anna"}, "awsRegion": self.region,
        }  # fmt: skip
        return {
            "version": "0", "id": str(uuid.uuid4()), "detail-type": "AWS Console Sign In via CloudTrail",
            "source": f"aws.{source}", "account": self.account, "region": self.region, "resources": [],
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "detail": {**record, **detail},
        }  # fmt: skip

    def trail(
        self, *, multi_region: bool = True, logging: bool = True, region: str = ""
    ) -> tuple[str, str]:
        """A trail with its bucket; return the names of both."""
        cloudtrail, s3 = (
            self.client("cloudtrail", region=region),
            self.client("s3", region="us-east-1"),
        )
        name, bucket = f"trail-{uuid.uuid4().hex[:8]}", f"records-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=bucket)
        arn = f"arn:aws:cloudtrail:{region or self.region}:{self.account}:trail/{name}"
        same = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
        source = {"aws:SourceArn": arn}
        written = {**source, "s3:x-amz-acl": "bucket-owner-full-control"}
        objects = f"arn:aws:s3:::{bucket}/AWSLogs/{self.account}/*"
        statements = [
            {**same, "Action": "s3:GetBucketAcl", "Resource": f"arn:aws:s3:::{bucket}",
             "Condition": {"StringEquals": source}},
            {**same, "Action": "s3:PutObject", "Resource": objects, "Condition": {"StringEquals": written}},
        ]  # fmt: skip
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))
        cloudtrail.create_trail(Name=name, S3BucketName=bucket, IsMultiRegionTrail=multi_region)
        if logging:
            cloudtrail.start_logging(Name=name)
        return name, bucket

    def rule(
        self,
        name: str,
        target: str,
        *,
        state: str = "ENABLED",
        dead_letters: str = "",
        **pattern: Any,
    ) -> str:
        """A rule with one target on the default bus; return its ARN."""
        events = self.client("events")
        asked = json.dumps(pattern or {"source": ["aws.signin"]})
        arn: str = events.put_rule(Name=name, EventPattern=asked, State=state)["RuleArn"]
        more = {"DeadLetterConfig": {"Arn": dead_letters}} if dead_letters else {}
        events.put_targets(Rule=name, Targets=[{"Id": "target", "Arn": target, **more}])
        return arn

    def queue(self, *, writer: str = "events.amazonaws.com") -> Queue:
        """A queue into which the service may write; nobody may when ``writer`` is empty."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        if writer:
            allow = {
                "Effect": "Allow",
                "Principal": {"Service": writer},
                "Action": "sqs:SendMessage",
                "Resource": arn,
            }
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(allow)})
        return Queue(sqs, url, arn)

    def role(self, *statements: dict[str, Any], path: str = "/") -> str:
        """A role of Lambda's with these permissions; return its ARN."""
        iam, name = self.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
        made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(TRUST))
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
        arn: str = made["Role"]["Arn"]
        return arn

    def function(self, name: str, code: str, role: str, **more: Any) -> str:
        """A function whose module ``app`` is ``code`` with a ``handler``; return its ARN when it is active."""
        client = self.client("lambda")
        made = client.create_function(
            FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=role, Code={"ZipFile": zipped(code)},
            **{"Timeout": 10, **more},
        )  # fmt: skip
        arn: str = made["FunctionArn"]
        until(lambda: client.get_function_configuration(FunctionName=name)["State"] == "Active")
        return arn

    def lines(self, group: str) -> list[str]:
        """Every line of a log group, or nothing while there is no group."""
        logs = self.client("logs")
        try:
            return [
                found["message"] for found in logs.filter_log_events(logGroupName=group)["events"]
            ]
        except logs.exceptions.ResourceNotFoundException:
            return []


@dataclass(frozen=True)
class Queue:
    client: Any
    url: str
    arn: str

    def messages(self) -> list[dict[str, Any]]:
        """Take what lies in the queue."""
        asked = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "WaitTimeSeconds": 0}
        found: list[dict[str, Any]] = self.client.receive_message(QueueUrl=self.url, **asked).get(
            "Messages", []
        )
        for message in found:
            self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def one(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Wait for one message: its body and its attributes."""
        (message,) = until(self.messages)
        attributes = message.get("MessageAttributes", {})
        return json.loads(message["Body"]), {
            name: value["StringValue"] for name, value in attributes.items()
        }


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def zipped(code: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("app.py", code)
    return content.getvalue()


def until(look: Callable[[], T]) -> T:
    """Look until something is there."""
    end = time.monotonic() + LONGEST
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
