"""The picture of the phone: its texts are those of the demo, and it is drawn from them alone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.end_to_end.test_demo_runs import EXPECTED_TEXTS
from tooling.local import phone_picture
from tooling.settings import ROOT

pytestmark = pytest.mark.joint

SVG = "{http://www.w3.org/2000/svg}"


def read_texts(picture: str) -> list[str]:
    """Return the texts of a picture, each on one line."""
    texts: list[list[str]] = []
    for element in ElementTree.fromstring(picture):  # noqa: S314 - the repository's own file
        if element.get("class") == "bubble":
            texts.append([])
        elif texts and element.tag == f"{SVG}text":
            texts[-1].append(element.text or "")
    return [" ".join(lines) for lines in texts]


def test_picture_of_the_readme_shows_the_texts_of_the_demo() -> None:
    shown = read_texts((ROOT / "docs" / "phone.svg").read_text())
    expected = [text for _, text in EXPECTED_TEXTS if text][:2]
    for text, pattern in zip(shown, expected, strict=True):
        assert re.fullmatch(pattern, text)


def test_text_is_wrapped_and_escaped() -> None:
    long_line = "word " * 20
    picture = phone_picture.draw([f"A <b> & C\n{long_line}", "second"])
    assert read_texts(picture) == [f"A <b> & C {long_line.strip()}", "second"]
    assert phone_picture.draw(["a", "b", "c"]) == phone_picture.draw(["a", "b"])
    lines = phone_picture.wrap(long_line)
    assert len(lines) == 3
    assert max(map(len, lines)) <= 44


def test_picture_loads_nothing() -> None:
    picture = (ROOT / "docs" / "phone.svg").read_text()
    assert re.findall(r"https?:[^\"]*", picture) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|url\(|@import|href", picture)
