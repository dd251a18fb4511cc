"""Windows of many sessions in one call, and one call that ends for another."""

from typing import Any

import pytest

from asrd.abilities import Abilities
from asrd.errors import DecodeCancelled, ProviderError
from asrd.providers import calls
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.providers.supervisor import WorkerDied, WorkerStopped
from asrd.transcript import Hypothesis
from asrd.wire.messages import Cancel, Error, Event, GetStats, Segment, Stats
from support.room import ECHO, UTTERANCE, Guest, Room, StubResident, quiet, run, settle, speech


def able(room: Room, **abilities: Any) -> StubResident:
    """The model of the room, with these abilities."""
    room.model.abilities = Abilities(**abilities)
    room.model.on_change()
    for count in (1, 2, 4, 8):  # the price of windows is known, and falls
        for context_s in (4.0, 30.0):
            lane = (ECHO, (context_s, False, False, None))
            room.hub.scheduler.costs.note(lane, count, 4.0 * count, 0.01 * count**0.5)
    return room.model


def sizes(model: StubResident) -> list[int]:
    """Windows in each decode so far."""
    return [len(call.items) for call in model.made if isinstance(call, calls.Decode)]


def said(guest: Guest, stream: int) -> list[str]:
    return [segment.text for segment in guest.told(Segment, stream)]


async def crowd(room: Room, streams: int, **fields: Any) -> list[Guest]:
    """So many sessions, each with one stream and an utterance that waits, but for the first."""
    guests = []
    room.model.is_held = True
    for _ in range(streams):
        guest = room.greeted()
        guest.open(0, **fields)
        guest.speak(0, UTTERANCE)
        await settle()
        guests.append(guest)
    return guests


def test_what_waits_for_a_model_is_read_together_and_answered_to_each(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)
        guests = await crowd(room, 6)
        model.release()
        await settle()
        model.release()
        await settle()
        assert sizes(model) == [1, 5]
        assert all(len(said(guest, 0)) == 1 for guest in guests)
        guests[0].say(GetStats())
        (stats,) = guests[0].told(Stats)
        assert stats.queues["provider:echo"]["batches"] == {"1": 1, "5": 1}
        assert stats.counters["calls"] == 2

    run(scenario)


def test_only_windows_of_one_context_are_read_together(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8, final_contexts_s=(4.0, 30.0))
        await crowd(room, 1)
        for words, text in ((False, UTTERANCE), (False, UTTERANCE), (True, UTTERANCE)):
            guest = room.greeted()
            guest.open(0, words=words)
            guest.speak(0, text)
        long = room.greeted()
        long.open(0)
        long.speak(0, UTTERANCE[:32_000] * 5 + UTTERANCE)
        await settle()
        for _ in range(4):
            model.release()
            await settle()
        assert sorted(sizes(model)) == [1, 1, 1, 2]

    run(scenario)


def test_a_bad_window_fails_alone(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)

        def answer(call: calls.AnyCall) -> calls.AnyAnswer:
            assert isinstance(call, calls.Decode)
            outcomes: list[calls.Read | calls.NotRead] = [
                calls.NotRead(kind="request", message="no such language")
                if item.language == "xx"
                else calls.Read(hypothesis=Hypothesis(text="well"))
                for item in call.items
            ]
            return calls.Decoded(id=call.id, outcomes=outcomes, decode_s=0.01)

        model._answer = answer
        guests = await crowd(room, 2)
        bad = room.greeted()
        bad.open(0, language="xx")
        bad.speak(0, UTTERANCE)
        await settle()
        for _ in range(2):
            model.release()
            await settle()
        assert sizes(model) == [1, 2]
        assert [said(guest, 0) for guest in guests] == [["well"], ["well"]]
        assert bad.told(Error)[0].message == "no such language"
        assert [event.reason for event in bad.told(Event) if event.event == "dropped"] == [
            "provider_failed"
        ]

    run(scenario)


def test_windows_that_were_read_together_when_their_worker_died_are_read_one_by_one(
    registry: Registry,
) -> None:
    """Whose fault it was is found out; the innocent lose nothing."""

    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)
        guests = await crowd(room, 4)
        bad = room.greeted()
        bad.open(0)
        bad.speak(0, speech(2.0) + quiet(0.6))  # of another length than theirs
        await settle()
        usual = len(model.made[0].items[0].audio)  # type: ignore[union-attr]
        deaths = 0
        while room.hub.scheduler.slots.running:
            call = model.made[-1]
            assert isinstance(call, calls.Decode)
            if any(len(item.audio) != usual for item in call.items):
                deaths += 1
                model.enter(ModelState.STARTING)
                model.release(WorkerDied("dead"))
                await settle()
                model.enter(ModelState.READY)
            else:
                model.release()
            await settle()
        assert deaths == 3  # all together, then twice by itself
        assert sizes(model)[1] == 4
        assert [len(said(guest, 0)) for guest in guests] == [1, 1, 1, 1]
        assert not any(guest.told(Error) for guest in guests)
        assert [error.code for error in bad.told(Error)] == ["provider_failed"]

    run(scenario)


