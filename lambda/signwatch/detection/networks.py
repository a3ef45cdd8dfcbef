"""Recognised networks, and whether an address is in one of them.

Terms: an entry is one item of a comma-separated list, as the owner wrote it: an address or a CIDR
range. A network is a parsed entry. Ranges are networks in the form that is searched: sorted and
without overlap, so that a look-up is one binary search. The source is what CloudTrail records as
sourceIPAddress. A VPC endpoint is an entrance to AWS from a private network (VPC); the owner allows
those whose networks they control. Private addresses include shared ones (PRIVATE_NETWORKS).

Only a plain address can be recognised. AWS records other sources too ("AWS Internal", service
names), and Python's ipaddress accepts more than strings (integers, bytes, zone ids), so both the
entries and the source are checked here.
"""

import functools

# The C part of socket: importing all of it would take an eighth of the function's import time.
from _socket import AF_INET, AF_INET6, inet_pton
from bisect import bisect_right
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import NamedTuple

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
IPV4_MAPPED_PREFIX_LENGTH = 96
IPV4_BYTES = 4

Network = IPv4Network | IPv6Network


class TooWideError(ValueError):
    """A range is wider than WIDEST_PREFIX_LENGTH."""


class Ranges(NamedTuple):
    """Address ranges of one IP version in ascending order: ``firsts[i]`` to ``lasts[i]``."""

    firsts: tuple[bytes, ...] = ()
    lasts: tuple[bytes, ...] = ()


class Networks(NamedTuple):
    """A parsed list of networks."""

    usable: tuple[Network, ...]
    unusable: tuple[str, ...]  # entries that cannot be used; they recognise nothing
    ipv4: Ranges = Ranges()
    ipv6: Ranges = Ranges()


@functools.lru_cache(maxsize=2)
def parse_list(text: str) -> Networks:
    """Parse a comma-separated list. An unusable entry does not affect the others.

    The last results are cached, because the function parses the same list for every event.
    """
    usable, unusable = [], []
    for entry in split_list(text):
        try:
            usable.append(parse_network(entry))
        except ValueError:
            unusable.append(entry)
    return build_networks(usable, unusable)


def parse_list_strictly(text: str) -> tuple[Network, ...]:
    """Parse a list that a person has just entered.

    Raises ValueError for the first unusable entry; the message is a sentence for that person.
    """
    return tuple(parse_network(entry) for entry in split_list(text))


def parse_lines(text: str) -> Networks:
    """Parse a list with one network a line, such as that of AWS's own ranges.

    Raises ValueError if it is empty, or for the first unusable line.
    """
    usable = [parse_network(line) for line in text.split()]
    if not usable:
        raise ValueError("the list is empty")
    return build_networks(usable)


def parse_network(entry: str) -> Network:
    """Parse one entry.

    Raises ValueError, with a sentence for people, if it is unusable; TooWideError is a subclass.
    """
    address, slash, length = entry.partition("/")
    if pack_address(address) is None:
        raise ValueError(f"{entry!r} is not an address or a range in CIDR form")
    if slash and length not in PREFIX_LENGTHS:
        raise ValueError(f"{entry!r} has no prefix length behind the slash")
    try:
        network = ip_network(entry, strict=False)  # without the address's bits behind the prefix
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a range in CIDR form: {error}") from None
    if isinstance(network, IPv6Network):
        network = _unmap_ipv4(network)
    widest = WIDEST_PREFIX_LENGTH[network.version]
    if network.prefixlen < widest:
        raise TooWideError(
            f"{entry!r} is wider than /{widest}: it would recognise too much of the internet"
        )
    if network.network_address.packed != pack_address(address):
        raise ValueError(
            f"{entry!r} is not a range in CIDR form: write {network} for the range,"
            f" or {address} for the address alone"
        )
    return network


def _unmap_ipv4(network: IPv6Network) -> Network:
    """Return an IPv4-mapped network, such as ::ffff:192.0.2.0/120, as IPv4; others unchanged."""
    ipv4_address = network.network_address.ipv4_mapped
    if not ipv4_address:
        return network
    return ip_network(f"{ipv4_address}/{network.prefixlen - IPV4_MAPPED_PREFIX_LENGTH}")


