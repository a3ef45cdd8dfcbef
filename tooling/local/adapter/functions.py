"""Functions run by AWS's own runtime client from the uploaded zips, as their role, with their lines in their log group.

Sources: Lambda developer guide, "Understanding the Lambda execution environment lifecycle", "Defining Lambda function
permissions with an execution role" and "Sending Lambda function logs to CloudWatch Logs".
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

from tooling.local.adapter import access
from tooling.local.adapter.pool import Owner, Pool
from tooling.local.adapter.streams import append
from tooling.local.sandbox.runtime import Function, Package, Result, Sandbox

MADE_OF = (
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
    """Run functions here instead of in the emulator's own workers."""
    lambda_svc._execute_function_dispatch = run
    lambda_svc.invalidate_worker = close
    atexit.register(pool.kill)


def close(
    name: str,
    qualifier: str | None = None,  # noqa: ARG001 - the emulator's own signature
    account: str | None = None,
    region: str | None = None,
) -> None:
    """Close the function's environments: its code or configuration changed, or it is gone."""
    pool.close(Owner(account or get_account_id(), region or get_region(), name))


def run(
    record: dict[str, Any],
    configuration: dict[str, Any],
    event: Any,
    request_id: str,
    _started: float,
) -> dict[str, Any]:
    """Invoke the function that the emulator's ``record`` describes, and return its result in the emulator's terms."""
    owner = Owner(get_account_id(), get_region(), configuration["FunctionName"])
    credentials = access.session(configuration["Role"], owner.name)
    warm = pool.take(
        owner,
        _made_of(configuration, credentials),
        lambda: _sandbox(record, configuration, owner, credentials),
    )
    try:
        result = warm.sandbox.invoke(event, request_id)
    finally:
        pool.give(warm)
    _write_log(configuration, result)
    told = {"body": result.payload, "log": "\n".join(result.log)}
    return {**told, "error": True, "function_error": result.error} if result.error else told


def _made_of(configuration: dict[str, Any], credentials: access.Credentials) -> str:
    parts = [configuration.get(name) for name in MADE_OF]
    return hashlib.sha256(json.dumps([parts, credentials], sort_keys=True).encode()).hexdigest()


def _sandbox(
    record: dict[str, Any],
    configuration: dict[str, Any],
    owner: Owner,
    credentials: access.Credentials,
) -> Sandbox:
    layers = [lambda_svc._resolve_layer_zip(layer) for layer in configuration.get("Layers") or ()]
    function = Function(
        name=owner.name,
        account=owner.account,
        region=owner.region,
        handler=configuration["Handler"],
        version=configuration.get("Version", "$LATEST"),
        memory=int(configuration["MemorySize"]),
        timeout=float(configuration["Timeout"]),
        environment=_environment(configuration, credentials),
        log_group=_log_group(configuration),
    )
    folder = Path(
        tempfile.mkdtemp(prefix="function-")
    )  # the sandbox removes it when it is empty again
    package = Package(record["code_zip"], [layer for layer in layers if layer])
    return Sandbox(package, function, Path(os.environ["SIGNWATCH_RUNTIME_PYTHON"]), folder)


def _environment(configuration: dict[str, Any], credentials: access.Credentials) -> dict[str, str]:
    variables: dict[str, str] = (configuration.get("Environment") or {}).get("Variables") or {}
    return {
        **variables,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
    }


def _log_group(configuration: dict[str, Any]) -> str:
    named = (configuration.get("LoggingConfig") or {}).get("LogGroup")
    return str(named or f"/aws/lambda/{configuration['FunctionName']}")


def _write_log(configuration: dict[str, Any], result: Result) -> None:
    """Lambda writes as the function's role: what the role may not write is lost, and nothing tells."""
    group, role = _log_group(configuration), configuration["Role"]
    arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}"
    pin_request_origin("127.0.0.1", secure_transport=True)
    if group not in cloudwatch_logs._log_groups and access.role_may(
        role, "logs:CreateLogGroup", f"{arn}:*"
    ):
        cloudwatch_logs._create_log_group({"logGroupName": group})
    stream = f"{arn}:log-stream:{result.stream}"
    if all(
        access.role_may(role, action, stream)
        for action in ("logs:CreateLogStream", "logs:PutLogEvents")
    ):
        append(group, result.stream, result.log)
