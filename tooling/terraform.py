"""Reads the Terraform files with python-hcl2, and runs Terraform in a folder of each run."""

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

MIRROR = "SIGNWATCH_PROVIDER_MIRROR"  # an environment variable that names a folder
# Parts of Terraform's own messages.
INVALID_VALUE = "Invalid value for variable"  # a validation in variables.tf refused a value
NO_PROVIDER = re.compile(
    r"Failed to (query available provider packages|install provider)|Invalid provider registry host"
)
PREVENTED_DESTROY = "prevent_destroy"  # a plan would delete what the configuration protects
UNCHANGED, CHANGED = 0, 2  # exit codes of terraform plan -detailed-exitcode


def load_defaults(folder: Path) -> dict[str, Any]:
    """Return the default of each variable of ``folder``/variables.tf that has one.

    Raises RefusedError when the file is missing or cannot be parsed.
    """
    from lark.exceptions import LarkError

    path = folder / "variables.tf"
    try:
        parsed = parse_hcl(path.read_text())
    except (OSError, ValueError, LarkError) as error:
        what = f"cannot be read ({error})"
        raise RefusedError(str(path), what, "restore the file with git") from error
    defaults = {}
    for block in parsed.get("variable", []):
        for name, body in block.items():
            if name != "__is_block__" and "default" in body:
                defaults[name] = body["default"]
    return defaults


@functools.lru_cache(maxsize=16)
def parse_hcl(text: str) -> dict[str, Any]:
    """Return a Terraform file's content as hcl2 gives it; cached, since a task asks many times."""
    import hcl2

    options = hcl2.SerializationOptions(strip_string_quotes=True)
    content: dict[str, Any] = hcl2.loads(text, serialization_options=options)
    return content


def find() -> str:
    """Return the path of the terraform program. Raises RefusedError when there is none."""
    path = shutil.which("terraform")
    if not path:
        remedy = "install Terraform 1.9 or newer, then run the same task again"
        raise RefusedError("terraform", "was not found on PATH", remedy)
    return path


@dataclass(frozen=True)
class Terraform:
    """A copy of a configuration in ``folder``, with its own data and lock file."""

    folder: Path
    state: Path
    environment: Mapping[str, str]

    @classmethod
    def prepare(
        cls, source: Path, folder: Path, state: Path, environment: Mapping[str, str]
    ) -> Terraform:
        """Copy the configuration to ``folder``; two runs never share data or a lock file."""
        folder.mkdir(parents=True, exist_ok=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.tf"):
            old.unlink()
        for file in source.glob("*.tf"):
            shutil.copy(file, folder / file.name)
        path = json.dumps(str(state.resolve()))
        backend = f'terraform {{\n  backend "local" {{\n    path = {path}\n  }}\n}}\n'
        (folder / "backend_override.tf").write_text(backend)
        return cls(folder, state, environment)

    def init(self) -> None:
        """Fetch the provider, from the folder in SIGNWATCH_PROVIDER_MIRROR or by download.

        The folder stores the state's full path, which changes when the checkout is moved. The state
        moves along, so the stored path is dropped (Terraform, "terraform init": -reconfigure
        migrates no state).
        """
        mirror = self.environment.get(MIRROR)
        offline = [f"-plugin-dir={Path(mirror).resolve()}"] if mirror else []
        self._run("init", "-reconfigure", "-input=false", "-no-color", *offline)

    def plan(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """Plan with ``variables``; return Terraform's JSON, or None when nothing changes."""
        (self.folder / "run.auto.tfvars.json").write_text(json.dumps(dict(variables)))
        options = ("-input=false", "-no-color", "-detailed-exitcode", "-out=run.plan")
        planned = self._run("plan", *options, good=(UNCHANGED, CHANGED))
        if planned.returncode == UNCHANGED:
            return None
        plan: dict[str, Any] = json.loads(self._run("show", "-json", "run.plan").stdout)
        return plan

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
        completed = _run_to_end([find(), *arguments], self.folder, environment)
        if completed.returncode not in good:
            raise _failure(arguments[0], (completed.stderr or completed.stdout).strip())
        return completed


def _run_to_end(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. On Ctrl-C, ask it once to stop, so that it saves its state.

    Its own process group keeps the terminal's Ctrl-C away: a second signal would make Terraform
    drop its state.
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
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def _cli_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that names Terraform's own configuration file, by its full path.

    Terraform warns on every command when the file is missing, so the variable is left out then.
    """
    path = Path(environment.get("TF_CLI_CONFIG_FILE", ""))
    return {"TF_CLI_CONFIG_FILE": str(path.resolve())} if path.is_file() else {}


def _failure(command: str, output: str) -> ToolError:
    """Return the error for Terraform's output. A refused value or plan has written nothing."""
    where = f"terraform {command}"
    if INVALID_VALUE in output:
        remedy = "fix [bootstrap] in signwatch.toml"
        return RefusedError("terraform variables", f"were refused:\n{output}", remedy)
    if PREVENTED_DESTROY in output:
        what = f"would delete what is never deleted:\n{output}"
        remedy = 'see "GitHub" in terraform-bootstrap/README.md, or set the variables as before'
        return RefusedError(where, what, remedy)
    remedy = (
        "fix what Terraform names above and run the same task again; it goes on where it stopped"
    )
    if NO_PROVIDER.search(output):
        remedy = f"check the network, or set {MIRROR} to a folder that holds registry.terraform.io"
    return FailedError(where, f"failed:\n{output}", remedy)
