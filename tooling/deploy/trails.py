"""Finds the trails that record the account's sign-ins, before a deploy relies on one or adds one.

A trail is suitable if it is logging, in all Regions, and records every management event. Of an
organisation's trail, a member account may not read which events it records: then that is unknown,
and the trail is accepted.

The log group of an existing trail stays its owner's. The roles of the bootstrap get the rights to
filter and read one such group, which a variable of the bootstrap names.

Facts: AWS CloudTrail API Reference, DescribeTrails, GetTrailStatus, GetEventSelectors (basic and
advanced selectors); AWS CloudTrail User Guide, "Creating a trail for an organization"; AWS
CloudTrail pricing (a second copy of management events); CloudWatch Logs quotas (subscription
filters for each log group).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling import invocation
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap

EXISTING, CREATE = "existing", "create"  # values of the parameter TrailMode
# AWS lets an owner leave out these, which send many events; nobody signs in through them.
UNNEEDED_SOURCES = frozenset({"kms.amazonaws.com", "rdsdata.amazonaws.com"})
READS_AND_WRITES = frozenset({"ReadOnly", "WriteOnly"})
# What GetEventSelectors answers to a member account about a trail of its organisation.
UNREADABLE_CODES = frozenset(
    {"AccessDeniedException", "OperationNotPermittedException", "TrailNotFoundException"}
)
MAX_FILTERS = 2  # subscription filters of a log group
SECOND_COPY_USD = "2.00 USD for each 100,000 events"


@dataclass(frozen=True)
class Trail:
    """A trail of the account, or one of its organisation that records the account too."""

    name: str
    log_group_arn: str  # empty without a log group
    faults: tuple[str, ...]  # why it is not suitable
    is_unknown: bool = False  # this account may not read which events it records
    log_group_error: str = ""  # why the last events did not reach its log group

    @property
    def is_suitable(self) -> bool:
        """Whether it records every sign-in, as far as this account can tell."""
        return not self.faults

    def find_log_group(self, aws: Account) -> str:
        """Return the name of its log group, if that is in this account and Region; else ""."""
        # arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*
        parts = self.log_group_arn.split(":")
        is_here = parts[3:5] == [aws.region, aws.account]
        return parts[6] if is_here else ""


def list_trails(aws: Account) -> list[Trail]:
    """Return the trails that record this account's events, in the order of their names.

    Raises ClientError if the caller may not list them.
    """
    cloudtrail = aws.client("cloudtrail")
    described = cloudtrail.describe_trails(includeShadowTrails=True)["trailList"]
    by_arn = {trail["TrailARN"]: trail for trail in described}
    trails = [_read_trail(cloudtrail, trail) for trail in by_arn.values()]
    return sorted(trails, key=lambda trail: trail.name)


def check(
    aws: Account,
    prefix: str,
    bootstrap: Bootstrap,
    values: Mapping[str, str],
    live: Mapping[str, str],
    announce: Callable[[str], None],
) -> bool:
    """Check the parameters TrailMode and TrailLogGroupName against the trails of others.

    ``values`` are the parameters of this deploy, ``live`` those of the deployed stack, if any.
    Return whether this deploy adds a trail although there is a suitable one: AWS charges for the
    second copy of the events. Raises RefusedError if no trail is suitable, or if the log group is
    not that of one, cannot take a filter, or is not the one that the bootstrap knows.
    """
    mode, log_group_name = values["TrailMode"], values["TrailLogGroupName"]
    if mode == CREATE and log_group_name:
        what = "is used only with TrailMode=existing"
        raise RefusedError("parameter TrailLogGroupName", what, "leave it empty")
    if live_log_group_name := live.get("TrailLogGroupName"):
        _refuse_unknown_change(live_log_group_name, log_group_name, bootstrap)
    if _has_own_log_group(live) and not _has_own_log_group(values):
        announce(
            f"This deletes the log group /aws/cloudtrail/{prefix} with its records. Those in the"
            " trail's bucket stay."
        )
    if mode == CREATE and live.get("TrailMode", CREATE if live else "") == CREATE:
        return False  # the stack has its trail already
    try:
        trails = [trail for trail in list_trails(aws) if trail.name != f"{prefix}-trail"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        what = f"the account's trails cannot be read ({code})"
        if mode == EXISTING:
            remedy = f"run {invocation.spell('bootstrap')} again, which allows it"
            raise RefusedError("parameter TrailMode", what, remedy) from error
        announce(f"{what[0].upper()}{what[1:]}: there may be a suitable one already.")
        return False
    suitable = [trail for trail in trails if trail.is_suitable]
    if mode == CREATE:
        return _announce_second_copy(suitable, announce)
    if not suitable:
        raise _make_refusal(trails)
    _check_log_group(aws, log_group_name, suitable, announce)
    if log_group_name:
        _refuse_unknown_log_group(log_group_name, bootstrap)
        _refuse_full_log_group(aws, log_group_name, f"{prefix}-function", announce)
    return False


def _has_own_log_group(values: Mapping[str, str]) -> bool:
    """Return whether a stack with these parameters has a trail that writes to a log group."""
    modes = {values.get(name, CREATE) for name in ("TrailMode", "TrailLogGroupMode")}
    return bool(values) and modes == {CREATE}


def _refuse_unknown_log_group(name: str, bootstrap: Bootstrap) -> None:
    """Raise RefusedError if the roles of the bootstrap have no rights on this log group."""
    if bootstrap.existing_log_group_name != name:
        what = f"{name!r} is a log group that the bootstrap's roles may not filter and read yet"
        remedy = (
            f'write trail_log_group_name = "{name}" below [bootstrap] in signwatch.toml, and run:'
            f" {invocation.spell('bootstrap')}"
        )
        raise RefusedError("parameter TrailLogGroupName", what, remedy)


def _refuse_unknown_change(live_name: str, name: str, bootstrap: Bootstrap) -> None:
    """Raise RefusedError if the filter of the live stack's log group could not be deleted."""
    _refuse_unknown_log_group(live_name, bootstrap)
    if name and name != live_name:
        what = f"cannot change from {live_name!r}: the bootstrap's roles know one log group"
        remedy = (
            f"run: {invocation.spell('deploy', '--set', 'TrailLogGroupName=')} and then bootstrap"
            f' with trail_log_group_name = "{name}"'
        )
        raise RefusedError("parameter TrailLogGroupName", what, remedy)


