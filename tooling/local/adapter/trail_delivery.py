"""Delivers a CloudTrail record: to EventBridge, the trail's bucket and log group, the history.

AWS does so only where a trail logs; the emulator records its own API calls only.
Sources: EventBridge user guide, "AWS service events delivered via AWS CloudTrail"; CloudTrail user
guide, "Finding your CloudTrail log files", "Sending events to CloudWatch Logs" and "CloudTrail
userIdentity element".
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

from tooling.local.adapter.event_bus import dispatch
from tooling.local.adapter.log_streams import append_to_log_stream
from tooling.local.adapter.permissions import is_role_allowed, is_service_allowed
from tooling.local.adapter.subscription_filters import delay_seconds

NO_TRAIL = "no trail logs in this account and Region"
# About as late as on AWS ("Sending events to CloudWatch Logs"), for subscription filters alone.
TRAIL_DELAY_SECONDS = 300.0


def deliver(event: dict[str, Any]) -> dict[str, Any]:
    """Emit a whole EventBridge event in the account and Region that it names.

    An event "via CloudTrail" needs a logging trail of its Region or of all Regions; its detail is
    the CloudTrail record. For tests, ``event["emulator"]`` may have ``{"bus": False}``, with which
    the bus loses the event, and ``{"trail_delay_seconds": 0}``. Returns ``delivered``, the
    ``reason`` if it is not, and ``trails``: the ARNs of the trails that recorded it.
    """
    account, region = str(event["account"]), str(event["region"])
    options = event.pop("emulator", {})
    delay_seconds.set(float(options.get("trail_delay_seconds", TRAIL_DELAY_SECONDS)))
    with request_scope(account, region):
        pin_request_origin("127.0.0.1", secure_transport=True)  # sets aws:SecureTransport
        eventbridge._ensure_default_bus()
        trails = []
        if str(event["detail-type"]).endswith("via CloudTrail"):
            items = cloudtrail._visible_trail_items()  # each has home Region, name and trail
            trails = [trail for _region, _name, trail in items if trail.get("IsLogging")]
            if not trails:
                return {"delivered": False, "reason": NO_TRAIL, "trails": []}
            _write_record(event["detail"], trails, account, region)
        if options.get("bus", True):
            _emit(event, account, region)
    return {"delivered": True, "reason": "", "trails": [trail["TrailARN"] for trail in trails]}


def _emit(event: dict[str, Any], account: str, region: str) -> None:
    """Send the event to the rules of the default bus."""
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


def _write_record(
    record: dict[str, Any], trails: list[dict[str, Any]], account: str, region: str
) -> None:
    """Write the record to the event history, and to the bucket and log group of each trail."""
    cloudtrail._get_event_queue().append(_history_entry(record))
    for trail in trails:
        _write_to_bucket(trail, record, account, region)
        if trail.get("CloudWatchLogsLogGroupArn"):
            with request_scope(account, trail["HomeRegion"]):
                _write_to_log_group(trail, record, account)


def _history_entry(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record as an entry of CloudTrail's event history, which LookupEvents returns."""
    identity = record.get("userIdentity")
    if not isinstance(identity, dict):  # a record may hold anything there
        identity = {}
    return {
        "EventId": record.get("eventID", ""),
        "EventName": record.get("eventName", ""),
        "EventSource": record.get("eventSource", ""),
        "EventTime": time.time(),
        "Username": identity.get("userName", ""),
        "AccessKeyId": identity.get("accessKeyId", ""),
        "ReadOnly": str(record.get("readOnly", False)).lower(),
        "Resources": [],
        "CloudTrailEvent": json.dumps(record),
    }


def _write_to_log_group(trail: dict[str, Any], record: dict[str, Any], account: str) -> None:
    """Write the record to the trail's log group with the permissions of the trail's role.

    Like AWS, silently drop it if the role lacks them.
    """
    group_arn = str(trail["CloudWatchLogsLogGroupArn"]).removesuffix(":*")
    stream = f"{account}_CloudTrail_{trail['HomeRegion']}"
    role, stream_arn = trail["CloudWatchLogsRoleArn"], f"{group_arn}:log-stream:{stream}"
    actions = ("logs:CreateLogStream", "logs:PutLogEvents")
    if all(is_role_allowed(role, action, stream_arn) for action in actions):
        group = group_arn.partition(":log-group:")[2]
        append_to_log_stream(group, stream, [json.dumps(record)])


def _write_to_bucket(
    trail: dict[str, Any], record: dict[str, Any], account: str, region: str
) -> None:
    """Write the record to a new object; like AWS, drop it if the bucket's policy does not allow it.

    The object's key is the one that CloudTrail gives its log files.
    """
    now, suffix = datetime.now(UTC), new_uuid().replace("-", "")[:16]
    prefix = str(trail.get("S3KeyPrefix") or "").strip("/")
    folder = f"{prefix}/AWSLogs/{account}/CloudTrail/{region}/{now:%Y/%m/%d}".lstrip("/")
    key = f"{folder}/{account}_CloudTrail_{region}_{now:%Y%m%dT%H%MZ}_{suffix}.json.gz"
    bucket = trail["S3BucketName"]
    policy, arn = s3._bucket_policies.get(bucket), f"arn:aws:s3:::{bucket}/{key}"
    acl = {"s3:x-amz-acl": "bucket-owner-full-control"}
    service, action = "cloudtrail.amazonaws.com", "s3:PutObject"
    if is_service_allowed(policy, service, action, arn, trail["TrailARN"], **acl):
        body = gzip.compress(json.dumps({"Records": [record]}).encode(), mtime=0)
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        s3._put_object(bucket, key, body, headers)
