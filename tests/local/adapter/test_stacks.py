"""CloudFormation on the local AWS emulator: what it refuses, and how a tree of stacks is made, changed and deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount
from tests.support.stacks import STACK, Stacks, nested, resource

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

QUEUE, TABLE, BUCKET = "AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::S3::Bucket"
TEXT = {"Type": "String"}
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


@pytest.fixture
def stacks(emulator: Emulator) -> Stacks:
    return Stacks(EmulatorAccount.on(emulator))


def attribute(name: str, key: str = "Arn") -> dict[str, Any]:
    return {"Value": {"Fn::GetAtt": [name, key]}}


def queues(stacks: Stacks) -> set[str]:
    urls = stacks.laptop.client("sqs").list_queues().get("QueueUrls", [])
    return {url.rpartition("/")[2] for url in urls}


def role(**properties: Any) -> dict[str, Any]:
    return resource("AWS::IAM::Role", AssumeRolePolicyDocument=TRUST, **properties)


# --- the request -----------------------------------------------------------------------------------------------------


def test_a_parameter_that_the_template_does_not_declare_is_refused(stacks: Stacks) -> None:
    extra = [{"ParameterKey": "Extra", "ParameterValue": "1"}]
    with pytest.raises(ClientError, match=r"Parameters: \[Extra\] do not exist in the template"):
        stacks.create({"Queue": resource(QUEUE)}, Parameters=extra)


def test_a_change_set_with_such_a_parameter_is_refused_too(stacks: Stacks) -> None:
    body = json.dumps({"Resources": {"Queue": resource(QUEUE)}})
    extra = [{"ParameterKey": "Extra", "ParameterValue": "1"}]
    with pytest.raises(ClientError, match="do not exist in the template"):
        stacks.client.create_change_set(
            StackName="root",
            ChangeSetName="one",
            ChangeSetType="CREATE",
            TemplateBody=body,
            Parameters=extra,
        )


def test_a_parent_that_gives_a_child_an_undeclared_parameter_fails(stacks: Stacks) -> None:
    url = stacks.child("child.json", {"Queue": resource(QUEUE)})
    assert stacks.create({"Child": nested(url, Extra="1")}) == "ROLLBACK_COMPLETE"
    assert "Parameters: [Extra] do not exist in the template" in stacks.reason("Child")


def test_a_role_needs_the_capability_in_the_request(stacks: Stacks) -> None:
    with pytest.raises(ClientError, match="CAPABILITY_NAMED_IAM"):
        stacks.create({"Role": role(RoleName="named")})


def test_a_role_in_a_child_needs_the_capability_of_the_root(stacks: Stacks) -> None:
    url = stacks.child("child.json", {"Role": role(RoleName="named")})
    assert stacks.create({"Child": nested(url)}) == "ROLLBACK_COMPLETE"
    assert "CAPABILITY_NAMED_IAM" in stacks.reason("Child")


def test_a_stack_with_termination_protection_is_not_deleted(stacks: Stacks) -> None:
    stacks.create(
        {"Queue": resource(QUEUE, QueueName="protected")}, EnableTerminationProtection=True
    )
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        stacks.client.delete_stack(StackName="root")
    assert queues(stacks) == {"protected"}
    stacks.client.update_termination_protection(StackName="root", EnableTerminationProtection=False)
    assert stacks.delete() == "DELETE_COMPLETE"


@pytest.mark.parametrize(
    "host", ["s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "s3-eu-west-1.amazonaws.com"]
)
def test_a_template_is_found_by_its_virtual_hosted_url(stacks: Stacks, host: str) -> None:
    """S3 user guide, "Virtual hosting of general purpose buckets"."""
    stacks.child("folder/child.json", {"Queue": resource(QUEUE, QueueName="made")})
    url = f"https://{stacks.bucket}.{host}/folder/child.json"
    assert stacks.create({"Child": nested(url)}) == "CREATE_COMPLETE"
    assert queues(stacks) == {"made"}


# --- children --------------------------------------------------------------------------------------------------------


def test_a_child_says_who_its_parent_and_its_root_are(stacks: Stacks) -> None:
    leaf = stacks.child("leaf.json", {"Queue": resource(QUEUE)})
    middle = stacks.child("middle.json", {"Leaf": nested(leaf)})
    stacks.create({"Child": nested(middle)})
    root, child = stacks.describe()["StackId"], stacks.describe(stacks.child_id())
    grandchild = stacks.describe(stacks.child_id("Leaf", child["StackId"]))
    assert (child["ParentId"], child["RootId"]) == (root, root)
    assert (grandchild["ParentId"], grandchild["RootId"]) == (child["StackId"], root)
    assert "ParentId" not in stacks.describe()


def test_an_update_of_a_child_keeps_the_attributes_of_what_does_not_change(stacks: Stacks) -> None:
    sections = {"Parameters": {"Wait": TEXT}, "Outputs": {"Arn": attribute("Kept")}}
    changed = resource(QUEUE, QueueName="changed", VisibilityTimeout={"Ref": "Wait"})
    url = stacks.child(
        "child.json", {"Kept": resource(QUEUE, QueueName="kept"), "Changed": changed}, **sections
    )
    outputs = {"Outputs": {"Arn": attribute("Child", "Outputs.Arn")}}
    stacks.create({"Child": nested(url, Wait="10")}, sections=outputs)
    before, child = stacks.outputs(), stacks.child_id()
    assert stacks.update({"Child": nested(url, Wait="20")}, sections=outputs) == "UPDATE_COMPLETE"
    assert before["Arn"].endswith(":kept")
    assert stacks.outputs() == before
    assert stacks.child_id() == child
    queue = stacks.laptop.client("sqs")
    wait = queue.get_queue_attributes(
        QueueUrl=queue.get_queue_url(QueueName="changed")["QueueUrl"], AttributeNames=["All"]
    )
    assert wait["Attributes"]["VisibilityTimeout"] == "20"


def test_a_child_whose_template_only_moved_is_left_alone(stacks: Stacks) -> None:
    resources = {"Queue": resource(QUEUE)}
    first, second = stacks.child("1/child.json", resources), stacks.child("2/child.json", resources)
    stacks.create({"Child": nested(first)})
    before = stacks.events(stacks.child_id())
    assert stacks.update({"Child": nested(second)}) == "UPDATE_COMPLETE"
    assert stacks.events(stacks.child_id()) == before


def test_a_child_that_fails_at_the_start_leaves_nothing_and_is_named_with_its_resource(
    stacks: Stacks,
) -> None:
    stacks.laptop.client("sqs").create_queue(QueueName="taken")
    taken = {**resource(QUEUE, QueueName="taken"), "DependsOn": "First"}
    kept = resource(BUCKET, "RetainExceptOnCreate", BucketName=f"kept-{stacks.laptop.account}")
    url = stacks.child(
        "child.json", {"First": resource(QUEUE, QueueName="first"), "Bucket": kept, "Taken": taken}
    )
    assert stacks.create({"Child": nested(url)}) == "ROLLBACK_COMPLETE"
    failed = [event for event in stacks.events() if event["ResourceStatus"] == "CREATE_FAILED"]
    assert [event["LogicalResourceId"] for event in failed] == ["Child"]
    child = failed[0]["PhysicalResourceId"]
    assert (
        f"Embedded stack {child} was not successfully created" in failed[0]["ResourceStatusReason"]
    )
    assert "failed to create: [Taken]" in failed[0]["ResourceStatusReason"]
    assert "already exists" in stacks.reason("Taken", child)
    assert stacks.describe(child)["StackStatus"] == "DELETE_COMPLETE"
    assert queues(stacks) == {"taken"}
    names = [bucket["Name"] for bucket in stacks.laptop.client("s3").list_buckets()["Buckets"]]
    assert names == [stacks.bucket]


def test_a_child_that_was_made_is_undone_when_a_later_one_fails(stacks: Stacks) -> None:
    name = f"kept-{stacks.laptop.account}"
    first = stacks.child(
        "first.json", {"Bucket": resource(BUCKET, "RetainExceptOnCreate", BucketName=name)}
    )
    second = stacks.child("second.json", {"Bad": resource(BUCKET, BucketName=stacks.bucket)})
    resources = {"First": nested(first), "Second": {**nested(second), "DependsOn": "First"}}
    assert stacks.create(resources) == "ROLLBACK_COMPLETE"
    names = [bucket["Name"] for bucket in stacks.laptop.client("s3").list_buckets()["Buckets"]]
    assert names == [stacks.bucket]
    assert stacks.describe(stacks.child_id("First"))["StackStatus"] == "DELETE_COMPLETE"


def test_a_child_that_fails_on_an_update_goes_back_to_what_it_was(stacks: Stacks) -> None:
    stacks.laptop.client("sqs").create_queue(QueueName="taken")
    sections = {"Outputs": {"Arn": attribute("Kept")}}
    kept = resource(QUEUE, QueueName="kept", VisibilityTimeout=10)
    before = stacks.child("1.json", {"Kept": kept}, **sections)
    changed = {**resource(QUEUE, QueueName="kept", VisibilityTimeout=20)}
    taken = {**resource(QUEUE, QueueName="taken"), "DependsOn": "New"}
    new = {**resource(QUEUE, QueueName="new"), "DependsOn": "Kept"}
    after = stacks.child("2.json", {"Kept": changed, "New": new, "Taken": taken}, **sections)
    outputs = {"Outputs": {"Arn": attribute("Child", "Outputs.Arn")}}
    stacks.create({"Child": nested(before)}, sections=outputs)
    was = stacks.outputs()
    assert stacks.update({"Child": nested(after)}, sections=outputs) == "UPDATE_ROLLBACK_COMPLETE"
    child = stacks.child_id()
    assert f"Embedded stack {child} was not successfully updated" in stacks.reason("Child")
    assert "failed to create: [Taken]" in stacks.reason(
        "Child"
    ) or "failed to update: [Taken]" in stacks.reason("Child")
    assert "already exists" in stacks.reason("Taken", child)
    assert stacks.describe(child)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert queues(stacks) == {"taken", "kept"}
    assert stacks.outputs() == was
    sqs = stacks.laptop.client("sqs")
    url = sqs.get_queue_url(QueueName="kept")["QueueUrl"]
    assert (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"][
            "VisibilityTimeout"
        ]
        == "10"
    )
    assert (
        stacks.update({"Child": nested(before), "More": resource(QUEUE)}, sections=outputs)
        == "UPDATE_COMPLETE"
    )


def test_a_child_that_was_updated_goes_back_when_a_later_one_fails(stacks: Stacks) -> None:
    sections = {"Parameters": {"Wait": TEXT}}
    waiting = resource(QUEUE, QueueName="waiting", VisibilityTimeout={"Ref": "Wait"})
    url = stacks.child("child.json", {"Queue": waiting}, **sections)
    bad = stacks.child("bad.json", {"Bad": resource(BUCKET, BucketName=stacks.bucket)})
    stacks.create({"Child": nested(url, Wait="10")})
    later = {**nested(bad), "DependsOn": "Child"}
    assert (
        stacks.update({"Child": nested(url, Wait="20"), "Later": later})
        == "UPDATE_ROLLBACK_COMPLETE"
    )
    sqs = stacks.laptop.client("sqs")
    address = sqs.get_queue_url(QueueName="waiting")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=address, AttributeNames=["All"])["Attributes"]
    assert found["VisibilityTimeout"] == "10"
    assert stacks.describe(stacks.child_id())["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"


@pytest.mark.parametrize("policy", ["Retain", "RetainExceptOnCreate"])
def test_deleting_a_tree_keeps_what_a_child_retains_and_says_so(
    stacks: Stacks, policy: str
) -> None:
    """CloudFormation user guide, DeletionPolicy attribute."""
    url = stacks.child(
        "c.json", {"Kept": resource(QUEUE, policy, QueueName="kept"), "Gone": resource(QUEUE)}
    )
    stacks.create({"Child": nested(url)})
    child = stacks.child_id()
    assert stacks.delete() == "DELETE_COMPLETE"
    assert stacks.statuses(child, "Kept")[-1] == "DELETE_SKIPPED"
    assert stacks.statuses(child, "Gone")[-1] == "DELETE_COMPLETE"
    assert stacks.describe(child)["StackStatus"] == "DELETE_COMPLETE"
    assert queues(stacks) == {"kept"}


def test_a_full_bucket_in_a_child_fails_the_deletion_until_it_is_empty(stacks: Stacks) -> None:
    name = f"full-{stacks.laptop.account}"
    s3 = stacks.laptop.client("s3")
    stacks.create(
        {"Child": nested(stacks.child("child.json", {"Bucket": resource(BUCKET, BucketName=name)}))}
    )
    s3.put_object(Bucket=name, Key="object", Body=b"1")
    assert stacks.delete() == "DELETE_FAILED"
    assert "not empty" in stacks.reason("Bucket", stacks.child_id())
    assert s3.get_object(Bucket=name, Key="object")["Body"].read() == b"1"
    s3.delete_object(Bucket=name, Key="object")
    assert stacks.delete() == "DELETE_COMPLETE"


def test_a_versioned_bucket_with_old_versions_alone_is_full_too(stacks: Stacks) -> None:
    name, s3 = f"full-{stacks.laptop.account}", stacks.laptop.client("s3")
    versioned = resource(BUCKET, BucketName=name, VersioningConfiguration={"Status": "Enabled"})
    stacks.create({"Bucket": versioned})
    s3.put_object(Bucket=name, Key="object", Body=b"1")
    s3.delete_object(Bucket=name, Key="object")
    assert stacks.delete() == "DELETE_FAILED"


def test_the_events_of_a_tree_lead_to_every_child_while_it_is_made(stacks: Stacks) -> None:
    """Watching a deploy follows these ids, so the first event of a child in its parent must carry one."""
    stacks.create({"Child": nested(stacks.child("child.json", {"Queue": resource(QUEUE)}))})
    own = [event for event in stacks.events() if event["LogicalResourceId"] == "Child"]
    assert {event["ResourceType"] for event in own} == {STACK}
    started = next(event for event in own if event.get("PhysicalResourceId"))
    assert started["ResourceStatus"] == "CREATE_IN_PROGRESS"
    assert stacks.statuses(started["PhysicalResourceId"], "Queue") == [
        "CREATE_IN_PROGRESS",
        "CREATE_COMPLETE",
    ]
