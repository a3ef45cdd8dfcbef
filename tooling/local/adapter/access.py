"""Who may do what: the emulator's policy engine, asked as AWS's services ask for themselves and for a role.

Sources: AWS global condition context keys (aws:PrincipalArn), Lambda execution role.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
import secrets
import threading
import time
from typing import Any, NamedTuple

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, sts

GROUP_ITSELF = (
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
)  # calls that want a log group's bare ARN
SESSION_SECONDS = 12 * 3600
_lock = threading.Lock()
_sessions: dict[tuple[str, str], Credentials] = {}
_decisions: set[Decision] = set()


class Decision(NamedTuple):
    """What the policy engine said to a session of a role; ``resource`` is an ARN, or * where the call knows none."""

    account: str
    role: str
    action: str
    resource: str
    allowed: bool


class Credentials(NamedTuple):
    """Temporary credentials of a role session."""

    access_key_id: str
    secret_access_key: str
    session_token: str


def install() -> None:
    """Complete what the emulator's policy engine looks at.

    - aws:PrincipalArn of a role session: the ARN of the session; here that of its role, path included
    - GetParametersByPath: any parameter; here the one that the path names (Systems Manager, actions and resources)
    - calls on a log group: its ARN; here that of what is in it, but for tags (CloudWatch Logs, "CloudWatch Logs
      resources and operations": policies name a group with :* at the end)

    Each decision on a session of a role is remembered, once however often it is made.
    """
    _remember_decisions()
    extract = iam_actions.extract_resource_arn

    def extracted(
        service: str, method: str, path: str, headers: Any, body: bytes, *more: Any
    ) -> Any:
        if service == "ssm" and iam_actions._action_from_target(headers) == "GetParametersByPath":
            named = str(json.loads(body or b"{}").get("Path", "/")).strip("/")
            return f"arn:aws:ssm:{get_region()}:{get_account_id()}:parameter/{named}"
        found = extract(service, method, path, headers, body, *more)
        is_in_group = (
            service == "logs" and iam_actions._action_from_target(headers) not in GROUP_ITSELF
        )
        return f"{found}:log-stream:" if is_in_group and ":log-group:" in str(found) else found

    iam_actions.extract_resource_arn = extracted
    resolve = iam_evaluator._resolve_condition_key

    def resolved(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn" and ":assumed-role/" in context.principal_arn:
            name = iam_evaluator._role_name_from_assumed_arn(context.principal_arn)
            if role := iam._roles.get_scoped(context.principal_arn.split(":")[4], None, name):
                return role["Arn"]
        return resolve(key, context)

    iam_evaluator._resolve_condition_key = resolved


def _remember_decisions() -> None:
    judge = iam_evaluator.enforce

    def judged(
        key: str,
        action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        *more: Any,
        **named: Any,
    ) -> Any:
        refused = judge(key, action, service, region, resource_arn, *more, **named)
        _remember(key, action, resource_arn, allowed=refused is None)
        return refused

    iam_evaluator.enforce = judged


def _remember(key: str, action: str, resource: str, *, allowed: bool) -> None:
    arn = str(sts._sessions.get(key, {}).get("Arn", ""))
    if ":assumed-role/" in arn:
        role = iam_evaluator._role_name_from_assumed_arn(arn)
        with _lock:
            _decisions.add(Decision(arn.split(":")[4], role, action, resource, allowed))


def decisions(account: str) -> list[dict[str, Any]]:
    """Return what was decided on sessions of the roles of this account, each of it once."""
    with _lock:
        return [
            decision._asdict() for decision in sorted(_decisions) if decision.account == account
        ]


def service_may(
    policy: str | dict[str, Any] | None,
    service: str,
    action: str,
    resource: str,
    source_arn: str,
    **keys: str,
) -> bool:
    """Whether a resource's policy lets an AWS service do this for ``source_arn``; ``keys`` are more context keys."""
    context = iam_evaluator.EvalContext(
        principal_arn="",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=get_region(),
        secure_transport=True,
        service_context={
            "aws:sourcearn": source_arn,
            "aws:sourceaccount": get_account_id(),
            **keys,
        },
    )
    answer = iam_evaluator.evaluate_resource_policy(policy or {}, context, service=service)
    return bool(answer.decision == "Allow")


def role_may(role_arn: str, action: str, resource: str) -> bool:
    """Whether a session of the role may do this: its policies within its boundary, and the resource's own policy."""
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)
    key = session(role_arn, "check").access_key_id
    return (
        iam_evaluator.enforce(key, action, action.partition(":")[0], get_region(), resource) is None
    )


def session(role_arn: str, name: str) -> Credentials:
    """Return credentials of a session of the role with this name, the same ones for as long as they are valid."""
    with _lock:
        known = _sessions.get((role_arn, name))
        if (
            known is None
            or sts._sessions.get(known.access_key_id, {}).get("Expiration", 0) < time.time() + 900
        ):
            known = _sessions[role_arn, name] = _begin(role_arn, name)
        return known


def _begin(role_arn: str, name: str) -> Credentials:
    account, role = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    known = iam._roles.get_scoped(account, None, role) or {}
    begun = Credentials(
        f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32)
    )
    sts.register_session(
        begun.access_key_id,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "UserId": f"{known.get('RoleId', 'AROAUNKNOWN')}:{name}",
            "SecretAccessKey": begun.secret_access_key,
            "SessionToken": begun.session_token,
            "Expiration": time.time() + SESSION_SECONDS,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return begun
