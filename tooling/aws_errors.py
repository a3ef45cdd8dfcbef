"""Explains what boto3 and botocore raise: which profile, file or variable is wrong, what to try.

botocore raises its own classes, and others (ValueError, KeyError, EOFError ...) where it reads a
configuration, a cache or the output of a program without checking it. Its own are explained by
class, the others by what the profile takes its credentials from.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tooling import aws_profile
from tooling.errors import DEBUG_VARIABLE
from tooling.suggestions import find_similar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tooling.aws_profile import Profile

ENDPOINT_PREFIX = "AWS_ENDPOINT_URL"
IGNORE_ENDPOINTS_VARIABLE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
LIBRARIES = ("botocore.", "boto3.")
# Classes of botocore.exceptions by their names, and the option and the variable that they mean.
SETTINGS_OF_ERRORS = {
    "InvalidDefaultsMode": ("defaults_mode", "AWS_DEFAULTS_MODE"),
    "InvalidEndpointDiscoveryConfigurationError": (
        "endpoint_discovery_enabled",
        "AWS_ENABLE_ENDPOINT_DISCOVERY",
    ),
    "InvalidIMDSEndpointError": (
        "ec2_metadata_service_endpoint",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ),
    "InvalidIMDSEndpointModeError": (
        "ec2_metadata_service_endpoint_mode",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    ),
    "InvalidMaxRetryAttemptsError": ("max_attempts", "AWS_MAX_ATTEMPTS"),
    "InvalidRetryModeError": ("retry_mode", "AWS_RETRY_MODE"),
    "InvalidS3AddressingStyleError": ("addressing_style", ""),
    "InvalidS3UsEast1RegionalEndpointConfigError": (
        "s3_us_east_1_regional_endpoint",
        "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
    ),
    "InvalidSTSRegionalEndpointsConfigError": (
        "sts_regional_endpoints",
        "AWS_STS_REGIONAL_ENDPOINTS",
    ),
    "EndpointVariantError": ("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT"),
    "UnknownFIPSEndpointError": ("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT"),
}
FILE_ERRORS = ("ConfigNotFound", "ConfigParseError")
CREDENTIAL_ERRORS = (  # the credentials of the profile could not be read or renewed
    *("CredentialRetrievalError", "TokenRetrievalError", "SSOError", "LoginError"),
    *("UnknownCredentialError", "UnknownTokenProviderError", "NoAuthTokenError"),
    *("RefreshWithMFAUnsupportedError", "MetadataRetrievalError"),
)
PROFILE_ERRORS = (  # the profile itself is wrong, which the message says
    *("InvalidConfigError", "PartialCredentialsError", "InvalidEndpointConfigurationError"),
    *("InvalidRetryConfigurationError", "InvalidChecksumConfigError", "InvalidProxiesConfigError"),
)
REGION_ERRORS = (
    *("BaseEndpointResolverError", "InvalidRegionError", "UnknownRegionError"),
    *("ServiceNotInRegionError", "EndpointProviderError"),
)
CONNECTION_ERRORS = ("ConnectionError", "HTTPClientError", "IncompleteReadError")
INSTALLATION_ERRORS = (
    *("DataNotFoundError", "ApiVersionNotFoundError", "MissingDependencyException"),
    *("MD5UnavailableError", "UnsupportedServiceProtocolsError"),
)
# What botocore raises where it reads an output or a cache without checking it. The messages of
# these would say nothing to a person.
FORM_ERRORS = (
    *(AttributeError, TypeError, LookupError, AssertionError, RecursionError),
    json.JSONDecodeError,
)
# Error codes of AWS, and parts of its messages (IAM user guide, "Troubleshoot signed requests").
EXPIRED_CODES = ("ExpiredToken", "ExpiredTokenException")
CLOCK_CODES = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
CLOCK_TEXTS = ("Signature expired", "Signature not yet current")


class Explanation(NamedTuple):
    """Where, what and what to try: the arguments of a ToolError."""

    where: str
    what: str
    remedy: str


class CredentialSource(NamedTuple):
    """What credentials are read from, as messages name it, and how to make them usable."""

    where: str
    remedy: str


ENVIRONMENT_SOURCE = CredentialSource(
    "credentials in the environment (AWS_ACCESS_KEY_ID)",
    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew, or unset them and"
    " give --profile NAME",
)
SSO_REMEDY = "aws sso login --profile {name}"
# An option that a profile takes its credentials from, what messages call it, and what to try.
SOURCES = (
    ("login_session", "login session", "aws login --profile {name}"),
    ("sso_session", "Identity Center session", SSO_REMEDY),
    ("sso_start_url", "Identity Center session", SSO_REMEDY),
    (
        "credential_process",
        "credential_process",
        "run that command: it must print JSON with Version 1, AccessKeyId and SecretAccessKey",
    ),
    (
        "web_identity_token_file",
        "web identity",
        "check the file that web_identity_token_file names, and role_arn",
    ),
)


def is_of_library(error: BaseException) -> bool:
    """Return whether botocore or boto3 raised an error, or called what raised it."""
    return any(name.startswith(LIBRARIES) for name in _list_modules(error))


def _list_modules(error: BaseException) -> Iterator[str]:
    """Yield the name of each module that the traceback of an error passes through."""
    traceback = error.__traceback__
    while traceback:
        yield str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next


def is_outdated(error: BaseException) -> bool:
    """Return whether AWS refused a request for its time: expired credentials, or a wrong clock."""
    return _read_code(error) in EXPIRED_CODES or _is_clock_wrong(error)


def _is_clock_wrong(error: BaseException) -> bool:
    """Return whether AWS refused a request because it was signed at another time than now."""
    is_signed_elsewhen = any(text in str(error) for text in CLOCK_TEXTS)
    return _read_code(error) in CLOCK_CODES or is_signed_elsewhen


def explain(error: Exception, profile: Profile) -> Explanation:
    """Return which profile, file or variable caused an error of botocore, and what to try."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _explain_refusal(error, profile)
    if _is_any(error, CONNECTION_ERRORS):
        return _explain_connection(error, profile)
    if isinstance(error, exceptions.ProfileNotFound):
        return _explain_unknown_profile(error.kwargs["profile"], profile)
    if isinstance(error, exceptions.NoCredentialsError):
        return _explain_missing_credentials(profile)
    if isinstance(error, exceptions.BotoCoreError):
        return _explain_by_class(error, profile)
    return explain_bad_setting(profile) or _explain_source(error, profile)


