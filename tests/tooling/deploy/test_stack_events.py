"""A stack operation: each event is shown once and in order, and the cause of a failure is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.aws import STACK_ID, Paginator, client_error, event
from tooling.deploy.stack_events import (
    MAX_PAUSE_SECONDS,
    MIN_PAUSE_SECONDS,
    STACK_TYPE,
    StackEvent,
    StackOperation,
)
from tooling.errors import UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Look = tuple[str, dict[str, list[dict[str, Any]]]]  # the root's status, new events by stack

CHILD_ID = STACK_ID.replace("signwatch/1", "signwatch-lambda/2")
GRANDCHILD_ID = STACK_ID.replace("signwatch/1", "signwatch-deep/3")


def stack_event(number: int, status: str, stack_id: str, reason: str = "") -> dict[str, Any]:
    return event(
        number,
        status,
        "ChildStack",
        ResourceType=STACK_TYPE,
        PhysicalResourceId=stack_id,
        ResourceStatusReason=reason,
    )


def failure_of(number: int, resource: str, reason: str, **more: str) -> dict[str, Any]:
    return event(number, "CREATE_FAILED", resource, ResourceStatusReason=reason, **more)


@dataclass
class FakeCloudFormation:
    """Goes one step through ``looks`` whenever the root's status is read."""

    looks: list[Look]
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    page_count: int = 0
    page_size: int = 100

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        assert StackName == STACK_ID
        status, new_events = self.looks.pop(0)
        for stack_id, events in new_events.items():
            self.events.setdefault(stack_id, []).extend(events)
        return {"Stacks": [{"StackStatus": status}]}

    def get_paginator(self, name: str) -> Paginator:
        assert name == "describe_stack_events"

        def pages(StackName: str) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own name
            newest_first = self.events.get(StackName, [])[::-1]
            for start in range(0, len(newest_first), self.page_size):
                self.page_count += 1
                yield {"StackEvents": newest_first[start : start + self.page_size]}

        return Paginator(pages)


class FollowedOperation:
    """An operation that was followed to its end."""

    def __init__(self, cloudformation: FakeCloudFormation) -> None:
        self.shown: list[StackEvent] = []
        self.pauses: list[float] = []
        self.operation = StackOperation(
            cloudformation, STACK_ID, self.shown.append, sleep=self.pauses.append
        )
        self.operation.skip_earlier_events()
        self.status = self.operation.wait()


def follow(*looks: Look) -> FollowedOperation:
    return FollowedOperation(FakeCloudFormation(list(looks)))


