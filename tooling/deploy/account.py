"""The way into an AWS account: profile and Region resolved, the account guarded, the deploy role assumed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from tooling.settings import Settings

SESSION_NAME = "signwatch-deploy"
REPLACED = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
)  # what plain credentials stand in for


@dataclass(frozen=True)
class Account:
    """An account that has been checked to be the one that was named. ``session`` is a boto3 Session."""

    session: Any
    account: str
    region: str
    caller_arn: str

    def client(self, service: str) -> Any:
        """Return a client of ``service`` with explicit timeouts and standard retries."""
        from botocore.config import Config

        config = Config(
            connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5}
        )
        return self.session.client(service, config=config)

    def environment(self) -> dict[str, str]:
        """Return this process's environment with plain credentials in it, for programs that know no profiles.

        Terraform's provider does not know every kind of profile (``aws login``); boto3 resolves it instead.
        """
        found = self.session.get_credentials().get_frozen_credentials()
        token = {"AWS_SESSION_TOKEN": found.token} if found.token else {}
        kept = {name: value for name, value in os.environ.items() if name not in REPLACED}
        keys = {"AWS_ACCESS_KEY_ID": found.access_key, "AWS_SECRET_ACCESS_KEY": found.secret_key}
        return kept | keys | token | {"AWS_REGION": self.region}


def open(settings: Settings) -> Account:  # noqa: A001 - the module is used as account.open, like webbrowser.open
    """Sign in with the settings' profile and refuse any account but the one they name, before any write.

    Raises RefusedError for an unknown profile, missing or expired credentials, and for another account.
    """
    import boto3
    from botocore import exceptions

    try:
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        caller = (
            Account(session, settings.account, settings.region, "")
            .client("sts")
            .get_caller_identity()
        )
    except exceptions.ProfileNotFound as error:
        remedy = "list the known ones with: aws configure list-profiles"
        raise RefusedError(
            f"profile {error.kwargs['profile']!r}", "is not in your AWS configuration", remedy
        ) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise RefusedError(
            "AWS credentials", "were not found", "give --profile NAME, or sign in first"
        ) from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise RefusedError(
            "AWS", f"could not be reached ({error})", "check the network and the Region"
        ) from error
    except (
        exceptions.ClientError,
        exceptions.BotoCoreError,
    ) as error:  # nothing has been written yet
        remedy = f"sign in again (aws sso login{f' --profile {settings.profile}' if settings.profile else ''})"
        raise RefusedError("AWS credentials", f"were refused ({error})", remedy) from error
    if caller["Account"] != settings.account:
        what = f"these credentials belong to account {caller['Account']}, not to {settings.account}; nothing was written"
        raise RefusedError(
            f"account {settings.account}", what, "choose the right --profile or --account"
        )
    return Account(session, settings.account, settings.region, caller["Arn"])


def assume(aws: Account, role_arn: str) -> Account:
    """Return ``aws`` acting as ``role_arn`` (at most one hour, since roles are chained).

    Raises FailedError when the role may not be assumed.
    """
    import boto3
    from botocore.exceptions import ClientError

    try:
        answer = aws.client("sts").assume_role(RoleArn=role_arn, RoleSessionName=SESSION_NAME)
    except ClientError as error:
        remedy = "run invoke bootstrap with your permission set or role among the trusted ones, or use --no-assume-role"
        raise FailedError(
            role_arn, f"may not be assumed by {aws.caller_arn} ({error})", remedy
        ) from error
    keys = answer["Credentials"]
    session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=aws.region
    )
    return Account(session, aws.account, aws.region, answer["AssumedRoleUser"]["Arn"])
