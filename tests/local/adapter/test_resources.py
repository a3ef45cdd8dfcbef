"""Resources that the laptop's CloudFormation completes or refuses where the emulator alone would not."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import EmulatorAccount
from tests.support.stacks import Stacks, resource

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
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
ROLE = resource("AWS::IAM::Role", AssumeRolePolicyDocument=TRUST)
TABLE: dict[str, Any] = {
    "TableName": "named",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
}
ALARM: dict[str, Any] = {
    "AlarmName": "named",
    "Namespace": "N",
    "MetricName": "M",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}
WRITER = {
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Action": "logs:PutLogEvents",
}
WRITES = json.dumps({"Version": "2012-10-17", "Statement": [{**WRITER, "Resource": "*"}]})


@pytest.fixture
def stacks(emulator: Emulator) -> Stacks:
    return Stacks(EmulatorAccount.on(emulator))


@pytest.fixture
def code(stacks: Stacks) -> dict[str, str]:
    """A zip in the account's bucket, as a template's Code or Content."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("code.py", "def handler(event, context): return event\n")
    stacks.laptop.client("s3").put_object(
        Bucket=stacks.bucket, Key="code.zip", Body=zipped.getvalue()
    )
    return {"S3Bucket": stacks.bucket, "S3Key": "code.zip"}


