"""The second look: a right password after which no sign-in came is told of, and whatever is unknown counts as none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import signin
from signwatch.enrichment import second_look
from signwatch.pipeline import process
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

CONSOLE, PORTAL = "second-factor-is-asked-for", "identity-center-factor-is-right"
SIGN_IN = {CONSOLE: "iam-user-signs-in-with-mfa", PORTAL: "identity-center-user-signs-in-with-totp"}
FILTER = {CONSOLE: "ConsoleLogin", PORTAL: "UserAuthentication"}
LATER = "2026-11-20T10:05:00Z"


def step(name: str) -> Any:
    """A right password of Anaya's at 10 o'clock."""
    told = event(name)
    if name == CONSOLE:
        told["detail"]["userIdentity"]["userName"] = "Anaya"
    return told


def success(name: str, **detail: Any) -> Any:
    """The sign-in that comes after that step."""
    told = event(SIGN_IN[name])
    told["detail"] |= {"eventTime": LATER, **detail}
    return told


def handed_back(told: object) -> dict[str, Any]:
    """What the mapping calls the function with."""
    return {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": json.dumps(told)}]}


def decided(
    world: World, told: object, capsys: pytest.CaptureFixture[str], **settings: str
) -> dict[str, Any]:
    process(told, world.dependencies(known_networks=NETWORKS["recognised"], **settings))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return dict(next(line for line in lines if "verdict" in line))


@pytest.mark.parametrize("name", SIGN_IN)
class TestRightPassword:
    def test_it_waits_a_quarter_of_an_hour_and_is_logged_as_a_step(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        line = decided(world, step(name), capsys)
        assert (line["kind"], line["verdict"], line["level"]) == ("Step", "ignored", "INFO")
        assert line["reasons"][0].startswith("step: ")
        assert world.queue.waiting == [(step(name), 900)]

    def test_one_that_cannot_wait_is_noted_at_once(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.queue.fails = {"send_message"}
        process(step(name), world.dependencies())
        out = capsys.readouterr().out
        assert '"problem": "second look"' in out
        assert json.loads(out.splitlines()[-1])["verdict"] == "note"

    def test_a_sign_in_that_followed_is_all_there_is_to_say(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.logs.copies = [step(name), success(name)]
        line = decided(world, handed_back(step(name)), capsys)
        assert (line["kind"], line["verdict"]) == ("Step", "ignored")
        assert line["reasons"] == ["step: a sign-in followed"]
        assert world.made == ["logs"]

    def test_without_one_it_is_noted_with_what_the_step_told(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        line = decided(world, handed_back(step(name)), capsys)
        waiting = signin.read_unfinished(step(name))
        assert (line["verdict"], line["kind"]) == ("note", "Right password, no sign-in after it")
        assert line["reasons"] == ["right password without a sign-in", "recognised source"]
        assert (line["event_id"], line["who"]) == (step(name)["detail"]["eventID"], waiting.who)
        assert line["Verdict"] == "note"
        assert world.topic.mails == []

    def test_it_alerts_where_that_is_switched_on(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.secrets.text = None
        line = decided(
            world, handed_back(step(name)), capsys, alert_on="right-password-without-a-sign-in"
        )
        assert (line["verdict"], line["reasons"][0]) == (
            "alert",
            "right password without a sign-in",
        )
        assert "Right password, no sign-in after it" in world.topic.mails[0]["Message"]

    def test_the_raw_copies_are_asked_from_a_minute_before_the_step(
        self, world: World, name: str
    ) -> None:
        process(handed_back(step(name)), world.dependencies())
        assert world.logs.asked == {
            "logGroupName": "/aws/events/signwatch",
            "startTime": 1_795_168_740_000,  # 2026-11-20 09:59 UTC, in milliseconds since 1970
            "filterPattern": FILTER[name],
        }

    @pytest.mark.parametrize(
        "detail",
        [
            {"eventTime": "2026-11-20T09:59:59Z"},
            {"eventTime": "2026-11-20T10:15:01Z"},
            {"eventTime": "soon"},
            {"recipientAccountId": "999999999999"},
            {
                "eventName": "GetSigninToken",
                "additionalEventData": {"x": "ConsoleLogin UserAuthentication"},
            },
            {
                "responseElements": None,
                "serviceEventDetails": None,
                "errorMessage": "Failed authentication",
            },
        ],
        ids=["before it", "too late", "no time", "another account", "another event", "a failure"],
    )
    def test_nothing_but_a_success_of_the_same_person_within_the_time_is_one(
        self, world: World, name: str, detail: dict[str, Any]
    ) -> None:
        world.logs.copies = [success(name, **detail)]
        assert process(handed_back(step(name)), world.dependencies())["verdict"] == "note"

    @pytest.mark.parametrize("fault", ["filter_log_events", "client", "time", "line"])
    def test_while_that_cannot_be_known_there_was_none(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str, fault: str
    ) -> None:
        told, world.logs.copies = step(name), [success(name)]
        world.logs.fails, world.missing = {fault}, {"logs"} if fault == "client" else set()
        if fault == "time":
            told["detail"]["eventTime"] = told["time"] = "soon"
        if fault == "line":
            world.logs.copies = [f"{FILTER[name]} cut"]
        assert decided(world, handed_back(told), capsys)["verdict"] == "note"

    def test_copies_without_end_are_given_up(self, world: World, name: str) -> None:
        world.logs.copies = [*[step(name)] * 20, success(name)]
        assert process(handed_back(step(name)), world.dependencies())["verdict"] == "note"
        assert len(world.logs.calls) == second_look.MOST_PAGES

    def test_what_a_text_needs_of_the_time_is_left_for_it(self, world: World, name: str) -> None:
        world.logs.copies = [step(name), step(name), success(name)]
        world.seconds_left = lambda: second_look.NEEDED + 1 - len(world.logs.calls)
        assert process(handed_back(step(name)), world.dependencies())["verdict"] == "note"
        assert len(world.logs.calls) == 2


class TestPerson:
    def test_somebody_else_in_the_console_is_not_the_one_who_waits(self, world: World) -> None:
        told = success(CONSOLE)
        told["detail"]["userIdentity"]["userName"] = "Paulo"
        world.logs.copies = [told]
        assert process(handed_back(step(CONSOLE)), world.dependencies())["verdict"] == "note"

    def test_nobody_is_the_same_as_nobody(self, world: World) -> None:
        waiting, told = step(CONSOLE), success(CONSOLE)
        waiting["detail"]["userIdentity"] = told["detail"]["userIdentity"] = {"type": "IAMUser"}
        world.logs.copies = [told]
        assert process(handed_back(waiting), world.dependencies())["verdict"] == "note"

    def test_another_user_of_identity_center_is_another_one_even_in_the_same_workflow(
        self, world: World
    ) -> None:
        told = success(PORTAL)
        told["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
        world.logs.copies = [told]
        assert process(handed_back(step(PORTAL)), world.dependencies())["verdict"] == "note"

    @pytest.mark.parametrize(
        ("workflow", "verdict"), [("", "note"), ("other", "note"), ("same", "ignored")]
    )
    def test_without_an_id_of_the_user_the_workflow_tells(
        self, world: World, workflow: str, verdict: str
    ) -> None:
        waiting, told = step(PORTAL), success(PORTAL)
        del waiting["detail"]["userIdentity"]["onBehalfOf"]
        waiting["detail"]["additionalEventData"]["AuthWorkflowID"] = workflow
        told["detail"]["additionalEventData"]["AuthWorkflowID"] = "same" if workflow else ""
        world.logs.copies = [told]
        assert process(handed_back(waiting), world.dependencies())["verdict"] == verdict


class TestDelivery:
    def test_what_is_no_step_any_more_is_judged_as_ever(self, world: World) -> None:
        told = handed_back(event("iam-user-signs-in-with-mfa"))
        known = world.dependencies(known_networks=NETWORKS["recognised"])
        assert process(told, known)["verdict"] == "recognised"
        assert process(handed_back(event("portal-lists-roles")), known)["verdict"] == "ignored"

    @pytest.mark.parametrize("body", ["{", "null", 7, None])
    def test_what_cannot_be_read_alerts(self, world: World, body: object) -> None:
        world.secrets.text = None
        told = {"Records": [{"eventSource": "aws:sqs", "body": body}]}
        assert process(told, world.dependencies())["verdict"] == "alert"

    def test_several_messages_at_once_are_an_error(self, world: World) -> None:
        told = handed_back(step(CONSOLE))
        with pytest.raises(ValueError, match="too many values"):
            process({"Records": told["Records"] * 2}, world.dependencies())

    @pytest.mark.parametrize("records", [[], ["x"], [{"eventSource": "aws:sns"}], {}, None])
    def test_what_no_queue_delivered_is_read_as_it_is(self, records: object) -> None:
        assert second_look.unwrap({"Records": records}) is None

    def test_a_factor_that_was_not_right_waits_for_nothing(self, world: World) -> None:
        told = step(CONSOLE)
        told["detail"]["responseElements"]["CheckMfa"] = "Failure"
        assert process(told, world.dependencies())["verdict"] == "ignored"
        assert world.made == []
