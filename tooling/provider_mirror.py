"""Finds Terraform's AWS provider on this machine; else lets Terraform download it, once.

The provider is a large program that Terraform starts to call AWS. It is taken from a mirror: a
folder that contains registry.terraform.io, as Terraform's documentation describes it ("CLI
Configuration File", "provider_installation"). ``ensure`` says in which order it looks.

Everywhere here, ``root`` is the checkout, ``environment`` has the variables of the user's process,
and ``announce`` shows a line to the user.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from tooling.errors import RefusedError
from tooling.progress import Ongoing
from tooling.terraform import (
    MIRROR_VARIABLE,
    clean_environment,
    load_hcl,
    require_program,
    require_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

VERSIONS_FILE = Path("terraform-bootstrap", "versions.tf")  # pins the provider
DOWNLOADED_MIRROR = Path("dist", "terraform-providers")  # what a download makes, below the root
CACHE_VARIABLE = "TF_PLUGIN_CACHE_DIR"  # Terraform's own: the folder of the user's plugin cache
SEARCHED_NAME = "tf-plugins"  # what a mirror is often called on machines without internet
# Folders at the top of the file system that hold no mirror, or whose listing asks the network.
SKIPPED_NAMES = ("proc", "sys", "dev", "run", "net", "Network", "System", "Volumes")
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "autofs", "afs", "ceph", "fuse.sshfs")
SEARCH_LIMIT_SECONDS = 2
# How long Terraform may look for the provider before the download begins. Terraform's own limit is
# 11 seconds, and no setting changes it.
REGISTRY_LIMIT_SECONDS = 7
DOWNLOAD_BEGINS = re.compile(r"- (Installing|Using) ")  # the start of a line of terraform init
INSTALLATION_RULES = re.compile(r'^\s*"?provider_installation\b', re.MULTILINE)
# Configuration of Terraform. Without it, Terraform downloads nothing if one of its implied mirrors
# has another version.
DOWNLOAD_RULES = "\nprovider_installation {\n  direct {}\n}\n"


@dataclass(frozen=True)
class Provider:
    """The provider that terraform-bootstrap/versions.tf pins, for the platform of Terraform.

    source: such as hashicorp/aws; version: such as 5.100.0; platform: such as linux_amd64.
    """

    source: str
    version: str
    platform: str

    @classmethod
    def read(cls, root: Path, environment: Mapping[str, str]) -> Provider:
        """Read the pin below ``root``, and ask Terraform for its platform.

        Raises RefusedError if the pin cannot be read, or Terraform is missing, too old, or does not
        start.
        """
        command = [require_program(), "version", "-json"]
        process = subprocess.run(
            command, env=clean_environment(environment), capture_output=True, text=True, check=False
        )
        if process.returncode:
            what = f"failed: {_join_lines(process.stderr or process.stdout)}"
            raise RefusedError("terraform version", what, "install Terraform again")
        (terraform_block,) = load_hcl(root / VERSIONS_FILE)["terraform"]
        answer = json.loads(process.stdout)
        if version := answer.get("terraform_version"):
            require_version(version, terraform_block.get("required_version", ""))
        (providers_block,) = terraform_block["required_providers"]
        pin = providers_block["aws"]
        return cls(pin["source"], pin["version"], answer["platform"])

    def __str__(self) -> str:
        return f"{self.source} {self.version} for {self.platform}"

    def is_in(self, mirror: Path) -> bool:
        """Return whether a mirror has it, in a folder or as a zip file: Terraform reads both."""
        provider_folder = mirror / "registry.terraform.io" / self.source
        program_name = f"terraform-provider-{provider_folder.name}"
        try:
            unpacked = provider_folder / self.version / self.platform
            zip_file = provider_folder / f"{program_name}_{self.version}_{self.platform}.zip"
            return any(unpacked.glob(f"{program_name}_*")) or zip_file.is_file()
        except OSError:  # we may not read it
            return False


def ensure(
    root: Path,
    environment: Mapping[str, str],
    *,
    announce: Callable[[str], None],
    top: Path = Path("/"),
) -> Path:
    """Return a mirror with the provider that ``root`` pins; announce which one is taken.

    It is the first of these that has the provider:
    1. the folder in SIGNWATCH_PROVIDER_MIRROR; if this is set, no other is taken;
    2. the one that an earlier download made in dist/;
    3. the user's plugin cache, TF_PLUGIN_CACHE_DIR;
    4. Terraform's implied mirrors;
    5. a folder called tf-plugins (see ``list_search_folders``).
    If none has it, Terraform downloads it into dist/. If the user's Terraform configuration says
    where providers come from, 3 to 5 are left out, and Terraform follows that configuration. The
    search for 5 begins at ``top``, the top of the file system.

    Raises RefusedError if the folder in SIGNWATCH_PROVIDER_MIRROR does not have the provider, or
    the download fails.
    """
    provider = Provider.read(root, environment)
    mirror: Path | None
    if environment.get(MIRROR_VARIABLE):
        mirror = Path(environment[MIRROR_VARIABLE]).resolve()
        _require_provider(provider, mirror)
    elif provider.is_in(root / DOWNLOADED_MIRROR):
        mirror = root / DOWNLOADED_MIRROR
    elif has_installation_rules(environment):
        mirror = None
    else:
        mirror = find_mirror(provider, root, environment, announce=announce, top=top)
    if mirror is None:
        _download(root, provider, environment, announce)
        return root / DOWNLOADED_MIRROR
    announce(f"Terraform's AWS provider is taken from {mirror}.")
    return mirror


def _require_provider(provider: Provider, mirror: Path) -> None:
    """Raise RefusedError if the mirror, which the user has chosen, does not have the provider."""
    if not provider.is_in(mirror):
        what = f"names {mirror}, which does not have {provider}"
        remedy = f"{_advise_to_set_mirror(provider)}, or unset the variable"
        raise RefusedError(MIRROR_VARIABLE, what, remedy)


def _advise_to_set_mirror(provider: Provider) -> str:
    """Return the advice to set SIGNWATCH_PROVIDER_MIRROR, for the remedy of an error."""
    return (
        f"set {MIRROR_VARIABLE} to a folder that contains registry.terraform.io/{provider.source}"
        ' (README, "Try it", says how to make one)'
    )


def has_installation_rules(environment: Mapping[str, str]) -> bool:
    """Return whether the user's Terraform configuration says where providers come from.

    It does so in a block ``provider_installation``.
    """
    files = _list_configuration_files(environment)
    return any(INSTALLATION_RULES.search(_read_text(file)) for file in files)


def _list_configuration_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the files in which Terraform looks for the user's configuration, the main one first.

    Source: Terraform, "CLI Configuration File", "Locations".
    """
    chosen = clean_environment(environment).get("TF_CLI_CONFIG_FILE")
    if chosen:
        return [Path(chosen)]
    home = _get_home(environment)
    return [home / ".terraformrc", *sorted((home / ".terraform.d").glob("*.tfrc*"))]