def test_a_death_that_strikes_two_calls_at_once_condemns_neither(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, scheduling={"slots": 2})
        room.model = room.put(room.hub.resolve("echo", None))  # with settings for two at a time
        model = able(room, decodes_at_once=2)
        guests = await crowd(room, 2)
        assert sizes(model) == [1, 1]
        model.enter(ModelState.STARTING)
        model.release(WorkerDied("dead"))
        await settle()
        model.enter(ModelState.READY)
        await settle()
        assert sizes(model) == [1, 1, 1]  # one by one now, though there are two slots
        model.enter(ModelState.STARTING)
        model.release(WorkerDied("dead"))
        await settle()
        assert not any(guest.told(Error) for guest in guests)
        model.is_held = False
        model.enter(ModelState.READY)
        await settle()
        assert all(len(said(guest, 0)) == 1 for guest in guests)
        assert room.hub.scheduler.waiting == room.hub.scheduler.slots.running == 0

    run(scenario)


def test_an_unloaded_model_is_nobodys_fault_in_a_batch_either(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)
        guests = await crowd(room, 3)
        model.release()
        await settle()
        for _ in range(3):
            model.release(WorkerStopped("was unloaded"))
            await settle()
        assert sizes(model)[1:] == [2, 2, 2, 2]
        model.release()
        await settle()
        assert all(len(said(guest, 0)) == 1 for guest in guests)

    run(scenario)


def test_a_call_that_fails_as_a_whole_fails_for_each(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)
        guests = await crowd(room, 3)
        model.release()
        await settle()
        model.release(ProviderError("the engine is broken"))
        await settle()
        assert [len(guest.told(Error)) for guest in guests] == [0, 1, 1]
        assert room.hub.scheduler.accounts.total.failed == 2

    run(scenario)


def test_a_batch_is_aborted_when_the_last_of_its_streams_has_ended(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, max_batch=8)
        guests = await crowd(room, 3)
        model.release()
        await settle()
        guests[1].say(Cancel(stream=0))
        assert not model.aborted
        guests[2].say(Cancel(stream=0))
        assert len(model.aborted) == 1
        model.release(DecodeCancelled("nobody wants it"))
        await settle()
        total = room.hub.scheduler.accounts.total
        assert (total.failed, total.aborted, total.decoding) == (0, 0, 0)

    run(scenario)


def test_a_call_that_cannot_be_made_gives_its_slot_back(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        bad, good = room.greeted(), room.greeted()
        make_call = room.model.call

        def call(*arguments: Any) -> Any:
            monkeypatch.setattr(room.model, "call", make_call)
            raise MemoryError("no room for the frame")

        monkeypatch.setattr(room.model, "call", call)
        for guest in (bad, good):
            guest.open(0)
            guest.speak(0, UTTERANCE)
            await settle()
        assert "could not be sent" in bad.told(Error)[0].message
        assert len(said(good, 0)) == 1
        assert room.hub.scheduler.slots.running == 0

    run(scenario)


def test_an_answer_of_the_wrong_length_fails_each_window(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model._answer = lambda call: calls.Decoded(id=call.id, outcomes=[], decode_s=0.0)
        guest = room.greeted()
        guest.open(0)
        guest.speak(0, UTTERANCE)
        await settle()
        assert [error.code for error in guest.told(Error)] == ["provider_failed"]
        assert room.hub.scheduler.slots.running == 0

    run(scenario)


# ── preemption ────────────────────────────────────────────────────────────────────────────────


def test_a_microphone_final_ends_background_work_which_is_done_after_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, can_abort=True)
        (background,) = await crowd(room, 1, source="file", priority=6)
        mic = room.greeted()
        mic.open(0, source="mic")
        mic.speak(0, UTTERANCE)
        await settle()
        assert len(model.aborted) == 1
        model.release(DecodeCancelled("something is more urgent"))
        await settle()
        model.release()
        await settle()
        assert said(mic, 0)
        assert not said(background, 0)
        mic.speak(0, UTTERANCE)
        await settle()
        assert len(model.aborted) == 1  # not twice in a row
        for _ in range(2):
            model.release()
            await settle()
        assert said(background, 0)
        assert len(said(mic, 0)) == 2
        assert not background.told(Error)
        assert room.hub.scheduler.accounts.of_source("file").aborted == 1

    run(scenario)


def test_an_abort_that_comes_too_late_yields_the_text(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        model = able(room, can_abort=True)
        (background,) = await crowd(room, 1, source="file", priority=10)
        mic = room.greeted()
        mic.open(0, source="mic")
        mic.speak(0, UTTERANCE)
        await settle()
        assert len(model.aborted) == 1
        model.release()
        await settle()
        model.release()
        await settle()
        assert len(said(background, 0)) == len(said(mic, 0)) == 1

    run(scenario)
