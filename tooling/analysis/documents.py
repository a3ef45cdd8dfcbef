"""Decodes the content of a file, or of a packed field, into JSON documents and rows of CSV.

The content is JSON (one document or several in a row), JSON lines (one document a line), or CSV. It
may be compressed with gzip. Decoding goes on after a broken place where it can.

Facts: RFC 8259 (JSON), RFC 1952 (gzip), RFC 4180 (CSV).
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 30  # unpacked; CloudTrail's own files have at most about 50 MB
GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of every gzip file (RFC 1952)
GZIP_WINDOW_BITS = 31  # for zlib: a gzip member with its header and checksum
GZIP_CHUNK_BYTES = 1024  # unpacked at once where it is damaged, which is located so precisely
# A line that is not empty; str.splitlines also splits at characters that JSON allows in strings.
LINE = re.compile(r"[^\n]+")
UNDECODED_BYTE = re.compile("[\udc80-\udcff]")  # the error handler "surrogateescape" makes these
WHITESPACE = re.compile(r"[ \t\n\r]*")  # RFC 8259, insignificant whitespace
COLUMN_NAME = re.compile(r"[A-Za-z@_][\w @.:/()-]*")  # in the first line of a CSV file
JSON_DECODER = json.JSONDecoder()
REMEDY = "fetch the file again, or fix that place"
FETCH_REMEDY = "fetch the file again"


class Row(dict[str, object]):
    """A row of a table, as {column: value}. A column may hold a record; the row itself is none."""


class DecodeError(Exception):
    """A file cannot be decoded from ``offset`` on.

    The offset counts bytes until the file is decoded to text, and then characters of that text. The
    error is raised, or yielded in place of a document where later ones can still be read.
    """

    def __init__(self, offset: int, problem: str, remedy: str = REMEDY) -> None:
        super().__init__(problem)
        self.offset, self.problem, self.remedy = offset, problem, remedy


def check_size(size_bytes: int) -> None:
    """Raise DecodeError for a file that is too large to be held in memory."""
    if size_bytes > MAX_BYTES:
        problem = f"holds more than {MAX_BYTES >> 30} GiB"
        raise DecodeError(MAX_BYTES, problem, "split it, as with: split -C 500M")


def decompress(data: bytes) -> bytes:
    """Return the unpacked content of a gzip file; other data unchanged.

    Raises DecodeError if the file is damaged, cut off, or too large when unpacked.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    decompressor = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        unpacked = decompressor.decompress(data, MAX_BYTES)
    except zlib.error:
        return _decompress_in_chunks(data)
    if not decompressor.eof or decompressor.unused_data:  # cut off, too large, or several members
        return _decompress_in_chunks(data)
    return unpacked


def _decompress_in_chunks(data: bytes) -> bytes:
    """Return the unpacked content of a gzip file with several members, or locate its damage.

    Each member is unpacked by a decompressor of its own. Raises DecodeError as ``decompress`` does.
    """
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
        check_size(unpacked_bytes)
        offset += len(chunk) - len(decompressor.unused_data)  # unused: behind the member's end
    if not decompressor.eof:
        problem = "the gzip data end too early: the file is cut off"
        raise DecodeError(offset, problem, FETCH_REMEDY)
    return b"".join(parts)


def decode_text(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 as JSON allows them and PowerShell writes them.

    A byte that is not UTF-8 is kept as a lone surrogate, so that its line can be reported later.
    Raises DecodeError for broken UTF-16 or UTF-32.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.upper()} text"
        raise DecodeError(error.start, problem, "save it as UTF-8") from None


def format_place(text: str, offset: int) -> str:
    """Return the place of a character as "line 3, column 7"; both count from 1."""
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return f"line {line}, column {column}"


# The generators below yield JSON values of any type, and a DecodeError in place of a broken one.


def split_text(text: str) -> Iterator[object]:
    """Yield each document in the text of a file, and a DecodeError for each broken place.

    A row of CSV is yielded as a Row.
    """
    if columns := _find_csv_columns(text):
        yield from _decode_csv(text, columns)
    elif _is_json_lines(text):
        yield from _decode_lines(text)
    else:
        yield from _decode_sequence(text)


def _find_csv_columns(text: str) -> list[str]:
    """Return the names of the columns in the first line of CSV; empty if the text is not CSV.

    A single name could also be JSON: it is a column only if a quoted object follows it.
    """
    first_line, _, rest = text.partition("\n")
    if not rest or first_line.lstrip().startswith(("{", "[")):
        return []
    try:
        (columns,) = csv.reader([first_line], strict=True)
    except (csv.Error, ValueError):  # ValueError: an empty line
        return []
    if len(columns) == 1 and not rest.lstrip().startswith('"{'):
        return []
    return columns if all(map(COLUMN_NAME.fullmatch, columns)) else []


