"""Policies on what holds or carries things: queues, topics, log groups and the keys that seal them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, conditions, covers, each, fits, principals

if TYPE_CHECKING:
    from monitor_site import Resource, Site

QUEUE, TOPIC, GROUP = "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::Logs::LogGroup"
KEY = "AWS::KMS::Key"
OWNER = ("AWS", "arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
SHORTEST_WAIT, SHORTEST_DAYS = 345600, 30  # four days, SQS's own default; a month
LARGEST_EVENT = 262144
LONGEST_TRIED = 3600  # seconds: what is tried for longer is as good as lost, and its alarm goes off after that time
EXPIRY = "expires_at"  # the attribute that signwatch/ledger.py and memory.py write


class QueueHoldsForDays(Policy):
    """A queue holds what it took for four days or more, long enough for somebody to look."""

    number, kinds = 60, (QUEUE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return (
            int(resource.properties.get("MessageRetentionPeriod", SHORTEST_WAIT)) >= SHORTEST_WAIT
        )


class NoAwsManagedKey(Policy):
    """No AWS-managed key seals a topic or a queue: its policy lets in neither alarms nor rules."""

    number, kinds = 61, (TOPIC, QUEUE)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return "alias/aws/" not in str(resource.properties.get("KmsMasterKeyId", ""))


class AlarmsMayUseTopicKey(Policy):
    """The key of a topic lets CloudWatch's alarms use it."""

    number, kinds = 62, (TOPIC,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        keys = [
            key
            for key in site.of("AWS::KMS::Key")
            if key.arn == resource.properties.get("KmsMasterKeyId")
        ]
        wanted = ("kms:Decrypt", "kms:GenerateDataKey*")
        grants = [
            list(allows(key.properties["KeyPolicy"], "cloudwatch.amazonaws.com")) for key in keys
        ]
        sent = {"aws:SourceAccount": "${AWS::AccountId}"}
        fitting = [[grant for grant in given if fits(grant, sent)] for given in grants]
        return all(
            any(covers(grant, action, "*") for grant in given)
            for given in fitting
            for action in wanted
        )


class TopicHasReader(Policy):
    """The owner's AlertEmail is subscribed to the topic, by e-mail and with no filter."""

    number, kinds = 63, (TOPIC,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        readers = [found.properties for found in site.of("AWS::SNS::Subscription")]
        mine = [
            reader
            for reader in readers
            if reader["TopicArn"] == resource.arn and reader["Protocol"] == "email"
        ]
        plain = [reader for reader in mine if set(reader) == {"TopicArn", "Protocol", "Endpoint"}]
        return "AlertEmail" in site.root_parameters() and any(
            r["Endpoint"] == "${AlertEmail}" for r in plain
        )


class LogsAreKept(Policy):
    """A log group keeps what it holds for a month or more, whatever the owner chooses."""

    number, kinds = 64, (GROUP,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        days = resource.properties.get("RetentionInDays")
        chosen = str(days).removeprefix("${").removesuffix("}")
        possible: Any = (
            site.root_parameters()[chosen]["AllowedValues"] if str(days) != chosen else each(days)
        )
        return all(int(value) >= SHORTEST_DAYS for value in possible)


class LogsMayUseKey(Policy):
    """The key of a log group lets CloudWatch Logs use it for this very log group."""

    number, kinds = 65, (GROUP,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        key = next(
            found
            for found in site.of("AWS::KMS::Key")
            if found.arn == resource.properties["KmsKeyId"]
        )
        grants = allows(key.properties["KeyPolicy"], "logs.${AWS::Region}.${AWS::URLSuffix}")
        asked, arn = "kms:EncryptionContext:aws:logs:arn", resource.arn.removesuffix(":*")
        return any(conditions(grant, asked) and fits(grant, {asked: arn}) for grant in grants)


class KeyIsEnabled(Policy):
    """A key is enabled: with a disabled one nothing that it seals can be written or read."""

    number, kinds = 66, (KEY,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("Enabled", True) is True


class LogsMakeMetrics(Policy):
    """A log group is of the standard class, as no other makes metrics of what the function logs (Log classes)."""

    number, kinds = 67, (GROUP,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return str(resource.properties.get("LogGroupClass", "STANDARD")) == "STANDARD"


class QueueTakesWholeEvents(Policy):
    """A queue takes a message as large as EventBridge's largest event, 256 KiB."""

    number, kinds = 68, (QUEUE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return int(resource.properties.get("MaximumMessageSize", LARGEST_EVENT)) >= LARGEST_EVENT


class PolicyIsOnItsOwn(Policy):
    """The policy of a queue or a topic is laid on the very one that its statements name."""

    number, kinds = 69, ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        arns = {made.reference: made.arn for kind in (QUEUE, TOPIC) for made in site.of(kind)}
        given = resource.properties
        laid = {arns[place] for place in each(given.get("Queues", given.get("Topics")))}
        return all(
            set(each(said["Resource"])) == laid
            for said in each(given["PolicyDocument"]["Statement"])
        )


class SecretIsMadeEmpty(Policy):
    """A secret is made empty: a value would stand in the stack, and replace the owner's own."""

    number, kinds = 70, ("AWS::SecretsManager::Secret",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return not {"SecretString", "GenerateSecretString"} & set(resource.properties)


class AccountKeepsKey(Policy):
    """A key is the account's to administer: else nobody can mend it, and no role's own policy counts for it."""

    number, kinds = 71, (KEY,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        # the statement that enables IAM policies (KMS, default key policy)
        grants = [
            grant
            for grant in allows(resource.properties["KeyPolicy"])
            if OWNER in principals(grant)
        ]
        return any(covers(grant, "kms:*", "*") and fits(grant, {}) for grant in grants)


class QueueGivesUp(Policy):
    """A queue hands on what cannot be finished to another one, within an hour of trying."""

    number, kinds = 72, (QUEUE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        given = resource.properties.get("RedrivePolicy")
        if given is None:
            return True
        tried = int(given["maxReceiveCount"]) * int(
            resource.properties.get("VisibilityTimeout", 30)
        )
        return given["deadLetterTargetArn"] != resource.arn and tried <= LONGEST_TRIED


class TableForgets(Policy):
    """A table forgets what has expired, by the attribute that the function writes."""

    number, kinds = 73, ("AWS::DynamoDB::Table",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        given = resource.properties["TimeToLiveSpecification"]
        return given["AttributeName"] == EXPIRY and given["Enabled"] is True


POLICIES = (
    QueueHoldsForDays(),
    NoAwsManagedKey(),
    AlarmsMayUseTopicKey(),
    TopicHasReader(),
    LogsAreKept(),
    LogsMayUseKey(),
    KeyIsEnabled(),
    LogsMakeMetrics(),
    QueueTakesWholeEvents(),
    PolicyIsOnItsOwn(),
    SecretIsMadeEmpty(),
    AccountKeepsKey(),
    QueueGivesUp(),
    TableForgets(),
)
