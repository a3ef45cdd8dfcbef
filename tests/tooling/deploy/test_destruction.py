"""What destroy --everything finds and says, and in which order it acts.

tests/end_to_end/test_way_back.py runs it whole, with an interruption, on the local AWS emulator.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import Paginator, Parameters, account, client_error
from tests.support.deployment import FOREIGN_TAGS, FakeDeployment, stack_in
from tooling.deploy import destruction
from tooling.deploy.account import Account
from tooling.deploy.bootstrap import TerraformPaths
from tooling.deploy.destruction import Remains
from tooling.deploy.stack import ForwarderRemoval
from tooling.errors import RefusedError, UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROVIDER = "aws_iam_openid_connect_provider.github[0]"
OURS = {"TagKey": "signwatch:prefix", "TagValue": "signwatch"}
PARTS = ("forwarder_regions", "log_buckets", "key_ids", "allowances", "bootstrap")
BOOTSTRAP = (
    {
        "address": "aws_s3_bucket.access_logs",
        "type": "aws_s3_bucket",
        "values": {"bucket": "access-logs"},
    },
    {"address": PROVIDER, "type": "aws_iam_openid_connect_provider", "values": {}},
    {"address": "aws_iam_role.deploy", "type": "aws_iam_role", "values": {}},
)


class Kms:
    """Keys by id: their tags (None: the caller may not read them) and when AWS deletes them."""

    def __init__(self, keys: Mapping[str, tuple[list[dict[str, str]] | None, Any]]) -> None:
        self.keys = keys

    def get_paginator(self, _: str) -> Paginator:
        def pages() -> Iterator[dict[str, Any]]:
            for key_id in self.keys:
                yield {"Keys": [{"KeyId": key_id}]}

        return Paginator(pages)

    def list_resource_tags(self, KeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        tags, _ = self.keys[KeyId]
        if tags is None:
            raise client_error("AccessDeniedException")
        return {"Tags": tags}

    def describe_key(self, KeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        _, date = self.keys[KeyId]
        return {"KeyMetadata": {"DeletionDate": date} if date else {}}


class S3:
    """S3 that records its calls; ``lock`` is the object lock of every bucket."""

    def __init__(self, lock: dict[str, Any] | None = None) -> None:
        self.lock = lock
        self.calls: list[str] = []

    def get_object_lock_configuration(self, **_: str) -> dict[str, Any]:
        if self.lock is None:
            raise client_error("ObjectLockConfigurationNotFoundError")
        return {"ObjectLockConfiguration": self.lock}

    def delete_bucket_policy(self, **request: str) -> None:
        self.calls.append(f"policy of {request['Bucket']}")

    def get_paginator(self, _: str) -> Paginator:
        def pages(**request: str) -> Iterator[dict[str, Any]]:
            self.calls.append(f"versions of {request['Bucket']}")
            yield {}

        return Paginator(pages)


class Terraform:
    """Terraform that records its commands."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def forget(self, address: str) -> None:
        self.commands.append(f"forget {address}")

    def plan(self, variables: Mapping[str, Any], *, destroy: bool) -> dict[str, Any]:
        assert destroy
        assert variables["prefix"] == "signwatch"
        self.commands.append("plan")
        return {"resource_changes": []}

    def apply(self) -> None:
        self.commands.append("apply")


def remains(**parts: Any) -> Remains:
    empty: dict[str, Any] = dict.fromkeys(PARTS, ())
    return Remains(live=None, **{**empty, **parts})


def describe(deployment: FakeDeployment, found: Remains, s3: S3 | None = None) -> str:
    lines = destruction._describe(account(s3=s3 or S3()), deployment.settings, found)
    return "\n".join(lines)


class TestFinding:
    def test_keys_of_the_prefix_that_aws_is_not_going_to_delete_are_found(self) -> None:
        other = {"TagKey": "signwatch:prefix", "TagValue": "another"}
        date = datetime(2026, 12, 1, tzinfo=UTC)
        keys = {
            "ours": ([OURS], None),
            "of another prefix": ([other], None),
            "without tags": ([], None),
            "unreadable": (None, None),
            "pending": ([OURS], date),
        }
        assert destruction._list_keys(account(kms=Kms(keys)), "signwatch") == ["ours"]

    def test_nothing_found_is_empty_and_anything_is_not(self) -> None:
        assert remains().is_empty()
        for part in PARTS:
            assert not remains(**{part: ("x",)}).is_empty()