def _is_any(error: Exception, names: Iterable[str]) -> bool:
    """Return whether an error is of one of these classes of botocore.exceptions, by their names."""
    return bool({kind.__name__ for kind in type(error).__mro__}.intersection(names))


def _explain_by_class(error: Exception, profile: Profile) -> Explanation:
    """Return what an error of botocore's own classes means."""
    what = f"cannot be used ({error})"
    if setting := SETTINGS_OF_ERRORS.get(type(error).__name__):
        return Explanation(_name_setting(*setting, profile), what, "correct it, or remove it")
    explain_family: dict[tuple[str, ...], Callable[[], Explanation]] = {
        FILE_ERRORS: lambda: _explain_file(error),
        CREDENTIAL_ERRORS: lambda: _explain_source(error, profile),
        PROFILE_ERRORS: lambda: _explain_profile(error, profile),
        REGION_ERRORS: lambda: Explanation(
            "Region", what, f"choose another --region, or correct the Regions of {profile}"
        ),
        INSTALLATION_ERRORS: lambda: Explanation(
            "boto3 in this Python environment",
            what,
            "remove .venv, run the checkout's ./inv again, and leave AWS_DATA_PATH unset",
        ),
    }
    for names, explain_member in explain_family.items():
        if _is_any(error, names):
            return explain_member()
    remedy = f"set {DEBUG_VARIABLE}=1 and run it again, which shows where; then report it"
    return Explanation("request to AWS", f"was not sent ({error})", remedy)


