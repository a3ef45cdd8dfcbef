"""The table of paths and steps against AWS's own list of operations that hand out credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import botocore.session
import pytest

from signwatch.detection import sign_in_paths

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

# The services of botocore, and those under which CloudTrail records their events
SERVICES = {
    "signin": ("signin",),
    "sso": ("sso",),
    "sso-oidc": ("sso", "sso-oauth"),
    "sts": ("sts",),
}
# Members of a result that let the caller in. A page's token ("nextToken") does not.
CREDENTIAL = re.compile(r"(?i)(?<!next)(?:token|credentials?|secret|accesskey|devicecode)$")
# Operations that are no sign-in, each with the reason
REVIEWED = {
    ("sso-oidc", "RegisterClient"): "it registers a program, and nobody has signed in yet",
    ("sso-oidc", "StartDeviceAuthorization"): "the code is worth nothing before CreateToken",
    ("signin", "CreateBearerToken"): "signed with credentials that the caller already has",
    ("signin", "CreateOAuth2TokenWithIAM"): "signed with credentials that the caller already has",
    ("sts", "AssumeRole"): "signed with credentials that the caller already has",
    ("sts", "GetSessionToken"): "signed with credentials that the caller already has",
    ("sts", "GetWebIdentityToken"): "the token is for other services than AWS",
}


def gives_credentials(shape: Shape | None, depth: int = 3) -> bool:
    """Return whether a result holds something to sign requests with, in itself or its parts."""
    if shape is None or shape.type_name != "structure" or not depth:
        return False
    return any(
        CREDENTIAL.search(name) or gives_credentials(member, depth - 1)
        for name, member in shape.members.items()
    )


def is_unauthenticated(operation: OperationModel) -> bool:
    return operation.auth_type == "none" or "smithy.api#noAuth" in (operation.auth or ())


def list_operations() -> list[tuple[str, str]]:
    """Return the operations that need no credentials or hand some out, with their services."""
    session = botocore.session.get_session()
    operations = []
    for service in SERVICES:
        model = session.get_service_model(service)
        for name in model.operation_names:
            operation = model.operation_model(name)
            if is_unauthenticated(operation) or gives_credentials(operation.output_shape):
                operations.append((service, name))
    return operations


OPERATIONS = list_operations()


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_operation_that_lets_somebody_in_is_a_path_a_step_or_reviewed(
    service: str, name: str
) -> None:
    recorded_names = {(recorded, name.lower()) for recorded in SERVICES[service]}
    is_known = bool(recorded_names & (set(sign_in_paths.PATHS) | set(sign_in_paths.STEPS)))
    assert is_known is ((service, name) not in REVIEWED)


def test_review_names_no_operation_that_is_gone() -> None:
    assert set(REVIEWED) <= set(OPERATIONS)


@pytest.mark.parametrize(
    "operation",
    [
        ("signin", "CreateOAuth2Token"),
        ("signin", "CreateOAuth2TokenWithTokenExchange"),
        ("sso", "GetRoleCredentials"),
        ("sso-oidc", "CreateToken"),
        ("sts", "AssumeRole"),
        ("sts", "AssumeRoleWithWebIdentity"),
        ("sts", "GetDelegatedAccessToken"),
    ],
)
def test_list_of_operations_holds_those_that_are_known(operation: tuple[str, str]) -> None:
    assert operation in OPERATIONS
    assert ("sts", "GetCallerIdentity") not in OPERATIONS
    assert ("signin", "ListResourcePermissionStatements") not in OPERATIONS
