"""The rights that the local AWS emulator never checks, held by a table of what CloudFormation's handlers call."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tests.support.rights import listed, permits, planned
from tests.support.templates import ACCOUNT, NAMES, REGION, VALUES, installation, load, statements
from tooling.terraform import parse_hcl

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.joint

TABLE = tomllib.loads(
    (ROOT / "tests" / "cfn" / "handler_permissions.toml").read_text(encoding="utf-8")
)
TYPES = {kind: entry for kind, entry in TABLE.items() if kind.startswith("AWS::")}
BEYOND = {entry["action"]: entry["reason"] for entry in TABLE["beyond_the_schemas"]}
STEPS = ("create", "read", "update", "delete")
STACK = "AWS::CloudFormation::Stack"  # drift detection leaves nested stacks to themselves
HERE, PREFIX = f"{REGION}:{ACCOUNT}", VALUES["NamePrefix"]
REQUEST = {  # the condition keys of the calls for the stacks; which call carries which is in the comments of service.tf
    "aws:RequestedRegion": REGION,
    "aws:RequestTag/signwatch:prefix": PREFIX,
    "aws:ResourceTag/signwatch:prefix": PREFIX,
    "iam:PermissionsBoundary": VALUES["BoundaryPolicyArn"],
    "lambda:FunctionArn": f"arn:aws:lambda:{HERE}:function:{PREFIX}-function",
}
USED = {body["Type"] for name in NAMES for body in load(name)["Resources"].values()}


def allowed(*documents: str) -> set[str]:
    """The actions that these policy documents of the bootstrap allow, whatever their conditions."""
    files = [
        parse_hcl(path.read_text(encoding="utf-8"))
        for path in (ROOT / "terraform-bootstrap").glob("*.tf")
    ]
    blocks = [block for parsed in files for block in parsed.get("data", ())]
    bodies = [
        block["aws_iam_policy_document"] for block in blocks if "aws_iam_policy_document" in block
    ]
    found = [body[name] for body in bodies for name in documents if name in body]
    assert len(found) == len(documents)
    parts = [
        part
        for body in found
        for part in body["statement"]
        if part.get("effect", "Allow") == "Allow"
    ]
    return {action for part in parts for action in part["actions"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The statements of the CloudFormation service role."""
    return planned(tmp_path_factory.mktemp("bootstrap"), "service_resources", "service_foundation")


def arns(kind: str, action: str, bus: str = "default") -> Iterator[str]:
    """The ARN of each resource of ``kind`` in the templates, in the form that ``action`` is compared with."""
    where = {
        "here": HERE,
        "account": ACCOUNT,
        "prefix": PREFIX,
        "bus": "" if bus == "default" else f"{bus}/",
    }
    form = TYPES[kind].get("arn_for", {}).get(action, TYPES[kind]["arn"])
    for made in installation(EventBusName=bus).values():
        for name, properties in made.of_type(kind).items():
            values = {**where, "id": name, "lower_id": name.lower(), **properties}
            yield f"arn:aws:{form.format_map(values)}"


def calls(kind: str, bus: str = "default") -> Iterator[tuple[str, str]]:
    """Each call on the resources of ``kind`` by their own service, with each ARN that it is made on."""
    entry = TYPES[kind]
    about, elsewhere = entry.get("about", kind), entry.get("elsewhere", {})
    own = TYPES[about]["arn"].partition(":")[0]
    for action in sorted(needed(*STEPS, kinds={kind})):
        if action.startswith(f"{own}:"):
            yield from ((action, arn) for arn in arns(elsewhere.get(action, about), action, bus))


def refused(given: list[dict[str, Any]], kind: str, bus: str = "default") -> list[tuple[str, str]]:
    """The calls on the resources of ``kind``, each with the ARN, that these statements do not let through."""
    return [
        (action, arn)
        for action, arn in calls(kind, bus)
        if not permits(given, action, arn, REQUEST)
    ]


def needed(*steps: str, kinds: set[str] = USED) -> set[str]:
    return {action for kind in kinds for step in steps for action in TYPES[kind][step]}


def test_the_table_holds_each_resource_type_of_the_templates_and_no_other() -> None:
    assert set(TYPES) == USED


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_type_names_its_steps_and_its_source(kind: str) -> None:
    entry: dict[str, Any] = TYPES[kind]
    assert set(entry) - {"left_out", "elsewhere", "arn", "arn_for", "about"} == {*STEPS, "source"}
    assert ("arn" in entry) != ("about" in entry)
    assert entry["source"]
    assert set(entry.get("left_out", ())).isdisjoint(needed(*STEPS, kinds={kind}))


