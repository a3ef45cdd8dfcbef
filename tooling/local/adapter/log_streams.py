"""Writes to CloudWatch Logs for the AWS services that the adapter stands for."""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import threading
import time

from ministack.services import cloudwatch_logs

_lock = threading.Lock()


def append_to_log_stream(group: str, stream: str, messages: list[str]) -> None:
    """Append messages to a stream, which is created if needed.

    Do nothing if the log group does not exist.
    """
    if group not in cloudwatch_logs._log_groups:
        return
    now_ms = int(time.time() * 1000)
    target = {"logGroupName": group, "logStreamName": stream}
    with _lock:
        if stream not in cloudwatch_logs._log_groups[group]["streams"]:
            cloudwatch_logs._create_log_stream(target)
    events = [{"timestamp": now_ms, "message": message} for message in messages]
    cloudwatch_logs._put_log_events({**target, "logEvents": events})
