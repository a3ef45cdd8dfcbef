"""The two zips: exactly the package, the same bytes from every folder, byte-code where possible."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT, files
from tooling.deploy import archive, layer, package
from tooling.deploy.package import ArtifactKey, Artifacts, find_interpreter, read_runtime
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.joint

RUNNING_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNNING_RUNTIME = f"python{RUNNING_VERSION}"
CACHE_TAG = sys.implementation.cache_tag


class FakePip:
    """Puts two files in place, and records the versions it was run for."""

    def __init__(self) -> None:
        self.versions: list[str] = []

    def install(self, _requirements: Path, version: str, folder: Path) -> None:
        self.versions.append(version)
        (folder / "twilio").mkdir(parents=True)
        (folder / "twilio" / "__init__.py").write_text("X = 1\n")
        (folder / "bin").mkdir()
        (folder / "bin" / "tool").write_text("#!/bin/sh\n")


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    pip = FakePip()
    monkeypatch.setattr(layer, "install", pip.install)
    return pip


def copy_checkout(folder: Path) -> Path:
    for name in ("lambda", "layer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "cfn").mkdir()
    shutil.copy(ROOT / "cfn" / "lambda.yaml", folder / "cfn")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "one")


def build_plain(root: Path, dist: Path | None = None, **options: Any) -> Artifacts:
    dist = dist or root / "dist"
    return package.build(
        root, dist, announce=lambda _: None, find_interpreter=lambda _: None, **options
    )


def build_compiled(root: Path) -> Artifacts:
    return package.build(root, root / "dist", announce=lambda _: None, runtime=RUNNING_RUNTIME)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifacts]:
    """One build with byte-code, for all tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "install", FakePip().install)
        yield build_compiled(copy_checkout(tmp_path_factory.mktemp("compiled") / "checkout"))


def names_in(path: Path) -> list[str]:
    return zipfile.ZipFile(path).namelist()


class TestCode:
    def test_zip_holds_exactly_the_package(self, tmp_path: Path) -> None:
        artifacts = build_plain(ROOT, tmp_path)
        expected = [
            path.relative_to("lambda").as_posix() for path in files() if path.parts[0] == "lambda"
        ]
        assert names_in(artifacts.code.path) == sorted(expected)
        assert "signwatch/handler.py" in expected

    @pytest.mark.parametrize(
        "name", ["signwatch/__pycache__/x.pyc", "signwatch/.x.swp", "signwatch/x.py~", ".DS_Store"]
    )
    def test_litter_changes_neither_the_zip_nor_its_key(
        self, root: Path, tmp_path: Path, name: str
    ) -> None:
        before = build_plain(root)
        (root / "lambda" / name).parent.mkdir(exist_ok=True)
        (root / "lambda" / name).write_text("litter")
        after = build_plain(root, tmp_path / "dist")
        assert after.code.key == before.code.key
        assert names_in(after.code.path) == names_in(before.code.path)

    def test_empty_folder_is_refused(self, root: Path) -> None:
        shutil.rmtree(root / "lambda")
        (root / "lambda").mkdir()
        with pytest.raises(RefusedError, match="lambda: holds no file"):
            build_plain(root)


class TestBytes:
    @pytest.mark.parametrize("variant", ["plain", "compiled"])
    def test_builds_in_different_folders_give_the_same_bytes(
        self, root: Path, tmp_path: Path, compiled: Artifacts, variant: str
    ) -> None:
        copy = copy_checkout(tmp_path / "a-longer" / "other place")
        if variant == "plain":
            first, second = build_plain(root), build_plain(copy)
        else:
            first, second = compiled, build_compiled(copy)
        for one, two in ((first.code, second.code), (first.layer, second.layer)):
            assert one.path != two.path
            assert one.path.read_bytes() == two.path.read_bytes()
            assert one.key == two.key


