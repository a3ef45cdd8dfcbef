"""The foundation: the main key, the topic, the empty secret, the ledger and the queues."""

from __future__ import annotations

import pytest

from tests.support.templates import find_statement, installation, load, statements
from tooling.resolved_templates import ACCOUNT, REGION, REQUIRED_VALUES, walk

pytestmark = pytest.mark.joint

FOUNDATION_STACK = installation()["foundation"]
MAIN_KEY_POLICY = FOUNDATION_STACK.properties("MainKey")["KeyPolicy"]
TRAIL_ARN = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/signwatch-trail"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts"
ADMINISTRATION_STATEMENT = {
    "Sid": "AccountDecidesByItsPolicies",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": ["kms:*"],
    "Resource": ["*"],
}


class TestMainKey:
    def test_it_is_the_only_key(self) -> None:
        assert list(FOUNDATION_STACK.of_type("AWS::KMS::Key")) == ["MainKey"]
        (alias,) = FOUNDATION_STACK.of_type("AWS::KMS::Alias").values()
        assert alias == {"AliasName": "alias/signwatch-main", "TargetKeyId": "<MainKey>"}

    def test_it_rotates_as_rarely_as_possible_and_has_30_days_before_deletion(self) -> None:
        """Each of the first two rotations adds 1 USD a month (AWS KMS pricing)."""
        key = FOUNDATION_STACK.properties("MainKey")
        assert (key["EnableKeyRotation"], key["RotationPeriodInDays"]) == (True, 2560)
        assert key["PendingWindowInDays"] == 30

    def test_the_account_administers_it(self) -> None:
        assert statements(MAIN_KEY_POLICY)[0] == ADMINISTRATION_STATEMENT

    def test_its_policy_has_only_these_statements(self) -> None:
        assert [statement["Sid"] for statement in statements(MAIN_KEY_POLICY)] == [
            "AccountDecidesByItsPolicies",
            "CloudFormationAdministers",
            "CloudFormationEncrypts",
            "TrailEncrypts",
            "TrailReadsTheKeyAndTheBucketKey",
        ]

    @pytest.mark.parametrize("sid", ["CloudFormationAdministers", "CloudFormationEncrypts"])
    def test_the_service_role_may_use_it_without_a_tag(self, sid: str) -> None:
        """A tag has no effect while the key is created. test_permissions.py has the actions."""
        statement = find_statement(MAIN_KEY_POLICY, sid)
        assert statement["Principal"] == {"AWS": REQUIRED_VALUES["ServiceRoleArn"]}
        assert "Condition" not in statement
        assert not any("*" in action for action in statement["Action"])

    def test_the_trail_is_the_only_service_that_encrypts_with_it(self) -> None:
        statement = find_statement(MAIN_KEY_POLICY, "TrailEncrypts")
        context = "kms:EncryptionContext:aws:cloudtrail:arn"
        assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert statement["Action"] == ["kms:GenerateDataKey*"]
        assert statement["Condition"] == {
            "StringEquals": {"aws:SourceArn": TRAIL_ARN},
            "StringLike": {context: f"arn:aws:cloudtrail:*:{ACCOUNT}:trail/*"},
        }

    def test_trail_may_describe_the_key_and_decrypt_the_bucket_key(self) -> None:
        statement = find_statement(MAIN_KEY_POLICY, "TrailReadsTheKeyAndTheBucketKey")
        assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert set(statement["Action"]) == {"kms:DescribeKey", "kms:Decrypt"}
        assert statement["Condition"] == {"StringEquals": {"aws:SourceArn": TRAIL_ARN}}

    def test_topic_and_queues_do_not_need_a_key(self) -> None:
        for name in ("AlertTopic", "FailedEventsQueue", "UndeliveredEventsQueue"):
            assert "<MainKey.Arn>" not in list(walk(FOUNDATION_STACK.properties(name))), name
        assert set(FOUNDATION_STACK.properties("AlertTopic")) == {"TopicName", "DisplayName"}


