"""The parent: the only template that wires stacks and checks values."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from signwatch.detection import verdict
from tests.support.templates import installation, load
from tooling.resolved_templates import (
    ACCOUNT,
    REGION,
    REQUIRED_VALUES,
    STACK,
    get_template_name,
    walk,
)

pytestmark = pytest.mark.joint

CHILDREN = {
    name: body for name, body in load("parent")["Resources"].items() if body["Type"] == STACK
}
PARAMETERS = load("parent")["Parameters"]
DEFAULTS = {
    "KnownNetworks": "",
    "AllowedVpcEndpointIds": "",
    "AccountLabel": "",
    "AccountLabels": "",
    "AlertOff": "",
    "AlertOn": "",
    "TimeZone": "",
    "TextsAnHour": 20,
    "IdentityStoreKeyArn": "",
    "LogRetentionDays": 365,
    "TrailMode": "create",
    "TrailLogGroupMode": "create",
    "TrailLogGroupName": "",
    "ReservedConcurrency": "0",
    "TwilioBaseUrl": "https://api.twilio.com",
    "EventBusName": "default",
    "OrganizationId": "",
}
# Those of CloudWatch Logs without the ones below 30 days.
RETENTION_DAYS = "30 60 90 120 150 180 365 400 545 731 1096 1827 2192 2557 2922 3288 3653"
CHILD_OUTPUTS = {  # the values that AWS invents, the only ones that the parent reads
    ("FoundationStack", "MainKeyArn"),
    ("FoundationStack", "TwilioSecretArn"),
    ("CloudtrailStack", "TrailBucketName"),
}


def outputs_read(body: Any) -> set[tuple[str, str]]:
    """The child and the output of each value that is read below ``body``."""
    nodes = [node for node in walk(body) if isinstance(node, dict) and "Fn::GetAtt" in node]
    attributes = [node["Fn::GetAtt"] for node in nodes]
    return {(name, attribute.removeprefix("Outputs.")) for name, attribute in attributes}


def dependencies(child: str) -> set[str]:
    """The children that must exist first: by DependsOn, or because an output of them is read."""
    names = {name for name, _ in outputs_read(CHILDREN[child])}
    return names | set(filter(None, [CHILDREN[child].get("DependsOn")]))


class TestChildren:
    def test_parent_has_only_its_five_children(self) -> None:
        order = [
            "FoundationStack",
            "LambdaStack",
            "CloudtrailStack",
            "EventbridgeStack",
            "AlarmsStack",
        ]
        assert list(load("parent")["Resources"]) == order
        assert list(CHILDREN) == order

    def test_each_child_depends_on_the_one_before_it(self) -> None:
        order = list(CHILDREN)
        assert dependencies(order[0]) == set()
        for before, name in itertools.pairwise(order):
            assert before in dependencies(name)

    @pytest.mark.parametrize("child", CHILDREN)
    def test_child_gets_exactly_the_parameters_that_it_declares(self, child: str) -> None:
        declared = load(get_template_name(child))["Parameters"]
        assert set(CHILDREN[child]["Properties"]["Parameters"]) == set(declared)

    @pytest.mark.parametrize("child", CHILDREN)
    def test_childs_template_is_in_the_folder_named_by_the_digest(self, child: str) -> None:
        digest = REQUIRED_VALUES["TemplateDigest"]
        folder = f"https://s3.{REGION}.amazonaws.com/signwatch-templates/{digest}"
        url = installation()["parent"].properties(child)["TemplateURL"]
        assert url == f"{folder}/{get_template_name(child)}.yaml"

    @pytest.mark.parametrize("child", CHILDREN)
    def test_child_is_deleted_with_the_parent(self, child: str) -> None:
        assert CHILDREN[child]["DeletionPolicy"] == "Delete"
        assert CHILDREN[child]["UpdateReplacePolicy"] == "Delete"

    def test_parent_reads_only_values_that_aws_invents(self) -> None:
        assert outputs_read(load("parent")) == CHILD_OUTPUTS

    def test_every_output_of_a_child_is_read(self) -> None:
        outputs = {
            (name, output)
            for name in CHILDREN
            for output in load(get_template_name(name)).get("Outputs", {})
        }
        assert outputs == CHILD_OUTPUTS

    def test_parameter_has_the_same_value_in_every_child(self) -> None:
        values: dict[str, set[str]] = {}
        for child in CHILDREN:
            for name, value in installation()["parent"].properties(child)["Parameters"].items():
                values.setdefault(name, set()).add(str(value))
        assert {name for name, distinct in values.items() if len(distinct) != 1} == set()


class TestParameters:
    def test_there_are_no_other_parameters(self) -> None:
        assert set(PARAMETERS) == {*DEFAULTS, *REQUIRED_VALUES}

    @pytest.mark.parametrize(
        ("name", "causes"), [("AlertOff", verdict.CAUSES), ("AlertOn", verdict.OPT_IN_CAUSES)]
    )
    def test_pattern_has_exactly_the_causes_that_can_be_switched(
        self, name: str, causes: tuple[str, ...]
    ) -> None:
        names = set(map(verdict.format_cause, causes))
        assert set(re.findall(r"[a-z-]+", PARAMETERS[name]["AllowedPattern"])) == names
        assert accepts(name, ",".join(sorted(names)))

    def test_optional_parameters_have_these_defaults(self) -> None:
        optional = {name: body for name, body in PARAMETERS.items() if "Default" in body}
        assert {name: body["Default"] for name, body in optional.items()} == DEFAULTS

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_each_has_a_constraint(self, name: str) -> None:
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(PARAMETERS[name])

    @pytest.mark.parametrize(
        "name", [name for name, body in PARAMETERS.items() if "AllowedPattern" in body]
    )
    def test_default_or_usual_value_is_accepted(self, name: str) -> None:
        assert accepts(name, PARAMETERS[name].get("Default", REQUIRED_VALUES.get(name)))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("KnownNetworks", "203.0.113.0/24, 2001:db8::/48,198.51.100.7"),
            (
                "AllowedVpcEndpointIds",
                "vpce-0123456789abcdef0,vpce-01234567, vpce-0123456789abcdef1",
            ),
            ("AccountLabel", "Shop test_1.x-y"),
            ("AlertOff", "no-mfa,failure"),
            ("AlertOn", "right-password-without-a-sign-in"),
            ("TimeZone", "America/Argentina/Buenos_Aires"),
            ("TimeZone", "Etc/GMT+3"),
            ("TwilioBaseUrl", "https://api.dublin.ie1.twilio.com"),
            ("TwilioBaseUrl", "http://127.0.0.1:8080"),
            ("EventBusName", "signwatch-main_1"),
            ("OrganizationId", "o-a1b2c3d4e5"),
            ("AccountLabels", "111122223333=Payroll,444455556666=Shop 1"),
            ("NamePrefix", "a-b-c"),
            ("HomeRegion", "us-gov-west-1"),
            ("HomeRegion", "eusc-de-east-1"),
            (
                "IdentityStoreKeyArn",
                f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{'0' * 8}-0000-0000-0000-{'0' * 12}",
            ),
            (
                "IdentityStoreKeyArn",
                f"arn:aws-us-gov:kms:us-gov-west-1:{ACCOUNT}:key/mrk-{'a' * 32}",
            ),
            ("ReservedConcurrency", "7"),
            ("ReservedConcurrency", "10"),
            ("ReservedConcurrency", "999"),
            ("ReservedConcurrency", "1000"),
            ("CodeKey", "function/0123abcd-cp314.zip"),
            ("BoundaryPolicyArn", f"arn:aws-cn:iam::{ACCOUNT}:policy/teams/acme-boundary"),
        ],
    )
    def test_valid_value_is_accepted(self, name: str, value: str) -> None:
        assert accepts(name, value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("KnownNetworks", "office"),
            ("KnownNetworks", "203.0.113.7\n"),
            ("AllowedVpcEndpointIds", "vpc-0123456789abcdef0"),
            ("AllowedVpcEndpointIds", "vpce-0123456789abcdef0,"),
            ("AllowedVpcEndpointIds", "*"),
            ("AlertEmail", ""),
            ("AlertEmail", "owner"),
            ("AlertEmail", "a@b@example.com"),
            ("AccountLabel", "x" * 21),
            ("AlertOff", "root-success"),
            ("AlertOff", "no-mfa, failure"),
            ("AlertOff", "no-mfafailure"),
            ("AlertOn", "no-mfa"),
            ("TimeZone", "../etc/passwd"),
            ("TimeZone", "Europe/"),
            ("AccountLabel", "see http://example.com"),
            ("TwilioBaseUrl", "http://api.twilio.com"),
            ("TwilioBaseUrl", "https://api.twilio.com.example.com"),
            ("TwilioBaseUrl", "https://example.com/api.twilio.com"),
            ("TwilioBaseUrl", "https://apiXtwilio.com"),
            ("TwilioBaseUrl", "http://127.0.0.1.example.com:80"),
            ("TwilioBaseUrl", "http://127x0.0.1:80"),
            ("EventBusName", ""),
            ("EventBusName", "hub/main"),  # only buses of partners have a slash
            ("EventBusName", "x" * 51),  # the ids of its statements begin with it
            ("EventBusName", "signwatch.main"),  # an id of a statement has no dots
            ("OrganizationId", "*"),
            ("OrganizationId", "a1b2c3d4e5"),
            ("AccountLabels", "Payroll"),
            ("AccountLabels", "111122223333=Payroll, 444455556666=Shop"),
            ("AccountLabels", "111122223333=" + "x" * 21),
            ("EventBusName", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/hub"),
            ("NamePrefix", "a--b"),
            ("NamePrefix", "Signwatch"),
            ("NamePrefix", "ab"),
            ("NamePrefix", "ends-"),
            ("NamePrefix", "a" * 21),
            ("NamePrefix", "aws-signwatch"),
            ("NamePrefix", "ssmwatch"),
            ("NamePrefix", "sthree-watch"),
            ("NamePrefix", "amzn-s3-demo"),
            ("HomeRegion", "everywhere"),
            ("IdentityStoreKeyArn", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/identity-center"),
            ("IdentityStoreKeyArn", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/*"),
            ("ReservedConcurrency", "1"),
            ("ReservedConcurrency", "6"),
            ("ReservedConcurrency", "02"),
            ("ReservedConcurrency", "1001"),
            ("ReservedConcurrency", "-2"),
            ("ReservedConcurrency", "many"),
            ("TemplateDigest", ""),
            ("TemplateDigest", "../other"),
            ("TemplateBucketName", ""),
            ("ArtifactBucketName", "Bucket/key"),
            ("AccessLogBucketName", ""),
            ("CodeKey", "code.tar"),
            ("LayerKey", ""),
            ("BoundaryPolicyArn", ""),
            ("BoundaryPolicyArn", f"arn:aws:iam::{ACCOUNT}:role/admin"),
            ("ServiceRoleArn", ""),
            ("ServiceRoleArn", f"arn:aws:iam::{ACCOUNT}:root"),
            ("ServiceRoleArn", "*"),
        ],
    )
    def test_invalid_value_is_refused(self, name: str, value: str) -> None:
        assert not accepts(name, value)

    def test_retention_is_a_value_of_cloudwatch_logs_from_30_days_on(
        self,
    ) -> None:
        values = PARAMETERS["LogRetentionDays"]["AllowedValues"]
        assert values == [int(days) for days in RETENTION_DAYS.split()]

    def test_deploy_outside_the_home_region_is_refused(self) -> None:
        (rule,) = load("parent")["Rules"].values()
        (assertion,) = rule["Assertions"]
        assert assertion["Assert"] == {
            "Fn::Equals": [{"Ref": "HomeRegion"}, {"Ref": "AWS::Region"}]
        }
        assert assertion["AssertDescription"].endswith(".")


def accepts(name: str, value: str) -> bool:
    """Whether CloudFormation accepts a value: it checks its length, and the pattern as a whole."""
    body = PARAMETERS[name]
    is_too_long = len(value) > int(body.get("MaxLength", 4096))
    return not is_too_long and re.fullmatch(body["AllowedPattern"], value, re.ASCII) is not None


class TestOutputs:
    def test_there_are_no_other_outputs(self) -> None:
        queue = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"
        assert installation()["parent"].outputs == {
            "FunctionName": "signwatch-function",
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:signwatch-function",
            "FunctionLogGroupName": "/aws/lambda/signwatch-function",
            "RawEventLogGroupName": "/aws/events/signwatch",
            "EventBusArn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default",
            "ForwarderRoleArn": f"arn:aws:iam::{ACCOUNT}:role/signwatch-forwarder",
            "TrailName": "signwatch-trail",
            "TrailBucketName": "<TrailBucket>",
            "AlertTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts",
            "TwilioSecretArn": "<TwilioSecret>",
            "LedgerTableName": "signwatch-ledger",
            "FailedEventsQueueUrl": f"{queue}/signwatch-failed-events",
            "UndeliveredEventsQueueUrl": f"{queue}/signwatch-undelivered-events",
        }

    def test_each_is_described_by_a_sentence(self) -> None:
        for name, body in load("parent")["Outputs"].items():
            assert body["Description"].endswith("."), name
