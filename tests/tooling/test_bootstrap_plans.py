"""Plans of the bootstrap at its limits: forms of Regions, the longest names, sizes of policies."""

from __future__ import annotations

import json
import os
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.support.repository import ROOT
from tooling.checks.iam_policies import PROVIDER
from tooling.deploy import adoption
from tooling.errors import ToolError
from tooling.terraform import Terraform, parse_hcl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.terraform

SOURCE = ROOT / "terraform-bootstrap"
ACCOUNT = "111122223333"
PROVIDER_ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
# The longest values that the variables accept; of the lists, as many as IAM's trust policy holds.
LONGEST_VALUES = {
    "account_id": ACCOUNT,
    "prefix": "a-prefix-of-20-chars",
    "sso_permission_set_names": [f"{number}{'x' * 31}" for number in range(5)],
    "trusted_principal_arns": [
        f"arn:aws:iam::{ACCOUNT}:user/{number}{'x' * 63}" for number in "12"
    ],
    "old_version_days": 3650,
    "trail_log_group_name": "g" * 200,
    "github_repository": f"{'o' * 39}/{'r' * 100}",
    "github_subject_form": "immutable",
    "github_owner_id": "9" * 20,
    "github_repository_id": "9" * 20,
    "github_environment": "e" * 255,
}
# By document: the size with LONGEST_VALUES, rounded up to 50, and IAM's quota ("IAM and STS
# quotas"). IAM counts characters without white space, and a role's inline policies together.
SIZES = {
    "policy boundary": (2650, 6144),
    "policy service_foundation": (5950, 6144),
    "policy service_resources": (6100, 6144),
    "inline policies of deploy": (10150, 10240),
    "inline policies of github-deploy": (450, 10240),
    "inline policies of github-preview": (2950, 10240),
    "trust of deploy": (1950, 2048),
    "trust of github-deploy": (800, 2048),
    "trust of github-preview": (550, 2048),
    "trust of service": (250, 2048),
}
DOCUMENTS = {  # the same by Terraform address; several addresses add up
    "aws_iam_policy.boundary": "policy boundary",
    "aws_iam_policy.service_foundation": "policy service_foundation",
    "aws_iam_policy.service_resources": "policy service_resources",
    "aws_iam_role.deploy": "trust of deploy",
    "aws_iam_role.service": "trust of service",
    'aws_iam_role.github["deploy"]': "trust of github-deploy",
    'aws_iam_role.github["preview"]': "trust of github-preview",
    "aws_iam_role_policy.deploy": "inline policies of deploy",
    "aws_iam_role_policy.drift": "inline policies of deploy",
    'aws_iam_role_policy.github["deploy"]': "inline policies of github-deploy",
    'aws_iam_role_policy.github["preview"]': "inline policies of github-preview",
}
ANSWERS = {  # what the provider and the check of the OIDC provider read
    "GetCallerIdentity": f"<Arn>arn:aws:iam::{ACCOUNT}:user/anna</Arn><UserId>AIDAEXAMPLE</UserId>"
    f"<Account>{ACCOUNT}</Account>",
    "GetOpenIDConnectProvider": "<Url>token.actions.githubusercontent.com</Url>"
    "<ClientIDList><member>sts.amazonaws.com</member></ClientIDList>",
}


def all_regions() -> list[str]:
    """Every Region that botocore knows, in every partition."""
    session = boto3.Session()
    partitions = session.get_available_partitions()
    return [
        region
        for partition in partitions
        for region in session.get_available_regions("ec2", partition_name=partition)
    ]


def longest_regions() -> list[str]:
    """The longest Region of each form, such as eu-west-1, us-gov-east-1 and eusc-de-east-1.

    The configuration only writes a Region's name into texts. The provider checks their form, and
    their size grows with the name.
    """
    forms: dict[tuple[int, int], list[str]] = {}
    for region in all_regions():
        parts = region.split("-")
        forms.setdefault((len(parts), len(parts[0])), []).append(region)
    return [max(regions, key=len) for regions in forms.values()]


