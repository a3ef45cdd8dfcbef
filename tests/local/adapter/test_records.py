"""CloudTrail's part of an event on the local AWS emulator: only where a trail logs; into bucket, log group and history."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import EmulatorAccount, policy, until

if TYPE_CHECKING:
    from tooling.local.emulator import Emulator

pytestmark = [pytest.mark.local]


@pytest.fixture
def laptop(emulator: Emulator) -> EmulatorAccount:
    return EmulatorAccount.on(emulator)


@pytest.mark.parametrize("trail", ["none", "stopped"])
def test_without_a_logging_trail_nothing_is_delivered(laptop: EmulatorAccount, trail: str) -> None:
    """EventBridge user guide, "AWS service events delivered via AWS CloudTrail": a trail must have logging on."""
    queue = laptop.queue()
    laptop.rule("sign-ins", queue.arn, source=["aws.signin", "aws.health"])
    if trail == "stopped":
        laptop.trail(logging=False)
    (answer,) = laptop.emulator.send([laptop.event()])
    assert (answer["delivered"], answer["trails"]) == (False, [])
    assert "trail" in answer["reason"]
    laptop.emulator.send(
        [{**laptop.event(), "source": "aws.health", "detail-type": "AWS Health Event"}]
    )
    assert queue.one()[0]["source"] == "aws.health"


def test_a_record_is_kept_whatever_its_identity_is(laptop: EmulatorAccount) -> None:
    laptop.trail()
    event = laptop.event()
    event["detail"]["userIdentity"] = "nobody knows"
    (answer,) = laptop.emulator.send([event])
    assert answer["delivered"] is True


def test_a_trail_of_all_regions_counts_in_each_region(laptop: EmulatorAccount) -> None:
    """CloudTrail user guide, "Understanding multi-Region trails and opt-in Regions"."""
    laptop.trail(region="us-east-1")
    (answer,) = laptop.emulator.send([laptop.event()])
    assert answer["delivered"]


def test_a_trail_of_another_region_alone_does_not_count(laptop: EmulatorAccount) -> None:
    """CloudTrail user guide, "Understanding multi-Region trails and opt-in Regions"."""
    laptop.trail(region="us-east-1", multi_region=False)
    (answer,) = laptop.emulator.send([laptop.event()])
    assert not answer["delivered"]


def test_a_record_lies_in_the_trails_bucket_and_in_the_history(laptop: EmulatorAccount) -> None:
    """CloudTrail user guide, "Finding your CloudTrail log files"; API reference, LookupEvents."""
    _, bucket = laptop.trail()
    event = laptop.event()
    laptop.emulator.send([event])
    s3 = laptop.client("s3")
    (found,) = s3.list_objects_v2(
        Bucket=bucket, Prefix=f"AWSLogs/{laptop.account}/CloudTrail/eu-west-1/"
    )["Contents"]
    assert found["Key"].endswith(".json.gz")
    body = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    assert json.loads(gzip.decompress(body)) == {"Records": [event["detail"]]}
    asked = [{"AttributeKey": "EventName", "AttributeValue": "ConsoleLogin"}]
    (past,) = laptop.client("cloudtrail").lookup_events(LookupAttributes=asked)["Events"]
    assert json.loads(past["CloudTrailEvent"]) == event["detail"]


def test_a_record_of_another_region_lies_in_the_trails_log_group_at_home(
    laptop: EmulatorAccount,
) -> None:
    """CloudTrail user guide, "Sending events to CloudWatch Logs"."""
    name, _ = laptop.trail()
    laptop.client("logs").create_log_group(logGroupName="trail")
    group = f"arn:aws:logs:eu-west-1:{laptop.account}:log-group:trail:*"
    write = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": group,
    }
    role = laptop.role(write)
    laptop.client("cloudtrail").update_trail(
        Name=name, CloudWatchLogsLogGroupArn=group, CloudWatchLogsRoleArn=role
    )
    event = {**laptop.event(), "region": "us-east-1"}
    laptop.emulator.send([event])
    (line,) = until(lambda: laptop.lines("trail"))
    assert json.loads(line) == event["detail"]


def test_the_bucket_lets_the_trail_alone_write(laptop: EmulatorAccount) -> None:
    """CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail": no statement for it, no log file."""
    _, bucket = laptop.trail()
    s3 = laptop.client("s3")
    other = {
        "Effect": "Allow",
        "Principal": {"AWS": laptop.account},
        "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(other))
    laptop.emulator.send([laptop.event()])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
