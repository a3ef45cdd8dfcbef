"""Compares reading and judging an event with the json.loads of the same event.

    python benchmarks/decision.py

Each case file with a record in it is tried with twenty recognised networks, and with another
address in every round, so that no result can be kept from one round to the next. Prints the ratio
of every case and their mean. Ends with 1 if the mean is over 1.0.
"""

from __future__ import annotations

import json
import random
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from signwatch.detection import networks, signin, verdict  # noqa: E402 - needs the source roots
from tests.support.sign_ins import CASES  # noqa: E402 - needs the source roots
from tooling.deploy.aws_ranges import is_aws_address  # noqa: E402 - needs the source roots

ROUNDS = 400
REPEATS = 7
MAX_MEAN_RATIO = 1.0


def make_networks(rng: random.Random) -> networks.Networks:
    """Return twenty networks, half of them IPv6, that contain none of the addresses tried."""
    ipv4 = [f"{11 + number}.{rng.randrange(256)}.{rng.randrange(256)}.0/24" for number in range(10)]
    ipv6 = [f"2a00:{rng.randrange(1, 1 << 16):x}:{number:x}::/48" for number in range(10)]
    return networks.parse_list(",".join(ipv4 + ipv6))


def make_addresses(rng: random.Random) -> list[str]:
    """Return a different address for each round: 198.0.0.0/12 and 2001:db8::/98 in turn."""
    addresses = []
    ipv4_numbers = rng.sample(range(1 << 20), ROUNDS // 2)
    ipv6_numbers = rng.sample(range(1 << 30), ROUNDS // 2)
    for ipv4_number, ipv6_number in zip(ipv4_numbers, ipv6_numbers, strict=True):
        addresses.append(str(IPv4Address((198 << 24) + ipv4_number)))
        addresses.append(str(IPv6Address((0x20010DB8 << 96) + ipv6_number)))
    return addresses


def measure_once(records: list[str], known: networks.Networks) -> float:
    """Return the time for reading and judging the events as a share of that for parsing them.

    ``records`` are events as JSON.
    """
    start = time.perf_counter()
    events = [json.loads(record) for record in records]
    parse_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for event in events:
        reading = signin.read(event, is_aws_address)
        recognised = False
        if isinstance(reading, signin.SignIn):
            recognised = networks.recognises(known, reading.source)
        verdict.judge(reading, recognised=recognised)
    return (time.perf_counter() - start) / parse_seconds


def measure_case(event: dict[str, Any], known: networks.Networks, rng: random.Random) -> float:
    """Return the median ratio of REPEATS measurements of one event with changing addresses."""
    ratios = []
    for _ in range(REPEATS):
        # The copies stay alive while the records are parsed. Without them the garbage collector has
        # less to do, parsing is faster, and the ratio is not comparable to the limit.
        copies = [json.loads(json.dumps(event)) for _ in range(ROUNDS)]
        for copy, address in zip(copies, make_addresses(rng), strict=True):
            copy["detail"]["sourceIPAddress"] = address
        ratios.append(measure_once([json.dumps(copy) for copy in copies], known))
    return median(ratios)


def main() -> int:
    """Print the ratios; return 1 if their mean is over the limit."""
    rng = random.Random(5)  # noqa: S311 - the same addresses each time
    known = make_networks(rng)
    ratios = []
    for name, case in CASES.items():
        event = case["event"]
        if isinstance(event, dict) and isinstance(event.get("detail"), dict):
            ratios.append(measure_case(event, known, rng))
            print(f"{ratios[-1]:5.2f}  {name}")
    mean = fmean(ratios)
    print(
        f"{mean:5.2f}  mean of {len(ratios)} records: read and judge, as a share of json.loads "
        f"(at most {MAX_MEAN_RATIO})"
    )
    return int(mean > MAX_MEAN_RATIO)


if __name__ == "__main__":
    sys.exit(main())
