"""AWS::CloudTrail::Trail on the local AWS emulator: what it takes to make one, and what CloudTrail says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import EmulatorAccount
from tests.support.stacks import Stacks, resource

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]

SERVICE = {"Service": "cloudtrail.amazonaws.com"}
TRAIL_ARN = {"Fn::Sub": "arn:aws:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/watch"}
CAPABILITIES = ["CAPABILITY_NAMED_IAM"]


@pytest.fixture
def stacks(emulator: Emulator) -> Stacks:
    return Stacks(EmulatorAccount.on(emulator))


def bucket_policy(
    source: Any = TRAIL_ARN, prefix: str = "", acl: str = "bucket-owner-full-control"
) -> dict[str, Any]:
    """CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail"."""
    objects = {"Fn::Sub": f"${{Bucket.Arn}}/{prefix}AWSLogs/${{AWS::AccountId}}/*"}
    same = {"Effect": "Allow", "Principal": SERVICE}
    named = {"aws:SourceArn": source}
    reads = {**same, "Action": "s3:GetBucketAcl", "Resource": {"Fn::GetAtt": ["Bucket", "Arn"]}}
    writes = {**same, "Action": "s3:PutObject", "Resource": objects}
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {**reads, "Condition": {"StringEquals": named}},
            {**writes, "Condition": {"StringEquals": {**named, "s3:x-amz-acl": acl}}},
        ],
    }
    return resource("AWS::S3::BucketPolicy", Bucket={"Ref": "Bucket"}, PolicyDocument=document)


def trail(**properties: Any) -> dict[str, Any]:
    made = {
        "TrailName": "watch",
        "S3BucketName": {"Ref": "Bucket"},
        "IsLogging": True,
        **properties,
    }
    return {**resource("AWS::CloudTrail::Trail", **made), "DependsOn": "Policy"}


def template(made: dict[str, Any], policy: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Bucket": resource("AWS::S3::Bucket"), "Policy": policy, "Trail": made, **more}


def key_policy(source: Any) -> dict[str, Any]:
    root = {"AWS": {"Fn::Sub": "arn:aws:iam::${AWS::AccountId}:root"}}
    condition = {"StringEquals": {"aws:SourceArn": source}}
    statements = [
        {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": SERVICE, "Action": "kms:GenerateDataKey*", "Resource": "*",
         "Condition": condition},
    ]  # fmt: skip
    return resource("AWS::KMS::Key", KeyPolicy={"Version": "2012-10-17", "Statement": statements})


def status(stacks: Stacks) -> dict[str, Any]:
    found: dict[str, Any] = stacks.laptop.client("cloudtrail").get_trail_status(Name="watch")
    return found


def test_a_trail_is_made_with_its_settings_and_logs(stacks: Stacks) -> None:
    made = trail(
        IsMultiRegionTrail=True, IncludeGlobalServiceEvents=True, EnableLogFileValidation=True
    )
    sections = {
        "Outputs": {
            "Arn": {"Value": {"Fn::GetAtt": ["Trail", "Arn"]}},
            "Ref": {"Value": {"Ref": "Trail"}},
        }
    }
    assert stacks.create(template(made, bucket_policy()), sections=sections) == "CREATE_COMPLETE"
    found = stacks.laptop.client("cloudtrail").get_trail(Name="watch")["Trail"]
    assert found["IsMultiRegionTrail"] is True
    assert found["LogFileValidationEnabled"] is True
    assert status(stacks)["IsLogging"] is True
    assert stacks.outputs() == {"Arn": found["TrailARN"], "Ref": "watch"}


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(
            bucket_policy(source="arn:aws:cloudtrail:eu-west-1:1:trail/other"), id="another trail"
        ),
        pytest.param(bucket_policy(prefix="elsewhere/"), id="another prefix"),
        pytest.param(bucket_policy(acl="private"), id="another ACL"),
    ],
)
def test_a_bucket_policy_that_does_not_let_the_trail_in_fails_it(
    stacks: Stacks, policy: dict[str, Any]
) -> None:
    """CloudTrail API reference, CreateTrail, InsufficientS3BucketPolicyException."""
    assert stacks.create(template(trail(), policy)) == "ROLLBACK_COMPLETE"
    assert "InsufficientS3BucketPolicyException" in stacks.reason("Trail")
    assert stacks.laptop.client("cloudtrail").describe_trails()["trailList"] == []


