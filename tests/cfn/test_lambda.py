"""The function: its runtime, environment and permissions, and where failed events go."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.templates import installation, load, statements
from tooling.resolved_templates import ACCOUNT, REGION

pytestmark = pytest.mark.joint

LAMBDA_STACK = installation()["lambda"]
FUNCTION = LAMBDA_STACK.properties("Function")
ROLE = LAMBDA_STACK.properties("Role")
LAMBDA_PRINCIPAL = {"Service": "lambda.amazonaws.com"}
REGION_AND_ACCOUNT = f"{REGION}:{ACCOUNT}"
LEDGER_ARN = f"arn:aws:dynamodb:{REGION_AND_ACCOUNT}:table/signwatch-ledger"
TOPIC_ARN = f"arn:aws:sns:{REGION_AND_ACCOUNT}:signwatch-alerts"
FAILED_QUEUE_ARN = f"arn:aws:sqs:{REGION_AND_ACCOUNT}:signwatch-failed-events"
UNDELIVERED_QUEUE_ARN = f"arn:aws:sqs:{REGION_AND_ACCOUNT}:signwatch-undelivered-events"
LATER_QUEUE_ARN = f"arn:aws:sqs:{REGION_AND_ACCOUNT}:signwatch-later"
NO_KEY_ARN = f"arn:aws:kms:{REGION_AND_ACCOUNT}:key/none"  # in place of Identity Center's
PERMISSIONS = {  # all actions of the role, each with its resource
    (
        "logs:CreateLogStream",
        f"arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/lambda/signwatch-function:*",
    ),
    (
        "logs:PutLogEvents",
        f"arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/lambda/signwatch-function:*",
    ),
    ("dynamodb:GetItem", LEDGER_ARN),
    ("dynamodb:PutItem", LEDGER_ARN),
    ("dynamodb:UpdateItem", LEDGER_ARN),
    ("ssm:GetParametersByPath", f"arn:aws:ssm:{REGION_AND_ACCOUNT}:parameter/signwatch/networks"),
    ("ssm:GetParametersByPath", f"arn:aws:ssm:{REGION_AND_ACCOUNT}:parameter/signwatch/networks/*"),
    ("secretsmanager:GetSecretValue", "<TwilioSecret>"),
    ("identitystore:DescribeUser", f"arn:aws:identitystore::{ACCOUNT}:identitystore/*"),
    ("identitystore:DescribeUser", "arn:aws:identitystore:::user/*"),
    ("sns:Publish", TOPIC_ARN),
    ("sqs:SendMessage", FAILED_QUEUE_ARN),
    ("sqs:SendMessage", LATER_QUEUE_ARN),
    ("sqs:ReceiveMessage", LATER_QUEUE_ARN),
    ("sqs:DeleteMessage", LATER_QUEUE_ARN),
    ("sqs:GetQueueAttributes", LATER_QUEUE_ARN),
    (
        "logs:FilterLogEvents",
        f"arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/events/signwatch:*",
    ),
    (
        "logs:FilterLogEvents",
        f"arn:aws:logs:{REGION_AND_ACCOUNT}:log-group:/aws/cloudtrail/signwatch:*",
    ),
    *(
        (f"sqs:{action}", queue)
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        for queue in (FAILED_QUEUE_ARN, UNDELIVERED_QUEUE_ARN)
    ),
    ("kms:Decrypt", "<MainKey.Arn>"),
    ("kms:Decrypt", NO_KEY_ARN),
}
IDENTITY_KEY_ARN = "arn:aws:kms:us-east-1:444455556666:key/mrk-0123456789abcdef0123456789abcdef"
ENVIRONMENT_MAX_BYTES = 4096  # all keys and values (Lambda quotas)


class TestFunction:
    def test_it_runs_the_handler_on_the_agreed_runtime(self) -> None:
        expected = {
            "FunctionName": "signwatch-function",
            "Runtime": "python3.14",
            "Architectures": ["arm64"],
            "Handler": "signwatch.handler.handler",
            "MemorySize": 256,
            "Timeout": 60,
        }
        assert {key: FUNCTION[key] for key in expected} == expected

    def test_its_code_and_layer_come_from_the_artifact_bucket(self) -> None:
        layer = LAMBDA_STACK.properties("Layer")
        assert FUNCTION["Code"] == {"S3Bucket": "signwatch-artifacts", "S3Key": "function/code.zip"}
        assert layer["Content"] == {"S3Bucket": "signwatch-artifacts", "S3Key": "layer/layer.zip"}
        assert FUNCTION["Layers"] == ["<Layer>"]

    def test_the_layer_serves_its_runtime_on_both_processors(self) -> None:
        layer = LAMBDA_STACK.properties("Layer")
        assert layer["CompatibleRuntimes"] == [FUNCTION["Runtime"]]
        assert set(layer["CompatibleArchitectures"]) == {"arm64", "x86_64"}

    def test_its_log_group_is_created_before_it(self) -> None:
        assert load("lambda")["Resources"]["Function"]["Properties"]["LoggingConfig"] == {
            "LogGroup": {"Ref": "LogGroup"}
        }

    def test_failed_event_is_retried_twice_within_six_hours_then_kept(self) -> None:
        (config,) = LAMBDA_STACK.of_type("AWS::Lambda::EventInvokeConfig").values()
        assert config == {
            "FunctionName": "signwatch-function",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 2,
            "MaximumEventAgeInSeconds": 21600,
        }
        assert FUNCTION["DeadLetterConfig"] == {"TargetArn": FAILED_QUEUE_ARN}

    def test_it_reserves_no_concurrency_by_default(self) -> None:
        assert "ReservedConcurrentExecutions" not in FUNCTION
        function = installation(ReservedConcurrency="5")["lambda"].properties("Function")
        assert function["ReservedConcurrentExecutions"] == "5"


def make_mapping(queue_arn: str) -> dict[str, Any]:
    return {
        "FunctionName": "signwatch-function",
        "EventSourceArn": queue_arn,
        "Enabled": True,
        "BatchSize": 1,
        "ScalingConfig": {"MaximumConcurrency": 2},
    }


class TestReturningQueues:
    @pytest.mark.parametrize("name", ["FailedEvents", "UndeliveredEvents"])
    def test_function_gets_one_message_at_a_time_until_it_succeeds(self, name: str) -> None:
        queue = installation()["foundation"].properties(f"{name}Queue")
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue['QueueName']}"
        assert LAMBDA_STACK.properties(f"{name}Mapping") == make_mapping(arn)
        assert queue["VisibilityTimeout"] == 15 * 60 >= 6 * FUNCTION["Timeout"]


class TestLater:
    QUEUE = LAMBDA_STACK.properties("LaterQueue")

    def test_function_gets_one_message_at_a_time(self) -> None:
        mapping = make_mapping(LATER_QUEUE_ARN)
        mapping["FunctionResponseTypes"] = ["ReportBatchItemFailures"]
        assert LAMBDA_STACK.properties("LaterMapping") == mapping

    def test_reserved_concurrency_leaves_one_for_the_sign_ins(self) -> None:
        """Lambda refuses a mapping that may use more than the function (scaling configuration)."""
        mappings = LAMBDA_STACK.of_type("AWS::Lambda::EventSourceMapping").values()
        pattern = load("parent")["Parameters"]["ReservedConcurrency"]["AllowedPattern"]
        values = [number for number in range(1100) if re.fullmatch(pattern, str(number))]
        used = sum(mapping["ScalingConfig"]["MaximumConcurrency"] for mapping in mappings)
        assert values == [0, *range(used + 1, 1001)]

    def test_message_that_fails_ten_times_goes_to_the_failed_events(self) -> None:
        assert self.QUEUE["RedrivePolicy"] == {
            "deadLetterTargetArn": FAILED_QUEUE_ARN,
            "maxReceiveCount": 10,
        }

    def test_visibility_timeout_is_a_quarter_of_an_hour(self) -> None:
        """At least six times the function's timeout (Lambda, "Using Lambda with Amazon SQS")."""
        assert self.QUEUE["VisibilityTimeout"] == 15 * 60 >= 6 * FUNCTION["Timeout"]

    def test_it_is_encrypted_by_sqs_and_keeps_messages_for_14_days(self) -> None:
        assert self.QUEUE["SqsManagedSseEnabled"] is True
        assert self.QUEUE["MessageRetentionPeriod"] == 14 * 86400

    def test_its_policy_only_requires_tls(self) -> None:
        (policy,) = LAMBDA_STACK.of_type("AWS::SQS::QueuePolicy").values()
        assert policy["Queues"] == ["<LaterQueue>"]
        (statement,) = statements(policy["PolicyDocument"])
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == (
            "Deny",
            ["sqs:*"],
            [LATER_QUEUE_ARN],
        )

    def test_function_sends_to_this_queue(self) -> None:
        url = FUNCTION["Environment"]["Variables"]["LATER_QUEUE_URL"]
        assert url.rpartition("/")[2] == self.QUEUE["QueueName"]


