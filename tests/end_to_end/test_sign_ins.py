"""Sign-ins on the deployed stacks: from CloudTrail's record to the phone, by way of the packaged zips."""

from __future__ import annotations

import copy
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import second_looks
from tests.support.listener import Listener
from tests.support.sign_ins import CASES
from tooling.deploy import stack
from tooling.errors import FailedError
from tooling.local import rehearsal
from tooling.local.demo import SIGN_INS
from tooling.operate import networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tooling.local.rehearsal import Passage, Rehearsal
    from tooling.local.twilio_server import TwilioServer

pytestmark = pytest.mark.end_to_end

ACCOUNT = "222233334444"
RECORDS = json.loads(SIGN_INS.read_text(encoding="utf-8"))
WITH_MFA, IAM_USER, ROOT_USER, IDENTITY_CENTER = (RECORDS[number]["event"] for number in range(4))


@pytest.fixture(scope="module")
def stage(prepare: Callable[[str], AbstractContextManager[Rehearsal]]) -> Iterator[Rehearsal]:
    with prepare(ACCOUNT) as prepared:
        artifacts = rehearsal.build_artifacts(prepared.settings.root, Listener().announce)
        prepared.deploy(artifacts, Listener().stack())
        yield prepared


@pytest.fixture(scope="module")
def mailbox(stage: Rehearsal) -> Callable[[], list[dict[str, Any]]]:
    """A queue that hears what the topic's e-mail subscribers are sent."""
    aws = stage.enter()
    sqs, sns = aws.client("sqs"), aws.client("sns")
    url = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})},
    )
    sns.subscribe(
        TopicArn=stack.outputs(aws, stage.settings)["AlertTopicArn"], Protocol="sqs", Endpoint=arn
    )

    def received() -> list[dict[str, Any]]:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get(
            "Messages", []
        )
        for message in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in got]

    return received


@pytest.fixture(scope="module")
def silent(
    stage: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]]
) -> tuple[Passage, list[dict[str, Any]]]:
    """An unknown sign-in while the secret is still empty; afterwards the secret is filled."""
    passage = sign_in(stage, IAM_USER)
    mails = mailbox()
    stage.fill_secret()
    return passage, mails


@pytest.fixture
def filled(
    stage: Rehearsal, silent: object, mailbox: Callable[[], list[dict[str, Any]]]
) -> Rehearsal:
    mailbox()
    return stage


def sign_in(stage: Rehearsal, record: dict[str, Any], **changes: Any) -> Passage:
    event = rehearsal.as_event_now(copy.deepcopy(record), ACCOUNT, stage.settings.region)
    event["detail"] |= changes
    return stage.sign_in(
        {
            **event,
            "detail": {key: value for key, value in event["detail"].items() if value != "gone"},
        }
    )


def test_with_an_empty_secret_the_alert_goes_out_by_e_mail(
    silent: tuple[Passage, list[dict[str, Any]]],
) -> None:
    passage, mails = silent
    assert passage.decision["verdict"] == "alert"
    assert passage.texts == ()
    assert len(mails) == 1
    assert "198.51.100.23" in mails[0]["Message"]


def test_an_unknown_ipv4_address_gives_one_text(
    filled: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]]
) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="198.51.100.77")
    assert len(passage.texts) == 1
    for part in ("test", "sign-in", "Anaya", "198.51.100.77"):
        assert part in passage.texts[0]
    assert len(mailbox()) == 1


def test_a_record_that_no_rule_takes_is_told_of_at_once(stage: Rehearsal) -> None:
    record = {
        "eventSource": "ec2.amazonaws.com",
        "eventName": "RunInstances",
        "eventType": "AwsApiCall",
    }
    begun = time.monotonic()
    with pytest.raises(
        FailedError, match=r"RunInstances of ec2\.amazonaws\.com: no rule hands it to the function"
    ):
        sign_in(stage, record)
    assert time.monotonic() - begun < rehearsal.LONGEST / 3


