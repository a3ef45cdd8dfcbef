"""Identity Center's identity stores, which the emulator does not have: CreateUser and DescribeUser.

Sources: Identity Store API Reference, CreateUser, DescribeUser and common errors; Service
Authorization Reference, AWS Identity Store: each call needs the store and the user as resources.
"""

# mypy: disable-error-code="import-untyped"
# The emulator ships no types.
from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from ministack import app
from ministack.core import iam_evaluator
from ministack.core.responses import (
    get_account_id,
    get_region,
    set_request_account_id,
    set_request_region,
)
from ministack.core.router import extract_access_key_id, extract_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A request names its operation in the header X-Amz-Target: "AWSIdentityStore.CreateUser".
SERVICE, TARGET_PREFIX = "identitystore", b"AWSIdentityStore."
STORE_ID = re.compile(r"d-[0-9a-f]{10}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
USER_ID = re.compile(r"([0-9a-f]{10}-)?[A-Fa-f0-9]{8}(-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12}")
USER_NAME = re.compile(r"\S{1,128}")

Headers = list[tuple[bytes, bytes]]
Response = tuple[int, dict[str, Any]]


class UserKey(NamedTuple):
    """Identifies a user; a store belongs to one account and one Region."""

    account: str
    region: str
    store_id: str
    user_id: str


_users: dict[UserKey, dict[str, Any]] = {}


class RefusedRequestError(Exception):
    """The request is refused with ``response``; ``code`` is AWS's name of the error."""

    def __init__(self, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.response: Response = (400, {"__type": code, "Message": message, **details})


def parse_operation(headers: Headers) -> str:
    """Return the identity store operation that the request names; empty for any other request."""
    target = dict(headers).get(b"x-amz-target", b"")
    return target.removeprefix(TARGET_PREFIX).decode() if target.startswith(TARGET_PREFIX) else ""


def respond(headers: Headers, body: bytes) -> Response:
    """Handle a request in the account and Region of its signer; return the status and the content.

    ``headers`` are pairs of name and value, as ASGI passes them.
    """
    handlers = {"CreateUser": _create_user, "DescribeUser": _describe_user}
    try:
        _set_request_context(headers, body)
        handle = handlers.get(parse_operation(headers), _refuse_operation)
        return 200, handle(headers, _parse(body))
    except RefusedRequestError as error:
        return error.response


def _set_request_context(headers: Headers, body: bytes) -> None:
    """Set the account and Region of this thread to those of the signer.

    Also pass the request to the policy engine, whose signature check ``_authorize`` calls.
    """
    header_values = _decode(headers)
    set_request_account_id(app._request_account_scope(extract_access_key_id(header_values)))
    set_request_region(extract_region(header_values))
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)  # sets aws:SecureTransport
    iam_evaluator.pin_signed_request("POST", "/", {}, headers)
    iam_evaluator.pin_signed_body(body)


def _decode(headers: Headers) -> dict[str, str]:
    """Return the headers as strings, with lower-case names."""
    return {name.decode().lower(): value.decode() for name, value in headers}


def _parse(body: bytes) -> dict[str, Any]:
    """Return the request; refuse a body that is not a JSON object."""
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise RefusedRequestError("SerializationException", "the request is not a JSON object")
    return request


def _refuse_operation(headers: Headers, _: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse an operation that is not implemented."""
    message = f"the local identity store has no operation {parse_operation(headers)}"
    raise RefusedRequestError("UnknownOperationException", message)


def _create_user(headers: Headers, request: Mapping[str, Any]) -> dict[str, Any]:
    """Create a user in a store and return both ids. Raises RefusedRequestError."""
    store = _valid_value(STORE_ID, request, "IdentityStoreId")
    name = _valid_value(USER_NAME, request, "UserName")
    _authorize(headers, "CreateUser", [_store_arn(store), "arn:aws:identitystore:::user/*"])
    response = {"IdentityStoreId": store, "UserId": str(uuid.uuid4())}
    key = UserKey(get_account_id(), get_region(), store, response["UserId"])
    _users[key] = {**response, "UserName": name}
    return response


def _describe_user(headers: Headers, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's name and ids. Raises RefusedRequestError, also if there is no such user."""
    store = _valid_value(STORE_ID, request, "IdentityStoreId")
    user_id = _valid_value(USER_ID, request, "UserId")
    user_arn = f"arn:aws:identitystore:::user/{user_id}"
    _authorize(headers, "DescribeUser", [_store_arn(store), user_arn])
    user = _users.get(UserKey(get_account_id(), get_region(), store, user_id))
    if user is None:
        resource = {"ResourceType": "USER", "ResourceId": user_id}
        raise RefusedRequestError("ResourceNotFoundException", "USER not found.", **resource)
    return user


def _valid_value(pattern: re.Pattern[str], request: Mapping[str, Any], key: str) -> str:
    """Return the request's value of ``key``; refuse it, as AWS does, unless ``pattern`` matches."""
    value = request.get(key)
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    name = f"{key[0].lower()}{key[1:]}"  # AWS's message has "userId" for UserId
    what = f"Value at '{name}' failed to satisfy constraint: {pattern.pattern}"
    raise RefusedRequestError("ValidationException", f"1 validation error detected: {what}")


def _store_arn(store: str) -> str:
    """Return the ARN of the identity store with the id ``store``."""
    return f"arn:aws:identitystore::{get_account_id()}:identitystore/{store}"


def _authorize(headers: Headers, operation: str, resources: Sequence[str]) -> None:
    """Refuse the request unless its signature is valid and the signer may act on each resource.

    ``resources`` are ARNs. Like AWS, name all missing permissions in one error.
    """
    key, action = extract_access_key_id(_decode(headers)), f"{SERVICE}:{operation}"
    denials = []
    for resource in resources:
        # None if it is allowed, and an AuthError if the key or the signature is not valid.
        refusal = iam_evaluator.enforce(key, action, SERVICE, get_region(), resource)
        if isinstance(refusal, iam_evaluator.AuthError):
            is_forged = refusal.code == "SignatureDoesNotMatch"
            code = "InvalidSignatureException" if is_forged else "UnrecognizedClientException"
            raise RefusedRequestError(code, refusal.message)
        if refusal:
            who = f"User: {refusal.principal_arn} is not authorized to perform: {action}"
            why = f"because no identity-based policy allows the {action} action"
            denials.append(f"{who} on resource: {resource} {why}")
    if denials:
        raise RefusedRequestError("AccessDeniedException", ", ".join(denials))
