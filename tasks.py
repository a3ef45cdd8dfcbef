"""The tasks of this project. ``./inv`` lists them; ``./inv --help TASK`` explains one.

A task's docstring is its help. ``target`` has the flags that choose profile, account, Region and
prefix; ``open_account`` checks them and opens that account. A task with ``writes=True`` changes an
account, builds artifacts or runs the emulator. It refuses Invoke's --dry, which would not stop it.
Modules are imported inside the tasks, so that ``./inv`` starts fast. ``GROUPS``, at the end, has
every task below its heading.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from invoke import Collection, Context, Exit

ROOT = Path(__file__).resolve().parent
# The source roots of tooling and of signwatch. They come last: a file of the checkout called
# copy.py must not take the place of a module of Python.
sys.path += [str(ROOT), str(ROOT / "lambda")]

# ruff: noqa: E402 - the source roots must be known first
from tooling import invocation
from tooling.terminal import program
from tooling.terminal.approval import APPROVAL_HELP, Approval
from tooling.terminal.target import (
    STACK_HELP,
    TARGET_HELP,
    Target,
    load_settings,
    open_account,
)
from tooling.terminal.task import show_result, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tooling.settings import Settings
    from tooling.terminal.screen import Screen

REPLACE_HELP = {
    "allow_replace": "replace or delete even resources that keep evidence; default: off"
}


def _make_screen() -> Screen:
    """Return the object that prints to the terminal; its import loads rich, which is slow."""
    from tooling.terminal.screen import Screen

    return Screen()


def _set_terraform_provider(screen: Screen) -> None:
    """Set the environment variable that names the folder with Terraform's provider.

    Every ``terraform init`` of this task then uses that folder, and none searches or downloads.
    """
    from tooling import provider_mirror
    from tooling.terraform import MIRROR_VARIABLE

    mirror = provider_mirror.ensure(ROOT, os.environ, announce=screen.announce)
    os.environ[MIRROR_VARIABLE] = str(mirror)


ADOPT_HELP = {
    "adopt": "bring back a lost Terraform state: import what exists in the account; default: off"
}


@task(writes=True, help=TARGET_HELP | ADOPT_HELP | REPLACE_HELP | APPROVAL_HELP)
def bootstrap(
    _c: Context,
    target: Target,
    adopt: bool = False,
    allow_replace: bool = False,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Make buckets, roles and the contract that deploy reads, with Terraform."""
    from tooling import terraform
    from tooling.deploy import account, bootstrap
    from tooling.settings import require_variables

    approval = Approval.of_flags("bootstrap", yes=yes, plan=plan)
    settings = load_settings(target)
    require_variables(settings)
    terraform.require_program()  # before any request to AWS
    aws = account.open(settings)
    screen = _make_screen()
    _set_terraform_provider(screen)
    contract = bootstrap.apply(
        settings,
        aws,
        bootstrap.TerraformPaths.for_settings(settings),
        announce=screen.announce,
        show=screen.print_plan,
        approve=approval.ask,
        allow_replace=allow_replace,
        adopt=adopt,
    )
    screen.print_heading("Contract")
    screen.print_pairs(vars(contract))
    screen.announce(f"\nNext: {invocation.spell('deploy')}")


@task(writes=True, help={})
def package(_c: Context) -> None:
    """Build the zips of the function and its layer in dist/."""
    from tooling.deploy import package

    screen = _make_screen()
    artifacts = package.build(ROOT, ROOT / "dist", announce=screen.announce)
    for artifact in (artifacts.code, artifacts.layer):
        path, size_kib = artifact.path.relative_to(ROOT), artifact.size / 1024
        screen.announce(f"{path}  {size_kib:.0f} KiB  key {artifact.key}")


DEPLOY_HELP = {
    "set": "one stack parameter as Name=Value, repeatable; default: [parameters] in signwatch.toml",
    "allow_hidden_changes": "allow an update whose nested changes AWS cannot show; default: off",
    "regions": "Regions that get a forwarder of sign-ins: all, home (none), or names like "
    "us-east-1,us-east-2; default: `regions` in signwatch.toml, else where sign-ins are recorded",
}


