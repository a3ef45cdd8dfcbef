"""Policies on the rules: what they match, their targets, and their permissions on the targets.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
A policy about the installation as a whole runs for each of its nested stacks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from policy_base import (
    FOREIGN_BUS,
    allow_statements,
    is_allowed,
    is_forwarding,
    is_in_other_region,
    policy,
    possible_values,
    rule_targets,
)

if TYPE_CHECKING:
    from installation import Installation, Resource

RULE, PERMISSION = "AWS::Events::Rule", "AWS::Lambda::Permission"
FUNCTION, LOG_GROUP, QUEUE = "AWS::Lambda::Function", "AWS::Logs::LogGroup", "AWS::SQS::Queue"
BUS, BUS_POLICY, ROLE = "AWS::Events::EventBus", "AWS::Events::EventBusPolicy", "AWS::IAM::Role"
STACK = "AWS::CloudFormation::Stack"
EVENTBRIDGE, PUT_EVENTS = "events.amazonaws.com", "events:PutEvents"
FOREIGN_ROLE = "${ForwarderRoleArn}"  # as FOREIGN_BUS: a parameter of cfn/forwarder.yaml
ENABLED_FOR_ALL = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
# The events of each service that record a sign-in or a password check (CloudTrail user guide).
SIGN_IN_EVENTS = {
    "signin": (
        "ConsoleLogin",
        "CheckMfa",
        "SwitchRole",
        "GetSigninToken",
        "PasswordRecoveryRequested",
        "AuthorizeOAuth2Access",
        "CreateOAuth2Token",
        "CreateOAuth2TokenWithTokenExchange",
        "UserAuthentication",
        "CredentialVerification",
        "ExternalIdPDirectoryLogin",
    ),
    "sso": ("UserAuthentication", "CreateToken", "GetRoleCredentials"),
    "sso-oauth": ("CreateToken",),
    "sts": (
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
        "AssumeRoot",
        "GetFederationToken",
        "GetDelegatedAccessToken",
    ),
}
# The AWS Sign-In user guide names the detail-type in prose only, so upper case is not certain.
ANOMALY_TYPE = [{"equals-ignore-case": "Sign-in Anomaly Alert"}]
PATTERN_MAX_CHARS = 2048  # Amazon EventBridge quotas
EVENT_AGE_MIN_SECONDS = 3600
RETRIES_MIN = 10
DEFAULT_RETRIES, DEFAULT_EVENT_AGE_SECONDS = 185, 86400  # of a target without a RetryPolicy


@policy("CKV_SIGNWATCH_20", RULE)
def rule_is_enabled(rule: Resource, _installation: Installation) -> bool:
    """A rule is enabled for all management events; plain ENABLED leaves out the read-only ones."""
    return rule.properties.get("State") == ENABLED_FOR_ALL


@policy("CKV_SIGNWATCH_21", RULE)
def pattern_is_not_too_narrow(rule: Resource, _installation: Installation) -> bool:
    """A rule matches by source and name, or by source and detail-type, and by nothing else."""
    return all(_is_wide(pattern) for pattern in _alternatives(rule.properties["EventPattern"]))


def _is_wide(pattern: dict[str, Any]) -> bool:
    """Return whether a pattern without ``$or`` matches by nothing but what every event has."""
    if set(pattern) == {"source", "detail-type"}:  # for an event that CloudTrail does not record
        return True
    keys = {"eventSource", "eventName"}
    return set(pattern) == {"source", "detail"} and set(pattern["detail"]) == keys


def _alternatives(pattern: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the patterns of which an event must match one: those of ``$or``, else the only one."""
    rest = {key: value for key, value in pattern.items() if key != "$or"}
    return [{**rest, **alternative} for alternative in pattern.get("$or", [{}])]


@policy("CKV_SIGNWATCH_22", "AWS::CloudFormation::Stack")
def all_sign_ins_are_matched(_stack: Resource, installation: Installation) -> bool:
    """The rules match every kind of sign-in, a correct password, and AWS's own anomaly alert."""
    rules = [rule for rule in installation.resources_of(RULE) if not is_forwarding(rule)]
    return _match_all([rule.properties["EventPattern"] for rule in rules])