def test_an_unknown_ipv6_address_gives_one_text(filled: Rehearsal) -> None:
    passage = sign_in(filled, IDENTITY_CENTER)
    assert len(passage.texts) == 1
    for part in ("test", "Identity Center", "544894e8", "2001:db8:85a3::8a2e:370:7334"):
        assert part in passage.texts[0]


def test_an_identity_center_user_is_named_where_the_identity_store_knows_the_name(
    filled: Rehearsal,
) -> None:
    store = "d-1234567890"
    made = (
        filled.enter()
        .client("identitystore")
        .create_user(IdentityStoreId=store, UserName="anaya.lee")
    )
    known, unknown = made["UserId"], "544894e8-80c1-707f-60e3-3ba6510dfac1"
    arn = f"arn:aws:identitystore::{ACCOUNT}:identitystore/{store}"
    user = IDENTITY_CENTER["detail"]["userIdentity"]
    for person, who in ((known, "anaya. lee"), (unknown, unknown)):
        behalf = {"userId": person, "identityStoreArn": arn}
        passage = sign_in(filled, IDENTITY_CENTER, userIdentity={**user, "onBehalfOf": behalf})
        assert len(passage.texts) == 1
        assert f'Who: "{who}"' in passage.texts[0].splitlines()
        assert passage.decision["who"] == person
    assert '"problem": "directory"' not in "\n".join(filled.log_lines())


@pytest.mark.parametrize("address", ["203.0.113.10", "2001:db8:1::7"])
def test_a_recognised_address_gives_no_text_and_no_e_mail(
    filled: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]], address: str
) -> None:
    passage = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (passage.decision["verdict"], passage.texts, mailbox()) == ("recognised", (), [])


def begin_afresh(stage: Rehearsal) -> None:
    """Let the function begin in a new process, with nothing remembered, in place of waiting for a minute."""
    function, client = "signwatch-function", stage.enter().client("lambda")
    size = client.get_function_configuration(FunctionName=function)["MemorySize"]
    client.update_function_configuration(FunctionName=function, MemorySize=size + 1)


def test_an_address_that_is_allowed_for_a_person_is_recognised_without_a_deploy_until_it_is_revoked(
    filled: Rehearsal,
) -> None:
    aws, _ = filled.as_deployer()
    settings, address, paulo = (
        filled.settings,
        "198.51.100.201",
        {**WITH_MFA["detail"]["userIdentity"]},
    )
    paulo |= {"userName": "Paulo", "arn": f"arn:aws:iam::{ACCOUNT}:user/Paulo"}
    one = networks.make_allowance(address, "hotel", "anaya", 3600, time.time(), wide=False)
    networks.allow(aws, settings, one, time.time())
    begin_afresh(filled)
    allowed = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (allowed.decision["verdict"], allowed.texts) == ("recognised", ())
    assert allowed.decision["recognised_by"] == f"hotel (networks/{one.name})"
    assert len(sign_in(filled, WITH_MFA, sourceIPAddress=address, userIdentity=paulo).texts) == 1
    networks.revoke(aws, settings, time.time(), cidr=address, label=None, id=None)
    begin_afresh(filled)
    revoked = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (revoked.decision["verdict"], len(revoked.texts)) == ("alert", 1)


def test_more_allowances_than_a_page_holds_are_all_read(filled: Rehearsal) -> None:
    """Systems Manager gives ten a page ("GetParametersByPath")."""
    aws, _ = filled.as_deployer()
    for number in range(12):
        one = networks.make_allowance(
            f"198.51.100.{number + 210}", f"hotel {number}", None, 3600, time.time(), wide=False
        )
        networks.allow(aws, filled.settings, one, time.time())
    begin_afresh(filled)
    passages = [
        sign_in(filled, WITH_MFA, sourceIPAddress=f"198.51.100.{number + 210}")
        for number in range(12)
    ]
    assert {passage.decision["verdict"] for passage in passages} == {"recognised"}


