"""``invoke networks``: shows the recognised networks, and writes and revokes allowances.

A network, or range, is written as a CIDR: 203.0.113.0/24, or 203.0.113.7 for a single address. A
sign-in is recognised if its address is in an entry of one of two lists:

- KnownNetworks is a parameter of the stack, changed by ``invoke deploy``. An entry is a CIDR.
- Allowances are parameters in Systems Manager, changed here without a deploy. An allowance is a
  CIDR with a label, and optionally an expiry and the one person or role that it is for (``who``).

The function decodes them with the same code. Other people and programs may write to Systems Manager
too, so what is read from there is untrusted. Times (``now``, an expiry) are in seconds since 1970.
"""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from signwatch.detection import allowance
from signwatch.detection import networks as recognition
from tooling.deploy import stack
from tooling.errors import RefusedError
from tooling.invocation import spell
from tooling.terminal import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.detection.allowance import Allowance
    from tooling.deploy.account import Account
    from tooling.settings import Settings

ADDRESS_SERVICE = "https://checkip.amazonaws.com"  # answers with the caller's public address
ADDRESS_SERVICE_TIMEOUT_SECONDS = 5.0
UNIT_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
ADDRESS_MAX_BYTES = 64  # more than the longest address; no more of the answer is read
LONG_VALUE_MAX_CHARS = 300  # of an error or a list of endpoints on the terminal
PROBLEM_MAX_CHARS = 200  # of the reason why an allowance is unusable
WHEN_EFFECTIVE = "within a minute, without a deploy"
CIDR_FORMAT_REMEDY = "write a range like 203.0.113.0/24"
# An allowance can be written without a deploy, so it never recognises more.
WIDE_REMEDY = (
    "give a narrower range; only KnownNetworks, which a deploy shows, can hold a wider one, split"
    " into ranges of /8 (IPv4) or /19 (IPv6): "
)
GIVE_CIDR_REMEDY = "give --cidr 203.0.113.7"


@dataclass(frozen=True)
class StoredAllowance:
    """One parameter in Systems Manager that holds an allowance.

    If its value is unusable, ``allowance`` is None and ``problem`` says why.
    """

    path: str  # the parameter's name, such as /signwatch/networks/1f0c...
    allowance: Allowance | None
    problem: str = ""

    @property
    def id(self) -> str:
        """The part of the path after the last slash."""
        _, _, last_part = self.path.rpartition("/")
        return last_part


@dataclass(frozen=True)
class RecognisedNetworks:
    """Both lists, as deployed, and the VPC endpoints through which private addresses may come."""

    known: str  # KnownNetworks: entries separated by commas
    endpoints: tuple[str, ...]  # the ids of the allowed VPC endpoints
    allowances: tuple[StoredAllowance, ...]
    has_allowance_support: bool  # False if the deployed function is too old to read allowances


class AddressCheck(NamedTuple):
    """Whether an address is certainly recognised, after the lines to print that say why."""

    lines: list[str]
    is_recognised: bool


def load(aws: Account, settings: Settings) -> RecognisedNetworks:
    """Read KnownNetworks, the allowed VPC endpoints and the allowances.

    Raises RefusedError if Signwatch is not deployed.
    """
    parameters = stack.require_deployed(aws, settings).parameters
    paginator = aws.client("ssm").get_paginator("get_parameters_by_path")
    allowances = [
        _decode(parameter["Name"], parameter["Value"])
        for page in paginator.paginate(Path=_allowances_path(settings), Recursive=False)
        for parameter in page["Parameters"]
    ]
    return RecognisedNetworks(
        parameters.get("KnownNetworks", ""),
        tuple(recognition.split_list(parameters.get("AllowedVpcEndpointIds", ""))),
        tuple(allowances),
        # An older function ignores allowances. This parameter shows the version: both came with one
        # release.
        has_allowance_support="AllowedVpcEndpointIds" in parameters,
    )


def _allowances_path(settings: Settings) -> str:
    """Return the path below which all allowances are stored: /signwatch/networks."""
    return f"/{settings.prefix}/{allowance.PARAMETER_FOLDER}"


def _decode(path: str, value: str) -> StoredAllowance:
    """Decode the value of one parameter; an unusable value becomes a ``problem``."""
    try:
        return StoredAllowance(path, allowance.decode(value))
    except ValueError as error:
        return StoredAllowance(path, allowance=None, problem=str(error))


