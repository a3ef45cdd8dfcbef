"""Sign-ins on the deployed stacks: from CloudTrail's record to the text, with the built zips."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import second_looks
from tests.support.emulator import subscribe_mailbox
from tests.support.listener import Listener, confirm_all
from tests.support.sign_ins import CASES
from tests.support.typing_person import run_on_terminal
from tooling.deploy import secret, stack
from tooling.errors import FailedError, RefusedError
from tooling.local import rehearsal
from tooling.local.demo import SIGN_INS
from tooling.operate import networks, signin_test
from tooling.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.emulator import Queue
    from tooling.local.rehearsal import LocalDeployment, SignInResult
    from tooling.local.twilio_server import TwilioServer

pytestmark = pytest.mark.end_to_end

ACCOUNT = "222233334444"
REMOVED = object()  # stands for a key that the record lacks
RECORDS = json.loads(SIGN_INS.read_text(encoding="utf-8"))
WITH_MFA, IAM_USER, ROOT_USER, IDENTITY_CENTER = (RECORDS[number]["event"] for number in range(4))


@pytest.fixture(scope="module")
def deployment(
    bootstrap_account: Callable[[str], AbstractContextManager[LocalDeployment]],
) -> Iterator[LocalDeployment]:
    with bootstrap_account(ACCOUNT) as bootstrapped:
        artifacts = rehearsal.build_artifacts(bootstrapped.settings.root, Listener().announce)
        bootstrapped.deploy(artifacts, Listener().stack())
        yield bootstrapped


@pytest.fixture(scope="module")
def mailbox(deployment: LocalDeployment) -> Queue:
    """A queue that gets what the topic's e-mail subscribers get."""
    aws = deployment.as_owner()
    topic_arn = stack.outputs(aws, deployment.settings)["AlertTopicArn"]
    return subscribe_mailbox(aws, topic_arn)


@pytest.fixture(scope="module")
def first_alert(
    deployment: LocalDeployment, mailbox: Queue
) -> tuple[SignInResult, list[dict[str, Any]]]:
    """A sign-in while the secret is empty, and its e-mails; afterwards the secret is filled."""
    result = sign_in(deployment, IAM_USER)
    mails = mailbox.take_messages()
    deployment.fill_secret()
    return result, mails


@pytest.fixture
def filled(deployment: LocalDeployment, first_alert: object, mailbox: Queue) -> LocalDeployment:
    mailbox.take_messages()
    return deployment


def sign_in(deployment: LocalDeployment, record: dict[str, Any], **changes: Any) -> SignInResult:
    event = rehearsal.as_event_now(copy.deepcopy(record), ACCOUNT, deployment.settings.region)
    event["detail"] |= changes
    for key in [key for key, value in changes.items() if value is REMOVED]:
        del event["detail"][key]
    return deployment.sign_in(event)


def test_alert_is_mailed_while_the_secret_is_empty(
    first_alert: tuple[SignInResult, list[dict[str, Any]]],
) -> None:
    result, mails = first_alert
    assert result.decision["verdict"] == "alert"
    assert result.texts == ()
    assert len(mails) == 1
    assert "198.51.100.23" in json.loads(mails[0]["Body"])["Message"]


def test_unknown_ipv4_address_leads_to_one_text(filled: LocalDeployment, mailbox: Queue) -> None:
    result = sign_in(filled, IAM_USER, sourceIPAddress="198.51.100.77")
    assert len(result.texts) == 1
    for part in ("test", "sign-in", "Anaya", "198.51.100.77"):
        assert part in result.texts[0]
    assert len(mailbox.take_messages()) == 1


def test_record_that_no_rule_matches_fails_at_once(deployment: LocalDeployment) -> None:
    record = {
        "eventSource": "ec2.amazonaws.com",
        "eventName": "RunInstances",
        "eventType": "AwsApiCall",
    }
    start = time.monotonic()
    with pytest.raises(
        FailedError, match=r"RunInstances of ec2\.amazonaws\.com: no rule hands it to the function"
    ):
        sign_in(deployment, record)
    assert time.monotonic() - start < rehearsal.SIGN_IN_TIMEOUT_SECONDS / 3


