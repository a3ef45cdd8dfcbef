"""Errors of boto3 and of what it calls: each ends in a sentence that names what to correct."""

from __future__ import annotations

import hashlib
import inspect
import string
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from botocore import credentials as botocore_credentials
from botocore import exceptions

from tests.support.aws import ACCOUNT, REGION, client_error
from tooling import aws_errors, aws_profile
from tooling.aws_profile import Profile
from tooling.deploy import account
from tooling.errors import RefusedError
from tooling.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "role_arn = arn:aws:iam::111122223333:role/x\n"
SSO = (
    "sso_session = main\nsso_account_id = 111122223333\nsso_role_name = x\n"
    "[sso-session main]\nsso_start_url = https://x.example/start\nsso_region = eu-west-1\n"
)
OLD_SSO = (
    "sso_start_url = https://x.example/start\nsso_region = eu-west-1\n"
    "sso_account_id = 111122223333\nsso_role_name = x\n"
)
KEYS = "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = made-up\n"
LOGIN = "login_session = arn:aws:iam::111122223333:user/x\n"
SSO_CACHES = {"main": SSO, "https://x.example/start": OLD_SSO}
ALL_CLASSES = sorted(
    (
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, exceptions.BotoCoreError)
    ),
    key=lambda kind: kind.__name__,
)


def make_error(kind: type[exceptions.BotoCoreError]) -> exceptions.BotoCoreError:
    """Return an error of a class, with a text for each field of its message."""
    names = {name for _, name, _, _ in string.Formatter().parse(kind.fmt) if name}
    fields: dict[str, Any] = dict.fromkeys(names, "made-up")
    if kind is exceptions.EndpointVariantError:
        fields["tags"] = ["fips"]
    if kind is exceptions.WaiterError:
        fields["last_response"] = {}
    if kind is exceptions.InvalidConfigError:
        fields["error_msg"] = "made-up"
    return kind(**fields)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, in which the files of the AWS configuration are looked for."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(botocore_credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    return tmp_path


def write_profile(home: Path, options: str) -> None:
    (home / ".aws" / "config").write_text(f"[profile p]\n{options}")


def refuse(profile: str | None = "p") -> RefusedError:
    """Return the refusal with which the account cannot be opened as ``profile``."""
    settings = Settings(account=ACCOUNT, region=REGION, prefix="signwatch", profile=profile)
    with pytest.raises(RefusedError) as refusal:
        account.open(settings)
    error = refusal.value
    assert error.exit_code == 2
    assert all((error.where, error.what, error.remedy))
    return error


