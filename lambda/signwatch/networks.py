"""Recognised networks: CIDR ranges and single addresses, IPv4 and IPv6, from a list separated by commas.

Only a plain address in text form can be recognised. AWS records more than addresses ("AWS Internal", service names),
and Python's ipaddress takes more than texts (integers, bytes, zone ids), so both ends are checked here.

A list is read into ranges of addresses in network byte order, sorted and without overlap, of which what is private is
kept apart: it counts only for a sign-in that came through an allowed VPC endpoint, for anybody's own network can carry
it. Looking an address up is then one search by halves, however long the list is.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
MAPPED = bytes(10) + b"\xff\xff"  # how an IPv4 address begins that is written as IPv6 (RFC 4291)
SIZES = {4: 4, 6: 16}  # bytes of an address

Network = IPv4Network | IPv6Network


class Ranges(NamedTuple):
    """Ranges of addresses of one family: the first addresses in ascending order, and the last one of each."""

    firsts: tuple[bytes, ...] = ()
    lasts: tuple[bytes, ...] = ()


class Networks(NamedTuple):
    """The usable entries of a list, those that were not usable, which match nothing, and the ranges of the former.

    ``four`` and ``six`` are public, ``private_four`` and ``private_six`` private or shared.
    """

    usable: tuple[Network, ...]
    unusable: tuple[str, ...]
    four: Ranges = Ranges()
    six: Ranges = Ranges()
    private_four: Ranges = Ranges()
    private_six: Ranges = Ranges()


@functools.lru_cache(maxsize=2)
def parse(text: str) -> Networks:
    """Read a list at run time: an unusable entry is set aside and matches nothing.

    The last lists are remembered, for the same one comes with every event of a warm process.
    """
    usable, unusable = [], []
    for entry in entries(text):
        try:
            usable.append(network(entry))
        except ValueError:
            unusable.append(entry)
    return gathered(usable, unusable)


def parse_strictly(text: str) -> tuple[Network, ...]:
    """Read a list before it is written; raises ValueError with a sentence on the first unusable entry."""
    return tuple(network(entry) for entry in entries(text))


def gathered(usable: Sequence[Network], unusable: Sequence[str] = ()) -> Networks:
    """Put networks together so that an address can be looked up in them."""
    (four, private_four), (six, private_six) = _ranges(usable, 4), _ranges(usable, 6)
    return Networks(tuple(usable), tuple(unusable), four, six, private_four, private_six)


def network(entry: str, *, wide: bool = False) -> Network:
    """Read one entry; raises ValueError with a sentence when it is unusable. ``wide`` allows a range of any width."""
    address, slash, length = entry.partition("/")
    if packed(address) is None:
        raise ValueError(f"{entry!r} is not an address or a range in CIDR form")
    if slash and length not in LENGTHS:
        raise ValueError(f"{entry!r} has no prefix length behind the slash")
    try:
        found = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a range in CIDR form: {error}") from None
    if isinstance(found, IPv6Network) and (mapped := found.network_address.ipv4_mapped):
        found = ip_network(f"{mapped}/{max(found.prefixlen - 96, 0)}")
    if found.prefixlen < WIDEST[found.version] and not wide:
        widest = WIDEST[found.version]
        raise ValueError(f"{entry!r} is wider than /{widest}: it would recognise too much of the internet")
    return found


def entries(text: str) -> list[str]:
    """Return the entries of a list separated by commas, without empty ones."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def recognises(networks: Networks, source: object, *, by_endpoint: bool = False) -> bool:
    """Say whether ``source`` is an address inside one of the networks.

    A private or shared address is only if the sign-in came through an allowed VPC endpoint (``by_endpoint``): an
    attacker's own VPC can carry any of them.
    """
    address = packed(source)
    if address is None:
        return False
    firsts, lasts = networks.four if len(address) == SIZES[4] else networks.six
    at = bisect_right(firsts, address)
    if at > 0 and address <= lasts[at - 1]:
        return True
    return by_endpoint and _is_inside(address, networks.private_four, networks.private_six)


def vouches(endpoint: str, allowed: Collection[str]) -> bool | None:
    """Say whether the VPC endpoint that a sign-in came through is an allowed one; None where it came through none.

    One that is not allowed makes every address worthless, a public one too: a VPC may have any range.
    """
    return endpoint in allowed if endpoint else None


def is_private(source: object) -> bool:
    """Say whether ``source`` is a private or shared address, for which only a VPC endpoint can vouch."""
    address = packed(source)
    return address is not None and _is_inside(address, *_everything_private())


@functools.lru_cache(maxsize=1)
def _everything_private() -> tuple[Ranges, Ranges]:
    found = gathered(PRIVATE)
    return found.private_four, found.private_six


def _is_inside(address: bytes, four: Ranges, six: Ranges) -> bool:
    ranges = four if len(address) == SIZES[4] else six
    at = bisect_right(ranges.firsts, address)
    return at > 0 and address <= ranges.lasts[at - 1]


def packed(source: object) -> bytes | None:
    """Return the address in network byte order, IPv4-mapped ones as IPv4; None for what is not one plain address."""
    if not isinstance(source, str):
        return None
    try:
        if ":" not in source:
            return inet_pton(AF_INET, source)
        address = inet_pton(AF_INET6, source)
    except (OSError, ValueError):  # ValueError for what cannot even be encoded
        return None
    return address[12:] if address.startswith(MAPPED) else address


def _ranges(networks: Sequence[Network], version: int) -> tuple[Ranges, Ranges]:
    """Return the ranges of one family, sorted, joined where they touch: what is public of them, and what is private."""
    public = wanted = _joined(sorted(_edges(network) for network in networks if network.version == version))
    private = []
    for other in (_edges(network) for network in PRIVATE if network.version == version):
        public = [piece for one in public for piece in _without(one, other)]
        private += [(max(one[0], other[0]), min(one[1], other[1])) for one in wanted]
    return _packed(public, version), _packed(sorted(one for one in private if one[0] <= one[1]), version)


def _packed(pairs: list[tuple[int, int]], version: int) -> Ranges:
    edges = zip(*pairs, strict=True)
    return Ranges(*(tuple(edge.to_bytes(SIZES[version], "big") for edge in each) for each in edges))


def _edges(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _joined(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in pairs:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _without(one: tuple[int, int], other: tuple[int, int]) -> list[tuple[int, int]]:
    """Return what is left of a range when another is taken out of it: none, one or two ranges."""
    below, above = (one[0], min(one[1], other[0] - 1)), (max(one[0], other[1] + 1), one[1])
    return [piece for piece in (below, above) if piece[0] <= piece[1]]
