"""Compares ``explain`` over a folder of log files with gunzip and json.loads of the same files.

    python benchmarks/explain.py

Each folder has 100,000 records in 100 files as CloudTrail writes them: one line of JSON, packed
with gzip. 1 % of the records in it are sign-ins (the records of the case files), or 14 %. The other
records are large ones with much nesting (1.7 KB on average), or small ones like those of sign-ins
(1 KB). The CPU time of whole processes counts, with their start and their output. They take turns,
and the medians are compared. Ends in 1 when a ratio of the large records is over its limit.

The limits are a quarter to two fifths of what ``explain`` took of large records when it decoded
every record: 2.4 and 3.1 as text, 2.9 and 3.4 as JSON. The small ones, of which it took 3.6 to 5.3,
have no limit: their share of fixed work is larger.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from tests.support.sign_ins import CASES, RECOGNISED  # noqa: E402 - needs the source roots

FILES = 100
RECORDS_IN_A_FILE = 1000
RUNS = 5
KIND_WITH_LIMIT = "large"
MAX_RATIOS = {0.01: 0.7, 0.14: 1.2}  # by the share of sign-ins
PARSE = """
import gzip, json, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).iterdir()):
    json.loads(gzip.decompress(path.read_bytes()))
"""
SIGN_INS = [
    case["event"]["detail"]
    for case in CASES.values()
    if case["expected"]["class"] == "SignIn" and case["event"].get("detail")
]
ROLE = "arn:aws:iam::111122223333:role/app"
ASSUMED = {
    "credentials": {
        "accessKeyId": "ASIA-EXAMPLE-00000001",
        "sessionToken": "IQoJb3JpZ2luX2VjEXAMPLE" * 20,
        "expiration": "Nov 20, 2026, 11:00:00 AM",
    },
    "assumedRoleUser": {"assumedRoleId": "AROAEXAMPLE0000000001:app", "arn": f"{ROLE}/app"},
}
KEY = {"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": "arn:aws:kms:eu-north-1:1:key"}
NETWORK = {
    "networkInterfaceId": "eni-0123456789abcdef0",
    "subnetId": "subnet-0123456789abcdef0",
    "vpcId": "vpc-0123456789abcdef0",
    "status": "in-use",
    "privateIpAddress": "10.0.0.7",
    "groupSet": {"items": [{"groupId": "sg-0123456789abcdef0", "groupName": "app"}]},
    "attachment": {"attachmentId": "eni-attach-0123", "deviceIndex": 0, "status": "attaching"},
    "privateIpAddressesSet": {"item": [{"privateIpAddress": "10.0.0.7", "primary": True}]},
    "tagSet": {"items": [{"key": f"tag-{number}", "value": "app"} for number in range(8)]},
}
INSTANCES = {
    "requestId": "0a1b2c3d-0000-0000-0000-000000000000",
    "reservationId": "r-0123456789abcdef0",
    "instancesSet": {
        "items": [
            {
                "instanceId": f"i-0123456789abcdef{number}",
                "imageId": "ami-0123456789abcdef0",
                "instanceState": {"code": 0, "name": "pending"},
                "instanceType": "m7g.large",
                "placement": {"availabilityZone": "eu-north-1a", "tenancy": "default"},
                "monitoring": {"state": "pending"},
                "networkInterfaceSet": {"items": [NETWORK]},
            }
            for number in range(2)
        ]
    },
}
STREAM = {"logGroupName": "/aws/lambda/app", "logStreamName": "2026/11/20/[$LATEST]0a1b2c3d4e5f"}
CALLS: list[tuple[str, str, dict[str, Any], Any, dict[str, Any]]] = [
    # frequent calls that are not sign-ins: service, name, parameters, results, other fields
    ("ec2", "DescribeInstances", {"maxResults": 1000, "filterSet": {}}, None, {}),
    ("sts", "AssumeRole", {"roleArn": ROLE, "roleSessionName": "app"}, ASSUMED, {}),
    ("kms", "Decrypt", {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}, None, {"resources": [KEY]}),
    ("s3", "ListBuckets", {"Host": "s3.eu-north-1.amazonaws.com"}, None, {}),
    ("logs", "CreateLogStream", STREAM, None, {"apiVersion": "20140328"}),
    ("dynamodb", "DescribeTable", {"tableName": "app"}, None, {"apiVersion": "2012-08-10"}),
    (
        "ec2",
        "CreateNetworkInterface",
        {"subnetId": "subnet-0123"},
        {"networkInterface": NETWORK},
        {},
    ),
    ("ec2", "RunInstances", {"instancesSet": {"items": [{"minCount": 2}]}}, INSTANCES, {}),
    ("iam", "ListRoles", {"maxItems": 100}, None, {}),
]
USER_AGENT = (
    "aws-sdk-java/2.31.6 md/io#sync md/http#Apache ua/2.1 os/Linux#6.1.132-147.221.amzn2023.x86_64 "
    "lang/java#21.0.7 md/OpenJDK_64-Bit_Server_VM#21.0.7+6-LTS md/vendor#Amazon.com_Inc. md/en_US "
    "exec-env/AWS_ECS_EC2 m/F,G,E cfg/retry-mode#legacy"
)


def make_call(rng: random.Random) -> dict[str, Any]:
    """Return the record of a call that a role's session made."""
    service, name, parameters, result, others = rng.choice(CALLS)
    role = f"app-{rng.randrange(20)}"
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROAEXAMPLE0000000001:{role}",
            "arn": f"arn:aws:sts::111122223333:assumed-role/{role}/{role}",
            "accountId": "111122223333",
            "accessKeyId": f"ASIA{rng.randrange(1 << 40):016X}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLE0000000001",
                    "arn": f"arn:aws:iam::111122223333:role/{role}",
                    "accountId": "111122223333",
                    "userName": role,
                },
                "attributes": {
                    "creationDate": "2026-11-20T09:00:00Z",
                    "mfaAuthenticated": "false",
                },
            },
        },
        "eventTime": f"2026-11-20T10:{rng.randrange(60):02}:{rng.randrange(60):02}Z",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-north-1",
        "sourceIPAddress": f"198.51.100.{rng.randrange(256)}",
        "userAgent": USER_AGENT,
        "requestParameters": parameters,
        "responseElements": result,
        "requestID": str(uuid.UUID(int=rng.getrandbits(128))),
        "eventID": str(uuid.UUID(int=rng.getrandbits(128))),
        "readOnly": result is None,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
        **others,
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": f"{service}.eu-north-1.amazonaws.com",
        },
    }


