"""AWS::CloudTrail::Trail, a resource type that the emulator's CloudFormation does not have.

CreateTrail and UpdateTrail check what the trail needs (CloudTrail's API reference, CreateTrail:
errors): the bucket and its policy, the key and its policy, the log group and its role. The
emulator's own API checks none of it, so this provisioner does, and fails with AWS's errors.
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

from tooling.local.adapter.permissions import is_service_allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRAIL_TYPE = "AWS::CloudTrail::Trail"
CLOUDTRAIL = "cloudtrail.amazonaws.com"
MIN_ERROR_STATUS = 400
REQUIRED_KEYS = ("IsLogging", "S3BucketName")  # resource reference, AWS::CloudTrail::Trail
TRAIL_NAME = re.compile(
    r"(?!\d+\.\d+\.\d+\.\d+$)[A-Za-z0-9](?!.*[._-]{2})[A-Za-z0-9._-]{1,126}[A-Za-z0-9]"
)
BOOLEAN_KEYS = (
    "IncludeGlobalServiceEvents",
    "IsMultiRegionTrail",
    "IsOrganizationTrail",
    "EnableLogFileValidation",
)
STRING_KEYS = (
    "S3BucketName",
    "S3KeyPrefix",
    "SnsTopicName",
    "CloudWatchLogsLogGroupArn",
    "CloudWatchLogsRoleArn",
)
SELECTOR_KEYS = ("EventSelectors", "AdvancedEventSelectors")


class TrailError(ValueError):
    """CloudTrail refuses the trail; the message ends with AWS's error code."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"{what} (Service: CloudTrail, Status Code: 400, Error Code: {code})")


def install() -> None:
    """Register the resource type, which the emulator refuses as "unrecognized resource type"."""
    provisioners._RESOURCE_HANDLERS[TRAIL_TYPE] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def create(
    logical_id: str, properties: Mapping[str, Any], stack: str
) -> tuple[str, dict[str, Any]]:
    """Create the trail and return its name and its attributes (``!GetAtt``).

    Raises ValueError, with AWS's message, for properties that AWS would refuse.
    """
    for key in REQUIRED_KEYS:
        if key not in properties:
            what = f"Properties validation failed for resource {logical_id}"
            raise ValueError(f"{what}: required key [{key}] not found")
    name = properties.get("TrailName") or provisioners._physical_name(stack, logical_id)
    if not TRAIL_NAME.fullmatch(name):
        raise TrailError(f"Trail name {name!r} is not valid", "InvalidTrailNameException")
    _check_properties(properties, name)
    request = _make_request(properties, name)
    _call_cloudtrail(cloudtrail._create_trail, request)
    # The emulator's CreateTrail drops the log group and the role.
    _call_cloudtrail(cloudtrail._update_trail, request)
    return _configure_trail(name, properties)


def update(
    name: str, _old: Mapping[str, Any], new: Mapping[str, Any], stack: str, logical_id: str
) -> tuple[str, dict[str, Any]]:
    """Update the trail; with a new name, create another one, and CloudFormation deletes the old."""
    if new.get("TrailName", name) != name:
        return create(logical_id, new, stack)
    _check_properties(new, name)
    _call_cloudtrail(cloudtrail._update_trail, _make_request(new, name))
    return _configure_trail(name, new)


def delete(name: str, _properties: Mapping[str, Any]) -> None:
    """Delete the trail, if it still exists."""
    if cloudtrail._find_visible_trail(name)[2] is not None:
        _call_cloudtrail(cloudtrail._delete_trail, {"Name": name})


