"""Texts: the secret, the meaning of Twilio's answers, the timeouts, and what is never logged."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3

from signwatch.alerting import sms
from tests.support import faulty_server
from tests.support.dependencies import (
    FIRST,
    KEY_SECRET,
    NOW,
    SECOND,
    SETTINGS,
    TWILIO_SECRET,
    World,
)
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from tests.support.twilio import Twilio

SECRET = sms.parse_secret(json.dumps(TWILIO_SECRET))
ARN = SETTINGS.twilio_secret_arn
PAUSE_SECONDS = sms.PAUSE_SECONDS  # which a fixture of every test takes away


def deadline(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def send(twilio: Twilio, secret: sms.Secret = SECRET, recipient: str = FIRST) -> sms.Outcome:
    return sms.send(secret, recipient, "hello", twilio.url, deadline())


def send_to(url: str) -> sms.Outcome:
    return sms.send(SECRET, FIRST, "hello", url, deadline())


def find_text(
    url: str, text: str = "hello", recipient: str = FIRST, since: float = NOW
) -> sms.Outcome:
    return sms.find_text(SECRET, recipient, sms.make_mark(text), since, url, deadline())


def answer(monkeypatch: pytest.MonkeyPatch, status: int, body: str) -> list[str]:
    """Answer every request with ``status`` and ``body``; return the URLs that are asked for."""
    urls: list[str] = []
    response = requests.Response()
    response.status_code, response._content = status, body.encode()

    def send_request(_: Any, request: Any, **__: Any) -> requests.Response:
        urls.append(request.url)
        return response

    monkeypatch.setattr(requests.Session, "send", send_request)
    return urls


PROGRAM = """import json, sys, time
sys.path.insert(0, sys.argv[1])
from signwatch.alerting import sms
secret, url = sms.parse_secret(sys.argv[2]), sys.argv[3]
outcome = sms.send(secret, secret.recipients[0], "hello", url, time.monotonic() + 60)
print(json.dumps([outcome.state, sorted(sys.modules)]))"""


def test_sending_imports_nothing_of_twilios_products(twilio: Twilio) -> None:
    """The layer leaves these modules out."""
    arguments = [str(ROOT / "lambda"), json.dumps(TWILIO_SECRET), twilio.url]
    process = subprocess.run(
        [sys.executable, "-I", "-B", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    state, modules = json.loads(process.stdout)
    assert state == "sent"
    assert [name for name in modules if name.startswith("twilio.rest")] == ["twilio.rest"]


class TestSecret:
    def test_secret_is_read_once_in_five_minutes(self, world: World) -> None:
        for now in (NOW, NOW + 299):
            assert sms.load_secret(world.client, ARN, now) == SECRET
        assert world.secrets.calls == ["get_secret_value"]
        sms.load_secret(world.client, ARN, NOW + 300)
        assert len(world.secrets.calls) == 2

    def test_cache_can_be_bypassed(self, world: World) -> None:
        sms.load_secret(world.client, ARN, NOW)
        world.secrets.text = json.dumps({**TWILIO_SECRET, "api_key_secret": "rotated"})
        assert (
            sms.load_secret(world.client, ARN, NOW, prefer_cache=False).api_key_secret == "rotated"
        )

    def test_cached_secret_is_used_while_it_cannot_be_read(self, world: World) -> None:
        sms.load_secret(world.client, ARN, NOW)
        world.secrets.fails = {"get_secret_value"}
        assert sms.load_secret(world.client, ARN, NOW + 3600) == SECRET

    def test_cached_secret_is_no_answer_if_it_is_to_be_read_again(self, world: World) -> None:
        sms.load_secret(world.client, ARN, NOW)
        world.secrets.fails = {"get_secret_value"}
        with pytest.raises(sms.NoSecretError) as caught:
            sms.load_secret(world.client, ARN, NOW, prefer_cache=False)
        assert caught.value.can_retry

    def test_error_says_that_the_secret_could_not_be_read(self, world: World) -> None:
        world.secrets.fails = {"get_secret_value"}
        with pytest.raises(sms.NoSecretError, match=r"could not be read \(AccessDeniedError\)"):
            sms.load_secret(world.client, ARN, NOW)

    @pytest.mark.parametrize(
        ("answer", "detail"),
        [(None, " (ResourceNotFoundException)"), ({"SecretString": ""}, ""), ({}, "")],
    )
    def test_error_says_that_the_secret_is_empty(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        answer: dict[str, str] | None,
        detail: str,
    ) -> None:
        world.secrets.text = None
        if answer is not None:
            monkeypatch.setattr(world.secrets, "get_secret_value", lambda **_: answer)
        with pytest.raises(sms.NoSecretError) as caught:
            sms.load_secret(world.client, ARN, NOW)
        assert str(caught.value) == f"the secret is still empty{detail}"
        assert not caught.value.can_retry

    @pytest.mark.parametrize(
        "changes",
        [
            {"recipients": []},
            {"recipients": "+15005550009"},
            {"recipients": [None]},
            {"recipients": None},
            {"recipients": [["+15005550009"]]},
            {"sender": ""},
            {"sender": None},
            {"account_sid": 7},
        ],
    )
    def test_missing_value_or_wrong_type_is_an_error(self, changes: dict[str, Any]) -> None:
        with pytest.raises(sms.NoSecretError) as caught:
            sms.parse_secret(json.dumps({**TWILIO_SECRET, **changes}))
        assert str(caught.value) == "the secret names no recipient or lacks a value"

    @pytest.mark.parametrize(
        "text", [KEY_SECRET, "[]", "{}", "null", '"x"', "[" * 100_000], ids=lambda text: text[:9]
    )
    def test_malformed_secret_is_an_error_that_does_not_repeat_it(self, text: str) -> None:
        with pytest.raises(sms.NoSecretError) as caught:
            sms.parse_secret(text)
        assert str(caught.value) == "the secret is not the JSON object that invoke secret writes"
        assert caught.value.__suppress_context__

    def test_repeated_recipient_is_texted_once(self) -> None:
        assert sms.parse_secret(
            json.dumps({**TWILIO_SECRET, "recipients": [FIRST, FIRST]})
        ).recipients == (FIRST,)


class TestSending:
    def test_text_goes_from_the_sender_to_the_recipient(self, twilio: Twilio) -> None:
        outcome = send(twilio)
        (message,) = twilio.messages
        assert outcome == sms.Outcome("sent", sid=message["sid"])
        assert (message["account_sid"], message["from"]) == (SECRET.account_sid, SECRET.sender)
        assert (message["to"], message["body"]) == (FIRST, "hello")

    def test_messaging_service_is_passed_as_such(self, twilio: Twilio) -> None:
        service = "MG" + "0" * 32
        send(twilio, SECRET._replace(sender=service))
        (message,) = twilio.messages
        assert (message["messaging_service_sid"], message["from"]) == (service, None)

    @pytest.mark.parametrize(("status", "code"), [(429, 20429), (503, 20503), (400, 21611)])
    def test_transient_failure_is_tried_twice(self, twilio: Twilio, status: int, code: int) -> None:
        twilio.fail(status, code)
        outcome = send(twilio)
        assert (outcome.state, outcome.tries) == ("sent", 2)
        twilio.fail(status, code, times=2)
        reason = f"Twilio answered {status}, error {code}"
        assert send(twilio) == sms.Outcome("transient", reason, tries=2)
        assert len(twilio.messages) == 1

    def test_text_of_a_broken_connection_may_be_sent_and_is_not_tried_again_at_once(
        self, twilio: Twilio
    ) -> None:
        twilio.fail(reset=True)
        reason = "the connection to Twilio failed (ConnectionError)"
        assert send(twilio) == sms.Outcome("unclear", reason)
        assert send(twilio).state == "sent"  # no scripted failure was left

    @pytest.mark.parametrize("status", [408, 500, 502, 504])
    def test_text_is_tried_again_at_once_after_a_server_error(
        self, twilio: Twilio, status: int
    ) -> None:
        twilio.fail(status)
        outcome = send(twilio)
        assert (outcome.state, outcome.tries) == ("sent", 2)
        twilio.fail(status)
        twilio.fail(429)
        outcome = send(twilio)
        assert (outcome.state, outcome.tries) == ("unclear", 2)  # the first may have been sent
        assert len(twilio.messages) == 1

    @pytest.mark.parametrize("sender", ["MGuard", "MG 24", "MG" + "0" * 9])
    def test_sender_that_begins_with_mg_is_no_messaging_service(
        self, monkeypatch: pytest.MonkeyPatch, sender: str
    ) -> None:
        bodies = []

        def refuse(_: Any, request: Any, **__: Any) -> None:
            bodies.append(request.body.content.decode())
            raise requests.ConnectionError

        monkeypatch.setattr(requests.Session, "send", refuse)
        secret = SECRET._replace(sender=sender)
        sms.send(secret, FIRST, "hello", "https://a.example", deadline())
        assert all("From=MG" in body and "Service" not in body for body in bodies)
        assert bodies

    @pytest.mark.parametrize("url", [SETTINGS.twilio_base_url, "http://[::1]:9"])
    def test_refused_connection_is_transient(self, url: str) -> None:
        reason = "Twilio could not be reached (ConnectionError)"
        assert send_to(url) == sms.Outcome("transient", reason, tries=2)

    @pytest.mark.parametrize("name", ["ConnectTimeout", "ProxyError"])
    def test_text_that_could_not_leave_is_not_sent(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise getattr(requests.exceptions, name)

        monkeypatch.setattr(requests.Session, "send", refuse)
        reason = f"Twilio could not be reached ({name})"
        assert send_to("https://a.example") == sms.Outcome("transient", reason, tries=2)

    @pytest.mark.parametrize("retry_after", [None, 3])
    def test_pauses_have_full_jitter_and_are_what_twilio_asks_for_at_least(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch, retry_after: int | None
    ) -> None:
        pauses: list[float] = []
        longest: list[float] = []

        def draw(least: float, most: float) -> float:
            longest.append(most)
            assert least == 0
            return most / 2

        monkeypatch.setattr(time, "sleep", pauses.append)
        monkeypatch.setattr(random, "uniform", draw)
        monkeypatch.setattr(sms, "PAUSE_SECONDS", PAUSE_SECONDS)
        twilio.fail(429, retry_after=retry_after)
        assert send(twilio).state == "sent"
        assert longest == [1.0]
        assert pauses == [0, (retry_after or 0) + 0.5]

    def test_pause_that_would_take_too_long_ends_the_attempts(self, twilio: Twilio) -> None:
        twilio.fail(429, retry_after=57)
        outcome = send(twilio)
        assert (outcome.state, outcome.tries, outcome.retry_after_seconds) == ("transient", 1, 57)

    @pytest.mark.parametrize(
        "value", ["", "-1", "1.5", "99999", "٣", "Mon, 30 Nov 2026 10:00:00 GMT"]
    )
    def test_other_values_of_retry_after_are_ignored(self, value: str) -> None:
        assert sms._read_retry_after({"Retry-After": value}) == 0

    def test_connection_is_closed_after_each_attempt(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = []

        def close(session: requests.Session) -> None:
            closed.append(session)

        monkeypatch.setattr(requests.Session, "close", close)
        twilio.fail(503)
        assert send(twilio).state == "sent"
        assert len(closed) == 2

    def test_timeout_is_not_retried_at_once(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sms, "READ_TIMEOUT_SECONDS", 0.05)
        twilio.fail(delay_seconds=3600.0)
        start = time.monotonic()
        reason = "Twilio did not answer in time"
        assert send(twilio) == sms.Outcome("unclear", reason)
        assert time.monotonic() - start < 2
        monkeypatch.undo()
        assert send(twilio).state == "sent"  # no scripted failure was left

    def test_every_request_has_both_timeouts(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timeouts = []
        send_request = requests.Session.send

        def spy(session: Any, request: Any, **options: Any) -> Any:
            timeouts.append(options["timeout"])
            return send_request(session, request, **options)

        monkeypatch.setattr(requests.Session, "send", spy)
        twilio.fail(503)
        send(twilio)
        assert timeouts == [(3.0, 7.0)] * 2

    def test_permanent_failure_is_not_retried(self, twilio: Twilio) -> None:
        outcome = send(twilio, recipient="+15005550004")
        reason = "Twilio answered 400, error 21610 (the recipient answered STOP)"
        assert outcome == sms.Outcome("failed", reason)
        twilio.fail(400, 21617)
        assert send(twilio).state == "failed"
        assert twilio.messages == []

    def test_refused_credentials_have_a_state_of_their_own(self, twilio: Twilio) -> None:
        outcome = send(twilio, SECRET._replace(api_key_secret="revoked"))
        assert outcome == sms.Outcome("credentials", "Twilio answered 401, error 20003")

    @pytest.mark.parametrize(
        ("status", "code", "state"),
        [
            (400, 21610, "failed"),
            (400, 21611, "transient"),
            (400, 20429, "transient"),
            (404, 20404, "failed"),
            (499, 21610, "failed"),
            # Without an error code, a server in between has answered.
            (302, None, "transient"),
            (400, None, "transient"),
            (401, None, "transient"),
            (404, None, "transient"),
            (407, None, "transient"),
            (499, None, "transient"),
            (401, 20003, "credentials"),
            (401, 20005, "credentials"),
            (400, 10001, "credentials"),
            (403, 20003, "credentials"),
            (403, 10001, "credentials"),
            (403, 20005, "credentials"),
            (403, 20006, "credentials"),
            (403, 20008, "credentials"),
            (403, 20403, "credentials"),
            (403, 70051, "credentials"),
            (403, 90010, "credentials"),
            (403, 21408, "failed"),  # the country is not switched on
            (403, None, "transient"),  # a firewall in between
            (408, None, "unclear"),
            (429, None, "transient"),
            (429, 63038, "transient"),
            (500, 20500, "unclear"),
            (502, None, "unclear"),
            (503, None, "transient"),
            (504, None, "unclear"),
        ],
    )
    def test_status_and_error_code_decide_the_state(
        self, status: int, code: int | None, state: str
    ) -> None:
        outcome = sms.classify(status, code)
        assert outcome.state == state
        is_of_twilio = outcome.reason.startswith(f"Twilio answered {status}, error {code}")
        assert is_of_twilio is (code is not None)

    @pytest.mark.parametrize(
        ("status", "body", "state", "error_code"),
        [
            (400, '{"code": 21610}', "failed", "21610"),
            (400, '{"code": 10000}', "failed", "10000"),
            (400, '{"code": 9999}', "transient", ""),
            (400, '{"code": "x\\ny"}', "transient", ""),
            (502, "<html>", "unclear", ""),
            (502, '{"code": 502}', "unclear", ""),
            (401, "", "transient", ""),
            (401, '{"code": 20003}', "credentials", "20003"),
            (403, "<html>", "transient", ""),
            (403, '{"code": 21408}', "failed", "21408"),
            (404, "[21610]", "transient", ""),
            (404, "[" * 100_000, "transient", ""),
            (302, "", "transient", ""),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_only_an_error_code_of_twilios_is_called_its_answer(
        self, monkeypatch: pytest.MonkeyPatch, status: int, body: str, state: str, error_code: str
    ) -> None:
        answer(monkeypatch, status, body)
        reason = f"the answer was HTTP status {status}, without an error code of Twilio's"
        if error_code:
            reason = f"Twilio answered {status}, error {error_code}"
        outcome = send_to("https://api.twilio.com")
        assert (outcome.state, outcome.reason.partition(" (")[0]) == (state, reason)

    @pytest.mark.parametrize(
        "body", ["", "{}", "<html>", "[]", "7", '{"sid": null}', '{"sid": "MG' + "0" * 32 + '"}']
    )
    def test_success_without_the_id_of_a_message_does_not_count_as_sent(
        self, monkeypatch: pytest.MonkeyPatch, body: str
    ) -> None:
        urls = answer(monkeypatch, 201, body)
        reason = "Twilio's answer names no message"
        outcome = send_to("https://api.twilio.com")
        assert outcome == sms.Outcome("unclear", reason)
        assert len(urls) == 1  # it may have been sent, so that it is not tried again

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            (199, "transient"),
            (200, "sent"),
            (201, "sent"),
            (299, "sent"),
            (300, "transient"),
        ],
    )
    def test_success_with_the_id_of_a_message_counts_as_sent(
        self, monkeypatch: pytest.MonkeyPatch, status: int, state: str
    ) -> None:
        answer(monkeypatch, status, json.dumps({"sid": "SM" + "0" * 32}))
        assert send_to("https://api.twilio.com").state == state

    @pytest.mark.parametrize(("seconds", "state"), [(3.9, "transient"), (4.5, "sent")])
    def test_no_attempt_begins_without_time_for_it(
        self, twilio: Twilio, seconds: float, state: str
    ) -> None:
        outcome = sms.send(SECRET, FIRST, "hello", twilio.url, deadline(seconds))
        assert outcome.state == state
        assert len(twilio.messages) == int(state == "sent")
        if state == "transient":
            assert outcome == sms.Outcome("transient", "there was no time left", tries=0)

    def test_no_retry_begins_without_time_for_it(self, twilio: Twilio) -> None:
        twilio.fail(503, delay_seconds=0.4)
        assert sms.send(SECRET, FIRST, "hello", twilio.url, deadline(4.3)).state == "transient"
        assert twilio.messages == []

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.twilio.com",
            "http://127.0.0.1.evil.example",
            "ftp://127.0.0.1",
            "",
            "127.0.0.1",
        ],
    )
    def test_credentials_never_leave_this_machine_unencrypted(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            requests.Session, "send", lambda *_, **__: pytest.fail("something was sent")
        )
        outcome = send_to(url)
        assert outcome.reason == "Twilio could not be reached (ValueError)"

    def test_request_goes_to_the_host_of_the_base_url(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        urls = []

        def refuse(_: Any, request: Any, **__: Any) -> None:
            urls.append(request.url)
            raise requests.ConnectionError

        monkeypatch.setattr(requests.Session, "send", refuse)
        monkeypatch.setenv("TWILIO_EDGE", "sydney")  # Twilio's client would change the host
        monkeypatch.setenv("TWILIO_REGION", "au1")
        base_url = "https://api.dublin.ie1.twilio.com/path?query"
        send_to(base_url)
        path = f"/2010-04-01/Accounts/{SECRET.account_sid}/Messages.json"
        assert set(urls) == {f"https://api.dublin.ie1.twilio.com{path}"}

    def test_twilios_own_log_shows_no_account_and_no_number(
        self, twilio: Twilio, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        logging.getLogger("twilio.http_client").setLevel(logging.NOTSET)
        send(twilio)
        assert [record for record in caplog.records if record.name.startswith("twilio")] == []


class TestTimeLimit:
    """The timeouts of requests begin again with each piece of an answer."""

    def test_an_attempt_has_ten_seconds_and_every_text_two_attempts(self) -> None:
        assert (sms.ATTEMPT_SECONDS, sms.MAX_ATTEMPTS) == (10.0, 2)

    def test_answer_that_trickles_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sms, "ATTEMPT_SECONDS", 0.3)
        start = time.monotonic()
        with faulty_server.start("trickling") as server:
            outcome = send_to(server.url)
            assert time.monotonic() - start < 1.5
            assert server.request_count == 1
        reason = "Twilio did not answer in time"
        assert outcome == sms.Outcome("unclear", reason)

    def test_text_that_was_given_up_while_it_connected_is_never_sent(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after Lambda has thawed the process: the thread goes on where it was."""
        monkeypatch.setattr(sms, "ATTEMPT_SECONDS", 0.1)
        connected, original = threading.Event(), urllib3.util.connection.create_connection
        threads_before = set(threading.enumerate())

        def connect(*arguments: Any, **options: Any) -> Any:
            connected.wait(10)
            return original(*arguments, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        outcome = send(twilio)
        assert outcome.reason == "Twilio could not be reached (TimeoutError)"
        assert outcome.state == "transient"
        connected.set()
        for thread in set(threading.enumerate()) - threads_before:
            thread.join(10)
        assert twilio.messages == []


class TestStatus:
    def test_status_of_a_text_is_asked_by_its_id(self, twilio: Twilio) -> None:
        sid = send(twilio).sid
        assert sms.find_status(SECRET, sid, twilio.url) == sms.TextStatus("queued")
        twilio.twilio_server.set_status(sid, "undelivered", 30003)
        reason = "error 30003 (the phone is switched off or out of reach)"
        assert sms.find_status(SECRET, sid, twilio.url) == sms.TextStatus("undelivered", reason)

    def test_status_is_unknown_if_twilio_does_not_tell(self, twilio: Twilio) -> None:
        sid = "SM" + "0" * 32
        unknown = sms.find_status(SECRET, sid, twilio.url)
        assert unknown == sms.TextStatus("", "Twilio answered 404, error 20404")
        reason = "Twilio could not be asked (ConnectionError)"
        assert sms.find_status(SECRET, sid, "http://127.0.0.1:9") == sms.TextStatus("", reason)

    @pytest.mark.parametrize("body", ["", "[]", '{"status": null}', '{"error_code": "x"}'])
    def test_unreadable_answer_is_no_status(
        self, monkeypatch: pytest.MonkeyPatch, body: str
    ) -> None:
        answer(monkeypatch, 200, body)
        sid = "SM" + "0" * 32
        assert sms.find_status(SECRET, sid, "https://api.twilio.com") == sms.TextStatus("")

    def test_text_is_found_among_those_to_its_recipient(self, twilio: Twilio) -> None:
        sid = send(twilio).sid
        assert find_text(twilio.url) == sms.Outcome("sent", sid=sid)
        assert find_text(twilio.url, text="another text") == sms.Outcome("absent")
        assert find_text(twilio.url, recipient=SECOND) == sms.Outcome("absent")

    def test_text_with_the_words_of_a_trial_account_is_found(self, twilio: Twilio) -> None:
        body = "Sent from your Twilio trial account - hello"
        sid = sms.send(SECRET, FIRST, body, twilio.url, deadline()).sid
        assert find_text(twilio.url) == sms.Outcome("sent", sid=sid)

    def test_earlier_text_that_reads_the_same_is_not_taken_for_it(
        self, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dates = iter((formatdate(NOW), "yesterday"))
        monkeypatch.setattr("tooling.local.twilio_server.formatdate", lambda: next(dates))
        sid = send(twilio).sid
        assert find_text(twilio.url, since=NOW + 590) == sms.Outcome("sent", sid=sid)
        assert find_text(twilio.url, since=NOW + 610) == sms.Outcome("absent")
        sid = send(twilio).sid  # its date cannot be read
        assert find_text(twilio.url, since=NOW + 610) == sms.Outcome("sent", sid=sid)

    @pytest.mark.parametrize(("status", "state"), [(403, "failed"), (503, "unclear")])
    def test_text_is_not_called_absent_if_twilio_does_not_list_texts(
        self, twilio: Twilio, status: int, state: str
    ) -> None:
        twilio.fail(status)
        assert find_text(twilio.url).state == state

    def test_text_is_unclear_if_twilio_cannot_be_reached(self) -> None:
        assert find_text("http://127.0.0.1:9").state == "unclear"

    @pytest.mark.parametrize("body", ["", "[]", '{"messages": null}'])
    def test_unreadable_list_leaves_a_text_unclear(
        self, monkeypatch: pytest.MonkeyPatch, body: str
    ) -> None:
        answer(monkeypatch, 200, body)
        assert find_text("https://api.twilio.com").state == "unclear"

    @pytest.mark.parametrize("code", [*range(30001, 30009), 30034, 21610])
    def test_error_is_told_in_words(self, code: int) -> None:
        assert len(sms.ERROR_MEANINGS[code].split()) > 3
