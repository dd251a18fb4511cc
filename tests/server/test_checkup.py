"""Health tells what is so: ready or not, in which state, and what a real inference shows."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from asrd.config import ProviderConfig
from asrd.errors import ProviderError
from asrd.providers import processes
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server import checkup
from asrd.server.checkup import Checkup
from asrd.wire.messages import Health
from asrd.wire.reports import ProviderHealth
from support.room import ECHO, UTTERANCE, Room, run, settle

MOONSHINE = ModelKey(provider="moonshine", model="tiny-en")
REQUIRED = {"moonshine": ProviderConfig(required=True)}


async def look(room: Room, *, deep: bool = False) -> Health:
    return await Checkup(room.hub).health(deep=deep)


async def outcome(room: Room) -> tuple[str, bool]:
    found = await look(room)
    assert found.live
    return found.state, found.ready


async def told_of(room: Room, provider: str = "echo", *, deep: bool = False) -> ProviderHealth:
    return (await look(room, deep=deep)).providers[provider]


# ── ready ─────────────────────────────────────────────────────────────────────────────────────


def test_where_nothing_is_required_the_default_provider_is(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        other = room.put(MOONSHINE)
        other.enter(ModelState.UNAVAILABLE, "gone")
        assert await outcome(room) == ("ready", True)
        assert (await told_of(room, "moonshine")).problem == "gone"
        other.enter(ModelState.READY)
        room.model.enter(ModelState.UNAVAILABLE, "gone")
        assert await outcome(room) == ("unavailable", False)

    run(scenario)


def test_what_is_required_counts_and_the_default_does_not(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, providers=REQUIRED)
        other = room.put(MOONSHINE)
        room.model.enter(ModelState.STARTING)
        found = await look(room)
        assert (found.state, found.ready) == ("ready", True)
        roles = {name: (one.is_default, one.is_required) for name, one in found.providers.items()}
        assert (roles["echo"], roles["moonshine"]) == ((True, False), (False, True))
        other.enter(ModelState.WARMING_UP)
        room.model.enter(ModelState.READY)
        assert await outcome(room) == ("warming_up", False)

    run(scenario)


def test_all_that_is_required_has_to_be_there(registry: Registry) -> None:
    async def scenario() -> None:
        both = REQUIRED | {"echo": ProviderConfig(required=True)}
        room = Room(registry, providers=both)
        other = room.put(MOONSHINE)
        assert await outcome(room) == ("ready", True)
        for one in (room.model, other):
            one.enter(ModelState.STARTING)
            assert await outcome(room) == ("starting", False)
            one.enter(ModelState.READY)

    run(scenario)


def test_a_model_that_nobody_needed_yet_keeps_nobody_waiting(registry: Registry) -> None:
    """It is here, and the first stream loads it."""

    async def scenario() -> None:
        room = Room(registry)
        room.hub.pool._residents.clear()
        room.voice.state = ModelState.UNAVAILABLE  # and so does voice activity
        assert await outcome(room) == ("ready", True)
        echo = await told_of(room)
        assert (echo.state, echo.model, echo.models) == ("unavailable", "echo", [])
        assert echo.problem == "not loaded; the first stream that asks for it loads it"
        assert echo.is_loadable

    run(scenario)


def test_a_model_that_is_not_here_can_serve_nobody(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry, provider="faster_whisper")
        assert await outcome(room) == ("unavailable", False)
        told = await told_of(room, "faster_whisper")
        assert told.is_default
        assert told.problem
        assert told.remedy.startswith("asrd models pull ")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    run(scenario)


def test_another_model_that_failed_says_nothing_of_the_one_that_waits(registry: Registry) -> None:
    """A client asked for a damaged model; the provider's own is still to be loaded."""

    async def scenario() -> None:
        room = Room(registry)
        room.hub.pool._residents.clear()
        damaged = room.put(ModelKey(provider="echo", model="damaged"))
        damaged.enter(ModelState.STARTING)
        assert not (await look(room)).ready  # its last worker has died, for all one knows
        damaged.enter(ModelState.UNAVAILABLE, "damaged")
        assert (await look(room)).ready
        room.model = room.put(ECHO)
        room.model.enter(ModelState.UNAVAILABLE, "gone")
        assert not (await look(room)).ready

    run(scenario)


