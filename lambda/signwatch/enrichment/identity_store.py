"""Looks up the name of an Identity Center user by id. A failure never stops an alert.

Most records of Identity Center contain only the id; the identity store has the name. Sources: IAM
Identity Center User Guide, "CloudTrail use cases for IAM Identity Center"; Identity Store API
Reference, DescribeUser.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.gsm7 import UNTRUSTED_TEXT_MAX_CHARS, to_gsm7

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies
    from signwatch.detection.signin import SignIn

LOOKUP_TIMEOUT_SECONDS = 2.0  # for the whole call, from DNS to the last byte
DELIVERY_SECONDS = 44.0  # left for the alert: 14 for a ledger that hangs, 30 for the first text
CACHE_MAX_NAMES = 500
USER_NOT_FOUND = "ResourceNotFoundException"  # of DescribeUser: not logged as a failure

_cache: dict[tuple[str, str], str] = {}  # by identity store and user id


def with_name(sign_in: SignIn, dependencies: Dependencies) -> SignIn:
    """Return the sign-in with the user's name in place of an id; unchanged if no name is found.

    Never raises. A name is cached for the life of the process; a failed lookup is tried again at
    the next alert.
    """
    has_name = sign_in.who != sign_in.user_id
    if has_name or not sign_in.identity_store_id:
        return sign_in
    name = _cache.get((sign_in.identity_store_id, sign_in.user_id)) or _look_up(
        sign_in, dependencies
    )
    return sign_in._replace(who=name) if name else sign_in


def _look_up(sign_in: SignIn, dependencies: Dependencies) -> str:
    """Return the name from the identity store and cache it; empty if there is none to show."""
    try:
        if dependencies.seconds_left() < LOOKUP_TIMEOUT_SECONDS + DELIVERY_SECONDS:
            return ""
        client = dependencies.client("identitystore", region=sign_in.region, quick=True)
        name = _describe_user(client, sign_in.identity_store_id, sign_in.user_id)
    except Exception as error:  # noqa: BLE001 - the alert then shows the id
        if type(error).__name__ != USER_NOT_FOUND:
            log.write_failure("directory", error, dependencies.clock(), event_id=sign_in.event_id)
        return ""
    if not any(map(str.isalnum, to_gsm7(name[:UNTRUSTED_TEXT_MAX_CHARS]))):
        return ""  # GSM-7 would leave only question marks, which say less than the id
    if len(_cache) >= CACHE_MAX_NAMES:
        oldest = next(iter(_cache))
        del _cache[oldest]
    _cache[sign_in.identity_store_id, sign_in.user_id] = name
    return name


def _describe_user(client: Any, identity_store_id: str, user_id: str) -> str:
    """Return the user's name. Raises what the client raises, or TimeoutError.

    The call runs in a thread, because the client has no timeout for a whole call: its own timeouts
    start again with each address that it tries and each piece of the answer.
    """
    results: list[dict[str, Any] | Exception] = []

    def call() -> None:
        try:
            results.append(client.describe_user(IdentityStoreId=identity_store_id, UserId=user_id))
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            results.append(error)

    thread = Thread(target=call, daemon=True)
    thread.start()
    thread.join(LOOKUP_TIMEOUT_SECONDS)
    if not results:
        raise TimeoutError
    if isinstance(results[0], Exception):
        raise results[0]
    return str(results[0].get("UserName") or "")
