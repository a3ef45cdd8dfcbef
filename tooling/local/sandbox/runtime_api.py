"""Lambda's Runtime API: the local HTTP server of one function's process.

The process fetches each event with a GET, which waits until there is one, and posts the handler's
response or error. If it cannot load the handler ("init"), it posts that error.
Source: Lambda developer guide, "Using the Lambda runtime API for custom runtimes".
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

PATH_PREFIX = "/2018-06-01/runtime"
POST_PATH = re.compile(
    rf"{PATH_PREFIX}/(?:invocation/(?P<request_id>[^/]+)/(?P<kind>response|error)|init/error)"
)


class Outcome(NamedTuple):
    """What the process did last; ``kind`` is one of the words below, and ``detail`` belongs to it.

    - ready: the handler is loaded; no detail
    - response: the handler's result, the posted bytes
    - error: the handler's error, the posted bytes
    - init: loading the handler failed; the posted bytes of the error
    - exit: the process ended; its return code
    - gone: the process ended before it took the event; its return code
    - timeout: nothing came in time; the limit in seconds
    """

    kind: str
    detail: Any = None


class Event(NamedTuple):
    """An event for the process: ``body`` is JSON, ``deadline_ms`` in milliseconds since 1970."""

    request_id: str
    body: bytes
    deadline_ms: int


class RuntimeApi(socketserver.ThreadingTCPServer):
    """The Runtime API of one process: a listening thread, and one thread a connection.

    The owner of the process offers an event and waits for the outcome. ``event_taken`` says whether
    the process has fetched the event that was offered last.
    """

    daemon_threads = True

    def __init__(self, arn: str) -> None:
        """Start to listen at ``address`` (host and port); ``arn`` is the function's."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arn, self.address = arn, f"127.0.0.1:{self.server_address[1]}"
        self.outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.event_taken = False
        self._request_id = ""  # of the event that has no result yet
        self._ready = self._stopping = False
        self._connection_threads: list[threading.Thread] = []
        self._listener = start_thread(self._listen)

    def offer(self, event: Event) -> None:
        """Offer an event to the process, which fetches it with its next request."""
        self.event_taken, self._request_id = False, event.request_id
        self.events.put(event)

    def wait_for_outcome(self, timeout_seconds: float) -> Outcome:
        """Return the process's next outcome, or one of the kind "timeout"."""
        try:
            return self.outcomes.get(timeout=timeout_seconds)
        except queue.Empty:
            return Outcome("timeout", timeout_seconds)

    def next_event(self) -> Event | None:
        """Wait for an event and return it for the process; None if the API stops.

        The first call shows that the process has loaded the handler: the outcome "ready".
        """
        if not self._ready:
            self._ready = True
            self.outcomes.put(Outcome("ready"))
        event = self.events.get()
        if event is None:
            self.events.put(None)  # for other waiting threads
        return event

    def accept(self, request_id: str | None, kind: str, body: bytes) -> bool:
        """Accept a posted result. Return False if it does not belong to the current event.

        ``request_id`` is None for the kind "init".
        """
        if kind != "init" and request_id != self._request_id:
            return False
        self._request_id = ""
        self.outcomes.put(Outcome(kind, body))
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that stop() waits for."""
        thread = start_thread(self.process_request_thread, request, client_address)
        self._connection_threads.append(thread)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the process died during a request."""

    def stop(self) -> None:
        """Stop listening and wait for the threads; the process must have ended."""
        self._stopping = True
        self.events.put(None)
        # The listener waits for a connection, and looks at _stopping after each.
        socket.create_connection(self.server_address[:2]).close()  # type: ignore[arg-type] # IPv4: host and port
        self._listener.join()
        self.server_close()
        for thread in self._connection_threads:
            thread.join()

    def _listen(self) -> None:
        """Accept connections until stop() is called; runs in a thread of its own."""
        while not self._stopping:
            self.handle_request()  # blocks until a connection; serve_forever would poll


class _Handler(BaseHTTPRequestHandler):
    """Responds to the requests of one connection."""

    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # with Nagle's algorithm and unbuffered headers each call would take 88 ms
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond to a request for the next event; it waits until there is one."""
        if self.path != f"{PATH_PREFIX}/invocation/next":
            self._respond(404)
            return
        event = self.server.next_event()
        if event is None or self._client_is_gone():
            self.close_connection = True
            return
        self.server.event_taken = True
        trace = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0"
        headers = {
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.server.arn,
            "Lambda-Runtime-Trace-Id": trace,
        }
        self._respond(200, event.body, headers)

    def do_POST(self) -> None:
        """Respond to a posted result, error or failed init."""
        body, match = self._read_body(), POST_PATH.fullmatch(self.path)
        if match and self.server.accept(match["request_id"], match["kind"] or "init", body):
            self._respond(202, b'{"status":"OK"}')
        else:
            error = b'{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}'
            self._respond(400, error)

    def handle_expect_100(self) -> bool:
        """Send the status 100 (Continue) at once, although responses are buffered."""
        continues = super().handle_expect_100()
        self.wfile.flush()
        return continues

    def _client_is_gone(self) -> bool:
        """Return whether the process that waits for an event has died and closed its connection."""
        try:
            # Look at the next byte without taking it or waiting for it; no byte means closed.
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _read_body(self) -> bytes:
        """Return the request's body, which may be sent in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        # Each chunk follows a line with its size in hexadecimal; the size 0 is the end.
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()  # the line break after the chunk
        while self.rfile.readline().strip():  # trailers, up to an empty line
            pass
        return b"".join(chunks)

    def _respond(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole response; the body is JSON or empty."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the emulator's log quiet."""


def start_thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    """Start ``target(*arguments)`` in a daemon thread, which ends with this process."""
    thread = threading.Thread(target=target, args=arguments, name="lambda-runtime", daemon=True)
    thread.start()
    return thread
