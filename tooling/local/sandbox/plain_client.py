"""A runtime client for machines without a wheel of AWS's own client (awslambdaric).

The sandbox runs this file by its path, in the folder of the function's code, with the handler's
name as argument. It imports the handler. Then it fetches events from the Runtime API, a local HTTP
server, runs the handler on each and posts the results there. It imports the standard library alone,
and nothing of this repository.
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[Any, "Context"], Any]

# Lambda docs, "Using the Lambda runtime API for custom runtimes"
PATH_PREFIX = "/2018-06-01/runtime"
LOG_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(request_id)s\t%(message)s"


class UnusableHandlerError(Exception):
    """The handler cannot be loaded; ``kind`` is the errorType that Lambda reports."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Context:
    """The handler's second argument (Lambda docs, "Python context object")."""

    def __init__(self, headers: http.client.HTTPMessage) -> None:
        """``headers`` are those of the Runtime API's response that has the event."""
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = None
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function times out."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)


class LogHandler(logging.Handler):
    """Writes log records to standard output, with the id of the current invocation."""

    request_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; the format takes the request id from its attribute."""
        record.request_id = self.request_id
        write_record(self.format(record))


def write_record(text: str) -> None:
    """Write one log record as one line; line breaks inside it become carriage returns."""
    sys.stdout.write(text.replace("\n", "\r") + "\n")
    sys.stdout.flush()


def load_handler(name: str) -> Handler:
    """Import and return the handler called ``module.function``.

    Raises UnusableHandlerError with Lambda's error type, or whatever the import raises.
    """
    module, _, function = name.rpartition(".")
    if not module:
        message = f"Bad handler '{name}': no module in it"
        raise UnusableHandlerError("Runtime.MalformedHandlerName", message)
    try:
        handler: Handler = getattr(importlib.import_module(module.replace("/", ".")), function)
    except ImportError as error:
        kind, why = "Runtime.ImportModuleError", f"Unable to import module '{module}': {error}"
    except SyntaxError as error:
        kind, why = "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module}': {error}"
    except AttributeError:
        kind, why = "Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module}'"
    else:
        return handler
    raise UnusableHandlerError(kind, why)


def log_and_format_error(error: Exception, request_id: str = "") -> dict[str, Any]:
    """Log ``error`` and return it in the format that the Runtime API expects."""
    if isinstance(error, UnusableHandlerError):
        kind, stack_trace = error.kind, []
    else:
        own_frame_and_rest = traceback.format_tb(error.__traceback__)
        kind, stack_trace = type(error).__name__, own_frame_and_rest[1:]
    header = [f"[ERROR] {kind}: {error}", "Traceback (most recent call last):"]
    write_record("\n".join([*header, *"".join(stack_trace).splitlines()]))
    return {
        "errorMessage": str(error),
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": stack_trace,
    }


def call_api(
    api: http.client.HTTPConnection, method: str, path: str, value: object = None
) -> tuple[http.client.HTTPMessage, bytes]:
    """Call the Runtime API and return the response's headers and body.

    ``value`` is the request's body, sent as JSON; a GET has none.
    """
    body = None if method == "GET" else json.dumps(value)
    api.request(method, PATH_PREFIX + path, body)
    response = api.getresponse()
    return response.headers, response.read()


def handle_next_event(api: http.client.HTTPConnection, handler: Handler, log: LogHandler) -> None:
    """Fetch one event, run the handler on it and post its result or its error."""
    headers, event = call_api(api, "GET", "/invocation/next")
    context = Context(headers)
    log.request_id = context.aws_request_id
    try:
        kind, value = "response", handler(json.loads(event), context)
        json.dumps(value)  # raises TypeError here for a value that JSON cannot express
    except Exception as error:  # noqa: BLE001 - whatever the handler raises is the answer
        kind, value = "error", log_and_format_error(error, context.aws_request_id)
    call_api(api, "POST", f"/invocation/{context.aws_request_id}/{kind}", value)


def main(handler_name: str) -> None:
    """Handle events one after another; exit with 1 if the handler cannot be loaded.

    The sandbox ends the loop: it kills the process.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the task root; saves the import of pathlib
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    log = LogHandler()
    log.setFormatter(logging.Formatter(LOG_FORMAT, "%Y-%m-%dT%H:%M:%S"))
    logging.getLogger().addHandler(log)
    try:
        handler = load_handler(handler_name)
    except Exception as error:  # noqa: BLE001 - whatever importing the handler raises is the answer
        call_api(api, "POST", "/init/error", log_and_format_error(error))
        sys.exit(1)
    while True:
        handle_next_event(api, handler, log)


if __name__ == "__main__":
    main(sys.argv[1])
