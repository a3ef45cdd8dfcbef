"""The trail: everything recorded, in every Region, into a bucket whose policy knows this trail alone."""

from __future__ import annotations

import pytest

from tests.support.templates import ACCOUNT, REGION, installation, statement, statements

pytestmark = pytest.mark.joint

MADE = installation()["cloudtrail"]
TRAIL = MADE.properties("Trail")
BUCKET = MADE.properties("TrailBucket")
POLICY = MADE.properties("TrailBucketPolicy")["PolicyDocument"]
CLOUDTRAIL = {"Service": "cloudtrail.amazonaws.com"}


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

    def test_it_waits_for_the_bucket_policy_that_cloudtrail_looks_at_first(self) -> None:
        assert MADE.resources["Trail"]["DependsOn"] == "TrailBucketPolicy"


class TestBucketPolicy:
    def test_it_belongs_to_the_trails_bucket(self) -> None:
        assert MADE.properties("TrailBucketPolicy")["Bucket"] == TRAIL["S3BucketName"]

    def test_it_has_these_statements_and_no_other(self) -> None:
        assert [one["Sid"] for one in statements(POLICY)] == [
            "TrailReadsTheAcl",
            "TrailWrites",
            "OnlyOverTls",
        ]

    def test_this_trail_alone_may_read_the_acl(self) -> None:
        one = statement(POLICY, "TrailReadsTheAcl")
        assert (one["Principal"], one["Action"]) == (CLOUDTRAIL, ["s3:GetBucketAcl"])
        assert one["Resource"] == ["<TrailBucket.Arn>"]
        assert one["Condition"] == {"StringEquals": {"aws:SourceArn": trail_arn()}}

    def test_this_trail_alone_may_write_below_its_accounts_folder_with_the_acl_that_cloudtrail_sends(
        self,
    ) -> None:
        one = statement(POLICY, "TrailWrites")
        assert (one["Principal"], one["Action"]) == (CLOUDTRAIL, ["s3:PutObject"])
        assert one["Resource"] == [f"<TrailBucket.Arn>/AWSLogs/{ACCOUNT}/*"]
        expected = {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": trail_arn()}
        assert one["Condition"] == {"StringEquals": expected}

    def test_nobody_uses_the_bucket_without_tls(self) -> None:
        one = statement(POLICY, "OnlyOverTls")
        assert (one["Effect"], one["Action"]) == ("Deny", ["s3:*"])
        assert one["Resource"] == ["<TrailBucket.Arn>", "<TrailBucket.Arn>/*"]


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

    def test_its_access_is_logged_into_the_bootstraps_bucket(self) -> None:
        expected = {"DestinationBucketName": "signwatch-access-logs", "LogFilePrefix": "trail/"}
        assert BUCKET["LoggingConfiguration"] == expected

    def test_old_versions_go_in_time_and_records_never(self) -> None:
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
    def test_cloudtrail_alone_takes_it(self) -> None:
        (one,) = statements(MADE.properties("TrailRole")["AssumeRolePolicyDocument"])
        assert (one["Principal"], one["Action"]) == (CLOUDTRAIL, ["sts:AssumeRole"])

    def test_it_writes_to_the_trails_own_log_streams_alone(self) -> None:
        (policy,) = MADE.properties("TrailRole")["Policies"]
        (one,) = statements(policy["PolicyDocument"])
        streams = f"log-group:/aws/cloudtrail/signwatch:log-stream:{ACCOUNT}_CloudTrail_{REGION}*"
        assert set(one["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
        assert one["Resource"] == [f"arn:aws:logs:{REGION}:{ACCOUNT}:{streams}"]
