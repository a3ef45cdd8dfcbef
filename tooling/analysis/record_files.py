"""A person's own records: finding the files that hold them, and taking them apart one file at a time.

A file is JSON (one document or several, one after the other) or JSON lines, plain or gzip by its first bytes. A
document is an EventBridge event, a CloudTrail record, an array of either, a CloudTrail log file (``{"Records": []}``),
or what ``aws cloudtrail lookup-events`` prints (``{"Events": [{"CloudTrailEvent": "..."}]}``). Facts: AWS CloudTrail
User Guide, "CloudTrail log file examples" and "CloudTrail digest file structure"; AWS CLI reference, lookup-events.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STANDARD_INPUT = "-"
MOST_BYTES = 1 << 30  # of one file, unpacked; CloudTrail's own have some 50 MB at most
SLICE = 1024  # bytes that are unpacked at once: a fault's place is known as exactly as that
GZIP, GZIP_MAGIC = (
    31,
    b"\x1f\x8b",
)  # zlib's window bits for a gzip member with its header and checksum; RFC 1952
LINE = re.compile(
    r"[^\n]+"
)  # str.splitlines would also split at characters that JSON allows inside a text
NOT_TEXT = re.compile(
    "[\udc80-\udcff]"
)  # what "surrogateescape" makes of a byte that belongs to no character
SPACE = re.compile(r"[ \t\n\r]*")  # RFC 8259, insignificant whitespace
DIGEST = {
    "digestS3Bucket",
    "logFiles",
}  # a digest lies beside the log files in a trail's bucket and holds no record
DECODER = json.JSONDecoder()
MEND = "fetch the file anew, or mend that place"


@dataclass(frozen=True)
class Source:
    """A file to be read. ``name`` is its path as a person would type it, ``given`` the PATH it was found by."""

    name: str
    given: str


@dataclass(frozen=True)
class Found:
    """One record: any JSON value. ``index`` counts from 0 what the file holds, as in ``.Records[index]``."""

    file: str
    index: int
    record: object


@dataclass(frozen=True)
class Fault:
    """A file, or a place in it, that cannot be read, and what to try."""

    file: str
    where: str
    what: str
    remedy: str = MEND

    def __str__(self) -> str:
        return f"{self.file}: {self.where}{': ' if self.where else ''}{self.what}"


class BrokenError(Exception):
    """What cannot be taken apart from ``at`` on: an offset into the text or, of gzip, into the file."""

    def __init__(self, at: int, what: str, remedy: str = MEND) -> None:
        super().__init__(what)
        self.at, self.what, self.remedy = at, what, remedy


def sources(paths: Sequence[str]) -> list[Source | Fault]:
    """Return the files that the paths stand for, folders from top to bottom in order, each file once.

    A folder's hidden files are passed over. Raises RefusedError for a path that is not there or holds nothing.
    """
    found: dict[str, Source | Fault] = {}
    for path in paths:
        for source in _below(path):
            name = source.name if isinstance(source, Source) else source.file
            found.setdefault(name if name == STANDARD_INPUT else os.path.realpath(name), source)
    return list(found.values())


def _below(path: str) -> list[Source | Fault]:
    if path == STANDARD_INPUT:
        return [Source(path, path)]
    if not (path and os.path.exists(path)):  # noqa: PTH110 - pathlib raises for a name that is too long
        remedy = "check the path; `./inv --help explain` tells the flags, and - stands for standard input"
        raise RefusedError(path or "an empty path", "is not there", remedy)
    if not Path(path).is_dir():
        if Path(path).is_file() and not Path(path).stat().st_size:
            raise _empty(path)
        return [Source(path, path)]
    found = sorted(
        _walked(path), key=lambda one: Path(one.name if isinstance(one, Source) else one.file).parts
    )
    if not found:
        raise _empty(path)
    return found


def _walked(folder: str) -> Iterator[Source | Fault]:
    """Every file below a folder, and every folder below it that may not be looked into."""
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place) / name for name in files if not name.startswith(".")]
        yield from (Source(str(path), folder) for path in paths if path.is_file())
    yield from (_unopened(str(error.filename), error) for error in closed)


def _empty(path: str) -> RefusedError:
    return RefusedError(
        path, "holds no record", "name a file of CloudTrail records, or a folder of such files"
    )


def refuse_empty(files: Sequence[Source | Fault], full: set[str]) -> None:
    """Refuse the first given path whose files held nothing at all; ``full`` are those with something."""
    for file in files:
        if isinstance(file, Source) and file.given not in full:
            raise _empty(file.given)


def _unopened(name: str, error: OSError) -> Fault:
    return Fault(
        name, "", f"cannot be opened ({error.strerror or error})", "check that you may read it"
    )


def read(source: Source, stdin: Callable[[], BinaryIO]) -> Iterator[Found | Fault]:
    """Take one file apart; only this file is in memory meanwhile. ``stdin`` gives standard input when it is needed."""
    try:
        text = _text(_unpacked(_content(source, stdin)))
    except OSError as error:
        yield _unopened(source.name, error)
    except BrokenError as error:
        yield Fault(source.name, f"byte {error.at}", error.what, error.remedy)
    else:
        for index, found in enumerate(_taken_apart(text)):
            if isinstance(found, BrokenError):
                yield Fault(source.name, _place(text, found.at), found.what, found.remedy)
            else:
                yield _opened(source.name, index, found[0])


def _content(source: Source, stdin: Callable[[], BinaryIO]) -> bytes:
    if source.name == STANDARD_INPUT:
        data = stdin().read(MOST_BYTES + 1)
    else:
        with Path(source.name).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    if not data and source.name != source.given:
        raise BrokenError(0, "the file is empty")
    _check_size(len(data))
    return data


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise BrokenError(
            MOST_BYTES,
            f"holds more than {MOST_BYTES >> 30} GiB",
            "split it, as with: split -C 500M",
        )


def _unpacked(data: bytes) -> bytes:
    """Return what the members of a gzip file hold, one after the other; anything else as it is."""
    if not data.startswith(GZIP_MAGIC):
        return data
    parts, size, at, unpacker = list[bytes](), 0, 0, zlib.decompressobj(GZIP)
    while at < len(data):
        if unpacker.eof:
            unpacker = zlib.decompressobj(GZIP)
        piece = data[at : at + SLICE]
        try:
            parts.append(unpacker.decompress(piece))
        except zlib.error as error:
            raise BrokenError(at, f"is damaged gzip ({error})", "fetch the file anew") from None
        size, at = size + len(parts[-1]), at + len(piece) - len(unpacker.unused_data)
        _check_size(size)
    if not unpacker.eof:
        raise BrokenError(
            at, "the gzip data end too early: the file is cut off", "fetch the file anew"
        )
    return b"".join(parts)


def _text(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 as JSON allows them and PowerShell writes them."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        raise BrokenError(
            error.start, f"is not {encoding.upper()} text", "save it as UTF-8"
        ) from None


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


Item = tuple[object] | BrokenError  # a record, boxed since it may be anything, or why there is none


def _taken_apart(text: str) -> Iterator[Item]:
    for document in _lines(text) if _is_lines(text) else _sequence(text):
        if isinstance(document, BrokenError):
            yield document
        else:
            yield from _records(document[0])


def _is_lines(text: str) -> bool:
    """Whether each line is a document of its own: the first one is, or it is the broken one and the second is."""
    lines = (line for line in LINE.finditer(text) if line[0].strip())
    first, second = next(lines, None), next(lines, None)
    if not first or not second:
        return False
    if _is_record(first[0]):
        return True
    if first[0].strip() in ("[", "{") or not _is_record(second[0]):
        return False
    found = _try(text, 0)
    return isinstance(found, BrokenError) or found[1] < first.end()


def _is_record(line: str) -> bool:
    value = _whole(line) if line.strip().startswith("{") else None
    return isinstance(value, tuple) and isinstance(value[0], dict) and bool(value[0])


def _lines(text: str) -> Iterator[Item]:
    """Each line's document; a broken line is told of by its own place, and the others count."""
    for line in LINE.finditer(text):
        for found in _sequence(line[0]):
            if isinstance(found, BrokenError):
                yield BrokenError(line.start() + found.at, found.what, found.remedy)
            else:
                yield found


