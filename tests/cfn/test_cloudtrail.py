"""The trail: it records everything, in a bucket to which only this trail writes."""

from __future__ import annotations

import pytest

from tests.support.templates import find_statement, installation, statements
from tooling.resolved_templates import ACCOUNT, REGION

pytestmark = pytest.mark.joint

CLOUDTRAIL_STACK = installation()["cloudtrail"]
TRAIL = CLOUDTRAIL_STACK.properties("Trail")
BUCKET = CLOUDTRAIL_STACK.properties("TrailBucket")
BUCKET_POLICY = CLOUDTRAIL_STACK.properties("TrailBucketPolicy")["PolicyDocument"]
CLOUDTRAIL_PRINCIPAL = {"Service": "cloudtrail.amazonaws.com"}


def trail_arn() -> str:
    return f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{TRAIL['TrailName']}"


class TestTrail:
    def test_it_records_every_region_and_the_global_services(self) -> None:
        assert TRAIL["IsLogging"] is True
        assert TRAIL["IsMultiRegionTrail"] is True
        assert TRAIL["IncludeGlobalServiceEvents"] is True

    def test_it_records_reads_as_well_as_writes(self) -> None:
        assert TRAIL["EventSelectors"] == [
            {"ReadWriteType": "All", "IncludeManagementEvents": True}
        ]
        assert "AdvancedEventSelectors" not in TRAIL

    def test_its_files_are_encrypted_and_can_be_validated(self) -> None:
        assert (TRAIL["EnableLogFileValidation"], TRAIL["KMSKeyId"]) == (True, "<MainKey.Arn>")

    def test_it_writes_to_its_bucket_and_to_its_log_group(self) -> None:
        assert (TRAIL["S3BucketName"], "S3KeyPrefix" in TRAIL) == ("<TrailBucket>", False)
        group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/cloudtrail/signwatch:*"
        assert TRAIL["CloudWatchLogsLogGroupArn"] == group
        assert TRAIL["CloudWatchLogsRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/signwatch-trail"

    def test_the_log_group_can_be_left_out(self) -> None:
        stack = installation(TrailLogGroupMode="none")["cloudtrail"]
        assert set(TRAIL) - set(stack.properties("Trail")) == {
            "CloudWatchLogsLogGroupArn",
            "CloudWatchLogsRoleArn",
        }
        left_out = set(CLOUDTRAIL_STACK.resources) - set(stack.resources)
        assert left_out == {"TrailLogGroup", "TrailRole", "TrailFilter", "TrailFilterPermission"}

    def test_it_waits_for_the_bucket_policy(self) -> None:
        assert CLOUDTRAIL_STACK.resources["Trail"]["DependsOn"] == "TrailBucketPolicy"


class TestFilter:
    GROUP = "/aws/cloudtrail/signwatch"
    FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:signwatch-function"

    def test_it_hands_the_trails_sign_ins_to_the_function(self) -> None:
        subscription = CLOUDTRAIL_STACK.properties("TrailFilter")
        assert subscription["LogGroupName"] == self.GROUP
        assert subscription["DestinationArn"] == self.FUNCTION_ARN
        assert len(subscription["FilterPattern"]) <= 1024  # PutSubscriptionFilter
        assert set(subscription) == {
            "LogGroupName",
            "DestinationArn",
            "FilterPattern",
        }

    def test_the_log_group_alone_invokes_the_function_from_the_start(self) -> None:
        assert CLOUDTRAIL_STACK.resources["TrailFilter"]["DependsOn"] == "TrailFilterPermission"
        assert CLOUDTRAIL_STACK.properties("TrailFilterPermission") == {
            "FunctionName": self.FUNCTION_ARN,
            "Action": "lambda:InvokeFunction",
            "Principal": "logs.amazonaws.com",
            "SourceArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{self.GROUP}:*",
            "SourceAccount": ACCOUNT,
        }

    def test_it_reads_the_log_group_of_an_existing_trail_instead(self) -> None:
        stack = installation(TrailMode="existing", TrailLogGroupName="/existing/trail")[
            "cloudtrail"
        ]
        assert set(stack.resources) == {"TrailFilter", "TrailFilterPermission"}
        assert stack.properties("TrailFilter") == {
            **CLOUDTRAIL_STACK.properties("TrailFilter"),
            "LogGroupName": "/existing/trail",
        }
        assert stack.properties("TrailFilterPermission") == {
            **CLOUDTRAIL_STACK.properties("TrailFilterPermission"),
            "SourceArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/existing/trail:*",
        }

    def test_an_existing_trail_without_a_log_group_has_no_filter(self) -> None:
        assert dict(installation(TrailMode="existing")["cloudtrail"].resources) == {}


class TestBucketPolicy:
    def test_it_belongs_to_the_trails_bucket(self) -> None:
        assert CLOUDTRAIL_STACK.properties("TrailBucketPolicy")["Bucket"] == TRAIL["S3BucketName"]

    def test_it_has_only_these_statements(self) -> None:
        assert [statement["Sid"] for statement in statements(BUCKET_POLICY)] == [
            "TrailReadsTheAcl",
            "TrailWrites",
            "OnlyOverTls",
        ]

    def test_only_this_trail_reads_the_acl(self) -> None:
        statement = find_statement(BUCKET_POLICY, "TrailReadsTheAcl")
        assert (statement["Principal"], statement["Action"]) == (
            CLOUDTRAIL_PRINCIPAL,
            ["s3:GetBucketAcl"],
        )
        assert statement["Resource"] == ["<TrailBucket.Arn>"]
        assert statement["Condition"] == {"StringEquals": {"aws:SourceArn": trail_arn()}}

    def test_only_this_trail_writes_to_its_accounts_folder(
        self,
    ) -> None:
        statement = find_statement(BUCKET_POLICY, "TrailWrites")
        assert (statement["Principal"], statement["Action"]) == (
            CLOUDTRAIL_PRINCIPAL,
            ["s3:PutObject"],
        )
        assert statement["Resource"] == [f"<TrailBucket.Arn>/AWSLogs/{ACCOUNT}/*"]
        expected = {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": trail_arn()}
        assert statement["Condition"] == {"StringEquals": expected}

    def test_bucket_needs_tls(self) -> None:
        statement = find_statement(BUCKET_POLICY, "OnlyOverTls")
        assert (statement["Effect"], statement["Action"]) == ("Deny", ["s3:*"])
        assert statement["Resource"] == ["<TrailBucket.Arn>", "<TrailBucket.Arn>/*"]


class TestBucket:
    def test_it_is_private_and_owned_by_its_account(self) -> None:
        blocked = [
            "BlockPublicAcls",
            "BlockPublicPolicy",
            "IgnorePublicAcls",
            "RestrictPublicBuckets",
        ]
        assert BUCKET["PublicAccessBlockConfiguration"] == dict.fromkeys(blocked, True)
        assert BUCKET["OwnershipControls"] == {
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
        }

    def test_it_is_encrypted_with_the_main_key(self) -> None:
        (rule,) = BUCKET["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        expected = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "<MainKey.Arn>"}
        assert rule == {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": expected}

    def test_its_access_is_logged_to_the_bootstraps_bucket(self) -> None:
        expected = {"DestinationBucketName": "signwatch-access-logs", "LogFilePrefix": "trail/"}
        assert BUCKET["LoggingConfiguration"] == expected

    def test_old_versions_expire_and_records_never(self) -> None:
        assert BUCKET["VersioningConfiguration"] == {"Status": "Enabled"}
        (rule,) = BUCKET["LifecycleConfiguration"]["Rules"]
        assert rule["Status"] == "Enabled"
        assert set(rule) == {
            "Id",
            "Status",
            "NoncurrentVersionExpiration",
            "AbortIncompleteMultipartUpload",
        }
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 365}


class TestRole:
    def test_only_cloudtrail_assumes_it(self) -> None:
        (statement,) = statements(
            CLOUDTRAIL_STACK.properties("TrailRole")["AssumeRolePolicyDocument"]
        )
        assert (statement["Principal"], statement["Action"]) == (
            CLOUDTRAIL_PRINCIPAL,
            ["sts:AssumeRole"],
        )

    def test_it_writes_only_to_the_trails_log_streams(self) -> None:
        (policy,) = CLOUDTRAIL_STACK.properties("TrailRole")["Policies"]
        (statement,) = statements(policy["PolicyDocument"])
        streams = f"log-group:/aws/cloudtrail/signwatch:log-stream:{ACCOUNT}_CloudTrail_{REGION}*"
        assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
        assert statement["Resource"] == [f"arn:aws:logs:{REGION}:{ACCOUNT}:{streams}"]
