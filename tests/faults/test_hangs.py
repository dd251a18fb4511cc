"""Workers that hang: seen by their lack of progress, ended, replaced; slow ones are let be.

Real processes, which hang by sleeping, by a busy loop of Python, with the interpreter's lock held
in C, and by SIGSTOP. A worker counts as hung here after one second instead of ten.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd.wire.messages import Open, Opened, Segment
from faults.scenes import (
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    Reading,
    assert_set_aside,
    assert_undisturbed,
    deaths,
    is_decoding,
    reading,
    unruly_daemon,
)
from support.daemon import Daemon
from support.unruly import WORK_S, marked
from support.waiting import wait_until

HANG_AFTER_S = 1.0
IMPATIENT = {"supervision": {"hang_after_s": HANG_AFTER_S}}
BAD = marked(PHRASE, MARKED_AT_S)
CORE_STOPPED_S = 3.0
LOOKED_WITHIN_S = 0.7
"""The core looks after its workers twice a second."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose decodes take a third of a second; its workers come and go."""
    with unruly_daemon(tmp_path_factory.mktemp("slow"), config=IMPATIENT, latency_ms=300) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def undisturbed(slow: Daemon) -> Reading:
    """The transcript of a run in which nothing hangs."""
    with slow.greet() as client:
        return reading(client.transcribe(1, PHRASE, partials=False))


def hangs(daemon: Daemon, worker: str) -> list[dict[str, Any]]:
    """What the log says of workers that were ended because they hung."""
    return [line for line in daemon.logged("worker_hung") if line["worker"] == worker]


# ── hung ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("deed", ["sleep", "spin", "hold_the_gil"])
def test_audio_that_hangs_two_workers_is_set_aside_for_its_stream_alone(
    tmp_path: Path, undisturbed: Reading, deed: str
) -> None:
    with unruly_daemon(tmp_path, config=IMPATIENT, deed=deed) as daemon:
        with daemon.greet() as bad, daemon.greet() as good:
            for client in (bad, good):
                client.open(1, partials=False)
            bad.speak(1, BAD + PHRASE)
            wait_until(lambda: is_decoding(bad), "a decode that hangs")
            good.speak(1, PHRASE)
            bad.finish(1)
            good.finish(1)
            assert_set_aside(bad, 1, at_s=MARKED_AT_S)
            assert [segment.id for segment in bad.logged(Segment)] == [0]
            assert reading(good.logged(Segment, 1)) == undisturbed
            assert_undisturbed(good)
        for hang in (found := hangs(daemon, UNRULY)):
            assert HANG_AFTER_S < hang["quiet_s"] < HANG_AFTER_S + 2
        assert len(found) == 2
        assert [death["exit_code"] for death in deaths(daemon, UNRULY)] == [-signal.SIGKILL] * 2
        assert not hangs(daemon, VOICE)
        assert not daemon.strays


def test_a_worker_that_is_stopped_while_it_decodes_costs_no_word(
    slow: Daemon, undisturbed: Reading
) -> None:
    with slow.greet() as client:
        for stream in (1, 2, 3):
            client.open(stream, partials=False)
            client.speak(stream, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        os.kill(pid := slow.worker(UNRULY), signal.SIGSTOP)
        client.finish(1, 2, 3)
        for stream in (1, 2, 3):
            assert reading(client.logged(Segment, stream)) == undisturbed
        assert_undisturbed(client)
        assert [hang["pid"] for hang in hangs(slow, UNRULY)] == [pid]
        assert slow.worker(UNRULY) != pid


def test_voice_activity_that_is_stopped_while_it_scores_changes_no_sample(
    slow: Daemon, undisturbed: Reading
) -> None:
    """It serves every stream, and each goes on where it was."""
    with slow.greet() as client:
        os.kill(pid := slow.worker(VOICE), signal.SIGSTOP)
        for stream in (1, 2):
            client.open(stream, partials=False)
            client.speak(stream, PHRASE)
        client.finish(1, 2)
        for stream in (1, 2):
            assert reading(client.logged(Segment, stream)) == undisturbed
        assert_undisturbed(client)
        assert [hang["pid"] for hang in hangs(slow, VOICE)] == [pid]
        assert not slow.strays


def test_a_worker_that_is_stopped_while_it_loads_is_replaced(
    tmp_path: Path, undisturbed: Reading
) -> None:
    flag = tmp_path / "flag"
    config = {"supervision": {"load_hang_after_s": 1.0}}
    with (
        unruly_daemon(tmp_path, model="slow", eager=False, config=config, flag=str(flag)) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=1, partials=False))
        client.speak(1, PHRASE)
        voice = daemon.worker(VOICE)
        (loading,) = wait_until(lambda: set(daemon.worker_pids) - {voice}, "a worker that loads")
        os.kill(loading, signal.SIGSTOP)
        flag.touch()
        client.expect(Opened)
        client.finish(1)
        assert reading(client.logged(Segment, 1)) == undisturbed
        assert_undisturbed(client)
        (hang,) = hangs(daemon, "unruly/slow")
        assert (hang["pid"], hang["state"]) == (loading, "starting")


# ── slow ──────────────────────────────────────────────────────────────────────────────────────


def test_a_long_decode_that_makes_progress_is_not_ended(tmp_path: Path) -> None:
    config = {"supervision": {"hang_after_s": WORK_S / 2.5}}
    with (
        unruly_daemon(tmp_path, config=config, deed="work_on") as daemon,
        daemon.greet() as client,
    ):
        started = time.monotonic()
        assert len(client.transcribe(1, BAD, partials=False)) == 1
        assert time.monotonic() - started > WORK_S
        assert_undisturbed(client)
        assert not hangs(daemon, UNRULY)
        assert not deaths(daemon, UNRULY)


def test_a_decode_that_is_always_long_is_not_ended(tmp_path: Path) -> None:
    """It says nothing for longer than a hang takes; but so did the warm-up's, and all since."""
    latency_s = 0.9
    config = {"supervision": {"hang_after_s": latency_s / 3}}
    with (
        unruly_daemon(tmp_path, config=config, latency_ms=1000 * latency_s) as daemon,
        daemon.greet() as client,
    ):
        assert len(client.transcribe(1, PHRASE * 2, partials=False)) == 2
        assert_undisturbed(client)
        assert not hangs(daemon, UNRULY)


def test_a_core_that_was_stopped_itself_ends_no_innocent_worker(tmp_path: Path) -> None:
    """As with a laptop that slept: what nobody watched counts for a second at most.

    The worker is stopped with it and goes on a little later: it is still busy when the core looks.
    """
    config = {"supervision": {"hang_after_s": CORE_STOPPED_S - 0.2}}
    with (
        unruly_daemon(tmp_path, config=config, latency_ms=300) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, PHRASE)
        wait_until(lambda: is_decoding(client), "a decode")
        os.kill(worker := daemon.worker(UNRULY), signal.SIGSTOP)
        os.kill(daemon.pid, signal.SIGSTOP)
        time.sleep(CORE_STOPPED_S)
        os.kill(daemon.pid, signal.SIGCONT)
        resumed = time.monotonic()
        while time.monotonic() - resumed < LOOKED_WITHIN_S:
            assert is_decoding(client)
        os.kill(worker, signal.SIGCONT)
        client.finish(1)
        assert len(client.logged(Segment)) == 1
        assert_undisturbed(client)
        assert not daemon.logged("worker_hung")
        assert not daemon.logged("worker_died")
