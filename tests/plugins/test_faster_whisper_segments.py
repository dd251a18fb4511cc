"""Segments out of tokens, held against faster-whisper's own way of cutting them."""

from typing import Any

import pytest
from faster_whisper import WhisperModel
from hypothesis import given
from hypothesis import strategies as st

from asrd_faster_whisper.segments import split

FIRST = 1000
"""The token of 0.00 s in these tests."""

texts = st.integers(0, FIRST - 1)
times = st.integers(FIRST, FIRST + 1500)


def tokens_of(*parts: float | str) -> list[int]:
    """A time for each number, and a token for each letter."""
    return [ord(part) if isinstance(part, str) else FIRST + round(part / 0.02) for part in parts]


class Engine:
    """What faster-whisper's function wants of its model and its tokenizer."""

    time_precision = 0.02
    input_stride = 2
    timestamp_begin = FIRST


def theirs(tokens: list[int], seek: int, frames: int) -> tuple[list[dict[str, Any]], int, bool]:
    engine: Any = Engine()
    result: tuple[list[dict[str, Any]], int, bool] = WhisperModel._split_segments_by_timestamps(
        engine,
        tokenizer=engine,
        tokens=tokens,
        time_offset=seek * 0.01,
        segment_size=frames,
        segment_duration=frames * 0.01,
        seek=seek,
    )
    return result


@given(
    tokens=st.lists(times, max_size=2).flatmap(
        lambda first: st.lists(st.one_of(texts, times), max_size=20).map(lambda rest: first + rest)
    ),
    seek=st.integers(0, 3000),
    frames=st.integers(1, 3000),
)
def test_tokens_are_cut_as_faster_whisper_cuts_them(
    tokens: list[int], seek: int, frames: int
) -> None:
    division = split(tokens, first_timestamp=FIRST, seek=seek, frames=frames)
    segments, read_to, is_complete = theirs(tokens, seek, frames)
    assert (division.read_to, division.is_complete) == (read_to, is_complete)
    assert [one["tokens"] for one in division.segments] == [one["tokens"] for one in segments]
    for ours, other in zip(division.segments, segments, strict=True):
        assert ours["seek"] == other["seek"]
        assert ours["start"] == pytest.approx(other["start"])
        assert ours["end"] == pytest.approx(other["end"])


def test_a_segment_that_was_begun_and_not_ended_is_left_for_the_next_round() -> None:
    tokens = tokens_of(0.0, "a", 1.5, 2.0, "b", 3.0, 3.0, "c")
    division = split(tokens, first_timestamp=FIRST, seek=100, frames=900)
    assert [(one["start"], one["end"]) for one in division.segments] == [(1, 2.5), (3, 4)]
    assert division.read_to == 400
    assert not division.is_complete


def test_ends_are_those_that_were_written_and_never_behind_the_audio() -> None:
    tokens = tokens_of(0.0, "a", 1.5, 2.0, "b", 9.5)
    division = split(tokens, first_timestamp=FIRST, seek=100, frames=900)
    assert [one["marked_end"] for one in division.segments] == [2.5, 10]


@pytest.mark.parametrize(
    ("tokens", "marked_end"),
    [
        (tokens_of(0.0, "a"), None),
        (tokens_of(0.5, "a"), None),
        (tokens_of("a", 0.0), None),
        (tokens_of("a", 1.5), 2.5),
    ],
)
def test_only_a_time_behind_the_text_is_its_end(
    tokens: list[int], marked_end: float | None
) -> None:
    (segment,) = split(tokens, first_timestamp=FIRST, seek=100, frames=900).segments
    assert segment["marked_end"] == marked_end


def test_one_time_at_the_end_says_that_all_was_read() -> None:
    tokens = tokens_of(0.0, "a", 1.5, 2.0, "b", 3.0)
    division = split(tokens, first_timestamp=FIRST, seek=100, frames=900)
    assert [(one["start"], one["end"]) for one in division.segments] == [(1, 2.5), (3, 4)]
    assert division.read_to == 1000
    assert division.is_complete


@pytest.mark.parametrize("tokens", [[], tokens_of(0.0), tokens_of(0.0, "a")])
def test_without_a_time_behind_it_a_text_lasts_to_the_end(tokens: list[int]) -> None:
    division = split(tokens, first_timestamp=FIRST, seek=0, frames=250)
    assert [(one["start"], one["end"]) for one in division.segments] == [(0, 2.5)]
    assert division.read_to == 250
