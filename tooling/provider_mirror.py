"""Finds Terraform's AWS provider on this machine; else lets Terraform download it, once.

The provider is taken from a mirror: a folder that contains registry.terraform.io, as Terraform's
documentation describes it ("CLI Configuration File", "provider_installation"). ``ensure`` says in
which order it looks.
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
from tooling.terraform import (
    MIRROR_VARIABLE,
    clean_environment,
    load_hcl,
    require_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

VERSIONS = Path("terraform-bootstrap", "versions.tf")  # pins the provider
DOWNLOADED = Path("dist", "terraform-providers")  # the mirror that a download makes
CACHE_VARIABLE = "TF_PLUGIN_CACHE_DIR"  # Terraform's own: the folder of the user's plugin cache
SEARCHED_NAME = "tf-plugins"  # what machines without internet call their mirror
# Folders at the top of the file system that hold no mirror, or whose listing asks the network.
SKIPPED_NAMES = ("proc", "sys", "dev", "run", "net", "Network", "System", "Volumes")
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "autofs", "afs", "ceph", "fuse.sshfs")
SEARCH_LIMIT_SECONDS = 2
# How long Terraform may look for the provider before the download begins. Terraform's own limit is
# 11 seconds, and no setting changes it.
REGISTRY_LIMIT_SECONDS = 7
DOWNLOAD_BEGINS = re.compile(r"- (Installing|Using) ")  # at the start of a line of terraform init
INSTALLATION_RULES = re.compile(r'^\s*"?provider_installation\b', re.MULTILINE)
# Without this, Terraform downloads nothing if one of its implied mirrors has another version.
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

        Raises RefusedError if the pin cannot be read, or Terraform is missing or does not start.
        """
        command = [require_program(), "version", "-json"]
        process = subprocess.run(
            command, env=clean_environment(environment), capture_output=True, text=True, check=False
        )
        if process.returncode:
            what = f"failed: {_join_lines(process.stderr or process.stdout)}"
            raise RefusedError("terraform version", what, "install Terraform again")
        (settings,) = load_hcl(root / VERSIONS)["terraform"]
        (pins,) = settings["required_providers"]
        pin = pins["aws"]
        return cls(pin["source"], pin["version"], json.loads(process.stdout)["platform"])

    def __str__(self) -> str:
        return f"{self.source} {self.version} for {self.platform}"

    def is_in(self, mirror: Path) -> bool:
        """Return whether a mirror has it, in a folder or as a zip file: Terraform reads both."""
        packages = mirror / "registry.terraform.io" / self.source
        prefix = f"terraform-provider-{packages.name}"
        try:
            programs = list((packages / self.version / self.platform).glob(f"{prefix}_*"))
            zip_file = packages / f"{prefix}_{self.version}_{self.platform}.zip"
            return bool(programs) or zip_file.is_file()
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
    where providers come from, 3 to 5 are left out, and Terraform follows that configuration.

    Raises RefusedError if the folder in SIGNWATCH_PROVIDER_MIRROR does not have the provider, or
    the download fails.
    """
    provider = Provider.read(root, environment)
    mirror: Path | None
    if environment.get(MIRROR_VARIABLE):
        mirror = _require_in(Path(environment[MIRROR_VARIABLE]).resolve(), provider)
    elif provider.is_in(root / DOWNLOADED):
        mirror = root / DOWNLOADED
    elif has_installation_rules(environment):
        mirror = None
    else:
        mirror = find(provider, root, environment, announce=announce, top=top)
    if mirror is None:
        _download(root, provider, environment, announce)
        return root / DOWNLOADED
    announce(f"Terraform's AWS provider is taken from {mirror}.")
    return mirror


def _require_in(mirror: Path, provider: Provider) -> Path:
    """Return the mirror. Raises RefusedError if it does not have the provider."""
    if provider.is_in(mirror):
        return mirror
    remedy = f"{_how_to_make_a_mirror(provider)}, or unset the variable"
    raise RefusedError(MIRROR_VARIABLE, f"names {mirror}, which does not have {provider}", remedy)


def _how_to_make_a_mirror(provider: Provider) -> str:
    """Return the advice to make a mirror, for the remedy of an error."""
    return (
        f"set {MIRROR_VARIABLE} to a folder that contains registry.terraform.io/{provider.source}"
        ' (README, "Try it", says how to make one)'
    )


def has_installation_rules(environment: Mapping[str, str]) -> bool:
    """Return whether the user's Terraform configuration says where providers come from."""
    files = _list_configuration_files(environment)
    return any(INSTALLATION_RULES.search(_read(file)) for file in files)


