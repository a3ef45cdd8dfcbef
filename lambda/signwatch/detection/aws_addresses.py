"""Says whether an address is in a list of AWS's own address ranges.

The list is handed in: enrichment/aws_ranges opens it. It has the machines of AWS's customers (EC2)
too.
"""

from bisect import bisect_right
from typing import NamedTuple

from signwatch.detection.networks import pack_address


class AddressRanges(NamedTuple):
    """Ranges in ascending order and without overlap: ``firsts[i]`` to ``lasts[i]``."""

    firsts: tuple[bytes, ...]
    lasts: tuple[bytes, ...]


def parse_ranges(text: str) -> AddressRanges:
    """Parse lines such as "3.0.0.0 3.255.255.255", in ascending order, IPv4 before IPv6.

    Raises ValueError if there is no line, or one that is damaged or out of order.
    """
    keys = [_make_key(address) for line in text.splitlines() for address in line.split()]
    if not keys or len(keys) % 2 or keys != sorted(keys):
        raise ValueError("the ranges are incomplete or out of order")
    return AddressRanges(tuple(keys[::2]), tuple(keys[1::2]))


def contains(ranges: AddressRanges, source: str) -> bool:
    """Return whether ``source`` is one address, and in one of the ranges."""
    try:
        key = _make_key(source)
    except ValueError:
        return False
    position = bisect_right(ranges.firsts, key) - 1  # the only range that can contain it
    return position >= 0 and key <= ranges.lasts[position]


def _make_key(text: str) -> bytes:
    """Return an address in a form whose order is that of the list: IPv4 before IPv6.

    Raises ValueError if ``text`` is not an address.
    """
    address = pack_address(text)
    if address is None:
        raise ValueError(f"{text!r} is not an address")
    return bytes([len(address)]) + address
