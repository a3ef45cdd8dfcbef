"""Opening an account: which credentials are accepted, what is refused, and which role acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import exceptions

from tests.support.aws import ACCOUNT, CALLER, REGION, client_error
from tests.support.aws import account as opened
from tooling import invocation
from tooling.deploy import account
from tooling.errors import FailedError, RefusedError
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

ROLE = f"arn:aws:iam::{ACCOUNT}:role/signwatch-deploy"
SETTINGS = Settings(account=ACCOUNT, region=REGION, prefix="signwatch")


class FakeSts:
    """STS that knows one caller, or fails."""

    def __init__(self, owner: str = ACCOUNT, failure: Exception | None = None) -> None:
        self.owner, self.failure = owner, failure
        self.request: dict[str, Any] = {}

    def get_caller_identity(self) -> dict[str, str]:
        if self.failure:
            raise self.failure
        return {"Account": self.owner, "Arn": CALLER}

    def assume_role(self, **request: Any) -> dict[str, Any]:
        self.request = request
        if self.failure:
            raise self.failure
        keys = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "made-up", "SessionToken": "token"}
        return {"Credentials": keys, "AssumedRoleUser": {"Arn": f"{ROLE}/session"}}


@pytest.fixture(autouse=True)
def hide_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the AWS configuration of the person who runs the tests out of them."""
    (tmp_path / "config").write_text("[profile known]\nregion = us-east-1\n")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "made-up",
    }.items():
        monkeypatch.setenv(name, value)


def sign_in(
    monkeypatch: pytest.MonkeyPatch, sts: FakeSts, settings: Settings = SETTINGS
) -> account.Account:
    monkeypatch.setattr(account.Account, "client", lambda _, service: {"sts": sts}[service])
    return account.open(settings)


class TestOpen:
    def test_account_and_region_of_the_settings_are_opened(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws = sign_in(monkeypatch, FakeSts())
        assert (aws.account, aws.region, aws.caller_arn) == (ACCOUNT, REGION, CALLER)
        assert aws.session.region_name == REGION

    def test_credentials_of_another_account_are_refused_naming_both(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(RefusedError) as refusal:
            sign_in(monkeypatch, FakeSts(owner="999999999999"))
        assert "belong to account 999999999999, not to 111122223333" in str(refusal.value)

    def test_unknown_profile_is_refused_by_name(self) -> None:
        with pytest.raises(
            RefusedError, match="profile 'nosuch': is not in your AWS configuration"
        ):
            account.open(
                Settings(account=ACCOUNT, region=REGION, prefix="signwatch", profile="nosuch")
            )

    def test_unknown_profile_in_the_environment_is_refused_by_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "elsewhere")
        with pytest.raises(RefusedError, match="profile 'elsewhere'"):
            account.open(SETTINGS)

    def test_unreadable_aws_configuration_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[profile known\n")
        with pytest.raises(RefusedError, match="config: cannot be parsed"):
            account.open(SETTINGS)

    @pytest.mark.parametrize(
        ("failure", "text"),
        [
            (exceptions.NoCredentialsError(), "were not found"),
            (exceptions.PartialCredentialsError(provider="env", cred_var="x"), "missing: x"),
            (exceptions.UnauthorizedSSOTokenError(), "aws sso login --profile known"),
            (
                exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
                "aws sso login --profile known",
            ),
            (
                exceptions.CredentialRetrievalError(provider="process", error_msg="no"),
                "gave no usable credentials",
            ),
            (client_error("InvalidClientTokenId"), "were refused by AWS"),
            (client_error("ExpiredToken"), "have expired"),
            (
                client_error("SignatureDoesNotMatch", "Signature expired: 2001 is now earlier"),
                "set the clock",
            ),
            (client_error("AccessDenied", operation="AssumeRole"), "correct role_arn"),
            (
                exceptions.EndpointConnectionError(endpoint_url="https://sts"),
                "could not be reached",
            ),
            (exceptions.ConnectTimeoutError(endpoint_url="https://sts"), "could not be reached"),
            (exceptions.ReadTimeoutError(endpoint_url="https://sts"), "could not be reached"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_failed_sign_in_is_refused_with_its_reason(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception, text: str
    ) -> None:
        (tmp_path / "config").write_text("[profile known]\nsso_session = main\n")
        settings = Settings(account=ACCOUNT, region=REGION, prefix="signwatch", profile="known")
        with pytest.raises(RefusedError) as refusal:
            sign_in(monkeypatch, FakeSts(failure=failure), settings)
        assert text in str(refusal.value)


class TestAssume:
    def test_role_acts_in_the_same_account_and_region(self) -> None:
        sts = FakeSts()
        aws = account.assume_role(opened(sts=sts), ROLE)
        assert sts.request["RoleArn"] == ROLE
        assert (aws.account, aws.region, aws.caller_arn) == (ACCOUNT, REGION, f"{ROLE}/session")
        assert aws.session.get_credentials().token == "token"

    def test_error_for_an_untrusted_caller_says_how_to_be_trusted(self) -> None:
        with pytest.raises(FailedError) as error:
            account.assume_role(opened(sts=FakeSts(failure=client_error("AccessDenied"))), ROLE)
        assert CALLER in error.value.what
        assert "--no-assume-role" in error.value.remedy


class TestEnvironment:
    def environment(self, token: str | None) -> dict[str, str]:
        session = boto3.Session("AKIAEXAMPLE", "made-up", token, region_name=REGION)
        return account.Account(session, ACCOUNT, REGION, CALLER).make_environment()

    def test_it_holds_plain_credentials_and_the_region(self) -> None:
        values = self.environment("token")
        assert values["AWS_ACCESS_KEY_ID"] == "AKIAEXAMPLE"
        assert (values["AWS_SESSION_TOKEN"], values["AWS_REGION"]) == ("token", REGION)

    def test_profile_and_older_token_are_removed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "known")  # an unknown profile would break the session
        assert "known" not in self.environment(None).values()

    def test_it_holds_all_other_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIGNWATCH_PROVIDER_MIRROR", "somewhere")
        assert self.environment(None)["SIGNWATCH_PROVIDER_MIRROR"] == "somewhere"


def test_clients_have_timeouts_and_retry() -> None:
    session = boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)
    config = account.Account(session, ACCOUNT, REGION, CALLER).client("sts").meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 30)
    assert config.retries["mode"] == "standard"


@pytest.mark.parametrize(
    ("operation", "writes"),
    [("GetObject", False), ("DescribeStacks", False), ("AssumeRole", False), ("PutObject", True)],
)
def test_request_that_changes_something_is_noted(operation: str, writes: bool) -> None:
    session = boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)
    account.watch_writes(session)
    with invocation.start_run({}) as run:
        session.events.emit(f"before-send.s3.{operation}", request=None)
    assert run.has_written is writes
