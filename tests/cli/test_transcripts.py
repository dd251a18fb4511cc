"""Each format, as its readers want it."""

import json
from typing import Any

import pytest

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
        for word, start in (("R&B", 0.5), ("is", 0.75), ("late", 2.0))
    ]
    text = written(Format.VTT, [segment(start=0.5, end=1.25, words=words)])
    assert text.splitlines()[-2] == "R&amp;B <00:00:00.750>is late"


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
