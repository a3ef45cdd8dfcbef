"""Uploads: only missing files, verified by checksum, never over an object of somebody else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws import ACCOUNT, S3, account, checksum, client_error
from tooling.deploy.package import ArtifactKey
from tooling.deploy.upload import File, _select_missing, choose_key, upload
from tooling.errors import FailedError

if TYPE_CHECKING:
    from pathlib import Path

BUCKET, KEY = "artifacts", "function/1.zip"


@pytest.fixture
def file(tmp_path: Path) -> File:
    (tmp_path / "1.zip").write_bytes(b"ours")
    return File(tmp_path / "1.zip", BUCKET, KEY)


def run(s3: S3, *files: File) -> tuple[int, list[str]]:
    """Upload the files that are missing; return how many, and the lines shown."""
    lines: list[str] = []
    missing = _select_missing(account(s3=s3), files)
    upload(account(s3=s3), missing, announce=lines.append)
    return len(missing), lines


class TestUpload:
    def test_new_file_is_put_with_its_checksum_and_only_where_there_is_none(
        self, file: File
    ) -> None:
        s3 = S3()
        count, lines = run(s3, file)
        (request,) = s3.uploads
        assert count == 1
        assert (request["Bucket"], request["Key"], request["Body"]) == (BUCKET, KEY, b"ours")
        assert (request["ChecksumSHA256"], request["IfNoneMatch"]) == (checksum(b"ours"), "*")
        assert request["ExpectedBucketOwner"] == ACCOUNT
        assert len(lines) == 1
        assert KEY in lines[0]
        assert BUCKET in lines[0]

    def test_object_with_the_same_bytes_is_left_alone_silently(self, file: File) -> None:
        s3 = S3({(BUCKET, KEY): checksum(b"ours")})
        assert run(s3, file) == (0, [])
        assert s3.uploads == []

    @pytest.mark.parametrize(
        "stored", [checksum(b"theirs"), None], ids=["other bytes", "no checksum"]
    )
    def test_object_with_other_bytes_is_refused(self, file: File, stored: str | None) -> None:
        s3 = S3({(BUCKET, KEY): stored})
        with pytest.raises(FailedError, match=r"s3://artifacts/function/1\.zip: was changed in"):
            run(s3, file)
        assert s3.uploads == []

    def test_only_missing_files_are_uploaded(self, file: File, tmp_path: Path) -> None:
        (tmp_path / "2.zip").write_bytes(b"more")
        s3 = S3({(BUCKET, KEY): checksum(b"ours")})
        count, _ = run(s3, file, File(tmp_path / "2.zip", BUCKET, "layer/2.zip"))
        assert count == 1
        assert [request["Key"] for request in s3.uploads] == ["layer/2.zip"]

    def test_same_bytes_uploaded_by_somebody_at_the_same_time_are_accepted(
        self, file: File
    ) -> None:
        s3 = S3()
        s3.before_put = lambda: s3.checksums.update({(BUCKET, KEY): checksum(b"ours")})
        assert run(s3, file)[0] == 1
        assert s3.checksums == {(BUCKET, KEY): checksum(b"ours")}

    def test_other_bytes_uploaded_by_somebody_at_the_same_time_are_refused(
        self, file: File
    ) -> None:
        s3 = S3()
        s3.before_put = lambda: s3.checksums.update({(BUCKET, KEY): checksum(b"theirs")})
        with pytest.raises(FailedError, match="was changed in the bucket"):
            run(s3, file)
        assert s3.checksums == {(BUCKET, KEY): checksum(b"theirs")}

    @pytest.mark.parametrize("call", ["head_object", "put_object"])
    def test_another_error_of_s3_is_raised(
        self, file: File, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def deny(*_: Any, **__: Any) -> None:
            raise client_error("AccessDenied")

        monkeypatch.setattr(S3, call, deny)
        with pytest.raises(ClientError, match="AccessDenied"):
            run(S3(), file)


def key(variant: str, content: bytes, digest: str = "0" * 32) -> ArtifactKey:
    return ArtifactKey("function", digest, variant, hashlib.sha256(content).hexdigest())


OURS = key("plain", b"ours")
THEIRS = key("plain", b"theirs")  # from another machine, whose zlib gives other bytes
OURS_COMPILED = key("cp314", b"ours")
THEIRS_COMPILED = key("cp314", b"theirs")
OTHER_INPUTS = key("cp314", b"theirs", digest="1" * 32)


class TestChooseKey:
    def choose(self, built: ArtifactKey, live: ArtifactKey | str, *stored: ArtifactKey) -> str:
        checksums: dict[tuple[str, str], str | None] = {}
        for stored_key in stored:
            content = b"ours" if stored_key.sha256 == OURS.sha256 else b"theirs"
            checksums[BUCKET, str(stored_key)] = checksum(content)
        return choose_key(account(s3=S3(checksums)), BUCKET, built, str(live))

    def test_without_any_other_the_built_one_is_chosen(self) -> None:
        assert self.choose(OURS, "") == str(OURS)

    @pytest.mark.parametrize(("built", "live"), [(OURS, THEIRS), (OURS_COMPILED, THEIRS_COMPILED)])
    def test_live_one_is_kept_when_inputs_are_equal_though_bytes_differ(
        self, built: ArtifactKey, live: ArtifactKey
    ) -> None:
        assert self.choose(built, live, built, live) == str(live)

    def test_new_inputs_get_a_new_key(self) -> None:
        assert self.choose(OURS, OTHER_INPUTS, OTHER_INPUTS) == str(OURS)

    def test_stored_one_that_is_not_live_is_not_taken_for_the_built_one(self) -> None:
        assert self.choose(OURS, OTHER_INPUTS, OTHER_INPUTS, THEIRS) == str(OURS)

    def test_live_one_that_is_gone_from_the_bucket_is_replaced(self) -> None:
        assert self.choose(OURS, THEIRS) == str(OURS)

    @pytest.mark.parametrize("live", ["", THEIRS, OURS])
    def test_plain_one_gives_way_to_a_stored_one_with_byte_code(
        self, live: ArtifactKey | str
    ) -> None:
        assert self.choose(OURS, live, OURS, THEIRS, THEIRS_COMPILED) == str(THEIRS_COMPILED)

    def test_of_several_with_byte_code_the_live_one_is_kept(self) -> None:
        stored = (OURS_COMPILED, THEIRS_COMPILED)
        assert {self.choose(OURS, live, *stored) for live in stored} == set(map(str, stored))

    def test_byte_code_is_deployed_in_place_of_a_live_plain_one(self) -> None:
        assert self.choose(OURS_COMPILED, THEIRS, THEIRS) == str(OURS_COMPILED)

    @pytest.mark.parametrize("text", ["function/1-plain.zip", f"function/{'0' * 32}-cp314.zip"])
    def test_key_of_an_earlier_form_is_not_kept(self, text: str) -> None:
        s3 = S3({(BUCKET, text): checksum(b"theirs")})
        assert choose_key(account(s3=s3), BUCKET, OURS, text) == str(OURS)

    @pytest.mark.parametrize(
        ("live", "stored"), [(THEIRS, THEIRS), ("", THEIRS_COMPILED)], ids=["live", "byte-code"]
    )
    @pytest.mark.parametrize("content", [b"changed", None], ids=["other bytes", "no checksum"])
    def test_artifact_that_was_changed_in_the_bucket_is_refused(
        self, live: ArtifactKey | str, stored: ArtifactKey, content: bytes | None
    ) -> None:
        s3 = S3({(BUCKET, str(stored)): checksum(content) if content else None})
        with pytest.raises(FailedError) as failure:
            choose_key(account(s3=s3), BUCKET, OURS, str(live))
        assert failure.value.where == f"s3://{BUCKET}/{stored}"
        assert failure.value.what.startswith("was changed in the bucket: its content is not what")
        assert "delete that object" in failure.value.remedy