def _sequence(text: str) -> Iterator[Item]:
    """Documents one after the other; where one is broken, no other beginning can be trusted."""
    at = _skip(text, 0)
    while at < len(text):
        found = _try(text, at)
        if isinstance(found, BrokenError):
            yield found
            return
        value, at = found
        yield (value,)


def _whole(text: str) -> Item:
    found = _try(text, _skip(text, 0))
    if isinstance(found, BrokenError):
        return found
    return (
        (found[0],)
        if found[1] == len(text)
        else BrokenError(found[1], "something follows the JSON on this line")
    )


def _skip(text: str, at: int) -> int:
    space = SPACE.match(text, at)
    return space.end() if space else at


def _try(text: str, at: int) -> tuple[object, int] | BrokenError:
    """Decode the document at ``at``; return it and where the next one begins."""
    try:
        value, end = DECODER.raw_decode(text, _skip(text, at))
    except json.JSONDecodeError as error:
        return _not_text(text, at, error.pos) or BrokenError(
            error.pos, f"is not JSON ({error.msg})"
        )
    except RecursionError:
        return BrokenError(
            at, "the JSON nests too deeply", "leave it out: no record of CloudTrail does"
        )
    except ValueError as error:  # a number of more digits than Python converts
        return BrokenError(
            at,
            f"cannot be read ({error})",
            "leave it out: no record of CloudTrail holds such a number",
        )
    return _not_text(text, at, end) or (value, _skip(text, end))


def _not_text(text: str, start: int, end: int) -> BrokenError | None:
    bad = NOT_TEXT.search(text, start, end + 1)
    return (
        BrokenError(bad.start(), "is not UTF-8 text", "save it as UTF-8, as with: iconv -t UTF-8")
        if bad
        else None
    )


def _records(document: object) -> Iterator[Item]:
    """The records in one document; what has none of the known forms is a record itself, and is judged as it is."""
    if isinstance(document, list):
        for item in document:
            yield from _records(item) if isinstance(item, dict) else [(item,)]
    elif not isinstance(document, dict):
        yield (document,)
    elif isinstance(document.get("Records"), list):
        yield from ((item,) for item in document["Records"])
    elif isinstance(document.get("Events"), list):
        yield from ((item,) for item in document["Events"])
    elif not document.keys() >= DIGEST:
        yield (document,)


def _opened(file: str, index: int, record: object) -> Found | Fault:
    """Unwrap what lookup-events put around a record: the record is a text there."""
    inner = record.get("CloudTrailEvent") if isinstance(record, dict) else None
    if not isinstance(inner, str):
        return Found(file, index, record)
    value = _whole(inner)
    if isinstance(value, BrokenError):
        return Fault(
            file,
            f"CloudTrailEvent of event {index}, {_place(inner, value.at)}",
            value.what,
            value.remedy,
        )
    return Found(file, index, value[0])
