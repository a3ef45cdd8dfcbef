"""Finds files of CloudTrail records and splits them into records, one file at a time.

A file is JSON (one document or several in a row) or JSON lines (one document a line). It may be
compressed with gzip. A document is an EventBridge event, a CloudTrail record, an array of either, a
CloudTrail log file (``{"Records": []}``), or the output of ``aws cloudtrail lookup-events``
(``{"Events": [{"CloudTrailEvent": "..."}]}``).

Reading goes on after a broken place where it can: the place is yielded as a FileProblem, between
the records. An argument is a path on the command line: a file, a folder, or "-" for standard input.

Facts: AWS CloudTrail User Guide, "CloudTrail log file examples" and "CloudTrail digest file
structure"; AWS CLI reference, lookup-events.
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
MAX_FILE_BYTES = 1 << 30  # unpacked; CloudTrail's own files have at most about 50 MB
GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of every gzip file (RFC 1952)
GZIP_WINDOW_BITS = 31  # for zlib: a gzip member with its header and checksum
GZIP_CHUNK_BYTES = 1024  # unpacked at once; damage is located to this precision
# A line that is not empty; str.splitlines also splits at characters that JSON allows in strings.
LINE = re.compile(r"[^\n]+")
UNDECODED_BYTE = re.compile("[\udc80-\udcff]")  # the error handler "surrogateescape" makes these
WHITESPACE = re.compile(r"[ \t\n\r]*")  # RFC 8259, insignificant whitespace
DIGEST_KEYS = {"digestS3Bucket", "logFiles"}  # keys of a digest file, which has no records
JSON_DECODER = json.JSONDecoder()
REMEDY = "fetch the file again, or fix that place"
FETCH_REMEDY = "fetch the file again"


@dataclass(frozen=True)
class SourceFile:
    """A file to read. ``argument`` is the path on the command line that led to it."""

    path: str
    argument: str


@dataclass(frozen=True)
class FileRecord:
    """One record: any JSON value. ``index`` is its position in the file, as in .Records[index]."""

    path: str
    index: int
    value: object


@dataclass(frozen=True)
class FileProblem:
    """A file, or a place in it, that cannot be read; ``remedy`` says what to try."""

    path: str
    place: str  # "byte 7" or "line 3, column 7"; empty if it is the whole file
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{self.path}: {place}{self.problem}"


class DecodeError(Exception):
    """A file cannot be decoded from ``offset`` on.

    The offset counts bytes until the file is decoded to text, and then characters of that text. The
    error is raised, or yielded in place of a record where later records can still be read.
    """

    def __init__(self, offset: int, problem: str, remedy: str = REMEDY) -> None:
        super().__init__(problem)
        self.offset, self.problem, self.remedy = offset, problem, remedy


def find_files(paths: Sequence[str]) -> list[SourceFile | FileProblem]:
    """Return the files at the paths and in the folders below them, in order and each once.

    Hidden files in a folder are skipped. A folder that cannot be opened is a FileProblem among
    them. Raises RefusedError for a path that does not exist, for an empty file, and for a folder
    without files.
    """
    files: dict[str, SourceFile | FileProblem] = {}
    for argument in paths:
        for file in _expand_argument(argument):
            is_stdin = file.path == STANDARD_INPUT
            real_path = file.path if is_stdin else os.path.realpath(file.path)
            files.setdefault(real_path, file)  # the first path that leads to it
    return list(files.values())


def _expand_argument(argument: str) -> list[SourceFile | FileProblem]:
    """Return the file that an argument names, or the files below the folder that it names.

    A folder that cannot be opened is returned as a FileProblem. Raises RefusedError if nothing has
    this path, and if it is an empty file or a folder without files.
    """
    if argument == STANDARD_INPUT:
        return [SourceFile(path=argument, argument=argument)]
    if not (argument and os.path.exists(argument)):  # noqa: PTH110 - pathlib raises for long names
        remedy = "check the path; `./inv --help explain` shows the flags, - is standard input"
        raise RefusedError(argument or "an empty path", "does not exist", remedy)
    path = Path(argument)
    if path.is_dir():
        files = sorted(_list_folder(argument), key=lambda file: Path(file.path).parts)
    elif path.is_file() and not path.stat().st_size:
        files = []
    else:  # a file with content, or a pipe
        files = [SourceFile(path=argument, argument=argument)]
    if not files:
        raise _make_no_record_error(argument)
    return files


def _list_folder(folder: str) -> Iterator[SourceFile | FileProblem]:
    """Yield each file below a folder, and a problem for each folder that cannot be opened."""
    errors: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=errors.append):
        # os.walk goes on only with the folders that are left in its list.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                yield SourceFile(str(path), argument=folder)
    for error in errors:
        yield _make_open_problem(str(error.filename), error)


def _make_no_record_error(argument: str) -> RefusedError:
    """Return the error for an argument that leads to no record."""
    remedy = "name a file of CloudTrail records, or a folder of such files"
    return RefusedError(argument, "contains no record", remedy)


def refuse_arguments_without_records(
    files: Sequence[SourceFile | FileProblem], non_empty_arguments: set[str]
) -> None:
    """Raise RefusedError for the first argument that is not among the non-empty ones.

    An argument is non-empty if one of its files yielded a record or a problem.
    """
    for file in files:
        if isinstance(file, SourceFile) and file.argument not in non_empty_arguments:
            raise _make_no_record_error(file.argument)


def _make_open_problem(path: str, error: OSError) -> FileProblem:
    """Return the problem of a file or folder that the system does not open."""
    problem = f"cannot be opened ({error.strerror or error})"
    return FileProblem(path, place="", problem=problem, remedy="check that you may read it")


def read(
    file: SourceFile, open_stdin: Callable[[], BinaryIO]
) -> Iterator[FileRecord | FileProblem]:
    """Yield the records of one file, and a problem for each place that cannot be read.

    Only this file is held in memory. ``open_stdin`` is called only to read standard input.
    """
    try:
        text = _decode_text(_decompress(_read_bytes(file, open_stdin)))
    except OSError as error:
        yield _make_open_problem(file.path, error)
        return
    except DecodeError as error:
        yield FileProblem(file.path, f"byte {error.offset}", error.problem, error.remedy)
        return
    for index, item in enumerate(_split_text(text)):
        if isinstance(item, DecodeError):
            place = _format_place(text, item.offset)
            yield FileProblem(file.path, place, item.problem, item.remedy)
        else:
            yield _unwrap_lookup_event(file.path, index, item)


def _read_bytes(file: SourceFile, open_stdin: Callable[[], BinaryIO]) -> bytes:
    """Return the content of a file. Raises DecodeError for a file that is too large or empty.

    An empty file that is itself an argument is no error here: it is refused at the end, by
    ``refuse_arguments_without_records``.
    """
    max_bytes = MAX_FILE_BYTES + 1  # one more shows that the file is too large
    if file.path == STANDARD_INPUT:
        data = open_stdin().read(max_bytes)
    else:
        with Path(file.path).open("rb") as stream:
            data = stream.read(max_bytes)
    if not data and file.path != file.argument:
        raise DecodeError(0, "the file is empty")
    _check_size(len(data))
    return data


def _check_size(size_bytes: int) -> None:
    """Raise DecodeError for a file that is too large to be held in memory."""
    if size_bytes > MAX_FILE_BYTES:
        problem = f"holds more than {MAX_FILE_BYTES >> 30} GiB"
        raise DecodeError(MAX_FILE_BYTES, problem, "split it, as with: split -C 500M")


def _decompress(data: bytes) -> bytes:
    """Return the unpacked content of a gzip file; other data unchanged.

    A gzip file has one or more members, each of which is unpacked by a decompressor of its own.
    Raises DecodeError if the file is damaged, cut off, or too large when unpacked.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    parts: list[bytes] = []
    unpacked_bytes = offset = 0
    decompressor = zlib.decompressobj(GZIP_WINDOW_BITS)
    while offset < len(data):
        if decompressor.eof:  # the member has ended, and data follow: the next member
            decompressor = zlib.decompressobj(GZIP_WINDOW_BITS)
        chunk = data[offset : offset + GZIP_CHUNK_BYTES]
        try:
            part = decompressor.decompress(chunk)
        except zlib.error as error:
            raise DecodeError(offset, f"is damaged gzip ({error})", FETCH_REMEDY) from None
        parts.append(part)
        unpacked_bytes += len(part)
        _check_size(unpacked_bytes)
        offset += len(chunk) - len(decompressor.unused_data)  # unused: behind the member's end
    if not decompressor.eof:
        problem = "the gzip data end too early: the file is cut off"
        raise DecodeError(offset, problem, FETCH_REMEDY)
    return b"".join(parts)


