"""Answers that take their time: bounded, each told once, and nobody waits behind them."""

from collections.abc import Callable

import pytest

from asrd.errors import ErrorCode, ProtocolError
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server.answers import MAX_ANSWERS_DUE, LateAnswers
from asrd.wire.messages import GetHealth, Health, Load, ServerMessage, Unload
from support.room import ECHO, Room, run, settle


class Waiting:
    """The answers of one connection, and what was told in which order."""

    def __init__(self, room: Room) -> None:
        self.told: list[ServerMessage | ProtocolError | str] = []
        self.answers = LateAnswers(
            room.hub,
            room.reporter,
            send=self.told.append,
            refuse=self.told.append,
            answered=lambda: self.told.append(f"{self.answers.due} due"),
        )


def test_health_is_told_and_then_that_it_was(registry: Registry) -> None:
    async def scenario() -> None:
        waiting = Waiting(Room(registry))
        waiting.answers.begin(GetHealth())
        assert (waiting.told, waiting.answers.due) == ([], 1)
        await settle()
        health, behind = waiting.told
        assert isinstance(health, Health)
        assert health.ready
        assert behind == "0 due"

    run(scenario)


def test_deep_health_runs_a_real_inference_and_the_other_none(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        waiting = Waiting(room)
        waiting.answers.begin(GetHealth())
        await settle()
        assert room.model.made == []
        waiting.answers.begin(GetHealth(deep=True))
        await settle()
        assert len(room.model.made) == 1
        assert len(waiting.told) == 4

    run(scenario)


def test_a_load_is_answered_when_the_model_is_there_and_not_before(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.STARTING)
        waiting = Waiting(room)
        waiting.answers.begin(Load())
        await settle()
        assert waiting.told == []
        room.model.enter(ModelState.READY)
        await settle()
        health, _ = waiting.told
        assert isinstance(health, Health)
        assert health.ready

    run(scenario)


def test_an_unload_ends_the_worker_before_it_is_answered(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        waiting = Waiting(room)
        waiting.answers.begin(Unload(provider="echo", model="echo"))
        await settle()
        assert room.model.state is ModelState.UNAVAILABLE
        assert ECHO not in room.hub.pool.residents
        assert isinstance(waiting.told[0], Health)

    run(scenario)


def unknown(room: Room) -> Load:
    return Load(provider="nobody")


def broken(room: Room) -> Load:
    room.model.enter(ModelState.UNAVAILABLE, "it broke")
    return Load()


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (unknown, ErrorCode.UNKNOWN_PROVIDER),
        (broken, ErrorCode.PROVIDER_UNAVAILABLE),
    ],
)
def test_what_cannot_be_done_is_refused_in_place_of_an_answer(
    registry: Registry, request_of: Callable[[Room], Load], code: ErrorCode
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        waiting = Waiting(room)
        waiting.answers.begin(request_of(room))
        await settle()
        error, behind = waiting.told
        assert isinstance(error, ProtocolError)
        assert (error.code, error.fatal) == (code, False)
        assert behind == "0 due"

    run(scenario)


def test_no_more_are_worked_on_than_the_limit(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.STARTING)
        waiting, other = Waiting(room), Waiting(room)
        for _ in range(MAX_ANSWERS_DUE):
            waiting.answers.begin(Load())
        with pytest.raises(ProtocolError, match="16 requests of this connection") as told:
            waiting.answers.begin(Load())
        assert (told.value.code, told.value.fatal) == (ErrorCode.BUSY, False)
        assert told.value.retry_after_ms == 1000
        other.answers.begin(Load())  # each connection has its own
        room.model.enter(ModelState.READY)
        await settle()
        assert sum(isinstance(each, Health) for each in waiting.told) == MAX_ANSWERS_DUE
        assert waiting.told[-1] == "0 due"
        waiting.answers.begin(GetHealth())  # there is room again
        assert waiting.answers.due == 1

    run(scenario)


def test_a_request_that_fails_by_a_bug_is_answered_all_the_same(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever; the traceback is in the log."""

    async def scenario() -> None:
        room = Room(registry)
        waiting = Waiting(room)

        async def fails(**_: object) -> None:
            raise OSError("no descriptor is free")

        monkeypatch.setattr(room.reporter, "health", fails)
        waiting.answers.begin(GetHealth())
        await settle()
        error, behind = waiting.told
        assert isinstance(error, ProtocolError)
        assert (error.code, error.fatal) == (ErrorCode.INTERNAL, False)
        assert behind == "0 due"

    run(scenario)