class TestWait:
    def test_events_of_earlier_operations_are_not_shown(self) -> None:
        look = ("UPDATE_COMPLETE", {STACK_ID: [event(2, "UPDATE_COMPLETE")]})
        earlier = {STACK_ID: [event(1, "CREATE_FAILED")]}
        followed = FollowedOperation(FakeCloudFormation([look], earlier))
        assert [item.status for item in followed.shown] == ["UPDATE_COMPLETE"]
        assert followed.operation.events == followed.shown
        assert followed.operation.find_cause() is None
        assert followed.status == "UPDATE_COMPLETE"

    def test_each_event_is_shown_once_and_oldest_first(self) -> None:
        events = [
            event(1, "CREATE_IN_PROGRESS", "A"),
            event(2, "CREATE_COMPLETE", "A"),
            event(3, "CREATE_COMPLETE", "B"),
        ]
        followed = follow(
            ("CREATE_IN_PROGRESS", {STACK_ID: events[:2]}),
            ("CREATE_IN_PROGRESS", {}),
            ("CREATE_COMPLETE", {STACK_ID: events[2:]}),
        )
        assert [(item.resource, item.status) for item in followed.shown] == [
            ("A", "CREATE_IN_PROGRESS"),
            ("A", "CREATE_COMPLETE"),
            ("B", "CREATE_COMPLETE"),
        ]

    def test_children_and_their_children_are_followed_in_order_of_time(self) -> None:
        events = {
            STACK_ID: [
                stack_event(1, "CREATE_IN_PROGRESS", CHILD_ID),
                event(6, "CREATE_COMPLETE", "Root"),
            ],
            CHILD_ID: [
                stack_event(2, "CREATE_IN_PROGRESS", GRANDCHILD_ID),
                event(5, "CREATE_COMPLETE", "Child"),
            ],
            GRANDCHILD_ID: [
                event(3, "CREATE_IN_PROGRESS", "Deep"),
                event(4, "CREATE_COMPLETE", "Deep"),
            ],
        }
        followed = follow(("CREATE_COMPLETE", events))
        expected = ["ChildStack", "ChildStack", "Deep", "Deep", "Child", "Root"]
        assert [item.resource for item in followed.shown] == expected

    def test_child_without_an_id_yet_is_not_followed(self) -> None:
        events = [stack_event(1, "CREATE_IN_PROGRESS", "")]
        assert len(follow(("CREATE_COMPLETE", {STACK_ID: events})).shown) == 1

    def test_all_pages_of_new_events_are_read(self) -> None:
        names = [f"R{number}" for number in range(1, 8)]
        events = [event(number, "CREATE_COMPLETE", name) for number, name in enumerate(names)]
        looks: list[Look] = [("CREATE_COMPLETE", {STACK_ID: events})]
        followed = FollowedOperation(FakeCloudFormation(looks, page_size=3))
        assert [item.resource for item in followed.shown] == names

    def test_pages_of_known_events_are_not_read_again(self) -> None:
        earlier = {STACK_ID: [event(number, "CREATE_COMPLETE") for number in range(1, 41)]}
        cloudformation = FakeCloudFormation([("UPDATE_COMPLETE", {})], earlier, page_size=2)
        FollowedOperation(cloudformation)
        assert cloudformation.page_count == 20 + 1

    def test_pauses_grow_to_a_limit_and_shrink_after_an_event(self) -> None:
        quiet: list[Look] = [("CREATE_IN_PROGRESS", {})] * 12
        busy: Look = ("CREATE_IN_PROGRESS", {STACK_ID: [event(1, "CREATE_COMPLETE")]})
        pauses = follow(*quiet, busy, ("CREATE_COMPLETE", {})).pauses
        assert (pauses[0], pauses[11], pauses[12]) == (
            MIN_PAUSE_SECONDS,
            MAX_PAUSE_SECONDS,
            MIN_PAUSE_SECONDS,
        )

    @pytest.mark.parametrize(
        "status", ["UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "DELETE_IN_PROGRESS"]
    )
    def test_every_status_in_progress_is_waited_for(self, status: str) -> None:
        assert follow((status, {}), ("DELETE_COMPLETE", {})).status == "DELETE_COMPLETE"

    def test_event_has_the_details_of_aws(self) -> None:
        failure = failure_of(1, "Function", "no", PhysicalResourceId="function-1")
        followed = follow(("ROLLBACK_COMPLETE", {STACK_ID: [failure]}))
        assert followed.shown == [
            StackEvent(
                stack="signwatch",
                resource="Function",
                kind="AWS::Lambda::Function",
                status="CREATE_FAILED",
                reason="no",
                physical_id="function-1",
                stack_id=STACK_ID,
                time=failure["Timestamp"],
            )
        ]


class TestUnknownState:
    @pytest.mark.parametrize(
        "code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"]
    )
    @pytest.mark.parametrize("call", ["describe_stacks", "get_paginator"])
    def test_state_is_unknown_when_the_credentials_expire(
        self, monkeypatch: pytest.MonkeyPatch, code: str, call: str
    ) -> None:
        cloudformation = FakeCloudFormation([("CREATE_IN_PROGRESS", {})])
        operation = StackOperation(cloudformation, STACK_ID, lambda _: None)
        operation.skip_earlier_events()

        def expire(*_: Any, **__: Any) -> None:
            raise client_error(code)

        monkeypatch.setattr(cloudformation, call, expire)
        message = "the credentials expired; the operation goes on"
        with pytest.raises(UnknownStateError, match=message) as error:
            operation.wait()
        assert (error.value.where, error.value.exit_code) == (STACK_ID, 3)

    def test_state_is_unknown_when_the_network_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cloudformation = FakeCloudFormation([])

        def fail(**_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="https://cloudformation")

        monkeypatch.setattr(cloudformation, "describe_stacks", fail)
        message = r"AWS stopped answering .*; the operation goes on"
        with pytest.raises(UnknownStateError, match=message):
            StackOperation(cloudformation, STACK_ID, lambda _: None).wait()


class TestFindCause:
    CHILD_FAILED = "Embedded stack was not created"

    def find_cause(self, *root: dict[str, Any], child: tuple[Any, ...] = ()) -> StackEvent | None:
        events = {STACK_ID: list(root), CHILD_ID: list(child)}
        return follow(("ROLLBACK_COMPLETE", events)).operation.find_cause()

    def test_there_is_none_without_a_failure(self) -> None:
        assert self.find_cause(event(1, "CREATE_COMPLETE")) is None

    def test_first_resource_that_failed_by_itself_is_found_in_a_child(self) -> None:
        cause = self.find_cause(
            stack_event(1, "CREATE_IN_PROGRESS", CHILD_ID),
            failure_of(4, "Other", "Resource creation cancelled"),
            stack_event(5, "CREATE_FAILED", CHILD_ID, self.CHILD_FAILED),
            child=(
                failure_of(2, "Sibling", "Resource creation Cancelled"),
                failure_of(3, "Role", "not authorised", StackName="signwatch-lambda"),
                event(6, "DELETE_FAILED", "Late", ResourceStatusReason="still in use"),
            ),
        )
        assert cause is not None
        assert (cause.stack, cause.resource, cause.reason) == (
            "signwatch-lambda",
            "Role",
            "not authorised",
        )

    def test_stack_that_reports_its_child_is_not_the_cause_even_when_it_comes_first(self) -> None:
        cause = self.find_cause(
            stack_event(1, "CREATE_FAILED", CHILD_ID, self.CHILD_FAILED),
            child=(failure_of(2, "Role", "not authorised"),),
        )
        assert cause is not None
        assert cause.resource == "Role"

    def test_first_failure_of_any_kind_is_better_than_none(self) -> None:
        cause = self.find_cause(
            stack_event(1, "CREATE_FAILED", CHILD_ID, "TemplateURL must be an S3 URL"),
            failure_of(2, "Other", "Resource creation cancelled"),
        )
        assert cause is not None
        assert cause.reason == "TemplateURL must be an S3 URL"
