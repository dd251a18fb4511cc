"""Each stream as it is told to those who may know of it, and to nobody else."""

import os
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.scheduler.ladder import Step
from asrd.server.streams_report import (
    MAX_MODEL_BYTES,
    MAX_NAME_BYTES,
    MAX_STREAMS_TOLD,
    StreamsTold,
    tell_streams,
)
from asrd.wire.codec import MAX_FRAME_BYTES, encode
from asrd.wire.messages import Close, GetStats, Segment, Stats, Welcome
from asrd.wire.reports import StreamStats
from support.room import UTTERANCE, Guest, Room, quiet, run, settle, speech

OWN, OURS, THEIRS = os.geteuid(), 40_001, 40_002


def told(room: Room, uid: int = OWN) -> StreamsTold:
    return tell_streams(room.hub, room.sessions, uid)


def only(room: Room) -> StreamStats:
    (stream,) = told(room).streams
    return stream


def test_who_does_not_ask_is_told_no_streams(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(7)
        guest.say(GetStats(), GetStats(streams=True))
        without, with_streams = guest.told(Stats)
        assert (without.streams, without.streams_left_out) == (msgspec.UNSET, msgspec.UNSET)
        assert with_streams.streams_left_out == 0
        (stream,) = with_streams.streams or []
        assert stream.stream == 7

    run(scenario)


def test_what_a_stream_is_and_has_done(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted(client="a recorder")
        guest.open(2**40, source="system", priority=3)
        guest.speak(2**40, UTTERANCE)
        await settle()
        stream = only(room)
        assert len(guest.told(Segment)) == 1
        assert stream.delay_ms is not None
        assert stream == StreamStats(
            session=guest.told(Welcome)[0].session,
            client="a recorder",
            stream=2**40,
            source="system",
            priority=3,
            delivery="live",
            provider="echo",
            model="echo",
            state="silent",
            audio_dbfs=-120.0,
            audio_s=1.6,
            uncommitted_s=stream.uncommitted_s,
            segments=1,
            delay_ms=stream.delay_ms,
        )
        assert stream.uncommitted_s == pytest.approx(0.28)  # silence behind the post-roll
        assert guest.told(Welcome)[0].resume not in repr(stream)

    run(scenario)


def test_what_a_stream_does_from_its_beginning_to_its_end(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.STARTING)
        guest = room.greeted()
        guest.open(1)
        await settle()
        assert (only(room).state, only(room).audio_dbfs) == ("opening", None)
        room.model.enter(ModelState.READY)
        await settle()
        assert only(room).state == "silent"
        guest.speak(1, speech(1.0))
        await settle()
        assert only(room).state == "speaking"
        assert only(room).audio_dbfs == pytest.approx(-10.3, abs=0.1)
        assert only(room).uncommitted_s == pytest.approx(1.0, abs=0.2)
        room.model.is_held = True
        guest.open(2)
        guest.speak(1, quiet(0.6))
        await settle()
        guest.speak(2, UTTERANCE)
        await settle()
        reading, waiting = told(room).streams
        assert (reading.state, waiting.state) == ("decoding", "waiting")
        assert reading.backlog_s == 0
        assert waiting.backlog_s == pytest.approx(1.2, abs=0.2)
        guest.say(Close(stream=2))
        await settle()
        assert told(room).streams[1].state == "waiting"
        room.model.is_held = False
        room.model.release()
        await settle()
        assert [stream.stream for stream in told(room).streams] == [1]

    run(scenario)


def test_a_stream_is_on_the_rung_that_it_feels(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        await settle()
        (served,) = room.hub.all_streams
        assert only(room).level == 0
        served.told_steps = frozenset({Step.LONGER_CHUNKS, Step.FEWER_PARTIALS})
        assert only(room).level == 2
        served.told_steps = frozenset()
        served.key = ModelKey(provider="other", model="smaller")
        served.relief = (served.key,)
        assert (only(room).level, only(room).model) == (2, "smaller")
        served.relief = ()
        assert (only(room).level, only(room).provider) == (4, "other")

    run(scenario)


def test_a_session_without_a_client_is_told_as_such_and_by_its_newest_name(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted(client="before")
        guest.open(1)
        await settle()
        token = guest.told(Welcome)[0].resume
        guest.peer.lost()
        assert (only(room).is_connected, only(room).client) == (False, "before")
        room.greeted(client="after", resume=token, have={})
        assert (only(room).is_connected, only(room).client) == (True, "after")

    run(scenario)


@pytest.mark.parametrize(
    ("uid", "seen"),
    [(OWN, {1, 2}), (0, {1, 2}), (OURS, {1}), (THEIRS, {2}), (40_003, set())],
)
def test_users_see_their_own_streams_and_the_daemons_user_and_root_see_all(
    registry: Registry, uid: int, seen: set[int]
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        for number, owner in enumerate((OURS, THEIRS), start=1):
            guest = Guest(room, uid=owner)
            guest.hello()
            guest.open(number)
        asker = Guest(room, uid=uid)
        asker.hello()
        asker.say(GetStats(streams=True))
        (stats,) = asker.told(Stats)
        assert isinstance(stats.streams, list)
        assert {stream.stream for stream in stats.streams} == seen
        assert stats.streams_left_out == 0

    run(scenario)


def crowd(room: Room, count: int, **fields: Any) -> Guest:
    guest = room.greeted(client=fields.pop("client", "crowd"))
    for number in range(count):
        guest.open(number, priority=10 if number % 2 else 1, **fields)
    return guest


def test_of_too_many_the_least_urgent_are_left_out_and_counted(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 2 * MAX_STREAMS_TOLD})
        crowd(room, MAX_STREAMS_TOLD + 100)
        found = told(room)
        assert (len(found.streams), found.left_out) == (MAX_STREAMS_TOLD, 100)
        urgent = (MAX_STREAMS_TOLD + 100) // 2
        assert [stream.priority for stream in found.streams].count(1) == urgent

    run(scenario)


def test_an_answer_with_the_longest_names_is_no_longer_than_a_frame(registry: Registry) -> None:
    """And costs little of the loop's time: 10 ms where this was measured, however slow this is."""

    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": MAX_STREAMS_TOLD})
        guest = crowd(room, MAX_STREAMS_TOLD, client="大" * 512, source="é" * 64)
        guest.speak(1, UTTERANCE)
        await settle()
        for served in room.hub.all_streams:
            served.key = replace(served.key, model="m" * 512)
        begun_s = time.perf_counter()
        found = told(room)
        took_s = time.perf_counter() - begun_s
        size = len(encode(room.reporter.stats(found)))
        assert MAX_FRAME_BYTES / 3 < size < MAX_FRAME_BYTES
        assert len(found.streams) == MAX_STREAMS_TOLD
        for stream in found.streams:
            assert stream.client == "大" * (MAX_NAME_BYTES // 3)
            assert stream.source == "é" * (MAX_NAME_BYTES // 2)
            assert stream.model == "m" * MAX_MODEL_BYTES
        assert took_s < 0.2

    run(scenario)
