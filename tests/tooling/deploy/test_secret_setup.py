"""The steps of ``invoke secret``: what Twilio says decides whether the secret is stored."""

from __future__ import annotations

import io
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.aws import account
from tests.support.scripted_terminal import CREDENTIALS, VALID, ScriptedTerminal, TerminalInput
from tooling.deploy import secret_setup, trial_texts
from tooling.deploy.stack import LiveStack
from tooling.deploy.trial_texts import Clock
from tooling.errors import FailedError, RefusedError, ToolError, UnknownStateError
from tooling.local.twilio_server import TwilioServer
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.joint

ARN = "arn:aws:secretsmanager:x"
ANSWERS = (*CREDENTIALS, VALID["sender"], *VALID["recipients"], "")
BLOCKED_PHONE = "+15005550004"  # Twilio's test number of a phone that answered STOP


@dataclass
class World:
    """A deployed stack, its secret, a loopback Twilio, and a person or a script."""

    twilio: TwilioServer
    url: str = ""
    stored: list[str] = field(default_factory=list)  # each value of the secret, in order
    person: ScriptedTerminal = field(default_factory=ScriptedTerminal)

    @property
    def live(self) -> LiveStack:
        parameters = {"TwilioBaseUrl": self.url or self.twilio.url}
        return LiveStack("id", "CREATE_COMPLETE", parameters, {"TwilioSecretArn": ARN}, {})

    def put_secret_value(self, **request: Any) -> None:
        assert request.pop("SecretId") == ARN
        self.stored.append(request.pop("SecretString"))
        assert request == {}

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        assert request == {"SecretId": ARN}
        return {"SecretString": self.stored[-1]}

    def answer(self, *answers: Any, **flags: bool) -> str:
        """Let a person answer the questions; return what was on the screen."""
        self.person = ScriptedTerminal(*answers)
        return self.fill(TerminalInput(), **flags)

    def send(self, value: Any = VALID, **flags: bool) -> str:
        """Let a script send JSON; return what was on the screen."""
        self.person = ScriptedTerminal()
        return self.fill(io.StringIO(json.dumps(value)), **flags)

    def fill(self, stdin: Any, **flags: bool) -> str:
        options = {"trial_text": False, "unchecked": False, **flags}
        aws = account(secretsmanager=self)
        lines = secret_setup.fill(aws, self.live, stdin, self.person.terminal, **options)
        shown = "\n".join([self.person.shown, *lines])
        assert VALID["api_key_secret"] not in shown
        return shown

    def check(self, *, trial_text: bool = False) -> str:
        aws, announce = account(secretsmanager=self), self.person.announced.append
        secret_setup.check_stored(aws, self.live, announce, trial_text=trial_text)
        assert VALID["api_key_secret"] not in self.person.shown
        return self.person.shown


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(trial_texts.send, "__defaults__", (Clock(sleep=lambda _: None),))
    keys = {VALID["api_key_sid"]: VALID["api_key_secret"]}
    with TwilioServer.start(credentials=keys) as twilio_server:
        yield World(twilio_server)


