"""Zips: the same bytes from the same files, no byte-code or hidden files from the checkout."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tooling.deploy import archive
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["a/data.json", "a/deep.py", "b.py"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in reversed(NAMES):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path / "tree"


class TestDigest:
    def test_order_of_the_parts_does_not_matter(self) -> None:
        first = archive.digest([("a", b"1"), ("b", b"2")])
        assert first == archive.digest([("b", b"2"), ("a", b"1")])

    @pytest.mark.parametrize(
        "changed", [[("a", b"2")], [("b", b"1")], [("a", b"1"), ("b", b"")], [("a1", b"")]]
    )
    def test_every_name_and_content_matters(self, changed: list[tuple[str, bytes]]) -> None:
        assert archive.digest(changed) != archive.digest([("a", b"1")])

    def test_form_is_that_of_the_parameter_template_digest(self) -> None:
        digest = archive.digest([("a", b"1")])
        assert len(digest) == 32
        assert set(digest) <= set("0123456789abcdef")


class TestListFiles:
    def test_files_are_listed_by_relative_name(self, tree: Path) -> None:
        assert archive.list_files(tree) == {name: tree / name for name in NAMES}

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

    def test_checkout_in_a_hidden_folder_is_listed(self, tmp_path: Path) -> None:
        (tmp_path / ".checkout").mkdir()
        (tmp_path / ".checkout" / "a.py").touch()
        assert set(archive.list_files(tmp_path / ".checkout")) == {"a.py"}


def test_files_are_copied_under_their_relative_names(tree: Path, tmp_path: Path) -> None:
    archive.copy(archive.list_files(tree), tmp_path / "copy")
    copied = archive.list_files(tmp_path / "copy")
    texts = {name: path.read_text() for name, path in copied.items()}
    assert texts == {name: f"# {name}\n" for name in NAMES}


SOURCE = '''"""Module.

More.
"""
import json  # needed below
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import decimal


# A comment of its own.
class Empty(Exception):
    """Nothing else."""


def where(value: "decimal.Decimal"):
    """Return the value.
    """
    text = "kept # as it is"  # gone
    return value, text, json
'''


def test_documentation_is_blanked_and_line_numbers_stay(tmp_path: Path) -> None:
    path = tmp_path / "package" / "module.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    before, after = dict[str, Any](), dict[str, Any]()
    exec(SOURCE, before)  # noqa: S102 - the text above
    archive.blank_documentation(tmp_path)
    exec(path.read_text(), after)  # noqa: S102 - the text above without documentation
    assert [after["__doc__"], after["Empty"].__doc__, after["where"].__doc__] == ["", "", ""]
    assert after["where"](1)[:2] == (1, "kept # as it is")
    lines = path.read_text().splitlines()
    assert len(lines) == len(SOURCE.splitlines())
    for gone in ("needed", "comment", "gone", "import decimal"):
        assert gone not in path.read_text()
    numbers = [list(module["where"].__code__.co_lines()) for module in (before, after)]
    assert [line for *_, line in numbers[0]] == [line for *_, line in numbers[1]]


def test_annotations_of_functions_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("""class Pair(NamedTuple):
    first: int = 1

def add(a: int, *rest: dict[str, list[int]], größe: str = "->", **more: int) -> tuple[int, str]:
    sum: int = a + 1
    return sum, größe

def show(
    value: int,
) -> list[
    int
]: ...
""")
    archive.blank_documentation(tmp_path)
    assert (
        path.read_text()
        == """class Pair(NamedTuple):
    first: int = 1

def add(a, *rest, größe = "->", **more):
    sum: int = a + 1
    return sum, größe

def show(
    value,
) -> list[
    int
]: ...
"""
    )


def test_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(RefusedError, match=r"broken\.py: is not valid Python"):
        archive.blank_documentation(tmp_path)


class TestWrite:
    def test_same_files_in_another_folder_with_other_times_and_modes_give_the_same_bytes(
        self, tree: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "elsewhere" / "x"
        archive.copy(dict(reversed(archive.list_files(tree).items())), copy)
        os.utime(copy / "b.py", (1, 1))
        (copy / "b.py").chmod(0o700)
        archive.write(tree, tmp_path / "1.zip")
        archive.write(copy, tmp_path / "2.zip")
        assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()

    def test_entries_are_sorted_readable_compressed_and_have_one_date(
        self, tree: Path, tmp_path: Path
    ) -> None:
        archive.write(tree, tmp_path / "x.zip")
        entries = zipfile.ZipFile(tmp_path / "x.zip").infolist()
        assert [entry.filename for entry in entries] == NAMES
        for entry in entries:
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.create_system, entry.external_attr >> 16) == (3, 0o100644)
            assert entry.compress_type == zipfile.ZIP_DEFLATED

    def test_sha256_is_that_of_the_file(self, tree: Path, tmp_path: Path) -> None:
        archive.write(tree, tmp_path / "x.zip")
        expected = hashlib.sha256((tmp_path / "x.zip").read_bytes()).hexdigest()
        assert archive.compute_sha256(tmp_path / "x.zip") == expected


class TestCompileTree:
    def test_byte_code_is_unchecked_and_names_the_mounted_path(self, tree: Path) -> None:
        archive.compile_tree(sys.executable, tree, "/var/task")
        path = tree / "a" / "__pycache__" / f"deep.{sys.implementation.cache_tag}.pyc"
        byte_code = path.read_bytes()
        assert int.from_bytes(byte_code[4:8], "little") == 0b01  # hash-based, unchecked (PEP 552)
        assert b"/var/task/a/deep.py" in byte_code
        assert str(tree).encode() not in byte_code

    def test_source_with_a_syntax_error_is_named(self, tree: Path) -> None:
        (tree / "broken.py").write_text("def\n")
        message = r"(?s)byte-code: .*could not compile:.*broken\.py"
        with pytest.raises(RefusedError, match=message) as failure:
            archive.compile_tree(sys.executable, tree, "/var/task")
        assert failure.value.exit_code == 2