def test_cloudformation_may_do_what_its_handlers_need() -> None:
    assert needed(*STEPS) - allowed("service_resources", "service_foundation") == set()


def test_cloudformation_may_do_nothing_else_but_for_a_reason() -> None:
    beyond = allowed("service_resources", "service_foundation") - needed(*STEPS)
    assert beyond == set(BEYOND)
    assert [action for action, reason in BEYOND.items() if not reason.endswith(".")] == []


@pytest.mark.terraform
def test_each_statement_names_resources_of_the_service_that_its_actions_belong_to(
    service: list[dict[str, Any]],
) -> None:
    for part in service:
        patterns = [pattern for pattern in part["Resource"] if pattern != "*"]
        asked = {
            action.partition(":")[0] for action in part.get("Action", listed(part.get("NotAction")))
        }
        assert {pattern.split(":")[2] for pattern in patterns} == (asked if patterns else set()), (
            part["Sid"]
        )
        assert patterns or part["Condition"], part["Sid"]


@pytest.mark.terraform
@pytest.mark.parametrize("bus", ["default", "own"])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_call_is_let_through_on_the_very_resources_that_the_templates_name(
    kind: str, bus: str, service: list[dict[str, Any]]
) -> None:
    assert list(calls(kind, bus)) != []
    assert refused(service, kind, bus) == []


@pytest.mark.terraform
@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("arn:aws:sqs:", "arn:aws:sns:", "AWS::SQS::Queue"),
        (f":{PREFIX}-", ":guard-", "AWS::SNS::Topic"),
        (f":alias/{PREFIX}-", f":alias/{PREFIX}/", "AWS::KMS::Alias"),
        ("log-group:/aws/events/", "log-group:/aws/rules/", "AWS::Logs::LogGroup"),
        (f"table/{PREFIX}-", f"tables/{PREFIX}-", "AWS::DynamoDB::Table"),
        (
            "log-group:/aws/lambda/signwatch-function:*",
            "log-group:/aws/lambda/signwatch-function",
            "AWS::Logs::LogGroup",
        ),
        (f'prefix": "{PREFIX}"', 'prefix": "guard"', "AWS::KMS::Key"),
        (f"function:{PREFIX}-*", f"functions:{PREFIX}-*", "AWS::Lambda::EventSourceMapping"),
    ],
)
def test_a_wrong_pattern_or_condition_is_noticed(
    old: str, new: str, kind: str, service: list[dict[str, Any]]
) -> None:
    wrong = json.dumps(service).replace(old, new)
    assert wrong != json.dumps(service)
    assert refused(json.loads(wrong), kind) != []


@pytest.mark.terraform
def test_each_role_is_handed_to_its_service_alone_and_made_within_the_boundary_alone(
    service: list[dict[str, Any]],
) -> None:
    roles = [
        role for made in installation().values() for role in made.of_type("AWS::IAM::Role").values()
    ]
    assert len(roles) == 2
    for role in roles:
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role['RoleName']}"
        (trust,) = statements(role["AssumeRolePolicyDocument"])
        handed = [
            {"iam:PassedToService": to}
            for to in (trust["Principal"]["Service"], "ec2.amazonaws.com")
        ]
        assert [permits(service, "iam:PassRole", arn, request) for request in handed] == [
            True,
            False,
        ]
        made = [
            {"iam:PermissionsBoundary": boundary} for boundary in (role["PermissionsBoundary"], "")
        ]
        assert [permits(service, "iam:CreateRole", arn, request) for request in made] == [
            True,
            False,
        ]


@pytest.mark.terraform
def test_a_key_may_be_given_a_name(service: list[dict[str, Any]]) -> None:
    """CreateAlias asks for the key beside the alias (Service Authorization Reference, AWS KMS)."""
    keys = list(arns("AWS::KMS::Key", "kms:CreateAlias"))
    assert len(keys) == 2
    assert [arn for arn in keys if not permits(service, "kms:CreateAlias", arn, {})] == []


def test_drift_may_read_what_the_read_handlers_ask_for_and_nothing_else() -> None:
    assert allowed("drift") == needed("read", kinds=USED - {STACK})


def test_no_role_of_the_templates_may_do_anything_to_all_resources() -> None:
    """Every API that the function and the trail call knows a resource."""
    roles = [
        role for made in installation().values() for role in made.of_type("AWS::IAM::Role").values()
    ]
    found = [
        part
        for role in roles
        for policy in role["Policies"]
        for part in statements(policy["PolicyDocument"])
    ]
    assert len(roles) == 2
    assert [
        part
        for part in found
        if "*" in part["Resource"] or any("*" in action for action in part["Action"])
    ] == []
