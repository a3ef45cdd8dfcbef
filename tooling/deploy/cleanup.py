"""Removes templates and zips that no deploy needs any more from the bootstrap's buckets.

A deploy uploads templates, a function's zip and a layer's zip under keys that contain a digest of
what they are made of. All objects with one digest are one build. These builds are kept:

- the one of the live stack, to which CloudFormation returns when the next update fails. It reads
  templates and zips from the buckets again; a running function needs no zip, since Lambda has a
  copy.
- those of change sets that are not executed yet
- the five newest of each kind

Objects whose keys have another form were not written by a deploy, and are left alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tooling.deploy import buckets, stack
from tooling.deploy.package import ArtifactKey
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.deploy.buckets import Version
    from tooling.settings import Settings

KEPT_BUILDS = 5  # of each kind
TEMPLATE_KEY = re.compile(r"(?P<digest>[0-9a-f]{32})/[a-z-]+\.yaml")
PREVIEW_FOLDER = "preview/"  # what the role for pull requests may write
SAFE_STATUSES = (
    *stack.HEALTHY_STATUSES,
    *stack.FAILED_FIRST_DEPLOY_STATUSES,
    stack.EMPTY_STATUS,
)


class Build(NamedTuple):
    """What objects with one digest are: ``kind`` is templates, function or layer."""

    kind: str  # with PREVIEW_FOLDER before it if the objects lie there
    digest: str

    @classmethod
    def parse(cls, key: str) -> Build | None:
        """Return the build of the object with this key; None for a key of another form."""
        folder = PREVIEW_FOLDER if key.startswith(PREVIEW_FOLDER) else ""
        key = key.removeprefix(folder)
        if match := TEMPLATE_KEY.fullmatch(key):
            return cls(f"{folder}templates", match["digest"])
        artifact = ArtifactKey.parse(key)
        return cls(f"{folder}{artifact.kind}", artifact.digest) if artifact else None


@dataclass(frozen=True)
class StoredBuild:
    """A build in a bucket, with all versions of its objects."""

    bucket: str
    build: Build
    versions: tuple[Version, ...]

    @property
    def size_kib(self) -> float:
        """The size of all versions."""
        return sum(version.size for version in self.versions) / 1024

    @property
    def modified(self) -> datetime:
        """When the newest version was written."""
        return max(version.modified for version in self.versions)

    def describe(self) -> str:
        """Return the line that shows it: what it is, its size and the day of the last upload."""
        day = f"{self.modified:%Y-%m-%d}"
        return f"  - {self.build.kind:<10} {self.build.digest}  {self.size_kib:>8,.0f} KiB  {day}"


def clean(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    *,
    announce: Callable[[str], None],
    approve: Callable[[str], None],
) -> None:
    """Show the builds that nothing refers to, ask, and delete all versions of their objects.

    Raises RefusedError if the stack is in a state in which CloudFormation may still need an older
    build, UnknownStateError if it is busy, FailedError if S3 refuses to delete a version, and what
    ``approve`` raises to stop.
    """
    needed = _list_needed(aws, settings)
    names = (bootstrap.template_bucket_name, bootstrap.artifact_bucket_name)
    announce(f"Looking for builds that no deploy needs in {' and '.join(names)}")
    builds = [build for name in names for build in _list_builds(aws, name, announce)]
    removable = _select_removable(builds, needed)
    kept = f"{len(builds) - len(removable)} builds are kept"
    if not removable:
        announce(f"Nothing to remove: {kept}.")
        return
    for build in removable:
        announce(build.describe())
    size_kib = sum(build.size_kib for build in removable)
    announce(f"{len(removable)} builds, {size_kib:,.0f} KiB, can go; {kept}.")
    approve(f"Delete them for good in account {aws.account}?")
    needed = _list_needed(aws, settings)  # a deploy may have begun during the question
    for build in removable:
        if build.build not in needed:
            announce(f"deleting {build.build.kind} {build.build.digest}")
            buckets.delete_versions(aws, build.bucket, build.versions, announce=announce)


def _list_builds(aws: Account, bucket: str, announce: Callable[[str], None]) -> list[StoredBuild]:
    """Return the builds in the bucket; announce how many objects are none.

    A build of which only old versions and delete markers are left counts too.
    """
    versions: dict[Build, list[Version]] = defaultdict(list)
    foreign_keys = set()
    for version in buckets.list_versions(aws, bucket):
        if build := Build.parse(version.key):
            versions[build].append(version)
        else:
            foreign_keys.add(version.key)
    if foreign_keys:
        announce(f"{len(foreign_keys)} objects in {bucket} are not of a deploy, and stay.")
    return [StoredBuild(bucket, build, tuple(found)) for build, found in sorted(versions.items())]


def _list_needed(aws: Account, settings: Settings) -> set[Build]:
    """Return the builds of the live stack and of the change sets that are not executed yet.

    Raises RefusedError if the stack's state leaves open what it needs, or if another tool made it;
    UnknownStateError if it is busy.
    """
    live = stack.describe(aws, settings.stack)
    if live is None:
        return set()
    stack.refuse_busy(settings, live)
    stack.refuse_foreign(settings, live)
    if live.status not in SAFE_STATUSES:
        what = f"is in state {live.status}, in which AWS may need an older build"
        remedy = "repair or delete the stack first"
        raise RefusedError(f"stack {settings.stack}", what, remedy)
    needed = _parse_builds(live.parameters)
    cloudformation = aws.client("cloudformation")
    pages = cloudformation.get_paginator("list_change_sets").paginate(StackName=settings.stack)
    for summary in [summary for page in pages for summary in page["Summaries"]]:
        change_set = cloudformation.describe_change_set(
            ChangeSetName=summary["ChangeSetId"], StackName=summary["StackId"]
        )
        pairs = change_set.get("Parameters", [])
        needed |= _parse_builds({pair["ParameterKey"]: pair["ParameterValue"] for pair in pairs})
    return needed


def _parse_builds(parameters: Mapping[str, str]) -> set[Build]:
    """Return the builds that the parameters of a stack or a change set name."""
    keys = [parameters.get("CodeKey", ""), parameters.get("LayerKey", "")]
    keys.append(f"{parameters.get('TemplateDigest', '')}/parent.yaml")
    return {build for key in keys if (build := Build.parse(key))}


def _select_removable(builds: Iterable[StoredBuild], needed: set[Build]) -> list[StoredBuild]:
    """Return the builds that are neither needed nor among the newest of their kind, oldest first.

    Builds are as old as their last upload.
    """
    removable = []
    newer_counts: dict[str, int] = defaultdict(int)
    for build in sorted(builds, key=lambda build: build.modified, reverse=True):
        if newer_counts[build.build.kind] >= KEPT_BUILDS and build.build not in needed:
            removable.append(build)
        newer_counts[build.build.kind] += 1
    return removable[::-1]
