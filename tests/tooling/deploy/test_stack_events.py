"""An operation watched: each event once and in order, children included, and the first real cause of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.aws import STACK_ID, Paginator, client_error, event
from tooling.deploy.stack_events import LONGEST, SHORTEST, STACK, StackEvent, Watch
from tooling.errors import UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = STACK_ID.replace("signwatch/1", "signwatch-lambda/2")
GRANDCHILD = STACK_ID.replace("signwatch/1", "signwatch-deep/3")


def stack_event(number: int, status: str, child: str, **more: str) -> dict[str, Any]:
    return event(number, status, "ChildStack", ResourceType=STACK, PhysicalResourceId=child, **more)


@dataclass
class Stacks:
    """CloudFormation that goes through ``looks``: at each, the root's status and what is new, by stack."""

    looks: list[tuple[str, dict[str, list[dict[str, Any]]]]]
    before: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pages_read: int = 0
    page_size: int = 100

    def __post_init__(self) -> None:
        self.events = {stack: list(events) for stack, events in self.before.items()}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        assert StackName == STACK_ID
        status, fresh = self.looks.pop(0)
        for stack, events in fresh.items():
            self.events.setdefault(stack, []).extend(events)
        return {"Stacks": [{"StackStatus": status}]}

    def get_paginator(self, name: str) -> Paginator:
        assert name == "describe_stack_events"

        def pages(StackName: str) -> Iterator[dict[str, Any]]:  # noqa: N803 - boto3's own name
            newest_first = self.events.get(StackName, [])[::-1]
            for start in range(0, len(newest_first), self.page_size):
                self.pages_read += 1
                yield {"StackEvents": newest_first[start : start + self.page_size]}

        return Paginator(pages)


def watched(stacks: Stacks) -> tuple[Watch, list[StackEvent], list[float], str]:
    shown: list[StackEvent] = []
    pauses: list[float] = []
    watch = Watch(stacks, STACK_ID, shown.append, sleep=pauses.append)
    watch.start()
    status = watch.wait()
    return watch, shown, pauses, status


class TestWait:
    def test_events_of_earlier_operations_are_not_shown(self) -> None:
        stacks = Stacks(
            [("UPDATE_COMPLETE", {STACK_ID: [event(2, "UPDATE_COMPLETE")]})],
            {STACK_ID: [event(1, "CREATE_FAILED")]},
        )
        watch, shown, _, status = watched(stacks)
        assert [found.status for found in shown] == ["UPDATE_COMPLETE"]
        assert watch.events == shown
        assert watch.cause() is None
        assert status == "UPDATE_COMPLETE"

    def test_each_event_is_shown_once_and_oldest_first(self) -> None:
        looks = [
            (
                "CREATE_IN_PROGRESS",
                {STACK_ID: [event(1, "CREATE_IN_PROGRESS", "A"), event(2, "CREATE_COMPLETE", "A")]},
            ),
            ("CREATE_IN_PROGRESS", {}),
            ("CREATE_COMPLETE", {STACK_ID: [event(3, "CREATE_COMPLETE", "B")]}),
        ]
        _, shown, _, _ = watched(Stacks(looks))
        assert [(found.resource, found.status) for found in shown] == [
            ("A", "CREATE_IN_PROGRESS"),
            ("A", "CREATE_COMPLETE"),
            ("B", "CREATE_COMPLETE"),
        ]

    def test_children_and_their_children_are_followed_in_the_order_of_time(self) -> None:
        looks = [
            (
                "CREATE_COMPLETE",
                {
                    STACK_ID: [
                        stack_event(1, "CREATE_IN_PROGRESS", CHILD),
                        event(6, "CREATE_COMPLETE", "Root"),
                    ],
                    CHILD: [
                        stack_event(2, "CREATE_IN_PROGRESS", GRANDCHILD),
                        event(5, "CREATE_COMPLETE", "Child"),
                    ],
                    GRANDCHILD: [
                        event(3, "CREATE_IN_PROGRESS", "Deep"),
                        event(4, "CREATE_COMPLETE", "Deep"),
                    ],
                },
            )
        ]
        _, shown, _, _ = watched(Stacks(looks))
        assert [found.resource for found in shown] == [
            "ChildStack",
            "ChildStack",
            "Deep",
            "Deep",
            "Child",
            "Root",
        ]

    def test_a_stack_is_not_followed_before_aws_has_named_it(self) -> None:
        looks = [("CREATE_COMPLETE", {STACK_ID: [stack_event(1, "CREATE_IN_PROGRESS", "")]})]
        assert len(watched(Stacks(looks))[1]) == 1

    def test_all_pages_of_what_is_new_are_read(self) -> None:
        events = [event(number, "CREATE_COMPLETE", f"R{number}") for number in range(1, 8)]
        stacks = Stacks([("CREATE_COMPLETE", {STACK_ID: events})], page_size=3)
        assert [found.resource for found in watched(stacks)[1]] == [
            f"R{number}" for number in range(1, 8)
        ]

    def test_pages_behind_the_new_ones_are_not_read_again(self) -> None:
        old = [event(number, "CREATE_COMPLETE") for number in range(1, 41)]
        stacks = Stacks([("UPDATE_COMPLETE", {})], {STACK_ID: old}, page_size=2)
        watched(stacks)
        assert stacks.pages_read == 20 + 1

    def test_pauses_grow_to_a_bound_and_shrink_when_something_happens(self) -> None:
        quiet: list[tuple[str, dict[str, list[dict[str, Any]]]]] = [("CREATE_IN_PROGRESS", {})] * 12
        busy = ("CREATE_IN_PROGRESS", {STACK_ID: [event(1, "CREATE_COMPLETE")]})
        _, _, pauses, _ = watched(Stacks([*quiet, busy, ("CREATE_COMPLETE", {})]))
        assert (pauses[0], pauses[11], pauses[12]) == (SHORTEST, LONGEST, SHORTEST)

    @pytest.mark.parametrize(
        "status", ["UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "DELETE_IN_PROGRESS"]
    )
    def test_every_kind_of_progress_is_waited_for(self, status: str) -> None:
        assert watched(Stacks([(status, {}), ("DELETE_COMPLETE", {})]))[3] == "DELETE_COMPLETE"

    def test_an_event_keeps_what_a_person_needs(self) -> None:
        made = event(1, "CREATE_FAILED", ResourceStatusReason="no", PhysicalResourceId="function-1")
        _, shown, _, _ = watched(Stacks([("ROLLBACK_COMPLETE", {STACK_ID: [made]})]))
        assert shown == [
            StackEvent(
                "signwatch",
                "Function",
                "AWS::Lambda::Function",
                "CREATE_FAILED",
                "no",
                "function-1",
            )
        ]


class TestLostSight:
    @pytest.mark.parametrize(
        "code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"]
    )
    @pytest.mark.parametrize("call", ["describe_stacks", "get_paginator"])
    def test_credentials_that_expire_leave_the_state_unknown(
        self, monkeypatch: pytest.MonkeyPatch, code: str, call: str
    ) -> None:
        stacks = Stacks([("CREATE_IN_PROGRESS", {})])
        watch = Watch(stacks, STACK_ID, lambda _: None)
        watch.start()

        def expired(*_: Any, **__: Any) -> None:
            raise client_error(code)

        monkeypatch.setattr(stacks, call, expired)
        with pytest.raises(
            UnknownStateError, match="the credentials expired; the operation goes on"
        ) as lost:
            watch.wait()
        assert (lost.value.where, lost.value.exit_code) == (STACK_ID, 3)

    def test_a_network_that_fails_leaves_the_state_unknown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stacks = Stacks([])

        def away(**_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="https://cloudformation")

        monkeypatch.setattr(stacks, "describe_stacks", away)
        with pytest.raises(
            UnknownStateError, match=r"AWS stopped answering .*; the operation goes on"
        ):
            Watch(stacks, STACK_ID, lambda _: None).wait()


