"""What a person does in the portal's place is told; what AWS's own addresses do is not."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.enrichment import aws_ranges
from signwatch.pipeline import process
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dependencies import World

CALLS = ["identity-center-opens-an-account-by-saml", "identity-center-prepares-a-console-session"]
DAY_SECONDS = 86_400
CAFE = "192.0.2.66"
OFFICE = "203.0.113.10"
AWS = "3.5.140.7"


@pytest.fixture(autouse=True)
def _no_texts(world: World) -> None:
    world.secrets.text = None


@pytest.fixture(autouse=True)
def _no_list_is_loaded() -> Iterator[None]:
    aws_ranges._load_ranges.cache_clear()
    yield
    aws_ranges._load_ranges.cache_clear()


def process_call(
    world: World,
    capsys: pytest.CaptureFixture[str],
    name: str,
    source: str,
    event_id: str = "event-1",
    **settings: Any,
) -> list[dict[str, Any]]:
    """Process a call from ``source``; return the line of the decision, and those of problems."""
    record = event(name)
    record["detail"] |= {"eventID": event_id, "sourceIPAddress": source}
    dependencies = world.dependencies(known_networks=NETWORKS["recognised"], **settings)
    process(record, dependencies)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    decisions = [line for line in lines if "verdict" in line]
    return decisions + [line for line in lines if "problem" in line]


def decide(*arguments: Any, **settings: Any) -> str:
    """Process a call as process_call does, and return the level of its verdict."""
    return str(process_call(*arguments, **settings)[0]["verdict"])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("source", "verdict", "emails"),
    [(AWS, "ignored", 0), (OFFICE, "recognised", 0), (CAFE, "alert", 1), ("2a00::1", "alert", 1)],
)
def test_call_is_judged_by_its_source(
    world: World,
    capsys: pytest.CaptureFixture[str],
    name: str,
    source: str,
    verdict: str,
    emails: int,
) -> None:
    assert decide(world, capsys, name, source) == verdict
    assert (len(world.topic.emails), world.secrets.calls) == (emails, [])


def test_persons_calls_are_mailed_once_a_day_and_site(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both calls, and each address of the site, count as one."""
    sources = [CAFE, CAFE, "192.0.2.7", "192.0.3.7"]
    verdicts = [
        decide(world, capsys, CALLS[number % 2], source, f"event-{number}")
        for number, source in enumerate(sources)
    ]
    assert verdicts == ["alert", "note", "note", "alert"]
    world.now += DAY_SECONDS + 1
    assert decide(world, capsys, CALLS[0], CAFE, "event-5") == "alert"
    assert len(world.topic.emails) == 3


@pytest.mark.parametrize("name", CALLS)
def test_call_is_noted_where_the_person_last_signed_in(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sign_in = event("federated-user-signs-in")
    sign_in["detail"]["sourceIPAddress"] = CAFE
    process(sign_in, world.dependencies(known_networks=NETWORKS["recognised"]))
    capsys.readouterr()
    (line,) = process_call(world, capsys, name, "192.0.2.1", "event-2")
    assert line["verdict"] == "note"
    assert line["reasons"][-1] == "where the person last signed in"
    assert decide(world, capsys, name, "192.0.3.1", "event-3") == "alert"


@pytest.mark.parametrize("name", CALLS)
def test_call_is_texted_or_noted_as_the_owner_says(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    cause = "session-used-elsewhere"
    assert decide(world, capsys, name, CAFE, alert_off=cause) == "note"
    assert not world.topic.emails
    assert decide(world, capsys, name, CAFE, alert_on=cause) == "alert"
    assert world.secrets.calls == ["get_secret_value"]  # a text needs the secret


@pytest.mark.parametrize(
    ("source", "is_aws"),
    [
        ("3.5.140.0", True),
        ("::ffff:3.5.140.7", True),
        ("2600:1f18::1", True),
        ("2600:1F18:0:0:0:0:0:1", True),
        ("203.0.113.10", False),
        ("2001:db8::1", False),
        ("10.0.0.1", False),
        (" 3.5.140.7", False),
        ("3.5.140.7:443", False),
        ("3.5.140.7, 3.5.140.8", False),
        ("2600:1f18::1%eth0", False),
        ("3.5.140.7.example.com", False),
        ("", False),
    ],
)
def test_only_one_address_in_the_list_is_of_aws(source: str, *, is_aws: bool) -> None:
    assert aws_ranges.is_aws_address(source, 0.0) is is_aws


class TestDamagedList:
    @pytest.mark.parametrize(
        "module",
        [
            None,
            SimpleNamespace(),
            SimpleNamespace(RANGES=""),
            SimpleNamespace(RANGES="3.5.140.0/22 3.8"),
        ],
        ids=["no module", "no ranges", "empty", "damaged"],
    )
    @pytest.mark.parametrize("name", CALLS)
    def test_what_the_portal_does_is_then_mailed_and_the_problem_is_logged(
        self,
        world: World,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        module: object,
    ) -> None:
        monkeypatch.setitem(sys.modules, aws_ranges.LIST_MODULE, module)
        line, problem, *_ = process_call(world, capsys, name, AWS)
        assert (problem["level"], problem["problem"]) == ("ERROR", "AWS address ranges")
        assert line["verdict"] == "alert"
        assert len(world.topic.emails) == 1
        assert decide(world, capsys, name, AWS, "event-2") == "note"
        assert len(world.topic.emails) == 1

    def test_list_is_read_once(
        self, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert decide(world, capsys, CALLS[0], AWS) == "ignored"
        monkeypatch.setitem(sys.modules, aws_ranges.LIST_MODULE, None)
        assert decide(world, capsys, CALLS[0], AWS) == "ignored"
