"""The function's dependencies: settings, clock, AWS clients and the time until its timeout."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from signwatch.settings import Settings

DEFAULT_SECONDS_LEFT = 60.0  # if the Lambda context does not provide it
# For a whole call, from the look-up of the host's name to the last byte, retries included.
CALL_SECONDS, QUICK_CALL_SECONDS = 5.0, 2.0
SEARCH_CALL_SECONDS = 10.0  # a page of a log group takes long

_clients: dict[tuple[str, str, bool], Any] = {}  # by get_client's arguments


class Dependencies(NamedTuple):
    """The dependencies of the pipeline; tests replace them."""

    settings: Settings
    clock: Callable[[], float]  # returns the time in seconds since 1970
    client: Callable[..., Any]  # get_client
    seconds_left: Callable[[], float]  # returns the time until Lambda's timeout
    texts_wait: bool = False  # no text is sent now, so that the other alerts get their e-mails

    @classmethod
    def make(cls, settings: Settings, context: Any) -> Self:
        """Return the dependencies of one invocation; ``context`` is Lambda's context object.

        Connections that an earlier invocation left open are closed.
        """
        close_idle_connections()
        get_milliseconds_left = getattr(context, "get_remaining_time_in_millis", None)

        def seconds_left() -> float:
            """Return the time until Lambda's timeout, or the default if the context lacks it."""
            if get_milliseconds_left is None:
                return DEFAULT_SECONDS_LEFT
            return float(get_milliseconds_left() / 1000)

        return cls(settings, time.time, get_client, seconds_left)


def get_client(service: str, *, region: str = "", quick: bool = False) -> Any:
    """Return the AWS client of a service. It is cached, since making one takes long.

    ``region`` is empty for the function's own Region. A ``quick`` client has short timeouts, does
    not retry, and once late, fails at once for the rest of the invocation. A call that takes too
    long raises TimeoutError.
    """
    key = (service, region, quick)
    if key not in _clients:
        _clients[key] = _make_client(service, region, quick=quick)
    return _clients[key]


def close_idle_connections() -> None:
    """Close the connections of an earlier invocation; the clients open new ones when needed.

    AWS closes idle connections while the function is frozen, and a quick client, which does not
    retry, would fail on one (Lambda developer guide, "Best practices": persistent connections).
    """
    try:
        for client in _clients.values():
            client.close()
    except Exception:  # noqa: BLE001 - this must not stop an alert; new clients are made then
        _clients.clear()


def _make_client(service: str, region: str, *, quick: bool) -> Any:
    """Make the AWS client of a service; the arguments are those of get_client."""
    import boto3
    from botocore.config import Config

    from signwatch.time_limit import LimitedClient

    connect_seconds, read_seconds, attempts = 2, 5, 2
    call_seconds = SEARCH_CALL_SECONDS if service == "logs" else CALL_SECONDS
    if quick:
        connect_seconds, read_seconds, attempts = 1, 1, 1
        call_seconds = QUICK_CALL_SECONDS
    config = Config(
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    client = boto3.client(service, region_name=region or None, config=config)
    return LimitedClient(client, call_seconds, gives_up=quick)
