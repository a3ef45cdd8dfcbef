"""What Twilio says of credentials and texts, from the loopback Twilio and from other servers."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from signwatch.alerting import sms
from tests.support.scripted_terminal import VALID
from tooling import templates
from tooling.deploy import secret_setup, trial_texts, twilio_api
from tooling.deploy.trial_texts import Clock
from tooling.deploy.twilio_api import TwilioApi, TwilioError
from tooling.errors import RefusedError
from tooling.local.twilio_server import TwilioServer
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.joint

HOSTILE = f"No \x1b[31m\u202e{VALID['api_key_secret']} To +4915112345678 of {VALID['account_sid']}"


@pytest.fixture
def twilio() -> Iterator[TwilioServer]:
    with TwilioServer.start(
        credentials={VALID["api_key_sid"]: VALID["api_key_secret"]}
    ) as twilio_server:
        yield twilio_server


def api(twilio: TwilioServer, **changes: str) -> TwilioApi:
    return TwilioApi({**VALID, **changes}, twilio.url)


def refusal(api: TwilioApi) -> TwilioError:
    """Return the error of a check, after looking that nothing private is in it."""
    with pytest.raises(TwilioError) as error:
        api.list_one_message()
    text = str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    for private in (VALID["api_key_secret"], VALID["account_sid"], VALID["recipients"][1]):
        assert private not in text
    assert all(char.isprintable() or char == "\n" for char in text)
    return error.value


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer for every request, as a proxy or a sign-in page does; yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:9/sign-in")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TestCredentials:
    def test_valid_key_lists_one_message_and_sends_none(self, twilio: TwilioServer) -> None:
        api(twilio).list_one_message()
        assert twilio.messages == []

    @pytest.mark.parametrize(
        "changes", [{"api_key_secret": "another-one"}, {"api_key_sid": "SK" + "9" * 32}]
    )
    def test_wrong_key_is_a_refusal(self, twilio: TwilioServer, changes: dict[str, str]) -> None:
        error = refusal(api(twilio, **changes))
        assert error.is_refusal
        assert error.what == (
            'does not accept this key for this account (HTTP 401, error 20003: "Authenticate")'
        )
        assert "A suspended account is refused like this too" in error.remedy

    @pytest.mark.parametrize(
        ("status", "code", "what", "is_refusal"),
        [
            (401, 20003, "does not accept this key for this account", True),
            (403, 20005, "the account is suspended or closed", True),
            (401, 90010, "the account is suspended or closed", True),
            (403, 20403, "does not allow this key to do that", True),
            (403, 70051, "does not allow this key to do that", True),
            (401, 20006, "does not allow this key to do that", True),
            (403, 20008, "says that these are test credentials", True),
            (404, 20404, "knows no such account or message", True),
            (400, 21211, "refuses it", True),
            (429, 20429, "cannot answer now", False),
            (500, 20500, "cannot answer now", False),
            (503, 20503, "cannot answer now", False),
        ],
    )
    def test_refusal_is_told_in_plain_words_and_in_twilios(
        self, twilio: TwilioServer, status: int, code: int, what: str, is_refusal: bool
    ) -> None:
        twilio.fail(status, code, "Their words")
        error = refusal(api(twilio))
        assert error.what == f'{what} (HTTP {status}, error {code}: "Their words")'
        assert error.is_refusal is is_refusal

    def test_hostile_message_is_made_harmless(self, twilio: TwilioServer) -> None:
        twilio.fail(400, 21211, HOSTILE + "x" * 5000)
        what = refusal(api(twilio)).what
        assert 'error 21211: "No ?[31m?... To ... of ...' in what
        assert len(what) < 300

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>Sign in to the Wi-Fi</html>"),
            (200, b"[]"),
            (200, b"{}"),
            (302, b""),
            (403, b"<html>blocked by policy</html>"),
            (502, b"Bad gateway"),
            (200, b"[" * 100_000),
            (401, b'{"code": "20003"}'),
        ],
        ids=["page", "list", "object", "redirect", "firewall", "gateway", "nested", "forged"],
    )
    def test_answer_of_something_else_is_not_taken_for_twilios(
        self, status: int, body: bytes
    ) -> None:
        with answering(status, body) as url:
            error = refusal(TwilioApi(VALID, url))
        assert not error.is_refusal
        assert error.what.startswith("something else answered in its place, with")
        assert "HTTPS_PROXY" in error.remedy

    def test_unreachable_twilio_is_not_a_refusal(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        error = refusal(TwilioApi(VALID, f"http://127.0.0.1:{port}"))
        assert (error.is_refusal, error.what) == (
            False,
            "could not be reached: the connection failed",
        )

    def test_silent_twilio_is_not_a_refusal(
        self, twilio: TwilioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(twilio_api, "READ_TIMEOUT_SECONDS", 0.1)
        twilio.fail(delay_seconds=30)
        error = refusal(api(twilio))
        assert (error.is_refusal, error.what) == (
            False,
            "could not be reached: it did not answer in time",
        )

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("ProxyError", "the proxy in HTTPS_PROXY did not connect to it"),
            ("SSLError", "its certificate is not trusted here"),
            ("ConnectTimeout", "no connection was made in time"),
            ("InvalidSchema", "the connection failed"),
        ],
    )
    def test_fault_of_the_network_is_told_by_its_kind(self, name: str, what: str) -> None:
        """The loopback has neither proxy nor certificate, so the exception itself is given."""
        from requests import exceptions

        error = twilio_api._explain_network_error(getattr(exceptions, name)(HOSTILE))
        assert error.what.startswith(f"could not be reached: {what}")
        assert VALID["api_key_secret"] not in str(error)

    def test_loopback_is_reached_without_the_proxy(
        self, twilio: TwilioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        api(twilio).list_one_message()

    def test_edge_of_the_environment_does_not_change_the_host(
        self, twilio: TwilioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_EDGE", "dublin")
        monkeypatch.setenv("TWILIO_REGION", "ie1")
        api(twilio).list_one_message()

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.twilio.com",
            "https://api.twilio.com.example.com",
            "https://example.com",
            "http://127.0.0.1.example.com:80",
            "http://192.0.2.1:80",
            "https://api.twilio.com/",
        ],
    )
    def test_no_other_server_gets_the_credentials(self, url: str) -> None:
        with pytest.raises(RefusedError, match="gets no credentials"):
            TwilioApi(VALID, url)

    def test_accepted_addresses_are_those_of_the_template(self) -> None:
        parameter = templates.load(ROOT / "cfn" / "parent.yaml")["Parameters"]["TwilioBaseUrl"]
        assert parameter["AllowedPattern"] == twilio_api.BASE_URL.pattern
        assert parameter["Default"] == twilio_api.DEFAULT_BASE_URL


def send_trial_texts(
    twilio: TwilioServer, *recipients: str, sender: str = VALID["sender"]
) -> tuple[int, list[str]]:
    """Send trial texts on a clock that only waiting moves; return how many failed, and lines."""
    lines: list[str] = []
    seconds = [0.0]

    def sleep(duration: float) -> None:
        seconds[0] += duration

    secret = {**VALID, "sender": sender, "recipients": list(recipients)}
    clock = Clock(lambda: seconds[0], sleep)
    return trial_texts.send(api(twilio), secret, lines.append, clock), lines


class TestTrialTexts:
    def test_each_phone_gets_one_in_the_order_given_and_its_end_is_told(
        self, twilio: TwilioServer
    ) -> None:
        failed, lines = send_trial_texts(twilio, "+4915112345679", "+12025550123")
        assert failed == 0
        assert [message["to"] for message in twilio.messages] == ["+4915112345679", "+12025550123"]
        assert {message["body"] for message in twilio.messages} == {trial_texts.TEXT}
        assert lines == [
            "  recipient 1 of 2 (+49...79): Twilio accepted the trial text",
            "  recipient 2 of 2 (+1...23): Twilio accepted the trial text",
            "  recipient 1 of 2 (+49...79): delivered",
            "  recipient 2 of 2 (+1...23): delivered",
        ]

    @pytest.mark.parametrize(
        ("sender", "field"),
        [
            ("MG" + "0" * 32, "messaging_service_sid"),
            ("MGalerts", "from"),
            ("Signwatch", "from"),
        ],
    )
    def test_sender_is_named_as_the_function_names_it(
        self, twilio: TwilioServer, sender: str, field: str
    ) -> None:
        send_trial_texts(twilio, "+4915112345679", sender=sender)
        secret = sms.Secret(**{**VALID, "sender": sender, "recipients": ("+4915112345679",)})
        sms.send(secret, "+4915112345679", "text", twilio.url, time.monotonic() + 60)
        trial, alert = twilio.messages
        assert trial[field] == alert[field] == sender

    def test_refusal_of_the_second_phone_is_reported_as_the_second(
        self, twilio: TwilioServer
    ) -> None:
        failed, lines = send_trial_texts(twilio, "+15005550009", "+15005550004", "+12025550123")
        assert failed == 1
        assert lines[1] == (
            "  recipient 2 of 3 (+1...04): not sent: refuses it (HTTP 400, error 21610: "
            '"Attempt to send to unsubscribed recipient"). '
            "Try: read https://www.twilio.com/docs/api/errors/21610"
        )
        assert [message["to"] for message in twilio.messages] == ["+15005550009", "+12025550123"]

    def test_text_that_the_carrier_blocks_later_has_failed(
        self, twilio: TwilioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receive = twilio.receive

        def receive_and_block(account_sid: str, form: Any) -> dict[str, Any]:
            message = receive(account_sid, form)
            twilio.set_status(message["sid"], "undelivered", 30034, f"Unregistered {HOSTILE}")
            return message

        monkeypatch.setattr(twilio, "receive", receive_and_block)
        failed, lines = send_trial_texts(twilio, "+4915112345678")
        assert failed == 1
        assert lines[-1].startswith(
            '  recipient 1 of 1 (+49...78): undelivered, error 30034: "Unregistered No ?[31m?...'
        )
        assert VALID["api_key_secret"] not in lines[-1]

    def test_text_without_an_end_is_told_as_it_is_when_time_is_up(
        self, twilio: TwilioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tooling.local.twilio_server.NEXT_STATUSES", {})
        failed, lines = send_trial_texts(twilio, "+4915112345678")
        assert failed == 0
        assert lines[-1] == "  recipient 1 of 1 (+49...78): queued after 20 s"

    def test_key_that_cannot_read_messages_is_told_and_is_no_failure(
        self, twilio: TwilioServer
    ) -> None:
        twilio.fail()  # the text is served
        twilio.fail(403, 20403, "Forbidden")
        failed, lines = send_trial_texts(twilio, "+4915112345678")
        assert failed == 0
        assert "what became of it cannot be read: does not allow this key" in lines[-1]

    def test_text_fits_one_part_with_what_a_trial_account_prepends(self) -> None:
        assert len(trial_texts.TEXT) + 38 <= 160
        assert re.fullmatch(r"[A-Za-z0-9 .:-]*", trial_texts.TEXT)  # all in GSM-7, one septet each


def test_time_until_a_function_takes_up_the_secret_is_that_of_its_cache() -> None:
    assert sms.SECRET_CACHE_SECONDS == secret_setup.CACHE_MINUTES * 60


def test_function_keeps_the_order_of_the_recipients() -> None:
    stored = json.dumps(VALID)
    assert sms.parse_secret(stored).recipients == tuple(VALID["recipients"])
    assert list(VALID["recipients"]) != sorted(VALID["recipients"])
