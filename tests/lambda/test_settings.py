"""The settings: one environment key a field, and a missing key stops no alert."""

from __future__ import annotations

import pytest

from signwatch.settings import ENVIRONMENT_KEYS, LIST_FIELDS, Settings


def test_each_key_reaches_its_own_field() -> None:
    settings = Settings.load({key: f"value of {key}" for key in ENVIRONMENT_KEYS})
    values = {key.lower(): f"value of {key}" for key in ENVIRONMENT_KEYS}
    lists = {field: (values[field],) for field in LIST_FIELDS}
    assert settings._asdict() == values | lists


@pytest.mark.parametrize("field", LIST_FIELDS)
@pytest.mark.parametrize(
    ("text", "entries"), [("", ()), (",", ()), ("no-mfa", ("no-mfa",)), (" a, ,b ", ("a", "b"))]
)
def test_list_is_split_at_its_commas(field: str, text: str, entries: tuple[str, ...]) -> None:
    assert getattr(Settings.load({field.upper(): text}), field) == entries


def test_missing_key_is_empty_and_unknown_key_is_ignored() -> None:
    settings = Settings.load({"PATH": "/bin", "NAME_PREFIX": "x"})
    assert settings.name_prefix == "x"
    assert not any(settings[1:])
