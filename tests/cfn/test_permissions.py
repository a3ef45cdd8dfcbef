"""The roles' permissions, against a table of what CloudFormation's handlers call.

The local AWS emulator never checks permissions.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.iam_policies import is_permitted, plan_statements, resource_policy_of
from tests.support.repository import ROOT
from tests.support.templates import NAMES, installation, load, resources_of, statements
from tooling.checks.grants import HANDLER_PERMISSIONS
from tooling.checks.iam_policies import as_list
from tooling.checks.role_checks import HANDLER_STEPS
from tooling.resolved_templates import (
    ACCOUNT,
    OPTIONAL_VALUES,
    REGION,
    REQUIRED_VALUES,
    STACK,
)
from tooling.terraform import parse_hcl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tooling.checks.authorization_reference import Reference

pytestmark = pytest.mark.joint

TABLE = tomllib.loads((ROOT / HANDLER_PERMISSIONS).read_text())
TYPES = {kind: entry for kind, entry in TABLE.items() if kind.startswith("AWS::")}
WITHOUT_RESOURCE = set(TABLE["without_resource"])
REASONS = {entry["action"]: entry["reason"] for entry in TABLE["beyond_the_schemas"]}
REGION_AND_ACCOUNT, PREFIX = f"{REGION}:{ACCOUNT}", REQUIRED_VALUES["NamePrefix"]
# The condition keys of the calls for the stacks. The tag of the resource is missing: it has no
# effect while the resource is created.
REQUEST = {
    "aws:RequestedRegion": REGION,
    "aws:RequestTag/signwatch:prefix": PREFIX,
    "iam:PermissionsBoundary": REQUIRED_VALUES["BoundaryPolicyArn"],
    "lambda:FunctionArn": f"arn:aws:lambda:{REGION_AND_ACCOUNT}:function:{PREFIX}-function",
}
TAGGED_REQUEST = {**REQUEST, "aws:ResourceTag/signwatch:prefix": PREFIX}
KEY = "AWS::KMS::Key"
ALIAS_ACTIONS = {"kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"}
DEFAULTS: Mapping[str, str] = {}
EXISTING_TRAIL = {name: OPTIONAL_VALUES[name] for name in ("TrailMode", "TrailLogGroupName")}
CHANGES = (DEFAULTS, {"EventBusName": "signwatch-own"}, EXISTING_TRAIL)  # to the parameters
USED_TYPES = {body["Type"] for name in NAMES for body in load(name)["Resources"].values()}


def allowed_actions(*documents: str) -> set[str]:
    """The actions that these policy documents of the bootstrap allow, whatever their conditions."""
    bodies = {}
    for path in (ROOT / "terraform-bootstrap").glob("*.tf"):
        for block in parse_hcl(path.read_text(encoding="utf-8")).get("data", ()):
            bodies.update(block.get("aws_iam_policy_document", {}))
    return {
        action
        for name in documents
        for statement in bodies[name]["statement"]
        if statement.get("effect", "Allow") == "Allow"
        for action in statement["actions"]
    }


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The statements of each IAM policy of the bootstrap, by Terraform address."""
    return plan_statements(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture(scope="module")
def service_role_policies(planned: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The statements of the two policies of the role that CloudFormation uses."""
    return (
        planned["aws_iam_policy.service_resources"] + planned["aws_iam_policy.service_foundation"]
    )


@pytest.fixture(scope="module")
def service_role(service_role_policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The statements that allow this role something: its policies, and that of the main key."""
    return service_role_policies + key_policy_statements()


def key_policy_statements() -> list[dict[str, Any]]:
    """The statements of the main key's policy that apply to the service role."""
    (key_arn,) = arns(KEY, "")
    policy = installation()["foundation"].properties("MainKey")["KeyPolicy"]
    return resource_policy_of(policy, REQUIRED_VALUES["ServiceRoleArn"], key_arn)


def service_role_actions() -> set[str]:
    """The actions that the service role may use, whatever the conditions."""
    of_key = {
        action
        for statement in key_policy_statements()
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
    }
    return allowed_actions("service_resources", "service_foundation") | of_key


def key_actions() -> set[str]:
    """The actions on a key, without those on its aliases, that the stacks need."""
    actions = handler_actions(*HANDLER_STEPS) | set(REASONS)
    of_kms = {action for action in actions if action.startswith("kms:")}
    return of_kms - WITHOUT_RESOURCE - ALIAS_ACTIONS


def arns(kind: str, action: str, changes: Mapping[str, str] = DEFAULTS) -> Iterator[str]:
    """The ARN of each resource of ``kind``, in the form that IAM compares for ``action``."""
    bus = changes.get("EventBusName", "default")
    fields = {
        "region_and_account": REGION_AND_ACCOUNT,
        "account": ACCOUNT,
        "prefix": PREFIX,
        "bus": "" if bus == "default" else f"{bus}/",
    }
    arn_format = TYPES[kind].get("arn_for", {}).get(action, TYPES[kind]["arn"])
    for stack in installation(**changes).values():
        for name, properties in stack.of_type(kind).items():
            values = {**fields, "id": name, "lower_id": name.lower(), **properties}
            yield f"arn:aws:{arn_format.format_map(values)}"


def calls(
    kind: str, changes: Mapping[str, str] = DEFAULTS, steps: tuple[str, ...] = HANDLER_STEPS
) -> Iterator[tuple[str, str]]:
    """Each call to the service of ``kind`` for its resources, with each ARN that it concerns."""
    entry = TYPES[kind]
    about, elsewhere = entry.get("about", kind), entry.get("elsewhere", {})
    service = TYPES[about]["arn"].partition(":")[0]
    for action in sorted(handler_actions(*steps, kinds={kind})):
        if action in WITHOUT_RESOURCE:
            yield action, "*"
        elif action.startswith(f"{service}:"):
            yield from (
                (action, arn) for arn in arns(elsewhere.get(action, about), action, changes)
            )


def carried_keys(
    action: str, request: Mapping[str, str], reference: Reference
) -> Mapping[str, str]:
    """The condition keys that a request for this action carries.

    All of them for an action that is newer than the reference's data.
    """
    known = reference.expand(action)
    return {
        key: value for key, value in request.items() if not known or known[0].has_condition_key(key)
    }


def refused_calls(
    policy: list[dict[str, Any]],
    reference: Reference,
    kind: str,
    changes: Mapping[str, str] = DEFAULTS,
    steps: tuple[str, ...] = HANDLER_STEPS,
    request: Mapping[str, str] = REQUEST,
) -> list[tuple[str, str]]:
    """The calls for resources of ``kind``, each with its ARN, that a policy does not allow."""
    return [
        (action, arn)
        for action, arn in calls(kind, changes, steps)
        if not is_permitted(policy, action, arn, carried_keys(action, request, reference))
    ]


def handler_actions(*steps: str, kinds: set[str] = USED_TYPES) -> set[str]:
    return {action for kind in kinds for step in steps for action in TYPES[kind][step]}


def test_table_has_exactly_the_resource_types_of_the_templates() -> None:
    assert set(TYPES) == USED_TYPES


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_type_names_its_steps_and_its_source(kind: str) -> None:
    entry: dict[str, Any] = TYPES[kind]
    assert set(entry) - {"left_out", "elsewhere", "arn", "arn_for", "about"} == {
        *HANDLER_STEPS,
        "source",
    }
    assert ("arn" in entry) != ("about" in entry)
    assert entry["source"]
    assert set(entry.get("left_out", ())).isdisjoint(handler_actions(*HANDLER_STEPS, kinds={kind}))


def test_cloudformation_is_allowed_what_its_handlers_need() -> None:
    assert handler_actions(*HANDLER_STEPS) <= service_role_actions()


def test_cloudformation_is_allowed_nothing_else_without_a_reason() -> None:
    assert service_role_actions() - handler_actions(*HANDLER_STEPS) == set(REASONS)
    assert [action for action, reason in REASONS.items() if not reason.endswith(".")] == []


@pytest.mark.terraform
def test_each_statement_names_resources_of_its_actions_service(
    service_role: list[dict[str, Any]],
) -> None:
    for statement in service_role:
        actions = statement.get("Action", as_list(statement.get("NotAction")))
        services = {action.partition(":")[0] for action in actions}
        patterns = [pattern for pattern in statement["Resource"] if pattern != "*"]
        if patterns:
            assert {pattern.split(":")[2] for pattern in patterns} == services, statement["Sid"]
        else:
            assert statement["Condition"], statement["Sid"]


@pytest.mark.terraform
@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_call_is_allowed_on_the_resources_of_the_templates(
    kind: str,
    changes: Mapping[str, str],
    service_role: list[dict[str, Any]],
    reference: Reference,
) -> None:
    assert list(calls(kind)) != []
    assert refused_calls(service_role, reference, kind, changes) == []


@pytest.mark.terraform
def test_log_group_of_an_existing_trail_is_only_filtered_and_read(
    planned: dict[str, list[dict[str, Any]]], service_role: list[dict[str, Any]]
) -> None:
    (arn,) = arns("AWS::Logs::SubscriptionFilter", "", EXISTING_TRAIL)
    filter_actions = {"DeleteSubscriptionFilter", "PutSubscriptionFilter"}
    read_action = "DescribeSubscriptionFilters"

    def allowed(policy: list[dict[str, Any]]) -> set[str]:
        actions = {each for statement in policy for each in statement.get("Action", ())}
        return {
            action.removeprefix("logs:")
            for action in actions - WITHOUT_RESOURCE
            if action.startswith("logs:")
            and any(is_permitted(policy, action, each, {}) for each in (arn, arn[:-2]))
        }

    assert allowed(service_role) == filter_actions | {read_action}
    assert allowed(planned["aws_iam_role_policy.drift"]) == {read_action}
    assert allowed(planned["aws_iam_role_policy.deploy"]) == set()
    assert allowed(planned["aws_iam_policy.boundary"]) == {"FilterLogEvents"}


@pytest.mark.terraform
def test_zips_and_templates_may_be_read(service_role: list[dict[str, Any]]) -> None:
    """CloudFormation reads them as the service role, in the buckets of the bootstrap."""
    bucket_arn = f"arn:aws:s3:::{PREFIX}-{{}}-{ACCOUNT}-{REGION}"
    objects = {
        "artifacts": [REQUIRED_VALUES["CodeKey"], REQUIRED_VALUES["LayerKey"]],
        "templates": ["x/lambda.yaml"],
    }
    for bucket, keys in objects.items():
        for key, action in itertools.product(keys, ("s3:GetObject", "s3:GetObjectVersion")):
            arn = f"{bucket_arn.format(bucket)}/{key}"
            assert is_permitted(service_role, action, arn, REQUEST), (action, arn)


@pytest.mark.terraform
def test_nested_stack_and_its_change_set_are_made_in_the_service_role(
    service_role: list[dict[str, Any]],
) -> None:
    """The rights beyond the schemas, and to hand CloudFormation the role itself."""
    passed = {"iam:PassedToService": "cloudformation.amazonaws.com"}
    assert is_permitted(service_role, "iam:PassRole", REQUIRED_VALUES["ServiceRoleArn"], passed)
    actions = [action for action in REASONS if action.startswith("cloudformation:")]
    assert actions != []
    for action, arn in itertools.product(actions, arns(STACK, "")):
        assert is_permitted(service_role, action, arn, REQUEST), (action, arn)


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
        ("kms:PutKeyPolicy", "kms:GetKeyPolicy", KEY),
        (f"function:{PREFIX}-*", f"functions:{PREFIX}-*", "AWS::Lambda::EventSourceMapping"),
    ],
)
def test_wrong_pattern_or_condition_is_noticed(
    old: str, new: str, kind: str, service_role: list[dict[str, Any]], reference: Reference
) -> None:
    text = json.dumps(service_role)
    assert old in text
    assert refused_calls(json.loads(text.replace(old, new)), reference, kind) != []


