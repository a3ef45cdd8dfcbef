"""The words of this project. ``./inv`` lists them; ``./inv --help WORD`` explains one."""

from __future__ import annotations

import functools
import sys
import time
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from invoke import Collection, Context, Exit, Program, task

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]  # two source roots: this folder and the function's

from tooling import settings, terraform  # noqa: E402 - after the source roots are known
from tooling.terminal.task import expand_target, map_errors, refuse_dry_run  # noqa: E402 - after the source roots are known

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.terminal.screen import Screen

with map_errors("tasks.py", lambda code: Exit(code=code)):
    DEFAULTS = terraform.load_defaults(ROOT / "terraform-bootstrap")
TARGET = {
    "profile": "AWS profile; default: `profile` in signwatch.toml, else the environment's credentials",
    "account": "12-digit account id; credentials of another are refused; default: `account` in signwatch.toml",
    "region": f"home Region; default: `region` in signwatch.toml, else {DEFAULTS['region']}",
    "prefix": f"the stack's name and all names' prefix; default: `prefix` in signwatch.toml, else {DEFAULTS['prefix']}",
    "config": "configuration file; default: signwatch.toml",
}
LIVE = TARGET | {
    "no_assume_role": "act as the profile itself and not as the deploy role; default: off"
}
SWITCHES = ("no_assume_role",)  # those that take no value
Target = dict[str, Any]  # the values of these flags, by name, as the words take them
HELP = ("--help", "-h")
REPLACE = {
    "allow_replace": "allow what would replace or delete resources that keep evidence; default: off"
}


