"""Imports into a lost state: the ids, and what does not exist in the account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tooling.deploy import adoption
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IAM_ARN = "arn:aws:iam::111122223333"
# As Terraform prints it, with a line broken at each place where it may be
MISSING = """failed:

Error: Cannot import non-existent remote object

While attempting to import an existing object to
"{}",
the provider detected that no object exists with the given id. Only
pre-existing objects can be imported;
"""


def creation(address: str, **values: str) -> dict[str, Any]:
    kind = address.partition(".")[0]
    change = {"actions": ["create"], "after": values}
    return {"address": address, "type": kind, "change": change}


BUCKET = 'aws_s3_bucket_policy.tls_only["artifacts"]'
ROLE = "aws_iam_role.deploy"
PLAN = {
    "resource_changes": [
        creation(BUCKET, bucket="signwatch-artifacts"),
        creation(ROLE, name="signwatch-deploy"),
        {"address": "aws_iam_role.service", "change": {"actions": ["update"]}},
    ]
}


@dataclass
class Terraform:
    """Terraform that finds only some of the resources that are imported."""

    folder: Path
    missing: set[str]
    imported: list[str] = field(default_factory=list)  # the import blocks of each plan
    error: Exception | None = None

    def plan(self, _variables: Mapping[str, Any]) -> dict[str, Any]:
        blocks = (self.folder / "imports.tf").read_text()
        self.imported.append(blocks)
        if self.error:
            raise self.error
        missing = [address for address in sorted(self.missing) if address in blocks]
        if missing:
            text = "".join(MISSING.format(address) for address in missing)
            raise RefusedError("terraform plan", text, "fix it")
        return {"resource_changes": []}


def run(terraform: Any) -> dict[str, Any] | None:
    return adoption.plan_imports(terraform, PLAN, {}, iam_arn=IAM_ARN, announce=lambda _: None)


def test_only_what_the_plan_would_create_is_imported(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, set())
    assert run(terraform) == {"resource_changes": []}
    (blocks,) = terraform.imported
    assert blocks.split("import ")[1:] == [
        f'{{\n  to = {BUCKET}\n  id = "signwatch-artifacts"\n}}\n',
        f'{{\n  to = {ROLE}\n  id = "signwatch-deploy"\n}}\n',
    ]


@pytest.mark.parametrize(("missing", "plans"), [({BUCKET}, 2), ({BUCKET, ROLE}, 2)])
def test_what_does_not_exist_is_left_to_be_created(
    tmp_path: Path, missing: set[str], plans: int
) -> None:
    terraform = Terraform(tmp_path, missing)
    run(terraform)
    assert len(terraform.imported) == plans
    assert [address for address in missing if address in terraform.imported[-1]] == []


def test_any_other_failure_of_terraform_is_raised(tmp_path: Path) -> None:
    terraform = Terraform(tmp_path, set(), error=FailedError("terraform plan", "denied", "ask"))
    with pytest.raises(FailedError, match="denied"):
        run(terraform)
    assert len(terraform.imported) == 1


def test_the_id_of_a_provider_has_its_host_alone() -> None:
    address = "aws_iam_openid_connect_provider.github[0]"
    created = creation(address, url="https://token.actions.githubusercontent.com")
    imports = adoption.list_imports({"resource_changes": [created]}, IAM_ARN)
    arn = f"{IAM_ARN}:oidc-provider/token.actions.githubusercontent.com"
    assert imports == {address: arn}
