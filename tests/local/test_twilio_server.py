"""The loopback Twilio server, called by Twilio's real client and by plain HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from signwatch.alerting import sms
from tests.support.emulator import wait_until
from tooling.local.twilio_server import REQUEST_MAX_BYTES, TwilioServer, count_segments

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.local

ACCOUNT, KEY = "AC" + "0" * 31 + "1", "SK" + "0" * 31 + "2"
KEY_SECRET = "-".join(("for", "the", "loopback"))
SENDER, RECIPIENT = "+15005550006", "+15005550009"
SECRET = sms.Secret(ACCOUNT, KEY, KEY_SECRET, SENDER, (RECIPIENT,))
MESSAGES_PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
FORM = {"To": RECIPIENT, "From": SENDER, "Body": "hello"}


@pytest.fixture
def twilio_server() -> Iterator[TwilioServer]:
    with TwilioServer.start(credentials={KEY: KEY_SECRET}) as running:
        yield running


def send(
    twilio_server: TwilioServer,
    text: str = "hello",
    recipient: str = RECIPIENT,
    secret: sms.Secret = SECRET,
) -> sms.Outcome:
    """Send in one attempt."""
    return sms._send_once(secret, recipient, text, twilio_server.url, sms.ATTEMPT_SECONDS)


def request(
    twilio_server: TwilioServer,
    method: str,
    path: str,
    form: dict[str, str] | None = None,
    user: str = KEY,
    password: str = KEY_SECRET,
) -> tuple[int, Any, http.client.HTTPMessage]:
    """Return status, JSON and headers of one request."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(urlsplit(twilio_server.url).netloc, timeout=10)
    try:
        connection.request(
            method,
            path,
            urlencode(form) if form else None,
            {"Authorization": f"Basic {credentials}"},
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def test_text_of_the_real_client_is_accepted(twilio_server: TwilioServer) -> None:
    assert send(twilio_server, "sign-in from 198.51.100.7").state == "sent"
    (message,) = twilio_server.messages
    assert message["body"] == "sign-in from 198.51.100.7"
    assert (message["to"], message["from"]) == (RECIPIENT, SENDER)
    assert (message["status"], message["error_code"]) == ("queued", None)
    assert message["num_segments"] == "1"


def test_text_through_a_messaging_service_has_no_sender(twilio_server: TwilioServer) -> None:
    service = "MG" + "0" * 32
    assert send(twilio_server, secret=SECRET._replace(sender=service)).state == "sent"
    (message,) = twilio_server.messages
    assert (message["from"], message["messaging_service_sid"]) == (None, service)
    assert message["status"] == "accepted"


def test_messages_are_shown_as_json_without_a_password(twilio_server: TwilioServer) -> None:
    send(twilio_server, "one £ and one €")
    status, body, _ = request(twilio_server, "GET", "/__messages", user="", password="")
    assert (status, body) == (200, twilio_server.messages)
    assert body[0]["body"] == "one £ and one €"


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (KEY, "wrong"),
        ("SK" + "9" * 32, KEY_SECRET),
        ("", ""),
        ("None", "None"),
        (KEY, ""),
        ("AC" + "0" * 32, "token"),
    ],
)
def test_unknown_key_is_refused_with_20003(
    twilio_server: TwilioServer, user: str, password: str
) -> None:
    status, body, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM, user, password)
    assert (status, body["code"], twilio_server.messages) == (401, 20003, [])


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!", "Basic /w==", "Bearer abc"])
def test_malformed_authorization_is_refused(twilio_server: TwilioServer, header: str) -> None:
    assert not twilio_server.is_authorized(ACCOUNT, header)


def test_function_reports_wrong_credentials(twilio_server: TwilioServer) -> None:
    outcome = send(twilio_server, secret=SECRET._replace(api_key_secret="wrong"))
    assert outcome == sms.Outcome("credentials", "Twilio answered 401, error 20003")


def test_account_cannot_send_for_another() -> None:
    with TwilioServer.start(credentials={ACCOUNT: "token"}) as twilio_server:
        other = MESSAGES_PATH.replace(ACCOUNT, "AC" + "f" * 32)
        assert request(twilio_server, "POST", other, FORM, ACCOUNT, "token")[0] == 401
        assert request(twilio_server, "POST", MESSAGES_PATH, FORM, ACCOUNT, "token")[0] == 201


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Body": ""}, 21602),
        ({"From": ""}, 21603),
        ({"To": ""}, 21604),
        ({"To": "5550009"}, 21211),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550009\n"}, 21211),
        ({"From": "+15005550001"}, 21212),
        ({"To": "+15005550004"}, 21610),
        ({"Body": "x" * 1601}, 21617),
    ],
)
def test_text_that_twilio_refuses_is_refused(
    twilio_server: TwilioServer, change: dict[str, str], code: int
) -> None:
    status, body, _ = request(twilio_server, "POST", MESSAGES_PATH, {**FORM, **change})
    assert (status, body["status"], body["code"], twilio_server.messages) == (400, 400, code, [])


