"""Ways to a connection: every failure says what stands in the way, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from asrd.client import dialler as diallers
from asrd.client.dialler import KEPT_STDERR_BYTES, OwnDaemon, OwnDialler, SocketDialler
from asrd.client.errors import ConnectionLost, Refused, Unreachable
from asrd.client.recovery import is_final
from asrd.wire.messages import Hello, Pong
from client.test_spawn import fake, is_running
from support.daemon import is_alive
from support.fake_daemon import HANG_UP, FakeDaemon, Reply, listening, refusal, welcome

HELLO = Hello(client="test", resume="r", have={1: 2})
BROKE = ConnectionLost("it broke", "draining", 250)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(whole())


def program(text: str) -> list[str]:
    """A child that is no daemon."""
    return [sys.executable, "-c", f"import os, signal, sys\n{text}"]


# ── a socket ──────────────────────────────────────────────────────────────────────────────────


def test_the_hello_is_said_and_the_welcome_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with listening(FakeDaemon(), tmp_path / "s") as daemon:
            dialler = SocketDialler(tmp_path / "s", 5)
            link, welcomed = await dialler.dial(HELLO)
            assert welcomed == welcome()
            assert daemon.heard == [HELLO]
            await link.close()
            assert await dialler.explain(BROKE) is BROKE
            await dialler.end()

    run(scenario)


def test_what_answers_nothing_is_unreachable_and_is_let_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        let_go = asyncio.Event()

        class Silent(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                let_go.set()

        path = tmp_path / "s"
        async with await asyncio.get_running_loop().create_unix_server(Silent, path):
            with pytest.raises(Unreachable, match=r"did not answer in 0\.05 s") as told:
                await SocketDialler(path, 0.05).dial(HELLO)
            assert str(path) in str(told.value)
            assert not is_final(told.value)  # it may be starting
            await let_go.wait()

    run(scenario)


@pytest.mark.parametrize("reply", [[HANG_UP], [Pong()]])
def test_what_hangs_up_or_says_nonsense_is_unreachable(tmp_path: Path, reply: Reply) -> None:
    async def scenario() -> None:
        async with listening(FakeDaemon(rules={Hello: lambda _: reply}), tmp_path / "s"):
            with pytest.raises(Unreachable, match="gave no answer"):
                await SocketDialler(tmp_path / "s", 5).dial(HELLO)

    run(scenario)


def test_a_refusal_keeps_its_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        error = refusal("busy", "full", is_fatal=True, retry_after_ms=250)
        async with listening(FakeDaemon(rules={Hello: lambda _: [error]}), tmp_path / "s"):
            with pytest.raises(Refused, match="full") as told:
                await SocketDialler(tmp_path / "s", 5).dial(HELLO)
            assert (told.value.code, told.value.retry_after_ms) == ("busy", 250)

    run(scenario)


# ── a daemon of one's own ─────────────────────────────────────────────────────────────────────


def test_each_dial_starts_another_daemon_and_ends_the_one_before() -> None:
    async def scenario() -> None:
        dialler = OwnDialler(fake("usual"), is_stderr_shown=False)
        pids = []
        for _ in range(2):
            _, welcomed = await dialler.dial(HELLO)
            assert welcomed == welcome()
            assert dialler._daemon is not None
            pids.append(dialler._daemon._process.pid)
        assert [is_running(pid) for pid in pids] == [False, True]
        await dialler.end()
        await dialler.end()
        assert not is_running(pids[1])

    run(scenario)


def test_one_that_does_not_start_is_unreachable_with_its_words_and_exit_code() -> None:
    async def scenario() -> None:
        dialler = OwnDialler(fake("refuses to start"), is_stderr_shown=False)
        with pytest.raises(Unreachable, match=r"^the moon is full: wait a night$") as told:
            await dialler.dial(HELLO)
        assert told.value.exit_code == 78
        assert is_final(told.value)

    run(scenario)


def test_one_that_hangs_before_its_first_word_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diallers, "SPAWN_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        dialler = OwnDialler(program("sys.stdin.read()"), is_stderr_shown=False)
        with pytest.raises(Unreachable, match=r"did not start in 0\.05 s"):
            await dialler.dial(HELLO)
        assert dialler._daemon is not None
        pid = dialler._daemon._process.pid
        await dialler.end()
        assert not is_running(pid)

    run(scenario)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("sys.exit(3)", "the daemon ended with exit code 3"),
        ("sys.exit('last words')", "the daemon ended with exit code 1 (last words)"),
        ("sys.exit('asrd: the reason\\nnoise')", "the reason"),
        ("sys.exit('asrd: first\\nasrd: then')", "then"),
        ("os.kill(os.getpid(), 9)", "the daemon was killed by signal 9"),
        ("sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(3)", "(\N{REPLACEMENT CHARACTER})"),
    ],
)
def test_what_became_of_one_is_said_in_a_line(end: str, words: str) -> None:
    async def scenario() -> None:
        daemon = await OwnDaemon.start(program(end), is_stderr_shown=False)
        epitaph = await daemon.epitaph()
        assert epitaph.endswith(words)
        assert "\n" not in epitaph

    run(scenario)


def test_the_reason_of_a_break_is_what_became_of_the_daemon_and_its_own_code() -> None:
    async def scenario() -> None:
        dialler = OwnDialler(fake("dies at audio"), is_stderr_shown=False)
        assert await dialler.explain(BROKE) is BROKE  # there never was one
        link, _ = await dialler.dial(HELLO)
        assert dialler._daemon is not None
        os.kill(dialler._daemon._process.pid, signal.SIGKILL)
        async for _ in link.messages():
            pytest.fail("it said something")
        lost = await dialler.explain(BROKE)
        assert str(lost) == "the daemon was killed by signal 9"
        assert (lost.code, lost.retry_after_ms) == (BROKE.code, BROKE.retry_after_ms)

    run(scenario)


def test_of_a_daemon_that_complains_for_ever_the_last_is_kept() -> None:
    """And it never hangs in a write, be it to stderr or to us."""

    async def scenario() -> None:
        text = "os.write(2, b'x' * 10**6 + b'\\nthe end\\n'); os.write(1, b'y' * 10**6)"
        daemon = await OwnDaemon.start(program(text), is_stderr_shown=False)
        epitaph = await daemon.epitaph()
        assert epitaph == "the daemon ended with exit code 0 (the end)"
        assert len(daemon._stderr) == KEPT_STDERR_BYTES

    run(scenario)


def test_one_that_does_not_end_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diallers, "END_TIMEOUT_S", 0.05)
    note = tmp_path / "child"

    async def scenario() -> None:
        text = (
            f"child = os.fork()\nif child: open({str(note)!r}, 'w').write(str(child))\n"
            "if child: print(flush=True)\n"
            "signal.pause()"
        )
        daemon = await OwnDaemon.start(program(text), is_stderr_shown=False)
        process = daemon._process
        assert process.stdout is not None
        await process.stdout.readline()
        assert await daemon.end() == -signal.SIGKILL

    run(scenario)
    assert not is_alive(int(note.read_text()))


def test_a_program_that_is_not_there_is_unreachable() -> None:
    async def scenario() -> None:
        with pytest.raises(Unreachable, match="cannot be started") as told:
            await OwnDialler(["/nowhere/asrd"], is_stderr_shown=False).dial(HELLO)
        assert told.value.exit_code is None

    run(scenario)
