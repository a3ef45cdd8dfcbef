"""What is still open after a deploy: each point alone, all of them, and a check that fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from signwatch.detection import allowance as allowances_module
from tests.support.aws import account, client_error
from tooling.operate import networks, open_points
from tooling.settings import Settings

OUTPUTS = {"AlertTopicArn": "arn:topic", "TwilioSecretArn": "arn:secret"}
NOW = 1_795_000_000.0
EMAIL = (
    "nobody has confirmed the e-mails: click the link that AWS sent to AlertEmail; "
    "until then an alert has two ways to a person only if the secret names two phones"
)
NO_EMAIL = "no address gets the e-mails: ./inv deploy --set AlertEmail=you@example.com"
SECRET = "the Twilio secret is empty, so no text is sent: ./inv secret"
NETWORKS = (
    "no network is recognised, so every sign-in alerts: "
    "./inv deploy --set KnownNetworks=YOUR.ADDRESS/32"
)


class Topic:
    def __init__(self, arns: list[str]) -> None:
        self.arns = arns

    def get_paginator(self, name: str) -> Any:
        assert name == "list_subscriptions_by_topic"
        return SimpleNamespace(paginate=self.paginate)

    def paginate(self, TopicArn: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's own name
        assert TopicArn == "arn:topic"
        return [{"Subscriptions": [{"SubscriptionArn": arn}]} for arn in self.arns]


class Secret:
    def __init__(self, versions: dict[str, list[str]] | None) -> None:
        self.versions = versions

    def describe_secret(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        assert SecretId == "arn:secret"
        if self.versions is None:
            raise client_error("AccessDeniedException")
        return {"VersionIdsToStages": self.versions}


def find(
    monkeypatch: pytest.MonkeyPatch,
    *,
    arns: tuple[str, ...] = ("PendingConfirmation", "arn:subscription"),
    versions: dict[str, list[str]] | None = {"1": ["AWSCURRENT"]},  # noqa: B006 - never changed
    known: str = "203.0.113.0/24",
    allowances: tuple[Any, ...] = (),
) -> list[str]:
    lists = networks.RecognisedNetworks(known, (), allowances, has_allowance_support=True)
    monkeypatch.setattr(networks, "load", lambda *_: lists)
    monkeypatch.setattr("time.time", lambda: NOW)
    aws = account(sns=Topic(list(arns)), secretsmanager=Secret(versions))
    settings = Settings(account="111122223333", region="eu-west-1", prefix="signwatch")
    return open_points.list_open_points(aws, settings, OUTPUTS)


def test_next_command_is_named_if_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(monkeypatch) == ["Next: ./inv signin-test"]


@pytest.mark.parametrize(
    ("changes", "points"),
    [
        ({"arns": ("PendingConfirmation",)}, [EMAIL]),
        ({"arns": ()}, [NO_EMAIL]),
        ({"versions": {}}, [SECRET]),
        ({"versions": None}, ["the Twilio secret could not be checked (ClientError)"]),
        ({"known": ""}, [NETWORKS]),
        ({"arns": (), "versions": {}, "known": ""}, [NO_EMAIL, SECRET, NETWORKS]),
    ],
)
def test_each_open_point_is_named_with_what_settles_it(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], points: list[str]
) -> None:
    assert find(monkeypatch, **changes) == ["Still open:", *(f"  - {point}" for point in points)]


@pytest.mark.parametrize(("expires", "is_open"), [(NOW + 60, False), (None, False), (NOW, True)])
def test_current_allowance_counts_as_a_recognised_network(
    monkeypatch: pytest.MonkeyPatch, expires: float | None, *, is_open: bool
) -> None:
    expiry = None if expires is None else int(expires)
    allowance = allowances_module.make("203.0.113.7", "hotel", "", expiry)
    stored = (
        networks.StoredAllowance("/x", None, "broken"),
        networks.StoredAllowance("/y", allowance),
    )
    lines = find(monkeypatch, known="", allowances=stored)
    assert (lines[0] == "Still open:") is is_open
