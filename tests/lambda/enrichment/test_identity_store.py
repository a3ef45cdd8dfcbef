"""The identity store: an alert shows the user's name if it can be read, and never fails for it."""

from __future__ import annotations

import json
import re
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
    world.secrets.text = None  # the e-mail has the same lines
    world.identity_stores.names = {(STORE, PERSON): "anaya.lee"}


def who(world: World, name: str = PORTAL, **identity: Any) -> str:
    """Send the alert of an unrecognised sign-in, and return who it was by the e-mail."""
    sign_in = event(name)
    sign_in["detail"]["userIdentity"] |= identity
    world.table.items.clear()  # so that none is a repetition
    process(sign_in, world.dependencies())
    body = world.topic.emails[-1]["Message"]
    (line,) = [line for line in body.splitlines() if line.startswith("Who: ")]
    return line.removeprefix("Who: ")


@pytest.mark.parametrize(
    "name", [PORTAL, "command-line-gets-role-keys", "identity-center-factor-is-wrong"]
)
def test_alert_shows_the_name_of_an_identity_center_user(world: World, name: str) -> None:
    assert who(world, name) == '"anaya. lee"'
    assert world.identity_stores.regions == ["eu-west-1"]  # where the record says that it happened


def test_decision_is_logged_with_the_id(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    who(world)
    (line,) = [line for line in log_lines(capsys) if "verdict" in line]
    assert line["who"] == PERSON


def test_allowance_for_a_person_counts_if_the_record_has_the_id_alone(
    world: World,
) -> None:
    world.parameters.allow("203.0.113.0/24", "hotel", "anaya.lee")
    sign_in = event(PORTAL)
    sign_in["detail"]["sourceIPAddress"] = "203.0.113.10"
    assert process(sign_in, world.dependencies())["verdict"] == "recognised"
    world.identity_stores.fails = {"describe_user"}
    sign_in["detail"]["userIdentity"]["onBehalfOf"]["userId"] = "another"
    assert process(sign_in, world.dependencies())["verdict"] == "alert"


def test_name_is_not_looked_up_if_no_personal_allowance_holds_the_address(world: World) -> None:
    sign_in = event(PORTAL)
    sign_in["detail"]["sourceIPAddress"] = "203.0.113.10"
    world.parameters.allow("203.0.113.0/24", "office")
    world.parameters.allow("192.0.2.0/24", "hotel", "anaya.lee")
    assert process(sign_in, world.dependencies())["verdict"] == "recognised"
    assert "identitystore" not in world.clients


def test_name_is_not_looked_up_for_a_recognised_sign_in(world: World) -> None:
    process(event(PORTAL), world.dependencies(known_networks=NETWORKS["recognised"]))
    assert "identitystore" not in world.clients


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
def test_name_in_the_record_is_not_looked_up(world: World, name: str, shown: str) -> None:
    assert who(world, name) == shown
    assert "identitystore" not in world.clients


def test_id_that_is_no_uuid_is_shown_too(world: World) -> None:
    world.identity_stores.fails = {"describe_user"}
    arn = f"arn:aws:identitystore::444455556666:identitystore/{STORE}"
    assert who(world, onBehalfOf={"userId": "one", "identityStoreArn": arn}) == '"one"'


def test_name_is_not_looked_up_without_an_identity_store(world: World) -> None:
    assert who(world, onBehalfOf={"userId": PERSON}) == '"544894e8-80c1-707f-60e3-3ba6510dfac1"'
    assert "identitystore" not in world.clients


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("\U0001f98a", True),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", True),
        ("\u3002", True),
        ("\u200b\u202e", False),
        ("\u0301", False),
        ("--", False),
        ("\U0001f98a" * 300, True),
        ("\u200b" * 300 + "\U0001f98a", False),
    ],
)
def test_name_of_signs_is_kept_if_it_shows_something(
    world: World, name: str, *, is_shown: bool
) -> None:
    """The text has the id; the e-mail has the name too."""
    world.identity_stores.names[STORE, PERSON] = name
    assert who(world) == f'"{PERSON}"'
    body = world.topic.emails[-1]["Message"]
    assert ("\nFull name: " in body) is is_shown


