"""Asks Twilio's API what the secret is worth: lists a message, sends a text, reads its status.

The requests are those that an API key limited to messages may make, with the client that the
function uses. The address is the stack's parameter TwilioBaseUrl, as for the function: a Regional
API, or the loopback Twilio server.

Sources: Twilio docs, "Messages resource", "Restricted API keys", "Error and warning dictionary"
(403, 10001, 20003, 20005, 20006, 20008, 20403, 20404, 20429, 70051, 90010).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tooling.errors import RefusedError
from tooling.invocation import spell

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE_URL = "https://api.twilio.com"
# The pattern of TwilioBaseUrl in cfn/parent.yaml; no other server gets the credentials.
BASE_URL = re.compile(r"https://api(\.[a-z0-9-]+){0,2}\.twilio\.com|http://127\.0\.0\.1:[0-9]{1,5}")
CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 5.0, 10.0
MESSAGING_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")
MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
NO_EDGE = {"TWILIO_EDGE": ""}  # replaces os.environ, where an edge would change the host
MIN_ERROR_CODE = 10_000  # a lower number in an answer is not an error code of Twilio's
INACTIVE_ACCOUNT_CODES = (10001, 20005, 90010)
NO_RIGHT_CODES = (20006, 20403, 70051)
TEST_CREDENTIALS_CODE = 20008
# HTTP status codes
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY_REQUESTS, SERVER_ERROR = 401, 403, 404, 429, 500
MESSAGE_MAX_CHARS = 200  # of what Twilio says
PRIVATE_TEXT = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}|\+?[0-9]{7,}")  # SIDs and phone numbers
NETWORK_REMEDY = "check the network; behind a proxy, set HTTPS_PROXY to its address"
# The exceptions of requests, the more special ones first: what happened, and what to try.
NETWORK_ERRORS = (
    ("ProxyError", "the proxy in HTTPS_PROXY did not connect to it", "correct HTTPS_PROXY"),
    (
        "SSLError",
        "its certificate is not trusted here; a proxy may read along",
        "set REQUESTS_CA_BUNDLE to the file with the proxy's certificate",
    ),
    ("ConnectTimeout", "no connection was made in time", NETWORK_REMEDY),
    ("ReadTimeout", "it did not answer in time", "run the same task again"),
    ("OSError", "the connection failed", NETWORK_REMEDY),
)


class TwilioError(Exception):
    """Twilio refused a request (``is_refusal``), or nobody knows what it says.

    ``what`` is a clause about Twilio, ``remedy`` says what to try. They contain no secret, and no
    character that a terminal would not print.
    """

    def __init__(self, what: str, remedy: str, *, is_refusal: bool) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy, self.is_refusal = what, remedy, is_refusal

    def __str__(self) -> str:
        return f"Twilio: {self.what}\nTry: {self.remedy}"


class MessageStatus(NamedTuple):
    """What became of a text: Twilio's status, and its error as "error 30034: ..." or empty."""

    status: str
    error: str


