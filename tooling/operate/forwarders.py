"""Forwarders: one small stack a Region, which sends its sign-ins to the bus in the home Region.

CloudTrail delivers an event to the default bus of the Region that recorded it. The rules are in the
home Region, so a sign-in that another Region records reaches them through a forwarder at once. What
no forwarder brings, the trail's log group brings some minutes later, if the stack has that way.

The survey finds the Regions of the account and the forwarders in them. The plan compares them with
the choice of Regions: "all", "home" (no forwarder), Regions by name, or "" for those in which AWS
records sign-ins, and whatever forwarder there is. The Regions are worked on side by side. One that
fails does not stop the others, and the next deploy tries it again.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from tooling import parameters
from tooling.deploy import changeset, stack, trails
from tooling.deploy.stack_events import StackOperation
from tooling.errors import FailedError, RefusedError, ToolError, UnknownStateError
from tooling.progress import Ongoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tooling.deploy.account import Account
    from tooling.deploy.stack import LiveStack
    from tooling.settings import Settings

# Where AWS records the sign-ins of a Region's own page elsewhere: root and the console without an
# alias, then the console with one (CloudTrail user guide, "AWS Management Console sign-in events").
SIGN_IN_REGIONS = ("us-east-1", "us-east-2", "eu-north-1", "ap-southeast-2")
ALL, HOME = "all", "home"
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}  # by how their Regions begin
CREATE, UPDATE, KEEP, DELETE = "create", "update", "keep", "delete"
DONE = {CREATE: "created", UPDATE: "updated", KEEP: "unchanged", DELETE: "deleted"}
DIGEST_TAG = "signwatch:template"  # of the stack: what is deployed, so that nothing is done twice
UP_TO_DATE_STATUSES = ("CREATE_COMPLETE", "UPDATE_COMPLETE")  # a rollback has older content
BY_THE_TRAIL = "covered by the trail, some minutes later"
NO_WAY = "no way from this Region"
POLICY_DENIAL = "service control policy"  # in AWS's message, if the organisation denies a request
MAX_WORKERS = 16
MAX_TRIES = 4  # a new role takes seconds to be known in every Region
RETRY_PAUSE_SECONDS = 5.0
REMEDY = "fix the cause, then run the same task again: it goes on there"


@dataclass(frozen=True)
class Survey:
    """What there is: the forwarder of each Region of the account, other than the home Region.

    ``live`` has None for a Region without one. ``problems`` says why a Region could not be asked.
    ``identity_centers`` are the Regions with an instance of Identity Center, as far as it was asked
    for; ``silent_centers`` are those that gave no answer.
    """

    live: Mapping[str, LiveStack | None]
    problems: Mapping[str, str] = field(default_factory=dict)
    identity_centers: tuple[str, ...] = ()
    silent_centers: tuple[str, ...] = ()

    def list_regions(self) -> list[str]:
        """Return the Regions that have a forwarder, in whatever state."""
        return sorted(region for region, live in self.live.items() if live)

    def format_problems(self) -> list[str]:
        """Return a line with the Regions that could not be asked, if there are any."""
        names = ", ".join(sorted(self.problems))
        return [f"  AWS does not let us look into {names}."] if names else []

    def format_regions(self) -> str:
        """Return the same on a line; a forwarder that is not up to date has its status."""
        statuses = {region: live.status for region, live in self.live.items() if live}
        names = [
            region if status in UP_TO_DATE_STATUSES else f"{region} ({status})"
            for region, status in sorted(statuses.items())
        ]
        return ", ".join(names) or "none"


@dataclass(frozen=True)
class Content:
    """What a forwarder's stack consists of."""

    stack: str  # its name
    body: str  # its template
    parameters: Mapping[str, str]
    service_role_arn: str
    prefix: str

    @property
    def digest(self) -> str:
        """The digest of template and parameters, which a stack of this content has as a tag."""
        text = self.body + repr(sorted(self.parameters.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the stack."""
        return {stack.PREFIX_TAG: self.prefix, DIGEST_TAG: self.digest}


@dataclass(frozen=True)
class Plan:
    """What is to be done in each Region: CREATE, UPDATE, KEEP or DELETE.

    ``has_trail_way`` says whether the function gets every sign-in through the trail too.
    """

    actions: Mapping[str, str]
    survey: Survey
    has_trail_way: bool = False

    @property
    def changes(self) -> dict[str, str]:
        """The actions that change something."""
        return {region: action for region, action in self.actions.items() if action != KEEP}

    def format_lines(self, home: str) -> list[str]:
        """Return a line for each Region, below a heading, and then what is open."""
        heading = f"Forwarders to {home}:" if self.actions else f"Forwarders to {home}: none."
        regions = [
            f"  {region:<15} {self._format_action(region)}" for region in sorted(self.actions)
        ]
        return [heading, *regions, *self._list_open_points()]

    def format_question_note(self) -> str:
        """Return the sentence above the question about the stack; "" if no forwarder changes."""
        regions = ", ".join(sorted(self.changes))
        return f"After it, forwarders change as listed above: {regions}." if regions else ""

    def _format_action(self, region: str) -> str:
        """Return what is to be done in a Region, or why it could not be asked."""
        cause = self.survey.problems.get(region)
        if cause is None:
            return self.actions[region]
        if POLICY_DENIAL in cause:
            cause = BY_THE_TRAIL if self.has_trail_way else NO_WAY
        return f"cannot be read: {cause}"

    def _list_open_points(self) -> list[str]:
        """Return the lines that say which sign-ins may have no way to the rules."""
        lines = []
        if silent := self.survey.silent_centers:
            count = f"{len(silent)} Regions" if len(silent) > 1 else silent[0]
            lines.append(
                f"  Identity Center could not be asked in {count}; --regions can name its Region."
            )
        covered = {region for region, action in self.actions.items() if action != DELETE}
        deaf = sorted({*self.survey.live, *self.survey.problems} - covered)
        if deaf and not self.has_trail_way:
            lines += [
                f"  NO WAY from {', '.join(deaf)}: a sign-in that is recorded there alerts nobody.",
                "  --regions all makes forwarders there; a trail's log group (TrailLogGroupMode,",
                "  TrailLogGroupName) is a way from every Region.",
            ]
        return lines


@dataclass(frozen=True)
class Report:
    """How the Regions ended; ``failures`` has the error of each that failed."""

    failures: Mapping[str, ToolError]

    def refuse_failures(self) -> None:
        """Raise an error with each cause if a Region failed.

        It is UnknownStateError if the state of one is unknown, else FailedError.
        """
        if not self.failures:
            return
        unknown = [
            error for error in self.failures.values() if isinstance(error, UnknownStateError)
        ]
        error_type = UnknownStateError if unknown else FailedError
        causes = "; ".join(f"{region}: {error.what}" for region, error in self.failures.items())
        what = f"failed in {len(self.failures)} Regions, and the others are done: {causes}"
        raise error_type("forwarders", what, REMEDY)


class _StoppedError(Exception):
    """The user pressed Ctrl-C; the thread of a Region stops watching it."""


def get_name(prefix: str) -> str:
    """Return the name of a forwarder's stack, its rule and its role."""
    return f"{prefix}-forwarder"


def make_content(settings: Settings, service_role_arn: str, live: LiveStack | None) -> Content:
    """Return the content of every forwarder; ``live`` is the main stack, if there is one.

    Its parameters are computed as cfn/parent.yaml does, since the main stack may come only later.
    """
    name = get_name(settings.prefix)
    bus = _choose_values(settings, live)["EventBusName"]
    partition = _get_partition(settings.region)
    return Content(
        name,
        (settings.root / "cfn" / "forwarder.yaml").read_text(encoding="utf-8"),
        {
            "NamePrefix": settings.prefix,
            "EventBusArn": (
                f"arn:{partition}:events:{settings.region}:{settings.account}:event-bus/{bus}"
            ),
            "ForwarderRoleArn": f"arn:{partition}:iam::{settings.account}:role/{name}",
        },
        service_role_arn,
        settings.prefix,
    )


def _choose_values(settings: Settings, live: LiveStack | None) -> dict[str, str]:
    """Return the main stack's parameters after this deploy, without those that have no value."""
    declared = parameters.load_declared(settings.root)
    defaults = {
        name: str(declaration["Default"])
        for name, declaration in declared.items()
        if "Default" in declaration
    }
    return {**defaults, **(live.parameters if live else {}), **settings.parameters}


def has_trail_way(settings: Settings, live: LiveStack | None) -> bool:
    """Return whether the function gets the events of a trail's log group too, after this deploy."""
    values = _choose_values(settings, live)
    if values["TrailMode"] == trails.EXISTING:
        return bool(values["TrailLogGroupName"])
    return values["TrailLogGroupMode"] == trails.CREATE


def list_bus_warnings(settings: Settings, live: LiveStack | None) -> list[str]:
    """Return the lines to print if this deploy takes away the bus that other accounts send to."""
    values = _choose_values(settings, live)
    bus = values["EventBusName"]
    old = live.parameters.get("EventBusName", bus) if live else bus
    if old == bus or not values["OrganizationId"]:
        return []
    return [
        f"The bus changes from {old} to {bus}: no alert comes from other accounts until the",
        "EventBusArn of their forwarders is changed too (docs/organisation.md).",
    ]


def _get_partition(region: str) -> str:
    """Return the partition of a Region, with which its ARNs begin."""
    names = [name for start, name in PARTITIONS.items() if region.startswith(start)]
    return names[0] if names else "aws"


def survey(
    aws: Account,
    settings: Settings,
    announce: Callable[[str], None],
    *,
    asks_identity_center: bool = False,
) -> Survey:
    """Look for forwarders in each Region of the account, and for Identity Center's Region."""
    name, home = get_name(settings.prefix), settings.region
    regions = [region for region in _list_account_regions(aws, settings) if region != home]
    announce(Ongoing(f"looking for forwarders in {len(regions)} Regions"))
    # clients are made in one thread, from one session: its models are then loaded once
    clients = {region: aws.client("cloudformation", region) for region in regions}
    centers: dict[str, Any] = {}  # clients, by Region
    if asks_identity_center:
        known = aws.session.get_available_regions("sso-admin")
        centers = {
            region: aws.client("sso-admin", region) for region in {home, *regions} & {*known}
        }
    live: dict[str, LiveStack | None] = {}
    problems: dict[str, str] = {}
    with ThreadPoolExecutor(MAX_WORKERS) as pool:
        stacks = {region: pool.submit(stack.read, clients[region], name) for region in regions}
        instances = {
            region: pool.submit(_has_instance, client) for region, client in centers.items()
        }
        for region, future in stacks.items():
            try:
                live[region] = future.result()
            except (ClientError, BotoCoreError) as error:
                problems[region] = str(error)
        answers = {region: future.result() for region, future in sorted(instances.items())}
    found = tuple(region for region, answer in answers.items() if answer)
    silent = tuple(region for region, answer in answers.items() if answer is None)
    return Survey(live, problems, found, silent)


def _list_account_regions(aws: Account, settings: Settings) -> list[str]:
    """Return the Regions that are switched on, or those of sign-ins if these cannot be listed.

    Those that a person has named are among them in any case.
    """
    try:
        regions = aws.client("ec2").describe_regions().get("Regions", [])
    except (ClientError, BotoCoreError):
        regions = []
    names = {region["RegionName"] for region in regions} or set(SIGN_IN_REGIONS)
    return sorted(names.union(_parse_names(settings.regions)))


def _has_instance(sso_admin: Any) -> bool | None:
    """Return whether the Region has an instance of Identity Center; None if it is unknown."""
    try:
        return bool(sso_admin.list_instances()["Instances"])
    except (ClientError, BotoCoreError):
        return None


def make_plan(
    settings: Settings, found: Survey, content: Content, *, has_trail_way: bool = False
) -> Plan:
    """Compare the forwarders that there are with the chosen Regions."""
    existing = found.list_regions()
    wanted = set(_choose_regions(settings.regions, found)) - {settings.region}
    actions = {region: _choose_action(found.live.get(region), content) for region in wanted}
    actions |= {region: DELETE for region in existing if region not in wanted}
    return Plan(actions, found, has_trail_way)


def _choose_regions(choice: str, found: Survey) -> Iterable[str]:
    """Return the Regions that shall have a forwarder."""
    if choice == HOME:
        return ()
    if choice == ALL:
        return (*found.live, *found.problems)
    if choice:
        return _parse_names(choice)
    known = {*found.live, *found.problems}
    recorded = [*known.intersection(SIGN_IN_REGIONS), *found.identity_centers]
    return [*recorded, *found.list_regions()]


def _parse_names(choice: str) -> list[str]:
    """Return the Regions that a choice names: "a,b" -> ["a", "b"]."""
    return [] if choice in ("", ALL, HOME) else choice.split(",")


def _choose_action(live: LiveStack | None, content: Content) -> str:
    """Return what is to be done with a forwarder that shall be there."""
    if live is None or live.status in (*stack.FAILED_FIRST_DEPLOY_STATUSES, stack.EMPTY_STATUS):
        return CREATE
    is_current = live.tags.get(DIGEST_TAG) == content.digest
    return KEEP if is_current and live.status in UP_TO_DATE_STATUSES else UPDATE


def apply(aws: Account, plan: Plan, content: Content, announce: Callable[[str], None]) -> Report:
    """Make, change and delete the forwarders side by side; announce a line for each Region.

    Raises InterruptedWatchError on Ctrl-C; CloudFormation then goes on.
    """
    changes = plan.changes
    if not changes:
        return Report({})
    announce(Ongoing(f"forwarders in {len(changes)} Regions"))
    stop = threading.Event()
    # clients are made in one thread, from one session: its models are then loaded once
    workers = {
        region: _Worker(
            aws.client("cloudformation", region), region, content, stop, plan.has_trail_way
        )
        for region in sorted(changes)
    }
    failures: dict[str, ToolError] = {}
    pool = ThreadPoolExecutor(MAX_WORKERS)
    try:
        started = time.monotonic()
        futures = {pool.submit(workers[region].run, changes[region]): region for region in workers}
        for future in as_completed(futures):
            region, outcome = futures[future], future.result()
            if outcome.failure:
                failures[region] = outcome.failure
            seconds = time.monotonic() - started
            announce(f"  {region:<15} {outcome.text}  {seconds:.1f} s")
    except KeyboardInterrupt:
        what = "interrupted here; CloudFormation goes on with them"
        remedy = "run the same task again: it goes on where this one stopped"
        raise stack.InterruptedWatchError("forwarders", what, remedy) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return Report(dict(sorted(failures.items())))


@dataclass(frozen=True)
class _Outcome:
    """How a Region ended."""

    text: str  # for its line
    failure: ToolError | None = None


@dataclass(frozen=True)
class _Worker:
    """The work in one Region."""

    cloudformation: Any  # a boto3 client of the Region
    region: str
    content: Content
    stop: threading.Event  # set if the user interrupts
    has_trail_way: bool

    def run(self, action: str) -> _Outcome:
        """Do the action; return how it ended."""
        try:
            if action == DELETE:
                self._delete(self._read())
            else:
                self._deploy_with_retries()
        except _StoppedError:
            return _Outcome("interrupted")
        except ToolError as error:
            return self._judge(action, error)
        except ClientError as error:  # AWS refused it
            return self._judge(action, FailedError(self.region, str(error), REMEDY))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other Regions go on
            what = str(error) or type(error).__name__
            return self._judge(action, UnknownStateError(self.region, what, REMEDY))
        return _Outcome(DONE[action])

    def _judge(self, action: str, error: ToolError) -> _Outcome:
        """Return how the Region ended: a forwarder that is denied is no failure with a trail."""
        is_denied = POLICY_DENIAL in error.what and action != DELETE
        if is_denied and self.has_trail_way:
            return _Outcome(BY_THE_TRAIL)
        if isinstance(error, UnknownStateError):
            return _Outcome("state unknown", error)
        if is_denied and action == CREATE:
            return _Outcome(NO_WAY, FailedError(self.region, f"{NO_WAY}: {error.what}", REMEDY))
        return _Outcome("failed", error)

    def _deploy_with_retries(self) -> None:
        """Deploy the forwarder; try again while its new role is not known in this Region."""
        for number in range(1, MAX_TRIES + 1):
            try:
                self._deploy()
            except FailedError as error:
                is_about_role = self.content.parameters["ForwarderRoleArn"] in error.what
                if number == MAX_TRIES or not is_about_role or POLICY_DENIAL in error.what:
                    raise
                self._sleep(RETRY_PAUSE_SECONDS)
            else:
                return

    def _deploy(self) -> None:
        """Bring the forwarder up to date, whatever state an earlier run left it in."""
        live = self._wait_until_idle()
        if live and live.status in stack.FAILED_FIRST_DEPLOY_STATUSES:
            self._delete(live)
            live = None
        if live and live.status not in (*stack.HEALTHY_STATUSES, stack.EMPTY_STATUS):
            raise FailedError(self.region, f"its stack is in state {live.status}", "look at it")
        if live and _choose_action(live, self.content) == KEEP:
            return  # an earlier run went on by itself
        is_new = live is None or live.status == stack.EMPTY_STATUS
        request = changeset.Request(
            stack=self.content.stack,
            kind="CREATE" if is_new else "UPDATE",
            template_url="",
            template_body=self.content.body,
            parameters=self.content.parameters,
            service_role_arn=self.content.service_role_arn,
            tags=self.content.tags,
        )
        change_set = changeset.create(self.cloudformation, request, announce=_ignore)
        if change_set.changes:
            operation = self._start_operation(change_set.stack_id, is_new=is_new)
            token = f"deploy-{uuid.uuid4().hex[:12]}"
            self.cloudformation.execute_change_set(**change_set.address, ClientRequestToken=token)
            self._wait(operation, ("CREATE_COMPLETE", "UPDATE_COMPLETE"))

    def _wait_until_idle(self) -> LiveStack | None:
        """Return the stack when no operation is running, such as that of a run that was killed."""
        live = self._read()
        if live and live.status.endswith("_IN_PROGRESS") and live.status != stack.EMPTY_STATUS:
            self._start_operation(live.stack_id).wait()
            live = self._read()
        return live

    def _read(self) -> LiveStack | None:
        """Return the forwarder's stack. Raises RefusedError if another tool made it."""
        live = stack.read(self.cloudformation, self.content.stack)
        is_made = live is not None and live.status != stack.EMPTY_STATUS
        if live and is_made and live.tags.get(stack.PREFIX_TAG) != self.content.prefix:
            what = f"stack {self.content.stack} was not made by this tool"
            raise RefusedError(self.region, what, "remove it by hand")
        return live

    def _delete(self, live: LiveStack | None) -> None:
        """Delete the stack, if there is one, and wait for the end."""
        if live:
            operation = self._start_operation(live.stack_id)
            self.cloudformation.delete_stack(StackName=live.stack_id)
            self._wait(operation, ("DELETE_COMPLETE",))

    def _start_operation(self, stack_id: str, *, is_new: bool = False) -> StackOperation:
        """Return an operation to wait for; the events of earlier ones are left out."""
        operation = StackOperation(
            self.cloudformation, stack_id, _ignore, sleep=self._sleep, is_live=False
        )
        if not is_new:
            operation.skip_earlier_events()
        return operation

    def _wait(self, operation: StackOperation, good: Sequence[str]) -> None:
        """Wait for the end of an operation. Raises FailedError if it is not a good one."""
        status = operation.wait()
        if status not in good:
            raise stack.make_failure(operation, status, self.region)

    def _sleep(self, seconds: float) -> None:
        """Sleep. Raises _StoppedError as soon as the user interrupts."""
        if self.stop.wait(seconds):
            raise _StoppedError


def _ignore(_: object) -> None:
    """Show nothing: a Region has one line, at its end."""


def plan_removal(found: Survey) -> Plan:
    """Return the plan that deletes every forwarder."""
    return Plan(dict.fromkeys(found.list_regions(), DELETE), found)


def prepare_removal(
    aws: Account, settings: Settings, announce: Callable[[str], None]
) -> stack.ForwarderRemoval:
    """Look for forwarders and announce them; return what deletes them, once that is approved.

    They go before the main stack and the role that CloudFormation deletes them with. If one is
    left, ``delete`` raises as ``Report.refuse_failures`` does.
    """
    found = survey(aws, settings, announce)
    plan = plan_removal(found)
    heading = f"Forwarders to {settings.region}"
    for line in [f"{heading}: {found.format_regions()}", *found.format_problems()]:
        announce(line)

    def delete() -> None:
        """Delete the forwarders side by side."""
        content = make_content(settings, "", None)
        apply(aws, plan, content, announce).refuse_failures()

    return stack.ForwarderRemoval(tuple(sorted(plan.changes)), delete)
