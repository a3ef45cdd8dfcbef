"""The function: what it runs on, what it is told, what it may do, and where its failures go."""

from __future__ import annotations

import re

import pytest

from tests.support.templates import ACCOUNT, REGION, installation, load, statements

pytestmark = pytest.mark.joint

MADE = installation()["lambda"]
FUNCTION = MADE.properties("Function")
ROLE = MADE.properties("Role")
LAMBDA = {"Service": "lambda.amazonaws.com"}
HERE = f"{REGION}:{ACCOUNT}"
LEDGER = f"arn:aws:dynamodb:{HERE}:table/signwatch-ledger"
TOPIC = f"arn:aws:sns:{HERE}:signwatch-alerts"
FAILED = f"arn:aws:sqs:{HERE}:signwatch-failed-events"
LOOKS = f"arn:aws:sqs:{HERE}:signwatch-second-looks"
RIGHTS = {  # everything that the function may do
    ("logs:CreateLogStream", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/signwatch-function:*"),
    ("logs:PutLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/signwatch-function:*"),
    ("dynamodb:GetItem", LEDGER),
    ("dynamodb:PutItem", LEDGER),
    ("dynamodb:UpdateItem", LEDGER),
    ("ssm:GetParametersByPath", f"arn:aws:ssm:{HERE}:parameter/signwatch/networks"),
    ("ssm:GetParametersByPath", f"arn:aws:ssm:{HERE}:parameter/signwatch/networks/*"),
    ("secretsmanager:GetSecretValue", "<TwilioSecret>"),
    ("identitystore:DescribeUser", f"arn:aws:identitystore::{ACCOUNT}:identitystore/*"),
    ("identitystore:DescribeUser", "arn:aws:identitystore:::user/*"),
    ("sns:Publish", TOPIC),
    ("sqs:SendMessage", FAILED),
    ("sqs:SendMessage", LOOKS),
    ("sqs:ReceiveMessage", LOOKS),
    ("sqs:DeleteMessage", LOOKS),
    ("sqs:GetQueueAttributes", LOOKS),
    ("logs:FilterLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/events/signwatch:*"),
    ("kms:Decrypt", "<MainKey.Arn>"),
    ("kms:Decrypt", "<TopicKey.Arn>"),
    ("kms:GenerateDataKey", "<TopicKey.Arn>"),
}
MOST_OF_ENVIRONMENT = 4096  # bytes of all keys and values (Lambda quotas)


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
        layer = MADE.properties("Layer")
        assert FUNCTION["Code"] == {"S3Bucket": "signwatch-artifacts", "S3Key": "function/code.zip"}
        assert layer["Content"] == {"S3Bucket": "signwatch-artifacts", "S3Key": "layer/layer.zip"}
        assert FUNCTION["Layers"] == ["<Layer>"]

    def test_the_layer_serves_its_runtime_on_both_processors(self) -> None:
        layer = MADE.properties("Layer")
        assert layer["CompatibleRuntimes"] == [FUNCTION["Runtime"]]
        assert set(layer["CompatibleArchitectures"]) == {"arm64", "x86_64"}

    def test_it_logs_into_the_group_that_is_there_before_it(self) -> None:
        assert load("lambda")["Resources"]["Function"]["Properties"]["LoggingConfig"] == {
            "LogGroup": {"Ref": "LogGroup"}
        }

    def test_an_event_is_tried_three_times_within_six_hours_and_then_kept(self) -> None:
        (config,) = MADE.of_type("AWS::Lambda::EventInvokeConfig").values()
        assert config == {
            "FunctionName": "signwatch-function",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 2,
            "MaximumEventAgeInSeconds": 21600,
        }
        assert FUNCTION["DeadLetterConfig"] == {"TargetArn": FAILED}

    def test_it_reserves_no_concurrency_unless_it_is_asked_to(self) -> None:
        assert "ReservedConcurrentExecutions" not in FUNCTION
        asked = installation(ReservedConcurrency="5")["lambda"].properties("Function")
        assert asked["ReservedConcurrentExecutions"] == "5"


class TestSecondLooks:
    QUEUE = MADE.properties("SecondLookQueue")

    def test_the_queue_hands_each_message_to_the_function_by_itself(self) -> None:
        (mapping,) = MADE.of_type("AWS::Lambda::EventSourceMapping").values()
        assert mapping == {
            "FunctionName": "signwatch-function",
            "EventSourceArn": LOOKS,
            "Enabled": True,
            "BatchSize": 1,
            "ScalingConfig": {"MaximumConcurrency": 2},
        }

    def test_what_is_tried_three_times_waits_with_the_failed_events(self) -> None:
        assert self.QUEUE["RedrivePolicy"] == {"deadLetterTargetArn": FAILED, "maxReceiveCount": 3}

    def test_a_message_is_hidden_for_six_times_as_long_as_the_function_may_run(self) -> None:
        """Lambda developer guide, "Using Lambda with Amazon SQS"."""
        assert self.QUEUE["VisibilityTimeout"] == 6 * FUNCTION["Timeout"]

    def test_it_is_sealed_by_sqs_and_keeps_what_it_holds_for_two_weeks(self) -> None:
        assert self.QUEUE["SqsManagedSseEnabled"] is True
        assert self.QUEUE["MessageRetentionPeriod"] == 14 * 86400

    def test_only_the_role_may_use_it_and_nobody_without_tls(self) -> None:
        (policy,) = MADE.of_type("AWS::SQS::QueuePolicy").values()
        assert policy["Queues"] == ["<SecondLookQueue>"]
        (one,) = statements(policy["PolicyDocument"])
        assert (one["Effect"], one["Action"], one["Resource"]) == ("Deny", ["sqs:*"], [LOOKS])

    def test_the_function_sends_to_the_queue_that_is_made(self) -> None:
        url = FUNCTION["Environment"]["Variables"]["SECOND_LOOK_QUEUE_URL"]
        assert url.rpartition("/")[2] == self.QUEUE["QueueName"]


class TestEnvironment:
    def test_each_key_is_the_parameter_of_its_name_in_capitals(self) -> None:
        written = load("lambda")["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
        for key, value in written.items():
            assert capitals(value["Ref"]) == key

    def test_it_is_what_the_function_reads(self) -> None:
        chosen = {
            "AllowedVpcEndpointIds": "vpce-01234567",
            "AlertOff": "no-mfa",
            "TimeZone": "Europe/Berlin",
        }
        asked = {"KnownNetworks": "203.0.113.0/24", "AlertOn": "right-password-without-a-sign-in"}
        made = installation(AccountLabel="Shop", **asked, **chosen)["lambda"]
        assert made.properties("Function")["Environment"]["Variables"] == {
            "NAME_PREFIX": "signwatch",
            "KNOWN_NETWORKS": "203.0.113.0/24",
            "ALLOWED_VPC_ENDPOINT_IDS": "vpce-01234567",
            "ACCOUNT_LABEL": "Shop",
            "ALERT_OFF": "no-mfa",
            "ALERT_ON": "right-password-without-a-sign-in",
            "TIME_ZONE": "Europe/Berlin",
            "ALERT_TOPIC_ARN": TOPIC,
            "TWILIO_SECRET_ARN": "<TwilioSecret>",
            "TWILIO_BASE_URL": "https://api.twilio.com",
            "LEDGER_TABLE_NAME": "signwatch-ledger",
            "SECOND_LOOK_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/signwatch-second-looks",
            "RAW_EVENT_LOG_GROUP_NAME": "/aws/events/signwatch",
        }

    def test_the_longest_values_that_the_parent_takes_fit_into_it(self) -> None:
        declared = load("parent")["Parameters"]
        longest = {
            "KnownNetworks": "1" * declared["KnownNetworks"]["MaxLength"],
            "AllowedVpcEndpointIds": "v" * declared["AllowedVpcEndpointIds"]["MaxLength"],
            "AccountLabel": "x" * 20,
            "AlertOff": "x" * declared["AlertOff"]["MaxLength"],
            "AlertOn": "x" * declared["AlertOn"]["MaxLength"],
            "TimeZone": "x" * declared["TimeZone"]["MaxLength"],
            "NamePrefix": "a" * declared["NamePrefix"]["MaxLength"],
            "TwilioBaseUrl": f"https://api.{'e' * 63}.{'r' * 63}.twilio.com",
        }
        variables = installation(**longest)["lambda"].properties("Function")["Environment"][
            "Variables"
        ]
        secret = f"arn:aws:secretsmanager:{HERE}:secret:TwilioSecret-0123456789ab-012345"
        size = sum(len(key) + len(value) for key, value in variables.items()) + len(secret)
        assert size < MOST_OF_ENVIRONMENT


def capitals(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


class TestRole:
    def test_lambda_alone_takes_it(self) -> None:
        (one,) = statements(ROLE["AssumeRolePolicyDocument"])
        assert (one["Principal"], one["Action"]) == (LAMBDA, ["sts:AssumeRole"])
        assert FUNCTION["Role"] == f"arn:aws:iam::{ACCOUNT}:role/signwatch-function"

    def test_it_may_do_exactly_this(self) -> None:
        given = [one for policy in ROLE["Policies"] for one in statements(policy["PolicyDocument"])]
        rights = [
            (action, on) for one in given for action in one["Action"] for on in one["Resource"]
        ]
        assert sorted(rights) == sorted(RIGHTS)

    def test_it_uses_a_key_only_by_way_of_the_service_that_holds_the_data(self) -> None:
        services = {"<MainKey.Arn>": {"dynamodb", "secretsmanager"}, "<TopicKey.Arn>": {"sns"}}
        given = [one for policy in ROLE["Policies"] for one in statements(policy["PolicyDocument"])]
        keys = {
            one["Resource"][0]: one["Condition"]
            for one in given
            if one["Action"][0].startswith("kms:")
        }
        assert set(keys) == set(services)
        for key, condition in keys.items():
            assert list(condition) == ["StringEquals"]
            assert list(condition["StringEquals"]) == ["kms:ViaService"]
            via = condition["StringEquals"]["kms:ViaService"]
            found = {via} if isinstance(via, str) else set(via)
            assert found == {f"{service}.{REGION}.amazonaws.com" for service in services[key]}