def test_a_prefix_of_the_trail_is_looked_for_in_the_policy(stacks: Stacks) -> None:
    made = trail(S3KeyPrefix="audit")
    assert stacks.create(template(made, bucket_policy(prefix="audit/"))) == "CREATE_COMPLETE"


def test_a_bucket_that_is_not_there_fails_the_trail(stacks: Stacks) -> None:
    made = trail(S3BucketName=f"nowhere-{stacks.laptop.account}")
    assert stacks.create(template(made, bucket_policy())) == "ROLLBACK_COMPLETE"
    assert "S3BucketDoesNotExistException" in stacks.reason("Trail")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TRAIL_ARN, "CREATE_COMPLETE"),
        ("arn:aws:cloudtrail:eu-west-1:1:trail/other", "ROLLBACK_COMPLETE"),
    ],
)
def test_a_key_must_let_the_trail_encrypt(stacks: Stacks, source: Any, expected: str) -> None:
    """CloudTrail user guide, "Configure AWS KMS key policies for CloudTrail"."""
    made = trail(KMSKeyId={"Fn::GetAtt": ["Key", "Arn"]})
    assert stacks.create(template(made, bucket_policy(), Key=key_policy(source))) == expected
    assert ("InsufficientEncryptionPolicyException" in stacks.reason("Trail")) is (
        expected == "ROLLBACK_COMPLETE"
    )


def test_a_log_group_is_kept_with_its_role_and_one_without_a_role_fails(stacks: Stacks) -> None:
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": SERVICE, "Action": "sts:AssumeRole"},
    ]}  # fmt: skip
    role = resource("AWS::IAM::Role", AssumeRolePolicyDocument=trust)
    group = {"Fn::GetAtt": ["Group", "Arn"]}
    more = {"Group": resource("AWS::Logs::LogGroup"), "Role": role}
    made = trail(
        CloudWatchLogsLogGroupArn=group, CloudWatchLogsRoleArn={"Fn::GetAtt": ["Role", "Arn"]}
    )
    resources = template(made, bucket_policy(), **more)
    assert stacks.create(resources, Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    found = stacks.laptop.client("cloudtrail").get_trail(Name="watch")["Trail"]
    assert found["CloudWatchLogsLogGroupArn"].endswith(":*")
    assert ":role/" in found["CloudWatchLogsRoleArn"]
    without = template(trail(CloudWatchLogsLogGroupArn=group), bucket_policy(), **more)
    assert stacks.update(without, Capabilities=CAPABILITIES) == "UPDATE_ROLLBACK_COMPLETE"
    assert "InvalidCloudWatchLogsRoleArnException" in stacks.reason("Trail")


def test_an_update_stops_the_trail_in_place_and_takes_back_what_the_template_no_longer_says(
    stacks: Stacks,
) -> None:
    stacks.create(template(trail(EnableLogFileValidation=True), bucket_policy()))
    assert stacks.update(template(trail(IsLogging=False), bucket_policy())) == "UPDATE_COMPLETE"
    found = stacks.laptop.client("cloudtrail").get_trail(Name="watch")["Trail"]
    assert found["LogFileValidationEnabled"] is False
    assert status(stacks)["IsLogging"] is False


def test_a_trail_goes_with_its_stack_and_can_be_made_again(stacks: Stacks) -> None:
    resources = template(trail(), bucket_policy())
    stacks.create(resources)
    assert stacks.delete() == "DELETE_COMPLETE"
    assert stacks.laptop.client("cloudtrail").describe_trails()["trailList"] == []
    assert stacks.create(resources) == "CREATE_COMPLETE"


@pytest.mark.parametrize("name", ["ab", "two..dots", "-first", "10.0.0.1"])
def test_a_name_that_cloudtrail_does_not_take_fails_the_trail(stacks: Stacks, name: str) -> None:
    """CloudTrail API reference, CreateTrail, Name."""
    assert stacks.create(template(trail(TrailName=name), bucket_policy())) == "ROLLBACK_COMPLETE"
    assert "InvalidTrailNameException" in stacks.reason("Trail")