def test_function_reports_a_refusal_as_permanent(twilio_server: TwilioServer) -> None:
    assert send(twilio_server, recipient="+15005550004") == sms.Outcome(
        "failed", "Twilio answered 400, error 21610 (the recipient answered STOP)"
    )


def test_longest_text_is_accepted(twilio_server: TwilioServer) -> None:
    assert send(twilio_server, "x" * 1600).state == "sent"
    assert twilio_server.messages[0]["num_segments"] == "11"


def test_status_429_has_retry_after(twilio_server: TwilioServer) -> None:
    twilio_server.fail(429, retry_after=7)
    status, body, headers = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    assert (status, body["code"], headers["Retry-After"]) == (429, 20429, "7")
    assert send(twilio_server).state == "sent"


def test_scripted_failures_happen_in_order_and_then_stop(twilio_server: TwilioServer) -> None:
    twilio_server.fail(503, times=2)
    twilio_server.fail(400, 21408, "Permission to send has not been enabled")
    assert [send(twilio_server).reason for _ in range(4)] == [
        "Twilio answered 503, error 20503",
        "Twilio answered 503, error 20503",
        "Twilio answered 400, error 21408 (texts to this country are not switched on)",
        "",
    ]
    assert len(twilio_server.messages) == 1


def test_failure_for_one_number_waits_for_it(twilio_server: TwilioServer) -> None:
    twilio_server.fail(503, to="+15005550010")
    assert send(twilio_server).state == "sent"
    assert send(twilio_server, recipient="+15005550010").state == "transient"


def test_unknown_key_does_not_use_up_a_scripted_failure(twilio_server: TwilioServer) -> None:
    twilio_server.fail(500)
    assert request(twilio_server, "POST", MESSAGES_PATH, FORM, password="wrong")[0] == 401
    assert request(twilio_server, "POST", MESSAGES_PATH, FORM)[0] == 500


def test_second_attempt_of_the_function_succeeds(twilio_server: TwilioServer) -> None:
    twilio_server.fail(503)
    deadline = time.monotonic() + 60
    assert sms.send(SECRET, RECIPIENT, "hello", twilio_server.url, deadline).state == "sent"
    assert len(twilio_server.messages) == 1


def test_reset_connection_has_no_answer_and_no_message(twilio_server: TwilioServer) -> None:
    twilio_server.fail(reset=True)
    outcome = send(twilio_server)
    assert (outcome.state, twilio_server.messages) == ("unclear", [])
    assert outcome.reason == "the connection to Twilio failed (ConnectionError)"
    assert outcome.state == "unclear"  # the request was sent, so nobody knows


def test_slow_answer_is_late_and_the_text_is_accepted(twilio_server: TwilioServer) -> None:
    twilio_server.fail(delay_seconds=0.3)
    start = time.monotonic()
    assert send(twilio_server).state == "sent"
    assert time.monotonic() - start >= 0.3
    assert len(twilio_server.messages) == 1


def test_answer_after_the_functions_timeout_is_transient(
    twilio_server: TwilioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sms, "READ_TIMEOUT_SECONDS", 0.2)
    twilio_server.fail(delay_seconds=3600)
    assert send(twilio_server).reason == sms.NO_ANSWER