@pytest.mark.terraform
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ({"Action": "sqs:Tag*", "Resource": "*"}, "AWS::SQS::Queue"),
        ({"NotAction": ["iam:*", "s3:*"], "Resource": "arn:aws:kms:*:*:key/*"}, KEY),
        ({"Action": ["SNS:createtopic"], "NotResource": "arn:aws:sns:*:*:x"}, "AWS::SNS::Topic"),
        (
            {
                "Action": "dynamodb:*",
                "Resource": "*",
                "Condition": {"StringNotEquals": {"aws:ResourceTag/signwatch:prefix": PREFIX}},
            },
            "AWS::DynamoDB::Table",
        ),
    ],
)
def test_denial_is_noticed(
    statement: dict[str, Any],
    kind: str,
    service_role: list[dict[str, Any]],
    reference: Reference,
) -> None:
    """By a pattern, by an exception, and by a tag that a new resource does not have."""
    denied = [*service_role, {"Effect": "Deny", **statement}]
    assert refused_calls(denied, reference, kind) != []


def test_denial_in_a_key_policy_applies_to_the_service_role() -> None:
    role, key_arn = REQUIRED_VALUES["ServiceRoleArn"], "arn:aws:kms:x:1:key/1"
    root = f"arn:aws:iam::{ACCOUNT}:root"
    allowed = {"Effect": "Allow", "Principal": {"AWS": [role]}, "Action": "kms:*", "Resource": "*"}
    for principal in ("*", {"AWS": "*"}, {"AWS": root}, {"AWS": [root, role]}):
        denied = {**allowed, "Effect": "Deny", "Principal": principal}
        policy = resource_policy_of({"Statement": [allowed, denied]}, role, key_arn)
        assert not is_permitted(policy, "kms:Decrypt", key_arn, {})
    left_to_the_account = {**allowed, "Principal": {"AWS": root}}
    policy = resource_policy_of({"Statement": [left_to_the_account]}, role, key_arn)
    assert not is_permitted(policy, "kms:Decrypt", key_arn, {})
    policy = resource_policy_of({"Statement": [allowed]}, role, key_arn)
    assert is_permitted(policy, "kms:Decrypt", key_arn, {})


