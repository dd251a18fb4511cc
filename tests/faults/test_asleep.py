"""Processes that are stopped and go on, as in suspend: time asleep counts for nothing."""

import os
import signal
import time
from pathlib import Path

import pytest

from asrd.wire.codec import encode
from asrd.wire.messages import Closed, Ping, Pong, Segment, Welcome
from faults.scenes import (
    LONG,
    PHRASE,
    UNRULY,
    VOICE,
    assert_undisturbed,
    deaths,
    is_decoding,
    reading,
    unruly_daemon,
)
from support.daemon import is_alive, running_daemon
from support.waiting import wait_until
from support.wire_client import WireClient

SHORT = {
    "hello_timeout_s": 1.5,
    "idle_timeout_s": 1.5,
    "send_timeout_s": 1.5,
    "resume_window_s": 1.5,
    "frame_timeout_s": 1.5,
}
ASLEEP_S = 3.5


def sleep_through(pids: list[int]) -> None:
    """Stop processes for longer than any of the times above, and let them go on."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(ASLEEP_S)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_daemon_that_slept_cuts_off_nobody(tmp_path: Path) -> None:
    """Not who was idle, nor had yet to greet, nor had left to come back, nor was slow to read."""
    with unruly_daemon(
        tmp_path, config={"limits": SHORT, "supervision": {"hang_after_s": 1.0}}
    ) as daemon:
        with daemon.greet() as quiet_run:
            quiet = reading(quiet_run.transcribe(1, LONG))
        gone = daemon.greet()
        gone.open(1, partials=False)
        gone.speak(1, PHRASE)
        (welcome,) = gone.logged(Welcome)
        with (
            WireClient(daemon.path) as silent,
            daemon.greet() as idle,
            daemon.greet() as client,
        ):
            client.open(1)
            client.speak(1, LONG[: len(LONG) // 4 * 2])
            gone.socket.close()
            idle.send_bytes(encode(Ping(id="half"))[:5])
            sleep_through([daemon.pid, *daemon.worker_pids])
            silent.hello()
            idle.send_bytes(encode(Ping(id="half"))[5:])
            assert idle.expect(Pong).id == "half"
            with WireClient(daemon.path) as back:
                assert back.hello(resume=welcome.resume).resumed
            client.speak(1, LONG[len(LONG) // 4 * 2 :])
            client.finish(1)
            assert reading(client.logged(Segment, 1)) == quiet
            assert_undisturbed(client)
        assert not daemon.logged("worker_hung")
        assert not deaths(daemon, UNRULY)
        assert not deaths(daemon, VOICE)
        assert not daemon.logged("slow_consumer")
        assert not daemon.logged("idle_connection_closed")


@pytest.mark.parametrize("worker", [UNRULY, VOICE])
def test_a_worker_that_slept_loses_nothing(tmp_path: Path, worker: str) -> None:
    with unruly_daemon(tmp_path) as daemon, daemon.greet() as client:
        quiet = reading(client.transcribe(1, LONG))
        client.open(2)
        client.speak(2, LONG[: len(LONG) // 4 * 2])
        sleep_through([daemon.worker(worker)])
        client.speak(2, LONG[len(LONG) // 4 * 2 :])
        client.finish(2)
        assert reading(client.logged(Segment, 2)) == quiet
        assert_undisturbed(client)
        assert not daemon.logged("worker_hung")
        assert is_alive(daemon.worker(worker))


def test_a_daemon_that_slept_in_its_drain_still_finishes(tmp_path: Path) -> None:
    """The time of the drain is the time it is awake, and so is that of the process's end."""
    with (
        running_daemon(
            tmp_path, settings={"latency_ms": 500}, limits={"drain_timeout_s": 4.0}
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, PHRASE * 3)
        wait_until(lambda: is_decoding(client), "a decode")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the drain")
        sleep_through([daemon.pid, *daemon.worker_pids])
        closed = client.expect(Closed)
        assert (closed.reason, closed.segments) == ("shutdown", 3)
        assert daemon.process.wait(20) == 0
        assert not daemon.logged("end_overdue")
