"""A person's own records: each form of file is taken apart, and what cannot be read is told of by its place."""

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
from tooling.analysis import record_files
from tooling.analysis.record_files import Fault, Found

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = {"eventName": "A"}, {"eventName": "B"}, {"eventName": "C"}
LOG = {"Records": [A, B]}
DEEP = "[" * 200_000


def nothing() -> BinaryIO:
    raise AssertionError("standard input was not asked for")


def everything(*paths: str | Path) -> list[Found | Fault]:
    found: list[Found | Fault] = []
    for source in record_files.sources([str(path) for path in paths]):
        found += [source] if isinstance(source, Fault) else record_files.read(source, nothing)
    return found


def read(folder: Path, data: str | bytes, name: str = "it.json") -> list[Found | Fault]:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return everything(folder / name)


def taken(found: list[Found | Fault]) -> list[object]:
    return [one.record for one in found if isinstance(one, Found)]


def faults(found: list[Found | Fault]) -> list[tuple[str, str]]:
    return [(one.where, one.what) for one in found if isinstance(one, Fault)]


def dumped(*values: object, between: str = "\n") -> str:
    return between.join(json.dumps(value) for value in values)


def looked_up(*events: object) -> dict[str, Any]:
    return {"Events": [{"EventId": "x", "CloudTrailEvent": event} for event in events]}


class TestForms:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (dumped(A), [A]),
            (dumped({"detail": A}), [{"detail": A}]),
            (dumped([A, {"detail": B}]), [A, {"detail": B}]),
            (dumped(A, B, {"detail": C}), [A, B, {"detail": C}]),
            (dumped(A, B, between="\r\n\r\n") + "\r\n", [A, B]),
            (dumped(LOG), [A, B]),
            (json.dumps(LOG, indent=2), [A, B]),
            ('{"Records": [\n{"eventName": "A"}\n]}', [A]),
            ('[\n{"eventName": "A"}\n]\n[\n{"eventName": "B"}\n]', [A, B]),
            (json.dumps(LOG, indent=2) + json.dumps(C, indent=2), [A, B, C]),
            (dumped(LOG, {"Records": [C]}), [A, B, C]),
            (dumped([LOG, {"Records": [C]}]), [A, B, C]),
            (dumped(looked_up(json.dumps(A), json.dumps(B))), [A, B]),
            (dumped(*looked_up(json.dumps(A), json.dumps(B))["Events"]), [A, B]),
            (dumped({"eventName": "one\u2028line"}, B), [{"eventName": "one\u2028line"}, B]),
            ('{"eventName": "one\u2028line"}\n' + dumped(B), [{"eventName": "one\u2028line"}, B]),
        ],
    )
    def test_each_form_gives_its_records_in_order(
        self, tmp_path: Path, data: str, expected: list[object]
    ) -> None:
        found = read(tmp_path, data)
        assert taken(found) == expected
        assert [one.index for one in found if isinstance(one, Found)] == list(range(len(expected)))
        assert {one.file for one in found} == {str(tmp_path / "it.json")}

    @pytest.mark.parametrize("name", ["it.json.gz", "it.json"])
    def test_gzip_is_known_by_its_first_bytes_and_may_have_several_members(
        self, tmp_path: Path, name: str
    ) -> None:
        members = gzip.compress(dumped(LOG).encode()) + gzip.compress(dumped(C).encode())
        assert taken(read(tmp_path, members, name)) == [A, B, C]

    def test_a_large_gzip_file_is_whole(self, tmp_path: Path) -> None:
        many = [{"eventName": os.urandom(20).hex()} for _ in range(2000)]
        assert taken(read(tmp_path, gzip.compress(dumped({"Records": many}).encode()))) == many

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
    def test_the_encodings_that_powershell_writes_are_read(
        self, tmp_path: Path, encoding: str
    ) -> None:
        assert taken(read(tmp_path, dumped(LOG).encode(encoding))) == [A, B]

    def test_standard_input_is_a_file_too_and_is_read_once(self) -> None:
        data = io.BytesIO(gzip.compress(dumped(LOG).encode()))
        (source,) = record_files.sources(["-", "-"])
        assert isinstance(source, record_files.Source)
        assert list(record_files.read(source, lambda: data)) == [Found("-", 0, A), Found("-", 1, B)]

    @pytest.mark.parametrize("record", [[A], 7, None, "ConsoleLogin", True])
    def test_a_record_that_is_no_object_is_a_record_to_be_judged(
        self, tmp_path: Path, record: object
    ) -> None:
        assert taken(read(tmp_path, dumped({"Records": [record, A]}))) == [record, A]

    def test_an_event_looked_up_that_holds_no_text_is_a_record_to_be_judged(
        self, tmp_path: Path
    ) -> None:
        (record,) = looked_up(5)["Events"]
        assert taken(read(tmp_path, dumped(looked_up(5)))) == [record]

    def test_a_digest_of_cloudtrail_holds_no_record(self, tmp_path: Path) -> None:
        (tmp_path / "digest.json").write_text(
            dumped({"digestS3Bucket": "b", "logFiles": [], "awsAccountId": "1"})
        )
        assert everything(tmp_path) == []


