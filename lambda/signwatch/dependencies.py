"""The outside world as the function sees it: settings, clock, AWS clients and the time that is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.settings import Settings


class Dependencies(NamedTuple):
    """What the outside world is to the pipeline; ``seconds_left`` tells how long Lambda lets us go on.

    ``client`` makes the client of a service: of another Region with ``region``, and one that soon gives up with
    ``quick``.
    """

    settings: Settings
    clock: Callable[[], float]
    client: Callable[..., Any]
    seconds_left: Callable[[], float]

    @classmethod
    def make(cls, settings: Settings, context: Any) -> Dependencies:
        """Return the real ones."""
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls(settings, time.time, _client, lambda: remaining() / 1000 if remaining else 60.0)


def _client(service: str, *, region: str = "", quick: bool = False) -> Any:
    import boto3
    from botocore.config import Config

    connect, read, attempts = (1, 1, 1) if quick else (2, 5, 2)  # seconds, seconds, times
    retries = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(connect_timeout=connect, read_timeout=read, retries=retries)
    return boto3.client(service, region_name=region or None, config=config)