class TwilioApi:
    """Twilio's API for one account and API key."""

    def __init__(self, secret: Mapping[str, Any], base_url: str) -> None:
        """``secret`` has the credentials. Raises RefusedError if the URL is not Twilio's."""
        if not BASE_URL.fullmatch(base_url):
            what = "is not an address of Twilio's, so it gets no credentials"
            remedy = f"run: {spell('deploy', '--set', f'TwilioBaseUrl={DEFAULT_BASE_URL}')}"
            raise RefusedError("the stack's parameter TwilioBaseUrl", what, remedy)
        self._secret, self._base_url = secret, base_url

    def list_one_message(self) -> None:
        """List one message, which shows that Twilio accepts the credentials.

        Raises TwilioError otherwise.
        """
        answer = self._request("GET", "", params={"PageSize": 1})
        if not isinstance(answer.get("messages"), list):
            raise _make_foreign_answer_error("without a list of messages")

    def send(self, sender: str, recipient: str, text: str) -> str:
        """Send a text; return its SID. Raises TwilioError if it was not accepted."""
        # An alphanumeric sender may begin with MG too.
        is_service = MESSAGING_SERVICE_SID.fullmatch(sender)
        sender_field = "MessagingServiceSid" if is_service else "From"
        form = {"To": recipient, sender_field: sender, "Body": text}
        sid = str(self._request("POST", "", data=form).get("sid"))
        if not MESSAGE_SID.fullmatch(sid):
            raise _make_foreign_answer_error("without a message's SID")
        return sid

    def read_status(self, sid: str) -> MessageStatus:
        """Return what became of the text with this SID. Raises TwilioError if it is not known."""
        answer = self._request("GET", f"/{sid}")
        code = answer.get("error_code")
        error = self._quote(code, answer.get("error_message")) if code else ""
        return MessageStatus(_clean(answer.get("status") or "unknown"), error)

    def _request(
        self,
        method: str,
        path: str,
        params: dict[str, int] | None = None,
        data: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a request for the Messages resource; return the JSON object of the answer.

        Raises TwilioError for a refusal, an answer that is not Twilio's, or none.
        """
        from twilio.http.http_client import TwilioHttpClient
        from twilio.rest import Client

        http = TwilioHttpClient()
        http.timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)  # __init__ takes one number
        http.session.trust_env = self._base_url.startswith("https:")  # no proxy to the loopback
        credentials = (self._secret["api_key_sid"], self._secret["api_key_secret"])
        account_sid = self._secret["account_sid"]
        client = Client(*credentials, account_sid, http_client=http, environment=NO_EDGE)
        url = f"{self._base_url}/2010-04-01/Accounts/{account_sid}/Messages{path}.json"
        try:
            response = client.request(method, url, params=params, data=data)
        except OSError as error:  # all exceptions of requests are of this class
            raise _explain_network_error(error) from None
        finally:
            http.session.close()
        answer = _parse_object(response.text)
        is_success = 200 <= response.status_code < 300  # noqa: PLR2004 - the status codes of success
        if not is_success:
            raise self._explain_refusal(response.status_code, answer)
        return answer

    def _explain_refusal(self, status: int, answer: Mapping[str, Any]) -> TwilioError:
        """Return the error for an answer with an HTTP status that is not success."""
        code = answer.get("code")
        if not isinstance(code, int) or code < MIN_ERROR_CODE:
            return _make_foreign_answer_error(f"with HTTP status {status}")
        quote = self._quote(code, answer.get("message"))
        if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
            what = f"cannot answer now (HTTP {status}, {quote})"
            return TwilioError(what, "wait a minute, then try again", is_refusal=False)
        what, remedy = _explain_status(status, code)
        return TwilioError(f"{what} (HTTP {status}, {quote})", remedy, is_refusal=True)

    def _quote(self, code: object, message: object) -> str:
        """Return an error in Twilio's words: ``error 20003: "Authenticate"``."""
        text = str(message or "").replace(self._secret["api_key_secret"], "...")
        return f'error {_clean(code)}: "{_clean(text)}"'


def _explain_status(status: int, code: int) -> tuple[str, str]:
    """Return what a refusal means, and what to try."""
    if code in INACTIVE_ACCOUNT_CODES:
        return "the account is suspended or closed", "Twilio's console says why"
    if code == TEST_CREDENTIALS_CODE:
        return "says that these are test credentials", "use an API key of the live account"
    is_forbidden = status == FORBIDDEN or code in NO_RIGHT_CODES
    if status == UNAUTHORIZED and not is_forbidden:
        remedy = (
            "compare account SID, key SID and key secret with Twilio's console: all three are of"
            " one account and one Twilio Region, and the key is not deleted. A suspended account is"
            " refused like this too"
        )
        return "does not accept this key for this account", remedy
    if is_forbidden:
        remedy = (
            "give the key the rights to list, read and create messages, and look in Twilio's"
            " console whether the account is active"
        )
        return "does not allow this key to do that", remedy
    if status == NOT_FOUND:
        return "knows no such account or message", "compare the account SID with Twilio's console"
    return "refuses it", f"read https://www.twilio.com/docs/api/errors/{code}"


def _explain_network_error(error: Exception) -> TwilioError:
    """Return the error for an exception of requests; its text may contain the account's SID."""
    names = {kind.__name__ for kind in type(error).__mro__}
    _, what, remedy = next(entry for entry in NETWORK_ERRORS if entry[0] in names)
    return TwilioError(f"could not be reached: {what}", remedy, is_refusal=False)


def _make_foreign_answer_error(how: str) -> TwilioError:
    """Return the error for an answer that Twilio did not give; ``how`` describes it."""
    what = f"something else answered in its place, {how}: a proxy, or the sign-in page of a network"
    return TwilioError(what, NETWORK_REMEDY, is_refusal=False)


def _parse_object(body: str) -> dict[str, Any]:
    """Return the JSON object in the body of an answer; an empty one for anything else."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _clean(value: object) -> str:
    """Return a value of an answer, safe to print: short, without SIDs and phone numbers."""
    text = PRIVATE_TEXT.sub("...", str(value))
    return "".join(char if char.isprintable() else "?" for char in text[:MESSAGE_MAX_CHARS])
