"""The Runtime API of Lambda for one process: it asks for events here, and answers here.

Source: Lambda developer guide, "Using the Lambda runtime API for custom runtimes". Standard library alone.
"""

from __future__ import annotations

import queue
import re
import socket
import socketserver
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "/2018-06-01/runtime"
POSTED = re.compile(rf"{PREFIX}/(?:invocation/([^/]+)/(response|error)|(init)/error)")


class Outcome(NamedTuple):
    """What became of a process's work.

    ``kind`` is ready, or response, error and init (failed) with the posted bytes, exit with the return code, timeout
    with the limit in seconds, or gone with the return code (it died before it took the event).
    """

    kind: str
    detail: Any = None


class Event(NamedTuple):
    """An event for the process, and when its time is up, in milliseconds since 1970."""

    request_id: str
    body: bytes
    deadline: int


class Api(socketserver.ThreadingTCPServer):
    """The Runtime API for one process: a thread for the way in and one a connection, all gone after stop()."""

    daemon_threads = True

    def __init__(self, arn: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arn, self.address = arn, f"127.0.0.1:{self.server_address[1]}"
        self.outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.taken, self.current = False, ""
        self._asked = self._stopping = False
        self._threads_of_connections: list[threading.Thread] = []
        self._thread = start_thread(self._listen)

    def offer(self, event: Event) -> None:
        """Put up an event for the process."""
        self.taken, self.current = False, event.request_id
        self.events.put(event)

    def outcome(self, limit: float) -> Outcome:
        """Wait for what the process does next, ``limit`` seconds at most."""
        try:
            return self.outcomes.get(timeout=limit)
        except queue.Empty:
            return Outcome("timeout", limit)

    def next(self) -> Event | None:
        """Wait for an event on behalf of the process; None when there will be none."""
        if not self._asked:
            self._asked = True
            self.outcomes.put(Outcome("ready"))
        event = self.events.get()
        if event is None:
            self.events.put(None)  # for whoever else waits
        return event

    def post(self, request_id: str | None, kind: str, body: bytes) -> bool:
        """Take what the process has done; False when nobody waits for it."""
        if kind != "init" and request_id != self.current:
            return False
        self.current = ""
        self.outcomes.put(Outcome(kind, body))
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that stop() waits for."""
        thread = start_thread(self.process_request_thread, request, client_address)
        self._threads_of_connections.append(thread)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a process that died in the middle of a request."""

    def stop(self) -> None:
        """Close the way in and wait for the threads; the process must be dead."""
        self._stopping = True
        self.events.put(None)
        socket.create_connection(self.server_address[:2]).close()  # type: ignore[arg-type] # IPv4: host and port
        self._thread.join()
        self.server_close()
        for thread in self._threads_of_connections:
            thread.join()

    def _listen(self) -> None:
        while not self._stopping:
            self.handle_request()  # waits for a connection; unlike serve_forever it does not wake up to look around


class _Handler(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # with Nagle's algorithm and unbuffered headers each call would take 88 ms
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            return self._answer(404)
        event = self.server.next()
        if event is None or self._is_gone():
            self.close_connection = True
            return None
        self.server.taken = True
        return self._answer(200, event.body, self._describe(event))

    def do_POST(self) -> None:
        body, found = self._body(), POSTED.fullmatch(self.path)
        if found and self.server.post(found[1], found[2] or found[3], body):
            self._answer(202, b'{"status":"OK"}')
        else:
            self._answer(
                400, b'{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}'
            )

    def handle_expect_100(self) -> bool:
        answered = super().handle_expect_100()
        self.wfile.flush()
        return answered

    def _describe(self, event: Event) -> dict[str, str]:
        trace = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0"
        return {
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(event.deadline),
            "Lambda-Runtime-Invoked-Function-Arn": self.server.arn,
            "Lambda-Runtime-Trace-Id": trace,
        }

    def _is_gone(self) -> bool:
        """Say whether the process that waited has died; the system closes its connections before it is reaped."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(parts)

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        told = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the emulator's log quiet."""


def start_thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    """Start a thread that keeps no process alive."""
    thread = threading.Thread(target=target, args=arguments, name="lambda-runtime", daemon=True)
    thread.start()
    return thread
