"""The directory: the name behind the id of an Identity Center user. It is never in the way of an alert.

Most records of Identity Center tell the id alone; the identity store knows the name. Sources: IAM Identity Center User
Guide, "CloudTrail use cases for IAM Identity Center"; Identity Store API Reference, DescribeUser.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

from signwatch import log
from signwatch.gsm7 import RECORDED_TEXT_MAX_CHARS, to_gsm7

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies
    from signwatch.detection.signin import SignIn

LONGEST = (
    2.0  # seconds that the question may take, from finding the host to the last byte of the answer
)
NEEDED = (
    LONGEST + 44.0
)  # seconds that must be left, 14 for a ledger that hangs and 30 for the first text among them
MOST = 500  # names that are kept in a process
NOBODY = "ResourceNotFoundException"  # DescribeUser: the store knows no such user, which is an answer and no fault

_cache: dict[tuple[str, str], str] = {}  # by identity store and user id


def with_name(sign_in: SignIn, dependencies: Dependencies) -> SignIn:
    """Return the sign-in with the user's name in place of a bare id; as it is where nobody can tell the name.

    Never raises. A name is asked for once a process, and whatever went wrong is asked again by the next alert.
    """
    if not sign_in.store or sign_in.who != sign_in.person:
        return sign_in
    name = _cache.get((sign_in.store, sign_in.person)) or _looked_up(sign_in, dependencies)
    return sign_in._replace(who=name) if name else sign_in


def _looked_up(sign_in: SignIn, dependencies: Dependencies) -> str:
    """Return the name that the identity store tells, and keep it; empty for none."""
    try:
        if dependencies.seconds_left() < NEEDED:
            return ""
        client = dependencies.client("identitystore", region=sign_in.region, quick=True)
        name = _asked(client, sign_in.store, sign_in.person)
    except Exception as error:  # noqa: BLE001 - with an id for a name it still is an alert
        if type(error).__name__ != NOBODY:
            _complain(sign_in, error, dependencies.clock())
        return ""
    if not any(map(str.isalnum, to_gsm7(name[:RECORDED_TEXT_MAX_CHARS]))):
        return ""  # the phone would show question marks, which say less than the id
    _keep((sign_in.store, sign_in.person), name)
    return name


def _asked(client: Any, store: str, person: str) -> str:
    """Ask for LONGEST seconds at most: the client's own limits count anew for each address and each piece of an answer.

    Raises what the client raises, and TimeoutError.
    """
    answers: list[dict[str, Any] | Exception] = []

    def ask() -> None:
        try:
            answers.append(client.describe_user(IdentityStoreId=store, UserId=person))
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            answers.append(error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(LONGEST)
    if not answers:
        raise TimeoutError
    if isinstance(answers[0], Exception):
        raise answers[0]
    return str(answers[0].get("UserName") or "")


def _keep(key: tuple[str, str], name: str) -> None:
    if len(_cache) >= MOST:
        del _cache[next(iter(_cache))]
    _cache[key] = name


def _complain(sign_in: SignIn, error: Exception, now: float) -> None:
    values = {
        "level": "ERROR",
        "event_id": sign_in.event_id,
        "problem": "directory",
        "error": type(error).__name__,
    }
    log.write(values, {}, now)
