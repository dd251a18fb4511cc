"""Questions beside the streams: each answer goes to who asked, however connections come and go."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asrd.client.errors import ConnectionLost, Refused
from asrd.client.questions import Questions
from asrd.wire.messages import (
    ClientMessage,
    GetHealth,
    GetStats,
    Health,
    Load,
    Ping,
    Pong,
    Stats,
)
from support.fake_daemon import health, refusal

LOST = ConnectionLost("the daemon has gone")


def stats() -> Stats:
    return Stats(counters={}, queues={}, latencies={}, level=0)


class Scene:
    """Questions over a connection that keeps what was said; `is_lost` for good it raises."""

    def __init__(self) -> None:
        self.said: list[ClientMessage] = []
        self.is_lost = False
        self.questions = Questions(self._say)

    def _say(self, message: ClientMessage) -> None:
        if self.is_lost:
            raise LOST
        self.said.append(message)

    async def ping(self) -> "asyncio.Task[None]":
        return await begun(self.questions.ping())

    async def health(self) -> "asyncio.Task[Health]":
        return await begun(self.questions.ask(GetHealth(), Health))

    async def stats(self) -> "asyncio.Task[Stats]":
        return await begun(self.questions.ask(GetStats(), Stats))


async def begun(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    task = asyncio.create_task(work)
    await settle()
    return task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(10):
            await scenario(Scene())

    asyncio.run(whole())


def test_pings_may_be_answered_in_any_order() -> None:
    async def scenario(scene: Scene) -> None:
        first, second = await scene.ping(), await scene.ping()
        assert scene.said == [Ping(id=1), Ping(id=2)]
        for strange in (Pong(), Pong(id=77), Pong(id="1")):  # the keeper's, and nobody's
            scene.questions.answered(strange)
        scene.questions.answered(Pong(id=2))
        await second
        assert not first.done()
        scene.questions.answered(Pong(id=1))
        await first

    run(scenario)


def test_one_question_at_a_time_each_with_its_own_answer() -> None:
    async def scenario(scene: Scene) -> None:
        first, second = await scene.health(), await scene.stats()
        assert scene.said == [GetHealth()]
        scene.questions.answered(health())
        assert await first == health()
        await settle()
        assert scene.said == [GetHealth(), GetStats()]
        scene.questions.answered(stats())
        assert await second == stats()

    run(scenario)


def test_a_refusal_goes_to_who_asked_and_the_next_may_ask() -> None:
    async def scenario(scene: Scene) -> None:
        asking = await begun(scene.questions.ask(Load(provider="none"), Health))
        scene.questions.refused(refusal("unknown_provider", "there is no such provider"))
        with pytest.raises(Refused, match="no such provider") as told:
            await asking
        assert told.value.code == "unknown_provider"
        scene.questions.refused(refusal("busy"))  # of nothing that was asked here
        later = await scene.health()
        scene.questions.answered(health())
        await later

    run(scenario)


def test_an_answer_of_another_kind_is_no_answer() -> None:
    async def scenario(scene: Scene) -> None:
        asking = await scene.stats()
        scene.questions.answered(health())
        with pytest.raises(ConnectionLost, match="answered health instead"):
            await asking

    run(scenario)


def test_the_answer_to_who_has_gone_is_waited_for_before_the_next_question() -> None:
    """Else it would be taken for the next one's: answers bear no id."""

    async def scenario(scene: Scene) -> None:
        gone = await begun(scene.questions.ask(Load(), Health))
        gone.cancel()
        asking = await scene.health()
        assert scene.said == [Load()]
        scene.questions.answered(health(is_ready=False))
        await settle()
        assert scene.said == [Load(), GetHealth()]
        scene.questions.answered(health())
        assert (await asking).ready

    run(scenario)


def test_who_has_gone_holds_up_the_next_no_longer_when_he_is_refused() -> None:
    async def scenario(scene: Scene) -> None:
        gone = await begun(scene.questions.ask(Load(), Health))
        gone.cancel()
        asking = await scene.health()
        scene.questions.refused(refusal("provider_unavailable"))
        await settle()
        scene.questions.answered(health())
        assert (await asking).ready

    run(scenario)


def test_behind_a_break_what_is_not_answered_is_asked_again() -> None:
    async def scenario(scene: Scene) -> None:
        answered, ping, asking = await scene.ping(), await scene.ping(), await scene.health()
        scene.questions.answered(Pong(id=1))
        await answered
        scene.said.clear()
        scene.questions.ask_again()
        assert scene.said == [Ping(id=2), GetHealth()]
        scene.questions.answered(Pong(id=2))
        scene.questions.answered(health())
        await asyncio.gather(ping, asking)
        scene.said.clear()
        scene.questions.ask_again()
        assert scene.said == []

    run(scenario)


def test_behind_a_break_nobody_asks_for_who_has_gone() -> None:
    async def scenario(scene: Scene) -> None:
        gone_ping = await scene.ping()
        gone = await begun(scene.questions.ask(Load(), Health))
        for task in (gone, gone_ping):
            task.cancel()
        asking = await scene.health()
        scene.said.clear()
        scene.questions.ask_again()
        await settle()
        assert scene.said == [GetHealth()]  # the next one's turn, once and without the load
        scene.questions.answered(health())
        await asking

    run(scenario)


def test_when_there_will_be_no_answers_all_who_wait_are_told() -> None:
    async def scenario(scene: Scene) -> None:
        waiting = [await scene.ping(), await scene.health(), await scene.stats()]
        scene.is_lost = True
        scene.questions.fail(LOST)
        assert await asyncio.gather(*waiting, return_exceptions=True) == [LOST] * 3
        for task in (await scene.ping(), await scene.health()):
            assert task.exception() is LOST
        scene.is_lost = False
        scene.said.clear()
        scene.questions.ask_again()  # a client that failed may be brought back
        assert scene.said == []
        later = await scene.health()
        scene.questions.answered(health())
        await later

    run(scenario)
