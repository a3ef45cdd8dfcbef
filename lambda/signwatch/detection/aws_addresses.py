"""Says whether an address belongs to the networks of AWS itself.

The list of ranges is a module of the Lambda layer, because few events need it: layer/README.md says
where it comes from. It has the machines of AWS's customers (EC2) too, which the same networks
announce.
"""

import functools
import importlib
from bisect import bisect_right

from signwatch.detection.networks import pack_address

LIST_MODULE = "amazon_networks"


def is_aws_address(source: str) -> bool:
    """Return whether ``source`` is one address, and in a network of AWS.

    Without a usable list, no address is: then what AWS's backends do is reported.
    """
    try:
        key = _make_key(source)
    except ValueError:
        return False
    firsts, lasts = _load_ranges()
    position = bisect_right(firsts, key) - 1  # the only range that can contain it
    return position >= 0 and key <= lasts[position]


@functools.lru_cache(maxsize=1)
def _load_ranges() -> tuple[list[bytes], list[bytes]]:
    """Return the first and the last addresses of all ranges, in order; empty if unusable."""
    firsts, lasts = [], []
    try:
        text = importlib.import_module(LIST_MODULE).RANGES
        for line in text.splitlines():
            first, last = map(_make_key, line.split())
            firsts.append(first)
            lasts.append(last)
    except Exception:  # noqa: BLE001 - a missing or damaged list must not stop an alert
        return [], []
    return firsts, lasts


def _make_key(text: str) -> bytes:
    """Return an address in a form whose order is that of the list: IPv4 before IPv6.

    Raises ValueError if ``text`` is not an address.
    """
    address = pack_address(text)
    if address is None:
        raise ValueError(f"{text!r} is not an address")
    return bytes([len(address)]) + address
