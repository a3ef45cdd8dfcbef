"""The resolver of the templates: what it cannot resolve is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tooling.errors import RefusedError
from tooling.resolved_templates import ACCOUNT, REGION, resolve

if TYPE_CHECKING:
    from pathlib import Path

PARENT = """\
Parameters:
  QueueName: {Type: String, Default: events}
Resources:
  ChildStack:
    Type: AWS::CloudFormation::Stack
    Properties:
      Parameters: {Name: !Sub "${NamePrefix}-${QueueName}"}
"""
CHILD = """\
Parameters:
  Name: {Type: String}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Ref Name}
  Policy:
    Type: AWS::SQS::QueuePolicy
    Properties: {Queues: [!Ref Queue], Arn: !GetAtt Queue.Arn, Owner: !VALUE}
"""


def write(folder: Path, value: str) -> Path:
    (folder / "parent.yaml").write_text(PARENT)
    (folder / "child.yaml").write_text(CHILD.replace("!VALUE", value))
    return folder


def test_values_are_passed_down_and_functions_evaluated(tmp_path: Path) -> None:
    stacks = resolve(write(tmp_path, '!Ref "AWS::AccountId"'), {"QueueName": "other"})
    assert stacks["child"].properties("Policy") == {
        "Queues": ["<Queue>"],
        "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:signwatch-other",
        "Owner": ACCOUNT,
    }


@pytest.mark.parametrize("value", ["!Ref Absent", "!Join ['', [a]]", "!GetAtt Absent.Arn", "["])
def test_what_cannot_be_resolved_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        resolve(write(tmp_path, value), {})
