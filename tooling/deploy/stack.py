"""The root stack: uploaded, deployed, shown, destroyed.

Deploy in stages: upload (only what is new) -> parameters (joined with the live ones) -> change set -> table ->
execute -> live events -> outputs, or the first real cause. The digest of the templates and the keys of both zips are
parameters, so equal parameters mean that nothing changed, and AWS need not be asked for a change set to know it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tooling import templates
from tooling.deploy import changeset, parameters
from tooling.deploy.stack_events import StackEvent, Watch
from tooling.deploy.upload import File, newest_variant
from tooling.deploy.upload import upload as upload_files
from tooling.errors import FailedError, RefusedError, UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.deploy.package import Artifacts
    from tooling.settings import Settings

HEALTHY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
FAILED_FIRST_DEPLOY = ("ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED")
LEAVING = {
    "DELETE_FAILED": "see its events in the console for what could not be deleted, mend it, and run: invoke destroy",
    "UPDATE_ROLLBACK_FAILED": "mend what its events name, and run: aws cloudformation continue-update-rollback",
}
TAG = "signwatch:prefix"
LONGEST_LABEL = 20  # characters of the parameter AccountLabel


@dataclass(frozen=True)
class Console:
    """Where a stack operation is shown: plain lines, the change table, the live events."""

    announce: Callable[[str], None]
    table: Callable[[tuple[changeset.Change, ...]], None]
    event: Callable[[StackEvent], None]


@dataclass(frozen=True)
class Live:
    """The stack as it is now."""

    stack_id: str
    status: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    tags: dict[str, str]


def describe(aws: Account, name: str) -> Live | None:
    """Return the stack called ``name``, or None when there is none."""
    try:
        found = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    if found["StackStatus"] == "DELETE_COMPLETE":
        return None
    return Live(
        stack_id=found["StackId"],
        status=found["StackStatus"],
        parameters={
            item["ParameterKey"]: item["ParameterValue"] for item in found.get("Parameters", [])
        },
        outputs={item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])},
        tags={item["Key"]: item["Value"] for item in found.get("Tags", [])},
    )


def deployed(aws: Account, settings: Settings) -> Live:
    """Return the live stack; RefusedError when it was never deployed, or is somebody else's."""
    live = describe(aws, settings.stack)
    if live:
        _refuse_stranger(settings, live)
    if live is None or not live.outputs:
        what = f"is not deployed in account {aws.account}, {aws.region}"
        raise RefusedError(f"stack {settings.stack}", what, "run: invoke deploy")
    return live


def outputs(aws: Account, settings: Settings) -> dict[str, str]:
    """Return the live stack's outputs; RefusedError as ``deployed`` has it."""
    return deployed(aws, settings).outputs


