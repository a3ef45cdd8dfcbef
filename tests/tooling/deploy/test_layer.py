"""The layer: which files stay, what its digest contains, pip's failures, and that it works."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT
from tooling.deploy import layer, package
from tooling.errors import RefusedError

PINS = "# comment\ntiny==1.0 \\\n    --hash=sha256:0\n    # via another\n"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "requirements.txt").write_text(PINS)
    return tmp_path / "layer" / "requirements.txt"


class TestPrune:
    @pytest.mark.parametrize(
        "name",
        [
            "twilio/__init__.py",
            "twilio/http/http_client.py",
            "twilio/rest/__init__.py",
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
            "twilio/rest/api/__init__.py",
            "twilio/rest/api/v2010/account/message/__init__.py",
            "twilio/rest/video/__init__.py",
            "twilio/rest/apiary.py",
            "twilio/twiml/voice_response.py",
            "twilio-9.13.0.dist-info/RECORD",
            "twilio-9.13.0.dist-info/INSTALLER",
            "twilio-9.13.0.dist-info/REQUESTED",
            "twilio-9.13.0.dist-info/direct_url.json",
            "urllib3/contrib/emscripten/fetch.py",
            "idna/tests/test_idna.py",
            "requests/py.pyi",
        ],
    )
    def test_products_of_twilio_and_traces_of_the_installation_are_left_out(
        self, name: str
    ) -> None:
        assert layer.prune({name: Path(name)}) == {}


class TestReadInputs:
    def test_comments_and_blank_lines_do_not_matter(self, requirements: Path) -> None:
        before = layer.read_inputs(requirements)
        requirements.write_text("\n# new comment\n" + PINS.replace("    # via another\n", ""))
        assert layer.read_inputs(requirements) == before

    @pytest.mark.parametrize(
        "text", [PINS.replace("1.0", "1.1"), PINS.replace("sha256:0", "sha256:1")]
    )
    def test_every_version_and_hash_matters(self, requirements: Path, text: str) -> None:
        before = layer.read_inputs(requirements)
        requirements.write_text(text)
        assert layer.read_inputs(requirements) != before

    @pytest.mark.parametrize("rule", ["EXCLUDED_PATTERNS", "INCLUDED_FILES"])
    def test_pruning_rules_matter(
        self, requirements: Path, monkeypatch: pytest.MonkeyPatch, rule: str
    ) -> None:
        before = layer.read_inputs(requirements)
        monkeypatch.setattr(layer, rule, (*getattr(layer, rule), "more/*"))
        assert layer.read_inputs(requirements) != before

    def test_data_matters(self, requirements: Path) -> None:
        before = layer.read_inputs(requirements)
        data = requirements.parent / "data" / "ranges.py"
        data.parent.mkdir()
        data.write_text("A = 1\n")
        with_data = layer.read_inputs(requirements)
        data.write_text("A = 2\n")
        assert len({str(before), str(with_data), str(layer.read_inputs(requirements))}) == 3

    @pytest.mark.parametrize("text", ["", "# tiny==1.0\n", "tiny\n"])
    def test_file_without_pins_is_refused(self, requirements: Path, text: str) -> None:
        requirements.write_text(text)
        with pytest.raises(RefusedError, match="holds no pinned package"):
            layer.read_inputs(requirements)

    def test_missing_file_and_binary_file_are_refused(self, requirements: Path) -> None:
        requirements.write_bytes(b"\xff")
        with pytest.raises(RefusedError, match=r"requirements\.txt: cannot be read"):
            layer.read_inputs(requirements)
        requirements.unlink()
        with pytest.raises(RefusedError, match=r"requirements\.txt: cannot be read"):
            layer.read_inputs(requirements)

    def test_each_pin_of_the_repository_has_a_hash(self) -> None:
        inputs = dict(layer.read_inputs(ROOT / "layer" / "requirements.txt"))
        entries = inputs["pins"].decode().replace("\\\n", "").splitlines()
        assert entries
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


PIP_OUTPUTS = {  # what pip says, what it means
    "hash": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "is not the one that was locked",
    ),
    "wheel": ("ERROR: No matching distribution found for tiny==1.0", "has no pure wheel"),
    "unhashed": (
        "ERROR: Hashes are required in --require-hashes mode, but they are missing",
        "a package has no hash",
    ),
    "unpinned": (
        "ERROR: In --require-hashes mode, all requirements must have versions pinned with ==.",
        "not pinned",
    ),
    "no pip": ("python: No module named pip", "this Python has no pip"),
    "offline": (
        "WARNING: Retrying (Retry(total=4))\nERROR: No matching distribution found for tiny",
        "could not be downloaded",
    ),
    "unknown": ("ERROR: something else", "could not be downloaded"),
}


class TestInstall:
    def fail(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, stderr: str, stdout: str = ""
    ) -> RefusedError:
        process = subprocess.CompletedProcess([], 1, stdout, stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)
        with pytest.raises(RefusedError) as failure:
            layer.install(requirements, "3.14", requirements.parent / "out")
        return failure.value

    @pytest.mark.parametrize(("output", "what"), PIP_OUTPUTS.values(), ids=PIP_OUTPUTS)
    def test_each_failure_of_pip_is_explained(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, output: str, what: str
    ) -> None:
        error = self.fail(monkeypatch, requirements, output)
        assert (error.where, error.exit_code) == ("layer/requirements.txt", 2)
        assert what in error.what.partition("; pip said:\n")[0]
        assert error.what.endswith(output)

    def test_failure_on_standard_output_is_explained_too(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path
    ) -> None:
        error = self.fail(monkeypatch, requirements, "", stdout="No module named pip")
        assert "this Python has no pip" in error.what

    def test_pip_is_run_for_hashed_pure_wheels_of_the_runtime(
        self, monkeypatch: pytest.MonkeyPatch, requirements: Path, tmp_path: Path
    ) -> None:
        arguments: list[str] = []

        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            arguments.extend(command)
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(subprocess, "run", run)
        layer.install(requirements, "3.14", tmp_path / "out")
        assert {"--require-hashes", "--no-deps", "--no-compile", "-I", "--isolated"} <= set(
            arguments
        )
        for flag, value in (
            ("--only-binary", ":all:"),
            ("--platform", "any"),
            ("--implementation", "py"),
            ("--python-version", "3.14"),
            ("--target", str(tmp_path / "out")),
            ("-r", str(requirements)),
        ):
            assert arguments[arguments.index(flag) + 1] == value


def test_needed_files_are_put_where_lambda_looks_for_packages(
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(_requirements: Path, version: str, folder: Path) -> None:
        for name in ("tiny.py", "bin/tiny", "tiny/__pycache__/x.pyc"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(version)

    monkeypatch.setattr(layer, "install", install)
    tree = tmp_path / "tree"
    layer.build(requirements, "3.14", tmp_path / "scratch", tree)
    assert [path.relative_to(tree).as_posix() for path in tree.rglob("*.*")] == ["python/tiny.py"]


SEND_A_TEXT = """
import http.server, sys, threading, warnings, zoneinfo
layer = sys.argv[1]
warnings.simplefilter("ignore")  # see the import of sms in alerting/delivery.py
sys.path.insert(0, layer)
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(self.headers["Authorization"].encode() + b" " + body)

    def log_message(self, *_):
        pass