def word(
    *,
    writes: bool,
    help: dict[str, str],  # noqa: A002 - Invoke's own name
    name: str | None = None,
    iterable: tuple[str, ...] = (),
    positional: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Make a task whose errors end in a sentence and the agreed exit code, and which refuses --dry if it writes.

    ``name`` is what a person types, where it is not the function's name; a family's name comes before the dot.
    Invoke takes ``--help`` behind a task for the value of a positional that is still missing: given back here. A body
    that takes a ``target`` gets the flags of LIVE in it, as far as ``help`` has them.
    """

    def decorate(body: Callable[..., None]) -> Any:
        called = name or body.__name__
        taken = (
            [flag for flag in LIVE if flag in help]
            if "target" in signature(body).parameters
            else []
        )
        target = dict.fromkeys(taken) | {flag: False for flag in taken if flag in SWITCHES}

        @functools.wraps(body)
        def run(context: Context, *args: Any, **flags: Any) -> None:
            if any(flags[name] in HELP for name in positional):
                made.help = dict(help)  # Invoke has taken the sentences out of it
                Program(namespace=Collection(made)).run(["invoke", "--help", made.name], exit=False)
                return
            with map_errors(called, lambda code: Exit(code=code)):
                if writes:
                    refuse_dry_run(called, dry=bool(context.config.run.dry))
                packed = {flag: flags.pop(flag, default) for flag, default in target.items()}
                body(context, *args, **({"target": packed} if target else {}), **flags)

        if target:
            run.__signature__ = expand_target(signature(body), "target", target)  # type: ignore[attr-defined] # what Invoke reads
        own = called.rpartition(".")[2]
        made: Any = task(
            run, name=own, help=dict(help), iterable=list(iterable), positional=list(positional)
        )
        return made

    return decorate


def _screen() -> Screen:
    from tooling.terminal.screen import Screen

    return Screen()


def _tell(screen: Screen, lines: list[str], *, passed: bool) -> None:
    """Show what was found; end in 1 for a finding."""
    for line in lines:
        screen.announce(line)
    if not passed:
        raise Exit(code=1)


class Entered(NamedTuple):
    """An account that was opened: what was chosen, who acts there, and the bootstrap's contract."""

    chosen: settings.Settings
    aws: Account
    made: Bootstrap


def _enter(target: Target, chosen: settings.Settings | None = None) -> Entered:
    """Open the account, read the bootstrap's contract, and act as the deploy role unless told otherwise."""
    from tooling.deploy import account, bootstrap

    chosen = chosen or _settings(target)
    aws = account.open(chosen)
    made = bootstrap.outputs(aws, chosen.prefix)
    if not target["no_assume_role"]:
        aws = bootstrap.assume_role(aws, chosen.prefix, made, announce=_screen().announce)
    return Entered(chosen, aws, made)


def _settings(target: Target, assignments: list[str] | None = None) -> settings.Settings:
    chosen = {flag: value for flag, value in target.items() if flag in TARGET}
    return settings.Settings.load(**chosen, assignments=assignments or ())


@word(writes=True, help=TARGET | REPLACE)
def bootstrap(_c: Context, target: Target, allow_replace: bool = False) -> None:
    """Make the buckets and roles with Terraform (init, plan, apply) and write the contract that deploy reads."""
    from tooling.deploy import account as accounts
    from tooling.deploy import bootstrap as bootstraps

    chosen = _settings(target)
    terraform.find()
    screen, aws = _screen(), accounts.open(chosen)
    place = bootstraps.Place.of(chosen)
    made = bootstraps.apply(
        chosen, aws, place, announce=screen.announce, show=screen.plan, allow_replace=allow_replace
    )
    screen.heading("Contract")
    screen.pairs(vars(made))


@word(writes=True, help={})
def package(_c: Context) -> None:
    """Build the function's zip and its layer's zip into dist/; the same inputs give the same bytes."""
    from tooling.deploy import package as packages

    screen = _screen()
    made = packages.build(ROOT, ROOT / "dist", announce=screen.announce)
    for artifact in (made.code, made.layer):
        screen.announce(
            f"{artifact.path.relative_to(ROOT)}  {artifact.size / 1024:.0f} KiB  key {artifact.key}"
        )


DEPLOY = {
    "set": "one stack parameter as Name=Value, repeatable; default: [parameters] in signwatch.toml",
    "allow_hidden_changes": "allow an update whose nested changes AWS cannot show; default: off",
}


@word(writes=True, help=LIVE | DEPLOY | REPLACE, iterable=("set",))
def deploy(
    _c: Context,
    target: Target,
    set: list[str] | None = None,  # noqa: A002 - the flag is called --set
    allow_replace: bool = False,
    allow_hidden_changes: bool = False,
) -> None:
    """Package, upload what is new, show the change set, execute it, follow it to outputs or first real cause."""
    from tooling.deploy import package as packages
    from tooling.deploy import stack

    chosen = _settings(target, set)
    stack.check(chosen)
    here = _enter(target, chosen)
    screen = _screen()
    artifacts = packages.build(ROOT, ROOT / "dist", announce=screen.announce)
    shown = stack.deploy(
        here.aws,
        here.chosen,
        here.made,
        artifacts,
        console=screen.stack(),
        allow_replace=allow_replace,
        allow_hidden_changes=allow_hidden_changes,
    )
    screen.heading("Outputs")
    screen.pairs(shown)


@word(writes=False, help=LIVE)
def outputs(_c: Context, target: Target) -> None:
    """Show the live stack's outputs."""
    from tooling.deploy import stack

    here = _enter(target)
    _screen().pairs(stack.outputs(here.aws, here.chosen))


@word(writes=False, help=LIVE)
def drift(_c: Context, target: Target) -> None:
    """Compare the account with the live stacks; end in 1 when a resource was changed or deleted by somebody else."""
    from tooling.operate import drift as drifts

    here = _enter(target)
    screen = _screen()
    found = drifts.detect(here.aws, here.chosen, announce=screen.announce)
    _tell(screen, found.lines(), passed=not found.drifts)


@word(writes=True, help=LIVE)
def secret(_c: Context, target: Target) -> None:
    """Fill the Twilio secret from questions that are not echoed, or from one JSON object on standard input."""
    from tooling.deploy import secret as secrets
    from tooling.deploy import stack

    here = _enter(target)
    arn = stack.outputs(here.aws, here.chosen)["TwilioSecretArn"]
    given = secrets.read(sys.stdin)
    secrets.put(here.aws, arn, given)
    _screen().announce(
        f"The secret is filled; texts go to {len(given['recipients'])} recipients from now on."
    )


@word(name="networks", writes=False, help=LIVE)
def show_networks(_c: Context, target: Target) -> None:
    """Show both lists of recognised networks, and what ends when; end in 1 when an entry is unusable."""
    from tooling.operate import networks

    here = _enter(target)
    lists = networks.load(here.aws, here.chosen)
    _tell(
        _screen(),
        networks.format_lists(lists, time.time()),
        passed=networks.has_only_usable_entries(lists),
    )


ALLOW = {
    "cidr": "the range or address; default: your present public address, after a question",
    "for_": "how long: 90m, 12h, 3d, 2w, or forever; default: 7d",
    "who": "the one person or role that it is for, by the whole name in the text or in CloudTrail; default: everybody",
    "label": "what it is, for people; default: the day",
    "force_wide": "take a range wider than /8 (IPv4) or /19 (IPv6); default: off",
}


@word(name="networks.allow", writes=True, help=LIVE | ALLOW)
def allow_network(
    _c: Context,
    target: Target,
    cidr: str | None = None,
    for_: str = "7d",
    who: str | None = None,
    label: str | None = None,
    force_wide: bool = False,
) -> None:
    """Recognise a network for a time, for everybody or one person, within a minute and without a deploy."""
    from tooling.operate import networks

    chosen = _settings(target)
    seconds, now = networks.parse_duration(for_), time.time()
    one = networks.make_allowance(
        cidr or networks.offer_own_address(sys.stdin), label, who, seconds, now, wide=force_wide
    )
    here = _enter(target, chosen)
    _tell(_screen(), networks.allow(here.aws, here.chosen, one, now), passed=True)


REVOKE = {
    "cidr": "every entry of exactly this range; default: none",
    "label": "every entry with exactly this label; default: none",
    "id": "the entry of this id; default: none",
}


@word(name="networks.revoke", writes=True, help=LIVE | REVOKE)
def revoke_network(
    _c: Context,
    target: Target,
    cidr: str | None = None,
    label: str | None = None,
    id: str | None = None,  # noqa: A002 - the flag is called --id
) -> None:
    """Take back what networks.allow recognised, named by its range, its label or its id."""
    from tooling.operate import networks

    networks.require_one_selection(cidr=cidr, label=label, id=id)
    here = _enter(target)
    _tell(
        _screen(),
        networks.revoke(here.aws, here.chosen, time.time(), cidr=cidr, label=label, id=id),
        passed=True,
    )


CHECK = {
    "address": "the address, as in the text; it has no default: it must be given",
    "who": "the person or role that signs in, for entries that are for one alone; default: nobody in particular",
}


@word(name="networks.check", writes=False, help=LIVE | CHECK)
def check_network(_c: Context, target: Target, address: str = "", who: str | None = None) -> None:
    """Say which entry recognises an address; end in 1 when none does."""
    from tooling.operate import networks

    networks.require_address(address)
    here = _enter(target)
    told, is_recognised = networks.check_address(
        networks.load(here.aws, here.chosen), address, who, time.time()
    )
    _tell(_screen(), told, passed=is_recognised)


CONFIRM = {"confirm": "the prefix, typed as a confirmation, for scripts; default: asked for"}


@word(writes=True, help=LIVE | CONFIRM)
def destroy(_c: Context, target: Target, confirm: str | None = None) -> None:
    """Delete the stack after its prefix was typed; the trail's bucket and its key stay."""
    from tooling.deploy import stack

    here = _enter(target)
    screen = _screen()
    stack.confirm(here.chosen.prefix, confirm)
    stack.destroy(here.aws, here.chosen, here.made, console=screen.stack())
    screen.announce(f"Stack {here.chosen.stack} is gone.")


SCAN = {
    "fast": "the quick tools only, for while you work; default: off",
    "only": "one tool by its name in the table; default: all of them",
}


@word(writes=False, help=SCAN)
def scan(_c: Context, fast: bool = False, only: str | None = None) -> None:
    """Check everything static: checkov with the policies of this project, linters, types, workflows, Terraform."""
    _scan(fast=fast, only=only)


def _scan(*, fast: bool = False, only: str | None = None) -> None:
    from tooling.checks import scan as scans

    screen = _screen()
    report = scans.run(
        ROOT, ROOT / "dist", announce=screen.announce, tools=scans.choose_tools(only, fast=fast)
    )
    _tell(screen, report.lines(), passed=report.passed)


PARTS = {
    "unit": "the unit tests only; default: all tests",
    "end_to_end": "the tests on the local AWS emulator only; default: all tests",
    "terraform": "the tests that run Terraform only; default: all tests",
    "fuzz": "as many made-up records and texts, and ten times the addresses (--fuzz 100000); default: all tests",
    "mutations": "single faults in a copy of the templates, each to be caught by its policy; default: all tests",
}


@word(writes=False, help=PARTS)
def test(
    _c: Context,
    unit: bool = False,
    end_to_end: bool = False,
    terraform: bool = False,
    mutations: bool = False,
    fuzz: str | None = None,
) -> None:
    """Run everything that runs: unit tests, Terraform's tests, and the deployed stacks on the local AWS emulator."""
    from tooling.checks import test_run

    count = test_run.parse_count(fuzz)
    if unit or end_to_end or terraform or not (mutations or count):
        _test(unit=unit, end_to_end=end_to_end, terraform=terraform)
    if mutations:
        _mutations()
    if count and (code := test_run.fuzz(ROOT, count)):
        raise Exit(code=code)


def _mutations() -> None:
    from tooling import environment
    from tooling.checks import mutations as faults

    screen = _screen()
    report = faults.run(ROOT, environment.ensure("scan", ROOT), screen.announce)
    _tell(screen, report.lines(), passed=report.passed)


def _test(**chosen: bool) -> None:
    from tooling.checks import test_run

    parts = {name for name, wanted in chosen.items() if wanted}
    if parts != {"unit"}:
        terraform.find()
    code = test_run.run(ROOT, ROOT / "dist", parts=parts, extra=[])
    if code:
        raise Exit(code=code)


@word(writes=False, help={})
def check(_c: Context) -> None:
    """Run scan and then test."""
    _scan()
    _test()


EXPLAIN = {
    "path": "a file or folder of records, or - for standard input; works without --path too; default: none",
    "also": "one more such file or folder, repeatable; default: none",
    "networks": "recognised networks, separated by commas; default: `KnownNetworks` in signwatch.toml, else none",
    "json": "one JSON object a line, other events included; default: lines for people",
    "config": TARGET["config"],
}


@word(writes=False, help=EXPLAIN, iterable=("also",), positional=("path",))
def explain(
    _c: Context,
    path: str,
    also: list[str] | None = None,
    networks: str | None = None,
    json: bool = False,
    config: str | None = None,
) -> None:
    """Show what Signwatch would do with records that you have (explain PATH); it needs no AWS account."""
    from tooling.analysis import explain as explains

    chosen = explains.choose(settings.parameters(config), networks)
    explains.run([path, *(also or [])], chosen, as_json=json)


COVERAGE = {
    **{name: TARGET[name] for name in ("profile", "account", "region", "config")},
    "profile": "AWS profile of the account to ask; default: none, and without these four the local AWS emulator answers",
    "templates": "folder of the templates; default: cfn of this checkout",
}


@word(writes=False, help=COVERAGE)
def coverage(_c: Context, target: Target, templates: str | None = None) -> None:
    """Show each way into an account and whether a rule hands it to the function; end in 1 where none does."""
    from tooling.analysis import coverage as coverages

    folder = Path(templates) if templates else ROOT / "cfn"
    eventbridge: AbstractContextManager[Any]
    if any(target.values()):
        from tooling.deploy import account

        chosen = _settings(target)
        owner, eventbridge = (
            f"account {chosen.account}",
            nullcontext(account.open(chosen).client("events")),
        )
    else:
        from tooling.local import rehearsal

        owner, eventbridge = "the local AWS emulator", rehearsal.open_eventbridge()
    coverages.run(folder, owner, eventbridge, _screen())


DEMO = {
    "keep": "leave it running afterwards and print how to talk to it with the AWS CLI; default: off",
    "event": "a file with an EventBridge event or a CloudTrail record of your own to send; default: five sign-ins",
    "port": "port of the local AWS emulator; default: a free one",
}


@word(writes=True, help=DEMO)
def demo(
    _c: Context, keep: bool = False, event: str | None = None, port: str | None = None
) -> None:
    """Run the whole chain on this machine, with no AWS account: bootstrap, deploy, five sign-ins, the texts."""
    from tooling.local import demo as demos

    terraform.find()
    demos.run(ROOT, _screen(), keep=keep, event=event, port=demos.free_port(port))


networks = Collection("networks")
networks.add_task(show_networks, name="list", default=True)
for each in (allow_network, revoke_network, check_network):
    networks.add_task(each)
namespace = Collection(
    *(bootstrap, package, deploy, outputs, drift, secret, networks, destroy),
    *(scan, test, check, explain, coverage, demo),
)
