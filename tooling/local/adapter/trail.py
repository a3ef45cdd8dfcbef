"""AWS::CloudTrail::Trail, which the emulator's CloudFormation does not know: made, changed and deleted as AWS does.

CreateTrail and UpdateTrail look at what the trail needs before they answer (CloudTrail's API reference, CreateTrail:
errors): the bucket and its policy, the key and its policy, the log group and its role. The emulator's own API looks
at none of it, so the provisioner does, and fails with the errors that AWS names.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ministack.core.responses import get_account_id
from ministack.services import cloudtrail, cloudwatch_logs, iam, kms, s3
from ministack.services.cloudformation import provisioners

from tooling.local.adapter.access import service_may

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KIND = "AWS::CloudTrail::Trail"
SERVICE = "cloudtrail.amazonaws.com"
REFUSED = 400  # the lowest HTTP status that is a refusal
REQUIRED = ("IsLogging", "S3BucketName")  # resource reference, AWS::CloudTrail::Trail
NAME = re.compile(
    r"(?!\d+\.\d+\.\d+\.\d+$)[A-Za-z0-9](?!.*[._-]{2})[A-Za-z0-9._-]{1,126}[A-Za-z0-9]"
)
SWITCHES = (
    "IncludeGlobalServiceEvents",
    "IsMultiRegionTrail",
    "IsOrganizationTrail",
    "EnableLogFileValidation",
)
TEXTS = (
    "S3BucketName",
    "S3KeyPrefix",
    "SnsTopicName",
    "CloudWatchLogsLogGroupArn",
    "CloudWatchLogsRoleArn",
)
SELECTORS = ("EventSelectors", "AdvancedEventSelectors")


class TrailError(ValueError):
    """CloudTrail refuses the trail; the text ends with AWS's error code."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"{what} (Service: CloudTrail, Status Code: 400, Error Code: {code})")


def install() -> None:
    """Replace the refusal "unrecognized resource type" for AWS::CloudTrail::Trail by this provisioner."""
    provisioners._RESOURCE_HANDLERS[KIND] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def create(
    logical_id: str, properties: Mapping[str, Any], stack: str
) -> tuple[str, dict[str, Any]]:
    """Make the trail and start it when it is to log; return its name and its attributes. Raises ValueError."""
    for key in REQUIRED:
        if key not in properties:
            raise ValueError(
                f"Properties validation failed for resource {logical_id}: required key [{key}] not found"
            )
    name = properties.get("TrailName") or provisioners._physical_name(stack, logical_id)
    if not NAME.fullmatch(name):
        raise TrailError(f"Trail name {name!r} is not valid", "InvalidTrailNameException")
    _check(properties, name)
    request = _request(properties, name)
    _call(cloudtrail._create_trail, request)
    _call(
        cloudtrail._update_trail, request
    )  # the emulator's CreateTrail drops the log group and its role
    return _settle(name, properties)


def update(
    name: str, _old: Mapping[str, Any], new: Mapping[str, Any], stack: str, logical_id: str
) -> tuple[str, dict[str, Any]]:
    """Change the trail in place; a new name makes a new trail, and CloudFormation deletes the old one afterwards."""
    if new.get("TrailName", name) != name:
        return create(logical_id, new, stack)
    _check(new, name)
    _call(cloudtrail._update_trail, _request(new, name))
    return _settle(name, new)


def delete(name: str, _properties: Mapping[str, Any]) -> None:
    """Delete the trail; one that is gone already is no error."""
    if cloudtrail._find_visible_trail(name)[2] is not None:
        _call(cloudtrail._delete_trail, {"Name": name})


