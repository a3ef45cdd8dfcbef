"""Policies on what holds or carries things: queues, topics, log groups and the keys that seal them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor_policy import Policy, allows, conditions, covers, each

if TYPE_CHECKING:
    from monitor_site import Resource, Site

QUEUE, TOPIC, GROUP = "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::Logs::LogGroup"
SHORTEST_WAIT, SHORTEST_DAYS = 345600, 30  # four days, SQS's own default; a month


class QueueHoldsForDays(Policy):
    """A queue holds what it took for four days or more, long enough for somebody to look."""

    number, kinds = 60, (QUEUE,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return int(resource.properties.get("MessageRetentionPeriod", SHORTEST_WAIT)) >= SHORTEST_WAIT


class NoAwsManagedKey(Policy):
    """No AWS-managed key seals a topic or a queue: its policy lets in neither alarms nor rules."""

    number, kinds = 61, (TOPIC, QUEUE)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return "alias/aws/" not in str(resource.properties.get("KmsMasterKeyId", ""))


class AlarmsMayUseTopicKey(Policy):
    """The key of a topic lets CloudWatch's alarms use it."""

    number, kinds = 62, (TOPIC,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        keys = [key for key in site.of("AWS::KMS::Key") if key.arn == resource.properties.get("KmsMasterKeyId")]
        wanted = ("kms:Decrypt", "kms:GenerateDataKey*")
        grants = [list(allows(key.properties["KeyPolicy"], "cloudwatch.amazonaws.com")) for key in keys]
        return all(any(covers(grant, action, "*") for grant in given) for given in grants for action in wanted)


class TopicHasReader(Policy):
    """Somebody is subscribed to the topic, by e-mail and at an address that the owner gives."""

    number, kinds = 63, (TOPIC,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        readers = [found.properties for found in site.of("AWS::SNS::Subscription")]
        given = [f"${{{name}}}" for name in site.root_parameters()]
        mine = [reader for reader in readers if reader["TopicArn"] == resource.arn and reader["Protocol"] == "email"]
        return any(reader["Endpoint"] in given for reader in mine)


class LogsAreKept(Policy):
    """A log group keeps what it holds for a month or more, whatever the owner chooses."""

    number, kinds = 64, (GROUP,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        days = resource.properties.get("RetentionInDays")
        chosen = str(days).removeprefix("${").removesuffix("}")
        possible: Any = site.root_parameters()[chosen]["AllowedValues"] if str(days) != chosen else each(days)
        return all(int(value) >= SHORTEST_DAYS for value in possible)


class LogsMayUseKey(Policy):
    """The key of a log group lets CloudWatch Logs use it for this very log group."""

    number, kinds = 65, (GROUP,)

    def _holds(self, resource: Resource, site: Site, /) -> bool:
        key = next(found for found in site.of("AWS::KMS::Key") if found.arn == resource.properties["KmsKeyId"])
        grants = allows(key.properties["KeyPolicy"], "logs.${AWS::Region}.${AWS::URLSuffix}")
        groups = [group for grant in grants for group in conditions(grant, "kms:EncryptionContext:aws:logs:arn")]
        return resource.arn.removesuffix(":*") in groups


class KeyIsEnabled(Policy):
    """A key is enabled: with a disabled one nothing that it seals can be written or read."""

    number, kinds = 66, ("AWS::KMS::Key",)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return resource.properties.get("Enabled", True) is True


class LogsMakeMetrics(Policy):
    """A log group is of the standard class, as no other makes metrics of what the function logs (Log classes)."""

    number, kinds = 67, (GROUP,)

    def _holds(self, resource: Resource, _site: Site, /) -> bool:
        return str(resource.properties.get("LogGroupClass", "STANDARD")) == "STANDARD"


POLICIES = (
    QueueHoldsForDays(),
    NoAwsManagedKey(),
    AlarmsMayUseTopicKey(),
    TopicHasReader(),
    LogsAreKept(),
    LogsMayUseKey(),
    KeyIsEnabled(),
    LogsMakeMetrics(),
)
