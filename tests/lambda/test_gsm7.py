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
