"""The stack's parameters: which source wins, and what is refused before any upload."""

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
DEPLOY_VALUES = {"CodeKey": "function/1.zip"}
EMAIL = {"AlertEmail": "a@example.com"}


def resolve(
    chosen: dict[str, str],
    live: dict[str, str] | None = None,
    deploy_values: dict[str, str] = DEPLOY_VALUES,
) -> dict[str, str]:
    return parameters.resolve(DECLARED, chosen, deploy_values, live or {})


def refusal(chosen: dict[str, str], live: dict[str, str] | None = None) -> RefusedError:
    with pytest.raises(RefusedError) as refusal:
        resolve({**EMAIL, **chosen}, live)
    return refusal.value


class TestPrecedence:
    def test_every_declared_parameter_gets_a_value(self) -> None:
        assert set(resolve(EMAIL)) == set(DECLARED)

    def test_default_is_converted_to_text(self) -> None:
        assert resolve(EMAIL)["LogRetentionDays"] == "365"

    def test_live_value_wins_over_the_default(self) -> None:
        assert resolve(EMAIL, {"LogRetentionDays": "30"})["LogRetentionDays"] == "30"

    def test_chosen_value_wins_over_the_live_one(self) -> None:
        assert resolve({"AlertEmail": "b@example.com"}, EMAIL)["AlertEmail"] == "b@example.com"

    def test_chosen_empty_value_wins_over_the_live_one(self) -> None:
        values = resolve({**EMAIL, "KnownNetworks": ""}, {"KnownNetworks": "203.0.113.0/24"})
        assert values["KnownNetworks"] == ""

    def test_value_of_the_deploy_wins_over_the_live_one(self) -> None:
        assert resolve(EMAIL, {"CodeKey": "function/0.zip"})["CodeKey"] == "function/1.zip"

    def test_live_parameter_that_is_not_declared_any_more_is_dropped(self) -> None:
        assert "Gone" not in resolve(EMAIL, {"Gone": "1"})

    def test_value_of_the_deploy_may_be_empty(self) -> None:
        assert resolve(EMAIL, deploy_values={"CodeKey": ""})["CodeKey"] == ""


class TestRefusals:
    def test_missing_value_is_refused_by_name(self) -> None:
        message = "parameter AlertEmail: has no value and no default"
        with pytest.raises(RefusedError, match=message) as refusal:
            resolve({})
        assert "--set AlertEmail=VALUE" in refusal.value.remedy

    def test_refusal_of_an_unknown_name_lists_the_valid_ones(self) -> None:
        error = refusal({"KnownNetwork": ""})
        assert error.where == "parameter KnownNetwork"
        assert "KnownNetworks" in error.remedy
        assert "CodeKey" not in error.remedy

    def test_name_that_deploy_sets_itself_is_refused(self) -> None:
        assert refusal({"CodeKey": "mine.zip"}).what == "is set by invoke deploy itself"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("nonsense", "'nonsense' is not an address or a range in CIDR form"),
            ("203.0.113.1/24", "'203.0.113.1/24' is not a range in CIDR form"),
            ("203.0.113.0/33", "'203.0.113.0/33' is not a range in CIDR form"),
            ("203.0.113.0/", "'203.0.113.0/' has no prefix length"),
            ("203.0.113.0/24,0.0.0.0/0", "'0.0.0.0/0' is wider than /8"),
            ("::/0", "'::/0' is wider than /19"),
        ],
    )
    def test_unusable_network_is_refused_by_name(self, text: str, problem: str) -> None:
        error = refusal({"KnownNetworks": text})
        assert error.where == "parameter KnownNetworks"
        assert problem in error.what
        assert "203.0.113.0/24" in error.remedy

    @pytest.mark.parametrize(
        ("chosen", "problem"),
        [
            ({"AlertEmail": "nobody"}, "'nobody' must be an e-mail address"),
            ({"AlertEmail": "a@example.com\n"}, r"'a@example.com\n' must be an e-mail address"),
            ({"LogRetentionDays": "31"}, "'31' is not allowed"),
            ({"ReservedConcurrency": "10"}, "'10' has the wrong form"),
            ({"ReservedConcurrency": "-1"}, "'-1' has the wrong form"),
            ({"ReservedConcurrency": "many"}, "'many' has the wrong form"),
            ({"ReservedConcurrency": "٣"}, "'٣' has the wrong form"),  # a digit, not of ASCII
            ({"AccountLabel": "x" * 4001}, "has the wrong form"),
        ],
    )
    def test_value_that_violates_its_declaration_is_refused(
        self, chosen: dict[str, str], problem: str
    ) -> None:
        assert problem in refusal(chosen).what

    def test_live_value_that_is_no_longer_allowed_is_refused(self) -> None:
        assert "'7' is not allowed" in refusal({}, {"LogRetentionDays": "7"}).what

    def test_values_within_their_limits_are_accepted(self) -> None:
        values = {
            **EMAIL,
            "ReservedConcurrency": "9",
            "LogRetentionDays": "30",
            "KnownNetworks": "203.0.113.7,2001:db8::/48",
        }
        assert resolve(values).items() >= values.items()

    def test_more_than_the_functions_environment_holds_is_refused(self) -> None:
        networks = ",".join(f"203.0.113.{number}" for number in range(200))
        error = refusal({"KnownNetworks": networks, "AccountLabel": "x" * 1000})
        assert "4,096" in error.what
        assert str(parameters.MAX_PARAMETERS_BYTES) in error.remedy

    def test_size_is_counted_in_bytes(self) -> None:
        error = refusal({"AccountLabel": "é" * 1800})
        assert error.where == "parameters"

    def test_value_that_fits_is_not_refused(self) -> None:
        assert len(resolve({**EMAIL, "AccountLabel": "x" * 3000})["AccountLabel"]) == 3000


class TestCheck:
    def test_missing_value_is_not_refused_before_the_live_stack_is_known(self) -> None:
        chosen = {"LogRetentionDays": "30"}
        refusal = refusal_of(lambda: parameters.check(DECLARED, chosen, DEPLOY_VALUES))
        assert refusal == ""

    def test_parent_template_accepts_usual_values(self) -> None:
        declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
        chosen = {
            **EMAIL,
            "KnownNetworks": "203.0.113.0/24, 2001:db8::/48",
            "AccountLabel": "Shop 1",
        }
        assert refusal_of(lambda: parameters.check(declared, chosen, ())) == ""

    def test_parent_template_refuses_an_invalid_range(self) -> None:
        declared = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]
        with pytest.raises(RefusedError, match="parameter KnownNetworks"):
            parameters.check(declared, {"KnownNetworks": "203.0.113.0/99"}, ())
