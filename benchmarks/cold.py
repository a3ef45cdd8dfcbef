"""Cold starts of the packaged function, beside an empty handler and a naive alerting one.

    python benchmarks/cold.py

Each start is a new process of AWS's runtime client (awslambdaric) in the environment .venv-runtime,
with zip and layer as ``tooling.deploy.package`` builds them; Twilio and AWS are loopback servers.
Four kinds take turns, and their medians are compared: empty, naive, and the product with a sign-in
from a recognised address ("recognised") and from another ("alert"). There are two variants of the
zips: without byte-code ("plain") and with it ("byte-code"). Start, imports and the first event
count; unpacking the zips does not. Ends in 1 when a ratio is over its limit.

The naive handler uses boto3 and the whole twilio package from a layer: it publishes one message to
SNS and calls ``messages.create`` once.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import NamedTuple

import charset_normalizer

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from tests.support.dependencies import ENVIRONMENT, KEYS, TWILIO_SECRET  # noqa: E402 - see above
from tests.support.sign_ins import RECOGNISED, event  # noqa: E402 - see above
from tooling.deploy import layer, package  # noqa: E402 - see above
from tooling.local.sandbox.execution_environment import Sandbox  # noqa: E402 - see above
from tooling.local.sandbox.function import Function, Package  # noqa: E402 - see above
from tooling.local.twilio_server import TwilioServer  # noqa: E402 - see above

PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
RUNS = 20
SIGN_IN = "iam-user-signs-in-with-mfa"
# The durations of the start ("Init") and of the event in a REPORT line, without "Billed Duration".
MILLISECONDS = re.compile(r"(?:\t|^)(?:Init )?Duration: ([\d.]+) ms")
LIMITS = {  # by kind and the kind that it is compared with: the largest ratio of each variant
    ("recognised", "empty"): {"plain": 1.6, "byte-code": 1.3},
    ("alert", "naive"): {"plain": 0.7, "byte-code": 1.15},
}
EMPTY_HANDLER = "def handler(event, context):\n    return {}\n"
NAIVE_HANDLER = """
import json, os
import boto3
from twilio.rest import Client

def handler(event, context):
    text = "Sign-in from " + event["detail"]["sourceIPAddress"]
    sns = boto3.client("sns")
    sns.publish(TopicArn=os.environ["ALERT_TOPIC_ARN"], Subject="Sign-in", Message=text)
    secret = json.loads(os.environ["TWILIO_SECRET"])
    client = Client(secret["api_key_sid"], secret["api_key_secret"], secret["account_sid"])
    client.api.base_url = os.environ["TWILIO_BASE_URL"]
    client.messages.create(to=secret["recipients"][0], from_=secret["sender"], body=text)
    return {"verdict": "alert"}
"""
AWS_ANSWERS = {  # by the operation that the request names
    "GetParametersByPath": {"Parameters": []},
    "GetSecretValue": {
        "SecretString": json.dumps({**TWILIO_SECRET, "recipients": ["+15005550009"]})
    },
}


class Kind(NamedTuple):
    """A function to start; ``verdict`` is what it must return, None for no verdict."""

    handler: str
    package: Package
    environment: dict[str, str]
    verdict: str | None


class AwsHandler(BaseHTTPRequestHandler):
    """Answers what an alert asks of DynamoDB, Secrets Manager, Systems Manager and SNS."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer every request with success."""
        self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        body = json.dumps(AWS_ANSWERS.get(operation, {})).encode()
        if not operation:  # SNS names its operation in the form and answers in XML
            body = b"<PublishResponse><PublishResult/></PublishResponse>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""


def build_kinds(variant: str, folder: Path, urls: dict[str, str]) -> dict[str, Kind]:
    """Build the zips of one variant, "plain" or "byte-code", and return the kinds by name.

    ``urls`` are the environment variables with the addresses of the loopback servers.
    """
    interpreter = str(PYTHON) if variant == "byte-code" else None
    artifacts = package.build(
        ROOT,
        folder / "dist",
        announce=print,
        runtime=f"python{_python_version()}",
        find_interpreter=lambda _: interpreter,
    )
    product = Package(artifacts.code.path, [artifacts.layer.path])
    empty = folder / "empty"
    empty.mkdir()
    (empty / "function.py").write_text(EMPTY_HANDLER)
    naive = folder / "naive"
    naive.mkdir()
    (naive / "function.py").write_text(NAIVE_HANDLER)
    twilio = folder / "twilio"
    print("naive layer: installing the pins of the layer without pruning")
    layer.install(ROOT / "layer" / "requirements.txt", _python_version(), twilio / "python")
    detector = Path(charset_normalizer.__file__).parent  # requests imports it if it is installed
    shutil.copytree(detector, twilio / "python" / detector.name)
    empty_zip, naive_zip, twilio_zip = (_zip(tree, interpreter) for tree in (empty, naive, twilio))
    environment = ENVIRONMENT | urls
    handler = "signwatch.handler.handler"
    recognised = environment | {"KNOWN_NETWORKS": RECOGNISED}
    naive_environment = environment | {"TWILIO_SECRET": json.dumps(TWILIO_SECRET)}
    return {
        "empty": Kind("function.handler", Package(empty_zip), environment, None),
        "recognised": Kind(handler, product, recognised, "recognised"),
        "alert": Kind(handler, product, environment, "alert"),
        "naive": Kind(
            "function.handler", Package(naive_zip, [twilio_zip]), naive_environment, "alert"
        ),
    }


