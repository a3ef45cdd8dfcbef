"""The two zips: exactly the package, the same bytes from every folder, byte-code where the interpreter is at hand."""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT, files
from tooling.deploy import archive, layer, package
from tooling.deploy.package import Artifacts, find_interpreter, runtime_of
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.joint

RUNNING = f"python{sys.version_info.major}.{sys.version_info.minor}"
TAG = sys.implementation.cache_tag


class Pip:
    """Stands for pip: puts two files in place and counts."""

    def __init__(self) -> None:
        self.versions: list[str] = []

    def install(self, _requirements: Path, version: str, folder: Path) -> None:
        self.versions.append(version)
        (folder / "twilio").mkdir(parents=True)
        (folder / "twilio" / "__init__.py").write_text("X = 1\n")
        (folder / "bin").mkdir()
        (folder / "bin" / "tool").write_text("#!/bin/sh\n")


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(layer, "install", pip.install)
    return pip


def checkout(folder: Path) -> Path:
    for name in ("lambda", "layer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "cfn").mkdir()
    shutil.copy(ROOT / "cfn" / "lambda.yaml", folder / "cfn")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "one")


def plain(root: Path, dist: Path | None = None, **options: Any) -> Artifacts:
    return package.build(
        root, dist or root / "dist", announce=lambda _: None, interpreter=lambda _: None, **options
    )


def compiled(root: Path) -> Artifacts:
    return package.build(
        root,
        root / "dist",
        announce=lambda _: None,
        runtime=RUNNING,
        interpreter=lambda _: sys.executable,
    )


