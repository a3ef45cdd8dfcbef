"""Delivery of CloudTrail records on the local AWS emulator: trail, bucket, log group, history."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import policy, wait_until

if TYPE_CHECKING:
    from tests.support.emulator import EmulatorAccount

pytestmark = [pytest.mark.local]


@pytest.mark.parametrize("trail", ["none", "stopped"])
def test_event_via_cloudtrail_needs_a_logging_trail(account: EmulatorAccount, trail: str) -> None:
    """EventBridge user guide, "AWS service events delivered via AWS CloudTrail"."""
    queue = account.create_queue()
    account.create_rule("sign-ins", queue.arn, source=["aws.signin", "aws.health"])
    if trail == "stopped":
        account.create_trail(logging=False)
    (answer,) = account.emulator.send([account.make_event()])
    assert (answer["delivered"], answer["trails"]) == (False, [])
    assert "trail" in answer["reason"]
    other_event = {"source": "aws.health", "detail-type": "AWS Health Event"}
    account.emulator.send([{**account.make_event(), **other_event}])
    assert queue.wait_for_message()[0]["source"] == "aws.health"


def test_record_with_a_malformed_identity_is_delivered(account: EmulatorAccount) -> None:
    account.create_trail()
    event = account.make_event()
    event["detail"]["userIdentity"] = "nobody knows"
    (answer,) = account.emulator.send([event])
    assert answer["delivered"] is True


def test_multi_region_trail_counts_in_each_region(account: EmulatorAccount) -> None:
    """CloudTrail user guide, "Understanding multi-Region trails and opt-in Regions"."""
    account.create_trail(region="us-east-1")
    (answer,) = account.emulator.send([account.make_event()])
    assert answer["delivered"]


def test_single_region_trail_of_another_region_does_not_count(account: EmulatorAccount) -> None:
    """CloudTrail user guide, "Understanding multi-Region trails and opt-in Regions"."""
    account.create_trail(region="us-east-1", multi_region=False)
    (answer,) = account.emulator.send([account.make_event()])
    assert not answer["delivered"]


def test_record_is_in_the_trails_bucket_and_in_the_history(account: EmulatorAccount) -> None:
    """CloudTrail user guide, "Finding your CloudTrail log files"; API reference, LookupEvents."""
    _, bucket = account.create_trail()
    event = account.make_event()
    account.emulator.send([event])
    s3 = account.client("s3")
    prefix = f"AWSLogs/{account.account_id}/CloudTrail/eu-west-1/"
    (log_file,) = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert log_file["Key"].endswith(".json.gz")
    body = s3.get_object(Bucket=bucket, Key=log_file["Key"])["Body"].read()
    assert json.loads(gzip.decompress(body)) == {"Records": [event["detail"]]}
    filters = [{"AttributeKey": "EventName", "AttributeValue": "ConsoleLogin"}]
    (entry,) = account.client("cloudtrail").lookup_events(LookupAttributes=filters)["Events"]
    assert json.loads(entry["CloudTrailEvent"]) == event["detail"]


def test_record_of_another_region_is_in_the_log_group_of_the_trails_home_region(
    account: EmulatorAccount,
) -> None:
    """CloudTrail user guide, "Sending events to CloudWatch Logs"."""
    name, _ = account.create_trail()
    account.client("logs").create_log_group(logGroupName="trail")
    group = f"arn:aws:logs:eu-west-1:{account.account_id}:log-group:trail:*"
    write = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": group,
    }
    role = account.create_role(write)
    account.client("cloudtrail").update_trail(
        Name=name, CloudWatchLogsLogGroupArn=group, CloudWatchLogsRoleArn=role
    )
    event = {**account.make_event(), "region": "us-east-1"}
    account.emulator.send([event])
    (line,) = wait_until(lambda: account.log_lines("trail"))
    assert json.loads(line) == event["detail"]


def test_trail_needs_the_buckets_policy_to_write(account: EmulatorAccount) -> None:
    """CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail"."""
    _, bucket = account.create_trail()
    s3 = account.client("s3")
    principal, objects = {"AWS": account.account_id}, f"arn:aws:s3:::{bucket}/*"
    allow = {"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": objects}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(allow))
    account.emulator.send([account.make_event()])
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
