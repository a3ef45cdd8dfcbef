"""Uploads to the bootstrap's buckets: only what is not there yet, and never over something that differs."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tooling.deploy.account import Account

ABSENT = ("404", "NoSuchKey", "NotFound")
ALREADY_THERE = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


@dataclass(frozen=True)
class File:
    """A file to be kept at ``key`` of ``bucket``."""

    path: Path
    bucket: str
    key: str

    def checksum(self) -> str:
        """Return the SHA-256 of the content in base64, as S3 keeps it."""
        return base64.b64encode(hashlib.sha256(self.path.read_bytes()).digest()).decode()


def upload(aws: Account, files: Sequence[File], *, announce: Callable[[str], None]) -> int:
    """Upload the files whose keys are not there yet; return how many were.

    A key is a digest, so an object under it with another checksum was put there by somebody else: FailedError.
    """
    s3, count = aws.client("s3"), 0
    for file in files:
        present = _checksum_of(s3, aws, file)
        if present is None:
            announce(
                f"uploading {file.key} ({file.path.stat().st_size / 1024:.0f} KiB) to {file.bucket}"
            )
            _put(s3, aws, file)
            count += 1
        elif present != file.checksum():
            _refuse(file)
    return count


def newest_variant(aws: Account, bucket: str, key: str) -> str:
    """Return the byte-code variant of a plain ``key`` that lies in ``bucket``, else ``key`` itself.

    A key with byte-code stands: its bytes are known here, so the upload can hold the stored object against them.
    """
    if not key.endswith("-plain.zip"):
        return key
    stem = key.rpartition("-")[0] + "-cp"
    found = aws.client("s3").list_objects_v2(
        Bucket=bucket, Prefix=stem, ExpectedBucketOwner=aws.account
    )
    keys = sorted(item["Key"] for item in found.get("Contents", []))
    return keys[-1] if keys else key


def _checksum_of(s3: object, aws: Account, file: File) -> str | None:
    """Return the stored SHA-256, "" for an object without one, None for no object."""
    try:
        head = s3.head_object(  # type: ignore[attr-defined] # boto3 makes its clients at run time
            Bucket=file.bucket,
            Key=file.key,
            ChecksumMode="ENABLED",
            ExpectedBucketOwner=aws.account,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            return None
        raise
    return str(head.get("ChecksumSHA256", ""))


def _put(s3: object, aws: Account, file: File) -> None:
    try:
        s3.put_object(  # type: ignore[attr-defined] # boto3 makes its clients at run time
            Bucket=file.bucket,
            Key=file.key,
            Body=file.path.read_bytes(),
            ChecksumSHA256=file.checksum(),
            IfNoneMatch="*",
            ExpectedBucketOwner=aws.account,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in ALREADY_THERE:
            raise
        if _checksum_of(s3, aws, file) != file.checksum():
            _refuse(file)


def _refuse(file: File) -> None:
    what = "holds other bytes than this checkout makes for the same inputs; nothing was deployed"
    remedy = "find out who wrote it (S3 access logs), delete that object, deploy again"
    raise FailedError(f"s3://{file.bucket}/{file.key}", what, remedy)