def parse_duration(text: str) -> int | None:
    """Return a duration like 3d in seconds, or None for "forever".

    Raises RefusedError for any other text.
    """
    if text == "forever":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text, re.ASCII)
    if not match:
        where = f"--for {untrusted.escape_unprintable(text)}"
        remedy = "write it like 90m, 12h, 3d, 2w, or: forever"
        raise RefusedError(where, "is not a duration", remedy)
    count, unit = match.groups()
    return int(count) * UNIT_SECONDS[unit]


def make_allowance(
    cidr: str, label: str | None, who: str | None, seconds: int | None, now: float
) -> Allowance:
    """Return the allowance that the user asks for.

    ``seconds`` is how long it lasts, None for ever. Without ``who`` it is for everybody; without
    ``label``, its label is the day.
    Raises RefusedError for an unusable value, such as a range that is too wide.
    """
    expires = None if seconds is None else int(now) + seconds
    if label is None:
        day, _, _ = allowance.format_time(int(now)).partition("T")
        label = f"allowed on {day}"
    try:
        return allowance.make(cidr, label, who or "", expires)
    except ValueError as error:
        where = f"allowance for {untrusted.escape_unprintable(cidr)}"
        remedy = f"{CIDR_FORMAT_REMEDY} and short names"
        if isinstance(error, recognition.TooWideError):
            remedy = WIDE_REMEDY + spell("deploy", "--set KnownNetworks=16.0.0.0/8,17.0.0.0/8")
        raise _to_refused_error(error, where, remedy) from error


def _to_refused_error(error: ValueError, where: str, remedy: str) -> RefusedError:
    """Return a RefusedError with the message of ``error``, which may quote untrusted text."""
    what = untrusted.escape_unprintable(str(error), LONG_VALUE_MAX_CHARS)
    return RefusedError(where, what, remedy)


def find_own_address() -> str:
    """Return the caller's public address as AWS sees it. Raises RefusedError on failure."""
    try:
        with urllib.request.urlopen(
            ADDRESS_SERVICE, timeout=ADDRESS_SERVICE_TIMEOUT_SECONDS
        ) as response:
            return str(response.read(ADDRESS_MAX_BYTES).decode("ascii").strip())
    except (OSError, ValueError) as error:
        what = f"did not return your address ({error})"
        raise RefusedError(ADDRESS_SERVICE, what, GIVE_CIDR_REMEDY) from error


def offer_own_address(
    announce: Callable[[str], None],
    *,
    is_asked: bool,
    find_address: Callable[[], str] = find_own_address,
) -> str:
    """Return the user's public address, which is announced; the task asks before it allows it.

    ``is_asked`` is False if no question follows (--yes): a script cannot see whose address it is.
    Raises RefusedError then, and if there is no public address.
    """
    if not is_asked:
        what = "is missing, and with --yes nobody is asked whether your address is meant"
        raise RefusedError("--cidr", what, GIVE_CIDR_REMEDY)
    address = find_address()
    if not _is_address(address) or recognition.is_private(address):
        what = f"did not return a public address ({untrusted.escape_unprintable(address)})"
        raise RefusedError(ADDRESS_SERVICE, what, GIVE_CIDR_REMEDY)
    announce(f"Your address is {address}, according to {ADDRESS_SERVICE}.")
    return address


def allow(
    aws: Account,
    settings: Settings,
    new: Allowance,
    now: float,
    confirm: Callable[[list[str]], None],
) -> list[str]:
    """Write an allowance, replacing one for the same range and person; return the lines to print.

    ``confirm`` is called with the plan before; it raises to stop.
    Raises RefusedError if it would have no effect: the deployed function is too old to read
    allowances, or the range is private and no VPC endpoint is allowed.
    """
    networks = load(aws, settings)
    if not networks.has_allowance_support:
        what = "has a function that is too old to read allowances; nothing was written"
        remedy = f"run: {spell('bootstrap')} and then: {spell('deploy')}"
        raise RefusedError(f"stack {settings.stack}", what, remedy)
    (network,) = new.parsed_cidr.usable  # an allowance has exactly one network
    if recognition.is_wholly_private(network) and not networks.endpoints:
        what = (
            "is private; the stack allows no VPC endpoint, and a private address is recognised"
            " only through one"
        )
        remedy = f"name one first: {spell('deploy', '--set AllowedVpcEndpointIds=vpce-...')}"
        raise RefusedError(f"allowance for {new.cidr}", what, remedy)
    # The name is made from range and person, so this overwrites an allowance for the same.
    path = f"{_allowances_path(settings)}/{new.name}"
    description = format_allowance(StoredAllowance(path, new), now)
    confirm([f"Allow {WHEN_EFFECTIVE}: {description}"])
    aws.client("ssm").put_parameter(
        Name=path, Value=allowance.encode(new), Type="String", Overwrite=True
    )
    return [f"Allowed {WHEN_EFFECTIVE}: {description}"]


