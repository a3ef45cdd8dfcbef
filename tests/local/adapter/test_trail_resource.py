"""AWS::CloudTrail::Trail on the local AWS emulator: what it needs, and CloudTrail's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stacks import resource

if TYPE_CHECKING:
    from tests.support.stacks import Stacks

pytestmark = [pytest.mark.local]

SERVICE = {"Service": "cloudtrail.amazonaws.com"}
TRAIL_ARN = {"Fn::Sub": "arn:aws:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/watch"}
CAPABILITIES = ["CAPABILITY_NAMED_IAM"]


def get_attribute(name: str, key: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [name, key]}


def bucket_policy(
    source: Any = TRAIL_ARN, prefix: str = "", acl: str = "bucket-owner-full-control"
) -> dict[str, Any]:
    """CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail"."""
    objects = {"Fn::Sub": f"${{Bucket.Arn}}/{prefix}AWSLogs/${{AWS::AccountId}}/*"}
    allow = {"Effect": "Allow", "Principal": SERVICE}
    source_arn = {"aws:SourceArn": source}
    read_acl = {**allow, "Action": "s3:GetBucketAcl", "Resource": get_attribute("Bucket", "Arn")}
    write = {**allow, "Action": "s3:PutObject", "Resource": objects}
    statements = [
        {**read_acl, "Condition": {"StringEquals": source_arn}},
        {**write, "Condition": {"StringEquals": {**source_arn, "s3:x-amz-acl": acl}}},
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    return resource("AWS::S3::BucketPolicy", Bucket={"Ref": "Bucket"}, PolicyDocument=document)


def trail(**properties: Any) -> dict[str, Any]:
    defaults = {"TrailName": "watch", "S3BucketName": {"Ref": "Bucket"}, "IsLogging": True}
    trail_resource = resource("AWS::CloudTrail::Trail", **{**defaults, **properties})
    return {**trail_resource, "DependsOn": "Policy"}


def template(trail: dict[str, Any], policy: dict[str, Any], **resources: Any) -> dict[str, Any]:
    bucket = resource("AWS::S3::Bucket")
    return {"Bucket": bucket, "Policy": policy, "Trail": trail, **resources}


def key_policy(source: Any) -> dict[str, Any]:
    root = {"AWS": {"Fn::Sub": "arn:aws:iam::${AWS::AccountId}:root"}}
    condition = {"StringEquals": {"aws:SourceArn": source}}
    statements = [
        {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Principal": SERVICE,
            "Action": "kms:GenerateDataKey*",
            "Resource": "*",
            "Condition": condition,
        },
    ]
    return resource("AWS::KMS::Key", KeyPolicy={"Version": "2012-10-17", "Statement": statements})


def status(stacks: Stacks) -> dict[str, Any]:
    response: dict[str, Any] = stacks.account.client("cloudtrail").get_trail_status(Name="watch")
    return response


def live_trail(stacks: Stacks) -> dict[str, Any]:
    response: dict[str, Any] = stacks.account.client("cloudtrail").get_trail(Name="watch")["Trail"]
    return response


def test_trail_is_created_with_its_settings_and_logs(stacks: Stacks) -> None:
    properties = trail(
        IsMultiRegionTrail=True, IncludeGlobalServiceEvents=True, EnableLogFileValidation=True
    )
    outputs = {"Arn": {"Value": get_attribute("Trail", "Arn")}, "Ref": {"Value": {"Ref": "Trail"}}}
    resources = template(properties, bucket_policy())
    assert stacks.create(resources, sections={"Outputs": outputs}) == "CREATE_COMPLETE"
    live = live_trail(stacks)
    assert live["IsMultiRegionTrail"] is True
    assert live["LogFileValidationEnabled"] is True
    assert status(stacks)["IsLogging"] is True
    assert stacks.outputs() == {"Arn": live["TrailARN"], "Ref": "watch"}


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
def test_bucket_policy_that_does_not_allow_the_trail_fails_it(
    stacks: Stacks, policy: dict[str, Any]
) -> None:
    """CloudTrail API reference, CreateTrail, InsufficientS3BucketPolicyException."""
    assert stacks.create(template(trail(), policy)) == "ROLLBACK_COMPLETE"
    assert "InsufficientS3BucketPolicyException" in stacks.failure_reason("Trail")
    assert stacks.account.client("cloudtrail").describe_trails()["trailList"] == []


def test_bucket_policy_must_allow_the_trails_prefix(stacks: Stacks) -> None:
    resources = template(trail(S3KeyPrefix="audit"), bucket_policy(prefix="audit/"))
    assert stacks.create(resources) == "CREATE_COMPLETE"


def test_missing_bucket_fails_the_trail(stacks: Stacks) -> None:
    properties = trail(S3BucketName=f"nowhere-{stacks.account.account_id}")
    assert stacks.create(template(properties, bucket_policy())) == "ROLLBACK_COMPLETE"
    assert "S3BucketDoesNotExistException" in stacks.failure_reason("Trail")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TRAIL_ARN, "CREATE_COMPLETE"),
        ("arn:aws:cloudtrail:eu-west-1:1:trail/other", "ROLLBACK_COMPLETE"),
    ],
)
def test_key_policy_must_allow_the_trail(stacks: Stacks, source: Any, expected: str) -> None:
    """CloudTrail user guide, "Configure AWS KMS key policies for CloudTrail"."""
    properties = trail(KMSKeyId=get_attribute("Key", "Arn"))
    assert stacks.create(template(properties, bucket_policy(), Key=key_policy(source))) == expected
    is_refused = "InsufficientEncryptionPolicyException" in stacks.failure_reason("Trail")
    assert is_refused is (expected == "ROLLBACK_COMPLETE")


