"""Resource types of the emulator's CloudFormation that the adapter completes or checks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import LAMBDA_TRUST, policy, zip_module
from tests.support.stacks import resource

if TYPE_CHECKING:
    from tests.support.stacks import Stacks

pytestmark = [pytest.mark.local]

CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
ROLE = resource("AWS::IAM::Role", AssumeRolePolicyDocument=LAMBDA_TRUST)
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
LOG_POLICY = policy(
    {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "logs:PutLogEvents",
        "Resource": "*",
    }
)


@pytest.fixture
def code(stacks: Stacks) -> dict[str, str]:
    """A zip in the account's bucket, as a template's Code or Content."""
    body = zip_module("def handler(event, context): return event\n", "code.py")
    stacks.account.client("s3").put_object(Bucket=stacks.bucket, Key="code.zip", Body=body)
    return {"S3Bucket": stacks.bucket, "S3Key": "code.zip"}


def function(code: dict[str, str], **properties: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "FunctionName": "named",
        "Handler": "code.handler",
        "Runtime": "python3.14",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
    }
    return resource("AWS::Lambda::Function", Code=code, **defaults, **properties)


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("AWS::CloudWatch::Alarm", ALARM),
        ("AWS::DynamoDB::Table", TABLE),
        ("AWS::IAM::Role", {"RoleName": "named", "AssumeRolePolicyDocument": LAMBDA_TRUST}),
        ("AWS::KMS::Alias", {"AliasName": "alias/named", "TargetKeyId": {"Ref": "Key"}}),
        ("AWS::Logs::LogGroup", {"LogGroupName": "named"}),
        ("AWS::Logs::ResourcePolicy", {"PolicyName": "named", "PolicyDocument": LOG_POLICY}),
        ("AWS::SNS::Topic", {"TopicName": "named"}),
        ("AWS::SQS::Queue", {"QueueName": "named"}),
    ],
)
def test_name_in_use_fails_the_second_stack_and_keeps_the_first(
    stacks: Stacks, kind: str, properties: dict[str, Any]
) -> None:
    resources = {
        "Key": resource("AWS::KMS::Key", KeyPolicy={}),
        "Named": resource(kind, **properties),
    }
    assert stacks.create(resources, "first", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    assert stacks.create(resources, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert f"Resource of type '{kind}' with identifier" in stacks.failure_reason("Named", "second")
    resources["Named"]["Metadata"] = {"changed": True}
    resources["More"] = resource("AWS::SQS::Queue")
    assert stacks.update(resources, "first", Capabilities=CAPABILITIES) == "UPDATE_COMPLETE"
    assert stacks.delete("first") == "DELETE_COMPLETE"
    assert stacks.create(resources, "third", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"


def test_function_name_in_use_fails(stacks: Stacks, code: dict[str, str]) -> None:
    resources = {"Role": ROLE, "Function": function(code)}
    assert stacks.create(resources, "first", Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    assert stacks.create(resources, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert "already exists" in stacks.failure_reason("Function", "second")
    live = stacks.account.client("lambda").get_function(FunctionName="named")
    assert live["Configuration"]["State"] == "Active"


def test_a_bucket_has_its_own_tags_and_those_of_the_stack(stacks: Stacks) -> None:
    bucket = resource("AWS::S3::Bucket", BucketName="tagged", Tags=[{"Key": "a", "Value": "1"}])
    stacks.create({"Bucket": bucket}, Tags=[{"Key": "b", "Value": "2"}])
    response = stacks.account.client("s3").get_bucket_tagging(Bucket="tagged")
    tags = {tag["Key"]: tag["Value"] for tag in response["TagSet"]}
    assert {"a": "1", "b": "2", "aws:cloudformation:logical-id": "Bucket"}.items() <= tags.items()


def test_ref_of_a_secret_is_its_arn(stacks: Stacks) -> None:
    """CloudFormation template reference, AWS::SecretsManager::Secret, return values."""
    secret = resource("AWS::SecretsManager::Secret", Description="one")
    outputs = {"Outputs": {"Ref": {"Value": {"Ref": "Secret"}}}}
    stacks.create({"Secret": secret}, sections=outputs)
    arn = stacks.outputs()["Ref"]
    assert arn.startswith(f"arn:aws:secretsmanager:eu-west-1:{stacks.account.account_id}:secret:")
    client = stacks.account.client("secretsmanager")
    changed = resource("AWS::SecretsManager::Secret", Description="two")
    assert stacks.update({"Secret": changed}, sections=outputs) == "UPDATE_COMPLETE"
    assert stacks.outputs()["Ref"] == arn
    assert arn.rpartition(":")[2].startswith("Secret-")
    assert client.describe_secret(SecretId=arn)["Description"] == "two"
    assert stacks.delete() == "DELETE_COMPLETE"
    assert client.list_secrets()["SecretList"] == []


def test_secret_without_a_value_has_none_until_it_is_filled(stacks: Stacks) -> None:
    """Secrets Manager API reference, GetSecretValue, ResourceNotFoundException."""
    stacks.create({"Secret": resource("AWS::SecretsManager::Secret", Name="empty")})
    client = stacks.account.client("secretsmanager")
    with pytest.raises(ClientError, match=r"ResourceNotFoundException.*AWSCURRENT"):
        client.get_secret_value(SecretId="empty")
    client.put_secret_value(SecretId="empty", SecretString="filled")
    assert client.get_secret_value(SecretId="empty")["SecretString"] == "filled"


def test_function_has_its_concurrency_dead_letter_queue_and_log_group(
    stacks: Stacks, code: dict[str, str]
) -> None:
    queue = {"TargetArn": {"Fn::GetAtt": ["Queue", "Arn"]}}
    properties = {
        "DeadLetterConfig": queue,
        "LoggingConfig": {"LogGroup": "/own"},
        "ReservedConcurrentExecutions": 3,
    }
    config = resource(
        "AWS::Lambda::EventInvokeConfig",
        FunctionName={"Ref": "Function"},
        Qualifier="$LATEST",
        MaximumRetryAttempts=1,
        MaximumEventAgeInSeconds=60,
    )
    other_resources = {"Role": ROLE, "Queue": resource("AWS::SQS::Queue"), "Config": config}
    stacks.create(
        {**other_resources, "Function": function(code, **properties)}, Capabilities=CAPABILITIES
    )
    client = stacks.account.client("lambda")
    live = client.get_function(FunctionName="named")
    assert live["Concurrency"]["ReservedConcurrentExecutions"] == 3
    assert live["Configuration"]["DeadLetterConfig"]["TargetArn"].startswith("arn:aws:sqs:")
    assert live["Configuration"]["LoggingConfig"]["LogGroup"] == "/own"
    invocation = client.get_function_event_invoke_config(FunctionName="named", Qualifier="$LATEST")
    assert (invocation["MaximumRetryAttempts"], invocation["MaximumEventAgeInSeconds"]) == (1, 60)
    resources = {**other_resources, "Function": function(code)}
    assert stacks.update(resources, Capabilities=CAPABILITIES) == "UPDATE_COMPLETE"
    live = client.get_function(FunctionName="named")
    assert "Concurrency" not in live
    assert not live["Configuration"].get("DeadLetterConfig", {}).get("TargetArn")


def test_code_missing_in_the_bucket_fails_the_function(
    stacks: Stacks, code: dict[str, str]
) -> None:
    resources = {"Role": ROLE, "Function": function({**code, "S3Key": "absent.zip"})}
    assert stacks.create(resources, Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert "S3 Error Code: NoSuchKey" in stacks.failure_reason("Function")


def test_content_missing_in_the_bucket_fails_the_layer(
    stacks: Stacks, code: dict[str, str]
) -> None:
    layer = resource(
        "AWS::Lambda::LayerVersion", LayerName="named", Content={**code, "S3Key": "absent.zip"}
    )
    assert stacks.create({"Layer": layer}) == "ROLLBACK_COMPLETE"
    assert "S3 Error Code: NoSuchKey" in stacks.failure_reason("Layer")


def test_role_has_its_boundary_which_must_exist(stacks: Stacks) -> None:
    document = policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    iam = stacks.account.client("iam")
    arn = iam.create_policy(PolicyName="boundary", PolicyDocument=document)["Policy"]["Arn"]
    within = resource(
        "AWS::IAM::Role",
        RoleName="within",
        AssumeRolePolicyDocument=LAMBDA_TRUST,
        PermissionsBoundary=arn,
    )
    stacks.create({"Role": within}, Capabilities=CAPABILITIES)
    boundary = iam.get_role(RoleName="within")["Role"]["PermissionsBoundary"]
    assert boundary["PermissionsBoundaryArn"] == arn
    absent = resource(
        "AWS::IAM::Role", AssumeRolePolicyDocument=LAMBDA_TRUST, PermissionsBoundary=f"{arn}-absent"
    )
    resources = {"Role": absent}
    assert stacks.create(resources, "second", Capabilities=CAPABILITIES) == "ROLLBACK_COMPLETE"
    assert "does not exist or is not attachable" in stacks.failure_reason("Role", "second")


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"EventPattern": {"source": "not a list"}}, "Event pattern is not valid"),
        ({"EventBusName": "absent"}, "Event bus absent does not exist"),
        ({"Targets": [{"Id": "one", "Arn": "no-arn"}]}, "not in correct format"),
        (
            {
                "Targets": [
                    {"Id": str(number), "Arn": "arn:aws:sqs:eu-west-1:1:q"} for number in range(6)
                ]
            },
            "LimitExceededException",
        ),
    ],
)
def test_rule_that_eventbridge_refuses_fails(
    stacks: Stacks, properties: dict[str, Any], reason: str
) -> None:
    """EventBridge API reference, PutRule and PutTargets."""
    rule = resource(
        "AWS::Events::Rule", **{"EventPattern": {"source": ["aws.signin"]}, **properties}
    )
    assert stacks.create({"Rule": rule}) == "ROLLBACK_COMPLETE"
    assert reason in stacks.failure_reason("Rule")
    assert stacks.account.client("events").list_rules()["Rules"] == []


def aws_queue_url(name: str) -> dict[str, str]:
    host = "sqs.${AWS::Region}.${AWS::URLSuffix}"
    return {"Fn::Sub": f"https://{host}/${{AWS::AccountId}}/{name}"}


def bus_policy(principal: str, bus: str = "own", statement_id: str = "members") -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "events:PutEvents"}
    return resource(
        "AWS::Events::EventBusPolicy",
        EventBusName=bus,
        StatementId=statement_id,
        Statement=statement,
    )


def test_statement_of_a_bus_comes_changes_and_goes_with_its_resource(stacks: Stacks) -> None:
    events = stacks.account.client("events")
    events.create_event_bus(Name="own")
    bucket = resource("AWS::S3::Bucket")  # a stack has at least one resource
    for operation, principal in ((stacks.create, "*"), (stacks.update, "111122223333")):
        operation({"Policy": bus_policy(principal), "Bucket": bucket})
        (statement,) = json.loads(events.describe_event_bus(Name="own")["Policy"])["Statement"]
        assert (statement["Sid"], statement["Principal"]) == ("members", principal)
    assert stacks.update({"Bucket": bucket}) == "UPDATE_COMPLETE"
    assert "Policy" not in events.describe_event_bus(Name="own")


def test_statement_moves_to_another_bus_only_with_another_id(stacks: Stacks) -> None:
    """The id is the physical id, and the new resource is made before the old one is deleted."""
    events = stacks.account.client("events")
    for bus in ("own", "other"):
        events.create_event_bus(Name=bus)
    assert stacks.create({"Policy": bus_policy("*")}) == "CREATE_COMPLETE"
    moved = bus_policy("*", bus="other")
    assert stacks.update({"Policy": moved}) == "UPDATE_ROLLBACK_COMPLETE"
    assert "members already exists in stack" in stacks.failure_reason("Policy")
    assert "members" in events.describe_event_bus(Name="own")["Policy"]
    renamed = bus_policy("*", bus="other", statement_id="others")
    assert stacks.update({"Policy": renamed}) == "UPDATE_COMPLETE"
    assert "Policy" not in events.describe_event_bus(Name="own")
    assert "others" in events.describe_event_bus(Name="other")["Policy"]


def test_statement_of_a_missing_bus_fails(stacks: Stacks) -> None:
    assert stacks.create({"Policy": bus_policy("*", bus="absent")}) == "ROLLBACK_COMPLETE"
    assert "Event bus absent does not exist" in stacks.failure_reason("Policy")


def test_queue_policy_accepts_the_queue_url_of_aws(stacks: Stacks) -> None:
    sqs = stacks.account.client("sqs")
    url = sqs.create_queue(QueueName="mine")["QueueUrl"]
    document = {"Version": "2012-10-17", "Statement": []}
    queue_policy = resource(
        "AWS::SQS::QueuePolicy", Queues=[aws_queue_url("mine")], PolicyDocument=document
    )
    stacks.create({"Policy": queue_policy})
    response = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    assert json.loads(response["Attributes"]["Policy"]) == document
    stacks.delete()
    assert not sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes")


def test_queue_policy_for_a_missing_queue_fails(stacks: Stacks) -> None:
    queue_policy = resource(
        "AWS::SQS::QueuePolicy",
        Queues=[aws_queue_url("absent")],
        PolicyDocument={"Statement": []},
    )
    assert stacks.create({"Policy": queue_policy}) == "ROLLBACK_COMPLETE"
    assert "queue does not exist" in stacks.failure_reason("Policy")


def test_drift_detection_compares_rules_and_finds_secrets(
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
    assert detect_drift(stacks) == {"Rule": "IN_SYNC", "Secret": "IN_SYNC"}
    stacks.account.client("events").disable_rule(Name="sign-ins")
    assert detect_drift(stacks) == {"Rule": "MODIFIED", "Secret": "IN_SYNC"}


def detect_drift(stacks: Stacks) -> dict[str, str]:
    cloudformation = stacks.account.client("cloudformation")
    name = cloudformation.list_stacks()["StackSummaries"][0]["StackName"]
    cloudformation.detect_stack_drift(StackName=name)
    drifts = cloudformation.describe_stack_resource_drifts(StackName=name)["StackResourceDrifts"]
    return {drift["LogicalResourceId"]: drift["StackResourceDriftStatus"] for drift in drifts}
