"""Every limit answers, is counted, and touches nobody else."""

from typing import Any

import pytest

from asrd.abilities import Abilities
from asrd.config import LadderRule
from asrd.providers.catalogue import ModelKey
from asrd.providers.registry import Registry
from asrd.wire.messages import (
    Audio,
    Close,
    Closed,
    Error,
    Event,
    GetStats,
    Hello,
    Segment,
    Stats,
    Welcome,
)
from support.room import UTTERANCE, Guest, Room, quiet, run, settle, speech

OTHER = ModelKey(provider="moonshine", model="tiny-en")


def dropped(guest: Guest, stream: int | None = None) -> list[tuple[float, float, str]]:
    return [
        (float(event.start or 0), float(event.end or 0), str(event.reason))
        for event in guest.told(Event, stream)
        if event.event == "dropped"
    ]


def stats(guest: Guest) -> Stats:
    guest.say(GetStats())
    return guest.told(Stats)[-1]


def test_one_session_too_many_is_told_when_to_come_back(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_sessions": 2})
        first, _ = room.greeted(), room.greeted()
        third = room.guest()
        third.say(Hello())
        (error,) = third.told(Error)
        assert (error.code, error.fatal) == ("busy", True)
        assert isinstance(error.retry_after_ms, int)
        assert third.channel.is_closed
        assert stats(first).errors == {"busy": 1}
        token = first.told(Welcome)[0].resume
        first.peer.lost()
        assert room.guest().hello().resumed is False  # a place is free
        late = room.guest()
        assert late.hello(resume=token).resumed  # who comes back is never turned away

    run(scenario)


# ── streams that wait ─────────────────────────────────────────────────────────────────────────


async def full_room(registry: Registry, source: str, **more: Any) -> tuple[Room, Guest]:
    """One stream of the source decodes, two wait, and that is the limit."""
    room = Room(registry, scheduling={"max_waiting": {source: 2}, **more})
    guest = room.greeted()
    room.model.is_held = True
    for stream in range(3):
        guest.open(stream, source=source)
        guest.speak(stream, UTTERANCE)
        await settle()
    return room, guest


def test_when_a_live_source_is_full_its_oldest_audio_is_dropped_and_told(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room, guest = await full_room(registry, "mic")
        guest.open(3, source="mic")
        guest.speak(3, UTTERANCE)
        await settle()
        ((start, end, reason),) = dropped(guest, 1)
        assert reason == "queue_full"
        assert (start, end) == pytest.approx((0.0, 1.2), abs=0.05)
        assert not dropped(guest, 0) + dropped(guest, 2) + dropped(guest, 3)
        room.model.is_held = False
        room.model.release()
        await settle()
        assert sorted(segment.stream for segment in guest.told(Segment)) == [0, 2, 3]
        mic = stats(guest).queues["source:mic"]
        assert (mic["limit"], mic["depth"], mic["fill_ratio"]) == (2, 0, 0.0)
        assert mic["dropped_s"] == pytest.approx(end - start)

    run(scenario)


def test_when_a_lossless_source_is_full_its_streams_wait_and_lose_nothing(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room, guest = await full_room(registry, "file")
        for stream in range(3, 8):
            guest.open(stream, source="file")
            guest.speak(stream, UTTERANCE)
            await settle()
        assert stats(guest).queues["source:file"]["depth"] == 7
        room.model.is_held = False
        room.model.release()
        await settle()
        assert [segment.stream for segment in guest.told(Segment)] == list(range(8))
        assert not dropped(guest)

    run(scenario)


def test_a_partial_that_finds_no_place_is_left_out_and_its_audio_kept(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await full_room(registry, "mic")
        guest.open(3, source="mic", partials=True)
        guest.speak(3, speech(2.5))
        await settle()
        assert stats(guest).counters["partials_left_out"] > 0
        guest.speak(3, quiet(0.6))  # now it is a final, for which room is made
        room.model.is_held = False
        room.model.release()
        await settle()
        (segment,) = guest.told(Segment, 3)
        assert segment.start == 0.0
        assert int(segment.text) > 2.5 * 16_000

    run(scenario)


def test_a_burst_that_is_read_at_once_costs_nobody_anything(registry: Registry) -> None:
    """Whether the queue is full shows once all that can begin has begun."""

    async def scenario() -> None:
        room = Room(registry, scheduling={"max_waiting": {"mic": 2}})
        guest = room.greeted()
        room.model.is_held = False
        for stream in range(3):
            guest.open(stream, source="mic")
        guest.say(*(Audio(stream=stream, data=UTTERANCE) for stream in range(3)))
        await settle()
        assert len(guest.told(Segment)) == 3
        assert not dropped(guest)

    run(scenario)


def test_at_a_drain_a_full_queue_costs_nobody_anything(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await full_room(registry, "mic")
        for stream in range(3, 6):
            guest.open(stream, source="mic")
            guest.speak(stream, speech(1.0))
        await settle()
        room.hub.is_draining = True
        for served in room.hub.all_streams:
            served.stream.drain()
            room.hub.advance(served)
        room.model.is_held = False
        room.model.release()
        await settle()
        assert len(guest.told(Segment)) == 6
        assert not dropped(guest)

    run(scenario)


# ── time in the queue ─────────────────────────────────────────────────────────────────────────


async def late_room(registry: Registry, source: str, **more: Any) -> tuple[Room, Guest]:
    """One stream decodes for ever; another of the source waits for too long."""
    ladder = LadderRule(enabled=False)
    room = Room(registry, scheduling={"queue_timeout_s": 10.0, "ladder": ladder}, **more)
    if more:
        room.put(OTHER)
    guest = room.greeted()
    room.model.is_held = True
    for stream in range(2):
        guest.open(stream, source=source)
        guest.speak(stream, UTTERANCE)
        await settle()
    room.clock.advance(10.5)
    room.hub.check()
    await settle()
    return room, guest


def test_a_live_final_that_waits_for_too_long_is_dropped_and_told(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await late_room(registry, "mic")
        (error,) = guest.told(Error)
        assert (error.code, error.stream, error.fatal) == ("queue_timeout", 1, False)
        assert [reason for _, _, reason in dropped(guest, 1)] == ["queue_timeout"]
        assert stats(guest).counters["queue_timeouts"] == 1
        guest.speak(1, UTTERANCE)
        room.model.is_held = False
        room.model.release()
        await settle()
        assert [segment.id for segment in guest.told(Segment, 1)] == [0]

    run(scenario)


def test_the_next_provider_of_the_chain_reads_it_where_there_is_one(registry: Registry) -> None:
    async def scenario() -> None:
        _, guest = await late_room(registry, "mic", fallback=("moonshine",))
        assert not guest.told(Error)
        assert not dropped(guest)
        moved = [event for event in guest.told(Event, 1) if event.event == "degraded"]
        assert [event.action for event in moved] == ["read by moonshine/tiny-en"]

    run(scenario)


def test_many_that_are_late_at_once_are_all_looked_after(registry: Registry) -> None:
    """One that is dropped lets the next begin, amid the look at all of them."""

    async def scenario() -> None:
        room = Room(registry, scheduling={"queue_timeout_s": 10.0, "slots": 3})
        room.model = room.put(room.hub.resolve("echo", None))
        room.model.abilities = Abilities(decodes_at_once=3)
        room.hub.scheduler.slots.local = 1
        guest = room.greeted()
        room.model.is_held = True
        for stream in range(6):
            guest.open(stream, source="mic")
            guest.speak(stream, UTTERANCE)
            await settle()
        room.clock.advance(10.5)
        room.hub.scheduler.slots.local = 3
        room.hub.check()
        await settle()
        assert room.hub.scheduler.slots.running == 3  # what could begin has begun
        assert {error.stream for error in guest.told(Error)} == {3, 4, 5}
        assert {event[2] for event in dropped(guest)} == {"queue_timeout"}

    run(scenario)


def test_lossless_work_may_wait_for_ever(registry: Registry) -> None:
    async def scenario() -> None:
        _, guest = await late_room(registry, "file")
        assert not guest.told(Error)
        assert not dropped(guest)

    run(scenario)


# ── the rate of live audio ────────────────────────────────────────────────────────────────────


def test_live_audio_that_comes_too_fast_is_told_once_and_dropped_exactly(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_burst_s": 10.0, "live_rate": 2.0})
        guest = room.greeted()
        guest.open(0, source="mic")
        for _ in range(30):
            guest.say(Audio(stream=0, data=quiet(1.0)))
        await settle()
        (error,) = guest.told(Error)
        assert (error.code, error.stream, error.fatal) == ("rate_limited", 0, False)
        assert isinstance(error.retry_after_ms, int)
        room.clock.advance(5.0)
        for _ in range(10):
            guest.say(Audio(stream=0, data=quiet(1.0)))
        guest.say(Close(stream=0))
        await settle()
        (closed,) = guest.told(Closed)
        assert [reason for _, _, reason in dropped(guest)] == ["rate_limited"] * len(dropped(guest))
        spans = [(start, end) for start, end, _ in dropped(guest)]
        assert spans[0] == (10.0, spans[0][1])
        assert sum(end - start for start, end in spans) == closed.dropped_seconds == 20.0
        assert closed.audio_seconds == 40.0

    run(scenario)


def test_audio_that_is_sent_again_costs_nothing(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_burst_s": 10.0, "live_rate": 1.0})
        guest = room.greeted()
        guest.open(0, source="mic")
        for _ in range(5):
            for second in range(8):
                guest.say(Audio(stream=0, data=quiet(1.0), offset=second * 16_000))
        await settle()
        assert not guest.told(Error)
        assert not dropped(guest)

    run(scenario)


def test_a_lossless_sender_may_send_as_fast_as_it_can(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_burst_s": 1.0, "live_rate": 1.0})
        guest = room.greeted()
        guest.open(0, source="file")
        for _ in range(30):
            guest.say(Audio(stream=0, data=quiet(1.0)))
        await settle()
        assert not guest.told(Error)
        assert not dropped(guest)

    run(scenario)
