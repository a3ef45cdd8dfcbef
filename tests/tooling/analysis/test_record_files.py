"""Files of records: each form is split into records, and faults are reported with their place."""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from tests.support.refusals import refusal_of
from tooling.analysis import documents, record_files
from tooling.analysis.record_files import FileProblem, FileRecord, SourceFile

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = ({"eventName": name, "eventID": "x"} for name in "ABC")
LOG = {"Records": [A, B]}
DEEP = "[" * 200_000


Entries = list[record_files.FileItem]


def no_stdin() -> BinaryIO:
    raise AssertionError("standard input was opened")


def read_all(*paths: str | Path) -> Entries:
    entries: Entries = []
    for file in record_files.find_files([str(path) for path in paths]):
        entries += [file] if isinstance(file, FileProblem) else record_files.read(file, no_stdin)
    return entries


def read(folder: Path, data: str | bytes, name: str = "it.json") -> Entries:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_all(folder / name)


def values(entries: Entries) -> list[object]:
    return [entry.value for entry in entries if isinstance(entry, FileRecord)]


def indexes(entries: Entries) -> list[int]:
    return [entry.index for entry in entries if isinstance(entry, FileRecord)]


def faults(entries: Entries) -> list[tuple[str, str]]:
    return [(entry.place, entry.problem) for entry in entries if isinstance(entry, FileProblem)]


def to_json(*documents: object, between: str = "\n") -> str:
    return between.join(json.dumps(document) for document in documents)


def lookup(*events: object) -> dict[str, Any]:
    """The output of lookup-events."""
    return {"Events": [{"EventId": "x", "CloudTrailEvent": event} for event in events]}


class TestForms:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (to_json(A), [A]),
            (to_json({"detail": A}), [{"detail": A}]),
            (to_json([A, {"detail": B}]), [A, {"detail": B}]),
            (to_json(A, B, {"detail": C}), [A, B, {"detail": C}]),
            (to_json(A, B, between="\r\n\r\n") + "\r\n", [A, B]),
            (to_json(A, B, between="\t"), [A, B]),  # lookup-events --output text
            (to_json(A, B, between="\t") + "\n" + to_json(C, A, between="\t"), [A, B, C, A]),
            (to_json(LOG), [A, B]),
            (json.dumps(LOG, indent=2), [A, B]),
            (f'{{"Records": [\n{json.dumps(A)}\n]}}', [A]),
            (f"[\n{json.dumps(A)}\n]\n[\n{json.dumps(B)}\n]", [A, B]),
            (json.dumps(LOG, indent=2) + json.dumps(C, indent=2), [A, B, C]),
            (to_json(LOG, {"Records": [C]}), [A, B, C]),
            (to_json([LOG, {"Records": [C]}]), [A, B, C]),
            (to_json(lookup(json.dumps(A), json.dumps(B))), [A, B]),
            (to_json(*lookup(json.dumps(A), json.dumps(B))["Events"]), [A, B]),
            (
                to_json({**A, "eventName": "one\u2028line"}, B),
                [{**A, "eventName": "one\u2028line"}, B],
            ),
            (
                '{"eventID": "x", "eventName": "one\u2028line"}\n' + to_json(B),
                [{**A, "eventName": "one\u2028line"}, B],
            ),
        ],
    )
    def test_each_form_gives_its_records_in_order(
        self, tmp_path: Path, data: str, expected: list[object]
    ) -> None:
        entries = read(tmp_path, data)
        assert values(entries) == expected
        assert indexes(entries) == list(range(len(expected)))
        assert {entry.path for entry in entries} == {str(tmp_path / "it.json")}

    @pytest.mark.parametrize("name", ["it.json.gz", "it.json"])
    def test_gzip_is_detected_by_its_first_bytes_and_may_have_several_members(
        self, tmp_path: Path, name: str
    ) -> None:
        members = gzip.compress(to_json(LOG).encode()) + gzip.compress(to_json(C).encode())
        assert values(read(tmp_path, members, name)) == [A, B, C]

    def test_a_large_gzip_file_is_read_completely(self, tmp_path: Path) -> None:
        many = [{**A, "eventName": os.urandom(20).hex()} for _ in range(2000)]
        assert values(read(tmp_path, gzip.compress(to_json({"Records": many}).encode()))) == many

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
    def test_the_encodings_that_powershell_writes_are_read(
        self, tmp_path: Path, encoding: str
    ) -> None:
        assert values(read(tmp_path, to_json(LOG).encode(encoding))) == [A, B]

    def test_standard_input_is_read_once_even_if_it_is_named_twice(self) -> None:
        data = io.BytesIO(gzip.compress(to_json(LOG).encode()))
        (file,) = record_files.find_files(["-", "-"])
        assert isinstance(file, SourceFile)
        assert list(record_files.read(file, lambda: data)) == [
            FileRecord("-", 0, A),
            FileRecord("-", 1, B),
        ]

    @pytest.mark.parametrize("value", [[[7]], 7, None, "ConsoleLogin", True, {}, {"a": 1}])
    def test_a_value_that_is_no_record_is_a_fault_beside_the_records(
        self, tmp_path: Path, value: object
    ) -> None:
        entries = read(tmp_path, to_json({"Records": [A, value, B, value]}))
        assert (values(entries), indexes(entries)) == ([A, B], [0, 2])
        assert faults(entries) == [("event 1", "no CloudTrail record here, nor in 1 more")]

    def test_a_digest_file_holds_no_record(self, tmp_path: Path) -> None:
        (tmp_path / "digest.json").write_text(
            to_json({"digestS3Bucket": "b", "logFiles": [], "awsAccountId": "1"})
        )
        assert read_all(tmp_path) == []