def require_one_selection(**flags: str | None) -> None:
    """Raise RefusedError unless exactly one flag is set. If that is --cidr, check its range.

    ``flags`` has the value of each flag that selects what to revoke, None if it is not set.
    """
    given = [name for name, value in flags.items() if value is not None]
    if len(given) != 1:
        what = f"takes exactly one of {', '.join(f'--{name}' for name in flags)}"
        raise RefusedError("networks.revoke", what, f"see all entries with: {spell('networks')}")
    cidr = flags.get("cidr")
    if cidr is not None:
        _parse_cidr(cidr)


def revoke(
    aws: Account,
    settings: Settings,
    now: float,
    confirm: Callable[[list[str]], None],
    *,
    cidr: str | None,
    label: str | None,
    id: str | None,  # noqa: A002 - the flag is called --id
) -> list[str]:
    """Delete the allowances with this range, label or id; return the lines to print.

    ``confirm`` is called with the plan before; it raises to stop.
    Exactly one of the three is given. Raises RefusedError if it selects no allowance.
    """
    stored_cidr = None if cidr is None else _parse_cidr(cidr)
    selected = [
        stored
        for stored in load(aws, settings).allowances
        if _is_selected(stored, cidr=stored_cidr, label=label, id=id)
    ]
    if not selected:
        selection = untrusted.escape_unprintable(cidr or label or id or "")
        what = f"selects no allowance below {_allowances_path(settings)}; nothing was changed"
        remedy = (
            f"see all entries with: {spell('networks')}; change KnownNetworks with:"
            f" {spell('deploy')}"
        )
        raise RefusedError(selection, what, remedy)
    descriptions = [format_allowance(stored, now) for stored in selected]
    confirm([f"Revoke {WHEN_EFFECTIVE}: {description}" for description in descriptions])
    for stored in selected:
        delete(aws, stored.path)
    return [f"Revoked {WHEN_EFFECTIVE}: {description}" for description in descriptions]


def list_allowances_for(aws: Account, settings: Settings, who: str) -> list[StoredAllowance]:
    """Return the allowances for one person or role, whatever the case of the name is.

    Raises RefusedError as ``load`` does.
    """
    return [
        stored
        for stored in load(aws, settings).allowances
        if stored.allowance is not None and stored.allowance.who.casefold() == who.casefold()
    ]


def _is_selected(
    stored: StoredAllowance,
    *,
    cidr: str | None,
    label: str | None,
    id: str | None,  # noqa: A002 - as in revoke
) -> bool:
    """Return whether the allowance has this range, label or id; None selects nothing."""
    if stored.id == id:
        return True
    if stored.allowance is None:
        return False
    return stored.allowance.cidr == cidr or stored.allowance.label == label


def _parse_cidr(text: str) -> str:
    """Return the range in the form in which an allowance stores it, such as 203.0.113.7/32.

    Raises RefusedError if it is malformed or too wide.
    """
    try:
        return str(recognition.parse_network(text))
    except ValueError as error:
        remedy = CIDR_FORMAT_REMEDY
        if isinstance(error, recognition.TooWideError):  # stored, it is unusable
            remedy = f"select it by --id, which this shows: {spell('networks')}"
        raise _to_refused_error(error, "--cidr", remedy) from error


def delete(aws: Account, path: str) -> None:
    """Delete one parameter; it may already be deleted."""
    try:
        aws.client("ssm").delete_parameter(Name=path)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise


def has_only_usable_entries(networks: RecognisedNetworks) -> bool:
    """Return whether every entry of both lists can recognise something."""
    if recognition.parse_list(networks.known).unusable:
        return False
    return all(stored.allowance is not None for stored in networks.allowances)


def expiry_sort_key(stored: StoredAllowance) -> float:
    """Return the sort key: unusable entries first, then by expiry, those without expiry last."""
    if stored.allowance is None:
        return float("-inf")
    if stored.allowance.expires is None:
        return float("inf")
    return stored.allowance.expires