@policy("CKV_SIGNWATCH_33", RULE)
def all_sign_ins_are_forwarded(rule: Resource, _installation: Installation) -> bool:
    """A rule that forwards to another bus matches every event that the rules there match."""
    return not is_forwarding(rule) or _match_all(_alternatives(rule.properties["EventPattern"]))


def _match_all(patterns: list[dict[str, Any]]) -> bool:
    """Return whether the patterns together match all of SIGN_IN_EVENTS and the anomaly alert."""
    events = [(service, name) for service, names in SIGN_IN_EVENTS.items() for name in names]
    anomaly_sources = [
        pattern.get("source", [])
        for pattern in patterns
        if pattern.get("detail-type") == ANOMALY_TYPE
    ]
    are_matched = all(
        any(_matches(pattern, service, name) for pattern in patterns) for service, name in events
    )
    return are_matched and any("aws.signin" in sources for sources in anomaly_sources)


def _matches(pattern: dict[str, Any], service: str, name: str) -> bool:
    """Return whether an event pattern matches the events of this service and name."""
    detail = pattern.get("detail", {})
    return (
        f"aws.{service}" in pattern.get("source", [])
        and f"{service}.amazonaws.com" in detail.get("eventSource", [])
        and name in detail.get("eventName", [])
    )


@policy("CKV_SIGNWATCH_23", RULE)
def rule_is_on_bus_with_sign_ins(rule: Resource, installation: Installation) -> bool:
    """A rule is on the default bus, the only one of CloudTrail, or on one that it forwards to."""
    bus = rule.properties.get("EventBusName", "default")
    if bus == "default" or is_forwarding(rule):
        return bool(bus == "default")
    # !If [condition, custom bus, default]: the bus is forwarded to under the same condition
    condition, custom_bus, other_bus = bus["Fn::If"]
    custom_buses = {resource.reference for resource in installation.resources_of(BUS)}
    is_chosen = installation.root_parameters()["EventBusName"]["Default"] == "default"
    return (is_chosen and custom_bus in custom_buses and other_bus == "default") and any(
        other.body.get("Condition") == condition and other.properties["EventBusName"] == "default"
        for other in installation.resources_of(RULE)
        if is_forwarding(other)
    )


@policy("CKV_SIGNWATCH_34", RULE)
def forwarding_reaches_bus(rule: Resource, installation: Installation) -> bool:
    """A rule forwards to the bus of the rules, with a role that may send and that the bus admits.

    A forwarder of another Region gets that bus, and the role, as parameters.
    """
    if not is_forwarding(rule):
        return True
    buses = {FOREIGN_BUS} if is_in_other_region(rule, installation) else installation.arns_of(BUS)
    (target,) = rule_targets(rule)
    return target["Arn"] in buses and all(
        _may_forward(role, target["Arn"], installation)
        for role in possible_values(target.get("RoleArn"))
    )


def _may_forward(role_arn: str | None, bus_arn: str, installation: Installation) -> bool:
    """Return whether a role may put events on a bus, and whether the bus admits it."""
    if bus_arn == FOREIGN_BUS and role_arn == FOREIGN_ROLE:
        return True
    role = installation.find_by_arn(ROLE, str(role_arn))
    documents = [entry["PolicyDocument"] for entry in role.properties["Policies"]]
    may_send = is_allowed(allow_statements(documents), PUT_EVENTS, bus_arn)
    if bus_arn == FOREIGN_BUS:
        return may_send  # its own policy is in another Region
    admitted = [
        bus_policy["Statement"].get("Principal")
        for bus_policy in installation.properties_of(BUS_POLICY)
        if bus_policy["Statement"].get("Resource") == bus_arn
        if "Condition" not in bus_policy["Statement"]
    ]
    return may_send and ({"AWS": role_arn} in admitted or "*" in admitted)


