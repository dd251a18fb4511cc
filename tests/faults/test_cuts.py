"""Connections that are cut at random bytes, thousands of them: every final arrives exactly once.

`pytest tests/faults/test_cuts.py --cuts 10000` for more than CI has time for.
"""

import asyncio
import random
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from faults.cutting import CuttingRelay
from faults.recovering import ROUNDING_S, SCRIPTS, Heard, assert_same, converse
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
    relay = CuttingRelay(folder / "relay", daemon.path, cuts=cuts, dice=random.Random(1))
    async with relay.running():
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


def assert_whole(heard: list[Heard], wanted: list[Heard]) -> None:
    """No stream ended early, ids and times count up, and all audio is accounted for.

    The texts are not compared: a daemon that hears the end of the input finishes the utterance that
    is open where the audio stands, so what lies around a cut is read in other pieces.
    """
    for got, want in zip(heard, wanted, strict=True):
        assert got.troubles == []
        assert got.end is not None
        assert want.end is not None
        assert got.end == (*want.end[:2], len(got.segments))
        assert [number for number, *_ in got.segments] == list(range(len(got.segments)))
        spans = [span for _, *span, _ in got.segments]
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert abs(got.audio_s - want.audio_s) < ROUNDING_S
        assert got.dropped_s == 0


def test_a_relay_that_ends_the_input_before_it_breaks_ends_no_stream(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cuts = max(20, request.config.getoption("--cuts") // 10)

    async def scenario(daemon: Daemon) -> None:
        unbroken = await converse(daemon.path, SCRIPTS)
        relay = CuttingRelay(
            tmp_path / "relay", daemon.path, cuts=cuts, dice=random.Random(2), is_halving=True
        )
        async with relay.running():
            while len(relay.cut_after) < cuts:
                assert_whole(await converse(relay.front, SCRIPTS), unbroken)

    with running_daemon(tmp_path / "daemon", **ENGINES["echo"]) as daemon:
        asyncio.run(scenario(daemon))