def test_unknown_ipv6_address_leads_to_one_text(filled: LocalDeployment) -> None:
    result = sign_in(filled, IDENTITY_CENTER)
    assert len(result.texts) == 1
    for part in ("test", "Identity Center", "544894e8", "2001:db8:85a3::8a2e:370:7334"):
        assert part in result.texts[0]


def test_identity_center_user_is_shown_by_name_if_the_store_has_it(
    filled: LocalDeployment,
) -> None:
    store = "d-1234567890"
    client = filled.as_owner().client("identitystore")
    response = client.create_user(IdentityStoreId=store, UserName="anaya.lee")
    known, unknown = response["UserId"], "544894e8-80c1-707f-60e3-3ba6510dfac1"
    arn = f"arn:aws:identitystore::{ACCOUNT}:identitystore/{store}"
    user = IDENTITY_CENTER["detail"]["userIdentity"]
    for user_id, who in ((known, "anaya. lee"), (unknown, unknown)):
        behalf = {"userId": user_id, "identityStoreArn": arn}
        person = {**user, "onBehalfOf": behalf}
        address = "198.51.100.55"  # of no other test, since one sign-in is one text
        result = sign_in(filled, IDENTITY_CENTER, userIdentity=person, sourceIPAddress=address)
        assert len(result.texts) == 1
        assert f'Who: "{who}"' in result.texts[0].splitlines()
        assert result.decision["who"] == user_id
    assert '"problem": "directory"' not in "\n".join(filled.log_lines())


@pytest.mark.parametrize("address", ["203.0.113.10", "2001:db8:1::7"])
def test_recognised_address_leads_to_no_text_and_no_e_mail(
    filled: LocalDeployment, mailbox: Queue, address: str
) -> None:
    result = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (result.decision["verdict"], result.texts, mailbox.take_messages()) == (
        "recognised",
        (),
        [],
    )


def restart_function(deployment: LocalDeployment) -> None:
    """Start the function in a new process, which empties its caches without waiting a minute."""
    function, client = "signwatch-function", deployment.as_owner().client("lambda")
    size = client.get_function_configuration(FunctionName=function)["MemorySize"]
    client.update_function_configuration(FunctionName=function, MemorySize=size + 1)


def test_allowance_works_without_a_deploy_until_it_is_revoked(
    filled: LocalDeployment,
) -> None:
    aws, _ = filled.as_deployer()
    settings, address = filled.settings, "198.51.100.201"
    paulo_names = {"userName": "Paulo", "arn": f"arn:aws:iam::{ACCOUNT}:user/Paulo"}
    paulo = {**WITH_MFA["detail"]["userIdentity"], **paulo_names}
    allowance = networks.make_allowance(address, "hotel", "anaya", 3600, time.time())
    networks.allow(aws, settings, allowance, time.time(), confirm_all)
    restart_function(filled)
    allowed = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (allowed.decision["verdict"], allowed.texts) == ("recognised", ())
    assert allowed.decision["recognised_by"] == f"hotel (networks/{allowance.name})"
    assert len(sign_in(filled, WITH_MFA, sourceIPAddress=address, userIdentity=paulo).texts) == 1
    networks.revoke(aws, settings, time.time(), confirm_all, cidr=address, label=None, id=None)
    restart_function(filled)
    revoked = sign_in(filled, WITH_MFA, sourceIPAddress=address)
    assert (revoked.decision["verdict"], len(revoked.texts)) == ("alert", 1)


def test_allowances_of_all_pages_are_read(filled: LocalDeployment) -> None:
    """Systems Manager API, GetParametersByPath: a page has at most ten parameters."""
    aws, _ = filled.as_deployer()
    for number in range(12):
        address, label = f"198.51.100.{number + 210}", f"hotel {number}"
        allowance = networks.make_allowance(address, label, None, 3600, time.time())
        networks.allow(aws, filled.settings, allowance, time.time(), confirm_all)
    restart_function(filled)
    results = [
        sign_in(filled, WITH_MFA, sourceIPAddress=f"198.51.100.{number + 210}")
        for number in range(12)
    ]
    assert {result.decision["verdict"] for result in results} == {"recognised"}


