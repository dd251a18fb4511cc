"""Voice activity for many streams: one round trip at a time, and no death loses a window."""

import asyncio
from typing import Any

from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.providers.supervisor import WorkerDied
from asrd.server.listening import MAX_WINDOWS
from asrd.wire.messages import Audio, Cancel, Close, Closed, Error, Segment
from support.room import UTTERANCE, Guest, Room, quiet, run, settle, speech


def scores(room: Room) -> list[list[int]]:
    """How many windows of each stream every call had."""
    return [
        [len(item.windows) // 2048 for item in call.streams]
        for call in room.voice.made
        if isinstance(call, calls.Score)
    ]


def opened(room: Room, count: int, **fields: Any) -> Guest:
    guest = room.greeted()
    for stream in range(count):
        guest.open(stream, **fields)
    return guest


def test_what_gathers_during_a_round_trip_shares_the_next(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 3)
        room.voice.is_held = True
        guest.speak(0, speech(0.32))
        await settle()
        assert scores(room) == [[10]]
        for stream in (1, 2, 0):
            guest.speak(stream, speech(0.64))
        await settle()
        assert scores(room) == [[10]]  # one at a time
        room.voice.release()
        await settle()
        assert scores(room) == [[10], [20, 20, 20]]

    run(scenario)


def test_a_file_at_full_speed_takes_turns(registry: Registry) -> None:
    """However much one stream has, another waits for one second of it and no more."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 2)
        room.voice.is_held = True
        guest.speak(0, speech(10.0))
        await settle()
        guest.speak(1, speech(0.32))
        for _ in range(3):
            room.voice.release()
            await settle()
        # Without speech hearing would begin anew behind 25 windows: no more are tried at first.
        assert [sorted(call) for call in scores(room)] == [[25], [7, 10], [32], [32]]

    run(scenario)


def test_silence_costs_no_round_trip(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 1)
        guest.speak(0, quiet(30.0))
        await settle()
        assert not room.voice.made

    run(scenario)


def test_the_state_behind_one_call_is_that_before_the_next(registry: Registry) -> None:
    """Each stream has its own; audio that does not follow on begins anew."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 2)
        for stream in (0, 1, 0):
            guest.speak(stream, speech(0.32))
            await settle()
        sent = [call.streams[0].state[:1] for call in room.voice.made]  # type: ignore[union-attr]
        assert sent == [b"", b"", b"\x0a"]
        guest.say(Audio(stream=0, data=speech(0.32), offset=100_000))
        await settle()
        last = room.voice.made[-1]
        assert isinstance(last, calls.Score)
        assert last.streams[0].state == b""

    run(scenario)


def test_what_a_worker_died_over_its_successor_scores(registry: Registry) -> None:
    """The same windows with the same state, so the text is that of a run without the death."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 2)
        guest.speak(0, speech(0.5))
        await settle()
        room.voice.is_held = True
        guest.speak(0, speech(0.5) + quiet(0.3))
        await settle()
        room.voice.release(WorkerDied("dead"))
        room.voice.enter(ModelState.STARTING)
        guest.speak(0, quiet(0.3))
        guest.speak(1, UTTERANCE)
        await settle()
        calls_before = len(room.voice.made)
        room.voice.is_held = False
        room.voice.enter(ModelState.READY)
        await settle()
        lost, again = room.voice.made[calls_before - 1 : calls_before + 1]
        assert isinstance(lost, calls.Score)
        assert isinstance(again, calls.Score)
        assert again.streams == lost.streams
        assert [segment.text for segment in guest.told(Segment)] == ["19456", "19456"]
        assert room.voice.kills == 0

    run(scenario)


def test_a_worker_that_refuses_is_replaced(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 1)
        room.voice.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        room.voice.release(ProviderError("out of order"))
        await settle()
        assert room.voice.kills == 1
        room.voice.enter(ModelState.STARTING)
        room.voice.is_held = False
        room.voice.enter(ModelState.READY)
        await settle()
        assert len(guest.told(Segment)) == 1

    run(scenario)


def test_a_stream_that_ends_meanwhile_is_forgotten(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 2)
        room.voice.is_held = True
        for stream in (0, 1):
            guest.speak(stream, speech(0.5))
        await settle()
        guest.say(Cancel(stream=0))
        guest.speak(1, speech(0.5) + quiet(0.6))
        room.voice.is_held = False
        room.voice.release()
        await settle()
        assert len(guest.told(Closed, 0)) == 1
        assert not guest.told(Segment, 0)
        assert len(guest.told(Segment, 1)) == 1
        assert {len(call) for call in scores(room)[1:]} == {1}

    run(scenario)


# ── audio that ends workers ───────────────────────────────────────────────────────────────────


async def die(room: Room) -> None:
    """The worker ends over what it was sent, and another comes up."""
    room.voice.enter(ModelState.STARTING)
    room.voice.release(WorkerDied("dead"))
    await settle()
    room.voice.enter(ModelState.READY)
    await settle()


async def answer(room: Room) -> None:
    room.voice.release()
    await settle()


def test_audio_that_ends_two_workers_costs_the_guilty_stream_alone(registry: Registry) -> None:
    """Sent together it ends two; sent stream by stream, the guilty one ends two more."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 3)
        room.voice.is_held = True
        for stream in (0, 1, 2):
            guest.speak(stream, speech(0.256 * (stream + 1)))
        await settle()
        assert scores(room) == [[8, 16, 24]]
        await die(room)
        assert scores(room)[1:] == [[8, 16, 24]]  # it may have been an accident
        await die(room)
        assert scores(room)[2:] == [[8]]
        await answer(room)
        assert scores(room)[3:] == [[16]]
        await die(room)
        assert scores(room)[4:] == [[16]]
        assert not guest.told(Error)
        await die(room)
        assert scores(room)[5:] == [[24]]
        (error,) = guest.told(Error)
        assert (error.stream, error.code, error.fatal) == (1, "provider_failed", False)
        assert [(end.stream, end.reason) for end in guest.told(Closed)] == [(1, "error")]
        await answer(room)
        room.voice.is_held = False
        for stream in (0, 2):
            guest.speak(stream, UTTERANCE)
            guest.say(Close(stream=stream))
        await settle()
        assert sorted(segment.stream for segment in guest.told(Segment)) == [0, 2]
        assert len(guest.told(Error)) == 1

    run(scenario)


def test_a_stream_that_ends_workers_by_itself_is_cut_off_at_the_second(registry: Registry) -> None:
    """New audio begins a new count: a death now and then is no stream's fault."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 1)
        room.voice.is_held = True
        for _ in range(3):
            guest.speak(0, speech(0.32))
            await settle()
            await die(room)
            await answer(room)
        assert not guest.told(Error)
        guest.speak(0, speech(0.32))
        await settle()
        await die(room)
        await die(room)
        assert [error.stream for error in guest.told(Error)] == [0]
        guest.open(0)
        room.voice.is_held = False
        guest.speak(0, UTTERANCE)
        await settle()
        assert len(guest.told(Segment)) == 1

    run(scenario)


def test_a_stream_that_was_cancelled_meanwhile_is_not_blamed(registry: Registry) -> None:
    """Its number may be another stream's by now."""

    async def scenario() -> None:
        room = Room(registry)
        guest = opened(room, 1)
        room.voice.is_held = True
        guest.speak(0, speech(0.32))
        await settle()
        guest.say(Cancel(stream=0))
        guest.open(0)
        await die(room)
        await die(room)
        assert not guest.told(Error)
        room.voice.is_held = False
        guest.speak(0, UTTERANCE)
        await settle()
        assert len(guest.told(Segment)) == 1

    run(scenario)


# ── many streams: two calls at a time ─────────────────────────────────────────────────────────

MANY = 30


async def with_two_calls_under_way(registry: Registry) -> tuple[Room, Guest]:
    """The first has all streams but the last, and the second that one."""
    room = Room(registry)
    guest = opened(room, MANY)
    for stream in range(MANY):
        guest.speak(stream, speech(0.1))
    await settle()
    room.clock.advance(0.02)
    room.voice.is_held = True
    for stream in range(MANY - 1):
        guest.speak(stream, speech(0.1))
    await settle()
    room.clock.advance(0.02)
    guest.speak(MANY - 1, speech(0.1))
    await settle()
    assert [len(call) for call in scores(room)[-2:]] == [MANY - 1, 1]
    return room, guest


async def each_has_its_segment(room: Room, guest: Guest) -> None:
    room.voice.is_held = False
    room.voice.release()
    for stream in range(MANY):
        guest.speak(stream, quiet(1.0))
        guest.say(Close(stream=stream))
    while len(guest.told(Closed)) < MANY:  # ticks keep a millisecond apart
        room.clock.advance(0.02)
        await asyncio.sleep(0.001)
    assert sorted(segment.stream for segment in guest.told(Segment)) == list(range(MANY))


def test_many_streams_do_not_wait_for_the_answer_before_the_next_call(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await with_two_calls_under_way(registry)
        room.clock.advance(0.02)
        before = len(scores(room))
        guest.speak(0, speech(0.1))  # whose windows are out
        await settle()
        assert len(scores(room)) == before  # two, and no more
        await each_has_its_segment(room, guest)

    run(scenario)


def test_more_streams_than_a_call_holds_take_turns(registry: Registry) -> None:
    async def scenario() -> None:
        count = MAX_WINDOWS  # of which each has three
        room = Room(registry, limits={"max_streams": count})
        guest = opened(room, count)
        for stream in range(count):
            guest.speak(stream, speech(0.1))
        room.voice.is_held = True
        await settle()
        assert [sum(call) for call in scores(room)] == [MAX_WINDOWS] * 2
        room.voice.release()
        await settle()
        assert [sum(call) for call in scores(room)] == [MAX_WINDOWS] * 3

    run(scenario)


def test_of_two_calls_that_a_worker_died_over_both_are_sent_again_in_their_order(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room, guest = await with_two_calls_under_way(registry)
        lost = scores(room)[-2:]
        room.voice.release(WorkerDied("dead"))
        room.voice.enter(ModelState.STARTING)
        await settle()
        room.voice.enter(ModelState.READY)
        await settle()
        assert scores(room)[-1] == lost[0]  # by itself: it may end this worker too
        room.voice.release()
        await settle()
        assert scores(room)[-1] == lost[1]
        await each_has_its_segment(room, guest)
        assert not guest.told(Error)

    run(scenario)


def test_the_call_behind_the_guilty_one_is_not_blamed(registry: Registry) -> None:
    """Two workers die over the first of two calls: it is looked at stream by stream."""

    async def scenario() -> None:
        room, _ = await with_two_calls_under_way(registry)
        for _ in range(2):
            room.voice.release(WorkerDied("dead"))
            room.voice.enter(ModelState.STARTING)
            await settle()
            room.voice.enter(ModelState.READY)
            await settle()
        room.voice.is_held = False
        before = len(scores(room))
        room.voice.release()
        await settle()
        assert [len(call) for call in scores(room)[before - 1 :]] == [1] * MANY

    run(scenario)
