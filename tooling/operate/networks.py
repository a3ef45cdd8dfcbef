"""``invoke networks``: what is recognised, and allowances made and taken back on the live account without a deploy.

The first list is the stack's parameter KnownNetworks, which ``deploy`` changes. The second one holds allowances in
Systems Manager, written and read by the function's own code. Whoever may write there may write anything, so what is
shown of it is shown as a stranger's text.
"""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from botocore.exceptions import ClientError

from signwatch.detection import allowance
from signwatch.detection import networks as recognition
from tooling.deploy import stack
from tooling.errors import RefusedError
from tooling.terminal import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signwatch.detection.allowance import Allowance
    from tooling.deploy.account import Account
    from tooling.settings import Settings

MIRROR = "https://checkip.amazonaws.com"  # AWS's own answer to "which address do I come from"
PATIENCE = 5.0  # seconds to wait for it
UNITS = {"m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}  # seconds
WITHIN = "within a minute, without a deploy"


@dataclass(frozen=True)
class Kept:
    """What lies under one name in Systems Manager: an allowance, or why it is none (``fault``)."""

    path: str
    allowed: Allowance | None
    fault: str = ""

    @property
    def id(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Lists:
    """Both lists as they are on the live account, and the VPC endpoints that vouch for private addresses."""

    known: str
    endpoints: str
    kept: tuple[Kept, ...]
    is_read: bool  # whether the deployed version reads the second list

    @property
    def usable(self) -> list[tuple[Kept, Allowance]]:
        """The allowances in the second list."""
        return [(one, one.allowed) for one in self.kept if one.allowed]


def load(aws: Account, settings: Settings) -> Lists:
    """Read both lists; RefusedError when the stack was never deployed, or is somebody else's."""
    live = stack.deployed(aws, settings).parameters
    endpoints = live.get("AllowedVpcEndpointIds")
    pages = (
        aws.client("ssm")
        .get_paginator("get_parameters_by_path")
        .paginate(Path=_folder(settings), Recursive=False)
    )
    kept = [_kept(item["Name"], item["Value"]) for page in pages for item in page["Parameters"]]
    return Lists(live.get("KnownNetworks", ""), endpoints or "", tuple(kept), endpoints is not None)


def _folder(settings: Settings) -> str:
    return f"/{settings.prefix}/{allowance.PARAMETER_FOLDER}"


def _kept(path: str, value: str) -> Kept:
    try:
        return Kept(path, allowance.decode(value))
    except ValueError as error:
        return Kept(path, None, str(error))


def parse_duration(text: str) -> int | None:
    """Read how long something is allowed, in seconds; None for "forever". RefusedError for another text than 3d."""
    if text == "forever":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text, re.ASCII)
    if not found:
        raise RefusedError(
            f"--for {untrusted.printable(text)}",
            "is no length of time",
            "write it like 90m, 12h, 3d, 2w, or: forever",
        )
    return int(found[1]) * UNITS[found[2]]


def make_allowance(
    cidr: str, label: str | None, who: str | None, seconds: int | None, now: float, *, wide: bool
) -> Allowance:
    """Return the allowance that a person asks for; RefusedError for one that could match nothing, or too much."""
    expires = None if seconds is None else int(now) + seconds
    named = label if label is not None else f"allowed on {allowance.format_time(int(now))[:10]}"
    try:
        return allowance.make(cidr, named, who or "", expires, wide=wide)
    except ValueError as error:
        remedy = "write a range like 203.0.113.0/24, short names, and --force-wide only if you mean half the internet"
        raise RefusedError(
            f"allowance for {untrusted.printable(cidr)}",
            untrusted.printable(str(error), 300),
            remedy,
        ) from error


def find_own_address() -> str:
    """Return the address that the internet sees, as AWS tells it; RefusedError when it tells none."""
    try:
        with urllib.request.urlopen(MIRROR, timeout=PATIENCE) as answer:
            return str(answer.read(64).decode("ascii").strip())
    except (OSError, ValueError) as error:
        raise RefusedError(
            MIRROR, f"did not tell your address ({error})", "give it yourself with --cidr"
        ) from error


def offer_own_address(
    stdin: TextIO, *, ask: Callable[[str], str] = input, look: Callable[[], str] = find_own_address
) -> str:
    """Offer the caller's present public address and return it; RefusedError where nobody is there, or declines."""
    if not stdin.isatty():
        raise RefusedError(
            "--cidr", "is missing, and there is no terminal to ask at", "give --cidr 203.0.113.7"
        )
    address = look()
    if recognition.pack(address) is None or recognition.is_private(address):
        raise RefusedError(
            MIRROR,
            f"told no public address ({untrusted.printable(address)})",
            "give it yourself with --cidr",
        )
    try:
        answer = ask(f"You come from {address}, says {MIRROR}. Allow it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise RefusedError(
            "--cidr", "is missing, and the offered address was not taken", "give --cidr 203.0.113.7"
        )
    return address


def allow(aws: Account, settings: Settings, one: Allowance, now: float) -> list[str]:
    """Write an allowance, in place of one for the same range and person; return what to tell.

    Raises RefusedError where it could recognise nobody: a private range and no endpoint, a stack that does not read it.
    """
    lists = load(aws, settings)
    if not lists.is_read:
        what = "runs a version that does not read allowances; nothing was written"
        raise RefusedError(
            f"stack {settings.stack}", what, "run: invoke bootstrap, then invoke deploy"
        )
    if recognition.is_wholly_private(one.ranges.usable[0]) and not lists.endpoints:
        what = "is private, and the stack allows no VPC endpoint that could vouch for it"
        remedy = "name one first: invoke deploy --set AllowedVpcEndpointIds=vpce-..."
        raise RefusedError(f"allowance for {one.cidr}", what, remedy)
    path = f"{_folder(settings)}/{one.name}"
    aws.client("ssm").put_parameter(
        Name=path, Value=allowance.encode(one), Type="String", Overwrite=True
    )
    return [f"Allowed {WITHIN}: {_described(one, now)}  id {one.name}"]


def refuse_vague(**given: str | None) -> None:
    """Refuse to revoke unless exactly one thing says what; RefusedError."""
    if sum(value is not None for value in given.values()) != 1:
        names = ", ".join(f"--{name}" for name in given)
        raise RefusedError(
            "networks.revoke",
            f"takes exactly one of {names}",
            "see all entries with: invoke networks",
        )
    if given.get("cidr") is not None:
        _range(str(given["cidr"]))


def revoke(
    aws: Account,
    settings: Settings,
    now: float,
    *,
    cidr: str | None,
    label: str | None,
    id: str | None,  # noqa: A002 - the flag is called --id
) -> list[str]:
    """Take back what has this range, this label or this id; return what to tell. RefusedError when nothing has."""
    lists = load(aws, settings)
    network = _range(cidr) if cidr is not None else None
    found = [
        one
        for one in lists.kept
        if one.id == id
        or (one.allowed and (one.allowed.cidr == network or one.allowed.label == label))
    ]
    if not found:
        what = f"is no allowance below {_folder(settings)}; nothing was changed"
        remedy = (
            "see what there is with: invoke networks; KnownNetworks is changed by invoke deploy"
        )
        raise RefusedError(untrusted.printable(cidr or label or id or ""), what, remedy)
    for one in found:
        _delete(aws, one.path)
    return [f"Revoked {WITHIN}: {_line(one, now)}" for one in found]


def _range(text: str) -> str:
    try:
        return str(recognition.parse_network(text, wide=True))
    except ValueError as error:
        raise RefusedError(
            "--cidr", untrusted.printable(str(error), 300), "write a range like 203.0.113.0/24"
        ) from error


def _delete(aws: Account, path: str) -> None:
    try:
        aws.client("ssm").delete_parameter(Name=path)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":  # somebody else was faster
            raise


def lines(lists: Lists, now: float) -> list[str]:
    """Return both lists for people, an entry a line; what matches nothing says so."""
    known = recognition.split_list(lists.known)
    unusable = recognition.parse(lists.known).unusable
    marked = [
        f"  {untrusted.printable(one)}{'  UNUSABLE: matches nothing' if one in unusable else ''}"
        for one in known
    ]
    allowed = [f"  {_line(one, now)}" for one in sorted(lists.kept, key=_order)]
    endpoints = (
        ", ".join(recognition.split_list(lists.endpoints))
        or "none, so no private address is recognised"
    )
    return [
        "KnownNetworks, changed by invoke deploy:",
        *(marked or ["  none"]),
        f"Allowed for a time or a person, changed {WITHIN}:",
        *(allowed or ["  none"]),
        *(
            []
            if lists.is_read
            else [
                "  The deployed version does not read them: run invoke bootstrap and invoke deploy."
            ]
        ),
        f"VPC endpoints that vouch for private addresses: {untrusted.printable(endpoints, 300)}",
    ]


def is_sound(lists: Lists) -> bool:
    """Say whether every entry of both lists is usable."""
    return not recognition.parse(lists.known).unusable and all(one.allowed for one in lists.kept)


def _order(one: Kept) -> tuple[bool, float]:
    """What ends first stands first, what never ends last, and what is unusable before all."""
    if one.allowed is None:
        return False, 0.0
    return True, float("inf") if one.allowed.expires is None else one.allowed.expires


def _line(one: Kept, now: float) -> str:
    if one.allowed is None:
        return f"UNUSABLE, matches nothing: {untrusted.printable(one.fault, 200)}  id {untrusted.printable(one.id)}"
    return f"{_described(one.allowed, now)}  id {untrusted.printable(one.id)}"


def _described(one: Allowance, now: float) -> str:
    who = f"for {untrusted.printable(one.who)} alone" if one.who else "for everybody"
    wide = "  WIDE" if one.wide else ""
    return f"{one.cidr}{wide}  {untrusted.printable(one.label)}  {who}  {_until(one, now)}"


def _until(one: Allowance, now: float) -> str:
    if one.expires is None:
        return "for ever"
    at = allowance.format_time(one.expires)
    if not one.is_current(now):
        return f"EXPIRED at {at}, matches nothing"
    return f"until {at}, in {_length(one.expires - now)}"


def _length(seconds: float) -> str:
    """Write a length of time with its two largest units."""
    days, rest = divmod(int(seconds), UNITS["d"])
    hours, rest = divmod(rest, UNITS["h"])
    return f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min"


def refuse_no_address(text: str) -> None:
    """Refuse what is not one address, which nothing ever recognises; RefusedError."""
    if recognition.pack(text) is None:
        raise RefusedError(
            f"--address {untrusted.printable(text)}",
            "is not one address",
            "write it like 203.0.113.7 or 2001:db8::7",
        )


def judge(lists: Lists, address: str, who: str | None, now: float) -> tuple[list[str], bool]:
    """Say what recognises a sign-in from ``address`` by ``who``; return the lines to tell and whether anything does."""
    found = [f"KnownNetworks, {entry}" for entry in _known_with(lists, address)]
    inside = [
        (kept, one) for kept, one in lists.usable if one.is_current(now) and _holds(one, address)
    ]
    found += [_line(kept, now) for kept, one in inside if one.is_for(*([who] if who else []))]
    personal = [_line(kept, now) for kept, one in inside if not one.is_for(*([who] if who else []))]
    hints = [f"Only for another person or role (--who): {line}" for line in personal]
    if recognition.is_private(address):
        return _private(lists, address, [*found, *hints])
    if found:
        return [
            f"{address} is recognised by: {found[0]}",
            *(f"and by: {line}" for line in found[1:]),
            *hints,
        ], True
    return [f"{address} is not recognised: a sign-in from there alerts.", *hints], False


def _known_with(lists: Lists, address: str) -> Sequence[str]:
    """Return the entries of the first list that hold the address, whether it is public or private."""
    read = [(entry, recognition.parse(entry)) for entry in recognition.split_list(lists.known)]
    return [
        untrusted.printable(entry)
        for entry, found in read
        if recognition.recognises(found, address, by_endpoint=True)
    ]


def _holds(one: Allowance, address: str) -> bool:
    return recognition.recognises(one.ranges, address, by_endpoint=True)


def _private(lists: Lists, address: str, listed: list[str]) -> tuple[list[str], bool]:
    endpoints = ", ".join(recognition.split_list(lists.endpoints)) or "of which there is none"
    told = f"{address} is private: it is recognised only if it is listed and comes through an allowed VPC endpoint"
    return [
        f"{told} ({untrusted.printable(endpoints, 300)}).",
        *(f"Listed in: {line}" for line in listed),
    ], False