def test_user_without_mfa_is_reported_once_a_day_from_a_recognised_address(
    filled: LocalDeployment,
) -> None:
    first, second = (sign_in(filled, IAM_USER, sourceIPAddress="203.0.113.10") for _ in range(2))
    assert (first.decision["reasons"], len(first.texts)) == (["no MFA", "recognised source"], 1)
    assert (second.decision["verdict"], len(second.texts)) == ("note", 0)


def test_root_sign_in_from_a_recognised_address_leads_to_a_text(filled: LocalDeployment) -> None:
    result = sign_in(filled, ROOT_USER)
    assert len(result.texts) == 1
    assert "root" in result.texts[0].lower()


def test_record_without_a_source_address_leads_to_a_text(filled: LocalDeployment) -> None:
    result = sign_in(filled, IAM_USER, sourceIPAddress=REMOVED)
    assert len(result.texts) == 1
    assert result.decision["verdict"] == "alert"


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
def test_text_names_each_other_kind_of_sign_in(
    filled: LocalDeployment, name: str, what: str
) -> None:
    """Some of them are read-only events, which a rule in state ENABLED does not match."""
    result = sign_in(filled, CASES[name]["event"], sourceIPAddress="198.51.100.44")
    assert len(result.texts) == 1
    assert result.texts[0].splitlines()[1] == what
    assert "198.51.100.44" in result.texts[0]


@pytest.mark.parametrize("kind", ["Sign-in Anomaly Alert", "Sign-In anomaly alert"])
def test_sign_in_anomaly_of_aws_leads_to_a_text_in_either_spelling(
    filled: LocalDeployment, kind: str
) -> None:
    result = sign_in(filled, {**CASES["aws-itself-sees-an-anomaly"]["event"], "detail-type": kind})
    assert result.rules == ("signwatch-sign-in-anomaly",)
    assert result.decision["verdict"] == "alert"
    assert result.decision["reasons"] == ["AWS anomaly", "unrecognised source"]
    assert (len(result.texts), result.raw_copies) == (1, 1)
    assert result.texts[0].splitlines()[1] == "AWS's own sign-in anomaly alert"


def test_role_keys_are_reported_once_a_day(filled: LocalDeployment) -> None:
    record = CASES["command-line-gets-role-keys"]["event"]
    first, second = (sign_in(filled, record, sourceIPAddress="198.51.100.45") for _ in range(2))
    assert (first.decision["verdict"], len(first.texts)) == ("alert", 1)
    assert (second.decision["verdict"], len(second.texts)) == ("note", 0)
    assert second.decision["reasons"] == [
        "role keys",
        "unrecognised source",
        "already reported within a day",
    ]


def test_first_failure_is_mailed_the_third_texted_and_the_second_only_counted(
    filled: LocalDeployment, mailbox: Queue
) -> None:
    record = CASES["iam-user-fails"]["event"]
    results = [
        sign_in(filled, record, sourceIPAddress=f"198.51.100.{60 + number}") for number in range(3)
    ]
    assert [result.decision["verdict"] for result in results] == ["alert", "note", "alert"]
    assert "3 failed sign-ins within " in results[-1].decision["reasons"][-1]
    assert [len(result.texts) for result in results] == [0, 0, 1]
    assert len(mailbox.take_messages()) == 2


def test_device_code_is_compared_with_the_persons_portal_sign_in(
    filled: LocalDeployment,
) -> None:
    portal_sign_in = CASES["identity-center-user-signs-in-with-totp"]["event"]
    record = CASES["command-line-gets-a-token-by-device-code"]["event"]
    sign_in(filled, portal_sign_in, sourceIPAddress="203.0.113.30")
    same = sign_in(filled, record, sourceIPAddress="203.0.113.30")
    recognised = sign_in(filled, record, sourceIPAddress="203.0.113.31")
    other = sign_in(filled, record, sourceIPAddress="198.51.100.31")
    assert (same.decision["verdict"], len(same.texts)) == ("note", 0)
    assert (recognised.decision["verdict"], len(recognised.texts)) == ("note", 0)
    assert (other.decision["verdict"], len(other.texts)) == ("alert", 1)
    assert other.decision["reasons"] == ["device code elsewhere", "unrecognised source"]
    assert other.texts[0].startswith("HIGH AWS SIGN-IN ALERT account ")


