"""The Twilio secret: asked for without an echo or read from a pipe, checked, and never repeated in a refusal."""

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

GOOD: dict[str, Any] = {
    "account_sid": "AC" + "1" * 32,
    "api_key_sid": "SK" + "2" * 32,
    "api_key_secret": "-".join(("made", "up", "secret")),
    "sender": "+15005550006",
    "recipients": ["+4915112345678"],
}


class Terminal(io.StringIO):
    """Standard input with a person at it, who must not be read without the questions."""

    def isatty(self) -> bool:
        return True

    def read(self, *_: Any) -> str:
        raise AssertionError("read with an echo")


def piped(given: Any) -> dict[str, Any]:
    return secret.read(
        io.StringIO(given if isinstance(given, str) else json.dumps(given)), ask=never
    )


def never(question: str) -> str:
    raise AssertionError(question)


def refusal(given: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        piped(given)
    assert refused.value.exit_code == 2
    return str(refused.value)


class TestPipe:
    def test_one_object_with_all_keys_is_taken(self) -> None:
        assert piped(GOOD) == GOOD

    def test_recipients_are_sorted_and_each_stands_once(self) -> None:
        given = {**GOOD, "recipients": ["+4915112345679", "+4915112345678", "+4915112345679"]}
        assert piped(given)["recipients"] == ["+4915112345678", "+4915112345679"]

    @pytest.mark.parametrize(
        "sender", ["+15005550006", "MG" + "a" * 32, "Signwatch", "My Alerts 1"]
    )
    def test_every_kind_of_sender_is_taken(self, sender: str) -> None:
        assert piped({**GOOD, "sender": sender})["sender"] == sender

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("", "secret: what came on standard input is not JSON"),
            ("{", "secret: what came on standard input is not JSON"),
            ("[" * 100_000, "secret: what came on standard input is not JSON"),
            ([GOOD], "secret: is not one JSON object"),
            ("null", "secret: is not one JSON object"),
            ({**GOOD, "auth_token": "tok3n"}, "secret: has 1 unknown keys"),
        ],
        ids=["nothing", "cut off", "nested without end", "list", "null", "unknown key"],
    )
    def test_what_is_no_secret_is_refused(self, given: Any, said: str) -> None:
        assert refusal(given).startswith(said)

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe{"), encoding="utf-8")
        with pytest.raises(RefusedError, match="is not JSON"):
            secret.read(stream, ask=never)

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
    def test_a_value_of_the_wrong_form_is_refused_by_its_key(self, name: str, value: Any) -> None:
        assert refusal({**GOOD, name: value}).startswith(
            f"secret, {name}: is missing or not of the right form"
        )

    @pytest.mark.parametrize("name", sorted(secret.SHAPES))
    def test_a_missing_key_is_named(self, name: str) -> None:
        given = {key: value for key, value in GOOD.items() if key != name}
        assert refusal(given).startswith(f"secret, {name}: is missing")

    @pytest.mark.parametrize("recipients", [[], None, "+4915112345678", {"a": 1}])
    def test_recipients_are_a_list_that_is_not_empty(self, recipients: Any) -> None:
        assert refusal({**GOOD, "recipients": recipients}).startswith(
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
    def test_a_bad_phone_number_is_refused_by_its_place(self, number: Any) -> None:
        said = refusal({**GOOD, "recipients": ["+4915112345678", number]})
        assert said.startswith(
            "secret, recipients: number 2 of 2 is not a phone number in E.164 form"
        )
        assert "+4915112345678" in said.partition("Try: ")[2]


class TestPrompt:
    def answers(self, **changes: str) -> list[str]:
        texts = {**GOOD, "recipients": "+4915112345679, +4915112345678", **changes}
        return [texts[name] for name in (*secret.SHAPES, "recipients")]

    def read(self, answers: list[str]) -> tuple[dict[str, Any], list[str]]:
        asked: list[str] = []

        def ask(question: str) -> str:
            asked.append(question)
            return answers[len(asked) - 1]

        return secret.read(Terminal(), ask=ask), asked

    def test_five_questions_make_the_secret(self) -> None:
        found, asked = self.read(self.answers())
        assert found == {**GOOD, "recipients": ["+4915112345678", "+4915112345679"]}
        assert len(asked) == 5
        assert all(name in question for name, question in zip(secret.SHAPES, asked, strict=False))

    def test_spaces_around_what_was_pasted_do_not_count(self) -> None:
        assert (
            self.read(self.answers(account_sid=f"  {GOOD['account_sid']} "))[0]["account_sid"]
            == GOOD["account_sid"]
        )

    def test_a_bad_answer_is_refused(self) -> None:
        with pytest.raises(RefusedError, match="number 1 of 1"):
            self.read(self.answers(recipients="0151"))

    def test_questions_that_are_not_all_answered_are_refused(self) -> None:
        def ended(_: str) -> str:
            raise EOFError

        with pytest.raises(RefusedError, match="were not all answered"):
            secret.read(Terminal(), ask=ended)

    def test_the_terminal_does_not_echo(self) -> None:
        assert inspect.signature(secret.read).parameters["ask"].default is getpass.getpass


@pytest.mark.parametrize("name", [*secret.SHAPES, "recipients", "surprise"])
def test_a_refusal_never_repeats_what_was_given(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "hunter2 correct horse"
    with pytest.raises(RefusedError) as refused:
        piped({**GOOD, name: [wrong] if name == "recipients" else wrong})
    shown = "".join(
        map(str, (refused.value, refused.value.args, refused.value.__cause__))
    ) + "".join(capsys.readouterr())
    for given in (wrong, "hunter2", *(value for value in GOOD.values() if isinstance(value, str))):
        assert given not in shown.replace(secret.SHAPES["sender"][1], "")


def test_broken_json_is_not_repeated_either() -> None:
    with pytest.raises(RefusedError) as refused:
        piped('{"api_key_secret": "hunter2-hunter2"')
    assert "hunter2" not in f"{refused.value}{refused.value.__cause__}"
    assert refused.value.__suppress_context__


def test_it_is_written_where_the_function_reads_it_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written: list[dict[str, Any]] = []

    class Secrets:
        def put_secret_value(self, **asked: Any) -> None:
            written.append(asked)

    secret.put(account(secretsmanager=Secrets()), "arn:aws:secretsmanager:x", GOOD)
    (asked,) = written
    assert asked["SecretId"] == "arn:aws:secretsmanager:x"
    assert json.loads(asked["SecretString"]) == GOOD
    assert capsys.readouterr() == ("", "")
