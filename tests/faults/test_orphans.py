"""No worker outlives its daemon, whatever it is busy with; and a daemon's end waits for none."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from asrd.wire.messages import Audio, Close, Open
from faults.scenes import (
    LONG,
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    is_decoding,
    unruly_daemon,
)
from support.daemon import Daemon, is_alive, running_daemon
from support.unruly import marked
from support.waiting import wait_until

GONE_WITHIN_S = 2.0
BAD = marked(PHRASE, MARKED_AT_S)


def kill_and_see_all_gone(daemon: Daemon, *busy: int) -> None:
    """End the core as nothing can be caught, and hold its children to having ended too."""
    workers = [psutil.Process(pid) for pid in daemon.worker_pids]
    assert {process.pid for process in workers} >= set(busy)
    daemon.kill()
    _, alive = psutil.wait_procs(workers, timeout=GONE_WITHIN_S)
    assert not alive


@pytest.mark.parametrize("deed", ["sleep", "spin", "hold_the_gil"])
def test_no_worker_outlives_a_core_that_is_killed(tmp_path: Path, deed: str) -> None:
    """Even when no thread of the worker's own can run any more."""
    with unruly_daemon(tmp_path, deed=deed) as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        client.speak(1, BAD)
        wait_until(lambda: is_decoding(client), "a decode that never ends")
        assert len(daemon.worker_pids) == 2
        kill_and_see_all_gone(daemon, daemon.worker(UNRULY), daemon.worker(VOICE))


@pytest.mark.parametrize("deed", ["spin", "hold_the_gil"])
def test_no_worker_that_loads_outlives_a_core_that_is_killed(tmp_path: Path, deed: str) -> None:
    flag = tmp_path / "flag"
    with (
        unruly_daemon(
            tmp_path, model="bad_at_first_load", deed=deed, flag=str(flag), eager=False
        ) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=1))
        wait_until(flag.exists, "a load that never ends")
        loading = set(daemon.worker_pids) - {daemon.worker(VOICE)}
        assert len(loading) == 1
        kill_and_see_all_gone(daemon, *loading)


def test_no_worker_of_an_engine_outlives_a_core_that_is_killed(tmp_path: Path) -> None:
    """A real engine in the middle of half a minute of speech, and voice activity that scores."""
    with running_daemon(tmp_path, provider="moonshine") as daemon, daemon.greet() as client:
        for stream in (1, 2):
            client.open(stream)
            client.speak(stream, LONG)
        wait_until(lambda: is_decoding(client), "a decode")
        kill_and_see_all_gone(daemon, daemon.worker("moonshine/tiny-en"), daemon.worker(VOICE))


def test_a_worker_that_is_stopped_does_not_outlive_its_core_either(tmp_path: Path) -> None:
    """Nothing of its own can run: the kernel ends it."""
    with unruly_daemon(tmp_path) as daemon:
        pids = daemon.worker(UNRULY), daemon.worker(VOICE)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        kill_and_see_all_gone(daemon, *pids)


def test_a_core_that_ends_ends_a_busy_worker(tmp_path: Path) -> None:
    """A decode that never ends holds up neither the second signal nor the process's end."""
    with unruly_daemon(tmp_path, deed="hold_the_gil") as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        client.send(Audio(stream=1, data=BAD[:60_000]))
        client.send(Audio(stream=1, data=BAD[60_000:]), Close(stream=1))
        wait_until(lambda: is_decoding(client), "a decode that never ends")
        workers = daemon.worker_pids
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the signal to be heard")
        started = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - started < 1.0
        assert not any(is_alive(pid) for pid in workers)
