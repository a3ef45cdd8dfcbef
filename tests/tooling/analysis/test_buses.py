"""On which bus a rule is, by the value of EventBusName, and to which buses a rule forwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.repository import ROOT
from tooling.analysis import buses, coverage

CUSTOM = {"Fn::Not": [{"Fn::Equals": [{"Ref": "EventBusName"}, "default"]}]}
CONTENT: dict[str, Any] = {
    "Conditions": {"HasCustomBus": CUSTOM, "HasOther": {"Fn::Equals": [{"Ref": "Mode"}, "x"]}},
    "Resources": {
        "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": {"Ref": "EventBusName"}}},
        "Unnamed": {"Type": "AWS::Events::EventBus"},
        "Queue": {"Type": "AWS::SQS::Queue"},
        "OnCustomBusAlone": {"Condition": "HasCustomBus"},
        "Unknown": {"Condition": "HasOther"},
        "Missing": {"Condition": "HasNothing"},
    },
}
CHOICE = {"Fn::If": ["HasCustomBus", {"Ref": "Bus"}, "default"]}


def rule(**properties: Any) -> dict[str, Any]:
    return {"Properties": properties}


@pytest.mark.parametrize(
    ("value", "on_default", "on_own"),
    [
        (None, "default", "default"),
        ("hub", "hub", "hub"),
        ({"Ref": "EventBusName"}, "default", "own"),
        ({"Ref": "Bus"}, "default", "own"),
        ({"Ref": "Unnamed"}, "Unnamed", "Unnamed"),
        (CHOICE, "default", "own"),
    ],
)
def test_bus_of_a_rule_follows_the_parameter(value: object, on_default: str, on_own: str) -> None:
    properties = {"EventBusName": value} if value else {}
    for name, expected in (("default", on_default), ("own", on_own)):
        assert buses.Template(CONTENT, name).find_bus(rule(**properties)) == expected


def test_resource_exists_only_if_its_condition_is_known_and_true() -> None:
    optional = {"OnCustomBusAlone", "Unknown", "Missing"}
    assert set(buses.Template(CONTENT, "default").resources) & optional == set()
    assert set(buses.Template(CONTENT, "own").resources) & optional == {"OnCustomBusAlone"}


@pytest.mark.parametrize(
    ("arn", "names"),
    [
        ({"Fn::GetAtt": ["Bus", "Arn"]}, {"own"}),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, set()),
        ({"Ref": "EventBusArn"}, {"own"}),
        ({"Fn::Sub": "arn:aws:events:${AWS::Region}:1:event-bus/${EventBusName}"}, {"own"}),
        ("arn:aws:events:eu-west-1:1:event-bus/hub", {"hub"}),
        ({"Ref": "FunctionArn"}, set()),
        (None, set()),
    ],
)
def test_rule_forwards_to_the_buses_among_its_targets(arn: object, names: set[str]) -> None:
    template = buses.Template(CONTENT, "own")
    assert template.list_forwarded_buses(rule(Targets=[{"Arn": arn}])) == names
    assert template.list_forwarded_buses(rule()) == set()


def test_rules_of_the_templates_get_their_sign_ins_by_the_forwarding_rule() -> None:
    (on_default, on_own) = (coverage.load_rules(ROOT / "cfn", name) for name in ("default", "own"))
    assert {(entry.bus, entry.forwarding_rules) for entry in on_default} == {("default", ())}
    for entry in on_own:
        (forwarding,) = entry.forwarding_rules
        assert (entry.bus, forwarding.name, forwarding.bus) == ("own", "ForwardingRule", "default")


def path() -> coverage.SignInPath:
    return next(entry for entry in coverage.load_paths() if entry.is_read_only)


@pytest.mark.parametrize(
    ("forwarding", "loss"),
    [
        (None, "Rule is on bus own, which receives nothing"),
        ((coverage.ENABLED_WITH_READS, {"names": ["x"]}), "nothing forwards it to Rule on bus own"),
        (("ENABLED", {"names": []}), "Forwarding is ENABLED"),
        ((coverage.ENABLED_WITH_READS, {"names": []}), ""),
    ],
)
def test_rule_on_another_bus_gets_what_a_rule_forwards(
    forwarding: tuple[str, dict[str, Any]] | None, loss: str
) -> None:
    sources = (coverage.Rule("Forwarding", *forwarding),) if forwarding else ()
    judged = coverage.Rule("Rule", coverage.ENABLED_WITH_READS, {}, "own", sources)
    assert judged.explain_loss(path(), lambda pattern, _: pattern["names"] == []) == loss
