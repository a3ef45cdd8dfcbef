"""The register: read once a minute and whole, stale for a quarter of an hour at most, and never past an expiry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import signin
from signwatch.enrichment import allowance_store
from signwatch.enrichment.allowance_store import FRESH, STALE
from signwatch.pipeline import process
from tests.support.dependencies import FIRST, NOW, Register, World
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

NAME = "iam-user-signs-in-with-mfa"  # Anaya, from 203.0.113.10
SOURCE = "203.0.113.10"
ENDPOINT = "vpce-0123456789abcdef0"


@pytest.fixture
def kept() -> Register:
    return Register()


def found(kept: Register, now: float = NOW, **changes: str) -> str:
    """The label of what recognises a sign-in of Anaya's."""
    reading = signin.read(event(NAME))
    assert isinstance(reading, signin.SignIn)
    told = reading._replace(**changes)
    one = allowance_store.find(told, lambda: kept, "signwatch", now, named=lambda: told)
    return one.label if one else ""


def logged(capsys: pytest.CaptureFixture[str], key: str = "problem") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if key in line]


class TestMatching:
    def test_an_address_that_is_allowed_is_found_by_its_label(self, kept: Register) -> None:
        kept.allow("203.0.113.0/24", "hotel")
        assert found(kept) == "hotel"
        assert found(kept, source="203.0.114.1") == ""

    @pytest.mark.parametrize(
        ("who", "label"), [("anaya", "hotel"), ("Auditor", "hotel"), ("Paulo", ""), ("Ana", "")]
    )
    def test_a_personal_one_is_for_that_person_or_role_alone(
        self, kept: Register, who: str, label: str
    ) -> None:
        kept.allow(SOURCE, "hotel", who)
        assert found(kept, role="Auditor") == label

    def test_an_expired_one_matches_nothing_though_it_is_still_remembered(
        self, kept: Register
    ) -> None:
        kept.allow(SOURCE, expires=int(NOW) + 30)
        assert found(kept) == "hotel"
        assert found(kept, NOW + 29) == "hotel"
        assert found(kept, NOW + 30) == ""
        assert kept.calls == ["get_parameters_by_path"]

    def test_a_wide_one_counts_only_if_somebody_insisted(
        self, kept: Register, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept.values["plain"] = json.dumps(
            {"cidr": "0.0.0.0/0", "label": "all", "who": None, "expires": None}
        )
        assert found(kept) == ""
        assert logged(capsys)[0]["unusable_networks"] == ["/signwatch/networks/plain"]
        kept.allow("0.0.0.0/0", "all", wide=True)
        assert found(kept, NOW + FRESH) == "all"


class TestReading:
    def test_all_pages_are_read(self, kept: Register) -> None:
        for number in range(10):
            kept.allow(f"198.51.100.{number}")
        kept.allow(SOURCE, "on the last page")
        assert found(kept) == "on the last page"
        assert kept.calls == ["get_parameters_by_path"] * 6

    def test_it_is_read_once_a_minute(self, kept: Register) -> None:
        assert found(kept) == ""
        kept.allow(SOURCE)
        assert found(kept, NOW + FRESH - 1) == ""
        assert len(kept.calls) == 1
        assert found(kept, NOW + FRESH) == "hotel"
        kept.values.clear()
        assert found(kept, NOW + 2 * FRESH - 1) == "hotel"
        assert found(kept, NOW + 2 * FRESH) == ""

    def test_a_clock_that_was_put_back_makes_it_read_again(self, kept: Register) -> None:
        kept.allow(SOURCE)
        found(kept)
        kept.values.clear()
        assert found(kept, NOW - 3600) == ""

    def test_two_installations_in_one_process_keep_apart(self, kept: Register) -> None:
        kept.allow(SOURCE)
        assert found(kept) == "hotel"
        reading = signin.read(event(NAME))
        assert isinstance(reading, signin.SignIn)
        assert allowance_store.find(reading, Faulty, "another", NOW, named=lambda: reading) is None

    @pytest.mark.parametrize("value", ["", "{", "null", json.dumps({"cidr": SOURCE})])
    def test_an_unusable_one_is_named_and_costs_no_other_one(
        self, kept: Register, capsys: pytest.CaptureFixture[str], value: str
    ) -> None:
        kept.values["broken"] = value
        kept.allow(SOURCE)
        assert found(kept) == "hotel"
        (line,) = logged(capsys)
        assert (line["level"], line["problem"]) == ("ERROR", "networks")
        assert line["unusable_networks"] == ["/signwatch/networks/broken"]

    def test_no_name_of_a_parameter_begins_a_line_of_its_own_or_fills_the_log(
        self, kept: Register, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept.values.update({f"x\n{'y' * 900}{number}": "" for number in range(50)})
        assert found(kept) == ""
        (line,) = capsys.readouterr().out.splitlines()
        assert len(json.loads(line)["unusable_networks"]) == 20
        assert len(line) < 6000


class Faulty:
    """A client of Systems Manager that knows nothing."""

    def get_parameters_by_path(self, **_: Any) -> dict[str, Any]:
        raise TimeoutError


class TestFaults:
    def test_what_was_read_serves_for_a_quarter_of_an_hour_and_no_longer(
        self, kept: Register, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept.allow(SOURCE)
        assert found(kept) == "hotel"
        kept.fails = {"get_parameters_by_path"}
        assert found(kept, NOW + STALE - 1) == "hotel"
        assert found(kept, NOW + STALE) == ""
        lines = [
            (line["level"], line["problem"], line["error"], line["stale"])
            for line in logged(capsys)
        ]
        assert lines == [
            ("ERROR", "networks", "AccessDeniedError", is_stale) for is_stale in (True, False)
        ]

    def test_what_is_stale_ends_at_its_expiry(self, kept: Register) -> None:
        kept.allow(SOURCE, expires=int(NOW) + 120)
        assert found(kept) == "hotel"
        kept.fails = {"get_parameters_by_path"}
        assert found(kept, NOW + 119) == "hotel"
        assert found(kept, NOW + 120) == ""

    def test_an_error_on_a_later_page_makes_nothing_of_the_earlier_ones(self) -> None:
        class Torn(Register):
            def get_parameters_by_path(self, **asked: Any) -> dict[str, Any]:
                if "NextToken" in asked:
                    raise TimeoutError
                return super().get_parameters_by_path(**asked)

        torn = Torn()
        for number in range(10):
            torn.allow(f"203.0.113.{number + 5}")
        assert found(torn) == ""
        assert found(Register(values=torn.values)) == "hotel"

    def test_once_it_can_be_read_again_it_is(self, kept: Register) -> None:
        kept.fails = {"get_parameters_by_path"}
        assert found(kept) == ""
        kept.fails = set()
        kept.allow(SOURCE)
        assert found(kept) == "hotel"

    def test_a_client_that_cannot_be_made_is_an_error_like_any_other(
        self, world: World, capsys: pytest.CaptureFixture[str], twilio: Twilio
    ) -> None:
        world.missing = {"ssm"}
        assert (
            process(event(NAME), world.dependencies(twilio_base_url=twilio.url))["verdict"]
            == "alert"
        )
        assert [line["error"] for line in logged(capsys)] == ["AccessDeniedError"]
        assert FIRST in twilio.reached


class TestPipeline:
    def test_an_allowed_sign_in_is_recognised_and_the_log_says_by_what(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.register.allow(SOURCE, "hotel in Oslo")
        assert process(event(NAME), world.dependencies())["verdict"] == "recognised"
        (line,) = logged(capsys, "verdict")
        (name,) = world.register.values
        assert (line["reasons"], line["recognised_by"]) == (
            ["recognised source"],
            f"hotel in Oslo (networks/{name})",
        )
        assert world.made == ["ssm"]

    def test_a_known_network_is_named_in_the_log_and_nobody_is_asked(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process(event(NAME), world.dependencies(known_networks=NETWORKS["recognised"]))
        (line,) = logged(capsys, "verdict")
        assert (line["recognised_by"], world.made) == ("KnownNetworks", [])

    def test_an_allowance_makes_root_no_quieter(self, world: World) -> None:
        world.secrets.text = None
        world.register.allow("203.0.113.0/24")
        assert process(event("root-signs-in-with-mfa"), world.dependencies())["verdict"] == "alert"

    @pytest.mark.parametrize(
        "name", ["portal-lists-accounts", "record-without-an-outcome", "source-is-hidden"]
    )
    def test_nobody_is_asked_about_what_no_allowance_can_hold(
        self, world: World, name: str
    ) -> None:
        world.secrets.text = None
        process(event(name), world.dependencies())
        assert "ssm" not in world.made

    @pytest.mark.parametrize("listed", ["KnownNetworks", "register"])
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
    def test_a_private_address_needs_an_allowed_endpoint_in_its_record(
        self, world: World, listed: str, recorded: str, allowed: str, level: str
    ) -> None:
        told, world.secrets.text = event("iam-user-signs-in-from-a-private-address"), None
        told["detail"]["vpcEndpointId"] = recorded
        world.register.allow("10.0.0.0/8" if listed == "register" else "192.0.2.1")
        known = "10.0.0.0/8" if listed == "KnownNetworks" else ""
        chosen = world.dependencies(known_networks=known, allowed_vpc_endpoint_ids=allowed)
        assert process(told, chosen)["verdict"] == level


@pytest.mark.parametrize(
    ("endpoint", "allowed", "verdict"),
    [
        ("vpce-0attacker0000000", ENDPOINT, "alert"),
        ("vpce-0attacker0000000", "", "alert"),
        (ENDPOINT, ENDPOINT, "recognised"),
    ],
)
@pytest.mark.parametrize("listed", ["known", "allowed"])
def test_a_public_address_from_somebody_elses_vpc_is_recognised_by_nothing(
    world: World, endpoint: str, allowed: str, verdict: str, listed: str
) -> None:
    told, world.secrets.text = event(NAME), None
    told["detail"]["vpcEndpointId"] = endpoint
    if listed == "allowed":
        world.register.allow(SOURCE)
    known = NETWORKS["recognised"] if listed == "known" else ""
    dependencies = world.dependencies(known_networks=known, allowed_vpc_endpoint_ids=allowed)
    assert process(told, dependencies)["verdict"] == verdict
