"""Policies on the trail, on its bucket, and on its permission to write there.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
A policy about the installation as a whole runs for each of its nested stacks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from policy_base import (
    allow_statements,
    as_list,
    condition_values,
    is_allowed,
    policy,
    possible_values,
    value_if_present,
)
from rule_policies import SIGN_IN_EVENTS

if TYPE_CHECKING:
    from installation import Installation, Resource

FILTER, PERMISSION = "AWS::Logs::SubscriptionFilter", "AWS::Lambda::Permission"
FUNCTION = "AWS::Lambda::Function"
# { ($.eventName = ConsoleLogin) || ... }, of at most 1,024 characters (PutSubscriptionFilter)
FILTER_TERM = re.compile(r"\(\$\.eventName = (\w+)\)")
FILTER_MAX_CHARS = 1024
TRAIL, BUCKET, BUCKET_POLICY = "AWS::CloudTrail::Trail", "AWS::S3::Bucket", "AWS::S3::BucketPolicy"
CLOUDTRAIL = "cloudtrail.amazonaws.com"
OLD_VERSIONS_MIN_DAYS = 90
# The deprecated form of NoncurrentVersionExpiration, a number of days.
OLDER_EXPIRATION_KEY = "NoncurrentVersionExpirationInDays"


@policy("CKV_SIGNWATCH_1", TRAIL)
def trail_is_enabled(trail: Resource, _installation: Installation) -> bool:
    """The trail is enabled."""
    return trail.properties.get("IsLogging") is True


@policy("CKV_SIGNWATCH_2", TRAIL)
def trail_records_all_regions(trail: Resource, _installation: Installation) -> bool:
    """The trail records all Regions."""
    return trail.properties.get("IsMultiRegionTrail") is True


@policy("CKV_SIGNWATCH_3", TRAIL)
def trail_records_global_services(trail: Resource, _installation: Installation) -> bool:
    """The trail records the events of global services, which include sign-ins."""
    return trail.properties.get("IncludeGlobalServiceEvents") is True


@policy("CKV_SIGNWATCH_4", TRAIL)
def trail_signs_its_files(trail: Resource, _installation: Installation) -> bool:
    """The trail signs its files, so that a changed record is noticed."""
    return trail.properties.get("EnableLogFileValidation") is True


@policy("CKV_SIGNWATCH_5", TRAIL)
def trail_records_management_events(trail: Resource, _installation: Installation) -> bool:
    """The trail records all management events, reads and writes."""
    return any(
        selector.get("ReadWriteType", "All") == "All"
        and not selector.get("ExcludeManagementEventSources")
        and selector.get("IncludeManagementEvents", True) is True
        for selector in as_list(trail.properties["EventSelectors"])
    )


@policy("CKV_SIGNWATCH_6", BUCKET)
def bucket_keeps_records(bucket: Resource, _installation: Installation) -> bool:
    """A bucket keeps its objects without end, and old versions for at least 90 days."""
    lifecycle = bucket.properties.get("LifecycleConfiguration", {})
    for rule in as_list(lifecycle.get("Rules")):  # without a rule, nothing expires
        if "ExpirationInDays" in rule or "ExpirationDate" in rule:
            return False
        if "NoncurrentVersionExpiration" in rule:
            days = rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
            if days < OLD_VERSIONS_MIN_DAYS:
                return False
        if OLDER_EXPIRATION_KEY in rule and rule[OLDER_EXPIRATION_KEY] < OLD_VERSIONS_MIN_DAYS:
            return False
    return True


@policy("CKV_SIGNWATCH_7", BUCKET)
def bucket_outlives_stack(bucket: Resource, _installation: Installation) -> bool:
    """A bucket of records is kept when the stack is deleted or the bucket is replaced."""
    # RetainExceptOnCreate deletes the bucket only if the stack's creation fails.
    is_kept = bucket.body.get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")
    return is_kept and bucket.body.get("UpdateReplacePolicy") == "Retain"


@policy("CKV_SIGNWATCH_8", TRAIL)
def trail_is_allowed_to_write(trail: Resource, installation: Installation) -> bool:
    """The bucket's policy allows this trail to read the ACL and to write its records."""
    bucket = trail.properties["S3BucketName"]
    documents = [
        properties["PolicyDocument"]
        for properties in installation.properties_of(BUCKET_POLICY)
        if properties["Bucket"] == bucket
    ]
    statements = allow_statements(documents, CLOUDTRAIL)
    records = f"{bucket}/AWSLogs/${{AWS::AccountId}}/*"
    read_keys = {"aws:SourceArn": trail.arn}  # the request's condition keys
    write_keys = {**read_keys, "s3:x-amz-acl": "bucket-owner-full-control"}
    can_read_acl = is_allowed(statements, "s3:GetBucketAcl", bucket, read_keys)
    return can_read_acl and is_allowed(statements, "s3:PutObject", records, write_keys)


