"""The Twilio secret: read from questions or a pipe, checked, and never repeated in a refusal."""

from __future__ import annotations

import getpass
import inspect
import io
import json
from typing import Any

import pytest

from tests.support.aws import account
from tooling.deploy import secret
from tooling.errors import RefusedError

VALID: dict[str, Any] = {
    "account_sid": "AC" + "1" * 32,
    "api_key_sid": "SK" + "2" * 32,
    "api_key_secret": "-".join(("made", "up", "secret")),
    "sender": "+15005550006",
    "recipients": ["+4915112345678"],
}


class Terminal(io.StringIO):
    """Standard input of a terminal, which must be read by questions only."""

    def isatty(self) -> bool:
        return True

    def read(self, *_: Any) -> str:
        raise AssertionError("read with an echo")


def read_from_pipe(value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    return secret.read(io.StringIO(text), ask=refuse_to_ask)


def refuse_to_ask(question: str) -> str:
    raise AssertionError(question)


def refusal_of_pipe(value: Any) -> str:
    with pytest.raises(RefusedError) as refusal:
        read_from_pipe(value)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


class TestPipe:
    def test_object_with_all_keys_is_accepted(self) -> None:
        assert read_from_pipe(VALID) == VALID

    def test_recipients_are_sorted_and_deduplicated(self) -> None:
        numbers = ["+4915112345679", "+4915112345678", "+4915112345679"]
        assert read_from_pipe({**VALID, "recipients": numbers})["recipients"] == [
            "+4915112345678",
            "+4915112345679",
        ]

    @pytest.mark.parametrize(
        "sender", ["+15005550006", "MG" + "a" * 32, "Signwatch", "My Alerts 1"]
    )
    def test_every_kind_of_sender_is_accepted(self, sender: str) -> None:
        assert read_from_pipe({**VALID, "sender": sender})["sender"] == sender

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("", "secret: standard input is not JSON"),
            ("{", "secret: standard input is not JSON"),
            ("[" * 100_000, "secret: standard input is not JSON"),
            ([VALID], "secret: is not one JSON object"),
            ("null", "secret: is not one JSON object"),
            ({**VALID, "auth_token": "tok3n"}, "secret: has 1 unknown keys"),
        ],
        ids=["nothing", "cut off", "nested without end", "list", "null", "unknown key"],
    )
    def test_anything_but_one_object_is_refused(self, value: Any, message: str) -> None:
        assert refusal_of_pipe(value).startswith(message)

    def test_binary_input_is_refused(self) -> None:
        stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe{"), encoding="utf-8")
        with pytest.raises(RefusedError, match="is not JSON"):
            secret.read(stream, ask=refuse_to_ask)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("account_sid", "SK" + "1" * 32),
            ("account_sid", "AC" + "1" * 31),
            ("account_sid", "AC" + "1" * 32 + "\n"),
            ("account_sid", 5),
            ("api_key_sid", "AC" + "1" * 32),
            ("api_key_secret", "short"),
            ("api_key_secret", "with a space in it"),
            ("sender", "15005550006"),
            ("sender", "+05005550006"),
            ("sender", "A name that is too long"),
            ("sender", ""),
        ],
    )
    def test_value_of_the_wrong_form_is_refused_by_its_key(self, name: str, value: Any) -> None:
        assert refusal_of_pipe({**VALID, name: value}).startswith(
            f"secret, {name}: is missing or has the wrong form"
        )

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
        "number",
        [
            "015112345678",
            "+49 151 12345678",
            "+4915112345678 ",
            "+0123456789",
            "+123456",
            "+" + "1" * 16,
            49,
            "+٤٩١٥١١٢٣٤٥",
        ],
    )
    def test_invalid_phone_number_is_refused_by_its_position(self, number: Any) -> None:
        text = refusal_of_pipe({**VALID, "recipients": ["+4915112345678", number]})
        message = "secret, recipients: number 2 of 2 is not a phone number in E.164 form"
        assert text.startswith(message)
        assert "+4915112345678" in text.partition("Try: ")[2]


class TestQuestions:
    def answers(self, **changes: str) -> list[str]:
        texts = {**VALID, "recipients": "+4915112345679, +4915112345678", **changes}
        return [texts[name] for name in (*secret.FIELDS, "recipients")]

    def read(self, answers: list[str]) -> tuple[dict[str, Any], list[str]]:
        questions: list[str] = []

        def ask(question: str) -> str:
            questions.append(question)
            return answers[len(questions) - 1]

        return secret.read(Terminal(), ask=ask), questions

    def test_five_questions_make_the_secret(self) -> None:
        answer, questions = self.read(self.answers())
        assert answer == {**VALID, "recipients": ["+4915112345678", "+4915112345679"]}
        assert len(questions) == 5
        for name, question in zip(secret.FIELDS, questions, strict=False):
            assert name in question

    def test_spaces_around_an_answer_are_removed(self) -> None:
        answer, _ = self.read(self.answers(account_sid=f"  {VALID['account_sid']} "))
        assert answer["account_sid"] == VALID["account_sid"]

    def test_invalid_answer_is_refused(self) -> None:
        with pytest.raises(RefusedError, match="number 1 of 1"):
            self.read(self.answers(recipients="0151"))

    def test_end_of_input_is_refused(self) -> None:
        def end(_: str) -> str:
            raise EOFError

        with pytest.raises(RefusedError, match="were not all answered"):
            secret.read(Terminal(), ask=end)

    def test_questions_do_not_echo_the_answers(self) -> None:
        assert inspect.signature(secret.read).parameters["ask"].default is getpass.getpass


@pytest.mark.parametrize("name", [*secret.FIELDS, "recipients", "surprise"])
def test_refusal_never_repeats_the_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "hunter2 correct horse"
    with pytest.raises(RefusedError) as refusal:
        read_from_pipe({**VALID, name: [wrong] if name == "recipients" else wrong})
    error = refusal.value
    shown = f"{error}{error.args}{error.__cause__}" + "".join(capsys.readouterr())
    shown = shown.replace(secret.FIELDS["sender"][1], "")
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
    requests: list[dict[str, Any]] = []

    class FakeSecretsManager:
        def put_secret_value(self, **request: Any) -> None:
            requests.append(request)

    secret.put(account(secretsmanager=FakeSecretsManager()), "arn:aws:secretsmanager:x", VALID)
    (request,) = requests
    assert request["SecretId"] == "arn:aws:secretsmanager:x"
    assert json.loads(request["SecretString"]) == VALID
    assert capsys.readouterr() == ("", "")
