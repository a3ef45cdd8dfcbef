"""Opens the list of AWS's own address ranges. It is a module of the layer (layer/README.md).

Few events need it, so it is opened when the first of them arrives.
"""

import functools
import importlib

from signwatch import log
from signwatch.detection import networks

LIST_MODULE = "aws_ranges"


def is_aws_address(source: str, now: float) -> bool:
    """Return whether ``source`` is one address, and in the list. ``now`` is for the log.

    Without a usable list, no address is: then what the backends of AWS do is reported.
    """
    try:
        ranges = _load_ranges()
    except Exception as error:  # noqa: BLE001 - a missing or damaged list must not stop an alert
        log.write_failure("AWS address ranges", error, now)
        return False
    return networks.recognises(ranges, source)


@functools.lru_cache(maxsize=1)
def _load_ranges() -> networks.Networks:
    """Return the ranges in the list. Raises any exception if it is missing or damaged."""
    return networks.parse_lines(importlib.import_module(LIST_MODULE).RANGES)
