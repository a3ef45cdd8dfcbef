"""Looks up the name of an Identity Center user by id. A failure never stops an alert.

Most records of Identity Center hold the id alone; the identity store knows the name. Sources: IAM
Identity Center User Guide, "CloudTrail use cases for IAM Identity Center"; Identity Store API
Reference, DescribeUser.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.gsm7 import RECORDED_TEXT_MAX_CHARS, to_gsm7

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies
    from signwatch.detection.signin import SignIn

LOOKUP_TIMEOUT_SECONDS = 2.0  # from finding the host to the last byte of the answer
DELIVERY_SECONDS = 44.0  # 14 for a ledger that hangs and 30 for the first text are part of it
CACHE_MAX_NAMES = 500
USER_NOT_FOUND = "ResourceNotFoundException"  # DescribeUser: an answer, not a failure

_cache: dict[tuple[str, str], str] = {}  # by identity store and user id


def with_name(sign_in: SignIn, dependencies: Dependencies) -> SignIn:
    """Return the sign-in with the user's name in place of a bare id, or unchanged without a name.

    Never raises. A name is looked up once a process; a failed lookup is repeated by the next alert.
    """
    if not sign_in.store or sign_in.who != sign_in.person:
        return sign_in
    name = _cache.get((sign_in.store, sign_in.person)) or _look_up(sign_in, dependencies)
    return sign_in._replace(who=name) if name else sign_in


def _look_up(sign_in: SignIn, dependencies: Dependencies) -> str:
    """Return the name in the identity store and cache it; empty if there is none to show."""
    try:
        if dependencies.seconds_left() < LOOKUP_TIMEOUT_SECONDS + DELIVERY_SECONDS:
            return ""
        client = dependencies.client("identitystore", region=sign_in.region, quick=True)
        name = _describe_user(client, sign_in.store, sign_in.person)
    except Exception as error:  # noqa: BLE001 - the alert then shows the id
        if type(error).__name__ != USER_NOT_FOUND:
            log.failure("directory", error, dependencies.clock(), event_id=sign_in.event_id)
        return ""
    if not any(map(str.isalnum, to_gsm7(name[:RECORDED_TEXT_MAX_CHARS]))):
        return ""  # a phone would show question marks, which say less than the id
    if len(_cache) >= CACHE_MAX_NAMES:
        oldest = next(iter(_cache))
        del _cache[oldest]
    _cache[sign_in.store, sign_in.person] = name
    return name


def _describe_user(client: Any, store: str, person: str) -> str:
    """Return the user's name, or raise what the client raises, or TimeoutError.

    A thread limits the whole lookup to LOOKUP_TIMEOUT_SECONDS: the client's own timeouts start
    again with each address and each piece of the answer.
    """
    results: list[dict[str, Any] | Exception] = []

    def call() -> None:
        try:
            results.append(client.describe_user(IdentityStoreId=store, UserId=person))
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