with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client("user", "password", "AC1", http_client=TwilioHttpClient(timeout=5))
    url = f"http://127.0.0.1:{server.server_port}/2010-04-01/Accounts/AC1/Messages.json"
    response = client.request("POST", url, data={"To": "+15005550009"})
    server.shutdown()
assert response.status_code == 201, response
assert response.text == "Basic dXNlcjpwYXNzd29yZA== To=%2B15005550009", response.text
sys.path.insert(0, sys.argv[2])
from signwatch.enrichment.aws_ranges import is_aws_address
assert is_aws_address("3.5.140.7", 0.0)
zoneinfo.reset_tzpath(())
zoneinfo.ZoneInfo("Europe/Oslo")
packages = "aws_ranges twilio requests urllib3 certifi idna tzdata".split()
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] in packages:
        assert module.__file__.startswith(layer), (name, module.__file__)
"""


@pytest.mark.local
def test_layer_holds_what_the_function_needs(tmp_path: Path) -> None:
    """In a fresh process with the layer alone, Twilio's client sends to a loopback server."""
    artifacts = package.build(ROOT, ROOT / "dist", announce=lambda _: None)
    zipfile.ZipFile(artifacts.layer.path).extractall(tmp_path)
    folders = [str(tmp_path / "python"), str(ROOT / "lambda")]
    command = [sys.executable, "-I", "-S", "-B", "-c", SEND_A_TEXT, *folders]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr


LOAD_TWILIO = """
import sys
sys.path[:0] = sys.argv[1:]
from signwatch.alerting.delivery import send_texts
try:
    send_texts(None, None, None)
except AttributeError:  # there are no dependencies; Twilio's client is imported before
    assert "twilio.rest" in sys.modules
"""


@pytest.mark.local
def test_function_loads_the_layer_without_a_warning(tmp_path: Path) -> None:
    artifacts = package.build(ROOT, ROOT / "dist", announce=lambda _: None)
    for artifact, name in ((artifacts.layer, "layer"), (artifacts.code, "code")):
        zipfile.ZipFile(artifact.path).extractall(tmp_path / name)
    folders = [str(tmp_path / "code"), str(tmp_path / "layer" / "python")]
    command = [sys.executable, "-I", "-S", "-B", "-c", LOAD_TWILIO, *folders]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.local
def test_zips_are_small() -> None:
    artifacts = package.build(
        ROOT, ROOT / "dist", announce=lambda _: None, find_interpreter=lambda _: None
    )
    assert artifacts.code.size <= 66_000
    assert artifacts.layer.size <= 900_000


@pytest.mark.local
class TestRealPip:
    """pip itself, with a folder that holds one wheel in place of a package index."""

    @pytest.fixture
    def checksum(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
        info = "tiny-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("tiny.py", "X = 1\n")
            file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
            file.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            file.writestr(f"{info}/RECORD", "")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        return hashlib.sha256(wheel.read_bytes()).hexdigest()

    def test_locked_pure_wheel_is_installed_without_byte_code(
        self, requirements: Path, tmp_path: Path, checksum: str
    ) -> None:
        requirements.write_text(f"tiny==1.0 --hash=sha256:{checksum}\n")
        layer.install(requirements, "3.14", tmp_path / "out")
        assert (tmp_path / "out" / "tiny.py").read_text() == "X = 1\n"
        assert list((tmp_path / "out").rglob("*.pyc")) == []

    def test_settings_of_pip_do_not_install_the_packages_elsewhere(
        self,
        requirements: Path,
        tmp_path: Path,
        checksum: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        (tmp_path / "pip.conf").write_text(
            f"[global]\nroot = {elsewhere}\n[install]\ntarget = {elsewhere}\nuser = true\n"
        )
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        monkeypatch.setenv("PIP_PREFIX", str(elsewhere))
        monkeypatch.setenv("PIP_TARGET", str(elsewhere))
        requirements.write_text(f"tiny==1.0 --hash=sha256:{checksum}\n")
        layer.install(requirements, "3.14", tmp_path / "out")
        assert (tmp_path / "out" / "tiny.py").exists()
        assert not elsewhere.exists()

    @pytest.mark.parametrize(
        ("pin", "what"),
        [
            ("tiny==1.0 --hash=sha256:" + "0" * 64, "is not the one that was locked"),
            ("tiny==1.0", "a package has no hash"),
            ("tiny --hash=sha256:{}", "not pinned"),
            ("nowhere==1.0 --hash=sha256:{}", "has no pure wheel"),
        ],
    )
    def test_pip_still_uses_the_texts_that_explain_its_failures(
        self, requirements: Path, tmp_path: Path, checksum: str, pin: str, what: str
    ) -> None:
        requirements.write_text(pin.format(checksum) + "\n")
        with pytest.raises(RefusedError) as failure:
            layer.install(requirements, "3.14", tmp_path / "out")
        assert what in failure.value.what.partition("; pip said:\n")[0]