class TestFinding:
    def test_a_folder_is_searched_to_its_end_in_order_without_what_is_hidden(
        self, tmp_path: Path
    ) -> None:
        for name in (
            "b/2.json",
            "b/1/9.json",
            "a.json",
            ".hidden/x.json",
            "b/.DS_Store",
            "c/deep/er/0.json",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(dumped({"eventName": name}))
        names = [
            record["eventName"]
            for record in taken(everything(tmp_path))
            if isinstance(record, dict)
        ]
        assert names == ["a.json", "b/1/9.json", "b/2.json", "c/deep/er/0.json"]

    def test_a_file_that_is_named_twice_counts_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(dumped(A))
        (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
        assert taken(everything(tmp_path, tmp_path / "a.json", tmp_path / "." / "a.json")) == [A]

    def test_only_one_file_is_opened_at_a_time(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_text(dumped(LOG))
        first, second = record_files.sources([str(tmp_path)])
        assert isinstance(first, record_files.Source)
        assert isinstance(second, record_files.Source)
        (tmp_path / "b").write_text(dumped(C))
        assert taken([*record_files.read(first, nothing), *record_files.read(second, nothing)]) == [
            A,
            B,
            C,
        ]

    def test_what_is_not_there_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(dumped(A))
        assert "nowhere: is not there" in refusal_of(
            lambda: everything(tmp_path / "a.json", tmp_path / "nowhere")
        )

    @pytest.mark.parametrize(
        ("path", "told"), [("", "an empty path: is not there"), ("x" * 300, "x: is not there")]
    )
    def test_a_path_that_nothing_can_have_is_refused(self, path: str, told: str) -> None:
        assert told in refusal_of(lambda: record_files.sources([path]))

    def test_an_empty_file_and_an_empty_folder_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        for name in ("folder", "file"):
            path = tmp_path / name
            assert f"{name}: holds no record" in refusal_of(functools.partial(everything, path))

    def test_an_empty_file_in_a_folder_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").touch()
        assert faults(everything(tmp_path)) == [("byte 0", "the file is empty")]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
    def test_a_file_that_may_not_be_opened_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(dumped(A))
        (tmp_path / "a.json").chmod(0)
        assert faults(everything(tmp_path)) == [("", "cannot be opened (Permission denied)")]

    def test_a_folder_that_may_not_be_looked_into_is_told_of(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def walk(top: str, onerror: Any) -> Any:
            onerror(PermissionError(13, "Permission denied", f"{top}/closed"))
            return iter([])

        monkeypatch.setattr(os, "walk", walk)
        assert [str(fault) for fault in everything(tmp_path)] == [
            f"{tmp_path}/closed: cannot be opened (Permission denied)"
        ]


class TestFaults:
    def test_a_gzip_file_that_is_cut_off_is_told_of_with_its_last_byte(
        self, tmp_path: Path
    ) -> None:
        data = gzip.compress(os.urandom(9000))[:5000]
        assert faults(read(tmp_path, data)) == [
            ("byte 5000", "the gzip data end too early: the file is cut off"),
        ]

    @pytest.mark.parametrize("at", [2, 5000, -6], ids=["header", "middle", "checksum"])
    def test_a_damaged_gzip_file_is_told_of_near_the_byte(self, tmp_path: Path, at: int) -> None:
        data = bytearray(gzip.compress(bytes(range(256)) * 40 + os.urandom(9000)))
        place = at % len(data)
        data[place : place + 4] = bytes(byte ^ 0xFF for byte in data[place : place + 4])
        ((where, what),) = faults(read(tmp_path, bytes(data)))
        assert "is damaged gzip" in what
        assert place - record_files.SLICE <= int(where.removeprefix("byte ")) <= len(data)

    def test_bytes_that_are_no_text_are_told_of_by_line_and_column(self, tmp_path: Path) -> None:
        data = b'{"Records": [\n  {"eventName": "\xff"}]}'
        assert faults(read(tmp_path, data)) == [("line 2, column 18", "is not UTF-8 text")]

    def test_utf_16_that_is_cut_off_is_told_of_by_its_byte(self, tmp_path: Path) -> None:
        ((where, what),) = faults(read(tmp_path, dumped(A).encode("utf-16")[:-1]))
        assert (where.split()[0], what) == ("byte", "is not UTF-16 text")

    def test_json_that_is_cut_off_is_told_of_by_line_and_column(self, tmp_path: Path) -> None:
        ((where, what),) = faults(read(tmp_path, json.dumps(LOG, indent=2)[:40]))
        assert where == "line 4, column 18"
        assert what.startswith("is not JSON (")

    def test_what_stands_before_the_break_counts(self, tmp_path: Path) -> None:
        found = read(tmp_path, json.dumps(LOG, indent=1) + '{"Records": ')
        assert taken(found) == [A, B]
        assert len(faults(found)) == 1

    @pytest.mark.parametrize("place", [0, 1, 2])
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
    def test_a_bad_line_is_told_of_and_the_others_count(
        self, tmp_path: Path, place: int, bad: str | bytes, column: int
    ) -> None:
        lines = [dumped(A).encode(), dumped(B).encode()]
        lines.insert(place, bad if isinstance(bad, bytes) else bad.encode())
        found = read(tmp_path, b"\n".join(lines))
        assert taken(found) == [A, B]
        assert [where for where, _ in faults(found)] == [f"line {place + 1}, column {column}"]
        assert [one.index for one in found if isinstance(one, Found)] == [
            at for at in range(3) if at != place
        ]

    @pytest.mark.parametrize("data", [DEEP, '{"Records": ' + DEEP])
    def test_what_nests_too_deeply_is_told_of(self, tmp_path: Path, data: str) -> None:
        assert faults(read(tmp_path, data)) == [("line 1, column 1", "the JSON nests too deeply")]

    def test_a_text_of_lookup_events_that_does_not_parse_is_told_of_and_the_others_count(
        self, tmp_path: Path
    ) -> None:
        found = read(tmp_path, dumped(looked_up(json.dumps(A), "{", json.dumps(B))))
        assert [(one.index, one.record) for one in found if isinstance(one, Found)] == [
            (0, A),
            (2, B),
        ]
        assert [where for where, _ in faults(found)] == [
            "CloudTrailEvent of event 1, line 1, column 2"
        ]

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_a_file_that_is_larger_than_memory_bears_is_told_of(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any
    ) -> None:
        monkeypatch.setattr(record_files, "MOST_BYTES", 100)
        ((_, what),) = faults(read(tmp_path, pack(b" " * 101)))
        assert what.startswith("holds more than")

    def test_what_follows_a_gzip_file_is_told_of(self, tmp_path: Path) -> None:
        whole = gzip.compress(dumped(A).encode())
        assert faults(read(tmp_path, whole + b"more"))[0][0] == f"byte {len(whole)}"
        assert zlib.decompress(whole, record_files.GZIP) == dumped(A).encode()