def _read_text(file: Path) -> str:
    """Return a file's text; empty if there is no file, or we may not read it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _get_home(environment: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(environment.get("HOME") or Path.home())


def find_mirror(
    provider: Provider,
    root: Path,
    environment: Mapping[str, str],
    *,
    announce: Callable[[str], None],
    top: Path,
) -> Path | None:
    """Return the first mirror on this machine that has the provider, or None.

    A folder called tf-plugins is not taken if other users may have put it there, since Terraform
    runs the program in it; this is announced. ``top`` is as in ``ensure``.
    """
    cache = environment.get(CACHE_VARIABLE)
    caches = [Path(cache).resolve()] if cache else []
    for mirror in (*caches, *list_implied_mirrors(environment)):
        if provider.is_in(mirror):
            return mirror
    # This user, the system's root user, and the owner of the checkout.
    owners = {os.getuid(), Path("/").stat().st_uid, root.stat().st_uid}
    for folder in list_search_folders(root, environment, top):
        mirror = (folder / SEARCHED_NAME).resolve()
        if not provider.is_in(mirror):
            continue
        if has_only_owners(mirror, owners):
            return mirror
        reason = "other users can write there"
        announce(f"{mirror} is not used: {reason}. If you trust it, set {MIRROR_VARIABLE}.")
    return None


def list_implied_mirrors(environment: Mapping[str, str]) -> list[Path]:
    """Return the implied mirrors: the folders in which Terraform looks without configuration.

    Source: Terraform, "CLI Configuration File", "Implied Local Mirror Directories".
    """
    home = _get_home(environment)
    mirrors = [Path("terraform.d", "plugins").resolve(), home / ".terraform.d" / "plugins"]
    if platform.system() == "Darwin":
        parents = [home / "Library", Path("/Library")]
        return mirrors + [
            parent / "Application Support" / "io.terraform" / "plugins" for parent in parents
        ]
    data_home = environment.get("XDG_DATA_HOME") or str(home / ".local" / "share")
    data_folders = environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return mirrors + [
        Path(folder) / "terraform" / "plugins" for folder in (data_home, *data_folders.split(":"))
    ]


def list_search_folders(root: Path, environment: Mapping[str, str], top: Path) -> Iterator[Path]:
    """Yield the folders in which a folder called tf-plugins may be.

    These are the folders above the checkout, the home folder, then ``top``, the folders in it and
    the folders in those. Network file systems are left out, and no more folders are listed after
    SEARCH_LIMIT_SECONDS.
    """
    yield from root.parents
    yield _get_home(environment)
    yield top
    end = time.monotonic() + SEARCH_LIMIT_SECONDS
    skipped = {top / name for name in SKIPPED_NAMES} | _read_network_mounts()
    folders = _list_folders(top, skipped)
    yield from folders
    for folder in folders:
        if time.monotonic() < end:
            yield from _list_folders(folder, skipped)


def _list_folders(folder: Path, skipped: Iterable[Path]) -> list[Path]:
    """Return the folders in a folder, without links and ``skipped``; none if we may not read it."""
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(path for path in paths if path not in skipped)


def _read_network_mounts() -> set[Path]:
    """Return where network file systems are mounted; empty if this is not Linux.

    The search would hang in one whose server does not answer.
    """
    mounts: set[Path] = set()
    for line in _read_text(Path("/proc/self/mounts")).splitlines():
        _device, mount_point, file_system, *_options = line.split()
        if file_system.startswith(NETWORK_FILE_SYSTEMS):
            mounts.add(Path(mount_point))
    return mounts


def has_only_owners(folder: Path, owners: set[int]) -> bool:
    """Return whether only ``owners``, ids of users, could have put the folder where it is.

    The folder and all folders above it must belong to them, and others may not replace an entry
    there. If everybody may write to a folder with the sticky bit, such as /tmp, only the owner of
    an entry can replace it. ``folder`` is a full path without links.
    """
    for path in (folder, *folder.parents):
        status = path.stat()
        is_writable_by_all = bool(status.st_mode & stat.S_IWOTH)
        is_sticky = bool(status.st_mode & stat.S_ISVTX)
        if status.st_uid not in owners or (is_writable_by_all and not is_sticky):
            return False
    return True


def _download(
    root: Path,
    provider: Provider,
    environment: Mapping[str, str],
    announce: Callable[[str], None],
) -> None:
    """Let ``terraform init`` download the provider, and keep it in dist/ as a mirror.

    A lock on the file with the pin keeps two processes from downloading it at once. Raises
    RefusedError if the download fails.
    """
    mirror = root / DOWNLOADED_MIRROR
    with (root / VERSIONS_FILE).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if provider.is_in(mirror):
            return
        announce(Ongoing(f"Terraform downloads its AWS provider once, into {DOWNLOADED_MIRROR}"))
        mirror.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="terraform-init-", dir=mirror.parent) as name:
            folder = Path(name)
            shutil.copy(root / VERSIONS_FILE, folder)
            variables = _make_download_variables(folder, environment)
            problem = _run_init(folder, clean_environment(environment) | variables)
            if problem:
                what = f"is in no mirror on this machine, and cannot be downloaded: {problem}"
                remedy = f"check the network, or {_advise_to_set_mirror(provider)}"
                raise RefusedError(str(provider), what, remedy)
            shutil.rmtree(mirror, ignore_errors=True)
            (folder / ".terraform" / "providers").rename(mirror)


def _make_download_variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name the user's plugin cache and a configuration for the download.

    The configuration is the user's main file with DOWNLOAD_RULES, written to ``folder``. If the
    user has such rules, or the file is JSON, no configuration is named: Terraform then reads the
    user's own.
    """
    variables = {}
    if cache := environment.get(CACHE_VARIABLE):
        variables[CACHE_VARIABLE] = str(Path(cache).resolve())
    text = _read_text(_list_configuration_files(environment)[0])
    is_json = text.lstrip().startswith("{")
    if not is_json and not has_installation_rules(environment):
        configuration = folder / "terraform.tfrc"
        configuration.write_text(text + DOWNLOAD_RULES, encoding="utf-8")
        variables["TF_CLI_CONFIG_FILE"] = str(configuration)
    return variables


