"""Uploads: only what is not there yet, checked by checksum, and never over what somebody else put there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws import ACCOUNT, Objects, account, checksum, client_error
from tooling.deploy.upload import File, newest_variant, upload
from tooling.errors import FailedError

if TYPE_CHECKING:
    from pathlib import Path

BUCKET, KEY = "artifacts", "function/1.zip"


@pytest.fixture
def file(tmp_path: Path) -> File:
    (tmp_path / "1.zip").write_bytes(b"ours")
    return File(tmp_path / "1.zip", BUCKET, KEY)


def run(s3: Any, *files: File) -> tuple[int, list[str]]:
    said: list[str] = []
    return upload(account(s3=s3), files, announce=said.append), said


class TestUpload:
    def test_a_new_file_is_put_with_its_checksum_and_only_where_nothing_is(
        self, file: File
    ) -> None:
        s3 = Objects()
        count, said = run(s3, file)
        (asked,) = s3.uploads
        assert count == 1
        assert (asked["Bucket"], asked["Key"], asked["Body"]) == (BUCKET, KEY, b"ours")
        assert (asked["ChecksumSHA256"], asked["IfNoneMatch"]) == (checksum(b"ours"), "*")
        assert asked["ExpectedBucketOwner"] == ACCOUNT
        assert len(said) == 1
        assert KEY in said[0]
        assert BUCKET in said[0]

    def test_what_is_there_with_the_same_bytes_is_left_alone_without_a_word(
        self, file: File
    ) -> None:
        s3 = Objects({(BUCKET, KEY): checksum(b"ours")})
        assert run(s3, file) == (0, [])
        assert s3.uploads == []

    @pytest.mark.parametrize(
        "stored", [checksum(b"theirs"), None], ids=["other bytes", "no checksum"]
    )
    def test_an_object_that_cannot_be_ours_is_refused(self, file: File, stored: str | None) -> None:
        s3 = Objects({(BUCKET, KEY): stored})
        with pytest.raises(FailedError, match=r"s3://artifacts/function/1\.zip: holds other bytes"):
            run(s3, file)
        assert s3.uploads == []

    def test_only_the_missing_ones_of_several_are_uploaded(
        self, file: File, tmp_path: Path
    ) -> None:
        (tmp_path / "2.zip").write_bytes(b"more")
        s3 = Objects({(BUCKET, KEY): checksum(b"ours")})
        count, _ = run(s3, file, File(tmp_path / "2.zip", BUCKET, "layer/2.zip"))
        assert count == 1
        assert [asked["Key"] for asked in s3.uploads] == ["layer/2.zip"]

    def test_somebody_who_uploads_the_same_at_the_same_time_does_no_harm(self, file: File) -> None:
        s3 = Objects()
        s3.before_put = lambda: s3.stored.update({(BUCKET, KEY): checksum(b"ours")})
        assert run(s3, file)[0] == 1
        assert s3.stored == {(BUCKET, KEY): checksum(b"ours")}

    def test_somebody_who_uploads_other_bytes_at_the_same_time_is_found_out(
        self, file: File
    ) -> None:
        s3 = Objects()
        s3.before_put = lambda: s3.stored.update({(BUCKET, KEY): checksum(b"theirs")})
        with pytest.raises(FailedError, match="holds other bytes"):
            run(s3, file)
        assert s3.stored == {(BUCKET, KEY): checksum(b"theirs")}

    @pytest.mark.parametrize("call", ["head_object", "put_object"])
    def test_any_other_answer_of_s3_is_not_taken_for_an_absent_or_present_object(
        self, file: File, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def denied(*_: Any, **__: Any) -> None:
            raise client_error("AccessDenied")

        monkeypatch.setattr(Objects, call, denied)
        with pytest.raises(ClientError, match="AccessDenied"):
            run(Objects(), file)


class TestNewestVariant:
    def variant(self, *keys: str) -> str:
        return newest_variant(
            account(s3=Objects(dict.fromkeys(((BUCKET, key) for key in keys), "x"))),
            BUCKET,
            "function/1-plain.zip",
        )

    def test_a_byte_code_variant_of_the_same_inputs_is_preferred(self) -> None:
        assert (
            self.variant("function/1-plain.zip", "function/1-cp314.zip") == "function/1-cp314.zip"
        )

    def test_a_variant_of_other_inputs_does_not_count(self) -> None:
        assert (
            self.variant("function/2-cp314.zip", "function/12-cp314.zip") == "function/1-plain.zip"
        )

    def test_without_any_the_own_key_stands(self) -> None:
        assert self.variant() == "function/1-plain.zip"

    def test_a_byte_code_variant_of_our_own_is_not_given_up_for_a_stranger(self) -> None:
        s3 = Objects({(BUCKET, "function/1-cp999.zip"): "x"})
        assert (
            newest_variant(account(s3=s3), BUCKET, "function/1-cp314.zip") == "function/1-cp314.zip"
        )
