"""The list of AWS's networks: how it is made, and that the one of the repository is such a list."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import amazon_networks as committed
import pytest

from tooling.deploy import amazon_networks
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

IPV4 = """\
1.0.0.0,1.0.0.255,13335,"Cloudflare, Inc."
3.0.1.0,3.0.1.255,14618,"Amazon.com, Inc."
3.0.0.0,3.0.0.255,16509,"Amazon.com, Inc."
3.0.3.0,3.0.3.255,267242,AMAZONIA TELECOMUNICACOES LTDA
"""
IPV6 = '2600:1f00::,2600:1fff:ffff:ffff:ffff:ffff:ffff:ffff,16509,"Amazon.com, Inc."\n'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "package.json").write_text('{"name": "@x/asn", "version": "1.2.3"}')
    (tmp_path / "asn-ipv4.csv").write_text(IPV4)
    (tmp_path / "asn-ipv6.csv").write_text(IPV6)
    return tmp_path


def test_ranges_of_aws_are_selected_and_merged(package: Path) -> None:
    text = amazon_networks.format_module(package)
    values: dict[str, str] = {}
    exec(text, values)  # noqa: S102 - the module that this test has just had made
    assert values["RANGES"].splitlines() == [
        "3.0.0.0 3.0.1.255",
        "2600:1f00:: 2600:1fff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]
    assert "@x/asn 1.2.3" in values["__doc__"]


@pytest.mark.parametrize("name", ["package.json", "asn-ipv4.csv", "asn-ipv6.csv"])
def test_folder_without_the_package_is_refused(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(RefusedError, match="is not the unpacked npm package"):
        amazon_networks.format_module(package)


def test_list_of_the_repository_is_in_order_and_without_overlap() -> None:
    lines = committed.RANGES.splitlines()
    ranges = [tuple(map(ip_address, line.split())) for line in lines]
    assert len(ranges) > 4000
    for version in (4, 6):
        addresses = [int(end) for pair in ranges if pair[0].version == version for end in pair]
        assert addresses == sorted(addresses)
    assert [first.version for first, _ in ranges] == sorted(first.version for first, _ in ranges)


class TestCheckout:
    def test_its_list_is_the_one_that_explain_asks(self) -> None:
        assert amazon_networks.is_aws_address("3.5.140.7")
        assert not amazon_networks.is_aws_address("203.0.113.10")

    @pytest.mark.parametrize("text", [None, "", "RANGES = 7", "RANGES = '3.5.140.0'", "RANGES ="])
    def test_missing_or_damaged_list_is_refused(self, tmp_path: Path, text: str | None) -> None:
        path = tmp_path / "ranges.py"
        if text is not None:
            path.write_text(text)
        with pytest.raises(RefusedError, match="is no list of AWS's address ranges"):
            amazon_networks.load_ranges(path)
