"""Reads Terraform files with python-hcl2, and runs Terraform, each run in its own folder.

HCL is the language of Terraform files. python-hcl2 returns a file as lists of blocks by their type:
``{"variable": [{"region": {"default": "us-east-1"}}, ...]}``. The state is the file in which
Terraform remembers what it has created.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tooling import invocation
from tooling.errors import FailedError, RefusedError, ToolError
from tooling.progress import Ongoing
from tooling.signals import delay_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The environment variable with the path of a folder that Terraform's providers are taken from.
MIRROR_VARIABLE = "SIGNWATCH_PROVIDER_MIRROR"
# Parts of Terraform's own messages.
INVALID_VALUE = "Invalid value for variable"  # a validation in variables.tf refused a value
NO_PROVIDER = re.compile(
    r"Failed to (query available provider packages|install provider)|Invalid provider registry host"
)
PREVENTED_DESTROY = "prevent_destroy"  # a plan would delete what the configuration protects
BOUND = re.compile(r">=\s*(?P<version>[0-9]+(\.[0-9]+)*)")  # in required_version of versions.tf
# What the AWS provider's message has if AWS itself refused a request (AWS SDK for Go,
# "OperationError").
REFUSED_BY_AWS = "operation error "
# Exit codes of terraform plan -detailed-exitcode, by whether it would change anything.
UNCHANGED_EXIT_CODE, CHANGED_EXIT_CODE = 0, 2
# Lines of terraform plan and apply that say that one resource is done. They only serve the line of
# progress: in other words of a later Terraform, it would have no counts.
REFRESHED_LINE = re.compile(r": (Refreshing state\.\.\.|Read complete after )")
APPLIED_LINE = re.compile(r": (Creation|Modifications|Destruction) complete after ")


class UnreadableFileError(RefusedError):
    """A Terraform file is missing, or is not what python-hcl2 can parse."""


def load_defaults(folder: Path) -> dict[str, Any]:
    """Return the default of each variable of ``folder``/variables.tf that has one.

    Raises UnreadableFileError as ``load_hcl`` does.
    """
    defaults = {}
    for block in load_hcl(folder / "variables.tf").get("variable", []):
        for name, body in block.items():
            if name != "__is_block__" and "default" in body:  # hcl2 adds this mark to each block
                defaults[name] = body["default"]
    return defaults


def load_hcl(path: Path) -> dict[str, Any]:
    """Return the content of a Terraform file.

    Raises UnreadableFileError if the file is missing, or python-hcl2 cannot parse it. That does not
    know everything that Terraform does, such as a comment before a value.
    """
    from lark.exceptions import LarkError

    try:
        return parse_hcl(path.read_text(encoding="utf-8-sig"))  # with or without a byte order mark
    except (OSError, ValueError, LarkError, RecursionError) as error:
        line = getattr(error, "line", None)
        place = f" from line {line} on" if line else ""
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        what = f"cannot be read{place} ({reason})"
        raise UnreadableFileError(str(path), what, "compare it with git diff") from error


@functools.lru_cache(maxsize=16)
def parse_hcl(text: str) -> dict[str, Any]:
    """Return the content of a Terraform file whose text this is.

    It is cached, since parsing is slow and a task may read a file several times.
    """
    import hcl2

    options = hcl2.SerializationOptions(strip_string_quotes=True)
    content: dict[str, Any] = hcl2.loads(text, serialization_options=options)
    return content


def require_version(found: str, required: str) -> None:
    """Raise RefusedError if Terraform is older than ``required``, such as ">= 1.9", allows."""
    bound = BOUND.search(required)
    if bound and _to_numbers(found) < _to_numbers(bound["version"]):
        what = f"is version {found}, and {bound['version']} or newer is needed"
        remedy = f"install Terraform {bound['version']} or newer, then run the same task again"
        raise RefusedError(shutil.which("terraform") or "terraform", what, remedy)


def _to_numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared: "1.12.0-beta1" is (1, 12, 0)."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version.partition("-")[0]))


def require_program() -> str:
    """Return the path of the terraform program. Raises RefusedError if it is missing."""
    path = shutil.which("terraform")
    if not path:
        remedy = "install Terraform 1.9 or newer, then run the same task again"
        raise RefusedError("terraform", "was not found on PATH", remedy)
    return path


@dataclass(frozen=True)
class Terraform:
    """A copy of a Terraform configuration in ``folder``, whose state is the file ``state``.

    Terraform is started with the variables in ``environment``, without the user's own for it.
    ``announce`` shows what it does, with the number of resources that are done. Methods raise
    FailedError or RefusedError if Terraform fails (see ``_explain_failure``).
    """

    folder: Path
    state: Path
    environment: Mapping[str, str]
    announce: Callable[[str], None] = lambda _: None

    @classmethod
    def prepare(
        cls,
        source: Path,
        folder: Path,
        state: Path,
        environment: Mapping[str, str],
        announce: Callable[[str], None] = lambda _: None,
    ) -> Terraform:
        """Copy the .tf files of ``source`` to ``folder``, in place of what an older run left there.

        A local backend is configured, which keeps the state in the file ``state``. Each run has its
        own folder, so runs share neither the .terraform folder nor the lock file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        for old_file in folder.glob("*.tf"):
            old_file.unlink()
        for file in source.glob("*.tf"):
            shutil.copy(file, folder / file.name)
        quoted_path = json.dumps(str(state.resolve()))  # a string of HCL is quoted as in JSON
        backend = f'terraform {{\n  backend "local" {{\n    path = {quoted_path}\n  }}\n}}\n'
        (folder / "backend_override.tf").write_text(backend)
        return cls(folder, state, environment, announce)

    def init(self) -> None:
        """Run ``terraform init``, which installs the provider. Raises RefusedError on failure.

        The provider is taken from the folder that SIGNWATCH_PROVIDER_MIRROR names in
        ``environment``. Without the variable, Terraform downloads it.

        Terraform remembers the state's full path, which is wrong after the checkout was moved with
        its state. -reconfigure forgets that path and copies no state (Terraform, "terraform init").
        """
        options = ["-reconfigure", "-input=false", "-no-color"]
        variables: dict[str, str] = {}
        if mirror := self.environment.get(MIRROR_VARIABLE):
            options.append(f"-plugin-dir={Path(mirror).resolve()}")
            # A plugin cache in the user's configuration may be what the mirror links to; Terraform
            # refuses to copy a folder to itself.
            variables["TF_CLI_CONFIG_FILE"] = os.devnull
        self.announce(Ongoing("terraform init"))
        self._run("init", *options, variables=variables)

    def list_resources(self) -> list[dict[str, Any]]:
        """Return the resources in the state, in Terraform's JSON form."""
        content = json.loads(self._run("show", "-json").stdout)
        module = content.get("values", {}).get("root_module", {})
        return [item for item in module.get("resources", []) if item["mode"] == "managed"]

    def forget(self, address: str) -> None:
        """Remove a resource from the state; it stays in the account."""
        self._run("state", "rm", address)

    def plan(self, variables: Mapping[str, Any], *, destroy: bool = False) -> dict[str, Any] | None:
        """Make a plan; return it in Terraform's JSON form, or None if nothing changes.

        ``variables`` are values for the variables of the configuration. With ``destroy``, the plan
        deletes every resource in the state.
        """
        (self.folder / "run.auto.tfvars.json").write_text(json.dumps(dict(variables)))
        options = ["-input=false", "-no-color", "-detailed-exitcode", "-out=run.plan"]
        if destroy:
            options.append("-destroy")
        self.announce(Ongoing("terraform plan"))
        process = self._run(
            "plan",
            *options,
            success_codes=(UNCHANGED_EXIT_CODE, CHANGED_EXIT_CODE),
            show_line=self._count(REFRESHED_LINE, "terraform plan", "{} resources read"),
        )
        if process.returncode == UNCHANGED_EXIT_CODE:
            return None
        plan: dict[str, Any] = json.loads(self._run("show", "-json", "run.plan").stdout)
        return plan

    def apply(self, change_count: int | None = None) -> None:
        """Apply the plan that ``plan`` made; it changes ``change_count`` resources, if known."""
        invocation.mark_written()
        self.announce(Ongoing("terraform apply"))
        total = f" of {change_count}" if change_count else ""
        count = self._count(APPLIED_LINE, "terraform apply", f"{{}}{total} resources")
        self._run("apply", "-input=false", "-no-color", "run.plan", show_line=count)

    def _count(self, pattern: re.Pattern[str], subject: str, detail: str) -> Callable[[str], None]:
        """Return a function that takes Terraform's lines and announces how many match so far.

        ``detail`` has "{}" for the number.
        """
        numbers = itertools.count(1)

        def count(line: str) -> None:
            """Announce one more if the line matches."""
            if pattern.search(line):
                self.announce(Ongoing(subject, detail.format(next(numbers))))

        return count

    def _run(
        self,
        *arguments: str,
        success_codes: tuple[int, ...] = (0,),
        variables: Mapping[str, str] | None = None,
        show_line: Callable[[str], None] = lambda _: None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a terraform command with ``variables`` added to its environment.

        ``show_line`` gets each line of its output at once.
        Raises FailedError or RefusedError for an exit code that is not in ``success_codes``.
        """
        environment = {**clean_environment(self.environment), **(variables or {})}
        command = [require_program(), *arguments]
        process = _run_to_end(command, self.folder, environment, show_line)
        if process.returncode not in success_codes:
            output = (process.stderr or process.stdout).strip()
            raise _explain_failure(arguments[0], output)
        return process


def _run_to_end(
    command: list[str],
    folder: Path,
    environment: Mapping[str, str],
    show_line: Callable[[str], None],
) -> subprocess.CompletedProcess[str]:
    """Run Terraform to its end, and show each line of its output.

    On Ctrl-C, interrupt it once, and wait while it saves its state.

    Terraform has its own process group, so that the terminal does not send it the Ctrl-C as well:
    after a second interrupt it stops without saving its state.
    """
    process: subprocess.Popen[str] | None = None
    lines = []
    with tempfile.TemporaryFile("w+") as errors:  # not a pipe, which would have to be read as well
        try:
            with delay_signals():  # a Ctrl-C in between would leave a process nobody waits for
                process = _start_process(command, folder, environment, errors)
            for line in process.stdout or ():
                lines.append(line)
                show_line(line)
            process.communicate()  # closes its output and waits for its end
        except KeyboardInterrupt:
            if process:
                process.send_signal(signal.SIGINT)
                process.communicate()
            raise
        errors.seek(0)
        stderr = errors.read()
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines), stderr)


def _start_process(
    command: list[str], folder: Path, environment: Mapping[str, str], errors: IO[str]
) -> subprocess.Popen[str]:
    """Start Terraform in a process group of its own; its errors go to the file ``errors``."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        process_group=0,
    )


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Terraform: without the user's variables for it (TF_...).

    Only the one that names a configuration file stays, if that file exists: Terraform would warn of
    a missing one on every command. Terraform does not look for newer versions of itself.
    """
    variables = {name: value for name, value in environment.items() if not name.startswith("TF_")}
    variables |= {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    path = Path(environment.get("TF_CLI_CONFIG_FILE", ""))
    if path.is_file():
        variables["TF_CLI_CONFIG_FILE"] = str(path.resolve())
    return variables


def _explain_failure(command: str, output: str) -> ToolError:
    """Return the error that explains the output of a failed command, such as "apply".

    It is a RefusedError if nothing was written: Terraform refused a value or the plan, or could not
    begin. It is a FailedError if an apply failed, or if AWS refused a request.
    """
    where = f"terraform {command}"
    if INVALID_VALUE in output:
        remedy = "fix [bootstrap] in signwatch.toml"
        return RefusedError("terraform variables", f"were refused:\n{output}", remedy)
    if PREVENTED_DESTROY in output:
        what = f"would delete a resource that is protected from deletion:\n{output}"
        remedy = 'see "GitHub" in terraform-bootstrap/README.md, or set the variables as before'
        return RefusedError(where, what, remedy)
    what = f"failed:\n{output}"
    remedy = "fix what Terraform names above and run the same task again"
    if NO_PROVIDER.search(output):
        folder = "a folder that contains registry.terraform.io"
        remedy = f"check the network, or set {MIRROR_VARIABLE} to {folder}"
    if command != "apply" and REFUSED_BY_AWS not in output:
        return RefusedError(where, what, remedy)
    return FailedError(where, what, f"{remedy}; it goes on where it stopped")