@policy("CKV_SIGNWATCH_36", RULE)
def pattern_fits_the_quota(rule: Resource, _installation: Installation) -> bool:
    """A pattern has at most 2,048 characters, the quota of EventBridge."""
    return len(json.dumps(rule.properties["EventPattern"])) <= PATTERN_MAX_CHARS


@policy("CKV_SIGNWATCH_35", BUS_POLICY)
def bus_admits_forwarders_alone(bus_policy: Resource, installation: Installation) -> bool:
    """A bus admits roles of this installation, and of its organisation the forwarders' roles."""
    statement = bus_policy.properties["Statement"]
    if statement["Action"] != PUT_EVENTS:
        return False
    if statement["Principal"] != "*":
        return statement["Principal"]["AWS"] in installation.arns_of(ROLE)
    names = [role["RoleName"] for role in installation.properties_of(ROLE) if "RoleName" in role]
    in_any_region = [name.replace("${AWS::Region}", "*") for name in names]
    condition = statement.get("Condition", {})
    members = {"aws:PrincipalOrgID": "${OrganizationId}"}
    return condition.get("StringEquals") == members and condition.get("ArnLike") in [
        {"aws:PrincipalArn": f"arn:${{AWS::Partition}}:iam::*:role/{name}"}
        for name in in_any_region
    ]


@policy("CKV_SIGNWATCH_37", BUS_POLICY)
def bus_policy_is_on_its_bus(bus_policy: Resource, installation: Installation) -> bool:
    """A bus policy is on the bus of the rules, and its statement names the bus of that template."""
    buses = [
        rule.properties.get("EventBusName")
        for rule in installation.resources_of(RULE)
        if not is_forwarding(rule)
    ]
    # forwarding_reaches_bus checks that the parent passes the right one.
    bus_arn = installation.resolve(bus_policy.file, {"Ref": "EventBusArn"})
    names_bus = bus_policy.properties["Statement"].get("Resource") == bus_arn
    return names_bus and bus_policy.properties.get("EventBusName") in buses


@policy("CKV_SIGNWATCH_38", STACK)
def organisation_is_admitted(_stack: Resource, installation: Installation) -> bool:
    """If the owner can name an organisation, a bus policy admits accounts by a condition."""
    # bus_admits_forwarders_alone checks the condition.
    if "OrganizationId" not in installation.root_parameters():
        return True
    statements = [properties["Statement"] for properties in installation.properties_of(BUS_POLICY)]
    return any(statement.get("Principal") == "*" for statement in statements)


@policy("CKV_SIGNWATCH_39", STACK)
def other_regions_have_a_forwarder(_stack: Resource, installation: Installation) -> bool:
    """A template for the other Regions has a rule that forwards to the bus of the rules."""
    return any(
        is_forwarding(rule) and is_in_other_region(rule, installation)
        for rule in installation.resources_of(RULE)
    )


@policy("CKV_SIGNWATCH_24", RULE)
def rule_has_both_targets(rule: Resource, installation: Installation) -> bool:
    """A rule sends each event to the function, and a raw copy to a log group."""
    if is_forwarding(rule):
        return True
    targets = {target["Arn"] for target in rule_targets(rule)}
    # A target is the log group without the ":*" of its attribute Arn.
    groups = {arn.removesuffix(":*") for arn in installation.arns_of(LOG_GROUP)}
    return bool(targets & installation.arns_of(FUNCTION)) and bool(targets & groups)


@policy("CKV_SIGNWATCH_25", RULE)
def delivery_is_retried(rule: Resource, _installation: Installation) -> bool:
    """A rule retries a delivery at least ten times and for at least an hour."""
    for target in rule_targets(rule):  # rule_has_both_targets checks that there are some
        retry_policy = target.get("RetryPolicy", {})
        retries = retry_policy.get("MaximumRetryAttempts", DEFAULT_RETRIES)
        age_seconds = retry_policy.get("MaximumEventAgeInSeconds", DEFAULT_EVENT_AGE_SECONDS)
        if retries < RETRIES_MIN or age_seconds < EVENT_AGE_MIN_SECONDS:
            return False
    return True


