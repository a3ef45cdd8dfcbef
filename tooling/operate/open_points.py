"""Finds what still keeps an alert from a person: shown at the end of ``deploy`` and ``secret``.

Each open point says what is missing, and the command or the click that settles it. A point that
cannot be checked is named too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tooling.invocation import spell
from tooling.operate import networks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tooling.deploy.account import Account
    from tooling.settings import Settings

UNCONFIRMED = "PendingConfirmation"  # in place of an ARN: SNS API, ListSubscriptionsByTopic


def list_open_points(aws: Account, settings: Settings, outputs: Mapping[str, str]) -> list[str]:
    """Return the lines to print: what is open, or the next command if nothing is.

    ``outputs`` are the stack's.
    """
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("the e-mail's subscription", lambda: _check_email(aws, outputs)),
        ("the Twilio secret", lambda: _check_secret(aws, outputs)),
        ("the recognised networks", lambda: _check_networks(aws, settings)),
    )
    points = [point for name, check in checks if (point := _run_check(name, check))]
    if not points:
        return [f"Next: {spell('signin-test')}"]
    return ["Still open:", *(f"  - {point}" for point in points)]


def list_subscription_arns(aws: Account, topic_arn: str) -> list[str]:
    """Return the ARN of each subscription to the topic; UNCONFIRMED for one not confirmed yet."""
    pages = aws.client("sns").get_paginator("list_subscriptions_by_topic")
    return [
        subscription["SubscriptionArn"]
        for page in pages.paginate(TopicArn=topic_arn)
        for subscription in page["Subscriptions"]
    ]


def _run_check(name: str, check: Callable[[], str]) -> str:
    """Return what a check found; if it fails, a sentence that says so."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - the task itself has succeeded
        return f"{name} could not be checked ({type(error).__name__})"


def _check_email(aws: Account, outputs: Mapping[str, str]) -> str:
    """Return what is wrong with the e-mail's subscription; empty if an address has confirmed it."""
    arns = list_subscription_arns(aws, outputs["AlertTopicArn"])
    if not arns:
        command = spell("deploy", "--set", "AlertEmail=you@example.com")
        return f"no address gets the e-mails: {command}"
    if all(arn == UNCONFIRMED for arn in arns):
        return (
            "nobody has confirmed the e-mails: click the link that AWS sent to AlertEmail; "
            "until then an alert has two ways to a person only if the secret names two phones"
        )
    return ""


def _check_secret(aws: Account, outputs: Mapping[str, str]) -> str:
    """Return that the secret is empty; empty text if it has a value."""
    client = aws.client("secretsmanager")
    secret = client.describe_secret(SecretId=outputs["TwilioSecretArn"])
    if secret.get("VersionIdsToStages"):
        return ""
    return f"the Twilio secret is empty, so no text is sent: {spell('secret')}"


def _check_networks(aws: Account, settings: Settings) -> str:
    """Return that no network is recognised; empty if one is."""
    lists = networks.load(aws, settings)
    now = time.time()
    has_allowance = any(
        stored.allowance is not None and stored.allowance.is_current(now)
        for stored in lists.allowances
    )
    if lists.known or has_allowance:
        return ""
    command = spell("deploy", "--set", "KnownNetworks=YOUR.ADDRESS/32")
    return f"no network is recognised, so every sign-in alerts: {command}"
