"""Uploads files to the bootstrap's buckets: only missing ones, never over a differing object."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.deploy.package import PLAIN, ArtifactKey
from tooling.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tooling.deploy.account import Account

NOT_FOUND_CODES = ("404", "NoSuchKey", "NotFound")
ALREADY_EXISTS_CODES = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


@dataclass(frozen=True)
class File:
    """A local file and its place in S3; the key contains a digest or checksum of the content."""

    path: Path
    bucket: str
    key: str

    def checksum(self) -> str:
        """Return the SHA-256 of the content in base64, as S3 stores it."""
        return base64.b64encode(hashlib.sha256(self.path.read_bytes()).digest()).decode()


def upload(aws: Account, files: Sequence[File], *, announce: Callable[[str], None]) -> int:
    """Upload the files that are not in their bucket yet; return how many.

    Raises FailedError for an object with other content under one of the keys: somebody else wrote
    it.
    """
    s3 = aws.client("s3")
    count = 0
    for file in files:
        stored_checksum = _read_checksum(s3, aws.account, file.bucket, file.key)
        if stored_checksum is None:
            size_kib = file.path.stat().st_size / 1024
            announce(f"uploading {file.key} ({size_kib:.0f} KiB) to {file.bucket}")
            _put(s3, aws.account, file)
            count += 1
        elif stored_checksum != file.checksum():
            raise _changed_object_error(file.bucket, file.key)
    return count


def choose_key(aws: Account, bucket: str, built: ArtifactKey, live_key: str) -> str:
    """Return the key to deploy: the live one, a stored one with byte-code, or the one built here.

    The live artifact stays while its inputs and variant are the same, though another machine's zlib
    gives other bytes. A plain artifact gives way to a stored one with byte-code of the same inputs.
    Raises FailedError when the chosen object does not have the checksum in its key.
    """
    s3 = aws.client("s3")
    stored_keys = _list_same_inputs(s3, aws.account, bucket, built)
    same_variant = [key for key in stored_keys if key.variant == built.variant]
    with_byte_code = []
    if built.variant == PLAIN:
        with_byte_code = [key for key in stored_keys if key.variant != PLAIN]
    live = ArtifactKey.parse(live_key)
    if live in (with_byte_code or same_variant):
        chosen = live
    elif with_byte_code:
        chosen = with_byte_code[-1]
    else:
        return str(built)
    checksum = base64.b64encode(bytes.fromhex(chosen.sha256)).decode()
    if _read_checksum(s3, aws.account, bucket, str(chosen)) != checksum:
        raise _changed_object_error(bucket, str(chosen))
    return str(chosen)


def _list_same_inputs(s3: Any, owner: str, bucket: str, built: ArtifactKey) -> list[ArtifactKey]:
    """Return the keys in the bucket that were made from the same inputs, sorted."""
    prefix = f"{built.kind}/{built.digest}-"
    response = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=owner)
    names = sorted(item["Key"] for item in response.get("Contents", []))
    return [key for name in names if (key := ArtifactKey.parse(name))]


def _read_checksum(s3: Any, owner: str, bucket: str, key: str) -> str | None:
    """Return the stored SHA-256; "" for an object without one, None when there is no object."""
    try:
        head = s3.head_object(
            Bucket=bucket, Key=key, ChecksumMode="ENABLED", ExpectedBucketOwner=owner
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND_CODES:
            return None
        raise
    return str(head.get("ChecksumSHA256", ""))


def _put(s3: Any, owner: str, file: File) -> None:
    try:
        s3.put_object(
            Bucket=file.bucket,
            Key=file.key,
            Body=file.path.read_bytes(),
            ChecksumSHA256=file.checksum(),
            IfNoneMatch="*",
            ExpectedBucketOwner=owner,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in ALREADY_EXISTS_CODES:
            raise
        if _read_checksum(s3, owner, file.bucket, file.key) != file.checksum():
            raise _changed_object_error(file.bucket, file.key) from error


def _changed_object_error(bucket: str, key: str) -> FailedError:
    what = "was changed in the bucket: its content is not what this key names; nothing was deployed"
    remedy = "find out who wrote it (S3 access logs), delete that object, run the same task again"
    return FailedError(f"s3://{bucket}/{key}", what, remedy)
