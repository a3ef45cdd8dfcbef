"""Recognised networks of the live account: shown, allowed, revoked and checked."""

from __future__ import annotations

import contextlib
import io
import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from signwatch.detection import allowance
from signwatch.detection import networks as recognition
from tests.support.aws import (
    ACCOUNT,
    REGION,
    STACK_ID,
    CloudFormation,
    Parameters,
    account,
    client_error,
)
from tests.support.listener import confirm_all
from tests.support.refusals import refusal_of
from tooling.errors import RefusedError
from tooling.operate import network_list, networks
from tooling.settings import Settings
from tooling.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signwatch.detection.allowance import Allowance
    from tooling.deploy.account import Account
    from tooling.operate.networks import RecognisedNetworks

NO_ENDPOINT = "none, so no private address is recognised"
NOW = 1_795_687_200.0  # 2026-11-26T10:00:00Z
DAY = 24 * 3600
SETTINGS = Settings(account=ACCOUNT, region=REGION, prefix="signwatch")
FOLDER = "/signwatch/networks"
KNOWN = {"KnownNetworks": "203.0.113.0/24, 10.0.0.0/8", "AllowedVpcEndpointIds": ""}
WITH_ENDPOINT = {**KNOWN, "AllowedVpcEndpointIds": "vpce-01234567"}
HOTEL = allowance.make("198.51.100.7", "hotel in Oslo", "Anaya", int(NOW) + 3 * DAY)
LAB = allowance.make("2001:db8::/48", "lab")
EXPIRED = allowance.make("192.0.2.0/24", "fair", expires=int(NOW))


def account_with(
    *allowances: Allowance, parameters: dict[str, str] = KNOWN, **more: str
) -> Account:
    """An account with the deployed stack, these allowances, and more parameters beside them."""
    stack = {
        "StackId": STACK_ID,
        "StackStatus": "CREATE_COMPLETE",
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
        "Outputs": [{"OutputKey": "FunctionName", "OutputValue": "signwatch-function"}],
        "Tags": [{"Key": "signwatch:prefix", "Value": "signwatch"}],
    }
    values = {f"{FOLDER}/{entry.name}": allowance.encode(entry) for entry in allowances}
    values |= {f"{FOLDER}/{name}": value for name, value in more.items()}
    return account(cloudformation=CloudFormation(stack), ssm=Parameters(values))


def stored(aws: Account) -> dict[str, str]:
    values: dict[str, str] = aws.client("ssm").values
    return values


def load(*allowances: Allowance, **more: Any) -> RecognisedNetworks:
    return networks.load(account_with(*allowances, **more), SETTINGS)


def show_lists(lists: RecognisedNetworks) -> list[str]:
    """Return the lines that ``networks`` shows on a wide screen."""
    screen = Screen()
    screen.rich = Console(width=300, file=io.StringIO(), soft_wrap=True)
    network_list.show(lists, NOW, screen)
    return cast("io.StringIO", screen.rich.file).getvalue().splitlines()


