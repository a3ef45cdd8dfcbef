"""The stack's parameters: which source wins, and what is refused before any upload."""

from __future__ import annotations

import zoneinfo
from typing import Any

import pytest

from tests.support.refusals import refusal_of
from tests.support.repository import ROOT
from tooling import parameters
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

    def test_refusal_of_an_unknown_name_names_a_similar_one(self) -> None:
        error = refusal({"KnownNetwork": ""})
        assert (error.where, error.remedy) == ("parameter KnownNetwork", "write KnownNetworks")

    def test_name_that_deploy_sets_itself_is_refused(self) -> None:
        assert refusal({"CodeKey": "mine.zip"}).what == "is set by invoke deploy itself"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("nonsense", "'nonsense' is not an address or a range in CIDR form"),
            ("203.0.113.1/24", "is not a range in CIDR form: write 203.0.113.0/24"),
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
        advice = "ranges of /8" if "wider" in problem else "203.0.113.0/24"
        assert advice in error.remedy

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
            ({"AccountLabel": "x" * 4001}, "has 4001 characters, and may have at most 4000"),
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


class TestBusName:
    @pytest.mark.parametrize("name", ["sign-ins", "signwatch", "signwatchbus", "watch-signwatch-x"])
    def test_name_without_the_prefix_is_refused_with_one_that_has_it(self, name: str) -> None:
        message = refusal_of(lambda: parameters.check_bus_name(name, "signwatch"))
        assert message.startswith(
            f"parameter EventBusName: {name!r} does not begin with signwatch-"
        )
        assert f"\nTry: write signwatch-{name}, or default" in message

    @pytest.mark.parametrize("name", ["default", "signwatch-sign-ins"])
    def test_default_bus_or_name_with_the_prefix_is_accepted(self, name: str) -> None:
        parameters.check_bus_name(name, "signwatch")


PARENT = parameters.load_declared(ROOT)


class TestNames:
    def test_unknown_name_that_is_like_no_other_is_refused_with_all_names(self) -> None:
        error = refusal({"Xyz": ""})
        assert error.remedy == (
            "choose one of AccountLabel, AlertEmail, KnownNetworks, LogRetentionDays,"
            " ReservedConcurrency"
        )

    @pytest.mark.parametrize(
        "written",
        ["knownnetworks", "KNOWNNETWORKS", "known_networks", "Known-Networks", "KnownNetwork"],
    )
    def test_name_that_is_almost_right_is_refused_with_the_right_one(self, written: str) -> None:
        message = refusal_of(lambda: parameters.check_names(PARENT, {written: ""}, "--set"))
        assert message == (
            f"--set {written}: is not a parameter of the stack\nTry: write KnownNetworks"
        )

    @pytest.mark.parametrize("name", parameters.DEPLOY_PARAMETERS)
    def test_name_that_deploy_sets_itself_is_refused_whatever_its_value(self, name: str) -> None:
        message = refusal_of(lambda: parameters.check_names(PARENT, {name: "x"}))
        assert f"parameter {name}: is set by invoke deploy itself" in message

    def test_names_that_deploy_sets_are_declared_in_the_parent(self) -> None:
        assert set(parameters.DEPLOY_PARAMETERS) <= set(PARENT)


def refusal_of_value(name: str, value: str) -> str:
    """Return what is said about one value of a parameter of the parent template."""
    return refusal_of(lambda: parameters.check_values(PARENT, {name: value}, "--set"))


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("AlertOff", "unrecognized-source", "write unrecognised-source"),
            ("AlertOff", "failure,No MFA", "write no-mfa"),
            ("AlertOff", "root_failure", "write root-failure"),
            ("AlertOff", "failure, no-mfa", "write failure,no-mfa"),
            ("AlertOff", "web-identity", "write it in AlertOn"),
            ("AlertOn", "right-password", "write right-password-without-a-sign-in"),
            ("AlertOn", "root-failure", "write it in AlertOff"),
            ("AlertOff", "xyz", "choose from unrecognised-source, "),
            ("TimeZone", "europe/berlin", "write Europe/Berlin"),
            ("TimeZone", "Berlin", "write Europe/Berlin"),
            ("TimeZone", "America/New York", "write America/New_York"),
            ("TimeZone", "Mars/Olympus", "write a name like Europe/Berlin"),
            ("KnownNetworks", "203.0.113.77/24", "write addresses and ranges like 203.0.113.0/24"),
            ("LogRetentionDays", "360", "write 365, or choose one of 30, 60"),
            ("LogRetentionDays", "-1", "write 30, or choose one of"),
            ("LogRetentionDays", "1year", "choose one of 30, 60"),
            ("TrailLogGroupMode", "Create", "write create"),
            ("TrailLogGroupMode", "off", "choose one of create, none"),
            ("TwilioBaseUrl", "https://api.twilio.com/", "write https://api.twilio.com"),
            ("AlertEmail", " owner@example.com", "write owner@example.com"),
            ("AllowedVpcEndpointIds", "VPCE-0123456789ABCDEF0", "write vpce-0123456789abcdef0"),
            ("AccountLabel", "x" * 21, "see its description"),
            ("ReservedConcurrency", "1", "see its description"),
        ],
    )
    def test_unusable_value_is_refused_with_the_nearest_usable_one(
        self, name: str, value: str, remedy: str
    ) -> None:
        message = refusal_of_value(name, value)
        assert message.startswith(f"--set {name}: ")
        assert f"\nTry: {remedy}" in message

    def test_range_with_host_bits_is_refused_with_the_range_that_was_meant(self) -> None:
        assert refusal_of_value("KnownNetworks", "198.51.100.7, 203.0.113.77/24").startswith(
            "--set KnownNetworks: '203.0.113.77/24' is not a range in CIDR form:"
            " write 203.0.113.0/24"
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("AlertOff", ""),
            ("AlertOff", "failure,no-mfa,unrecognised-source"),
            ("AlertOn", "right-password-without-a-sign-in"),
            ("TimeZone", ""),
            ("TimeZone", "Europe/Berlin"),
            ("TimeZone", "UTC"),
            ("KnownNetworks", "203.0.113.0/24, 2001:db8::/48"),
            ("AccountLabel", "Shop 1"),
        ],
    )
    def test_usable_value_is_accepted(self, name: str, value: str) -> None:
        assert refusal_of_value(name, value) == ""

    def test_causes_are_those_that_the_template_allows(self) -> None:
        for name, causes in parameters.CAUSES.items():
            for cause in causes:
                assert refusal_of_value(name, cause) == ""

    def test_time_zone_is_not_checked_where_the_machine_has_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(zoneinfo, "available_timezones", set)
        assert refusal_of_value("TimeZone", "Europe/Berlin") == ""
