"""The Runtime API, where a whole invocation does not show it."""

from __future__ import annotations

import socket

import pytest

from tooling.local.sandbox.runtime_api import Event, RuntimeApi

pytestmark = pytest.mark.local


def test_event_is_not_given_to_a_client_that_hung_up() -> None:
    api = RuntimeApi("arn")
    try:
        client = socket.create_connection(api.server_address[:2])  # type: ignore[arg-type] # IPv4: host and port
        client.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
        assert api.wait_for_outcome(10).kind == "ready"
        client.close()
        api.offer(Event("request-1", b"{}", 0))
        for thread in api._connection_threads:
            thread.join(10)
        assert not api.event_taken
    finally:
        api.stop()