def split_list(text: str) -> list[str]:
    """Split a comma-separated list into stripped entries, without the empty ones."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def build_networks(usable: Iterable[Network], unusable: Iterable[str] = ()) -> Networks:
    """Return Networks of parsed networks and unusable entries, with the ranges to search."""
    networks = tuple(usable)
    ipv4 = [network for network in networks if isinstance(network, IPv4Network)]
    ipv6 = [network for network in networks if isinstance(network, IPv6Network)]
    ipv4_ranges = _build_ranges(collapse_addresses(ipv4))
    ipv6_ranges = _build_ranges(collapse_addresses(ipv6))
    return Networks(networks, tuple(unusable), ipv4_ranges, ipv6_ranges)


def _build_ranges(collapsed: Iterable[Network]) -> Ranges:
    """Return the ranges of networks of one IP version that are sorted and do not overlap."""
    networks = list(collapsed)
    firsts = tuple(network.network_address.packed for network in networks)
    lasts = tuple(network.broadcast_address.packed for network in networks)
    return Ranges(firsts, lasts)


def recognises(networks: Networks, source: object, *, by_vpc_endpoint: bool = False) -> bool:
    """Return whether ``source`` is an address in one of the networks.

    A private address is recognised only with ``by_vpc_endpoint`` (the sign-in came through an
    allowed VPC endpoint), because any other network may use the same address.
    """
    address = pack_address(source)
    if address is None or not _contains(networks, address):
        return False
    return by_vpc_endpoint or not _contains(_build_private_networks(), address)


def recognises_sign_in(
    networks: Networks, source: object, vpc_endpoint: str, allowed_endpoints: Collection[str]
) -> bool:
    """Return whether a sign-in from ``source`` through ``vpc_endpoint`` is recognised.

    ``vpc_endpoint`` is an endpoint's id, empty if the sign-in did not come through one. If it came
    through one that is not allowed, even a public address is not recognised, because a VPC may use
    any address.
    """
    if vpc_endpoint and vpc_endpoint not in allowed_endpoints:
        return False
    return recognises(networks, source, by_vpc_endpoint=bool(vpc_endpoint))


def can_be_recognised(
    source: object, vpc_endpoint: str, allowed_endpoints: Collection[str]
) -> bool:
    """Return whether any network could recognise a sign-in from this source.

    No network can if the source is not an address, or is a private one without a VPC endpoint, or
    if the VPC endpoint is not allowed.
    """
    if pack_address(source) is None:
        return False
    if vpc_endpoint:
        return vpc_endpoint in allowed_endpoints
    return not is_private(source)


def is_wholly_private(network: Network) -> bool:
    """Return whether ``network`` contains only private addresses."""
    return any(
        network.subnet_of(private)  # type: ignore[arg-type] # both are of the same version
        for private in PRIVATE_NETWORKS
        if private.version == network.version
    )


def is_private(source: object) -> bool:
    """Return whether ``source`` is a private address."""
    address = pack_address(source)
    return address is not None and _contains(_build_private_networks(), address)


def pack_address(source: object) -> bytes | None:
    r"""Return an address as its bytes, 4 (IPv4) or 16 (IPv6); None if ``source`` is not an address.

    ``"192.0.2.1" -> b"\xc0\x00\x02\x01"``. An IPv4-mapped IPv6 address is returned as IPv4.
    """
    if not isinstance(source, str):
        return None
    try:
        if ":" not in source:
            return inet_pton(AF_INET, source)
        address = inet_pton(AF_INET6, source)
    except (OSError, ValueError):  # ValueError for a string that cannot be encoded
        return None
    is_ipv4_mapped = address.startswith(IPV4_MAPPED_PREFIX)
    return address[-IPV4_BYTES:] if is_ipv4_mapped else address


def name_site(source: str) -> str:
    """Return a name of the network of one site, such as a home or a hotel, that ``source`` is in.

    It has the first 24 bits of an IPv4 address or the first 64 bits of an IPv6 address (RFC 4291,
    section 2.5.4). A source that is not an address is its own name.
    """
    address = pack_address(source)
    if address is None:
        return source
    prefix_bytes = 3 if len(address) == IPV4_BYTES else 8
    return address[:prefix_bytes].hex()


def _contains(networks: Networks, address: bytes) -> bool:
    """Return whether a packed address is in one of the networks."""
    firsts, lasts = networks.ipv4 if len(address) == IPV4_BYTES else networks.ipv6
    # The only range that can contain it is the last one that starts at or before it.
    position = bisect_right(firsts, address) - 1
    return position >= 0 and address <= lasts[position]


@functools.lru_cache(maxsize=1)
def _build_private_networks() -> Networks:
    """Return PRIVATE_NETWORKS in the form that is searched. They are built once, when needed."""
    return build_networks(PRIVATE_NETWORKS)