class TestEnvironment:
    def test_each_key_is_the_upper_case_name_of_its_parameter(self) -> None:
        properties = load("lambda")["Resources"]["Function"]["Properties"]
        for key, value in properties["Environment"]["Variables"].items():
            assert upper_case(value["Ref"]) == key

    def test_it_has_the_values_of_the_parameters(self) -> None:
        stack = installation(
            KnownNetworks="203.0.113.0/24",
            AllowedVpcEndpointIds="vpce-01234567",
            AccountLabel="Shop",
            AccountLabels="444455556666=Payroll",
            AlertOff="no-mfa",
            AlertOn="right-password-without-a-sign-in",
            TimeZone="Europe/Berlin",
            TextsAnHour="30",
        )["lambda"]
        assert stack.properties("Function")["Environment"]["Variables"] == {
            "NAME_PREFIX": "signwatch",
            "KNOWN_NETWORKS": "203.0.113.0/24",
            "ALLOWED_VPC_ENDPOINT_IDS": "vpce-01234567",
            "ACCOUNT_LABEL": "Shop",
            "ACCOUNT_LABELS": "444455556666=Payroll",
            "ALERT_OFF": "no-mfa",
            "ALERT_ON": "right-password-without-a-sign-in",
            "TIME_ZONE": "Europe/Berlin",
            "TEXTS_AN_HOUR": "30",
            "ALERT_TOPIC_ARN": TOPIC_ARN,
            "TWILIO_SECRET_ARN": "<TwilioSecret>",
            "TWILIO_BASE_URL": "https://api.twilio.com",
            "LEDGER_TABLE_NAME": "signwatch-ledger",
            "LATER_QUEUE_URL": (f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/signwatch-later"),
            "RAW_EVENT_LOG_GROUP_NAME": "/aws/events/signwatch",
            "TRAIL_LOG_GROUP_NAME": "/aws/cloudtrail/signwatch",
        }

    def test_it_names_no_log_group_of_the_trail_if_there_is_none(self) -> None:
        function = installation(TrailLogGroupMode="none")["lambda"].properties("Function")
        assert function["Environment"]["Variables"]["TRAIL_LOG_GROUP_NAME"] == ""

    def test_the_longest_allowed_values_fit(self) -> None:
        declared = load("parent")["Parameters"]
        longest = {
            "KnownNetworks": "1" * declared["KnownNetworks"]["MaxLength"],
            "AllowedVpcEndpointIds": "v" * declared["AllowedVpcEndpointIds"]["MaxLength"],
            "AccountLabel": "x" * 20,
            "AccountLabels": "x" * declared["AccountLabels"]["MaxLength"],
            "AlertOff": "x" * declared["AlertOff"]["MaxLength"],
            "AlertOn": "x" * declared["AlertOn"]["MaxLength"],
            "TimeZone": "x" * declared["TimeZone"]["MaxLength"],
            "TextsAnHour": str(declared["TextsAnHour"]["MaxValue"]),
            "NamePrefix": "a" * declared["NamePrefix"]["MaxLength"],
            "TwilioBaseUrl": f"https://api.{'e' * 63}.{'r' * 63}.twilio.com",
        }
        function = installation(**longest)["lambda"].properties("Function")
        variables = function["Environment"]["Variables"]
        secret = (
            f"arn:aws:secretsmanager:{REGION_AND_ACCOUNT}:secret:TwilioSecret-0123456789ab-012345"
        )
        size = sum(len(key) + len(value) for key, value in variables.items()) + len(secret)
        assert size < ENVIRONMENT_MAX_BYTES


def upper_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def role_statements(**changes: str) -> list[dict[str, Any]]:
    role = installation(**changes)["lambda"].properties("Role")
    documents = [policy["PolicyDocument"] for policy in role["Policies"]]
    return [statement for document in documents for statement in statements(document)]


class TestRole:
    def test_only_lambda_assumes_it(self) -> None:
        (statement,) = statements(ROLE["AssumeRolePolicyDocument"])
        assert (statement["Principal"], statement["Action"]) == (
            LAMBDA_PRINCIPAL,
            ["sts:AssumeRole"],
        )
        assert FUNCTION["Role"] == f"arn:aws:iam::{ACCOUNT}:role/signwatch-function"

    def test_it_has_exactly_these_permissions(self) -> None:
        permissions = [
            (action, resource)
            for statement in role_statements()
            for action in statement["Action"]
            for resource in statement["Resource"]
        ]
        assert sorted(permissions) == sorted(PERMISSIONS)

    @pytest.mark.parametrize(
        ("parameter", "key_arn"), [("", NO_KEY_ARN), (IDENTITY_KEY_ARN, IDENTITY_KEY_ARN)]
    )
    def test_it_uses_a_key_only_through_the_service_that_holds_the_data(
        self, parameter: str, key_arn: str
    ) -> None:
        """The last is as AWS documents it (IAM Identity Center, "Baseline KMS key policy")."""
        services = [
            f"{service}.{REGION}.amazonaws.com" for service in ("dynamodb", "secretsmanager")
        ]
        assert {
            statement["Resource"][0]: statement["Condition"]
            for statement in role_statements(IdentityStoreKeyArn=parameter)
            if statement["Action"] == ["kms:Decrypt"]
        } == {
            "<MainKey.Arn>": {"StringEquals": {"kms:ViaService": services}},
            key_arn: {"StringLike": {"kms:ViaService": "identitystore.*.amazonaws.com"}},
        }
