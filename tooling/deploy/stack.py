"""Deploys, describes and destroys the root stack.

A deploy uploads what is new, joins the parameters with the live ones, creates a change set, shows
it, executes it, and follows its events to the outputs or to the cause of a failure. The digest of
the templates and the keys of both zips are parameters. Equal parameters therefore mean that nothing
changed, and no change set is needed to know it.

The root stack is named like the prefix, and tagged with it: one without the tag was made by another
tool. The live stack is the root stack as it is deployed. An artifact is one of the two zips. A
leftover is a resource that an operation removed from the stack and left in the account.

A hidden change is one inside a nested stack that AWS does not list in the change set. Two flags
permit what is refused otherwise: ``allow_replace`` to replace or remove a resource that keeps
evidence (``changeset.refuse_data_loss``), ``allow_hidden_changes`` an update with hidden changes
(``changeset.refuse_hidden_changes``).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling import invocation, parameters
from tooling.deploy import changeset, early_validation, leftovers, trails, upload
from tooling.deploy.stack_events import StackEvent, StackOperation
from tooling.errors import FailedError, PlanShownError, RefusedError, UnknownStateError
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.deploy.package import Artifacts
    from tooling.settings import Settings

HEALTHY_STATUSES = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
)
FAILED_FIRST_DEPLOY_STATUSES = ("ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED")
# A stack that only has a change set, not executed yet: no operation is running, and it has no tags.
EMPTY_STATUS = "REVIEW_IN_PROGRESS"
STATUS_REMEDIES = {
    "DELETE_FAILED": (
        "see its events in the console for what could not be deleted, fix it, and run: {destroy}"
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "fix what its events name, and run: aws cloudformation continue-update-rollback"
        " --stack-name {stack}"
    ),
}
PREFIX_TAG = "signwatch:prefix"
ACCOUNT_LABEL_MAX_CHARS = 20
KEPT_KEY_USD, KEPT_GB_USD = 1.0, 0.023  # what stays after a destroy costs a month: docs/cost.md


@dataclass(frozen=True)
class Display:
    """The functions that show a stack operation to the user, and ask before it."""

    announce: Callable[[str], None]  # one line
    show_changes: Callable[[tuple[changeset.Change, ...]], None]  # those of a change set
    show_event: Callable[[StackEvent], None]
    approve: Callable[[str], None]  # asks a question before a change; raises to stop


def _do_nothing() -> None:
    """There are no forwarders to delete."""


@dataclass(frozen=True)
class ForwarderRemoval:
    """The Regions that have a forwarder, and the function that deletes them all, or raises."""

    regions: tuple[str, ...] = ()
    delete: Callable[[], None] = _do_nothing


NO_FORWARDERS = ForwarderRemoval()


@dataclass(frozen=True)
class LiveStack:
    """A stack as AWS describes it; parameters, outputs and tags by name."""

    stack_id: str
    status: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    tags: dict[str, str]


class InterruptedWatchError(UnknownStateError):
    """The user pressed Ctrl-C during a stack operation."""

    exit_code = 130


def describe(aws: Account, name: str) -> LiveStack | None:
    """Return the stack called ``name``, or None when there is none."""
    return read(aws.client("cloudformation"), name)


def read(cloudformation: Any, name: str) -> LiveStack | None:
    """Return the stack called ``name`` as this boto3 client sees it, or None; as ``describe``."""
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    if stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    return LiveStack(
        stack_id=stack["StackId"],
        status=stack["StackStatus"],
        parameters={
            item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])
        },
        outputs={item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])},
        tags={item["Key"]: item["Value"] for item in stack.get("Tags", [])},
    )


def require_deployed(aws: Account, settings: Settings) -> LiveStack:
    """Return the deployed stack.

    Raises RefusedError if it is not deployed, or if another tool created it.
    """
    live = describe(aws, settings.stack)
    if live:
        refuse_foreign(settings, live)
    if live is None or not live.outputs:  # a stack whose first deploy failed has no outputs
        what = f"is not deployed in account {aws.account}, {aws.region}"
        raise RefusedError(f"stack {settings.stack}", what, f"run: {invocation.spell('deploy')}")
    return live


def outputs(aws: Account, settings: Settings) -> dict[str, str]:
    """Return the live stack's outputs; raises as ``require_deployed`` does."""
    return require_deployed(aws, settings).outputs