def environment(**variables: str) -> dict[str, str]:
    """The environment of this process without settings of Terraform and AWS."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("TF_", "AWS_"))}
    return kept | variables


def make_module(folder: Path, files: list[Path], values: Mapping[str, Any]) -> Terraform:
    """These files of the bootstrap as a module, which a plan uses once for each of ``regions``."""
    module = folder / "root" / "bootstrap"
    module.mkdir(parents=True)
    for path in files:
        shutil.copy(path, module)
    body = {
        "source": "./bootstrap",
        "for_each": "${toset(var.regions)}",
        "region": "${each.key}",
        **values,
    }
    main = {"module": {"bootstrap": body}, "variable": {"regions": {}}}
    (folder / "root" / "main.tf.json").write_text(json.dumps(main))
    return Terraform(folder / "root", folder / "x.tfstate", environment())


def plan_in_regions(folder: Path, regions: list[str], **values: Any) -> dict[str, Any]:
    """The planned resources of the bootstrap as a module, once a Region, by Region and address.

    One plan for all, because each one starts the provider. The partition stays that of AWS's
    commercial Regions. Raises as ``Terraform.plan``.
    """
    files = [path for path in SOURCE.glob("*.tf") if path.name != "providers.tf"]
    terraform = make_module(folder, files, values)
    provider = PROVIDER.replace("var.region", '"us-east-1"')
    (terraform.folder / "providers.tf").write_text(provider)
    shutil.copy(SOURCE / "versions.tf", terraform.folder)
    terraform.init()
    plan = terraform.plan({"regions": regions})
    assert plan is not None
    return {
        module["resources"][0]["address"].split('"')[1]: {
            resource["address"].partition("].")[2]: resource["values"]
            for resource in module["resources"]
        }
        for module in plan["planned_values"]["root_module"]["child_modules"]
    }


def measure(resources: dict[str, Any]) -> dict[str, int]:
    """The size of each policy document, as IAM counts it."""
    sizes = dict.fromkeys(SIZES, 0)
    for address, document in DOCUMENTS.items():
        values = resources[address]
        text = values["assume_role_policy"] if "aws_iam_role." in address else values["policy"]
        sizes[document] += len(json.dumps(json.loads(text), separators=(",", ":")))
    return sizes


def test_the_variables_accept_every_region(tmp_path: Path) -> None:
    """Plans the variables alone, which needs no provider."""
    terraform = make_module(tmp_path, [SOURCE / "variables.tf"], LONGEST_VALUES)
    terraform.init()
    assert "ap-southeast-6" in all_regions()
    assert terraform.plan({"regions": all_regions()}) is None
    with pytest.raises(ToolError, match="were refused"):
        terraform.plan({"regions": ["nowhere"]})


def test_each_form_of_region_plans_and_each_policy_fits_iam(tmp_path: Path) -> None:
    regions = longest_regions()
    assert max(map(len, regions)) == max(map(len, all_regions()))
    planned = plan_in_regions(tmp_path, regions, **LONGEST_VALUES)
    assert set(planned) == set(regions)
    sizes = [measure(resources) for resources in planned.values()]
    for document, (bound, quota) in SIZES.items():
        size = max(measured[document] for measured in sizes)
        print(f"{document}: {size} of {quota} characters")
        assert bound - 50 < size <= bound <= quota, f"{document}: {size}"


def test_every_document_of_iam_is_measured() -> None:
    kinds = ("aws_iam_policy", "aws_iam_role", "aws_iam_role_policy")
    labels = {
        f"{kind}.{label}"
        for path in SOURCE.glob("*.tf")
        for block in parse_hcl(path.read_text()).get("resource", [])
        for kind in kinds
        for label in block.get(kind, {})
    }
    assert {address.partition("[")[0] for address in DOCUMENTS} == labels


def test_a_trust_policy_that_iam_would_refuse_is_refused_by_the_plan(tmp_path: Path) -> None:
    names = [f"{number:02}{'x' * 30}" for number in range(12)]
    values = LONGEST_VALUES | {"sso_permission_set_names": names}
    with pytest.raises(ToolError, match="would be longer than IAM allows: name fewer"):
        plan_in_regions(tmp_path, ["eu-west-1"], **values)


@pytest.fixture
def aws_url() -> Iterator[str]:
    """A loopback server that answers the few calls of a plan; others fail with status 500."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"])).decode()
            action = request.partition("Action=")[2].partition("&")[0]
            answer = ANSWERS.get(action, "")
            body = f"<{action}Response><{action}Result>{answer}</{action}Result></{action}Response>"
            self.send_response(200 if answer else 500)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_each_resource_can_be_imported(plan: Mapping[str, Any]) -> None:
    """The ids for bootstrap --adopt are made of planned values, so each must be known."""
    imports = adoption.list_imports(plan, f"arn:aws:iam::{ACCOUNT}")
    created = [
        resource["address"]
        for resource in plan["resource_changes"]
        if resource["change"]["actions"] == ["create"]
    ]
    assert list(imports) == created
    assert [address for address, name in imports.items() if "None" in name] == []
    prefix = LONGEST_VALUES["prefix"]
    assert imports["aws_iam_role_policy.drift"] == f"{prefix}-deploy:drift"
    assert imports['aws_iam_role_policy_attachment.service["resources"]'] == (
        f"{prefix}-cloudformation/arn:aws:iam::{ACCOUNT}:policy/{prefix}-cloudformation-resources"
    )


def test_every_kind_of_resource_has_a_form_of_its_import_id() -> None:
    kinds = {
        kind
        for path in SOURCE.glob("*.tf")
        for block in parse_hcl(path.read_text()).get("resource", [])
        for kind in block
    }
    assert set(adoption.IMPORT_IDS) == kinds - {"__is_block__"}


def test_all_variables_plan_with_the_own_provider_in_a_region_that_it_does_not_know(
    tmp_path: Path, aws_url: str
) -> None:
    variables = environment(
        AWS_ENDPOINT_URL=aws_url,
        AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
        AWS_SECRET_ACCESS_KEY="made-up",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )
    terraform = Terraform.prepare(SOURCE, tmp_path / "run", tmp_path / "x.tfstate", variables)
    terraform.init()
    values = {"region": "ap-southeast-6", "github_oidc_provider_arn": PROVIDER_ARN}
    plan = terraform.plan(LONGEST_VALUES | values)
    assert plan is not None
    assert_each_resource_can_be_imported(plan)
    names = set(plan["variables"])
    assert names == {
        name
        for block in parse_hcl((SOURCE / "variables.tf").read_text())["variable"]
        for name in block
    } - {"__is_block__"}