class TestPlan:
    def test_each_part_is_named_with_its_waiting_time(self, deployment: FakeDeployment) -> None:
        parts = {"log_buckets": ("logs",), "key_ids": ("key-1",), "allowances": ("a", "b")}
        regions = ("eu-north-1", "us-east-1")
        found = remains(**parts, forwarder_regions=regions, bootstrap=BOOTSTRAP)
        text = describe(deployment, found)
        assert "  - the forwarders of eu-north-1, us-east-1\n" in text
        assert "  - log bucket logs with all records\n" in text
        assert "  - key key-1: AWS waits 7 days, then deletes it\n" in text
        assert "  - 2 allowances of networks\n" in text
        assert "  - the 2 resources of the bootstrap\n" in text
        assert "  - bucket access-logs with all it holds\n" in text
        assert text.endswith(
            f"It leaves {PROVIDER}: other projects may use GitHub's OIDC provider."
        )

    @pytest.mark.parametrize(
        ("lock", "text"),
        [
            ({"ObjectLockEnabled": "Enabled"}, "(no default retention)"),
            (
                {"Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}},
                "COMPLIANCE, 30 d",
            ),
            ({"Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Years": 1}}}, "GOVERNANCE, 1 y"),
        ],
    )
    def test_object_lock_of_the_log_bucket_is_said_before(
        self, deployment: FakeDeployment, lock: dict[str, Any], text: str
    ) -> None:
        shown = describe(deployment, remains(log_buckets=("logs",)), S3(lock))
        assert "logs with all records; object lock is on" in shown
        assert text in shown
        assert "S3 refuses until each retention has ended" in shown


class TestOrder:
    @pytest.mark.parametrize("has_stack", [True, False])
    def test_forwarders_go_after_the_question_and_before_the_stack(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch, *, has_stack: bool
    ) -> None:
        for name in ("_list_log_buckets", "_list_keys", "_list_allowances"):
            monkeypatch.setattr(destruction, name, lambda *_: ())
        prepare = "tooling.deploy.destruction.Terraform.prepare"
        monkeypatch.setattr(prepare, lambda *_: Terraform())
        monkeypatch.setattr(Account, "make_environment", lambda _: {})
        cloudformation, listener = deployment.cloudformation, deployment.listener
        cloudformation.stack = stack_in("CREATE_COMPLETE") if has_stack else None
        removal = ForwarderRemoval(
            ("us-east-1",), lambda: cloudformation.calls.append(("forwarders", {}))
        )
        destruction.destroy_everything(
            account(cloudformation=cloudformation, ssm=Parameters({})),
            deployment.settings,
            TerraformPaths(Path("nowhere"), Path("nowhere") / "x.tfstate"),
            display=listener.stack(),
            forwarders=removal,
        )
        assert "  - the forwarders of us-east-1" in listener.lines
        assert "Nothing of signwatch is left" not in listener.text()
        assert len(listener.questions) == 1
        names = ["forwarders", "update_termination_protection", "delete_stack"]
        assert cloudformation.call_names() == (names if has_stack else names[:1])

    def test_deliveries_stop_and_buckets_are_empty_before_terraform_deletes(
        self, deployment: FakeDeployment
    ) -> None:
        s3 = S3()
        terraform: Any = Terraform()
        found = remains(bootstrap=BOOTSTRAP)
        announce = deployment.listener.announce
        destruction._destroy_bootstrap(
            account(s3=s3), deployment.settings, found, terraform, announce
        )
        assert s3.calls == ["policy of access-logs", "versions of access-logs"]
        assert terraform.commands == [f"forget {PROVIDER}", "plan", "apply"]


class TestRefusals:
    def run(self, deployment: FakeDeployment, contract: dict[str, str]) -> None:
        paths = TerraformPaths(Path("nowhere"), Path("nowhere") / "x.tfstate")
        ssm = Parameters(contract)
        aws = account(cloudformation=deployment.cloudformation, ssm=ssm)
        display = deployment.listener.stack()
        destruction.destroy_everything(aws, deployment.settings, paths, display=display)

    def test_a_lost_state_is_refused_first(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("CREATE_COMPLETE")
        with pytest.raises(RefusedError, match="is missing or empty") as refusal:
            self.run(deployment, {"/signwatch/bootstrap/deploy_role_arn": "x"})
        assert "--adopt" in refusal.value.remedy
        assert deployment.cloudformation.calls == []

    def test_a_foreign_stack_is_refused(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("CREATE_COMPLETE", FOREIGN_TAGS)
        with pytest.raises(RefusedError, match="was not made by this tool"):
            self.run(deployment, {})

    def test_a_busy_stack_is_left_alone(self, deployment: FakeDeployment) -> None:
        deployment.cloudformation.stack = stack_in("UPDATE_IN_PROGRESS")
        with pytest.raises(UnknownStateError, match="is busy"):
            self.run(deployment, {})
