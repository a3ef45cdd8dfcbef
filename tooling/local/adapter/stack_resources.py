"""CloudFormation resource types that the emulator creates, updates or deletes unlike AWS.

Each function here wraps the emulator's own provisioner of a type: it checks the properties first,
calls the provisioner, and completes the result. A provisioner's functions "create" and "update"
return the resource's physical id and its attributes (``!GetAtt``). If one raises ValueError, the
resource fails with that message.
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
    Result = tuple[str, dict[str, Any]]  # physical id and attributes
    Create = Callable[[str, Properties, str], Result]
    Check = Callable[[Properties], None]

MAX_TARGETS_PER_RULE = 5  # EventBridge quotas
# By resource type, the functions that "create", "update" and "delete".
HANDLERS: dict[str, dict[str, Any]] = provisioners._RESOURCE_HANDLERS


def install() -> None:
    """Replace what the emulator's own provisioners do.

    - a name that another resource has: the emulator adopts or overwrites it; here the create fails
    - Secret: its Ref was the name, a missing value was empty, and a missing name was the stack's;
      here Ref is the ARN, a missing value stays missing, and the name begins with the logical id
    - Function: the emulator ignores code that is not in the bucket and drops
      ReservedConcurrentExecutions and DeadLetterConfig; here the first fails and the others work
    - LayerVersion: the emulator ignores content that is not in the bucket; here it fails
    - Role: the emulator drops PermissionsBoundary; here it is set, and must exist
    - Rule: the emulator checks neither pattern, bus nor targets on a create; here they are checked
      as by PutRule and PutTargets
    - EventBusPolicy: the emulator does not know it; here it is a statement of the bus's policy,
      and no second one of its StatementId is created
    - QueuePolicy: the emulator ignores a queue given by AWS's own URL; here it is found, or fails
    - Bucket: the emulator deletes it with its content and drops its tags and those of the stack;
      here deleting one that is not empty fails, and it has the tags
    """
    for kind, (key, is_taken) in _NAMED_TYPES.items():
        _check_before_create(kind, _name_check(kind, key, is_taken))
    _use_arns_for_secrets()
    _check_before_create("AWS::Lambda::Function", lambda new: _check_zip(new["Code"]))
    _run_after("AWS::Lambda::Function", _complete_function)
    _check_before_create("AWS::Lambda::LayerVersion", lambda new: _check_zip(new["Content"]))
    _check_before_create("AWS::IAM::Role", _check_boundary)
    _run_after("AWS::IAM::Role", _complete_role)
    _check_before_create("AWS::Events::Rule", _check_rule)
    HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": _create_bus_policy,
        "update": _update_bus_policy,
        "delete": _delete_bus_policy,
    }
    _accept_aws_queue_urls()
    _refuse_to_delete_full_buckets()
    provisioners._STACK_TAG_PROPERTY["AWS::S3::Bucket"] = ("Tags", "list")
    _run_after("AWS::S3::Bucket", _tag_bucket)


def _check_before_create(kind: str, check: Check) -> None:
    """Patch the handler of a resource type: ``check`` runs before each create and may raise."""
    create: Create = HANDLERS[kind]["create"]

    def check_and_create(logical_id: str, properties: Properties, stack: str) -> Result:
        """Create the resource, unless the check raises ValueError."""
        check(properties)
        return create(logical_id, properties, stack)

    HANDLERS[kind]["create"] = check_and_create


def _run_after(kind: str, complete: Callable[[str, Properties], None]) -> None:
    """Patch the handler of a resource type: ``complete`` runs after each create and update.

    It gets the physical id and the new properties.
    """
    emulator_create: Create = HANDLERS[kind]["create"]
    emulator_update: Callable[..., Result] = HANDLERS[kind]["update"]

    def create(logical_id: str, properties: Properties, stack: str) -> Result:
        """Create the resource as the emulator does, then complete it."""
        physical_id, attributes = emulator_create(logical_id, properties, stack)
        complete(physical_id, properties)
        return physical_id, attributes

    def update(physical_id: str, old: Properties, new: Properties, *args: Any) -> Result:
        """Update the resource as the emulator does, which may replace it, then complete it."""
        physical_id, attributes = emulator_update(physical_id, old, new, *args)
        complete(physical_id, new)
        return physical_id, attributes

    HANDLERS[kind] |= {"create": create, "update": update}


def _tag_bucket(name: str, properties: Properties) -> None:
    """Give the bucket the tags of its properties, among which the stack's are by now."""
    s3._bucket_tags[name] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags") or []}


def _name_check(kind: str, key: str, is_taken: Callable[[str], bool]) -> Check:
    """Return a check that raises ValueError if another resource has the name.

    ``key`` is the property that contains the name; without it, AWS chooses a name.
    """

    def check(properties: Properties) -> None:
        """Raise ValueError if the name in the properties is taken."""
        name = properties.get(key)
        if name and is_taken(name):
            what = f"Resource of type '{kind}' with identifier '{name}' already exists."
            raise ValueError(f"{what} (HandlerErrorCode: AlreadyExists)")

    return check