def deploy(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    artifacts: Artifacts,
    *,
    display: Display,
    allow_replace: bool = False,
    allow_hidden_changes: bool = False,
) -> dict[str, str]:
    """Deploy this checkout with the settings; return the stack's outputs.

    ``display.approve`` is called before the stack changes. If it raises, the change set is deleted;
    uploaded templates stay for the next deploy, and zips are not uploaded yet.
    Raises RefusedError before any change of the stack, FailedError with the cause,
    UnknownStateError when the operation goes on and its state cannot be read.
    """
    live = describe(aws, settings.stack)
    if live:
        _refuse_unusable(settings, live)
    live_parameters = live.parameters if live else {}
    is_new = live is None or live.status in (EMPTY_STATUS, *FAILED_FIRST_DEPLOY_STATUSES)
    values = _resolve_values(aws, settings, live_parameters, display)
    makes_second_copy = trails.check(  # an existing trail may have stopped since the last deploy
        aws,
        settings.prefix,
        bootstrap,
        values,
        {} if is_new else live_parameters,
        display.announce,
    )
    files = upload.find_missing(aws, settings, bootstrap, artifacts, live_parameters)
    values |= files.deploy_values
    is_unchanged = live_parameters == values and not files.missing_templates + files.missing_zips
    if live and live.status in HEALTHY_STATUSES and is_unchanged:
        display.announce(
            f"Nothing changed: stack {settings.stack} already runs this version with these"
            " parameters."
        )
        return live.outputs
    if live and live.status in FAILED_FIRST_DEPLOY_STATUSES:
        display.announce(
            f"Stack {settings.stack} is left over from a failed first deploy ({live.status}), and"
            " must be deleted first."
        )
        display.approve("Delete it?")
        delete(aws, live, role_arn=None, display=display)
        live, live_parameters = None, {}  # from here on it is a first deploy
    for line in parameters.list_differences(live_parameters, values):
        display.announce(line)
    upload.upload(aws, files.missing_templates, announce=display.announce)
    request = _make_request(settings, bootstrap, values, live)
    display.announce(Ongoing(f"change set for stack {request.stack} ({request.kind.lower()})"))
    change_set = changeset.create(aws.client("cloudformation"), request, announce=display.announce)
    if not change_set.changes:
        display.announce(f"Nothing changed: AWS sees no difference in stack {request.stack}.")
        if files.missing_zips:  # those of the live stack, which a rollback would need
            display.approve("Upload the live zips, which the bucket lacks?")
            upload.upload(aws, files.missing_zips, announce=display.announce)
        return outputs(aws, settings)
    display.show_changes(change_set.changes)
    try:
        changeset.refuse_data_loss(change_set.changes, allow_replace=allow_replace)
        changeset.refuse_hidden_changes(change_set, request.kind, allow_hidden=allow_hidden_changes)
        question = f"Execute this change set on stack {request.stack}"
        if makes_second_copy:
            question += ", and pay for a second copy of all events"
        display.approve(f"{question}?")
    except (RefusedError, PlanShownError, KeyboardInterrupt):
        _discard(aws, request.stack, change_set, is_first=live is None)
        raise
    upload.upload(aws, files.missing_zips, announce=display.announce)
    _execute(aws, request, change_set, display)
    if live_parameters.get("AlertEmail") != values["AlertEmail"]:
        display.announce(
            f"AWS mails a confirmation to {values['AlertEmail']}: click its link, or no e-mail"
            " arrives."
        )
    return outputs(aws, settings)


def destroy(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    *,
    display: Display,
    forwarders: ForwarderRemoval = NO_FORWARDERS,
) -> None:
    """Delete the forwarders, then the stack, and announce what is left in the account.

    Forwarders whose stack is gone already are deleted too.
    ``display.approve`` is called before, with the question to type the prefix.
    Raises RefusedError when there is nothing or another tool made it, FailedError with the cause.
    """
    where = f"stack {settings.stack}"
    live = describe(aws, settings.stack)
    if live is None:
        if not forwarders.regions:
            raise RefusedError(where, "does not exist", "look at --account, --region and --prefix")
        display.announce(f"Stack {settings.stack} does not exist; its forwarders are left.")
        display.approve(f"Type the prefix ({settings.prefix}) to delete its forwarders:")
        forwarders.delete()
        display.announce("The forwarders are deleted.")
        return
    refuse_busy(settings, live)
    refuse_foreign(settings, live)
    for line in _describe_loss(live):
        display.announce(line)
    command = invocation.spell("destroy", "--everything")
    display.announce(f"The bootstrap's buckets and roles stay too. To remove all of it: {command}")
    display.approve(f"Type the prefix ({settings.prefix}) to delete its stack:")
    forwarders.delete()
    delete(aws, live, bootstrap.service_role_arn, display)
    display.announce(f"Stack {settings.stack} is deleted.")


