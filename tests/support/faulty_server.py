"""A loopback HTTP server that answers wrongly: too late, bit by bit, not at all, or garbage."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each fault is what the server does with a request once it has read it.
FAULTS = ("slow", "trickling", "silent", "accepted-then-reset", "garbage", "truncated", "denied")
TRICKLE_SECONDS = 0.05  # between two bytes of an answer that never ends
DENIED = {  # the answer of an AWS service in JSON; Twilio's own is made by its server
    "body": b'{"__type": "AccessDeniedException", "message": "no"}',
    "type": b"application/x-amz-json-1.0",
}


@dataclass
class FaultyServer:
    """What the server does, and how many requests it has read."""

    url: str
    fault: str
    slow_seconds: float
    answer: bytes  # the body of an answer that comes in the end
    request_count: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, connection: socket.socket) -> None:
        """Read one request, and answer it as the fault says."""
        with contextlib.suppress(OSError), connection:
            if not _read_request(connection):
                return
            self.request_count += 1
            getattr(self, f"_be_{self.fault.replace('-', '_')}")(connection)

    def _be_slow(self, connection: socket.socket) -> None:
        self.stopping.wait(self.slow_seconds)
        connection.sendall(_make_response(200, self.answer))

    def _be_trickling(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self.stopping.wait(TRICKLE_SECONDS):
            connection.sendall(b" ")

    def _be_silent(self, _connection: socket.socket) -> None:
        self.stopping.wait()

    def _be_accepted_then_reset(self, connection: socket.socket) -> None:
        no_linger = struct.pack("ii", 1, 0)  # closing then sends a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)

    def _be_garbage(self, connection: socket.socket) -> None:
        connection.sendall(_make_response(200, b"<html>\x00\xff not what was asked for"))

    def _be_truncated(self, connection: socket.socket) -> None:
        connection.sendall(_make_response(200, self.answer)[:-3])

    def _be_denied(self, connection: socket.socket) -> None:
        connection.sendall(_make_response(403, DENIED["body"], DENIED["type"]))


@contextmanager
def start(
    fault: str, *, slow_seconds: float = 0.2, answer: bytes = b"{}"
) -> Iterator[FaultyServer]:
    """Run a server with one of FAULTS, or "down": a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = FaultyServer(url, fault, slow_seconds, answer)
        if fault == "down":
            listener.close()
            yield server
            return
        threading.Thread(target=_listen, args=(listener, server), daemon=True).start()
        try:
            yield server
        finally:
            server.stopping.set()


def _listen(listener: socket.socket, server: FaultyServer) -> None:
    """Serve each connection in a thread of its own until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


def _read_request(connection: socket.socket) -> bool:
    """Read one request whole; return whether there was one."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return False
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65536)
    return True


def _make_response(status: int, body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body
