"""Allowances: read at once, cached for a minute, used stale for 15, and never past an expiry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import signin
from signwatch.enrichment import allowance_store
from signwatch.pipeline import process
from tests.support.dependencies import FIRST, NOW, Parameters, World
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

NAME = "iam-user-signs-in-with-mfa"  # Anaya, from 203.0.113.10
SOURCE = "203.0.113.10"
ENDPOINT = "vpce-0123456789abcdef0"
CACHE_SECONDS, STALE_CACHE_SECONDS = 60, 900


def find_label(world: World, now: float = NOW, prefix: str = "signwatch", **changes: str) -> str:
    """Return the label of the allowance that recognises a sign-in of Anaya's; "" for none."""
    sign_in = signin.read(event(NAME))
    assert isinstance(sign_in, signin.SignIn)
    dependencies = world.dependencies(name_prefix=prefix)
    allowance = allowance_store.find_allowance(sign_in._replace(**changes), now, dependencies)
    return allowance.label if allowance else ""


def log_lines(capsys: pytest.CaptureFixture[str], key: str = "problem") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if key in line]


class TestMatching:
    def test_allowed_address_is_recognised(self, world: World) -> None:
        world.parameters.allow("203.0.113.0/24", "hotel")
        assert find_label(world) == "hotel"
        assert find_label(world, source="203.0.114.1") == ""

    @pytest.mark.parametrize(
        ("who", "label"), [("anaya", "hotel"), ("Auditor", "hotel"), ("Paulo", ""), ("Ana", "")]
    )
    def test_personal_allowance_counts_for_its_person_or_role_alone(
        self, world: World, who: str, label: str
    ) -> None:
        world.parameters.allow(SOURCE, "hotel", who)
        assert find_label(world, role="Auditor") == label

    def test_expired_allowance_matches_nothing_even_if_cached(self, world: World) -> None:
        world.parameters.allow(SOURCE, expires=int(NOW) + 30)
        assert find_label(world) == "hotel"
        assert find_label(world, NOW + 29) == "hotel"
        assert find_label(world, NOW + 30) == ""
        assert world.parameters.calls == ["get_parameters_by_path"]

    @pytest.mark.parametrize("marked", [{}, {"wide": True}, {"wide": False}, {"wide": "true"}])
    @pytest.mark.parametrize(
        ("cidr", "source"),
        [
            ("0.0.0.0/0", SOURCE),
            ("202.0.0.0/7", SOURCE),
            ("::ffff:0.0.0.0/96", SOURCE),
            ("::/0", "2001:db8::7"),
            ("2001::/18", "2001:db8::7"),
        ],
    )
    def test_wide_allowance_recognises_nothing_whatever_its_flag_says(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        marked: dict[str, object],
        cidr: str,
        source: str,
    ) -> None:
        entry = {"cidr": cidr, "label": "all", "who": None, "expires": None, **marked}
        world.parameters.values["everywhere"] = json.dumps(entry)
        world.parameters.allow("192.0.2.7", "beside it")
        assert find_label(world, source=source) == ""
        assert find_label(world, source="192.0.2.7") == "beside it"
        (line,) = log_lines(capsys)
        assert line["unusable_networks"] == ["/signwatch/networks/everywhere"]

    @pytest.mark.parametrize(
        ("cidr", "source"), [("203.0.0.0/8", SOURCE), ("2001::/19", "2001:db8::7")]
    )
    def test_widest_allowance_recognises_with_or_without_the_flag(
        self, world: World, cidr: str, source: str
    ) -> None:
        entry = {"cidr": cidr, "label": "wide", "who": None, "expires": None}
        for number, flag in enumerate(({}, {"wide": True})):
            world.parameters.values["widest"] = json.dumps(entry | flag)
            assert find_label(world, NOW + number * CACHE_SECONDS, source=source) == "wide"


