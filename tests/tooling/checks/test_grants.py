"""grants: the findings with their reviews, and a repository that cannot be read."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tooling.checks import grants
from tooling.checks.iam_policies import Collection
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from tooling.checks.authorization_reference import Reference

pytestmark = pytest.mark.joint


class TestReviews:
    REASON = "The reference's data is older than this action."

    def test_reviewed_finding_is_accepted(self) -> None:
        reviewed = [{"reason": self.REASON, "findings": ["a: x"]}]
        assert list(grants.apply_reviews(["a: x", "b: x"], reviewed)) == ["b: x"]

    def test_review_without_a_reason_is_a_finding(self) -> None:
        (found,) = grants.apply_reviews(["a: x"], [{"reason": "short", "findings": ["a: x"]}])
        assert found.endswith("no reason of at least 20 characters: a: x")

    def test_review_that_no_finding_uses_is_a_finding(self) -> None:
        reviewed = [{"reason": self.REASON, "findings": ["a: x"]}]
        (found,) = grants.apply_reviews([], reviewed)
        assert found == f"{grants.REVIEWED_GRANTS}: found no longer, delete it: a: x"


def test_role_in_a_form_that_is_unknown_is_refused(tmp_path: Path, reference: Reference) -> None:
    for path in (grants.REVIEWED_GRANTS, grants.HANDLER_PERMISSIONS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "cfn").mkdir()
    template = "Parameters: {}\nResources: {Role: {Type: 'AWS::IAM::Role', Properties: {}}}\n"
    (tmp_path / "cfn" / "parent.yaml").write_text(template)
    with pytest.raises(RefusedError, match="has an unknown form"):
        grants.check_repository(tmp_path, Collection((), ()), reference)