class TestList:
    def test_both_lists_are_shown_and_allowances_in_order_of_expiry(self) -> None:
        until = "until 2026-11-29T10:00:00Z, in 3 d 0 h"
        expired = "EXPIRED at 2026-11-26T10:00:00Z, recognises nothing"
        loaded = load(LAB, HOTEL, EXPIRED)
        shown = show_lists(loaded)
        assert [re.split(" {2,}", line) for line in shown] == [
            ["KnownNetworks, changed by ./inv deploy:"],
            ["network"],
            ["203.0.113.0/24"],
            ["10.0.0.0/8"],
            ["Allowances, changed within a minute, without a deploy:"],
            ["network", "label", "for", "valid", "id"],
            ["192.0.2.0/24", "fair", "everybody", expired, EXPIRED.name],
            ["198.51.100.7/32", "hotel in Oslo", "Anaya", until, HOTEL.name],
            ["2001:db8::/48", "lab", "everybody", "forever", LAB.name],
            [f"VPC endpoints that allow private addresses: {NO_ENDPOINT}"],
        ]
        assert networks.has_only_usable_entries(loaded)

    def test_empty_lists_are_shown_as_none(self) -> None:
        lines = show_lists(load(parameters={}))
        assert lines.count("  none") == 2
        remedy = "run ./inv bootstrap and ./inv deploy"
        assert f"  The deployed function is too old to read allowances: {remedy}." in lines

    @pytest.mark.parametrize("cidr", ["0.0.0.0/0", "16.0.0.0/7", "::/0", "2000::/18"])
    def test_a_wide_range_that_is_stored_is_marked_and_recognises_nothing(self, cidr: str) -> None:
        entry = {"cidr": cidr, "label": "all", "who": None, "expires": None, "wide": True}
        loaded = load(everywhere=json.dumps(entry))
        (line,) = [line for line in show_lists(loaded) if cidr in line]
        problem, shown_id = re.split(" {2,}", line)[1:]
        assert line.startswith("UNUSABLE  ")
        assert problem.startswith(f"recognises nothing: '{cidr}' is wider than /")
        assert shown_id == "everywhere"
        assert not networks.has_only_usable_entries(loaded)
        assert not networks.check_address(loaded, "16.0.0.7", None, NOW).is_recognised
        assert not networks.check_address(loaded, "2001:db8::7", None, NOW).is_recognised

    @pytest.mark.parametrize(
        ("known", "more"), [(KNOWN["KnownNetworks"], {"broken": "{"}), ("0.0.0.0/0", {})]
    )
    def test_an_unusable_entry_in_either_list_is_marked(
        self, known: str, more: dict[str, str]
    ) -> None:
        loaded = load(LAB, parameters={**KNOWN, "KnownNetworks": known}, **more)
        assert sum("UNUSABLE" in line for line in show_lists(loaded)) == 1
        assert not networks.has_only_usable_entries(loaded)

    def test_control_characters_in_stored_text_are_escaped(self) -> None:
        strange = {"cidr": "\x1b[31m\u202e", "label": "x", "who": None, "expires": None}
        loaded = load(**{"x\x1b": json.dumps(strange)})
        assert all(line.isprintable() for line in show_lists(loaded))

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(59, "in 0 h 0 min"), (5400, "in 1 h 30 min"), (DAY + 7200, "in 1 d 2 h")],
    )
    def test_the_time_left_is_shown_in_its_two_largest_units(self, seconds: int, text: str) -> None:
        loaded = load(allowance.make("192.0.2.7", "x", expires=int(NOW) + seconds))
        assert any(text in line for line in show_lists(loaded))


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90m", 5400), ("12h", 43200), ("3d", 3 * DAY), ("2w", 14 * DAY), ("forever", None)],
    )
    def test_a_number_with_a_unit_or_forever_is_accepted(
        self, text: str, seconds: int | None
    ) -> None:
        assert networks.parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "3", "d", "0d", "-3d", "3 d", "3y", "3D", "1.5h", "٣d", "100000w", "3d\n"]
    )
    def test_any_other_text_is_refused(self, text: str) -> None:
        assert "is not a duration" in refusal_of(lambda: networks.parse_duration(text))

    def test_the_longest_duration_gives_a_valid_expiry(self) -> None:
        seconds = networks.parse_duration("99999w")
        entry = networks.make_allowance("192.0.2.7", None, None, seconds, NOW)
        assert allowance.decode(allowance.encode(entry)) == entry


class TestMakeAllowance:
    def test_the_default_label_is_the_day(self) -> None:
        entry = networks.make_allowance("198.51.100.7", None, None, 3600, NOW)
        assert (entry.cidr, entry.who, entry.expires) == ("198.51.100.7/32", "", int(NOW) + 3600)
        assert entry.label == "allowed on 2026-11-26"

    @pytest.mark.parametrize("cidr", ["0.0.0.0/0", "16.0.0.0/7", "::/0", "2000::/18"])
    def test_a_wide_range_is_refused_with_the_way_that_remains(self, cidr: str) -> None:
        message = refusal_of(lambda: networks.make_allowance(cidr, None, None, None, NOW))
        assert "is wider than /" in message
        assert "only KnownNetworks, which a deploy shows, can hold a wider one" in message
        (_, ranges) = message.split("--set KnownNetworks=")
        assert len(recognition.parse_list_strictly(ranges)) == 2

    def test_a_refusal_escapes_control_characters(self) -> None:
        message = refusal_of(lambda: networks.make_allowance("\x1b[2J", None, None, None, NOW))
        assert "allowance for" in message
        assert "\x1b" not in message


def offer(address: str) -> str:
    return networks.offer_own_address(lambda _: None, is_asked=True, find_address=lambda: address)


