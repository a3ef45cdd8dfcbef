"""CloudFormation requests on the local AWS emulator: parameters, capabilities, template URLs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import LAMBDA_TRUST
from tests.support.stacks import nested_stack, resource

if TYPE_CHECKING:
    from tests.support.stacks import Stacks

pytestmark = [pytest.mark.local]

QUEUE = "AWS::SQS::Queue"
NAMED_ROLE = resource("AWS::IAM::Role", AssumeRolePolicyDocument=LAMBDA_TRUST, RoleName="named")


def test_undeclared_parameter_is_refused(stacks: Stacks) -> None:
    extra = [{"ParameterKey": "Extra", "ParameterValue": "1"}]
    with pytest.raises(ClientError, match=r"Parameters: \[Extra\] do not exist in the template"):
        stacks.create({"Queue": resource(QUEUE)}, Parameters=extra)


def test_undeclared_parameter_of_a_change_set_is_refused(stacks: Stacks) -> None:
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


def test_undeclared_parameter_of_a_child_fails_the_parent(stacks: Stacks) -> None:
    url = stacks.upload_child("child.json", {"Queue": resource(QUEUE)})
    assert stacks.create({"Child": nested_stack(url, Extra="1")}) == "ROLLBACK_COMPLETE"
    assert "Parameters: [Extra] do not exist in the template" in stacks.failure_reason("Child")


def test_role_needs_the_capability_in_the_request(stacks: Stacks) -> None:
    with pytest.raises(ClientError, match="CAPABILITY_NAMED_IAM"):
        stacks.create({"Role": NAMED_ROLE})


def test_role_in_a_child_needs_the_capability_of_the_root(stacks: Stacks) -> None:
    url = stacks.upload_child("child.json", {"Role": NAMED_ROLE})
    assert stacks.create({"Child": nested_stack(url)}) == "ROLLBACK_COMPLETE"
    assert "CAPABILITY_NAMED_IAM" in stacks.failure_reason("Child")


def test_stack_with_termination_protection_is_not_deleted(stacks: Stacks) -> None:
    stacks.create(
        {"Queue": resource(QUEUE, QueueName="protected")}, EnableTerminationProtection=True
    )
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        stacks.client.delete_stack(StackName="root")
    assert stacks.queue_names() == {"protected"}
    stacks.client.update_termination_protection(StackName="root", EnableTerminationProtection=False)
    assert stacks.delete() == "DELETE_COMPLETE"


@pytest.mark.parametrize(
    "host", ["s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "s3-eu-west-1.amazonaws.com"]
)
def test_template_is_read_from_its_virtual_hosted_url(stacks: Stacks, host: str) -> None:
    """S3 user guide, "Virtual hosting of general purpose buckets"."""
    stacks.upload_child("folder/child.json", {"Queue": resource(QUEUE, QueueName="made")})
    url = f"https://{stacks.bucket}.{host}/folder/child.json"
    assert stacks.create({"Child": nested_stack(url)}) == "CREATE_COMPLETE"
    assert stacks.queue_names() == {"made"}
