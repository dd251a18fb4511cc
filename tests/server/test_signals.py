"""Signals: what they ask for, and the terminal that goes away."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.server.signals import HANDLED, Signals
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


ON_TERMINAL = """
import os, signal, sys
os.login_tty(int(sys.argv[1]))
if sys.argv[2] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
