"""``invoke explain``: what the function would do with a person's own records, judged by the function's own modules.

Nothing is asked of AWS and nothing is remembered: an alert that is told of once a day is told each time here, the
louder answer. Whatever a record holds was written by strangers, so none of it reaches the terminal as it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from signwatch.alerting.message import compose
from signwatch.detection import networks as recognition
from signwatch.detection.record import open_record
from signwatch.detection.signin import (
    NotASignIn,
    Reading,
    SignIn,
    Step,
    Unreadable,
    read,
    read_unfinished,
)
from signwatch.detection.verdict import ROOT_FAILURE, Verdict, judge
from tooling.analysis import record_files
from tooling.errors import FailedError, RefusedError
from tooling.terminal import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CLASSES = {SignIn: "sign-in", Step: "step", NotASignIn: "other", Unreadable: "unreadable"}
LEVELS = {"alert": "alert", "note": "noted", "recognised": "recognised", "ignored": "ignored"}
LOUDER = {  # what the memory would make of an alert, and that there is none here
    "once": "told of once a day, here each time",
    "failures": "texted from the third within 15 minutes on, here each time",
    "linked": "counted with the console sign-in that follows, here by itself",
}
OF_ROOT = "texted at the first and from the third within 15 minutes on, here each time"
PENDING = "noted where no sign-in follows within 15 minutes"  # what a second look would make of a right password
UNFOLLOWED = "unless a sign-in follows within 15 minutes, here each time"
LISTS = (
    "AlertOff",
    "AlertOn",
    "AllowedVpcEndpointIds",
)  # parameters that hold entries separated by commas
QUIET = 2.0  # seconds that may pass without a word on how far it is
BETWEEN = 0.5  # seconds between two such words


@dataclass(frozen=True)
class Criteria:
    """What the records are judged by.

    The recognised networks, as written and as read, the account's label, the causes that are switched off and on, the
    zone whose time a text tells, and the VPC endpoints that vouch for a private address.
    """

    written: str
    known: recognition.Networks
    label: str = ""
    off: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    zone: str = ""
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Streams:
    """Where records may come from, and where what is shown goes."""

    stdin: Callable[[], BinaryIO]
    out: TextIO
    err: TextIO
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def standard(cls) -> Streams:
        """Return the process's own."""
        return cls(lambda: sys.stdin.buffer, sys.stdout, sys.stderr)


@dataclass(frozen=True)
class Explained:
    """One record with its class and verdict; ``time`` and ``what`` are for people and in no JSON."""

    found: record_files.Found
    reading: Reading
    verdict: Verdict
    text: str

    @property
    def kind(self) -> str:
        """The class of what was read, by its name for people."""
        return CLASSES[type(self.reading)]

    def values(self) -> dict[str, Any]:
        """Return what ``--json`` shows; a text is empty where there is none."""
        return {
            "file": self.found.file,
            "index": self.found.index,
            "event_id": self.reading.event_id,
            "event_name": self.reading.event_name,
            "class": self.kind,
            **{name: getattr(self.reading, name, "") for name in FIELDS},
            "verdict": self.verdict.level,
            "severity": self.verdict.severity,
            "reasons": list(self.verdict.reasons),
            "text": self.text,
        }


FIELDS = (
    "kind",
    "who",
    "identity",
    "source",
    "outcome",
    "mfa",
)  # of a SignIn; an Unreadable has some of them


def choose(parameters: Mapping[str, str], networks: str | None) -> Criteria:
    """Settle what to judge by: ``networks`` as given with the flag, else the configuration's.

    Raises RefusedError for an entry that can recognise nothing.
    """
    where = "--networks" if networks is not None else "parameter KnownNetworks"
    written = networks if networks is not None else parameters.get("KnownNetworks", "")
    try:
        recognition.parse_strictly(written)
    except ValueError as error:
        remedy = "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
        raise RefusedError(where, str(error), remedy) from error
    off, on, endpoints = (tuple(recognition.split_list(parameters.get(name, ""))) for name in LISTS)
    label, zone = parameters.get("AccountLabel", ""), parameters.get("TimeZone", "")
    return Criteria(written, recognition.parse(written), label, off, on, zone, endpoints)


def explain(found: record_files.Found, by: Criteria) -> Explained:
    """Read and judge one record as the function does, with nothing remembered; compose the text of an alert."""
    reading, verdict = _judged(found.record, by)
    if verdict.level == "alert" and (
        louder := "once" if verdict.deduplication_key else verdict.grouped
    ):
        told = OF_ROOT if ROOT_FAILURE in verdict.causes else LOUDER[louder]
        verdict = verdict._replace(reasons=(*verdict.reasons, told))
    text = ""
    if verdict.level == "alert" and isinstance(reading, (SignIn, Unreadable)):
        text = compose(reading, verdict, label=by.label, zone=by.zone, delay=None).text
    return Explained(found, reading, verdict, text)


def _judged(record: object, by: Criteria) -> tuple[Reading, Verdict]:
    """Read and judge a record; a right password that would alert if nothing followed does, the louder answer."""
    reading = read(record)
    verdict = _verdict(reading, by)
    if not (isinstance(reading, Step) and reading.pending):
        return reading, verdict
    waiting = read_unfinished(record)
    looked = _verdict(waiting, by)
    if looked.level == "alert":
        return waiting, looked._replace(reasons=(*looked.reasons, UNFOLLOWED))
    return reading, verdict._replace(reasons=(*verdict.reasons, PENDING))