def function(code: dict[str, str], **properties: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "FunctionName": "named",
        "Handler": "code.handler",
        "Runtime": "python3.14",
        "Code": code,
    }
    return resource(
        "AWS::Lambda::Function", Role={"Fn::GetAtt": ["Role", "Arn"]}, **made, **properties
    )


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::CloudWatch::Alarm", ALARM),
        ("AWS::DynamoDB::Table", TABLE),
        ("AWS::IAM::Role", {"RoleName": "named", "AssumeRolePolicyDocument": TRUST}),
        ("AWS::KMS::Alias", {"AliasName": "alias/named", "TargetKeyId": {"Ref": "Key"}}),
        ("AWS::Logs::LogGroup", {"LogGroupName": "named"}),
        ("AWS::Logs::ResourcePolicy", {"PolicyName": "named", "PolicyDocument": WRITES}),
        ("AWS::SNS::Topic", {"TopicName": "named"}),
        ("AWS::SQS::Queue", {"QueueName": "named"}),
    ],
)
def test_a_name_that_is_taken_fails_the_second_stack_and_keeps_the_first(
    stacks: Stacks, kind: str, properties: dict[str, Any]
) -> None:
    resources = {
        "Key": resource("AWS::KMS::Key", KeyPolicy={}),
        "Named": resource(kind, **properties),
    }
    assert stacks.create(resources, "first", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    assert stacks.create(resources, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert f"Resource of type '{kind}' with identifier" in stacks.reason("Named", "second")
    resources["Named"]["Metadata"] = {"changed": True}
    resources["More"] = resource("AWS::SQS::Queue")
    assert stacks.update(resources, "first", Capabilities=CAPABILITIES) == "UPDATE_COMPLETE"
    assert stacks.delete("first") == "DELETE_COMPLETE"
    assert stacks.create(resources, "third", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"


def test_a_function_name_that_is_taken_fails(stacks: Stacks, code: dict[str, str]) -> None:
    resources = {"Role": ROLE, "Function": function(code)}
    assert stacks.create(resources, "first", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    assert stacks.create(resources, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert "already exists" in stacks.reason("Function", "second")
    assert (
        stacks.laptop.client("lambda").get_function(FunctionName="named")["Configuration"]["State"]
        == "Active"
    )


def test_the_ref_of_a_secret_is_its_arn(stacks: Stacks) -> None:
    """CloudFormation template reference, AWS::SecretsManager::Secret, return values."""
    secret = resource("AWS::SecretsManager::Secret", Description="one")
    outputs = {"Outputs": {"Ref": {"Value": {"Ref": "Secret"}}}}
    stacks.create({"Secret": secret}, sections=outputs)
    arn = stacks.outputs()["Ref"]
    assert arn.startswith(f"arn:aws:secretsmanager:eu-west-1:{stacks.laptop.account}:secret:")
    client = stacks.laptop.client("secretsmanager")
    changed = resource("AWS::SecretsManager::Secret", Description="two")
    assert stacks.update({"Secret": changed}, sections=outputs) == "UPDATE_COMPLETE"
    assert stacks.outputs()["Ref"] == arn
    assert arn.rpartition(":")[2].startswith("Secret-")
    assert client.describe_secret(SecretId=arn)["Description"] == "two"
    assert stacks.delete() == "DELETE_COMPLETE"
    assert client.list_secrets()["SecretList"] == []


def test_a_secret_without_a_value_has_none_until_it_is_filled(stacks: Stacks) -> None:
    """Secrets Manager API reference, GetSecretValue, ResourceNotFoundException."""
    stacks.create({"Secret": resource("AWS::SecretsManager::Secret", Name="empty")})
    client = stacks.laptop.client("secretsmanager")
    with pytest.raises(ClientError, match=r"ResourceNotFoundException.*AWSCURRENT"):
        client.get_secret_value(SecretId="empty")
    client.put_secret_value(SecretId="empty", SecretString="filled")
    assert client.get_secret_value(SecretId="empty")["SecretString"] == "filled"


def test_a_function_keeps_its_reserve_its_dead_letter_queue_and_its_log_group(
    stacks: Stacks, code: dict[str, str]
) -> None:
    queue = {"TargetArn": {"Fn::GetAtt": ["Queue", "Arn"]}}
    given = {
        "DeadLetterConfig": queue,
        "LoggingConfig": {"LogGroup": "/own"},
        "ReservedConcurrentExecutions": 3,
    }
    config = resource(
        "AWS::Lambda::EventInvokeConfig", FunctionName={"Ref": "Function"}, Qualifier="$LATEST",
        MaximumRetryAttempts=1, MaximumEventAgeInSeconds=60,
    )  # fmt: skip
    rest = {"Role": ROLE, "Queue": resource("AWS::SQS::Queue"), "Config": config}
    stacks.create({**rest, "Function": function(code, **given)}, Capabilities=CAPABILITIES)
    client = stacks.laptop.client("lambda")
    found = client.get_function(FunctionName="named")
    assert found["Concurrency"]["ReservedConcurrentExecutions"] == 3
    assert found["Configuration"]["DeadLetterConfig"]["TargetArn"].startswith("arn:aws:sqs:")
    assert found["Configuration"]["LoggingConfig"]["LogGroup"] == "/own"
    invocation = client.get_function_event_invoke_config(FunctionName="named", Qualifier="$LATEST")
    assert (invocation["MaximumRetryAttempts"], invocation["MaximumEventAgeInSeconds"]) == (1, 60)
    assert (
        stacks.update({**rest, "Function": function(code)}, Capabilities=CAPABILITIES)
        == "UPDATE_COMPLETE"
    )
    found = client.get_function(FunctionName="named")
    assert "Concurrency" not in found
    assert not found["Configuration"].get("DeadLetterConfig", {}).get("TargetArn")


def test_code_that_is_not_in_the_bucket_fails_the_function(
    stacks: Stacks, code: dict[str, str]
) -> None:
    resources = {"Role": ROLE, "Function": function({**code, "S3Key": "absent.zip"})}
    assert stacks.create(resources, Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert "S3 Error Code: NoSuchKey" in stacks.reason("Function")


def test_content_that_is_not_in_the_bucket_fails_the_layer(
    stacks: Stacks, code: dict[str, str]
) -> None:
    layer = resource(
        "AWS::Lambda::LayerVersion", LayerName="named", Content={**code, "S3Key": "absent.zip"}
    )
    assert stacks.create({"Layer": layer}) == "ROLLBACK_COMPLETE"
    assert "S3 Error Code: NoSuchKey" in stacks.reason("Layer")


def test_a_role_keeps_its_boundary_which_must_exist(stacks: Stacks) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
    iam = stacks.laptop.client("iam")
    arn = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"][
        "Arn"
    ]
    within = resource(
        "AWS::IAM::Role", RoleName="within", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=arn
    )
    stacks.create({"Role": within}, Capabilities=CAPABILITIES)
    assert (
        iam.get_role(RoleName="within")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        == arn
    )
    absent = resource(
        "AWS::IAM::Role", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=f"{arn}-absent"
    )
    assert (
        stacks.create({"Role": absent}, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    )
    assert "does not exist or is not attachable" in stacks.reason("Role", "second")


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"EventPattern": {"source": "not a list"}}, "Event pattern is not valid"),
        ({"EventBusName": "absent"}, "Event bus absent does not exist"),
        ({"Targets": [{"Id": "one", "Arn": "no-arn"}]}, "not in correct format"),
        (
            {"Targets": [{"Id": str(at), "Arn": "arn:aws:sqs:eu-west-1:1:q"} for at in range(6)]},
            "LimitExceededException",
        ),
    ],
)
def test_a_rule_that_eventbridge_does_not_take_fails(
    stacks: Stacks, properties: dict[str, Any], reason: str
) -> None:
    """EventBridge API reference, PutRule and PutTargets."""
    rule = resource(
        "AWS::Events::Rule", **{"EventPattern": {"source": ["aws.signin"]}, **properties}
    )
    assert stacks.create({"Rule": rule}) == "ROLLBACK_COMPLETE"
    assert reason in stacks.reason("Rule")
    assert stacks.laptop.client("events").list_rules()["Rules"] == []


def test_a_queue_policy_finds_its_queue_by_the_url_that_aws_gives_it(stacks: Stacks) -> None:
    sqs = stacks.laptop.client("sqs")
    url = sqs.create_queue(QueueName="mine")["QueueUrl"]
    document = {"Version": "2012-10-17", "Statement": []}
    named = {"Fn::Sub": "https://sqs.${AWS::Region}.${AWS::URLSuffix}/${AWS::AccountId}/mine"}
    stacks.create(
        {"Policy": resource("AWS::SQS::QueuePolicy", Queues=[named], PolicyDocument=document)}
    )
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"][
        "Policy"
    ]
    assert json.loads(found) == document
    stacks.delete()
    assert not sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes")


def test_a_queue_policy_for_a_queue_that_is_not_there_fails(stacks: Stacks) -> None:
    named = {"Fn::Sub": "https://sqs.${AWS::Region}.${AWS::URLSuffix}/${AWS::AccountId}/absent"}
    policy = resource("AWS::SQS::QueuePolicy", Queues=[named], PolicyDocument={"Statement": []})
    assert stacks.create({"Policy": policy}) == "ROLLBACK_COMPLETE"
    assert "queue does not exist" in stacks.reason("Policy")


def test_drift_is_seen_of_a_rule_that_was_switched_off_and_of_a_secret_by_its_arn(
    stacks: Stacks,
) -> None:
    """CloudFormation User Guide, "Resource type support for imports and drift detection"."""
    rule = resource(
        "AWS::Events::Rule",
        Name="sign-ins",
        State="ENABLED",
        EventPattern={"source": ["aws.signin"]},
    )
    stacks.create(
        {"Rule": rule, "Secret": resource("AWS::SecretsManager::Secret", Description="kept")}
    )
    assert drift_of(stacks) == {"Rule": "IN_SYNC", "Secret": "IN_SYNC"}
    stacks.laptop.client("events").disable_rule(Name="sign-ins")
    assert drift_of(stacks) == {"Rule": "MODIFIED", "Secret": "IN_SYNC"}


def drift_of(stacks: Stacks) -> dict[str, str]:
    cloudformation = stacks.laptop.client("cloudformation")
    name = cloudformation.list_stacks()["StackSummaries"][0]["StackName"]
    cloudformation.detect_stack_drift(StackName=name)
    found = cloudformation.describe_stack_resource_drifts(StackName=name)["StackResourceDrifts"]
    return {one["LogicalResourceId"]: one["StackResourceDriftStatus"] for one in found}