def _configure_trail(name: str, properties: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Set event selectors, logging and tags, which CreateTrail does not take.

    Return the trail's name and attributes.
    """
    selectors = {key: properties[key] for key in SELECTOR_KEYS if key in properties}
    if selectors:
        _call_cloudtrail(cloudtrail._put_event_selectors, {"TrailName": name, **selectors})
    if _is_true(properties["IsLogging"]):
        _call_cloudtrail(cloudtrail._start_logging, {"Name": name})
    else:
        _call_cloudtrail(cloudtrail._stop_logging, {"Name": name})
    arn = cloudtrail._trail_arn(name)
    cloudtrail._trail_tags[arn] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags") or []}
    return name, {"Arn": arn, "SnsTopicArn": properties.get("SnsTopicName", "")}


def _make_request(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the request of CreateTrail and UpdateTrail; a missing property is empty or false."""
    strings = {key: properties.get(key, "") for key in STRING_KEYS}
    booleans = {key: _is_true(properties.get(key, False)) for key in BOOLEAN_KEYS}
    return {"Name": name, "KmsKeyId": properties.get("KMSKeyId", ""), **strings, **booleans}


def _is_true(value: object) -> bool:
    """Return whether a template's boolean, which may be a string, is true."""
    return str(value).lower() == "true"


def _call_cloudtrail(operation: Callable[[dict[str, Any]], Any], request: dict[str, Any]) -> None:
    """Call an operation of the emulator's CloudTrail. Raises TrailError if it refuses."""
    status, _, body = operation(request)
    if status >= MIN_ERROR_STATUS:
        error = json.loads(body)
        raise TrailError(error["message"], error["__type"])


def _check_properties(properties: Mapping[str, Any], name: str) -> None:
    """Raise TrailError if AWS would refuse the bucket, the key, the log group or the role."""
    trail_arn, bucket = cloudtrail._trail_arn(name), properties["S3BucketName"]
    _check_bucket(bucket, str(properties.get("S3KeyPrefix") or "").strip("/"), trail_arn)
    if key := properties.get("KMSKeyId"):
        _check_key(key, trail_arn, bucket)
    if log_group := properties.get("CloudWatchLogsLogGroupArn"):
        _check_log_group(log_group, properties.get("CloudWatchLogsRoleArn", ""))


def _check_bucket(bucket: str, prefix: str, trail_arn: str) -> None:
    """Raise TrailError unless the trail may read the bucket's ACL and write below the prefix.

    CloudTrail sends ``aws:SourceArn`` and, with each object, ``x-amz-acl:
    bucket-owner-full-control`` (user guide, "bucket policy for CloudTrail").
    """
    if s3._ensure_bucket(bucket) is None:
        raise TrailError(f"S3 bucket {bucket} does not exist!", "S3BucketDoesNotExistException")
    policy, arn = s3._bucket_policies.get(bucket), f"arn:aws:s3:::{bucket}"
    path = (arn, prefix, "AWSLogs", get_account_id(), "object")
    log_file_arn = "/".join(part for part in path if part)  # the prefix may be empty
    acl = {"s3:x-amz-acl": "bucket-owner-full-control"}
    can_read = is_service_allowed(policy, CLOUDTRAIL, "s3:GetBucketAcl", arn, trail_arn)
    can_write = is_service_allowed(
        policy, CLOUDTRAIL, "s3:PutObject", log_file_arn, trail_arn, **acl
    )
    if not (can_read and can_write):
        what = f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
        raise TrailError(what, "InsufficientS3BucketPolicyException")


def _check_key(key: str, trail_arn: str, bucket: str) -> None:
    """Raise TrailError unless the trail may encrypt with the key.

    Source: CloudTrail user guide, "key policies for CloudTrail".
    """
    record = kms._resolve_key(key)
    if record is None:
        raise TrailError(f"KMS key {key} does not exist", "KmsKeyDoesNotExistException")
    policy, arn, action = record.get("Policy"), record["Arn"], "kms:GenerateDataKey"
    context = {"kms:encryptioncontext:aws:cloudtrail:arn": trail_arn}
    if not is_service_allowed(policy, CLOUDTRAIL, action, arn, trail_arn, **context):
        what = f"Insufficient permissions to access S3 bucket {bucket} or KMS key {arn}."
        raise TrailError(what, "InsufficientEncryptionPolicyException")


def _check_log_group(arn: str, role: str) -> None:
    """Raise TrailError unless the role and the log group exist, and the group's ARN ends in ``:*``.

    ``role`` is the role's ARN.
    """
    name = arn.partition(":log-group:")[2]
    if not name.endswith(":*") or name.removesuffix(":*") not in cloudwatch_logs._log_groups:
        what = "Access denied. The log group does not exist, or its ARN does not end in :*"
        raise TrailError(what, "InvalidCloudWatchLogsLogGroupArnException")
    if role.rpartition("/")[2] not in iam._roles:
        what = f"Access denied. Check the trust relationships for your role: no role {role!r}"
        raise TrailError(what, "InvalidCloudWatchLogsRoleArnException")
