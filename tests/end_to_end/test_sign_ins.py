"""Sign-ins on the deployed stacks: from CloudTrail's record to the phone, by way of the packaged zips."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.listener import Listener
from tooling import rehearsal, stack
from tooling.demo import SIGN_INS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.local.phone import Phone
    from tooling.rehearsal import Passage, Rehearsal

pytestmark = pytest.mark.end_to_end

ACCOUNT = "222233334444"
RECORDS = json.loads(SIGN_INS.read_text(encoding="utf-8"))
IAM_USER, ROOT_USER, IDENTITY_CENTER = (RECORDS[number]["event"] for number in (1, 2, 3))


@pytest.fixture(scope="module")
def stage(prepare: Callable[[str], AbstractContextManager[Rehearsal]]) -> Iterator[Rehearsal]:
    with prepare(ACCOUNT) as prepared:
        artifacts = rehearsal.built(prepared.settings.root, Listener().announce)
        prepared.deploy(artifacts, Listener().stack())
        yield prepared


@pytest.fixture(scope="module")
def mailbox(stage: Rehearsal) -> Callable[[], list[dict[str, Any]]]:
    """A queue that hears what the topic's e-mail subscribers are sent."""
    aws = stage.enter()
    sqs, sns = aws.client("sqs"), aws.client("sns")
    url = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}
    )
    sns.subscribe(TopicArn=stack.outputs(aws, stage.settings)["AlertTopicArn"], Protocol="sqs", Endpoint=arn)

    def received() -> list[dict[str, Any]]:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
        for message in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in got]

    return received


@pytest.fixture(scope="module")
def silent(stage: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]]) -> tuple[Passage, list[dict[str, Any]]]:
    """An unknown sign-in while the secret is still empty; afterwards the secret is filled."""
    passage = sign_in(stage, IAM_USER)
    mails = mailbox()
    stage.fill_secret()
    return passage, mails


@pytest.fixture
def filled(stage: Rehearsal, silent: object, mailbox: Callable[[], list[dict[str, Any]]]) -> Rehearsal:
    mailbox()
    return stage


def sign_in(stage: Rehearsal, record: dict[str, Any], **changes: Any) -> Passage:
    event = rehearsal.now(copy.deepcopy(record), ACCOUNT, stage.settings.region)
    event["detail"] |= changes
    return stage.sign_in({**event, "detail": {key: value for key, value in event["detail"].items() if value != "gone"}})


def test_with_an_empty_secret_the_alert_goes_out_by_e_mail(silent: tuple[Passage, list[dict[str, Any]]]) -> None:
    passage, mails = silent
    assert passage.decision["verdict"] == "alert"
    assert passage.texts == ()
    assert len(mails) == 1
    assert "198.51.100.23" in mails[0]["Message"]


def test_an_unknown_ipv4_address_gives_one_text(filled: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]]) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="198.51.100.77")
    assert len(passage.texts) == 1
    for part in ("test", "sign-in", "Anaya", "198.51.100.77"):
        assert part in passage.texts[0]
    assert len(mailbox()) == 1


def test_an_unknown_ipv6_address_gives_one_text(filled: Rehearsal) -> None:
    passage = sign_in(filled, IDENTITY_CENTER)
    assert len(passage.texts) == 1
    for part in ("test", "Identity Center", "544894e8", "2001:db8:85a3::8a2e:370:7334"):
        assert part in passage.texts[0]


@pytest.mark.parametrize("address", ["203.0.113.10", "2001:db8:1::7"])
def test_a_recognised_address_gives_no_text_and_no_e_mail(
    filled: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]], address: str
) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress=address)
    assert (passage.decision["verdict"], passage.texts, mailbox()) == ("recognised", (), [])


def test_root_gives_a_text_even_from_a_recognised_address(filled: Rehearsal) -> None:
    passage = sign_in(filled, ROOT_USER)
    assert len(passage.texts) == 1
    assert "root" in passage.texts[0].lower()


def test_a_record_without_a_source_gives_a_text(filled: Rehearsal) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="gone")
    assert len(passage.texts) == 1
    assert passage.decision["verdict"] == "alert"


def test_the_raw_event_lies_in_the_log_group(filled: Rehearsal) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="203.0.113.9")
    assert passage.raw_copies == 1
    assert passage.rules == ("signwatch-console-sign-in",)


def test_the_same_event_delivered_twice_gives_one_text(filled: Rehearsal, phone: Phone) -> None:
    event = rehearsal.now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
    before = len(phone.messages)
    filled.sign_in(event)
    filled.cloud.send([event])
    event_id = event["detail"]["eventID"]
    decisions = filled._until(
        lambda: [line for line in filled.log_lines() if event_id in line and '"verdict"' in line][1:]
    )
    assert decisions
    assert len(phone.messages) == before + 1


def test_the_function_ran_as_lambda_runs_it(filled: Rehearsal) -> None:
    function = filled.enter().client("lambda").get_function(FunctionName="signwatch-function")["Configuration"]
    code, layer = (
        getattr(rehearsal.built(filled.settings.root, Listener().announce), part) for part in ("code", "layer")
    )
    parameters = stack.describe(filled.enter(), "signwatch").parameters  # type: ignore[union-attr] # it is deployed
    assert (parameters["CodeKey"], parameters["LayerKey"]) == (code.key, layer.key)
    assert function["Runtime"].startswith("python3.")
    assert [line for line in filled.log_lines() if line.startswith("INIT_START") and "awslambdaric" in line]


def test_the_trail_keeps_the_record_in_its_bucket(filled: Rehearsal) -> None:
    aws = filled.enter()
    bucket = stack.outputs(aws, filled.settings)["TrailBucketName"]
    kept = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"AWSLogs/{ACCOUNT}/CloudTrail/")
    assert kept["KeyCount"] > 0


def test_no_secret_is_in_the_log(filled: Rehearsal) -> None:
    sign_in(filled, IAM_USER, sourceIPAddress="198.51.100.99")
    logged = "\n".join(filled.log_lines())
    assert "verdict" in logged
    for value in (rehearsal.TWILIO["api_key_secret"], rehearsal.TWILIO["recipients"][0]):
        assert value not in logged