class TestTopic:
    def test_the_owners_address_is_subscribed(self) -> None:
        assert FOUNDATION_STACK.properties("AlertSubscription") == {
            "TopicArn": TOPIC_ARN,
            "Protocol": "email",
            "Endpoint": "owner@example.com",
        }

    def test_its_policy_allows_only_alarms_of_this_installation(self) -> None:
        (policy,) = FOUNDATION_STACK.of_type("AWS::SNS::TopicPolicy").values()
        assert policy["Topics"] == [TOPIC_ARN]
        allowed = [
            statement
            for statement in statements(policy["PolicyDocument"])
            if statement["Effect"] == "Allow"
        ]
        (statement,) = allowed
        assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        assert (statement["Action"], statement["Resource"]) == (["sns:Publish"], [TOPIC_ARN])
        alarms = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:signwatch-*"
        assert statement["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": alarms},
        }

    def test_publishing_needs_tls(self) -> None:
        (policy,) = FOUNDATION_STACK.of_type("AWS::SNS::TopicPolicy").values()
        statement = find_statement(policy["PolicyDocument"], "OnlyOverTls")
        assert (statement["Effect"], statement["Action"]) == ("Deny", ["sns:Publish"])
        assert statement["Resource"] == [TOPIC_ARN]


class TestSecret:
    def test_it_is_created_empty(self) -> None:
        secret = FOUNDATION_STACK.properties("TwilioSecret")
        assert set(secret) == {"Description", "KmsKeyId"}
        assert secret["KmsKeyId"] == "<MainKey.Arn>"

    def test_its_logical_id_is_the_one_in_the_bootstraps_policies(self) -> None:
        assert list(FOUNDATION_STACK.of_type("AWS::SecretsManager::Secret")) == ["TwilioSecret"]

    def test_no_parameter_is_named_like_a_credential(self) -> None:
        words = ("secretstring", "password", "token", "sid", "credential", "apikey")
        names = [name for stack in installation() for name in load(stack)["Parameters"]]
        assert [name for name in names if any(word in name.lower() for word in words)] == []


class TestLedger:
    def test_its_keys_are_those_that_the_function_writes(self) -> None:
        ledger = FOUNDATION_STACK.properties("Ledger")
        assert ledger["KeySchema"] == [{"AttributeName": "alert", "KeyType": "HASH"}]
        assert ledger["AttributeDefinitions"] == [{"AttributeName": "alert", "AttributeType": "S"}]
        assert ledger["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}

    def test_it_is_on_demand_restorable_and_encrypted_with_the_main_key(self) -> None:
        ledger = FOUNDATION_STACK.properties("Ledger")
        assert ledger["BillingMode"] == "PAY_PER_REQUEST"
        assert ledger["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        encryption = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": "<MainKey.Arn>"}
        assert ledger["SSESpecification"] == encryption


class TestQueues:
    def test_both_keep_events_for_14_days_and_need_no_customer_key(self) -> None:
        queues = FOUNDATION_STACK.of_type("AWS::SQS::Queue").values()
        assert len(queues) == 2
        for queue in queues:
            assert queue == {  # no FIFO queue
                "QueueName": queue["QueueName"],
                "SqsManagedSseEnabled": True,
                "MessageRetentionPeriod": 14 * 24 * 3600,
                "VisibilityTimeout": 900,  # no redrive policy: tried until it succeeds
            }

    def test_failed_events_queue_needs_tls(self) -> None:
        (policy,) = FOUNDATION_STACK.of_type("AWS::SQS::QueuePolicy").values()
        assert policy["Queues"] == ["<FailedEventsQueue>"]
        (statement,) = statements(policy["PolicyDocument"])
        assert (statement["Effect"], statement["Action"]) == ("Deny", ["sqs:*"])
        assert statement["Resource"] == [f"arn:aws:sqs:{REGION}:{ACCOUNT}:signwatch-failed-events"]