def _settle(name: str, properties: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    selectors = {key: properties[key] for key in SELECTORS if key in properties}
    if selectors:
        _call(cloudtrail._put_event_selectors, {"TrailName": name, **selectors})
    switch = (
        cloudtrail._start_logging if _is_on(properties["IsLogging"]) else cloudtrail._stop_logging
    )
    _call(switch, {"Name": name})
    arn = cloudtrail._trail_arn(name)
    cloudtrail._trail_tags[arn] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags") or []}
    return name, {"Arn": arn, "SnsTopicArn": properties.get("SnsTopicName", "")}


def _request(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the API's request; what the template no longer says goes back to its default."""
    texts = {key: properties.get(key, "") for key in TEXTS}
    switches = {key: _is_on(properties.get(key, False)) for key in SWITCHES}
    return {"Name": name, "KmsKeyId": properties.get("KMSKeyId", ""), **texts, **switches}


def _is_on(value: object) -> bool:
    return str(value).lower() == "true"


def _call(operation: Callable[[dict[str, Any]], Any], request: dict[str, Any]) -> None:
    status, _, body = operation(request)
    if status >= REFUSED:
        answer = json.loads(body)
        raise TrailError(answer["message"], answer["__type"])


def _check(properties: Mapping[str, Any], name: str) -> None:
    arn = cloudtrail._trail_arn(name)
    prefix = str(properties.get("S3KeyPrefix") or "").strip("/")
    _check_bucket(properties["S3BucketName"], prefix, arn)
    if properties.get("KMSKeyId"):
        _check_key(properties["KMSKeyId"], arn, properties["S3BucketName"])
    if properties.get("CloudWatchLogsLogGroupArn"):
        _check_log_group(
            properties["CloudWatchLogsLogGroupArn"], properties.get("CloudWatchLogsRoleArn", "")
        )


def _check_bucket(bucket: str, prefix: str, trail: str) -> None:
    """The bucket lets this trail read its ACL and write below the prefix (user guide, "bucket policy for CloudTrail").

    CloudTrail sends ``aws:SourceArn`` and, with each object, ``x-amz-acl: bucket-owner-full-control``.
    """
    if s3._ensure_bucket(bucket) is None:
        raise TrailError(f"S3 bucket {bucket} does not exist!", "S3BucketDoesNotExistException")
    policy, arn = s3._bucket_policies.get(bucket), f"arn:aws:s3:::{bucket}"
    logs = "/".join(part for part in (arn, prefix, "AWSLogs", get_account_id(), "object") if part)
    acl = {"s3:x-amz-acl": "bucket-owner-full-control"}
    may_read = service_may(policy, SERVICE, "s3:GetBucketAcl", arn, trail)
    if not (may_read and service_may(policy, SERVICE, "s3:PutObject", logs, trail, **acl)):
        what = f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
        raise TrailError(what, "InsufficientS3BucketPolicyException")


def _check_key(key: str, trail: str, bucket: str) -> None:
    """The key lets this trail encrypt (user guide, "key policies for CloudTrail")."""
    record = kms._resolve_key(key)
    if record is None:
        raise TrailError(f"KMS key {key} does not exist", "KmsKeyDoesNotExistException")
    context = {"kms:encryptioncontext:aws:cloudtrail:arn": trail}
    if not service_may(
        record.get("Policy"), SERVICE, "kms:GenerateDataKey", record["Arn"], trail, **context
    ):
        what = f"Insufficient permissions to access S3 bucket {bucket} or KMS key {record['Arn']}."
        raise TrailError(what, "InsufficientEncryptionPolicyException")


def _check_log_group(arn: str, role: str) -> None:
    """The log group is there, by an ARN that ends in ``:*`` as GetAtt gives it, and so is the role."""
    name = arn.partition(":log-group:")[2]
    if not name.endswith(":*") or name.removesuffix(":*") not in cloudwatch_logs._log_groups:
        what = "Access denied. The log group does not exist, or its ARN does not end in :*"
        raise TrailError(what, "InvalidCloudWatchLogsLogGroupArnException")
    if role.rpartition("/")[2] not in iam._roles:
        what = f"Access denied. Check the trust relationships for your role: there is none with the ARN {role!r}"
        raise TrailError(what, "InvalidCloudWatchLogsRoleArnException")
