"""The directory: an alert names the person where the identity store tells, and never waits or fails for the name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.enrichment import identity_store
from signwatch.pipeline import process
from tests.support.sign_ins import NETWORKS, event

if TYPE_CHECKING:
    from tests.support.dependencies import World

PORTAL = "identity-center-user-signs-in-with-totp"
STORE, PERSON = "d-1234567890", "544894e8-80c1-707f-60e3-3ba6510dfac1"


@pytest.fixture(autouse=True)
def _known_person(world: World) -> None:
    world.secrets.text = None  # the e-mail holds the same lines
    world.directory.names = {(STORE, PERSON): "anaya.lee"}


def who(world: World, name: str = PORTAL, **identity: Any) -> str:
    """Let an unrecognised sign-in alert, and return its line of the e-mail that tells who."""
    told = event(name)
    told["detail"]["userIdentity"] |= identity
    world.table.items.clear()  # so that none is a repetition
    process(told, world.dependencies())
    (line,) = [
        line for line in world.topic.mails[-1]["Message"].splitlines() if line.startswith("Who: ")
    ]
    return line.removeprefix("Who: ")


@pytest.mark.parametrize(
    "name", [PORTAL, "command-line-gets-role-keys", "identity-center-factor-is-wrong"]
)
def test_an_alert_tells_the_name_of_an_identity_center_user(world: World, name: str) -> None:
    assert who(world, name) == '"anaya. lee"'
    assert world.directory.asked_in == ["eu-west-1"]  # where the record says that it happened


def test_the_decision_is_logged_with_the_id(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    who(world)
    (line,) = [
        one for one in map(json.loads, capsys.readouterr().out.splitlines()) if "verdict" in one
    ]
    assert line["who"] == PERSON


def test_an_allowance_for_a_person_counts_though_the_record_tells_the_id_alone(
    world: World,
) -> None:
    world.register.allow("203.0.113.0/24", "hotel", "anaya.lee")
    told = event(PORTAL)
    told["detail"]["sourceIPAddress"] = "203.0.113.10"
    assert process(told, world.dependencies())["verdict"] == "recognised"
    world.directory.fails, told["detail"]["userIdentity"]["onBehalfOf"]["userId"] = (
        {"describe_user"},
        "another",
    )
    assert process(told, world.dependencies())["verdict"] == "alert"


def test_allowances_for_everybody_or_of_another_place_ask_nobody_for_a_name(world: World) -> None:
    told = event(PORTAL)
    told["detail"]["sourceIPAddress"] = "203.0.113.10"
    world.register.allow("203.0.113.0/24", "office")
    world.register.allow("192.0.2.0/24", "hotel", "anaya.lee")
    assert process(told, world.dependencies())["verdict"] == "recognised"
    assert "identitystore" not in world.made


def test_a_recognised_sign_in_asks_nobody_for_a_name(world: World) -> None:
    process(event(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert "identitystore" not in world.made


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("iam-user-signs-in-with-mfa", '"Anaya"'),
        ("identity-center-user-signs-in-through-a-provider", '"jdoe at example. com"'),
        ("identity-center-user-lands-in-the-console", '"jdoe at example. com"'),
        ("root-signs-in-with-mfa", "root user"),
        ("record-without-an-outcome", '"Anaya"'),
    ],
)
def test_nobody_is_asked_for_a_name_that_the_record_tells(
    world: World, name: str, shown: str
) -> None:
    assert who(world, name) == shown
    assert "identitystore" not in world.made


def test_nobody_is_asked_where_the_record_names_no_store(world: World) -> None:
    assert who(world, onBehalfOf={"userId": PERSON}) == '"544894e8-80c1-707f-60e3-3ba6510dfac1"'
    assert "identitystore" not in world.made


class TestCache:
    def test_a_name_is_asked_for_once(self, world: World) -> None:
        assert [who(world) for _ in range(3)] == ['"anaya. lee"'] * 3
        assert world.directory.calls == ["describe_user"]

    def test_it_is_the_persons_own_in_that_store(self, world: World) -> None:
        who(world)
        arn = "arn:aws:identitystore::444455556666:identitystore/d-0987654321"
        world.directory.names["d-0987654321", PERSON] = "someone.else"
        assert (
            who(world, onBehalfOf={"userId": PERSON, "identityStoreArn": arn}) == '"someone. else"'
        )

    @pytest.mark.parametrize("trouble", ["fault", "nobody"])
    def test_what_was_not_told_is_asked_for_again_by_the_next_alert(
        self, world: World, trouble: str
    ) -> None:
        known = world.directory.names.copy()
        if trouble == "fault":
            world.directory.fails = {"describe_user"}
        else:
            world.directory.names.clear()
        assert who(world) == f'"{PERSON}"'
        assert world.directory.calls == ["describe_user"]  # and not twice for one alert
        world.directory.fails, world.directory.names = set(), known
        assert who(world) == '"anaya. lee"'

    def test_it_holds_so_many_names_and_lets_the_oldest_go(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identity_store, "MOST", 2)
        arn = f"arn:aws:identitystore::444455556666:identitystore/{STORE}"
        for person in ("one", "two", "three", "three", "two", "one"):
            world.directory.names[STORE, person] = person
            who(world, onBehalfOf={"userId": person, "identityStoreArn": arn})
        assert len(world.directory.calls) == 4
        assert list(identity_store._cache) == [(STORE, "three"), (STORE, "one")]


class TestFaults:
    @pytest.mark.parametrize("trouble", ["no client", "refused"])
    def test_the_alert_goes_out_with_the_id_and_one_line_tells_why(
        self, world: World, capsys: pytest.CaptureFixture[str], trouble: str
    ) -> None:
        if trouble == "no client":
            world.missing = {"identitystore"}
        else:
            world.directory.fails = {"describe_user"}
        assert who(world) == f'"{PERSON}"'
        (line,) = complaints(capsys)
        assert (line["level"], line["error"], line["event_id"]) == (
            "ERROR",
            "AccessDeniedError",
            event(PORTAL)["detail"]["eventID"],
        )

    def test_a_person_who_is_not_there_is_no_fault(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.directory.names.clear()
        assert who(world) == f'"{PERSON}"'
        assert complaints(capsys) == []

    def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_the_limit(
        self, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert identity_store.LONGEST == 2.0
        monkeypatch.setattr(identity_store, "LONGEST", 0.05)
        world.directory.takes = 1.0
        start = time.monotonic()
        assert who(world) == f'"{PERSON}"'
        assert time.monotonic() - start < 0.9
        assert [line["error"] for line in complaints(capsys)] == ["TimeoutError"]

    def test_nobody_is_asked_when_the_time_is_needed_for_the_text(self, world: World) -> None:
        world.seconds_left = lambda: 45.0
        assert who(world) == f'"{PERSON}"'
        assert "identitystore" not in world.made


class TestName:
    @pytest.mark.parametrize("name", ["", "山田", "\u0301\u0302", "\u202e"])
    def test_one_that_a_phone_cannot_show_leaves_the_id(self, world: World, name: str) -> None:
        world.directory.names[STORE, PERSON] = name
        assert who(world) == f'"{PERSON}"'

    def test_one_that_a_stranger_chose_is_cleaned_like_every_other(self, world: World) -> None:
        world.directory.names[STORE, PERSON] = 'x"\nFrom: https://evil.example/' + "a" * 200
        assert who(world) == '"x\' From: https: //evil. example/a..."'


def complaints(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [line for line in lines if line.get("problem") == "directory"]
