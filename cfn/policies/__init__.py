"""Signwatch's own checkov policies: each holds a fact without which the monitor falls silent.

checkov loads them with --external-checks-dir.
"""

__all__ = [
    "alarm_policies",
    "case_runner",
    "function_policies",
    "installation",
    "policy_base",
    "rule_policies",
    "stack_policies",
    "store_policies",
    "trail_policies",
]
