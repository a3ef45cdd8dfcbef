"""The recollection: what earlier events make of an alert, and that a memory which is down makes nothing quiet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting.delivery import DeliveryError
from signwatch.enrichment.state import DAY, WINDOW
from signwatch.pipeline import process
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

PORTAL = "identity-center-user-signs-in-with-totp"
DEVICE_CODE = "command-line-gets-a-token-by-device-code"


@pytest.fixture(autouse=True)
def _no_texts(world: World) -> None:
    world.secrets.text = None


def sent(name: str, event_id: str = "event-1", **detail: Any) -> dict[str, Any]:
    told: dict[str, Any] = event(name)
    told["detail"] |= {"eventID": event_id, **detail}
    return told


def decided(
    world: World, told: object, capsys: pytest.CaptureFixture[str], place: str = "recognised"
) -> dict[str, Any]:
    process(told, world.dependencies(known_networks=NETWORKS[place]))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return dict(next(line for line in lines if "verdict" in line))


class TestDeviceCode:
    @pytest.mark.parametrize(
        ("address", "verdict", "reason"),
        [
            ("203.0.113.10", "note", "device code"),
            ("203.0.113.11", "alert", "device code elsewhere"),
        ],
    )
    def test_it_is_compared_with_where_the_person_signed_in_to_the_portal(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        address: str,
        verdict: str,
        reason: str,
    ) -> None:
        decided(world, sent(PORTAL, sourceIPAddress="203.0.113.10"), capsys)
        line = decided(world, sent(DEVICE_CODE, "event-2", sourceIPAddress=address), capsys)
        assert (line["verdict"], line["reasons"][0]) == (verdict, reason)

    @pytest.mark.parametrize(
        ("approved_at", "address", "verdict"),
        [
            ("2026-11-26T09:58:00Z", "203.0.113.66", "alert"),
            ("2026-11-26T09:58:00Z", "203.0.113.10", "recognised"),
            ("2026-11-26T09:59:30Z", "203.0.113.66", "recognised"),
        ],
        ids=["from elsewhere", "from the same address", "after the code"],
    )
    def test_an_approval_that_is_told_of_after_its_code_is_compared_too(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        approved_at: str,
        address: str,
        verdict: str,
    ) -> None:
        code = sent(
            DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10", eventTime="2026-11-26T09:59:00Z"
        )
        assert decided(world, code, capsys)["verdict"] == "note"
        line = decided(world, sent(PORTAL, sourceIPAddress=address, eventTime=approved_at), capsys)
        assert line["verdict"] == verdict
        assert (line["reasons"][0] == "device code elsewhere") is (verdict == "alert")

    def test_a_late_older_approval_does_not_take_the_place_of_a_newer_one(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for at, address in (
            ("2026-11-26T09:58:00Z", "203.0.113.10"),
            ("2026-11-26T03:00:00Z", "203.0.113.66"),
        ):
            decided(world, sent(PORTAL, sourceIPAddress=address, eventTime=at), capsys)
        code = sent(
            DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.66", eventTime="2026-11-26T09:59:00Z"
        )
        assert decided(world, code, capsys)["reasons"][0] == "device code elsewhere"

    def test_a_retry_is_not_compared_with_a_portal_sign_in_after_it(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for at, address in (
            ("2026-11-26T09:58:00Z", "203.0.113.66"),
            ("2026-11-26T09:59:30Z", "203.0.113.10"),
        ):
            decided(world, sent(PORTAL, sourceIPAddress=address, eventTime=at), capsys)
        code = sent(
            DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10", eventTime="2026-11-26T09:59:00Z"
        )
        assert decided(world, code, capsys)["reasons"][0] == "device code, its approval unknown"

    @pytest.mark.parametrize(("seconds", "verdict"), [(DAY - 1, "alert"), (DAY + 1, "note")])
    def test_an_approval_counts_for_a_day(
        self, world: World, capsys: pytest.CaptureFixture[str], seconds: int, verdict: str
    ) -> None:
        decided(world, sent(PORTAL, sourceIPAddress="203.0.113.66"), capsys)
        world.now += seconds
        code = sent(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10")
        assert decided(world, code, capsys)["verdict"] == verdict

    @pytest.mark.parametrize(
        ("seconds", "verdict"), [(WINDOW - 1, "alert"), (WINDOW + 1, "recognised")]
    )
    def test_a_code_waits_a_quarter_of_an_hour_for_its_approval(
        self, world: World, capsys: pytest.CaptureFixture[str], seconds: int, verdict: str
    ) -> None:
        decided(world, sent(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10"), capsys)
        world.now += seconds
        assert (
            decided(world, sent(PORTAL, sourceIPAddress="203.0.113.66"), capsys)["verdict"]
            == verdict
        )

    def test_the_same_address_may_be_written_in_two_ways(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decided(world, sent(PORTAL, sourceIPAddress="::ffff:203.0.113.10"), capsys)
        line = decided(world, sent(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10"), capsys)
        assert line["verdict"] == "note"

    def test_the_portal_sign_in_of_somebody_else_says_nothing(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = sent(PORTAL, sourceIPAddress="203.0.113.99")
        other["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
        decided(world, other, capsys)
        line = decided(world, sent(DEVICE_CODE, "event-2", sourceIPAddress="203.0.113.10"), capsys)
        assert line["verdict"] == "note"

    @pytest.mark.parametrize("fault", ["get_item", "nobody"])
    def test_where_nobody_can_tell_it_is_a_high_alert(
        self, world: World, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        told = sent(DEVICE_CODE, sourceIPAddress="203.0.113.10")
        if fault == "nobody":
            del told["detail"]["userIdentity"]["onBehalfOf"]
        world.table.fails = {fault}
        assert decided(world, told, capsys)["reasons"][0] == "device code, its approval unknown"

    def test_a_portal_sign_in_is_judged_as_ever_while_the_memory_is_down(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.missing = {"dynamodb"}
        assert decided(world, sent(PORTAL), capsys)["verdict"] == "recognised"
        assert decided(world, sent(PORTAL), capsys, "anywhere")["verdict"] == "alert"


class TestFailures:
    def test_the_third_within_a_quarter_of_an_hour_is_texted_and_each_is_mailed(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked, names = (
            [],
            ("iam-user-fails", "unknown-kind-of-user-fails", "identity-center-factor-is-wrong"),
        )
        for number, name in enumerate(names):
            told = sent(
                name,
                f"event-{number}",
                recipientAccountId="111122223333",
                eventTime="2026-11-26T09:59:00Z",
            )
            line = decided(world, told, capsys, "anywhere")
            assert (line["verdict"], line["grouped"]) == ("alert", "failures")
            assert line["reasons"][-1] == f"{number + 1} failures within 15 minutes"
            asked.append("get_secret_value" in world.secrets.calls)
        assert asked == [False, False, True]
        assert len(world.topic.mails) == 3

    def test_the_first_of_root_is_texted_whoever_else_failed_before(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decided(
            world,
            sent("iam-user-fails", "event-0", eventTime="2026-11-26T09:59:00Z"),
            capsys,
            "anywhere",
        )
        asked = []
        for number in (1, 2, 3):
            world.secrets.calls.clear()
            told = sent("root-fails", f"event-{number}", eventTime="2026-11-26T09:59:00Z")
            line = decided(world, told, capsys)
            assert line["reasons"][-1] == f"{number} failures within 15 minutes"
            asked.append(len(world.secrets.calls))
        assert asked == [1, 0, 1]

    def test_the_first_of_root_is_texted_though_it_is_tried_again_after_the_second(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.topic.fails = {"publish"}
        with pytest.raises(DeliveryError):
            process(
                sent("root-fails", "event-1", eventTime="2026-11-26T09:59:00Z"),
                world.dependencies(),
            )
        world.topic.fails = set()
        process(
            sent("root-fails", "event-2", eventTime="2026-11-26T09:59:01Z"), world.dependencies()
        )
        capsys.readouterr()
        world.secrets.calls.clear()
        decided(world, sent("root-fails", "event-1", eventTime="2026-11-26T09:59:00Z"), capsys)
        assert world.secrets.calls == ["get_secret_value"]

    def test_by_e_mail_alone_is_no_fallback(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        process(sent("iam-user-fails"), world.dependencies())
        assert "FallbackUsed" not in capsys.readouterr().out

    def test_without_a_time_they_are_counted_as_of_now(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in (1, 2):
            told = sent("iam-user-fails", f"event-{number}", eventTime="soon") | {"time": ""}
            assert (
                decided(world, told, capsys, "anywhere")["reasons"][-1]
                == f"{number} failures within 15 minutes"
            )

    def test_without_an_id_each_is_texted(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = sent("iam-user-fails", "") | {"id": ""}
        assert decided(world, told, capsys, "anywhere")["reasons"] == [
            "failure",
            "unrecognised source",
        ]
        assert world.secrets.calls == ["get_secret_value"]

    def test_while_the_memory_is_down_each_is_texted(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.table.fails = {"update_item"}
        assert decided(world, sent("iam-user-fails"), capsys, "anywhere")["verdict"] == "alert"
        assert world.secrets.calls == ["get_secret_value"]


class TestConsoleLink:
    def linked(
        self, world: World, capsys: pytest.CaptureFixture[str], **identity: str
    ) -> dict[str, Any]:
        decided(world, sent("console-session-is-prepared"), capsys, "anywhere")
        told = sent("federated-user-signs-in", "event-2")
        told["detail"]["userIdentity"] |= identity
        return decided(world, told, capsys, "anywhere")

    def test_the_console_sign_in_that_follows_is_counted_with_it_and_alerts(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = self.linked(world, capsys)
        assert (line["verdict"], line["grouped"]) == ("alert", "linked")
        assert line["reasons"] == ["unrecognised source", "after a console link"]
        assert len(world.topic.mails) == 2

    def test_that_of_somebody_else_stands_alone(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = self.linked(
            world, capsys, arn="arn:aws:sts::111122223333:assumed-role/SamlAdmin/another"
        )
        assert (line["grouped"], line["reasons"]) == ("", ["unrecognised source"])

    def test_one_that_comes_much_later_stands_alone(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        decided(world, sent("console-session-is-prepared"), capsys, "anywhere")
        world.now += 15 * 60
        assert (
            decided(world, sent("federated-user-signs-in", "event-2"), capsys, "anywhere")[
                "grouped"
            ]
            == ""
        )


def without_mfa(event_id: str) -> dict[str, Any]:
    told: dict[str, Any] = event("iam-user-signs-in-without-mfa")
    told["detail"]["eventID"] = event_id
    return told


def test_the_second_sign_in_of_a_day_is_logged_and_asks_nobody_else(world: World) -> None:
    world.secrets.text = None
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert process(without_mfa("event-2"), known)["verdict"] == "note"
    assert len(world.topic.mails) == 1


def test_while_the_memory_is_down_every_sign_in_is_told_of(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.secrets.text, world.table.fails = None, {"put_item"}
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for event_id in ("event-1", "event-2"):
        assert process(without_mfa(event_id), known)["verdict"] == "alert"
    assert len(world.topic.mails) == 2
    assert '"problem": "state"' in capsys.readouterr().out


def test_an_alert_that_reached_nobody_quiets_no_other(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    world.topic.fails = {"publish"}
    with pytest.raises(DeliveryError):
        process(without_mfa("event-1"), known)
    world.topic.fails = set()
    assert process(without_mfa("event-2"), known)["verdict"] == "alert"
    assert process(without_mfa("event-3"), known)["verdict"] == "note"


def test_a_retry_of_what_was_told_of_is_no_second_one(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    assert [process(without_mfa("event-1"), known)["verdict"] for _ in range(2)] == [
        "alert",
        "alert",
    ]
    assert len(world.topic.mails) == 1


def test_of_a_burst_one_is_told_of(world: World) -> None:
    """One of them is still being delivered when the next one is judged."""
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    publish, within = world.topic.publish, list[str]()

    def burst(**asked: str) -> None:
        if not within:
            within.append("begun")
            within.append(process(without_mfa("event-2"), known)["verdict"])
        publish(**asked)

    world.secrets.text, world.topic.publish = None, burst  # type: ignore[method-assign] # the moment of delivery
    assert process(without_mfa("event-1"), known)["verdict"] == "alert"
    assert within == ["begun", "note"]
    assert len(world.topic.mails) == 1


def test_what_has_no_id_quiets_no_other(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for _ in range(2):
        assert process(without_mfa("") | {"id": ""}, known)["verdict"] == "alert"


def test_people_whom_nobody_can_name_are_not_taken_for_one(world: World) -> None:
    known = world.dependencies(known_networks=NETWORKS["recognised"])
    for event_id in ("event-1", "event-2"):
        told = without_mfa(event_id)
        told["detail"]["userIdentity"] = {"type": "IAMUser"}
        assert process(told, known)["verdict"] == "alert"
    assert len(world.topic.mails) == 2


def test_what_is_asked_of_the_memory_waits_no_longer_than_a_moment(world: World) -> None:
    """A table that hangs costs the memory's short wait, and the ledger's long one, and still leaves time for texts."""
    process(without_mfa("event-1"), world.dependencies(known_networks=NETWORKS["recognised"]))
    process(sent(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert world.hurried == ["dynamodb", "dynamodb", "dynamodb"]