@policy("CKV_SIGNWATCH_9", BUCKET_POLICY)
def bucket_policy_limits_trails(bucket_policy: Resource, _installation: Installation) -> bool:
    """Each statement of a bucket's policy for CloudTrail is limited to trails by aws:SourceArn."""
    # trail_is_allowed_to_write checks that there are such statements.
    statements = allow_statements([bucket_policy.properties["PolicyDocument"]], CLOUDTRAIL)
    return all(condition_values(statement, "aws:SourceArn") for statement in statements)


@policy("CKV_SIGNWATCH_10", TRAIL)
def trail_is_allowed_to_encrypt(trail: Resource, installation: Installation) -> bool:
    """The key's policy allows this trail to encrypt its records."""
    key = installation.find_by_arn("AWS::KMS::Key", trail.properties["KMSKeyId"])
    statements = allow_statements([key.properties["KeyPolicy"]], CLOUDTRAIL)
    request_keys = {
        "aws:SourceArn": trail.arn,
        "kms:EncryptionContext:aws:cloudtrail:arn": trail.arn,
    }
    return is_allowed(statements, "kms:GenerateDataKey*", "*", request_keys)


@policy("CKV_SIGNWATCH_11", TRAIL)
def trail_is_allowed_to_log(trail: Resource, installation: Installation) -> bool:
    """The trail's log group, if any, is of this installation, and the trail's role may write."""
    # The trail has both properties, but the owner may switch them off: then each is a condition.
    group = value_if_present(trail.properties["CloudWatchLogsLogGroupArn"])
    role_arn = value_if_present(trail.properties["CloudWatchLogsRoleArn"])
    role = installation.find_by_arn("AWS::IAM::Role", role_arn)
    inline_policies = role.properties["Policies"]
    statements = allow_statements(inline["PolicyDocument"] for inline in inline_policies)
    # The group's ARN ends in ":*".
    stream = f"{group.removesuffix('*')}log-stream:${{AWS::AccountId}}_CloudTrail_${{AWS::Region}}"
    is_ours = group in installation.arns_of("AWS::Logs::LogGroup")
    return is_ours and is_allowed(statements, "logs:PutLogEvents", stream)


@policy("CKV_SIGNWATCH_12", "AWS::CloudFormation::Stack")
def installation_has_trail(_stack: Resource, installation: Installation) -> bool:
    """The installation has a trail."""
    return bool(installation.resources_of(TRAIL))


@policy("CKV_SIGNWATCH_13", TRAIL)
def trail_waits_for_bucket_policy(trail: Resource, installation: Installation) -> bool:
    """The trail is created after its bucket's policy, which CloudTrail reads at that moment."""
    bucket = trail.properties["S3BucketName"]
    # trail_is_allowed_to_write checks that the bucket has a policy.
    bucket_policy_names = {
        bucket_policy.name
        for bucket_policy in installation.resources_of(BUCKET_POLICY)
        if bucket_policy.properties["Bucket"] == bucket
    }
    return bucket_policy_names <= set(as_list(trail.body.get("DependsOn")))


