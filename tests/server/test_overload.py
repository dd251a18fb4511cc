"""Under load: chunks grow, models shrink, the secondary source yields; and all comes back."""

from typing import Any

import pytest

from asrd.config import LadderRule, ProviderConfig
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.registry import Registry
from asrd.providers.residency import Footprint
from asrd.wire.messages import Close, Event, GetStats, Open, Partial, Segment, Stats, Welcome
from support.room import ECHO, UTTERANCE, Guest, Room, run, settle, speech

TICK_S = 0.5
HEARD_S = 1.4
"""Of `UTTERANCE`, with what is put before and behind speech."""

SMALLER = ModelKey(provider="echo", model="smaller")


def told(guest: Guest, stream: int) -> list[tuple[str, Any, Any]]:
    events = [
        event for event in guest.told(Event, stream) if event.event in ("degraded", "restored")
    ]
    return [(event.event, event.level, event.action) for event in events]


class Crowd:
    """A room in which streams speak all the time, as a load that can be chosen."""

    def __init__(self, registry: Registry, **more: Any) -> None:
        self.room = Room(registry, **more)
        self.guest = self.room.greeted()
        self.sources: list[int] = []

    def open(self, stream: int, source: str, **fields: Any) -> None:
        self.guest.open(stream, source=source, partials=True, **fields)
        self.sources.append(stream)

    async def bear(self, load: float, seconds: float) -> None:
        """Let time pass in which all streams together ask for so much decode time."""
        real_time_factor = load * TICK_S / (HEARD_S * len(self.sources))
        self.teach(ECHO, real_time_factor)
        for _ in range(round(seconds / TICK_S)):
            self.room.clock.advance(TICK_S)
            for stream in self.sources:
                self.guest.speak(stream, UTTERANCE)
            await settle()
            self.room.hub.check()
            await settle()

    def teach(self, key: ModelKey, real_time_factor: float) -> None:
        for _ in range(60):
            lane = (key, False)
            self.room.hub.scheduler.costs.note(lane, 1, 1.0, real_time_factor)

    async def rest(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.room.clock.advance(TICK_S)
            self.room.hub.check()
            await settle()

    @property
    def level(self) -> int:
        return self.room.hub.overload.level


LONGER = ("degraded", 1, "a partial at most every 4 s")
FEWER = ("degraded", 2, "a partial at most every 8 s")
FINALS_ONLY = ("degraded", 3, "finals only")
SHED = ("degraded", 3, "of what waits, the latest 5 s are kept")


@pytest.fixture(autouse=True)
def nothing_is_learned_from_answers_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of a room take no time; what they cost is what the test says."""
    monkeypatch.setattr("asrd.scheduler.costs.Costs.note", _taught_only(), raising=True)


def _taught_only() -> Any:
    from asrd.scheduler.costs import Costs

    note = Costs.note

    def filtered(self: Costs, lane: Any, count: int, audio_s: float, took_s: float) -> None:
        if took_s > 0:
            note(self, lane, count, audio_s, took_s)

    return filtered


def test_a_load_that_can_be_borne_changes_nothing(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        await crowd.bear(0.4, 60)
        assert told(crowd.guest, 0) == []
        assert crowd.level == 0
        assert crowd.room.hub.overload.partial_interval_s == 2.0

    run(scenario)


def test_chunks_grow_under_load_before_anything_is_degraded(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        await crowd.bear(0.7, 60)
        assert crowd.room.hub.overload.partial_interval_s == 4.0
        assert told(crowd.guest, 0) == []
        crowd.guest.say(GetStats())
        assert crowd.guest.told(Stats)[-1].counters["partial_interval_s"] == 4.0

    run(scenario)


def test_rung_after_rung_is_climbed_told_and_left_again(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        crowd.open(1, "system")
        await crowd.bear(0.9, 30)
        assert told(crowd.guest, 0) == told(crowd.guest, 1) == [LONGER]
        await crowd.bear(1.1, 30)
        assert told(crowd.guest, 0) == told(crowd.guest, 1) == [LONGER, FEWER]
        await crowd.bear(1.5, 30)
        assert told(crowd.guest, 0) == [LONGER, FEWER]  # the microphone is not touched
        assert told(crowd.guest, 1) == [LONGER, FEWER, FINALS_ONLY, SHED]
        assert crowd.level == 3
        await crowd.rest(120)
        assert crowd.level == 0
        back = [("restored", level) for level in (3, 2, 1, 0)]
        undone = [action for _, _, action in (SHED, FINALS_ONLY, FEWER, LONGER)]
        expected = [(*each, action) for each, action in zip(back, undone, strict=True)]
        assert told(crowd.guest, 1)[4:] == expected
        assert [kind for kind, *_ in told(crowd.guest, 0)[2:]] == ["restored", "restored"]
        assert crowd.room.hub.overload.partial_interval_s == 2.0

    run(scenario)


def test_the_secondary_source_gets_finals_only_and_then_loses_what_waits_longest(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        crowd.open(1, "system")
        await crowd.bear(1.5, 60)
        crowd.sources = []
        crowd.room.model.is_held = True
        crowd.guest.speak(1, speech(9.0))
        await settle()
        assert not [call for call in crowd.room.model.made[-1:] if _is_held(crowd.room)]
        before = len([event for event in crowd.guest.told(Event) if event.event == "dropped"])
        for _ in range(8):
            for stream in (0, 1):
                crowd.guest.speak(stream, UTTERANCE)
            await settle()
        dropped = [event for event in crowd.guest.told(Event) if event.event == "dropped"][before:]
        assert {(event.stream, event.reason) for event in dropped} == {(1, "overload")}

    run(scenario)


def _is_held(room: Room) -> bool:
    last = room.model.made[-1]
    return isinstance(last, calls.Decode) and last.items[0].is_partial


def test_a_source_that_is_alone_is_never_secondary(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        await crowd.bear(2.0, 60)
        assert told(crowd.guest, 0) == [LONGER, FEWER]
        assert crowd.level == 3
        assert not [event for event in crowd.guest.told(Event) if event.event == "dropped"]

    run(scenario)


def test_lossless_work_is_no_overload(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "file")
        await crowd.bear(5.0, 30)
        assert crowd.level == 0
        assert told(crowd.guest, 0) == []

    run(scenario)


def test_who_opens_a_stream_under_load_is_told_what_to_expect(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        await crowd.bear(0.9, 30)
        crowd.guest.open(5, source="mic", partials=True)
        await settle()
        assert told(crowd.guest, 5) == [LONGER]
        crowd.room.model.is_held = False
        crowd.guest.speak(5, speech(1.8))  # the first comes after half the interval
        await settle()
        assert not crowd.guest.told(Partial, 5)
        crowd.guest.speak(5, speech(0.4))
        await settle()
        assert len(crowd.guest.told(Partial, 5)) == 1
        crowd.guest.speak(5, speech(3.5))
        await settle()
        assert len(crowd.guest.told(Partial, 5)) == 1
        crowd.guest.speak(5, speech(1.0))
        await settle()
        assert len(crowd.guest.told(Partial, 5)) == 2

    run(scenario)


def test_the_ladder_can_be_turned_off(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry, scheduling={"ladder": LadderRule(enabled=False)})
        crowd.open(0, "mic")
        crowd.open(1, "system")
        await crowd.bear(3.0, 60)
        assert crowd.level == 0
        assert told(crowd.guest, 0) == told(crowd.guest, 1) == []

    run(scenario)


def test_a_smaller_model_of_the_providers_list_takes_over_and_gives_back(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        room = crowd.room
        smaller = room.put(SMALLER)
        monkeypatch.setattr(room.hub.pool.catalogue, "smaller", lambda key: (SMALLER,))
        crowd.open(0, "mic")
        crowd.guest.open(7, source="file")
        crowd.teach(SMALLER, 0.01)
        await crowd.bear(1.1, 40)
        assert ("degraded", 2, "read by echo/smaller") in told(crowd.guest, 0)
        assert smaller.made
        assert crowd.guest.told(Segment, 0)[-1].model == "smaller"
        assert room.hub.pool.tenancy.streams_on(SMALLER) == 1
        # The small model makes light of the load: that is no reason to go back to the large one.
        await crowd.bear(1.1, 60)
        assert crowd.guest.told(Segment, 0)[-1].model == "smaller"
        await crowd.bear(0.2, 100)
        assert crowd.guest.told(Segment, 0)[-1].model == "echo"
        assert room.hub.pool.tenancy.streams_on(SMALLER) == 0
        assert crowd.level == 0
        assert told(crowd.guest, 7) == []

    run(scenario)


def test_a_smaller_model_that_has_no_room_is_done_without(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        from asrd.providers.lifecycle import ModelState

        crowd = Crowd(registry)
        smaller = crowd.room.put(SMALLER, ModelState.UNAVAILABLE)
        smaller.problem = "no room"
        monkeypatch.setattr(crowd.room.hub.pool.catalogue, "smaller", lambda key: (SMALLER,))
        crowd.open(0, "mic")
        await crowd.bear(1.1, 30)
        assert smaller.begun
        assert crowd.guest.told(Segment, 0)[-1].model == "echo"
        assert told(crowd.guest, 0) == [LONGER, FEWER]

    run(scenario)


def test_the_providers_list_is_ordered_by_size(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("large", "tiny", "base")
    sizes = {"large": 300, "base": 200, "tiny": 100, "echo": 250}
    room = Room(registry, providers={"echo": ProviderConfig(models=names)})
    catalogue = room.hub.pool.catalogue
    monkeypatch.setattr(
        catalogue, "key", lambda provider, model: ModelKey(provider=provider, model=model)
    )
    monkeypatch.setattr(catalogue, "size", lambda key: Footprint(memory_bytes=sizes[key.model]))
    assert [key.model for key in catalogue.smaller(ECHO)] == ["base", "tiny"]


def test_the_fallback_of_an_unavailable_provider_is_the_fourth_rung(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry, fallback=("moonshine",))
        crowd.room.put(ModelKey(provider="moonshine", model="tiny-en"))
        crowd.open(0, "mic")
        crowd.room.open_breaker("echo")
        await settle()
        assert crowd.level == 4
        assert told(crowd.guest, 0) == [("degraded", 4, "read by moonshine/tiny-en")]
        crowd.guest.say(Close(stream=0))
        await settle()
        assert crowd.level == 0

    run(scenario)


def test_a_stream_without_partials_hears_of_nothing_that_does_not_concern_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        crowd.guest.say(Open(stream=1, source="mic", partials=False))
        await settle()
        await crowd.bear(0.9, 30)
        assert told(crowd.guest, 0) == [LONGER]
        assert told(crowd.guest, 1) == []

    run(scenario)


# ── streams that come, go and move ────────────────────────────────────────────────────────────

OTHER = ModelKey(provider="moonshine", model="tiny-en")


async def shed_crowd(registry: Registry, **more: Any) -> Crowd:
    """Microphone and system audio, the latter shed."""
    crowd = Crowd(registry, **more)
    crowd.open(0, "mic")
    crowd.open(1, "system")
    await crowd.bear(1.5, 60)
    assert told(crowd.guest, 1)[-1] == SHED
    return crowd


def test_who_moves_to_another_device_group_leaves_the_load_of_the_old_one_behind(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        apart = {"moonshine": ProviderConfig(device_group="gpu")}
        crowd = await shed_crowd(registry, fallback=("moonshine",), providers=apart)
        crowd.room.put(OTHER)
        before = len(told(crowd.guest, 1))
        crowd.room.open_breaker("echo")
        await settle()
        events = told(crowd.guest, 1)[before:]
        assert [kind for kind, *_ in events] == ["restored"] * 4 + ["degraded"]
        assert events[-1] == ("degraded", 4, "read by moonshine/tiny-en")
        assert {level for _, level, _ in events} == {4}
        crowd.guest.speak(1, speech(2.5))
        await settle()
        assert crowd.guest.told(Partial, 1)

    run(scenario)


def test_who_is_secondary_follows_those_who_come_and_go(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = await shed_crowd(registry)
        crowd.guest.say(Close(stream=0))
        await settle()
        crowd.sources = [1]
        await crowd.bear(1.5, 1)
        assert told(crowd.guest, 1)[-2:] == [
            ("restored", 3, SHED[2]),
            ("restored", 3, FINALS_ONLY[2]),
        ]
        crowd.open(2, "mic")
        await settle()
        await crowd.bear(1.5, 1)
        assert told(crowd.guest, 1)[-2:] == [FINALS_ONLY, SHED]
        assert told(crowd.guest, 2) == [LONGER, FEWER]

    run(scenario)


def test_a_client_that_was_away_hears_what_has_changed_meanwhile(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.open(0, "mic")
        token = crowd.guest.told(Welcome)[0].resume
        stream = crowd.room.hub.all_streams[0].stream
        crowd.guest.peer.lost()
        for _ in range(60):  # its utterances go on, as though they had been sent before
            crowd.teach(ECHO, 0.45)
            crowd.room.clock.advance(TICK_S)
            stream.receive(UTTERANCE, None)
            crowd.room.hub.advance(crowd.room.hub.all_streams[0])
            await settle()
            crowd.room.hub.check()
        back = crowd.room.guest()
        assert back.hello(resume=token).resumed
        assert told(back, 0) == []
        crowd.room.hub.check()
        assert [(kind, level) for kind, level, _ in told(back, 0)][:2] == [
            ("degraded", 1),
            ("degraded", 2),
        ]

    run(scenario)


def test_a_group_that_nobody_has_used_is_no_stumbling_block(registry: Registry) -> None:
    async def scenario() -> None:
        apart = {"moonshine": ProviderConfig(device_group="gpu")}
        crowd = Crowd(registry, providers=apart)
        crowd.open(0, "mic")
        crowd.room.put(OTHER)
        await crowd.bear(0.9, 2)
        crowd.guest.open(1, source="mic", provider="moonshine")
        await crowd.bear(0.9, 30)
        crowd.guest.say(GetStats())
        assert crowd.guest.told(Stats)[-1].groups.keys() == {"local", "gpu"}
        assert told(crowd.guest, 0) == [LONGER]
        assert told(crowd.guest, 1) == []

    run(scenario)


def test_streams_that_live_for_a_moment_are_a_load_too(registry: Registry) -> None:
    async def scenario() -> None:
        crowd = Crowd(registry)
        crowd.teach(ECHO, 0.5)
        for number in range(100):
            crowd.guest.open(number, source="mic", partials=False)
            crowd.guest.speak(number, UTTERANCE)
            await settle()
            crowd.guest.say(Close(stream=number))
            await settle()
            crowd.room.clock.advance(TICK_S)
            crowd.room.hub.check()
        crowd.guest.say(GetStats())
        assert crowd.guest.told(Stats)[-1].groups["local"]["load"] > 0.8

    run(scenario)
