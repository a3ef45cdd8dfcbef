"""Prints what ``invoke explain`` finds, as readable lines or as JSON.

Terms: a record is parsed into an event of one class (CLASS_NAMES). The verdict on it has a level
(LEVEL_NAMES), a severity ("high", "normal", or "" if it is not an alert) and reasons.

Strangers can write strings into records, so control characters are escaped before they are printed.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as encode_string
from typing import TYPE_CHECKING, BinaryIO, TextIO

from signwatch.detection.networks import split_list
from signwatch.detection.record import open_record
from signwatch.detection.signin import NotASignIn, ParsedEvent, SignIn, Step, Unreadable
from signwatch.detection.verdict import Verdict, judge
from tooling.analysis.record_files import FileRecord
from tooling.terminal import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tooling.analysis.record_files import FileProblem, OtherRecords

CLASS_NAMES = {SignIn: "sign-in", Step: "step", NotASignIn: "other", Unreadable: "unreadable"}
LEVEL_NAMES = {"alert": "alert", "note": "noted", "recognised": "recognised", "ignored": "ignored"}
OTHER_EVENT = NotASignIn(event_id="", event_name="", account="")
OTHER_VERDICT = judge(OTHER_EVENT, recognised=False)
SIGN_IN_FIELDS = ("kind", "who", "identity", "source", "outcome", "mfa")  # shown in JSON
# What --json prints of a record. Filling in strings is faster than encoding an object.
# ``encode_string`` makes them printable ASCII: json escapes every other character, DEL too.
JSON_LINE = (
    '{"file": %s, "index": %d, "event_id": %s, "event_name": %s, "class": %s, '
    + "".join(f'"{name}": %s, ' for name in SIGN_IN_FIELDS)
    + '"verdict": %s, "severity": %s, "reasons": [%s], "text": %s}'
)
TIME_CHARS = 20  # of a record's time: 2026-11-24T10:12:31Z
PROBLEM_MAX_CHARS = 500
FIRST_PROGRESS_SECONDS, PROGRESS_INTERVAL_SECONDS = 2.0, 0.5
CLEAR_LINE = "\r\x1b[K"  # to a terminal: go to the start of the line and clear it


@dataclass(frozen=True)
class Streams:
    """What a report reads from and writes to."""

    stdin: Callable[[], BinaryIO]  # opens standard input
    out: TextIO  # for records and totals
    err: TextIO  # for problems and progress
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def standard(cls) -> Streams:
        """Return the streams of this process."""
        return cls(lambda: sys.stdin.buffer, sys.stdout, sys.stderr)


@dataclass(frozen=True)
class ExplainedRecord:
    """A record, the event that it was parsed into, the verdict on it, and the alert's text."""

    record: FileRecord
    parsed_event: ParsedEvent
    verdict: Verdict
    text: str  # empty if there is no alert

    @property
    def class_name(self) -> str:
        """The class of the event: one of CLASS_NAMES."""
        return CLASS_NAMES[type(self.parsed_event)]

    def format_json(self) -> str:
        """Return the line of JSON that ``--json`` prints; fields that the event lacks are empty."""
        event, verdict = self.parsed_event, self.verdict
        strings = [
            event.event_id,
            event.event_name,
            self.class_name,
            *[getattr(event, name, "") for name in SIGN_IN_FIELDS],
            verdict.level,
            verdict.severity,
        ]
        reasons = ", ".join(map(encode_string, verdict.reasons))
        path, text = encode_string(self.record.path), encode_string(self.text)
        return JSON_LINE % (path, self.record.index, *map(encode_string, strings), reasons, text)

    def format_lines(self) -> list[str]:
        """Return the readable lines (not JSON): a summary, then the alert's text, indented."""
        event, escape = self.parsed_event, untrusted.escape_unprintable
        time = getattr(event, "time", None)  # a step or another event has none
        if time is None:
            time = open_record(self.record.value).time
        event_time = escape(time, TIME_CHARS) or "time unknown"
        columns = [f"{event_time:<{TIME_CHARS}}", f"{format_level(self.verdict):<10}"]
        columns.append(self._describe_event())
        if isinstance(event, (SignIn, Unreadable)):
            columns.append(f'"{escape(event.who)}"')
            columns.append(escape(event.source) or "source not recorded")
        columns.append("; ".join(map(escape, self.verdict.reasons)))
        text_lines = [f"    {escape(line)}" for line in self.text.splitlines()]
        return ["  ".join(columns), *text_lines]

    def _describe_event(self) -> str:
        """Return a sign-in's kind, "Console sign-in FAILED"; the event's name if it is not one."""
        if not isinstance(self.parsed_event, SignIn):
            return untrusted.escape_unprintable(self.parsed_event.event_name) or "unnamed event"
        if self.parsed_event.outcome == "failure":
            return f"{self.parsed_event.what} FAILED"
        return self.parsed_event.what


