"""Prepares the files of a zip and writes it: the same files give the same bytes on one machine.

Order, date and mode of the entries are fixed; compression depends on the machine's zlib. A zip is
therefore reused by a digest of its inputs, and checked by the SHA-256 of its bytes.
"""

from __future__ import annotations

import ast
import hashlib
import io
import shutil
import stat
import subprocess
import tokenize
import zipfile
from typing import TYPE_CHECKING

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ENTRY_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
UNIX_SYSTEM = 3  # the system on which the entry was made, which says how its mode is read
DIGEST_LENGTH_CHARS = 32
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED_NODES = (ast.Module, ast.ClassDef, *FUNCTIONS)


def digest(parts: Iterable[tuple[str, bytes]]) -> str:
    """Return a digest of names and contents, in hex; it does not depend on their order."""
    sha256 = hashlib.sha256()
    for name, content in sorted(parts):
        sha256.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return sha256.hexdigest()[:DIGEST_LENGTH_CHARS]


def list_files(folder: Path) -> dict[str, Path]:
    """Return the files below ``folder`` by relative name, such as "signwatch/handler.py".

    Byte-code, hidden files and editors' backup copies are left out.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _is_left_out(name):
            files[name] = path
    return files


def _is_left_out(name: str) -> bool:
    """Return whether the file is byte-code, hidden, or an editor's backup copy."""
    parts = name.split("/")
    is_hidden = any(part.startswith(".") for part in parts)
    return is_hidden or "__pycache__" in parts or name.endswith((".pyc", "~"))


def copy(files: Mapping[str, Path], folder: Path) -> None:
    """Copy files to ``folder`` under their relative names."""
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def blank_documentation(folder: Path) -> None:
    """Remove comments and all for type checkers alone from Python files, and blank docstrings.

    The line numbers of a traceback stay those of the sources.
    Raises RefusedError if a file is not valid Python.
    """
    for path in folder.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        try:
            code = _blank_type_imports(_blank_docstrings(_remove_comments(source)))
            path.write_text(_remove_annotations(code), encoding="utf-8")
        except (SyntaxError, tokenize.TokenError) as error:
            where = path.relative_to(folder).as_posix()
            raise RefusedError(where, f"is not valid Python: {error}", "fix this file") from error


def _remove_comments(source: str) -> str:
    """Return the source without its comments; a line of a comment alone becomes empty.

    Raises SyntaxError or TokenError.
    """
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line_number, column = token.start  # the line counts from 1, the column from 0
            code = lines[line_number - 1][:column].rstrip()
            lines[line_number - 1] = f"{code}\n"
    return "".join(lines)


def _blank_docstrings(source: str) -> str:
    """Return the source with each docstring replaced by an empty one of as many lines.

    Raises SyntaxError.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED_NODES) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            first, last = docstring.lineno, docstring.end_lineno or docstring.lineno  # from 1
            empty_docstring = " " * docstring.col_offset + '""\n'
            blank_lines = ["\n"] * (last - first)
            lines[first - 1 : last] = [empty_docstring, *blank_lines]
    return "".join(lines)


def _blank_type_imports(source: str) -> str:
    """Return the source with blank lines in place of each ``if TYPE_CHECKING`` of the module.

    It is false when the code runs, and annotations are not evaluated then. It has no ``else``.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = ["\n"] * (last - node.lineno + 1)
    return "".join(lines)


def _remove_annotations(source: str) -> str:
    """Return the source without the annotations of functions that are on one line.

    Those of a class stay, because a NamedTuple needs them. Raises SyntaxError.
    """
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    spans = []  # line from 0, and the columns of an annotation in bytes
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            start = node.col_offset + len(node.arg.encode())
            spans.append((node.lineno, start, node.annotation))
        elif isinstance(node, FUNCTIONS) and node.returns:
            number = node.returns.lineno
            start = lines[number - 1].rfind(b" ->", 0, node.returns.col_offset)
            spans.append((number, start, node.returns))
    for number, start, annotation in sorted(spans, key=lambda span: span[:2], reverse=True):
        if annotation.end_lineno == number and start >= 0:
            line = lines[number - 1]
            lines[number - 1] = line[:start] + line[annotation.end_col_offset :]
    stripped = b"".join(lines).decode()
    ast.parse(stripped)  # so that no file is broken
    return stripped


def compile_tree(interpreter: str, folder: Path, mount_path: str) -> None:
    """Add byte-code to the Python files in ``folder``, compiled by the Python ``interpreter``.

    Unchecked-hash byte-code holds no times and is never compared with its source (Python: "Cached
    bytecode invalidation"). Tracebacks show paths below ``mount_path``, where Lambda mounts the
    folder, and not those of this machine.
    Raises RefusedError when a file does not compile.
    """
    folder = folder.resolve()
    command = [interpreter, "-I", "-m", "compileall", "-q"]
    command += ["--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", mount_path, str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        output = (process.stdout + process.stderr).strip()
        what = f"{interpreter} could not compile:\n{output}"
        raise RefusedError("byte-code", what, "fix the source file named above")


def write(folder: Path, target: Path) -> None:
    """Zip all files of ``folder`` as ``target``."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = _make_entry(path.relative_to(folder).as_posix())
                # The level of the archive does not hold for an entry that was made before.
                archive.writestr(entry, path.read_bytes(), compresslevel=9)


def _make_entry(name: str) -> zipfile.ZipInfo:
    """Return a zip entry that does not depend on the file's date and mode."""
    entry = zipfile.ZipInfo(name, ENTRY_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = UNIX_SYSTEM
    entry.external_attr = (stat.S_IFREG | 0o644) << 16  # the upper 16 bits hold the Unix mode
    return entry


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
