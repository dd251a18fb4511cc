"""Models that are taken away amid work: what they read is read anew, and nobody is to blame."""

import os
import signal
from pathlib import Path
from typing import Any

from asrd.wire.messages import Ack, Cancel, Close, Closed, GetStats, Health, Segment, Stats, Unload
from faults.scenes import (
    PHRASE,
    UNRULY,
    assert_undisturbed,
    deaths,
    is_decoding,
    reading,
    unruly_daemon,
)
from support.waiting import wait_until
from support.wire_client import WireClient

SLOW_MS = 1000
"""Long enough to do something amid a decode, whatever else the machine has to do."""

SPEECH_AT = round(0.8 * 16_000)
"""The sample of `PHRASE` at which its utterance starts."""

UNWARMED: dict[str, Any] = {"use": {"warm_up": "none"}}

UNLOAD = Unload(provider="unruly", model=None)


def waiting(client: WireClient) -> int:
    """How many streams stand in the queue."""
    client.send(GetStats())
    return int(client.expect(Stats).counters["streams_waiting"])


def test_an_unloaded_model_comes_back_for_a_stream_that_waited_for_it(tmp_path: Path) -> None:
    """The first stream is cancelled in the same moment, so the turn is the second one's."""
    with (
        unruly_daemon(tmp_path, config=UNWARMED, latency_ms=SLOW_MS) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.open(2, partials=False)
        client.speak(1, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode of the first stream")
        client.speak(2, PHRASE)
        wait_until(lambda: waiting(client) == 1, "a second stream in the queue")
        first = daemon.worker(UNRULY)
        client.send(Cancel(stream=1), UNLOAD)
        client.expect(Closed, lambda closed: closed.stream == 1)
        client.expect(Health)
        client.expect(Segment)
        client.speak(2, PHRASE)
        client.finish(2)
        assert_undisturbed(client)
        assert not client.logged(Segment, 1)
        assert [segment.id for segment in client.logged(Segment, 2)] == [0, 1]
        assert daemon.worker(UNRULY) != first
        assert not deaths(daemon, UNRULY)
        assert not daemon.strays


def test_audio_whose_model_was_unloaded_twice_is_no_suspect(tmp_path: Path) -> None:
    with (
        unruly_daemon(tmp_path, config=UNWARMED, latency_ms=SLOW_MS) as daemon,
        daemon.greet() as client,
    ):
        undisturbed = reading(client.transcribe(1, PHRASE, partials=False))
        client.open(2, partials=False)
        client.speak(2, PHRASE)
        for _ in range(2):
            wait_until(lambda: is_decoding(client), "a decode")
            client.send(UNLOAD)
            client.expect(Health)
        client.finish(2)
        assert_undisturbed(client)
        assert reading(client.logged(Segment, 2)) == undisturbed
        assert len(daemon.logged("model_ready")) == 2 + 2  # voice activity is the other one
        assert not daemon.strays


def test_whoever_cannot_wait_for_the_drain_drops_nothing(tmp_path: Path) -> None:
    """The second signal ends the workers; what they read is the client's still."""
    with (
        unruly_daemon(tmp_path, config=UNWARMED, latency_ms=20 * SLOW_MS) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "a daemon that drains")
        daemon.process.send_signal(signal.SIGTERM)
        client.read_to_end()
        assert daemon.process.wait(10) == 0
        assert_undisturbed(client)
        assert not client.logged(Segment)
        assert all(ack.offset <= SPEECH_AT for ack in client.logged(Ack))
        assert not daemon.strays


def test_a_signal_to_the_whole_process_group_does_not_keep_the_drain_from_its_work(
    tmp_path: Path,
) -> None:
    """As from a terminal or a supervisor that tells every process: the core alone decides."""
    with (
        unruly_daemon(tmp_path, config=UNWARMED, latency_ms=SLOW_MS) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        client.send(Close(stream=1))
        for pid in (daemon.pid, *daemon.worker_pids):
            os.kill(pid, signal.SIGTERM)
        client.read_to_end()
        assert daemon.process.wait(10) == 0
        assert_undisturbed(client)
        assert len(client.logged(Segment)) == 1
        assert not daemon.logged("worker_died")
        assert not daemon.strays
