"""Templates read as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.repository import ROOT
from tooling import templates
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path, text: str) -> dict[str, Any]:
    (folder / "x.yaml").write_text(text)
    return templates.load(folder / "x.yaml")


class TestLoad:
    @pytest.mark.parametrize(
        ("short", "long"),
        [
            ("!Ref Topic", {"Ref": "Topic"}),
            ("!Condition HasTopic", {"Condition": "HasTopic"}),
            ("!GetAtt Topic.Arn", {"Fn::GetAtt": ["Topic", "Arn"]}),
            ("!GetAtt Stack.Outputs.Arn", {"Fn::GetAtt": ["Stack", "Outputs.Arn"]}),
            ("!GetAtt [Topic, Arn]", {"Fn::GetAtt": ["Topic", "Arn"]}),
            ("!Sub '${A}-x'", {"Fn::Sub": "${A}-x"}),
            ("!If [Has, !Ref A, !Sub b]", {"Fn::If": ["Has", {"Ref": "A"}, {"Fn::Sub": "b"}]}),
            (
                "!Transform {Name: Include, Parameters: {A: !Ref B}}",
                {"Fn::Transform": {"Name": "Include", "Parameters": {"A": {"Ref": "B"}}}},
            ),
        ],
    )
    def test_short_form_becomes_the_long_form(
        self, tmp_path: Path, short: str, long: dict[str, Any]
    ) -> None:
        assert load(tmp_path, f"A: {short}\n") == {"A": long}

    def test_every_template_of_the_repository_can_be_read(self) -> None:
        for path in (ROOT / "cfn").glob("*.yaml"):
            assert templates.load(path)["Resources"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("A: 1\nB: {C: 1, C: 2}\n", "the key 'C' stands twice"),
            ("A: [1\n", "cannot be read"),
            ("A: !!python/object/apply:os.getcwd []\n", "cannot be read"),
            ("- A\n", "is not a template"),
            ("", "is not a template"),
        ],
    )
    def test_invalid_template_is_refused_with_its_path(
        self, tmp_path: Path, text: str, message: str
    ) -> None:
        with pytest.raises(RefusedError) as refused:
            load(tmp_path, text)
        assert refused.value.where == str(tmp_path / "x.yaml")
        assert message in refused.value.what

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match=r"none\.yaml: cannot be read"):
            templates.load(tmp_path / "none.yaml")

    def test_file_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"A: \xff\n")
        with pytest.raises(RefusedError, match=r"x\.yaml: cannot be read"):
            templates.load(tmp_path / "x.yaml")
