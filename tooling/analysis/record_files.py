"""Finds files of CloudTrail records and reads the records in them, one file at a time.

``documents`` decodes the content of a file, and ``containers`` unwraps what the records are packed
in. Reading goes on after a broken place where it can: the place is yielded as a FileProblem,
between the records. An argument is a path on the command line: a file, a folder, or "-" for
standard input.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tooling.analysis import containers, documents, record_cutter
from tooling.analysis.documents import DecodeError
from tooling.errors import RefusedError
from tooling.invocation import spell_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STANDARD_INPUT = "-"
READ_CHUNK_BYTES = 1 << 20
NO_RECORD = "no CloudTrail record here"


@dataclass(frozen=True)
class SourceFile:
    """A file to read. ``argument`` is the path on the command line that led to it."""

    path: str
    argument: str


@dataclass(frozen=True)
class FileRecord:
    """One record, as a JSON value."""

    path: str
    index: int  # its position in the file, as in .Records[index]
    value: object


@dataclass(frozen=True)
class OtherRecords:
    """Records that follow each other and are not sign-ins. Only their names are decoded."""

    path: str
    index: int  # the position of the first one in the file
    names: list[record_cutter.Names]


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


FileItem = FileRecord | OtherRecords | FileProblem  # what ``read`` yields


def find_files(paths: Sequence[str]) -> list[SourceFile | FileProblem]:
    """Return the files at the paths and in the folders below them, in order and each once.

    Hidden files in a folder are skipped. A folder that cannot be opened is a FileProblem among
    them. Raises RefusedError for a path that does not exist, for an empty file, for a folder
    without files, and if there is no path.
    """
    if not paths:
        command = f"{spell_program()} explain records.json"
        remedy = f"name a file or a folder, or - for standard input: {command}"
        raise RefusedError("records", "none are named", remedy)
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
        remedy = (
            f"check the path; {spell_program()} --help explain shows the flags, - is standard input"
        )
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


def read(file: SourceFile, open_stdin: Callable[[], BinaryIO]) -> Iterator[FileItem]:
    """Yield the records of one file, and a problem for each place that cannot be read.

    If ``record_cutter`` can cut the file, records that are not sign-ins are yielded together, as
    OtherRecords. Values that are no record are reported together, after the records, and so is a
    file of nothing but empty containers. Only this file is held in memory. ``open_stdin`` is called
    only to read standard input.
    """
    try:
        data = documents.decompress(_read_bytes(file, open_stdin))
        pieces = record_cutter.cut(data)
        text = documents.decode_text(data) if pieces is None else ""
    except OSError as error:
        yield _make_open_problem(file.path, error)
        return
    except DecodeError as error:
        yield FileProblem(file.path, f"byte {error.offset}", error.problem, error.remedy)
        return
    items = _unwrap_documents(text) if pieces is None else _unwrap_pieces(pieces)
    yield from _number_items(file.path, text, items)


def _number_items(path: str, text: str, items: Iterator[object]) -> Iterator[FileItem]:
    """Yield the records and problems of a file, with their positions in it or in its text.

    ``items`` are what _unwrap_documents or _unwrap_pieces yields. Each has the next position.
    """
    index = 0
    foreign_indexes: list[int] = []  # of the values that are no records
    has_empty_container = False
    for item in items:
        if isinstance(item, containers.EmptyContainer):
            has_empty_container = True  # it has no position
            continue
        count = 1
        if isinstance(item, dict):
            yield FileRecord(path, index, item)
        elif isinstance(item, list):
            yield OtherRecords(path, index, item)
            count = len(item)
        elif isinstance(item, DecodeError):
            place = documents.format_place(text, item.offset)
            yield FileProblem(path, place, item.problem, item.remedy)
        elif isinstance(item, containers.BrokenContent):
            place = f"{item.key} of event {index}"
            if item.place:
                place += f", {item.place}"
            yield FileProblem(path, place, item.problem, item.remedy)
        else:  # NotARecord
            foreign_indexes.append(index)
        index += count
    if foreign_indexes or (has_empty_container and not index):
        yield _make_foreign_problem(path, foreign_indexes, count=index)


def _unwrap_pieces(pieces: list[object]) -> Iterator[object]:
    """Yield each list of Names, and what is found in each of the other pieces.

    ``pieces`` are the records of a file as record_cutter.cut returns them.
    """
    for piece in pieces:
        if isinstance(piece, list) or containers.is_plain_record(piece):
            yield piece
        else:
            yield from containers.unwrap(piece)


def _unwrap_documents(text: str) -> Iterator[object]:
    """Yield what is found in each document of a text, and a DecodeError for each broken place.

    What is found is a record (an object), NotARecord, EmptyContainer or BrokenContent.
    """
    for document in documents.split_text(text):
        if isinstance(document, DecodeError):
            yield document
        else:
            yield from containers.unwrap(document)


def _make_foreign_problem(path: str, indexes: Sequence[int], count: int) -> FileProblem:
    """Return one problem for all values of a file that are no records.

    ``indexes`` are their positions, and ``count`` is the number of all values in the file.
    """
    remedy = "leave it out; docs/explain-and-coverage.md lists what holds records"
    if len(indexes) == count:
        return FileProblem(path, "", NO_RECORD, remedy)
    problem = NO_RECORD
    if len(indexes) > 1:
        problem += f", nor in {len(indexes) - 1} more"
    return FileProblem(path, f"event {indexes[0]}", problem, remedy)


def _read_bytes(file: SourceFile, open_stdin: Callable[[], BinaryIO]) -> bytes:
    """Return the content of a file. Raises DecodeError for a file that is too large or empty.

    An empty file that is itself an argument is no error here: it is refused at the end, by
    ``refuse_arguments_without_records``.
    """
    if file.path == STANDARD_INPUT:
        data = _read_stream(open_stdin())
    else:
        with Path(file.path).open("rb") as stream:
            size_bytes = os.fstat(stream.fileno()).st_size  # 0 for a pipe
            documents.check_size(size_bytes)
            data = stream.read(size_bytes) if size_bytes else _read_stream(stream)
    if not data and file.path != file.argument:
        raise DecodeError(0, "the file is empty")
    documents.check_size(len(data))
    return data


def _read_stream(stream: BinaryIO) -> bytes:
    """Return what a stream of unknown size holds, up to one byte more than documents.MAX_BYTES.

    It is read in chunks, because Python sets aside as much memory as it is asked to read.
    """
    parts: list[bytes] = []
    rest_bytes = documents.MAX_BYTES + 1  # one more shows that the file is too large
    while part := stream.read(min(rest_bytes, READ_CHUNK_BYTES)):
        parts.append(part)
        rest_bytes -= len(part)
    return b"".join(parts)
