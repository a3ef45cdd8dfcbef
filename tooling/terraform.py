"""The Terraform files, read with python-hcl2, and the program itself, run in a folder of the run's own."""

from __future__ import annotations

import functools
import json
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.errors import FailedError, RefusedError, ToolError
from tooling.signals import hold_back

if TYPE_CHECKING:
    from collections.abc import Mapping

MIRROR = "SIGNWATCH_PROVIDER_MIRROR"
INVALID = (
    "Invalid value for variable"  # Terraform's own heading for what a validation of ours refuses
)
DOWNLOAD = re.compile(
    r"Failed to (query available provider packages|install provider)|Invalid provider registry host"
)
KEPT = "prevent_destroy"  # Terraform names it where a plan would delete what the configuration never lets go of
UNCHANGED, CHANGED = 0, 2  # exit codes of terraform plan -detailed-exitcode


def load_defaults(folder: Path) -> dict[str, Any]:
    """Return each variable of ``folder``/variables.tf that has a default, with that default.

    Raises RefusedError when the file is missing or cannot be parsed.
    """
    from lark.exceptions import LarkError

    path = folder / "variables.tf"
    try:
        parsed = parse_hcl(path.read_text())
    except (OSError, ValueError, LarkError) as error:
        raise RefusedError(
            str(path), f"cannot be read ({error})", "restore the file with git"
        ) from error
    variables = {
        name: body
        for block in parsed.get("variable", [])
        for name, body in block.items()
        if name != "__is_block__"
    }
    return {name: body["default"] for name, body in variables.items() if "default" in body}


@functools.lru_cache(maxsize=16)
def parse_hcl(text: str) -> dict[str, Any]:
    """Return a Terraform file's content as hcl2 gives it; remembered, for a word asks for the defaults many times."""
    import hcl2

    found: dict[str, Any] = hcl2.loads(
        text, serialization_options=hcl2.SerializationOptions(strip_string_quotes=True)
    )
    return found


def find() -> str:
    """Return the path of the terraform program; RefusedError when there is none."""
    found = shutil.which("terraform")
    if not found:
        raise RefusedError(
            "terraform",
            "was not found on PATH",
            "install Terraform 1.9 or newer, then run this word again",
        )
    return found


@dataclass(frozen=True)
class Terraform:
    """A copy of a configuration in ``folder`` that keeps its own data, its lock file, and its state at ``state``."""

    folder: Path
    state: Path
    environment: Mapping[str, str]

    @classmethod
    def prepare(
        cls, source: Path, folder: Path, state: Path, environment: Mapping[str, str]
    ) -> Terraform:
        """Copy the configuration's files to ``folder``, so that several runs never share data or a lock file."""
        folder.mkdir(parents=True, exist_ok=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.tf"):
            old.unlink()
        for file in source.glob("*.tf"):
            shutil.copy(file, folder / file.name)
        backend = f'terraform {{\n  backend "local" {{\n    path = {json.dumps(str(state.resolve()))}\n  }}\n}}\n'
        (folder / "backend_override.tf").write_text(backend)
        return cls(folder, state, environment)

    def init(self) -> None:
        """Fetch the provider: from the mirror that SIGNWATCH_PROVIDER_MIRROR names, else by download.

        The folder remembers the state's full path, which changes when the checkout moves: the state moves with it, so
        what is remembered is dropped (Terraform, "terraform init": -reconfigure migrates no state).
        """
        mirror = self.environment.get(MIRROR)
        offline = [f"-plugin-dir={Path(mirror).resolve()}"] if mirror else []
        self._run("init", "-reconfigure", "-input=false", "-no-color", *offline)

    def plan(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """Plan with ``variables``; return the plan as Terraform's JSON describes it, or None when nothing changes."""
        (self.folder / "run.auto.tfvars.json").write_text(json.dumps(dict(variables)))
        done = self._run(
            "plan",
            "-input=false",
            "-no-color",
            "-detailed-exitcode",
            "-out=run.plan",
            good=(UNCHANGED, CHANGED),
        )
        if done.returncode == UNCHANGED:
            return None
        shown: dict[str, Any] = json.loads(self._run("show", "-json", "run.plan").stdout)
        return shown

    def apply(self) -> None:
        """Apply the plan that ``plan`` made."""
        self._run("apply", "-input=false", "-no-color", "run.plan")

    def _run(
        self, *arguments: str, good: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in self.environment.items() if not name.startswith("TF_")
        }
        environment |= _cli_configuration(self.environment) | {"TF_IN_AUTOMATION": "1"}
        done = _finish([find(), *arguments], self.folder, environment)
        if done.returncode not in good:
            raise _failure(arguments[0], (done.stderr or done.stdout).strip())
        return done


def _finish(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Ctrl-C asks it once to stop and lets it keep what it has made in its state.

    The process group of its own keeps the terminal's Ctrl-C away: a second signal would make Terraform drop its state.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with hold_back():
            process = _start(command, folder, environment)
        stdout, stderr = process.communicate()
    except KeyboardInterrupt:
        if process:
            process.send_signal(signal.SIGINT)
            process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _start(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        process_group=0,
    )


def _cli_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Terraform warns on every command when this variable names a missing file, so such a name is dropped."""
    named = environment.get("TF_CLI_CONFIG_FILE", "")
    return (
        {"TF_CLI_CONFIG_FILE": str(Path(named).resolve())}
        if named and Path(named).is_file()
        else {}
    )


def _failure(command: str, said: str) -> ToolError:
    """Return the error for what Terraform said; a refused value or plan has written nothing."""
    if INVALID in said:
        return RefusedError(
            "terraform variables", f"were refused:\n{said}", "mend [bootstrap] in signwatch.toml"
        )
    if KEPT in said:
        remedy = 'see "GitHub" in terraform-bootstrap/README.md: let go of it first, or set the variables again'
        return RefusedError(
            f"terraform {command}", f"would delete what is never deleted:\n{said}", remedy
        )
    remedy = (
        "mend what Terraform names above and run the same word again; it goes on where it stopped"
    )
    if DOWNLOAD.search(said):
        remedy = f"check the network, or set {MIRROR} to a folder that holds registry.terraform.io"
    return FailedError(f"terraform {command}", f"failed:\n{said}", remedy)
