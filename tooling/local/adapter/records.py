"""CloudTrail's part of an event: it reaches EventBridge, the trail's bucket and log group only where a trail logs.

Sources: EventBridge user guide, "AWS service events delivered via AWS CloudTrail"; CloudTrail user guide, "Finding
your CloudTrail log files", "Sending events to CloudWatch Logs" and "CloudTrail userIdentity element".
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from typing import Any

from ministack.core.iam_evaluator import pin_request_origin
from ministack.core.responses import new_uuid, request_scope
from ministack.services import cloudtrail, eventbridge, s3

from tooling.local.adapter.access import role_may, service_may
from tooling.local.adapter.events import dispatch
from tooling.local.adapter.streams import append

NO_TRAIL = "no trail logs in this account and Region"


def deliver(event: dict[str, Any]) -> dict[str, Any]:
    """Let AWS emit a whole EventBridge event in the account and Region that it names.

    Return ``delivered`` and ``reason``, and in ``trails`` the ARNs of the trails that recorded it. An event "via
    CloudTrail" needs a trail that logs: of this Region, or of all Regions.
    """
    account, region = str(event["account"]), str(event["region"])
    with request_scope(account, region):
        pin_request_origin("127.0.0.1", secure_transport=True)
        eventbridge._ensure_default_bus()
        trails = []
        if str(event["detail-type"]).endswith("via CloudTrail"):
            trails = [
                trail for _, _, trail in cloudtrail._visible_trail_items() if trail.get("IsLogging")
            ]
            if not trails:
                return {"delivered": False, "reason": NO_TRAIL, "trails": []}
            _record(event["detail"], trails, account, region)
        _emit(event, account, region)
    return {"delivered": True, "reason": "", "trails": [trail["TrailARN"] for trail in trails]}


def _emit(event: dict[str, Any], account: str, region: str) -> None:
    dispatch(
        {
            "EventId": event["id"],
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
            "EventBusName": "default",
            "Time": event["time"],
            "Resources": event.get("resources", []),
            "Account": account,
            "Region": region,
        }
    )


def _record(
    record: dict[str, Any], trails: list[dict[str, Any]], account: str, region: str
) -> None:
    cloudtrail._get_event_queue().append(_history(record))
    for trail in trails:
        _to_bucket(trail, record, account, region)
        if trail.get("CloudWatchLogsLogGroupArn"):
            with request_scope(account, trail["HomeRegion"]):
                _to_log_group(trail, record, account)


def _history(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record as LookupEvents answers it."""
    told = record.get("userIdentity")
    who = told if isinstance(told, dict) else {}  # a record may hold anything there
    return {
        "EventId": record.get("eventID", ""),
        "EventName": record.get("eventName", ""),
        "EventSource": record.get("eventSource", ""),
        "EventTime": time.time(),
        "Username": who.get("userName", ""),
        "AccessKeyId": who.get("accessKeyId", ""),
        "ReadOnly": str(record.get("readOnly", False)).lower(),
        "Resources": [],
        "CloudTrailEvent": json.dumps(record),
    }


def _to_log_group(trail: dict[str, Any], record: dict[str, Any], account: str) -> None:
    """CloudTrail writes as the trail's role; what the role may not write is lost."""
    group = str(trail["CloudWatchLogsLogGroupArn"]).removesuffix(":*")
    stream = f"{account}_CloudTrail_{trail['HomeRegion']}"
    actions = ("logs:CreateLogStream", "logs:PutLogEvents")
    if all(
        role_may(trail["CloudWatchLogsRoleArn"], action, f"{group}:log-stream:{stream}")
        for action in actions
    ):
        append(group.partition(":log-group:")[2], stream, [json.dumps(record)])


def _to_bucket(trail: dict[str, Any], record: dict[str, Any], account: str, region: str) -> None:
    now = datetime.now(UTC)
    prefix = str(trail.get("S3KeyPrefix") or "").strip("/")
    folder = f"{prefix}/AWSLogs".lstrip("/")
    name = f"{account}_CloudTrail_{region}_{now:%Y%m%dT%H%MZ}_{new_uuid().replace('-', '')[:16]}.json.gz"
    body = gzip.compress(json.dumps({"Records": [record]}).encode(), mtime=0)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    bucket, key = (
        trail["S3BucketName"],
        f"{folder}/{account}/CloudTrail/{region}/{now:%Y/%m/%d}/{name}",
    )
    arn, keys = f"arn:aws:s3:::{bucket}/{key}", {"s3:x-amz-acl": "bucket-owner-full-control"}
    policy = s3._bucket_policies.get(bucket)
    if service_may(
        policy, "cloudtrail.amazonaws.com", "s3:PutObject", arn, trail["TrailARN"], **keys
    ):
        s3._put_object(bucket, key, body, headers)