def test_a_user_without_mfa_is_told_of_once_a_day_from_a_recognised_address_too(
    filled: Rehearsal,
) -> None:
    first, second = (sign_in(filled, IAM_USER, sourceIPAddress="203.0.113.10") for _ in range(2))
    assert (first.decision["reasons"], len(first.texts)) == (["no MFA", "recognised source"], 1)
    assert (second.decision["verdict"], len(second.texts)) == ("note", 0)


def test_root_gives_a_text_even_from_a_recognised_address(filled: Rehearsal) -> None:
    passage = sign_in(filled, ROOT_USER)
    assert len(passage.texts) == 1
    assert "root" in passage.texts[0].lower()


def test_a_record_without_a_source_gives_a_text(filled: Rehearsal) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="gone")
    assert len(passage.texts) == 1
    assert passage.decision["verdict"] == "alert"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("aws-login-is-approved-in-the-browser", "Command line sign-in (aws login)"),
        ("aws-login-gets-a-token", "Command line sign-in (aws login, token)"),
        ("federated-user-takes-a-role-by-saml", "Role taken by SAML"),
        ("organisation-takes-a-root-session", "Root session by AssumeRoot"),
        ("root-asks-for-a-new-password", "Root password recovery"),
        ("role-is-switched", "Role switched in the console"),
        ("command-line-gets-role-keys", "Role keys by Identity Center"),
        ("command-line-gets-a-token-by-device-code", "Command line sign-in (device code)"),
    ],
)
def test_every_other_way_in_from_an_unknown_address_gives_a_text_that_names_it(
    filled: Rehearsal, name: str, what: str
) -> None:
    """Read-only events among them, which a rule in state ENABLED would never see."""
    passage = sign_in(filled, CASES[name]["event"], sourceIPAddress="198.51.100.44")
    assert len(passage.texts) == 1
    assert passage.texts[0].splitlines()[1] == what
    assert "198.51.100.44" in passage.texts[0]


@pytest.mark.parametrize("kind", ["Sign-in Anomaly Alert", "Sign-In anomaly alert"])
def test_an_anomaly_that_aws_itself_sees_gives_a_text_in_whatever_case_it_is_spelled(
    filled: Rehearsal, kind: str
) -> None:
    passage = sign_in(filled, {**CASES["aws-itself-sees-an-anomaly"]["event"], "detail-type": kind})
    assert passage.rules == ("signwatch-sign-in-anomaly",)
    assert passage.decision["verdict"] == "alert"
    assert passage.decision["reasons"] == [
        "AWS anomaly",
        "unrecognised source",
    ]  # which is of high severity
    assert (len(passage.texts), passage.raw_copies) == (1, 1)
    assert passage.texts[0].splitlines()[1] == "AWS's own sign-in anomaly alert"


def test_role_keys_are_told_of_once_a_day_by_the_ledgers_table(filled: Rehearsal) -> None:
    record = CASES["command-line-gets-role-keys"]["event"]
    first, second = (sign_in(filled, record, sourceIPAddress="198.51.100.45") for _ in range(2))
    assert (first.decision["verdict"], len(first.texts)) == ("alert", 1)
    assert (second.decision["verdict"], len(second.texts)) == ("note", 0)
    assert second.decision["reasons"] == [
        "role keys",
        "unrecognised source",
        "already reported within a day",
    ]


def test_failures_are_mailed_at_once_and_texted_from_the_third_on(
    filled: Rehearsal, mailbox: Callable[[], list[dict[str, Any]]]
) -> None:
    record = CASES["iam-user-fails"]["event"]
    passages = [
        sign_in(filled, record, sourceIPAddress=f"198.51.100.{60 + number}") for number in range(3)
    ]
    assert [passage.decision["reasons"][-1] for passage in passages] == [
        f"{number} failures within 15 minutes" for number in (1, 2, 3)
    ]
    assert [len(passage.texts) for passage in passages] == [0, 0, 1]
    assert len(mailbox()) == 3