class TestOfferOwnAddress:
    def test_the_public_address_is_announced_and_returned(self) -> None:
        lines: list[str] = []
        address = "198.51.100.7"
        found = networks.offer_own_address(
            lines.append, is_asked=True, find_address=lambda: address
        )
        assert found == address
        assert lines == [f"Your address is {address}, according to {networks.ADDRESS_SERVICE}."]

    def test_no_address_is_taken_if_nobody_is_asked(self) -> None:
        def fail(*_: str) -> str:
            raise AssertionError

        assert "with --yes nobody is asked" in refusal_of(
            lambda: networks.offer_own_address(lambda _: None, is_asked=False, find_address=fail)
        )

    @pytest.mark.parametrize("address", ["10.0.0.1", "<html>\x1b", "", "198.51.100.7 198.51.100.8"])
    def test_only_a_public_address_is_offered(self, address: str) -> None:
        message = refusal_of(lambda: offer(address))
        assert "did not return a public address" in message
        assert "\x1b" not in message

    def test_aws_is_asked_over_tls_with_a_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        requests = {}

        @contextlib.contextmanager
        def respond(url: str, timeout: float) -> Iterator[io.BytesIO]:
            requests[url] = timeout
            yield io.BytesIO(b"198.51.100.7\n")

        monkeypatch.setattr(urllib.request, "urlopen", respond)
        assert networks.find_own_address() == "198.51.100.7"
        assert requests == {"https://checkip.amazonaws.com": 5.0}

    @pytest.mark.parametrize("error", [TimeoutError("timed out"), OSError("unreachable")])
    def test_an_address_service_that_does_not_answer_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(urllib.request, "urlopen", fail)
        assert f"did not return your address ({error})" in refusal_of(networks.find_own_address)


class TestAllow:
    def test_an_allowance_is_written_as_the_function_reads_it(self) -> None:
        aws = account_with()
        (line,) = networks.allow(aws, SETTINGS, HOTEL, NOW, confirm_all)
        assert stored(aws) == {f"{FOLDER}/{HOTEL.name}": allowance.encode(HOTEL)}
        assert line.startswith(
            "Allowed within a minute, without a deploy: 198.51.100.7/32  hotel in Oslo  for Anaya"
        )
        assert line.endswith(f"id {HOTEL.name}")

    def test_the_same_range_for_the_same_person_is_replaced(self) -> None:
        aws = account_with(HOTEL)
        networks.allow(
            aws,
            SETTINGS,
            allowance.make("198.51.100.7", "another hotel", "anaya"),
            NOW,
            confirm_all,
        )
        labels = [allowance.decode(value).label for value in stored(aws).values()]
        assert labels == ["another hotel"]
        networks.allow(aws, SETTINGS, allowance.make("198.51.100.7", "for all"), NOW, confirm_all)
        assert len(stored(aws)) == 2

    def test_a_private_range_needs_an_allowed_vpc_endpoint(self) -> None:
        private = allowance.make("10.1.0.0/16", "data centre")
        aws = account_with()
        assert "no VPC endpoint" in refusal_of(
            lambda: networks.allow(aws, SETTINGS, private, NOW, confirm_all)
        )
        assert stored(aws) == {}
        aws = account_with(parameters=WITH_ENDPOINT)
        networks.allow(aws, SETTINGS, private, NOW, confirm_all)
        assert len(stored(aws)) == 1

    def test_nothing_is_written_if_the_deployed_version_does_not_read_it(self) -> None:
        aws = account_with(parameters={"KnownNetworks": ""})
        assert "too old to read allowances" in refusal_of(
            lambda: networks.allow(aws, SETTINGS, HOTEL, NOW, confirm_all)
        )
        assert stored(aws) == {}

    def test_nothing_is_written_without_a_stack(self) -> None:
        aws = account(cloudformation=CloudFormation(), ssm=Parameters({}))
        assert "is not deployed" in refusal_of(
            lambda: networks.allow(aws, SETTINGS, HOTEL, NOW, confirm_all)
        )


def revoke(aws: Account, **flags: str) -> list[str]:
    selection: dict[str, Any] = {"cidr": None, "label": None, "id": None, **flags}
    networks.require_one_selection(**selection)
    return networks.revoke(aws, SETTINGS, NOW, confirm_all, **selection)


