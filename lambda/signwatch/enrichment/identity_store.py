"""Looks up the name of an Identity Center user by id. A failure never stops an alert.

Most records of Identity Center contain only the user's id. The name is in the identity store, AWS's
directory of these users. An alert without a name shows the id. Sources: IAM Identity Center User
Guide, "CloudTrail use cases for IAM Identity Center"; Identity Store API Reference, DescribeUser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwatch import log
from signwatch.gsm7 import UNTRUSTED_TEXT_MAX_CHARS, is_symbol

if TYPE_CHECKING:
    from signwatch.dependencies import Dependencies
    from signwatch.detection.signin import SignIn

# A lookup takes QUICK_CALL_SECONDS at most. None starts if it could leave less than 44 s for the
# alert: 5 each for a ledger and a secret that hang, 14 for the texts, 20 for the rest.
MIN_SECONDS_FOR_LOOKUP = 46.0
CACHE_MAX_NAMES = 500
USER_NOT_FOUND = "ResourceNotFoundException"  # DescribeUser's error; it is not logged as a failure

_cache: dict[tuple[str, str], str] = {}  # names by identity store id and user id


def with_name(sign_in: SignIn, dependencies: Dependencies) -> SignIn:
    """Return the sign-in with the user's name in ``who``; unchanged if no name is needed or found.

    Never raises. A name is cached for the life of the process; a failed lookup is tried again at
    the next alert.
    """
    has_name = sign_in.who != sign_in.user_id  # without a name, ``who`` is the user id
    if has_name or not sign_in.identity_store_id:
        return sign_in
    name = _cache.get((sign_in.identity_store_id, sign_in.user_id))
    if not name:
        name = _look_up_name(sign_in, dependencies)
    return sign_in._replace(who=name) if name else sign_in


def _look_up_name(sign_in: SignIn, dependencies: Dependencies) -> str:
    """Return the user's name from the identity store, and cache it.

    Return "" if there is no time for the lookup, if it fails, or if the name has nothing to show.
    """
    try:
        if dependencies.seconds_left() < MIN_SECONDS_FOR_LOOKUP:
            return ""
        client = dependencies.client("identitystore", region=sign_in.region, quick=True)
        store, user = sign_in.identity_store_id, sign_in.user_id
        name = str(client.describe_user(IdentityStoreId=store, UserId=user).get("UserName") or "")
    except Exception as error:  # noqa: BLE001 - the alert then shows the id
        if type(error).__name__ != USER_NOT_FOUND:
            log.write_failure("directory", error, dependencies.clock(), event_id=sign_in.event_id)
        return ""
    has_letter = any(map(str.isalnum, name[:UNTRUSTED_TEXT_MAX_CHARS]))
    if not (has_letter or is_symbol(name)):
        return ""  # nobody could see it
    if len(_cache) >= CACHE_MAX_NAMES:
        oldest = next(iter(_cache))
        del _cache[oldest]
    _cache[sign_in.identity_store_id, sign_in.user_id] = name
    return name