def _verdict(reading: Reading, by: Criteria) -> Verdict:
    recognised = isinstance(reading, SignIn) and recognition.recognises_sign_in(
        by.known, reading.source, reading.endpoint, by.endpoints
    )
    return judge(reading, recognised=recognised, off=by.off, on=by.on)


def run(paths: Sequence[str], by: Criteria, streams: Streams, *, as_json: bool = False) -> None:
    """Show what would be done with each record below the paths, and tell of what cannot be read.

    Raises RefusedError for a path that is not there or holds nothing, FailedError when something cannot be read.
    """
    files = record_files.sources(paths)
    showing = Showing(streams, by, as_json=as_json)
    full = set[str]()
    try:
        for file in files:
            _explain_file(file, showing, full)
        showing.close()
    except BrokenPipeError:  # whoever read our lines, such as head, has enough of them
        _hush(streams.out)
    if showing.faults:
        places = "1 place" if showing.faults == 1 else f"{showing.faults} places"
        what = f"{places} named above could not be read; everything else was judged"
        raise FailedError("records", what, "do what is said there, then run the same word again")
    record_files.refuse_empty(files, full)


def _explain_file(
    file: record_files.Source | record_files.Fault, showing: Showing, full: set[str]
) -> None:
    """Show one file's records; a file in which there was something makes its given path one of the ``full``."""
    if isinstance(file, record_files.Fault):
        showing.fault(file)
        return
    showing.files += 1
    for found in record_files.read(file, showing.streams.stdin):
        full.add(file.given)
        if isinstance(found, record_files.Fault):
            showing.fault(found)
        else:
            showing.record(explain(found, showing.by))


def _hush(out: TextIO) -> None:
    """Let the interpreter's last flush go nowhere instead of complaining."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


@dataclass
class Showing:
    """What is shown as it comes, and the sums for the end."""

    streams: Streams
    by: Criteria
    as_json: bool = False
    files: int = 0
    faults: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.progress = Progress(self.streams)

    def record(self, explained: Explained) -> None:
        """Count a record, and show it; of events of other kinds people only see how many there were."""
        self.levels[explained.verdict.level] += 1
        self.kinds[explained.kind] += 1
        if self.as_json:
            self._line(untrusted.ascii_json(explained.values()))
        elif explained.kind != "other":
            for line in lines(explained):
                self._line(line)
        self.progress.tell(self.files, self.levels.total())

    def fault(self, fault: record_files.Fault) -> None:
        """Tell of what could not be read, on standard error."""
        self.faults += 1
        self.progress.clear()
        self.streams.err.write(f"{untrusted.printable(str(fault), 500)}\nTry: {fault.remedy}\n")

    def close(self) -> None:
        """Show the sums, for people."""
        self.progress.clear()
        if self.levels and not self.as_json:
            for line in ("", *self._sums()):
                self._line(line)
        self.streams.out.flush()

    def _sums(self) -> tuple[str, str]:
        by_level = ", ".join(f"{self.levels[level]} {word}" for level, word in LEVELS.items())
        ignored = (
            f" (steps {self.kinds['step']}, other events {self.kinds['other']})"
            if self.levels["ignored"]
            else ""
        )
        written = (
            ", ".join(recognition.split_list(self.by.written))
            or "none, so every source is unrecognised"
        )
        total = f"records {self.levels.total()}, files {self.files}: {by_level}{ignored}"
        return total, f"recognised networks: {untrusted.printable(written, len(written))}"

    def _line(self, line: str) -> None:
        self.progress.clear()
        encoding = getattr(self.streams.out, "encoding", None) or "utf-8"
        self.streams.out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


@dataclass
class Progress:
    """One line on a terminal that says how far it is, once it takes long."""

    streams: Streams
    is_shown: bool = False

    def __post_init__(self) -> None:
        self.due = self.streams.clock() + QUIET

    def tell(self, files: int, count: int) -> None:
        """Say how far it is, if it is time for it and somebody looks."""
        if self.streams.clock() < self.due or not self.streams.err.isatty():
            return
        self.due, self.is_shown = self.streams.clock() + BETWEEN, True
        self.streams.err.write(f"\r\x1b[K{count:,} records in {files:,} files ...")
        self.streams.err.flush()

    def clear(self) -> None:
        """Take the line away, before another one is written."""
        if self.is_shown:
            self.is_shown = False
            self.streams.err.write("\r\x1b[K")
            self.streams.err.flush()


def lines(explained: Explained) -> list[str]:
    """Return the lines for people: time, verdict, what, who, source and reasons, and the text of an alert below."""
    reading, verdict = explained.reading, explained.verdict
    level = f"{verdict.level} {verdict.severity}" if verdict.severity == "high" else verdict.level
    at = untrusted.printable(open_record(explained.found.record).time, 20) or "time unknown"
    parts = [_what(reading)]
    if isinstance(reading, (SignIn, Unreadable)):
        parts += [
            f'"{untrusted.printable(reading.who)}"',
            untrusted.printable(reading.source) or "source not recorded",
        ]
    line = "  ".join(
        [f"{at:<20}", f"{level:<10}", *parts, "; ".join(map(untrusted.printable, verdict.reasons))]
    )
    return [line, *(f"    {untrusted.printable(line)}" for line in explained.text.splitlines())]


def _what(reading: Reading) -> str:
    if isinstance(reading, SignIn):
        return reading.what + (" FAILED" if reading.outcome == "failure" else "")
    return untrusted.printable(reading.event_name) or "unnamed event"