def _refuse_full_log_group(
    aws: Account, name: str, function_name: str, announce: Callable[[str], None]
) -> None:
    """Raise RefusedError if other tools have all subscription filters that a log group can have."""
    try:
        response = aws.client("logs").describe_subscription_filters(logGroupName=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        announce(
            f"The subscription filters of {name} cannot be read ({code}): if it has {MAX_FILTERS}"
            " of other tools, the deploy fails."
        )
        return
    others = [
        subscription["filterName"]
        for subscription in response["subscriptionFilters"]
        if not subscription["destinationArn"].endswith(f":function:{function_name}")
    ]
    if len(others) >= MAX_FILTERS:
        what = f"{name!r} has {MAX_FILTERS} subscription filters, and AWS allows no more"
        remedy = f"delete one ({' or '.join(others)}), or leave the parameter empty"
        raise RefusedError("parameter TrailLogGroupName", what, remedy)


def _announce_second_copy(suitable: Iterable[Trail], announce: Callable[[str], None]) -> bool:
    """Say which trails are suitable already; return whether there is one."""
    names = ", ".join(trail.name for trail in suitable)
    if not names:
        return False
    announce(
        f"A trail records the sign-ins already: {names}. AWS charges {SECOND_COPY_USD} for the"
        " copy of another trail. To use it: --set TrailMode=existing"
    )
    return True


def _make_refusal(trails: Iterable[Trail]) -> RefusedError:
    """Return the error for an account without a suitable trail."""
    reasons = "; ".join(f"{trail.name} {' and '.join(trail.faults)}" for trail in trails)
    what = "is existing, but no trail records every sign-in"
    if reasons:
        what += f": {reasons}"
    remedy = "fix the trail, or add --set TrailMode=create"
    return RefusedError("parameter TrailMode", what, remedy)


def _check_log_group(
    aws: Account, log_group_name: str, suitable: Sequence[Trail], announce: Callable[[str], None]
) -> None:
    """Say what is unknown or missing; raise RefusedError for the log group of no suitable trail."""
    unknown = ", ".join(trail.name for trail in suitable if trail.is_unknown)
    if unknown:
        announce(f"This account may not read which events {unknown} records: taken as all.")
    errors = {trail.find_log_group(aws): trail.log_group_error for trail in suitable}
    usable = {trail.find_log_group(aws) for trail in suitable if not trail.log_group_error}
    names = " or ".join(sorted(filter(None, usable)))
    if log_group_name and log_group_name not in usable:
        remedy = f"write {names}" if names else "leave it empty: no suitable trail has one here"
        what = f"{log_group_name!r} is the log group of no suitable trail in {aws.region}"
        if log_group_name in errors:
            what = f"{log_group_name!r} gets no events from its trail ({errors[log_group_name]})"
        raise RefusedError("parameter TrailLogGroupName", what, remedy)
    if not log_group_name:
        advice = f"To add it: --set TrailLogGroupName={names}" if names else ""
        announce(
            "Events come by EventBridge alone, which may lose some: without TrailLogGroupName"
            f" there is no second way. {advice}".rstrip()
        )


def _read_trail(cloudtrail: Any, described: Mapping[str, Any]) -> Trail:
    """Return a trail; ``described`` is what DescribeTrails says about it."""
    arn = described["TrailARN"]
    faults = []
    if not described.get("IsMultiRegionTrail"):
        faults.append("records one Region only")
    is_unknown, log_group_error = False, ""
    try:
        status = cloudtrail.get_trail_status(Name=arn)
        log_group_error = status.get("LatestCloudWatchLogsDeliveryError", "")
        if not status["IsLogging"]:
            faults.append("is not logging")
        selectors = cloudtrail.get_event_selectors(TrailName=arn)
        if not _records_all(selectors):
            faults.append("does not record all management events")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        is_unknown = (
            bool(described.get("IsOrganizationTrail"))
            and error.operation_name == "GetEventSelectors"
            and code in UNREADABLE_CODES
        )
        if not is_unknown:
            faults.append(f"cannot be read ({code})")
    log_group_arn = described.get("CloudWatchLogsLogGroupArn", "")
    return Trail(described["Name"], log_group_arn, tuple(faults), is_unknown, log_group_error)


def _records_all(selectors: Mapping[str, Any]) -> bool:
    """Return whether GetEventSelectors' answer selects the reads and writes of all services."""
    kinds: set[str] = set()
    for basic in selectors.get("EventSelectors", []):
        if basic.get("IncludeManagementEvents", True):
            read_write = basic.get("ReadWriteType", "All")
            kinds |= READS_AND_WRITES if read_write == "All" else {read_write}
    for advanced in selectors.get("AdvancedEventSelectors", []):
        kinds |= _find_selected_kinds(advanced["FieldSelectors"])
    return kinds >= READS_AND_WRITES


def _find_selected_kinds(field_selectors: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return which management events of all services an advanced selector selects, if any."""
    fields = {selector["Field"]: selector for selector in field_selectors}
    is_management = fields.pop("eventCategory", {}).get("Equals") == ["Management"]
    read_only = fields.pop("readOnly", None)
    left_out = fields.pop("eventSource", {"NotEquals": []})
    is_complete = set(left_out.get("NotEquals", ["all others"])) <= UNNEEDED_SOURCES
    if not is_management or not is_complete or fields:
        return frozenset()
    if read_only is None:
        return READS_AND_WRITES
    is_true = read_only.get("Equals") == ["true"]
    return frozenset({"ReadOnly"} if is_true else {"WriteOnly"})
