"""A link whose daemon stands still, in time that passes only while it is waited for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

from asrd.client.connecting import Timing
from asrd.client.errors import ConnectionLost
from asrd.client.keeper import ANSWER_TIMEOUT_S, GRACE_S, MAX_INTERVAL_S, Keeper
from asrd.client.link import Link
from asrd.wire.messages import ClientMessage, Ping
from support.clock import VirtualClock

DAY_S = 86_400.0


@dataclass
class Scene:
    """A link that is kept for a day, or until it breaks."""

    on_ping: Callable[[float], None] = lambda _: None
    is_listening: bool = True
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(0.0))
    pings_at_s: list[float] = field(default_factory=list)
    aborted_at_s: float | None = None

    def __post_init__(self) -> None:
        self.keeper = Keeper(Timing(now_s=self.clock.now_s, pause=self.pause))

    async def pause(self, hurry: asyncio.Event, wait_s: float) -> None:
        if not hurry.is_set():
            self.clock.advance(wait_s)
        if self.clock.now_s() > DAY_S:
            raise ConnectionLost("the day is over")

    def send_nowait(self, message: ClientMessage) -> None:
        assert message == Ping()
        self.pings_at_s.append(self.clock.now_s())
        self.on_ping(self.clock.now_s())

    def abort(self) -> None:
        self.aborted_at_s = self.clock.now_s()

    def keep(self, idle_timeout_s: float) -> "Scene":
        asyncio.run(self.keeper.keep(cast(Link, self), idle_timeout_s))
        return self


def answering(scene: Scene) -> Scene:
    scene.on_ping = lambda _: scene.keeper.heard()
    return scene


def test_a_daemon_that_answers_is_kept_and_hears_enough() -> None:
    for idle_timeout_s, interval_s in ((300.0, MAX_INTERVAL_S), (30.0, 10.0), (0.0, 20.0)):
        scene = answering(Scene()).keep(idle_timeout_s)
        assert scene.aborted_at_s is None
        assert scene.pings_at_s[:3] == [interval_s, 2 * interval_s, 3 * interval_s]


def test_one_that_stands_still_is_given_up_in_less_than_a_minute() -> None:
    scene = Scene().keep(300.0)
    assert scene.aborted_at_s == MAX_INTERVAL_S + ANSWER_TIMEOUT_S + GRACE_S


def test_one_that_stood_still_for_a_while_is_kept() -> None:
    scene = Scene()
    scene.on_ping = lambda now_s: scene.keeper.heard() if now_s >= 30.0 else None
    assert scene.keep(30.0).aborted_at_s is None


def test_what_has_come_and_is_not_read_yet_counts() -> None:
    """Our own loop may have stood still."""
    scene = Scene()

    async def pause(hurry: asyncio.Event, wait_s: float) -> None:
        if wait_s == GRACE_S:
            scene.keeper.heard()
        await scene.pause(hurry, wait_s)

    scene.keeper = Keeper(Timing(now_s=scene.clock.now_s, pause=pause))
    assert scene.keep(300.0).aborted_at_s is None


def test_who_does_not_listen_blames_nobody_and_goes_on_asking() -> None:
    scene = Scene(is_listening=False).keep(30.0)
    assert scene.aborted_at_s is None
    steps = {after - before for before, after in pairwise(scene.pings_at_s)}
    assert max(steps) < 30.0
