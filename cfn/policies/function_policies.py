"""Policies on the function: it runs, has the permissions that it needs, and loses no event.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
A policy about the installation as a whole runs for each of its nested stacks.

The ledger is the table of alerts that were sent. A second look is a later check of a sign-in, which
the function orders from itself by a queue with a delay.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from policy_base import allow_statements, as_list, is_allowed, policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from installation import Installation, Resource

FUNCTION, STACK = "AWS::Lambda::Function", "AWS::CloudFormation::Stack"
KEY, QUEUE, TOPIC = "AWS::KMS::Key", "AWS::SQS::Queue", "AWS::SNS::Topic"
TABLE, LOG_GROUP, SECRET = (
    "AWS::DynamoDB::Table",
    "AWS::Logs::LogGroup",
    "AWS::SecretsManager::Secret",
)
HANDLER = "signwatch.handler.handler"
TIMEOUT_MIN_SECONDS = 30
EVENT_AGE_MIN_SECONDS = 3600
RETRIES_MIN = 2
DEFAULT_RETRIES, DEFAULT_EVENT_AGE_SECONDS = 2, 21600  # of Lambda's asynchronous invocation
DEFAULT_BATCH_SIZE = 10  # of an event source mapping
LATEST_VERSION = "$LATEST"  # the version that a plain ARN stands for, as the rules' targets have it
COMPLETE_LOG_LEVELS = ("TRACE", "DEBUG", "INFO")  # a line without a level counts as INFO
# Twilio's address, with or without an edge and a Region.
TWILIO_URL = re.compile(r"https://api(\.[a-z0-9-]+){0,2}\.twilio\.com")
ALERT_SUPPRESSING_KEYS = ("KNOWN_NETWORKS", "ALERT_OFF")
RECEIVE_ACTIONS = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
VISIBILITY_TIMEOUTS = 6  # of the function, at least (Lambda, "Using Lambda with Amazon SQS")
DEFAULT_VISIBILITY = 30  # seconds, of a queue
OPEN_SECONDS_MIN = 7200  # for which what became of a text may stay open in the queue later
OPEN_MESSAGES = ("ReportBatchItemFailures",)  # answers with which an open message returns
SECRET_NAME = re.compile(r"token|secret|password|credential|api_?key|auth(?!or)", re.IGNORECASE)
SECRET_LOCATION = re.compile(r"(arn|name)$", re.IGNORECASE)


@policy("CKV_SIGNWATCH_40", FUNCTION)
def function_is_able_to_run(function: Resource, installation: Installation) -> bool:
    """The function's reserved concurrency is not 0, which would keep it from ever running."""
    # The property as written, because the condition that it may name is not resolved either.
    concurrency = function.body["Properties"].get("ReservedConcurrentExecutions", 1)
    if isinstance(concurrency, int):
        return concurrency > 0
    # Else it must be "if the owner's value is not 0: that value, if it is 0: no limit".
    condition, owners_value, otherwise = concurrency["Fn::If"]
    definition = installation.templates[function.file]["Conditions"][condition]
    is_unless_zero: bool = definition == {"Fn::Not": [{"Fn::Equals": [owners_value, 0]}]}
    return is_unless_zero and otherwise == {"Ref": "AWS::NoValue"}


@policy("CKV_SIGNWATCH_41", FUNCTION)
def function_has_time(function: Resource, _installation: Installation) -> bool:
    """The function may run for at least 30 seconds, enough for a slow answer from Twilio."""
    return int(function.properties["Timeout"]) >= TIMEOUT_MIN_SECONDS