def _decode_text(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 as JSON allows them and PowerShell writes them.

    A byte that is not UTF-8 is kept as a surrogate, so that its line can be reported later.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.upper()} text"
        raise DecodeError(error.start, problem, "save it as UTF-8") from None


def _format_place(text: str, offset: int) -> str:
    """Return the place of a character as "line 3, column 7"; both count from 1."""
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return f"line {line}, column {column}"


# The generators below yield JSON values of any type, and a DecodeError in place of a broken one.


def _split_text(text: str) -> Iterator[object]:
    """Yield each record in the text of a file, and a DecodeError for each broken place."""
    documents = _decode_lines(text) if _is_json_lines(text) else _decode_sequence(text)
    for document in documents:
        if isinstance(document, DecodeError):
            yield document
        else:
            yield from _split_document(document)


def _is_json_lines(text: str) -> bool:
    """Return whether each line is a document of its own, by the first two that are not blank.

    Either the first is a JSON object, or the first is broken and the second is a JSON object.
    """
    matches = (match for match in LINE.finditer(text) if match[0].strip())
    first_match, second_match = next(matches, None), next(matches, None)
    if not first_match or not second_match:
        return False
    first_line, second_line = first_match[0], second_match[0]
    if _is_json_object_line(first_line):
        return True
    is_opening_bracket = first_line.strip() in ("[", "{")  # of a document on several lines
    if is_opening_bracket or not _is_json_object_line(second_line):
        return False
    # The first line may be broken, or begin a document that goes on behind it. It is broken if no
    # document begins there, or if one ends within the line and something follows it.
    try:
        _, next_position = _decode_json(text, 0)
    except DecodeError:
        return True
    return next_position < first_match.end()


