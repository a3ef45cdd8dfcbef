"""Reading and judging an event, beside the json.loads of the same event in the same run.

    python benchmarks/decision.py

Each case file with a record in it is tried with twenty recognised networks and an address of its own each time, so that
nothing can be remembered between two rounds. Prints the ratio of every case and their mean; ends in 1 when the mean is
over 1.0.
"""

from __future__ import annotations

import json
import random
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from signwatch.detection import networks, signin, verdict  # noqa: E402 - after the source roots are known
from tests.support.sign_ins import CASES  # noqa: E402 - after the source roots are known

ROUNDS, REPEATS = 400, 7
LIMIT = 1.0


def known(chance: random.Random) -> networks.Networks:
    """Return twenty networks, half of them IPv6, none of which holds an address that is tried."""
    four = [f"{11 + at}.{chance.randrange(256)}.{chance.randrange(256)}.0/24" for at in range(10)]
    six = [f"2a00:{chance.randrange(1, 1 << 16):x}:{at:x}::/48" for at in range(10)]
    return networks.parse(",".join(four + six))


def addresses(chance: random.Random) -> list[str]:
    """Return an address for each round, no two of them the same."""
    four = [
        str(IPv4Address((198 << 24) + number))
        for number in chance.sample(range(1 << 20), ROUNDS // 2)
    ]
    six = [
        str(IPv6Address((0x20010DB8 << 96) + number))
        for number in chance.sample(range(1 << 30), ROUNDS // 2)
    ]
    return [address for pair in zip(four, six, strict=True) for address in pair]


def seconds_of(records: list[str], listed: networks.Networks) -> tuple[float, float]:
    """Return the seconds for parsing the records, and for reading and judging them afterwards."""
    start = time.perf_counter()
    events = [json.loads(record) for record in records]
    parsed = time.perf_counter()
    for told in events:
        reading = signin.read(told)
        inside = isinstance(reading, signin.SignIn) and networks.recognises(listed, reading.source)
        verdict.judge(reading, recognised=inside)
    return parsed - start, time.perf_counter() - parsed


def ratio(event: dict[str, object], listed: networks.Networks, chance: random.Random) -> float:
    """Return the median, over some repeats, of deciding's time as a share of parsing's."""
    found = []
    for _ in range(REPEATS):
        told = [json.loads(json.dumps(event)) for _ in range(ROUNDS)]
        for copy, address in zip(told, addresses(chance), strict=True):
            copy["detail"]["sourceIPAddress"] = address
        parsing, deciding = seconds_of([json.dumps(copy) for copy in told], listed)
        found.append(deciding / parsing)
    return median(found)


def main() -> int:
    """Print the ratios; 1 when their mean is over the limit."""
    chance = random.Random(5)  # noqa: S311 - the same addresses each time
    listed = known(chance)
    cases = {name: case["event"] for name, case in CASES.items() if isinstance(case["event"], dict)}
    whole = {name: event for name, event in cases.items() if isinstance(event.get("detail"), dict)}
    ratios = {name: ratio(event, listed, chance) for name, event in whole.items()}
    for name, found in ratios.items():
        print(f"{found:5.2f}  {name}")
    mean = fmean(ratios.values())
    print(
        f"{mean:5.2f}  mean of {len(ratios)} records: read and judge, as a share of json.loads (at most {LIMIT})"
    )
    return int(mean > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