def test_a_device_code_is_compared_with_the_portal_sign_in_of_the_same_person(
    filled: Rehearsal,
) -> None:
    sign_in(
        filled,
        CASES["identity-center-user-signs-in-with-totp"]["event"],
        sourceIPAddress="203.0.113.30",
    )
    record = CASES["command-line-gets-a-token-by-device-code"]["event"]
    same, other = (
        sign_in(filled, record, sourceIPAddress=address)
        for address in ("203.0.113.30", "203.0.113.31")
    )
    assert (same.decision["verdict"], len(same.texts)) == ("note", 0)
    assert (other.decision["verdict"], len(other.texts)) == ("alert", 1)
    assert other.decision["reasons"] == ["device code elsewhere", "recognised source"]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("second-factor-is-asked-for", "iam-user-signs-in-with-mfa"),
        ("identity-center-factor-is-right", "identity-center-user-signs-in-with-totp"),
    ],
)
@pytest.mark.parametrize("follows", [True, False], ids=["with a sign-in", "without one"])
def test_a_right_password_waits_and_is_noted_unless_a_sign_in_of_that_person_followed(
    filled: Rehearsal, name: str, record: str, *, follows: bool
) -> None:
    user, success = f"user-{uuid.uuid4().hex[:8]}", copy.deepcopy(CASES[record]["event"])
    for told in (step := copy.deepcopy(CASES[name]["event"]), success):
        identity = told["detail"]["userIdentity"]
        identity |= (
            {"onBehalfOf": {**identity["onBehalfOf"], "userId": user}}
            if "onBehalfOf" in identity
            else {}
        )
        identity |= {"userName": user} if "userName" in identity else {}
    event = rehearsal.as_event_now(step, ACCOUNT, filled.settings.region)
    before, passage = second_looks.delayed(filled), filled.sign_in(event)
    assert (passage.decision["kind"], passage.decision["verdict"]) == ("Step", "ignored")
    assert (second_looks.delayed(filled), passage.raw_copies) == (before + 1, 1)
    if follows:
        sign_in(filled, success, sourceIPAddress="203.0.113.50")
    decision = second_looks.decided_again(filled, event)
    expected = (
        ("ignored", "step: a sign-in followed")
        if follows
        else ("note", "right password without a sign-in")
    )
    assert (decision["verdict"], decision["reasons"][0]) == expected


def test_the_raw_event_lies_in_the_log_group(filled: Rehearsal) -> None:
    passage = sign_in(filled, IAM_USER, sourceIPAddress="203.0.113.9")
    assert passage.raw_copies == 1
    assert passage.rules == ("signwatch-console-sign-in",)


def test_the_same_event_delivered_twice_gives_one_text(
    filled: Rehearsal, twilio_server: TwilioServer
) -> None:
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
    before = len(twilio_server.messages)
    filled.sign_in(event)
    filled.emulator.send([event])
    event_id = event["detail"]["eventID"]
    decisions = filled._until(
        lambda: [line for line in filled.log_lines() if event_id in line and '"verdict"' in line][
            1:
        ]
    )
    assert decisions
    assert len(twilio_server.messages) == before + 1


def test_the_function_ran_as_lambda_runs_it(filled: Rehearsal) -> None:
    function = (
        filled.enter()
        .client("lambda")
        .get_function(FunctionName="signwatch-function")["Configuration"]
    )
    code, layer = (
        getattr(rehearsal.build_artifacts(filled.settings.root, Listener().announce), part)
        for part in ("code", "layer")
    )
    parameters = stack.describe(filled.enter(), "signwatch").parameters  # type: ignore[union-attr] # it is deployed
    assert (parameters["CodeKey"], parameters["LayerKey"]) == (code.key, layer.key)
    assert function["Runtime"].startswith("python3.")
    assert [
        line
        for line in filled.log_lines()
        if line.startswith("INIT_START") and "awslambdaric" in line
    ]


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
