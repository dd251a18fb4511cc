"""Workers that are killed, crash, or end: nobody hears more of it than a short delay.

All with real processes. A decode says length and checksum of its window, so a text that equals
that of a run without kills proves that no sample was lost, doubled or moved.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.wire.messages import Error, GetStats, Open, Opened, Segment, Stats
from faults.scenes import (
    LONG,
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    Reading,
    assert_set_aside,
    assert_undisturbed,
    deaths,
    is_decoding,
    kill_and_see,
    reading,
    unruly_daemon,
    wait_for_successor,
)
from support.daemon import Daemon
from support.unruly import marked
from support.waiting import wait_until
from support.wire_client import texts


@pytest.fixture(scope="module")
def undisturbed(quick: Daemon) -> dict[bytes, Reading]:
    """The transcripts of a run without kills."""
    with quick.greet() as client:
        return {
            pcm: reading(client.transcribe(number, pcm, partials=False))
            for number, pcm in enumerate((PHRASE, LONG))
        }


# ── one kill ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose decodes take no time."""
    with unruly_daemon(tmp_path_factory.mktemp("quick")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose decodes take a tenth of a second; its workers come and go."""
    with unruly_daemon(tmp_path_factory.mktemp("shared"), latency_ms=100) as daemon:
        yield daemon


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_dies_while_it_decodes_costs_no_word(
    shared: Daemon, undisturbed: dict[bytes, Reading], number: int
) -> None:
    """The same utterance becomes a segment, and a stream beside it reads as ever."""
    with shared.greet() as client:
        before = client.health().providers["unruly"].restarts
        for stream in (1, 2):
            client.open(stream, partials=False)
            client.speak(stream, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        kill_and_see(shared, UNRULY, number)
        client.finish(1, 2)
        for stream in (1, 2):
            assert reading(client.logged(Segment, stream)) == undisturbed[PHRASE]
        assert not client.logged(Error)
        assert client.health().providers["unruly"].restarts == before + 1
        assert not shared.strays


def test_a_worker_that_dies_while_it_is_idle_is_replaced(
    shared: Daemon, undisturbed: dict[bytes, Reading]
) -> None:
    with shared.greet() as client:
        client.open(1, partials=False)
        pid = shared.worker(UNRULY)
        kill_and_see(shared, UNRULY)
        client.speak(1, PHRASE)
        client.finish(1)
        assert reading(client.logged(Segment, 1)) == undisturbed[PHRASE]
        assert shared.worker(UNRULY) != pid
        assert not client.logged(Error)


def test_a_worker_that_dies_while_it_loads_is_replaced(
    tmp_path: Path, undisturbed: dict[bytes, Reading]
) -> None:
    """Who waits for the load hears nothing of it."""
    flag = tmp_path / "flag"
    with (
        unruly_daemon(tmp_path, model="slow", flag=str(flag), eager=False) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=1, partials=False))
        client.speak(1, PHRASE)
        voice = daemon.worker(VOICE)
        (loading,) = wait_until(lambda: set(daemon.worker_pids) - {voice}, "a worker that loads")
        os.kill(loading, signal.SIGKILL)
        wait_until(lambda: set(daemon.worker_pids) - {voice, loading}, "another")
        flag.touch()
        client.expect(Opened)
        client.finish(1)
        assert reading(client.logged(Segment, 1)) == undisturbed[PHRASE]
        assert not client.logged(Error)


def test_a_worker_that_dies_while_it_comes_back_costs_no_word(
    tmp_path: Path, undisturbed: dict[bytes, Reading]
) -> None:
    """The utterance waits through both deaths; the second was not over it."""
    flag = tmp_path / "flag"
    flag.touch()
    with (
        unruly_daemon(tmp_path, model="slow", flag=str(flag), latency_ms=300) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        flag.unlink()
        first, voice = daemon.worker("unruly/slow"), daemon.worker(VOICE)
        os.kill(first, signal.SIGKILL)
        (loading,) = wait_until(
            lambda: set(daemon.worker_pids) - {first, voice}, "a worker that loads"
        )
        os.kill(loading, signal.SIGKILL)
        wait_until(lambda: set(daemon.worker_pids) - {first, voice, loading}, "another")
        flag.touch()
        client.finish(1)
        assert reading(client.logged(Segment, 1)) == undisturbed[PHRASE]
        assert not client.logged(Error)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_voice_activity_that_dies_amid_speech_changes_no_sample(
    quick: Daemon, undisturbed: dict[bytes, Reading], number: int
) -> None:
    """It serves every stream; each goes on where it was, to the sample."""
    daemon = quick
    with daemon.greet() as client:
        cuts = {stream: 30_001 + 2 * 65_537 * stream for stream in range(1, 7)}
        for stream, cut in cuts.items():
            client.open(stream, partials=False)
            client.speak(stream, LONG[: cut - cut % 2])
        kill_and_see(daemon, VOICE, number)
        for stream, cut in cuts.items():
            client.speak(stream, LONG[cut - cut % 2 :])
        client.finish(*cuts)
        for stream in cuts:
            assert reading(client.logged(Segment, stream)) == undisturbed[LONG]
        assert not client.logged(Error)
        assert not daemon.strays


def test_voice_activity_that_dies_while_it_scores_changes_no_sample(
    quick: Daemon, undisturbed: dict[bytes, Reading]
) -> None:
    with quick.greet() as client:
        client.open(1, partials=False)
        pid = quick.worker(VOICE)
        os.kill(pid, signal.SIGSTOP)  # so that it certainly has windows that it did not score
        client.speak(1, LONG)
        client.send(GetStats())
        client.expect(Stats)  # the audio before has been read
        os.kill(pid, signal.SIGKILL)
        client.finish(1)
        assert reading(client.logged(Segment, 1)) == undisturbed[LONG]


# ── many ──────────────────────────────────────────────────────────────────────────────────────


def test_workers_that_die_again_and_again_under_load_cost_no_word(
    tmp_path: Path, undisturbed: dict[bytes, Reading]
) -> None:
    """Eight streams say an utterance each, round by round; in every round both workers die.

    The decoder at another decode of the round each time, voice activity amid the audio.
    """
    streams = range(8)
    dice = random.Random(1)
    rounds = undisturbed[LONG][:5]
    ends = [round((end + 0.7) * 16_000) * 2 for _, _, end, _ in rounds]
    with unruly_daemon(tmp_path, latency_ms=30) as daemon, daemon.greet() as client:
        for stream in streams:
            client.open(stream, partials=False)
        begin = 0
        for number, end in enumerate(ends):
            middle = begin + dice.randrange((end - begin) // 2) * 2
            for stream in streams:
                client.speak(stream, LONG[begin:middle])
            voice = daemon.worker(VOICE)
            os.kill(voice, signal.SIGKILL)
            for stream in streams:
                client.speak(stream, LONG[middle:end])
            first = len(streams) * number + dice.randrange(len(streams))
            while len(client.logged(Segment)) < first or not is_decoding(client):
                client.receive()
            decoder = daemon.worker(UNRULY)
            os.kill(decoder, signal.SIGKILL)
            for worker, before in ((VOICE, voice), (UNRULY, decoder)):
                wait_for_successor(daemon, worker, before)
            while len(client.logged(Segment)) < len(streams) * (number + 1):
                client.receive()
            begin = end
        client.finish(*streams)
        assert len(daemon.logged("worker_died")) == 2 * len(ends)
        for stream in streams:
            assert reading(client.logged(Segment, stream)) == rounds, stream
        assert_undisturbed(client)
        assert not daemon.strays


@pytest.mark.parametrize("deed", ["kill", "abort", "exit"])
def test_audio_that_ends_two_workers_is_set_aside_for_its_stream_alone(
    tmp_path: Path, undisturbed: dict[bytes, Reading], deed: str
) -> None:
    with unruly_daemon(tmp_path, deed=deed) as daemon:
        with daemon.greet() as bad, daemon.greet() as good:
            for client in (bad, good):
                client.open(1, partials=False)
            bad.speak(1, marked(PHRASE, MARKED_AT_S) + PHRASE)
            good.speak(1, PHRASE)
            (closed,) = bad.finish(1)
            good.finish(1)
            dropped_s = assert_set_aside(bad, 1, at_s=MARKED_AT_S)
            assert closed.dropped_seconds == pytest.approx(dropped_s)
            # Its other utterance has the next id, and no gap before it.
            assert [segment.id for segment in bad.logged(Segment)] == [0]
            assert bad.logged(Segment)[0].start > len(PHRASE) / 32_000
            assert reading(good.logged(Segment, 1)) == undisturbed[PHRASE]
            assert_undisturbed(good)
        assert len(deaths(daemon, UNRULY)) == 2
        assert not daemon.strays


@pytest.mark.parametrize("deed", ["raise", "nonsense"])
def test_a_plugin_that_fails_at_a_window_loses_that_window_and_no_worker(
    tmp_path: Path, undisturbed: dict[bytes, Reading], deed: str
) -> None:
    with unruly_daemon(tmp_path, deed=deed) as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        client.speak(1, marked(PHRASE, MARKED_AT_S))
        client.finish(1)
        (error,) = client.logged(Error)
        assert error.code == "provider_failed"
        assert reading(client.transcribe(2, PHRASE, partials=False)) == undisturbed[PHRASE]
        assert not deaths(daemon, UNRULY)
        assert [line["problem"] for line in daemon.logged("call_failed")] == [error.message]
        assert not daemon.strays


def test_a_model_that_ends_every_worker_is_unavailable_and_others_are_served(
    tmp_path: Path,
) -> None:
    with (
        unruly_daemon(tmp_path, model="bad_at_load", deed="kill", eager=False) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=1))
        error = client.expect(Error)
        assert (error.code, error.stream) == ("provider_unavailable", 1)
        assert "died" in error.message
        assert texts(client.transcribe(2, PHRASE, provider="echo"))
