"""Each format, as its readers want it."""

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.options import Format
from asrd.cli.transcripts import WRITERS
from asrd.wire.messages import Segment, WordTime
from support.fake_daemon import segment

SEGMENTS = [
    segment(number=0, start=0.5, end=1.25, text="Hello <there> & all.", language="en"),
    segment(number=1, start=3599.9996, end=36000.0, text="Two\n\nlines --> one"),
]


def written(format_: Format, segments: list[Segment]) -> str:
    writer = WRITERS[format_]()
    parts = [writer.begin("a.wav"), *(writer.segment(item) for item in segments), writer.end(40.0)]
    return "".join(parts)


def test_text_is_a_line_a_segment() -> None:
    assert written(Format.TEXT, SEGMENTS) == "Hello <there> & all.\nTwo lines --> one\n"


def test_srt() -> None:
    assert written(Format.SRT, SEGMENTS) == (
        "1\n00:00:00,500 --> 00:00:01,250\nHello <there> & all.\n\n"
        "2\n01:00:00,000 --> 10:00:00,000\nTwo lines --> one\n\n"
    )


def test_vtt() -> None:
    assert written(Format.VTT, SEGMENTS) == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:01.250\nHello &lt;there&gt; &amp; all.\n\n"
        "01:00:00.000 --> 10:00:00.000\nTwo lines --&gt; one\n\n"
    )


def test_vtt_has_the_time_of_each_word_inside_its_cue() -> None:
    words = [
        WordTime(word=word, start=start, end=start + 0.2)
        for word, start in (
            ("R&B,", 0.5),
            ("is", 0.75),
            ("never", 0.75),
            ("too", 1.0),
            ("late", 2.0),
        )
    ]
    text = written(
        Format.VTT, [segment(start=0.5, end=1.25, text="R&B, is never\ntoo late", words=words)]
    )
    assert text.splitlines()[-2] == (
        "R&amp;B, <00:00:00.750><c>is</c> never <00:00:01.000><c>too</c> late"
    )


def test_vtt_of_words_without_blanks_between() -> None:
    words = [
        WordTime(word=word, start=start, end=start + 0.2)
        for word, start in (("今日", 0.6), ("は", 0.75), ("晴れ", 1.0))
    ]
    text = written(Format.VTT, [segment(start=0.5, end=1.25, text="今日は、晴れ", words=words)])
    assert text.splitlines()[-2] == (
        "<00:00:00.600><c>今日</c><00:00:00.750><c>は、</c><00:00:01.000><c>晴れ</c>"
    )


SECONDS = st.floats(0.0, 5.0)


@given(
    span=st.tuples(SECONDS, SECONDS).map(sorted),
    spans=st.lists(st.tuples(SECONDS, SECONDS), max_size=12),
)
def test_times_inside_a_cue_of_vtt_ascend_and_lie_between_its_own(
    span: list[float], spans: list[tuple[float, float]]
) -> None:
    words = [
        WordTime(word=f"w{number}", start=start, end=end)
        for number, (start, end) in enumerate(spans)
    ]
    text = " ".join(word.word for word in words)
    cue = written(
        Format.VTT, [segment(start=span[0], end=span[1], text=text, words=words)]
    ).removeprefix("WEBVTT\n\n")
    times, line = cue.split("\n")[:2]
    begin, end = times.split(" --> ")
    stamps = re.findall(r"<(\d\d:[^>]*)>", line)
    assert all(before < after for before, after in pairwise([begin, *stamps]))
    assert not stamps or stamps[-1] < end
    assert re.sub(r"<[^>]*>", "", line) == text


def test_srt_of_words_has_short_cues_counted_through() -> None:
    words = [
        WordTime(word=f"w{number}", start=number / 4, end=number / 4 + 0.2) for number in range(8)
    ]
    text = " ".join(word.word for word in words)
    written_text = written(
        Format.SRT,
        [
            segment(number=0, start=0.0, end=2.0, text=text, words=words),
            segment(number=1, start=3.0, end=4.0, text="without", words=[]),
        ],
    )
    assert written_text == (
        "1\n00:00:00,000 --> 00:00:01,750\nw0 w1 w2 w3 w4 w5 w6\n\n"
        "2\n00:00:01,750 --> 00:00:02,000\nw7\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nwithout\n\n"
    )


def test_words_change_no_text() -> None:
    words = [WordTime(word="Two", start=0.5, end=0.7)]
    assert written(Format.TEXT, [segment(text="Two\nlines", words=words)]) == "Two lines\n"


def test_jsonl_is_an_object_a_segment() -> None:
    first, second = map(json.loads, written(Format.JSONL, SEGMENTS).splitlines())
    assert first == {
        "type": "segment",
        "file": "a.wav",
        "id": 0,
        "start": 0.5,
        "end": 1.25,
        "text": "Hello <there> & all.",
        "language": "en",
        "provider": "fake",
        "model": "none",
        "latency_ms": 1.0,
    }
    assert second["id"] == 1


def test_json_is_one_object_with_what_all_segments_share_told_once() -> None:
    words = [WordTime(word="Hello", start=0.5, end=0.7)]
    document: dict[str, Any] = json.loads(
        written(Format.JSON, [segment(text="Hello", words=words), segment(number=1, text=" all ")])
    )
    segments = document.pop("segments")
    assert document == {
        "file": "a.wav",
        "duration": 40.0,
        "provider": "fake",
        "model": "none",
        "text": "Hello all",
    }
    assert segments[0]["words"][0]["word"] == "Hello"
    assert set(segments[1]) == {"id", "start", "end", "text", "latency_ms"}


@pytest.mark.parametrize("format_", list(Format))
def test_text_of_every_language_is_written_as_it_is(format_: Format) -> None:
    assert "žluťoučký 日本" in written(format_, [segment(text="žluťoučký 日本")])


def test_no_speech_is_a_valid_file_too() -> None:
    assert written(Format.TEXT, []) == written(Format.SRT, []) == written(Format.JSONL, []) == ""
    assert written(Format.VTT, []) == "WEBVTT\n\n"
    document = json.loads(written(Format.JSON, []))
    assert document == {"file": "a.wav", "duration": 40.0, "text": "", "segments": []}
