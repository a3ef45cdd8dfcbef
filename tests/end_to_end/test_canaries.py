"""Planted secrets, looked for in everything that a whole run leaves behind: they lie in their secret alone."""

from __future__ import annotations

import base64
import copy
import gzip
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

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
    "the number of a phone": RECIPIENT.removeprefix("+"),  # which a request's body writes as %2B
    "the header of a request": base64.b64encode(f"{KEY}:{KEY_SECRET}".encode()).decode(),
}
IAM_USER = json.loads(SIGN_INS.read_text(encoding="utf-8"))[1]["event"]


class Haystack:
    """Everything that was left behind, by where it was found."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def add(self, where: str, content: str | bytes | object) -> None:
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content, default=str)
        raw = content.encode() if isinstance(content, str) else content
        if raw.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for name in archive.namelist():
                    self.add(f"{where}!{name}", archive.read(name))
        self.found[where] = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw

    def hits(self) -> list[str]:
        """Each canary with the places where it lies."""
        needles = {name: value.encode() for name, value in CANARIES.items()}
        return [
            f"{name}: {where}"
            for where, raw in self.found.items()
            for name, it in needles.items()
            if it in raw
        ]


@pytest.fixture(scope="module")
def haystack(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalDeployment, Haystack]]:
    """A whole run with planted secrets: bootstrap, deploy, secret, and sign-ins on which everything goes wrong once."""
    folder, hay, listener = tmp_path_factory.mktemp("account"), Haystack(), Listener()
    with (
        TwilioServer.start(accounts={KEY: KEY_SECRET}) as twilio_server,
        rehearsal.use_account(
            emulator, twilio_server, folder, account_id=ACCOUNT, parameters={"AccountLabel": "test"}
        ) as deployment,
    ):
        deployment.bootstrap(listener.announce, listener.plan)
        deployment.deploy(
            rehearsal.build_artifacts(deployment.settings.root, listener.announce), listener.stack()
        )
        mails = subscribe(deployment)
        hay.add(
            "an exception", refused({"api_key_secret": KEY_SECRET, "recipients": [f"{RECIPIENT}x"]})
        )
        fill(deployment)
        sign_in(deployment, "198.51.100.1")
        twilio_server.fail(400, 21211, f"The 'To' number {RECIPIENT} is not a valid phone number.")
        sign_in(deployment, "198.51.100.2")
        twilio_server.fail(500, message=f"{KEY}:{KEY_SECRET}", times=2)
        sign_in(deployment, "198.51.100.3")
        put(
            deployment, f'{{"api_key_secret": "{ROTATED}", "recipients": "{RECIPIENT}"'
        )  # which is no JSON
        twilio_server.fail(401, times=1)
        sign_in(deployment, "198.51.100.4")
        gather(deployment, hay, mails)
        for message in twilio_server.messages:
            hay.add(f"text {message['sid']}", message["body"])
        hay.add(
            "what the words said",
            [listener.lines, listener.planned, listener.changes, listener.events],
        )
        for file in (
            path
            for path in (*folder.rglob("*"), *(deployment.settings.root / "cfn").glob("*.yaml"))
            if path.is_file()
        ):
            hay.add(str(file), file.read_bytes())
        yield deployment, hay


def refused(changes: dict[str, Any]) -> str:
    given = io.StringIO(json.dumps({**rehearsal.TWILIO, **changes}))
    with pytest.raises(RefusedError) as refusal:
        secret.read(given)
    return repr(refusal.value) + str(refusal.value) + str(refusal.getrepr(showlocals=False))


def put(deployment: LocalDeployment, text: str) -> None:
    aws = deployment.as_owner()
    arn = stack.outputs(aws, deployment.settings)["TwilioSecretArn"]
    aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=text)


def fill(deployment: LocalDeployment) -> None:
    deployment.fill_secret(api_key_sid=KEY, api_key_secret=KEY_SECRET, recipients=[RECIPIENT])


def sign_in(deployment: LocalDeployment, address: str) -> None:
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, deployment.settings.region)
    event["detail"]["sourceIPAddress"] = address
    assert deployment.sign_in(event).decision["verdict"] == "alert"


def subscribe(deployment: LocalDeployment) -> str:
    """A queue that hears what the topic's subscribers are sent; return its URL."""
    aws = deployment.as_owner()
    sqs = aws.client("sqs")
    url: str = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sender = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [sender]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    aws.client("sns").subscribe(
        TopicArn=stack.outputs(aws, deployment.settings)["AlertTopicArn"],
        Protocol="sqs",
        Endpoint=arn,
    )
    return url