@pytest.mark.terraform
def test_each_role_is_passed_only_to_its_service_and_created_only_with_the_boundary(
    service_role: list[dict[str, Any]],
) -> None:
    roles = resources_of("AWS::IAM::Role")
    assert len(roles) == 3
    for role in roles:
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role['RoleName']}"
        (trust,) = statements(role["AssumeRolePolicyDocument"])
        passed = {"iam:PassedToService": trust["Principal"]["Service"]}
        passed_to_another = {"iam:PassedToService": "ec2.amazonaws.com"}
        assert is_permitted(service_role, "iam:PassRole", arn, passed)
        assert not is_permitted(service_role, "iam:PassRole", arn, passed_to_another)
        bounded = {"iam:PermissionsBoundary": role["PermissionsBoundary"]}
        unbounded = {"iam:PermissionsBoundary": ""}
        assert is_permitted(service_role, "iam:CreateRole", arn, bounded)
        assert not is_permitted(service_role, "iam:CreateRole", arn, unbounded)


@pytest.mark.terraform
def test_alias_of_a_key_is_allowed(service_role: list[dict[str, Any]]) -> None:
    """CreateAlias concerns the key beside the alias (Service Authorization Reference, AWS KMS)."""
    (key_arn,) = arns(KEY, "kms:CreateAlias")
    assert is_permitted(service_role, "kms:CreateAlias", key_arn, {})


