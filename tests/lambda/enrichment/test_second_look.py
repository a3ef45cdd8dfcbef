"""The second look: a right password without a sign-in is reported, also if the search fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.detection import signin
from signwatch.pipeline import process
from tests.support.deliveries import trail_batch
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

CONSOLE, PORTAL = "second-factor-is-asked-for", "identity-center-factor-is-right"
SIGN_IN = {CONSOLE: "iam-user-signs-in-with-mfa", PORTAL: "identity-center-user-signs-in-with-totp"}
FILTER = {CONSOLE: "ConsoleLogin", PORTAL: "UserAuthentication"}
ABROAD = "192.0.2.66"
LATER = "2026-11-20T10:05:00Z"


def step(name: str) -> Any:
    """Return a right password of Anaya's at 10 o'clock."""
    record = event(name)
    if name == CONSOLE:
        record["detail"]["userIdentity"]["userName"] = "Anaya"
    return record


def success(name: str, **detail: Any) -> Any:
    """Return the sign-in that follows that step."""
    record = event(SIGN_IN[name])
    record["detail"] |= {"eventTime": LATER, **detail}
    return record


def queue_delivery(record: object) -> dict[str, Any]:
    """Return the event with which the queue's mapping calls the function."""
    body = json.dumps({"later": "second-look", "content": record})
    return {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body}]}


def decide(
    world: World, record: object, capsys: pytest.CaptureFixture[str], **settings: str
) -> dict[str, Any]:
    """Process an event and return the log line of its decision."""
    process(record, world.dependencies(known_networks=NETWORKS["recognised"], **settings))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return dict(next(line for line in lines if "verdict" in line))


def look_again(world: World, record: object, **settings: str) -> str:
    """Process an event from the queue, with recognised networks; return its verdict."""
    settings = {"known_networks": NETWORKS["recognised"], **settings}
    return str(process(queue_delivery(record), world.dependencies(**settings))["verdict"])