def test_a_provider_whose_plugin_is_broken_is_not_ready(registry: Registry) -> None:
    async def scenario() -> None:
        broken = Registry(registered=registry.registered, broken={"bad": "ImportError: no"})
        required = {"bad": ProviderConfig(required=True)}
        assert await outcome(Room(broken, provider="bad")) == ("unavailable", False)
        assert await outcome(Room(broken, providers=required)) == ("unavailable", False)
        also = required | {"echo": ProviderConfig(required=True)}
        assert await outcome(Room(broken, providers=also)) == ("unavailable", False)

    run(scenario)


@pytest.mark.parametrize("state", [ModelState.STARTING, ModelState.WARMING_UP])
def test_without_voice_activity_nothing_can_be_recognised(
    registry: Registry, state: ModelState
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.voice.enter(state)
        found = await look(room)
        assert (found.state, found.ready) == (state.value, False)
        assert found.voice_activity is not None
        assert found.voice_activity.state == state.value
        room.voice.enter(ModelState.UNAVAILABLE, "it dies at once")
        assert await outcome(room) == ("unavailable", False)

    run(scenario)


def test_a_model_that_fails_again_and_again_is_ready_and_degraded(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.DEGRADED, "out of tune")
        assert await outcome(room) == ("degraded", True)
        assert (await told_of(room)).problem == "out of tune"

    run(scenario)


def test_a_provider_that_is_given_a_rest_is_not_ready(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.open_breaker("echo")
        assert await outcome(room) == ("unavailable", False)
        echo = await told_of(room)
        assert (echo.state, echo.breaker) == ("unavailable", "open")
        assert "given a rest" in echo.problem
        assert echo.models[0].state == "ready"  # the worker is well
        room.model.is_held = True
        await room.probe()
        assert (await told_of(room)).breaker == "half_open"
        room.model.release()
        await settle()
        assert (await told_of(room)).breaker == "closed"
        assert await outcome(room) == ("ready", True)

    run(scenario)


def test_while_a_fallback_reads_the_daemon_is_degraded_and_not_ready(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(MOONSHINE)
        guest = room.greeted()
        guest.open(0)
        room.model.enter(ModelState.UNAVAILABLE, "gone")
        assert await outcome(room) == ("degraded", False)
        streams = {
            name: [model.streams for model in one.models]
            for name, one in (await look(room)).providers.items()
        }
        assert (streams["echo"], streams["moonshine"]) == ([0], [1])
        room.model.enter(ModelState.READY)
        assert await outcome(room) == ("ready", True)

    run(scenario)


# ── what is told of a provider ────────────────────────────────────────────────────────────────


def test_a_provider_is_as_its_default_model_and_sums_up_all(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        other = room.put(ModelKey(provider="echo", model="another"))
        other.enter(ModelState.DEGRADED, "not this one")
        other.consecutive_errors, other.restarts = 4, 2
        other.gpu_bytes, other.pid, other.last_inference_s = 7, 4711, 0.25
        room.model.restarts, room.model.last_inference_s = 1, 0.0015
        echo = await told_of(room)
        assert (echo.state, echo.model, echo.problem) == ("ready", "echo", "")
        assert (echo.last_inference_ms, echo.load_s) == (1.5, 0.25)
        assert (echo.consecutive_errors, echo.restarts) == (4, 3)
        assert echo.memory_bytes == 100_000_000
        by_name = {model.model: model for model in echo.models}
        another = by_name["another"]
        assert (another.state, another.problem) == ("degraded", "not this one")
        assert (another.consecutive_errors, another.restarts) == (4, 2)
        assert (another.gpu_memory_bytes, another.pid) == (7, 4711)
        assert (another.last_inference_ms, another.warm_up_s) == (250.0, 0.05)

    run(scenario)


def test_memory_is_that_of_the_daemon_and_all_its_workers(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.put(MOONSHINE).memory_bytes = 300
        room.voice.memory_bytes = 40
        room.model.memory_bytes = 5
        found = await look(room)
        assert found.memory_bytes == 2000 + 300 + 40 + 5
        assert {name: one.memory_bytes for name, one in found.providers.items()} == {
            **dict.fromkeys(registry.registered, 0),
            "moonshine": 300,
            "echo": 5,
        }

    held = {os.getpid(): 2000}
    monkeypatch.setattr(processes, "memory_bytes", held.__getitem__)
    run(scenario)


def test_the_time_since_the_last_work_is_told(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        assert (await told_of(room)).models[0].idle_s is None
        room.model.worked_at_s = time.monotonic() - 100
        idle_s = (await told_of(room)).models[0].idle_s
        assert idle_s is not None
        assert 100 <= idle_s < 130

    run(scenario)


# ── a real inference ──────────────────────────────────────────────────────────────────────────


def test_a_deep_look_has_every_loaded_model_read(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        other = room.put(MOONSHINE)
        await look(room)
        assert not room.model.made
        assert not other.made
        await look(room, deep=True)
        assert len(room.model.made) == len(other.made) == 1

    run(scenario)


def test_a_deep_look_loads_what_is_required(registry: Registry) -> None:
    """With a real worker, and only what is required."""

    async def scenario() -> None:
        room = Room(registry)
        room.hub.pool._residents.clear()
        try:
            found = await look(room, deep=True)
        finally:
            await room.hub.stop()
        (echo,) = found.providers["echo"].models
        assert (found.ready, echo.state) == (True, "ready")
        assert echo.last_inference_ms is not None
        assert echo.pid is not None
        assert found.memory_bytes > echo.memory_bytes > 1_000_000
        loaded = [name for name, one in found.providers.items() if one.models]
        assert loaded == ["echo"]

    run(scenario)


def test_a_deep_look_tells_what_failed_at_it(registry: Registry) -> None:
    """Even what a model does not call a problem yet: it has failed once."""

    async def scenario() -> None:
        room = Room(registry)
        room.model.is_held = True
        looking = asyncio.ensure_future(look(room, deep=True))
        await settle()
        room.model.release(ProviderError("broken inside"))
        found = await looking
        echo = found.providers["echo"]
        assert (found.state, echo.state, echo.models[0].state) == ("degraded",) * 3
        assert echo.problem == echo.models[0].problem == "broken inside"
        assert not found.ready
        afterwards = await look(room)
        assert afterwards.ready  # it was not the model's last word
        assert afterwards.providers["echo"].problem == ""

    run(scenario)


def test_a_deep_look_tells_what_could_not_be_loaded(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.UNAVAILABLE, "no memory")
        found = await look(room, deep=True)
        assert (found.state, found.ready) == ("unavailable", False)
        assert found.providers["echo"].problem == "no memory"
        assert not room.model.made

    run(scenario)


@pytest.mark.parametrize(
    ("works_meanwhile", "state"), [(False, ModelState.DEGRADED), (True, ModelState.READY)]
)
def test_a_deep_look_does_not_wait_for_ever(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, works_meanwhile: bool, state: ModelState
) -> None:
    """A model that does other work for all that time is only busy."""

    async def scenario() -> None:
        room = Room(registry)
        room.model.is_held = True
        looking = asyncio.ensure_future(look(room, deep=True))
        await settle()
        if works_meanwhile:
            room.model.worked_at_s = time.monotonic()
        found = await looking
        echo = found.providers["echo"]
        assert (room.model.state, echo.state) == (state, state.value)
        assert found.ready is works_meanwhile
        assert ("no answer within" in echo.problem) is not works_meanwhile

    monkeypatch.setattr(checkup, "DEEP_TIMEOUT_S", 0.05)
    run(scenario)


def test_a_deep_look_waits_its_turn_behind_nobody(registry: Registry) -> None:
    """It needs no turn of the lock: streams that wait cannot keep it from its answer."""

    async def scenario() -> None:
        room = Room(registry)
        other = room.put(MOONSHINE)
        guest = room.greeted()
        other.is_held = True
        guest.open(0, provider="moonshine")
        guest.speak(0, UTTERANCE)
        await settle()
        room.hub.pool._residents.pop(MOONSHINE)
        assert room.hub.scheduler.slots.running == 1
        found: Any = await look(room, deep=True)
        assert found.ready
        room.hub.pool._residents[MOONSHINE] = other  # type: ignore[assignment]
        other.release()
        await settle()

    run(scenario)
