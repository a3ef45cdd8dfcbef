"""Helpers for tests on the local AWS emulator: accounts, clients, waiting, small resources."""

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

    from tooling.deploy.account import Account
    from tooling.local.emulator import Emulator

T = TypeVar("T")
REGION = "eu-west-1"
WAIT_TIMEOUT_SECONDS = 20.0
LAMBDA_TRUST = {
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
    account_id: str
    region: str = REGION

    @classmethod
    def on(cls, emulator: Emulator) -> EmulatorAccount:
        return cls(emulator, str(10**11 + secrets.randbelow(9 * 10**11)))

    def client(
        self, service: str, *, region: str = "", key: Mapping[str, str] | None = None
    ) -> Any:
        """Return a client of the root user, or of the ``Credentials`` of an AssumeRole response."""
        key = key or {"AccessKeyId": self.account_id, "SecretAccessKey": "test"}
        return boto3.client(
            service,
            endpoint_url=self.emulator.endpoint,
            region_name=region or self.region,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            aws_session_token=key.get("SessionToken"),
        )

    def assume_role(self, role_arn: str, session_name: str = "test") -> Any:
        """Return the ``Credentials`` of a session of the role."""
        sts = self.client("sts")
        return sts.assume_role(RoleArn=role_arn, RoleSessionName=session_name)["Credentials"]

    def make_event(
        self, name: str = "ConsoleLogin", source: str = "signin", **detail: Any
    ) -> dict[str, Any]:
        """Return an event as AWS emits it, by default a console sign-in via CloudTrail."""
        record = {
            "eventVersion": "1.08",
            "eventID": str(uuid.uuid4()),
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "userIdentity": {"type": "IAMUser", "userName": "anna"},
            "awsRegion": self.region,
        }
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "AWS Console Sign In via CloudTrail",
            "source": f"aws.{source}",
            "account": self.account_id,
            "region": self.region,
            "resources": [],
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {**record, **detail},
        }

    def create_trail(
        self, *, multi_region: bool = True, logging: bool = True, region: str = ""
    ) -> tuple[str, str]:
        """Create a trail with its bucket; return the names of both."""
        cloudtrail = self.client("cloudtrail", region=region)
        s3 = self.client("s3", region="us-east-1")
        name, bucket = f"trail-{uuid.uuid4().hex[:8]}", f"records-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=bucket)
        arn = f"arn:aws:cloudtrail:{region or self.region}:{self.account_id}:trail/{name}"
        allow = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
        source = {"aws:SourceArn": arn}
        source_and_acl = {**source, "s3:x-amz-acl": "bucket-owner-full-control"}
        read_acl = {
            **allow,
            "Action": "s3:GetBucketAcl",
            "Resource": f"arn:aws:s3:::{bucket}",
            "Condition": {"StringEquals": source},
        }
        write = {
            **allow,
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{bucket}/AWSLogs/{self.account_id}/*",
            "Condition": {"StringEquals": source_and_acl},
        }
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(read_acl, write))
        cloudtrail.create_trail(Name=name, S3BucketName=bucket, IsMultiRegionTrail=multi_region)
        if logging:
            cloudtrail.start_logging(Name=name)
        return name, bucket

    def create_rule(
        self,
        name: str,
        target: str,
        *,
        state: str = "ENABLED",
        dead_letters: str = "",
        **pattern: Any,
    ) -> str:
        """Create a rule with one target on the default bus; return its ARN."""
        events = self.client("events")
        text = json.dumps(pattern or {"source": ["aws.signin"]})
        arn: str = events.put_rule(Name=name, EventPattern=text, State=state)["RuleArn"]
        options = {"DeadLetterConfig": {"Arn": dead_letters}} if dead_letters else {}
        events.put_targets(Rule=name, Targets=[{"Id": "target", "Arn": target, **options}])
        return arn

    def create_queue(self, *, writer: str = "events.amazonaws.com") -> Queue:
        """Create a queue that the service may write to; with an empty ``writer``, none may."""
        return create_queue(self.client("sqs"), f"queue-{uuid.uuid4().hex[:8]}", writer)

    def create_role(self, *statements: dict[str, Any], path: str = "/") -> str:
        """Create a role for Lambda with these permissions; return its ARN."""
        iam, name, trust = self.client("iam"), f"role-{uuid.uuid4().hex[:8]}", LAMBDA_TRUST
        role = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
        arn: str = role["Role"]["Arn"]
        return arn

    def create_function(self, name: str, code: str, role: str, **options: Any) -> str:
        """Create a function with ``handler`` in module ``app``; return its ARN when active."""
        client = self.client("lambda")
        function = client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="app.handler",
            Role=role,
            Code={"ZipFile": zip_module(code)},
            **{"Timeout": 10, **options},
        )
        arn: str = function["FunctionArn"]
        wait_until(
            lambda: client.get_function_configuration(FunctionName=name)["State"] == "Active"
        )
        return arn

    def log_lines(self, group: str) -> list[str]:
        """Return every line of a log group; none when there is no such group."""
        logs = self.client("logs")
        try:
            events = logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events]


@dataclass(frozen=True)
class Queue:
    client: Any
    url: str
    arn: str

    def take_messages(self) -> list[dict[str, Any]]:
        """Remove and return the visible messages."""
        options = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        response = self.client.receive_message(QueueUrl=self.url, WaitTimeSeconds=0, **options)
        messages: list[dict[str, Any]] = response.get("Messages", [])
        for message in messages:
            self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def wait_for_message(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Wait for exactly one message; return its body and its attributes."""
        (message,) = wait_until(self.take_messages)
        attributes = message.get("MessageAttributes", {})
        texts = {name: value["StringValue"] for name, value in attributes.items()}
        return json.loads(message["Body"]), texts


def create_queue(sqs: Any, name: str, writer: str) -> Queue:
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    response = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue = Queue(sqs, url, response["Attributes"]["QueueArn"])
    if writer:
        principal = {"Service": writer}
        allow = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage"}
        attributes = {"Policy": policy({**allow, "Resource": queue.arn})}
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return queue


def subscribe_mailbox(aws: Account, topic_arn: str) -> Queue:
    """Return a queue that gets what an e-mail subscriber of the topic gets."""
    queue = create_queue(aws.client("sqs"), "mailbox", "sns.amazonaws.com")
    aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue.arn)
    return queue


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def zip_module(code: str, name: str = "app.py") -> bytes:
    """Return a zip with one module."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, code)
    return content.getvalue()


def wait_until(find: Callable[[], T]) -> T:
    """Call ``find`` until it returns something, and return that."""
    end = time.monotonic() + WAIT_TIMEOUT_SECONDS
    while not (result := find()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return result