class TestKeys:
    def test_changed_line_of_code_changes_the_code_key_alone(self, root: Path) -> None:
        before = build_plain(root)
        with (root / "lambda" / "signwatch" / "handler.py").open("a") as file:
            file.write("# changed\n")
        after = build_plain(root)
        assert after.code.key.digest != before.code.key.digest
        assert after.layer == before.layer

    def test_changed_pin_changes_the_layer_key_alone(self, root: Path) -> None:
        before = build_plain(root)
        with (root / "layer" / "requirements.txt").open("a") as file:
            file.write("tiny==1.0 --hash=sha256:0\n")
        after = build_plain(root)
        assert after.layer.key.digest != before.layer.key.digest
        assert after.code == before.code

    def test_another_runtime_changes_both(self, root: Path) -> None:
        older = build_plain(root, runtime="python3.13")
        newer = build_plain(root, runtime="python3.14")
        assert older.code.key.digest != newer.code.key.digest
        assert older.layer.key.digest != newer.layer.key.digest

    def test_key_names_kind_inputs_variant_and_checksum_of_the_zip(self, root: Path) -> None:
        artifacts = build_plain(root)
        for kind, artifact in (("function", artifacts.code), ("layer", artifacts.layer)):
            content = artifact.path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            assert str(artifact.key) == f"{kind}/{artifact.key.digest}-plain-{sha256}.zip"
            assert artifact.path == root / "dist" / str(artifact.key)
            assert artifact.size == len(content)

    def test_both_variants_share_the_digest_of_their_inputs(
        self, root: Path, compiled: Artifacts
    ) -> None:
        plain = build_plain(root, runtime=RUNNING_RUNTIME)
        assert plain.code.key.digest == compiled.code.key.digest
        assert plain.code.key.variant == "plain"
        assert compiled.code.key.variant == f"cp{RUNNING_VERSION.replace('.', '')}"

    def test_key_is_read_back(self, compiled: Artifacts) -> None:
        key = compiled.layer.key
        assert ArtifactKey.parse(str(key)) == key

    @pytest.mark.parametrize(
        "text",
        [
            "",
            f"function/{'0' * 32}-plain.zip",
            f"function/{'0' * 32}-plain-{'0' * 63}.zip",
            f"other/{'0' * 32}-plain-{'0' * 64}.zip",
            f"function/{'0' * 32}-pypy-{'0' * 64}.zip",
            f"function/{'0' * 32}-plain-{'0' * 64}.zip\n",
        ],
    )
    def test_key_of_another_form_is_none_of_ours(self, text: str) -> None:
        assert ArtifactKey.parse(text) is None


class TestByteCode:
    def test_variant_adds_the_byte_code_of_every_module_and_nothing_else(
        self, root: Path, compiled: Artifacts
    ) -> None:
        plain_names = names_in(build_plain(root).code.path)
        added = set()
        for name in plain_names:
            if name.endswith(".py"):
                folder, _, file = name.rpartition("/")
                added.add(f"{folder}/__pycache__/{file.removesuffix('.py')}.{CACHE_TAG}.pyc")
        assert added
        assert set(names_in(compiled.code.path)) == set(plain_names) | added

    def test_byte_code_names_the_paths_where_lambda_mounts_the_zips(
        self, compiled: Artifacts
    ) -> None:
        code_name = f"signwatch/__pycache__/handler.{CACHE_TAG}.pyc"
        layer_name = f"python/twilio/__pycache__/__init__.{CACHE_TAG}.pyc"
        code = zipfile.ZipFile(compiled.code.path).read(code_name)
        layer_code = zipfile.ZipFile(compiled.layer.path).read(layer_name)
        assert b"/var/task/signwatch/handler.py" in code
        assert b"/opt/python/twilio/__init__.py" in layer_code

    def test_checkout_stays_clean(self, compiled: Artifacts) -> None:
        sources = compiled.code.path.parents[2] / "lambda"
        assert sources.is_dir()
        assert list(sources.rglob("__pycache__")) == []