def gather(deployment: LocalDeployment, hay: Haystack, mails: str) -> None:
    """Everything that AWS keeps of the run, but for the secret itself."""
    aws = deployment.as_owner()
    outputs = stack.outputs(aws, deployment.settings)
    for url in (mails, outputs["FailedEventsQueueUrl"], outputs["UndeliveredEventsQueueUrl"]):
        for message in (
            aws.client("sqs")
            .receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            .get("Messages", [])
        ):
            hay.add(f"queue {url.rpartition('/')[2]}", message["Body"])
    logs, s3, cloudformation = aws.client("logs"), aws.client("s3"), aws.client("cloudformation")
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        hay.add(f"log {group['logGroupName']}", "\n".join(event["message"] for event in events))
    for bucket in (bucket["Name"] for bucket in s3.list_buckets()["Buckets"]):
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            hay.add(
                f"s3 {bucket}/{item['Key']}",
                s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read(),
            )
    for made in cloudformation.describe_stacks()["Stacks"]:
        name = made["StackName"]
        hay.add(
            f"stack {name}",
            [made, cloudformation.describe_stack_events(StackName=name)["StackEvents"]],
        )
        hay.add(f"template {name}", cloudformation.get_template(StackName=name)["TemplateBody"])
    hay.add(
        "function",
        aws.client("lambda").get_function(FunctionName=outputs["FunctionName"])["Configuration"],
    )
    hay.add("ledger", aws.client("dynamodb").scan(TableName=outputs["LedgerTableName"])["Items"])
    hay.add(
        "ssm",
        aws.client("ssm").get_parameters_by_path(Path="/", Recursive=True, WithDecryption=True)[
            "Parameters"
        ],
    )


def test_planted_secrets_are_only_in_their_secret(
    haystack: tuple[LocalDeployment, Haystack],
) -> None:
    deployment, hay = haystack
    print(f"planted {len(CANARIES)}, places {len(hay.found)}, hits {len(hay.hits())}")
    assert hay.hits() == []
    aws = deployment.as_owner()
    arn = stack.outputs(aws, deployment.settings)["TwilioSecretArn"]
    hay.add(
        "the secret", aws.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    )
    assert hay.hits() == [
        "a secret that was rotated out: the secret",
        "the number of a phone: the secret",
    ]
    del hay.found["the secret"]


@pytest.mark.parametrize(
    "kind",
    ["log /aws/lambda/", "log /aws/events/", "s3 signwatch-templates", "s3 signwatch-artifacts", "!signwatch/sms.py",
     "!python/twilio/", "terraform.tfstate", "queue mailbox", "text SM", "stack signwatch", "template signwatch",
     "function", "ledger", "ssm", "an exception", "what the words said", "cfn/foundation.yaml"],
)  # fmt: skip
def test_search_covers_each_kind_of_place(
    haystack: tuple[LocalDeployment, Haystack], kind: str
) -> None:
    places = [where for where, raw in haystack[1].found.items() if kind in where and len(raw) > 2]
    assert places


def test_log_has_the_errors_that_could_leak_a_secret(
    haystack: tuple[LocalDeployment, Haystack],
) -> None:
    log = next(
        raw.decode()
        for where, raw in haystack[1].found.items()
        if where.startswith("log /aws/lambda/")
    )
    for told in ("error 21211", "Twilio answered 500", "Twilio answered 401"):
        assert told in log


def test_secret_in_a_zip_in_a_bucket_is_found() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("settings.py", f"KEY = '{KEY_SECRET[::-1] * 9}' # {KEY_SECRET}")
    hay = Haystack()
    hay.add("s3 bucket/code.zip", archive.getvalue())
    hay.add("log", gzip.compress(RECIPIENT.encode()))
    assert hay.hits() == [
        "the key's secret: s3 bucket/code.zip!settings.py",
        "the number of a phone: log",
    ]
