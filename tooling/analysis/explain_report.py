"""Prints what ``invoke explain`` finds, as readable lines or as JSON.

Strangers can write strings into records, so control characters are escaped before they are printed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from signwatch.detection.networks import split_list
from signwatch.detection.record import open_record
from signwatch.detection.signin import NotASignIn, ParsedEvent, SignIn, Step, Unreadable
from tooling.terminal import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from signwatch.detection.verdict import Verdict
    from tooling.analysis.record_files import FileProblem, FileRecord

CLASS_NAMES = {SignIn: "sign-in", Step: "step", NotASignIn: "other", Unreadable: "unreadable"}
LEVEL_NAMES = {"alert": "alert", "note": "noted", "recognised": "recognised", "ignored": "ignored"}
SIGN_IN_FIELDS = ("kind", "who", "identity", "source", "outcome", "mfa")  # shown in JSON
FIRST_PROGRESS_SECONDS, PROGRESS_INTERVAL_SECONDS = 2.0, 0.5
CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True)
class Streams:
    """Standard input, opened on demand; the streams for lines and for problems; the clock."""

    stdin: Callable[[], BinaryIO]
    out: TextIO
    err: TextIO
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def standard(cls) -> Streams:
        """Return the streams of this process."""
        return cls(lambda: sys.stdin.buffer, sys.stdout, sys.stderr)


@dataclass(frozen=True)
class ExplainedRecord:
    """A record, what was read from it, the verdict, and the text of an alert (else empty)."""

    record: FileRecord
    reading: ParsedEvent
    verdict: Verdict
    text: str

    @property
    def class_name(self) -> str:
        """The class of the event: one of CLASS_NAMES."""
        return CLASS_NAMES[type(self.reading)]

    def json_values(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints; fields that the reading lacks are empty."""
        return {
            "file": self.record.path,
            "index": self.record.index,
            "event_id": self.reading.event_id,
            "event_name": self.reading.event_name,
            "class": self.class_name,
            **{name: getattr(self.reading, name, "") for name in SIGN_IN_FIELDS},
            "verdict": self.verdict.level,
            "severity": self.verdict.severity,
            "reasons": list(self.verdict.reasons),
            "text": self.text,
        }

    def format_lines(self) -> list[str]:
        """Return the readable lines (not JSON): a summary, then the alert's text, indented."""
        time = untrusted.escape_unprintable(open_record(self.record.value).time, 20)
        columns = [f"{time or 'time unknown':<20}", f"{format_level(self.verdict):<10}"]
        columns.append(self._event_name())
        if isinstance(self.reading, (SignIn, Unreadable)):
            columns.append(f'"{untrusted.escape_unprintable(self.reading.who)}"')
            source = untrusted.escape_unprintable(self.reading.source)
            columns.append(source or "source not recorded")
        columns.append("; ".join(map(untrusted.escape_unprintable, self.verdict.reasons)))
        text = [f"    {untrusted.escape_unprintable(line)}" for line in self.text.splitlines()]
        return ["  ".join(columns), *text]

    def _event_name(self) -> str:
        """Return the kind of sign-in and whether it failed; the event's name if it is not one."""
        if not isinstance(self.reading, SignIn):
            return untrusted.escape_unprintable(self.reading.event_name) or "unnamed event"
        if self.reading.outcome == "failure":
            return f"{self.reading.what} FAILED"
        return self.reading.what


def format_level(verdict: Verdict) -> str:
    """Return the verdict's level, with its severity if that is high: "alert high"."""
    return f"{verdict.level} high" if verdict.severity == "high" else verdict.level


@dataclass
class Report:
    """Prints each record and problem when it is added, and the totals at the end."""

    streams: Streams
    networks: str  # the recognised ones, separated by commas
    as_json: bool = False
    files: int = 0
    problems: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.progress = Progress(self.streams)

    def add_record(self, explained: ExplainedRecord) -> None:
        """Count a record and print it. Readable lines leave out events of class "other"."""
        self.levels[explained.verdict.level] += 1
        self.classes[explained.class_name] += 1
        if self.as_json:
            self._print(untrusted.ascii_json(explained.json_values()))
        elif explained.class_name != "other":
            for line in explained.format_lines():
                self._print(line)
        self.progress.show(self.files, self.levels.total())

    def add_problem(self, problem: FileProblem) -> None:
        """Count a place that could not be read, and print it to standard error."""
        self.problems += 1
        self.progress.clear()
        line = untrusted.escape_unprintable(str(problem), 500)
        self.streams.err.write(f"{line}\nTry: {problem.remedy}\n")

    def close(self) -> None:
        """Print the totals, unless the output is JSON or there was no record."""
        self.progress.clear()
        if self.levels and not self.as_json:
            self._print("")
            self._print_totals()
        self.streams.out.flush()

    def _print_totals(self) -> None:
        levels = ", ".join(f"{self.levels[level]} {name}" for level, name in LEVEL_NAMES.items())
        total = f"records {self.levels.total()}, files {self.files}: {levels}"
        if self.levels["ignored"]:
            total += f" (steps {self.classes['step']}, other events {self.classes['other']})"
        self._print(total)
        networks = ", ".join(split_list(self.networks))
        shown = untrusted.escape_unprintable(networks, len(networks))
        self._print(f"recognised networks: {shown or 'none, so every source is unrecognised'}")

    def _print(self, line: str) -> None:
        """Print a line; characters that the stream cannot encode are escaped."""
        self.progress.clear()
        encoding = getattr(self.streams.out, "encoding", None) or "utf-8"
        self.streams.out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


@dataclass
class Progress:
    """One line on a terminal with the number of records so far, shown if reading takes long."""

    streams: Streams
    is_shown: bool = False

    def __post_init__(self) -> None:
        self.next_update = self.streams.clock() + FIRST_PROGRESS_SECONDS

    def show(self, files: int, records: int) -> None:
        """Show or update the line if it is time to, and if standard error is a terminal."""
        if self.streams.clock() < self.next_update or not self.streams.err.isatty():
            return
        self.next_update = self.streams.clock() + PROGRESS_INTERVAL_SECONDS
        self.is_shown = True
        self.streams.err.write(f"{CLEAR_LINE}{records:,} records in {files:,} files ...")
        self.streams.err.flush()

    def clear(self) -> None:
        """Remove the line before something else is printed."""
        if self.is_shown:
            self.is_shown = False
            self.streams.err.write(CLEAR_LINE)
            self.streams.err.flush()