def test_token_that_is_refreshed_elsewhere_is_mailed_once(
    filled: LocalDeployment, mailbox: Queue
) -> None:
    record = with_user(CASES["command-line-refreshes-its-token"]["event"], uuid.uuid4().hex)
    first, second = (
        sign_in(filled, record, sourceIPAddress=f"198.51.100.{number}") for number in (46, 47)
    )
    assert (first.decision["verdict"], first.texts) == ("alert", ())
    assert first.decision["reasons"] == ["session used elsewhere", "unrecognised source"]
    assert (second.decision["verdict"], second.texts) == ("note", ())
    assert len(mailbox.take_messages()) == 1


def test_what_a_person_does_in_the_portals_place_is_mailed_once(
    filled: LocalDeployment, mailbox: Queue
) -> None:
    """The function finds the list of AWS's own addresses in its layer."""
    record = CASES["identity-center-opens-an-account-by-saml"]["event"]
    record = with_user(record, uuid.uuid4().hex)
    of_aws, first, second = (
        sign_in(filled, record, sourceIPAddress=source)
        for source in ("3.5.140.7", "198.51.100.48", "198.51.100.49")
    )
    assert (of_aws.decision["verdict"], of_aws.texts) == ("ignored", ())
    assert (first.decision["verdict"], first.texts) == ("alert", ())
    assert (second.decision["verdict"], second.texts) == ("note", ())
    assert len(mailbox.take_messages()) == 1


def with_user(event: dict[str, Any], user: str) -> dict[str, Any]:
    """Return a copy of the event whose identity is this user."""
    event = copy.deepcopy(event)
    identity = event["detail"]["userIdentity"]
    if "onBehalfOf" in identity:
        identity["onBehalfOf"]["userId"] = user
    if "userName" in identity:
        identity["userName"] = user
    return event


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("second-factor-is-asked-for", "iam-user-signs-in-with-mfa"),
        ("identity-center-factor-is-right", "identity-center-user-signs-in-with-totp"),
    ],
)
@pytest.mark.parametrize("follows", [True, False], ids=["with a sign-in", "without one"])
def test_right_password_is_noted_later_unless_a_sign_in_followed(
    filled: LocalDeployment, name: str, record: str, *, follows: bool
) -> None:
    user = f"user-{uuid.uuid4().hex[:8]}"
    step, success = with_user(CASES[name]["event"], user), with_user(CASES[record]["event"], user)
    event = rehearsal.as_event_now(step, ACCOUNT, filled.settings.region)
    before, result = second_looks.count_delayed(filled), filled.sign_in(event)
    assert (result.decision["kind"], result.decision["verdict"]) == ("Step", "ignored")
    assert (second_looks.count_delayed(filled), result.raw_copies) == (before + 1, 1)
    if follows:
        sign_in(filled, success, sourceIPAddress="203.0.113.50")
    decision = second_looks.redeliver(filled, event)
    expected = ("note", "right password without a sign-in")
    if follows:
        expected = ("ignored", "step: a sign-in followed")
    assert (decision["verdict"], decision["reasons"][0]) == expected


def test_raw_event_is_in_the_log_group(filled: LocalDeployment) -> None:
    result = sign_in(filled, IAM_USER, sourceIPAddress="203.0.113.9")
    assert result.raw_copies == 1
    assert result.rules == ("signwatch-console-sign-in",)