@pytest.fixture(scope="module")
def with_byte_code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifacts]:
    """One build with byte-code for all who only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "install", Pip().install)
        yield compiled(checkout(tmp_path_factory.mktemp("compiled") / "checkout"))


def names(path: Path) -> list[str]:
    return zipfile.ZipFile(path).namelist()


class TestCode:
    def test_the_file_list_of_the_zip_is_exactly_the_package(self, tmp_path: Path) -> None:
        made = plain(ROOT, tmp_path)
        expected = [
            path.relative_to("lambda").as_posix() for path in files() if path.parts[0] == "lambda"
        ]
        assert names(made.code.path) == sorted(expected)
        assert "signwatch/handler.py" in expected

    @pytest.mark.parametrize(
        "name", ["signwatch/__pycache__/x.pyc", "signwatch/.x.swp", "signwatch/x.py~", ".DS_Store"]
    )
    def test_litter_changes_neither_the_zip_nor_its_key(
        self, root: Path, tmp_path: Path, name: str
    ) -> None:
        before = plain(root)
        (root / "lambda" / name).parent.mkdir(exist_ok=True)
        (root / "lambda" / name).write_text("litter")
        after = plain(root, tmp_path / "dist")
        assert (after.code.key, after.code.sha256) == (before.code.key, before.code.sha256)
        assert names(after.code.path) == names(before.code.path)

    def test_an_empty_folder_is_refused(self, root: Path) -> None:
        shutil.rmtree(root / "lambda")
        (root / "lambda").mkdir()
        with pytest.raises(RefusedError, match="lambda: holds no file"):
            plain(root)


class TestBytes:
    @pytest.mark.parametrize("variant", ["plain", "with byte-code"])
    def test_two_builds_in_different_folders_give_the_same_bytes(
        self, root: Path, tmp_path: Path, with_byte_code: Artifacts, variant: str
    ) -> None:
        other = checkout(tmp_path / "a-longer" / "other place")
        first, second = (
            (plain(root), plain(other)) if variant == "plain" else (with_byte_code, compiled(other))
        )
        for one, two in ((first.code, second.code), (first.layer, second.layer)):
            assert one.path != two.path
            assert one.path.read_bytes() == two.path.read_bytes()
            assert (one.key, one.sha256) == (two.key, two.sha256)

    def test_the_checksums_are_those_of_the_zip(self, root: Path) -> None:
        code = plain(root).code
        digest = hashlib.sha256(code.path.read_bytes())
        assert (code.sha256, code.size) == (digest.hexdigest(), code.path.stat().st_size)
        assert code.checksum == base64.b64encode(digest.digest()).decode()


class TestKeys:
    def test_a_changed_line_of_code_changes_the_code_key_alone(self, root: Path) -> None:
        before = plain(root)
        with (root / "lambda" / "signwatch" / "handler.py").open("a") as file:
            file.write("# changed\n")
        after = plain(root)
        assert after.code.key != before.code.key
        assert after.layer == before.layer

    def test_a_changed_pin_changes_the_layer_key_alone(self, root: Path) -> None:
        before = plain(root)
        with (root / "layer" / "requirements.txt").open("a") as file:
            file.write("tiny==1.0 --hash=sha256:0\n")
        after = plain(root)
        assert after.layer.key != before.layer.key
        assert after.code == before.code

    def test_another_runtime_changes_both(self, root: Path) -> None:
        one, two = plain(root, runtime="python3.13"), plain(root, runtime="python3.14")
        assert one.code.key != two.code.key
        assert one.layer.key != two.layer.key

    def test_the_key_says_the_kind_the_digest_and_the_variant(self, root: Path) -> None:
        made = plain(root)
        assert made.code.key == f"function/{made.code.digest}-plain.zip"
        assert made.layer.key == f"layer/{made.layer.digest}-plain.zip"
        assert made.code.path == root / "dist" / made.code.key

    def test_both_variants_share_the_digest_of_their_inputs(
        self, root: Path, with_byte_code: Artifacts
    ) -> None:
        one, two = plain(root, runtime=RUNNING), with_byte_code
        assert one.code.digest == two.code.digest
        assert (
            two.code.key
            == f"function/{two.code.digest}-cp{sys.version_info.major}{sys.version_info.minor}.zip"
        )


class TestByteCode:
    def test_the_variant_adds_the_byte_code_of_every_module_and_nothing_else(
        self, root: Path, with_byte_code: Artifacts
    ) -> None:
        without, with_it = names(plain(root).code.path), names(with_byte_code.code.path)
        added = {
            f"{name.rpartition('/')[0]}/__pycache__/{name.rpartition('/')[2].removesuffix('.py')}.{TAG}.pyc"
            for name in without
            if name.endswith(".py")
        }
        assert added
        assert set(with_it) == set(without) | added

    def test_it_names_the_paths_where_lambda_mounts_the_zips(
        self, with_byte_code: Artifacts
    ) -> None:
        made = with_byte_code
        code = zipfile.ZipFile(made.code.path).read(f"signwatch/__pycache__/handler.{TAG}.pyc")
        of_layer = zipfile.ZipFile(made.layer.path).read(
            f"python/twilio/__pycache__/__init__.{TAG}.pyc"
        )
        assert b"/var/task/signwatch/handler.py" in code
        assert b"/opt/python/twilio/__init__.py" in of_layer

    def test_the_checkout_itself_stays_clean(self, with_byte_code: Artifacts) -> None:
        sources = with_byte_code.code.path.parents[2] / "lambda"
        assert sources.is_dir()
        assert list(sources.rglob("__pycache__")) == []


class TestReuse:
    def test_what_was_made_from_the_same_inputs_is_not_made_again(
        self, root: Path, pip: Pip
    ) -> None:
        first = plain(root)
        times = [artifact.path.stat().st_mtime_ns for artifact in (first.code, first.layer)]
        second = plain(root)
        assert second == first
        assert [
            artifact.path.stat().st_mtime_ns for artifact in (second.code, second.layer)
        ] == times
        assert len(pip.versions) == 1

    def test_a_zip_that_was_tampered_with_is_made_again(self, root: Path) -> None:
        first = plain(root)
        first.code.path.write_bytes(b"poisoned")
        assert plain(root).code.path.read_bytes() != b"poisoned"

    def test_no_scratch_is_left_behind(self, root: Path) -> None:
        plain(root)
        assert {path.name for path in (root / "dist").iterdir()} == {"function", "layer"}


class TestLayer:
    def test_it_is_installed_for_the_templates_runtime_and_pruned(
        self, root: Path, pip: Pip
    ) -> None:
        made = plain(root)
        assert pip.versions == [runtime_of(ROOT / "cfn" / "lambda.yaml").removeprefix("python")]
        assert names(made.layer.path) == ["python/twilio/__init__.py"]

    def test_each_step_is_announced(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(archive, "compile_tree", lambda *_: None)
        package.build(
            root,
            root / "dist",
            announce=said.append,
            runtime=RUNNING,
            interpreter=lambda _: sys.executable,
        )
        assert said == [
            "layer: installing the pins of layer/requirements.txt",
            f"layer: compiling for Python {RUNNING.removeprefix('python')}",
        ]


class TestRuntimeOf:
    def template(self, folder: Path, *runtimes: str) -> Path:
        functions = [
            f"  F{n}: {{Type: AWS::Lambda::Function, Properties: {{{text}}}}}\n"
            for n, text in enumerate(runtimes)
        ]
        (folder / "t.yaml").write_text(
            "Resources:\n  Topic: {Type: AWS::SNS::Topic}\n" + "".join(functions)
        )
        return folder / "t.yaml"

    def test_the_functions_share_it(self, tmp_path: Path) -> None:
        assert (
            runtime_of(self.template(tmp_path, "Runtime: python3.14", "Runtime: python3.14"))
            == "python3.14"
        )

    @pytest.mark.parametrize(
        "runtimes",
        [
            (),
            ("Runtime: python3.13", "Runtime: python3.14"),
            ("Runtime: nodejs24.x",),
            ("Handler: x",),
        ],
    )
    def test_none_several_and_other_languages_are_refused(
        self, tmp_path: Path, runtimes: tuple[str, ...]
    ) -> None:
        with pytest.raises(
            RefusedError, match=r"t\.yaml: does not name one Python runtime for all functions"
        ):
            runtime_of(self.template(tmp_path, *runtimes))


class TestFindInterpreter:
    def script(self, folder: Path, says: str) -> str:
        folder.mkdir(exist_ok=True)
        path = folder / "python9.9"
        path.write_text(f"#!/bin/sh\n{says}\n")
        path.chmod(0o755)
        return str(path)

    def test_the_running_one_serves_its_own_version(self) -> None:
        assert find_interpreter(RUNNING.removeprefix("python")) == sys.executable

    def test_without_one_there_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_interpreter("9.9") is None

    def test_a_stand_in_is_passed_over_for_one_that_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.script(tmp_path / "shims", "exit 127")
        self.script(tmp_path / "other", "echo pypy-99")
        real = self.script(tmp_path / "real", "echo cpython-99")
        monkeypatch.setenv(
            "PATH", ":".join(str(tmp_path / name) for name in ("shims", "other", "real"))
        )
        assert find_interpreter("9.9") == real