@task(writes=True, help=STACK_HELP | DEPLOY_HELP | REPLACE_HELP | APPROVAL_HELP, iterable=("set",))
def deploy(
    _c: Context,
    target: Target,
    set: list[str] | None = None,  # noqa: A002 - the flag is called --set
    allow_replace: bool = False,
    allow_hidden_changes: bool = False,
    regions: str | None = None,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Package, upload, show and execute the change set; print outputs or the cause.

    Then make the forwarders of other Regions, side by side.
    """
    from tooling.deploy import package, stack
    from tooling.operate import forwarders, open_points

    approval = Approval.of_flags("deploy", yes=yes, plan=plan)
    settings = load_settings(target, set, regions)
    opened = open_account(target, settings)
    screen = _make_screen()
    live = stack.describe(opened.aws, settings.stack)
    content = forwarders.make_content(settings, opened.bootstrap.service_role_arn, live)
    found = forwarders.survey(
        opened.aws, settings, screen.announce, asks_identity_center=not settings.regions
    )
    has_trail_way = forwarders.has_trail_way(settings, live)
    forwarders_plan = forwarders.make_plan(settings, found, content, has_trail_way=has_trail_way)
    for line in [
        *forwarders_plan.format_lines(settings.region),
        *forwarders.list_bus_warnings(settings, live),
    ]:
        screen.announce(line)
    shared_approval = approval.share(forwarders_plan.format_question_note(), screen.announce)
    artifacts = package.build(ROOT, ROOT / "dist", announce=screen.announce)
    outputs = stack.deploy(
        opened.aws,
        settings,
        opened.bootstrap,
        artifacts,
        display=screen.make_display(shared_approval.ask),
        allow_replace=allow_replace,
        allow_hidden_changes=allow_hidden_changes,
    )
    if forwarders_plan.changes and not shared_approval.was_given:
        approval.ask("Go on with the forwarders?")
    report = forwarders.apply(opened.aws, forwarders_plan, content, screen.announce)
    screen.print_heading("Outputs")
    screen.print_pairs(outputs)
    screen.announce("")
    show_result(open_points.list_open_points(opened.aws, settings, outputs))
    report.refuse_failures()


@task(writes=False, help=STACK_HELP)
def outputs(_c: Context, target: Target) -> None:
    """Show the outputs of the deployed stack, and the Regions of its forwarders."""
    from tooling.deploy import stack
    from tooling.operate import forwarders

    opened = open_account(target)
    screen = _make_screen()
    outputs = stack.outputs(opened.aws, opened.settings)
    found = forwarders.survey(opened.aws, opened.settings, screen.announce)
    screen.print_pairs({**outputs, "Forwarders": found.format_regions()})


@task(writes=False, help=STACK_HELP)
def drift(_c: Context, target: Target) -> None:
    """Show resources that somebody else changed or deleted.

    Exits with status 1 if there are any.
    """
    from tooling.operate import drift

    opened = open_account(target)
    screen = _make_screen()
    report = drift.detect(opened.aws, opened.settings, announce=screen.announce)
    screen.print_table(drift.COLUMNS, report.format_rows())
    show_result([report.format_totals()], passed=not report.drifts)


SECRET_HELP = {
    "check": "let Twilio check the stored secret, which your own rights must allow to read; "
    "default: off",
    "trial_text": "send a trial text to each phone; default: the task asks on a terminal, else off",
    "unchecked": "store the secret without asking Twilio; default: off",
}


@task(writes=True, help=STACK_HELP | SECRET_HELP)
def secret(
    _c: Context,
    target: Target,
    check: bool = False,
    trial_text: bool = False,
    unchecked: bool = False,
) -> None:
    """Store the Twilio secret, typed or as JSON from stdin, once Twilio has checked it.

    Only the API key's secret is typed unseen.
    """
    from tooling.deploy import account, secret_setup, stack
    from tooling.deploy.secret_questions import Terminal
    from tooling.operate import open_points

    secret_setup.refuse_contradiction(check=check, trial_text=trial_text, unchecked=unchecked)
    settings, announce = load_settings(target), _make_screen().announce
    if check:
        aws = account.open(settings)
        live = stack.require_deployed(aws, settings)
        secret_setup.check_stored(aws, live, announce, trial_text=trial_text)
        return
    aws = open_account(target, settings).aws
    live = stack.require_deployed(aws, settings)
    result = secret_setup.fill(
        aws, live, sys.stdin, Terminal(announce), trial_text=trial_text, unchecked=unchecked
    )
    show_result([*result, *open_points.list_open_points(aws, settings, live.outputs)])


SIGNIN_TEST_HELP = {"minutes": "how long to wait for the sign-in, from 1 to 60; default: 15"}


@task(name="signin-test", writes=False, help=TARGET_HELP | SIGNIN_TEST_HELP)
def signin_test(_c: Context, target: Target, minutes: str = "15") -> None:
    """Follow a real sign-in to your phone and inbox.

    Exits with status 1 if nobody was reached.
    """
    from tooling.deploy import account, stack
    from tooling.local import rehearsal
    from tooling.operate import signin_test

    wait_minutes = signin_test.parse_minutes(minutes)
    settings = load_settings(target)
    aws = account.open(settings)
    result = signin_test.run(
        aws,
        stack.outputs(aws, settings),
        wait_minutes,
        _make_screen().announce,
        simulate=rehearsal.find_simulator(aws),
    )
    show_result(result.lines, passed=result.reached_somebody)


@task(name="networks", writes=False, help=STACK_HELP)
def show_networks(_c: Context, target: Target) -> None:
    """Show recognised networks and when they expire.

    Exits with status 1 if an entry is unusable.
    """
    from tooling.operate import network_list, networks

    opened = open_account(target)
    lists = networks.load(opened.aws, opened.settings)
    network_list.show(lists, time.time(), _make_screen())
    show_result([], passed=networks.has_only_usable_entries(lists))


ALLOW_HELP = {
    "cidr": "the range or address, required with --yes; "
    "default: your present public address, if you confirm it",
    "for_": "how long: 90m, 12h, 3d, 2w, or forever; default: 7d",
    "who": "the one person or role that it is for: "
    "the whole name, as in the text or in CloudTrail; default: everybody",
    "label": "a note on what it is; default: the day",
}


@task(name="networks.allow", writes=True, help=STACK_HELP | ALLOW_HELP | APPROVAL_HELP)
def allow_network(
    _c: Context,
    target: Target,
    cidr: str | None = None,
    for_: str = "7d",
    who: str | None = None,
    label: str | None = None,
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Temporarily recognise a network, for everybody or for one person.

    Takes effect within a minute; no deploy is needed.
    """
    from tooling.operate import networks

    approval = Approval.of_flags("networks.allow", yes=yes, plan=plan)
    settings = load_settings(target)
    now = time.time()
    seconds = networks.parse_duration(for_)
    cidr = cidr or networks.offer_own_address(_make_screen().announce, is_asked=not yes)
    allowance = networks.make_allowance(cidr, label, who, seconds, now)
    opened = open_account(target, settings)
    show_result(networks.allow(opened.aws, settings, allowance, now, approval.confirm))


REVOKE_HELP = {
    "cidr": "every entry with exactly this range; default: none",
    "label": "every entry with exactly this label; default: none",
    "id": "the entry with this id; default: none",
}


@task(name="networks.revoke", writes=True, help=STACK_HELP | REVOKE_HELP | APPROVAL_HELP)
def revoke_network(
    _c: Context,
    target: Target,
    cidr: str | None = None,
    label: str | None = None,
    id: str | None = None,  # noqa: A002 - the flag is called --id
    yes: bool = False,
    plan: bool = False,
) -> None:
    """Delete entries that networks.allow wrote, selected by range, label or id."""
    from tooling.operate import networks

    approval = Approval.of_flags("networks.revoke", yes=yes, plan=plan)
    networks.require_one_selection(cidr=cidr, label=label, id=id)
    opened = open_account(target)
    selection = {"cidr": cidr, "label": label, "id": id}
    lines = networks.revoke(opened.aws, opened.settings, time.time(), approval.confirm, **selection)
    show_result(lines)


CHECK_HELP = {
    "address": "the address, as in the text; default: none, it is required",
    "who": "the person or role that signs in, for entries that are for one person or role; "
    "default: only entries that are for everybody",
}


@task(name="networks.check", writes=False, help=STACK_HELP | CHECK_HELP)
def check_network(_c: Context, target: Target, address: str = "", who: str | None = None) -> None:
    """Show which entry recognises an address; exit with status 1 if none does."""
    from tooling.operate import networks

    networks.require_address(address)
    opened = open_account(target)
    lists = networks.load(opened.aws, opened.settings)
    result = networks.check_address(lists, address, who, time.time())
    show_result(result.lines, passed=result.is_recognised)


REFRESH_HELP = {
    "release": "the release of the package to take; default: the newest",
    "check": "write nothing; exit with status 1 if the list is not that of the locked package; "
    "default: off",
}


@task(name="networks.refresh", writes=True, help=REFRESH_HELP)
def refresh_networks(_c: Context, release: str | None = None, check: bool = False) -> None:
    """Update this checkout's list of AWS's own addresses.

    It comes from a package on pip's index, which is locked by hash. No account is needed.
    """
    from tooling.deploy import aws_ranges

    announce = _make_screen().announce
    aws_ranges.refuse_release_with_check(release, check=check)
    if check:
        result = aws_ranges.check(ROOT, announce)
        show_result(result.lines, passed=result.is_unchanged)
    else:
        show_result(aws_ranges.refresh(ROOT, release, announce).lines)


FORGET_HELP = {"who": "the whole name of the person or role; default: none, it is required"}


@task(writes=True, help=STACK_HELP | FORGET_HELP | APPROVAL_HELP)
def forget(
    _c: Context, target: Target, who: str = "", yes: bool = False, plan: bool = False
) -> None:
    """Delete the allowances for one person; say what else is stored, and for how long."""
    from tooling.operate import forget

    approval = Approval.of_flags("forget", yes=yes, plan=plan)
    forget.require_who(who)
    opened = open_account(target)
    show_result(forget.forget(opened.aws, opened.settings, who, time.time(), approval.confirm))


@task(writes=True, help=TARGET_HELP | APPROVAL_HELP)
def clean(_c: Context, target: Target, yes: bool = False, plan: bool = False) -> None:
    """Remove old templates and zips from the buckets, after it has shown them.

    Those of the live stack, of change sets, and of the five newest builds are kept. The task acts
    as the profile itself: the deploy role may not delete objects.
    """
    from tooling.deploy import account, bootstrap, cleanup

    approval = Approval.of_flags("clean", yes=yes, plan=plan)
    settings = load_settings(target)
    aws = account.open(settings)
    cleanup.clean(
        aws,
        settings,
        bootstrap.outputs(aws, settings.prefix),
        announce=_make_screen().announce,
        approve=approval.ask,
    )


EVERYTHING_HELP = {
    "everything": "also the log bucket, its key and the bootstrap, with the rights of the profile; "
    "default: off",
}


@task(writes=True, help=STACK_HELP | EVERYTHING_HELP | APPROVAL_HELP)
def destroy(
    _c: Context, target: Target, everything: bool = False, yes: bool = False, plan: bool = False
) -> None:
    """Delete the stack, after you type its prefix; the log bucket and its key stay.

    The forwarders of other Regions go first.
    """
    from tooling.deploy import stack
    from tooling.operate import forwarders

    approval = Approval.of_flags("destroy", yes=yes, plan=plan)
    settings = load_settings(target)
    screen = _make_screen()

    def approve(question: str) -> None:
        """Have the person type the prefix."""
        approval.ask_for_text(question, settings.prefix)

    if everything:
        _destroy_everything(settings, screen, approve)
        return
    opened = open_account(target, settings)
    removal = forwarders.prepare_removal(opened.aws, settings, screen.announce)
    display = screen.make_display(approve)
    stack.destroy(opened.aws, settings, opened.bootstrap, display=display, forwarders=removal)


def _destroy_everything(settings: Settings, screen: Screen, approve: Callable[[str], None]) -> None:
    """Delete all that there is of the prefix in the account."""
    from tooling import terraform
    from tooling.deploy import account, bootstrap, destruction
    from tooling.operate import forwarders

    terraform.require_program()  # before any request to AWS
    aws = account.open(settings)
    _set_terraform_provider(screen)
    paths = bootstrap.TerraformPaths.for_settings(settings)
    removal = forwarders.prepare_removal(aws, settings, screen.announce)
    display = screen.make_display(approve)
    destruction.destroy_everything(aws, settings, paths, display=display, forwarders=removal)


SCAN_HELP = {
    "fast": "the quick tools only; default: off",
    "only": "one tool by its name in the table; default: all of them",
}


@task(writes=False, help=SCAN_HELP)
def scan(_c: Context, fast: bool = False, only: str | None = None) -> None:
    """Run every static check: templates, rights, types, workflows, Terraform."""
    _scan(fast=fast, only=only)


def _scan(*, fast: bool = False, only: str | None = None) -> None:
    """Run the static tools: all, the fast ones, or the one called ``only``."""
    from tooling.checks import scan

    tools = scan.choose_tools(only, fast=fast)
    screen = _make_screen()
    report = scan.run(ROOT, ROOT / "dist", announce=screen.announce, tools=tools)
    show_result(report.format_findings())
    screen.print_table(scan.COLUMNS, report.format_rows())
    show_result([], passed=report.passed)


TEST_HELP = {
    "unit": "the unit tests only; default: all tests",
    "end_to_end": "the tests on the local AWS emulator only; default: all tests",
    "terraform": "the tests that run Terraform only; default: all tests",
    "fuzz": "this many random records and texts, and ten times the addresses (--fuzz 100000); "
    "default: all tests",
    "mutations": "single errors put into a copy of the templates and the bootstrap; the scan must "
    "catch each; "
    "default: all tests",
}


@task(writes=False, help=TEST_HELP)
def test(
    _c: Context,
    unit: bool = False,
    end_to_end: bool = False,
    terraform: bool = False,
    mutations: bool = False,
    fuzz: str | None = None,
) -> None:
    """Run all tests: unit tests, Terraform's, and the stacks on the local AWS emulator."""
    from tooling.checks import test_run

    flags = {"unit": unit, "end_to_end": end_to_end, "terraform": terraform}
    parts = {part for part, is_chosen in flags.items() if is_chosen}
    fuzz_count = test_run.parse_count(fuzz)
    if parts or not (mutations or fuzz_count):  # without a flag, all tests
        _test(parts=parts)
    if mutations:
        _test_mutations()
    if fuzz_count:
        _exit_unless_zero(test_run.fuzz(ROOT, fuzz_count))


def _test(*, parts: set[str]) -> None:
    """Run the parts "unit", "end_to_end" or "terraform" of the tests; all if the set is empty."""
    from tooling import terraform
    from tooling.checks import test_run

    if parts != {"unit"}:
        terraform.require_program()  # before the tests begin
    _exit_unless_zero(
        test_run.run(ROOT, ROOT / "dist", announce=_make_screen().announce, parts=parts)
    )


def _test_mutations() -> None:
    """Check that the scan finds each error that is put into a copy of the templates."""
    from tooling import environment
    from tooling.checks import mutations

    screen = _make_screen()
    _set_terraform_provider(screen)
    report = mutations.run(ROOT, environment.ensure("scan", ROOT), screen.announce)
    show_result(report.format_lines(), passed=report.passed)


def _exit_unless_zero(code: int) -> None:
    """End the task with a program's exit code, unless the program succeeded."""
    if code:
        raise Exit(code=code)


@task(writes=False, help={})
def check(_c: Context) -> None:
    """Run scan and then test."""
    _scan()
    _test(parts=set())


EXPLAIN_HELP = {
    "path": "a file or folder of records, or - for standard input; repeatable; "
    "works without --path too; default: none",
    "networks": "recognised networks, separated by commas; "
    "default: `KnownNetworks` in signwatch.toml, else none",
    "json": "one JSON object a line, other events included; default: readable lines",
    "config": TARGET_HELP["config"],
}


@task(writes=False, help=EXPLAIN_HELP, iterable=("path",), word_flag="path")
def explain(
    _c: Context,
    path: list[str] | None = None,
    networks: str | None = None,
    json: bool = False,
    config: str | None = None,
) -> None:
    """Show what Signwatch would do with your records (explain PATH ...)."""
    import gc

    from tooling import settings
    from tooling.analysis import explain

    gc.freeze()  # Python need not look through what is loaded by now, not even when it ends
    criteria = explain.choose_criteria(settings.read_parameters(config), networks)
    explain.run(path or [], criteria, as_json=json)


COVERAGE_HELP = {
    "profile": "AWS profile of the account to ask; "
    "default: none; without any of these four flags, the local AWS emulator is asked",
    **{flag: TARGET_HELP[flag] for flag in ("account", "region", "config")},
    "templates": "folder of the templates; default: cfn of this checkout",
}


@task(writes=False, help=COVERAGE_HELP)
def coverage(_c: Context, target: Target, templates: str | None = None) -> None:
    """Show each way to sign in and the rule for it.

    Exits with status 1 if a rule, a forwarder or the trail loses one.
    """
    from tooling.analysis import coverage

    folder = Path(templates) if templates else ROOT / "cfn"
    eventbridge: AbstractContextManager[Any]  # yields a client, and stops the emulator at the end
    if any(target.values()):
        from tooling.deploy import account

        settings = load_settings(target)
        account_label = f"account {settings.account}"
        eventbridge = nullcontext(account.open(settings).client("events"))
    else:
        from tooling.local import rehearsal

        account_label = "the local AWS emulator"
        eventbridge = rehearsal.open_eventbridge()
    coverage.run(folder, account_label, eventbridge, _make_screen())


DEMO_HELP = {
    "keep": "keep the emulator running and print how to use it with the AWS CLI; default: off",
    "event": "a file with an EventBridge event or a CloudTrail record of your own to send; "
    "default: five sign-ins",
    "port": "port of the local AWS emulator; default: a free one",
    "verbose": "show each line of Terraform and CloudFormation, and whole e-mails; default: off",
    "picture": "an SVG file to write, with the texts on a phone's screen; default: none",
}


@task(writes=True, help=DEMO_HELP)
def demo(
    _c: Context,
    keep: bool = False,
    event: str | None = None,
    port: str | None = None,
    picture: str | None = None,
    verbose: bool = False,
) -> None:
    """Run the whole chain locally, without AWS.

    Bootstraps, deploys, simulates five sign-ins and shows the texts that are sent.
    """
    from tooling import terraform
    from tooling.local import demo

    terraform.require_program()  # before anything is started
    port_number, screen = demo.parse_port(port), _make_screen()
    _set_terraform_provider(screen)
    demo.run(
        ROOT,
        screen,
        keep=keep,
        event=event,
        port=port_number,
        picture=picture,
        verbose=verbose,
    )


networks = Collection("networks")
networks.add_task(show_networks, name="list", default=True)
networks.add_task(allow_network)
networks.add_task(revoke_network)
networks.add_task(check_network)
networks.add_task(refresh_networks)
# ./inv lists the tasks in this order, below these headings.
GROUPS = {
    "Set up": (bootstrap, deploy, secret, signin_test, outputs),
    "Operate": (networks, drift, forget, clean, destroy),
    "Look, without an account": (demo, explain, coverage),
    "Develop": (scan, test, check, package),
}
namespace = Collection(*(entry for entries in GROUPS.values() for entry in entries))


def main() -> NoReturn:
    """Run the tasks that the command line names, and exit; ``./inv`` does this."""
    program.main(program.Program(namespace, GROUPS))