def test_message_can_be_looked_up_at_its_uri(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    status, body, _ = request(twilio_server, "GET", message["uri"])
    assert (status, body) == (200, message)


def test_later_lookup_returns_the_new_status(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    twilio_server.set_status(
        message["sid"], "undelivered", 30034, "Message from an Unregistered Number"
    )
    _, body, _ = request(twilio_server, "GET", message["uri"])
    assert (body["status"], body["error_code"]) == ("undelivered", 30034)
    assert body["error_message"] == "Message from an Unregistered Number"


@pytest.mark.parametrize("sid", ["SM" + "0" * 32, "nothing"])
def test_lookup_of_an_unknown_message_is_404(twilio_server: TwilioServer, sid: str) -> None:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json"
    status, body, _ = request(twilio_server, "GET", path)
    assert (status, body["code"]) == (404, 20404)


def test_lookup_of_another_accounts_message_is_404(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    path = message["uri"].replace(ACCOUNT, "AC" + "f" * 32)
    status, body, _ = request(twilio_server, "GET", path)
    assert (status, body["code"]) == (404, 20404)


def test_lookup_needs_the_password(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    assert request(twilio_server, "GET", message["uri"], password="wrong")[0] == 401


@pytest.mark.parametrize(
    ("length", "status"), [(str(REQUEST_MAX_BYTES + 1), 413), ("", 411), ("-1", 411), ("many", 411)]
)
def test_body_without_a_valid_length_is_not_read(
    twilio_server: TwilioServer, length: str, status: int
) -> None:
    connection = http.client.HTTPConnection(urlsplit(twilio_server.url).netloc, timeout=10)
    connection.putrequest("POST", MESSAGES_PATH)
    if length:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == status
    response.read()
    connection.close()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("[" * 80, 1),
        ("[" * 81, 2),
        ("x" * 152 + "€" + "x" * 152, 3),  # the euro sign is not split, so one septet stays empty
        ("é" * 160, 1),
        ("ê" * 70, 1),
        ("ê" * 71, 2),
        ("📱" * 35, 1),
        ("📱" * 36, 2),
    ],
)
def test_segments_are_counted_in_septets_or_in_utf_16(text: str, count: int) -> None:
    assert count_segments(text) == count


def test_many_texts_at_once_are_all_received(twilio_server: TwilioServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda n: request(
                    twilio_server, "POST", MESSAGES_PATH, {**FORM, "Body": f"text {n}"}
                ),
                range(100),
            )
        )
    assert {status for status, *_ in answers} == {201}
    assert {message["body"] for message in twilio_server.messages} == {
        f"text {n}" for n in range(100)
    }
    assert len({message["sid"] for message in twilio_server.messages}) == 100


def test_server_stops_although_clients_are_still_connected() -> None:
    before = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        with TwilioServer.start(credentials={KEY: KEY_SECRET}) as twilio_server:
            idle = http.client.HTTPConnection(urlsplit(twilio_server.url).netloc, timeout=10)
            idle.request("GET", "/__messages")
            idle.getresponse().read()
            twilio_server.fail(delay_seconds=60)
            waiting = pool.submit(send, twilio_server)
            wait_until(lambda: not twilio_server._failures)
            start = time.monotonic()
        assert time.monotonic() - start < 5
        assert waiting.result(timeout=5).state == "unclear"
    idle.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        request(twilio_server, "GET", "/__messages")


def test_port_can_be_chosen_and_is_free_again_afterwards() -> None:
    with TwilioServer.start(credentials={KEY: KEY_SECRET}) as first:
        send(first)
    with TwilioServer.start(credentials={}, port=urlsplit(first.url).port or 0) as second:
        assert second.url == first.url


def test_port_in_use_is_an_os_error(twilio_server: TwilioServer) -> None:
    with (
        pytest.raises(OSError, match="in use"),
        TwilioServer.start(credentials={}, port=urlsplit(twilio_server.url).port or 0),
    ):
        pass


def test_list_has_the_newest_messages_of_the_account(twilio_server: TwilioServer) -> None:
    for body in ("first", "second"):
        request(twilio_server, "POST", MESSAGES_PATH, {**FORM, "Body": body})
    status, page, _ = request(twilio_server, "GET", f"{MESSAGES_PATH}?PageSize=1")
    assert (status, page["page_size"]) == (200, 1)
    assert [message["body"] for message in page["messages"]] == ["second"]
    _, page, _ = request(twilio_server, "GET", MESSAGES_PATH)
    assert [message["body"] for message in page["messages"]] == ["second", "first"]
    other = MESSAGES_PATH.replace(ACCOUNT, "AC" + "f" * 32)
    assert request(twilio_server, "GET", other)[1]["messages"] == []


@pytest.mark.parametrize(
    ("query", "size"), [("", 50), ("?PageSize=7", 7), ("?PageSize=5000", 1000), ("?PageSize=x", 50)]
)
def test_page_of_a_list_has_twilios_sizes(
    twilio_server: TwilioServer, query: str, size: int
) -> None:
    assert request(twilio_server, "GET", MESSAGES_PATH + query)[1]["page_size"] == size


def test_list_needs_the_password_and_can_fail(twilio_server: TwilioServer) -> None:
    assert request(twilio_server, "GET", MESSAGES_PATH, password="wrong")[0] == 401
    twilio_server.fail(403, 20403)
    assert request(twilio_server, "GET", MESSAGES_PATH)[:1] == (403,)


def test_text_that_is_looked_up_is_delivered_in_the_end(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    statuses = [request(twilio_server, "GET", message["uri"])[1]["status"] for _ in range(4)]
    assert statuses == ["queued", "sent", "delivered", "delivered"]


def test_message_cannot_be_posted_to(twilio_server: TwilioServer) -> None:
    _, message, _ = request(twilio_server, "POST", MESSAGES_PATH, FORM)
    assert request(twilio_server, "POST", message["uri"], FORM)[0] == 404