def _explain_refusal(error: Exception, profile: Profile) -> Explanation:
    """Return what an error means with which AWS refused the credentials."""
    source = find_credential_source(profile)
    what = f"were refused by AWS ({error})"
    if _is_clock_wrong(error):
        remedy = "set the clock of this machine: AWS accepts signatures of the last minutes alone"
        return Explanation("AWS credentials", what, remedy)
    if _read_code(error) in EXPIRED_CODES:
        return Explanation(source.where, f"have expired ({error})", source.remedy)
    operation = getattr(error, "operation_name", "")
    if operation.startswith("AssumeRole"):
        remedy = f"correct role_arn and source_profile in {_name_files()}, or the role's trust"
        return Explanation(f"role of {profile}", f"may not be assumed ({error})", remedy)
    return Explanation(source.where, what, source.remedy)


def _read_code(error: BaseException) -> str:
    """Return the code of an error with which AWS answered; "" for any other error."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _explain_connection(error: Exception, profile: Profile) -> Explanation:
    """Return what it means that AWS could not be reached, with the variables that matter."""
    what = f"could not be reached ({error})"
    proxies = [name for name in PROXY_VARIABLES if os.environ.get(name)]
    if explanation := explain_bad_setting(profile):
        return explanation
    if "Invalid header value" in str(error):
        source = find_credential_source(profile)
        return Explanation(source.where, "hold a line break or a space", source.remedy)
    remedy = "check the network and the Region"
    if _is_any(error, ("SSLError",)):
        remedy = "check AWS_CA_BUNDLE, and the certificate of a proxy that reads along"
    elif proxies:
        remedy = f"check the network, the Region, and the proxy in {', '.join(proxies)}"
    if endpoint := _find_endpoint_variable():
        remedy += f"; {endpoint} is set: unset it to reach AWS itself"
    return Explanation("AWS", what, remedy)


def _find_endpoint_variable() -> str | None:
    """Return the variable that replaces AWS by another endpoint, if one is set."""
    return next((name for name in sorted(os.environ) if name.startswith(ENDPOINT_PREFIX)), None)


def _explain_unknown_profile(name: str, profile: Profile) -> Explanation:
    """Return why a profile is not known: the files, the variable, or a misspelt name."""
    if problem := aws_profile.find_file_problem():
        return Explanation(problem.path, problem.what, problem.remedy)
    if not name.strip():
        what = "is set and empty, and names no profile"
        variable = profile.variable or "profile"
        return Explanation(variable, what, f"unset {variable}, or give --profile NAME")
    where = str(profile) if profile.name == name else f"profile {name!r}"
    remedy = "list the known ones with: aws configure list-profiles"
    if similar := find_similar(name, profile.known_names):
        remedy = f"did you mean {similar}? {remedy.capitalize()}"
    return Explanation(where, "is not in your AWS configuration", remedy)


def _explain_missing_credentials(profile: Profile) -> Explanation:
    """Return why there are no credentials: a file that is not read, or nothing was chosen."""
    if problem := aws_profile.find_file_problem():
        return Explanation(problem.path, problem.what, problem.remedy)
    if profile.options:
        where = f"AWS credentials of {profile}"
        return Explanation(where, "were not found", f"sign in, or complete it in {_name_files()}")
    remedy = "give --profile NAME, or sign in first"
    return Explanation("AWS credentials", "were not found", remedy)


def _explain_file(error: Exception) -> Explanation:
    """Return what is wrong with a file that botocore could not read."""
    if problem := aws_profile.find_file_problem():
        return Explanation(problem.path, problem.what, problem.remedy)
    path = getattr(error, "kwargs", {}).get("path", _name_files())
    return Explanation(str(path), f"cannot be read ({error})", "correct this file")


def _explain_profile(error: Exception, profile: Profile) -> Explanation:
    """Return that a profile, or a variable in its place, is incomplete or wrong."""
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    what = f"cannot be used ({_describe(error)})"
    for option, (_, variable, *_rest) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        if isinstance(variable, str) and variable in os.environ and option in str(error):
            return Explanation(variable, what, "correct it, or remove it")
    if _is_any(error, ("PartialCredentialsError",)) and profile.uses_environment:
        return _explain_source(error, profile)
    return Explanation(str(profile), what, f"correct it in {_name_files()}")


def _explain_source(error: Exception, profile: Profile) -> Explanation:
    """Return that the source of the credentials gave none, with the reason."""
    if isinstance(error, EOFError):
        return explain_missing_terminal(profile)
    source = find_credential_source(profile)
    what = f"gave no usable credentials ({_describe(error)})"
    return Explanation(source.where, what, source.remedy)


def explain_missing_terminal(profile: Profile) -> Explanation:
    """Return that nobody can be asked for the code of a second factor."""
    what = "needs the code of a second factor, and there is no terminal to ask for it"
    remedy = "run it at a terminal, or give temporary credentials (aws sts get-session-token)"
    return Explanation(f"mfa_serial of {profile}", what, remedy)


def _describe(error: Exception) -> str:
    """Return the message of an error; for those not of botocore, with the name of its class."""
    from botocore import exceptions

    text = " ".join(str(error).split())
    if isinstance(error, exceptions.BotoCoreError):
        return text
    if isinstance(error, FORM_ERRORS):
        return "its output or its cache has another form than expected"
    return f"{type(error).__name__}: {text}"


def find_credential_source(profile: Profile) -> CredentialSource:
    """Return what the credentials of a profile are read from.

    The options of its source profile decide, which is the profile itself if it names no other.
    """
    if profile.uses_environment:
        return ENVIRONMENT_SOURCE
    source = profile.find_source_profile()
    container = [name for name in aws_profile.CONTAINER_VARIABLES if name in os.environ]
    if not source.options and container:
        remedy = f"correct {container[0]}, or unset it and give --profile NAME"
        return CredentialSource(f"credentials of the container ({container[0]})", remedy)
    for option, what, remedy in SOURCES:
        if option in source.options:
            name = shlex.quote(source.name)
            return CredentialSource(f"{what} of {source}", remedy.format(name=name))
    remedy = f"correct its options in {_name_files()}, or choose another --profile"
    return CredentialSource(f"credentials of {source}", remedy)


def _name_files() -> str:
    """Return the paths of the files of the AWS configuration."""
    return " or ".join(str(path) for path in aws_profile.locate_files().values())


def _name_setting(option: str, variable: str, profile: Profile) -> str:
    """Return the name of a setting: its variable if that is set, else the profile's option."""
    return variable if variable in os.environ else f"{option} of {profile}"


