"""What is shown of text that may hold anything."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.plain import one_line, plain, plain_json

# Every character, and more often those that terminals obey.
texts = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x07\x9b\x7f\n\r\t \u202e\u2028")))


def test_text_as_people_write_it_is_left_alone() -> None:
    for text in ("Hello, there.", "你好", "नमस्ते", "می‌خواهم", "👩‍👩‍👧 é ß"):
        assert plain(text) == text


def test_what_a_terminal_would_obey_is_marked() -> None:
    assert plain("a\x1b[31mb") == "a�[31mb"
    assert plain("\x9b2J\x07\x7f") == "�2J��"
    assert plain("abc\u202edef") == "abc�def"
    assert plain("\ud800") == "�"


def test_lines_and_tabs_are_blanks() -> None:
    assert plain(" a\r\n\tb\u2028c\x85") == one_line(" a\r\n\tb\u2028c\x85") == "a b c"


@given(texts)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = plain(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert len(shown) == len(one_line(text))


@given(texts, st.integers(0, 20))
def test_a_head_is_shown_as_the_head_of_the_whole(text: str, end: int) -> None:
    assert plain(text).startswith(plain(text[:end]))


@given(texts.filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text)))
def test_json_says_the_same(text: str) -> None:
    line = plain_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(line) == {"text": text}
    assert "Cc" not in map(unicodedata.category, line)
