"""Allowances on the live account: shown with what ends when, written if they are usable, taken back, asked about."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from signwatch.detection import allowance
from tests.support.aws import (
    ACCOUNT,
    REGION,
    STACK_ID,
    CloudFormation,
    Parameters,
    account,
    client_error,
)
from tests.support.refusals import refusal_of
from tooling.errors import RefusedError
from tooling.operate import networks
from tooling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signwatch.detection.allowance import Allowance
    from tooling.deploy.account import Account
    from tooling.operate.networks import Lists

NOW = 1_795_687_200.0  # 2026-11-26T10:00:00Z
DAY = 24 * 3600
SETTINGS = Settings(account=ACCOUNT, region=REGION, prefix="signwatch")
FOLDER = "/signwatch/networks"
KNOWN = {"KnownNetworks": "203.0.113.0/24, 10.0.0.0/8", "AllowedVpcEndpointIds": ""}
HOTEL = allowance.make("198.51.100.7", "hotel in Oslo", "Anaya", int(NOW) + 3 * DAY)
LAB = allowance.make("2001:db8::/48", "lab")
OVER = allowance.make("192.0.2.0/24", "fair", expires=int(NOW))


class Terminal(io.StringIO):
    """Standard input with a person at it."""

    def isatty(self) -> bool:
        return True


def opened(*there: Allowance, parameters: dict[str, str] = KNOWN, **more: str) -> Account:
    """An account with the deployed stack, these allowances, and more parameters below their folder."""
    stack = {
        "StackId": STACK_ID,
        "StackStatus": "CREATE_COMPLETE",
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
        "Outputs": [{"OutputKey": "FunctionName", "OutputValue": "signwatch-function"}],
        "Tags": [{"Key": "signwatch:prefix", "Value": "signwatch"}],
    }
    values = {f"{FOLDER}/{one.name}": allowance.encode(one) for one in there}
    values |= {f"{FOLDER}/{name}": value for name, value in more.items()}
    return account(cloudformation=CloudFormation(stack), ssm=Parameters(values))


def kept(aws: Account) -> dict[str, str]:
    values: dict[str, str] = aws.client("ssm").values
    return values


def lists(*there: Allowance, **more: Any) -> Lists:
    return networks.load(opened(*there, **more), SETTINGS)


class TestShowing:
    def test_both_lists_are_shown_with_what_ends_first_on_top(self) -> None:
        ending = f"until 2026-11-29T10:00:00Z, in 3 d 0 h  id {HOTEL.name}"
        assert networks.lines(lists(LAB, HOTEL, OVER), NOW) == [
            "KnownNetworks, changed by invoke deploy:",
            "  203.0.113.0/24",
            "  10.0.0.0/8",
            "Allowed for a time or a person, changed within a minute, without a deploy:",
            f"  192.0.2.0/24  fair  for everybody  EXPIRED at 2026-11-26T10:00:00Z, matches nothing  id {OVER.name}",
            f"  198.51.100.7/32  hotel in Oslo  for Anaya alone  {ending}",
            f"  2001:db8::/48  lab  for everybody  for ever  id {LAB.name}",
            "VPC endpoints that vouch for private addresses: none, so no private address is recognised",
        ]
        assert networks.is_sound(lists(LAB, HOTEL, OVER))

    def test_empty_lists_say_so(self) -> None:
        shown = networks.lines(lists(parameters={}), NOW)
        assert shown.count("  none") == 2
        assert (
            "  The deployed version does not read them: run invoke bootstrap and invoke deploy."
            in shown
        )

    def test_a_wide_one_is_marked(self) -> None:
        (shown,) = [
            line
            for line in networks.lines(lists(allowance.make("::/0", "all", wide=True)), NOW)
            if "all" in line
        ]
        assert shown.startswith("  ::/0  WIDE  all")

    @pytest.mark.parametrize("parameters", [KNOWN, {**KNOWN, "KnownNetworks": "0.0.0.0/0"}])
    def test_an_unusable_entry_of_either_list_is_told(self, parameters: dict[str, str]) -> None:
        broken = {} if "0.0.0.0/0" in parameters["KnownNetworks"] else {"broken": "{"}
        found = lists(LAB, parameters=parameters, **broken)
        assert sum("UNUSABLE" in line for line in networks.lines(found, NOW)) == 1
        assert not networks.is_sound(found)

    def test_nothing_that_a_stranger_wrote_is_shown_as_it_is(self) -> None:
        strange = {"cidr": "\x1b[31m\u202e", "label": "x", "who": None, "expires": None}
        found = lists(**{"x\x1b": json.dumps(strange)})
        assert all(line.isprintable() for line in networks.lines(found, NOW))

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [(59, "in 0 h 0 min"), (5400, "in 1 h 30 min"), (DAY + 7200, "in 1 d 2 h")],
    )
    def test_the_time_that_is_left_is_told_in_its_two_largest_units(
        self, seconds: int, told: str
    ) -> None:
        found = lists(allowance.make("192.0.2.7", "x", expires=int(NOW) + seconds))
        assert any(told in line for line in networks.lines(found, NOW))


class TestLength:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90m", 5400), ("12h", 43200), ("3d", 3 * DAY), ("2w", 14 * DAY), ("forever", None)],
    )
    def test_it_is_a_number_with_a_unit_or_forever(self, text: str, seconds: int | None) -> None:
        assert networks.parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "3", "d", "0d", "-3d", "3 d", "3y", "3D", "1.5h", "٣d", "100000w", "3d\n"]
    )
    def test_whatever_else_is_refused(self, text: str) -> None:
        assert "is no length of time" in refusal_of(lambda: networks.parse_duration(text))

    def test_the_longest_one_still_names_a_moment(self) -> None:
        one = networks.make_allowance(
            "192.0.2.7", None, None, networks.parse_duration("99999w"), NOW, wide=False
        )
        assert allowance.decode(allowance.encode(one)) == one


class TestWanting:
    def test_a_label_that_is_not_given_is_the_day(self) -> None:
        one = networks.make_allowance("198.51.100.7", None, None, 3600, NOW, wide=False)
        assert (one.cidr, one.label, one.who, one.expires) == (
            "198.51.100.7/32",
            "allowed on 2026-11-26",
            "",
            int(NOW) + 3600,
        )

    def test_a_wide_range_wants_a_person_who_insists(self) -> None:
        assert "--force-wide" in refusal_of(
            lambda: networks.make_allowance("0.0.0.0/0", None, None, None, NOW, wide=False)
        )
        assert networks.make_allowance("0.0.0.0/0", None, None, None, NOW, wide=True).wide

    def test_a_refusal_repeats_nothing_as_it_is(self) -> None:
        said = refusal_of(
            lambda: networks.make_allowance("\x1b[2J", None, None, None, NOW, wide=False)
        )
        assert "\x1b" not in said


class TestOffering:
    def test_the_address_that_the_internet_sees_is_offered_and_taken(self) -> None:
        asked: list[str] = []

        def yes(question: str) -> str:
            asked.append(question)
            return " Y "

        assert (
            networks.offer_own_address(Terminal(), ask=yes, look=lambda: "198.51.100.7")
            == "198.51.100.7"
        )
        assert "198.51.100.7" in asked[0]

    @pytest.mark.parametrize("answer", ["", "n", "no", "yess"])
    def test_whatever_is_not_a_yes_is_a_no(self, answer: str) -> None:
        said = refusal_of(
            lambda: networks.offer_own_address(
                Terminal(), ask=lambda _: answer, look=lambda: "198.51.100.7"
            )
        )
        assert "was not taken" in said

    def test_the_end_of_the_input_is_a_no(self) -> None:
        def gone(_: str) -> str:
            raise EOFError

        assert "was not taken" in refusal_of(
            lambda: networks.offer_own_address(Terminal(), ask=gone, look=lambda: "198.51.100.7")
        )

    def test_nobody_is_asked_where_there_is_no_terminal(self) -> None:
        def never(*_: str) -> str:
            raise AssertionError

        assert "no terminal" in refusal_of(
            lambda: networks.offer_own_address(io.StringIO(), ask=never, look=never)
        )

    @pytest.mark.parametrize("told", ["10.0.0.1", "<html>\x1b", "", "198.51.100.7 198.51.100.8"])
    def test_what_is_no_public_address_is_not_offered(self, told: str) -> None:
        said = refusal_of(
            lambda: networks.offer_own_address(Terminal(), ask=lambda _: "y", look=lambda: told)
        )
        assert "told no public address" in said
        assert "\x1b" not in said

    def test_it_is_asked_of_aws_over_tls_with_a_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = {}

        @contextlib.contextmanager
        def answer(url: str, timeout: float) -> Iterator[io.BytesIO]:
            asked[url] = timeout
            yield io.BytesIO(b"198.51.100.7\n")

        monkeypatch.setattr(urllib.request, "urlopen", answer)
        assert networks.find_own_address() == "198.51.100.7"
        assert asked == {"https://checkip.amazonaws.com": 5.0}

    @pytest.mark.parametrize("error", [TimeoutError("timed out"), OSError("unreachable")])
    def test_a_mirror_that_does_not_answer_is_a_sentence(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(urllib.request, "urlopen", fails)
        assert f"did not tell your address ({error})" in refusal_of(networks.find_own_address)


class TestAllowing:
    def test_what_is_allowed_is_what_the_function_reads(self) -> None:
        aws = opened()
        (told,) = networks.allow(aws, SETTINGS, HOTEL, NOW)
        assert kept(aws) == {f"{FOLDER}/{HOTEL.name}": allowance.encode(HOTEL)}
        assert told.startswith(
            "Allowed within a minute, without a deploy: 198.51.100.7/32  hotel in Oslo  for Anaya"
        )
        assert told.endswith(f"id {HOTEL.name}")

    def test_the_same_range_for_the_same_person_is_written_over(self) -> None:
        aws = opened(HOTEL)
        networks.allow(aws, SETTINGS, allowance.make("198.51.100.7", "another hotel", "anaya"), NOW)
        assert [allowance.decode(value).label for value in kept(aws).values()] == ["another hotel"]
        networks.allow(aws, SETTINGS, allowance.make("198.51.100.7", "for all"), NOW)
        assert len(kept(aws)) == 2

    def test_a_private_range_wants_an_endpoint_that_vouches_for_it(self) -> None:
        inner = allowance.make("10.1.0.0/16", "data centre")
        aws = opened()
        assert "no VPC endpoint" in refusal_of(lambda: networks.allow(aws, SETTINGS, inner, NOW))
        assert kept(aws) == {}
        aws = opened(parameters={**KNOWN, "AllowedVpcEndpointIds": "vpce-01234567"})
        networks.allow(aws, SETTINGS, inner, NOW)
        assert len(kept(aws)) == 1

    def test_a_stack_that_would_not_read_it_is_deployed_first(self) -> None:
        aws = opened(parameters={"KnownNetworks": ""})
        assert "does not read allowances" in refusal_of(
            lambda: networks.allow(aws, SETTINGS, HOTEL, NOW)
        )
        assert kept(aws) == {}

    def test_without_a_stack_nothing_is_written(self) -> None:
        aws = account(cloudformation=CloudFormation(), ssm=Parameters({}))
        assert "is not deployed" in refusal_of(lambda: networks.allow(aws, SETTINGS, HOTEL, NOW))


def revoked(aws: Account, **flags: str) -> list[str]:
    given: dict[str, Any] = {"cidr": None, "label": None, "id": None, **flags}
    networks.refuse_vague(**given)
    return networks.revoke(aws, SETTINGS, NOW, **given)


class TestRevoking:
    @pytest.mark.parametrize(
        "flags",
        [
            {"cidr": "198.51.100.7"},
            {"cidr": "198.51.100.7/32"},
            {"label": "hotel in Oslo"},
            {"id": HOTEL.name},
        ],
    )
    def test_what_is_named_goes_and_nothing_else(self, flags: dict[str, str]) -> None:
        aws = opened(HOTEL, LAB)
        (told,) = revoked(aws, **flags)
        assert told.startswith("Revoked within a minute, without a deploy: 198.51.100.7/32")
        assert list(kept(aws)) == [f"{FOLDER}/{LAB.name}"]

    def test_a_range_goes_for_everybody_whom_it_was_allowed(self) -> None:
        aws = opened(
            HOTEL,
            allowance.make("198.51.100.7", "for all"),
            allowance.make("198.51.100.0/24", "wider"),
        )
        assert len(revoked(aws, cidr="198.51.100.7")) == 2
        assert len(kept(aws)) == 1

    def test_an_unusable_one_goes_by_its_id(self) -> None:
        aws = opened(broken="{")
        (told,) = revoked(aws, id="broken")
        assert "UNUSABLE" in told
        assert kept(aws) == {}

    @pytest.mark.parametrize(
        "flags", [{"cidr": "203.0.113.0/24"}, {"label": "Hotel"}, {"id": ""}, {"label": ""}]
    )
    def test_what_is_not_there_is_refused(self, flags: dict[str, str]) -> None:
        aws = opened(HOTEL, broken="{")
        assert "nothing was changed" in refusal_of(lambda: revoked(aws, **flags))
        assert len(kept(aws)) == 2

    @pytest.mark.parametrize("flags", [{}, {"cidr": "198.51.100.7", "id": "x"}])
    def test_exactly_one_thing_says_what_goes(self, flags: dict[str, str]) -> None:
        assert "takes exactly one of --cidr, --label, --id" in refusal_of(
            lambda: revoked(opened(), **flags)
        )

    def test_what_somebody_else_took_back_meanwhile_is_gone_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws = opened(HOTEL)
        monkeypatch.setattr(aws.client("ssm"), "delete_parameter", gone("ParameterNotFound"))
        assert len(revoked(aws, id=HOTEL.name)) == 1

    def test_another_fault_is_no_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        aws = opened(HOTEL)
        monkeypatch.setattr(aws.client("ssm"), "delete_parameter", gone("AccessDeniedException"))
        with pytest.raises(ClientError):
            revoked(aws, id=HOTEL.name)


def gone(code: str) -> Any:
    def fails(**_: Any) -> None:
        raise client_error(code)

    return fails


def judged(address: str, who: str | None = None, **more: Any) -> tuple[list[str], bool]:
    return networks.judge(lists(HOTEL, LAB, OVER, **more), address, who, NOW)


class TestChecking:
    def test_the_entry_that_recognises_is_named(self) -> None:
        assert judged("203.0.113.7") == (
            ["203.0.113.7 is recognised by: KnownNetworks, 203.0.113.0/24"],
            True,
        )
        (told,), passed = judged("2001:db8::7")
        assert passed
        assert told.startswith("2001:db8::7 is recognised by: 2001:db8::/48  lab")

    def test_each_entry_that_recognises_is_named(self) -> None:
        told, passed = networks.judge(
            lists(allowance.make("203.0.113.7", "twice")), "203.0.113.7", None, NOW
        )
        assert passed
        assert [line.partition("by: ")[2].split("  ")[0] for line in told] == [
            "KnownNetworks, 203.0.113.0/24",
            "203.0.113.7/32",
        ]

    @pytest.mark.parametrize("address", ["192.0.2.7", "8.8.8.8"])
    def test_what_no_entry_or_an_expired_one_holds_is_not_recognised(self, address: str) -> None:
        assert judged(address) == (
            [f"{address} is not recognised: a sign-in from there alerts."],
            False,
        )

    @pytest.mark.parametrize(
        ("who", "passed"), [("Anaya", True), ("ANAYA", True), ("Paulo", False), (None, False)]
    )
    def test_a_personal_one_recognises_that_person_alone(
        self, who: str | None, passed: bool
    ) -> None:
        told, found = judged("198.51.100.7", who)
        assert found is passed
        assert (
            any(line.startswith("Only for another person or role") for line in told) is not passed
        )

    @pytest.mark.parametrize("endpoints", ["", "vpce-01234567"])
    def test_a_private_address_is_not_recognised_by_itself(self, endpoints: str) -> None:
        told, passed = judged("10.0.0.7", parameters={**KNOWN, "AllowedVpcEndpointIds": endpoints})
        assert not passed
        assert (endpoints or "of which there is none") in told[0]
        assert told[1] == "Listed in: KnownNetworks, 10.0.0.0/8"

    @pytest.mark.parametrize("text", ["", "AWS Internal", "203.0.113.0/24", "203.0.113.7 ", "\x1b"])
    def test_what_is_not_one_address_is_refused(self, text: str) -> None:
        with pytest.raises(RefusedError, match="is not one address") as refused:
            networks.refuse_no_address(text)
        assert str(refused.value).replace("\n", "").isprintable()
