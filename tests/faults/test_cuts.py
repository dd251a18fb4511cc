"""Connections that are cut at random bytes, thousands of them: every final arrives exactly once.

`pytest tests/faults/test_cuts.py --cuts 10000` for more than CI has time for.
"""

import asyncio
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from faults.cutting import CuttingRelay, cutting
from faults.recovering import SCRIPTS, Heard, assert_same, converse
from support.daemon import Daemon, running_daemon

SPEAKERS = 4
"""Connections at a time."""

ENGINES: dict[str, dict[str, Any]] = {
    "echo": {"provider": "echo", "settings": {"latency_ms": 10}},
    "moonshine": {"provider": "moonshine"},
}


async def converse_for_ever(path: Path, relay: CuttingRelay, wanted: list[Heard]) -> int:
    """One conversation after another until there were cuts enough; returns how many."""
    conversations = 0
    while len(relay.cut_after) < relay.cuts:
        assert_same(await converse(path, SCRIPTS), wanted)
        conversations += 1
    return conversations


async def cut_and_compare(folder: Path, daemon: Daemon, cuts: int) -> None:
    """Conversations with one engine while its connections are cut."""
    unbroken = await converse(daemon.path, SCRIPTS)
    assert all(heard.segments and not heard.troubles for heard in unbroken)
    relay = CuttingRelay(folder / "relay", daemon.path, cuts, random.Random(1))
    async with cutting(relay):
        many = (converse_for_ever(relay.front, relay, unbroken) for _ in range(SPEAKERS))
        conversations = sum(await asyncio.gather(*many))
    assert len(relay.cut_after) >= cuts
    assert conversations >= SPEAKERS
    ways = [way for way, _ in relay.cut_after]
    assert min(ways.count("up"), ways.count("down")) > cuts / 5
    assert not daemon.strays
    assert not [line for line in daemon.events if line["event"].endswith("_failed")]


@pytest.mark.timeout(3600)
def test_every_final_arrives_exactly_once_however_connections_are_cut(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The texts of one that is never cut, in order, with nothing told as lost; a daemon of each
    engine, side by side."""
    cuts = request.config.getoption("--cuts")

    async def scenario(daemons: dict[str, Daemon]) -> None:
        await asyncio.gather(
            *(cut_and_compare(tmp_path / name, daemon, cuts) for name, daemon in daemons.items())
        )

    with ExitStack() as stack:
        daemons = {
            name: stack.enter_context(running_daemon(tmp_path / name, **engine))
            for name, engine in ENGINES.items()
        }
        asyncio.run(scenario(daemons))
