"""Runs pytest for the parts that a task asks for, and the fuzzer.

A part is a flag of ``invoke test``, such as --unit; MARKS has pytest's marks of its tests. The
fuzzer judges generated records and reports those that are handled wrongly.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tooling import provider_mirror
from tooling.environment import ensure
from tooling.errors import RefusedError
from tooling.terraform import MIRROR_VARIABLE, Terraform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MARKS = {  # part -> pytest's mark expression for its tests
    "unit": "not (joint or terraform or local or end_to_end or scan)",
    "end_to_end": "local or end_to_end",
    "terraform": "terraform",
}
# The tests of one file stay in one process, which bootstraps once for all of them. The order of
# files is kept because the slow ones come first.
PARALLEL_OPTIONS = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
COVERAGE_OPTIONS = ("--cov", "--cov-config", "pyproject.toml", "--cov-report", "")
# Where the unit tests are, and the files there that have none. Those are left out, since only
# collecting them would take longer than the unit tests.
UNIT_TEST_PATHS = (
    "tests/lambda",
    "tests/tooling",
    "tests/local/test_demo.py",
    "tests/local/test_rehearsal.py",
)
PATHS_WITHOUT_UNIT_TESTS = (
    "tests/lambda/test_fuzzing.py",
    "tests/tooling/test_command_line.py",
    "tests/tooling/deploy/test_package.py",
    "tests/tooling/deploy/test_secret_setup.py",
    "tests/tooling/deploy/test_twilio_api.py",
    "tests/tooling/test_tasks.py",
)


def to_mark_expression(parts: Iterable[str]) -> str:
    """Return pytest's mark expression for tests of these parts; empty if there is no part."""
    return " or ".join(f"({MARKS[part]})" for part in sorted(parts))


def run(
    root: Path,
    dist: Path,
    *,
    announce: Callable[[str], None],
    parts: Iterable[str] = (),
    extra: Iterable[str] = (),
) -> int:
    """Run these parts of the tests, by default everything, and return pytest's exit code.

    ``parts`` are keys of MARKS; ``extra`` are further arguments for pytest. ``dist`` is the folder
    for reports, and ``announce`` shows a line to the user. Only the unit tests need no Terraform.
    Raises RefusedError if it cannot get its provider for the others.
    """
    chosen_parts = set(parts)
    uses_terraform = chosen_parts != {"unit"}
    command = [sys.executable, "-m", "pytest"]
    if not uses_terraform:
        command += [*UNIT_TEST_PATHS, *(f"--ignore={path}" for path in PATHS_WITHOUT_UNIT_TESTS)]
    else:
        command += PARALLEL_OPTIONS
    if chosen_parts:
        command += ["-m", to_mark_expression(chosen_parts)]
    else:
        command += COVERAGE_OPTIONS
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="signwatch-test-") as folder:
        environment = _make_environment(folder)
        if uses_terraform:
            mirror = prepare_provider(root, Path(folder), environment, announce)
            environment[MIRROR_VARIABLE] = str(mirror)
            announce("pytest, two tests at a time")  # pytest itself shows how far it is
            for name in ("local", "runtime", "scan"):
                ensure(name, root)
        process = subprocess.run([*command, *extra], cwd=root, env=environment, check=False)
    return process.returncode


def prepare_provider(
    root: Path, folder: Path, environment: Mapping[str, str], announce: Callable[[str], None]
) -> Path:
    """Unpack the provider once, so that not every test does it; return a mirror with it.

    A mirror is a folder from which Terraform takes its provider; it may hold it as a zip file.
    ``terraform init`` unpacks the provider from the source mirror into a folder below ``folder``,
    which is the mirror returned. If Terraform cannot start, that shows here, before the tests.
    Raises RefusedError if it fails.
    """
    source_mirror = provider_mirror.ensure(root, environment, announce=announce)
    variables = {**environment, MIRROR_VARIABLE: str(source_mirror)}
    configuration, state = root / "terraform-bootstrap", folder / "terraform.tfstate"
    terraform = Terraform.prepare(configuration, folder / "terraform", state, variables, announce)
    terraform.init()
    return terraform.folder / ".terraform" / "providers"


def parse_count(text: str | None) -> int:
    """Return the number of records that --fuzz asks for, or 0 if the flag is not given.

    Raises RefusedError if the value is not a positive number.
    """
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or not int(text):
        remedy = "write it like --fuzz 100000"
        raise RefusedError(f"--fuzz {text}", "is not a number of records", remedy)
    return int(text)


def fuzz(root: Path, count: int) -> int:
    """Run the fuzzer on ``count`` records and return its exit code, 1 if it has findings."""
    command = [sys.executable, "-m", "tests.support.fuzzing", str(count)]
    source_roots = os.pathsep.join((str(root), str(root / "lambda")))
    with tempfile.TemporaryDirectory(prefix="signwatch-fuzz-") as folder:
        environment = {**_make_environment(folder), "PYTHONPATH": source_roots}
        return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def _make_environment(folder: str) -> dict[str, str]:
    """Return this process's environment without AWS's variables and files.

    The tests then find no credentials of a real account. AWS_CA_BUNDLE stays: it names the
    certificates that this machine trusts, and no account. ``folder`` must be empty.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") or name == "AWS_CA_BUNDLE"
    }
    missing_file = str(Path(folder) / "aws")
    return {
        **environment,
        "AWS_CONFIG_FILE": missing_file,
        "AWS_SHARED_CREDENTIALS_FILE": missing_file,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
