"""Which addresses a list recognises, which it never does, and which entries are refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from signwatch.detection import networks

OFFICE = networks.parse_list("203.0.113.0/24, 198.51.100.7, 2001:db8::/32, ::ffff:192.0.2.0/120")


@pytest.mark.parametrize(
    "source",
    [
        "203.0.113.0",
        "203.0.113.255",
        "198.51.100.7",
        "2001:db8::10",
        "2001:DB8:0:0::10",
        "::ffff:203.0.113.9",
        "192.0.2.200",
    ],
)
def test_address_inside_is_recognised(source: str) -> None:
    assert networks.recognises(OFFICE, source)


@pytest.mark.parametrize(
    "source",
    [
        "203.0.114.0",
        "198.51.100.8",
        "2001:db9::1",
        "192.0.3.0",
        "",
        "AWS Internal",
        "signin.amazonaws.com",
        "HIDDEN_DUE_TO_SECURITY_REASONS",
        "203.0.113.10, 203.0.113.11",
        "203.0.113.10:443",
        "203.0.113.0/24",
        "203.0.113.010",
        "2001:db8::1%eth0",
        " 203.0.113.10",
        "203.0.113.10\n",
        "203.0.113.10\0",
        "203.0.113.\ud800",
        "2001:db8::\ud800",
        "٢٠٣.0.113.10",
        3405803786,
        b"\xcb\x00q\x0a",
        True,
        None,
        ["203.0.113.10"],
        ip_address("203.0.113.10"),
    ],
)
def test_anything_but_one_plain_address_inside_is_not_recognised(source: object) -> None:
    assert not networks.recognises(OFFICE, source)


PRIVATE_ADDRESSES = (
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "127.0.0.1",
    "::1",
    "fe80::1",
    "fd00::1",
)


@pytest.mark.parametrize("source", PRIVATE_ADDRESSES)
def test_private_address_is_not_recognised_even_if_it_is_listed(source: str) -> None:
    listed = networks.parse_list(source)
    assert len(listed.usable) == 1
    assert not networks.recognises(listed, source)
    assert not networks.recognises(listed, f"::ffff:{source}" if "." in source else source)


@pytest.mark.parametrize("source", PRIVATE_ADDRESSES)
def test_listed_private_address_is_recognised_through_an_allowed_endpoint(source: str) -> None:
    assert networks.is_private(source)
    assert networks.recognises(networks.parse_list(source), source, by_vpc_endpoint=True)
    assert not networks.recognises(OFFICE, source, by_vpc_endpoint=True)


def test_endpoint_changes_nothing_for_a_public_address() -> None:
    assert not networks.recognises(OFFICE, "203.0.114.0", by_vpc_endpoint=True)
    assert networks.recognises(OFFICE, "203.0.113.0", by_vpc_endpoint=True)


@pytest.mark.parametrize(
    "source", ["203.0.113.9", "2001:db8::1", "11.0.0.0", "172.32.0.0", "AWS Internal", "", None]
)
def test_public_address_and_other_text_are_not_private(source: object) -> None:
    assert not networks.is_private(source)


def test_private_part_of_a_wider_range_is_not_recognised() -> None:
    mixed = networks.build_networks(
        [ip_network("172.0.0.0/8"), ip_network("172.16.5.0/24"), ip_network("fe00::/8")]
    )
    for source, is_public in (
        ("172.15.255.255", True),
        ("172.16.0.0", False),
        ("172.31.255.255", False),
        ("172.32.0.0", True),
    ):
        assert networks.recognises(mixed, source) is is_public
        assert networks.recognises(mixed, source, by_vpc_endpoint=True)
    assert not networks.recognises(mixed, "fe80::1")
    assert networks.recognises(mixed, "fe80::1", by_vpc_endpoint=True)


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("203.0.113.77/24", "write 203.0.113.0/24 for the range, or 203.0.113.77 for the address"),
        ("10.1.2.3/8", "write 10.0.0.0/8 for the range, or 10.1.2.3 for the address"),
        ("2001:db8::5/48", "write 2001:db8::/48 for the range, or 2001:db8::5 for the address"),
        ("::ffff:203.0.113.77/120", "write 203.0.113.0/24 for the range"),
    ],
)
def test_range_with_host_bits_is_refused_with_the_range_that_was_meant(
    entry: str, advice: str
) -> None:
    with pytest.raises(ValueError, match="is not a range in CIDR form") as refusal:
        networks.parse_network(entry)
    assert advice in str(refusal.value)


def test_no_range_that_is_too_wide_is_suggested() -> None:
    with pytest.raises(networks.TooWideError, match="is wider than /8"):
        networks.parse_network("203.0.113.77/7")


def test_wide_range_is_recognised_only_as_the_ranges_that_it_consists_of() -> None:
    split = networks.parse_list("16.0.0.0/8,17.0.0.0/8")
    assert networks.recognises(split, "16.0.0.0")
    assert networks.recognises(split, "17.255.255.255")
    assert not networks.recognises(networks.parse_list("16.0.0.0/7"), "16.0.0.0")


def test_empty_list_recognises_nothing() -> None:
    for text in ("", " , ,"):
        assert networks.parse_list(text) == networks.Networks((), ())
        assert not networks.recognises(networks.parse_list(text), "203.0.113.10")


UNUSABLE_ENTRIES = [
    "0.0.0.0/0",
    "::/0",
    "1.0.0.0/7",
    "2000::/18",
    "::ffff:0:0/96",
    "::ffff:0:0/90",
    "203.0.113.5/24",
    "203.0.113.0/33",
    "203.0.113.0/255.255.255.0",
    "203.0.113.0/",
    "203.0.113.0/024",
    "203.0.113.0/٢٤",
    "203.0.113.0/" + "9" * 5000,
    "example.com",
    "2001:db8::1%eth0/128",
    "/24",
]


@pytest.mark.parametrize("entry", UNUSABLE_ENTRIES, ids=lambda entry: entry[:24])
def test_unusable_entry_does_not_affect_the_others(entry: str) -> None:
    listed = networks.parse_list(f"{entry},203.0.113.0/24")
    assert (listed.usable, listed.unusable) == ((ip_network("203.0.113.0/24"),), (entry,))
    assert networks.recognises(listed, "203.0.113.9")


@pytest.mark.parametrize("entry", UNUSABLE_ENTRIES, ids=lambda entry: entry[:24])
def test_unusable_entry_is_refused_with_a_sentence_before_it_is_stored(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no prefix|is wider"):
        networks.parse_list_strictly(f"203.0.113.0/24,{entry}")


def test_list_of_lines_is_the_list_of_its_networks() -> None:
    lines = networks.parse_lines("203.0.113.0/24\n2001:db8::/32\n")
    assert lines == networks.parse_list("203.0.113.0/24, 2001:db8::/32")


@pytest.mark.parametrize("text", ["", "\n", "203.0.113.0/24\n198.51.100", "203.0.113.0/24\n::/0"])
def test_list_of_lines_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(ValueError, match=r"the list is empty|is not an address|is wider than"):
        networks.parse_lines(text)


def test_address_between_two_known_ones_is_not_recognised() -> None:
    for known, between in (
        ("203.0.113.4, 203.0.113.6", "203.0.113.5"),
        ("203.0.113.4/31, 203.0.113.8/31", "203.0.113.6"),
        ("2001:db8::4, 2001:db8::6", "2001:db8::5"),
    ):
        listed = networks.parse_list(known)
        assert not networks.recognises(listed, between)
        for entry in networks.split_list(known):
            assert networks.recognises(listed, entry.partition("/")[0])


def test_neighbours_are_recognised_from_the_first_to_the_last_address() -> None:
    listed = networks.parse_list("203.0.113.4/31, 203.0.113.6/31, 203.0.113.9")
    recognised = [n for n in range(12) if networks.recognises(listed, f"203.0.113.{n}")]
    assert recognised == [4, 5, 6, 7, 9]


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("203.0.113.9", "cb0071"),
        ("::ffff:203.0.113.200", "cb0071"),
        ("2001:db8:1:2:3::4", "20010db800010002"),
        ("AWS Internal", "AWS Internal"),
        ("", ""),
    ],
)
def test_site_is_24_bits_of_ipv4_64_bits_of_ipv6_or_the_source_itself(
    source: str, site: str
) -> None:
    assert networks.name_site(source) == site


@pytest.mark.parametrize(
    ("network", "is_private"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.0/7", False),
        ("172.16.0.0/12", True),
        ("172.0.0.0/11", False),
        ("203.0.113.0/24", False),
        ("fe80::/64", True),
        ("fd00::/8", True),
        ("2001:db8::/32", False),
    ],
)
def test_only_a_range_of_private_addresses_is_wholly_private(
    network: str, *, is_private: bool
) -> None:
    assert networks.is_wholly_private(ip_network(network)) is is_private


def test_widest_ranges_are_usable() -> None:
    assert len(networks.parse_list_strictly("11.0.0.0/8, 2000::/19")) == 2


def test_narrowest_ranges_are_usable() -> None:
    assert len(networks.parse_list_strictly("203.0.113.4/32, 2001:db8::1/128")) == 2
