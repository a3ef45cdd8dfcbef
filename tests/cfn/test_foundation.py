"""The foundation: two keys, the topic, the empty secret, the ledger and the queues."""

from __future__ import annotations

import pytest

from tests.support.templates import (
    ACCOUNT,
    REGION,
    find_statement,
    installation,
    load,
    statements,
    walk,
)

pytestmark = pytest.mark.joint

FOUNDATION_STACK = installation()["foundation"]
MAIN_KEY_POLICY = FOUNDATION_STACK.properties("MainKey")["KeyPolicy"]
TOPIC_KEY_POLICY = FOUNDATION_STACK.properties("TopicKey")["KeyPolicy"]
TRAIL_ARN = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/signwatch-trail"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts"
ADMINISTRATION_STATEMENT = {
    "Sid": "AccountDecidesByItsPolicies",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": ["kms:*"],
    "Resource": ["*"],
}


class TestKeys:
    def test_both_rotate_and_have_30_days_before_deletion(self) -> None:
        for key in FOUNDATION_STACK.of_type("AWS::KMS::Key").values():
            assert (key["EnableKeyRotation"], key["PendingWindowInDays"]) == (True, 30)

    def test_the_account_administers_both(self) -> None:
        for policy in (MAIN_KEY_POLICY, TOPIC_KEY_POLICY):
            assert statements(policy)[0] == ADMINISTRATION_STATEMENT

    def test_policies_have_only_these_statements(self) -> None:
        main = [
            "AccountDecidesByItsPolicies",
            "TrailEncrypts",
            "TrailReadsTheKeyAndTheBucketKey",
            "LogGroupsEncrypt",
        ]
        assert [statement["Sid"] for statement in statements(MAIN_KEY_POLICY)] == main
        topic = ["AccountDecidesByItsPolicies", "AlarmsPublish", "RulesPublish"]
        assert [statement["Sid"] for statement in statements(TOPIC_KEY_POLICY)] == topic

    def test_only_the_trail_encrypts_with_the_main_key(self) -> None:
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

    def test_cloudwatch_logs_may_do_what_its_documentation_lists(self) -> None:
        actions = {
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:DescribeKey",
        }
        assert set(find_statement(MAIN_KEY_POLICY, "LogGroupsEncrypt")["Action"]) == actions

    def test_alarms_may_use_the_topics_key(self) -> None:
        statement = find_statement(TOPIC_KEY_POLICY, "AlarmsPublish")
        assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}

    def test_rules_may_use_the_topics_key_without_a_condition(self) -> None:
        statement = find_statement(TOPIC_KEY_POLICY, "RulesPublish")
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        assert "Condition" not in statement

    def test_topic_and_queues_do_not_need_the_main_key(self) -> None:
        for name in ("AlertTopic", "FailedEventsQueue", "UndeliveredEventsQueue"):
            assert "<MainKey.Arn>" not in list(walk(FOUNDATION_STACK.properties(name))), name
        assert FOUNDATION_STACK.properties("AlertTopic")["KmsMasterKeyId"] == "<TopicKey.Arn>"

    def test_each_has_an_alias(self) -> None:
        aliases = {
            alias["AliasName"]: alias["TargetKeyId"]
            for alias in FOUNDATION_STACK.of_type("AWS::KMS::Alias").values()
        }
        assert aliases == {
            "alias/signwatch-main": "<MainKey>",
            "alias/signwatch-topic": "<TopicKey>",
        }


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
            }

    def test_failed_events_queue_needs_tls(self) -> None:
        (policy,) = FOUNDATION_STACK.of_type("AWS::SQS::QueuePolicy").values()
        assert policy["Queues"] == ["<FailedEventsQueue>"]
        (statement,) = statements(policy["PolicyDocument"])
        assert (statement["Effect"], statement["Action"]) == ("Deny", ["sqs:*"])
        assert statement["Resource"] == [f"arn:aws:sqs:{REGION}:{ACCOUNT}:signwatch-failed-events"]