@pytest.mark.parametrize("kind", ALL_CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_of_botocore_is_explained(kind: type[exceptions.BotoCoreError]) -> None:
    explanation = aws_errors.explain(make_error(kind), Profile("p"))
    assert all(explanation)
    assert "aws sso login" not in explanation.remedy


def test_classes_that_are_explained_by_name_exist() -> None:
    names = {
        *aws_errors.SETTINGS_OF_ERRORS,
        *aws_errors.FILE_ERRORS,
        *aws_errors.CREDENTIAL_ERRORS,
        *aws_errors.PROFILE_ERRORS,
        *aws_errors.REGION_ERRORS,
        *aws_errors.CONNECTION_ERRORS,
        *aws_errors.INSTALLATION_ERRORS,
    }
    assert names <= {kind.__name__ for kind in ALL_CLASSES}


def test_only_errors_of_a_request_itself_are_left_to_the_last_sentence() -> None:
    """A class that a newer botocore adds appears here, and is given a sentence of its own."""
    families = defaultdict(list)
    for kind in ALL_CLASSES:
        families[aws_errors.explain(make_error(kind), Profile("p")).where].append(kind.__name__)
    assert set(families["request to AWS"]) <= {
        *("AliasConflictParameterError", "AwsChunkedWrapperError", "BotoCoreError"),
        *("CapacityNotAvailableError", "ChecksumError", "FlexibleChecksumError"),
        *("InvalidDNSNameError", "InvalidExpressionError", "InvalidHostLabelError"),
        *("MissingParametersError", "OperationNotPageableError", "PaginationError"),
        *("ParamValidationError", "RangeError", "StubAssertionError", "StubResponseError"),
        *("UnStubbedResponseError", "UnknownClientMethodError", "UnknownKeyError"),
        *("UnknownParameterError", "UnknownServiceStyle", "UnknownSignatureVersionError"),
        *("UnseekableStreamError", "UnsupportedOutpostResourceError"),
        *("UnsupportedS3AccesspointConfigurationError", "UnsupportedS3ArnError"),
        *("UnsupportedS3ConfigurationError", "UnsupportedS3ControlArnError"),
        *("UnsupportedS3ControlConfigurationError", "UnsupportedSignatureVersionError"),
        *("ValidationError", "WaiterConfigError", "WaiterError"),
    }


class TestCredentialProcess:
    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("true", "another form than expected"),
            ("echo hello", "another form than expected"),
            ("echo []", "another form than expected"),
            ("echo null", "another form than expected"),
            ("""echo '{"Version": 2}'""", "Unsupported version '2'"),
            ("""echo '{"Version": 1}'""", "'AccessKeyId'"),
            ("""echo '{"Version":1,"AccessKeyId":1,"SecretAccessKey":2}'""", "another form"),
            ("/no/such/program", "No such file or directory: '/no/such/program'"),
            ("/", "PermissionError"),
            ("sh -c 'echo no key in the box >&2; exit 3'", "no key in the box"),
            (r"printf '\377'", "UnicodeDecodeError"),
            ("echo 'unbalanced", "No closing quotation"),
            ("", "another form than expected"),
        ],
    )
    def test_command_without_credentials_is_named(
        self, home: Path, command: str, reason: str
    ) -> None:
        write_profile(home, f"credential_process = {command}\n")
        error = refuse()
        assert error.where == "credential_process of profile 'p'"
        assert reason in error.what
        assert "run that command" in error.remedy

    def test_command_of_the_source_profile_is_named(self, home: Path) -> None:
        write_profile(
            home, f"{ROLE}source_profile = q\n[profile q]\ncredential_process = echo []\n"
        )
        assert refuse().where == "credential_process of profile 'q'"


