"""Fuzzing: arbitrary and mutated records, addresses against a second implementation, hostile texts; all counted.

``./inv test --fuzz COUNT`` runs this file; the suite calls the same functions with small counts and fixed seeds.
"""

from __future__ import annotations

import copy
import json
import random
import re
import socket
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from signwatch import gsm7
from signwatch.alerting import message
from signwatch.detection import networks, sign_in_paths, signin, verdict
from tests.support.sign_ins import CASES, event, mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

LINK = re.compile(r"\w\.\w|://|@|\bwww\b|:\w", re.ASCII)
NUMBER = re.compile(r"(?:\d[ ()./-]*){7,}")
OURS = (
    re.compile(  # the moment in UTC, ids in their own form, addresses, and the dots of what was cut
        r" ?\d+-\d\d-\d\d \d\d:\d\d:\d\d UTC(, \d+ (h|min) ago)?"
        r"|^(Id|Account:|CloudTrail event:) [0-9A-Fa-f-]+( in aws-(cn|us-gov))?$"
        r"|^From: [0-9A-Fa-f:., ]+$|\.\.\.",
        re.MULTILINE,
    )
)
ZONES = ("", "Asia/Kathmandu", "no/zone")
ALPHABET = gsm7.BASIC | gsm7.EXTENDED | {"\n"}
SCRIPTS = (
    "Ünïcødé",
    "漢字かな",
    "עברית",
    "Ελληνικά",
    "हिन्दी",
    "😀\u200d💻",
    "\u202e\u2066\u0000",
    "\ud83d",
)
LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1e308,
    "",
    "Success",
    "Root",
    "203.0.113.9",
    [],
    {},
    "x" * 70_000,
)
ALERT = verdict.Verdict("alert", "normal", ("unrecognised source",))
SIGN_INS = tuple(
    reading
    for case in CASES.values()
    if isinstance(
        reading := signin.read(copy.deepcopy(case["event"])), (signin.SignIn, signin.Unreadable)
    )
)


class Records(NamedTuple):
    """What became of records: how many, how many raised, how many that came in as a sign-in ended without a verdict."""

    tried: int
    exceptions: int
    silent: int

    def __str__(self) -> str:
        return f"fuzzed {self.tried}, exceptions {self.exceptions}, sign-ins without a verdict {self.silent}"


class Recognition(NamedTuple):
    """What became of addresses: how many, how many wrongly recognised, how many wrongly not."""

    tried: int
    false_recognised: int
    false_refused: int

    def __str__(self) -> str:
        return f"recognition {self.tried}, false recognised {self.false_recognised}"


class Texts(NamedTuple):
    """What became of hostile fields."""

    tried: int
    too_long: int
    outside: int
    tempting: int
    incomplete: int

    def __str__(self) -> str:
        return (
            f"texts {self.tried}, over {message.TEXT_MAX_SEPTETS} septets {self.too_long}, outside GSM-7 {self.outside}, "
            f"to tap on {self.tempting}, without account, what and source {self.incomplete}"
        )


def records(count: int, chance: random.Random) -> Records:
    """Read and judge ``count`` records: fixtures that were dropped, nulled, retyped and nested, and arbitrary JSON."""
    exceptions = silent = 0
    for _ in range(count):
        told = chance.choice((_mutated, _mutated, _arbitrary, _overgrown))(chance)
        try:
            reading = signin.read(told)
            levels = {
                verdict.judge(reading, recognised=recognised).level for recognised in (True, False)
            }
        except Exception:  # noqa: BLE001 - this is what is counted
            exceptions += 1
            continue
        silent += int(
            _came_in(told)
            and not levels <= {"alert", "note", "recognised"}
            and not _may_be_step(told, reading)
        )
    return Records(count, exceptions, silent)


STEPS = (  # in lower case
    *("refresh_token", "credentialverification", "role/aws-reserved/sso.amazonaws.com/"),
    *("authorizationpendingexception", "slowdownexception"),
)


def _came_in(told: Any) -> bool:
    """Whether a rule hands it over as a sign-in: by source and name, whatever else it holds."""
    detail = told.get("detail") if isinstance(told, dict) else None
    source, name = (
        (detail.get(key) for key in ("eventSource", "eventName"))
        if isinstance(detail, dict)
        else ("", "")
    )
    if not isinstance(source, str) or not isinstance(name, str):
        return False
    return (source.strip().lower().partition(".")[0], name.strip().lower()) in sign_in_paths.PATHS


def _may_be_step(told: Any, reading: signin.Reading) -> bool:
    """Whether it was read as a step, and holds one of the things that make one of an event with such a name."""
    if not isinstance(reading, signin.Step):
        return False
    held = json.dumps(told, default=str).lower()
    return any(mark in held for mark in STEPS)


def _mutated(chance: random.Random) -> Any:
    told = mutant(chance)
    for _ in range(chance.choice((0, 0, 1, 2, 5))):
        _spoil(told, chance)
    return told