def _zip(tree: Path, interpreter: str | None) -> Path:
    """Zip a folder; with an ``interpreter``, also the byte-code that it compiles.

    That byte-code is loaded without a comparison with its source ("unchecked").
    """
    if interpreter:
        _compile(interpreter, tree, "--invalidation-mode", "unchecked-hash")
    target = tree.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(tree.rglob("*")):
            archive.write(path, path.relative_to(tree))
    return target


def _compile(interpreter: str, folder: Path, *options: str) -> None:
    """Compile every module below ``folder`` to byte-code."""
    command = [interpreter, "-I", "-m", "compileall", "-q", *options, str(folder)]
    subprocess.run(command, check=True)


def _python_version() -> str:
    """Return the version of the interpreter that is measured, such as "3.13"."""
    command = [str(PYTHON), "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cold_start_milliseconds(kind: Kind, folder: Path) -> float:
    """Start a process, let it handle one sign-in, and return what both took together.

    Raises RuntimeError if the function fails or returns another verdict.
    """
    environment = kind.environment | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    function = Function(
        "benchmark",
        "111122223333",
        "us-east-1",
        kind.handler,
        memory_mb=256,
        timeout_seconds=60.0,
        environment=environment,
    )
    sandbox = Sandbox(kind.package, function, PYTHON, folder)
    try:
        result = sandbox.invoke(event(SIGN_IN), "request-1")
    finally:
        sandbox.close()
    if result.error or result.payload.get("verdict") != kind.verdict:
        raise RuntimeError("\n".join([str(result.payload), *result.log]))
    report_line = result.log[-1]
    return sum(float(duration) for duration in MILLISECONDS.findall(report_line))


def measure(variant: str, kinds: dict[str, Kind], folder: Path) -> dict[str, float]:
    """Return the median of each kind in milliseconds, and print it with the range of the runs."""
    runs: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(RUNS):
        for name, kind in kinds.items():
            runs[name].append(cold_start_milliseconds(kind, folder))
    for name, durations in runs.items():
        low, high = min(durations), max(durations)
        print(f"{median(durations):6.0f} ms  {name}, {variant} ({low:.0f} to {high:.0f})")
    return {name: median(durations) for name, durations in runs.items()}


def compare(variant: str, medians: dict[str, float]) -> bool:
    """Print the ratios of a variant; return whether all are within their limits."""
    is_within = True
    for (name, base), limits in LIMITS.items():
        ratio, limit = medians[name] / medians[base], limits[variant]
        print(f"{ratio:6.2f}     {name} / {base}, {variant} (at most {limit})")
        is_within = is_within and ratio <= limit
    return is_within


def run(folder: Path, urls: dict[str, str]) -> bool:
    """Measure both variants; return whether all ratios are within their limits."""
    results = []
    for variant in ("plain", "byte-code"):
        variant_folder = folder / variant
        variant_folder.mkdir()
        kinds = build_kinds(variant, variant_folder, urls)
        medians = measure(variant, kinds, variant_folder / "sandboxes")
        results.append(compare(variant, medians))
    return all(results)


def main() -> int:
    """Print medians and ratios; 1 when a ratio is over its limit."""
    _compile(str(PYTHON), PYTHON.parent.parent / "lib")  # Lambda's own boto3 is compiled too
    aws = ThreadingHTTPServer(("127.0.0.1", 0), AwsHandler)
    threading.Thread(target=aws.serve_forever, daemon=True).start()
    with TwilioServer.start(credentials=KEYS) as twilio, tempfile.TemporaryDirectory() as folder:
        urls = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.server_address[1]}",
            "TWILIO_BASE_URL": twilio.url,
        }
        is_within = run(Path(folder), urls)
        expected = 4 * RUNS  # two variants, in each of which "alert" and "naive" send a text
        if len(twilio.messages) != expected:
            raise RuntimeError(f"{len(twilio.messages)} texts were sent, not {expected}")
    aws.shutdown()
    return int(not is_within)


if __name__ == "__main__":
    sys.exit(main())
