"""The layer: what is left of the installed packages, what its digest counts, and what pip's failures mean."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT
from tooling.deploy import layer
from tooling.errors import FailedError, RefusedError

PINS = "# comment\ntiny==1.0 \\\n    --hash=sha256:0\n    # via other\n"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "requirements.txt").write_text(PINS)
    return tmp_path / "layer" / "requirements.txt"


class TestPruned:
    @pytest.mark.parametrize(
        "name",
        [
            "twilio/__init__.py",
            "twilio/http/http_client.py",
            "twilio/rest/__init__.py",
            "twilio/rest/api/__init__.py",
            "twilio/rest/api/v2010/account/message/__init__.py",
            "requests/sessions.py",
            "certifi/cacert.pem",
            "twilio-9.13.0.dist-info/METADATA",
            "tests_of_something.py",
        ],
    )
    def test_what_sends_a_text_stays(self, name: str) -> None:
        assert layer.prune({name: Path(name)}) == {name: Path(name)}

    @pytest.mark.parametrize(
        "name",
        [
            "bin/normalizer",
            "twilio/rest/video/__init__.py",
            "twilio/rest/apiary.py",
            "twilio-9.13.0.dist-info/RECORD",
            "twilio-9.13.0.dist-info/INSTALLER",
            "twilio-9.13.0.dist-info/REQUESTED",
            "twilio-9.13.0.dist-info/direct_url.json",
            "idna/tests/test_idna.py",
            "requests/py.pyi",
        ],
    )
    def test_other_products_and_the_traces_of_the_installation_go(self, name: str) -> None:
        assert layer.prune({name: Path(name)}) == {}


class TestInputs:
    def test_comments_and_blank_lines_do_not_count(self, requirements: Path) -> None:
        before = layer.inputs(requirements)
        requirements.write_text("\n# another comment\n" + PINS.replace("    # via other\n", ""))
        assert layer.inputs(requirements) == before

    @pytest.mark.parametrize(
        "text", [PINS.replace("1.0", "1.1"), PINS.replace("sha256:0", "sha256:1")]
    )
    def test_every_version_and_hash_counts(self, requirements: Path, text: str) -> None:
        before = layer.inputs(requirements)
        requirements.write_text(text)
        assert layer.inputs(requirements) != before

    def test_the_pruning_rules_count(
        self, requirements: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = layer.inputs(requirements)
        monkeypatch.setattr(layer, "PRUNED", (*layer.PRUNED, "more/*"))
        assert layer.inputs(requirements) != before

    @pytest.mark.parametrize("text", ["", "# tiny==1.0\n", "tiny\n"])
    def test_a_file_without_pins_is_refused(self, requirements: Path, text: str) -> None:
        requirements.write_text(text)
        with pytest.raises(RefusedError, match="holds no pinned package"):
            layer.inputs(requirements)

    def test_a_missing_file_and_one_that_is_no_text_are_refused(self, requirements: Path) -> None:
        requirements.write_bytes(b"\xff")
        with pytest.raises(RefusedError, match=r"requirements\.txt: cannot be read"):
            layer.inputs(requirements)
        requirements.unlink()
        with pytest.raises(RefusedError, match=r"requirements\.txt: cannot be read"):
            layer.inputs(requirements)

    def test_the_real_pins_are_each_hashed(self) -> None:
        (_, pins), _ = layer.inputs(ROOT / "layer" / "requirements.txt")
        entries = pins.decode().replace("\\\n", "").splitlines()
        assert entries
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


SIGNS = {
    "hash": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "is not the file that was locked",
    ),
    "wheel": ("ERROR: No matching distribution found for tiny==1.0", "has no pure wheel"),
    "unhashed": (
        "ERROR: Hashes are required in --require-hashes mode, but they are missing",
        "a package has no hash",
    ),
    "unpinned": (
        "ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==.",
        "not pinned",
    ),
    "no pip": ("python: No module named pip", "this Python has no pip"),
    "offline": (
        "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found for tiny",
        "could not be downloaded",
    ),
    "unknown": ("ERROR: something else", "could not be downloaded"),
}


class TestInstall:
    def failing(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, said: str, stdout: str = ""
    ) -> FailedError:
        answer = subprocess.CompletedProcess([], 1, stdout, said)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
        with pytest.raises(FailedError) as failed:
            layer.install(requirements, "3.14", requirements.parent / "out")
        return failed.value

    @pytest.mark.parametrize(("said", "what"), SIGNS.values(), ids=SIGNS)
    def test_each_failure_of_pip_is_told_apart(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, said: str, what: str
    ) -> None:
        error = self.failing(monkeypatch, requirements, said)
        assert (error.where, error.exit_code) == ("layer/requirements.txt", 1)
        assert what in error.what.partition("; pip said:\n")[0]
        assert error.what.endswith(said)

    def test_what_pip_said_on_standard_output_counts_too(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path
    ) -> None:
        error = self.failing(monkeypatch, requirements, "", stdout="No module named pip")
        assert "this Python has no pip" in error.what

    def test_pip_takes_pure_hashed_wheels_for_the_runtime_alone(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, tmp_path: Path
    ) -> None:
        asked: list[str] = []

        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            asked.extend(command)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(subprocess, "run", run)
        layer.install(requirements, "3.14", tmp_path / "out")
        assert {"--require-hashes", "--no-deps", "--no-compile", "-I"} <= set(asked)
        for flag, value in (
            ("--only-binary", ":all:"),
            ("--platform", "any"),
            ("--implementation", "py"),
            ("--python-version", "3.14"),
            ("--target", str(tmp_path / "out")),
            ("-r", str(requirements)),
        ):
            assert asked[asked.index(flag) + 1] == value


def test_what_is_needed_is_put_where_lambda_looks_for_it(
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(_requirements: Path, version: str, folder: Path) -> None:
        for name in ("tiny.py", "bin/tiny", "tiny/__pycache__/x.pyc"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(version)

    monkeypatch.setattr(layer, "install", install)
    said: list[str] = []
    layer.make(requirements, "3.14", tmp_path / "scratch", tmp_path / "tree", announce=said.append)
    assert [
        path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.*")
    ] == ["python/tiny.py"]
    assert said == ["layer: installing the pins of layer/requirements.txt"]


@pytest.mark.local
class TestRealPip:
    """pip itself, with no index but a folder that holds one wheel."""

    @pytest.fixture
    def checksum(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as made:
            made.writestr("tiny.py", "X = 1\n")
            made.writestr(
                "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
            )
            made.writestr(
                "tiny-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            made.writestr("tiny-1.0.dist-info/RECORD", "")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        return hashlib.sha256(wheel.read_bytes()).hexdigest()

    def test_a_locked_pure_wheel_is_installed(
        self, requirements: Path, tmp_path: Path, checksum: str
    ) -> None:
        requirements.write_text(f"tiny==1.0 --hash=sha256:{checksum}\n")
        layer.install(requirements, "3.14", tmp_path / "out")
        assert (tmp_path / "out" / "tiny.py").read_text() == "X = 1\n"
        assert list((tmp_path / "out").rglob("*.pyc")) == []

    @pytest.mark.parametrize(
        ("pin", "what"),
        [
            ("tiny==1.0 --hash=sha256:" + "0" * 64, "is not the file that was locked"),
            ("tiny==1.0", "a package has no hash"),
            ("tiny --hash=sha256:{}", "not pinned"),
            ("nowhere==1.0 --hash=sha256:{}", "has no pure wheel"),
        ],
    )
    def test_pip_still_says_what_the_causes_are_known_by(
        self, requirements: Path, tmp_path: Path, checksum: str, pin: str, what: str
    ) -> None:
        requirements.write_text(pin.format(checksum) + "\n")
        with pytest.raises(FailedError) as failed:
            layer.install(requirements, "3.14", tmp_path / "out")
        assert what in failed.value.what.partition("; pip said:\n")[0]