def _describe_loss(live: LiveStack) -> list[str]:
    """Return the lines that say what a destroy deletes, and what stays."""
    if live.parameters.get("TrailMode") == trails.EXISTING:
        return [
            "This deletes the function, the rules, the queues, the alarms, the ledger and the",
            "Twilio secret, which cannot be restored. The account's own trail is not touched.",
            f"The main key stays: {KEPT_KEY_USD:.2f} USD a month.",
        ]
    bucket = live.outputs.get("TrailBucketName", "the trail's bucket")
    return [
        "This deletes the function, the rules, the trail, the queues, the alarms, the ledger and",
        "the Twilio secret, which cannot be restored.",
        f"These stay: the log bucket {bucket} with its records, and the key that encrypts them;",
        f"a month they cost {KEPT_KEY_USD:.2f} USD for the key, and {KEPT_GB_USD} USD for each GB.",
    ]


def _resolve_values(
    aws: Account, settings: Settings, live_parameters: Mapping[str, str], display: Display
) -> dict[str, str]:
    """Return the values of all parameters. Those of DEPLOY_PARAMETERS are still empty.

    An account label that nobody set is the account's alias; a user may also set an empty one.
    """
    values = parameters.resolve(
        parameters.load_declared(settings.root),
        settings.parameters,
        dict.fromkeys(parameters.DEPLOY_PARAMETERS, ""),
        live_parameters,
    )
    parameters.check_bus_name(values["EventBusName"], settings.prefix)
    if not values["AccountLabel"] and "AccountLabel" not in settings.parameters:
        values["AccountLabel"] = _read_account_alias(aws, display.announce)
    return values


