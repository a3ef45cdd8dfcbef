"""The real dependencies: the time left, and AWS clients that are made once and give up soon."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import boto3
import pytest

from signwatch import dependencies
from signwatch.dependencies import Dependencies, get_client
from tests.support import faulty_server
from tests.support.dependencies import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Context:
    """Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        return 12_500


class SnsHandler(BaseHTTPRequestHandler):
    """Answers each request, and keeps the connection open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<PublishResponse><PublishResult/></PublishResponse>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""


class SnsServer(ThreadingHTTPServer):
    """Counts the connections that are opened."""

    daemon_threads = True
    connections = 0

    def get_request(self) -> tuple[object, object]:  # type: ignore[override] # only counts
        self.connections += 1
        return super().get_request()


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def sns_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SnsServer]:
    with SnsServer(("127.0.0.1", 0), SnsHandler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", url)
        yield server
        server.shutdown()


def test_time_left_is_in_seconds() -> None:
    assert Dependencies.make(SETTINGS, Context()).seconds_left() == 12.5
    assert Dependencies.make(SETTINGS, None).seconds_left() == 60.0


def test_client_gives_up_soon_enough_for_the_other_channel() -> None:
    config = get_client("sns").meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert config.region_name == "us-east-1"  # the function's own


def test_quick_client_of_another_region_tries_once_for_two_seconds() -> None:
    config = get_client("identitystore", region="eu-west-1", quick=True).meta.config
    assert config.connect_timeout + config.read_timeout == 2
    assert config.region_name == "eu-west-1"
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}


def test_client_is_made_once_for_each_service_region_and_kind() -> None:
    clients = [
        get_client(service, region=region, quick=quick)
        for service in ("sns", "sqs")
        for region in ("", "eu-west-1")
        for quick in (False, True)
        for _ in range(2)
    ]
    assert len(set(map(id, clients))) == 8


def test_client_that_cannot_be_made_is_made_by_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(boto3, "client", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get_client("sns")
    assert get_client("sns").meta.service_model.service_name == "sns"


def test_each_call_has_a_limit_by_the_clock_on_the_wall() -> None:
    limits = (dependencies.CALL_SECONDS, dependencies.QUICK_CALL_SECONDS)
    assert (*limits, dependencies.SEARCH_CALL_SECONDS) == (5.0, 2.0, 10.0)
    seconds = {
        (service, quick): get_client(service, quick=quick)._seconds
        for service in ("sns", "logs")
        for quick in (False, True)
    }
    assert seconds == {
        ("sns", False): 5.0,
        ("sns", True): 2.0,
        ("logs", False): 10.0,
        ("logs", True): 2.0,
    }


def test_call_whose_answer_trickles_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own timeouts begin again with each byte."""
    monkeypatch.setattr(dependencies, "CALL_SECONDS", 0.3)
    with faulty_server.start("trickling") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", server.url)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            get_client("sns").publish(TopicArn=SETTINGS.alert_topic_arn, Message="x")
        assert time.monotonic() - start < 2


def test_quick_client_that_was_late_fails_at_once_until_the_next_invocation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dependencies, "QUICK_CALL_SECONDS", 0.2)
    with faulty_server.start("silent") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", server.url)

        def publish() -> None:
            client = get_client("sns", quick=True)
            with pytest.raises(TimeoutError):
                client.publish(TopicArn=SETTINGS.alert_topic_arn, Message="x")

        for _ in range(3):
            publish()
        assert server.request_count == 1
        Dependencies.make(SETTINGS, None)
        publish()
        assert server.request_count == 2


def test_invocation_uses_no_connection_of_an_earlier_one(sns_server: SnsServer) -> None:
    for invocation in (1, 2):
        client = Dependencies.make(SETTINGS, None).client("sns", quick=True)
        for _ in range(2):
            client.publish(TopicArn=SETTINGS.alert_topic_arn, Message="x")
        assert sns_server.connections == invocation


def test_client_that_cannot_be_closed_is_replaced() -> None:
    class Broken:
        def close(self) -> None:
            raise OSError

    dependencies._clients["sns", "", False] = Broken()
    assert not isinstance(Dependencies.make(SETTINGS, None).client("sns"), Broken)
