"""What is collected from a plan of the bootstrap."""

from __future__ import annotations

from typing import Any

import pytest

from tooling.checks.iam_policies import Bootstrap, collect_bootstrap, parse_policy, read_module
from tooling.errors import RefusedError

DOCUMENT = '{"Statement": []}'
ROLE_ARN = "arn:aws:iam::111122223333:role/x-{}"


def resource(address: str, **values: Any) -> dict[str, Any]:
    kind, _, rest = address.partition(".")
    name, _, key = rest.rstrip("]").partition("[")
    index = {"index": key.strip('"')} if key else {}
    return {"address": address, "type": kind, "name": name, "values": values, **index}


def block(address: str, **expressions: list[str]) -> dict[str, Any]:
    references = {name: {"references": names} for name, names in expressions.items()}
    return {
        "address": address,
        "type": address.partition(".")[0],
        "expressions": {"policy": {}, **references},
    }


RESOURCES = {
    entry["address"]: entry
    for entry in (
        resource("aws_iam_role.one", name="x-one", assume_role_policy=DOCUMENT),
        resource('aws_iam_role.many["a"]', name="x-a", assume_role_policy=DOCUMENT),
        resource('aws_iam_role.many["b"]', name="x-b", assume_role_policy=DOCUMENT),
        resource("aws_iam_role_policy.one", policy=DOCUMENT),
        resource('aws_iam_role_policy.many["a"]', policy=DOCUMENT),
        resource('aws_iam_role_policy.many["b"]', policy=DOCUMENT),
        resource("aws_iam_policy.attached", policy=DOCUMENT),
        resource("aws_iam_policy.boundary", policy=DOCUMENT),
        resource("aws_s3_bucket.logs", bucket="x-logs"),
        resource('aws_s3_bucket_policy.all["logs"]', policy=DOCUMENT),
    )
}
BLOCKS = [
    block("aws_iam_role_policy.one", role=["aws_iam_role.one.id", "aws_iam_role.one"]),
    block("aws_iam_role_policy.many", role=["aws_iam_role.many", "each.key"]),
    block(
        "aws_iam_role_policy_attachment.one",
        role=["aws_iam_role.one.name", "aws_iam_role.one"],
        policy_arn=["aws_iam_policy.attached.arn", "aws_iam_policy.attached"],
    ),
]


def test_each_role_has_its_own_policies() -> None:
    roles = collect_bootstrap(Bootstrap(RESOURCES, {}, BLOCKS)).roles
    assert {role.name: [policy.name for policy in role.identity_policies] for role in roles} == {
        "x-one": ["aws_iam_role_policy.one", "aws_iam_policy.attached"],
        "x-a": ['aws_iam_role_policy.many["a"]'],
        "x-b": ['aws_iam_role_policy.many["b"]'],
    }


def test_trust_documents_and_bucket_policies_have_the_arn_that_they_protect() -> None:
    policies = collect_bootstrap(Bootstrap(RESOURCES, {}, BLOCKS)).policies
    assert len(policies) == 9
    assert {policy.name: policy.resource_arn for policy in policies if policy.resource_arn} == {
        "aws_iam_role.one": ROLE_ARN.format("one"),
        'aws_iam_role.many["a"]': ROLE_ARN.format("a"),
        'aws_iam_role.many["b"]': ROLE_ARN.format("b"),
        'aws_s3_bucket_policy.all["logs"]': "arn:aws:s3:::x-logs",
    }


def test_policy_that_the_plan_does_not_know_is_refused() -> None:
    unknown = {'aws_iam_role_policy.many["a"]': {"policy": True, "id": True}}
    with pytest.raises(RefusedError, match="is not known in the plan"):
        collect_bootstrap(Bootstrap(RESOURCES, unknown, BLOCKS))


def test_unknown_value_that_the_provider_computes_is_no_policy() -> None:
    """A bucket has an attribute with the name ``policy``, which nobody writes."""
    unknown = {"aws_s3_bucket.logs": {"policy": True}}
    assert collect_bootstrap(Bootstrap(RESOURCES, unknown, BLOCKS)).policies


def test_addresses_of_a_module_are_read_without_its_name() -> None:
    address = "module.copy.aws_iam_policy.x"
    change = {
        "address": address,
        "module_address": "module.copy",
        "change": {"after_unknown": {"id": True}},
    }
    modules = [
        {"address": "module.other", "resources": []},
        {"address": "module.copy", "resources": [{"address": address}]},
    ]
    plan = {
        "planned_values": {"root_module": {"child_modules": modules}},
        "resource_changes": [change, {"address": "module.other.aws_iam_policy.x"}],
        "configuration": {
            "root_module": {"module_calls": {"copy": {"module": {"resources": BLOCKS}}}}
        },
    }
    bootstrap = read_module(plan, "copy")
    assert bootstrap.resources == {"aws_iam_policy.x": {"address": address}}
    assert bootstrap.unknown_values == {"aws_iam_policy.x": {"id": True}}
    assert bootstrap.blocks == BLOCKS


@pytest.mark.parametrize(
    ("value", "is_policy"),
    [(DOCUMENT, True), ({"Statement": []}, True), ("{", False), ("{}", False), (None, False)],
)
def test_policy_is_a_mapping_or_json_with_statements(value: object, is_policy: bool) -> None:
    assert (parse_policy(value) is not None) is is_policy
