"""Turns of the inference lock, calls to workers, and what becomes of their answers."""

from collections.abc import Callable
from typing import Any

import pytest

from asrd.abilities import Abilities
from asrd.config import Pace
from asrd.errors import DecodeCancelled, ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.providers.supervisor import WorkerDied
from asrd.wire.messages import Cancel, Close, Closed, Error, Event, Partial, Segment, Unload
from support.room import ECHO, UTTERANCE, Guest, Room, quiet, run, settle, speech


def said(guest: Guest, stream: int | None = None) -> list[tuple[int, str]]:
    return [(segment.stream, segment.text) for segment in guest.told(Segment, stream)]


def decodes(room: Room) -> list[calls.Decode]:
    return [call for call in room.model.made if isinstance(call, calls.Decode)]


def test_one_decode_runs_at_a_time_and_the_rest_wait(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        for stream in range(4):
            guest.open(stream)
            guest.speak(stream, UTTERANCE)
        await settle()
        for count in (1, 2, 3, 4):
            assert len(decodes(room)) == count
            assert room.hub.scheduler.slots.running == 1
            assert room.hub.scheduler.waiting == 4 - count
            room.model.release()
            await settle()
        assert len(said(guest)) == 4
        assert room.hub.scheduler.slots.running == 0

    run(scenario)


def test_priority_decides_who_is_next_and_then_who_came_first(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        asked: list[dict[str, Any]] = [
            {"source": "blocker"},
            {"source": "file"},
            {"source": "system"},
            {"source": "mic"},
            {"source": "mic"},
            {"source": "file", "priority": 1},
            {"source": "mic", "priority": 10},
        ]
        for stream, fields in enumerate(asked):
            guest.open(stream, **fields)
            guest.speak(stream, UTTERANCE)
            await settle()
        for _ in asked:
            room.model.release()
            await settle()
        assert [stream for stream, _ in said(guest)] == [0, 3, 4, 5, 2, 1, 6]

    run(scenario)


def test_two_providers_do_not_wait_for_each_others_loading(registry: Registry) -> None:
    """A stream whose model is away keeps its place and holds up nobody."""

    async def scenario() -> None:
        room = Room(registry)
        other = ModelKey(provider="moonshine", model="tiny-en")
        away = room.put(other)
        guest = room.greeted()
        guest.open(0, provider="moonshine", priority=1)
        guest.open(1, priority=9)
        away.enter(ModelState.STARTING)
        guest.speak(0, UTTERANCE)
        guest.speak(1, UTTERANCE)
        await settle()
        assert [stream for stream, _ in said(guest)] == [1]
        away.enter(ModelState.READY)
        await settle()
        assert [stream for stream, _ in said(guest)] == [1, 0]

    run(scenario)


def test_what_was_asked_for_reaches_the_model(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0, language="de", task="translate", words=True, prompt="names")
        guest.speak(0, UTTERANCE)
        await settle()
        (call,) = decodes(room)
        (item,) = call.items
        asked = (item.language, item.task, item.words, item.prompt, item.is_partial)
        assert asked == ("de", "translate", True, "names", False)

    run(scenario)


def test_a_worker_that_dies_gets_the_utterance_once_more(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        room.model.enter(ModelState.STARTING)
        room.model.release(WorkerDied("dead"))
        await settle()
        assert len(decodes(room)) == 1  # nobody to give it to
        room.model.is_held = False
        room.model.enter(ModelState.READY)
        await settle()
        first, second = decodes(room)
        assert first.items == second.items
        assert len(said(guest)) == 1
        assert not guest.told(Error)

    run(scenario)


def test_audio_that_ends_two_workers_is_set_aside_and_the_stream_goes_on(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        guest.open(1)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        guest.speak(1, UTTERANCE)
        for _ in range(2):
            room.model.release(WorkerDied("dead"))
            await settle()
        room.model.is_held = False
        room.model.release()
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0), Close(stream=1))
        await settle()
        (error,) = guest.told(Error)
        assert (error.code, error.fatal, error.stream) == ("provider_failed", False, 0)
        (dropped,) = [event for event in guest.told(Event) if event.event == "dropped"]
        assert (dropped.stream, dropped.reason) == (0, "provider_failed")
        assert [segment.id for segment in guest.told(Segment, 0)] == [0]  # no gap in the ids
        assert len(said(guest, 1)) == 1
        (closed,) = guest.told(Closed, 0)
        assert (closed.segments, closed.reason) == (1, "client")
        assert closed.dropped_seconds == pytest.approx(1.2, abs=0.3)

    run(scenario)


def test_a_window_that_the_model_refuses_is_set_aside_at_once(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        room.model.release(ProviderError("not this one"))
        await settle()
        (error,) = guest.told(Error)
        assert (error.code, error.message) == ("provider_failed", "not this one")
        assert len(decodes(room)) == 1
        assert room.hub.scheduler.accounts.by_provider["echo"].failed == 1

    run(scenario)


def test_a_model_that_cannot_be_had_fails_what_waits_for_it(registry: Registry) -> None:
    """Nobody waits for ever."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        room.model.enter(ModelState.STARTING)
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0))
        await settle()
        assert not guest.told(Error)
        room.model.is_held = True
        room.model.enter(ModelState.UNAVAILABLE, "no more memory")
        room.model.release(ProviderError(room.model.problem))
        await settle()
        assert guest.told(Error)[0].message == "no more memory"
        assert guest.told(Closed)[0].segments == 0

    run(scenario)


def test_a_partial_is_read_while_somebody_speaks_and_a_final_goes_first(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, scheduling={"pace": Pace(idle_s=1.0)})
        guest = room.greeted()
        guest.open(0, partials=True)
        guest.speak(0, speech(1.5))
        await settle()
        assert [call.items[0].is_partial for call in decodes(room)] == [True]
        assert len(guest.told(Partial)) == 1
        room.model.is_held = True
        guest.speak(0, speech(1.1))  # another partial, held in the model
        await settle()
        guest.speak(0, quiet(0.6))  # which nobody needs any more
        await settle()
        room.model.is_held = False
        room.model.release()
        await settle()
        assert [call.items[0].is_partial for call in decodes(room)] == [True, True, False]
        assert len(guest.told(Partial)) == 1
        assert len(said(guest)) == 1

    run(scenario)


def test_the_answer_for_a_cancelled_stream_is_dropped_and_frees_the_lock(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        guest.say(Cancel(stream=0))
        guest.open(0)  # the number is free at once
        guest.speak(0, UTTERANCE)
        await settle()
        assert room.hub.scheduler.slots.running == 1
        room.model.is_held = False
        room.model.release()
        await settle()
        assert len(said(guest)) == 1
        assert room.hub.scheduler.slots.running == 0

    run(scenario)


def test_what_is_read_of_a_cancelled_stream_is_aborted_and_counts_as_nothing(
    registry: Registry,
) -> None:
    """The lock is free once the engine has answered, and not before."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        for stream in (0, 1):
            guest.open(stream)
            guest.speak(stream, UTTERANCE)
        await settle()
        guest.say(Cancel(stream=1))  # which only waits
        assert room.model.aborted == []
        guest.say(Cancel(stream=0))
        assert len(room.model.aborted) == 1
        guest.open(2)
        guest.speak(2, UTTERANCE)
        await settle()
        assert len(decodes(room)) == 1
        assert room.hub.scheduler.slots.running == 1
        room.model.is_held = False
        room.model.release(DecodeCancelled("nobody wants it"))
        await settle()
        assert [stream for stream, _ in said(guest)] == [2]
        assert room.hub.scheduler.slots.running == 0
        for tally in (
            room.hub.scheduler.accounts.by_provider["echo"],
            room.hub.scheduler.accounts.by_source["mic"],
        ):
            assert (tally.failed, tally.finals, tally.decoding, tally.waiting) == (0, 1, 0, 0)
        assert not guest.told(Error)

    run(scenario)


def test_a_stream_that_ends_by_itself_aborts_nothing(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0))
        await settle()
        assert guest.told(Closed)
        assert room.model.aborted == []

    run(scenario)


def test_streams_that_move_on_keep_their_place_and_segments_name_who_read_them(
    registry: Registry,
) -> None:
    """What is under way when its provider gets a rest is read to its end, by that provider."""

    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        other = room.put(ModelKey(provider="moonshine", model="tiny-en"))
        guest = room.greeted()
        room.model.is_held = True
        for stream in (0, 1):
            guest.open(stream)
            guest.speak(stream, UTTERANCE)
            await settle()
        tallies = room.hub.scheduler.accounts.by_provider
        assert (tallies["echo"].decoding, tallies["echo"].waiting) == (1, 1)
        room.open_breaker("echo")
        assert (tallies["echo"].decoding, tallies["echo"].waiting) == (1, 0)
        assert tallies["moonshine"].waiting == 1
        assert not other.made  # the lock is held
        guest.speak(0, UTTERANCE)
        room.model.release()
        await settle()
        read = [(segment.stream, segment.id, segment.provider) for segment in guest.told(Segment)]
        assert read == [(0, 0, "echo"), (1, 0, "moonshine"), (0, 1, "moonshine")]
        assert len(decodes(room)) == 1
        kinds = [
            (type(message).__name__, getattr(message, "event", ""))
            for message in guest.messages
            if getattr(message, "stream", None) == 0
        ]
        assert kinds.index(("Event", "degraded")) < kinds.index(("Segment", ""))

    run(scenario)


def test_an_utterance_whose_worker_died_for_the_last_time_is_read_by_the_fallback(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(ModelKey(provider="moonshine", model="tiny-en"))
        guest = room.greeted()
        guest.open(0)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        room.model.enter(ModelState.STARTING)
        room.model.release(WorkerDied("dead"))
        await settle()
        assert not guest.told(Segment)  # the restart is waited for
        room.model.enter(ModelState.UNAVAILABLE, "it does not come back")
        await settle()
        (segment,) = guest.told(Segment)
        assert (segment.id, segment.provider, segment.model) == (0, "moonshine", "tiny-en")
        assert not guest.told(Error)

    run(scenario)


@pytest.mark.parametrize(
    "begin",
    [
        lambda guest: guest.speak(0, UTTERANCE),
        lambda guest: (guest.speak(0, UTTERANCE), guest.say(Close(stream=0))),
    ],
    ids=["open", "closing"],
)
def test_an_unloaded_model_is_loaded_again_by_the_streams_that_need_it(
    registry: Registry, begin: Callable[[Guest], object]
) -> None:
    """With a real worker: unloading ends it, and an open stream's speech brings another."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        await settle()
        guest.say(Unload())
        await settle()
        assert ECHO not in room.hub.pool.residents
        try:
            begin(guest)
            while not said(guest):
                await settle()
            assert room.hub.pool.resident(ECHO).pid is not None
        finally:
            await room.hub.stop()

    run(scenario)


def test_a_stream_in_the_queue_has_its_unloaded_model_loaded_again(registry: Registry) -> None:
    """Nothing happens to it any more that could ask for the load: it waits behind another."""

    async def scenario() -> None:
        room = Room(registry)
        other = room.put(ModelKey(provider="moonshine", model="tiny-en"))
        other.is_held = True
        guest = room.greeted()
        guest.open(0, provider="moonshine")
        guest.open(1)
        for stream in (0, 1):
            guest.speak(stream, UTTERANCE)
            await settle()
        guest.say(Unload())
        await settle()
        other.release()
        try:
            while len(said(guest)) < 2:
                await settle()
        finally:
            await room.hub.stop()

    run(scenario)


def test_a_stream_that_waits_while_its_model_is_unloaded_is_not_left_waiting(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        guest.open(1)
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        guest.speak(1, UTTERANCE)
        await settle()
        guest.say(Unload())
        await settle()
        room.model.release(WorkerDied("unloaded"))
        try:
            while len(said(guest)) < 2:
                await settle()
        finally:
            await room.hub.stop()

    run(scenario)


def test_the_queue_is_looked_through_once_for_all_that_changed_and_not_for_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        decoding, looks = room.hub.decoding, []
        monkeypatch.setattr(room.hub.scheduler, "next_batch", lambda: looks.append(1))
        with decoding.together():
            pass
        assert len(looks) == 0
        with decoding.together(), decoding.together():
            decoding.pump()
            decoding.pump()
            assert len(looks) == 0
        assert len(looks) == 1
        with decoding.together():
            pass
        assert len(looks) == 1

    run(scenario)


def test_a_window_is_of_the_shape_of_the_model_that_reads_it(registry: Registry) -> None:
    """Though the stream asked for it when its model was one that is fed, and says no more."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.abilities = Abilities(feed_s=1.0)
        guest.open(1)
        await settle()
        room.model.enter(ModelState.STARTING)
        guest.speak(1, UTTERANCE)
        guest.say(Close(stream=1))
        await settle()
        room.model.abilities = Abilities()
        room.model.enter(ModelState.READY)
        await settle()
        assert [item.feeding for call in decodes(room) for item in call.items] == [None]
        assert len(said(guest)) == 1
        assert guest.told(Closed)

    run(scenario)


def test_an_utterance_is_fed_bit_by_bit_and_begun_anew_where_the_worker_knows_nothing_of_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.abilities = Abilities(feed_s=1.0)
        room.model.is_held = True
        guest.open(1, partials=True)
        guest.speak(1, speech(1.5))
        await settle()
        room.model.release()
        await settle()
        guest.speak(1, speech(1.0))
        await settle()
        forgotten = calls.NotRead(kind="forgotten", message="never heard of it")
        room.model.release(answer=calls.Decoded(id=2, outcomes=[forgotten], decode_s=0.0))
        await settle()
        guest.speak(1, quiet(0.6))
        await settle()
        while room.hub.scheduler.slots.running:
            room.model.release()
            await settle()
        parts = [(item.feeding, len(item.audio) // 4) for (item,) in map(_items, decodes(room))]
        numbers = [part.utterance for part, _ in parts if part is not None]
        assert numbers[0] == numbers[1] != numbers[2]
        assert [part.is_first for part, _ in parts if part is not None][:3] == [True, False, True]
        assert parts[-1][0] is not None
        assert parts[-1][0].is_last
        again = sum(samples for part, samples in parts[2:])
        assert again >= 2.5 * 16_000  # from the first sample on
        assert len(said(guest)) == 1

    run(scenario)


def _items(call: calls.Decode) -> list[calls.Item]:
    return call.items
