"""Compares making the forwarders of five Regions with making that of one.

    python benchmarks/regions.py

CloudFormation is a loopback server, in which each stack takes 0.5 s. Each turn makes one forwarder
and then five, each time in a new session of boto3, as a task has. The survey of the Regions is not
counted: it asks all of them, however many get a forwarder. Prints the ratio of every turn
and their median. Ends with 1 if the median is over 1.5.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

import boto3  # noqa: E402 - as the modules below

from tooling.deploy.account import Account  # noqa: E402 - needs the source roots
from tooling.operate import forwarders  # noqa: E402 - needs the source roots
from tooling.settings import Settings  # noqa: E402 - needs the source roots

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STACK_SECONDS = 0.5
TURNS = 7
MAX_RATIO = 1.5
ACCOUNT, HOME = "111122223333", "eu-west-1"
REGIONS = ("us-east-1", "us-east-2", "eu-north-1", "ap-southeast-2", "eu-central-1")
STACK_ID = f"arn:aws:cloudformation:{HOME}:{ACCOUNT}:stack/signwatch-forwarder/1"
SERVICE_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/signwatch-cloudformation"
CREDENTIAL_SCOPE = re.compile(r"Credential=([^/]+/[^/]+/[^/]+)/")  # key, day and Region
CHANGE = (
    "<Changes><member><ResourceChange><Action>Add</Action>"
    "<LogicalResourceId>ForwarderRule</LogicalResourceId>"
    "<ResourceType>AWS::Events::Rule</ResourceType></ResourceChange></member></Changes>"
)
MISSING = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>"
    "<Message>Stack with id signwatch-forwarder does not exist</Message></Error></ErrorResponse>"
)


class CloudFormation(BaseHTTPRequestHandler):
    """A Region's CloudFormation: a stack is complete STACK_SECONDS after its change set began."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for a whole response
    ends: ClassVar[defaultdict[str, float]] = defaultdict(
        float
    )  # by credential scope; 0.0: no stack

    def do_POST(self) -> None:
        """Answer one action of the query protocol."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        action = parse_qs(body)["Action"][0]
        scope = CREDENTIAL_SCOPE.search(self.headers["Authorization"])
        content = self._answer(action, scope[1] if scope else "")
        result = f"<R><{action}Result>{content}</{action}Result></R>"
        response = (content if content is MISSING else result).encode()
        self.send_response(400 if content is MISSING else 200)
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def _answer(self, action: str, scope: str) -> str:
        """Return the content of the response to an action in an account and Region."""
        if action == "CreateChangeSet":
            return f"<Id>change-set</Id><StackId>{STACK_ID}</StackId>"
        if action == "DescribeChangeSet":
            return f"<StackName>x</StackName><Status>CREATE_COMPLETE</Status>{CHANGE}"
        if action == "ExecuteChangeSet":
            self.ends[scope] = time.monotonic() + STACK_SECONDS
        if action != "DescribeStacks":
            return "<StackEvents/>"
        if not self.ends[scope]:
            return MISSING
        is_over = time.monotonic() >= self.ends[scope]
        status = "CREATE_COMPLETE" if is_over else "CREATE_IN_PROGRESS"
        member = f"<StackId>{STACK_ID}</StackId><StackStatus>{status}</StackStatus>"
        return f"<Stacks><member>{member}</member></Stacks>"

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def measure(regions: tuple[str, ...], key: str) -> float:
    """Return the seconds in which the forwarders of these Regions are made.

    ``key`` is an access key, and with it an account without stacks.
    """
    settings = Settings(account=ACCOUNT, region=HOME, prefix="signwatch")
    content = forwarders.make_content(settings, SERVICE_ROLE_ARN, None)
    found = forwarders.Survey(dict.fromkeys(regions))
    plan = forwarders.Plan(dict.fromkeys(regions, forwarders.CREATE), found)
    session = boto3.Session(key, "secret", region_name=HOME)
    start = time.perf_counter()
    aws = Account(session, ACCOUNT, HOME, "caller")
    forwarders.apply(aws, plan, content, lambda _: None).refuse_failures()
    return time.perf_counter() - start


def serve(connection: Connection) -> None:
    """Serve CloudFormation, in a process of its own; send its port first."""
    with ThreadingHTTPServer(("127.0.0.1", 0), CloudFormation) as server:
        connection.send(server.server_port)
        server.serve_forever()


def main() -> int:
    """Print the ratios; return 1 if their median is over the limit."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(sender,), daemon=True)
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{receiver.recv()}"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    ratios = []
    for turn in range(TURNS):
        one = measure(REGIONS[:1], f"one-{turn}")
        five = measure(REGIONS, f"five-{turn}")
        ratios.append(five / one)
        print(f"{ratios[-1]:5.2f}  one {one:.2f} s, five {five:.2f} s")
    server.terminate()
    result = median(ratios)
    print(f"{result:5.2f}  median: five Regions, as a share of one (at most {MAX_RATIO})")
    return int(result > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
