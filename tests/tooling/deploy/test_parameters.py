"""The stack's parameters: which source wins, and what is refused before anything is uploaded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling import templates
from tooling.deploy import parameters
from tooling.errors import RefusedError

DECLARED: dict[str, dict[str, Any]] = {
    "KnownNetworks": {
        "Type": "String",
        "Default": "",
        "MaxLength": 4000,
        "Description": "Networks.",
    },
    "AlertEmail": {
        "Type": "String",
        "AllowedPattern": r"[^@\s]+@[^@\s]+",
        "ConstraintDescription": "must be an e-mail address.",
        "Description": "The address.",
    },
    "LogRetentionDays": {
        "Type": "Number",
        "Default": 365,
        "AllowedValues": [30, 365],
        "Description": "Days.",
    },
    "ReservedConcurrency": {
        "Type": "Number",
        "Default": 0,
        "MinValue": 0,
        "MaxValue": 9,
        "Description": "Number.",
    },
    "AccountLabel": {
        "Type": "String",
        "Default": "",
        "MaxLength": 4000,
        "Description": "The label.",
    },
    "CodeKey": {"Type": "String", "AllowedPattern": r".+\.zip", "Description": "The key."},
}
GIVEN = {"CodeKey": "function/1.zip"}
EMAIL = {"AlertEmail": "a@example.com"}


def resolve(
    chosen: dict[str, str], live: dict[str, str] | None = None, given: dict[str, str] | None = None
) -> dict[str, str]:
    return parameters.resolve(DECLARED, chosen, GIVEN if given is None else given, live or {})


def refusal(chosen: dict[str, str], live: dict[str, str] | None = None) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        resolve({**EMAIL, **chosen}, live)
    return refused.value


class TestPrecedence:
    def test_every_declared_parameter_gets_a_value(self) -> None:
        assert set(resolve(EMAIL)) == set(DECLARED)

    def test_a_default_is_written_as_text(self) -> None:
        assert resolve(EMAIL)["LogRetentionDays"] == "365"

    def test_the_live_value_beats_the_default(self) -> None:
        assert resolve(EMAIL, {"LogRetentionDays": "30"})["LogRetentionDays"] == "30"

    def test_a_chosen_value_beats_the_live_one(self) -> None:
        assert resolve({"AlertEmail": "b@example.com"}, EMAIL)["AlertEmail"] == "b@example.com"

    def test_a_chosen_empty_value_beats_the_live_one(self) -> None:
        assert (
            resolve({**EMAIL, "KnownNetworks": ""}, {"KnownNetworks": "203.0.113.0/24"})[
                "KnownNetworks"
            ]
            == ""
        )

    def test_what_this_tool_sets_beats_the_live_value(self) -> None:
        assert resolve(EMAIL, {"CodeKey": "function/0.zip"})["CodeKey"] == "function/1.zip"

    def test_a_parameter_that_the_template_lost_is_not_carried_on(self) -> None:
        assert "Gone" not in resolve(EMAIL, {"Gone": "1"})

    def test_what_this_tool_sets_may_be_a_placeholder(self) -> None:
        assert resolve(EMAIL, given={"CodeKey": ""})["CodeKey"] == ""


class TestRefusals:
    def test_a_value_that_nobody_gave_is_asked_for_by_name(self) -> None:
        with pytest.raises(
            RefusedError, match="parameter AlertEmail: has no value and no default"
        ) as refused:
            resolve({})
        assert "--set AlertEmail=VALUE" in refused.value.remedy

    def test_an_unknown_name_is_refused_with_those_that_may_be_chosen(self) -> None:
        error = refusal({"KnownNetwork": ""})
        assert error.where == "parameter KnownNetwork"
        assert "KnownNetworks" in error.remedy
        assert "CodeKey" not in error.remedy

    def test_a_name_that_only_this_tool_sets_is_refused(self) -> None:
        assert refusal({"CodeKey": "mine.zip"}).what == "is set by invoke deploy itself"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("nonsense", "'nonsense' is not an address or a range in CIDR form"),
            ("203.0.113.1/24", "'203.0.113.1/24' is not a range in CIDR form"),
            ("203.0.113.0/33", "'203.0.113.0/33' is not a range in CIDR form"),
            ("203.0.113.0/", "'203.0.113.0/' has no prefix length"),
            ("203.0.113.0/24,0.0.0.0/0", "'0.0.0.0/0' is wider than /8"),
            ("::/0", "'::/0' is wider than /19"),
        ],
    )
    def test_a_network_that_cannot_be_used_is_refused_by_name(self, text: str, said: str) -> None:
        error = refusal({"KnownNetworks": text})
        assert error.where == "parameter KnownNetworks"
        assert said in error.what
        assert "203.0.113.0/24" in error.remedy

    @pytest.mark.parametrize(
        ("chosen", "said"),
        [
            ({"AlertEmail": "nobody"}, "'nobody' must be an e-mail address"),
            ({"AlertEmail": "a@example.com\n"}, r"'a@example.com\n' must be an e-mail address"),
            ({"LogRetentionDays": "31"}, "'31' is not allowed"),
            ({"ReservedConcurrency": "10"}, "'10' is not of the right form"),
            ({"ReservedConcurrency": "-1"}, "'-1' is not of the right form"),
            ({"ReservedConcurrency": "many"}, "'many' is not of the right form"),
            (
                {"ReservedConcurrency": "٣"},
                "'٣' is not of the right form",
            ),  # a digit, but none of ASCII
            ({"AccountLabel": "x" * 4001}, "is not of the right form"),
        ],
    )
    def test_a_value_against_its_declaration_is_refused(
        self, chosen: dict[str, str], said: str
    ) -> None:
        assert said in refusal(chosen).what

    def test_a_live_value_that_is_no_longer_allowed_is_refused_too(self) -> None:
        assert "'7' is not allowed" in refusal({}, {"LogRetentionDays": "7"}).what

    def test_values_within_their_bounds_are_taken(self) -> None:
        values = {
            **EMAIL,
            "ReservedConcurrency": "9",
            "LogRetentionDays": "30",
            "KnownNetworks": "203.0.113.7,2001:db8::/48",
        }
        assert resolve(values).items() >= values.items()

    def test_more_than_the_functions_environment_can_hold_is_refused(self) -> None:
        networks = ",".join(f"203.0.113.{number}" for number in range(200))
        error = refusal({"KnownNetworks": networks, "AccountLabel": "x" * 1000})
        assert "4,096" in error.what
        assert str(parameters.MOST_BYTES) in error.remedy

    def test_bytes_are_counted_and_not_characters(self) -> None:
        error = refusal({"AccountLabel": "é" * 1800})
        assert error.where == "parameters"

    def test_what_fits_is_not_refused(self) -> None:
        assert len(resolve({**EMAIL, "AccountLabel": "x" * 3000})["AccountLabel"]) == 3000


class TestCheck:
    def test_values_of_others_are_not_missed_before_aws_is_asked(self) -> None:
        assert (
            refusal_of(lambda: parameters.check(DECLARED, {"LogRetentionDays": "30"}, GIVEN)) == ""
        )

    def test_the_parent_template_takes_what_a_person_would_write(self) -> None:
        declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
        chosen = {
            **EMAIL,
            "KnownNetworks": "203.0.113.0/24, 2001:db8::/48",
            "AccountLabel": "Shop 1",
        }
        assert refusal_of(lambda: parameters.check(declared, chosen, ())) == ""

    def test_the_parent_template_refuses_a_bad_range(self) -> None:
        declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
        with pytest.raises(RefusedError, match="parameter KnownNetworks"):
            parameters.check(declared, {"KnownNetworks": "203.0.113.0/99"}, ())