def format_allowance(stored: StoredAllowance, now: float) -> str:
    """Return the line that describes an allowance, or says why it is unusable."""
    shown_id = untrusted.escape_unprintable(stored.id)
    allowed = stored.allowance
    if allowed is None:
        problem = untrusted.escape_unprintable(stored.problem, PROBLEM_MAX_CHARS)
        return f"UNUSABLE, recognises nothing: {problem}  id {shown_id}"
    label = untrusted.escape_unprintable(allowed.label)
    who = "for everybody"
    if allowed.who:
        who = f"for {untrusted.escape_unprintable(allowed.who)} alone"
    return f"{allowed.cidr}  {label}  {who}  {format_expiry(allowed, now)}  id {shown_id}"


def format_expiry(allowed: Allowance, now: float) -> str:
    """Return how long it is valid: "forever", or "until 2026-11-24T10:12:31Z, in 3 d 4 h"."""
    if allowed.expires is None:
        return "forever"
    time = allowance.format_time(allowed.expires)
    if not allowed.is_current(now):
        return f"EXPIRED at {time}, recognises nothing"
    return f"until {time}, in {_format_duration(allowed.expires - now)}"


def _format_duration(seconds: float) -> str:
    """Return a duration as "3 d 4 h", or as "4 h 30 min" if it is shorter than a day."""
    days, rest = divmod(int(seconds), UNIT_SECONDS["d"])
    hours, rest = divmod(rest, UNIT_SECONDS["h"])
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // UNIT_SECONDS['m']} min"


def require_address(text: str) -> None:
    """Raise RefusedError unless ``text`` is a single IP address, without a prefix length."""
    if not _is_address(text):
        where = f"--address {untrusted.escape_unprintable(text)}"
        remedy = "write it like 203.0.113.7 or 2001:db8::7"
        raise RefusedError(where, "is not a single IP address", remedy)


def _is_address(text: str) -> bool:
    """Return whether the text is a single IP address, which alone can be packed into bytes."""
    return recognition.pack_address(text) is not None


def check_address(
    networks: RecognisedNetworks, address: str, who: str | None, now: float
) -> AddressCheck:
    """Check whether a sign-in from ``address`` by ``who`` is recognised.

    Without ``who``, only allowances for everybody count. A private address is never certainly
    recognised: that also depends on the VPC endpoint.
    """
    matches = [  # a line for each entry that recognises the sign-in
        f"KnownNetworks, {untrusted.escape_unprintable(entry)}"
        for entry in recognition.split_list(networks.known)
        if _contains(recognition.parse_list(entry), address)
    ]
    matches_of_others = []  # those for another person or role, which recognise nothing here
    for stored in networks.allowances:
        allowed = stored.allowance
        if allowed is None or not allowed.is_current(now):
            continue
        if not _contains(allowed.parsed_cidr, address):
            continue
        line = format_allowance(stored, now)
        if allowed.is_for(who or ""):
            matches.append(line)
        else:
            matches_of_others.append(f"Only for another person or role (--who): {line}")
    if recognition.is_private(address):
        endpoints = ", ".join(networks.endpoints) or "none"
        endpoints = untrusted.escape_unprintable(endpoints, LONG_VALUE_MAX_CHARS)
        rule = "it is recognised only if it is listed and comes through an allowed VPC endpoint"
        first_line = f"{address} is private: {rule} (allowed: {endpoints})."
        entries = [f"Listed in: {line}" for line in (*matches, *matches_of_others)]
        return AddressCheck([first_line, *entries], is_recognised=False)
    if not matches:
        first_line = f"{address} is not recognised: a sign-in from it causes an alert."
        return AddressCheck([first_line, *matches_of_others], is_recognised=False)
    first_match, *further_matches = matches
    first_line = f"{address} is recognised by: {first_match}"
    further_lines = [f"and by: {line}" for line in further_matches]
    return AddressCheck([first_line, *further_lines, *matches_of_others], is_recognised=True)


def _contains(networks: recognition.Networks, address: str) -> bool:
    """Return whether one of the networks contains the address, be it public or private."""
    # recognises() rejects a private address unless it came by an allowed VPC endpoint. Only
    # membership is asked here, so it is called as if it did.
    return recognition.recognises(networks, address, by_vpc_endpoint=True)