class TestCache:
    def test_name_is_looked_up_once(self, world: World) -> None:
        assert [who(world) for _ in range(3)] == ['"anaya. lee"'] * 3
        assert world.identity_stores.calls == ["describe_user"]

    def test_name_is_cached_for_each_identity_store(self, world: World) -> None:
        who(world)
        arn = "arn:aws:identitystore::444455556666:identitystore/d-0987654321"
        world.identity_stores.names["d-0987654321", PERSON] = "someone.else"
        assert (
            who(world, onBehalfOf={"userId": PERSON, "identityStoreArn": arn}) == '"someone. else"'
        )

    @pytest.mark.parametrize("fault", ["refused", "no such user"])
    def test_failed_lookup_is_repeated_by_the_next_alert(self, world: World, fault: str) -> None:
        names = world.identity_stores.names.copy()
        if fault == "refused":
            world.identity_stores.fails = {"describe_user"}
        else:
            world.identity_stores.names.clear()
        assert who(world) == f'"{PERSON}"'
        assert world.identity_stores.calls == ["describe_user"]  # and not twice for one alert
        world.identity_stores.fails, world.identity_stores.names = set(), names
        assert who(world) == '"anaya. lee"'

    def test_full_cache_drops_the_oldest_name(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identity_store, "CACHE_MAX_NAMES", 2)
        arn = f"arn:aws:identitystore::444455556666:identitystore/{STORE}"
        for person in ("one", "two", "three", "three", "two", "one"):
            world.identity_stores.names[STORE, person] = person
            who(world, onBehalfOf={"userId": person, "identityStoreArn": arn})
        assert len(world.identity_stores.calls) == 4
        assert list(identity_store._cache) == [(STORE, "three"), (STORE, "one")]

    @pytest.mark.parametrize(("before", "is_dropped"), [(499, False), (500, True)])
    def test_cache_holds_500_names(
        self, world: World, monkeypatch: pytest.MonkeyPatch, before: int, *, is_dropped: bool
    ) -> None:
        names = {(STORE, f"person-{number}"): "name" for number in range(before)}
        monkeypatch.setattr(identity_store, "_cache", names)
        who(world)
        assert len(names) == 500
        assert ((STORE, "person-0") not in names) is is_dropped
        assert names[STORE, PERSON] == "anaya.lee"


class TestFaults:
    @pytest.mark.parametrize("fault", ["no client", "refused"])
    def test_alert_shows_the_id_and_the_error_is_logged(
        self, world: World, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        if fault == "no client":
            world.missing = {"identitystore"}
        else:
            world.identity_stores.fails = {"describe_user"}
        assert who(world) == f'"{PERSON}"'
        (line,) = failures(capsys)
        assert (line["level"], line["error"]) == ("ERROR", "AccessDeniedError")
        assert line["event_id"] == event(PORTAL)["detail"]["eventID"]

    def test_unknown_user_is_not_logged_as_an_error(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.identity_stores.names.clear()
        assert who(world) == f'"{PERSON}"'
        assert failures(capsys) == []

    def test_lookup_ends_at_its_timeout(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.call_seconds, world.identity_stores.delay_seconds = 0.05, 1.0
        start = time.monotonic()
        assert who(world) == f'"{PERSON}"'
        assert time.monotonic() - start < 0.9
        assert [line["error"] for line in failures(capsys)] == ["TimeoutError"]

    @pytest.mark.parametrize(
        ("seconds_left", "shown"), [(45.9, f'"{PERSON}"'), (46.0, '"anaya. lee"')]
    )
    def test_name_is_looked_up_only_with_time_for_the_ledger_and_a_text(
        self, world: World, seconds_left: float, shown: str
    ) -> None:
        world.seconds_left = lambda: seconds_left
        assert who(world) == shown
        assert ("identitystore" in world.clients) is (seconds_left == 46.0)


class TestName:
    @pytest.mark.parametrize("name", ["", "山田", "\u0301\u0302", "\u202e"])
    def test_id_is_shown_if_a_phone_cannot_show_the_name(self, world: World, name: str) -> None:
        world.identity_stores.names[STORE, PERSON] = name
        assert who(world) == f'"{PERSON}"'
        body = world.topic.emails[-1]["Message"]
        assert ('\nFull name: "山田"\n' in body) is (name == "山田")
        assert ("Full name" in body) is (name == "山田")

    def test_name_in_another_script_is_transliterated(self, world: World) -> None:
        world.identity_stores.names[STORE, PERSON] = "Ελένη"
        assert who(world) == '"Eleni #8d5280"'
        assert '\nFull name: "Ελένη"\n' in world.topic.emails[-1]["Message"]

    def test_name_is_made_safe_for_a_text(self, world: World) -> None:
        world.identity_stores.names[STORE, PERSON] = 'x"\nFrom: https://evil.example/' + "a" * 200
        shown = who(world)
        assert shown.startswith("\"x' From: https: //evil. example/" + "a" * 100)
        assert re.fullmatch(r'.* #[0-9a-f]{6}"', shown)


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def failures(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [line for line in log_lines(capsys) if line.get("problem") == "directory"]
