"""Resource types of which the emulator's CloudFormation makes less, or more, than AWS does.

Each stands in front of the emulator's own provisioner: it checks first, lets that work, and completes the result.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ministack.core.responses import get_account_id, get_region
from ministack.services import (
    cloudwatch,
    cloudwatch_logs,
    dynamodb,
    eventbridge,
    iam,
    kms,
    lambda_svc,
    s3,
    secretsmanager,
    sns,
    sqs,
)
from ministack.services.cloudformation import provisioners

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Properties = Mapping[str, Any]
    Made = tuple[str, dict[str, Any]]
    Create = Callable[[str, Properties, str], Made]
    Check = Callable[[Properties], None]

MOST_TARGETS = 5  # of a rule (EventBridge quotas)
HANDLERS: dict[str, dict[str, Any]] = provisioners._RESOURCE_HANDLERS


def install() -> None:
    """Replace what these stock provisioners do.

    - a name that is taken: adopted or overwritten; here it fails the create
    - Secret: Ref is the name, a secret without a value has an empty one, and one without a name is called after its
      stack; here Ref is the ARN, no value is none, and the name begins with the logical id
    - Function: code that is not in the bucket is passed over, ReservedConcurrentExecutions and DeadLetterConfig are
      dropped; here the first fails and the others are kept
    - LayerVersion: content that is not in the bucket is passed over; here it fails
    - Role: PermissionsBoundary is dropped; here it is kept, and must exist
    - Rule: pattern, bus and targets are not looked at on a create; here they are, as PutRule and PutTargets do
    - QueuePolicy: a queue that is named by AWS's own URL is passed over; here it is found, and one that is not fails
    - Bucket: deleted with all that is in it; here one that is not empty does not go
    """
    _refuse_taken_names()
    _keep_secrets_by_arn()
    _complete_functions()
    _check_before("AWS::Lambda::LayerVersion", lambda new: _check_object(new["Content"]))
    _keep_boundaries()
    _check_before("AWS::Events::Rule", _check_rule)
    _find_queues_by_url()
    _keep_full_buckets()


def _check_before(kind: str, check: Check) -> None:
    create: Create = HANDLERS[kind]["create"]

    def checked(logical_id: str, properties: Properties, stack: str) -> Made:
        check(properties)
        return create(logical_id, properties, stack)

    HANDLERS[kind]["create"] = checked


def _complete_after(kind: str, complete: Callable[[str, Properties], None]) -> None:
    """Run ``complete`` with the physical id and the new properties after a create and an update in place."""
    create: Create = HANDLERS[kind]["create"]
    update: Callable[..., Made] = HANDLERS[kind]["update"]

    def created(logical_id: str, properties: Properties, stack: str) -> Made:
        made = create(logical_id, properties, stack)
        complete(made[0], properties)
        return made

    def updated(physical_id: str, old: Properties, new: Properties, *more: Any) -> Made:
        made = update(physical_id, old, new, *more)
        complete(made[0], new)
        return made

    HANDLERS[kind] |= {"create": created, "update": updated}


def _refuse_taken_names() -> None:
    for kind, (key, is_taken) in _NAMED.items():
        _check_before(kind, _name_check(kind, key, is_taken))


def _name_check(kind: str, key: str, is_taken: Callable[[str], bool]) -> Check:
    def check(properties: Properties) -> None:
        name = properties.get(key)
        if name and is_taken(name):
            what = f"Resource of type '{kind}' with identifier '{name}' already exists."
            raise ValueError(f"{what} (HandlerErrorCode: AlreadyExists)")

    return check


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{rest}"


_NAMED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName", lambda name: name in cloudwatch._alarms),
    "AWS::DynamoDB::Table": ("TableName", lambda name: name in dynamodb._tables),
    "AWS::IAM::Role": ("RoleName", lambda name: name in iam._roles),
    "AWS::KMS::Alias": ("AliasName", lambda name: kms._alias_arn(name) in kms._aliases),
    "AWS::Lambda::Function": ("FunctionName", lambda name: name in lambda_svc._functions),
    "AWS::Logs::LogGroup": ("LogGroupName", lambda name: name in cloudwatch_logs._log_groups),
    "AWS::Logs::ResourcePolicy": (
        "PolicyName",
        lambda name: name in cloudwatch_logs._resource_policies,
    ),
    "AWS::SNS::Topic": ("TopicName", lambda name: _arn("sns", name) in sns._topics),
    "AWS::SQS::Queue": ("QueueName", lambda name: sqs._queue_by_arn(_arn("sqs", name)) is not None),
}


def _keep_secrets_by_arn() -> None:
    kind = "AWS::SecretsManager::Secret"
    create, update, delete = (HANDLERS[kind][key] for key in ("create", "update", "delete"))

    def created(logical_id: str, properties: Properties, stack: str) -> Made:
        own = f"{logical_id}-{secrets.token_hex(6)}"  # the logical id and a random suffix, without the stack's name
        name, attributes = create(logical_id, {"Name": own, **properties}, stack)
        if not {"SecretString", "GenerateSecretString"} & properties.keys():
            secretsmanager._secrets[name]["Versions"].clear()
        return attributes["Id"], attributes

    def updated(arn: str, old: Properties, new: Properties, *more: Any) -> Made:
        name = secret_name(arn)
        _, attributes = update(
            name, {"Name": name, **old}, {"Name": name, **new}, *more
        )  # an unnamed one keeps its own
        return attributes["Id"], attributes

    def deleted(arn: str, properties: Properties) -> None:
        delete(secret_name(arn), properties)

    HANDLERS[kind] |= {"create": created, "update": updated, "delete": deleted}


def secret_name(arn: str) -> str:
    """Return the name of the secret with this ARN, by which the emulator keeps it; the ARN when there is none."""
    names = [str(name) for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn]
    return names[0] if names else arn


def _complete_functions() -> None:
    kind = "AWS::Lambda::Function"
    _check_before(kind, lambda new: _check_object(new["Code"]))
    _complete_after(kind, _complete_function)


def _complete_function(name: str, properties: Properties) -> None:
    function, queue = lambda_svc._functions[name], properties.get("DeadLetterConfig") or {}
    if refusal := lambda_svc._validate_dead_letter_config(queue):
        raise ValueError(json.loads(refusal[2])["message"])
    function["config"]["DeadLetterConfig"] = queue
    reserved = properties.get("ReservedConcurrentExecutions")
    function["concurrency"] = None if reserved is None else int(reserved)


def _check_object(place: Properties) -> None:
    """The object that holds a function's or layer's zip is there, if the template names one."""
    if "S3Key" in place and s3._get_object_data(place["S3Bucket"], place["S3Key"]) is None:
        what = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key"
        raise ValueError(f"{what} does not exist. (Service: Lambda, Status Code: 400)")


def _keep_boundaries() -> None:
    kind = "AWS::IAM::Role"
    _check_before(kind, _check_boundary)
    _complete_after(kind, _complete_role)


def _check_boundary(properties: Properties) -> None:
    boundary = properties.get("PermissionsBoundary")
    if boundary and iam._boundary_policy_error(boundary):
        raise ValueError(
            f"Scope ARN: {boundary} does not exist or is not attachable. (Service: Iam, Status Code: 404)"
        )


def _complete_role(name: str, properties: Properties) -> None:
    iam._roles[name]["PermissionsBoundary"] = properties.get("PermissionsBoundary")


def _check_rule(properties: Properties) -> None:
    """What PutRule and PutTargets refuse (EventBridge's API reference)."""
    eventbridge._ensure_default_bus()
    pattern, targets = properties.get("EventPattern") or "", properties.get("Targets") or []
    reason = eventbridge._event_pattern_error(
        pattern if isinstance(pattern, str) else json.dumps(pattern)
    )
    if reason:
        raise ValueError(f"Event pattern is not valid. Reason: {reason}")
    bus = provisioners._eb_rule_bus_name(properties)
    if bus not in eventbridge._event_buses:
        raise ValueError(f"Event bus {bus} does not exist. (Error Code: ResourceNotFoundException)")
    if len(targets) > MOST_TARGETS:
        what = "The requested resource exceeds the maximum number allowed."
        raise ValueError(f"{what} (Service: EventBridge, Error Code: LimitExceededException)")
    for target in targets:
        if refusal := eventbridge._validate_target_arn(target):
            raise ValueError(json.loads(refusal[2])["message"])


def _find_queues_by_url() -> None:
    kind = "AWS::SQS::QueuePolicy"
    create, update, delete = (HANDLERS[kind][key] for key in ("create", "update", "delete"))

    def created(logical_id: str, properties: Properties, stack: str) -> Made:
        made: Made = create(logical_id, _local(properties, must_exist=True), stack)
        return made

    def updated(physical_id: str, old: Properties, new: Properties, stack: str) -> Made:
        made: Made = update(physical_id, _local(old), _local(new, must_exist=True), stack)
        return made

    def deleted(physical_id: str, properties: Properties) -> None:
        delete(physical_id, _local(properties))

    HANDLERS[kind] |= {"create": created, "update": updated, "delete": deleted}


def _local(properties: Properties, *, must_exist: bool = False) -> dict[str, Any]:
    """Return the policy's properties with each queue under the URL by which the emulator knows it."""
    queues = [_local_url(url) for url in properties["Queues"]]
    for url in queues:
        if must_exist and url not in sqs._queues:
            raise ValueError(
                f"The specified queue does not exist. (Service: Sqs, Status Code: 400): {url}"
            )
    return {**properties, "Queues": queues}


def _local_url(url: str) -> str:
    account, _, name = urlsplit(url).path.strip("/").partition("/")
    return str(sqs._queue_url_for_account(account, name))


def _keep_full_buckets() -> None:
    kind = "AWS::S3::Bucket"
    delete = HANDLERS[kind]["delete"]

    def deleted(name: str, properties: Properties) -> None:
        bucket = s3._buckets.get(name)
        if bucket and (bucket["objects"] or s3._bucket_has_versions(name)):
            what = "The bucket you tried to delete is not empty."
            raise ValueError(
                f"{what} You must delete all versions in the bucket. (Service: S3, Status Code: 409)"
            )
        delete(name, properties)

    HANDLERS[kind]["delete"] = deleted