@pytest.mark.terraform
def test_new_key_can_be_administered_and_used_before_it_has_tags(
    service_role: list[dict[str, Any]],
) -> None:
    """CreateKey fails if its caller could not change the key's policy (KMS API reference)."""
    (key_arn,) = arns(KEY, "")
    assert {"kms:PutKeyPolicy", "kms:CreateGrant", "kms:GenerateDataKey"} <= key_actions()
    for action in sorted(key_actions()):
        assert is_permitted(service_role, action, key_arn, {}), action


@pytest.mark.terraform
def test_only_a_key_without_the_tag_can_get_it(
    service_role_policies: list[dict[str, Any]],
) -> None:
    """CreateKey with tags needs this right in a policy of the role: the key has no policy yet."""
    (key_arn,) = arns(KEY, "")
    another = {**TAGGED_REQUEST, "aws:ResourceTag/signwatch:prefix": "guard"}
    assert is_permitted(service_role_policies, "kms:TagResource", key_arn, REQUEST)
    assert not is_permitted(service_role_policies, "kms:TagResource", key_arn, TAGGED_REQUEST)
    assert not is_permitted(service_role_policies, "kms:TagResource", key_arn, another)


@pytest.mark.terraform
def test_tagging_a_key_of_somebody_else_gives_no_right_over_it(
    service_role: list[dict[str, Any]],
) -> None:
    key_arn = f"arn:aws:kms:{REGION_AND_ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
    for action in sorted(key_actions()):
        assert not is_permitted(service_role, action, key_arn, TAGGED_REQUEST), action


