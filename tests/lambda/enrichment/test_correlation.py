"""Correlation: how earlier events adjust a verdict, and that a failing table silences nothing."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting.delivery import DeliveryError
from signwatch.pipeline import process
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

PORTAL = "identity-center-user-signs-in-with-totp"
DEVICE_CODE = "command-line-gets-a-token-by-device-code"
DAY_SECONDS = 86_400


def at(clock: str) -> str:
    """Return a time of the day on which the tests take place."""
    return f"2026-11-26T{clock}Z"


@pytest.fixture(autouse=True)
def _no_texts(world: World) -> None:
    world.secrets.text = None


def make_event(name: str, event_id: str = "event-1", **detail: Any) -> dict[str, Any]:
    record: dict[str, Any] = event(name)
    record["detail"] |= {"eventID": event_id, **detail}
    return record


def decide(
    world: World, record: object, capsys: pytest.CaptureFixture[str], place: str = "recognised"
) -> dict[str, Any]:
    """Process an event and return the log line of its decision."""
    process(record, world.dependencies(known_networks=NETWORKS[place]))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return dict(next(line for line in lines if "verdict" in line))


class TestDeviceCode:
    @pytest.mark.parametrize(
        ("address", "verdict", "reason"),
        [
            ("203.0.113.10", "note", "device code"),
            ("203.0.113.11", "note", "device code elsewhere"),
            ("2001:db8::11", "note", "device code elsewhere"),
            ("192.0.2.11", "alert", "device code elsewhere"),
        ],
    )
    def test_device_code_is_compared_with_the_portal_sign_in(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        address: str,
        verdict: str,
        reason: str,
    ) -> None:
        decide(world, make_event(PORTAL, sourceIPAddress="203.0.113.10"), capsys)
        line = decide(world, make_event(DEVICE_CODE, "event-2", sourceIPAddress=address), capsys)
        assert (line["verdict"], line["reasons"][0]) == (verdict, reason)

    @pytest.mark.parametrize(
        ("approved_at", "address", "code_address", "verdict"),
        [
            ("2026-11-26T09:58:00Z", "203.0.113.66", "192.0.2.10", "alert"),
            ("2026-11-26T09:58:00Z", "203.0.113.66", "203.0.113.10", "note"),
            ("2026-11-26T09:58:00Z", "203.0.113.10", "203.0.113.10", "recognised"),
            ("2026-11-26T09:59:30Z", "203.0.113.66", "192.0.2.10", "recognised"),
        ],
        ids=["from elsewhere", "both recognised", "from the same address", "after the code"],
    )
    def test_approval_that_arrives_after_its_device_code_is_compared(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        approved_at: str,
        address: str,
        code_address: str,
        verdict: str,
    ) -> None:
        code = make_event(
            DEVICE_CODE, "event-2", sourceIPAddress=code_address, eventTime="2026-11-26T09:59:00Z"
        )
        decide(world, code, capsys)
        line = decide(
            world, make_event(PORTAL, sourceIPAddress=address, eventTime=approved_at), capsys
        )
        assert line["verdict"] == verdict
        is_elsewhere = line["reasons"][0] == "device code elsewhere"
        assert is_elsewhere is (verdict in ("alert", "note"))

    def test_late_older_approval_does_not_replace_a_newer_one(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for at, address in (
            ("2026-11-26T09:58:00Z", "203.0.113.10"),
            ("2026-11-26T03:00:00Z", "203.0.113.66"),
        ):
            decide(world, make_event(PORTAL, sourceIPAddress=address, eventTime=at), capsys)
        code = make_event(
            DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.66", eventTime="2026-11-26T09:59:00Z"
        )
        assert decide(world, code, capsys)["reasons"][0] == "device code elsewhere"

    def test_two_approvals_at_once_are_both_stored(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """While the later one is stored, the earlier one is, too."""
        put_item, nested = world.table.put_item, list[str]()

        def interrupt(**request: Any) -> None:
            if not nested and request["Item"]["alert"]["S"].startswith("kept#"):
                nested.append("earlier")
                earlier = make_event(
                    PORTAL, "earlier", sourceIPAddress="203.0.113.66", eventTime=at("09:57:00")
                )
                process(earlier, world.dependencies(known_networks=NETWORKS["recognised"]))
            put_item(**request)

        world.table.put_item = interrupt  # type: ignore[method-assign] # the race
        later = make_event(
            PORTAL, "later", sourceIPAddress="203.0.113.10", eventTime=at("09:59:00")
        )
        decide(world, later, capsys)
        code = make_event(
            DEVICE_CODE, "code", sourceIPAddress="203.0.113.10", eventTime=at("09:58:00")
        )
        assert decide(world, code, capsys)["reasons"][0] == "device code elsewhere"

    def test_second_of_two_approvals_in_one_second_counts(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, address in enumerate(("203.0.113.66", "203.0.113.10")):
            decide(world, make_event(PORTAL, f"portal-{number}", sourceIPAddress=address), capsys)
        code = make_event(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10")
        assert decide(world, code, capsys)["reasons"][0] == "device code"

    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    def test_pairs_are_compared_by_their_own_times_in_any_order(
        self, world: World, capsys: pytest.CaptureFixture[str], order: tuple[int, ...]
    ) -> None:
        """The first code is approved from elsewhere, the second from its own address."""
        events = [
            make_event(PORTAL, "p-1", sourceIPAddress="192.0.2.1", eventTime=at("09:58:00")),
            make_event(DEVICE_CODE, "c-1", sourceIPAddress="203.0.113.1", eventTime=at("09:59:00")),
            make_event(PORTAL, "p-2", sourceIPAddress="203.0.113.2", eventTime=at("09:59:30")),
            make_event(DEVICE_CODE, "c-2", sourceIPAddress="203.0.113.2", eventTime=at("09:59:40")),
        ]

        def decide_all() -> dict[str, str]:
            in_order = [events[number] for number in order]
            return {
                record["detail"]["eventID"]: decide(world, record, capsys)["reasons"][0]
                for record in in_order
            }

        reasons = decide_all()
        assert decide_all() == reasons  # a repeated event, as by the trail, gets the same answer
        loud = {name for name, reason in reasons.items() if reason.startswith("device code,")}
        loud |= {name for name, reason in reasons.items() if reason == "device code elsewhere"}
        assert loud & {"p-1", "c-1"}
        if order.index(2) < min(order.index(0), order.index(3)):
            assert not loud & {"p-2", "c-2"}
        if order == (0, 1, 2, 3):
            assert loud == {"c-1"}

    def test_only_a_later_portal_sign_in_leaves_the_approval_unknown(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        portal = make_event(PORTAL, sourceIPAddress="203.0.113.10", eventTime=at("09:59:30"))
        decide(world, portal, capsys)
        code = make_event(
            DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10", eventTime=at("09:59:00")
        )
        assert decide(world, code, capsys)["reasons"][0] == "device code, its approval unknown"

    @pytest.mark.parametrize(("seconds", "verdict"), [(86_399, "alert"), (86_400, "note")])
    def test_approval_counts_for_a_day(
        self, world: World, capsys: pytest.CaptureFixture[str], seconds: int, verdict: str
    ) -> None:
        decide(world, make_event(PORTAL, sourceIPAddress="192.0.2.66"), capsys)
        world.now += seconds
        code = make_event(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10")
        assert decide(world, code, capsys)["verdict"] == verdict

    @pytest.mark.parametrize(("seconds", "verdict"), [(86_399, "alert"), (86_400, "recognised")])
    def test_device_code_counts_for_a_day(
        self, world: World, capsys: pytest.CaptureFixture[str], seconds: int, verdict: str
    ) -> None:
        decide(world, make_event(DEVICE_CODE, "event-2", sourceIPAddress="192.0.2.10"), capsys)
        world.now += seconds
        assert (
            decide(world, make_event(PORTAL, sourceIPAddress="203.0.113.66"), capsys)["verdict"]
            == verdict
        )

    @pytest.mark.parametrize(
        ("portal_source", "is_elsewhere"), [("AWS Internal", False), ("another.example", True)]
    )
    def test_sources_that_are_no_addresses_are_compared_too(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        portal_source: str,
        *,
        is_elsewhere: bool,
    ) -> None:
        decide(world, make_event(PORTAL, sourceIPAddress=portal_source), capsys)
        code = make_event(DEVICE_CODE, "event-2", sourceIPAddress="AWS Internal")
        line = decide(world, code, capsys)
        assert (line["reasons"][0] == "device code elsewhere") is is_elsewhere

    def test_device_code_in_the_second_of_its_approval_is_compared(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each of the two has the time of the case file."""
        decide(world, make_event(DEVICE_CODE, "event-2", sourceIPAddress="192.0.2.10"), capsys)
        line = decide(world, make_event(PORTAL, sourceIPAddress="203.0.113.66"), capsys)
        assert line["reasons"][0] == "device code elsewhere"

    def test_ipv4_mapped_address_equals_its_ipv4_address(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event(PORTAL, sourceIPAddress="::ffff:203.0.113.10"), capsys)
        line = decide(
            world, make_event(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10"), capsys
        )
        assert line["reasons"][0] == "device code"

    def test_portal_sign_in_of_another_person_is_not_compared(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sign_in = make_event(PORTAL, sourceIPAddress="203.0.113.99")
        sign_in["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
        decide(world, sign_in, capsys)
        line = decide(
            world, make_event(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10"), capsys
        )
        assert line["reasons"][0] == "device code"

    @pytest.mark.parametrize("fault", ["get_item", "nobody"])
    def test_alert_says_approval_unknown_if_it_cannot_be_compared(
        self, world: World, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        code = make_event(DEVICE_CODE, sourceIPAddress="203.0.113.10")
        if fault == "nobody":
            del code["detail"]["userIdentity"]["onBehalfOf"]
        world.table.fails = {fault}
        assert decide(world, code, capsys)["reasons"][0] == "device code, its approval unknown"

    def test_portal_sign_in_without_a_device_code_logs_no_failure(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process(make_event(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["verdict"] == "recognised"

    def test_portal_sign_in_is_judged_as_usual_if_the_table_fails(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.missing = {"dynamodb"}
        process(make_event(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
        failure, decision = map(json.loads, capsys.readouterr().out.splitlines())
        assert (failure["problem"], failure["event_id"]) == ("state", "event-1")
        assert decision["verdict"] == "recognised"
        assert decide(world, make_event(PORTAL), capsys, "anywhere")["verdict"] == "alert"


class TestFailures:
    def test_third_failure_is_texted_and_the_second_is_only_counted(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        is_texted = []
        names = ("iam-user-fails", "unknown-kind-of-user-fails", "identity-center-factor-is-wrong")
        for number, name in enumerate(names):
            failure = make_event(
                name,
                f"event-{number}",
                recipientAccountId="111122223333",
                eventTime="2026-11-26T09:59:00Z",
            )
            line = decide(world, failure, capsys, "anywhere")
            verdict = "note" if number == 1 else "alert"
            assert (line["verdict"], line["grouped"]) == (verdict, "failures")
            if number:
                assert line["reasons"][-1] == f"{number + 1} failed sign-ins within 1 h"
            is_texted.append("get_secret_value" in world.secrets.calls)
        assert is_texted == [False, False, True]
        assert len(world.topic.emails) == 2

    def test_first_failure_of_root_is_texted_even_after_others_failed(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        user_failure = make_event("iam-user-fails", "event-0", eventTime="2026-11-26T09:59:00Z")
        decide(world, user_failure, capsys, "anywhere")
        secret_reads = []
        for number in (1, 2, 3):
            world.secrets.calls.clear()
            failure = make_event("root-fails", f"event-{number}", eventTime="2026-11-26T09:59:00Z")
            decide(world, failure, capsys)
            secret_reads.append(len(world.secrets.calls))
        assert secret_reads == [1, 0, 1]

    def test_first_failure_of_root_is_texted_if_retried_after_the_second(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = make_event("root-fails", "event-1", eventTime="2026-11-26T09:59:00Z")
        second = make_event("root-fails", "event-2", eventTime="2026-11-26T09:59:01Z")
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError):
            process(first, world.dependencies())
        world.topic.fails = set()
        assert process(second, world.dependencies())["verdict"] == "note"
        capsys.readouterr()
        world.secrets.calls.clear()
        world.now += 60  # the lease of the first delivery has ended
        decide(world, first, capsys)
        assert world.secrets.calls == ["get_secret_value"]

    def test_alert_by_email_alone_does_not_count_as_fallback(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process(make_event("iam-user-fails"), world.dependencies())
        assert "FallbackUsed" not in capsys.readouterr().out

    def test_failure_without_a_time_counts_as_of_now(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in (1, 2):
            failure = make_event("iam-user-fails", f"event-{number}", eventTime="soon")
            failure["time"] = ""
            line = decide(world, failure, capsys, "anywhere")
        assert line["reasons"][-1] == "2 failed sign-ins within 1 h"

    def test_failures_without_an_id_are_counted_by_their_content(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        times = (at("10:00:00"), at("10:00:01"), at("10:00:01"))  # the last is a retry
        for time in times:
            failure = make_event("iam-user-fails", "", eventTime=time) | {"id": ""}
            line = decide(world, failure, capsys, "anywhere")
        assert line["reasons"][-1] == "2 failed sign-ins within 1 h"

    def test_failure_is_texted_if_the_table_fails(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.table.fails = {"update_item"}
        process(make_event("iam-user-fails"), world.dependencies())
        failure, decision, *_ = map(json.loads, capsys.readouterr().out.splitlines())
        assert (failure["problem"], failure["event_id"]) == ("state", "event-1")
        assert decision["verdict"] == "alert"
        assert world.secrets.calls == ["get_secret_value"]


class TestSessionUse:
    """A refreshed token from an unrecognised network, and where the person last signed in."""

    SIGN_IN = "command-line-gets-a-token-by-authorization-code"
    REFRESH = "command-line-refreshes-its-token"

    @staticmethod
    def refresh(event_id: str = "event-2", source: str = "192.0.2.66") -> dict[str, Any]:
        return make_event(TestSessionUse.REFRESH, event_id, sourceIPAddress=source)

    def test_it_is_mailed_once_a_day_and_not_texted(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = decide(world, self.refresh(), capsys)
        assert (line["verdict"], line["kind"]) == ("alert", "Token refreshed")
        assert line["reasons"] == ["session used elsewhere", "unrecognised source"]
        assert decide(world, self.refresh("event-3", "192.0.2.7"), capsys)["verdict"] == "note"
        assert len(world.topic.emails) == 1
        assert world.secrets.calls == []
        decide(world, self.refresh("event-4", "192.0.3.7"), capsys)
        world.now += DAY_SECONDS + 1
        decide(world, self.refresh("event-5"), capsys)
        assert len(world.topic.emails) == 3

    def test_it_is_texted_if_alert_on_names_it(self, world: World) -> None:
        process(self.refresh(), world.dependencies(alert_on="session-used-elsewhere"))
        assert world.secrets.calls == ["get_secret_value"]

    @pytest.mark.parametrize(
        ("signed_in_at", "used_at", "verdict"),
        [
            ("192.0.2.66", "192.0.2.66", "note"),
            ("192.0.2.66", "192.0.2.1", "note"),
            ("2001:db9:1:2::1", "2001:db9:1:2::9", "note"),
            ("192.0.2.66", "192.0.3.66", "alert"),
            ("203.0.113.10", "192.0.2.66", "alert"),
        ],
        ids=["same address", "same site", "same IPv6 site", "elsewhere", "recognised before"],
    )
    def test_it_is_noted_at_the_site_of_the_last_sign_in(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        signed_in_at: str,
        used_at: str,
        verdict: str,
    ) -> None:
        decide(world, make_event(self.SIGN_IN, sourceIPAddress=signed_in_at), capsys)
        world.now += 89 * DAY_SECONDS
        line = decide(world, self.refresh(source=used_at), capsys)
        assert line["verdict"] == verdict
        is_noted = line["reasons"][-1] == "where the person last signed in"
        assert is_noted is (verdict == "note")

    def test_person_is_known_by_the_id_if_only_the_sign_in_has_a_name(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = "identity-center-user-signs-in-through-a-provider"
        sign_in = decide(world, make_event(name, sourceIPAddress="192.0.2.66"), capsys)
        assert (sign_in["who"], sign_in["verdict"]) == ("jdoe@example.com", "alert")
        assert decide(world, self.refresh(), capsys)["verdict"] == "note"

    def test_another_vpc_endpoint_is_another_site(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event(self.SIGN_IN, sourceIPAddress="192.0.2.66"), capsys)
        refresh = self.refresh()
        refresh["detail"]["vpcEndpointId"] = "vpce-0123456789abcdef0"
        assert decide(world, refresh, capsys)["verdict"] == "alert"

    def test_sign_in_that_nobody_was_told_about_does_not_count(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError):
            process(make_event(self.SIGN_IN, sourceIPAddress="192.0.2.66"), world.dependencies())
        world.topic.fails = set()
        capsys.readouterr()
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"

    def test_sign_in_of_another_person_does_not_count(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sign_in = make_event(self.SIGN_IN, sourceIPAddress="192.0.2.66")
        sign_in["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
        decide(world, sign_in, capsys)
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"

    def test_it_is_noted_until_the_longest_session_ends(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event(self.SIGN_IN, sourceIPAddress="192.0.2.66"), capsys)
        world.now += 90 * DAY_SECONDS - 1
        assert decide(world, self.refresh(), capsys)["verdict"] == "note"
        world.now += 1
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"

    @pytest.mark.parametrize("sign_in", ["federated-user-signs-in", "aws-login-gets-a-token"])
    def test_session_of_a_federated_user_or_of_aws_login_is_noted_at_its_site(
        self, world: World, capsys: pytest.CaptureFixture[str], sign_in: str
    ) -> None:
        use = "aws-login-refreshes-its-token"
        if sign_in == "federated-user-signs-in":
            use = "console-link-is-made-with-stolen-role-keys"
        decide(world, make_event(sign_in), capsys, "anywhere")
        world.now += 2 * DAY_SECONDS
        assert decide(world, make_event(use, "event-2"), capsys, "anywhere")["verdict"] == "note"

    def test_session_of_an_iam_user_of_aws_login_is_noted_at_its_site(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        verdicts = []
        for number, name in enumerate(("aws-login-gets-a-token", "aws-login-refreshes-its-token")):
            record = make_event(name, f"event-{number}")
            arn = "arn:aws:iam::111122223333:user/Anaya"
            record["detail"]["userIdentity"] = {"type": "IAMUser", "arn": arn, "userName": "Anaya"}
            verdicts.append(decide(world, record, capsys, "anywhere")["verdict"])
        assert verdicts == ["alert", "note"]

    def test_session_of_another_federated_user_is_not_noted(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event("federated-user-signs-in"), capsys, "anywhere")
        use = make_event("console-link-is-made-with-stolen-role-keys", "event-2")
        arn = use["detail"]["userIdentity"]["arn"]
        use["detail"]["userIdentity"]["arn"] = arn.replace("jdoe@", "another@")
        line = decide(world, use, capsys, "anywhere")
        assert (line["who"], line["verdict"]) == ("another@example.com", "alert")

    def test_iam_users_console_sign_in_opens_no_such_session(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event("iam-user-signs-in-with-mfa"), capsys, "anywhere")
        # The ledger's entry, the text among those of the hour, and that it was granted.
        assert world.table.calls.count("put_item") == 3

    def test_sign_in_of_an_unknown_person_does_not_count(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sign_in = "identity-center-hides-the-user-name"
        decide(world, make_event(sign_in, sourceIPAddress="192.0.2.66"), capsys)
        refresh = self.refresh()
        del refresh["detail"]["userIdentity"]["onBehalfOf"]
        assert decide(world, refresh, capsys)["verdict"] == "alert"

    def test_failed_sign_in_does_not_count(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        failure = make_event("identity-center-factor-is-wrong", sourceIPAddress="192.0.2.66")
        assert decide(world, failure, capsys)["verdict"] == "alert"
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"

    def test_alert_from_a_recognised_address_makes_no_site_known(self, world: World) -> None:
        """One address of the site is recognised; the others are not."""
        known = world.dependencies(known_networks="203.0.113.10/32")
        process(make_event(PORTAL, sourceIPAddress="192.0.2.66"), known)
        code = make_event(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10")
        assert process(code, known)["verdict"] == "alert"
        refresh = self.refresh("event-3", "203.0.113.11")
        assert process(refresh, known)["verdict"] == "alert"

    def test_its_own_alert_is_no_sign_in(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, self.refresh("event-1"), capsys)
        world.now += DAY_SECONDS + 1
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"

    def test_it_makes_no_aws_client_from_a_recognised_network(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert decide(world, self.refresh(source="203.0.113.10"), capsys)["verdict"] == "recognised"
        assert world.clients == []

    @pytest.mark.parametrize("fault", ["get_item", "put_item"])
    def test_it_is_mailed_if_the_table_fails(
        self, world: World, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        world.table.fails = {fault}
        assert decide(world, self.refresh(), capsys)["verdict"] == "alert"
        assert len(world.topic.emails) == 1


class TestConsoleLink:
    def sign_in_after_link(
        self, world: World, capsys: pytest.CaptureFixture[str], **identity: str
    ) -> dict[str, Any]:
        link = decide(world, make_event("console-session-is-prepared"), capsys, "anywhere")
        assert link["reasons"] == ["console link", "unrecognised source"]
        sign_in = make_event("federated-user-signs-in", "event-2")
        sign_in["detail"]["userIdentity"] |= identity
        return decide(world, sign_in, capsys, "anywhere")

    def test_console_sign_in_after_a_console_link_is_linked_and_alerts(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = self.sign_in_after_link(world, capsys)
        assert (line["verdict"], line["grouped"]) == ("alert", "linked")
        assert line["reasons"] == ["unrecognised source", "after a console link"]
        assert len(world.topic.emails) == 2

    def test_console_sign_in_of_another_person_is_not_linked(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = self.sign_in_after_link(
            world, capsys, arn="arn:aws:sts::111122223333:assumed-role/SamlAdmin/another"
        )
        assert (line["grouped"], line["reasons"]) == ("", ["unrecognised source"])

    @pytest.mark.parametrize(("seconds", "grouped"), [(899, "linked"), (900, "")])
    def test_console_link_counts_for_a_quarter_of_an_hour(
        self, world: World, capsys: pytest.CaptureFixture[str], seconds: int, grouped: str
    ) -> None:
        """By the times of the events: the trail may bring the link minutes later."""
        link_at, sign_in_at = at("09:00:00"), at(f"09:{seconds // 60:02}:{seconds % 60:02}")
        link = make_event("console-session-is-prepared", eventTime=link_at)
        sign_in = make_event("federated-user-signs-in", "event-2", eventTime=sign_in_at)
        decide(world, link, capsys, "anywhere")
        world.now += 3600
        decide(world, link, capsys, "anywhere")
        assert decide(world, sign_in, capsys, "anywhere")["grouped"] == grouped

    def test_sign_in_on_another_path_is_not_linked(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decide(world, make_event("console-session-is-prepared"), capsys, "anywhere")
        sign_in = make_event("federated-user-takes-a-role-by-saml", "event-2")
        line = decide(world, sign_in, capsys, "anywhere")
        assert (line["grouped"], line["reasons"]) == ("", ["unrecognised source"])


def without_mfa(event_id: str) -> dict[str, Any]:
    return make_event("iam-user-signs-in-without-mfa", event_id)


def test_second_sign_in_of_a_day_is_only_logged(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert process(without_mfa("event-2"), known)["verdict"] == "note"
    assert len(world.topic.emails) == 1


def test_alert_is_sent_if_the_table_fails(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.table.fails = {"put_item"}
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for event_id in ("event-1", "event-2"):
        assert process(without_mfa(event_id), known)["verdict"] == "alert"
    assert len(world.topic.emails) == 2
    assert '"problem": "state"' in capsys.readouterr().out


def test_second_alert_is_sent_after_a_day(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    process(without_mfa("event-1"), known)
    for seconds, verdict in ((86_399, "note"), (1, "alert")):
        world.now += seconds
        assert process(without_mfa("event-2"), known)["verdict"] == verdict


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("iam-user-signs-in-without-mfa", "203.0.113.10"),
        ("command-line-gets-a-token-by-authorization-code", "192.0.2.66"),
    ],
)
def test_failed_record_of_an_alert_is_logged(
    world: World, capsys: pytest.CaptureFixture[str], name: str, source: str
) -> None:
    """The claim and the ledger's entry have a condition; the record and the site have none.

    Nor has what is stored about the event itself: what it was granted, or that it opened a group.
    """
    put_item = world.table.put_item

    def put_claims_only(**request: Any) -> None:
        world.table.fails = set() if request.get("ConditionExpression") else {"put_item"}
        put_item(**request)

    world.table.put_item = put_claims_only  # type: ignore[method-assign] # only records fail
    sign_in = make_event(name, sourceIPAddress=source)
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failures = [line for line in lines if line.get("problem") == "state"]
    failure = {"level": "ERROR", "event_id": "event-1", "problem": "state"}
    expected = [{**failure, "error": "AccessDeniedError"}] * 2
    assert failures == expected
    assert len(world.topic.emails) == 1


def test_alert_that_reached_nobody_suppresses_no_other(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        process(without_mfa("event-1"), known)
    world.topic.fails = set()
    assert process(without_mfa("event-2"), known)["verdict"] == "alert"
    assert process(without_mfa("event-3"), known)["verdict"] == "note"


def test_alert_that_reached_somebody_suppresses_the_next(world: World) -> None:
    """The texts fail and are tried again, but the e-mail was sent."""
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    world.secrets.text, world.secrets.fails = "{}", {"get_secret_value"}
    with pytest.raises(DeliveryError):
        process(without_mfa("event-1"), known)
    assert len(world.topic.emails) == 1
    assert process(without_mfa("event-2"), known)["verdict"] == "note"
    with pytest.raises(DeliveryError):  # the retry of the first one goes on
        process(without_mfa("event-1"), known)


class TestAlertThatIsBeingDelivered:
    """A claim alone suppresses nothing for good: its alert may reach nobody."""

    @pytest.fixture(autouse=True)
    def _claim(self, world: World) -> None:
        """Crash while the alert of event-1 is being delivered."""
        world.topic.fails = {"publish"}
        world.table.fails = set()
        put_item = world.table.put_item

        def put_claims_only(**request: Any) -> None:
            if request.get("ConditionExpression"):
                put_item(**request)

        world.table.put_item = put_claims_only  # type: ignore[method-assign] # the crash
        with pytest.raises(DeliveryError):
            process(without_mfa("event-1"), self.known(world))
        world.table.put_item = put_item  # type: ignore[method-assign] # until the next event
        world.topic.fails = set()

    @staticmethod
    def known(world: World) -> Any:
        return world.dependencies(known_networks=NETWORKS["recognised"])

    def test_next_alert_is_held_back_and_its_event_is_queued(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = decide(world, without_mfa("event-2"), capsys)
        assert line["verdict"] == "note"
        assert line["reasons"][-1] == "being reported; looked at again in 15 minutes"
        assert world.topic.emails == []
        assert world.queue.messages == [(without_mfa("event-2"), 900)]

    def test_claim_lasts_for_five_minutes(self, world: World) -> None:
        world.now += 299
        assert process(without_mfa("event-2"), self.known(world))["verdict"] == "note"
        world.now += 1
        assert process(without_mfa("event-2"), self.known(world))["verdict"] == "alert"

    @pytest.mark.parametrize("minutes", [1, 15])
    def test_it_is_sent_when_it_comes_back_and_nobody_was_reached(
        self, world: World, minutes: int
    ) -> None:
        process(without_mfa("event-2"), self.known(world))
        world.now += minutes * 60
        body = world.queue.bodies[0]
        delivery = {"Records": [{"eventSource": "aws:sqs", "body": body}]}
        assert process(delivery, self.known(world))["verdict"] == "alert"
        assert len(world.topic.emails) == 1
        assert len(world.queue.messages) == 1

    def test_it_is_a_note_when_it_comes_back_and_somebody_was_reached(self, world: World) -> None:
        process(without_mfa("event-2"), self.known(world))
        world.now += 60  # the lease of the first delivery has ended
        assert process(without_mfa("event-1"), self.known(world))["verdict"] == "alert"
        body = world.queue.bodies[0]
        delivery = {"Records": [{"eventSource": "aws:sqs", "body": body}]}
        assert process(delivery, self.known(world))["verdict"] == "note"
        assert len(world.topic.emails) == 1

    def test_it_is_sent_at_once_if_it_cannot_be_queued(self, world: World) -> None:
        world.queue.fails = {"send_message"}
        assert process(without_mfa("event-2"), self.known(world))["verdict"] == "alert"
        assert len(world.topic.emails) == 1


def test_retry_of_a_sent_alert_is_not_a_second_one(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for _ in range(2):
        assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert len(world.topic.emails) == 1


def test_burst_sends_one_alert(world: World) -> None:
    """The second event is judged while the first is being delivered."""
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    publish, verdicts = world.topic.publish, list[str]()

    def burst(**request: str) -> None:
        if not verdicts:
            verdicts.append("started")
            verdicts.append(process(without_mfa("event-2"), known)["verdict"])
        publish(**request)

    world.topic.publish = burst  # type: ignore[method-assign] # the moment of the delivery
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert verdicts == ["started", "note"]
    assert len(world.topic.emails) == 1


def test_event_without_an_id_suppresses_no_other(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for _ in range(2):
        assert process(without_mfa("") | {"id": ""}, known)["verdict"] == "alert"
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"


def test_unknown_people_are_not_taken_for_the_same_person(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for event_id in ("event-1", "event-2"):
        sign_in = without_mfa(event_id)
        sign_in["detail"]["userIdentity"] = {"type": "IAMUser"}
        assert process(sign_in, known)["verdict"] == "alert"
    assert len(world.topic.emails) == 2


def test_state_uses_quick_clients(world: World) -> None:
    """A hanging table costs one short wait here and a long one in the ledger: texts keep time."""
    process(without_mfa("event-1"), world.dependencies(known_networks=NETWORKS["recognised"]))
    process(make_event(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert world.quick_clients == ["dynamodb", "dynamodb", "dynamodb"]