class TestReuse:
    def test_zips_of_the_same_inputs_are_not_made_again(self, root: Path, pip: FakePip) -> None:
        first = build_plain(root)
        artifacts = (first.code, first.layer)
        times = [artifact.path.stat().st_mtime_ns for artifact in artifacts]
        assert build_plain(root) == first
        assert [artifact.path.stat().st_mtime_ns for artifact in artifacts] == times
        assert len(pip.versions) == 1

    def test_zip_that_was_changed_afterwards_is_made_again(self, root: Path) -> None:
        first = build_plain(root)
        first.code.path.write_bytes(b"poisoned")
        second = build_plain(root)
        assert second.code.key == first.code.key
        assert second.code.path.read_bytes() != b"poisoned"

    def test_no_scratch_is_left_behind(self, root: Path) -> None:
        artifacts = build_plain(root)
        left = {path for path in (root / "dist").rglob("*") if path.is_file()}
        assert left == {artifacts.code.path, artifacts.layer.path}


class TestLayer:
    def test_layer_is_installed_for_the_templates_runtime_and_pruned(
        self, root: Path, pip: FakePip
    ) -> None:
        artifacts = build_plain(root)
        assert pip.versions == [read_runtime(ROOT / "cfn" / "lambda.yaml").removeprefix("python")]
        names = ["python/aws_ranges.py", "python/twilio/__init__.py"]
        assert names_in(artifacts.layer.path) == names

    def test_each_step_is_announced(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lines: list[str] = []
        monkeypatch.setattr(archive, "compile_tree", lambda *_: None)
        package.build(root, root / "dist", announce=lines.append, runtime=RUNNING_RUNTIME)
        assert lines == [
            "layer: installing the pins of layer/requirements.txt ...",
            f"layer: compiling for Python {RUNNING_VERSION} ...",
        ]


class TestReadRuntime:
    def write(self, folder: Path, *properties: str) -> Path:
        text = "Resources:\n  Topic: {Type: AWS::SNS::Topic}\n"
        for number, line in enumerate(properties):
            text += f"  F{number}: {{Type: AWS::Lambda::Function, Properties: {{{line}}}}}\n"
        (folder / "t.yaml").write_text(text)
        return folder / "t.yaml"

    def test_functions_share_the_runtime(self, tmp_path: Path) -> None:
        template = self.write(tmp_path, "Runtime: python3.14", "Runtime: python3.14")
        assert read_runtime(template) == "python3.14"

    @pytest.mark.parametrize(
        "properties",
        [
            (),
            ("Runtime: python3.13", "Runtime: python3.14"),
            ("Runtime: nodejs24.x",),
            ("Handler: x",),
        ],
    )
    def test_none_several_and_other_languages_are_refused(
        self, tmp_path: Path, properties: tuple[str, ...]
    ) -> None:
        message = r"t\.yaml: does not name one Python runtime for all functions"
        with pytest.raises(RefusedError, match=message):
            read_runtime(self.write(tmp_path, *properties))


class TestFindInterpreter:
    def write_script(self, folder: Path, line: str) -> str:
        folder.mkdir(exist_ok=True)
        path = folder / "python9.9"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return str(path)

    def test_running_interpreter_is_used_for_its_own_version(self) -> None:
        assert find_interpreter(RUNNING_VERSION) == sys.executable

    def test_none_is_found_where_none_is_on_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_interpreter("9.9") is None

    def test_stand_in_is_skipped_for_an_interpreter_that_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.write_script(tmp_path / "shims", "exit 127")
        self.write_script(tmp_path / "other", "echo pypy-99")
        real = self.write_script(tmp_path / "real", "echo cpython-99")
        folders = [str(tmp_path / name) for name in ("shims", "other", "real")]
        monkeypatch.setenv("PATH", ":".join(folders))
        assert find_interpreter("9.9") == real