def test_event_delivered_twice_leads_to_one_text(
    filled: LocalDeployment, twilio_server: TwilioServer
) -> None:
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
    before = len(twilio_server.messages)
    filled.sign_in(event)
    filled.emulator.send([event])
    event_id = event["detail"]["eventID"]

    def later_decisions() -> list[str]:
        lines = [line for line in filled.log_lines() if event_id in line]
        return [line for line in lines if '"verdict"' in line][1:]

    assert filled.wait_until(later_decisions)
    assert len(twilio_server.messages) == before + 1


BY_TRAIL = {"bus": False, "trail_delay_seconds": 0}
BY_BUS: dict[str, Any] = {}  # and by the trail minutes later
AT_ONCE = {"trail_delay_seconds": 0}


def send(deployment: LocalDeployment, event: dict[str, Any], way: dict[str, Any]) -> None:
    """Let an event come one way, and wait for one more decision."""
    decisions = count_decisions(deployment, event)
    deployment.emulator.send([{**event, "emulator": way}])
    assert deployment.wait_until(lambda: [1] * (count_decisions(deployment, event) > decisions)), (
        "no decision"
    )


def count_decisions(deployment: LocalDeployment, event: dict[str, Any]) -> int:
    lines = [line for line in deployment.log_lines() if event["detail"]["eventID"] in line]
    return sum('"verdict"' in line for line in lines)


@pytest.mark.parametrize(
    "ways",
    [[BY_TRAIL], [BY_BUS, BY_TRAIL], [BY_TRAIL, BY_BUS], [AT_ONCE, AT_ONCE]],
    ids=["lost", "bus", "trail", "at once"],
)
def test_sign_in_leads_to_one_text_whichever_way_brings_it_first(
    filled: LocalDeployment, twilio_server: TwilioServer, ways: list[dict[str, Any]]
) -> None:
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
    before = len(twilio_server.messages)
    for way in ways:
        send(filled, event, way)
        assert filled.wait_until(lambda: twilio_server.messages[before:])
    assert filled.wait_until(
        lambda: [1] * (count_decisions(filled, event) >= sum(map(count_ways, ways)))
    )
    assert len(twilio_server.messages) == before + 1
    recovered = [line for line in filled.log_lines() if event["detail"]["eventID"] in line]
    if AT_ONCE not in ways:  # else either of them is the first
        assert any("RecoveredSignIns" in line for line in recovered) is (ways[0] is BY_TRAIL)


def count_ways(way: dict[str, Any]) -> int:
    return 2 if way is AT_ONCE else 1


def test_event_whose_rule_lost_its_permission_still_leads_to_a_text(
    filled: LocalDeployment, twilio_server: TwilioServer
) -> None:
    aws, before = filled.as_owner().client("lambda"), len(twilio_server.messages)
    name = f"{filled.settings.prefix}-function"
    statements = json.loads(aws.get_policy(FunctionName=name)["Policy"])["Statement"]
    (lost,) = [each for each in statements if "console-sign-in" in str(each.get("Condition"))]
    aws.remove_permission(FunctionName=name, StatementId=lost["Sid"])
    try:
        event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
        send(filled, event, BY_BUS)
        assert filled.wait_until(lambda: twilio_server.messages[before:])
    finally:
        source_arn = lost["Condition"]["ArnLike"]["AWS:SourceArn"]
        aws.add_permission(
            FunctionName=name,
            StatementId=lost["Sid"],
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=source_arn,
        )
    lines = [line for line in filled.log_lines() if event["detail"]["eventID"] in line]
    assert any('"via": "queue"' in line for line in lines)


def test_event_that_fails_is_tried_again_from_its_queue_until_its_alert_is_out(
    filled: LocalDeployment, twilio_server: TwilioServer
) -> None:
    """The quarter of an hour from try to try is shortened to a second."""
    aws, prefix = filled.as_owner(), filled.settings.prefix
    sqs, name = aws.client("sqs"), f"{prefix}-function"
    configure = aws.client("lambda").update_function_configuration
    url = sqs.get_queue_url(QueueName=f"{prefix}-failed-events")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    event = rehearsal.as_event_now(copy.deepcopy(IAM_USER), ACCOUNT, filled.settings.region)
    before = len(twilio_server.messages)
    configure(FunctionName=name, Handler="signwatch.missing.handler")
    try:
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))

        def failures() -> list[str]:
            lines = [line for line in filled.log_lines() if "signwatch.missing" in line]
            return lines if len(lines) > 1 else []

        assert filled.wait_until(failures)
        assert twilio_server.messages[before:] == []
    finally:
        configure(FunctionName=name, Handler="signwatch.handler.handler")
    assert filled.wait_until(lambda: [1] * (count_messages(sqs, url) == 0))
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "900"})
    assert len(twilio_server.messages) == before + 1


