"""Opens an AWS account: resolves profile and Region, checks the account number, assumes a role."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tooling import aws_errors, invocation
from tooling.aws_profile import read_profile
from tooling.errors import DEBUG_VARIABLE, FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tooling.aws_profile import Profile
    from tooling.settings import Settings

SESSION_NAME = "signwatch-deploy"
# With these the names of operations begin that change nothing.
READING_VERBS = (
    *("Get", "List", "Describe", "Head", "Lookup", "Filter", "Detect", "Test", "Validate"),
    "AssumeRole",
)
COMPETING_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")


class DeniedRoleError(FailedError):
    """AWS does not let the caller assume the role."""


@dataclass(frozen=True)
class Account:
    """An account in which requests can be made. Its number was checked."""

    session: Any  # a boto3 Session
    account: str  # its number
    region: str
    caller_arn: str  # the user or the role's session that makes the requests

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a boto3 client of ``service`` with explicit timeouts and standard retries.

        ``region`` replaces the account's home Region.
        """
        from botocore.config import Config

        retries = {"mode": "standard", "max_attempts": 5}
        config = Config(connect_timeout=5, read_timeout=30, retries=retries)
        return self.session.client(service, region_name=region, config=config)

    def make_environment(self) -> dict[str, str]:
        """Return a copy of this process's environment variables with the credentials in them.

        It is for Terraform: its provider does not know every kind of profile (``aws login``), so
        boto3 reads the credentials, and the variables that name a profile are left out.
        """
        credentials = self.session.get_credentials().get_frozen_credentials()
        environment = dict(os.environ)
        for name in COMPETING_VARIABLES:
            environment.pop(name, None)
        environment["AWS_ACCESS_KEY_ID"] = credentials.access_key
        environment["AWS_SECRET_ACCESS_KEY"] = credentials.secret_key
        environment["AWS_REGION"] = self.region
        if credentials.token:
            environment["AWS_SESSION_TOKEN"] = credentials.token
        return environment


def watch_writes(session: Any) -> None:
    """Record in the present run when a client of the boto3 ``session`` changes something."""
    session.events.register("before-send", _note_write)


def _note_write(event_name: str, **_: Any) -> None:
    """Record that a request that changes something is sent: "before-send.s3.PutObject"."""
    operation = event_name.rpartition(".")[2]
    if not operation.startswith(READING_VERBS):
        invocation.mark_written()


def open(settings: Settings) -> Account:  # noqa: A001 - used as account.open
    """Open ``settings.account`` with the credentials of ``settings.profile``.

    Makes no change in AWS. Raises RefusedError for whatever keeps the profile from being used, from
    a broken file to a refusal by AWS, and if the credentials belong to another account.
    """
    invocation.present_run().profile = settings.profile
    profile = read_profile(settings.profile)
    _refuse_unusable(profile)
    unchecked, caller = _ask_caller(settings, profile)
    if caller["Account"] != settings.account:
        what = (
            f"these credentials belong to account {caller['Account']}, not to {settings.account};"
            " nothing was written"
        )
        remedy = "choose the right --profile or --account"
        raise RefusedError(f"account {settings.account}", what, remedy)
    return replace(unchecked, caller_arn=caller["Arn"])


def _refuse_unusable(profile: Profile) -> None:
    """Raise RefusedError for what would fail later, after a first write, or in a question.

    That is an endpoint of one service alone, and a second factor that nobody can be asked for.
    """
    if explanation := aws_errors.explain_bad_endpoint(profile):
        raise RefusedError(*explanation)
    needs_code = {"role_arn", "mfa_serial"} <= set(profile.options) and not profile.uses_environment
    if needs_code and not _has_terminal():
        raise RefusedError(*aws_errors.explain_missing_terminal(profile))


def _has_terminal() -> bool:
    """Return whether a person can be asked, as getpass does: on the terminal of this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()
    return True


def _ask_caller(settings: Settings, profile: Profile) -> tuple[Account, Mapping[str, str]]:
    """Return the account of a profile, not yet checked, and what STS says about the caller.

    botocore and what it calls raise much more than botocore's own classes (a damaged cache is a
    KeyError), so every error from there is explained. Raises RefusedError.
    """
    import boto3

    try:
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        watch_writes(session)
        unchecked = Account(session, settings.account, settings.region, caller_arn="")
        return unchecked, unchecked.client("sts").get_caller_identity()
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        raise RefusedError(*aws_errors.explain(error, profile)) from error


def assume_role(aws: Account, role_arn: str) -> Account:
    """Return the account with the credentials of a role in place of the caller's own.

    They are valid for at most one hour: AWS's limit if the caller acts as a role too.
    Raises DeniedRoleError when AWS denies it, FailedError for any other failure.
    """
    import boto3
    from botocore.exceptions import ClientError

    try:
        response = aws.client("sts").assume_role(RoleArn=role_arn, RoleSessionName=SESSION_NAME)
    except ClientError as error:
        what = f"may not be assumed by {aws.caller_arn} ({error})"
        remedy = (
            f"run {invocation.spell('bootstrap')} with your permission set or role among the"
            " trusted ones, and wait a minute; or use --no-assume-role"
        )
        is_denied = error.response["Error"]["Code"] == "AccessDenied"
        error_type = DeniedRoleError if is_denied else FailedError
        raise error_type(role_arn, what, remedy) from error
    keys = response["Credentials"]
    session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=aws.region
    )
    watch_writes(session)
    return Account(session, aws.account, aws.region, response["AssumedRoleUser"]["Arn"])
