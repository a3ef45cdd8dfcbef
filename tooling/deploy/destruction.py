"""Leaves nothing of a prefix in the account: stack, log buckets, keys, allowances, bootstrap.

The order matters. The forwarders of other Regions go first, then the stack, because CloudFormation
deletes both as a role of the bootstrap. A key is given up only when the log buckets that it
encrypts are gone. The bootstrap goes last. Each step finds out by itself what is left, so a run
after a failure goes on where the last one stopped.

A log bucket or a key belongs to the prefix if it has the tag that the stack hands down. Those of
stacks that were deleted earlier are found too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from signwatch.detection.allowance import PARAMETER_FOLDER
from tooling.deploy import bootstrap, buckets, stack
from tooling.deploy.stack import NO_FORWARDERS, PREFIX_TAG
from tooling.progress import Ongoing
from tooling.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import TerraformPaths
    from tooling.deploy.stack import Display, ForwarderRemoval, LiveStack
    from tooling.settings import Settings

KEY_WAITING_DAYS = 7  # KMS API reference, ScheduleKeyDeletion: the least that AWS waits
LOG_BUCKET_NAME_PART = "-trailbucket"  # of the name that CloudFormation generates
ACCESS_LOG_BUCKET = "aws_s3_bucket.access_logs"
# The configuration protects it from deletion, because other projects may use it.
PROVIDER_TYPE = "aws_iam_openid_connect_provider"


@dataclass(frozen=True)
class Remains:
    """What there is of a prefix in the account."""

    live: LiveStack | None
    forwarder_regions: tuple[str, ...]
    log_buckets: tuple[str, ...]
    key_ids: tuple[str, ...]  # without those that AWS is going to delete
    allowances: tuple[str, ...]  # names of parameters in Systems Manager
    bootstrap: tuple[dict[str, Any], ...]  # the resources in Terraform's state

    def is_empty(self) -> bool:
        """Return whether there is nothing."""
        stacks = (self.live, self.forwarder_regions)
        others = (self.log_buckets, self.key_ids, self.allowances, self.bootstrap)
        return not any((*stacks, *others))

    def list_bootstrap_buckets(self) -> dict[str, str]:
        """Return the names of the bootstrap's buckets by their addresses in Terraform."""
        return {
            resource["address"]: resource["values"]["bucket"]
            for resource in self.bootstrap
            if resource["type"] == "aws_s3_bucket"
        }

    def list_providers(self) -> list[str]:
        """Return the addresses of the OIDC providers, which stay."""
        return [item["address"] for item in self.bootstrap if item["type"] == PROVIDER_TYPE]


def destroy_everything(
    aws: Account,
    settings: Settings,
    paths: TerraformPaths,
    *,
    display: Display,
    forwarders: ForwarderRemoval = NO_FORWARDERS,
) -> None:
    """Show all that there is of the prefix, ask, and delete it.

    ``display.approve`` is called before, with the question to type the prefix.
    Raises RefusedError when another tool made the stack, or when Terraform's state of the bootstrap
    is lost; UnknownStateError when the stack is busy; FailedError with the cause.
    """
    announce = display.announce
    bootstrap.refuse_lost_state(settings, aws, paths)
    live = stack.describe(aws, settings.stack)
    if live:
        stack.refuse_busy(settings, live)
        stack.refuse_foreign(settings, live)
    source, environment = settings.root / "terraform-bootstrap", aws.make_environment()
    terraform = Terraform.prepare(source, paths.folder, paths.state, environment, announce)
    has_bootstrap = bootstrap.has_resources(paths.state)
    if has_bootstrap:
        terraform.init()
    remains = Remains(
        live,
        forwarders.regions,
        log_buckets=tuple(_list_log_buckets(aws, settings.prefix)),
        key_ids=tuple(_list_keys(aws, settings.prefix)),
        allowances=tuple(_list_allowances(aws, settings.prefix)),
        bootstrap=tuple(terraform.list_resources()) if has_bootstrap else (),
    )
    if remains.is_empty():
        announce(f"Nothing of {settings.prefix} is left in account {aws.account}.")
        return
    for line in _describe(aws, settings, remains):
        announce(line)
    display.approve(f"Type the prefix ({settings.prefix}) to delete all of it:")
    forwarders.delete()
    if live:
        stack.delete(aws, live, role_arn=None, display=display)
    for name in remains.log_buckets:
        _delete_bucket(aws, name, announce)
    for key_id in remains.key_ids:
        _schedule_deletion(aws, key_id, announce)
    for name in remains.allowances:
        aws.client("ssm").delete_parameter(Name=name)
    _destroy_bootstrap(aws, settings, remains, terraform, announce)
    announce(f"Nothing else of {settings.prefix} is left in account {aws.account}.")


def _list_allowances(aws: Account, prefix: str) -> list[str]:
    """Return the names of the parameters that hold allowances of networks."""
    paginator = aws.client("ssm").get_paginator("get_parameters_by_path")
    pages = paginator.paginate(Path=f"/{prefix}/{PARAMETER_FOLDER}", Recursive=False)
    return [item["Name"] for page in pages for item in page["Parameters"]]


def _list_log_buckets(aws: Account, prefix: str) -> list[str]:
    """Return the names of the log buckets of the prefix in the home Region."""
    s3 = aws.client("s3")
    names = [
        bucket["Name"]
        for page in s3.get_paginator("list_buckets").paginate(Prefix=f"{prefix}-")
        for bucket in page["Buckets"]
    ]
    return [
        name
        for name in names
        if name.startswith(f"{prefix}-")
        and LOG_BUCKET_NAME_PART in name
        and _has_our_tag(_read_bucket_tags(s3, aws.account, name), "Key", "Value", prefix)
    ]