def format_other_records(others: OtherRecords) -> str:
    """Return a line of JSON for each record: the same as ``add_record`` prints of one, but faster.

    The lines differ in the path, the position and the two strings that a record has.
    """
    path, rest = encode_string(others.path), _format_rest_of_other_record()
    lines = [
        f'{{"file": {path}, "index": {index}, "event_id": {encode_string(names.eventID)}, '
        f'"event_name": {encode_string(names.eventName)}, {rest}\n'
        for index, names in enumerate(others.names, others.index)
    ]
    return "".join(lines)


@functools.cache
def _format_rest_of_other_record() -> str:
    """Return the end of the line of a record that is not a sign-in, after the event's name.

    It is the same for all of them: ``"class": "other", ..., "text": ""}``.
    """
    line = ExplainedRecord(FileRecord("", 0, {}), OTHER_EVENT, OTHER_VERDICT, "").format_json()
    return line[line.index('"class": ') :]


def format_level(verdict: Verdict) -> str:
    """Return the verdict's level, with its severity if that is high: "alert high"."""
    return f"{verdict.level} high" if verdict.severity == "high" else verdict.level


@dataclass
class Report:
    """Prints each record and problem when it is added, and the totals at the end."""

    streams: Streams
    networks: str  # the recognised ones, separated by commas
    as_json: bool = False
    files: int = 0  # the caller counts them
    records: int = 0
    problems: int = 0
    levels: Counter[str] = field(default_factory=Counter)  # level -> number of records
    classes: Counter[str] = field(default_factory=Counter)  # class -> number of records

    def __post_init__(self) -> None:
        self.progress = Progress(self.streams)
        self.encoding = getattr(self.streams.out, "encoding", None) or "utf-8"

    def add_record(self, explained: ExplainedRecord) -> None:
        """Count a record and print it. Readable lines leave out events of class "other"."""
        class_name = explained.class_name
        self.records += 1
        self.levels[explained.verdict.level] += 1
        self.classes[class_name] += 1
        if self.as_json:
            self._print(explained.format_json())
        elif class_name != "other":
            self._print("\n".join(explained.format_lines()))
        self.progress.show(self.files, self.records)

    def add_other_records(self, others: OtherRecords) -> None:
        """Count records that are not sign-ins, and print them if the output is JSON."""
        count = len(others.names)
        self.records += count
        self.levels[OTHER_VERDICT.level] += count
        self.classes[CLASS_NAMES[NotASignIn]] += count
        if self.as_json:
            self.progress.clear()
            self.streams.out.write(format_other_records(others))
        self.progress.show(self.files, self.records)

    def add_problem(self, problem: FileProblem) -> None:
        """Count a place that could not be read, and print it to standard error."""
        self.problems += 1
        self.progress.clear()
        line = untrusted.escape_unprintable(str(problem), PROBLEM_MAX_CHARS)
        self.streams.err.write(f"{line}\nTry: {problem.remedy}\n")

    def close(self) -> None:
        """Print the totals, unless the output is JSON or there was no record; flush the output."""
        self.progress.clear()
        if self.records and not self.as_json:
            self._print("")
            self._print_totals()
        self.streams.out.flush()

    def _print_totals(self) -> None:
        """Print "records 3, files 1: 1 alert, 0 noted, ...", and the recognised networks."""
        levels = ", ".join(f"{self.levels[level]} {name}" for level, name in LEVEL_NAMES.items())
        totals = f"records {self.records}, files {self.files}: {levels}"
        if self.levels["ignored"]:
            totals += f" (steps {self.classes['step']}, other events {self.classes['other']})"
        self._print(totals)
        networks = ", ".join(split_list(self.networks))
        networks = untrusted.escape_unprintable(networks, max_chars=len(networks))  # never cut
        self._print(f"recognised networks: {networks or 'none, so every source is unrecognised'}")

    def _print(self, text: str) -> None:
        """Print one or more lines; characters that the stream cannot encode are escaped."""
        self.progress.clear()
        if not text.isascii():
            text = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self.streams.out.write(f"{text}\n")


@dataclass
class Progress:
    """A line with the number of records so far, on a terminal, if reading takes over 2 seconds."""

    streams: Streams
    is_shown: bool = False

    def __post_init__(self) -> None:
        self.is_terminal = self.streams.err.isatty()
        self.next_update = self.streams.clock() + FIRST_PROGRESS_SECONDS

    def show(self, files: int, records: int) -> None:
        """Show or update the line, at most twice a second; nothing if there is no terminal."""
        if not self.is_terminal or self.streams.clock() < self.next_update:
            return
        self.next_update = self.streams.clock() + PROGRESS_INTERVAL_SECONDS
        self.is_shown = True
        self.streams.err.write(f"{CLEAR_LINE}{records:,} records in {files:,} files ...")
        self.streams.err.flush()

    def clear(self) -> None:
        """Remove the line if it is shown. Call it before something else is printed."""
        if self.is_shown:
            self.is_shown = False
            self.streams.err.write(CLEAR_LINE)
            self.streams.err.flush()
