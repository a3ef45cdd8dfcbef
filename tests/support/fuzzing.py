"""Fuzzes reading, judging, recognition and texts, and counts what goes wrong.

Records are arbitrary and mutated, addresses are checked by a second implementation, texts are
composed from hostile fields. ``./inv test --fuzz COUNT`` runs this file; the unit tests call the
same functions with small counts and fixed seeds.
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

TEXT_MAX_SEPTETS = 306
LINK = re.compile(r"\w\.\w|://|@|\bwww\b|:\w", re.ASCII)
PHONE_NUMBER = re.compile(r"(?:\d[ ()./-]*){7,}")
# What no stranger chose: the time in UTC, ids and addresses as they are, dots where text was cut.
OWN_TEXT = re.compile(
    r" ?\d+-\d\d-\d\d \d\d:\d\d:\d\d UTC(, \d+ (h|min) ago)?"
    r"|^(Id|Account:|CloudTrail event:|User id:) [0-9A-Fa-f-]+( in aws-(cn|us-gov))?$"
    r"|^From: [0-9A-Fa-f:., ]+( and \d+ more)?$|\.\.\."
    r"|^Via vpce-[0-9A-Fa-f-]+$|^(In|From) account: \d{12}$| in \d{12}$",
    re.MULTILINE,
)
ZONES = ("", "Asia/Kathmandu", "no/zone")
ALPHABET = gsm7.BASIC_CHARACTERS | gsm7.EXTENSION_CHARACTERS | {"\n"}
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
    *(None, True, False, 0, -1, 1e308, [], {}),
    *("", "Success", "Root", "203.0.113.9", "x" * 70_000),
)
RECORD_KEYS = (
    *("detail", "eventSource", "eventName", "userIdentity", "type", "arn"),
    *("responseElements", "ConsoleLogin", ""),
)
# One of these, in lower case, is in every record that may be read as a step.
STEP_MARKS = (
    *("refresh_token", "credentialverification", "role/aws-reserved/sso.amazonaws.com/"),
    *("authorizationpendingexception", "slowdownexception"),
)
PRIVATE_RANGES = (
    ("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16), ("100.64.0.0", 10),
    ("169.254.0.0", 16), ("127.0.0.0", 8), ("fe80::", 10), ("::1", 128), ("fc00::", 7),
)  # fmt: skip
IPV4_MAPPED = 0xFFFF << 32  # the first address of ::ffff:0:0/96
ALERT = verdict.Verdict("alert", "normal", ("unrecognised source",))
READINGS = [signin.read(event(name)) for name in CASES]
SIGN_INS = [
    reading for reading in READINGS if isinstance(reading, (signin.SignIn, signin.Unreadable))
]


class Records(NamedTuple):
    """Counts of records: tried, raised an exception, came in as a sign-in without a verdict."""

    tried: int
    exceptions: int
    silent: int

    def __str__(self) -> str:
        return (
            f"fuzzed {self.tried}, exceptions {self.exceptions}, "
            f"sign-ins without a verdict {self.silent}"
        )


class Recognition(NamedTuple):
    """Counts of addresses: tried, wrongly recognised, wrongly not recognised."""

    tried: int
    false_recognised: int
    false_refused: int

    def __str__(self) -> str:
        return f"recognition {self.tried}, false recognised {self.false_recognised}"


class Texts(NamedTuple):
    """Counts of texts: tried, too long, outside GSM-7, with something to tap on, incomplete.

    The e-mail may hold any script, but nothing that is invisible or changes the direction.
    """

    tried: int
    too_long: int
    outside: int
    tempting: int
    incomplete: int

    def __str__(self) -> str:
        return (
            f"texts {self.tried}, over {TEXT_MAX_SEPTETS} septets {self.too_long}, "
            f"outside GSM-7 {self.outside}, to tap on {self.tempting}, "
            f"without account, what and source {self.incomplete}"
        )


def fuzz_records(count: int, rng: random.Random) -> Records:
    """Read and judge ``count`` records: changed case files and arbitrary JSON."""
    exceptions = silent = 0
    for _ in range(count):
        record = rng.choice((_mutated_record, _mutated_record, _arbitrary_json, _overgrown_record))(
            rng
        )
        try:
            reading = signin.read(record)
            levels = {
                verdict.judge(reading, recognised=recognised).level for recognised in (True, False)
            }
        except Exception:  # noqa: BLE001 - this is what is counted
            exceptions += 1
            continue
        has_verdict = levels <= {"alert", "note", "recognised"}
        silent += _is_on_path(record) and not has_verdict and not _may_be_step(record, reading)
    return Records(count, exceptions, silent)


def _is_on_path(record: Any) -> bool:
    """Return whether a rule hands the record over as a sign-in: by source and name alone."""
    detail = record.get("detail") if isinstance(record, dict) else None
    if not isinstance(detail, dict):
        return False
    source, name = detail.get("eventSource"), detail.get("eventName")
    if not isinstance(source, str) or not isinstance(name, str):
        return False
    service = source.strip().lower().partition(".")[0]
    return (service, name.strip().lower()) in sign_in_paths.PATHS


def _may_be_step(record: Any, reading: signin.ParsedEvent) -> bool:
    """Return whether it was read as a step and holds something that makes it one."""
    if not isinstance(reading, signin.Step):
        return False
    text = json.dumps(record, default=str).lower()
    return any(mark in text for mark in STEP_MARKS)


def _mutated_record(rng: random.Random) -> Any:
    record = mutant(rng)
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        _spoil(record, rng)
    return record


def _spoil(record: Any, rng: random.Random) -> None:
    """Delete or replace one field of the record."""
    nodes = [node for node in _objects(record) if node]
    if not nodes:
        return
    node = rng.choice(nodes)
    key = rng.choice(list(node))
    if rng.random() < 0.3:
        del node[key]
        return
    values = (*LEAVES, *SCRIPTS, {"detail": node.get(key)}, [node.get(key)])
    node[key] = copy.deepcopy(rng.choice(values))


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)


def _overgrown_record(rng: random.Random) -> Any:
    """Return a case's event with a part that is huge, deep, or in another script."""
    record = event(rng.choice(list(CASES)))
    if isinstance(record, dict):
        node = rng.choice(list(_objects(record)))
        key = rng.choice(("userName", "arn", "x", *map(str, node)))
        script = rng.choice(SCRIPTS) * rng.randint(1, 400)
        node[key] = rng.choice((script, _deep_object(rng.randint(1, 300)), ["a"] * 3000))
    return record