class TestFindFiles:
    def test_folders_are_searched_in_order_without_hidden_files(self, tmp_path: Path) -> None:
        for name in (
            "b/2.json",
            "b/1/9.json",
            "a.json",
            ".hidden/x.json",
            "b/.DS_Store",
            "c/deep/er/0.json",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(to_json({**A, "eventName": name}))
        names = ["a.json", "b/1/9.json", "b/2.json", "c/deep/er/0.json"]
        assert values(read_all(tmp_path)) == [{**A, "eventName": name} for name in names]

    def test_a_file_that_is_named_twice_is_read_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(to_json(A))
        (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
        assert values(read_all(tmp_path, tmp_path / "a.json", tmp_path / "." / "a.json")) == [A]

    def test_a_file_is_opened_only_when_it_is_read(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_text(to_json(LOG))
        first, second = record_files.find_files([str(tmp_path)])
        assert isinstance(first, SourceFile)
        assert isinstance(second, SourceFile)
        (tmp_path / "b").write_text(to_json(C))
        assert values([*record_files.read(first, no_stdin)]) == [A, B]
        assert values([*record_files.read(second, no_stdin)]) == [C]

    def test_a_path_that_does_not_exist_is_refused_before_any_file_is_read(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "a.json").write_text(to_json(A))
        assert "nowhere: does not exist" in refusal_of(
            lambda: read_all(tmp_path / "a.json", tmp_path / "nowhere")
        )

    @pytest.mark.parametrize(
        ("path", "message"),
        [("", "an empty path: does not exist"), ("x" * 300, "x: does not exist")],
    )
    def test_an_impossible_path_is_refused(self, path: str, message: str) -> None:
        assert message in refusal_of(lambda: record_files.find_files([path]))

    def test_an_empty_file_and_an_empty_folder_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        for name in ("folder", "file"):
            path = tmp_path / name
            assert f"{name}: contains no record" in refusal_of(functools.partial(read_all, path))

    def test_an_empty_file_in_a_folder_is_a_fault(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").touch()
        assert faults(read_all(tmp_path)) == [("byte 0", "the file is empty")]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
    def test_a_file_without_read_permission_is_a_fault(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(to_json(A))
        (tmp_path / "a.json").chmod(0)
        assert faults(read_all(tmp_path)) == [("", "cannot be opened (Permission denied)")]

    def test_a_folder_without_read_permission_is_a_fault(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def walk(top: str, onerror: Any) -> Any:
            onerror(PermissionError(13, "Permission denied", f"{top}/closed"))
            return iter([])

        monkeypatch.setattr(os, "walk", walk)
        assert [str(fault) for fault in read_all(tmp_path)] == [
            f"{tmp_path}/closed: cannot be opened (Permission denied)"
        ]


class TestProblems:
    def test_a_gzip_file_that_is_cut_off_is_reported_at_its_end(self, tmp_path: Path) -> None:
        data = gzip.compress(os.urandom(9000))[:5000]
        assert faults(read(tmp_path, data)) == [
            ("byte 5000", "the gzip data end too early: the file is cut off"),
        ]

    @pytest.mark.parametrize("offset", [2, 5000, -6], ids=["header", "middle", "checksum"])
    def test_a_damaged_gzip_file_is_reported_near_the_damage(
        self, tmp_path: Path, offset: int
    ) -> None:
        data = bytearray(gzip.compress(bytes(range(256)) * 40 + os.urandom(9000)))
        start = offset % len(data)
        data[start : start + 4] = bytes(byte ^ 0xFF for byte in data[start : start + 4])
        ((place, problem),) = faults(read(tmp_path, bytes(data)))
        assert "is damaged gzip" in problem
        reported = int(place.removeprefix("byte "))
        assert start - documents.GZIP_CHUNK_BYTES <= reported <= len(data)

    def test_bytes_that_are_not_utf_8_are_reported_by_line_and_column(self, tmp_path: Path) -> None:
        data = b'{"Records": [\n  {"eventName": "\xff"}]}'
        assert faults(read(tmp_path, data)) == [("line 2, column 18", "is not UTF-8 text")]

    def test_utf_16_that_is_cut_off_is_reported_by_byte(self, tmp_path: Path) -> None:
        ((place, problem),) = faults(read(tmp_path, to_json(A).encode("utf-16")[:-1]))
        assert (place.split()[0], problem) == ("byte", "is not UTF-16 text")

    def test_json_that_is_cut_off_is_reported_by_line_and_column(self, tmp_path: Path) -> None:
        ((place, problem),) = faults(read(tmp_path, json.dumps(LOG, indent=2)[:40]))
        assert place == "line 4, column 18"
        assert problem.startswith("is not JSON (")

    def test_documents_before_a_broken_one_are_read(self, tmp_path: Path) -> None:
        entries = read(tmp_path, json.dumps(LOG, indent=1) + '{"Records": ')
        assert values(entries) == [A, B]
        assert len(faults(entries)) == 1

    @pytest.mark.parametrize("position", [0, 1, 2])
    @pytest.mark.parametrize(
        ("bad", "column"),
        [
            ('{"eventName": ', 15),
            ('x {"eventName": "A"}', 1),
            (b'{"eventName": "\xff"}', 16),
            (DEEP, 1),
            ("9" * 5000, 1),
        ],
        ids=["cut off", "more before it", "not UTF-8", "deep", "a huge number"],
    )
    def test_a_broken_line_is_reported_and_the_others_are_read(
        self, tmp_path: Path, position: int, bad: str | bytes, column: int
    ) -> None:
        lines = [to_json(A).encode(), to_json(B).encode()]
        lines.insert(position, bad if isinstance(bad, bytes) else bad.encode())
        entries = read(tmp_path, b"\n".join(lines))
        assert values(entries) == [A, B]
        assert [place for place, _ in faults(entries)] == [f"line {position + 1}, column {column}"]
        assert indexes(entries) == [index for index in range(3) if index != position]

    @pytest.mark.parametrize("data", [DEEP, '{"Records": ' + DEEP])
    def test_json_that_nests_too_deeply_is_reported(self, tmp_path: Path, data: str) -> None:
        assert faults(read(tmp_path, data)) == [("line 1, column 1", "the JSON nests too deeply")]

    def test_a_broken_event_of_lookup_events_is_reported_and_the_others_are_read(
        self, tmp_path: Path
    ) -> None:
        entries = read(tmp_path, to_json(lookup(json.dumps(A), "{", json.dumps(B))))
        assert (indexes(entries), values(entries)) == ([0, 2], [A, B])
        ((place, _),) = faults(entries)
        assert place == "CloudTrailEvent of event 1, line 1, column 2"

    @pytest.mark.parametrize("encode", [bytes, gzip.compress])
    def test_a_file_that_is_too_large_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Any
    ) -> None:
        monkeypatch.setattr(documents, "MAX_BYTES", 100)
        ((_, problem),) = faults(read(tmp_path, encode(b" " * 101)))
        assert problem.startswith("holds more than")

    @pytest.mark.parametrize("length", [100, 101])
    def test_standard_input_that_is_too_large_is_reported(
        self, monkeypatch: pytest.MonkeyPatch, length: int
    ) -> None:
        monkeypatch.setattr(documents, "MAX_BYTES", 100)
        monkeypatch.setattr(record_files, "READ_CHUNK_BYTES", 7)
        data = to_json(A).encode().ljust(length)
        (entry,) = record_files.read(SourceFile("-", "-"), lambda: io.BytesIO(data))
        if length == 100:
            assert entry == FileRecord("-", 0, A)
        else:
            assert "holds more than" in str(entry)

    def test_data_after_a_gzip_file_are_reported(self, tmp_path: Path) -> None:
        data = gzip.compress(to_json(A).encode())
        assert faults(read(tmp_path, data + b"more"))[0][0] == f"byte {len(data)}"
        assert zlib.decompress(data, documents.GZIP_WINDOW_BITS) == to_json(A).encode()