@policy("CKV_SIGNWATCH_42", FUNCTION)
def failed_events_are_kept(function: Resource, installation: Installation) -> bool:
    """Failed events go to a queue of this installation, and the function may send to it."""
    # Events fail in the function, or in a queue from which it reads.
    dead_letters = function.properties.get("DeadLetterConfig", {}).get("TargetArn")
    queue_dead_letters = [
        properties["RedrivePolicy"]["deadLetterTargetArn"]
        for properties in installation.properties_of(QUEUE)
        if "RedrivePolicy" in properties
    ]
    # False also if the function has no dead-letter queue: None is no ARN of this installation.
    are_ours = {dead_letters, *queue_dead_letters} <= installation.arns_of(QUEUE)
    return are_ours and _role_allows(function, installation, dead_letters, ["sqs:SendMessage"])


@policy("CKV_SIGNWATCH_43", "AWS::Lambda::EventInvokeConfig")
def failed_events_are_retried(config: Resource, installation: Installation) -> bool:
    """Lambda retries a failed event twice, and keeps a throttled one for at least an hour."""
    settings = config.properties
    functions = installation.resources_of(FUNCTION)
    names_and_arns = installation.arns_of(FUNCTION) | {each.reference for each in functions}
    is_ours = settings["FunctionName"] in names_and_arns and settings["Qualifier"] == LATEST_VERSION
    retries = int(settings.get("MaximumRetryAttempts", DEFAULT_RETRIES))
    age_seconds = int(settings.get("MaximumEventAgeInSeconds", DEFAULT_EVENT_AGE_SECONDS))
    return is_ours and retries >= RETRIES_MIN and age_seconds >= EVENT_AGE_MIN_SECONDS


@policy("CKV_SIGNWATCH_44", FUNCTION)
def function_reads_secret(function: Resource, installation: Installation) -> bool:
    """The function has the ARN of this installation's secret and may read it."""
    arn = _environment(function).get("TWILIO_SECRET_ARN", "")
    action = "secretsmanager:GetSecretValue"
    is_ours = arn in installation.arns_of(SECRET)
    return is_ours and _role_allows(function, installation, arn, [action])


@policy("CKV_SIGNWATCH_45", FUNCTION)
def function_sends_email(function: Resource, installation: Installation) -> bool:
    """The function has the ARN of this installation's topic and may publish to it."""
    arn = _environment(function).get("ALERT_TOPIC_ARN", "")
    is_ours = arn in installation.arns_of(TOPIC)
    return is_ours and _role_allows(function, installation, arn, ["sns:Publish"])


@policy("CKV_SIGNWATCH_46", FUNCTION)
def function_uses_ledger(function: Resource, installation: Installation) -> bool:
    """The function has the name of this installation's ledger and may read and write it."""
    name = _environment(function).get("LEDGER_TABLE_NAME")
    table = installation.find_by_reference(TABLE, name)
    actions = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    return _role_allows(function, installation, table.arn, actions)


@policy("CKV_SIGNWATCH_47", FUNCTION)
def function_uses_keys(function: Resource, installation: Installation) -> bool:
    """The function may use the keys of the secret and the ledger."""
    own_keys = installation.arns_of(KEY)  # AWS's own keys need no permission
    return all(
        _role_allows(function, installation, key, ["kms:Decrypt"], _kms_request_keys(service))
        for key, service in _key_uses(installation)
        if key in own_keys
    )


def _key_uses(installation: Installation) -> list[tuple[Any, str]]:
    """Return each key that the function needs, and the service that holds the data.

    A pair is ``(key's ARN, "dynamodb")``; the ARN is None if the data has no key of its own.
    """
    secrets = installation.properties_of(SECRET)
    tables = installation.properties_of(TABLE)
    table_keys = [table.get("SSESpecification", {}).get("KMSMasterKeyId") for table in tables]
    return [
        *[(secret.get("KmsKeyId"), "secretsmanager") for secret in secrets],
        *[(key, "dynamodb") for key in table_keys],
    ]


