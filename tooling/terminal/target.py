"""The flags that choose an account, and the functions that open the account they name.

The contract is what ``invoke bootstrap`` wrote to the account: names of buckets, ARNs of roles.
Modules are imported inside the functions, so that ``./inv --list`` does not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tooling.deploy.account import Account
    from tooling.deploy.bootstrap import Bootstrap
    from tooling.settings import Settings

# Region and prefix are the defaults of tooling.settings, and those in variables.tf; a test compares
# them.
TARGET_HELP = {
    "profile": "AWS profile; "
    "default: `profile` in signwatch.toml, else the environment's credentials",
    "account": "12-digit account id; credentials of another are refused; "
    "default: `account` in signwatch.toml",
    "region": "home Region; default: `region` in signwatch.toml, else AWS_REGION, "
    "AWS_DEFAULT_REGION or the profile's, else us-east-1",
    "prefix": "the stack's name, with which all names begin; "
    "default: `prefix` in signwatch.toml, else signwatch",
    "config": "configuration file; default: signwatch.toml",
}
STACK_HELP = TARGET_HELP | {
    "no_assume_role": "act as the profile itself and not as the deploy role; default: off"
}
SWITCHES = ("no_assume_role",)  # flags without a value
# The values of the flags of one task, by their names; None or False if a flag is not set.
Target = dict[str, Any]


class OpenAccount(NamedTuple):
    """The settings of this run, the account they name, and its contract."""

    settings: Settings
    aws: Account
    bootstrap: Bootstrap


def load_settings(
    target: Target, assignments: Sequence[str] | None = None, regions: str | None = None
) -> Settings:
    """Return the settings of this run. ``assignments`` and ``regions`` are the values of --set and
    --regions.

    Says which Region was taken if neither a flag nor signwatch.toml names one.
    Raises RefusedError as Settings.load does.
    """
    from tooling.settings import Settings
    from tooling.terminal.screen import Screen

    # --no-assume-role is not a setting.
    settings_flags = {flag: value for flag, value in target.items() if flag != "no_assume_role"}
    settings = Settings.load(**settings_flags, assignments=assignments or (), regions=regions)
    if settings.region_source:
        Screen().announce(f"Region {settings.region}, {settings.region_source}")
    return settings


def open_account(target: Target, settings: Settings | None = None) -> OpenAccount:
    """Open the account that the flags or ``settings`` name, and read its contract.

    Requests are made as the deploy role, unless --no-assume-role is set.
    Raises RefusedError and FailedError as ``account.open``, ``bootstrap.outputs`` and
    ``bootstrap.assume_role`` do.
    """
    from tooling.deploy import account, bootstrap
    from tooling.terminal.screen import Screen

    settings = settings or load_settings(target)
    aws = account.open(settings)
    contract = bootstrap.outputs(aws, settings.prefix)
    if not target["no_assume_role"]:
        aws = bootstrap.assume_role(aws, settings.prefix, contract, announce=Screen().announce)
    return OpenAccount(settings, aws, contract)