def _overgrown(chance: random.Random) -> Any:
    """A fixture with a part that is huge, deep, or in another script."""
    told = event(chance.choice(list(CASES)))
    if isinstance(told, dict):
        for node in chance.sample(list(_objects(told)), k=1):
            node[chance.choice(("userName", "arn", "x", *map(str, node)))] = chance.choice(
                (
                    chance.choice(SCRIPTS) * chance.randint(1, 400),
                    _deep(chance.randint(1, 300)),
                    ["a"] * 3000,
                )
            )
    return told


def _deep(depth: int) -> Any:
    node: Any = "leaf"
    for _ in range(depth):
        node = {"userIdentity": node}
    return node


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)


def _spoil(told: Any, chance: random.Random) -> None:
    nodes = [node for node in _objects(told) if node]
    if nodes:
        node = chance.choice(nodes)
        key = chance.choice(list(node))
        if chance.random() < 0.3:
            del node[key]
        else:
            node[key] = copy.deepcopy(
                chance.choice((*LEAVES, *SCRIPTS, {"detail": node.get(key)}, [node.get(key)]))
            )


def _arbitrary(chance: random.Random, depth: int = 4) -> Any:
    """Any JSON, with the names of a record sprinkled in so that it looks like one."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice((*LEAVES, *SCRIPTS, chance.random(), chance.getrandbits(70)))
    if chance.random() < 0.3:
        return [_arbitrary(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    names = (
        "detail",
        "eventSource",
        "eventName",
        "userIdentity",
        "type",
        "arn",
        "responseElements",
        "ConsoleLogin",
        "",
    )
    found = {
        chance.choice(names): _arbitrary(chance, depth - 1) for _ in range(chance.randint(0, 5))
    }
    if chance.random() < 0.5:
        service, name = chance.choice(list(sign_in_paths.PATHS))
        found |= {"eventSource": f"{service}.amazonaws.com", "eventName": name}
    return {"detail": found} if chance.random() < 0.5 else found


def recognition(count: int, chance: random.Random) -> Recognition:
    """Hold recognition against a second implementation, written on Python's ipaddress and whole numbers."""
    wrong = missed = 0
    for number in range(count):
        if number % 50 == 0:  # one list for some addresses: parsing a list is most of the work
            entries = [_entry(chance) for _ in range(chance.randint(0, 6))]
            known, second = networks.parse(",".join(entries)), [_range(entry) for entry in entries]
        source = _source(chance, entries)
        first, other = networks.recognises(known, source), _recognises(second, source)
        wrong, missed = wrong + int(first and not other), missed + int(other and not first)
    return Recognition(count, wrong, missed)