@policy("CKV_SIGNWATCH_26", RULE)
def undelivered_events_are_kept(rule: Resource, installation: Installation) -> bool:
    """Undelivered events go to a queue of this installation, but for those of other Regions."""
    if is_in_other_region(rule, installation):
        return True  # the trail's log group brings what it loses, if there is one
    queues = installation.arns_of(QUEUE)
    # That there are targets is what rule_has_both_targets checks.
    return all(
        target.get("DeadLetterConfig", {}).get("Arn") in queues for target in rule_targets(rule)
    )


@policy("CKV_SIGNWATCH_27", RULE)
def rule_is_allowed_to_send(rule: Resource, installation: Installation) -> bool:
    """The queue's policy allows the rule to send undelivered events."""
    policies = installation.properties_of("AWS::SQS::QueuePolicy")
    documents = [properties["PolicyDocument"] for properties in policies]
    statements = allow_statements(documents, EVENTBRIDGE)
    # undelivered_events_are_kept checks that each target names a queue.
    configs = [
        target["DeadLetterConfig"] for target in rule_targets(rule) if "DeadLetterConfig" in target
    ]
    queues = {config["Arn"] for config in configs} & installation.arns_of(QUEUE)
    request_keys = {"aws:SourceArn": rule.arn}
    return all(is_allowed(statements, "sqs:SendMessage", queue, request_keys) for queue in queues)


@policy("CKV_SIGNWATCH_28", RULE)
def rule_is_allowed_to_invoke(rule: Resource, installation: Installation) -> bool:
    """A permission allows the rule to invoke the function."""
    if is_forwarding(rule):
        return True
    functions = installation.resources_of(FUNCTION)
    names_and_arns = installation.arns_of(FUNCTION) | {each.reference for each in functions}
    return any(
        permission.get("Action") == "lambda:InvokeFunction"
        and permission.get("Principal") == EVENTBRIDGE
        and permission.get("SourceArn", rule.arn) == rule.arn  # without one, any rule may
        and permission["FunctionName"] in names_and_arns
        for permission in installation.properties_of(PERMISSION)
    )


@policy("CKV_SIGNWATCH_29", PERMISSION)
def permission_names_rule(permission: Resource, _installation: Installation) -> bool:
    """A permission for EventBridge names the rule, so that no other account's rule is allowed."""
    principal = permission.properties.get("Principal")
    return "SourceArn" in permission.properties or principal != EVENTBRIDGE


@policy("CKV_SIGNWATCH_30", PERMISSION)
def permission_has_no_other_condition(permission: Resource, _installation: Installation) -> bool:
    """A rule's permission has no condition but the rule; EventBridge sends no account."""
    if permission.properties.get("Principal") != EVENTBRIDGE:
        return True
    return set(permission.properties) <= {"FunctionName", "Action", "Principal", "SourceArn"}


@policy("CKV_SIGNWATCH_31", "AWS::Logs::ResourcePolicy")
def raw_copy_is_allowed(log_policy: Resource, installation: Installation) -> bool:
    """A resource policy of CloudWatch Logs allows EventBridge to write the raw copies."""
    document = json.loads(log_policy.properties["PolicyDocument"])
    statements = allow_statements([document], EVENTBRIDGE)
    rules = installation.resources_of(RULE)
    targets = {target["Arn"] for rule in rules for target in rule_targets(rule)}
    # rule_has_both_targets checks that a rule has a log group as a target.
    return all(
        is_allowed(statements, "logs:PutLogEvents", arn)
        for arn in installation.arns_of(LOG_GROUP)
        if arn.removesuffix(":*") in targets
    )


@policy("CKV_SIGNWATCH_32", RULE)
def event_is_sent_unchanged(rule: Resource, _installation: Installation) -> bool:
    """A target gets each event unchanged: the function expects it, and the copy is evidence."""
    changes = {"Input", "InputPath", "InputTransformer"}
    return not any(changes & set(target) for target in rule_targets(rule))
