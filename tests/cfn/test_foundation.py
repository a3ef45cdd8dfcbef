"""The foundation: two keys, the topic, the empty secret, the ledger and the queues."""

from __future__ import annotations

import pytest

from tests.support.templates import ACCOUNT, REGION, installation, load, statement, statements, walk

pytestmark = pytest.mark.joint

MADE = installation()["foundation"]
MAIN = MADE.properties("MainKey")["KeyPolicy"]
TOPIC = MADE.properties("TopicKey")["KeyPolicy"]
TRAIL = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/signwatch-trail"
ALERTS = f"arn:aws:sns:{REGION}:{ACCOUNT}:signwatch-alerts"
ADMINISTRATION = {
    "Sid": "AccountDecidesByItsPolicies",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": ["kms:*"],
    "Resource": ["*"],
}


class TestKeys:
    def test_both_turn_every_year_and_leave_a_month_to_think_again(self) -> None:
        for key in MADE.of_type("AWS::KMS::Key").values():
            assert (key["EnableKeyRotation"], key["PendingWindowInDays"]) == (True, 30)

    def test_the_account_administers_both(self) -> None:
        assert [statements(policy)[0] for policy in (MAIN, TOPIC)] == [
            ADMINISTRATION,
            ADMINISTRATION,
        ]

    def test_no_statement_but_the_expected_ones_stands_in_their_policies(self) -> None:
        main = [
            "AccountDecidesByItsPolicies",
            "TrailEncrypts",
            "TrailReadsTheKeyAndTheBucketKey",
            "LogGroupsEncrypt",
        ]
        assert [one["Sid"] for one in statements(MAIN)] == main
        topic = ["AccountDecidesByItsPolicies", "AlarmsPublish", "RulesPublish"]
        assert [one["Sid"] for one in statements(TOPIC)] == topic

    def test_the_trail_alone_encrypts_with_the_main_key(self) -> None:
        one = statement(MAIN, "TrailEncrypts")
        assert (one["Principal"], one["Action"]) == (
            {"Service": "cloudtrail.amazonaws.com"},
            ["kms:GenerateDataKey*"],
        )
        assert one["Condition"] == {
            "StringEquals": {"aws:SourceArn": TRAIL},
            "StringLike": {
                "kms:EncryptionContext:aws:cloudtrail:arn": f"arn:aws:cloudtrail:*:{ACCOUNT}:trail/*"
            },
        }

    def test_the_trail_may_look_at_the_key_and_open_the_bucket_key(self) -> None:
        one = statement(MAIN, "TrailReadsTheKeyAndTheBucketKey")
        assert one["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert set(one["Action"]) == {"kms:DescribeKey", "kms:Decrypt"}
        assert one["Condition"] == {"StringEquals": {"aws:SourceArn": TRAIL}}

    def test_cloudwatch_logs_may_do_what_its_page_asks_for(self) -> None:
        needed = {
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:DescribeKey",
        }
        assert set(statement(MAIN, "LogGroupsEncrypt")["Action"]) == needed

    def test_alarms_may_write_to_the_encrypted_topic(self) -> None:
        one = statement(TOPIC, "AlarmsPublish")
        assert one["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        assert set(one["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        assert one["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}

    def test_rules_may_write_to_it_without_a_condition_that_eventbridge_never_meets(self) -> None:
        one = statement(TOPIC, "RulesPublish")
        assert one["Principal"] == {"Service": "events.amazonaws.com"}
        assert set(one["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
        assert "Condition" not in one

    def test_the_way_to_the_owner_needs_no_key_but_its_own(self) -> None:
        for name in ("AlertTopic", "FailedEventsQueue", "UndeliveredEventsQueue"):
            assert "<MainKey.Arn>" not in list(walk(MADE.properties(name))), name
        assert MADE.properties("AlertTopic")["KmsMasterKeyId"] == "<TopicKey.Arn>"

    def test_their_names_lead_to_them(self) -> None:
        aliases = {
            one["AliasName"]: one["TargetKeyId"] for one in MADE.of_type("AWS::KMS::Alias").values()
        }
        assert aliases == {
            "alias/signwatch-main": "<MainKey>",
            "alias/signwatch-topic": "<TopicKey>",
        }


class TestTopic:
    def test_the_owners_address_is_subscribed(self) -> None:
        assert MADE.properties("AlertSubscription") == {
            "TopicArn": ALERTS,
            "Protocol": "email",
            "Endpoint": "owner@example.com",
        }

    def test_only_alarms_of_this_installation_publish_by_its_policy(self) -> None:
        (policy,) = MADE.of_type("AWS::SNS::TopicPolicy").values()
        assert policy["Topics"] == [ALERTS]
        allowed = [one for one in statements(policy["PolicyDocument"]) if one["Effect"] == "Allow"]
        assert [(one["Principal"], one["Action"], one["Resource"]) for one in allowed] == [
            ({"Service": "cloudwatch.amazonaws.com"}, ["sns:Publish"], [ALERTS])
        ]
        assert allowed[0]["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {
                "aws:SourceArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:signwatch-*"
            },
        }

    def test_nobody_publishes_without_tls(self) -> None:
        (policy,) = MADE.of_type("AWS::SNS::TopicPolicy").values()
        one = statement(policy["PolicyDocument"], "OnlyOverTls")
        assert (one["Effect"], one["Action"], one["Resource"]) == (
            "Deny",
            ["sns:Publish"],
            [ALERTS],
        )


class TestSecret:
    def test_it_is_made_empty_so_that_no_credential_is_ever_a_parameter(self) -> None:
        secret = MADE.properties("TwilioSecret")
        assert set(secret) == {"Description", "KmsKeyId"}
        assert secret["KmsKeyId"] == "<MainKey.Arn>"

    def test_its_logical_id_stays_since_the_bootstraps_roles_know_it_by_that_name(self) -> None:
        assert list(MADE.of_type("AWS::SecretsManager::Secret")) == ["TwilioSecret"]

    def test_no_parameter_of_any_template_could_hold_a_credential(self) -> None:
        words = ("secretstring", "password", "token", "sid", "credential", "apikey")
        names = [name for stack in installation() for name in load(stack)["Parameters"]]
        assert [name for name in names if any(word in name.lower() for word in words)] == []


class TestLedger:
    def test_it_is_the_table_that_the_function_writes_to(self) -> None:
        ledger = MADE.properties("Ledger")
        assert ledger["KeySchema"] == [{"AttributeName": "alert", "KeyType": "HASH"}]
        assert ledger["AttributeDefinitions"] == [{"AttributeName": "alert", "AttributeType": "S"}]
        assert ledger["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}

    def test_it_is_paid_by_use_restorable_and_encrypted_with_the_main_key(self) -> None:
        ledger = MADE.properties("Ledger")
        assert ledger["BillingMode"] == "PAY_PER_REQUEST"
        assert ledger["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        encryption = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": "<MainKey.Arn>"}
        assert ledger["SSESpecification"] == encryption


class TestQueues:
    def test_both_keep_events_as_long_as_sqs_can_and_need_no_customer_key(self) -> None:
        queues = MADE.of_type("AWS::SQS::Queue").values()
        assert len(queues) == 2
        for queue in queues:
            assert set(queue) == {
                "QueueName",
                "SqsManagedSseEnabled",
                "MessageRetentionPeriod",
            }  # standard, not FIFO
            assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (
                True,
                14 * 24 * 3600,
            )

    def test_nobody_uses_the_failed_events_without_tls(self) -> None:
        (policy,) = MADE.of_type("AWS::SQS::QueuePolicy").values()
        assert policy["Queues"] == ["<FailedEventsQueue>"]
        (one,) = statements(policy["PolicyDocument"])
        assert (one["Effect"], one["Action"]) == ("Deny", ["sqs:*"])
        assert one["Resource"] == [f"arn:aws:sqs:{REGION}:{ACCOUNT}:signwatch-failed-events"]