def test_log_group_is_set_with_its_role_and_fails_without_a_role(stacks: Stacks) -> None:
    allow = {"Effect": "Allow", "Principal": SERVICE, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [allow]}
    role = resource("AWS::IAM::Role", AssumeRolePolicyDocument=trust)
    more = {"Group": resource("AWS::Logs::LogGroup"), "Role": role}
    group, role_arn = get_attribute("Group", "Arn"), get_attribute("Role", "Arn")
    with_role = trail(CloudWatchLogsLogGroupArn=group, CloudWatchLogsRoleArn=role_arn)
    resources = template(with_role, bucket_policy(), **more)
    assert stacks.create(resources, Capabilities=CAPABILITIES) == "CREATE_COMPLETE"
    live = live_trail(stacks)
    assert live["CloudWatchLogsLogGroupArn"].endswith(":*")
    assert ":role/" in live["CloudWatchLogsRoleArn"]
    without_role = template(trail(CloudWatchLogsLogGroupArn=group), bucket_policy(), **more)
    assert stacks.update(without_role, Capabilities=CAPABILITIES) == "UPDATE_ROLLBACK_COMPLETE"
    assert "InvalidCloudWatchLogsRoleArnException" in stacks.failure_reason("Trail")


def test_update_stops_the_trail_and_resets_removed_properties(
    stacks: Stacks,
) -> None:
    stacks.create(template(trail(EnableLogFileValidation=True), bucket_policy()))
    assert stacks.update(template(trail(IsLogging=False), bucket_policy())) == "UPDATE_COMPLETE"
    live = live_trail(stacks)
    assert live["LogFileValidationEnabled"] is False
    assert status(stacks)["IsLogging"] is False


def test_trail_is_deleted_with_its_stack_and_can_be_created_again(stacks: Stacks) -> None:
    resources = template(trail(), bucket_policy())
    stacks.create(resources)
    assert stacks.delete() == "DELETE_COMPLETE"
    assert stacks.account.client("cloudtrail").describe_trails()["trailList"] == []
    assert stacks.create(resources) == "CREATE_COMPLETE"


@pytest.mark.parametrize("name", ["ab", "two..dots", "-first", "10.0.0.1"])
def test_invalid_trail_name_fails_the_trail(stacks: Stacks, name: str) -> None:
    """CloudTrail API reference, CreateTrail, Name."""
    assert stacks.create(template(trail(TrailName=name), bucket_policy())) == "ROLLBACK_COMPLETE"
    assert "InvalidTrailNameException" in stacks.failure_reason("Trail")