def _arn(service: str, name: str) -> str:
    """Return the ARN of a resource in the account and Region of the request."""
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{name}"


# By resource type: the property with the resource's name, and whether a name is in use already.
_NAMED_TYPES: dict[str, tuple[str, Callable[[str], bool]]] = {
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


def _use_arns_for_secrets() -> None:
    """Patch the handlers of secrets: the physical id is the ARN, as in AWS."""
    handlers = HANDLERS["AWS::SecretsManager::Secret"]
    emulator_create, emulator_update, emulator_delete = _emulator_handlers(handlers)

    def create(logical_id: str, properties: Properties, stack: str) -> Result:
        """Create the secret; without a value in the template, it has no version."""
        default_name = f"{logical_id}-{secrets.token_hex(6)}"
        name, attributes = emulator_create(logical_id, {"Name": default_name, **properties}, stack)
        if not {"SecretString", "GenerateSecretString"} & properties.keys():
            secretsmanager._secrets[name]["Versions"].clear()
        return attributes["Id"], attributes

    def update(arn: str, old: Properties, new: Properties, *args: Any) -> Result:
        """Update the secret; without a name in the template, it keeps the one that it has."""
        name = secret_name(arn)
        _, attributes = emulator_update(name, {"Name": name, **old}, {"Name": name, **new}, *args)
        return attributes["Id"], attributes

    def delete(arn: str, properties: Properties) -> None:
        """Delete the secret, which the emulator knows by its name."""
        emulator_delete(secret_name(arn), properties)

    handlers |= {"create": create, "update": update, "delete": delete}


def _emulator_handlers(handlers: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the emulator's own functions that create, update and delete, in this order."""
    return handlers["create"], handlers["update"], handlers["delete"]


def secret_name(arn: str) -> str:
    """Return the name of the secret with this ARN; the ARN itself if there is no such secret."""
    for name, secret in secretsmanager._secrets.items():
        if secret["ARN"] == arn:
            return str(name)
    return arn


def _message(error_response: tuple[int, Any, bytes]) -> str:
    """Return the message in an error response of the emulator: status, headers and JSON body."""
    _status, _headers, body = error_response
    return str(json.loads(body)["message"])


def _complete_function(name: str, properties: Properties) -> None:
    """Set the dead-letter queue and the reserved concurrency, which the emulator drops."""
    function, dead_letters = lambda_svc._functions[name], properties.get("DeadLetterConfig") or {}
    if error_response := lambda_svc._validate_dead_letter_config(dead_letters):
        raise ValueError(_message(error_response))
    function["config"]["DeadLetterConfig"] = dead_letters
    reserved = properties.get("ReservedConcurrentExecutions")
    function["concurrency"] = None if reserved is None else int(reserved)


def _check_zip(location: Properties) -> None:
    """Raise ValueError if ``location`` names a zip in a bucket, and it is not there.

    ``location`` is the property Code of a function or Content of a layer.
    """
    if "S3Key" not in location:
        return
    if s3._get_object_data(location["S3Bucket"], location["S3Key"]) is None:
        code = "Error occurred while GetObject. S3 Error Code: NoSuchKey."
        what = "S3 Error Message: The specified key does not exist."
        raise ValueError(f"{code} {what} (Service: Lambda, Status Code: 400)")


def _check_boundary(properties: Properties) -> None:
    """Raise ValueError if the template names a permissions boundary that does not exist."""
    boundary = properties.get("PermissionsBoundary")
    if boundary and iam._boundary_policy_error(boundary):
        what = f"Scope ARN: {boundary} does not exist or is not attachable."
        raise ValueError(f"{what} (Service: Iam, Status Code: 404)")


def _complete_role(name: str, properties: Properties) -> None:
    """Set the permissions boundary, which the emulator drops."""
    iam._roles[name]["PermissionsBoundary"] = properties.get("PermissionsBoundary")


def _check_rule(properties: Properties) -> None:
    """Raise ValueError if PutRule or PutTargets would refuse the rule.

    Source: EventBridge's API reference.
    """
    eventbridge._ensure_default_bus()
    pattern, targets = properties.get("EventPattern") or "", properties.get("Targets") or []
    if not isinstance(pattern, str):
        pattern = json.dumps(pattern)
    if reason := eventbridge._event_pattern_error(pattern):
        raise ValueError(f"Event pattern is not valid. Reason: {reason}")
    bus = provisioners._eb_rule_bus_name(properties)
    if bus not in eventbridge._event_buses:
        raise ValueError(f"Event bus {bus} does not exist. (Error Code: ResourceNotFoundException)")
    if len(targets) > MAX_TARGETS_PER_RULE:
        what = "The requested resource exceeds the maximum number allowed."
        raise ValueError(f"{what} (Service: EventBridge, Error Code: LimitExceededException)")
    for target in targets:
        if error_response := eventbridge._validate_target_arn(target):
            raise ValueError(_message(error_response))


def _create_bus_policy(_logical_id: str, properties: Properties, _stack: str) -> Result:
    """Add a statement to the policy of a bus; its StatementId is the physical id.

    Raises ValueError if there is no such bus, or if any bus has a statement of this id: the
    physical ids of a type are unique in an account and Region.
    """
    eventbridge._ensure_default_bus()
    statement_id = properties["StatementId"]
    policies = eventbridge._event_bus_policies.values()
    if any(statement_id == part["Sid"] for policy in policies for part in policy["Statement"]):
        raise ValueError(f"{statement_id} already exists in stack")
    return _put_bus_policy(properties)


def _put_bus_policy(properties: Properties) -> Result:
    """Write a statement into the policy of its bus. Raises ValueError if there is no such bus."""
    bus = properties.get("EventBusName", "default")
    if bus not in eventbridge._event_buses:
        raise ValueError(f"Event bus {bus} does not exist. (Error Code: ResourceNotFoundException)")
    _delete_bus_policy("", properties)
    empty = {"Version": "2012-10-17", "Statement": []}
    policy = eventbridge._event_bus_policies.setdefault(bus, empty)
    policy["Statement"].append({"Sid": properties["StatementId"], **properties["Statement"]})
    return properties["StatementId"], {}


def _update_bus_policy(
    _physical_id: str, old: Properties, new: Properties, stack: str, *_: Any
) -> Result:
    """Change the statement in place; another bus or id replaces the resource.

    The statement of the old resource is deleted with it.
    """
    keys = ("EventBusName", "StatementId")  # its createOnlyProperties
    if any(old.get(key) != new.get(key) for key in keys):
        return _create_bus_policy("", new, stack)
    return _put_bus_policy(new)


def _delete_bus_policy(_physical_id: str, properties: Properties) -> None:
    """Remove the statement from the policy of its bus, if it is there."""
    request = {key: properties[key] for key in ("EventBusName", "StatementId") if key in properties}
    eventbridge._remove_permission(request)


def _accept_aws_queue_urls() -> None:
    """Patch the handlers of AWS::SQS::QueuePolicy: templates name a queue by AWS's URL.

    The emulator knows only its own URLs. Like AWS, creating or changing a policy fails if a queue
    in the new properties does not exist; those in the old properties may be gone.
    """
    handlers = HANDLERS["AWS::SQS::QueuePolicy"]
    emulator_create, emulator_update, emulator_delete = _emulator_handlers(handlers)

    def create(logical_id: str, properties: Properties, stack: str) -> Any:
        """Create the policy; every queue in its properties must exist."""
        return emulator_create(logical_id, _with_existing_queues(properties), stack)

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Any:
        """Update the policy; every queue of the new properties must exist."""
        new_properties = _with_existing_queues(new)
        return emulator_update(physical_id, _with_emulator_urls(old), new_properties, stack)

    def delete(physical_id: str, properties: Properties) -> None:
        """Delete the policy, even if a queue in its properties is gone."""
        emulator_delete(physical_id, _with_emulator_urls(properties))

    handlers |= {"create": create, "update": update, "delete": delete}


def _with_emulator_urls(properties: Properties) -> dict[str, Any]:
    """Return the policy's properties with the emulator's URL of each queue."""
    urls = []
    for url in properties["Queues"]:
        account, _, name = urlsplit(url).path.strip("/").partition("/")  # ".../ACCOUNT/NAME"
        urls.append(str(sqs._queue_url_for_account(account, name)))
    return {**properties, "Queues": urls}


def _with_existing_queues(properties: Properties) -> dict[str, Any]:
    """Return the properties with the emulator's URLs. Raises ValueError if a queue is missing."""
    properties = _with_emulator_urls(properties)
    for url in properties["Queues"]:
        if url not in sqs._queues:
            what = "The specified queue does not exist. (Service: Sqs, Status Code: 400)"
            raise ValueError(f"{what}: {url}")
    return properties


def _refuse_to_delete_full_buckets() -> None:
    """Patch the handler of buckets: only an empty bucket is deleted."""
    handlers = HANDLERS["AWS::S3::Bucket"]
    emulator_delete = handlers["delete"]

    def delete(name: str, properties: Properties) -> None:
        """Delete the bucket. Raises ValueError if it has objects or versions."""
        bucket = s3._buckets.get(name)
        if bucket and (bucket["objects"] or s3._bucket_has_versions(name)):
            what = "The bucket you tried to delete is not empty."
            fix = "You must delete all versions in the bucket."
            raise ValueError(f"{what} {fix} (Service: S3, Status Code: 409)")
        emulator_delete(name, properties)

    handlers["delete"] = delete
