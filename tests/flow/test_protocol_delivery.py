"""Live and lossless delivery, credit, and readers that do not read."""

import time
from contextlib import suppress
from itertools import pairwise

import pytest

from flow.daemons import (
    Daemon,
)
from flow.independent_client import CHUNK_BYTES, Client, Ended, frame
from flow.speech import PHRASE, RATE, SPEECH, recording, seconds_of, silence

# ── delivery ──────────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_keeps_to_its_credit_sends_everything(client: Client) -> None:
    """Three minutes, three times what may be sent ahead; nothing is dropped."""
    pcm = (SPEECH + silence(46)) * 3
    client.open(1, source="file")
    client.speak_within_credit(1, pcm)
    segments = client.finish(1)
    assert len(segments) == 12
    assert client.logged("credit", stream=1)
    (closed,) = client.logged("closed", stream=1)
    assert closed["offset"] == len(pcm) // 2
    assert closed["dropped_seconds"] == 0


def test_ping_and_cancel_never_wait_behind_audio_that_keeps_to_its_credit(
    slow_daemon: Daemon,
) -> None:
    """The whole credit is used up and a decode is under way."""
    with slow_daemon.greet() as client:
        credit = client.open(1, source="file")["credit"]
        pcm = PHRASE + silence(credit / RATE - seconds_of(PHRASE))
        client.speak(1, pcm, offset=0)
        begin = time.monotonic()
        client.ping()
        assert time.monotonic() - begin < 1
        client.send("cancel", stream=1)
        assert client.expect("closed")["reason"] == "cancelled"


def test_a_lossless_writer_that_ignores_its_credit_waits_in_its_write_and_loses_nothing(
    slow_daemon: Daemon,
) -> None:
    """Past twice the window the daemon stops reading until the decode is done."""
    pcm = PHRASE + silence(296.5)
    data = b"".join(
        frame(type="audio", stream=1, data=pcm[begin : begin + CHUNK_BYTES])
        for begin in range(0, len(pcm), CHUNK_BYTES)
    )
    with slow_daemon.greet() as client:
        window = client.open(1, source="file")["credit"]
        sent = client.send_until_blocked(data, patience_s=1.0)
        assert sent < len(data)
        least, kernel = 2 * window * 2, 2**20
        assert least < sent < least + kernel
        assert client.logged("segment") == []
        client.send_bytes(data[sent:])
        (segment,) = client.finish(1)
        assert segment["start"] == pytest.approx(0.75, abs=0.3)
        (closed,) = client.logged("closed", stream=1)
        assert closed["offset"] == len(pcm) // 2
        assert closed["dropped_seconds"] == 0
        assert not client.logged("event", event="dropped")


def test_a_writer_that_waits_disturbs_no_other_connection(slow_daemon: Daemon) -> None:
    data = frame(type="audio", stream=1, data=silence(1)) * 300
    with slow_daemon.greet() as greedy, slow_daemon.greet() as bystander:
        greedy.open(1, source="file")
        greedy.speak(1, PHRASE)
        assert greedy.send_until_blocked(data, patience_s=0.5) < len(data)
        begin = time.monotonic()
        bystander.ping()
        assert time.monotonic() - begin < 1


def test_a_live_stream_drops_its_oldest_audio_counts_it_and_tells_it(slow_daemon: Daemon) -> None:
    """Speech comes much faster than it is decoded; the sender never waits."""
    speech = b"".join(recording(name) for name in ("pauses_1", "pauses_2")) * 4
    with slow_daemon.greet() as client:
        client.open(1, source="mic", partials=False)
        begin = time.monotonic()
        client.speak(1, speech, offset=0)
        assert time.monotonic() - begin < 5
        client.expect("event", event="dropped")
        client.read_for(1)
        client.send("cancel", stream=1)
        closed = client.expect("closed", stream=1)
        drops = client.logged("event", event="dropped")
        assert closed["dropped_seconds"] == pytest.approx(
            sum(drop["end"] - drop["start"] for drop in drops), abs=0.01
        )
        assert closed["audio_seconds"] == pytest.approx(seconds_of(speech), abs=0.01)
        spans = sorted((drop["start"], drop["end"]) for drop in drops)
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert all(drop["reason"] for drop in drops)


def test_audio_that_was_dropped_still_takes_its_time(daemon: Daemon) -> None:
    """What comes behind the drop is told at its own time, and the ids have no gap."""
    speech = recording("pauses_2") * 10
    with daemon.greet() as client:
        client.open(1, source="mic", partials=False)
        client.speak(1, speech + silence(5), offset=0)
        client.expect("event", event="dropped")
        client.speak(1, PHRASE, offset=len(speech) // 2 + 5 * RATE)
        begin = seconds_of(speech) + 5
        client.send("close", stream=1)
        closed = client.expect("closed")
        segments = client.logged("segment", stream=1)
        assert segments[-1]["start"] == pytest.approx(begin + 0.75, abs=0.3)
        assert closed["segments"] == len(segments)
        assert closed["offset"] == len(speech) // 2 + 5 * RATE + len(PHRASE) // 2
        assert closed["dropped_seconds"] > 0
        for drop in client.logged("event", event="dropped"):
            for segment in segments:
                assert (
                    segment["end"] <= drop["start"] + 0.5 or segment["start"] >= drop["end"] - 0.5
                )


def test_credit_is_told_again_after_a_break(daemon: Daemon) -> None:
    """A client that kept to its credit cannot be left waiting for a `credit` that was lost."""
    with daemon.connect() as first:
        welcome = first.hello()
        credit = first.open(1, source="file")["credit"]
        pcm = silence(credit / RATE)
        first.send_until_blocked(
            b"".join(
                frame(type="audio", stream=1, data=pcm[begin : begin + CHUNK_BYTES])
                for begin in range(0, len(pcm), CHUNK_BYTES)
            ),
            patience_s=5,
            reading=False,
        )
        time.sleep(1)
    second, again = daemon.resume(welcome, have={1: -1})
    with second:
        assert again["resumed"] is True
        assert second.expect("credit", patience_s=5, stream=1)["offset"] > credit


# ── slow readers ──────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_takes_nothing_is_closed_and_may_resume(daemon: Daemon) -> None:
    """It asks for more answers than its outbox holds and reads none; others go on."""
    with daemon.connect() as client, daemon.greet() as bystander:
        welcome = client.hello()
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.expect("segment")
        pings = frame(type="ping", id="x" * 100) * 20_000
        with suppress(Ended):
            client.send_until_blocked(pings, patience_s=1, reading=False)
        bystander.ping()
        rest = client.read_to_end()
        assert len([message for message in rest if message["type"] == "pong"]) < 20_000
        errors = [message for message in rest if message["type"] == "error"]
        assert [(error["code"], error["fatal"]) for error in errors] in (
            [("slow_consumer", True)],
            [],
        )
    second, again = daemon.resume(welcome, have={1: 0})
    with second:
        assert again["resumed"] is True
        assert second.finish(1) == []


def test_a_reader_that_stalls_past_the_send_timeout_is_closed(daemon: Daemon) -> None:
    """Few answers, but nothing is taken for longer than `send_timeout_s` (5)."""
    with daemon.greet() as client:
        pings = frame(type="ping", id="x" * 100) * 2500
        client.send_until_blocked(pings, patience_s=1, reading=False)
        time.sleep(7)
        rest = client.read_to_end()
        assert all(message["type"] in ("pong", "error") for message in rest)