def make_small_call(rng: random.Random) -> dict[str, Any]:
    """Return the record of a call with as few fields as a sign-in has."""
    record = make_call(rng)
    del record["userIdentity"]["sessionContext"], record["tlsDetails"]
    return {**record, "responseElements": None}


MAKERS = {"large": make_call, "small": make_small_call}  # of records that are not sign-ins


def write_files(folder: Path, kind: str, share: float) -> None:
    """Write the files of a folder, with this share of sign-ins among records of this kind."""
    rng = random.Random(5)  # noqa: S311 - the same records each time
    folder.mkdir()
    for number in range(FILES):
        records = [
            rng.choice(SIGN_INS) if rng.random() < share else MAKERS[kind](rng)
            for _ in range(RECORDS_IN_A_FILE)
        ]
        text = json.dumps({"Records": records}, separators=(",", ":"))
        (folder / f"{number:04}.json.gz").write_bytes(gzip.compress(text.encode(), 6))


def measure(command: list[str], output: Path) -> float:
    """Return the seconds of CPU that a process uses, from its start to its end."""
    before = os.times()
    with output.open("wb") as out:
        subprocess.run(command, stdout=out, check=True)
    after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return user + system


def main() -> int:
    """Print the ratios; return 1 if one is over its limit."""
    is_over = False
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for kind, (share, max_ratio) in itertools.product(MAKERS, MAX_RATIOS.items()):
            folder = scratch / f"{kind}-{share}"
            write_files(folder, kind, share)
            explain = [str(ROOT / "inv"), "explain", str(folder), "--networks", RECOGNISED]
            commands = {
                "gunzip and json.loads": [sys.executable, "-c", PARSE, str(folder)],
                "text": explain,
                "--json": [*explain, "--json"],
            }
            times: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(RUNS):
                for name, command in commands.items():
                    times[name].append(measure(command, scratch / "out"))
            base, *others = (median(seconds) for seconds in times.values())
            for name, seconds in zip(("text", "--json"), others, strict=True):
                ratio = seconds / base
                limit = "no limit"
                if kind == KIND_WITH_LIMIT:
                    is_over = is_over or ratio > max_ratio
                    limit = f"at most {max_ratio}"
                print(
                    f"{ratio:5.2f}  {kind} records, {share:.0%} sign-ins, {name}: {seconds:.2f} s, "
                    f"gunzip and json.loads {base:.2f} s ({limit})"
                )
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main())