class TestSessions:
    @pytest.mark.parametrize(
        "cache",
        ["{broken", "[]", "{}", '{"accessToken": "x", "expiresAt": "soon"}', None],
    )
    @pytest.mark.parametrize("key", SSO_CACHES)
    def test_unusable_session_of_identity_center_is_renewed_by_sso_login(
        self, home: Path, key: str, cache: str | None
    ) -> None:
        write_profile(home, SSO_CACHES[key])
        if cache is not None:
            name = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()
            folder = home / ".aws" / "sso" / "cache"
            folder.mkdir(parents=True)
            (folder / f"{name}.json").write_text(cache)
        error = refuse()
        assert error.where == "Identity Center session of profile 'p'"
        assert error.remedy == "aws sso login --profile p"

    def test_expired_session_of_identity_center_is_renewed_by_sso_login(self, home: Path) -> None:
        write_profile(home, SSO)
        name = hashlib.sha1(b"main", usedforsecurity=False).hexdigest()
        folder = home / ".aws" / "sso" / "cache"
        folder.mkdir(parents=True)
        token = '{"accessToken": "x", "expiresAt": "2001-01-01T00:00:00Z"}'
        (folder / f"{name}.json").write_text(token)
        assert refuse().remedy == "aws sso login --profile p"

    @pytest.mark.parametrize("cache", ["{broken", "[]", "{}", None])
    def test_unusable_login_is_renewed_by_aws_login(
        self, home: Path, cache: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = home / "login"
        monkeypatch.setenv("AWS_LOGIN_CACHE_DIRECTORY", str(folder))
        folder.mkdir()
        write_profile(home, LOGIN)
        if cache is not None:
            session = LOGIN.partition(" = ")[2].strip()
            name = hashlib.sha256(session.encode()).hexdigest()
            (folder / f"{name}.json").write_text(cache)
        error = refuse()
        assert (error.where, error.remedy) == (
            "login session of profile 'p'",
            "aws login --profile p",
        )

    def test_login_without_the_crt_package_names_the_environment(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise exceptions.MissingDependencyException(msg="botocore[crt]")

        monkeypatch.setattr(botocore_credentials.LoginProvider, "load", fail)
        write_profile(home, LOGIN)
        error = refuse()
        assert "botocore[crt]" in error.what
        assert error.remedy.startswith("remove .venv")


class TestProfile:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (f"{ROLE}source_profile = missing\n", 'The source_profile "missing"'),
            (ROLE, "source_profile or credential_source"),
            (f"{ROLE}source_profile = q\n[profile q]\n{ROLE}source_profile = p\n", "Infinite loop"),
            (f"{ROLE}source_profile = q\n[profile q]\nregion = x\n", "must have credentials"),
            (f"{ROLE}credential_source = Moon\n", '"Moon"'),
            ("sso_session = missing\nsso_account_id = 1\nsso_role_name = x\n", "does not exist"),
            ("sso_start_url = https://x\nsso_account_id = 1\n", "sso_role_name"),
            ("aws_access_key_id = AKIAEXAMPLE\n", "aws_secret_access_key"),
        ],
    )
    def test_incomplete_profile_is_named_with_its_files(
        self, home: Path, options: str, reason: str
    ) -> None:
        write_profile(home, options)
        error = refuse()
        assert error.where == "profile 'p'"
        assert reason in error.what
        assert error.remedy.startswith(f"correct it in {home}/.aws/config")

    def test_second_factor_without_a_terminal_is_refused_before_a_question(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(account, "_has_terminal", lambda: False)
        write_profile(home, f"{ROLE}source_profile = q\nmfa_serial = x\n[profile q]\n{KEYS}")
        error = refuse()
        assert error.where == "mfa_serial of profile 'p'"
        assert capfd.readouterr() == ("", "")

    def test_end_of_input_at_a_question_names_the_second_factor(self) -> None:
        explanation = aws_errors.explain(EOFError(), Profile("p"))
        assert explanation.where == "mfa_serial of profile 'p'"

    def test_unknown_profile_is_refused_with_the_one_that_is_meant(self, home: Path) -> None:
        (home / ".aws" / "config").write_text(f"[profile production]\n{KEYS}")
        assert refuse("prodution").remedy.startswith("did you mean production?")

    def test_empty_variable_for_the_profile_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(home, KEYS)
        monkeypatch.setenv("AWS_PROFILE", "")
        assert refuse(None).where == "AWS_PROFILE"

    def test_half_of_the_keys_in_the_environment_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(home, KEYS)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        error = refuse(None)
        assert "in the environment (AWS_ACCESS_KEY_ID)" in error.where
        assert "AWS_SECRET_ACCESS_KEY" in error.what

    def test_token_with_a_line_break_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(home, KEYS)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "made-up\n")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        error = refuse(None)
        assert "in the environment" in error.where
        assert error.what == "hold a line break or a space"