class TestCause:
    def cause(
        self, *root: dict[str, Any], child: list[dict[str, Any]] | None = None
    ) -> StackEvent | None:
        fresh = {STACK_ID: list(root), **({CHILD: child} if child else {})}
        return watched(Stacks([("ROLLBACK_COMPLETE", fresh)]))[0].cause()

    def test_nothing_failed(self) -> None:
        assert self.cause(event(1, "CREATE_COMPLETE")) is None

    def test_the_first_failure_of_its_own_is_found_down_the_tree(self) -> None:
        found = self.cause(
            stack_event(1, "CREATE_IN_PROGRESS", CHILD),
            event(4, "CREATE_FAILED", "Other", ResourceStatusReason="Resource creation cancelled"),
            stack_event(
                5, "CREATE_FAILED", CHILD, ResourceStatusReason="Embedded stack was not created"
            ),
            child=[
                event(
                    2,
                    "CREATE_FAILED",
                    "Sibling",
                    ResourceStatusReason="Resource creation Cancelled",
                ),
                event(
                    3,
                    "CREATE_FAILED",
                    "Role",
                    ResourceStatusReason="not authorised",
                    StackName="signwatch-lambda",
                ),
                event(6, "DELETE_FAILED", "Late", ResourceStatusReason="still in use"),
            ],
        )
        assert found is not None
        assert (found.stack, found.resource, found.reason) == (
            "signwatch-lambda",
            "Role",
            "not authorised",
        )

    def test_a_stack_that_only_passes_a_failure_on_is_not_the_cause_even_when_it_comes_first(
        self,
    ) -> None:
        found = self.cause(
            stack_event(
                1, "CREATE_FAILED", CHILD, ResourceStatusReason="Embedded stack was not created"
            ),
            child=[event(2, "CREATE_FAILED", "Role", ResourceStatusReason="not authorised")],
        )
        assert found is not None
        assert found.resource == "Role"

    def test_without_one_the_first_failure_at_all_is_better_than_none(self) -> None:
        found = self.cause(
            stack_event(
                1, "CREATE_FAILED", CHILD, ResourceStatusReason="TemplateURL must be an S3 URL"
            ),
            event(2, "CREATE_FAILED", "Other", ResourceStatusReason="Resource creation cancelled"),
        )
        assert found is not None
        assert found.reason == "TemplateURL must be an S3 URL"
