"""What a monitor of sign-ins must catch, in every Region where it can be recorded, by each way.

A sign-in counts as caught if the way hands it to the function and the function sends an alert. The
bus of another Region hands it on by a forwarder, which ``deploy --regions all`` makes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from signwatch.pipeline import process
from tests.support.deliveries import trail_batch
from tests.support.dependencies import World
from tests.support.emulator import EmulatorAccount
from tests.support.repository import ROOT
from tests.support.sign_ins import NETWORKS, event
from tooling import templates
from tooling.analysis import coverage, trail_filter
from tooling.resolved_templates import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tooling.local.emulator import Emulator

pytestmark = pytest.mark.local

HOME = "eu-central-1"
REGIONS = tuple(sorted(boto3.Session().get_available_regions("events")))  # of the partition "aws"
GLOBAL = ("us-east-1",)  # where AWS records root
STRANGER = {"sourceIPAddress": "192.0.2.66"}
LATE = {"addendum": {"reason": "DELIVERY_DELAY"}, "eventTime": "2026-11-01T10:00:00Z"}
# By technique: the case files, what is changed in their records, the Regions that record them.
TECHNIQUES: dict[str, tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]] = {
    "a page of another Region": (
        ("iam-user-signs-in-with-mfa", "federated-user-signs-in", "role-is-switched"),
        STRANGER,
        REGIONS,
    ),
    "root": (("root-signs-in-with-mfa",), {}, GLOBAL),
    "federation turns keys into a console session": (
        (
            "federation-token-is-made",
            "console-link-is-made-with-stolen-role-keys",
            "federation-token-user-signs-in",
        ),
        STRANGER,
        REGIONS,
    ),
    "AssumeRoot": (("organisation-takes-a-root-session",), {}, REGIONS),
    "recovery of root's password": (("root-asks-for-a-new-password",), {}, GLOBAL),
    "a device code that a victim approved": (
        ("command-line-gets-a-token-by-device-code", "command-line-gets-role-keys"),
        STRANGER,
        REGIONS,
    ),
    "aws login": (
        ("aws-login-is-approved-in-the-browser", "aws-login-gets-a-token"),
        STRANGER,
        REGIONS,
    ),
    "a private address, and an endpoint of a stranger": (
        ("iam-user-signs-in-from-a-private-address", "iam-user-signs-in-through-a-vpc-endpoint"),
        {},
        REGIONS,
    ),
    "a source that is no address": (
        ("identity-center-sign-in-from-aws-internal", "source-is-hidden"),
        {},
        REGIONS,
    ),
    "IPv6": (
        ("iam-user-signs-in-over-ipv6", "identity-center-user-signs-in-over-ipv6"),
        {"sourceIPAddress": "2001:db9::66"},
        REGIONS,
    ),
    "fields that are missing or have changed": (
        (
            "identity-center-user-signs-in-with-totp",
            "identity-center-user-in-the-older-form",
            "record-without-an-identity",
            "record-without-a-source",
        ),
        STRANGER,
        REGIONS,
    ),
    "a record that is late": (("iam-user-signs-in-with-mfa",), {**STRANGER, **LATE}, REGIONS),
}


def list_records() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and an event for each technique, case and Region."""
    for technique, (names, changes, regions) in TECHNIQUES.items():
        for name in names:
            for region in regions:
                sign_in = event(name)
                sign_in["region"] = sign_in["detail"]["awsRegion"] = region
                if "sourceIPAddress" in sign_in["detail"]:
                    sign_in["detail"] |= changes
                yield f"{technique}: {name} in {region}", sign_in


def count_caught(hand_over: Callable[[dict[str, Any]], object]) -> tuple[list[str], int]:
    """Return the names of the records without an alert, and the number of all records.

    ``hand_over`` returns what Lambda gets of an event by one way, or None.
    """
    misses, count = [], 0
    for name, sign_in in list_records():
        world = World()
        world.secrets.text = None  # so that only the e-mail is sent, which takes less time
        payload = hand_over(sign_in)
        if payload is not None:
            process(payload, world.dependencies(known_networks=NETWORKS["recognised"]))
        if len(world.topic.emails) != 1:
            misses.append(name)
        count += 1
    return misses, count


def test_by_the_bus(emulator: Emulator) -> None:
    """EventBridge itself, as the emulator has it, says which rules match."""
    matches = coverage.make_matcher(EmulatorAccount.on(emulator).client("events"))
    rules = coverage.load_rules(ROOT / "cfn")
    forwarder = templates.load(ROOT / "cfn" / "forwarder.yaml")["Resources"]["ForwarderRule"]
    pattern, state = (forwarder["Properties"][key] for key in ("EventPattern", "State"))
    assert {rule.state for rule in rules} == {state} == {coverage.ENABLED_WITH_READS}

    def hand_over(sign_in: dict[str, Any]) -> object:
        is_forwarded = sign_in["region"] == HOME or matches(pattern, sign_in)
        is_sent = any(matches(rule.pattern, sign_in) for rule in rules)
        return sign_in if is_forwarded and is_sent else None

    misses, count = count_caught(hand_over)
    print(f"must-catch {count - len(misses)}/{count} by the bus")
    assert misses == []


def test_by_the_trail() -> None:
    names, problems = trail_filter.judge(resolve(ROOT / "cfn", {}), frozenset())
    assert problems == []

    def hand_over(sign_in: dict[str, Any]) -> object:
        is_handed_on = sign_in["detail"]["eventName"] in names
        return trail_batch(json.dumps(sign_in["detail"])) if is_handed_on else None

    misses, count = count_caught(hand_over)
    print(f"must-catch {count - len(misses)}/{count} by the trail")
    assert misses == []
