"""Nested stacks on the local AWS emulator: creation, update, rollback, deletion, events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stacks import STACK, nested_stack, resource

if TYPE_CHECKING:
    from tests.support.stacks import Stacks

pytestmark = [pytest.mark.local]

QUEUE, BUCKET = "AWS::SQS::Queue", "AWS::S3::Bucket"
TEXT = {"Type": "String"}


def attribute(name: str, key: str = "Arn") -> dict[str, Any]:
    return {"Value": {"Fn::GetAtt": [name, key]}}


def visibility_timeout(stacks: Stacks, queue_name: str) -> str:
    sqs = stacks.account.client("sqs")
    url = sqs.get_queue_url(QueueName=queue_name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return str(attributes["VisibilityTimeout"])


def bucket_names(stacks: Stacks) -> list[str]:
    return [bucket["Name"] for bucket in stacks.account.client("s3").list_buckets()["Buckets"]]


def test_description_of_a_child_has_its_parent_and_root(stacks: Stacks) -> None:
    leaf = stacks.upload_child("leaf.json", {"Queue": resource(QUEUE)})
    middle = stacks.upload_child("middle.json", {"Leaf": nested_stack(leaf)})
    stacks.create({"Child": nested_stack(middle)})
    root, child = stacks.describe()["StackId"], stacks.describe(stacks.child_id())
    grandchild = stacks.describe(stacks.child_id("Leaf", child["StackId"]))
    assert (child["ParentId"], child["RootId"]) == (root, root)
    assert (grandchild["ParentId"], grandchild["RootId"]) == (child["StackId"], root)
    assert "ParentId" not in stacks.describe()


def test_update_of_a_child_keeps_the_attributes_of_unchanged_resources(stacks: Stacks) -> None:
    sections = {"Parameters": {"Wait": TEXT}, "Outputs": {"Arn": attribute("Kept")}}
    changed = resource(QUEUE, QueueName="changed", VisibilityTimeout={"Ref": "Wait"})
    url = stacks.upload_child(
        "child.json", {"Kept": resource(QUEUE, QueueName="kept"), "Changed": changed}, **sections
    )
    outputs = {"Outputs": {"Arn": attribute("Child", "Outputs.Arn")}}
    stacks.create({"Child": nested_stack(url, Wait="10")}, sections=outputs)
    before, child = stacks.outputs(), stacks.child_id()
    changed_child = {"Child": nested_stack(url, Wait="20")}
    assert stacks.update(changed_child, sections=outputs) == "UPDATE_COMPLETE"
    assert before["Arn"].endswith(":kept")
    assert stacks.outputs() == before
    assert stacks.child_id() == child
    assert visibility_timeout(stacks, "changed") == "20"


def test_child_with_the_same_template_at_another_url_is_not_updated(stacks: Stacks) -> None:
    resources = {"Queue": resource(QUEUE)}
    first = stacks.upload_child("1/child.json", resources)
    second = stacks.upload_child("2/child.json", resources)
    stacks.create({"Child": nested_stack(first)})
    before = stacks.events(stacks.child_id())
    assert stacks.update({"Child": nested_stack(second)}) == "UPDATE_COMPLETE"
    assert stacks.events(stacks.child_id()) == before


def test_child_that_fails_to_create_is_removed_and_named_with_its_resource(
    stacks: Stacks,
) -> None:
    stacks.account.client("sqs").create_queue(QueueName="taken")
    taken = {**resource(QUEUE, QueueName="taken"), "DependsOn": "First"}
    kept = resource(BUCKET, "RetainExceptOnCreate", BucketName=f"kept-{stacks.account.account_id}")
    url = stacks.upload_child(
        "child.json", {"First": resource(QUEUE, QueueName="first"), "Bucket": kept, "Taken": taken}
    )
    assert stacks.create({"Child": nested_stack(url)}) == "ROLLBACK_COMPLETE"
    failed = [event for event in stacks.events() if event["ResourceStatus"] == "CREATE_FAILED"]
    assert [event["LogicalResourceId"] for event in failed] == ["Child"]
    child = failed[0]["PhysicalResourceId"]
    reason = failed[0]["ResourceStatusReason"]
    assert f"Embedded stack {child} was not successfully created" in reason
    assert "failed to create: [Taken]" in reason
    assert "already exists" in stacks.failure_reason("Taken", child)
    assert stacks.describe(child)["StackStatus"] == "DELETE_COMPLETE"
    assert stacks.queue_names() == {"taken"}
    assert bucket_names(stacks) == [stacks.bucket]


def test_new_child_is_removed_when_a_later_one_fails(stacks: Stacks) -> None:
    name = f"kept-{stacks.account.account_id}"
    first = stacks.upload_child(
        "first.json", {"Bucket": resource(BUCKET, "RetainExceptOnCreate", BucketName=name)}
    )
    second = stacks.upload_child("second.json", {"Bad": resource(BUCKET, BucketName=stacks.bucket)})
    resources = {
        "First": nested_stack(first),
        "Second": {**nested_stack(second), "DependsOn": "First"},
    }
    assert stacks.create(resources) == "ROLLBACK_COMPLETE"
    assert bucket_names(stacks) == [stacks.bucket]
    assert stacks.describe(stacks.child_id("First"))["StackStatus"] == "DELETE_COMPLETE"


def test_child_that_fails_to_update_is_rolled_back(stacks: Stacks) -> None:
    stacks.account.client("sqs").create_queue(QueueName="taken")
    sections = {"Outputs": {"Arn": attribute("Kept")}}
    kept = resource(QUEUE, QueueName="kept", VisibilityTimeout=10)
    before = stacks.upload_child("1.json", {"Kept": kept}, **sections)
    changed = resource(QUEUE, QueueName="kept", VisibilityTimeout=20)
    taken = {**resource(QUEUE, QueueName="taken"), "DependsOn": "New"}
    new = {**resource(QUEUE, QueueName="new"), "DependsOn": "Kept"}
    after = stacks.upload_child("2.json", {"Kept": changed, "New": new, "Taken": taken}, **sections)
    outputs = {"Outputs": {"Arn": attribute("Child", "Outputs.Arn")}}
    stacks.create({"Child": nested_stack(before)}, sections=outputs)
    outputs_before = stacks.outputs()
    failing_child = {"Child": nested_stack(after)}
    assert stacks.update(failing_child, sections=outputs) == "UPDATE_ROLLBACK_COMPLETE"
    child, reason = stacks.child_id(), stacks.failure_reason("Child")
    assert f"Embedded stack {child} was not successfully updated" in reason
    assert "failed to create: [Taken]" in reason or "failed to update: [Taken]" in reason
    assert "already exists" in stacks.failure_reason("Taken", child)
    assert stacks.describe(child)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert stacks.queue_names() == {"taken", "kept"}
    assert stacks.outputs() == outputs_before
    assert visibility_timeout(stacks, "kept") == "10"
    resources = {"Child": nested_stack(before), "More": resource(QUEUE)}
    assert stacks.update(resources, sections=outputs) == "UPDATE_COMPLETE"


def test_updated_child_is_rolled_back_when_a_later_one_fails(stacks: Stacks) -> None:
    sections = {"Parameters": {"Wait": TEXT}}
    waiting = resource(QUEUE, QueueName="waiting", VisibilityTimeout={"Ref": "Wait"})
    url = stacks.upload_child("child.json", {"Queue": waiting}, **sections)
    bad = stacks.upload_child("bad.json", {"Bad": resource(BUCKET, BucketName=stacks.bucket)})
    stacks.create({"Child": nested_stack(url, Wait="10")})
    later = {**nested_stack(bad), "DependsOn": "Child"}
    resources = {"Child": nested_stack(url, Wait="20"), "Later": later}
    assert stacks.update(resources) == "UPDATE_ROLLBACK_COMPLETE"
    assert visibility_timeout(stacks, "waiting") == "10"
    assert stacks.describe(stacks.child_id())["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"


@pytest.mark.parametrize("policy", ["Retain", "RetainExceptOnCreate"])
def test_deletion_skips_what_a_child_retains(stacks: Stacks, policy: str) -> None:
    """CloudFormation user guide, DeletionPolicy attribute."""
    url = stacks.upload_child(
        "c.json", {"Kept": resource(QUEUE, policy, QueueName="kept"), "Gone": resource(QUEUE)}
    )
    stacks.create({"Child": nested_stack(url)})
    child = stacks.child_id()
    assert stacks.delete() == "DELETE_COMPLETE"
    assert stacks.statuses(child, "Kept")[-1] == "DELETE_SKIPPED"
    assert stacks.statuses(child, "Gone")[-1] == "DELETE_COMPLETE"
    assert stacks.describe(child)["StackStatus"] == "DELETE_COMPLETE"
    assert stacks.queue_names() == {"kept"}


def test_full_bucket_in_a_child_fails_the_deletion_until_it_is_empty(stacks: Stacks) -> None:
    name = f"full-{stacks.account.account_id}"
    s3 = stacks.account.client("s3")
    url = stacks.upload_child("child.json", {"Bucket": resource(BUCKET, BucketName=name)})
    stacks.create({"Child": nested_stack(url)})
    s3.put_object(Bucket=name, Key="object", Body=b"1")
    assert stacks.delete() == "DELETE_FAILED"
    assert "not empty" in stacks.failure_reason("Bucket", stacks.child_id())
    assert s3.get_object(Bucket=name, Key="object")["Body"].read() == b"1"
    s3.delete_object(Bucket=name, Key="object")
    assert stacks.delete() == "DELETE_COMPLETE"


def test_bucket_with_old_versions_only_is_not_empty(stacks: Stacks) -> None:
    name, s3 = f"full-{stacks.account.account_id}", stacks.account.client("s3")
    versioned = resource(BUCKET, BucketName=name, VersioningConfiguration={"Status": "Enabled"})
    stacks.create({"Bucket": versioned})
    s3.put_object(Bucket=name, Key="object", Body=b"1")
    s3.delete_object(Bucket=name, Key="object")
    assert stacks.delete() == "DELETE_FAILED"


def test_parents_events_have_the_childs_id_during_the_creation(stacks: Stacks) -> None:
    """Watching a deploy follows these ids."""
    url = stacks.upload_child("child.json", {"Queue": resource(QUEUE)})
    stacks.create({"Child": nested_stack(url)})
    events = stacks.events(resource="Child")
    assert {event["ResourceType"] for event in events} == {STACK}
    start = next(event for event in events if event.get("PhysicalResourceId"))
    assert start["ResourceStatus"] == "CREATE_IN_PROGRESS"
    statuses = stacks.statuses(start["PhysicalResourceId"], "Queue")
    assert statuses == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
