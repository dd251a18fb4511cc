"""Audio becomes segments and commits, as the protocol says and a real daemon does."""

import struct
import time
from itertools import pairwise

import pytest

from flow.daemons import (
    DECODE_S,
    Daemon,
)
from flow.independent_client import CHUNK_BYTES, Client, refused, told
from flow.protocol_rules import Message
from flow.speech import PHRASE, RATE, SPEECH, recording, seconds_of, silence

# ── audio, segments and the commit ────────────────────────────────────────────────────────────────


def test_speech_becomes_segments(client: Client) -> None:
    """Ids count from 0; times lie within the audio; text and commit come in one frame."""
    client.open(1, source="file")
    client.speak(1, SPEECH)
    segments = client.finish(1)
    assert [segment["id"] for segment in segments] == [0, 1, 2, 3]
    for segment, (start, end) in zip(
        segments, [(0.57, 1.59), (3.12, 5.63), (7.16, 8.72), (10.62, 11.64)], strict=True
    ):
        assert segment["text"]
        assert segment["start"] == pytest.approx(start, abs=0.3)
        assert segment["end"] == pytest.approx(end, abs=0.5)
        assert segment["offset"] >= segment["end"] * RATE - RATE
        assert segment["offset"] <= len(SPEECH) // 2
        assert segment.get("words") is None
        assert (segment["provider"], segment["latency_ms"] >= 0) == ("echo", True)


def test_a_segment_is_committed_with_its_own_frame(client: Client) -> None:
    """The first segment's commit lies behind its speech: it would not be sent again."""
    client.open(1, source="file")
    client.speak(1, SPEECH)
    for segment in client.finish(1):
        assert segment["offset"] / RATE >= segment["end"]


def test_a_stream_begins_at_its_start_offset_and_start_id(client: Client) -> None:
    """As a stream that another daemon began goes on: the clock counts what came before."""
    hour = 3600 * RATE
    client.open(1, source="file", start_offset=hour, start_id=77)
    client.speak(1, SPEECH)
    segments = client.finish(1)
    assert [segment["id"] for segment in segments] == [77, 78, 79, 80]
    assert segments[0]["start"] == pytest.approx(3600.57, abs=0.3)
    closed = client.logged("closed", stream=1)[0]
    assert closed["offset"] == hour + len(SPEECH) // 2
    assert closed["audio_seconds"] == pytest.approx(seconds_of(SPEECH), abs=0.01)
    assert closed["segments"] == 4
    events = client.logged("event", stream=1)
    assert events
    assert all(event["at"] >= 3600 for event in events)


def test_events_tell_where_speech_starts_and_ends(client: Client) -> None:
    client.open(1, source="file")
    client.speak(1, PHRASE)
    (segment,) = client.finish(1)
    kinds = [event["event"] for event in client.logged("event", stream=1)]
    assert kinds == ["speech_start", "speech_end"]
    first, last = client.logged("event", stream=1)
    assert first["at"] == pytest.approx(segment["start"], abs=0.1)
    assert last["at"] == pytest.approx(segment["end"], abs=0.1)


@pytest.mark.parametrize("chunk_bytes", [64, 640, 3200, 65_536])
def test_how_audio_is_cut_into_chunks_changes_nothing(
    client: Client, unbroken: list[Message], chunk_bytes: int
) -> None:
    client.open(1, source="file")
    client.speak(1, SPEECH, chunk_bytes=chunk_bytes)
    assert told(client.finish(1)) == told(unbroken)


def test_live_and_lossless_streams_hear_the_same(client: Client, unbroken: list[Message]) -> None:
    client.open(1, source="mic")
    client.speak(1, SPEECH)
    assert told(client.finish(1)) == told(unbroken)


def test_audio_at_the_pace_of_speech_hears_the_same(
    client: Client, unbroken: list[Message]
) -> None:
    """Four times as fast as it was spoken, in chunks of 100 ms."""
    client.open(1, source="mic")
    for begin in range(0, len(SPEECH), 3200):
        client.send("audio", stream=1, data=SPEECH[begin : begin + 3200])
        client.read_for(0.025)
    assert told(client.finish(1)) == told(unbroken)


