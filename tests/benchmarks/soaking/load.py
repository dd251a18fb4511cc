"""The mixed load of the soak: microphones, system audio, files, visits, questions, unloading."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asrd.wire.messages import GetHealth, Health, Load, Ping, Pong, Unload
from benchmarks.soaking.scene import Scene
from benchmarks.soaking.speech import LAP, PAUSE, Speech
from benchmarks.soaking.talker import Talker

STEADY = (("mic", "system"), ("system", "mic", "system"))
"""What the sessions that stay until the end have open."""

PLACES = 4
"""Files and visits begin at one of so many places of the recording."""

VISIT_BYTES = 8 * 32_000
RESTS_S = 0.5
QUESTIONS_EVERY_S = 1.0
PATIENCE_S = 120.0


class MixedLoad:
    """Whoever talks to the daemon of a scene, until `finish`."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._is_ending = False
        self._talking: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Everybody at once."""
        scene = self._scene
        for sources in STEADY:
            speeches = [
                Speech(number, source, None, first_bytes=_place(number))
                for number, source in enumerate(sources)
            ]
            talker = Talker(scene.path, speeches, scene.plan.speed)
            scene.steady.append(talker)
            self._talking.append(asyncio.create_task(talker.run()))
        self._again(lambda: self._visit("file", len(LAP) + len(PAUSE), RESTS_S))
        for _ in range(2):
            self._again(lambda: self._visit("mic", VISIT_BYTES, RESTS_S))
        self._again(self._ask)
        self._again(self._change_models)

    async def finish(self) -> None:
        """Have everybody end what they began, and wait for it."""
        self._is_ending = True
        for talker in self._scene.steady:
            for speech in talker.speeches.values():
                speech.end()
                self._scene.finished.append(speech)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._talking, *self._others)

    def _again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def repeat() -> None:
            while not self._is_ending:
                await work()

        self._others.append(asyncio.create_task(repeat()))

    async def _visit(self, source: str, length_bytes: int, rests_s: float) -> None:
        """A session that comes for one stream and goes."""
        scene = self._scene
        place = _place(scene.dice.randrange(PLACES))
        speech = Speech(scene.dice.randrange(2**32), source, length_bytes, first_bytes=place)
        await Talker(scene.path, [speech], scene.plan.speed).run()
        scene.finished.append(speech)
        await asyncio.sleep(rests_s)

    async def _ask(self) -> None:
        await self._scene.ask(Ping(id=1), Pong)
        await self._scene.ask(GetHealth(deep=self._scene.dice.random() < 0.1), Health)
        await asyncio.sleep(QUESTIONS_EVERY_S)

    async def _change_models(self) -> None:
        """Unload the model that is in use; it comes back, and what it read is read anew."""
        scene = self._scene
        for _ in range(round(max(4.0, scene.plan.fault_every_s / 2))):
            await asyncio.sleep(1.0)
            if self._is_ending:
                return
        await scene.ask(Unload(provider=scene.plan.provider), Health)
        await scene.ask(Load(provider=scene.plan.provider), Health)


def _place(number: int) -> int:
    return number % PLACES * len(LAP) // PLACES // 2 * 2
