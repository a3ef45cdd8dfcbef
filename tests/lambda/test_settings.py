"""The settings: one environment key a field, and a missing key stops no alert."""

from __future__ import annotations

import pytest

from signwatch.settings import ENVIRONMENT_KEYS, LIST_FIELDS, Settings

KEYS = (
    "NAME_PREFIX",
    "KNOWN_NETWORKS",
    "ACCOUNT_LABEL",
    "ACCOUNT_LABELS",
    "ALERT_OFF",
    "ALERT_ON",
    "TIME_ZONE",
    "ALERT_TOPIC_ARN",
    "TWILIO_SECRET_ARN",
    "TWILIO_BASE_URL",
    "LEDGER_TABLE_NAME",
    "ALLOWED_VPC_ENDPOINT_IDS",
    "LATER_QUEUE_URL",
    "RAW_EVENT_LOG_GROUP_NAME",
    "TRAIL_LOG_GROUP_NAME",
    "TEXTS_AN_HOUR",
)
LISTS = ("account_labels", "alert_off", "alert_on", "allowed_vpc_endpoint_ids")


def test_keys_of_the_environment_are_those_of_the_template() -> None:
    assert (ENVIRONMENT_KEYS, LIST_FIELDS) == (KEYS, LISTS)


def test_each_key_reaches_its_own_field() -> None:
    settings = Settings.load({key: f"value of {key}" for key in KEYS})
    values = {key.lower(): f"value of {key}" for key in KEYS}
    lists = {field: (values[field],) for field in LISTS}
    assert settings._asdict() == values | lists


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize(
    ("text", "entries"), [("", ()), (",", ()), ("no-mfa", ("no-mfa",)), (" a, ,b ", ("a", "b"))]
)
def test_list_is_split_at_its_commas(field: str, text: str, entries: tuple[str, ...]) -> None:
    assert getattr(Settings.load({field.upper(): text}), field) == entries


def test_missing_key_is_empty_and_unknown_key_is_ignored() -> None:
    settings = Settings.load({"PATH": "/bin", "NAME_PREFIX": "x"})
    assert settings.name_prefix == "x"
    assert not any(settings[1:])


@pytest.mark.parametrize(
    ("account", "label"),
    [
        ("111122223333", "Home"),
        ("", "Home"),  # the record names no account
        ("444455556666", "Shop A"),
        ("777788889999", ""),  # the texts then show its last four digits
    ],
)
def test_label_is_that_of_the_account_that_was_signed_in_to(account: str, label: str) -> None:
    settings = Settings.load(
        {
            "ACCOUNT_LABEL": "Home",
            "ACCOUNT_LABELS": "222233334444=Payroll,444455556666=Shop A,damaged",
            "ALERT_TOPIC_ARN": "arn:aws:sns:us-east-1:111122223333:signwatch-alerts",
        }
    )
    assert settings.get_label(account) == label