def _decode_csv(text: str, columns: list[str]) -> Iterator[object]:
    """Yield each row after the first line as a Row. Stop at a broken one: its end is unknown.

    ``columns`` are the names of the columns.
    """
    csv.field_size_limit(MAX_BYTES)  # a record may be larger than Python's default limit
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, strict=True)
    next(reader)
    line_count = reader.line_num
    try:
        for cells in reader:
            line_count = reader.line_num
            if cells:  # not a blank line
                yield Row(zip(columns, cells, strict=False))
    except csv.Error as error:
        offset = sum(map(len, lines[:line_count]))  # the start of the row that is broken
        yield DecodeError(offset, f"is not CSV ({error})")


def _is_json_lines(text: str) -> bool:
    """Return whether each line is a document of its own, by the first two that are not blank.

    It is so if the first is a JSON object, or if the first is broken and the second is an object.
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
    return _is_first_line_broken(text, first_match.end())


def _is_first_line_broken(text: str, line_end: int) -> bool:
    """Return whether the text starts with no whole document, or with one and more on its line.

    ``line_end`` is the position behind the first line that is not blank.
    """
    try:
        _, next_position = _decode_json(text, 0)
    except DecodeError:
        return True
    return next_position < line_end


def _is_json_object_line(line: str) -> bool:
    """Return whether the line is a JSON object that is not empty, and nothing else."""
    if not line.strip().startswith("{"):
        return False
    try:
        json_object = decode_single_document(line)
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
    """Yield each of the documents that follow each other. Stop at a broken one: its end is unknown.

    A string or a number that stands directly before the broken place is a part of it, as in
    ``"eventName": "ConsoleLogin"}``, and is not yielded.
    """
    fragments: list[object] = []  # strings and numbers since the last object or array
    position = _skip_whitespace(text, 0)
    while position < len(text):
        try:
            value, position = _decode_json(text, position)
        except DecodeError as error:
            yield error
            return
        if _may_be_fragment(value):
            fragments.append(value)
            continue
        yield from fragments
        fragments.clear()
        yield value
    yield from fragments


def _may_be_fragment(value: object) -> bool:
    """Return whether a value is neither an object, nor an array, nor a string that holds one."""
    if isinstance(value, str):
        return not value.lstrip().startswith(("{", "["))
    return not isinstance(value, (dict, list))


def decode_single_document(text: str) -> object:
    """Return the document on a line of JSON. Raises DecodeError unless it holds exactly one."""
    value, next_position = _decode_json(text, 0)
    if next_position < len(text):
        raise DecodeError(next_position, "something follows the JSON on this line")
    return value


def _decode_json(text: str, position: int) -> tuple[object, int]:
    """Decode the document at ``position``; return it and the position of the next one.

    Raises DecodeError if it is not JSON or not UTF-8, or if Python cannot decode it. In ``text``, a
    byte that is not UTF-8 stands as a lone surrogate (see ``decode_text``).
    """
    start = _skip_whitespace(text, position)
    try:
        value, end = JSON_DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        _refuse_undecoded_byte(text, start, error.pos)  # such a byte explains the error better
        raise DecodeError(error.pos, f"is not JSON ({error.msg})") from None
    except RecursionError:
        remedy = "leave it out: no CloudTrail record is like that"
        raise DecodeError(start, "the JSON nests too deeply", remedy) from None
    except ValueError as error:  # a number of more digits than Python converts
        remedy = "leave it out: no CloudTrail record contains such a number"
        raise DecodeError(start, f"cannot be read ({error})", remedy) from None
    _refuse_undecoded_byte(text, start, end)  # the decoder accepts a lone surrogate in a string
    return value, _skip_whitespace(text, end)


def _skip_whitespace(text: str, position: int) -> int:
    """Return the position of the next character that is not whitespace, or the end of the text."""
    match = WHITESPACE.match(text, position)
    return match.end() if match else position


def _refuse_undecoded_byte(text: str, start: int, end: int) -> None:
    """Raise DecodeError if the text has a byte that is not UTF-8 from ``start`` through ``end``."""
    match = UNDECODED_BYTE.search(text, start, end + 1)
    if match:
        remedy = "save it as UTF-8, as with: iconv -t UTF-8"
        raise DecodeError(match.start(), "is not UTF-8 text", remedy)
