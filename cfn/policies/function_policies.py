"""Policies on the function: that it runs, runs long enough, may do what it must, and loses nothing it cannot finish."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, covers, each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor_site import Resource, Site

FUNCTION, STACK = "AWS::Lambda::Function", "AWS::CloudFormation::Stack"
SHORTEST_TIMEOUT, SHORTEST_AGE, FEWEST_TRIES = 30, 3600, 2
SECRET_NAME = re.compile(r"token|secret|password|api_?key", re.IGNORECASE)
PLACE_OF_SECRET = re.compile(r"(arn|name)$", re.IGNORECASE)


class FunctionMayRun(Policy):
    """No concurrency of 0 is reserved, which would keep the function from ever running."""

    number, kinds = 40, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        given = resource.body["Properties"].get("ReservedConcurrentExecutions", 1)
        if isinstance(given, int):
            return given > 0
        condition, chosen, otherwise = given["Fn::If"]
        asked = site.templates[resource.file]["Conditions"][condition]
        return bool(otherwise == {"Ref": "AWS::NoValue"} and asked == {"Fn::Not": [{"Fn::Equals": [chosen, 0]}]})


class FunctionHasTime(Policy):
    """The function may run for 30 seconds or more, enough for a slow answer of Twilio."""

    number, kinds = 41, (FUNCTION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return int(resource.properties["Timeout"]) >= SHORTEST_TIMEOUT


class FailedEventsWait(Policy):
    """What the function cannot finish waits in a queue of the installation, to which its role may send."""

    number, kinds = 42, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        queue = resource.properties.get("DeadLetterConfig", {}).get("TargetArn")
        made = queue in {found.arn for found in site.of("AWS::SQS::Queue")}
        return made and _may(resource, site, queue, ["sqs:SendMessage"])


class EventsAreTriedAgain(Policy):
    """Lambda tries an event twice more, and keeps it for an hour or more while the function is throttled."""

    number, kinds = 43, ("AWS::Lambda::EventInvokeConfig",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        tries = resource.properties.get("MaximumRetryAttempts", FEWEST_TRIES)
        age = resource.properties.get("MaximumEventAgeInSeconds", 21600)
        return int(tries) >= FEWEST_TRIES and int(age) >= SHORTEST_AGE


class FunctionReadsSecret(Policy):
    """The function is told of the installation's secret, and its role may read it."""

    number, kinds = 44, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        secret = _variables(resource).get("TWILIO_SECRET_ARN", "")
        made = secret in {found.arn for found in site.of("AWS::SecretsManager::Secret")}
        return made and _may(resource, site, secret, ["secretsmanager:GetSecretValue"])


class FunctionSendsEmail(Policy):
    """The function is told of the installation's topic, and its role may publish there."""

    number, kinds = 45, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        topic = _variables(resource).get("ALERT_TOPIC_ARN", "")
        made = topic in {found.arn for found in site.of("AWS::SNS::Topic")}
        return made and _may(resource, site, topic, ["sns:Publish"])


class FunctionUsesLedger(Policy):
    """The function is told of the installation's ledger, and its role may read and write it."""

    number, kinds = 46, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        table = next(
            found
            for found in site.of("AWS::DynamoDB::Table")
            if found.reference == _variables(resource).get("LEDGER_TABLE_NAME")
        )
        return _may(resource, site, table.arn, ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"])


class FunctionUsesKeys(Policy):
    """The function's role may use the keys of the secret, the ledger and the topic."""

    number, kinds = 47, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        sealed = [s.properties.get("KmsKeyId") for s in site.of("AWS::SecretsManager::Secret")]
        sealed += [
            t.properties.get("SSESpecification", {}).get("KMSMasterKeyId") for t in site.of("AWS::DynamoDB::Table")
        ]
        topics = [t.properties.get("KmsMasterKeyId") for t in site.of("AWS::SNS::Topic")]
        made = {key.arn for key in site.of("AWS::KMS::Key")}
        readable = all(_may(resource, site, key, ["kms:Decrypt"]) for key in sealed if key in made)
        return readable and all(
            _may(resource, site, k, ["kms:Decrypt", "kms:GenerateDataKey"]) for k in topics if k in made
        )


class FunctionWritesLogs(Policy):
    """The function writes to a log group of the installation, and its role may do so."""

    number, kinds = 48, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        name = resource.properties["LoggingConfig"]["LogGroup"]
        group = next(found for found in site.of("AWS::Logs::LogGroup") if found.reference == name)
        return _may(resource, site, group.arn, ["logs:CreateLogStream", "logs:PutLogEvents"])


class EnvironmentHoldsNoSecret(Policy):
    """The function's environment holds no secret, but the ARN of where it lives."""

    number, kinds = 49, (FUNCTION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return not _secrets(_variables(resource))


class ParametersHoldNoSecret(Policy):
    """No template takes a secret as a parameter: its value would stand in the stack."""

    number, kinds = 50, (FUNCTION, STACK)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        return not _secrets(site.parameters(resource.file))


def _secrets(names: Iterable[str]) -> list[str]:
    return [name for name in names if SECRET_NAME.search(name) and not PLACE_OF_SECRET.search(name)]


def _variables(function: Resource) -> dict[str, Any]:
    found: dict[str, Any] = function.properties.get("Environment", {}).get("Variables", {})
    return found


def _may(function: Resource, site: Site, target: str, actions: list[str]) -> bool:
    """Say whether the function's role allows every one of ``actions`` on the ARN ``target``."""
    role = next(found for found in site.of("AWS::IAM::Role") if found.arn == function.properties["Role"])
    grants = [g for policy in each(role.properties.get("Policies")) for g in allows(policy["PolicyDocument"])]
    return all(any(covers(grant, action, target) for grant in grants) for action in actions)


POLICIES = (
    FunctionMayRun(),
    FunctionHasTime(),
    FailedEventsWait(),
    EventsAreTriedAgain(),
    FunctionReadsSecret(),
    FunctionSendsEmail(),
    FunctionUsesLedger(),
    FunctionUsesKeys(),
    FunctionWritesLogs(),
    EnvironmentHoldsNoSecret(),
    ParametersHoldNoSecret(),
)
