"""Lists and deletes the objects of versioned buckets, with every version.

A delete marker, which hides the versions of a deleted object, is listed and deleted like a version
of size 0. A request names the account that must own the bucket.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from tooling.deploy.account import Account

MAX_KEYS_A_REQUEST = 1000  # S3 API reference, DeleteObjects
PROGRESS_SECONDS = 2.0  # between two lines


class Version(NamedTuple):
    """One version of an object; ``size`` is in bytes."""

    key: str
    version_id: str
    size: int
    modified: datetime


def list_versions(aws: Account, bucket: str) -> Iterator[Version]:
    """Yield each version of each object in the bucket, which must be this account's."""
    paginator = aws.client("s3").get_paginator("list_object_versions")
    for page in paginator.paginate(Bucket=bucket, ExpectedBucketOwner=aws.account):
        for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            yield Version(item["Key"], item["VersionId"], item.get("Size", 0), item["LastModified"])


def delete_versions(
    aws: Account, bucket: str, versions: Iterable[Version], *, announce: Callable[[str], None]
) -> int:
    """Delete the versions for good; return how many. Announce the number so far now and then.

    Raises FailedError with S3's reason if it refuses one, such as a version under a retention.
    """
    s3 = aws.client("s3")
    remaining, count, last_line_time = iter(versions), 0, time.monotonic()
    while batch := list(itertools.islice(remaining, MAX_KEYS_A_REQUEST)):
        objects = [{"Key": version.key, "VersionId": version.version_id} for version in batch]
        response = s3.delete_objects(
            Bucket=bucket,
            Delete={"Objects": objects, "Quiet": True},
            ExpectedBucketOwner=aws.account,
        )
        if errors := response.get("Errors"):
            raise _make_error(bucket, errors)
        count += len(batch)
        if time.monotonic() - last_line_time >= PROGRESS_SECONDS:
            announce(f"  {count:,} versions deleted from {bucket} so far")
            last_line_time = time.monotonic()
    return count


def _make_error(bucket: str, errors: list[dict[str, Any]]) -> FailedError:
    """Return the error for versions that S3 did not delete; it quotes the first reason."""
    first = errors[0]
    what = (
        f"{len(errors)} versions could not be deleted, such as one of {first.get('Key')!r}:"
        f" {first.get('Code')}, {first.get('Message')!r}"
    )
    return FailedError(f"bucket {bucket}", what, "fix what S3 names, then run the same task again")