def test_text_whose_fate_is_open_is_asked_about_until_it_is_known(
    filled: LocalDeployment, mailbox: Queue, twilio_server: TwilioServer
) -> None:
    """The quarter of an hour from question to question is shortened to a second."""
    sqs, url = filled.as_owner().client("sqs"), second_looks.get_queue_url(filled)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    assert len(sign_in(filled, IAM_USER).texts) == 1
    mailbox.take_messages()
    sid = twilio_server.messages[-1]["sid"]
    twilio_server.set_status(sid, "sending")  # a look-up leaves this one as it is
    question = {
        "key": f"{ACCOUNT}#asked",
        "channel": "text_0",
        "position": "1 of 1",
        "sid": sid,
        "sent_at": int(time.time()),
        "text": "the text",
        "subject": "the subject",
        "body": "the body",
    }
    second_looks.put(filled, "text-outcome", question)
    receives = {"n": 0}

    def has_returned() -> list[int]:
        receives["n"] += 1
        return [1] * (receives["n"] > 5 and count_messages(sqs, url) == 1)

    assert filled.wait_until(has_returned)
    assert mailbox.take_messages() == []
    twilio_server.set_status(sid, "undelivered", 30003)
    (mail,) = filled.wait_until(mailbox.take_messages)
    message = json.loads(mail["Body"])["Message"]
    assert "did not arrive: error 30003 (the phone is switched off or out of reach)" in message
    assert filled.wait_until(lambda: [1] * (count_messages(sqs, url) == 0))
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "900"})


