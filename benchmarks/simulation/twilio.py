"""Twilio's Messages resource with faults, below the function's HTTP client."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import requests
import urllib3
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    import random

    from benchmarks.simulation.scheduler import Scheduler

# What may happen to a request, with its share of the requests; the rest is answered at once.
FAULTS = {
    "429": 0.02,
    "500": 0.01,
    "503": 0.01,
    "refused": 0.005,
    "reset": 0.01,
    "slow": 0.02,
    "no answer": 0.02,
}
SERVED_SHARES = {"500": 0.05, "reset": 0.1, "no answer": 0.5}  # of those that show an error
OUTAGE_FAULTS = ("refused", "503", "no answer")
CONNECT_SECONDS = 0.05
FAST_SECONDS = (0.1, 0.6)
ANSWER_SECONDS = {"slow": (2.0, 12.0), "no answer": (1e9, 1e9)}
FAILURES_AFTER_ACCEPTANCE = 0.01
SETTLE_SECONDS = (5.0, 600.0)  # from the acceptance to the final status
FAILURE_CODES = (30003, 30005, 30006, 30007, 30008)
LIST_PATH = re.compile(r"/2010-04-01/Accounts/AC[0-9a-f]{32}/Messages\.json")
MESSAGE_PATH = re.compile(r"/2010-04-01/Accounts/AC[0-9a-f]{32}/Messages/(SM[0-9a-f]{32})\.json")


@dataclass
class Text:
    """A text that Twilio accepted."""

    recipient: str
    body: str
    accepted_at: float
    settles_at: float
    error_code: int | None  # why it will not be delivered


@dataclass
class Twilio:
    """The texts that were accepted, and the requests for each recipient and alert."""

    scheduler: Scheduler
    rng: random.Random
    outage: tuple[float, float]  # its begin and its end
    texts: dict[str, Text] = field(default_factory=dict)  # by message id
    posts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by body and recipient
    request_count: int = 0  # to send a text, or to look for it; also those without a connection
    faults: Counter[str] = field(default_factory=Counter)

    def install(self) -> None:
        """Answer in place of the network, for every session of requests."""

        def send(
            _adapter: HTTPAdapter,
            request: requests.PreparedRequest,
            *_: Any,
            timeout: Any = None,
            **__: Any,
        ) -> requests.Response:
            return self._serve(request, timeout)

        HTTPAdapter.send = send  # type: ignore[assignment,method-assign] # the network, below all of requests

    def _serve(self, request: requests.PreparedRequest, timeout: Any) -> requests.Response:
        """Answer one request, or raise what requests raises."""
        _, read_seconds = timeout
        path, _, query = str(request.path_url).partition("?")
        fault = self._choose_fault()
        self.faults[f"{request.method} {fault or 'answered'}"] += 1
        self.request_count += LIST_PATH.fullmatch(path) is not None
        self.scheduler.sleep(CONNECT_SECONDS)
        if fault == "refused":
            reason = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type] # no connection
            raise requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, path, reason))  # type: ignore[arg-type] # no pool
        fields = _parse_form(_read_body(request) or query)
        if request.method == "POST":
            self.posts[fields["Body"], fields["To"]] += 1
        seconds = self.rng.uniform(*ANSWER_SECONDS.get(fault or "", FAST_SECONDS))
        half = min(seconds, read_seconds) / 2
        self.scheduler.sleep(half)
        is_served = fault in (None, "slow") or self._is_served_despite(fault)
        status, answer = self._answer(str(request.method), path, fields) if is_served else (0, {})
        self.scheduler.sleep(half)
        if seconds > read_seconds:
            raise requests.ReadTimeout("no answer", request=request)
        if fault == "reset":
            error = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())
            raise requests.ConnectionError(error, request=request)
        if fault in ("429", "500", "503"):
            status = int(fault)
            answer = {"code": 20000 + status, "message": "simulated", "status": status}
        return _make_response(request, status, answer, retry_after=fault == "429")

    def _choose_fault(self) -> str | None:
        """Return what happens to a request; None if nothing does."""
        if self.is_down:
            return self.rng.choice(OUTAGE_FAULTS)
        number = self.rng.random()
        for fault, share in FAULTS.items():
            number -= share
            if number < 0:
                return fault
        return None

    @property
    def is_down(self) -> bool:
        """Whether it is the time of the outage."""
        begin, end = self.outage
        return begin <= self.scheduler.now < end

    def _is_served_despite(self, fault: str | None) -> bool:
        """Return whether Twilio does as asked although the client sees an error."""
        share = SERVED_SHARES.get(fault or "", 0.0)
        return not self.is_down and self.rng.random() < share

    def _answer(self, method: str, path: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return Twilio's status and answer to a request that it serves."""
        if method == "POST" and LIST_PATH.fullmatch(path):
            return 201, self._accept(fields)
        if method == "GET" and LIST_PATH.fullmatch(path):
            return 200, self._list(fields["To"], int(fields.get("PageSize", "50")))
        match = MESSAGE_PATH.fullmatch(path)
        if method == "GET" and match and match[1] in self.texts:
            return 200, self._show(match[1])
        raise ValueError(f"not simulated: {method} {path}")

    def _list(self, recipient: str, page_size: int) -> dict[str, Any]:
        """Return the newest texts to a recipient."""
        sids = (sid for sid in reversed(self.texts) if self.texts[sid].recipient == recipient)
        return {"messages": [self._show(sid) for sid in itertools.islice(sids, page_size)]}

    def _accept(self, fields: dict[str, str]) -> dict[str, Any]:
        """Accept a text, and decide what will become of it."""
        sid = f"SM{self.rng.getrandbits(128):032x}"
        now = self.scheduler.now
        fails = self.rng.random() < FAILURES_AFTER_ACCEPTANCE
        self.texts[sid] = Text(
            fields["To"],
            fields["Body"],
            accepted_at=now,
            settles_at=now + self.rng.uniform(*SETTLE_SECONDS),
            error_code=self.rng.choice(FAILURE_CODES) if fails else None,
        )
        return self._show(sid)

    def _show(self, sid: str) -> dict[str, Any]:
        """Return a message as Twilio shows it now."""
        text = self.texts[sid]
        status, error_code = "sent", None
        if self.scheduler.now == text.accepted_at:
            status = "queued"
        elif self.scheduler.now >= text.settles_at:
            status = "undelivered" if text.error_code else "delivered"
            error_code = text.error_code
        return {
            "sid": sid,
            "status": status,
            "error_code": error_code,
            "error_message": None,
            "to": text.recipient,
            "date_created": formatdate(text.accepted_at),
            "body": text.body,
        }


def _read_body(request: requests.PreparedRequest) -> str:
    """Return the body as the connection would send it; it may be an iterator."""
    body: Any = request.body or b""
    if isinstance(body, str):
        return body
    return (body if isinstance(body, bytes) else b"".join(body)).decode()


def _parse_form(text: str) -> dict[str, str]:
    """Return the fields of a form or of a query."""
    return {name: values[0] for name, values in parse_qs(text).items()}


def _make_response(
    request: requests.PreparedRequest, status: int, answer: dict[str, Any], *, retry_after: bool
) -> requests.Response:
    """Return an answer in the form of requests."""
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps(answer).encode()
    response.headers["Content-Type"] = "application/json"
    if retry_after:
        response.headers["Retry-After"] = "1"
    response.encoding = "utf-8"
    response.request = request
    response.url = str(request.url)
    return response
