"""A daemon that is killed at random, a hundred times, under a supervisor that starts it again.

The clients hold the audio that was not committed and go on with the next daemon from there. What
their readers get is what they would have got of one daemon that lived: the same finals, with the
same ids, times and texts, each exactly once.

`pytest tests/faults/test_daemon_kills.py --daemon-kills 1000` for more than CI has time for.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from faults.recovering import SCRIPTS, Heard, assert_same, converse
from support.daemon import command, environment, is_alive

SPEAKERS = 2
LIVES_S = (0.0, 1.2)
"""A daemon lives for so long, from the first to the second, once it is started: some die before
they listen, some before their model is up, most amid everything."""

UNTIL_GONE_S = 5.0

ENGINES: dict[str, dict[str, Any]] = {
    "echo": {"provider": "echo", "settings": {"latency_ms": 20}},
    "moonshine": {"provider": "moonshine"},
}


@dataclass
class Supervisor:
    """Keeps a daemon running at `path`, and is what kills it too, until there were `kills`."""

    path: Path
    engine: dict[str, Any]
    dice: random.Random
    kills: int
    killed: int = 0
    log: Path = field(init=False)
    _orphans: list[psutil.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = self.path.with_name("log")

    async def run(self) -> None:
        """Start, kill, start again; the last one is left alone, and ended with us."""
        while True:
            with self.log.open("ab") as log:
                daemon = await asyncio.create_subprocess_exec(
                    *command(self.path, **self.engine),
                    env=environment(),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=log,
                )
            try:
                if self.killed >= self.kills:
                    await daemon.wait()
                    raise AssertionError(f"the daemon ended by itself: {daemon.returncode}")
                await asyncio.sleep(self.dice.uniform(*LIVES_S))
                assert daemon.returncode is None, f"it ended by itself: {daemon.returncode}"
                self._orphans = [
                    each
                    for each in [*self._orphans, *psutil.Process(daemon.pid).children()]
                    if is_alive(each.pid)
                ]
            finally:
                if daemon.returncode is None:
                    daemon.kill()
                    await daemon.wait()
            self.killed += 1

    async def are_all_gone(self) -> bool:
        """Whether the workers of every daemon that was killed have ended by themselves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNTIL_GONE_S):
                while any(is_alive(each.pid) for each in self._orphans):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        return not any(is_alive(each.pid) for each in self._orphans)


@contextlib.asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    """A daemon that runs, whatever becomes of it, for as long as the block."""
    running = asyncio.create_task(supervisor.run())
    try:
        yield
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def converse_for_ever(supervisor: Supervisor, wanted: list[Heard]) -> int:
    conversations = 0
    while supervisor.killed < supervisor.kills:
        assert_same(await converse(supervisor.path, SCRIPTS), wanted)
        conversations += 1
    return conversations


async def kill_and_compare(folder: Path, engine: dict[str, Any], kills: int) -> None:
    """Conversations with one engine while its daemon is killed."""
    calm = Supervisor(folder / "s", engine, random.Random(1), kills=0)
    async with supervised(calm):
        unbroken = await converse(calm.path, SCRIPTS)
    assert all(heard.segments and not heard.troubles for heard in unbroken)
    supervisor = Supervisor(folder / "s", engine, random.Random(2), kills=kills)
    async with supervised(supervisor):
        many = (converse_for_ever(supervisor, unbroken) for _ in range(SPEAKERS))
        conversations = sum(await asyncio.gather(*many))
    assert await supervisor.are_all_gone()
    assert supervisor.killed >= kills
    assert conversations >= SPEAKERS


@pytest.mark.timeout(3600)
def test_a_killed_daemon_costs_no_text(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A daemon of each engine, side by side."""
    kills = request.config.getoption("--daemon-kills")
    folders = [tmp_path / name for name in ENGINES]
    for folder in folders:
        folder.mkdir()

    async def scenario() -> None:
        engines = zip(folders, ENGINES.values(), strict=True)
        await asyncio.gather(*(kill_and_compare(*each, kills) for each in engines))

    asyncio.run(scenario())
    for folder in folders:
        assert "Traceback" not in (folder / "log").read_text()
        assert {each.name for each in folder.iterdir()} - {"log", "s"} == {"s.lock"}