def _run_init(folder: Path, environment: Mapping[str, str]) -> str:
    """Run ``terraform init``; return what went wrong, or an empty text.

    If the registry does not answer, a timer kills Terraform after REGISTRY_LIMIT_SECONDS. Once the
    download has begun, it may take as long as it needs.
    """
    command = [require_program(), "init", "-input=false", "-no-color"]
    output = ""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        timer = Timer(REGISTRY_LIMIT_SECONDS, process.kill)
        timer.start()
        try:
            for line in process.stdout or ():
                output += line
                if DOWNLOAD_BEGINS.match(line):
                    timer.cancel()
        except BaseException:  # such as Ctrl-C; Popen waits for the process before it goes on
            process.kill()
            raise
        finally:
            timer.cancel()
    if process.returncode < 0:  # killed by a signal: by the timer
        return f"the registry did not answer within {REGISTRY_LIMIT_SECONDS} seconds"
    return _join_lines(output) if process.returncode else ""


def _join_lines(output: str) -> str:
    """Return Terraform's error message on one line, without its heading and its advice.

    A message is "Error: HEADING", the text, and the advice "To see which modules ...".
    """
    message = output.rpartition("Error: ")[2].partition("To see which modules")[0]
    heading, _, text = message.partition("\n")
    return " ".join((text.strip() or heading).split())
