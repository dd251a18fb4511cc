"""Characters that a terminal obeys."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.controls import is_obeyed, without_controls


@pytest.mark.parametrize(
    "character", "\x00\n\x1b\x7f\x9b\u2028\u2029\u202a\u202e\u2066\u2069\ud800"
)
def test_what_moves_ends_or_turns_what_is_shown_is_obeyed(character: str) -> None:
    assert is_obeyed(character)
    assert without_controls(f"a{character}b", "?") == "a?b"
    assert without_controls(f"a{character}b", "?", character) == f"a{character}b"


@pytest.mark.parametrize("text", ["Hello, there.", "नमस्ते", "می‌خواهم", "👩‍👩‍👧 é ß", "a\u200fb"])
def test_text_as_people_write_it_is_left_alone(text: str) -> None:
    assert without_controls(text, "?") == text


@given(st.text())
def test_nothing_else_is_changed(text: str) -> None:
    shown = without_controls(text, "\0")
    assert [each for each in shown if each != "\0"] == [
        each for each in text if not is_obeyed(each)
    ]
    assert "Cc" not in {unicodedata.category(each) for each in shown if each != "\0"}
