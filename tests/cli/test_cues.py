"""Words laid along their text, and cues of a few of them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.cues import (
    MOST_CELLS,
    MOST_S,
    MOST_WORDS,
    PAUSE_S,
    Cue,
    Spoken,
    cut_into_cues,
    milliseconds,
    spoken_words,
)
from asrd.wire.messages import WordTime

END_MS = 20_000


def word(text: str, start: float, end: float) -> WordTime:
    return WordTime(word=text, start=start, end=end)


def texts_of(text: str, *words: str) -> list[str]:
    """What of the text each word is given, where they follow each other second by second."""
    timed = [word(each, number, number + 0.9) for number, each in enumerate(words)]
    return [each.text for each in spoken_words(text, timed, start_ms=0, end_ms=END_MS)]


def cues_of(*words: tuple[str, float, float], until_ms: int = END_MS) -> list[Cue]:
    spoken = [
        Spoken(text=f"{text} ", start_ms=milliseconds(start), end_ms=milliseconds(end))
        for text, start, end in words
    ]
    return cut_into_cues(spoken, start_ms=0, end_ms=until_ms)


def steady(*words: str) -> list[Cue]:
    """Words that follow each other without a pause, four a second."""
    spans = [(text, number / 4, number / 4 + 0.25) for number, text in enumerate(words)]
    return cues_of(*spans, until_ms=len(words) * 250)


# ── words along their text ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("Hello, world.", ["Hello,", "world."], ["Hello, ", "world."]),
        ("Hello, world.", ["hello", "world"], ["Hello, ", "world."]),
        ('He said "no".', ["He", "said", "no"], ["He ", "said ", '"no".']),
        ("今日は。晴れ", ["今日", "は", "晴れ"], ["今日", "は。", "晴れ"]),
        ("a an a", ["a", "an", "a"], ["a ", "an ", "a"]),
        ("well, the then", ["then"], ["well, the then"]),
        ("one two three", ["one", "zwei", "three"], ["one two ", "three"]),
        ("one two three", ["", " ", "uno"], []),
        ("", ["one"], []),
    ],
)
def test_the_text_is_cut_where_its_words_begin(
    text: str, words: list[str], found: list[str]
) -> None:
    assert texts_of(text, *words) == found


def test_times_are_held_inside_the_segment_and_ascend() -> None:
    words = [word("a", 0.2, 0.9), word("b", 2.0, 1.0), word("c", 1.5, 9.0), word("d", 8.0, 9.0)]
    found = spoken_words("a b c d", words, start_ms=500, end_ms=3000)
    assert [(each.start_ms, each.end_ms) for each in found] == [
        (500, 900),
        (2000, 2000),
        (2000, 3000),
        (3000, 3000),
    ]


# ── cues ──────────────────────────────────────────────────────────────────────────────────────


def test_a_cue_has_so_many_words_and_no_more() -> None:
    first, second = steady(*"abcdefghi")
    assert first == Cue(text="a b c d e f g", start_ms=0, end_ms=1750)
    assert second == Cue(text="h i", start_ms=1750, end_ms=2250)


def test_a_cue_fits_on_a_line() -> None:
    assert [
        cue.text for cue in steady("extraordinarily", "extraordinarily", "extraordinarily")
    ] == [
        "extraordinarily extraordinarily",
        "extraordinarily",
    ]
    assert [cue.text for cue in steady("春" * 10, "夏" * 10, "秋")] == [
        f"{'春' * 10} {'夏' * 10}",
        "秋",
    ]
    assert [cue.text for cue in steady("x" * 60, "y")] == ["x" * 60, "y"]


def test_a_cue_lasts_no_longer_than_it_may() -> None:
    cues = cues_of(("a", 0.0, 1.4), ("b", 1.5, 2.9), ("c", 3.0, 4.0), until_ms=4000)
    assert [cue.text for cue in cues] == ["a b", "c"]


def test_a_cue_ends_at_a_pause_and_is_not_shown_during_it() -> None:
    cues = cues_of(("a", 0.1, 0.5), ("b", 1.5, 1.9), until_ms=2000)
    assert cues == [
        Cue(text="a", start_ms=0, end_ms=500),
        Cue(text="b", start_ms=1500, end_ms=2000),
    ]


def test_a_cue_ends_behind_punctuation_when_it_is_long_enough() -> None:
    assert [cue.text for cue in steady("No.", "No.", 'Not "so!"', "We", "go", "on,", "now")] == [
        'No. No. Not "so!"',
        "We go on,",
        "now",
    ]


def test_words_without_a_time_of_their_own_share_a_cue() -> None:
    assert cues_of(*[(each, 1.0, 1.0) for each in "abcdefghij"], until_ms=1000) == [
        Cue(text="a b c d e f g h i j", start_ms=0, end_ms=1000)
    ]
    assert cut_into_cues([], start_ms=0, end_ms=1000) == []


WORDS = st.lists(st.text("abcXYZ'.,!日本", min_size=1, max_size=30), min_size=1, max_size=40)
SECONDS = st.floats(-5.0, 40.0)


@given(words=WORDS, spans=st.lists(st.tuples(SECONDS, SECONDS), min_size=40, max_size=40))
def test_whatever_the_times_every_word_is_shown_once_and_no_cue_overlaps(
    words: list[str], spans: list[tuple[float, float]]
) -> None:
    text = " ".join(words)
    timed = [word(each, *span) for each, span in zip(words, spans, strict=False)]
    spoken = spoken_words(text, timed, start_ms=1000, end_ms=END_MS)
    assert [each.text.strip() for each in spoken] == words
    assert "".join(each.text for each in spoken) == text
    cues = cut_into_cues(spoken, start_ms=1000, end_ms=END_MS)
    assert " ".join(cue.text for cue in cues) == text
    assert cues[0].start_ms == 1000
    assert cues[-1].end_ms == END_MS
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(cues))


@given(text=st.text(max_size=80), words=st.lists(st.text(max_size=8), max_size=20))
def test_words_of_another_text_lose_nothing_of_this_one(text: str, words: list[str]) -> None:
    spoken = spoken_words(text, [word(each, 0.1, 0.2) for each in words], start_ms=0, end_ms=END_MS)
    assert "".join(each.text for each in spoken) == (text if spoken else "")
    assert len(spoken) <= len(words)


@given(words=WORDS, lengths=st.lists(st.integers(1, 1500), min_size=40, max_size=40))
def test_a_cue_of_several_words_keeps_to_every_limit(words: list[str], lengths: list[int]) -> None:
    spoken, at_ms = [], 0
    for each, length_ms in zip(words, lengths, strict=False):
        spoken.append(Spoken(text=f"{each} ", start_ms=at_ms, end_ms=at_ms + length_ms))
        at_ms += length_ms
    for cue in cut_into_cues(spoken, start_ms=0, end_ms=at_ms):
        cells = sum(1 + (each in "日本") for each in cue.text)
        if " " in cue.text:
            assert len(cue.text.split()) <= MOST_WORDS
            assert cells <= MOST_CELLS
            assert cue.end_ms - cue.start_ms <= MOST_S * 1000


def test_a_pause_is_longer_than_what_lies_between_words() -> None:
    short, long = PAUSE_S - 0.01, PAUSE_S
    assert len(cues_of(("a", 0.0, 0.1), ("b", 0.1 + short, 1.0))) == 1
    assert len(cues_of(("a", 0.0, 0.1), ("b", 0.1 + long, 1.0))) == 2
