"""The World's AWS behind a loopback server, so that the real clients of AWS can be used with it."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.support.dependencies import (
    SETTINGS,
    ConditionalCheckFailedException,
    ResourceNotFoundException,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = {  # the service in X-Amz-Target: the World's client
    "DynamoDB_20120810": "table",
    "secretsmanager": "secrets",
    "AmazonSSM": "parameters",
    "AWSIdentityStore": "identity_stores",
    "AmazonSQS": "queue",
    "Logs_20140328": "logs",
}
# The World knows one installation; several may use it at once under names of their own.
OWN_NAMES = {"SecretId": SETTINGS.twilio_secret_arn, "Path": f"/{SETTINGS.name_prefix}/networks"}


class LoopbackAws:
    """Answers for the World; each answer takes ``delay_seconds``."""

    def __init__(self, world: World, delay_seconds: float = 0.0) -> None:
        self.world, self.delay_seconds = world, delay_seconds

    def answer(self, target: str, body: str) -> tuple[int, str]:
        """Return the HTTP status and the body of the answer to one request."""
        time.sleep(self.delay_seconds)
        if not target:  # SNS speaks in forms and XML
            form = {name: values[0] for name, values in parse_qs(body).items()}
            names = ("TopicArn", "Subject", "Message")
            self.world.topic.publish(**{name: form[name] for name in names})
            return 200, "<PublishResponse><PublishResult/></PublishResponse>"
        service, _, operation = target.partition(".")
        request = {**json.loads(body)}
        request |= {name: value for name, value in OWN_NAMES.items() if name in request}
        client = getattr(self.world, CLIENTS[service])
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            return 200, json.dumps(getattr(client, method)(**request) or {})
        except (ConditionalCheckFailedException, ResourceNotFoundException) as error:
            return 400, json.dumps({"__type": type(error).__name__, "message": "no"})
        except Exception as error:  # noqa: BLE001 - any refusal
            return 400, json.dumps({"__type": "AccessDeniedException", "message": str(error)})


@contextlib.contextmanager
def serve(aws: LoopbackAws) -> Iterator[str]:
    """Serve it; the value is its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, answer = aws.answer(self.headers.get("X-Amz-Target", ""), body)
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer.encode())))
                self.end_headers()
                self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None:
            """Ignore clients that hung up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
