"""A daemon of one's own: started, used, and always ended."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from asrd.client import ConnectionLost, Unreachable, spawn
from support import fake_daemon
from support.fake_daemon import closed, segment


def fake(behaviour: str) -> list[str]:
    return [sys.executable, str(Path(fake_daemon.__file__)), behaviour]


@pytest.fixture
def daemon_pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were started by `spawn`."""
    pids: list[int] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command: str, **options: object) -> asyncio.subprocess.Process:
        process = await start(*command, **options)  # type: ignore[arg-type]
        pids.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    return pids


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_transcribes_and_ends_with_the_block(daemon_pids: list[int]) -> None:
    async def scenario() -> None:
        async with spawn(command=fake("usual")) as client:
            stream = await client.open_stream(delivery="lossless")
            await stream.send(bytes(2000))
            await stream.close()
            events = [event async for event in stream]
            assert events[-2:] == [segment(offset=1000), closed(offset=1000, segments=1)]
            assert is_running(daemon_pids[0])

    asyncio.run(scenario())
    assert not is_running(daemon_pids[0])


def test_the_reason_of_one_that_does_not_start_is_told() -> None:
    async def scenario() -> None:
        async with spawn(command=fake("refuses to start")):
            pytest.fail("started")

    with pytest.raises(Unreachable, match=r"^the moon is full: wait a night$") as caught:
        asyncio.run(scenario())
    assert caught.value.exit_code == 78


def test_a_program_that_is_not_there_is_told() -> None:
    async def scenario() -> None:
        async with spawn(command=["/nowhere/asrd"]):
            pytest.fail("started")

    with pytest.raises(Unreachable, match="cannot be started"):
        asyncio.run(scenario())


def test_one_that_dies_leaves_its_last_words(daemon_pids: list[int]) -> None:
    async def scenario() -> None:
        async with spawn(command=fake("dies at audio"), recovery=None) as client:
            stream = await client.open_stream(delivery="lossless")
            await stream.send(bytes(2))
            async for _ in stream:
                pass

    with pytest.raises(ConnectionLost, match=r"exit code 3 \(something broke inside\)"):
        asyncio.run(scenario())
    assert not is_running(daemon_pids[0])


def test_one_that_does_not_end_is_killed(
    daemon_pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asrd.client.client.END_TIMEOUT_S", 0.01)
    monkeypatch.setattr("asrd.client.dialler.END_TIMEOUT_S", 0.01)

    async def scenario() -> None:
        async with spawn(command=fake("never ends")) as client:
            await client.ping()

    asyncio.run(scenario())
    assert not is_running(daemon_pids[0])


def test_cancellation_ends_it(daemon_pids: list[int]) -> None:
    async def work(begun: asyncio.Event) -> None:
        async with spawn(command=fake("usual")) as client:
            stream = await client.open_stream()
            begun.set()
            await anext(stream)

    async def scenario() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(work(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert not is_running(daemon_pids[0])


def test_cancellation_while_it_starts_ends_it(daemon_pids: list[int]) -> None:
    async def work() -> None:
        async with spawn(command=[sys.executable, "-c", "import time; time.sleep(60)"]):
            pytest.fail("started")

    async def scenario() -> None:
        task = asyncio.create_task(work())
        while not daemon_pids:  # noqa: ASYNC110 - the start of a process has no event
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asrd.client.dialler.END_TIMEOUT_S", 0.01)
        asyncio.run(scenario())
    assert not is_running(daemon_pids[0])
