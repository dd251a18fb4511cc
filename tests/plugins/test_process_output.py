"""What a program has printed, as text: however it is cut, and whatever it is."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_process.output import (
    HELD_CHARACTERS,
    MAX_PRINTED_BYTES,
    MAX_TEXT_BYTES,
    JsonLinesOutput,
    Output,
    OutputFormat,
    TextOutput,
    TooMuchPrinted,
)

MARK = re.compile(r"\[[^\]]*\]")
printed = st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), max_size=12)


def keys(**more: object) -> bytes:
    return json.dumps(more).encode() + b"\n"


lines = st.lists(
    st.fixed_dictionaries({}, optional={"text": st.text(max_size=12), "final": st.booleans()}).map(
        lambda told: json.dumps(told).encode() + b"\n"
    )
    | st.binary(max_size=12),
    max_size=12,
)


def read_all(output: Output, pieces: list[bytes]) -> str:
    for piece in pieces:
        output.take(piece)
    output.end()
    assert output.reading.stable == len(output.reading.text)
    return output.reading.text


def hold_what_was_stable(output: Output, pieces: list[bytes]) -> None:
    kept = ""
    for piece in [*pieces, None]:
        if piece is None:
            output.end()
        else:
            output.take(piece)
        reading = output.reading
        assert reading.text.startswith(kept)
        assert len(kept) <= reading.stable <= len(reading.text)
        assert reading.text == " ".join(reading.text.split())
        reading.text.encode()  # what cannot be sent is not among it
        kept = reading.text[: reading.stable]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(end, len(data)) for end in cuts} | {len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@given(printed)
def test_text_that_was_stable_never_changes(pieces: list[bytes]) -> None:
    hold_what_was_stable(TextOutput(), pieces)


@given(printed, st.sampled_from([r"\[[^\]]*\]", r"a+", r"x|xy", r"\s+", r".*", r"\b"]))
def test_nor_does_it_where_a_pattern_is_removed(pieces: list[bytes], pattern: str) -> None:
    hold_what_was_stable(TextOutput(re.compile(pattern)), pieces)


@given(lines)
def test_nor_does_that_of_json_lines(pieces: list[bytes]) -> None:
    hold_what_was_stable(JsonLinesOutput(text_key="text", final_key="final"), pieces)


@given(st.text(max_size=60), st.lists(st.integers(0, 200), max_size=8))
def test_it_does_not_matter_where_the_pipe_cuts(text: str, cuts: list[int]) -> None:
    data = text.encode()
    whole = read_all(TextOutput(), [data])
    assert read_all(TextOutput(), cut(data, cuts)) == whole
    shown = (c for c in text if c.isspace() or c.isprintable())
    if text.isprintable():
        assert whole == " ".join("".join(shown).split())


@given(
    st.lists(st.sampled_from(["so", " ", "[BLANK]", "é", "[", "[x y]", "now"]), max_size=30),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_nor_does_it_for_marks(parts: list[str], cuts: list[int]) -> None:
    data = "".join(parts).encode()
    if len(data) <= HELD_CHARACTERS:  # a match that is never longer than what is held back
        whole = " ".join(MARK.sub("", data.decode()).split())
        assert read_all(TextOutput(MARK), cut(data, cuts)) == whole


@given(lines.map(b"".join), st.lists(st.integers(0, 400), max_size=8))
def test_nor_does_it_for_json_lines(data: bytes, cuts: list[int]) -> None:
    form = OutputFormat(kind="json_lines")
    assert read_all(form.begin(), cut(data, cuts)) == read_all(form.begin(), [data])


def test_everything_printed_is_stable_at_once_without_a_pattern() -> None:
    output = TextOutput()
    output.take(b" Hel")
    output.take(b"lo  \n wor\xc3")
    assert (output.reading.text, output.reading.stable) == ("Hello wor", 9)
    output.take(b"\xa4ld\n")
    assert output.reading.text == "Hello worä" + "ld"


def test_a_mark_is_left_out_though_it_comes_in_pieces() -> None:
    output = TextOutput(MARK)
    output.take(b"one [BL")
    assert (output.reading.text, output.reading.stable) == ("one [BL", 0)
    output.take(b"ANK] two")
    assert output.reading.text == "one two"
    output.take(b" three" * 20)
    reading = output.reading
    assert reading.text[: reading.stable].startswith("one two three")
    assert 0 < reading.stable < len(reading.text)


def test_broken_characters_and_controls_are_no_text() -> None:
    assert read_all(TextOutput(), [b"a\xffb\x1b[2K\x00c\r"]) == "a�b[2Kc"


def test_final_lines_stay_and_others_take_each_others_place() -> None:
    output = JsonLinesOutput(text_key="say", final_key="done")
    output.take(keys(say="good morning", done=True))
    output.take(keys(say="how") + keys(say="how are"))
    assert (output.reading.text, output.reading.stable) == ("good morning how are", 12)
    output.take(keys(say="who are", done=False))
    assert output.reading.text == "good morning who are"
    output.take(keys(say="who are you", done=True)[:-1])  # the line has no end yet
    assert output.reading.text == "good morning who are"
    output.take(b"\n")
    assert (output.reading.text, output.reading.stable) == ("good morning who are you", 24)


def test_what_is_open_at_the_end_is_final() -> None:
    form = OutputFormat(kind="json_lines", strip=MARK)
    assert read_all(form.begin(), [keys(text="so [x] far"), b'{"text": "so far good"}']) == (
        "so far good"
    )


@pytest.mark.parametrize("line", [b"loading", b"[1]", b"3", b"{", b"[" * 5000, b'"text"'])
def test_lines_that_are_no_objects_are_counted(line: bytes) -> None:
    output = JsonLinesOutput(text_key="text", final_key="final")
    output.take(line + b"\n\n" + keys(text="yes", final=True))
    assert (output.reading.text, output.strays) == ("yes", 1)


@pytest.mark.parametrize("line", [keys(level=3), keys(text=7), keys(text=None, final=True)])
def test_objects_without_a_text_are_other_news(line: bytes) -> None:
    output = JsonLinesOutput(text_key="text", final_key="final")
    output.take(keys(text="yes", final=True) + line)
    assert (output.reading.text, output.strays) == ("yes", 0)


def test_half_a_surrogate_pair_is_left_out() -> None:
    assert read_all(OutputFormat(kind="json_lines").begin(), [b'{"text": "a\\ud800b"}\n']) == "ab"


@pytest.mark.parametrize("strip", [None, MARK])
def test_more_text_than_anybody_says_is_too_much(strip: re.Pattern[str] | None) -> None:
    output = TextOutput(strip)
    output.take(b"x" * (MAX_TEXT_BYTES - 1) + b" ")
    with pytest.raises(TooMuchPrinted, match="more than 65536 characters"):
        output.take(b"x")


def test_a_line_without_an_end_is_too_much() -> None:
    output = JsonLinesOutput(text_key="text", final_key="final")
    output.take(b"x" * MAX_TEXT_BYTES)
    with pytest.raises(TooMuchPrinted, match="a line of more than"):
        output.take(b"x")


def test_final_lines_without_an_end_are_too_much() -> None:
    output = JsonLinesOutput(text_key="text", final_key="final")
    with pytest.raises(TooMuchPrinted, match="characters"):
        output.take(keys(text="x" * 1000, final=True) * 66)


def test_the_same_open_text_may_be_told_again_and_again_but_not_for_ever() -> None:
    output = JsonLinesOutput(text_key="text", final_key="final")
    line = keys(text="x" * 30_000)
    for _ in range(MAX_PRINTED_BYTES // len(line)):
        output.take(line)
    with pytest.raises(TooMuchPrinted, match="bytes"):
        output.take(line)
    assert output.reading.text == "x" * 30_000
