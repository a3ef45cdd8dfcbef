"""IAM decisions for AWS services and for sessions of roles, made by the emulator's policy engine.

AWS checks a resource's policy when a service acts on it, and the role's policies when a service
acts as that role. The emulator checks requests to its API only. A role session is what STS gives to
whoever assumes a role: temporary credentials, and an ARN with ":assumed-role/" in it.
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

# Policies on these calls name a log group by its ARN without ":*" at the end.
LOG_GROUP_TAG_ACTIONS = ("TagResource", "UntagResource", "ListTagsForResource")
SESSION_SECONDS = 12 * 3600
RENEW_BEFORE_SECONDS = 900
_lock = threading.Lock()
_sessions: dict[tuple[str, str], Credentials] = {}  # by role ARN and session name
_decisions: set[Decision] = set()


class Decision(NamedTuple):
    """Whether a role's session may do something; ``resource`` is an ARN, or * if there is none."""

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
    """Correct the values that the emulator's policy engine compares, and record its decisions.

    - aws:PrincipalArn of a role session: the role's ARN, with its path; it was the session's
    - resource of GetParametersByPath: the parameter at the path; it was any parameter
      (Systems Manager, actions and resources)
    - resource of calls on a log group, except for tags: the ARN of its content; it was the group's
      (CloudWatch Logs, "CloudWatch Logs resources and operations": policies end in :*)
    """
    _patch_enforce()
    _patch_resource_arns()
    _patch_principal_arns()


def _patch_resource_arns() -> None:
    """Patch the policy engine to see the resource's ARN as AWS sees it; see install()."""
    extract = iam_actions.extract_resource_arn

    def extract_corrected(
        service: str, method: str, path: str, headers: Any, body: bytes, *args: Any
    ) -> Any:
        """Return the ARN of the resource that an API request concerns."""
        action = iam_actions._action_from_target(headers)
        if service == "ssm" and action == "GetParametersByPath":
            parameter = str(json.loads(body or b"{}").get("Path", "/")).strip("/")
            return f"arn:aws:ssm:{get_region()}:{get_account_id()}:parameter/{parameter}"
        arn = extract(service, method, path, headers, body, *args)
        is_on_content = service == "logs" and action not in LOG_GROUP_TAG_ACTIONS
        if is_on_content and ":log-group:" in str(arn):
            return f"{arn}:log-stream:"  # which a policy on the group's ARN with ":*" matches
        return arn

    iam_actions.extract_resource_arn = extract_corrected


def _patch_principal_arns() -> None:
    """Patch the policy engine: aws:PrincipalArn of a role session is the role's ARN."""
    resolve = iam_evaluator._resolve_condition_key

    def resolve_corrected(key: str, context: Any) -> Any:
        """Return the request's value of the condition key ``key``."""
        arn = context.principal_arn
        if key.lower() == "aws:principalarn" and ":assumed-role/" in arn:
            name = iam_evaluator._role_name_from_assumed_arn(arn)
            if role := iam._roles.get_scoped(_account_of(arn), None, name):  # no Region in IAM
                return role["Arn"]
        return resolve(key, context)

    iam_evaluator._resolve_condition_key = resolve_corrected


def _patch_enforce() -> None:
    """Patch the policy engine to record each decision on a request."""
    enforce = iam_evaluator.enforce

    def enforce_and_record(
        access_key_id: str,
        action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return the engine's refusal of the request, or None if it is allowed."""
        refusal = enforce(access_key_id, action, service, region, resource_arn, *args, **kwargs)
        _record(access_key_id, action, resource_arn, allowed=refusal is None)
        return refusal

    iam_evaluator.enforce = enforce_and_record


def _record(access_key_id: str, action: str, resource: str, *, allowed: bool) -> None:
    """Add a decision to the recorded ones, if a role's session made the request."""
    arn = str(sts._sessions.get(access_key_id, {}).get("Arn", ""))
    if ":assumed-role/" in arn:
        role = iam_evaluator._role_name_from_assumed_arn(arn)
        with _lock:
            _decisions.add(Decision(_account_of(arn), role, action, resource, allowed))


def _account_of(arn: str) -> str:
    """Return the account in an ARN: "arn:aws:iam::123456789012:role/x" -> "123456789012"."""
    return arn.split(":")[4]


def list_decisions(account: str) -> list[dict[str, Any]]:
    """Return the recorded decisions on roles of this account, sorted and without repeats."""
    with _lock:
        decisions = sorted(_decisions)
    return [decision._asdict() for decision in decisions if decision.account == account]


def is_service_allowed(
    policy: str | dict[str, Any] | None,
    service: str,
    action: str,
    resource: str,
    source_arn: str,
    **condition_keys: str,
) -> bool:
    """Return whether a resource's policy lets an AWS service act for ``source_arn``.

    ``policy`` is JSON text or what it contains, and ``service`` a name such as
    "events.amazonaws.com". The request has aws:SourceArn, aws:SourceAccount and ``condition_keys``.
    """
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
            **condition_keys,
        },
    )
    answer = iam_evaluator.evaluate_resource_policy(policy or {}, context, service=service)
    return bool(answer.decision == "Allow")


def is_role_allowed(role_arn: str, action: str, resource: str) -> bool:
    """Return whether the role's policies and boundary, and the resource's policy, allow this.

    The decision is recorded like those on requests.
    """
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)  # sets aws:SecureTransport
    access_key_id = get_credentials(role_arn, "check").access_key_id
    service = action.partition(":")[0]  # "sqs:SendMessage" -> "sqs"
    refusal = iam_evaluator.enforce(access_key_id, action, service, get_region(), resource)
    return refusal is None


def get_credentials(role_arn: str, session_name: str) -> Credentials:
    """Return the credentials of the role's session; start it if there is none or it ends soon."""
    with _lock:
        credentials = _sessions.get((role_arn, session_name))
        if credentials is None or _expires_soon(credentials):
            credentials = _start_session(role_arn, session_name)
            _sessions[role_arn, session_name] = credentials
        return credentials


def _expires_soon(credentials: Credentials) -> bool:
    """Return whether the credentials expire within RENEW_BEFORE_SECONDS, or are not known."""
    expiration = sts._sessions.get(credentials.access_key_id, {}).get("Expiration", 0)
    return bool(expiration < time.time() + RENEW_BEFORE_SECONDS)


def _start_session(role_arn: str, session_name: str) -> Credentials:
    """Register a session of the role with the emulator and return its credentials."""
    account, role_name = _account_of(role_arn), role_arn.rpartition("/")[2]
    role = iam._roles.get_scoped(account, None, role_name) or {}  # None: IAM has no Regions
    credentials = Credentials(
        access_key_id=f"ASIA{secrets.token_hex(8).upper()}",
        secret_access_key=secrets.token_hex(20),
        session_token=secrets.token_hex(32),
    )
    sts.register_session(
        credentials.access_key_id,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_name}/{session_name}",
            "UserId": f"{role.get('RoleId', 'AROAUNKNOWN')}:{session_name}",
            "SecretAccessKey": credentials.secret_access_key,
            "SessionToken": credentials.session_token,
            "Expiration": time.time() + SESSION_SECONDS,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return credentials
