"""What the function is told by its environment. The keys are the stack's parameters in capitals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_KEYS = (
    "NAME_PREFIX",
    "HOME_REGION",
    "KNOWN_NETWORKS",
    "ACCOUNT_LABEL",
    "ALERT_OFF",
    "ALERT_ON",
    "TIME_ZONE",
    "ALERT_TOPIC_ARN",
    "TWILIO_SECRET_ARN",
    "TWILIO_BASE_URL",
    "LEDGER_TABLE_NAME",
    "ALLOWED_VPC_ENDPOINT_IDS",
    "SECOND_LOOK_QUEUE_URL",
    "RAW_EVENT_LOG_GROUP_NAME",
)


class Settings(NamedTuple):
    """The function's settings; texts as they stand in the environment, empty where a key is missing."""

    name_prefix: str
    home_region: str
    known_networks: str
    account_label: str
    alert_off: str
    alert_on: str
    time_zone: str
    alert_topic_arn: str
    twilio_secret_arn: str
    twilio_base_url: str
    ledger_table_name: str
    allowed_vpc_endpoint_ids: str
    second_look_queue_url: str
    raw_event_log_group_name: str

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Settings:
        """Read the keys; a missing one is empty, since an alert that is sent with less beats one that is not."""
        return cls(*(environment.get(key, "") for key in ENVIRONMENT_KEYS))
