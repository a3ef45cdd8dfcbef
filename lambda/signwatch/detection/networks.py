"""Recognised networks: a comma-separated list of CIDR ranges and single addresses.

Only a plain address in text form can be recognised. AWS records more than addresses ("AWS
Internal", service names), and Python's ipaddress accepts more than text (integers, bytes, zone
ids), so both the list and the source are checked here.

A list is read into sorted ranges without overlap, so that a look-up is one binary search.
"""

from __future__ import annotations

import functools

# The C part of socket: the whole of it would take an eighth of the function's import time.
from _socket import AF_INET, AF_INET6, inet_pton
from bisect import bisect_right
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

WIDEST_PREFIX_LENGTH = {4: 8, 6: 19}  # a wider range would recognise too much of the internet
PRIVATE_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "169.254.0.0/16", "fe80::/10",  # link-local
        "127.0.0.0/8", "::1/128",  # loopback
        "fc00::/7",  # RFC 4193, unique local
    )
)  # fmt: skip
PREFIX_LENGTHS = frozenset(map(str, range(129)))
IPV4_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # RFC 4291, IPv4-mapped IPv6 address
IPV4_BYTES = 4

Network = IPv4Network | IPv6Network


class Ranges(NamedTuple):
    """Address ranges of one family: the first addresses in ascending order, and the last ones."""

    firsts: tuple[bytes, ...] = ()
    lasts: tuple[bytes, ...] = ()


class Networks(NamedTuple):
    """The usable entries of a list, the unusable ones (they match nothing), and the ranges."""

    usable: tuple[Network, ...]
    unusable: tuple[str, ...]
    ipv4: Ranges = Ranges()
    ipv6: Ranges = Ranges()


@functools.lru_cache(maxsize=2)
def parse(text: str) -> Networks:
    """Read a list at run time. An unusable entry matches nothing and does not affect the others.

    Results are cached, since a warm process reads the same list for every event.
    """
    usable, unusable = [], []
    for entry in split_list(text):
        try:
            usable.append(parse_network(entry))
        except ValueError:
            unusable.append(entry)
    return index(usable, unusable)


def parse_strictly(text: str) -> tuple[Network, ...]:
    """Read a list before it is stored.

    Raises ValueError with a sentence for the first unusable entry.
    """
    return tuple(parse_network(entry) for entry in split_list(text))


def parse_network(entry: str, *, wide: bool = False) -> Network:
    """Read one entry. Raises ValueError with a sentence if it is unusable.

    With ``wide``, a range of any width is accepted.
    """
    address, slash, length = entry.partition("/")
    if pack(address) is None:
        raise ValueError(f"{entry!r} is not an address or a range in CIDR form")
    if slash and length not in PREFIX_LENGTHS:
        raise ValueError(f"{entry!r} has no prefix length behind the slash")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a range in CIDR form: {error}") from None
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped):
        network = ip_network(f"{mapped}/{max(network.prefixlen - 96, 0)}")
    widest = WIDEST_PREFIX_LENGTH[network.version]
    if network.prefixlen < widest and not wide:
        raise ValueError(
            f"{entry!r} is wider than /{widest}: it would recognise too much of the internet"
        )
    return network


def split_list(text: str) -> list[str]:
    """Split a comma-separated list; empty entries are left out."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def index(usable: Iterable[Network], unusable: Iterable[str] = ()) -> Networks:
    """Build the ranges in which ``recognises`` searches."""
    networks = tuple(usable)
    ipv4 = collapse_addresses(entry for entry in networks if isinstance(entry, IPv4Network))
    ipv6 = collapse_addresses(entry for entry in networks if isinstance(entry, IPv6Network))
    return Networks(networks, tuple(unusable), _ranges(ipv4), _ranges(ipv6))


def _ranges(collapsed: Iterable[Network]) -> Ranges:
    networks = list(collapsed)
    firsts = tuple(network.network_address.packed for network in networks)
    lasts = tuple(network.broadcast_address.packed for network in networks)
    return Ranges(firsts, lasts)


def recognises(networks: Networks, source: object, *, by_endpoint: bool = False) -> bool:
    """Return whether ``source`` is an address in one of the networks.

    A private or shared address is recognised only if the sign-in came through an allowed VPC
    endpoint (``by_endpoint``), because anybody's own network can use such an address.
    """
    address = pack(source)
    if address is None or not _contains(networks, address):
        return False
    return by_endpoint or not _contains(_private_networks(), address)


def recognises_sign_in(
    networks: Networks, source: object, endpoint: str, allowed_endpoints: Collection[str]
) -> bool:
    """Return whether a sign-in is recognised by its address and its VPC endpoint.

    ``endpoint`` is empty if it came through none. Through an endpoint that is not allowed, not even
    a public address is recognised, because a VPC may use any range.
    """
    if endpoint and endpoint not in allowed_endpoints:
        return False
    return recognises(networks, source, by_endpoint=bool(endpoint))


def can_be_recognised(source: object, endpoint: str, allowed_endpoints: Collection[str]) -> bool:
    """Return whether there could be a network that recognises a sign-in from this source."""
    if pack(source) is None or (endpoint and endpoint not in allowed_endpoints):
        return False
    return bool(endpoint) or not is_private(source)


def is_wholly_private(network: Network) -> bool:
    """Return whether ``network`` holds private or shared addresses alone."""
    return any(
        network.subnet_of(private)  # type: ignore[arg-type] # both are of the same version
        for private in PRIVATE_NETWORKS
        if private.version == network.version
    )


def is_private(source: object) -> bool:
    """Return whether ``source`` is a private or shared address."""
    address = pack(source)
    return address is not None and _contains(_private_networks(), address)


def pack(source: object) -> bytes | None:
    """Return the address in network byte order, or None if ``source`` is not one plain address.

    An IPv4-mapped IPv6 address is returned as IPv4.
    """
    if not isinstance(source, str):
        return None
    try:
        if ":" not in source:
            return inet_pton(AF_INET, source)
        address = inet_pton(AF_INET6, source)
    except (OSError, ValueError):  # ValueError for text that cannot be encoded
        return None
    return address[12:] if address.startswith(IPV4_MAPPED_PREFIX) else address


def _contains(networks: Networks, address: bytes) -> bool:
    firsts, lasts = networks.ipv4 if len(address) == IPV4_BYTES else networks.ipv6
    position = bisect_right(firsts, address)
    return position > 0 and address <= lasts[position - 1]


@functools.lru_cache(maxsize=1)
def _private_networks() -> Networks:
    return index(PRIVATE_NETWORKS)
