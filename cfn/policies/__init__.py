"""Signwatch's own checkov policies: what keeps the monitor alive. checkov loads them with --external-checks-dir."""

__all__ = [
    "alarm_policies",
    "case_runner",
    "function_policies",
    "monitor_policy",
    "monitor_site",
    "rule_policies",
    "stack_policies",
    "store_policies",
    "trail_policies",
]
