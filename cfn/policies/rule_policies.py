"""Policies on the rules: what they match, whom they hand it to, and that they are let in there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, covers, each, fits

if TYPE_CHECKING:
    from monitor_site import Resource, Site

RULE, PERMISSION, FUNCTION = "AWS::Events::Rule", "AWS::Lambda::Permission", "AWS::Lambda::Function"
STACK = "AWS::CloudFormation::Stack"
SERVICE = "events.amazonaws.com"
ALL_EVENTS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
SIGN_INS = {  # service: its events that tell of a sign-in or of its password (CloudTrail user guide, sign-in events)
    "signin": (
        "ConsoleLogin",
        "CheckMfa",
        "SwitchRole",
        "GetSigninToken",
        "PasswordRecoveryRequested",
        "AuthorizeOAuth2Access",
        "CreateOAuth2Token",
        "UserAuthentication",
        "CredentialVerification",
        "ExternalIdPDirectoryLogin",
    ),
    "sso": ("UserAuthentication", "CreateToken", "GetRoleCredentials"),
    "sso-oauth": ("CreateToken",),
    "sts": ("AssumeRoleWithSAML", "AssumeRoot", "GetFederationToken"),
}
ANOMALY = [
    {"equals-ignore-case": "Sign-in Anomaly Alert"}
]  # its spelling is known from prose (AWS Sign-In user guide)
SHORTEST_AGE, FEWEST_TRIES = 3600, 10


class RuleIsOn(Policy):
    """A rule is enabled for all management events, reading ones too: plain ENABLED leaves those out."""

    number, kinds = 20, (RULE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("State") == ALL_EVENTS


class RuleIsNotNarrowed(Policy):
    """A rule matches by source and name, or by source and detail-type: any further key can leave sign-ins out."""

    number, kinds = 21, (RULE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        pattern = resource.properties["EventPattern"]
        by_type = set(pattern) == {
            "source",
            "detail-type",
        }  # such a rule names no event that CloudTrail records
        by_name = set(pattern) == {"source", "detail"} and set(pattern["detail"]) == {
            "eventSource",
            "eventName",
        }
        return by_type or by_name


class SignInsAreMatched(Policy):
    """The rules together name every kind of sign-in, a right password, and the anomaly alert that AWS itself sends."""

    number, kinds = 22, (STACK,)

    def _holds(self, _resource: Resource, site: Site, /) -> bool:
        patterns = [rule.properties["EventPattern"] for rule in site.of(RULE)]
        wanted = [(service, name) for service, names in SIGN_INS.items() for name in names]
        named = all(any(_names(pattern, *sign_in) for pattern in patterns) for sign_in in wanted)
        told = [
            pattern.get("source", [])
            for pattern in patterns
            if pattern.get("detail-type") == ANOMALY
        ]
        return named and any("aws.signin" in sources for sources in told)


def _names(pattern: dict[str, Any], service: str, name: str) -> bool:
    detail, sign_in = (
        pattern.get("detail", {}),
        (f"aws.{service}", f"{service}.amazonaws.com", name),
    )
    given = (pattern.get("source", []), detail.get("eventSource", []), detail.get("eventName", []))
    return all(wanted in listed for wanted, listed in zip(sign_in, given, strict=True))


class RuleListensOnChosenBus(Policy):
    """A rule listens on the bus that the owner chose, and unless he does on the one where CloudTrail delivers."""

    number, kinds = 23, (RULE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        offered = site.root_parameters().get("EventBusName")
        chosen = "${EventBusName}" if offered else "default"
        delivered = offered is None or offered.get("Default") == "default"
        return delivered and str(resource.properties.get("EventBusName", "default")) == chosen


class RuleHasTargets(Policy):
    """A rule hands each event to the function, and to a log group of the installation as a raw copy."""

    number, kinds = 24, (RULE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        given = {target["Arn"] for target in each(resource.properties.get("Targets"))}
        groups = {group.arn.removesuffix(":*") for group in site.of("AWS::Logs::LogGroup")}
        return bool(given & {made.arn for made in site.of(FUNCTION)}) and bool(given & groups)


class TargetIsTriedAgain(Policy):
    """A rule tries each target again, ten times or more and for an hour or more."""

    number, kinds = 25, (RULE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        tries = [
            target.get("RetryPolicy", {}) for target in each(resource.properties.get("Targets"))
        ]
        often = all(given.get("MaximumRetryAttempts", 185) >= FEWEST_TRIES for given in tries)
        return often and all(
            given.get("MaximumEventAgeInSeconds", 86400) >= SHORTEST_AGE for given in tries
        )


class TargetGetsWholeEvent(Policy):
    """A target gets each event as it came: the function knows no other form, and the raw copy is evidence."""

    number, kinds = 32, (RULE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        changes = {"Input", "InputPath", "InputTransformer"}
        return not any(changes & set(target) for target in each(resource.properties.get("Targets")))


class TargetHasQueue(Policy):
    """What a target does not take waits in a queue of the installation."""

    number, kinds = 26, (RULE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        queues = {queue.arn for queue in site.of("AWS::SQS::Queue")}
        targets = each(resource.properties.get("Targets"))
        return all(target.get("DeadLetterConfig", {}).get("Arn") in queues for target in targets)


class RuleMaySendToQueue(Policy):
    """The queue's policy lets the rule put there what a target does not take."""

    number, kinds = 27, (RULE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        found = [policy.properties["PolicyDocument"] for policy in site.of("AWS::SQS::QueuePolicy")]
        grants = [grant for document in found for grant in allows(document, SERVICE)]
        grants = [grant for grant in grants if fits(grant, {"aws:SourceArn": resource.arn})]
        queues = {
            t["DeadLetterConfig"]["Arn"]
            for t in each(resource.properties.get("Targets"))
            if "DeadLetterConfig" in t
        }
        made = queues & {queue.arn for queue in site.of("AWS::SQS::Queue")}
        return all(
            any(covers(grant, "sqs:SendMessage", queue) for grant in grants) for queue in made
        )


class RuleMayInvoke(Policy):
    """A permission lets the rule invoke the function."""

    number, kinds = 28, (RULE,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        functions = {name for made in site.of(FUNCTION) for name in (made.arn, made.reference)}
        return any(
            _lets(p.properties, resource.arn) and p.properties["FunctionName"] in functions
            for p in site.of(PERMISSION)
        )


def _lets(permission: dict[str, Any], rule: str) -> bool:
    action = (
        permission.get("Action") == "lambda:InvokeFunction"
        and permission.get("Principal") == SERVICE
    )
    return action and permission.get("SourceArn", rule) == rule


class PermissionNamesRule(Policy):
    """A permission for EventBridge names the rule, so that no other account's rule invokes the function."""

    number, kinds = 29, (PERMISSION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return "SourceArn" in resource.properties or resource.properties.get("Principal") != SERVICE


class PermissionAsksForNoMore(Policy):
    """A permission for EventBridge asks for nothing but its rule, such as an account, which is not sent for a rule."""

    number, kinds = 30, (PERMISSION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return set(resource.properties) <= {"FunctionName", "Action", "Principal", "SourceArn"}


class RuleMayWriteRawCopy(Policy):
    """A resource policy of CloudWatch Logs lets EventBridge write the raw copy to its log group."""

    number, kinds = 31, ("AWS::Logs::ResourcePolicy",)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        document = json.loads(resource.properties["PolicyDocument"])
        grants = [grant for grant in allows(document, SERVICE) if fits(grant, {})]
        groups = [group.arn for group in site.of("AWS::Logs::LogGroup")]
        given = {
            target["Arn"]
            for rule in site.of(RULE)
            for target in each(rule.properties.get("Targets"))
        }
        raw = [group for group in groups if group.removesuffix(":*") in given]
        return all(
            any(covers(grant, "logs:PutLogEvents", group) for grant in grants) for group in raw
        )


POLICIES = (
    RuleIsOn(),
    RuleIsNotNarrowed(),
    SignInsAreMatched(),
    RuleListensOnChosenBus(),
    RuleHasTargets(),
    TargetIsTriedAgain(),
    TargetHasQueue(),
    RuleMaySendToQueue(),
    RuleMayInvoke(),
    PermissionNamesRule(),
    PermissionAsksForNoMore(),
    RuleMayWriteRawCopy(),
    TargetGetsWholeEvent(),
)