def test_audio_that_is_sent_again_is_ignored(client: Client, unbroken: list[Message]) -> None:
    client.open(1, source="file")
    half = len(SPEECH) // 4 * 2
    client.speak(1, SPEECH[:half], offset=0)
    client.speak(1, SPEECH[:half], offset=0)
    client.speak(1, SPEECH[half // 2 : half], offset=half // 4)
    client.speak(1, SPEECH[half:], offset=half // 2)
    client.speak(1, SPEECH, offset=0)
    assert told(client.finish(1)) == told(unbroken)
    assert not client.logged("event", event="gap")
    closed = client.logged("closed", stream=1)[0]
    assert closed["audio_seconds"] == pytest.approx(seconds_of(SPEECH), abs=0.01)


def test_audio_that_overlaps_is_trimmed(client: Client, unbroken: list[Message]) -> None:
    """Chunks of one second, each beginning a third of a second before the end of the last."""
    client.open(1, source="file")
    for begin in range(0, len(SPEECH) // 2, 10_667):
        client.speak(1, SPEECH[2 * begin : 2 * begin + 32_000], offset=begin, chunk_bytes=32_000)
    assert told(client.finish(1)) == told(unbroken)
    assert not client.logged("event", event="gap")


def test_audio_before_the_commit_is_ignored(client: Client) -> None:
    """Sending again is always safe, even what the daemon finished long ago."""
    client.open(1, source="file")
    client.speak(1, PHRASE)
    client.send("flush", stream=1)
    client.expect("flushed", stream=1)
    client.speak(1, PHRASE, offset=0)
    assert len(client.finish(1)) == 1


def test_a_hole_is_told_as_a_gap_and_finishes_the_utterance_at_the_hole(client: Client) -> None:
    """The clock skips the hole, and recognition goes on behind it."""
    cut, resume = 4 * RATE, 100 * RATE + 123  # within the second phrase
    client.open(1, source="file")
    client.speak(1, SPEECH[: 2 * cut], offset=0)
    client.speak(1, PHRASE, offset=resume)
    segments = client.finish(1)
    (gap,) = client.logged("event", event="gap")
    assert gap["start"] == cut / RATE
    assert gap["end"] == pytest.approx(resume / RATE, abs=1e-3)
    assert [segment["id"] for segment in segments] == [0, 1, 2]
    assert segments[1]["start"] == pytest.approx(3.12, abs=0.3)
    assert 3.5 < segments[1]["end"] <= cut / RATE
    assert segments[2]["start"] == pytest.approx(resume / RATE + 0.75, abs=0.3)
    closed = client.logged("closed", stream=1)[0]
    assert closed["offset"] == resume + len(PHRASE) // 2
    assert closed["audio_seconds"] == pytest.approx(4 + seconds_of(PHRASE), abs=0.01)


def test_the_utterance_before_a_hole_is_finished_without_waiting_for_silence(
    client: Client,
) -> None:
    client.open(1, source="file")
    client.speak(1, PHRASE[: 2 * RATE * 2], offset=0)  # ends within the phrase
    client.speak(1, silence(0.1), offset=50 * RATE)
    segment = client.expect("segment", stream=1)
    assert segment["end"] <= 2.0


@pytest.mark.parametrize("chunk_bytes", [640, 3200, 65_536])
@pytest.mark.parametrize("source", ["mic", "file"])
def test_the_commit_is_told_at_least_once_for_each_second_of_silence(
    client: Client, source: str, chunk_bytes: int
) -> None:
    """However fast it is sent, and in whatever pieces."""
    client.open(1, source=source)
    client.speak(1, silence(20), chunk_bytes=chunk_bytes)
    client.send("flush", stream=1)
    client.expect("flushed", stream=1)
    offsets = [message["offset"] for message in client.logged("ack", stream=1)]
    assert offsets == sorted(set(offsets))
    steps = [b - a for a, b in pairwise([0, *offsets, 20 * RATE])]
    assert max(steps) <= RATE
    assert client.finish(1) == []


def test_silence_at_the_pace_of_life_is_acknowledged_every_second(client: Client) -> None:
    client.open(1, source="mic")
    for _ in range(30):
        client.send("audio", stream=1, data=silence(0.1))
        client.read_for(0.1)
    offsets = [message["offset"] for message in client.logged("ack", stream=1)]
    assert len(offsets) >= 2
    assert offsets[-1] >= 2 * RATE
    assert max(b - a for a, b in pairwise([0, *offsets])) <= RATE


def test_noise_gives_no_text_and_is_acknowledged(client: Client) -> None:
    noise = recording("noise_1")
    client.open(1, source="file")
    client.speak(1, noise)
    assert client.finish(1) == []
    assert client.logged("ack", stream=1)
    assert client.logged("closed", stream=1)[0]["offset"] == len(noise) // 2


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_offsets_count_samples_at_the_streams_own_rate_and_times_are_seconds(
    client: Client, rate: int
) -> None:
    """A stream of floats on two channels: the same speech at the same seconds."""
    data = resampled(PHRASE, rate, channels=2)
    frames = len(data) // 8
    client.open(1, source="file", encoding="pcm_f32le", sample_rate=rate, channels=2)
    client.speak(1, data, offset=0, frame_bytes=8, chunk_bytes=8 * 4000)
    client.speak(1, data, offset=0, frame_bytes=8, chunk_bytes=8 * 4000)
    (segment,) = client.finish(1)
    assert segment["start"] == pytest.approx(0.75, abs=0.3)
    assert segment["end"] == pytest.approx(2.66, abs=0.5)
    closed = client.logged("closed", stream=1)[0]
    assert closed["offset"] == frames
    assert closed["audio_seconds"] == pytest.approx(seconds_of(PHRASE), abs=0.01)
    assert segment["end"] * rate <= segment["offset"] <= frames


def resampled(pcm: bytes, rate: int, *, channels: int) -> bytes:
    """By drawing straight lines between samples; good enough to be heard."""
    samples = memoryview(pcm).cast("h")
    count = int(len(samples) * rate / RATE)
    out = bytearray()
    for index in range(count):
        place = index * RATE / rate
        whole = min(int(place), len(samples) - 2)
        share = place - whole
        value = (samples[whole] * (1 - share) + samples[whole + 1] * share) / 32768
        out += struct.pack("<f", value) * channels
    return bytes(out)


def test_words_come_where_they_were_asked_for(client: Client) -> None:
    client.open(1, source="file", words=True)
    client.speak(1, PHRASE)
    (segment,) = client.finish(1)
    words = segment["words"]
    assert " ".join(word["word"].strip() for word in words) == segment["text"]
    edges = [edge for word in words for edge in (word["start"], word["end"])]
    assert edges == sorted(edges)
    assert all(type(edge) is float for edge in edges)
    assert all("probability" in word for word in words)
    assert edges[0] == pytest.approx(segment["start"], abs=0.5)


def test_partials_bear_the_id_of_the_segment_that_follows(client: Client) -> None:
    """The client itself checks id, `stable`, and that stable text stays."""
    client.open(1, source="mic")
    for begin in range(0, len(SPEECH), 3200):
        client.send("audio", stream=1, data=SPEECH[begin : begin + 3200])
        client.read_for(0.03)
    segments = client.finish(1)
    partials = client.logged("partial", stream=1)
    assert partials
    for partial in partials:
        segment = segments[partial["id"]]
        assert partial["start"] == pytest.approx(segment["start"], abs=0.2)
        assert client.log.index(partial) < client.log.index(segment)


def test_no_partials_come_where_none_were_asked_for(client: Client) -> None:
    client.open(1, source="mic", partials=False)
    for begin in range(0, len(SPEECH), 3200):
        client.send("audio", stream=1, data=SPEECH[begin : begin + 3200])
        client.read_for(0.01)
    assert client.finish(1)
    assert not client.logged("partial", stream=1)


def test_endpointing_sets_how_much_silence_ends_an_utterance(client: Client) -> None:
    """With five seconds of it the four phrases, two seconds apart, are one utterance."""
    client.open(1, source="file", endpointing_ms=5000)
    client.speak(1, SPEECH)
    assert len(client.finish(1)) == 1


def test_streams_of_one_session_do_not_touch_each_other(
    client: Client, unbroken: list[Message]
) -> None:
    for stream in range(4):
        client.open(stream, source="file")
    for begin in range(0, len(SPEECH), CHUNK_BYTES):
        for stream in range(4):
            client.send("audio", stream=stream, data=SPEECH[begin : begin + CHUNK_BYTES])
    for stream in range(4):
        assert told(client.finish(stream)) == told(unbroken)


def test_a_chunk_of_the_most_bytes_is_taken_and_a_larger_one_is_dropped(client: Client) -> None:
    """The stream goes on as if the chunk that was too large had never been sent."""
    client.open(1, source="file")
    client.send("audio", stream=1, data=bytes(65_536), offset=0)
    client.send("audio", stream=1, data=bytes(65_538), offset=32_768)
    refused(client, code="chunk_too_large", fatal=False, stream=1)
    client.speak(1, PHRASE, offset=32_768)
    (segment,) = client.finish(1)
    assert segment["start"] == pytest.approx(2.048 + 0.75, abs=0.3)
    assert not client.logged("event", event="gap")


def test_a_chunk_of_half_a_sample_is_refused(client: Client) -> None:
    client.open(1, source="file")
    client.send("audio", stream=1, data=bytes(3))
    refused(client, code="invalid_message", fatal=False, stream=1)
    client.speak(1, PHRASE)
    assert len(client.finish(1)) == 1


# ── flush, close, cancel ──────────────────────────────────────────────────────────────────────────


def test_flush_finishes_all_audio_without_waiting_for_the_end_of_speech(client: Client) -> None:
    """The audio stops within the phrase; its segment comes before `flushed`."""
    cut = 2 * RATE
    client.open(1, source="file")
    client.speak(1, PHRASE[: 2 * cut])
    client.send("flush", stream=1)
    flushed = client.expect("flushed", stream=1)
    assert flushed["offset"] == cut
    (segment,) = client.logged("segment", stream=1)
    assert segment["end"] <= 2.0
    client.speak(1, silence(1) + PHRASE)
    segments = client.finish(1)
    assert [segment["id"] for segment in segments] == [0, 1]
    assert segments[1]["start"] == pytest.approx(3.75, abs=0.3)


def test_every_flush_is_answered(client: Client) -> None:
    client.open(1, source="file")
    client.send("flush", stream=1)
    assert client.expect("flushed", stream=1)["offset"] == 0
    client.speak(1, PHRASE)
    client.send("flush", stream=1)
    client.send("flush", stream=1)
    for _ in range(2):
        assert client.expect("flushed", stream=1)["offset"] == len(PHRASE) // 2
    assert len(client.finish(1)) == 1


def test_close_finishes_the_stream_and_counts_it(client: Client) -> None:
    client.open(1, source="file")
    client.speak(1, SPEECH)
    segments = client.finish(1)
    (closed,) = client.logged("closed", stream=1)
    assert closed["reason"] == "client"
    assert closed["offset"] == len(SPEECH) // 2
    assert closed["segments"] == len(segments) == 4
    assert closed["audio_seconds"] == pytest.approx(seconds_of(SPEECH), abs=0.01)
    assert closed["dropped_seconds"] == 0
    client.read_for(0.2)
    assert client.log[-1] == closed


def test_a_stream_without_audio_closes_with_nothing(client: Client) -> None:
    client.open(1, source="file", start_offset=500)
    assert client.finish(1) == []
    (closed,) = client.logged("closed", stream=1)
    assert (closed["offset"], closed["segments"], closed["audio_seconds"]) == (500, 0, 0)


def test_cancel_ends_at_once_and_drops_what_is_not_finished(slow_daemon: Daemon) -> None:
    """A decode is under way; nobody waits for it."""
    with slow_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.expect("event", event="speech_end")
        begin = time.monotonic()
        client.send("cancel", stream=1)
        closed = client.expect("closed", stream=1)
        assert time.monotonic() - begin < 1
        assert closed["reason"] == "cancelled"
        assert closed["segments"] == 0
        assert closed["offset"] < len(PHRASE) // 2
        client.read_for(DECODE_S + 0.5)
        assert client.logged("segment") == []
