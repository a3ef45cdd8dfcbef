"""The Service Authorization Reference: actions, resources and condition keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tooling.checks.authorization_reference import (
    Reference,
    can_match,
    covers_all,
    patterns_overlap,
)
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.joint
class TestReference:
    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("sqs:TagQueue", {"sqs:TagQueue"}),
            ("SQS:tagqueue", {"sqs:TagQueue"}),
            ("sqs:*agQueue", {"sqs:TagQueue", "sqs:UntagQueue"}),
            ("sqs:TagQueu", set()),
            ("sqss:TagQueue", set()),
        ],
    )
    def test_pattern_stands_for_actions_in_any_case(
        self, pattern: str, names: set[str], reference: Reference
    ) -> None:
        assert {action.name for action in reference.expand(pattern)} == names

    def test_asterisk_stands_for_the_actions_of_every_service(self, reference: Reference) -> None:
        assert {"sqs:TagQueue", "iam:PassRole"} <= {one.name for one in reference.expand("*")}

    @pytest.mark.parametrize(
        ("action", "key", "is_known"),
        [
            ("sts:AssumeRoleWithWebIdentity", "token.actions.githubusercontent.com:sub", True),
            ("sts:AssumeRoleWithWebIdentity", "token.actions.githubusercontent.com:subject", False),
            ("sts:AssumeRole", "token.actions.githubusercontent.com:sub", False),
            ("sts:AssumeRole", "sts:ExternalId", True),
            ("sts:AssumeRole", "aws:PrincipalTag/team", True),
            ("sqs:SendMessage", "aws:SourceArn", True),
            ("sqs:SendMessage", "aws:SourceArns", False),
            ("kms:Decrypt", "kms:EncryptionContext:aws:cloudtrail:arn", True),
            ("kms:TagResource", "aws:RequestTag/", False),
        ],
    )
    def test_condition_key_of_an_action(
        self, action: str, key: str, is_known: bool, reference: Reference
    ) -> None:
        (known,) = reference.expand(action)
        assert known.has_condition_key(key) is is_known

    @pytest.mark.parametrize(
        ("action", "sets_tags"),
        [("s3:PutBucketTagging", True), ("kms:UntagResource", False), ("kms:Decrypt", False)],
    )
    def test_action_that_sets_tags(
        self, action: str, sets_tags: bool, reference: Reference
    ) -> None:
        (known,) = reference.expand(action)
        assert known.sets_tags is sets_tags

    @pytest.mark.parametrize(
        ("name", "exists"),
        [
            ("lambda.amazonaws.com", True),
            ("delivery.logs.amazonaws.com", True),
            ("logs.eu-central-1.amazonaws.com", True),
            ("lamda.amazonaws.com", False),
            ("lambda.amazonaw.com", False),
        ],
    )
    def test_service_principal(self, name: str, exists: bool, reference: Reference) -> None:
        assert reference.has_service_principal(name) is exists


def test_environment_without_the_data_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is not in the scan environment"):
        Reference.load(tmp_path / "bin" / "python")


@pytest.mark.parametrize(
    ("arn_format", "arn", "matches"),
    [
        ("arn:${Partition}:s3:::${BucketName}", "arn:aws:s3:::x-*", True),
        ("arn:${Partition}:s3:::${BucketName}", "arn:aws:s3:::x/*", False),
        ("arn:${Partition}:s3:::${BucketName}/${ObjectName}", "arn:aws:s3:::x/*", True),
        ("arn:${Partition}:s3:::${BucketName}/${ObjectName}", "arn:aws:s3:::x", False),
        ("arn:${Partition}:sns:${Region}:${Account}:${TopicName}", "arn:aws:sns:*:1:x", True),
        ("arn:${Partition}:sns:${Region}:${Account}:${TopicName}", "arn:aws:sns::1:x", False),
        ("arn:${Partition}:sns:${Region}:${Account}:${TopicName}", "arn:aws:sns:*:x", False),
        ("arn:${Partition}:sns:${Region}:${Account}:${TopicName}", "arn:aws:sns:*:1:x:y", False),
        (
            "arn:${Partition}:logs:::log-group:${X}:log-stream:${Y}",
            "arn:aws:logs:::log-group:x:*",
            True,
        ),
        (
            "arn:${Partition}:logs:::log-group:${X}:log-stream:${Y}",
            "arn:aws:logs:::log-group:x:log-streams:y*",
            False,
        ),
        ("arn:${Partition}:iam::${Account}:role/${RoleName}", "arn:aws:iam::1:user/x", False),
    ],
)
def test_arn_format_and_pattern_match_the_same_arn(
    arn_format: str, arn: str, matches: bool
) -> None:
    assert can_match(arn_format, arn) is matches


@pytest.mark.parametrize(
    ("arn", "covers"),
    [
        ("*", True),
        ("arn:aws:kms:x:1:*", True),
        ("arn:aws:kms:x:1:key/*", True),
        ("arn:aws:kms:x:1:key/a*", False),
    ],
)
def test_pattern_covers_every_resource_of_a_type(arn: str, covers: bool) -> None:
    assert covers_all("arn:${Partition}:kms:${Region}:${Account}:key/${KeyId}", arn) is covers


@pytest.mark.parametrize(
    ("first", "second", "overlaps"),
    [
        ("abc", "abc", True),
        ("abc", "abd", False),
        ("a*", "*c", True),
        ("a*b", "a*c", False),
        ("a?c", "abc", True),
        ("", "*", True),
        ("", "?*", False),
        ("", "a", False),
        ("arn:*:s3:::*", "arn:aws:s3:::x-*-trailbucket-*", True),
    ],
)
def test_patterns_overlap_where_a_text_matches_both(
    first: str, second: str, overlaps: bool
) -> None:
    assert patterns_overlap(first, second) is overlaps
    assert patterns_overlap(second, first) is overlaps