@pytest.mark.parametrize("name", SIGN_IN)
class TestRightPassword:
    def test_right_password_is_queued_and_logged_as_a_step(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        line = decide(world, step(name), capsys)
        assert (line["kind"], line["verdict"], line["level"]) == ("Step", "ignored", "INFO")
        assert line["reasons"][0].startswith("step: ")
        assert world.queue.messages == [(step(name), 900)]

    def test_right_password_is_noted_at_once_if_it_cannot_be_queued(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.queue.fails = {"send_message"}
        process(step(name), world.dependencies(known_networks=NETWORKS["recognised"]))
        failure, decision = map(json.loads, capsys.readouterr().out.splitlines())
        assert (failure["problem"], failure["event_id"]) == (
            "second-look",
            step(name)["detail"]["eventID"],
        )
        assert decision["verdict"] == "note"

    def test_event_is_ignored_if_a_sign_in_followed(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.logs.raw_copies = [step(name), success(name)]
        line = decide(world, queue_delivery(step(name)), capsys)
        assert (line["kind"], line["verdict"]) == ("Step", "ignored")
        assert line["reasons"] == ["step: a sign-in followed"]
        assert world.clients == ["dynamodb", "logs", "dynamodb"]

    def test_event_is_noted_if_no_sign_in_followed(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        line = decide(world, queue_delivery(step(name)), capsys)
        unfinished = signin.read_unfinished(step(name))
        assert (line["verdict"], line["kind"]) == ("note", "Right password, no sign-in after it")
        assert line["reasons"] == ["right password without a sign-in", "recognised source"]
        assert (line["event_id"], line["who"]) == (step(name)["detail"]["eventID"], unfinished.who)
        assert line["Verdict"] == "note"
        assert world.topic.emails == []

    def test_event_alerts_if_its_cause_is_switched_on(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.secrets.text = None
        line = decide(
            world, queue_delivery(step(name)), capsys, alert_on="right-password-without-a-sign-in"
        )
        assert line["verdict"] == "alert"
        assert line["reasons"][0] == "right password without a sign-in"
        assert "Right password, no sign-in after it" in world.topic.emails[0]["Message"]

    def test_event_from_an_unrecognised_source_alerts(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        world.secrets.text = None
        record = step(name)
        record["detail"]["sourceIPAddress"] = ABROAD
        line = decide(world, queue_delivery(record), capsys)
        assert (line["verdict"], line["severity"]) == ("alert", "normal")
        assert line["reasons"] == ["right password without a sign-in", "unrecognised source"]
        assert len(world.topic.emails) == 1

    def test_sign_in_from_the_office_does_not_answer_for_a_step_from_abroad(
        self, world: World, name: str
    ) -> None:
        world.secrets.text = None
        record = step(name)
        record["detail"]["sourceIPAddress"] = ABROAD
        world.logs.raw_copies = [success(name)]
        assert look_again(world, record) == "alert"

    @pytest.mark.parametrize(
        ("step_source", "sign_in_source", "verdict"),
        [
            (ABROAD, ABROAD, "ignored"),
            (ABROAD, f"::ffff:{ABROAD}", "ignored"),
            ("203.0.113.10", "2001:db8::7", "ignored"),
            ("2001:db8::7", "198.51.100.7", "ignored"),
            (ABROAD, "192.0.2.77", "alert"),
            ("203.0.113.10", ABROAD, "note"),
            ("AWS Internal", "AWS Internal", "ignored"),
            ("AWS Internal", "signin.example", "alert"),
        ],
        ids=[
            *("same", "same, mapped", "IPv4 and IPv6", "two offices", "two abroad", "left"),
            *("no address", "two that are no addresses"),
        ],
    )
    def test_sources_are_compared(
        self, world: World, name: str, step_source: str, sign_in_source: str, verdict: str
    ) -> None:
        world.secrets.text = None
        record = step(name)
        record["detail"]["sourceIPAddress"] = step_source
        world.logs.raw_copies = [success(name, sourceIPAddress=sign_in_source)]
        assert look_again(world, record) == verdict

    @pytest.mark.parametrize(
        ("endpoint", "verdict"), [("", "ignored"), ("vpce-0123456789abcdef0", "alert")]
    )
    def test_same_address_through_another_vpc_endpoint_is_another_source(
        self, world: World, name: str, endpoint: str, verdict: str
    ) -> None:
        world.secrets.text = None
        record = step(name)
        record["detail"]["vpcEndpointId"] = endpoint
        world.logs.raw_copies = [success(name, sourceIPAddress="203.0.113.10")]
        assert look_again(world, record) == verdict

    def test_other_events_that_the_search_finds_do_not_end_it(
        self, world: World, name: str
    ) -> None:
        other = {"eventSource": "ec2.amazonaws.com", "eventName": "RunInstances"}
        other["requestParameters"] = "ConsoleLogin UserAuthentication"
        world.logs.raw_copies = [{"detail": other}, success(name)]
        assert look_again(world, step(name)) == "ignored"

    def test_sign_in_without_a_time_does_not_end_the_search(self, world: World, name: str) -> None:
        without_time = success(name, eventTime="soon") | {"time": ""}
        world.logs.raw_copies = [without_time, success(name)]
        assert look_again(world, step(name)) == "ignored"

    def test_source_in_an_allowance_is_recognised(self, world: World, name: str) -> None:
        world.parameters.allow("192.0.2.0/24")
        world.logs.raw_copies = [success(name, sourceIPAddress="192.0.2.7")]
        assert look_again(world, step(name)) == "ignored"

    def test_raw_copies_are_searched_from_a_minute_before_the_step(
        self, world: World, name: str
    ) -> None:
        look_again(world, step(name))
        assert world.logs.request == {
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
                "eventName": "SwitchRole",
                "responseElements": {"SwitchRole": "Success"},
                "requestParameters": "ConsoleLogin UserAuthentication",
            },
            {
                "responseElements": None,
                "serviceEventDetails": None,
                "errorMessage": "Failed authentication",
            },
        ],
        ids=[
            "before it",
            "too late",
            "no time",
            "another account",
            "another event",
            "a switched role",
            "a failure",
        ],
    )
    def test_only_a_timely_success_of_the_same_account_counts(
        self, world: World, name: str, detail: dict[str, Any]
    ) -> None:
        world.logs.raw_copies = [success(name, **detail)]
        assert look_again(world, step(name)) == "note"

    @pytest.mark.parametrize("time", ["2026-11-20T10:00:00Z", "2026-11-20T10:15:00Z"])
    def test_sign_in_counts_from_the_same_second_to_15_minutes_later(
        self, world: World, name: str, time: str
    ) -> None:
        world.logs.raw_copies = [success(name, eventTime=time)]
        assert look_again(world, step(name)) == "ignored"

    @pytest.mark.parametrize("fault", ["filter_log_events", "client", "time", "line"])
    def test_event_is_noted_if_the_search_fails(
        self, world: World, capsys: pytest.CaptureFixture[str], name: str, fault: str
    ) -> None:
        record, world.logs.raw_copies = step(name), [success(name)]
        world.logs.fails, world.missing = {fault}, {"logs"} if fault == "client" else set()
        if fault == "time":
            record["detail"]["eventTime"] = record["time"] = "soon"
        if fault == "line":
            world.logs.raw_copies = [f"{FILTER[name]} cut"]
        process(queue_delivery(record), world.dependencies(known_networks=NETWORKS["recognised"]))
        *failures, decision = map(json.loads, capsys.readouterr().out.splitlines())
        assert decision["verdict"] == "note"
        logged = [(line["problem"], line["event_id"]) for line in failures]
        expected = [("second look", record["detail"]["eventID"])]
        assert logged == (expected if fault in ("filter_log_events", "client") else [])

    def test_search_ends_after_the_maximum_of_pages(self, world: World, name: str) -> None:
        world.logs.raw_copies = [*[step(name)] * 20, success(name)]
        assert look_again(world, step(name)) == "note"
        assert len(world.logs.calls) == 20

    def test_search_finds_a_sign_in_on_its_last_page(self, world: World, name: str) -> None:
        world.logs.raw_copies = [*[step(name)] * 19, success(name)]
        world.seconds_left = lambda: 40.0
        assert look_again(world, step(name)) == "ignored"

    def test_search_leaves_the_time_that_a_text_needs(self, world: World, name: str) -> None:
        world.logs.raw_copies = [step(name), step(name), success(name)]
        world.seconds_left = lambda: 41.0 - len(world.logs.calls)
        assert look_again(world, step(name)) == "note"
        assert len(world.logs.calls) == 2


class TestTrail:
    TRAIL_GROUP = "/aws/cloudtrail/signwatch"

    def test_sign_in_that_the_bus_lost_is_found_in_the_trails_group(self, world: World) -> None:
        world.logs.trail_records = [step(CONSOLE)["detail"], success(CONSOLE)["detail"]]
        verdict = look_again(world, step(CONSOLE), trail_log_group_name=self.TRAIL_GROUP)
        assert verdict == "ignored"
        assert world.logs.request["logGroupName"] == self.TRAIL_GROUP

    def test_trails_group_is_not_searched_if_the_raw_copies_have_the_sign_in(
        self, world: World
    ) -> None:
        world.logs.raw_copies = [success(CONSOLE)]
        look_again(world, step(CONSOLE), trail_log_group_name=self.TRAIL_GROUP)
        assert world.logs.calls == ["filter_log_events"]

    def test_bare_record_of_a_right_password_is_queued_and_looked_at(self, world: World) -> None:
        batch = trail_batch(json.dumps(step(CONSOLE)["detail"]))
        process(batch, world.dependencies())
        ((queued, _delay),) = world.queue.messages
        world.logs.raw_copies = [success(CONSOLE)]
        assert look_again(world, queued) == "ignored"

    @pytest.mark.parametrize("fault", ["", "get_item", "put_item"])
    def test_second_search_that_fails_does_not_undo_the_first(
        self, world: World, fault: str
    ) -> None:
        """Both ways brought the right password; a fault of the table makes the second search."""
        world.logs.raw_copies = [success(CONSOLE)]
        world.table.fails = {fault}
        record = step(CONSOLE)
        record["detail"]["sourceIPAddress"] = world.logs.raw_copies[0]["detail"]["sourceIPAddress"]
        assert look_again(world, record) == "ignored"
        world.logs.fails = {"filter_log_events"} if not fault else set()
        assert look_again(world, record["detail"]) == "ignored"
        assert len(world.logs.calls) == (1 if not fault else 2)

    def test_two_second_looks_send_one_alert(self, world: World) -> None:
        world.secrets.text = None
        record = step(CONSOLE)
        record["detail"]["sourceIPAddress"] = ABROAD
        assert look_again(world, record) == look_again(world, record["detail"]) == "alert"
        assert len(world.topic.emails) == 1


class TestPerson:
    @pytest.mark.parametrize(
        "login_to",
        [
            "https://clients.amazonaws.com/workspaces",
            "https://webapp-c7bf3423.transfer-webapp.us-east-2.on.aws",
        ],
    )
    def test_sign_in_to_another_service_completes_the_password_of_its_workflow(
        self, world: World, login_to: str
    ) -> None:
        password, sign_in = step(PORTAL), success(PORTAL)
        for record in (password, sign_in):
            record["detail"]["userIdentity"] = {"type": "Unknown", "userName": "exampleuser"}
            record["detail"]["additionalEventData"]["AuthWorkflowID"] = "one"
        sign_in["detail"]["additionalEventData"]["LoginTo"] = login_to
        world.logs.raw_copies = [sign_in]
        assert process(queue_delivery(password), world.dependencies())["verdict"] == "ignored"

    def test_sign_in_to_another_service_completes_no_other_workflow(self, world: World) -> None:
        password, sign_in = step(PORTAL), success(PORTAL)
        password["detail"]["additionalEventData"]["AuthWorkflowID"] = "one"
        sign_in["detail"]["additionalEventData"] |= {
            "AuthWorkflowID": "two",
            "LoginTo": "https://skylight.local",
        }
        world.logs.raw_copies = [sign_in]
        assert look_again(world, password) != "ignored"

    def test_console_sign_in_of_another_user_does_not_count(self, world: World) -> None:
        sign_in = success(CONSOLE)
        sign_in["detail"]["userIdentity"]["userName"] = "Paulo"
        world.logs.raw_copies = [sign_in]
        assert look_again(world, step(CONSOLE)) == "note"

    def test_another_path_of_the_same_person_does_not_count(self, world: World) -> None:
        """A console link gives no password: only its path differs from a console sign-in."""
        sign_in = success(CONSOLE)
        sign_in["detail"] |= {
            "eventSource": "sts.amazonaws.com",
            "eventName": "GetFederationToken",
            "eventType": "AwsApiCall",
            "requestParameters": {"name": "ConsoleLogin"},
        }
        parsed = signin.read(sign_in)
        assert isinstance(parsed, signin.SignIn)
        assert (parsed.kind, parsed.outcome) == ("federation-token", "success")
        assert (parsed.who, parsed.identity) == ("Anaya", "iam-user")
        world.logs.raw_copies = [sign_in]
        assert look_again(world, step(CONSOLE)) == "note"

    def test_federated_user_of_the_same_name_does_not_count(self, world: World) -> None:
        sign_in = success(CONSOLE)
        arn = "arn:aws:sts::111122223333:assumed-role/Admin/Anaya"
        sign_in["detail"]["userIdentity"] |= {"type": "AssumedRole", "arn": arn}
        world.logs.raw_copies = [sign_in]
        assert look_again(world, step(CONSOLE)) == "note"

    def test_two_unknown_accounts_do_not_count_as_the_same(self, world: World) -> None:
        password, sign_in = step(CONSOLE), success(CONSOLE)
        for record in (password, sign_in):
            record["account"] = record["detail"]["recipientAccountId"] = ""
            del record["detail"]["userIdentity"]["accountId"]
        world.logs.raw_copies = [sign_in]
        assert look_again(world, password) == "note"

    def test_two_unknown_users_do_not_count_as_the_same_person(self, world: World) -> None:
        password, sign_in = step(CONSOLE), success(CONSOLE)
        for record in (password, sign_in):
            record["detail"]["userIdentity"] = {"type": "IAMUser"}
        world.logs.raw_copies = [sign_in]
        assert look_again(world, password) == "note"

    def test_another_identity_center_user_does_not_count_in_the_same_workflow(
        self, world: World
    ) -> None:
        sign_in = success(PORTAL)
        sign_in["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
        world.logs.raw_copies = [sign_in]
        assert look_again(world, step(PORTAL)) == "note"

    @pytest.mark.parametrize(
        ("workflow", "verdict"), [("", "note"), ("other", "note"), ("same", "ignored")]
    )
    @pytest.mark.parametrize("without_id", [0, 1])
    def test_workflow_decides_if_one_of_the_users_has_no_id(
        self, world: World, without_id: int, workflow: str, verdict: str
    ) -> None:
        password, sign_in = records = step(PORTAL), success(PORTAL)
        del records[without_id]["detail"]["userIdentity"]["onBehalfOf"]
        password["detail"]["additionalEventData"]["AuthWorkflowID"] = workflow
        sign_in["detail"]["additionalEventData"]["AuthWorkflowID"] = "same" if workflow else ""
        world.logs.raw_copies = [sign_in]
        assert look_again(world, password) == verdict


class TestDelivery:
    def test_other_events_from_the_queue_are_judged_as_usual(self, world: World) -> None:
        sign_in = queue_delivery(event("iam-user-signs-in-with-mfa"))
        known = world.dependencies(known_networks=NETWORKS["recognised"])
        assert process(sign_in, known)["verdict"] == "recognised"
        assert process(queue_delivery(event("portal-lists-roles")), known)["verdict"] == "ignored"

    @pytest.mark.parametrize("body", [{"body": "{"}, {"body": "null"}, {"body": 7}, {}])
    def test_unreadable_message_alerts(self, world: World, body: dict[str, object]) -> None:
        world.secrets.text = None
        delivery = {"Records": [{"eventSource": "aws:sqs", **body}]}
        assert process(delivery, world.dependencies())["verdict"] == "alert"

    def test_wrong_factor_is_not_queued(self, world: World) -> None:
        record = step(CONSOLE)
        record["detail"]["responseElements"]["CheckMfa"] = "Failure"
        assert process(record, world.dependencies())["verdict"] == "ignored"
        assert world.clients == []
