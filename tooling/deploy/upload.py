"""Uploads files to the bootstrap's buckets: only missing ones, never over a differing object.

A checksum is the SHA-256 of a content in base64, as S3 stores it. An object's key contains a digest
or a checksum of its content, so an object with another content was written by somebody else.
``owner`` is the number of the account that must own the bucket. The key of a zip is an ArtifactKey
(see package.py): its digest tells the inputs, its variant whether the zip has byte-code.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling.deploy import archive
from tooling.deploy.package import PLAIN, ArtifactKey
from tooling.errors import FailedError
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.deploy.package import Artifacts
    from tooling.settings import Settings

NOT_FOUND_CODES = ("404", "NoSuchKey", "NotFound")
ALREADY_EXISTS_CODES = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


@dataclass(frozen=True)
class File:
    """A local file and its place in S3."""

    path: Path
    bucket: str
    key: str

    def compute_checksum(self) -> str:
        """Return the checksum of the file's content."""
        sha256 = hashlib.sha256(self.path.read_bytes())
        return base64.b64encode(sha256.digest()).decode()


@dataclass(frozen=True)
class DeploymentFiles:
    """The files of one deploy that are not in their buckets yet, and the parameters they give.

    ``deploy_values`` has the value of each of DEPLOY_PARAMETERS.
    """

    deploy_values: dict[str, str]
    missing_templates: tuple[File, ...]  # CloudFormation reads these for the change set
    missing_zips: tuple[File, ...]  # it reads these when it executes the change set


def find_missing(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    artifacts: Artifacts,
    live_parameters: Mapping[str, str],
) -> DeploymentFiles:
    """Return which templates and zips are not in the buckets yet; write nothing.

    Raises FailedError when a template or zip in the bucket is not what its key names.
    """
    template_paths = sorted((settings.root / "cfn").glob("*.yaml"))
    digest = archive.digest((path.name, path.read_bytes()) for path in template_paths)
    templates = [
        File(path, bootstrap.template_bucket_name, f"{digest}/{path.name}")
        for path in template_paths
    ]
    values = {
        "NamePrefix": settings.prefix,
        "HomeRegion": settings.region,
        "TemplateBucketName": bootstrap.template_bucket_name,
        "TemplateDigest": digest,
        "ArtifactBucketName": bootstrap.artifact_bucket_name,
        "AccessLogBucketName": bootstrap.access_log_bucket_name,
        "BoundaryPolicyArn": bootstrap.boundary_policy_arn,
        "ServiceRoleArn": bootstrap.service_role_arn,
    }
    zips = []
    bucket = bootstrap.artifact_bucket_name
    for parameter, artifact in (("CodeKey", artifacts.code), ("LayerKey", artifacts.layer)):
        key = choose_key(aws, bucket, artifact.key, live_parameters.get(parameter, ""))
        values[parameter] = key
        if key == str(artifact.key):
            zips.append(File(artifact.path, bucket, key))
    return DeploymentFiles(values, _select_missing(aws, templates), _select_missing(aws, zips))


def _select_missing(aws: Account, files: Iterable[File]) -> tuple[File, ...]:
    """Return the files that are not in their bucket yet.

    Raises FailedError if an object under one of the keys has another content.
    """
    s3 = aws.client("s3")
    missing = []
    for file in files:
        stored_checksum = _read_checksum(s3, aws.account, file.bucket, file.key)
        if stored_checksum is None:
            missing.append(file)
        elif stored_checksum != file.compute_checksum():
            raise _make_changed_object_error(file.bucket, file.key)
    return tuple(missing)


def upload(aws: Account, missing: Sequence[File], *, announce: Callable[[str], None]) -> None:
    """Upload the files, unless another deploy has just done so.

    Raises FailedError if there is now an object with another content under one of the keys.
    """
    s3 = aws.client("s3")
    for file in missing:
        size_kib = file.path.stat().st_size / 1024
        announce(Ongoing(f"uploading {file.key} ({size_kib:.0f} KiB) to {file.bucket}"))
        _put(s3, aws.account, file)


def choose_key(aws: Account, bucket: str, built: ArtifactKey, live_key: str) -> str:
    """Return the key of the zip to deploy: the ``built`` one, or one in the bucket.

    Zips of the same inputs do the same, though another machine's zlib gives other bytes. The live
    zip stays if it has the variant of the built one. If the built one is plain, a zip with
    byte-code is chosen instead, if the bucket has one.
    Raises FailedError when the chosen object does not have the checksum in its key.
    """
    s3 = aws.client("s3")
    stored_keys = _list_keys_of_same_inputs(s3, aws.account, bucket, built)
    chosen = _choose_stored_key(stored_keys, built, ArtifactKey.parse(live_key))
    if chosen is None:
        return str(built)
    checksum = base64.b64encode(bytes.fromhex(chosen.sha256)).decode()
    if _read_checksum(s3, aws.account, bucket, str(chosen)) != checksum:
        raise _make_changed_object_error(bucket, str(chosen))
    return str(chosen)


def _choose_stored_key(
    stored_keys: Sequence[ArtifactKey], built: ArtifactKey, live: ArtifactKey | None
) -> ArtifactKey | None:
    """Return the stored key to deploy in place of ``built``; None if there is no such key."""
    keys_with_byte_code = [key for key in stored_keys if key.variant != PLAIN]
    if built.variant == PLAIN and keys_with_byte_code:
        # Any of them would do; with the live one, nothing changes.
        return live if live in keys_with_byte_code else keys_with_byte_code[-1]
    if live and live in stored_keys and live.variant == built.variant:
        return live
    return None


def _list_keys_of_same_inputs(
    s3: Any, owner: str, bucket: str, built: ArtifactKey
) -> list[ArtifactKey]:
    """Return the keys in the bucket that have the kind and the digest of ``built``, sorted."""
    prefix = f"{built.kind}/{built.digest}-"
    response = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=owner)
    names = sorted(item["Key"] for item in response.get("Contents", []))
    return [key for name in names if (key := ArtifactKey.parse(name))]


def _read_checksum(s3: Any, owner: str, bucket: str, key: str) -> str | None:
    """Return an object's checksum; "" if it has none, None if there is no object."""
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
    """Upload one file, unless another deploy has just done so.

    Raises FailedError if there is now an object with another content.
    """
    checksum = file.compute_checksum()
    try:
        s3.put_object(
            Bucket=file.bucket,
            Key=file.key,
            Body=file.path.read_bytes(),
            ChecksumSHA256=checksum,
            IfNoneMatch="*",  # only if there is no object under this key
            ExpectedBucketOwner=owner,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in ALREADY_EXISTS_CODES:
            raise
        if _read_checksum(s3, owner, file.bucket, file.key) != checksum:
            raise _make_changed_object_error(file.bucket, file.key) from error


def _make_changed_object_error(bucket: str, key: str) -> FailedError:
    """Return the error for an object whose content is not what its key says."""
    what = "was changed in the bucket: its content is not what this key names; nothing was deployed"
    remedy = "find out who wrote it (S3 access logs), delete that object, run the same task again"
    return FailedError(f"s3://{bucket}/{key}", what, remedy)
