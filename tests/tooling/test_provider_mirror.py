"""Where Terraform's provider is looked for, and its download."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.listener import Listener
from tests.support.repository import ROOT
from tooling import provider_mirror
from tooling.errors import RefusedError
from tooling.provider_mirror import DOWNLOADED_MIRROR, Provider
from tooling.terraform import MIRROR_VARIABLE, Terraform

PROVIDER = Provider("hashicorp/aws", "5.100.0", "linux_amd64")
UNPACKED = (
    "registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64/terraform-provider-aws_v5.100.0_x5"
)
PACKED = "registry.terraform.io/hashicorp/aws/terraform-provider-aws_5.100.0_linux_amd64.zip"


def make_mirror(folder: Path, file: str = UNPACKED) -> Path:
    """Make a mirror with an empty file as the provider."""
    (folder / file).parent.mkdir(parents=True)
    (folder / file).touch()
    return folder


class Machine:
    """A checkout, a home folder and a folder to search, all empty."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "parent" / "checkout"
        self.home, self.top = folder / "home", folder / "top"
        for path in (self.root / "terraform-bootstrap", self.home, self.top):
            path.mkdir(parents=True)
        shutil.copy(ROOT / provider_mirror.VERSIONS_FILE, self.root / provider_mirror.VERSIONS_FILE)
        self.listener = Listener()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_DATA_DIRS": str(folder / "none"),
        }

    def find(self) -> Path | None:
        announce = self.listener.announce
        return provider_mirror.find_mirror(
            PROVIDER, self.root, self.environment, announce=announce, top=self.top
        )

    def ensure(self) -> Path:
        announce = self.listener.announce
        return provider_mirror.ensure(self.root, self.environment, announce=announce, top=self.top)

    def configure(self, text: str) -> None:
        (self.home / ".terraformrc").write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path)


class TestProvider:
    @pytest.mark.parametrize("file", [UNPACKED, PACKED])
    def test_both_layouts_of_a_mirror_are_read(self, tmp_path: Path, file: str) -> None:
        assert PROVIDER.is_in(make_mirror(tmp_path / "mirror", file))

    @pytest.mark.parametrize("file", [UNPACKED, PACKED])
    @pytest.mark.parametrize(("old", "new"), [("5.100.0", "5.99.0"), ("linux", "darwin")])
    def test_another_version_or_platform_does_not_count(
        self, tmp_path: Path, file: str, old: str, new: str
    ) -> None:
        assert not PROVIDER.is_in(make_mirror(tmp_path / "mirror", file.replace(old, new)))

    def test_a_folder_without_a_program_does_not_count(self, tmp_path: Path) -> None:
        make_mirror(tmp_path, f"{UNPACKED}.txt")
        (tmp_path / f"{UNPACKED}.txt").rename((tmp_path / UNPACKED).with_name("LICENSE.txt"))
        assert not PROVIDER.is_in(tmp_path)