def _read_bucket_tags(s3: Any, owner: str, bucket: str) -> list[dict[str, str]]:
    """Return the bucket's tags."""
    try:
        response = s3.get_bucket_tagging(Bucket=bucket, ExpectedBucketOwner=owner)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchTagSet":
            return []
        raise
    tags: list[dict[str, str]] = response["TagSet"]
    return tags


def _list_keys(aws: Account, prefix: str) -> list[str]:
    """Return the ids of the prefix's keys that AWS is not going to delete yet."""
    kms = aws.client("kms")
    key_ids = [
        key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]
    ]
    return [key_id for key_id in key_ids if _is_our_key(kms, key_id, prefix)]


def _is_our_key(kms: Any, key_id: str, prefix: str) -> bool:
    """Return whether the key is the prefix's. One whose tags the caller may not read is not."""
    try:
        tags = kms.list_resource_tags(KeyId=key_id)["Tags"]
        is_ours = _has_our_tag(tags, "TagKey", "TagValue", prefix)
        return is_ours and kms.describe_key(KeyId=key_id)["KeyMetadata"].get("DeletionDate") is None
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDeniedException":  # by the key's own policy
            return False
        raise


def _has_our_tag(tags: Iterable[dict[str, str]], key: str, value: str, prefix: str) -> bool:
    """Return whether the prefix's tag is among the tags, whose fields are ``key`` and ``value``."""
    return any((tag[key], tag[value]) == (PREFIX_TAG, prefix) for tag in tags)


def _describe(aws: Account, settings: Settings, remains: Remains) -> list[str]:
    """Return the lines that say what is deleted, and what stays or takes time."""
    lines = [f"This deletes for good, in account {aws.account}, {aws.region}:"]
    if remains.forwarder_regions:
        lines.append(f"  - the forwarders of {', '.join(remains.forwarder_regions)}")
    if remains.live:
        lines.append(f"  - stack {settings.stack} with all that is in it, and the Twilio secret")
    lines += [
        f"  - log bucket {name} with all records{_describe_lock(aws, name)}"
        for name in remains.log_buckets
    ]
    lines += [
        f"  - key {key_id}: AWS waits {KEY_WAITING_DAYS} days, then deletes it"
        for key_id in remains.key_ids
    ]
    if remains.allowances:
        lines.append(f"  - {len(remains.allowances)} allowances of networks")
    if remains.bootstrap:
        names = remains.list_bootstrap_buckets().values()
        count = len(remains.bootstrap) - len(remains.list_providers())
        lines.append(f"  - the {count} resources of the bootstrap")
        lines += [f"  - bucket {name} with all it holds" for name in names]
    for address in remains.list_providers():
        lines.append(f"It leaves {address}: other projects may use GitHub's OIDC provider.")
    return lines


def _describe_lock(aws: Account, bucket: str) -> str:
    """Return what to add about a bucket whose object lock may keep versions from being deleted."""
    try:
        response = aws.client("s3").get_object_lock_configuration(
            Bucket=bucket, ExpectedBucketOwner=aws.account
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ObjectLockConfigurationNotFoundError":
            return ""
        raise
    rule = response["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention")
    retention = "no default retention"
    if rule:
        length = f"{rule['Years']} years" if "Years" in rule else f"{rule['Days']} days"
        retention = f"{rule['Mode']}, {length}"
    return f"; object lock is on ({retention}): S3 refuses until each retention has ended"


def _delete_bucket(aws: Account, name: str, announce: Callable[[str], None]) -> None:
    """Empty a bucket and delete it."""
    _empty(aws, name, announce)
    aws.client("s3").delete_bucket(Bucket=name, ExpectedBucketOwner=aws.account)


def _empty(aws: Account, name: str, announce: Callable[[str], None]) -> None:
    """Delete all versions of all objects in a bucket."""
    announce(Ongoing(f"emptying {name}"))
    versions = buckets.list_versions(aws, name)
    count = buckets.delete_versions(aws, name, versions, announce=announce)
    announce(f"  {count:,} versions deleted")


def _schedule_deletion(aws: Account, key_id: str, announce: Callable[[str], None]) -> None:
    """Have AWS delete a key after its waiting period."""
    response = aws.client("kms").schedule_key_deletion(
        KeyId=key_id, PendingWindowInDays=KEY_WAITING_DAYS
    )
    command = f"aws kms cancel-key-deletion --region {aws.region} --key-id {key_id}"
    announce(f"AWS deletes key {key_id} on {response['DeletionDate']:%Y-%m-%d}.")
    announce(f"  Until then, this command keeps it: {command}")


def _destroy_bootstrap(
    aws: Account,
    settings: Settings,
    remains: Remains,
    terraform: Terraform,
    announce: Callable[[str], None],
) -> None:
    """Empty the bootstrap's buckets, and delete its resources with Terraform."""
    if not remains.bootstrap:
        return
    names = remains.list_bootstrap_buckets()
    if access_logs := names.get(ACCESS_LOG_BUCKET):
        # S3 delivers access logs hours later. Without this policy it may not, and so the bucket
        # stays empty until it is deleted.
        aws.client("s3").delete_bucket_policy(Bucket=access_logs, ExpectedBucketOwner=aws.account)
    for name in names.values():
        _empty(aws, name, announce)
    for address in remains.list_providers():
        terraform.forget(address)
    if terraform.plan(bootstrap.make_variables(settings), destroy=True):
        terraform.apply()
