"""Which builds of the buckets are removed, and which states of the stack forbid it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.deployment import CONTRACT, FOREIGN_TAGS, FakeDeployment, stack_in
from tooling.deploy import buckets
from tooling.deploy.buckets import Version
from tooling.deploy.cleanup import Build, StoredBuild, _select_removable, clean
from tooling.errors import FailedError, RefusedError, UnknownStateError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHA256 = "0" * 64


def build_of(day: int, kind: str = "function") -> StoredBuild:
    """A build that was uploaded ``day`` days after the first one."""
    version = Version("key", "1", 1024, NOW + timedelta(days=day))
    return StoredBuild("bucket", Build(kind, f"{day:032x}"), (version,))


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "kind"),
        [
            (f"{'a' * 32}/parent.yaml", "templates"),
            (f"function/{'a' * 32}-cp314-{SHA256}.zip", "function"),
            (f"layer/{'a' * 32}-plain-{SHA256}.zip", "layer"),
            (f"preview/layer/{'a' * 32}-plain-{SHA256}.zip", "preview/layer"),
            (f"preview/{'a' * 32}/parent.yaml", "preview/templates"),
        ],
    )
    def test_a_key_of_a_deploy_names_its_build(self, key: str, kind: str) -> None:
        assert Build.parse(key) == Build(kind, "a" * 32)

    @pytest.mark.parametrize(
        "key", ["notes.txt", f"{'a' * 31}/parent.yaml", f"{'a' * 32}/x/y.yaml", "function/1.zip"]
    )
    def test_any_other_key_names_none(self, key: str) -> None:
        assert Build.parse(key) is None


class TestSelection:
    def test_the_five_newest_of_each_kind_are_kept(self) -> None:
        functions = [build_of(day) for day in range(7)]
        layers = [build_of(day, "layer") for day in range(6)]
        removable = _select_removable([*functions, *layers], set())
        assert {*removable} == {functions[0], layers[0], functions[1]}

    def test_a_needed_build_is_kept_however_old(self) -> None:
        builds = [build_of(day) for day in range(7)]
        assert _select_removable(builds, {builds[0].build}) == [builds[1]]

    def test_a_build_is_as_old_as_its_last_upload(self) -> None:
        old, new = build_of(0), build_of(9)
        again = StoredBuild("bucket", old.build, (*old.versions, *new.versions))
        assert _select_removable([again, *map(build_of, range(1, 6))], set()) == [build_of(1)]


class TestStates:
    def run(self, deployment: FakeDeployment) -> None:
        listener = deployment.listener
        clean(
            deployment.aws,
            deployment.settings,
            CONTRACT,
            announce=listener.announce,
            approve=listener.approve,
        )

    @pytest.mark.parametrize(
        ("stack", "error", "message"),
        [
            (stack_in("UPDATE_IN_PROGRESS"), UnknownStateError, "is busy"),
            (stack_in("UPDATE_ROLLBACK_FAILED"), RefusedError, "AWS may need an older build"),
            (stack_in("DELETE_FAILED"), RefusedError, "AWS may need an older build"),
            (stack_in("CREATE_COMPLETE", FOREIGN_TAGS), RefusedError, "not made by this tool"),
        ],
    )
    def test_an_unclear_state_is_refused_before_a_bucket_is_read(
        self,
        deployment: FakeDeployment,
        stack: dict[str, Any],
        error: type[Exception],
        message: str,
    ) -> None:
        deployment.cloudformation.stack = stack
        with pytest.raises(error, match=message):
            self.run(deployment)
        assert deployment.listener.questions == []


class TestDeletion:
    def test_versions_are_deleted_a_thousand_at_a_time_with_progress(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[dict[str, Any]] = []

        def delete_objects(**request: Any) -> dict[str, Any]:
            requests.append(request)
            return {}

        monkeypatch.setattr(deployment.s3, "delete_objects", delete_objects, raising=False)
        monkeypatch.setattr(buckets, "PROGRESS_SECONDS", 0)
        versions = [Version("key", str(number), 1, NOW) for number in range(1500)]
        announce = deployment.listener.announce
        assert buckets.delete_versions(deployment.aws, "b", versions, announce=announce) == 1500
        assert [len(request["Delete"]["Objects"]) for request in requests] == [1000, 500]
        assert requests[1]["Delete"]["Objects"][-1] == {"Key": "key", "VersionId": "1499"}
        assert {request["ExpectedBucketOwner"] for request in requests} == {"111122223333"}
        assert deployment.listener.lines == [
            "  1,000 versions deleted from b so far",
            "  1,500 versions deleted from b so far",
        ]

    def test_a_version_that_s3_keeps_ends_it_with_the_reason(
        self, deployment: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors = [{"Key": "k\x1b", "Code": "AccessDenied", "Message": "object is locked"}]
        monkeypatch.setattr(
            deployment.s3, "delete_objects", lambda **_: {"Errors": errors}, raising=False
        )
        with pytest.raises(FailedError, match="object is locked") as failure:
            buckets.delete_versions(
                deployment.aws, "b", [Version("k", "1", 1, NOW)], announce=lambda _: None
            )
        assert "\x1b" not in str(failure.value)