def _is_json_object_line(line: str) -> bool:
    """Return whether the line is a JSON object that is not empty, and nothing else."""
    if not line.strip().startswith("{"):
        return False
    try:
        json_object = _decode_only_document(line)
    except DecodeError:
        return False
    return bool(json_object)


def _decode_lines(text: str) -> Iterator[object]:
    """Yield the JSON documents of each line.

    A line that cannot be decoded yields a DecodeError, whose offset counts from the start of
    ``text``; the lines after it are still read.
    """
    for line in LINE.finditer(text):
        for item in _decode_sequence(line[0]):
            if isinstance(item, DecodeError):
                item.offset += line.start()
            yield item


def _decode_sequence(text: str) -> Iterator[object]:
    """Yield each of the documents in a row. Stop at a broken one: it has no certain end."""
    position = _skip_whitespace(text, 0)
    while position < len(text):
        try:
            value, position = _decode_json(text, position)
        except DecodeError as error:
            yield error
            return
        yield value


def _decode_only_document(text: str) -> object:
    """Return the one document in ``text``. Raises DecodeError unless there is exactly one."""
    value, next_position = _decode_json(text, 0)
    if next_position < len(text):
        raise DecodeError(next_position, "something follows the JSON on this line")
    return value


def _decode_json(text: str, position: int) -> tuple[object, int]:
    """Decode the document at ``position``; return it and the position of the next one.

    Raises DecodeError if it is not JSON, or if Python cannot decode it.
    """
    start = _skip_whitespace(text, position)
    try:
        value, end = JSON_DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        _check_bytes_decoded(text, start, error.pos)
        raise DecodeError(error.pos, f"is not JSON ({error.msg})") from None
    except RecursionError:
        remedy = "leave it out: no CloudTrail record is like that"
        raise DecodeError(start, "the JSON nests too deeply", remedy) from None
    except ValueError as error:  # a number of more digits than Python converts
        remedy = "leave it out: no CloudTrail record contains such a number"
        raise DecodeError(start, f"cannot be read ({error})", remedy) from None
    _check_bytes_decoded(text, start, end)
    return value, _skip_whitespace(text, end)


def _skip_whitespace(text: str, position: int) -> int:
    """Return the position of the next character that is not whitespace, or the end of the text."""
    match = WHITESPACE.match(text, position)
    return match.end() if match else position


def _check_bytes_decoded(text: str, start: int, end: int) -> None:
    """Raise DecodeError if the text has a byte that is not UTF-8 from ``start`` through ``end``."""
    match = UNDECODED_BYTE.search(text, start, end + 1)
    if match:
        remedy = "save it as UTF-8, as with: iconv -t UTF-8"
        raise DecodeError(match.start(), "is not UTF-8 text", remedy)


def _split_document(document: object) -> Iterator[object]:
    """Yield the records in one document. Any other value is yielded unchanged, as one record.

    An object in a list may be a log file, so it is split like a document.
    """
    if isinstance(document, list):
        for item in document:
            if isinstance(item, dict):
                yield from _split_document(item)
            else:
                yield item
        return
    if not isinstance(document, dict):
        yield document
        return
    for key in ("Records", "Events"):
        if isinstance(document.get(key), list):
            yield from document[key]
            return
    if document.keys() >= DIGEST_KEYS:
        return  # a digest file lists log files and has no records
    yield document


def _unwrap_lookup_event(path: str, index: int, item: object) -> FileRecord | FileProblem:
    """Return the record, or the one that lookup-events put into ``CloudTrailEvent`` as a string.

    A FileProblem is returned if that string is not JSON.
    """
    wrapped = item.get("CloudTrailEvent") if isinstance(item, dict) else None
    if not isinstance(wrapped, str):
        return FileRecord(path, index, item)
    try:
        return FileRecord(path, index, _decode_only_document(wrapped))
    except DecodeError as error:
        place = f"CloudTrailEvent of event {index}, {_format_place(wrapped, error.offset)}"
        return FileProblem(path, place, error.problem, error.remedy)
