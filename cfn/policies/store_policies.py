"""Policies on queues, topics, log groups, the table, the secret, and the keys that encrypt them.

Each policy takes one resource and the installation, which has all templates with their references
resolved, and returns whether the resource is compliant. Its docstring is what a scan shows.
A policy that raises an error counts as failed, as when it looks up what does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_base import allow_statements, as_list, is_allowed, policy, principals

if TYPE_CHECKING:
    from installation import Installation, Resource

QUEUE, TOPIC, LOG_GROUP = "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::Logs::LogGroup"
KEY = "AWS::KMS::Key"
ACCOUNT_PRINCIPAL = ("AWS", "arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
MESSAGE_RETENTION_MIN_SECONDS = 345600  # four days
QUEUE_DEFAULT_RETENTION_SECONDS = 345600  # of a queue that sets no MessageRetentionPeriod
QUEUE_DEFAULT_VISIBILITY_TIMEOUT_SECONDS = 30  # of a queue that sets no VisibilityTimeout
LOG_RETENTION_MIN_DAYS = 30
EVENT_MAX_BYTES = 262144  # the largest event of EventBridge
QUEUE_DEFAULT_MAX_BYTES = 262144  # what a queue takes at least if it sets no MaximumMessageSize
RETRIES_MAX_SECONDS = 10800  # the alarm on a queue's oldest message goes off after this time
EXPIRY_ATTRIBUTE = "expires_at"  # the function writes it to each item


@policy("CKV_SIGNWATCH_60", QUEUE)
def queue_keeps_messages(queue: Resource, _installation: Installation) -> bool:
    """A queue keeps its messages for at least four days, so that somebody can look at them."""
    seconds = queue.properties.get("MessageRetentionPeriod", QUEUE_DEFAULT_RETENTION_SECONDS)
    return int(seconds) >= MESSAGE_RETENTION_MIN_SECONDS


@policy("CKV_SIGNWATCH_61", TOPIC, QUEUE, LOG_GROUP)
def resource_uses_no_key(resource: Resource, _installation: Installation) -> bool:
    """A topic, queue or log group uses no KMS key: one that is disabled would stop the alerts."""
    return not {"KmsKeyId", "KmsMasterKeyId"} & set(resource.properties)


@policy("CKV_SIGNWATCH_63", TOPIC)
def owner_is_subscribed(topic: Resource, installation: Installation) -> bool:
    """The owner's AlertEmail is subscribed to the topic by e-mail, without a filter."""
    subscription = {"TopicArn": topic.arn, "Protocol": "email", "Endpoint": "${AlertEmail}"}
    # One with a filter has further properties and is not equal.
    subscriptions = installation.properties_of("AWS::SNS::Subscription")
    return "AlertEmail" in installation.root_parameters() and subscription in subscriptions


@policy("CKV_SIGNWATCH_64", LOG_GROUP)
def log_group_keeps_lines(group: Resource, installation: Installation) -> bool:
    """A log group keeps its lines for at least 30 days, whatever the owner chooses."""
    if "RetentionInDays" not in group.properties:
        return True  # lines are kept without end
    days = group.properties["RetentionInDays"]
    possible_days = [days]
    if str(days).startswith("${"):  # a reference to a root parameter is resolved to "${Name}"
        parameter = str(days).removeprefix("${").removesuffix("}")
        possible_days = installation.root_parameters()[parameter]["AllowedValues"]
    return all(int(value) >= LOG_RETENTION_MIN_DAYS for value in possible_days)


@policy("CKV_SIGNWATCH_66", KEY)
def key_is_enabled(key: Resource, _installation: Installation) -> bool:
    """A key is enabled: data that it encrypts cannot be written or read without it."""
    return key.properties.get("Enabled", True) is True


@policy("CKV_SIGNWATCH_67", LOG_GROUP)
def log_group_makes_metrics(group: Resource, _installation: Installation) -> bool:
    """A log group is of the standard class; others make no metrics of log lines (Log classes)."""
    return str(group.properties.get("LogGroupClass", "STANDARD")) == "STANDARD"


@policy("CKV_SIGNWATCH_68", QUEUE)
def queue_takes_largest_event(queue: Resource, _installation: Installation) -> bool:
    """A queue takes messages as large as EventBridge's largest event, 256 KiB."""
    max_bytes = queue.properties.get("MaximumMessageSize", QUEUE_DEFAULT_MAX_BYTES)
    return int(max_bytes) >= EVENT_MAX_BYTES


@policy("CKV_SIGNWATCH_69", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
def policy_is_attached_to_its_resource(resource: Resource, installation: Installation) -> bool:
    """A queue or topic policy is attached to exactly the queues or topics its statements name."""
    targets = [*installation.resources_of(QUEUE), *installation.resources_of(TOPIC)]
    arn_by_reference = {target.reference: target.arn for target in targets}
    properties = resource.properties
    # A queue policy has the property Queues, a topic policy Topics.
    key = "Queues" if "Queues" in properties else "Topics"
    references = as_list(properties[key])
    attached_arns = {arn_by_reference[reference] for reference in references}
    for statement in as_list(properties["PolicyDocument"]["Statement"]):
        if set(as_list(statement["Resource"])) != attached_arns:
            return False
    return True


@policy("CKV_SIGNWATCH_70", "AWS::SecretsManager::Secret")
def secret_is_created_empty(secret: Resource, _installation: Installation) -> bool:
    """A secret is created empty; a value would be shown in the stack and replace the owner's."""
    return not {"SecretString", "GenerateSecretString"} & set(secret.properties)


@policy("CKV_SIGNWATCH_71", KEY)
def account_administers_key(key: Resource, _installation: Installation) -> bool:
    """A key's policy lets the account administer it; without that, no role's own policy counts."""
    # This is the statement that enables IAM policies (KMS, default key policy).
    statements = [
        statement
        for statement in allow_statements([key.properties["KeyPolicy"]])
        if ACCOUNT_PRINCIPAL in principals(statement)
    ]
    return is_allowed(statements, "kms:*", "*")


@policy("CKV_SIGNWATCH_72", QUEUE)
def queue_gives_up_in_time(queue: Resource, _installation: Installation) -> bool:
    """A queue's redrive policy moves a failing message to another queue within three hours."""
    redrive = queue.properties.get("RedrivePolicy")
    if redrive is None:
        return True
    timeout = queue.properties.get("VisibilityTimeout", QUEUE_DEFAULT_VISIBILITY_TIMEOUT_SECONDS)
    # A message that fails is invisible until its timeout has passed; then it is received again.
    seconds = int(redrive["maxReceiveCount"]) * int(timeout)
    return redrive["deadLetterTargetArn"] != queue.arn and seconds <= RETRIES_MAX_SECONDS


@policy("CKV_SIGNWATCH_73", "AWS::DynamoDB::Table")
def table_expires_items(table: Resource, _installation: Installation) -> bool:
    """A table deletes expired items by the attribute that the function writes."""
    settings = table.properties["TimeToLiveSpecification"]
    return settings["AttributeName"] == EXPIRY_ATTRIBUTE and settings["Enabled"] is True
