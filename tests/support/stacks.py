"""Stacks on the local AWS emulator, deployed by a template's text or from templates in a bucket, and waited for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.emulator import until

if TYPE_CHECKING:
    from tests.support.emulator import EmulatorAccount

STACK = "AWS::CloudFormation::Stack"


@dataclass
class Stacks:
    """The stacks of one account; ``bucket`` holds the child templates."""

    laptop: EmulatorAccount
    client: Any = field(init=False)
    bucket: str = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.laptop.client("cloudformation")
        self.bucket = f"templates-{self.laptop.account}"
        location = {"LocationConstraint": self.laptop.region}
        self.laptop.client("s3").create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration=location
        )

    def child(self, key: str, resources: dict[str, Any], **sections: Any) -> str:
        """Upload a child template and return its URL in path style."""
        body = json.dumps({**sections, "Resources": resources})
        self.laptop.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"https://s3.{self.laptop.region}.amazonaws.com/{self.bucket}/{key}"

    def create(self, resources: dict[str, Any], name: str = "root", **more: Any) -> str:
        """Create a stack, wait for the end of the creation, and return its status."""
        self.client.create_stack(StackName=name, TemplateBody=_template(resources, more), **more)
        return self.ended(name)

    def update(self, resources: dict[str, Any], name: str = "root", **more: Any) -> str:
        self.client.update_stack(StackName=name, TemplateBody=_template(resources, more), **more)
        return self.ended(name)

    def delete(self, name: str = "root") -> str:
        stack_id = self.describe(name)["StackId"]
        self.client.delete_stack(StackName=name)
        return self.ended(stack_id)

    def ended(self, name: str) -> str:
        def status() -> str:
            found: str = self.describe(name)["StackStatus"]
            return "" if found.endswith("_IN_PROGRESS") else found

        return until(status)

    def describe(self, name: str = "root") -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_stacks(StackName=name)["Stacks"][0]
        return found

    def outputs(self, name: str = "root") -> dict[str, str]:
        return {
            item["OutputKey"]: item["OutputValue"]
            for item in self.describe(name).get("Outputs", [])
        }

    def events(self, name: str = "root") -> list[dict[str, Any]]:
        """All events of the stack, oldest first."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=name)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def statuses(self, name: str, resource: str) -> list[str]:
        return [
            event["ResourceStatus"]
            for event in self.events(name)
            if event["LogicalResourceId"] == resource
        ]

    def reason(self, resource: str, name: str = "root") -> str:
        """Return why ``resource`` failed last."""
        failed = [
            event["ResourceStatusReason"]
            for event in self.events(name)
            if event["LogicalResourceId"] == resource
            and event["ResourceStatus"].endswith("_FAILED")
        ]
        return str(failed[-1]) if failed else ""

    def child_id(self, resource: str = "Child", name: str = "root") -> str:
        """Return the id of the newest child under this logical id, as the parent's events tell it."""
        ids = [
            event.get("PhysicalResourceId")
            for event in self.events(name)
            if event["LogicalResourceId"] == resource
        ]
        return next(str(stack_id) for stack_id in reversed(ids) if stack_id)


def nested(url: str, **parameters: Any) -> dict[str, Any]:
    """A child stack as a resource."""
    return {"Type": STACK, "Properties": {"TemplateURL": url, "Parameters": parameters}}


def resource(kind: str, policy: str = "", **properties: Any) -> dict[str, Any]:
    """A resource, with a DeletionPolicy if one is given."""
    kept = {"DeletionPolicy": policy} if policy else {}
    return {"Type": kind, **kept, "Properties": properties}


def _template(resources: dict[str, Any], more: dict[str, Any]) -> str:
    return json.dumps({**more.pop("sections", {}), "Resources": resources})
