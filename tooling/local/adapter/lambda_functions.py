"""Runs Lambda functions as AWS does: real runtime client, as their role, logs in their log group.

The emulator's own workers check neither the role nor the log permissions.
Sources: Lambda developer guide, "Understanding the Lambda execution environment lifecycle",
"Defining Lambda function permissions with an execution role" and "Sending Lambda function logs to
CloudWatch Logs".

``record`` is the emulator's record of a function, and ``configuration`` has the keys of Lambda's
FunctionConfiguration, for one version of the function. A sandbox is one execution environment.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ministack.core.iam_evaluator import pin_request_origin
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch_logs, lambda_svc

from tooling.local.adapter.log_streams import append_to_log_stream
from tooling.local.adapter.permissions import Credentials, get_credentials, is_role_allowed
from tooling.local.adapter.sandbox_pool import Owner, Pool
from tooling.local.sandbox.execution_environment import Result, Sandbox
from tooling.local.sandbox.function import Function, Package

# A change of one of these, or new credentials, needs a new sandbox.
REVISION_KEYS = (
    "CodeSha256",
    "Handler",
    "Timeout",
    "MemorySize",
    "Environment",
    "Layers",
    "Role",
    "LoggingConfig",
    "Version",
)
pool = Pool(max(4, 2 * (os.cpu_count() or 1)))


def install() -> None:
    """Run functions in sandboxes instead of the emulator's own workers."""
    lambda_svc._execute_function_dispatch = run
    lambda_svc.invalidate_worker = close
    atexit.register(pool.kill)


def close(
    name: str,
    qualifier: str | None = None,  # noqa: ARG001 - the emulator's own signature
    account: str | None = None,
    region: str | None = None,
) -> None:
    """Close the function's sandboxes: its code or configuration changed, or it was deleted.

    The emulator calls this; ``account`` and ``region`` are by default those of the request.
    """
    pool.close(Owner(account or get_account_id(), region or get_region(), name))


def run(
    record: dict[str, Any],
    configuration: dict[str, Any],
    event: Any,
    request_id: str,
    _started: float,
) -> dict[str, Any]:
    """Invoke the function and return what the emulator expects.

    That is: the payload ("body") and the log as text ("log"), after an error also "error" (true)
    and "function_error" ("Unhandled").
    """
    owner = Owner(get_account_id(), get_region(), configuration["FunctionName"])
    credentials = get_credentials(configuration["Role"], owner.name)
    pooled = pool.take(
        owner,
        _revision(configuration, credentials),
        lambda: _make_sandbox(record, configuration, owner, credentials),
    )
    try:
        result = pooled.sandbox.invoke(event, request_id)
    finally:
        pool.give_back(pooled)
    _write_log(configuration, result)
    answer = {"body": result.payload, "log": "\n".join(result.log)}
    if result.error:
        answer |= {"error": True, "function_error": result.error}
    return answer


def _revision(configuration: dict[str, Any], credentials: Credentials) -> str:
    """Return a digest of all that a sandbox depends on: if it changes, a new one is needed."""
    values = [configuration.get(key) for key in REVISION_KEYS]
    return hashlib.sha256(json.dumps([values, credentials], sort_keys=True).encode()).hexdigest()


def _make_sandbox(
    record: dict[str, Any],
    configuration: dict[str, Any],
    owner: Owner,
    credentials: Credentials,
) -> Sandbox:
    """Return a new sandbox with the function's code, layers and configuration."""
    layers = [lambda_svc._resolve_layer_zip(layer) for layer in configuration.get("Layers") or ()]
    # The emulator has no zip of an empty layer.
    package = Package(record["code_zip"], [layer for layer in layers if layer])
    function = Function(
        name=owner.name,
        account=owner.account,
        region=owner.region,
        handler=configuration["Handler"],
        version=configuration.get("Version", "$LATEST"),
        memory_mb=int(configuration["MemorySize"]),
        timeout_seconds=float(configuration["Timeout"]),
        environment=_environment(configuration, credentials),
        log_group=_log_group(configuration),
    )
    folder = Path(tempfile.mkdtemp(prefix="function-"))  # the sandbox removes it once it is empty
    return Sandbox(package, function, Path(os.environ["SIGNWATCH_RUNTIME_PYTHON"]), folder)


def _environment(configuration: dict[str, Any], credentials: Credentials) -> dict[str, str]:
    """Return the function's own variables, with the emulator's URL and the role's credentials."""
    variables: dict[str, str] = (configuration.get("Environment") or {}).get("Variables") or {}
    return {
        **variables,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
    }


def _log_group(configuration: dict[str, Any]) -> str:
    """Return the name of the function's log group."""
    log_group = (configuration.get("LoggingConfig") or {}).get("LogGroup")
    return str(log_group or f"/aws/lambda/{configuration['FunctionName']}")


def _write_log(configuration: dict[str, Any], result: Result) -> None:
    """Write the invocation's log to CloudWatch Logs with the permissions of the function's role.

    Like AWS, silently drop it if the role lacks them.
    """
    group, role = _log_group(configuration), configuration["Role"]
    group_arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}"
    stream_arn = f"{group_arn}:log-stream:{result.stream}"
    # Decided as for a request by HTTPS, since policies may deny others (aws:SecureTransport).
    pin_request_origin("127.0.0.1", secure_transport=True)
    is_missing = group not in cloudwatch_logs._log_groups
    if is_missing and is_role_allowed(role, "logs:CreateLogGroup", f"{group_arn}:*"):
        cloudwatch_logs._create_log_group({"logGroupName": group})
    actions = ("logs:CreateLogStream", "logs:PutLogEvents")
    if all(is_role_allowed(role, action, stream_arn) for action in actions):
        append_to_log_stream(group, result.stream, result.log)