def test_drift_is_allowed_exactly_what_the_read_handlers_need() -> None:
    """Drift detection does not look into nested stacks."""
    assert allowed_actions("drift") == handler_actions("read", kinds=USED_TYPES - {STACK})


@pytest.mark.terraform
@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("kind", sorted(USED_TYPES - {STACK}))
def test_drift_is_allowed_each_read_call_on_the_resources_of_the_templates(
    kind: str,
    changes: Mapping[str, str],
    planned: dict[str, list[dict[str, Any]]],
    reference: Reference,
) -> None:
    drift = planned["aws_iam_role_policy.drift"]
    assert refused_calls(drift, reference, kind, changes, ("read",), TAGGED_REQUEST) == []


@pytest.mark.terraform
@pytest.mark.parametrize("changes", CHANGES)
def test_boundary_allows_each_permission_of_the_roles(
    changes: Mapping[str, str], planned: dict[str, list[dict[str, Any]]]
) -> None:
    (key_arn,) = arns(KEY, "")
    (secret_arn,) = arns("AWS::SecretsManager::Secret", "")
    known_arns = {"<MainKey.Arn>": key_arn, "<TwilioSecret>": secret_arn}
    foreign_key_arn = key_arn.replace(REGION_AND_ACCOUNT, "us-east-1:444455556666")
    boundary = planned["aws_iam_policy.boundary"]
    for role in resources_of("AWS::IAM::Role", IdentityStoreKeyArn=foreign_key_arn, **changes):
        for policy in role["Policies"]:
            for statement in statements(policy["PolicyDocument"]):
                for request in example_requests(statement):
                    for action, arn in itertools.product(
                        statement["Action"], statement["Resource"]
                    ):
                        allowed = is_permitted(boundary, action, known_arns.get(arn, arn), request)
                        assert allowed, (action, arn, request)


def example_requests(statement: dict[str, Any]) -> list[dict[str, str]]:
    """The condition keys of requests that meet the conditions of a statement."""
    tests = [test for tests in statement.get("Condition", {}).values() for test in tests.items()]
    if not tests:
        return [{}]
    ((key, values),) = tests
    return [{key: value.replace("*", REGION)} for value in as_list(values)]


def test_no_role_of_the_templates_is_allowed_anything_on_all_resources() -> None:
    """Every API that the function, the trail and the forwarders call knows a resource."""
    roles = resources_of("AWS::IAM::Role")
    assert len(roles) == 3
    for role in roles:
        for policy in role["Policies"]:
            for statement in statements(policy["PolicyDocument"]):
                assert "*" not in statement["Resource"]
                assert not any("*" in action for action in statement["Action"])