def count_messages(sqs: Any, url: str) -> int:
    """Return the number of messages in a queue, those in flight among them."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(int(number) for number in answer["Attributes"].values())


def test_function_runs_from_the_built_zips_on_the_aws_client(filled: LocalDeployment) -> None:
    aws = filled.as_owner()
    artifacts = rehearsal.build_artifacts(filled.settings.root, Listener().announce)
    live = stack.describe(aws, "signwatch")
    assert live
    assert live.parameters["CodeKey"] == str(artifacts.code.key)
    assert live.parameters["LayerKey"] == str(artifacts.layer.key)
    function = aws.client("lambda").get_function(FunctionName="signwatch-function")
    assert function["Configuration"]["Runtime"].startswith("python3.")
    init_lines = [line for line in filled.log_lines() if line.startswith("INIT_START")]
    assert any("awslambdaric" in line for line in init_lines)


def test_trail_writes_the_record_to_its_bucket(filled: LocalDeployment) -> None:
    aws = filled.as_owner()
    bucket = stack.outputs(aws, filled.settings)["TrailBucketName"]
    prefix = f"AWSLogs/{ACCOUNT}/CloudTrail/"
    response = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    assert response["KeyCount"] > 0


def test_no_secret_is_in_the_log(filled: LocalDeployment) -> None:
    sign_in(filled, IAM_USER, sourceIPAddress="198.51.100.99")
    logged = "\n".join(filled.log_lines())
    assert "verdict" in logged
    for value in (rehearsal.TWILIO["api_key_secret"], rehearsal.TWILIO["recipients"][0]):
        assert value not in logged


def test_signin_test_follows_a_simulated_sign_in_to_the_phone(filled: LocalDeployment) -> None:
    aws = filled.as_owner()
    simulate = rehearsal.find_simulator(aws)
    assert simulate
    outputs, lines = stack.outputs(aws, filled.settings), list[str]()
    clock = signin_test.Clock(sleep=lambda _: time.sleep(0.2))
    result = signin_test.run(aws, outputs, 1, lines.append, simulate, clock)
    assert result.reached_somebody, (result.lines, lines)
    steps = [line.split()[0] for line in lines[1:]]
    assert steps == ["CloudTrail", "rule", "function", "verdict", "text", "e-mail"]
    assert "recorded ConsoleLogin from 192.0.2.200" in lines[1]
    assert "Twilio accepted 1" in lines[5]


SECRET_COMMAND = [str(ROOT / "inv"), "secret", "-a", ACCOUNT, "--config", os.devnull]


def test_secret_is_asked_for_on_a_terminal_and_checked_by_twilio(
    filled: LocalDeployment, twilio_server: TwilioServer
) -> None:
    values = rehearsal.TWILIO
    texts_before = len(twilio_server.messages)
    dialogue = [
        ("Account SID (AC...): ", values["api_key_sid"]),
        ("this is the SID of an API key", values["account_sid"]),
        ("API key SID (SK...): ", values["api_key_sid"]),
        ("API key secret (hidden: nothing shows while you type or paste): ", "another-secret"),
        ("The three values again:", values["account_sid"]),
        ("API key SID (SK...): ", values["api_key_sid"]),
        (
            "API key secret (hidden: nothing shows while you type or paste): ",
            values["api_key_secret"],
        ),
        ("Sender (phone number, MG... or name): ", values["sender"]),
        ("Phone of recipient 1", "+10000000"),
        ("Phone of recipient 1", "+49015112345678"),
        ("Phone of recipient 2", values["recipients"][0]),
        ("Phone of recipient 3", ""),
        ("Send a trial text to each phone (2, at Twilio's price)? [y/N] ", "y"),
    ]
    code, screen = run_on_terminal(SECRET_COMMAND, dialogue, os.environ)
    assert code == 0, screen
    assert 'error 20003: "Authenticate"' in screen
    assert "understood as +4915112345678" in screen
    assert "recipient 2 of 2 (+1...09): delivered" in screen
    assert "takes it up within 5 minutes" in screen
    assert values["api_key_secret"] not in screen
    assert "another-secret" not in screen
    trial_texts = twilio_server.messages[texts_before:]
    assert [text["to"] for text in trial_texts] == ["+4915112345678", values["recipients"][0]]
    stored = read_secret(filled)
    assert stored == {**values, "recipients": ["+4915112345678", values["recipients"][0]]}
    filled.fill_secret()  # for the other tests


def test_secret_from_json_is_stored_and_check_repeats_the_check(filled: LocalDeployment) -> None:
    command, values = SECRET_COMMAND, rehearsal.TWILIO
    wrong = json.dumps({**values, "api_key_secret": "another-secret"})
    end = subprocess.run(command, input=wrong, capture_output=True, text=True, check=False)
    assert (end.returncode, read_secret(filled)) == (2, values)
    assert 'error 20003: "Authenticate"); nothing was stored' in end.stderr
    end = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False
    )
    assert (end.returncode, end.stderr, read_secret(filled)) == (0, "", values)
    end = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert (end.returncode, end.stderr) == (0, "")
    assert "Twilio accepts the key." in end.stdout
    for value in (values["api_key_secret"], values["account_sid"], values["recipients"][0]):
        assert value not in end.stdout
    filled.fill_secret(api_key_secret="another-secret")
    end = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    filled.fill_secret()
    assert end.returncode == 1
    assert "does not accept this key for this account" in end.stderr


def test_deploy_role_writes_the_secret_and_may_not_read_it(filled: LocalDeployment) -> None:
    aws, _ = filled.as_deployer()
    arn = stack.outputs(aws, filled.settings)["TwilioSecretArn"]
    with pytest.raises(RefusedError, match=r"may not be read by .*signwatch-deploy") as refusal:
        secret.load(aws, arn)
    assert "on purpose" in refusal.value.remedy


def read_secret(deployment: LocalDeployment) -> Any:
    aws = deployment.as_owner()
    return secret.load(aws, stack.outputs(aws, deployment.settings)["TwilioSecretArn"])
