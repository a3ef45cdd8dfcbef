"""Policies on the function: that it runs, runs long enough, may do what it must, and loses nothing it cannot finish."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, covers, each, fits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor_site import Resource, Site

FUNCTION, STACK = "AWS::Lambda::Function", "AWS::CloudFormation::Stack"
HANDLER = "signwatch.handler.handler"
SHORTEST_TIMEOUT, SHORTEST_AGE, FEWEST_TRIES = 30, 3600, 2
LATEST = "$LATEST"  # the version that a plain ARN stands for, and the rules' targets are plain ARNs
HEARD = (
    "TRACE",
    "DEBUG",
    "INFO",
)  # a line that names no level counts as INFO (Lambda, log-level filtering)
TWILIO = re.compile(
    r"https://api(\.[a-z0-9-]+){0,2}\.twilio\.com"
)  # with an edge and a Region, or without
QUIETING = (
    "KNOWN_NETWORKS",
    "ALERT_OFF",
)  # keys of the environment that keep an alert from being sent
TAKING = ("SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
SECRET_NAME = re.compile(r"token|secret|password|credential|api_?key|auth(?!or)", re.IGNORECASE)
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
        return bool(
            otherwise == {"Ref": "AWS::NoValue"}
            and asked == {"Fn::Not": [{"Fn::Equals": [chosen, 0]}]}
        )


class FunctionHasTime(Policy):
    """The function may run for 30 seconds or more, enough for a slow answer of Twilio."""

    number, kinds = 41, (FUNCTION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return int(resource.properties["Timeout"]) >= SHORTEST_TIMEOUT


class FailedEventsWait(Policy):
    """What the function or a queue gives up waits in a queue of the installation, to which the role may send."""

    number, kinds = 42, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        queue = resource.properties.get("DeadLetterConfig", {}).get("TargetArn")
        queues = site.of("AWS::SQS::Queue")
        handing = [
            one.properties["RedrivePolicy"] for one in queues if "RedrivePolicy" in one.properties
        ]
        given_up = {queue, *[policy["deadLetterTargetArn"] for policy in handing]}
        return given_up <= {one.arn for one in queues} and _may(
            resource, site, queue, ["sqs:SendMessage"]
        )


class EventsAreTriedAgain(Policy):
    """Lambda tries what the rules invoke twice more, and keeps an event for an hour or more while it is throttled."""

    number, kinds = 43, ("AWS::Lambda::EventInvokeConfig",)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        tries = resource.properties.get("MaximumRetryAttempts", FEWEST_TRIES)
        age = resource.properties.get("MaximumEventAgeInSeconds", 21600)
        names = {name for made in site.of(FUNCTION) for name in (made.arn, made.reference)}
        invoked = (
            resource.properties["FunctionName"] in names
            and resource.properties["Qualifier"] == LATEST
        )
        return invoked and int(tries) >= FEWEST_TRIES and int(age) >= SHORTEST_AGE


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
        return _may(
            resource,
            site,
            table.arn,
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
        )


class FunctionUsesKeys(Policy):
    """The function's role may use the keys of the secret, the ledger and the topic."""

    number, kinds = 47, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        made = {key.arn for key in site.of("AWS::KMS::Key")}
        return all(
            _may(
                resource,
                site,
                key,
                actions,
                {"kms:ViaService": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"},
            )
            for key, service, actions in _sealed(site)
            if key in made
        )


def _sealed(site: Site) -> list[tuple[Any, str, list[str]]]:
    """Return the key of each thing that the function opens, the service that uses it, and what it does with it."""
    secrets = [found.properties.get("KmsKeyId") for found in site.of("AWS::SecretsManager::Secret")]
    tables = [
        found.properties.get("SSESpecification", {}) for found in site.of("AWS::DynamoDB::Table")
    ]
    topics = [found.properties.get("KmsMasterKeyId") for found in site.of("AWS::SNS::Topic")]
    sealed: list[tuple[Any, str, list[str]]] = [
        (key, "secretsmanager", ["kms:Decrypt"]) for key in secrets
    ]
    sealed += [(table.get("KMSMasterKeyId"), "dynamodb", ["kms:Decrypt"]) for table in tables]
    return sealed + [(key, "sns", ["kms:Decrypt", "kms:GenerateDataKey"]) for key in topics]


class FunctionWritesLogs(Policy):
    """The function writes all that it logs to a log group of the installation, and its role may do so."""

    number, kinds = 48, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        given = resource.properties["LoggingConfig"]
        group = next(
            found
            for found in site.of("AWS::Logs::LogGroup")
            if found.reference == given["LogGroup"]
        )
        whole = (
            given.get("ApplicationLogLevel", "INFO") in HEARD
        )  # what is left out makes no metric and no alarm
        return whole and _may(
            resource, site, group.arn, ["logs:CreateLogStream", "logs:PutLogEvents"]
        )


class FunctionCallsHandler(Policy):
    """The function calls the handler of this project."""

    number, kinds = 51, (FUNCTION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return str(resource.properties.get("Handler")) == HANDLER


class FunctionHasLayer(Policy):
    """The function has the installation's layer, without which it finds no client of Twilio."""

    number, kinds = 52, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        made = {layer.reference for layer in site.of("AWS::Lambda::LayerVersion")}
        return bool(made & set(each(resource.properties.get("Layers"))))


class SecondLooksAreTaken(Policy):
    """What waits for a second look is taken up: an enabled mapping hands the queue to the function, one at a time."""

    number, kinds = 53, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        url = _variables(resource).get("SECOND_LOOK_QUEUE_URL")
        queue = next(found for found in site.of("AWS::SQS::Queue") if found.reference == url)
        given = [found.properties for found in site.of("AWS::Lambda::EventSourceMapping")]
        mine = [one for one in given if one["FunctionName"] in (resource.reference, resource.arn)]
        taken = [
            one
            for one in mine
            if one["EventSourceArn"] == queue.arn and one.get("BatchSize", 10) == 1
        ]
        enabled = any(
            one.get("Enabled", True) is True and "FilterCriteria" not in one for one in taken
        )
        return enabled and _may(resource, site, queue.arn, [f"sqs:{action}" for action in TAKING])


class SignInIsFound(Policy):
    """The function is told of the installation's raw copies, and its role may look for a sign-in among them."""

    number, kinds = 54, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        name = _variables(resource).get("RAW_EVENT_LOG_GROUP_NAME")
        group = next(found for found in site.of("AWS::Logs::LogGroup") if found.reference == name)
        return _may(resource, site, group.arn, ["logs:FilterLogEvents"])


class EnvironmentHoldsNoSecret(Policy):
    """The function's environment holds no secret, but the ARN of where it lives."""

    number, kinds = 49, (FUNCTION,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return not _secrets(_variables(resource))


class ParametersHoldNoSecret(Policy):
    """No template takes a secret as a parameter: its value would stand in the stack."""

    number, kinds = 50, (FUNCTION, STACK)

    def _holds(self, _resource: Resource, site: Site, /) -> bool:
        return not any(_secrets(site.parameters(file)) for file in site.templates)


class NothingIsQuietByDefault(Policy):
    """No network is recognised and no cause of an alert switched off unless the owner of the installation says so."""

    number, kinds = 56, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        chosen = {
            f"${{{name}}}"
            for name, body in site.root_parameters().items()
            if body.get("Default") == ""
        }
        given = [_variables(resource).get(key, "") for key in QUIETING]
        return all(value == "" or value in chosen for value in given)


class TextsGoToTwilio(Policy):
    """Texts are handed to Twilio's own address unless the owner of the installation names another."""

    number, kinds = 57, (FUNCTION,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        defaults = {
            f"${{{name}}}": body.get("Default", "") for name, body in site.root_parameters().items()
        }
        url = _variables(resource)["TWILIO_BASE_URL"]
        return bool(TWILIO.fullmatch(str(defaults.get(url, url))))


class HomeRegionIsHere(Policy):
    """A stack outside the home Region that a deploy names is refused."""

    number, kinds = 58, (FUNCTION,)

    def _holds(self, _resource: Resource, site: Site, /) -> bool:
        home, here = "${HomeRegion}", "${AWS::Region}"
        asserted = [pair for file in site.templates for pair in _equals_asserted(site, file)]
        return [home, here] in asserted or [here, home] in asserted


def _equals_asserted(site: Site, file: str) -> list[Any]:
    """Return both sides of each equation without which CloudFormation refuses this template, whatever is chosen."""
    rules = site.templates[file].get("Rules", {}).values()
    asserted = [
        one["Assert"] for rule in rules if "RuleCondition" not in rule for one in rule["Assertions"]
    ]
    return [
        site.resolve(file, found["Fn::Equals"])
        for found in asserted
        if set(found) == {"Fn::Equals"}
    ]


def _secrets(names: Iterable[str]) -> list[str]:
    return [name for name in names if SECRET_NAME.search(name) and not PLACE_OF_SECRET.search(name)]


def _variables(function: Resource) -> dict[str, Any]:
    found: dict[str, Any] = function.properties.get("Environment", {}).get("Variables", {})
    return found


def _may(
    function: Resource,
    site: Site,
    target: str,
    actions: list[str],
    request: dict[str, str] | None = None,
) -> bool:
    """Say whether the function's role allows every one of ``actions`` on the ARN ``target``, in such a ``request``."""
    role = next(
        found for found in site.of("AWS::IAM::Role") if found.arn == function.properties["Role"]
    )
    grants = [
        g
        for policy in each(role.properties.get("Policies"))
        for g in allows(policy["PolicyDocument"])
    ]
    fitting = [grant for grant in grants if fits(grant, request or {})]
    return all(any(covers(grant, action, target) for grant in fitting) for action in actions)


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
    FunctionCallsHandler(),
    FunctionHasLayer(),
    SecondLooksAreTaken(),
    SignInIsFound(),
    EnvironmentHoldsNoSecret(),
    ParametersHoldNoSecret(),
    NothingIsQuietByDefault(),
    TextsGoToTwilio(),
    HomeRegionIsHere(),
)
