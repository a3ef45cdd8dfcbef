"""Writes the address ranges of Amazon's networks, which the layer holds, into layer/data.

    npm pack @ip-location-db/asn@VERSION && tar xf ip-location-db-asn-VERSION.tgz
    python -m tooling.deploy.amazon_networks package

The npm package lists which autonomous system (AS: a network with one operator) announces each range
of addresses. The version, and the checksum of its archive, stand in layer/README.md.
"""

from __future__ import annotations

import csv
import functools
import json
import runpy
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from signwatch.detection import aws_addresses
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "layer" / "data" / "amazon_networks.py"
CSV_NAMES = ("asn-ipv4.csv", "asn-ipv6.csv")
# The autonomous systems that AWS's services and Regions use. Amazon's shops and offices have others
# (801, 38895, 62785, ...), and so do the operators of AWS in China (55960, 135629).
AWS_SYSTEMS = frozenset(
    {
        "7224",  # Amazon.com, Inc.
        "8987",  # Amazon Data Services Ireland Ltd
        "9059",  # Amazon Data Services Ireland Ltd
        "14618",  # Amazon.com, Inc. (us-east-1)
        "16509",  # Amazon.com, Inc.
        "214101",  # Amazon Data Services European Sovereign Cloud GmbH
    }
)
HEADER = '''"""The address ranges that AWS's own networks announce. Generated; see layer/README.md.

Data: {name} {version}, by RouteViews, NRO and DB-IP (CC BY 4.0);
those of AWS, merged.
"""

RANGES = """\\
'''
FOOTER = '"""\n'


def is_aws_address(source: str) -> bool:
    """Return whether ``source`` is an address in the list of this checkout, as the function does.

    Raises RefusedError if the list is missing or damaged.
    """
    return aws_addresses.contains(load_ranges(TARGET), source)


@functools.lru_cache(maxsize=1)
def load_ranges(path: Path) -> aws_addresses.AddressRanges:
    """Return the ranges in the module at ``path``.

    Raises RefusedError if it is missing or damaged.
    """
    try:
        return aws_addresses.parse_ranges(runpy.run_path(str(path))["RANGES"])
    except Exception as error:
        what = f"is no list of AWS's address ranges: {error}"
        raise RefusedError(str(path), what, "restore the file with git") from error


def merge_rows(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the ranges of AWS as lines ``"3.0.0.0 3.5.255.255"``, in order and without overlap.

    A row has the first and the last address of a range, and the number of the system.
    """
    ranges = [
        (ip_address(first), ip_address(last))
        for first, last, system, *_ in rows
        if system in AWS_SYSTEMS
    ]
    merged: list[list[int]] = []
    for first, last in sorted((int(first), int(last)) for first, last in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    make_address = type(ranges[0][0])  # all rows are of one IP version
    return [f"{make_address(first)} {make_address(last)}" for first, last in merged]


def format_module(package: Path) -> str:
    """Return the module for the unpacked npm package in a folder.

    Raises RefusedError if the folder is not that of the package.
    """
    try:
        description = json.loads((package / "package.json").read_text())
        name, version = description["name"], description["version"]
        lines: list[str] = []
        for csv_name in CSV_NAMES:
            with (package / csv_name).open(encoding="utf-8", newline="") as file:
                lines += merge_rows(csv.reader(file))
    except (OSError, ValueError, LookupError) as error:
        what = f"is not the unpacked npm package: {error}"
        raise RefusedError(str(package), what, "unpack it as layer/README.md says") from error
    return HEADER.format(name=name, version=version) + "\n".join(lines) + "\n" + FOOTER


if __name__ == "__main__":
    TARGET.write_text(format_module(Path(sys.argv[1])))
