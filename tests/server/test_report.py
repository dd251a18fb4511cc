"""Health and statistics say how it is."""

from pathlib import Path

import pytest

from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.wire.messages import GetHealth, GetStats, Health, Stats
from support.room import UTTERANCE, Guest, Room, run, settle


async def health(guest: Guest, *, deep: bool = False) -> Health:
    guest.say(GetHealth(deep=deep))
    await settle()
    return guest.told(Health)[-1]


def test_a_daemon_whose_model_and_voice_activity_are_loaded_is_ready(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.clock.advance(12.5)
        told = await health(room.greeted())
        assert (told.state, told.live, told.ready) == ("ready", True, True)
        assert told.uptime_s == 12.5
        assert told.providers.keys() == registry.registered.keys()
        echo = told.providers["echo"]
        assert (echo.state, echo.model, echo.is_default) == ("ready", "echo", True)

    run(scenario)


@pytest.mark.parametrize("state", [ModelState.STARTING, ModelState.UNAVAILABLE])
@pytest.mark.parametrize("which", ["model", "voice"])
def test_it_is_not_ready_while_either_is_away(
    registry: Registry, state: ModelState, which: str
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        getattr(room, which).enter(state, "gone")
        told = await health(guest)
        assert (told.state, told.ready, told.live) == (state.value, False, True)
        getattr(room, which).enter(ModelState.READY)
        assert (await health(guest)).ready

    run(scenario)


def test_what_a_worker_went_through_is_told(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.restarts = 3
        room.model.consecutive_errors = 2
        room.model.last_inference_s = 0.0123456
        echo = (await health(room.greeted())).providers["echo"]
        assert (echo.restarts, echo.consecutive_errors) == (3, 2)
        assert echo.last_inference_ms == 12.346

    run(scenario)


def test_a_model_that_is_not_here_is_told_with_what_to_do(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        whisper = (await health(Room(registry).greeted())).providers["faster_whisper"]
        assert whisper.state == "unavailable"
        assert whisper.problem
        assert "asrd models pull" in whisper.remedy

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    run(scenario)


def test_a_deep_check_has_the_model_decode(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        await health(guest)
        assert not room.model.made
        await health(guest, deep=True)
        assert [type(call) for call in room.model.made] == [calls.Decode]
        room.model.is_held = True
        guest.say(GetHealth(deep=True))
        await settle()
        room.model.release(ProviderError("broken inside"))
        await settle()
        assert "broken inside" in guest.told(Health)[-1].providers["echo"].problem

    run(scenario)


def test_stats_count_what_was_done_by_source_and_provider(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        for stream, source in enumerate(("mic", "system", "mic")):
            guest.open(stream, source=source)
            guest.speak(stream, UTTERANCE)
        await settle()
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        guest.speak(1, UTTERANCE)
        await settle()
        room.greeted().peer.lost()
        guest.say(GetStats())
        (told,) = guest.told(Stats)
        assert told.counters["finals"] == 3
        assert told.counters["streams_open"] == 3
        assert (told.counters["sessions"], told.counters["sessions_connected"]) == (2, 1)
        assert told.counters["streams_waiting"] == 1
        assert told.counters["decodes_running"] == 1
        mic, system = told.queues["source:mic"], told.queues["source:system"]
        assert (mic["finals"], mic["decoding"], mic["depth"]) == (2, 1, 0)
        assert (system["finals"], system["decoding"], system["depth"]) == (1, 0, 1)
        assert told.queues["provider:echo"]["finals"] == 3
        assert told.counters["audio_s"] == pytest.approx(3 * 1.2, abs=0.1)
        assert told.latencies["decode_ms"].keys() == {"p50", "p95", "p99"}

    run(scenario)


def test_sources_that_clients_make_up_cost_no_memory(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 200})
        guest = room.greeted()
        for stream in range(200):
            guest.open(stream, source=f"made up {stream}")
            guest.speak(stream, UTTERANCE)
            room.clock.advance(0.02)  # ticks of voice activity keep a little apart
            await settle()
        guest.say(GetStats())
        (told,) = guest.told(Stats)
        assert len(told.queues) < 50
        finals = [queue["finals"] for name, queue in told.queues.items() if "source" in name]
        assert sum(finals) == 200

    run(scenario)