def _read_account_alias(aws: Account, announce: Callable[[str], None]) -> str:
    """Return the name that the owner gave the account in IAM, shortened to a label.

    Return "" if there is none, or if the deploy role may not read it.
    """
    try:
        aliases = aws.client("iam").list_account_aliases()["AccountAliases"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        announce(
            f"The account's alias cannot be read ({code}): texts name the account by four digits."
            " Run bootstrap again."
        )
        return ""
    return str(aliases[0])[:ACCOUNT_LABEL_MAX_CHARS] if aliases else ""


def _refuse_unusable(settings: Settings, live: LiveStack) -> None:
    """Raise an error if a deploy cannot change the stack.

    That is UnknownStateError for a busy one, RefusedError for one that another tool made, and
    FailedError for any other state from which no deploy can start.
    """
    refuse_busy(settings, live)
    refuse_foreign(settings, live)
    if live.status not in (*HEALTHY_STATUSES, *FAILED_FIRST_DEPLOY_STATUSES, EMPTY_STATUS):
        what = f"is in state {live.status}, from which no deploy can start"
        remedy = STATUS_REMEDIES.get(live.status, "see its events in the console").format(
            destroy=invocation.spell("destroy"), stack=settings.stack
        )
        raise FailedError(f"stack {settings.stack}", what, remedy)


def refuse_busy(settings: Settings, live: LiveStack) -> None:
    """Raise UnknownStateError if another operation is running on the stack."""
    if live.status != EMPTY_STATUS and live.status.endswith("_IN_PROGRESS"):
        what = f"is busy ({live.status}): another operation is running"
        remedy = "wait until it has ended, then run the same task again"
        raise UnknownStateError(f"stack {settings.stack}", what, remedy)


def refuse_foreign(settings: Settings, live: LiveStack) -> None:
    """Raise RefusedError if another tool made the stack."""
    if live.status != EMPTY_STATUS and live.tags.get(PREFIX_TAG) != settings.prefix:
        what = (
            f"({live.status}) was not made by this tool: it has no tag"
            f" {PREFIX_TAG}={settings.prefix}"
        )
        remedy = "choose another --prefix, or remove that stack by hand"
        raise RefusedError(f"stack {settings.stack}", what, remedy)


def _make_request(
    settings: Settings, bootstrap: Bootstrap, values: dict[str, str], live: LiveStack | None
) -> changeset.Request:
    """Return the request for the change set that creates or updates the stack."""
    is_new = live is None or live.status == EMPTY_STATUS
    domain = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
    bucket_url = f"https://s3.{settings.region}.{domain}/{bootstrap.template_bucket_name}"
    return changeset.Request(
        stack=settings.stack,
        kind="CREATE" if is_new else "UPDATE",
        template_url=f"{bucket_url}/{values['TemplateDigest']}/parent.yaml",
        parameters=values,
        service_role_arn=bootstrap.service_role_arn,
        tags={PREFIX_TAG: settings.prefix},
    )


def _execute(
    aws: Account, request: changeset.Request, change_set: changeset.ChangeSet, display: Display
) -> None:
    """Execute the change set, wait for its end, and announce the leftovers.

    A new stack is protected from deletion first. Raises FailedError with the cause.
    """
    cloudformation = aws.client("cloudformation")
    where = f"stack {request.stack}"
    if request.kind == "CREATE":
        cloudformation.update_termination_protection(
            StackName=change_set.stack_id, EnableTerminationProtection=True
        )
    operation = StackOperation(cloudformation, change_set.stack_id, display.show_event)
    operation.skip_earlier_events()
    cloudformation.execute_change_set(
        **change_set.address, ClientRequestToken=f"deploy-{uuid.uuid4().hex[:12]}"
    )
    stop_command = ""  # shown if the user interrupts
    if request.kind == "UPDATE":  # AWS cannot stop the creation of a stack
        stop_command = "aws cloudformation cancel-update-stack"
        stop_command += f" --stack-name {request.stack} --region {aws.region}"
    status = _wait(operation, where, stop_command=stop_command)
    _announce_leftovers(operation, aws.region, display)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise make_failure(operation, status, where)


def _discard(aws: Account, stack: str, change_set: changeset.ChangeSet, *, is_first: bool) -> None:
    """Delete a change set that is not executed, of the stack called ``stack``.

    That of a first deploy also made an empty stack. It is deleted too, unless somebody else has
    made a change set of it in the meantime.
    """
    cloudformation = aws.client("cloudformation")
    changeset.delete(cloudformation, change_set.address)
    if is_first and not _has_change_sets(cloudformation, stack):
        cloudformation.delete_stack(StackName=change_set.stack_id)
        StackOperation(cloudformation, change_set.stack_id, lambda _: None).wait()


def _has_change_sets(cloudformation: Any, stack: str) -> bool:
    """Return whether the stack has a change set, or may have one.

    The deploy role of an older bootstrap may not list them.
    """
    try:
        return bool(cloudformation.list_change_sets(StackName=stack)["Summaries"])
    except ClientError:
        return True


def delete(aws: Account, live: LiveStack, role_arn: str | None, display: Display) -> None:
    """Delete the stack, wait for the end, and announce what is left in the account.

    CloudFormation acts as the role ``role_arn``; None means the one that the stack was made with.
    Raises FailedError with the cause.
    """
    cloudformation = aws.client("cloudformation")
    cloudformation.update_termination_protection(
        StackName=live.stack_id, EnableTerminationProtection=False
    )
    operation = StackOperation(cloudformation, live.stack_id, display.show_event)
    operation.skip_earlier_events()
    role = {"RoleARN": role_arn} if role_arn else {}
    cloudformation.delete_stack(StackName=live.stack_id, **role)
    status = _wait(operation, live.stack_id)
    _announce_leftovers(operation, aws.region, display)
    if status != "DELETE_COMPLETE":
        raise make_failure(operation, status, live.stack_id)


def _announce_leftovers(operation: StackOperation, region: str, display: Display) -> None:
    """Announce each leftover of the operation."""
    for leftover in leftovers.find(operation.events):
        display.announce(leftover.describe(region))


def _wait(operation: StackOperation, where: str, *, stop_command: str = "") -> str:
    """Wait until the operation ends; return the stack's last status.

    Raises InterruptedWatchError on Ctrl-C: AWS goes on, and ``stop_command``, if there is one,
    stops it. ``where`` names the stack in that error.
    """
    try:
        return operation.wait()
    except KeyboardInterrupt:
        print()  # the terminal shows ^C on a line of its own
        what = "interrupted here; CloudFormation goes on with it"
        remedy = "watch it in the console to its end"
        if stop_command:
            remedy = f"watch it in the console; to stop it: {stop_command}"
        raise InterruptedWatchError(where, what, remedy) from None


def make_failure(operation: StackOperation, status: str, where: str) -> FailedError:
    """Return the error for an operation that ended in ``status``, with its cause if it is known."""
    cause = operation.find_cause()
    if cause is None:
        return FailedError(where, f"ended in {status}", "look at its events in the console")
    reason = early_validation.explain(
        operation.cloudformation,
        cause.reason,
        cause.time,
        StackName=cause.stack_id,
    )
    what = (
        f"ended in {status} because {cause.resource} ({cause.kind}) in {cause.stack} failed:"
        f" {reason}"
    )
    return FailedError(where, what, "fix what the reason names, then run the same task again")