class TestFiles:
    @pytest.mark.parametrize("name", ["config", "credentials"])
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\xef\xbb\xbf[profile p]\nregion = x\n", "byte order mark"),
            ("[profile p]\n".encode("utf-16"), "is not UTF-8"),
            (b"[profile p]\n# \xfc\n", "is not UTF-8"),
            (b"region = x\n", "cannot be parsed (File contains no section headers"),
            (b"[profile p]\nregion = x\nregion = y\n", "[line 3]"),
        ],
        ids=["mark", "utf-16", "latin", "no section", "twice"],
    )
    def test_broken_file_is_named_with_the_place(
        self, home: Path, name: str, content: bytes, reason: str
    ) -> None:
        path = home / ".aws" / name
        path.write_bytes(content)
        error = refuse()
        assert error.where == str(path)
        assert reason in error.what

    @pytest.mark.parametrize("name", ["config", "credentials"])
    def test_folder_in_place_of_a_file_is_named(self, home: Path, name: str) -> None:
        (home / ".aws" / name).mkdir()
        assert refuse().where == str(home / ".aws" / name)

    def test_file_that_cannot_be_opened_is_named(self, home: Path) -> None:
        path = home / ".aws" / "config"
        path.symlink_to(path)
        assert (refuse().where, refuse().what) == (
            str(path),
            "cannot be opened (Too many levels of symbolic links)",
        )

    def test_variable_that_names_no_file_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "nowhere"))
        assert refuse().where == "AWS_CONFIG_FILE"


class TestVariables:
    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("AWS_METADATA_SERVICE_TIMEOUT", "soon"),
            ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", ""),
            ("AWS_ENDPOINT_URL", "localhost:4566"),
            ("AWS_ENDPOINT_URL", "http://localhost:x"),
            ("AWS_ENDPOINT_URL", "ftp://localhost:1"),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", "localhost"),
            ("AWS_DEFAULTS_MODE", "fast"),
            ("AWS_STS_REGIONAL_ENDPOINTS", "here"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv5"),
            ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "sometimes"),
        ],
    )
    def test_unusable_variable_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        write_profile(home, KEYS)
        monkeypatch.setenv(variable, value)
        assert refuse().where == variable

    def test_number_of_tries_that_is_none_is_named(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(home, KEYS)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
        error = ValueError("invalid literal for int()")
        explanation = aws_errors.explain(error, aws_profile.read_profile("p"))
        assert explanation.where == "AWS_MAX_ATTEMPTS"

    def test_unusable_option_is_named_with_its_profile(self, home: Path) -> None:
        write_profile(home, f"{KEYS}endpoint_url = localhost:1\n")
        assert refuse().where == "endpoint_url of profile 'p'"

    def test_endpoints_that_are_ignored_are_not_checked(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(home, KEYS)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
        monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        assert aws_errors.explain_bad_endpoint(aws_profile.read_profile("p")) is None

    def test_endpoint_that_does_not_answer_names_its_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        error = exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        explanation = aws_errors.explain(error, aws_profile.read_profile(None))
        assert explanation.where == "AWS"
        assert "AWS_ENDPOINT_URL is set" in explanation.remedy

    def test_proxy_and_certificate_name_their_variables(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        proxy = exceptions.ProxyConnectionError(proxy_url="http://127.0.0.1:1")
        assert "HTTPS_PROXY" in aws_errors.explain(proxy, Profile("p")).remedy
        certificate = exceptions.SSLError(endpoint_url="https://x", error="self-signed")
        assert "AWS_CA_BUNDLE" in aws_errors.explain(certificate, Profile("p")).remedy


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20010101T000000Z", "set the clock"),
        ("RequestTimeTooSkewed", "The difference is too large", "set the clock"),
        ("ExpiredToken", "expired", "aws login --profile p"),
        ("InvalidClientTokenId", "invalid", "aws login --profile p"),
    ],
)
def test_refusal_by_aws_has_the_remedy_of_its_profile(code: str, message: str, remedy: str) -> None:
    profile = Profile("p", is_chosen=True, options={"login_session": "x"})
    explanation = aws_errors.explain(client_error(code, message), profile)
    assert explanation.remedy.startswith(remedy)


def test_error_is_of_the_library_by_where_it_was_raised(home: Path) -> None:
    with pytest.raises(ValueError, match="nothing") as ours:
        raise ValueError("nothing")
    assert not aws_errors.is_of_library(ours.value)
    write_profile(home, "credential_process = echo hello\n")
    import boto3

    with pytest.raises(ValueError, match="Expecting value") as theirs:
        boto3.Session(profile_name="p").get_credentials()
    assert aws_errors.is_of_library(theirs.value)
