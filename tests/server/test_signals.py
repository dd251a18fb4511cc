"""Signals: what they ask for, and the terminal that goes away."""

import asyncio
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from asrd.server.signals import HANDLED, Signals
from asrd.wire.messages import Ping, Pong
from support.daemon import command, environment
from support.waiting import wait_until
from support.wire_client import WireClient


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What this process did at signals before."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def told(signals: Signals) -> tuple[bool, bool]:
    return signals.asked_to_end.is_set(), signals.must_end_now.is_set()


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,) * 2, (signal.SIGINT, signal.SIGTERM)])
def test_the_first_asks_for_the_end_and_the_second_for_it_at_once(numbers: tuple[int, int]) -> None:
    async def scenario() -> None:
        begun: list[int] = []
        signals = Signals()
        signals.on_end = lambda: begun.append(1)
        with signals.handled():
            assert told(signals) == (False, False)
            for number, expected in zip(numbers, [(True, False), (True, True)], strict=True):
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
                assert told(signals) == expected
            assert begun == [1]

    asyncio.run(scenario())


def test_a_hang_up_asks_for_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        reloads: list[int] = []
        signals = Signals()
        signals.on_reload = lambda: reloads.append(1)
        with signals.handled():
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
        assert (reloads, told(signals)) == ([1], (False, False))

    asyncio.run(scenario())


def test_a_signal_that_comes_while_the_process_goes_does_nothing() -> None:
    async def scenario() -> None:
        with Signals().handled():
            pass

    asyncio.run(scenario())
    for number in HANDLED:
        os.kill(os.getpid(), number)


def test_the_end_is_heard_of_while_the_loop_hangs() -> None:
    """By whoever bounds it: each signal at once, and the loop once it goes on."""

    async def scenario() -> None:
        begun: list[str] = []
        signals = Signals()
        signals.on_end = lambda: begun.append("end")
        signals.on_end_now = lambda: begun.append("now")
        with signals.handled():
            for count in (1, 2):
                os.kill(os.getpid(), signal.SIGTERM)
                # The loop's thread does nothing but wait, and no callback of the loop runs.
                wait_until(lambda: len(begun) == count, "the signal to be heard")  # noqa: B023
                assert told(signals) == (False, False)
            assert begun == ["end", "now"]
            await asyncio.sleep(0.01)
            assert told(signals) == (True, True)

    asyncio.run(scenario())


def test_whoever_is_told_and_fails_does_not_keep_it_from_ending() -> None:
    async def scenario() -> None:
        def fail() -> None:
            raise ZeroDivisionError

        signals = Signals()
        signals.on_end_now = fail
        with pytest.raises(ZeroDivisionError):
            signals.end_now()
        assert told(signals) == (True, True)

    asyncio.run(scenario())


def test_nothing_is_left_of_it_and_the_signals_are_ignored() -> None:
    async def scenario() -> None:
        before = psutil.Process().num_fds()
        with pytest.raises(ZeroDivisionError), Signals().handled():
            raise ZeroDivisionError
        assert psutil.Process().num_fds() == before
        assert signal.set_wakeup_fd(-1) == -1
        assert {signal.getsignal(number) for number in HANDLED} == {signal.SIG_IGN}
        assert "signals" not in {thread.name for thread in threading.enumerate()}

    asyncio.run(scenario())


@pytest.mark.parametrize("after_s", [0.0, 0.002])
def test_signals_until_it_is_gone_do_not_change_how_it_ends(tmp_path: Path, after_s: float) -> None:
    """The last of them come when Python has taken back its handlers."""
    for number in range(3):
        with subprocess.Popen(
            command(tmp_path / f"{number}", eager=False),
            env=environment(),
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            wait_until((tmp_path / f"{number}").exists, "a socket")
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
                time.sleep(after_s)
            assert process.returncode == 0
            assert b"Traceback" not in process.stderr.read()


ON_TERMINAL = """
import os, signal, sys
os.login_tty(int(sys.argv[1]))
is_kept = sys.argv[2] == "nohup"  # and not as these tests were started themselves
signal.signal(signal.SIGHUP, signal.SIG_IGN if is_kept else signal.SIG_DFL)
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("how", ["plain", "nohup"])
def test_a_terminal_that_goes_away_ends_the_daemon_unless_it_was_told_to_stay(
    tmp_path: Path, how: str
) -> None:
    ours, theirs = pty.openpty()
    path = tmp_path / "d" / "s"
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, str(theirs), how, *command(path, eager=False)],
        env=environment(),
        pass_fds=[theirs],
    )
    os.close(theirs)
    try:
        wait_until(path.exists, "a socket")
        with WireClient(path) as client:
            client.hello()
            os.close(ours)
            if how == "plain":
                assert process.wait(20) == 0
                assert not path.exists()
            else:
                client.health()
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.terminate()
                assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_a_hang_up_without_a_descriptor_left_says_nothing_of_the_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    path = tmp_path / "d" / "s"
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, str(theirs), "plain", *command(path, eager=False)],
        env=environment(),
        pass_fds=[theirs],
    )
    os.close(theirs)
    try:
        wait_until(path.exists, "a socket")
        with WireClient(path) as client:
            client.hello()
            client.health()
            descriptors = psutil.Process(process.pid).num_fds()
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))
            process.send_signal(signal.SIGHUP)
            client.send(Ping(id=1))
            assert client.expect(Pong).id == 1
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            process.terminate()
            assert process.wait(20) == 0
    finally:
        os.close(ours)
        process.kill()
        process.wait()
