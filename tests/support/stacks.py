"""Helpers for tests of stacks on the local AWS emulator: deploy, wait, read events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.emulator import wait_until

if TYPE_CHECKING:
    from tests.support.emulator import EmulatorAccount

STACK = "AWS::CloudFormation::Stack"


@dataclass
class Stacks:
    """The stacks of one account; ``bucket`` holds the child templates."""

    account: EmulatorAccount
    client: Any = field(init=False)
    bucket: str = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.account.client("cloudformation")
        self.bucket = f"templates-{self.account.account_id}"
        location = {"LocationConstraint": self.account.region}
        s3 = self.account.client("s3")
        s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=location)

    def upload_child(self, key: str, resources: dict[str, Any], **sections: Any) -> str:
        """Upload a child template and return its URL in path style."""
        body = json.dumps({**sections, "Resources": resources})
        self.account.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"https://s3.{self.account.region}.amazonaws.com/{self.bucket}/{key}"

    def create(self, resources: dict[str, Any], name: str = "root", **options: Any) -> str:
        """Create a stack, wait for the end, and return its status."""
        body = _template(resources, options)
        self.client.create_stack(StackName=name, TemplateBody=body, **options)
        return self.wait_for_end(name)

    def update(self, resources: dict[str, Any], name: str = "root", **options: Any) -> str:
        body = _template(resources, options)
        self.client.update_stack(StackName=name, TemplateBody=body, **options)
        return self.wait_for_end(name)

    def delete(self, name: str = "root") -> str:
        stack_id = self.describe(name)["StackId"]
        self.client.delete_stack(StackName=name)
        return self.wait_for_end(stack_id)

    def wait_for_end(self, name: str) -> str:
        """Wait for the end of the operation and return the stack's status."""

        def final_status() -> str:
            status: str = self.describe(name)["StackStatus"]
            return "" if status.endswith("_IN_PROGRESS") else status

        return wait_until(final_status)

    def describe(self, name: str = "root") -> dict[str, Any]:
        stack: dict[str, Any] = self.client.describe_stacks(StackName=name)["Stacks"][0]
        return stack

    def outputs(self, name: str = "root") -> dict[str, str]:
        outputs = self.describe(name).get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def events(self, name: str = "root", resource: str = "") -> list[dict[str, Any]]:
        """Return the events of the stack, or of one resource, oldest first."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=name)
        events = [event for page in pages for event in page["StackEvents"]][::-1]
        return [event for event in events if resource in ("", event["LogicalResourceId"])]

    def statuses(self, name: str, resource: str) -> list[str]:
        return [event["ResourceStatus"] for event in self.events(name, resource)]

    def failure_reason(self, resource: str, name: str = "root") -> str:
        """Return why ``resource`` failed last; empty if it did not."""
        for event in reversed(self.events(name, resource)):
            if event["ResourceStatus"].endswith("_FAILED"):
                return str(event["ResourceStatusReason"])
        return ""

    def child_id(self, resource: str = "Child", name: str = "root") -> str:
        """Return the id of the newest child with this logical id, from the parent's events."""
        ids = [event.get("PhysicalResourceId") for event in self.events(name, resource)]
        return next(str(stack_id) for stack_id in reversed(ids) if stack_id)

    def queue_names(self) -> set[str]:
        """Return the names of all queues of the account."""
        urls = self.account.client("sqs").list_queues().get("QueueUrls", [])
        return {url.rpartition("/")[2] for url in urls}


def nested_stack(url: str, **parameters: Any) -> dict[str, Any]:
    """Return a child stack as a resource."""
    return {"Type": STACK, "Properties": {"TemplateURL": url, "Parameters": parameters}}


def resource(kind: str, deletion_policy: str = "", **properties: Any) -> dict[str, Any]:
    """Return a resource, with a DeletionPolicy if one is given."""
    attributes = {"DeletionPolicy": deletion_policy} if deletion_policy else {}
    return {"Type": kind, **attributes, "Properties": properties}


def _template(resources: dict[str, Any], options: dict[str, Any]) -> str:
    return json.dumps({**options.pop("sections", {}), "Resources": resources})
