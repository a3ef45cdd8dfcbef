"""Planted secrets are searched in all that a run leaves behind, and are only in their secret."""

from __future__ import annotations

import base64
import copy
import gzip
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulator import subscribe_mailbox
from tests.support.listener import Listener
from tooling.deploy import secret, stack
from tooling.errors import RefusedError
from tooling.local import rehearsal
from tooling.local.demo import SIGN_INS
from tooling.local.twilio_server import TwilioServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tooling.local.emulator import Emulator
    from tooling.local.rehearsal import LocalDeployment

pytestmark = pytest.mark.end_to_end

ACCOUNT = "666677778888"
KEY, KEY_SECRET, ROTATED = "SK" + "c" * 32, "canary-that-sings", "canary-that-sang"
RECIPIENT = "+15005550077"
CANARIES = {
    "the key's secret": KEY_SECRET,
    "a secret that was rotated out": ROTATED,
    "the number of a phone": RECIPIENT.removeprefix("+"),  # a request body encodes the + as %2B
    "the header of a request": base64.b64encode(f"{KEY}:{KEY_SECRET}".encode()).decode(),
}
IAM_USER = json.loads(SIGN_INS.read_text(encoding="utf-8"))[1]["event"]


class Traces:
    """Everything that a run leaves behind, by its place."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, place: str, content: str | bytes | object) -> None:
        """Add a text, bytes (also what is inside a zip or gzip file), or a JSON value."""
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content, default=str)
        raw = content.encode() if isinstance(content, str) else content
        if raw.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for name in archive.namelist():
                    self.add(f"{place}!{name}", archive.read(name))
        self.contents[place] = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw

    def find_canaries(self) -> list[str]:
        """Return each canary with each of its places."""
        return [
            f"{name}: {place}"
            for place, content in self.contents.items()
            for name, value in CANARIES.items()
            if value.encode() in content
        ]


@pytest.fixture(scope="module")
def run(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalDeployment, Traces]]:
    """A run with planted secrets: bootstrap, deploy, secret, and sign-ins with every error."""
    folder, traces, listener = tmp_path_factory.mktemp("account"), Traces(), Listener()
    with (
        TwilioServer.start(credentials={KEY: KEY_SECRET}) as twilio_server,
        rehearsal.use_account(
            emulator, twilio_server, folder, account_id=ACCOUNT, parameters={"AccountLabel": "test"}
        ) as deployment,
    ):
        deployment.bootstrap(listener.announce, listener.plan)
        deployment.deploy(
            rehearsal.build_artifacts(deployment.settings.root, listener.announce), listener.stack()
        )
        aws = deployment.as_owner()
        outputs = stack.outputs(aws, deployment.settings)
        mailbox = subscribe_mailbox(aws, outputs["AlertTopicArn"])
        invalid = {"api_key_secret": KEY_SECRET, "recipients": [f"{RECIPIENT}x"]}
        traces.add("an exception", refusal_text(invalid))
        deployment.fill_secret(api_key_sid=KEY, api_key_secret=KEY_SECRET, recipients=[RECIPIENT])
        sign_in(deployment, "198.51.100.1")
        twilio_server.fail(400, 21211, f"The 'To' number {RECIPIENT} is not a valid phone number.")
        sign_in(deployment, "198.51.100.2")
        twilio_server.fail(500, message=f"{KEY}:{KEY_SECRET}", times=2)
        sign_in(deployment, "198.51.100.3")
        not_json = f'{{"api_key_secret": "{ROTATED}", "recipients": "{RECIPIENT}"'
        put_secret(deployment, not_json)
        twilio_server.fail(401, to=RECIPIENT)  # not the look-up of a text before a retry
        sign_in(deployment, "198.51.100.4")
        add_aws_contents(deployment, traces, mailbox.url)
        for message in twilio_server.messages:
            traces.add(f"text {message['sid']}", message["body"])
        output = [listener.lines, listener.planned, listener.changes, listener.events]
        traces.add("output of the tasks", output)
        templates = (deployment.settings.root / "cfn").glob("*.yaml")
        for path in (*folder.rglob("*"), *templates):
            if path.is_file():
                traces.add(str(path), path.read_bytes())
        yield deployment, traces


def refusal_text(changes: dict[str, Any]) -> str:
    stream = io.StringIO(json.dumps({**rehearsal.TWILIO, **changes}))
    with pytest.raises(RefusedError) as refusal:
        secret.read_json(stream)
    return repr(refusal.value) + str(refusal.value) + str(refusal.getrepr(showlocals=False))


def put_secret(deployment: LocalDeployment, text: str) -> None:
    aws = deployment.as_owner()
    arn = stack.outputs(aws, deployment.settings)["TwilioSecretArn"]
    aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=text)


def sign_in(deployment: LocalDeployment, address: str) -> None:
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, deployment.settings.region)
    event["detail"]["sourceIPAddress"] = address
    result = deployment.sign_in(event)
    assert result.decision["verdict"] == "alert"
    deployment.wait_until(
        lambda: [
            line
            for line in deployment.log_lines()
            if result.event_id in line and '"delivery"' in line
        ]
    )


def add_aws_contents(deployment: LocalDeployment, traces: Traces, mailbox_url: str) -> None:
    """Add everything that AWS stores of the run, except the secret itself."""
    aws = deployment.as_owner()
    outputs = stack.outputs(aws, deployment.settings)
    dead_letters = outputs["FailedEventsQueueUrl"], outputs["UndeliveredEventsQueueUrl"]
    for url in (mailbox_url, *dead_letters):
        response = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in response.get("Messages", []):
            traces.add(f"queue {url.rpartition('/')[2]}", message["Body"])
    logs, s3, cloudformation = aws.client("logs"), aws.client("s3"), aws.client("cloudformation")
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        traces.add(f"log {group['logGroupName']}", "\n".join(event["message"] for event in events))
    for bucket in (bucket["Name"] for bucket in s3.list_buckets()["Buckets"]):
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            traces.add(f"s3 {bucket}/{item['Key']}", body)
    for live in cloudformation.describe_stacks()["Stacks"]:
        name = live["StackName"]
        stack_events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        traces.add(f"stack {name}", [live, stack_events])
        traces.add(f"template {name}", cloudformation.get_template(StackName=name)["TemplateBody"])
    function = aws.client("lambda").get_function(FunctionName=outputs["FunctionName"])
    traces.add("function", function["Configuration"])
    traces.add("ledger", aws.client("dynamodb").scan(TableName=outputs["LedgerTableName"])["Items"])
    response = aws.client("ssm").get_parameters_by_path(
        Path="/", Recursive=True, WithDecryption=True
    )
    traces.add("ssm", response["Parameters"])


def test_planted_secrets_are_only_in_their_secret(
    run: tuple[LocalDeployment, Traces],
) -> None:
    deployment, traces = run
    hits = traces.find_canaries()
    print(f"planted {len(CANARIES)}, places {len(traces.contents)}, hits {len(hits)}")
    assert hits == []
    aws = deployment.as_owner()
    arn = stack.outputs(aws, deployment.settings)["TwilioSecretArn"]
    value = aws.client("secretsmanager").get_secret_value(SecretId=arn)
    traces.add("the secret", value["SecretString"])
    assert traces.find_canaries() == [
        "a secret that was rotated out: the secret",
        "the number of a phone: the secret",
    ]
    del traces.contents["the secret"]


@pytest.mark.parametrize(
    "kind",
    [
        "log /aws/lambda/",
        "log /aws/events/",
        "s3 signwatch-templates",
        "s3 signwatch-artifacts",
        "!signwatch/alerting/sms.py",
        "!python/twilio/",
        "terraform.tfstate",
        "queue mailbox",
        "text SM",
        "stack signwatch",
        "template signwatch",
        "function",
        "ledger",
        "ssm",
        "an exception",
        "output of the tasks",
        "cfn/foundation.yaml",
    ],
)
def test_search_covers_each_kind_of_place(run: tuple[LocalDeployment, Traces], kind: str) -> None:
    _, traces = run
    assert [place for place, raw in traces.contents.items() if kind in place and len(raw) > 2]


def test_log_has_the_errors_that_could_leak_a_secret(
    run: tuple[LocalDeployment, Traces],
) -> None:
    contents = run[1].contents
    (place,) = [place for place in contents if place.startswith("log /aws/lambda/")]
    for message in (b"error 21211", b"Twilio answered 500", b"Twilio answered 401"):
        assert message in contents[place]


def test_secret_in_a_zip_in_a_bucket_is_found() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("settings.py", f"KEY = '{KEY_SECRET[::-1] * 9}' # {KEY_SECRET}")
    traces = Traces()
    traces.add("s3 bucket/code.zip", archive.getvalue())
    traces.add("log", gzip.compress(RECIPIENT.encode()))
    assert traces.find_canaries() == [
        "the key's secret: s3 bucket/code.zip!settings.py",
        "the number of a phone: log",
    ]
