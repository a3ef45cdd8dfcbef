"""The environment: one key a field, and nothing that is missing stops an alert."""

from __future__ import annotations

from signwatch.settings import ENVIRONMENT_KEYS, Settings


def test_each_key_is_its_field_in_capitals_and_in_its_order() -> None:
    assert tuple(name.upper() for name in Settings._fields) == ENVIRONMENT_KEYS


def test_each_key_reaches_its_own_field() -> None:
    loaded = Settings.load({key: f"value of {key}" for key in ENVIRONMENT_KEYS})
    assert loaded._asdict() == {key.lower(): f"value of {key}" for key in ENVIRONMENT_KEYS}


def test_a_missing_key_is_empty_and_a_foreign_one_is_ignored() -> None:
    assert Settings.load({"PATH": "/bin", "NAME_PREFIX": "x"}) == Settings(
        "x", *[""] * (len(ENVIRONMENT_KEYS) - 1)
    )
