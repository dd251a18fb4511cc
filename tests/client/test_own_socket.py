"""A daemon of one's own on a socket: there within the block, and nowhere behind it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrd.client import Unreachable, connect, own_socket
from asrd.client.dialler import OWN_DAEMON
from asrd.client.own_socket import TIED_DAEMON
from support.daemon import TESTS

STAND_IN = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.fake_daemon import FakeDaemon, listening

async def main():
    path = Path(sys.argv[sys.argv.index("--socket") + 1])
    async with listening(FakeDaemon(), path):
        await asyncio.to_thread(sys.stdin.read)

if "--broken" in sys.argv:
    sys.exit("asrd: there is no such option")
if "--dies" in sys.argv:
    sys.exit(5)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of the daemon, quick to start."""
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN.format(tests=str(TESTS)))
    monkeypatch.setattr(own_socket, "TIED_DAEMON", (sys.executable, str(program)))


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await scenario()
        assert len(asyncio.all_tasks()) == 1

    before = children()
    asyncio.run(whole())
    assert children() == before


def test_it_answers_within_the_block_and_leaves_nothing_behind_it() -> None:
    others = {*children()}  # such as multiprocessing's tracker, which a library may have started

    async def scenario() -> None:
        async with own_socket.own_socket(["--anything"]) as path:
            for _ in range(2):  # as many connections as one likes
                async with connect(path) as client:
                    await client.ping()
            (pid,) = {*children()} - others
            assert "--anything" in psutil.Process(pid).cmdline()
        assert not path.parent.exists()

    run(scenario)


def test_it_ends_with_the_block_whatever_ends_that() -> None:
    async def scenario() -> None:
        with pytest.raises(LookupError, match="of the block"):
            async with own_socket.own_socket():
                raise LookupError("of the block")

    run(scenario)


@pytest.mark.parametrize(
    ("option", "words", "code"),
    [
        ("--broken", r"^there is no such option$", 1),
        ("--dies", r"^the daemon ended with exit code 5$", 5),
    ],
)
def test_one_that_ends_before_it_listens_says_why(option: str, words: str, code: int) -> None:
    async def scenario() -> None:
        with pytest.raises(Unreachable, match=words) as told:
            async with own_socket.own_socket([option]):
                pytest.fail("it listened")
        assert told.value.exit_code == code

    run(scenario)


def test_one_that_never_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = (sys.executable, "-c", "import sys; sys.stdin.read()")
    monkeypatch.setattr(own_socket, "TIED_DAEMON", hangs)
    monkeypatch.setattr(own_socket, "SPAWN_TIMEOUT_S", 0.1)

    async def scenario() -> None:
        with pytest.raises(Unreachable, match=r"did not start in 0\.1 s"):
            async with own_socket.own_socket():
                pytest.fail("it listened")

    run(scenario)


def test_who_is_cancelled_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = (sys.executable, "-c", "import sys; sys.stdin.read()")
    monkeypatch.setattr(own_socket, "TIED_DAEMON", hangs)

    async def scenario() -> None:
        asked = asyncio.Event()

        async def no_answer(path: Path, timeout_s: float) -> bool:
            asked.set()
            return False

        monkeypatch.setattr(own_socket, "answers", no_answer)
        starting = asyncio.create_task(own_socket.own_socket().__aenter__())
        await asked.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    run(scenario)


def test_a_file_in_the_working_directory_stands_in_for_nothing() -> None:
    """The real one is started so that only installed modules are found."""
    tied = (sys.executable, "-P", "-m", "asrd.cli.tied", "--monitor=none", "--no-trace")
    assert tied == TIED_DAEMON
    assert OWN_DAEMON[1:] == ("-P", "-m", "asrd", "serve", "--stdio", *tied[-2:])
