"""The function's settings, read from its environment variables.

The variable of each setting is the name of its field in capitals: NAME_PREFIX for name_prefix.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from signwatch.detection.networks import split_list


class Settings(NamedTuple):
    """The function's settings. A field is empty if the environment lacks its variable."""

    name_prefix: str
    known_networks: str  # not split here: networks.parse_list does it and caches the result
    account_label: str  # of the function's own account
    account_labels: tuple[str, ...]  # of other accounts: "111122223333=Payroll"
    alert_off: tuple[str, ...]
    alert_on: tuple[str, ...]
    time_zone: str
    alert_topic_arn: str
    twilio_secret_arn: str
    twilio_base_url: str
    ledger_table_name: str
    allowed_vpc_endpoint_ids: tuple[str, ...]
    later_queue_url: str
    raw_event_log_group_name: str
    trail_log_group_name: str  # empty if the trail has none
    texts_an_hour: str  # a number, parsed where it is needed: a bad one stops no alert

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from ``environment``, which is os.environ in Lambda.

        A missing variable is not an error, so that it never prevents an alert.
        """
        values: dict[str, Any] = {
            field: environment.get(field.upper(), "") for field in cls._fields
        }
        for field in LIST_FIELDS:
            values[field] = tuple(split_list(values[field]))
        return cls(**values)

    def get_label(self, account: str) -> str:
        """Return the owner's name for an account, empty if there is none.

        An event without an account, and one of the function's own account, have ``account_label``.
        """
        labels = dict(entry.split("=", 1) for entry in self.account_labels if "=" in entry)
        is_own = not account or account in self.alert_topic_arn.split(":")
        return labels.get(account, self.account_label if is_own else "")


LIST_FIELDS = (  # separated by commas
    "account_labels",
    "alert_off",
    "alert_on",
    "allowed_vpc_endpoint_ids",
)
ENVIRONMENT_KEYS = tuple(field.upper() for field in Settings._fields)
