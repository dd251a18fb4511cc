"""Saying what a stream has to say: at once where that is possible, and all of it in the end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asrd.client.errors import ConnectionLost
from asrd.client.outgoing import Outgoing
from asrd.client.pulse import Pulse
from asrd.client.speaker import Speaker
from asrd.wire.messages import Audio, ClientMessage, Open

CHUNK_BYTES = 20


class Wire:
    """A connection that keeps what was said. While it has no room, `drain` waits."""

    def __init__(self) -> None:
        self.said: list[ClientMessage] = []
        self.is_broken = False
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.drains = 0

    def send_nowait(self, message: ClientMessage) -> None:
        if self.is_broken:
            raise ConnectionLost("it broke")
        self.said.append(message)

    async def drain(self) -> None:
        self.drains += 1
        await self.has_room.wait()
        if self.is_broken:
            raise ConnectionLost("it broke")

    @property
    def offsets(self) -> list[int | None]:
        return [each.offset for each in self.said if isinstance(each, Audio)]


class Scene:
    """A live stream on a connection that knows it."""

    def __init__(self, *, recovers: bool = True) -> None:
        self.wire = Wire()
        self.changed = Pulse()
        self.outgoing = Outgoing(Open(stream=1))
        self.outgoing.credit = None
        self.outgoing.max_chunk_bytes = CHUNK_BYTES
        self.outgoing.go_on_here(0)
        self.speaker = Speaker(self.outgoing, self.wire, self.changed, recovers=recovers)

    def bring(self, chunks: int = 1) -> None:
        self.outgoing.append(bytes(CHUNK_BYTES * chunks))

    @property
    def pumps(self) -> int:
        return sum(task.get_name() == "asrd-stream-pump" for task in asyncio.all_tasks())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(whole())


def test_what_comes_is_said_by_who_brings_it_and_waits_for_room() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.wire.has_room.clear()
        scene.bring(2)
        saying = asyncio.create_task(scene.speaker.say())
        await settle()
        assert scene.wire.offsets == [0, 10]
        assert scene.pumps == 0
        assert not saying.done()
        scene.wire.has_room.set()
        await saying

    run(scenario)


def test_what_has_gathered_is_said_by_one_pump_at_the_connections_pace() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.wire.has_room.clear()
        scene.bring(3)
        for _ in range(3):
            scene.speaker.say_soon()
        await settle()
        assert scene.pumps == 1
        assert scene.wire.offsets == [0]
        scene.wire.has_room.set()
        await settle()
        assert scene.wire.offsets == [0, 10, 20]
        assert scene.pumps == 0

    run(scenario)


def test_while_a_pump_speaks_nobody_else_does_and_it_says_all() -> None:
    """Two who speak would put audio out of its order, or say it twice."""

    async def scenario() -> None:
        scene = Scene()
        scene.wire.has_room.clear()
        scene.bring(2)
        scene.speaker.say_soon()
        await settle()
        scene.bring(2)
        scene.speaker.say_nowait()
        await scene.speaker.say()  # and waits for no room: that is the pump's affair
        assert scene.wire.offsets == [0]
        assert scene.wire.drains == 1
        scene.wire.has_room.set()
        await settle()
        assert scene.wire.offsets == [0, 10, 20, 30]

    run(scenario)


def test_a_pump_wakes_who_waits_and_holds_no_more_than_the_limit() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.outgoing.limit_samples = 10
        scene.bring(3)
        waiting = asyncio.create_task(scene.changed.wait())
        scene.speaker.say_soon()
        await settle()
        assert waiting.done()
        assert (scene.outgoing.held.start, scene.outgoing.held.end) == (20, 30)

    run(scenario)


def test_there_is_no_pump_for_nothing() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.speaker.say_soon()
        assert scene.pumps == 0
        scene.bring()
        scene.outgoing.leave()
        scene.speaker.say_soon()
        await scene.speaker.say()
        assert scene.pumps == 0
        assert scene.wire.said == []
        assert scene.wire.drains == 0

    run(scenario)


def test_who_is_stopped_says_nothing_more_and_another_may_begin() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.wire.has_room.clear()
        scene.bring(2)
        scene.speaker.say_soon()
        await settle()
        scene.speaker.stop()
        scene.outgoing.go_on_here(0)  # there is another connection already
        scene.speaker.say_soon()
        await scene.speaker.ended()
        scene.speaker.say_nowait()  # the end of the first takes no turn from the second
        assert scene.wire.offsets == [0, 0]
        scene.wire.has_room.set()
        await settle()
        assert scene.wire.offsets == [0, 0, 10]

    run(scenario)


@pytest.mark.parametrize("recovers", [True, False])
def test_a_loss_is_raised_only_where_nothing_is_recovered(recovers: bool) -> None:
    async def scenario() -> None:
        scene = Scene(recovers=recovers)
        scene.wire.is_broken = True
        losses = 0
        for broken_at_drain in (False, True):
            scene.wire.is_broken = not broken_at_drain
            scene.bring()
            speaking = asyncio.create_task(scene.speaker.say())
            if broken_at_drain:
                scene.wire.has_room.clear()
                await settle()
                scene.wire.is_broken = True
                scene.wire.has_room.set()
            try:
                await speaking
            except ConnectionLost:
                losses += 1
        assert losses == (0 if recovers else 2)

    run(scenario)


def test_a_pump_whose_connection_breaks_ends_quietly() -> None:
    """The client hears of it as well, and has all said again."""

    async def scenario() -> None:
        scene = Scene(recovers=False)
        scene.wire.is_broken = True
        scene.bring()
        scene.speaker.say_soon()
        await settle()
        assert scene.pumps == 0
        scene.wire.is_broken = False
        scene.outgoing.go_on_here(0)
        scene.speaker.say_soon()
        await settle()
        assert scene.wire.offsets == [0]

    run(scenario)
