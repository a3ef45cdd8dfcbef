"""The Twilio secret: its form, read from a pipe or Secrets Manager, never repeated in a refusal."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from tests.support.aws import CALLER, account, client_error
from tests.support.scripted_terminal import VALID
from tooling.deploy import secret
from tooling.deploy.phone_numbers import WrongValueError
from tooling.errors import FailedError, RefusedError

ARN = "arn:aws:secretsmanager:x"


def read_from_pipe(value: Any) -> dict[str, Any]:
    return secret.read_json(io.StringIO(value if isinstance(value, str) else json.dumps(value)))


def refusal_of_pipe(value: Any) -> str:
    with pytest.raises(RefusedError) as refusal:
        read_from_pipe(value)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


class FakeSecretsManager:
    """One secret: its text, or the error code of a read."""

    def __init__(self, text: str = "", code: str = "") -> None:
        self.text, self.code = text, code
        self.requests: list[dict[str, Any]] = []

    def put_secret_value(self, **request: Any) -> None:
        self.requests.append(request)

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        assert request == {"SecretId": ARN}
        if self.code:
            raise client_error(self.code, VALID["api_key_secret"], "GetSecretValue")
        return {"SecretString": self.text}


class TestPipe:
    def test_object_with_all_keys_is_accepted(self) -> None:
        assert read_from_pipe(VALID) == VALID

    def test_recipients_keep_the_order_given_and_are_each_once(self) -> None:
        numbers = ["+4915112345679", "+12025550123", "+49 0151 12345679", "+4915112345678"]
        assert read_from_pipe({**VALID, "recipients": numbers})["recipients"] == [
            "+4915112345679",
            "+12025550123",
            "+4915112345678",
        ]

    @pytest.mark.parametrize(
        ("sender", "stored"),
        [
            ("+15005550006", "+15005550006"),
            ("+49015112345678", "+4915112345678"),
            ("MG" + "a" * 32, "MG" + "a" * 32),
            ("MG" + "A" * 32, "MG" + "A" * 32),
            ("Signwatch", "Signwatch"),
            ("My Alerts 1", "My Alerts 1"),
            ("A+b-c_d&e", "A+b-c_d&e"),
        ],
    )
    def test_every_kind_of_sender_is_accepted(self, sender: str, stored: str) -> None:
        assert read_from_pipe({**VALID, "sender": sender})["sender"] == stored

    def test_byte_order_mark_is_ignored(self) -> None:
        assert read_from_pipe("\ufeff" + json.dumps(VALID)) == VALID

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("{", "secret: standard input is not JSON"),
            ("[" * 100_000, "secret: standard input is not JSON"),
            ([VALID], "secret: is not one JSON object"),
            ("null", "secret: is not one JSON object"),
            ({**VALID, "auth_token": "tok3n"}, "secret: has 1 unknown keys"),
        ],
        ids=["cut off", "nested without end", "list", "null", "unknown key"],
    )
    def test_anything_but_one_object_is_refused(self, value: Any, message: str) -> None:
        assert refusal_of_pipe(value).startswith(message)

    @pytest.mark.parametrize("stdin", [None, io.StringIO(""), io.StringIO("\n")])
    def test_neither_terminal_nor_json_is_refused(self, stdin: io.StringIO | None) -> None:
        with pytest.raises(RefusedError, match="no terminal to ask at, and no JSON") as refusal:
            secret.read_json(stdin)
        assert "run the task on a terminal, or send one JSON object" in refusal.value.remedy

    def test_closed_input_is_refused(self) -> None:
        stream = io.StringIO("{}")
        stream.close()
        with pytest.raises(RefusedError, match="standard input cannot be read"):
            secret.read_json(stream)

    def test_binary_input_is_refused(self) -> None:
        stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe{"), encoding="utf-8")
        with pytest.raises(RefusedError, match="standard input cannot be read"):
            secret.read_json(stream)

    @pytest.mark.parametrize(
        ("name", "value", "what"),
        [
            ("account_sid", "SK" + "1" * 32, "is the SID of an API key"),
            ("account_sid", "AC" + "1" * 31, "has the wrong form"),
            ("account_sid", "AC" + "1" * 32 + "\n", "has the wrong form"),
            ("account_sid", "ac" + "1" * 32, "has the wrong form"),
            ("account_sid", "XX" + "1" * 32, "has the wrong form"),
            ("account_sid", 5, "is missing or no text"),
            ("api_key_sid", "AC" + "1" * 32, "is the SID of an account"),
            ("api_key_secret", "short", "has the wrong form"),
            ("api_key_secret", "with a space in it", "has the wrong form"),
            ("api_key_secret", "n\u00f6t-in-a-header", "has the wrong form"),
            ("sender", "15005550006", "does not begin with + and a country code"),
            ("sender", "+10000000", "is too short for a number of +1"),
            ("sender", "A name that is too long", "has the wrong form"),
            ("sender", "AC" + "1" * 32, "is the SID of an account"),
            ("sender", "", "is missing or no text"),
        ],
    )
    def test_value_of_the_wrong_form_is_refused_by_its_key(
        self, name: str, value: Any, what: str
    ) -> None:
        assert refusal_of_pipe({**VALID, name: value}).startswith(f"secret, {name}: {what}")

    @pytest.mark.parametrize("name", sorted(secret.FIELDS))
    def test_missing_key_is_refused_by_name(self, name: str) -> None:
        incomplete = {key: value for key, value in VALID.items() if key != name}
        assert refusal_of_pipe(incomplete).startswith(f"secret, {name}: is missing")

    @pytest.mark.parametrize("recipients", [[], None, "+4915112345678", {"a": 1}])
    def test_recipients_must_be_a_list_with_an_entry(self, recipients: Any) -> None:
        assert refusal_of_pipe({**VALID, "recipients": recipients}).startswith(
            "secret, recipients: is missing or empty"
        )

    @pytest.mark.parametrize(
        ("number", "what"),
        [
            ("015112345678", "does not begin with + and a country code"),
            ("+10000000", "is too short for a number of +1"),
            ("+49 call me", "has a character that is no part of a phone number"),
            (49, "is no text"),
        ],
    )
    def test_wrong_phone_number_is_refused_by_its_position(self, number: Any, what: str) -> None:
        text = refusal_of_pipe({**VALID, "recipients": ["+4915112345678", number]})
        assert text.startswith(f"secret, recipients: number 2 of 2 {what}")


class TestStoredSecret:
    def load(self, text: str = "", code: str = "") -> dict[str, Any]:
        return secret.load(account(secretsmanager=FakeSecretsManager(text, code)), ARN)

    def test_it_is_what_was_written(self) -> None:
        assert self.load(json.dumps(VALID)) == VALID

    @pytest.mark.parametrize("code", ["AccessDeniedException", "DecryptionFailure"])
    def test_caller_without_the_right_is_told_which_profile_to_use(self, code: str) -> None:
        with pytest.raises(RefusedError, match=f"may not be read by {CALLER} .{code}") as refusal:
            self.load(code=code)
        assert "secretsmanager:GetSecretValue" in refusal.value.remedy
        assert "kms:Decrypt" in refusal.value.remedy

    def test_empty_secret_is_a_finding(self) -> None:
        with pytest.raises(FailedError, match=r"is still empty\nTry: run: \./inv secret"):
            self.load(code="ResourceNotFoundException")

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("hunter2", "is not JSON"),
            ("", "is not JSON"),
            ("[]", "secret: is not one JSON object"),
            (json.dumps({**VALID, "api_key_sid": "hunter2"}), "secret, api_key_sid: has the wrong"),
        ],
    )
    def test_unusable_secret_is_a_finding_and_not_shown(self, text: str, what: str) -> None:
        with pytest.raises(FailedError, match=f"the stored secret: {what}") as failure:
            self.load(text)
        assert "hunter2" not in f"{failure.value}{failure.value.__cause__}"


@pytest.mark.parametrize("name", [*secret.FIELDS, "recipients", "surprise"])
def test_refusal_never_repeats_the_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "hunter2 correct horse\u00e9"
    with pytest.raises(RefusedError) as refusal:
        read_from_pipe({**VALID, name: [wrong] if name == "recipients" else wrong})
    error = refusal.value
    shown = f"{error}{error.args}{error.__cause__}" + "".join(capsys.readouterr())
    shown = shown.replace(secret.FIELDS["sender"].description, "")
    for value in (wrong, "hunter2", *VALID.values()):
        assert str(value) not in shown


def test_refusal_never_repeats_broken_json() -> None:
    with pytest.raises(RefusedError) as refusal:
        read_from_pipe('{"api_key_secret": "hunter2-hunter2"')
    assert "hunter2" not in f"{refusal.value}{refusal.value.__cause__}"
    assert refusal.value.__suppress_context__


def test_secret_is_written_where_the_function_reads_it_and_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secrets_manager = FakeSecretsManager()
    secret.put(account(secretsmanager=secrets_manager), ARN, VALID)
    (request,) = secrets_manager.requests
    assert request["SecretId"] == ARN
    assert json.loads(request["SecretString"]) == VALID
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", sorted(secret.FIELDS))
def test_description_of_a_field_names_what_its_pattern_takes(name: str) -> None:
    """The advice for a wrong value is the description, so it must fit."""
    with pytest.raises(WrongValueError) as refusal:
        secret.check_field(name, "?" * 200)
    if name == "sender":  # without a letter it is read as a phone number
        assert "write + and the country code" in refusal.value.remedy
    else:
        assert re.search(re.escape(secret.FIELDS[name].description), refusal.value.remedy)
