"""Counts lost and repeated alerts in a simulated day of AWS and Twilio with faults.

    python benchmarks/delivery.py --n 10000 --seed 1

The packaged function processes every sign-in. AWS, Twilio, time and the function's threads are
simulated, so nothing waits in real time; how AWS retries is read from the templates. The bus loses
1 % of the events. Twilio refuses, breaks or delays requests, fails 1 % of the texts after it has
accepted them, and is down for an hour. ``benchmarks/simulation`` says what is assumed.

``--without`` leaves out the trail's way, or the mappings that hand messages of the queues to the
function, and so shows what each is worth.

The last line has three figures: alerts of which no text arrived at anybody; texts accepted beyond
one for each recipient and alert; requests to send texts, or to look for them in Twilio's list, for
each alert, which has two recipients. Ends with 1 if one of them is over its limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def package_function(folder: Path) -> Path:
    """Build the function's zip in ``folder``, without byte-code; return its path."""
    from tooling.deploy import archive

    tree = folder / "tree"
    archive.copy(archive.list_files(ROOT / "lambda"), tree)
    archive.blank_documentation(tree)
    target = folder / "function.zip"
    archive.write(tree, target)
    return target


def main() -> int:
    """Run the simulation and print the figures; return 1 if one is over its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="number of sign-ins (10000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (1)")
    parser.add_argument(
        "--without", choices=("trail", "mappings"), default="", help="leave out a part of the stack"
    )
    options = parser.parse_args()
    start = time.monotonic()
    os.environ.clear()  # settings of the caller's; and requests reads all of it at each request
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, str(package_function(Path(folder))))
        # Here, because both import the function from its zip.
        from benchmarks.simulation.day import Day
        from benchmarks.simulation.figures import Figures

        day = Day(options.n, options.seed, options.without)
        day.run()
        figures = Figures(day)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time()
    print(f"{options.n} sign-ins, seed {options.seed}, {seconds:.0f} s, CPU {cpu_seconds:.0f} s")
    for line in figures.list_lines():
        print(line)
    return 0 if figures.are_within_limits else 1


if __name__ == "__main__":
    sys.exit(main())
