"""Zips whose bytes follow from their content alone, and the litter that never enters one."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tooling.deploy import archive
from tooling.errors import FailedError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.py", "a/deep.py", "a/data.json"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path / "tree"


class TestDigest:
    def test_the_order_of_the_parts_does_not_count(self) -> None:
        assert archive.digest([("a", b"1"), ("b", b"2")]) == archive.digest(
            [("b", b"2"), ("a", b"1")]
        )

    @pytest.mark.parametrize(
        "other", [[("a", b"2")], [("b", b"1")], [("a", b"1"), ("b", b"")], [("a1", b"")]]
    )
    def test_every_name_and_content_counts(self, other: list[tuple[str, bytes]]) -> None:
        assert archive.digest(other) != archive.digest([("a", b"1")])


class TestFiles:
    def test_every_file_is_found_by_its_relative_name(self, tree: Path) -> None:
        assert archive.list_files(tree) == {
            name: tree / name for name in ("a/data.json", "a/deep.py", "b.py")
        }

    @pytest.mark.parametrize(
        "name",
        [
            "__pycache__/b.cpython-311.pyc",
            "b.pyc",
            "a/b.py~",
            ".DS_Store",
            "a/.hidden/x.py",
            "a/__pycache__/x.py",
        ],
    )
    def test_litter_is_left_out(self, tree: Path, name: str) -> None:
        before = archive.list_files(tree)
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("litter")
        assert archive.list_files(tree) == before

    def test_a_folder_of_the_checkout_that_begins_with_a_dot_does_not_count(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".checkout").mkdir()
        (tmp_path / ".checkout" / "a.py").touch()
        assert set(archive.list_files(tmp_path / ".checkout")) == {"a.py"}


def test_files_are_copied_under_their_relative_names(tree: Path, tmp_path: Path) -> None:
    archive.copy(archive.list_files(tree), tmp_path / "copy")
    assert {
        name: path.read_text() for name, path in archive.list_files(tmp_path / "copy").items()
    } == {name: f"# {name}\n" for name in ("a/data.json", "a/deep.py", "b.py")}


class TestWrite:
    def test_the_same_files_give_the_same_bytes_in_another_folder_with_other_times_and_modes(
        self, tree: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "elsewhere" / "x"
        archive.copy(dict(reversed(archive.list_files(tree).items())), other)
        os.utime(other / "b.py", (1, 1))
        (other / "b.py").chmod(0o700)
        first, second = tmp_path / "1.zip", tmp_path / "2.zip"
        assert archive.write(tree, first) == archive.write(other, second)
        assert first.read_bytes() == second.read_bytes()

    def test_entries_are_sorted_dated_alike_readable_and_not_compressed(
        self, tree: Path, tmp_path: Path
    ) -> None:
        archive.write(tree, tmp_path / "x.zip")
        entries = zipfile.ZipFile(tmp_path / "x.zip").infolist()
        assert [entry.filename for entry in entries] == ["a/data.json", "a/deep.py", "b.py"]
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {(entry.create_system, entry.external_attr >> 16) for entry in entries} == {
            (3, 0o100644)
        }
        assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}

    def test_the_answer_is_the_checksum_of_the_zip_and_is_noted_beside_it(
        self, tree: Path, tmp_path: Path
    ) -> None:
        checksum = archive.write(tree, tmp_path / "new" / "x.zip")
        assert checksum == hashlib.sha256((tmp_path / "new" / "x.zip").read_bytes()).hexdigest()
        assert archive.verify(tmp_path / "new" / "x.zip") == checksum

    def test_no_scratch_is_left_behind(self, tree: Path, tmp_path: Path) -> None:
        archive.write(tree, tmp_path / "out" / "x.zip")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.zip", "x.zip.sha256"}


class TestVerified:
    def test_a_zip_that_was_changed_afterwards_is_not_reused(
        self, tree: Path, tmp_path: Path
    ) -> None:
        archive.write(tree, tmp_path / "x.zip")
        with (tmp_path / "x.zip").open("ab") as file:
            file.write(b"!")
        assert archive.verify(tmp_path / "x.zip") is None

    @pytest.mark.parametrize("lost", ["x.zip", "x.zip.sha256"])
    def test_a_zip_without_its_note_and_a_note_without_its_zip_count_as_none(
        self, tree: Path, tmp_path: Path, lost: str
    ) -> None:
        archive.write(tree, tmp_path / "x.zip")
        (tmp_path / lost).unlink()
        assert archive.verify(tmp_path / "x.zip") is None


class TestCompileTree:
    def test_byte_code_is_never_compared_with_its_source_and_names_the_mounted_path(
        self, tree: Path
    ) -> None:
        archive.compile_tree(sys.executable, tree, "/var/task")
        made = (
            tree / "a" / "__pycache__" / f"deep.{sys.implementation.cache_tag}.pyc"
        ).read_bytes()
        assert int.from_bytes(made[4:8], "little") == 0b01  # hash-based and unchecked (PEP 552)
        assert b"/var/task/a/deep.py" in made
        assert str(tree).encode() not in made

    def test_source_that_does_not_compile_is_named(self, tree: Path) -> None:
        (tree / "broken.py").write_text("def\n")
        with pytest.raises(
            FailedError, match=r"(?s)byte-code: .*could not compile:.*broken\.py"
        ) as failed:
            archive.compile_tree(sys.executable, tree, "/var/task")
        assert failed.value.exit_code == 1