class TestFind:
    def test_nothing_is_found_on_an_empty_machine(self, machine: Machine) -> None:
        assert machine.find() is None
        assert machine.listener.lines == []

    @pytest.mark.parametrize(
        "place",
        [
            "parent/tf-plugins",
            "home/tf-plugins",
            "top/tf-plugins",
            "top/a/tf-plugins",
            "top/a/b/tf-plugins",
            "home/.terraform.d/plugins",
            "home/.local/share/terraform/plugins",
            "terraform.d/plugins",
        ],
    )
    @pytest.mark.skipif(platform.system() == "Darwin", reason="the folders are those of Linux")
    def test_each_place_is_searched(self, machine: Machine, tmp_path: Path, place: str) -> None:
        assert machine.find() is None
        mirror = make_mirror(tmp_path / place)
        assert machine.find() == mirror

    @pytest.mark.parametrize("place", ["top/a/b/c/tf-plugins", "top/proc/tf-plugins"])
    def test_no_other_place_is_searched(self, machine: Machine, tmp_path: Path, place: str) -> None:
        make_mirror(tmp_path / place)
        assert machine.find() is None

    def test_a_mirror_with_another_version_is_passed_over(self, machine: Machine) -> None:
        make_mirror(machine.home / "tf-plugins", UNPACKED.replace("5.100.0", "6.0.0"))
        expected = make_mirror(machine.top / "tf-plugins")
        assert machine.find() == expected

    def test_the_folder_of_the_plugin_cache_is_a_mirror(
        self, machine: Machine, tmp_path: Path
    ) -> None:
        machine.environment["TF_PLUGIN_CACHE_DIR"] = "cache"
        assert machine.find() is None
        mirror = make_mirror(tmp_path / "cache")
        assert machine.find() == mirror

    def test_a_mirror_where_everybody_may_write_is_not_taken(self, machine: Machine) -> None:
        mirror = make_mirror(machine.top / "a" / "tf-plugins")
        mirror.parent.chmod(0o777)
        assert machine.find() is None
        (line,) = machine.listener.lines
        assert line.startswith(f"{mirror} is not used: other users can write there.")
        mirror.parent.chmod(0o1777)
        assert machine.find() == mirror

    def test_a_link_is_followed_to_the_mirror(self, machine: Machine) -> None:
        mirror = make_mirror(machine.top / "a" / "b" / "mirror")
        (machine.home / "tf-plugins").symlink_to(mirror)
        assert machine.find() == mirror
        mirror.parent.chmod(0o777)
        assert machine.find() is None

    def test_a_mirror_of_another_user_is_not_taken(self, tmp_path: Path) -> None:
        owners = {path.stat().st_uid for path in (tmp_path, *tmp_path.parents)}
        assert provider_mirror.has_only_owners(tmp_path, owners)
        assert not provider_mirror.has_only_owners(tmp_path, {os.getuid() + 1})

    def test_network_file_systems_are_left_out(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mounts = f"host:/a {machine.top}/far nfs4 rw 0 0\n/dev/b {machine.top}/near ext4 rw 0 0\n"
        monkeypatch.setattr(provider_mirror, "_read_text", lambda _: mounts)
        for name in ("far", "near"):
            make_mirror(machine.top / name / "tf-plugins")
        assert machine.find() == machine.top / "near" / "tf-plugins"

    def test_the_search_ends_at_its_time_limit(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_mirror(machine.top / "a" / "b" / "tf-plugins")
        monkeypatch.setattr(provider_mirror, "SEARCH_LIMIT_SECONDS", 0)
        assert machine.find() is None

    def test_the_implied_mirrors_of_macos(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "system", lambda: "Darwin")
        mirrors = [str(path) for path in provider_mirror.list_implied_mirrors({"HOME": "/h"})]
        assert mirrors[1:] == [
            "/h/.terraform.d/plugins",
            "/h/Library/Application Support/io.terraform/plugins",
            "/Library/Application Support/io.terraform/plugins",
        ]


class TestRules:
    @pytest.mark.parametrize("name", [".terraformrc", ".terraform.d/own.tfrc", "elsewhere"])
    @pytest.mark.parametrize(
        "text", ["provider_installation {\n}\n", '{\n  "provider_installation": {}\n}']
    )
    def test_rules_of_the_user_are_seen(self, machine: Machine, name: str, text: str) -> None:
        file = machine.home / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        if name == "elsewhere":
            assert not provider_mirror.has_installation_rules(machine.environment)
            machine.environment["TF_CLI_CONFIG_FILE"] = str(file)
        assert provider_mirror.has_installation_rules(machine.environment)

    def test_a_comment_is_no_rule(self, machine: Machine) -> None:
        machine.configure("# provider_installation {\n")
        assert not provider_mirror.has_installation_rules(machine.environment)

    def test_the_download_keeps_the_settings_and_the_cache_of_the_user(
        self, machine: Machine, tmp_path: Path
    ) -> None:
        machine.configure("disable_checkpoint = true\n")
        machine.environment["TF_PLUGIN_CACHE_DIR"] = "cache"
        variables = provider_mirror._make_download_variables(tmp_path, machine.environment)
        assert variables["TF_PLUGIN_CACHE_DIR"] == str(tmp_path / "cache")
        text = Path(variables["TF_CLI_CONFIG_FILE"]).read_text()
        assert text == f"disable_checkpoint = true\n{provider_mirror.DOWNLOAD_RULES}"

    @pytest.mark.parametrize("text", ["provider_installation {\n}\n", "{}"], ids=["rules", "JSON"])
    def test_a_configuration_with_rules_or_in_json_is_left_to_terraform(
        self, machine: Machine, tmp_path: Path, text: str
    ) -> None:
        machine.configure(text)
        assert provider_mirror._make_download_variables(tmp_path, machine.environment) == {}


class TestInit:
    """terraform init in a folder without a configuration, by a program of shell lines."""

    def run(self, folder: Path, lines: str) -> str:
        (folder / "terraform").write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "terraform").chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(folder), prepend=os.pathsep)
            patch.setattr(provider_mirror, "REGISTRY_LIMIT_SECONDS", 0.2)
            return provider_mirror._run_init(folder, dict(os.environ))

    def test_a_registry_that_does_not_answer_is_given_up(self, tmp_path: Path) -> None:
        problem = self.run(tmp_path, "echo '- Finding hashicorp/aws'; exec sleep 60")
        assert problem == "the registry did not answer within 0.2 seconds"

    def test_the_registry_is_given_up_early_enough_for_an_answer_within_ten_seconds(self) -> None:
        assert provider_mirror.REGISTRY_LIMIT_SECONDS == 7

    def test_a_download_may_take_longer(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "echo '- Installing hashicorp/aws'; exec sleep 0.4") == ""

    def test_the_reason_of_terraform_is_told_on_one_line(self, tmp_path: Path) -> None:
        lines = (
            "printf 'Init...\\nError: Failed to query\\n\\nno such\\nhost\\n\\n"
            "To see which modules are there\\n'; exit 1"
        )
        assert self.run(tmp_path, lines) == "no such host"

    def test_an_error_without_a_reason_is_told_too(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "echo 'Error: Unsupported version'; exit 1") == (
            "Unsupported version"
        )


