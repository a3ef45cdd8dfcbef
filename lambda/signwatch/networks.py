"""Recognised networks: CIDR ranges and single addresses, IPv4 and IPv6, from a list separated by commas.

Only a plain address in text form can be recognised. Python's ipaddress takes more than that (integers, bytes, zone
ids), and AWS records more than addresses ("AWS Internal", service names), so both ends are checked here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

WIDEST = {4: 8, 6: 19}  # a wider range would recognise half the world
PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "169.254.0.0/16", "fe80::/10",  # link-local
        "127.0.0.0/8", "::1/128",  # loopback
        "fc00::/7",  # RFC 4193, unique local
    )
)  # fmt: skip
LENGTHS = frozenset(map(str, range(129)))
ALLOWED = frozenset("0123456789abcdefABCDEF.:")

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Networks(NamedTuple):
    """The usable entries of a list, and those that were not usable, which match nothing."""

    usable: tuple[Network, ...]
    unusable: tuple[str, ...]


def parse(text: str) -> Networks:
    """Read a list at run time: an unusable entry is set aside and matches nothing."""
    usable, unusable = [], []
    for entry in entries(text):
        try:
            usable.append(_network(entry))
        except ValueError:
            unusable.append(entry)
    return Networks(tuple(usable), tuple(unusable))


def parse_strictly(text: str) -> tuple[Network, ...]:
    """Read a list before it is written; raises ValueError with a sentence on the first unusable entry."""
    return tuple(_network(entry) for entry in entries(text))


def entries(text: str) -> list[str]:
    """Return the entries of a list separated by commas, without empty ones."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def recognises(networks: Networks, source: object) -> bool:
    """Say whether ``source`` is an address inside one of the networks.

    A private or shared address is never recognised: an attacker's own VPC can carry any of them.
    """
    address = parse_address(source)
    if address is None or any(address in private for private in PRIVATE):
        return False
    return any(address in network for network in networks.usable)


def parse_address(source: object) -> Address | None:
    """Return the address that ``source`` is, IPv4-mapped ones as IPv4; None for whatever is not one plain address."""
    if not isinstance(source, str) or not source or not set(source) <= ALLOWED:
        return None
    try:
        address = ip_address(source)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _network(entry: str) -> Network:
    address, slash, length = entry.partition("/")
    if parse_address(address) is None:
        raise ValueError(f"{entry!r} is not an address or a range in CIDR form")
    if slash and length not in LENGTHS:
        raise ValueError(f"{entry!r} has no prefix length behind the slash")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a range in CIDR form: {error}") from None
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped):
        network = ip_network(f"{mapped}/{max(network.prefixlen - 96, 0)}")
    if network.prefixlen < WIDEST[network.version]:
        widest = WIDEST[network.version]
        raise ValueError(f"{entry!r} is wider than /{widest}: it would recognise too much of the internet")
    return network
