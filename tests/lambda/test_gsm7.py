"""Untrusted text is mapped to GSM-7 and counted in septets, and ASCII needs no Unicode tables."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from signwatch import gsm7
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_characters_of_the_extension_table_count_twice() -> None:
    assert gsm7.count_septets("a[€~") == 7
    assert gsm7.count_septets("") == 0


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("Größe à la carte", "Größe à la carte"),
        ("ç ő ﬁ", "c o f"),
        ("\u201cx\u201d \u2013 \u2018y\u2019 \u2026 `", "'x' - 'y' ... '"),
        ("a\u0000b\u202ec\u200bd\ue000e\ud800f", "abcdef"),
        ("z\u0335\u0336\u0489", "z"),
        ("a\u0080b\u0378c\u0928\u093f", "abc?"),
        ("a\tb\u00a0\r\nc", "a b c"),
        ("a\x1b\x7f`b", "a'b"),
        ("日本 😀", "?? ?"),
        ("Ελένη Παπαδοπούλου", "Eleni Papadopoyloy"),
        ("Юлия Щукина, Ёж", "Yuliya Shhukina, Yozh"),
        ("Łukasz Đorđe Þór œuvre", "Lukasz Dorde Thor oeuvre"),
        ("[]{}\\~^|€", "[]{}\\~^|€"),
    ],
)
def test_text_is_mapped_to_one_line_of_gsm7(text: str, mapped: str) -> None:
    assert gsm7.to_gsm7(text) == mapped


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("αβγδεζηθικλμνξοπρςστυφχψω", "avgdezithiklmnxoprsstyfchpso"),
        ("абвгдежзийклмнопрстуфхцчшщъыьэюя", "abvgdezhzijklmnoprstufhcchshshh'y'eyuya"),
        ("ёђєѕіїјљњћўџґ", "yodjyedziyijljnjcudzg"),
        ("đðþłœıħ", "ddthloeih"),
        ("ΑΒΓΔΘΞΠΣΦΨΩΛ", "AVGDThXPSFPsOL"),
        ("`\u2018\u2019\u201c\u201d", "'" * 5),
        ("\u2013\u2014\u2026", "--..."),
    ],
)
def test_letters_and_signs_have_one_form_in_gsm7(text: str, mapped: str) -> None:
    assert gsm7.to_gsm7(text) == mapped


def test_every_character_of_gsm7_stays_but_the_greek_capitals() -> None:
    basic = (
        "@£$¥èéùìòÇØøÅå_ÆæßÉ!\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
        "abcdefghijklmnopqrstuvwxyzäöñüà"
    )
    extension = "^{}\\[~]|€"
    assert gsm7.to_gsm7(basic + extension) == basic + extension
    assert gsm7.count_septets(basic + extension) == len(basic) + 2 * len(extension)


@pytest.mark.parametrize(
    ("name", "max_septets", "shown"),
    [
        ("a" * 36, 36, "a" * 36),
        ("a" * 37, 36, "a" * 25 + "... #21ec05"),
        ("[" * 18, 36, "[" * 18),
        ("[" * 19, 36, "[" * 12 + "... #99e677"),
        ("Eleni", 5, "Eleni"),
        ("Ελένη", 36, "Eleni #8d5280"),
        ("Ελένη Παπαδοπούλου", 12, "E... #74b310"),
        ("Ελένη Παπαδοπούλου", 11, "#74b310"),
        ("Ελένη Παπαδοπούλου", 5, "#74b3"),
        ("李雷", 36, "name #3a4732"),
    ],
)
def test_name_is_cut_to_its_septets_with_the_checksum(
    name: str, max_septets: int, shown: str
) -> None:
    assert gsm7.sanitise_name(name, max_septets) == shown
    if max_septets == 36:
        assert gsm7.sanitise_name(name) == shown


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("O\u2019Neil \u201cx\u201d \u2013 \u2026", "O'Neil 'x' - . . ."),
        ('a"b', "a'b"),
        ("a\\u202eb\u202e\u0007", "a\\\\u202eb\\u202e\\u0007"),
        ("Zoë 李雷 \u0661 नि", "Zoë 李雷 \u0661 नि"),
        ("a@b.example", "a at b. example"),
        ("a" * 256, "a" * 256),
        ("a" * 257, "a" * 256 + ". . ."),
    ],
)
def test_name_in_an_email_is_escaped_and_cut_after_256_characters(name: str, escaped: str) -> None:
    assert gsm7.escape_name(name) == escaped


@pytest.mark.parametrize(
    ("name", "can_be_shown"),
    [("Ελένη", True), ("--", True), ("李7", True), ("李雷", False), ("¡¿", False), ("", False)],
)
def test_name_needs_a_letter_or_a_digit_unless_it_is_ascii(
    name: str, *, can_be_shown: bool
) -> None:
    assert gsm7.can_show(name) is can_be_shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call 1 555 012-3456 now", "call 1_555_012_3456 now"),
        ("call 555 0123", "call 555_0123"),
        ("call 12 345 6", "call 12 345 6"),
        ("2026.11.26", "2026_11_26"),
        ("see https://a.example/x", "see https: //a. example/x"),
        ('say "hi"', "say 'hi'"),
        ("x" * 300, "x" * 256),
    ],
)
def test_untrusted_text_is_not_clickable_and_has_256_characters_at_most(
    text: str, shown: str
) -> None:
    assert gsm7.sanitise(text, 300) == shown
    assert gsm7.quote(text, 300) == f'"{shown}"'


@pytest.mark.parametrize(
    ("name", "is_whole"),
    [
        ("a@b", True),
        ("a b", True),
        ("a at b", False),
        ("a. b", False),
        ("a@ b", False),
        ("x: y", False),
        ('x"y', False),
        ("x#y", False),
        ("1_2", False),
        ("a_1", True),
        ("123456", True),
        ("1234567", True),
        ("123-4567", False),
        ("a" * 257, False),
    ],
)
def test_name_that_another_could_look_like_is_not_shown_whole(name: str, *, is_whole: bool) -> None:
    assert gsm7.is_shown_whole(name, 300) is is_whole


def test_two_names_never_look_alike_in_a_text() -> None:
    names = [
        *("Ivan", "Иван", "Іван", "Ivan\u200b", "Ivan ", "Iv an", "Ελένη", "Eleni", "李雷", "雷李"),
        *("a" * 40 + "1", "a" * 40 + "2", "a@b", "a at b", "a.b", "a. b", "a:b", "a: b"),
        *('x"y', "x'y", "19005550199", "1900_5550_199", "1-900-555-0199", "1 900 555 0199"),
        *("Rene\u0301", "René", "Rene", "René #8d5280", "name", "name #3a4732", "\ud800", "?"),
        *("a" * 300 + "1", "a" * 300 + "2", "", " "),
    ]
    shown = [gsm7.sanitise_name(name) for name in names]
    assert len(set(shown)) == len(names)
    assert max(map(gsm7.count_septets, shown)) <= gsm7.NAME_MAX_SEPTETS


def test_a_plain_name_has_no_checksum() -> None:
    for name in ("Anaya", "anaya.lee@example.com", "René", "GitHubActions", "build-20261126"):
        assert gsm7.is_shown_whole(name)
        assert "#" not in gsm7.sanitise_name(name)


@pytest.mark.parametrize(
    ("text", "truncated"),
    [("a" * 20, "a" * 20), ("a" * 21, "a" * 17 + "..."), ("[" * 11, "[" * 8 + "...")],
)
def test_text_is_truncated_to_a_number_of_septets(text: str, truncated: str) -> None:
    assert gsm7.truncate(text, 20) == truncated


@pytest.mark.parametrize(("text", "is_loaded"), [("a.b@c `\\x00", False), ("\\xe9", True)])
def test_unicode_tables_are_loaded_only_for_text_that_is_not_ascii(
    text: str, is_loaded: bool, tmp_path: Path
) -> None:
    no_byte_code = {"PYTHONPYCACHEPREFIX": str(tmp_path)}  # compiling must not load them either
    program = (
        "import sys; from signwatch import gsm7; "
        f"gsm7.quote('{text}', 20); print('unicodedata' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "lambda"), **no_byte_code},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == str(is_loaded)