def _alias(aws: Account, announce: Callable[[str], None]) -> str:
    """Return the account's alias, as far as a label may be long; empty for none, or where it may not be read."""
    try:
        aliases = aws.client("iam").list_account_aliases()["AccountAliases"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        announce(
            f"The account's alias cannot be read ({code}): texts name it by four digits. Run bootstrap again."
        )
        return ""
    return str(aliases[0])[:LONGEST_LABEL] if aliases else ""


def upload(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    artifacts: Artifacts,
    *,
    announce: Callable[[str], None],
) -> tuple[dict[str, str], int]:
    """Upload templates and zips; return the parameters that name them and how many files were new."""
    digest = templates.digest(settings.root / "cfn")
    found = sorted((settings.root / "cfn").glob("*.yaml"))
    files = [File(path, bootstrap.template_bucket_name, f"{digest}/{path.name}") for path in found]
    named = {
        "NamePrefix": settings.prefix,
        "HomeRegion": settings.region,
        "TemplateBucketName": bootstrap.template_bucket_name,
        "TemplateDigest": digest,
        "ArtifactBucketName": bootstrap.artifact_bucket_name,
        "AccessLogBucketName": bootstrap.access_log_bucket_name,
        "BoundaryPolicyArn": bootstrap.boundary_policy_arn,
    }
    for parameter, artifact in (("CodeKey", artifacts.code), ("LayerKey", artifacts.layer)):
        named[parameter] = newest_variant(aws, bootstrap.artifact_bucket_name, artifact.key)
        if named[parameter] == artifact.key:
            files.append(File(artifact.path, bootstrap.artifact_bucket_name, artifact.key))
    return named, upload_files(aws, files, announce=announce)


def check(settings: Settings) -> None:
    """Refuse chosen parameters that no deploy can use, before AWS is asked anything; raises RefusedError."""
    parameters.check(_declared(settings), settings.parameters, GIVEN)


def _declared(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = templates.load(settings.root / "cfn" / "parent.yaml")["Parameters"]
    return found


def _refuse_foreign(settings: Settings, live: Live) -> None:
    """Keep away from a stack that somebody else made, and from one that somebody else is at work on."""
    where = f"stack {settings.stack}"
    if (
        live.status == "REVIEW_IN_PROGRESS"
    ):  # nothing but a change set so far; it carries no tags yet
        return
    if live.status.endswith("_IN_PROGRESS"):
        what = f"is busy ({live.status}): somebody else's operation goes on"
        raise UnknownStateError(
            where, what, "wait until it has ended, then run the same word again"
        )
    _refuse_stranger(settings, live)


def _refuse_stranger(settings: Settings, live: Live) -> None:
    where = f"stack {settings.stack}"
    if live.status != "REVIEW_IN_PROGRESS" and live.tags.get(TAG) != settings.prefix:
        what = f"({live.status}) was not made by this tool: it has no tag {TAG}={settings.prefix}"
        raise RefusedError(where, what, "choose another --prefix, or look after that stack by hand")


def prepare(aws: Account, settings: Settings) -> tuple[dict[str, Any], Live | None]:
    """Refuse before any write what would fail later; return the declared parameters and the live stack."""
    declared = _declared(settings)
    live = describe(aws, settings.stack)
    if live:
        _refuse_foreign(settings, live)
    if live and live.status not in (*HEALTHY, *FAILED_FIRST_DEPLOY, "REVIEW_IN_PROGRESS"):
        what = f"is in state {live.status}, which no deploy can leave"
        raise FailedError(
            f"stack {settings.stack}",
            what,
            LEAVING.get(live.status, "see its events in the console"),
        )
    return declared, live


def deploy(
    aws: Account,
    settings: Settings,
    bootstrap: Bootstrap,
    artifacts: Artifacts,
    *,
    console: Console,
    allow_replace: bool = False,
) -> dict[str, str]:
    """Bring the live stack to what this checkout and the settings say; return its outputs.

    Raises RefusedError before any write, FailedError with the first real cause, UnknownStateError when the operation
    goes on unseen.
    """
    declared, live = prepare(aws, settings)
    values = parameters.resolve(
        declared, settings.parameters, _placeholders(), live.parameters if live else {}
    )
    if not values["AccountLabel"] and "AccountLabel" not in settings.parameters:
        values["AccountLabel"] = _alias(aws, console.announce)
    named, uploaded = upload(aws, settings, bootstrap, artifacts, announce=console.announce)
    wanted = {**values, **named}
    if live and live.status in HEALTHY and live.parameters == wanted and not uploaded:
        console.announce(
            f"Nothing changed: stack {settings.stack} already runs this version with these parameters."
        )
        return live.outputs
    if live and live.status in FAILED_FIRST_DEPLOY:
        console.announce(
            f"Stack {settings.stack} is left over from a failed first deploy ({live.status}): deleting it"
        )
        _delete(aws, live, None, console)
        live = None
    before = live.parameters if live else {}
    for line in parameters.differences(before, wanted):
        console.announce(line)
    request = _request(settings, bootstrap, wanted, live)
    _execute(aws, settings, request, console, allow_replace=allow_replace)
    if before.get("AlertEmail") != wanted["AlertEmail"]:
        console.announce(
            f"AWS mails a confirmation to {wanted['AlertEmail']}: click its link, or no e-mail arrives."
        )
    return outputs(aws, settings)


def destroy(
    aws: Account, settings: Settings, bootstrap: Bootstrap, *, console: Console
) -> tuple[str, ...]:
    """Delete the stack; return what AWS kept, as "type physical-id" texts.

    Raises RefusedError when there is no stack, FailedError with the first real cause.
    """
    live = describe(aws, settings.stack)
    if live is None:
        raise RefusedError(
            f"stack {settings.stack}", "does not exist", "look at --account, --region and --prefix"
        )
    _refuse_foreign(settings, live)
    return _delete(aws, live, bootstrap.service_role_arn, console)


GIVEN = (
    "NamePrefix",
    "HomeRegion",
    "TemplateBucketName",
    "TemplateDigest",
    "ArtifactBucketName",
    "AccessLogBucketName",
    "BoundaryPolicyArn",
    "CodeKey",
    "LayerKey",
)


def _placeholders() -> dict[str, str]:
    """The user's parameters are checked before anything is uploaded, when these values are not known yet."""
    return dict.fromkeys(GIVEN, "")


def _request(
    settings: Settings, bootstrap: Bootstrap, wanted: dict[str, str], live: Live | None
) -> changeset.Request:
    fresh = live is None or live.status == "REVIEW_IN_PROGRESS"
    host = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
    base = f"https://s3.{settings.region}.{host}/{bootstrap.template_bucket_name}"
    return changeset.Request(
        stack=settings.stack,
        kind="CREATE" if fresh else "UPDATE",
        template_url=f"{base}/{wanted['TemplateDigest']}/parent.yaml",
        parameters=wanted,
        service_role_arn=bootstrap.service_role_arn,
        tags={TAG: settings.prefix},
    )


def _execute(
    aws: Account,
    settings: Settings,
    request: changeset.Request,
    console: Console,
    *,
    allow_replace: bool,
) -> None:
    cloudformation = aws.client("cloudformation")
    console.announce(f"change set for stack {request.stack} ({request.kind.lower()})")
    made = changeset.make(cloudformation, request, announce=console.announce)
    if not made.changes:
        console.announce(f"Nothing changed: AWS sees no difference in stack {request.stack}.")
        return
    console.table(made.changes)
    try:
        changeset.refuse_losses(made.changes, allow_replace=allow_replace)
        changeset.refuse_unseen(made, request.kind, allow_replace=allow_replace)
    except RefusedError:
        cloudformation.delete_change_set(ChangeSetName=made.arn, StackName=made.stack_id)
        raise
    if request.kind == "CREATE":
        cloudformation.update_termination_protection(
            StackName=made.stack_id, EnableTerminationProtection=True
        )
    watch = Watch(cloudformation, made.stack_id, console.event)
    watch.start()
    token = f"deploy-{uuid.uuid4().hex[:12]}"
    cloudformation.execute_change_set(
        ChangeSetName=made.arn, StackName=made.stack_id, ClientRequestToken=token
    )
    stop = (
        None
        if request.kind == "CREATE"
        else f"aws cloudformation cancel-update-stack --stack-name {settings.stack}"
    )
    status = _watched(watch, f"stack {settings.stack}", stop)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise _failure(watch, status, f"stack {settings.stack}")


def _watched(watch: Watch, where: str, stop: str | None) -> str:
    """Follow the operation to its end; ``stop`` is the command that AWS has for stopping it, if it has one."""
    try:
        return watch.wait()
    except KeyboardInterrupt:
        print()  # the terminal shows ^C on a line of its own
        remedy = (
            f"watch it in the console; to stop it: {stop}"
            if stop
            else "watch it in the console to its end"
        )
        raise InterruptedWatchError(
            where, "interrupted here; CloudFormation goes on with it", remedy
        ) from None


class InterruptedWatchError(UnknownStateError):
    """The person pressed Ctrl-C while CloudFormation was at work."""

    exit_code = 130


def _failure(watch: Watch, status: str, where: str) -> FailedError:
    cause = watch.cause()
    if cause is None:
        return FailedError(where, f"ended in {status}", "look at its events in the console")
    what = f"ended in {status} because {cause.resource} ({cause.kind}) in {cause.stack} failed: {cause.reason}"
    return FailedError(where, what, "mend what the reason names, then run the same word again")


def _delete(aws: Account, live: Live, role: str | None, console: Console) -> tuple[str, ...]:
    cloudformation = aws.client("cloudformation")
    cloudformation.update_termination_protection(
        StackName=live.stack_id, EnableTerminationProtection=False
    )
    watch = Watch(cloudformation, live.stack_id, console.event)
    watch.start()
    cloudformation.delete_stack(StackName=live.stack_id, **({"RoleARN": role} if role else {}))
    status = _watched(watch, live.stack_id, None)
    if status != "DELETE_COMPLETE":
        raise _failure(watch, status, live.stack_id)
    return tuple(
        f"{event.kind} {event.physical_id}"
        for event in watch.events
        if event.status == "DELETE_SKIPPED"
    )


def confirm(prefix: str, typed: str | None) -> None:
    """Ask for the prefix, or take it as ``typed``; RefusedError when it is another word."""
    try:
        answer = (
            typed
            if typed is not None
            else input(f"Type the prefix ({prefix}) to delete its stack: ")
        )
    except EOFError:
        answer = ""
    if answer.strip() != prefix:
        raise RefusedError(
            f"stack {prefix}",
            "was not deleted: the prefix was not typed",
            "type it, or use --confirm",
        )
