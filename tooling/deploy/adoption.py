"""Plans to import what exists in the account into a state of Terraform that lacks it.

The ids come from a plan that would create everything: the names in it are those of the existing
resources. Terraform's import blocks are then written beside the configuration, and planned again.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tooling.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tooling.terraform import Terraform

IMPORTS_FILE = "imports.tf"  # the next run deletes it
# Resource type -> its id for an import, made of its planned values (Terraform's AWS provider, the
# section "Import" of each type's page). "iam" is the beginning of the account's ARNs in IAM.
IMPORT_IDS = {
    "aws_iam_openid_connect_provider": "{iam}:oidc-provider/{host}",
    "aws_iam_policy": "{iam}:policy/{name}",
    "aws_iam_role": "{name}",
    "aws_iam_role_policy": "{role}:{name}",
    "aws_iam_role_policy_attachment": "{role}/{policy_arn}",
    "aws_s3_bucket": "{bucket}",
    "aws_s3_bucket_lifecycle_configuration": "{bucket}",
    "aws_s3_bucket_logging": "{bucket}",
    "aws_s3_bucket_notification": "{bucket}",
    "aws_s3_bucket_ownership_controls": "{bucket}",
    "aws_s3_bucket_policy": "{bucket}",
    "aws_s3_bucket_public_access_block": "{bucket}",
    "aws_s3_bucket_server_side_encryption_configuration": "{bucket}",
    "aws_s3_bucket_versioning": "{bucket}",
    "aws_ssm_parameter": "{name}",
}
# Terraform's message about an import of something that does not exist; it breaks lines.
NON_EXISTENT = re.compile(r'existing\s+object\s+to\s+"(?P<address>.+?)",\s+the\s+provider')


def plan_imports(
    terraform: Terraform,
    plan: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    iam_arn: str,
    announce: Callable[[str], None],
) -> dict[str, Any] | None:
    """Return a plan that imports what exists of the resources that ``plan`` would create.

    Return None if it changes nothing. Raises FailedError or RefusedError if Terraform fails.
    """
    imports = list_imports(plan, iam_arn)
    while True:
        _write_imports(terraform, imports)
        announce(f"plan again, with the import of {len(imports)} resources")
        try:
            return terraform.plan(variables)
        except ToolError as error:
            missing = set(NON_EXISTENT.findall(error.what)) & set(imports)
            if not missing:
                raise
        # Terraform reports all of them at once. They are created.
        imports = {
            address: import_id for address, import_id in imports.items() if address not in missing
        }


def list_imports(plan: Mapping[str, Any], iam_arn: str) -> dict[str, str]:
    """Return the id of each resource that the plan would create, by its address in Terraform."""
    imports = {}
    for resource in plan["resource_changes"]:
        if resource["change"]["actions"] == ["create"]:
            values = resource["change"]["after"]
            host = str(values.get("url", "")).removeprefix("https://")
            form = IMPORT_IDS[resource["type"]]
            imports[resource["address"]] = form.format(**values, iam=iam_arn, host=host)
    return imports


def _write_imports(terraform: Terraform, imports: Mapping[str, str]) -> None:
    """Write an import block for each resource beside the configuration."""
    blocks = [  # a string of HCL is quoted as in JSON
        f"import {{\n  to = {address}\n  id = {json.dumps(import_id)}\n}}\n"
        for address, import_id in imports.items()
    ]
    (terraform.folder / IMPORTS_FILE).write_text("".join(blocks))