class TestReading:
    def test_all_pages_are_read(self, world: World) -> None:
        for number in range(10):
            world.parameters.allow(f"198.51.100.{number}")
        world.parameters.allow(SOURCE, "on the last page")
        assert find_label(world) == "on the last page"
        assert world.parameters.calls == ["get_parameters_by_path"] * 6

    def test_allowances_are_read_once_a_minute(self, world: World) -> None:
        assert find_label(world) == ""
        world.parameters.allow(SOURCE)
        assert find_label(world, NOW + CACHE_SECONDS - 1) == ""
        assert len(world.parameters.calls) == 1
        assert find_label(world, NOW + CACHE_SECONDS) == "hotel"
        world.parameters.values.clear()
        assert find_label(world, NOW + 2 * CACHE_SECONDS - 1) == "hotel"
        assert find_label(world, NOW + 2 * CACHE_SECONDS) == ""

    def test_allowances_are_read_again_if_the_clock_went_back(self, world: World) -> None:
        world.parameters.allow(SOURCE)
        find_label(world)
        world.parameters.values.clear()
        assert find_label(world, NOW - 3600) == ""

    def test_cache_is_separate_for_each_name_prefix(self, world: World) -> None:
        world.parameters.allow(SOURCE)
        assert find_label(world) == "hotel"
        world.parameters.fails = {"get_parameters_by_path"}
        assert find_label(world, prefix="another") == ""

    @pytest.mark.parametrize("value", ["", "{", "null", json.dumps({"cidr": SOURCE})])
    def test_unusable_allowance_is_logged_and_others_count(
        self, world: World, capsys: pytest.CaptureFixture[str], value: str
    ) -> None:
        world.parameters.values["broken"] = value
        world.parameters.allow(SOURCE)
        assert find_label(world) == "hotel"
        (line,) = log_lines(capsys)
        assert (line["level"], line["problem"]) == ("ERROR", "networks")
        assert line["unusable_networks"] == ["/signwatch/networks/broken"]

    def test_parameter_names_cannot_start_or_flood_log_lines(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.parameters.values.update({f"x\n{'y' * 900}{number}": "" for number in range(50)})
        assert find_label(world) == ""
        (line,) = capsys.readouterr().out.splitlines()
        assert len(json.loads(line)["unusable_networks"]) == 20
        assert len(line) < 6000


class TestFaults:
    def test_cached_allowances_count_for_a_quarter_of_an_hour_without_a_read(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.parameters.allow(SOURCE)
        assert find_label(world) == "hotel"
        world.parameters.fails = {"get_parameters_by_path"}
        assert find_label(world, NOW + STALE_CACHE_SECONDS - 1) == "hotel"
        assert find_label(world, NOW + STALE_CACHE_SECONDS) == ""
        failure = {"level": "ERROR", "problem": "networks", "error": "AccessDeniedError"}
        assert log_lines(capsys) == [{**failure, "stale": True}, {**failure, "stale": False}]

    def test_stale_allowance_still_expires(self, world: World) -> None:
        world.parameters.allow(SOURCE, expires=int(NOW) + 120)
        assert find_label(world) == "hotel"
        world.parameters.fails = {"get_parameters_by_path"}
        assert find_label(world, NOW + 119) == "hotel"
        assert find_label(world, NOW + 120) == ""

    def test_error_on_a_later_page_discards_the_earlier_pages(self) -> None:
        class Torn(Parameters):
            def get_parameters_by_path(self, **request: Any) -> dict[str, Any]:
                if "NextToken" in request:
                    raise TimeoutError
                return super().get_parameters_by_path(**request)

        torn = Torn()
        for number in range(10):
            torn.allow(f"203.0.113.{number + 5}")
        assert find_label(World(parameters=torn)) == ""
        assert find_label(World(parameters=Parameters(values=torn.values))) == "hotel"

    def test_allowances_are_read_again_after_an_error(self, world: World) -> None:
        world.parameters.fails = {"get_parameters_by_path"}
        assert find_label(world) == ""
        world.parameters.fails = set()
        world.parameters.allow(SOURCE)
        assert find_label(world) == "hotel"

    def test_alert_is_sent_if_the_client_cannot_be_made(
        self, world: World, capsys: pytest.CaptureFixture[str], twilio: Twilio
    ) -> None:
        world.missing = {"ssm"}
        result = process(event(NAME), world.dependencies(twilio_base_url=twilio.url))
        assert result["verdict"] == "alert"
        assert [line["error"] for line in log_lines(capsys)] == ["AccessDeniedError"]
        assert FIRST in twilio.recipients


class TestPipeline:
    def test_log_names_the_allowance_that_recognised_a_sign_in(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.parameters.allow(SOURCE, "hotel in Oslo")
        assert process(event(NAME), world.dependencies())["verdict"] == "recognised"
        (line,) = log_lines(capsys, "verdict")
        (name,) = world.parameters.values
        assert line["reasons"] == ["recognised source"]
        assert line["recognised_by"] == f"hotel in Oslo (networks/{name})"
        assert world.clients == ["ssm"]

    def test_sources_that_an_allowance_recognises_are_shown_last(
        self, world: World, twilio: Twilio
    ) -> None:
        world.parameters.allow("192.0.2.0/24", "hotel")
        world.parameters.allow("203.0.113.0/24", "of somebody else", "Paulo")
        record = event(NAME)
        record["detail"]["sourceIPAddress"] = "192.0.2.7, 203.0.113.10, AWS Internal"
        process(record, world.dependencies(twilio_base_url=twilio.url))
        text = twilio.messages[0]["body"]
        assert 'From: 203.0.113.10, "AWS Internal", 192.0.2.7\n' in text

    def test_allowance_for_a_looked_up_name_sorts_the_sources(
        self, world: World, twilio: Twilio
    ) -> None:
        record = event("identity-center-user-signs-in-with-totp")
        user = signin.read(record)
        assert isinstance(user, signin.SignIn)
        world.identity_stores.names[user.identity_store_id, user.user_id] = "anaya.lee"
        world.parameters.allow("192.0.2.0/24", "hotel", "anaya.lee")
        record["detail"]["sourceIPAddress"] = "192.0.2.7, 203.0.113.10"
        process(record, world.dependencies(twilio_base_url=twilio.url))
        assert "From: 203.0.113.10, 192.0.2.7\n" in twilio.messages[0]["body"]

    def test_allowance_for_a_role_sorts_the_sources(self, world: World, twilio: Twilio) -> None:
        record = event("federated-user-signs-in")
        user = signin.read(record)
        assert isinstance(user, signin.SignIn)
        world.parameters.allow("192.0.2.0/24", "hotel", user.role)
        record["detail"]["sourceIPAddress"] = "192.0.2.7, 203.0.113.10"
        process(record, world.dependencies(twilio_base_url=twilio.url))
        assert "From: 203.0.113.10, 192.0.2.7\n" in twilio.messages[0]["body"]

    def test_allowance_sorts_the_sources_of_an_unreadable_sign_in(
        self, world: World, twilio: Twilio
    ) -> None:
        world.parameters.allow("192.0.2.0/24", "hotel")
        world.parameters.allow("198.51.100.0/24", "office")
        world.parameters.allow("203.0.113.0/24", "expired", expires=int(NOW) - 1)
        record = event(NAME)
        sources = "192.0.2.7, 198.51.100.9, 203.0.113.10"
        record["detail"] |= {"responseElements": None, "sourceIPAddress": sources}
        process(record, world.dependencies(twilio_base_url=twilio.url))
        text = twilio.messages[0]["body"]
        assert "Unreadable sign-in" in text
        assert "From: 203.0.113.10, 192.0.2.7, 198.51.100.9\n" in text

    def test_known_network_recognises_without_an_aws_client(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process(event(NAME), world.dependencies(known_networks=NETWORKS["recognised"]))
        (line,) = log_lines(capsys, "verdict")
        assert (line["recognised_by"], world.clients) == ("KnownNetworks", [])

    def test_root_alerts_from_an_allowed_address_too(self, world: World) -> None:
        world.secrets.text = None
        world.parameters.allow("203.0.113.0/24")
        assert process(event("root-signs-in-with-mfa"), world.dependencies())["verdict"] == "alert"

    @pytest.mark.parametrize(
        "name", ["portal-lists-accounts", "record-without-an-outcome", "source-is-hidden"]
    )
    def test_allowances_are_not_read_for_a_source_that_none_can_hold(
        self, world: World, name: str
    ) -> None:
        world.secrets.text = None
        process(event(name), world.dependencies())
        assert "ssm" not in world.clients

    @pytest.mark.parametrize("listed", ["KnownNetworks", "allowance"])
    @pytest.mark.parametrize(
        ("recorded", "allowed", "level"),
        [
            (ENDPOINT, f"vpce-00000000, {ENDPOINT}", "recognised"),
            (ENDPOINT, "", "alert"),
            (ENDPOINT, f"{ENDPOINT}0", "alert"),
            ("", ENDPOINT, "alert"),
            ("", ",", "alert"),
        ],
    )
    def test_private_address_needs_an_allowed_endpoint_in_its_record(
        self, world: World, listed: str, recorded: str, allowed: str, level: str
    ) -> None:
        sign_in, world.secrets.text = event("iam-user-signs-in-from-a-private-address"), None
        sign_in["detail"]["vpcEndpointId"] = recorded
        world.parameters.allow("10.0.0.0/8" if listed == "allowance" else "192.0.2.1")
        known = "10.0.0.0/8" if listed == "KnownNetworks" else ""
        dependencies = world.dependencies(known_networks=known, allowed_vpc_endpoint_ids=allowed)
        assert process(sign_in, dependencies)["verdict"] == level


@pytest.mark.parametrize(
    ("endpoint", "allowed", "verdict"),
    [
        ("vpce-0attacker0000000", ENDPOINT, "alert"),
        ("vpce-0attacker0000000", "", "alert"),
        (ENDPOINT, ENDPOINT, "recognised"),
    ],
)
@pytest.mark.parametrize("listed", ["KnownNetworks", "allowance"])
def test_public_address_through_a_foreign_endpoint_is_never_recognised(
    world: World, endpoint: str, allowed: str, verdict: str, listed: str
) -> None:
    sign_in, world.secrets.text = event(NAME), None
    sign_in["detail"]["vpcEndpointId"] = endpoint
    if listed == "allowance":
        world.parameters.allow(SOURCE)
    known = NETWORKS["recognised"] if listed == "KnownNetworks" else ""
    dependencies = world.dependencies(known_networks=known, allowed_vpc_endpoint_ids=allowed)
    assert process(sign_in, dependencies)["verdict"] == verdict