def _kms_request_keys(service: str) -> dict[str, str]:
    """Return the condition key of a request to KMS that ``service`` makes for the function."""
    return {"kms:ViaService": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"}


@policy("CKV_SIGNWATCH_48", FUNCTION)
def function_writes_complete_log(function: Resource, installation: Installation) -> bool:
    """The function logs every level from INFO on to a log group that it may write to."""
    settings = function.properties["LoggingConfig"]
    group = installation.find_by_reference(LOG_GROUP, settings["LogGroup"])
    # A line that is filtered out makes no metric, so its alarm never goes off.
    is_complete = settings.get("ApplicationLogLevel", "INFO") in COMPLETE_LOG_LEVELS
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    return is_complete and _role_allows(function, installation, group.arn, actions)


@policy("CKV_SIGNWATCH_49", FUNCTION)
def environment_has_no_secret(function: Resource, _installation: Installation) -> bool:
    """The function's environment has no secret, only the ARN or the name of one."""
    return not _secret_names(_environment(function))


@policy("CKV_SIGNWATCH_50", FUNCTION, STACK)
def parameters_have_no_secret(_resource: Resource, installation: Installation) -> bool:
    """No template takes a secret as a parameter, since the stack would show its value."""
    return not any(_secret_names(installation.parameters(file)) for file in installation.templates)


@policy("CKV_SIGNWATCH_51", FUNCTION)
def function_calls_handler(function: Resource, _installation: Installation) -> bool:
    """The function calls this project's handler."""
    return str(function.properties.get("Handler")) == HANDLER


@policy("CKV_SIGNWATCH_52", FUNCTION)
def function_has_layer(function: Resource, installation: Installation) -> bool:
    """The function has this installation's layer, which holds Twilio's client."""
    layers = {layer.reference for layer in installation.resources_of("AWS::Lambda::LayerVersion")}
    return bool(layers & set(as_list(function.properties.get("Layers"))))


@policy("CKV_SIGNWATCH_53", FUNCTION)
def later_messages_reach_function(function: Resource, installation: Installation) -> bool:
    """A mapping passes each message of the queue later on; an open one returns for two hours."""
    url = _environment(function).get("LATER_QUEUE_URL")
    queue = installation.find_by_reference(QUEUE, url)
    actions = [f"sqs:{action}" for action in ("SendMessage", *RECEIVE_ACTIONS)]
    visibility = int(queue.properties.get("VisibilityTimeout", DEFAULT_VISIBILITY))
    open_seconds = visibility * int(queue.properties["RedrivePolicy"]["maxReceiveCount"])
    is_mapped = _is_mapped(function, queue, installation, OPEN_MESSAGES)
    is_patient = is_mapped and open_seconds >= OPEN_SECONDS_MIN
    return is_patient and _role_allows(function, installation, queue.arn, actions)


@policy("CKV_SIGNWATCH_55", FUNCTION)
def queued_events_come_back(function: Resource, installation: Installation) -> bool:
    """Each queue of failed or undelivered events hands them to the function until it succeeds."""
    # Those without a redrive policy; a message that fails comes back by the visibility timeout.
    queues = [
        queue
        for queue in installation.resources_of(QUEUE)
        if "RedrivePolicy" not in queue.properties
    ]
    visibility_min = VISIBILITY_TIMEOUTS * int(function.properties["Timeout"])
    actions = [f"sqs:{action}" for action in RECEIVE_ACTIONS]
    return all(
        _is_mapped(function, queue, installation)
        and int(queue.properties.get("VisibilityTimeout", DEFAULT_VISIBILITY)) >= visibility_min
        and _role_allows(function, installation, queue.arn, actions)
        for queue in queues
    )


def _is_mapped(
    function: Resource,
    queue: Resource,
    installation: Installation,
    response_types: tuple[str, ...] = (),
) -> bool:
    """Return whether an enabled mapping passes each message of the queue, one at a time.

    It must take the function's answers of these types.
    """
    return any(
        mapping["FunctionName"] in (function.reference, function.arn)
        and mapping["EventSourceArn"] == queue.arn
        and mapping.get("BatchSize", DEFAULT_BATCH_SIZE) == 1
        and mapping.get("Enabled", True) is True
        and "FilterCriteria" not in mapping
        and set(response_types) <= set(mapping.get("FunctionResponseTypes", ()))
        for mapping in installation.properties_of("AWS::Lambda::EventSourceMapping")
    )


@policy("CKV_SIGNWATCH_54", FUNCTION)
def function_searches_raw_events(function: Resource, installation: Installation) -> bool:
    """The function has the name of the log group of raw events and may search it."""
    name = _environment(function).get("RAW_EVENT_LOG_GROUP_NAME")
    group = installation.find_by_reference(LOG_GROUP, name)
    return _role_allows(function, installation, group.arn, ["logs:FilterLogEvents"])


@policy("CKV_SIGNWATCH_56", FUNCTION)
def no_alert_is_off_by_default(function: Resource, installation: Installation) -> bool:
    """No network is recognised and no alert is off unless the owner chooses so."""
    # Root parameters that are empty by default; a reference to one is resolved to "${Name}".
    owners_choices = {
        f"${{{name}}}"
        for name, parameter in installation.root_parameters().items()
        if parameter.get("Default") == ""
    }
    environment = _environment(function)
    values = [environment.get(key, "") for key in ALERT_SUPPRESSING_KEYS]
    return all(value == "" or value in owners_choices for value in values)


@policy("CKV_SIGNWATCH_57", FUNCTION)
def texts_go_to_twilio(function: Resource, installation: Installation) -> bool:
    """Texts go to Twilio's own address unless the owner chooses another."""
    url = _environment(function)["TWILIO_BASE_URL"]
    for name, parameter in installation.root_parameters().items():
        if url == f"${{{name}}}":  # the form to which a reference to a root parameter is resolved
            url = parameter.get("Default", "")
    return bool(TWILIO_URL.fullmatch(str(url)))


@policy("CKV_SIGNWATCH_58", FUNCTION)
def home_region_is_stack_region(_function: Resource, installation: Installation) -> bool:
    """A stack outside the home Region that the deploy names is refused."""
    home_region, stack_region = "${HomeRegion}", "${AWS::Region}"
    pairs = [
        pair for file in installation.templates for pair in _asserted_pairs(installation, file)
    ]
    return [home_region, stack_region] in pairs or [stack_region, home_region] in pairs


def _asserted_pairs(installation: Installation, file: str) -> list[Any]:
    """Return both arguments of each Fn::Equals that a template's rules assert unconditionally.

    CloudFormation refuses a stack if an assertion of its template's Rules is false.
    """
    rules = installation.templates[file].get("Rules", {}).values()
    return [
        installation.resolve(file, assertion["Assert"]["Fn::Equals"])
        for rule in rules
        if "RuleCondition" not in rule
        for assertion in rule["Assertions"]
        if set(assertion["Assert"]) == {"Fn::Equals"}
    ]


def _secret_names(names: Iterable[str]) -> list[str]:
    """Return the names that sound like a secret: by a word such as "token" or "password" in them.

    ``names`` are those of environment variables or of parameters. One that ends in "arn" or "name"
    says where a secret is, and is left out.
    """
    return [name for name in names if SECRET_NAME.search(name) and not SECRET_LOCATION.search(name)]


def _environment(function: Resource) -> dict[str, Any]:
    """Return the function's environment variables."""
    variables: dict[str, Any] = function.properties.get("Environment", {}).get("Variables", {})
    return variables


def _role_allows(
    function: Resource,
    installation: Installation,
    arn: str,
    actions: list[str],
    request_keys: dict[str, str] | None = None,
) -> bool:
    """Return whether the function's role allows all ``actions`` on ``arn``.

    ``request_keys`` are the condition keys of the requests, with their values.
    """
    role = installation.find_by_arn("AWS::IAM::Role", function.properties["Role"])
    inline_policies = as_list(role.properties.get("Policies"))
    statements = allow_statements(inline["PolicyDocument"] for inline in inline_policies)
    return all(is_allowed(statements, action, arn, request_keys) for action in actions)