def _list_configuration_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the files in which Terraform looks for the user's configuration, the main one first.

    Source: Terraform, "CLI Configuration File", "Locations".
    """
    chosen = clean_environment(environment).get("TF_CLI_CONFIG_FILE")
    if chosen:
        return [Path(chosen)]
    home = _home(environment)
    return [home / ".terraformrc", *sorted((home / ".terraform.d").glob("*.tfrc*"))]


def _read(file: Path) -> str:
    """Return a file's text; empty if there is no file, or we may not read it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _home(environment: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(environment.get("HOME") or Path.home())


def find(
    provider: Provider,
    root: Path,
    environment: Mapping[str, str],
    *,
    announce: Callable[[str], None],
    top: Path,
) -> Path | None:
    """Return the first mirror on this machine that has the provider, or None.

    A folder called tf-plugins is not taken if other users may have put it there, since Terraform
    runs the program in it. ``announce`` says so. ``top`` is where the search begins.
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
    """Return the folders in which Terraform looks by itself.

    Source: Terraform, "CLI Configuration File", "Implied Local Mirror Directories".
    """
    home = _home(environment)
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
    """Yield the folders in which tf-plugins may be.

    These are the folders above the checkout, the home folder, then ``top``, the folders in it and
    the folders in those. Network file systems are left out, and the search ends after two seconds.
    """
    yield from root.parents
    yield _home(environment)
    yield top
    end = time.monotonic() + SEARCH_LIMIT_SECONDS
    skipped = {top / name for name in SKIPPED_NAMES} | _read_network_mounts()
    folders = _list_folders(top, skipped)
    yield from folders
    for folder in folders:
        if time.monotonic() < end:
            yield from _list_folders(folder, skipped)


def _list_folders(folder: Path, skipped: Iterable[Path]) -> list[Path]:
    """Return the folders in a folder, without links; none if we may not read it."""
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(path for path in paths if path not in skipped)


def _read_network_mounts() -> set[Path]:
    """Return where network file systems are mounted, on Linux; a dead one would stop the search."""
    mounts = [line.split() for line in _read(Path("/proc/self/mounts")).splitlines()]
    return {Path(mount[1]) for mount in mounts if mount[2].startswith(NETWORK_FILE_SYSTEMS)}


def has_only_owners(folder: Path, owners: set[int]) -> bool:
    """Return whether only ``owners``, ids of users, could have put the folder where it is.

    ``folder`` is a full path without links. In a folder that everybody may write to and that has
    the sticky bit, such as /tmp, only the owner of an entry can replace it.
    """
    for path in (folder, *folder.parents):
        status = path.stat()
        is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if is_open or status.st_uid not in owners:
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
    mirror = root / DOWNLOADED
    with (root / VERSIONS).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if provider.is_in(mirror):
            return
        announce(f"Terraform downloads its AWS provider once, into {DOWNLOADED} ...")
        mirror.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="terraform-init-", dir=mirror.parent) as name:
            folder = Path(name)
            shutil.copy(root / VERSIONS, folder)
            variables = _download_variables(folder, environment)
            problem = _run_init(folder, clean_environment(environment) | variables)
            if problem:
                what = f"is in no mirror on this machine, and cannot be downloaded: {problem}"
                remedy = f"check the network, or {_how_to_make_a_mirror(provider)}"
                raise RefusedError(str(provider), what, remedy)
            shutil.rmtree(mirror, ignore_errors=True)
            (folder / ".terraform" / "providers").rename(mirror)


def _download_variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the user's plugin cache and with a configuration for the download.

    The configuration is the user's main file with DOWNLOAD_RULES, written to ``folder``. If there
    are rules of the user, or the file is written in JSON, Terraform reads the user's files instead.
    """
    variables = {}
    if cache := environment.get(CACHE_VARIABLE):
        variables[CACHE_VARIABLE] = str(Path(cache).resolve())
    text = _read(_list_configuration_files(environment)[0])
    if not (has_installation_rules(environment) or text.lstrip().startswith("{")):
        (folder / "terraform.tfrc").write_text(text + DOWNLOAD_RULES, encoding="utf-8")
        variables["TF_CLI_CONFIG_FILE"] = str(folder / "terraform.tfrc")
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
    """Return Terraform's error message on one line, without its heading and its advice."""
    message = output.rpartition("Error: ")[2].partition("To see which modules")[0]
    heading, _, text = message.partition("\n")
    return " ".join((text.strip() or heading).split())