@policy("CKV_SIGNWATCH_16", FILTER)
def filter_waits_for_permission(subscription: Resource, installation: Installation) -> bool:
    """A filter is created after a permission, since CloudWatch Logs invokes the function then."""
    # log_group_is_allowed_to_invoke checks that the permission is there, and is right.
    others = {each.name for each in installation.resources if each.kind != PERMISSION}
    return bool(set(as_list(subscription.body.get("DependsOn"))) - others)


@policy("CKV_SIGNWATCH_17", FILTER)
def existing_log_group_is_allowed_to_invoke(
    subscription: Resource, installation: Installation
) -> bool:
    """A filter on the log group of an existing trail has a permission for that log group."""
    own_groups = [group.reference for group in installation.resources_of("AWS::Logs::LogGroup")]
    choices = possible_values(subscription.body["Properties"]["LogGroupName"])
    groups = [installation.resolve(subscription.file, choice) for choice in choices]
    source_arns = [
        source_arn
        for permission in installation.properties_of(PERMISSION)
        if permission.get("Principal") == "logs.amazonaws.com"
        for source_arn in possible_values(permission.get("SourceArn"))
    ]
    start = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:"
    # log_group_is_allowed_to_invoke checks that there is a permission, and that of our own group.
    return not source_arns or all(
        f"{start}{group}:*" in source_arns for group in groups if group not in own_groups
    )


@policy("CKV_SIGNWATCH_14", TRAIL)
def trail_hands_sign_ins_to_function(trail: Resource, installation: Installation) -> bool:
    """A filter on the trail's log group hands every kind of sign-in to the function."""
    names = {name for names in SIGN_IN_EVENTS.values() for name in names}
    filters = installation.properties_of(FILTER)
    are_usable = all(
        subscription["DestinationArn"] in installation.arns_of(FUNCTION)
        and names <= _read_names(subscription["FilterPattern"])
        for subscription in filters
    )
    groups = [subscription["LogGroupName"] for subscription in filters]
    return are_usable and any(_is_group_of(trail, group, installation) for group in groups)


@policy("CKV_SIGNWATCH_15", TRAIL)
def log_group_is_allowed_to_invoke(trail: Resource, installation: Installation) -> bool:
    """A permission allows the trail's log group, and no other, to invoke the function."""
    group = value_if_present(trail.properties["CloudWatchLogsLogGroupArn"])
    functions = installation.resources_of(FUNCTION)
    names_and_arns = installation.arns_of(FUNCTION) | {each.reference for each in functions}
    return any(
        permission.get("Action") == "lambda:InvokeFunction"
        and permission["FunctionName"] in names_and_arns
        and group in possible_values(permission.get("SourceArn"))  # which ends in ":*"
        and permission.get("SourceAccount", "${AWS::AccountId}") == "${AWS::AccountId}"
        for permission in installation.properties_of(PERMISSION)
        if permission.get("Principal") == "logs.amazonaws.com"
    )


def _is_group_of(trail: Resource, name: Any, installation: Installation) -> bool:
    """Return whether ``name`` is, or can be, that of the trail's log group."""
    arn = value_if_present(trail.properties["CloudWatchLogsLogGroupArn"])
    group = installation.find_by_arn("AWS::Logs::LogGroup", arn)
    return group.reference in possible_values(name)


def _read_names(pattern: str) -> set[str]:
    """Return the event names of a filter pattern; none if it has another form, or is too long."""
    terms = pattern.removeprefix("{ ").removesuffix(" }").split(" || ")
    matches = [FILTER_TERM.fullmatch(term) for term in terms]
    if len(pattern) > FILTER_MAX_CHARS or pattern != "{ " + " || ".join(terms) + " }":
        return set()
    return {match[1] for match in matches if match} if all(matches) else set()
