"""Identity stores, which the emulator does not have: users are made in one and looked up in it.

Sources: Identity Store API Reference, CreateUser, DescribeUser and common errors; Service Authorization Reference, AWS
Identity Store, by which each call asks for the store and for the users.
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

SERVICE, TARGET = "identitystore", b"AWSIdentityStore."
STORE = re.compile(
    r"d-[0-9a-f]{10}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)  # AWS takes ARNs as well
USER = re.compile(r"([0-9a-f]{10}-)?[A-Fa-f0-9]{8}(-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12}")
NAME = re.compile(r"\S{1,128}")

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, dict[str, Any]]


class Place(NamedTuple):
    """A user's place: a store is one account's and stands in one Region."""

    account: str
    region: str
    store: str
    user: str


_users: dict[Place, dict[str, Any]] = {}


class RefusedError(Exception):
    """The request is refused; ``answer`` is what its sender gets."""

    def __init__(self, code: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.answer: Answer = (400, {"__type": code, "Message": message, **more})


def operation(headers: Headers) -> str:
    """Return the operation of a request to an identity store; empty for every other request."""
    target = dict(headers).get(b"x-amz-target", b"")
    return target.removeprefix(TARGET).decode() if target.startswith(TARGET) else ""


def answer(headers: Headers, body: bytes) -> Answer:
    """Return status and content of the answer to a request, in the account and Region of who signed it."""
    try:
        _enter(headers, body)
        call = {"CreateUser": _create, "DescribeUser": _describe}.get(operation(headers), _refuse)
        return 200, call(headers, _asked(body))
    except RefusedError as refused:
        return refused.answer


def _enter(headers: Headers, body: bytes) -> None:
    """Be who signed the request, until this thread's context ends; the signature is looked at with the permission."""
    named = _named(headers)
    set_request_account_id(app._request_account_scope(extract_access_key_id(named)))
    set_request_region(extract_region(named))
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)
    iam_evaluator.pin_signed_request("POST", "/", {}, headers)
    iam_evaluator.pin_signed_body(body)


def _named(headers: Headers) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in headers}


def _asked(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise RefusedError("SerializationException", "the request is no JSON object")
    return asked


def _refuse(headers: Headers, _: Mapping[str, Any]) -> dict[str, Any]:
    what = f"the laptop's identity stores do not know {operation(headers)}"
    raise RefusedError("UnknownOperationException", what)


def _create(headers: Headers, asked: Mapping[str, Any]) -> dict[str, Any]:
    store, name = _valid(STORE, asked, "IdentityStoreId"), _valid(NAME, asked, "UserName")
    _permit(headers, "CreateUser", [_store_arn(store), "arn:aws:identitystore:::user/*"])
    made = {"IdentityStoreId": store, "UserId": str(uuid.uuid4())}
    _users[Place(get_account_id(), get_region(), store, made["UserId"])] = {
        **made,
        "UserName": name,
    }
    return made


def _describe(headers: Headers, asked: Mapping[str, Any]) -> dict[str, Any]:
    store, user = _valid(STORE, asked, "IdentityStoreId"), _valid(USER, asked, "UserId")
    _permit(headers, "DescribeUser", [_store_arn(store), f"arn:aws:identitystore:::user/{user}"])
    found = _users.get(Place(get_account_id(), get_region(), store, user))
    if found is None:
        more = {"ResourceType": "USER", "ResourceId": user}
        raise RefusedError("ResourceNotFoundException", "USER not found.", **more)
    return found


def _valid(pattern: re.Pattern[str], asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    found = pattern.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        what = f"Value at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: {pattern.pattern}"
        raise RefusedError("ValidationException", f"1 validation error detected: {what}")
    return found[0]


def _store_arn(store: str) -> str:
    return f"arn:aws:identitystore::{get_account_id()}:identitystore/{store}"


def _permit(headers: Headers, name: str, resources: Sequence[str]) -> None:
    """Ask the policy engine for each resource, and refuse as AWS does: once, with every resource that is missing."""
    key, action = extract_access_key_id(_named(headers)), f"{SERVICE}:{name}"
    missing = []
    for resource in resources:
        refused = iam_evaluator.enforce(key, action, SERVICE, get_region(), resource)
        if isinstance(refused, iam_evaluator.AuthError):
            is_forged = refused.code == "SignatureDoesNotMatch"
            code = "InvalidSignatureException" if is_forged else "UnrecognizedClientException"
            raise RefusedError(code, refused.message)
        if refused:
            who = f"User: {refused.principal_arn} is not authorized to perform: {action}"
            missing.append(
                f"{who} on resource: {resource} because no identity-based policy allows the {action} action"
            )
    if missing:
        raise RefusedError("AccessDeniedException", ", ".join(missing))
