"""How the daemon is, in one line."""

import pytest

from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server.status_line import EVERY_S, StatusTeller, status_line, status_of
from support.clock import VirtualClock
from support.room import Room, run

READY, STARTING = ModelState.READY, ModelState.STARTING


def test_it_names_models_and_tells_the_load() -> None:
    line = status_line({"moonshine/tiny-en": READY}, 3, 0.4217, 0, is_draining=False)
    assert line == "moonshine/tiny-en ready; 3 streams, load 0.42, level 0"


def test_it_names_a_few_of_many() -> None:
    models = {"a/1": READY, "b/2": ModelState.WARMING_UP, "c/3": STARTING, "d/4": READY}
    line = status_line(models, 1, 1.0, 5, is_draining=True)
    assert line == (
        "ending; a/1 ready, b/2 warming up, c/3 starting and 1 more; 1 stream, load 1.00, level 5"
    )


def test_a_hub_tells_what_loads_and_what_is_up(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(STARTING)
        assert status_of(room.hub).startswith("echo/echo starting; 0 streams, load 0.00, level 0")
        room.model.enter(READY)
        assert status_of(room.hub).startswith("echo/echo ready; ")

    run(scenario)


def test_it_is_told_when_it_changes_and_not_too_often(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter("aabcbb")
    monkeypatch.setattr("asrd.server.status_line.status_of", lambda hub: next(lines))
    told: list[str] = []
    is_taken = True

    def tell(line: str) -> bool:
        told.append(line)
        return is_taken

    async def scenario() -> None:
        nonlocal is_taken
        clock = VirtualClock()
        teller = StatusTeller(Room(registry).hub, clock, tell)
        teller.look()  # a
        teller.look()  # too early: nobody asks for a line
        assert told == ["a"]
        clock.advance(EVERY_S)
        teller.look()  # a again
        teller.look()  # b, for the last one that was told lies back far enough
        assert told == ["a", "b"]
        clock.advance(EVERY_S / 2)
        teller.look()
        clock.advance(EVERY_S / 2)
        teller.look()  # c
        assert told == ["a", "b", "c"]
        is_taken = False
        clock.advance(EVERY_S)
        teller.look()  # b, which gets lost
        clock.advance(EVERY_S)
        teller.look()  # b again
        assert told == ["a", "b", "c", "b", "b"]

    run(scenario)