@pytest.mark.terraform
class TestWithTerraform:
    """``real`` is the mirror that the tests of this run use."""

    @pytest.fixture
    def real(self) -> Path:
        return Path(os.environ[MIRROR_VARIABLE]).resolve()

    def init(self, machine: Machine, mirror: Path) -> None:
        """Run ``terraform init`` with the provider of this mirror."""
        environment = {**machine.environment, MIRROR_VARIABLE: str(mirror)}
        state = machine.home / "x.tfstate"
        source = ROOT / "terraform-bootstrap"
        Terraform.prepare(source, machine.home / "run", state, environment).init()

    @pytest.mark.parametrize("place", ["top/a/tf-plugins", "home/.terraform.d/plugins"])
    def test_a_found_mirror_is_announced_and_serves_terraform(
        self, machine: Machine, tmp_path: Path, real: Path, place: str
    ) -> None:
        (tmp_path / place).parent.mkdir()
        shutil.copytree(real, tmp_path / place, copy_function=os.symlink)
        mirror = machine.ensure()
        assert mirror == tmp_path / place
        assert machine.listener.lines == [f"Terraform's AWS provider is taken from {mirror}."]
        self.init(machine, mirror)

    def test_the_variable_goes_before_every_other_mirror(
        self, machine: Machine, real: Path
    ) -> None:
        make_mirror(machine.home / "tf-plugins")
        machine.environment[MIRROR_VARIABLE] = str(real)
        assert machine.ensure() == real

    @pytest.mark.parametrize("name", ["missing", "home"])
    def test_a_variable_that_names_no_mirror_is_refused(
        self, machine: Machine, tmp_path: Path, real: Path, name: str
    ) -> None:
        shutil.copytree(real, machine.top / "tf-plugins", copy_function=os.symlink)
        machine.environment[MIRROR_VARIABLE] = name
        with pytest.raises(RefusedError) as refused:
            machine.ensure()
        assert refused.value.where == MIRROR_VARIABLE
        assert f"names {tmp_path / name}, which does not have hashicorp/aws" in refused.value.what

    def test_the_download_follows_the_users_rules_and_happens_once(
        self, machine: Machine, real: Path
    ) -> None:
        """A filesystem mirror of the user's stands for the registry, and is then removed."""
        registry = machine.home / "registry"
        shutil.copytree(real, registry, symlinks=True)
        path = (
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{registry}"\n  }}\n}}'
        )
        machine.configure(path)
        with ThreadPoolExecutor(2) as pool:
            mirrors = list(pool.map(lambda _: machine.ensure(), range(2)))
        assert mirrors == [machine.root / DOWNLOADED_MIRROR] * 2
        assert machine.listener.text().count("Terraform downloads its AWS provider once") == 1
        assert [path.name for path in mirrors[0].parent.iterdir()] == ["terraform-providers"]
        machine.configure("provider_installation {\n}\n")
        assert machine.ensure() == mirrors[0]
        self.init(machine, mirrors[0])

    def test_the_download_fills_the_plugin_cache_of_the_user(
        self, machine: Machine, real: Path
    ) -> None:
        """The download is a link to the cache, and Terraform refuses to copy that to itself."""
        cache = machine.home / "cache"
        cache.mkdir()
        rules = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{real}"\n  }}\n}}\n'
        machine.configure(f'plugin_cache_dir = "{cache}"\n{rules}')
        mirror = machine.ensure()
        self.init(machine, mirror)
        assert Provider.read(ROOT, machine.environment).is_in(cache)
        machine.configure("")
        (mirror / "registry.terraform.io").rename(machine.home / "gone")
        machine.environment["TF_PLUGIN_CACHE_DIR"] = str(cache)
        assert machine.ensure() == cache
        self.init(machine, cache)

    def test_without_mirror_and_network_one_sentence_says_what_to_set(
        self, machine: Machine
    ) -> None:
        """An implied mirror with another version does not keep Terraform from the download."""
        other = UNPACKED.replace("5.100.0", "6.0.0")
        make_mirror(machine.home / ".terraform.d" / "plugins", other)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]  # refuses connections from here on
        machine.environment["HTTPS_PROXY"] = f"http://127.0.0.1:{port}"
        with pytest.raises(RefusedError) as refused:
            machine.ensure()
        assert str(refused.value).count("\n") == 1
        assert "is in no mirror on this machine, and cannot be downloaded" in refused.value.what
        assert "connection refused" in refused.value.what
        assert f"or set {MIRROR_VARIABLE} to a folder" in refused.value.remedy
        assert list((machine.root / "dist").iterdir()) == []
