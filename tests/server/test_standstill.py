"""The end of a daemon that stands still, and the life of one that was only stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.server.monotonic import LONGEST_TICK_S
from asrd.server.standstill import EX_STOOD_STILL, TICK_S, Quiet, Standstill
from support.daemon import Daemon, command, environment
from support.standstill_program import WAYS
from support.waiting import wait_until

WATCHDOG_S = 2.0


# ── counting ──────────────────────────────────────────────────────────────────────────────────


def test_seconds_without_a_beat_are_counted() -> None:
    quiet = Quiet(100.0)
    assert [quiet.look(100.0 + 0.5 * n, 0) for n in (1, 2, 3)] == [0.5, 1.0, 1.5]
    assert quiet.look(102.0, 1) == 0.0
    assert quiet.look(102.5, 1) == 0.5


def test_a_stop_counts_for_nothing_and_leaves_all_the_time_there_is() -> None:
    quiet = Quiet(0.0)
    assert quiet.look(0.5, 0) == 0.5
    assert quiet.look(3600.0, 0) == 0.0
    assert quiet.look(3600.5, 0) == 0.5


@given(
    steps=st.lists(
        st.tuples(st.floats(0.0, 10.0), st.booleans()),
        max_size=50,
    )
)
def test_it_never_counts_more_than_was_awake_since_the_latest_beat(
    steps: list[tuple[float, bool]],
) -> None:
    now_s, beats, awake_s = 0.0, 0, 0.0
    quiet = Quiet(now_s)
    for passed_s, has_beat in steps:
        now_s += passed_s
        beats += has_beat
        awake_s = 0.0 if has_beat else awake_s + min(passed_s, TICK_S + LONGEST_TICK_S)
        assert 0.0 <= quiet.look(now_s, beats) <= awake_s + 1e-6


# ── in a daemon ───────────────────────────────────────────────────────────────────────────────


class UnsteadyDaemon(Daemon):
    """One whose loop can be made to stand still."""

    def __init__(self, folder: Path, way: str) -> None:
        self.path = folder / "d" / "s"
        self.stderr_path = folder / "stderr"
        usual = command(self.path, eager=False, supervision={"watchdog_s": WATCHDOG_S})
        program = usual.index("support.daemon_program")
        with self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*usual[:program], "support.standstill_program", way, *usual[program + 1 :]],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )


@contextmanager
def unsteady(folder: Path, way: str) -> Iterator[UnsteadyDaemon]:
    daemon = UnsteadyDaemon(folder, way)
    try:
        daemon.greet().socket.close()
        yield daemon
    finally:
        daemon.kill()


@pytest.mark.parametrize("way", WAYS)
def test_a_daemon_that_stands_still_writes_its_stacks_and_ends(tmp_path: Path, way: str) -> None:
    with unsteady(tmp_path, way) as daemon:
        began_s = time.monotonic()
        daemon.process.send_signal(signal.SIGUSR1)
        code = daemon.process.wait(60)
        took_s = time.monotonic() - began_s
        # What computes in C is ended by the kernel: nobody else gets to run.
        assert code == (-signal.SIGPROF if way == "backtrack" else EX_STOOD_STILL)
        assert took_s >= WATCHDOG_S - 2 * TICK_S
        if way == "sleep":  # what computes is measured by the CPU time that it gets
            assert took_s <= WATCHDOG_S + 4.0
        stacks = "\n".join(daemon.strays)
        assert f"in {way}\n" in stacks
        assert "most recent call first" in stacks
        if way != "backtrack":
            (told,) = daemon.logged("stood_still")
            assert told["seconds"] >= WATCHDOG_S
        # The next one replaces what it has left.
        assert daemon.path.exists()
    again = Daemon(tmp_path, eager=False)
    try:
        again.greet().socket.close()
    finally:
        again.kill()


def test_a_daemon_that_was_stopped_for_longer_goes_on(tmp_path: Path) -> None:
    """And its own timer would end one that ends for it: see the module."""
    with unsteady(tmp_path, "sleep") as daemon, daemon.greet() as client:
        daemon.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: _state(daemon.pid) == "T", "a stopped process")
        time.sleep(WATCHDOG_S + 1.0)  # what is to be shown: that so much time counts for nothing
        daemon.process.send_signal(signal.SIGCONT)
        until_s = time.monotonic() + 3 * TICK_S
        while time.monotonic() < until_s:
            assert client.health().live
            assert daemon.process.poll() is None
            time.sleep(0.1)
        assert daemon.terminate() == 0
        assert not daemon.strays


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_stacks_that_nobody_reads_do_not_keep_it_alive(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    ends = (
        "import threading, time\n"
        "from asrd.server.standstill import Standstill\n"
        "with Standstill(0.6):\n"
        "    time.sleep(600)\n"
    )
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    process = subprocess.Popen([sys.executable, "-c", ends], stderr=writer)
    os.close(writer)
    try:
        assert process.wait(20) == EX_STOOD_STILL
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_an_orderly_end_disarms_it() -> None:
    ended: list[float] = []
    with Standstill(30.0, ended.append) as standstill:
        standstill.beat()
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
    standstill.beat()  # the loop looks once more
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert not ended


CRASH = """
import asyncio, ctypes, sys
from pathlib import Path
from asrd.config import Config
from asrd.server import app
async def crash(*_): ctypes.string_at(0)
app._serve = crash
app.serve(Config(), socket_path=Path(sys.argv[1]))
"""


def test_a_crash_of_the_core_writes_its_stack(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path / "s")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert "in crash" in done.stderr