def _deep_object(depth: int) -> Any:
    node: Any = "leaf"
    for _ in range(depth):
        node = {"userIdentity": node}
    return node


def _arbitrary_json(rng: random.Random, depth: int = 4) -> Any:
    """Return any JSON, with some names of a record in it so that it looks like one."""
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((*LEAVES, *SCRIPTS, rng.random(), rng.getrandbits(70)))
    if rng.random() < 0.3:
        return [_arbitrary_json(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    fields = {}
    for _ in range(rng.randint(0, 5)):
        fields[rng.choice(RECORD_KEYS)] = _arbitrary_json(rng, depth - 1)
    if rng.random() < 0.5:
        service, name = rng.choice(list(sign_in_paths.PATHS))
        fields |= {"eventSource": f"{service}.amazonaws.com", "eventName": name}
    return {"detail": fields} if rng.random() < 0.5 else fields


class Range(NamedTuple):
    """A range of addresses as whole numbers, of a family with 32 or 128 bits."""

    bits: int
    first: int
    last: int


def fuzz_recognition(count: int, rng: random.Random) -> Recognition:
    """Check ``count`` addresses by a second implementation, on ipaddress and whole numbers."""
    false_recognised = false_refused = 0
    for number in range(count):
        if number % 50 == 0:  # one list for 50 addresses, since parsing takes most of the time
            entries = [_list_entry(rng) for _ in range(rng.randint(0, 6))]
            listed = networks.parse_list(",".join(entries))
            ranges = [parsed for entry in entries if (parsed := _parse_entry(entry))]
        source = _source(rng, entries)
        actual, expected = networks.recognises(listed, source), _is_recognised(ranges, source)
        false_recognised += actual and not expected
        false_refused += expected and not actual
    return Recognition(count, false_recognised, false_refused)


def _is_recognised(ranges: list[Range], source: object) -> bool:
    parsed = _parse_address(source)
    if parsed is None:
        return False
    bits, number = parsed

    def contains(addresses: Range) -> bool:
        return addresses.bits == bits and addresses.first <= number <= addresses.last

    is_private = any(contains(_range_of(*private)) for private in PRIVATE_RANGES)
    return any(map(contains, ranges)) and not is_private


def _parse_address(text: object) -> tuple[int, int] | None:
    """Return the bits and the number of an address, an IPv4-mapped one as IPv4; else None."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-Fa-f:.]+", text, re.ASCII):
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    bits, number = address.max_prefixlen, int(address)
    if bits == 128 and number >> 32 == IPV4_MAPPED >> 32:
        return 32, number & 0xFFFFFFFF
    return bits, number


def _parse_entry(entry: str) -> Range | None:
    """Return the range of an entry of the list; None if it is unusable."""
    text, slash, length = entry.strip().partition("/")
    address = _parse_address(text)
    if address is None or (slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", length)):
        return None
    bits, first = address
    written_bits = 128 if ":" in text else 32  # differs from bits for an IPv4-mapped address
    if int(length or 0) > written_bits:
        return None
    fixed_bits = (int(length) if slash else written_bits) - (written_bits - bits)
    widest = 8 if bits == 32 else 19
    if not widest <= fixed_bits <= bits:
        return None
    size = 1 << (bits - fixed_bits)
    return None if first % size else Range(bits, first, first + size - 1)


def _range_of(text: str, fixed_bits: int) -> Range:
    address = _parse_address(text)
    assert address
    bits, first = address
    return Range(bits, first, first + (1 << (bits - fixed_bits)) - 1)


def _format_address(bits: int, number: int) -> str:
    family = socket.AF_INET if bits == 32 else socket.AF_INET6
    return socket.inet_ntop(family, number.to_bytes(bits // 8, "big"))


def _address(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return _format_address(32, rng.getrandbits(32))
    if rng.random() < 0.2:
        return _format_address(128, IPV4_MAPPED | rng.getrandbits(32))
    return _format_address(128, rng.getrandbits(128))


def _list_entry(rng: random.Random) -> str:
    """Return mostly a proper range, now and then one with host bits, too wide, or nonsense."""
    text = _address(rng)
    bits, number = _parse_address(text) or (32, 0)
    fixed_bits = rng.randint(8 if bits == 32 else 19, bits)
    first = number >> (bits - fixed_bits) << (bits - fixed_bits)
    proper = f"{_format_address(bits, first)}/{fixed_bits}"
    any_length = f"{text}/{rng.randint(0, 140)}"
    return rng.choice((*[proper] * 4, f"{text}/{fixed_bits}", text, any_length, "x"))


def _source(rng: random.Random, entries: list[str]) -> object:
    """Return a source as recorded: near the edge of a range, anywhere, or almost an address."""
    parsed = _parse_entry(rng.choice(entries)) if entries and rng.random() < 0.7 else None
    number, text = 0, _address(rng)
    if parsed:
        bits, first, last = parsed
        number = rng.choice((first, last, rng.randint(first, last), first - 1, last + 1))
        number %= 1 << bits
        text = _format_address(bits, number)
    if rng.random() < 0.7:
        return text
    return rng.choice(
        (
            f"{text},{text}", f"{text}, 10.0.0.1", f" {text}", f"{text}\n", f"{text}:443",
            f"[{text}]", f"{text}%eth0", f"{text}/32", f"0{text}", text.replace(".", ".0", 1),
            text.upper(), f"::ffff:{text}", number, None, True, text.encode(), [text],
            "AWS Internal", "cloudformation.amazonaws.com", "", text.replace("1", "\u0661"),
        )
    )  # fmt: skip


def fuzz_texts(count: int, rng: random.Random) -> Texts:
    """Compose ``count`` texts from fields that a stranger chose, and count what is wrong."""
    too_long = outside = tempting = incomplete = 0
    for _ in range(count):
        sign_in = _hostile_sign_in(rng)
        alert = message.compose(
            sign_in,
            ALERT._replace(severity=rng.choice(["high", "normal"])),
            label=_hostile_text(rng),
            zone=rng.choice(ZONES),
            delay_seconds=rng.choice([None, 0, 10**9]),
            known_networks="198.51.100.0/24",
        )
        untrusted_text = OWN_TEXT.sub("", alert.body)
        too_long += gsm7.count_septets(alert.text) > TEXT_MAX_SEPTETS
        is_body_printable = alert.body.replace("\n", "").isprintable()
        outside += not (ALPHABET.issuperset(alert.text) and is_body_printable)
        tempting += bool(LINK.search(untrusted_text) or PHONE_NUMBER.search(untrusted_text))
        incomplete += not _is_complete(alert.text.split("\n"), sign_in)
    return Texts(count, too_long, outside, tempting, incomplete)


def _is_complete(lines: list[str], sign_in: signin.SignIn | signin.Unreadable) -> bool:
    """Return whether a text has account, what and source."""
    first_line = lines[0].removeprefix("HIGH ")
    title = "AWS SIGN-IN ALERT account "
    what = sign_in.what if isinstance(sign_in, signin.SignIn) else "Unreadable sign-in ("
    has_account = first_line.startswith(title) and len(first_line) > len(title)
    has_source = any(line.startswith("From: ") for line in lines)
    return has_account and lines[1].startswith(what) and has_source


def _hostile_text(rng: random.Random) -> str:
    """Return a text as a stranger might choose it: from all of Unicode, or what hurts most."""
    pieces = (
        lambda: chr(rng.randrange(0x110000)),
        lambda: rng.choice("[]{}~|^\\€"),
        lambda: rng.choice(
            ["http://evil.example/", "evil.com", "a@b.co", "+49 151 2345678", "tel:", "\r\n", '"']
        ),
        lambda: rng.choice("\u202e\u200b\u2066\x00\x1b\u0301\ufe0f\uff0e\u3002"),
        lambda: (
            rng.choice(["T", "Z", ":", ".", "%", "198.51.100.1", "2001:db8::1", "9"])
            * rng.randint(1, 30)
        ),
    )
    return "".join(rng.choice(pieces)() for _ in range(rng.choice([0, 1, 3, 9, 25])))


def _hostile_sign_in(rng: random.Random) -> signin.SignIn | signin.Unreadable:
    """Return a sign-in whose recorded fields are all hostile; fields of our own stay."""
    base = rng.choice(SIGN_INS)
    if isinstance(base, signin.Unreadable):
        return signin.Unreadable(*(_hostile_text(rng) for _ in signin.Unreadable._fields))
    recorded = ["event_id", "event_name", "who", "account", "region", "source", "time", "client"]
    roles = ("role", "vpc_endpoint", "target_account", "origin_account")
    recorded += [name for name in roles if rng.random() < 0.5]
    return base._replace(**{name: _hostile_text(rng) for name in recorded})


def main(count: int) -> int:
    """Fuzz ``count`` records and texts and ten times as many addresses.

    Returns 1 if anything was wrong.
    """
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    recognition = fuzz_recognition(10 * count, rng)
    print(recognition, flush=True)
    texts = fuzz_texts(count, rng)
    print(texts, flush=True)
    records = fuzz_records(count, rng)
    print(records, flush=True)
    return int(any((*recognition[1:], *texts[1:], *records[1:])))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