def explain_bad_setting(profile: Profile) -> Explanation | None:
    """Return which variable or option is no number or no URL where botocore needs one, if any."""
    return explain_bad_endpoint(profile) or _explain_bad_number(profile)


def explain_bad_endpoint(profile: Profile) -> Explanation | None:
    """Return which endpoint is no URL: of a variable AWS_ENDPOINT_URL..., or of the profile."""
    if os.environ.get(IGNORE_ENDPOINTS_VARIABLE, "").lower() == "true":
        return None
    endpoints = {
        name: value for name, value in os.environ.items() if name.startswith(ENDPOINT_PREFIX)
    }
    if "endpoint_url" in profile.options:
        endpoints[f"endpoint_url of {profile}"] = profile.options["endpoint_url"]
    for name, value in sorted(endpoints.items()):
        if value and not _is_url(value):
            remedy = "write it like http://127.0.0.1:4566, or remove it"
            return Explanation(
                name, f"is {value!r}, and not a URL with http:// or https://", remedy
            )
    return None


def _is_url(text: str) -> bool:
    """Return whether a text is a URL that requests can be sent to."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # the port is no number
        return False


def _explain_bad_number(profile: Profile) -> Explanation | None:
    """Return which variable or option is no whole number where botocore needs one, if any."""
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    for option, variable, _, convert in BOTOCORE_DEFAUT_SESSION_VARIABLES.values():
        if convert is not int:
            continue
        value = os.environ.get(variable, profile.options.get(option))
        if value is not None and not value.strip().lstrip("-").isdecimal():
            where = _name_setting(option, variable, profile)
            what = f"is {value!r}, and not a whole number"
            return Explanation(where, what, "correct it, or remove it")
    return None