class TestRevoke:
    @pytest.mark.parametrize(
        "flags",
        [
            {"cidr": "198.51.100.7"},
            {"cidr": "198.51.100.7/32"},
            {"label": "hotel in Oslo"},
            {"id": HOTEL.name},
        ],
    )
    def test_only_the_selected_allowance_is_deleted(self, flags: dict[str, str]) -> None:
        aws = account_with(HOTEL, LAB)
        (line,) = revoke(aws, **flags)
        assert line.startswith("Revoked within a minute, without a deploy: 198.51.100.7/32")
        assert list(stored(aws)) == [f"{FOLDER}/{LAB.name}"]

    def test_a_range_is_revoked_for_all_people(self) -> None:
        for_all = allowance.make("198.51.100.7", "for all")
        wider = allowance.make("198.51.100.0/24", "wider")
        aws = account_with(HOTEL, for_all, wider)
        assert len(revoke(aws, cidr="198.51.100.7")) == 2
        assert len(stored(aws)) == 1

    def test_an_unusable_entry_is_revoked_by_its_id(self) -> None:
        aws = account_with(broken="{")
        (line,) = revoke(aws, id="broken")
        assert "UNUSABLE" in line
        assert stored(aws) == {}

    @pytest.mark.parametrize(
        "flags", [{"cidr": "203.0.113.0/24"}, {"label": "Hotel"}, {"id": ""}, {"label": ""}]
    )
    def test_a_selection_without_a_match_is_refused(self, flags: dict[str, str]) -> None:
        aws = account_with(HOTEL, broken="{")
        assert "nothing was changed" in refusal_of(lambda: revoke(aws, **flags))
        assert len(stored(aws)) == 2

    @pytest.mark.parametrize("flags", [{}, {"cidr": "198.51.100.7", "id": "x"}])
    def test_exactly_one_flag_is_required(self, flags: dict[str, str]) -> None:
        assert "takes exactly one of --cidr, --label, --id" in refusal_of(
            lambda: revoke(account_with(), **flags)
        )

    def test_an_allowance_that_is_already_deleted_counts_as_revoked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws = account_with(HOTEL)
        monkeypatch.setattr(aws.client("ssm"), "delete_parameter", failing("ParameterNotFound"))
        assert len(revoke(aws, id=HOTEL.name)) == 1

    def test_any_other_error_of_aws_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        aws = account_with(HOTEL)
        monkeypatch.setattr(aws.client("ssm"), "delete_parameter", failing("AccessDeniedException"))
        with pytest.raises(ClientError):
            revoke(aws, id=HOTEL.name)


def failing(code: str) -> Any:
    def fail(**_: Any) -> None:
        raise client_error(code)

    return fail


def check(address: str, who: str | None = None, **more: Any) -> tuple[list[str], bool]:
    return networks.check_address(load(HOTEL, LAB, EXPIRED, **more), address, who, NOW)


class TestCheckAddress:
    def test_the_matching_entry_is_named(self) -> None:
        assert check("203.0.113.7") == (
            ["203.0.113.7 is recognised by: KnownNetworks, 203.0.113.0/24"],
            True,
        )
        (line,), is_recognised = check("2001:db8::7")
        assert is_recognised
        assert line.startswith("2001:db8::7 is recognised by: 2001:db8::/48  lab")

    def test_all_matching_entries_are_named(self) -> None:
        loaded = load(allowance.make("203.0.113.7", "twice"))
        lines, is_recognised = networks.check_address(loaded, "203.0.113.7", None, NOW)
        assert is_recognised
        assert [line.partition("by: ")[2].split("  ")[0] for line in lines] == [
            "KnownNetworks, 203.0.113.0/24",
            "203.0.113.7/32",
        ]

    @pytest.mark.parametrize("address", ["192.0.2.7", "8.8.8.8"])
    def test_an_address_without_a_current_entry_is_not_recognised(self, address: str) -> None:
        assert check(address) == (
            [f"{address} is not recognised: a sign-in from it causes an alert."],
            False,
        )

    @pytest.mark.parametrize(
        ("who", "expected"), [("Anaya", True), ("ANAYA", True), ("Paulo", False), (None, False)]
    )
    def test_a_personal_allowance_recognises_only_that_person(
        self, who: str | None, expected: bool
    ) -> None:
        lines, is_recognised = check("198.51.100.7", who)
        assert is_recognised is expected
        has_hint = any(line.startswith("Only for another person or role") for line in lines)
        assert has_hint is not expected

    @pytest.mark.parametrize(
        ("parameters", "endpoints"), [(KNOWN, "none"), (WITH_ENDPOINT, "vpce-01234567")]
    )
    def test_a_private_address_alone_is_not_recognised(
        self, parameters: dict[str, str], endpoints: str
    ) -> None:
        lines, is_recognised = check("10.0.0.7", parameters=parameters)
        assert not is_recognised
        assert f"(allowed: {endpoints})" in lines[0]
        assert lines[1] == "Listed in: KnownNetworks, 10.0.0.0/8"

    @pytest.mark.parametrize("text", ["", "AWS Internal", "203.0.113.0/24", "203.0.113.7 ", "\x1b"])
    def test_a_text_that_is_not_one_address_is_refused(self, text: str) -> None:
        with pytest.raises(RefusedError, match="is not a single IP address") as refusal:
            networks.require_address(text)
        assert str(refusal.value).replace("\n", "").isprintable()
