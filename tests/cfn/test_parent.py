"""The parent: the only wiring, and the only place where a value is checked."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from signwatch.detection import verdict
from tests.support.templates import (
    ACCOUNT,
    REGION,
    STACK,
    VALUES,
    child_of,
    installation,
    load,
    walk,
)

pytestmark = pytest.mark.joint

CHILDREN = {
    name: body for name, body in load("parent")["Resources"].items() if body["Type"] == STACK
}
PARAMETERS = load("parent")["Parameters"]
INVENTED = {  # the values that AWS invents, the only ones that are read from a child
    ("FoundationStack", "MainKeyArn"),
    ("FoundationStack", "TopicKeyArn"),
    ("FoundationStack", "TwilioSecretArn"),
    ("CloudtrailStack", "TrailBucketName"),
}


def reads() -> set[tuple[str, str]]:
    found = [
        node["Fn::GetAtt"]
        for node in walk(load("parent"))
        if isinstance(node, dict) and "Fn::GetAtt" in node
    ]
    return {(name, attribute.removeprefix("Outputs.")) for name, attribute in found}


def waits_for(child: str) -> set[str]:
    """The children that must be there first: those it reads, for which cfn-lint wants no DependsOn, and DependsOn."""
    read = {
        node["Fn::GetAtt"][0]
        for node in walk(CHILDREN[child])
        if isinstance(node, dict) and "Fn::GetAtt" in node
    }
    return read | {name for name in [CHILDREN[child].get("DependsOn")] if name}


class TestChildren:
    def test_the_parent_holds_nothing_but_its_five_children(self) -> None:
        order = [
            "FoundationStack",
            "CloudtrailStack",
            "LambdaStack",
            "EventbridgeStack",
            "AlarmsStack",
        ]
        assert list(load("parent")["Resources"]) == order
        assert list(CHILDREN) == order

    def test_each_child_waits_for_the_one_before_it(self) -> None:
        order = list(CHILDREN)
        assert waits_for(order[0]) == set()
        for before, name in itertools.pairwise(order):
            assert before in waits_for(name)

    @pytest.mark.parametrize("child", CHILDREN)
    def test_a_child_gets_exactly_the_parameters_that_it_declares(self, child: str) -> None:
        assert set(CHILDREN[child]["Properties"]["Parameters"]) == set(
            load(child_of(child))["Parameters"]
        )

    @pytest.mark.parametrize("child", CHILDREN)
    def test_a_child_is_read_by_path_from_the_template_bucket_below_the_digest(
        self, child: str
    ) -> None:
        folder = f"https://s3.{REGION}.amazonaws.com/signwatch-templates/{VALUES['TemplateDigest']}"
        url = installation()["parent"].properties(child)["TemplateURL"]
        assert url == f"{folder}/{child_of(child)}.yaml"

    @pytest.mark.parametrize("child", CHILDREN)
    def test_a_child_goes_when_the_parent_goes(self, child: str) -> None:
        assert (CHILDREN[child]["DeletionPolicy"], CHILDREN[child]["UpdateReplacePolicy"]) == (
            "Delete",
            "Delete",
        )

    def test_only_what_aws_invents_is_read_from_a_child(self) -> None:
        assert reads() == INVENTED

    def test_every_output_of_a_child_is_read_and_every_one_that_is_read_exists(self) -> None:
        offered = {
            (name, output)
            for name in CHILDREN
            for output in load(child_of(name)).get("Outputs", {})
        }
        assert offered == INVENTED

    def test_one_name_means_one_value_in_every_child(self) -> None:
        seen: dict[str, set[str]] = {}
        for child in CHILDREN:
            for name, value in installation()["parent"].properties(child)["Parameters"].items():
                seen.setdefault(name, set()).add(str(value))
        assert {name: values for name, values in seen.items() if len(values) != 1} == {}

    def test_every_parameter_reaches_something(self) -> None:
        body = {key: value for key, value in load("parent").items() if key != "Parameters"}
        used = " ".join(str(node) for node in walk(body) if isinstance(node, str))
        refs = {node["Ref"] for node in walk(body) if isinstance(node, dict) and "Ref" in node}
        assert {
            name for name in PARAMETERS if name not in refs and f"${{{name}}}" not in used
        } == set()


class TestParameters:
    def test_they_are_those_that_were_agreed_on(self) -> None:
        chosen = "KnownNetworks AllowedVpcEndpointIds AlertEmail AccountLabel AlertOff AlertOn TimeZone LogRetentionDays"
        assert set(PARAMETERS) == {
            *chosen.split(),
            "ReservedConcurrency",
            "TwilioBaseUrl",
            "EventBusName",
            *VALUES,
        }

    @pytest.mark.parametrize(
        ("name", "causes"), [("AlertOff", verdict.CAUSES), ("AlertOn", verdict.ON_DEMAND)]
    )
    def test_a_list_of_causes_knows_every_cause_that_can_be_switched_and_no_other(
        self, name: str, causes: tuple[str, ...]
    ) -> None:
        names = set(map(verdict.cause_name, causes))
        assert set(re.findall(r"[a-z-]+", PARAMETERS[name]["AllowedPattern"])) == names
        assert accepts(name, ",".join(sorted(names)))

    def test_the_defaults_are_those_that_were_agreed_on(self) -> None:
        assert {
            name: body["Default"] for name, body in PARAMETERS.items() if "Default" in body
        } == {
            "KnownNetworks": "",
            "AllowedVpcEndpointIds": "",
            "AccountLabel": "",
            "AlertOff": "",
            "AlertOn": "",
            "TimeZone": "",
            "LogRetentionDays": 365,
            "ReservedConcurrency": 0,
            "TwilioBaseUrl": "https://api.twilio.com",
            "EventBusName": "default",
        }

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_each_is_checked(self, name: str) -> None:
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(PARAMETERS[name])

    @pytest.mark.parametrize(
        "name", [name for name, body in PARAMETERS.items() if "AllowedPattern" in body]
    )
    def test_its_own_default_or_usual_value_passes(self, name: str) -> None:
        assert accepts(name, PARAMETERS[name].get("Default", VALUES.get(name)))

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
            ("EventBusName", "hub/main_1.x"),
            ("NamePrefix", "a-b-c"),
            ("HomeRegion", "us-gov-west-1"),
            ("CodeKey", "function/0123abcd-cp314.zip"),
            ("BoundaryPolicyArn", f"arn:aws-cn:iam::{ACCOUNT}:policy/teams/acme-boundary"),
        ],
    )
    def test_a_good_value_is_taken(self, name: str, value: str) -> None:
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
            ("TemplateDigest", ""),
            ("TemplateDigest", "../other"),
            ("TemplateBucketName", ""),
            ("ArtifactBucketName", "Bucket/key"),
            ("AccessLogBucketName", ""),
            ("CodeKey", "code.tar"),
            ("LayerKey", ""),
            ("BoundaryPolicyArn", ""),
            ("BoundaryPolicyArn", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        ],
    )
    def test_a_bad_value_is_refused(self, name: str, value: str) -> None:
        assert not accepts(name, value)

    def test_only_retentions_that_cloudwatch_logs_knows_are_offered_and_none_below_a_month(
        self,
    ) -> None:
        known = [
            30,
            60,
            90,
            120,
            150,
            180,
            365,
            400,
            545,
            731,
            1096,
            1827,
            2192,
            2557,
            2922,
            3288,
            3653,
        ]
        assert PARAMETERS["LogRetentionDays"]["AllowedValues"] == known

    def test_a_deploy_outside_the_home_region_is_refused(self) -> None:
        (rule,) = load("parent")["Rules"].values()
        (assertion,) = rule["Assertions"]
        assert assertion["Assert"] == {
            "Fn::Equals": [{"Ref": "HomeRegion"}, {"Ref": "AWS::Region"}]
        }
        assert assertion["AssertDescription"].endswith(".")


def accepts(name: str, value: str) -> bool:
    """CloudFormation matches the whole value against the pattern, and counts its characters."""
    body = PARAMETERS[name]
    long = len(value) > int(body.get("MaxLength", 4096))
    return not long and re.fullmatch(body["AllowedPattern"], value, re.ASCII) is not None


class TestOutputs:
    def test_they_are_those_that_were_agreed_on_with_the_names_that_were_agreed_on(self) -> None:
        queue = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"
        assert installation()["parent"].outputs == {
            "FunctionName": "signwatch-function",
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:signwatch-function",
            "FunctionLogGroupName": "/aws/lambda/signwatch-function",
            "RawEventLogGroupName": "/aws/events/signwatch",
            "TrailName": "signwatch-trail",
            "TrailBucketName": "<TrailBucket>",
            "AlertTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts",
            "TwilioSecretArn": "<TwilioSecret>",
            "LedgerTableName": "signwatch-ledger",
            "FailedEventsQueueUrl": f"{queue}/signwatch-failed-events",
            "UndeliveredEventsQueueUrl": f"{queue}/signwatch-undelivered-events",
        }

    def test_each_says_what_it_is(self) -> None:
        described: dict[str, Any] = load("parent")["Outputs"]
        assert [
            name
            for name, body in described.items()
            if not body.get("Description", "").endswith(".")
        ] == []
