"""Opens an AWS account: resolves profile and Region, checks the account number, assumes a role."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from tooling.settings import Settings

SESSION_NAME = "signwatch-deploy"
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


def open(settings: Settings) -> Account:  # noqa: A001 - used as account.open
    """Open ``settings.account`` with the credentials of ``settings.profile``.

    Makes no change in AWS. Raises RefusedError if the profile is unknown, if the credentials are
    missing or expired, or if they belong to another account.
    """
    import boto3
    from botocore import exceptions

    try:
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        unchecked = Account(session, settings.account, settings.region, caller_arn="")
        caller = unchecked.client("sts").get_caller_identity()
    except exceptions.ProfileNotFound as error:
        where = f"profile {error.kwargs['profile']!r}"
        remedy = "list the known ones with: aws configure list-profiles"
        raise RefusedError(where, "is not in your AWS configuration", remedy) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        remedy = "give --profile NAME, or sign in first"
        raise RefusedError("AWS credentials", "were not found", remedy) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        what = f"could not be reached ({error})"
        raise RefusedError("AWS", what, "check the network and the Region") from error
    except (exceptions.ClientError, exceptions.BotoCoreError) as error:
        profile = f" --profile {settings.profile}" if settings.profile else ""
        remedy = f"sign in again (aws sso login{profile})"
        raise RefusedError("AWS credentials", f"were refused ({error})", remedy) from error
    if caller["Account"] != settings.account:
        what = (
            f"these credentials belong to account {caller['Account']}, not to {settings.account};"
            " nothing was written"
        )
        remedy = "choose the right --profile or --account"
        raise RefusedError(f"account {settings.account}", what, remedy)
    return Account(session, settings.account, settings.region, caller["Arn"])


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
            "run invoke bootstrap with your permission set or role among the trusted ones, and wait"
            " a minute; or use --no-assume-role"
        )
        is_denied = error.response["Error"]["Code"] == "AccessDenied"
        error_type = DeniedRoleError if is_denied else FailedError
        raise error_type(role_arn, what, remedy) from error
    keys = response["Credentials"]
    session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=aws.region
    )
    return Account(session, aws.account, aws.region, response["AssumedRoleUser"]["Arn"])