PRIVATE = (
    ("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16), ("100.64.0.0", 10), ("169.254.0.0", 16),
    ("127.0.0.0", 8), ("fe80::", 10), ("::1", 128), ("fc00::", 7),
)  # fmt: skip
MAPPED = 0xFFFF << 32


def _number(text: object) -> tuple[int, int] | None:
    """The bits of the family and the number of an address, IPv4-mapped ones as IPv4; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-Fa-f:.]+", text, re.ASCII):
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    bits, number = address.max_prefixlen, int(address)
    return (
        (32, number & 0xFFFFFFFF)
        if bits == 128 and number >> 32 == MAPPED >> 32
        else (bits, number)
    )


def _range(entry: str) -> tuple[int, int, int] | None:
    """Bits of the family, first and last number of an entry of the list; None for one that is not usable."""
    text, slash, length = entry.strip().partition("/")
    found = _number(text)
    if found is None or (slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", length)):
        return None
    bits, first = found
    whole = 128 if ":" in text else 32
    fixed = (int(length) if slash else whole) - (whole - bits)
    if int(length or 0) > whole or not (8 if bits == 32 else 19) <= fixed <= bits:
        return None
    size = 1 << (bits - fixed)
    return None if first % size else (bits, first, first + size - 1)


def _recognises(ranges: list[tuple[int, int, int] | None], source: object) -> bool:
    found = _number(source)
    if found is None:
        return False
    bits, number = found
    private = [_range_of(*one) for one in PRIVATE]
    inside = [
        one for one in (*ranges, *private) if one and one[0] == bits and one[1] <= number <= one[2]
    ]
    return bool(inside) and not any(one in private for one in inside)


def _range_of(text: str, fixed: int) -> tuple[int, int, int]:
    found = _number(text)
    assert found
    bits, first = found
    return bits, first, first + (1 << (bits - fixed)) - 1


def _address(chance: random.Random) -> str:
    if chance.random() < 0.5:
        return socket.inet_ntop(socket.AF_INET, chance.getrandbits(32).to_bytes(4, "big"))
    number = chance.getrandbits(128) if chance.random() < 0.8 else MAPPED | chance.getrandbits(32)
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))


def _entry(chance: random.Random) -> str:
    """An entry of a list: mostly a proper range, now and then one with host bits, too wide, or nonsense."""
    text = _address(chance)
    bits, number = _number(text) or (32, 0)
    fixed = chance.randint(8 if bits == 32 else 19, bits)
    first = number >> (bits - fixed) << (bits - fixed)
    family = socket.AF_INET if bits == 32 else socket.AF_INET6
    proper = f"{socket.inet_ntop(family, first.to_bytes(bits // 8, 'big'))}/{fixed}"
    return chance.choice(
        (
            proper,
            proper,
            proper,
            proper,
            f"{text}/{fixed}",
            text,
            f"{text}/{chance.randint(0, 140)}",
            "x",
        )
    )


def _source(chance: random.Random, entries: list[str]) -> object:
    """A source as recorded: near the edge of a range, anywhere, or not quite an address."""
    found = _range(chance.choice(entries)) if entries and chance.random() < 0.7 else None
    if found:
        bits, first, last = found
        number = chance.choice((first, last, chance.randint(first, last), first - 1, last + 1)) % (
            1 << bits
        )
        family = socket.AF_INET if bits == 32 else socket.AF_INET6
        text = socket.inet_ntop(family, number.to_bytes(bits // 8, "big"))
    else:
        number, text = 0, _address(chance)
    if chance.random() < 0.7:
        return text
    return chance.choice(
        (
            f"{text},{text}", f"{text}, 10.0.0.1", f" {text}", f"{text}\n", f"{text}:443", f"[{text}]", f"{text}%eth0",
            f"{text}/32", f"0{text}", text.replace(".", ".0", 1), text.upper(), f"::ffff:{text}", number, None, True,
            text.encode(), [text], "AWS Internal", "cloudformation.amazonaws.com", "", text.replace("1", "\u0661"),
        )
    )  # fmt: skip


def texts(count: int, chance: random.Random) -> Texts:
    """Compose ``count`` texts from fields that a stranger chose, and look for what must not be in them."""
    too_long = outside = tempting = incomplete = 0
    for _ in range(count):
        sign_in, label = _disguised(chance), _hostile(chance)
        told = message.compose(
            sign_in,
            ALERT,
            label=label,
            zone=chance.choice(ZONES),
            delay=chance.choice([None, 0, 10**9]),
        )
        shown = OURS.sub("", told.body)
        what = sign_in.what if isinstance(sign_in, signin.SignIn) else "Unreadable sign-in ("
        lines = told.text.split("\n")
        whole = lines[0].startswith("AWS SIGN-IN ALERT account ") and lines[1].startswith(what)
        too_long += int(gsm7.septets(told.text) > message.TEXT_MAX_SEPTETS)
        outside += int(not ALPHABET.issuperset(told.body))
        tempting += int(bool(LINK.search(shown) or NUMBER.search(shown)))
        incomplete += int(
            not (whole and len(lines[0]) > 26 and any(line.startswith("From: ") for line in lines))
        )
    return Texts(count, too_long, outside, tempting, incomplete)


def _hostile(chance: random.Random) -> str:
    """A text as a stranger might choose it, from all of Unicode or from what hurts most."""
    pieces = (
        lambda: chr(chance.randrange(0x110000)),
        lambda: chance.choice("[]{}~|^\\€"),
        lambda: chance.choice(
            ["http://evil.example/", "evil.com", "a@b.co", "+49 151 2345678", "tel:", "\r\n", '"']
        ),
        lambda: chance.choice("\u202e\u200b\u2066\x00\x1b\u0301\ufe0f\uff0e\u3002"),
        lambda: (
            chance.choice(["T", "Z", ":", ".", "%", "198.51.100.1", "2001:db8::1", "9"])
            * chance.randint(1, 30)
        ),
    )
    return "".join(chance.choice(pieces)() for _ in range(chance.choice([0, 1, 3, 9, 25])))


def _disguised(chance: random.Random) -> signin.SignIn | signin.Unreadable:
    """A sign-in whose recorded fields are all hostile; what we write ourselves stays as it is."""
    base = chance.choice(SIGN_INS)
    if isinstance(base, signin.Unreadable):
        return signin.Unreadable(*(_hostile(chance) for _ in signin.Unreadable._fields))
    recorded = ("event_id", "event_name", "who", "account", "region", "source", "time")
    return base._replace(**{name: _hostile(chance) for name in recorded})


def main(count: int) -> int:
    """Fuzz ``count`` records and texts and ten times as many addresses; 1 when anything was found."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    addresses = recognition(10 * count, chance)
    print(addresses, flush=True)
    composed = texts(count, chance)
    print(composed, flush=True)
    read = records(count, chance)
    print(read, flush=True)
    return int(any((*addresses[1:], *composed[1:], *read[1:])))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