@pytest.fixture
def closed_url() -> str:
    """An address of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


class TestTerminal:
    def test_checked_secret_is_stored_and_its_order_and_delay_are_told(self, world: World) -> None:
        shown = world.answer(*ANSWERS, "n")
        assert [json.loads(text) for text in world.stored] == [VALID]
        assert "Twilio accepts the key." in shown
        assert "Texts go to 2 recipients, in this order: +49...79, +49...78." in shown
        assert "A function that is running takes it up within 5 minutes." in shown
        assert world.twilio.messages == []

    def test_single_recipient_is_warned_about(self, world: World) -> None:
        assert "Warning" not in world.send()
        shown = world.send({**VALID, "recipients": VALID["recipients"][:1]})
        assert "Texts go to 1 recipient: +49...79. Warning: one phone is one way to" in shown

    def test_trial_text_is_offered_and_sent_before_the_secret_is_stored(self, world: World) -> None:
        shown = world.answer(*ANSWERS, "y")
        assert "Send a trial text to each phone (2, at Twilio's price)? [y/N] " in shown
        assert "recipient 2 of 2 (+49...78): delivered" in shown
        assert [message["to"] for message in world.twilio.messages] == VALID["recipients"]
        assert len(world.stored) == 1

    def test_flag_sends_the_trial_text_without_the_question(self, world: World) -> None:
        assert "Send a trial text" not in world.answer(*ANSWERS, trial_text=True)
        assert len(world.twilio.messages) == 2

    @pytest.mark.parametrize(("answer", "count"), [("y", 1), ("", 0)])
    def test_person_decides_whether_a_failed_trial_text_matters(
        self, world: World, answer: str, count: int
    ) -> None:
        answers = (*CREDENTIALS, VALID["sender"], BLOCKED_PHONE, "", "y", answer)
        if count:
            world.answer(*answers)
        else:
            with pytest.raises(RefusedError, match="did not reach 1 of 1; nothing was stored"):
                world.answer(*answers)
        assert len(world.stored) == count

    def test_refused_key_is_asked_for_again(self, world: World) -> None:
        wrong = (CREDENTIALS[0], "SK" + "9" * 32, "another-secret")
        shown = world.answer(*wrong, *ANSWERS, "n")
        assert 'error 20003: "Authenticate"' in shown
        assert [json.loads(text) for text in world.stored] == [VALID]

    def test_interrupted_questions_store_nothing(self, world: World) -> None:
        with pytest.raises(KeyboardInterrupt, match="nothing was stored"):
            world.answer(*ANSWERS, KeyboardInterrupt)
        with pytest.raises(RefusedError, match="nothing was stored"):
            world.answer(*ANSWERS[:-1], EOFError)
        assert world.stored == []

    def test_unchecked_asks_twilio_nothing(self, world: World, closed_url: str) -> None:
        world.url = closed_url
        shown = world.answer(*ANSWERS, unchecked=True)
        assert len(world.stored) == 1
        assert "Asking Twilio" not in shown
        assert "Send a trial text" not in shown


class TestScript:
    def test_checked_secret_is_stored(self, world: World) -> None:
        shown = world.send()
        assert [json.loads(text) for text in world.stored] == [VALID]
        assert "Twilio accepts the key." in shown
        assert world.twilio.messages == []

    def test_normalised_numbers_are_stored_in_the_order_given(self, world: World) -> None:
        world.send({**VALID, "recipients": ["+49015112345679", "+12025550123"]})
        (text,) = world.stored
        assert json.loads(text)["recipients"] == ["+4915112345679", "+12025550123"]

    def test_key_that_twilio_refuses_is_not_stored(self, world: World) -> None:
        with pytest.raises(RefusedError, match=r"20003.*nothing was stored") as refusal:
            world.send({**VALID, "api_key_secret": "another-secret"})
        assert refusal.value.exit_code == 2
        assert "--unchecked" not in refusal.value.remedy
        assert "another-secret" not in str(refusal.value)
        assert world.stored == []

    def test_unreachable_twilio_stores_nothing_unless_unchecked(
        self, world: World, closed_url: str
    ) -> None:
        world.url = closed_url
        with pytest.raises(RefusedError, match=r"could not be reached.*nothing was") as refusal:
            world.send()
        assert "--unchecked" in refusal.value.remedy
        assert world.stored == []
        world.send(unchecked=True)
        assert len(world.stored) == 1

    def test_trial_texts_are_sent_by_flag(self, world: World) -> None:
        assert "recipient 1 of 2 (+49...79): delivered" in world.send(trial_text=True)
        assert [message["to"] for message in world.twilio.messages] == VALID["recipients"]
        assert len(world.stored) == 1

    def test_failed_trial_text_stores_nothing(self, world: World) -> None:
        recipients = ["+12025550123", BLOCKED_PHONE]
        with pytest.raises(FailedError, match="did not reach 1 of 2; nothing was stored"):
            world.send({**VALID, "recipients": recipients}, trial_text=True)
        assert "recipient 2 of 2 (+1...04): not sent" in world.person.shown
        assert world.stored == []

    def test_neither_terminal_nor_json_is_refused(self, world: World) -> None:
        for stdin in (None, io.StringIO("")):
            with pytest.raises(RefusedError, match="no terminal to ask at, and no JSON"):
                world.fill(stdin)
        assert world.stored == []

    def test_address_that_is_not_twilios_gets_no_credentials(self, world: World) -> None:
        world.url = "https://twilio.example.com"
        with pytest.raises(RefusedError, match="TwilioBaseUrl"):
            world.send()


class TestCheck:
    @pytest.fixture(autouse=True)
    def stored(self, world: World) -> None:
        world.stored = [json.dumps(VALID)]

    def test_accepted_secret_is_healthy_and_not_shown(self, world: World) -> None:
        shown = world.check()
        assert "Twilio accepts the key." in shown
        assert "Texts go to 2 recipients, in this order: +49...79, +49...78." in shown
        for value in (VALID["account_sid"], VALID["api_key_sid"], *VALID["recipients"]):
            assert value not in shown
        assert (len(world.stored), world.twilio.messages) == (1, [])

    @pytest.mark.parametrize(
        ("status", "code", "kind", "exit_code"),
        [
            (401, 20003, FailedError, 1),
            (403, 20005, FailedError, 1),
            (503, 20503, UnknownStateError, 3),
        ],
    )
    def test_what_twilio_says_decides_the_exit_code(
        self, world: World, status: int, code: int, kind: type[ToolError], exit_code: int
    ) -> None:
        world.twilio.fail(status, code, "Their words")
        with pytest.raises(kind, match="Their words") as error:
            world.check()
        assert error.value.exit_code == exit_code

    def test_trial_texts_are_sent_by_flag(self, world: World) -> None:
        world.check(trial_text=True)
        assert len(world.twilio.messages) == 2

    def test_failed_trial_text_is_a_finding(self, world: World) -> None:
        world.stored = [json.dumps({**VALID, "recipients": [BLOCKED_PHONE]})]
        with pytest.raises(FailedError, match="did not reach 1 of 1"):
            world.check(trial_text=True)


@pytest.mark.parametrize(
    ("flags", "other"),
    [({"check": True}, "--check"), ({"trial_text": True}, "--trial-text")],
)
def test_unchecked_contradicts_a_check(flags: dict[str, bool], other: str) -> None:
    options = {"check": False, "trial_text": False, "unchecked": True, **flags}
    with pytest.raises(RefusedError, match=f"--unchecked: asks Twilio nothing, and {other}"):
        secret_setup.refuse_contradiction(**options)
    secret_setup.refuse_contradiction(check=True, trial_text=True, unchecked=False)


def test_page_says_how_long_a_trial_text_is_followed() -> None:
    page = " ".join((ROOT / "docs" / "tasks.md").read_text(encoding="utf-8").split())
    assert f"up to {trial_texts.STATUS_TIMEOUT_SECONDS:.0f} seconds" in page
    assert "takes a new secret up within five minutes" in page
    assert secret_setup.CACHE_MINUTES == 5
