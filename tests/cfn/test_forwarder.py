"""The forwarder of a Region: it stands alone, and sends sign-ins to the bus in the home Region."""

from __future__ import annotations

import pytest

from tests.support.templates import installation, load, statements, text
from tooling.resolved_templates import ACCOUNT, REGION

pytestmark = pytest.mark.joint

BUS_ARN = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus"
BODY_MAX_BYTES = 51_200  # of a template in a request (CloudFormation quotas)


class TestForwarder:
    def test_it_is_one_rule_without_a_queue_and_an_alarm(self) -> None:
        assert list(installation()["forwarder"].resources) == ["ForwarderRule"]

    def test_it_fits_in_a_request_so_that_its_region_needs_no_bucket(self) -> None:
        assert len(text("forwarder").encode()) < BODY_MAX_BYTES

    @pytest.mark.parametrize("bus", ["default", "hub"])
    def test_it_sends_to_the_bus_of_the_rules_with_the_role_of_the_main_stack(
        self, bus: str
    ) -> None:
        rule = installation(EventBusName=bus)["forwarder"].properties("ForwarderRule")
        assert (rule["Name"], rule["EventBusName"]) == ("signwatch-forwarder", "default")
        (target,) = rule["Targets"]
        assert target == {
            "Id": "bus",
            "Arn": f"{BUS_ARN}/{bus}",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/signwatch-forwarder",
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
        }

    def test_it_makes_a_role_of_its_own_in_an_account_without_the_main_stack(self) -> None:
        role = load("forwarder")["Resources"]["OwnRole"]
        assert role["Condition"] == "HasOwnRole"
        assert role["Properties"]["RoleName"] == {
            "Fn::Sub": "${NamePrefix}-forwarder-${AWS::Region}"  # a role is global, a stack is not
        }
        (trust,) = statements(role["Properties"]["AssumeRolePolicyDocument"])
        own_account = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        assert trust["Condition"] == {"StringEqualsIfExists": own_account}
        (policy,) = role["Properties"]["Policies"]
        (statement,) = statements(policy["PolicyDocument"])
        assert statement["Action"] == ["events:PutEvents"]
        assert statement["Resource"] == [{"Ref": "EventBusArn"}]
