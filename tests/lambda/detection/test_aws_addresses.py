"""Which addresses are in a list of AWS's own ranges, and which lists are refused."""

from __future__ import annotations

import pytest

from signwatch.detection import aws_addresses

RANGES = aws_addresses.parse_ranges(
    """\
3.5.140.0 3.5.143.255
3.8.0.0 3.9.255.255
2600:1f18:: 2600:1f18:7fff:ffff:ffff:ffff:ffff:ffff
"""
)


@pytest.mark.parametrize(
    ("source", "is_inside"),
    [
        ("3.5.139.255", False),
        ("3.5.140.0", True),
        ("3.5.143.255", True),
        ("3.5.144.0", False),
        ("3.7.255.255", False),
        ("3.8.0.0", True),
        ("3.9.255.255", True),
        ("3.10.0.0", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to look up
        ("255.255.255.255", False),
        ("::ffff:3.5.140.7", True),
        ("::ffff:3.5.139.7", False),
        ("::3.5.140.7", False),
        ("2600:1f17:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2600:1f18::", True),
        ("2600:1F18:0:0:0:0:0:1", True),
        ("2600:1f18:8000::", False),
        ("::", False),
        ("", False),
        (" 3.5.140.7", False),
        ("3.5.140", False),
        ("3.5.140.7:443", False),
        ("3.5.140.7, 3.5.140.8", False),
        ("2600:1f18::1%eth0", False),
        ("3.5.140.7.example.com", False),
    ],
)
def test_only_one_address_in_a_range_is_contained(source: str, *, is_inside: bool) -> None:
    assert aws_addresses.contains(RANGES, source) is is_inside


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "3.5.140.0",
        "3.5.140.0 3.5.143.255\n3.8.0.0",
        "3.5.140.0 3.5.143.255\nx y",
        "3.5.140.0 3.5.143.255\n2.0.0.0 2.0.0.255",
        "3.5.140.0 3.5.143.255\n3.5.142.0 3.5.150.255",
        "3.5.143.255 3.5.140.0",
        "2600:1f18:: 2600:1f18::ffff\n3.5.140.0 3.5.143.255",
    ],
    ids=[
        *("empty", "blank", "half a range", "cut off", "no address", "out of order", "overlapping"),
        *("backwards", "IPv6 first"),
    ],
)
def test_damaged_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address|incomplete or out of order"):
        aws_addresses.parse_ranges(text)
