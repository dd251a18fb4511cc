"""Streams opened, moved on and ended, one step at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.errors import ErrorCode, ProtocolError, ProviderError
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server.served import ServedStream
from asrd.wire.messages import Audio, Cancel, Close, Closed, Error, Event, Opened, Segment
from support.room import ECHO, UTTERANCE, Guest, Room, quiet, run, settle, speech

OTHER = ModelKey(provider="moonshine", model="tiny-en")


def test_a_stream_whose_model_is_ready_is_opened_at_once(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(5, source="file")
        (opened,) = guest.told(Opened)
        assert (opened.stream, opened.provider, opened.model) == (5, "echo", "echo")
        assert (opened.priority, opened.delivery) == (5, "lossless")

    run(scenario)


@pytest.mark.parametrize("which", ["model", "voice"])
def test_a_stream_whose_model_still_loads_is_opened_when_it_is_ready(
    registry: Registry, which: str
) -> None:
    """What is said to it meanwhile is kept."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        stub = getattr(room, which)
        stub.enter(ModelState.STARTING)
        guest.open(0)
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0))
        await settle()
        assert not guest.told(Opened)
        stub.enter(ModelState.READY)
        await settle()
        kinds = [type(message).__name__ for message in guest.messages]
        assert kinds.index("Opened") < kinds.index("Segment") < kinds.index("Closed")

    run(scenario)


def test_a_stream_whose_model_does_not_load_is_refused_and_its_number_free(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.enter(ModelState.STARTING)
        guest.open(0)
        guest.speak(0, UTTERANCE)
        room.model.enter(ModelState.UNAVAILABLE, "no memory")
        await settle()
        (error,) = guest.told(Error)
        assert (error.code, error.stream, error.fatal) == ("provider_unavailable", 0, False)
        assert error.message == "echo/echo does not load: no memory"
        assert room.hub.no_streams.is_set()
        room.model.enter(ModelState.READY)
        guest.open(0)
        guest.speak(0, UTTERANCE)
        await settle()
        assert len(guest.told(Segment)) == 1

    run(scenario)


def test_the_failed_load_of_a_cancelled_stream_does_not_touch_its_successor(
    registry: Registry,
) -> None:
    """The number is free at once, and another stream may bear it when the load fails at last."""

    async def scenario() -> None:
        room = Room(registry)
        slow = room.put(OTHER, ModelState.STARTING)
        guest = room.greeted()
        guest.open(0, provider="moonshine")
        guest.say(Cancel(stream=0))
        guest.open(0)
        slow.enter(ModelState.UNAVAILABLE, "no memory")
        await settle()
        assert not guest.told(Error)
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0))
        await settle()
        assert len(guest.told(Segment)) == 1
        assert [closed.reason for closed in guest.told(Closed)] == ["cancelled", "client"]

    run(scenario)


def test_a_load_that_fails_after_its_session_ended_disturbs_nobody(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        slow = room.put(OTHER, ModelState.STARTING)
        guest = room.greeted()
        guest.open(0, provider="moonshine")
        guest.peer.lost()
        room.clock.advance(1000)
        room.sessions.expire()
        with capture_logs() as lines:
            slow.enter(ModelState.UNAVAILABLE, "no memory")
            await settle()
        assert not [line for line in lines if line["event"] == "task_failed"]

    run(scenario)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"provider": "nobody"}, ErrorCode.UNKNOWN_PROVIDER),
        ({"provider": "echo", "model": "other"}, ErrorCode.PROVIDER_UNAVAILABLE),
        ({"provider": "moonshine", "model": "~nobody-of-this-name/x"}, "provider_unavailable"),
    ],
)
def test_what_cannot_be_had_is_refused_at_once(
    registry: Registry, asked: dict[str, Any], code: str
) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(0, **asked)
        (error,) = guest.told(Error)
        assert (error.code, error.stream) == (code, 0)
        guest.open(0)
        assert len(guest.told(Opened)) == 1

    run(scenario)


def test_while_it_drains_no_stream_is_opened(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.hub.is_draining = True
        guest.open(0)
        (error,) = guest.told(Error)
        assert (error.code, error.retry_after_ms) == ("draining", 1000)

    run(scenario)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda guest, room: guest.say(Close(stream=0)), "client"),
        (lambda guest, room: guest.say(Cancel(stream=0)), "cancelled"),
    ],
)
def test_a_stream_leaves_one_line_in_the_log_with_its_numbers(
    registry: Registry, end: Callable[[Guest, Room], None], reason: str
) -> None:
    """One, whatever still comes back for it."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0, source="file")
        guest.speak(0, UTTERANCE)
        await settle()
        room.model.is_held = True
        guest.speak(0, UTTERANCE)
        await settle()
        with capture_logs() as lines:
            end(guest, room)
            room.model.release()
            await settle()
        (line,) = [line for line in lines if line["event"] == "stream_ended"]
        assert line["reason"] == reason
        assert (line["session"], line["stream"], line["source"]) == ("s1", 0, "file")
        assert line["segments"] == (2 if reason == "client" else 1)
        assert line["audio_s"] == 3.2
        assert line["model"] == "echo/echo"

    run(scenario)


def test_the_last_stream_to_end_is_told_to_who_waits_for_it(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        for stream in (0, 1):
            guest.open(stream)
        guest.say(Close(stream=0))
        await settle()
        assert not room.hub.no_streams.is_set()
        guest.say(Close(stream=1))
        await settle()
        assert room.hub.no_streams.is_set()

    run(scenario)


def test_dropped_audio_is_counted_for_its_source(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_backlog_s": 2.0})
        guest = room.greeted()
        guest.open(0, source="system")
        room.model.is_held = True
        for _ in range(4):
            guest.speak(0, speech(1.0) + quiet(0.6))
            await settle()
        assert room.hub.scheduler.accounts.by_source["system"].dropped_s > 1

    run(scenario)


def test_an_engine_that_cannot_be_started_is_told_as_unavailable(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine has no process to give."""

    async def scenario() -> None:
        room = Room(registry)

        async def refuse() -> None:
            raise OSError(11, "Resource temporarily unavailable")

        room.model.state = ModelState.UNAVAILABLE
        monkeypatch.setattr(room.model, "ensure", refuse)
        with pytest.raises(ProtocolError, match="temporarily unavailable") as told:
            await room.hub.ensure(room.hub.resolve(None, None))
        assert told.value.code is ErrorCode.PROVIDER_UNAVAILABLE

    run(scenario)


@pytest.mark.parametrize("where", ["take_unscored", "scored", "end_decode", "begin_decode"])
def test_a_mistake_of_ours_costs_the_stream_that_it_struck(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It is told and closed; the others of the same tick go on, and so does their turn."""

    async def scenario() -> None:
        room = Room(registry)
        guest, other = room.greeted(), room.greeted()
        for one in (guest, other):
            one.open(0)
            one.open(1)
        struck = room.hub.streams_of(guest.peer._session)[0].stream  # type: ignore[arg-type]

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a mistake")

        monkeypatch.setattr(struck, where, fail)
        with capture_logs() as lines:
            for one in (guest, other):
                for stream in (0, 1):
                    one.speak(stream, UTTERANCE)
            await settle()
        assert [error.code for error in guest.told(Error)] == ["internal"]
        assert [closed.reason for closed in guest.told(Closed)] == ["error"]
        assert room.hub.scheduler.slots.running == 0
        assert [segment.stream for segment in guest.told(Segment)] == [1]
        assert sorted(segment.stream for segment in other.told(Segment)) == [0, 1]
        assert not other.told(Error)
        assert len([line for line in lines if line["event"] == "stream_failed"]) == 1

    run(scenario)


def test_a_stream_that_is_not_open_is_unknown(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.say(Close(stream=9))
        assert guest.told(Error)[0].code == "unknown_stream"

    run(scenario)


# ── fallback ──────────────────────────────────────────────────────────────────────────────────


def moves(guest: Guest, stream: int | None = None) -> list[tuple[str, Any, Any]]:
    told = [event for event in guest.told(Event, stream) if "speech" not in event.event]
    return [(event.event, event.level, event.action) for event in told]


AWAY = ("degraded", 4, "read by moonshine/tiny-en")
BACK = ("restored", 0, "read by echo/echo")


def test_open_streams_leave_a_provider_that_is_given_a_rest_and_come_back(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(OTHER)
        guest = room.greeted()
        guest.open(0)
        guest.open(1, provider="moonshine")
        tenancy = room.hub.pool.tenancy
        guest.speak(0, UTTERANCE)
        await settle()
        committed = guest.told(Segment)[-1].offset
        room.open_breaker("echo")
        assert moves(guest) == [AWAY]
        (event,) = [event for event in guest.told(Event) if event.event == "degraded"]
        assert (event.stream, event.at) == (0, round(committed / 16_000, 4))
        assert (tenancy.streams_on(ECHO), tenancy.streams_on(OTHER)) == (0, 2)
        guest.speak(0, UTTERANCE)
        await settle()
        await room.probe()
        assert moves(guest) == [AWAY, BACK]
        assert (tenancy.streams_on(ECHO), tenancy.streams_on(OTHER)) == (1, 1)
        guest.speak(0, UTTERANCE)
        guest.say(Close(stream=0), Close(stream=1))
        await settle()
        read = [(segment.id, segment.provider, segment.model) for segment in guest.told(Segment)]
        echo, moonshine = ("echo", "echo"), ("moonshine", "tiny-en")
        assert read == [(0, *echo), (1, *moonshine), (2, *echo)]
        assert not guest.told(Error)
        assert (tenancy.streams_on(ECHO), tenancy.streams_on(OTHER)) == (0, 0)

    run(scenario)


def test_a_probe_in_vain_leaves_streams_where_they_are_until_the_next(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(OTHER)
        guest = room.greeted()
        guest.open(0)
        room.open_breaker("echo")
        room.model.is_held = True
        await room.probe()
        room.model.release(ProviderError("still broken"))
        await settle()
        assert moves(guest) == [AWAY]
        room.model.is_held = False
        await room.probe()
        assert moves(guest) == [AWAY, BACK]

    run(scenario)


def test_without_a_fallback_streams_wait_for_the_first_probe(registry: Registry) -> None:
    """After one in vain, nobody can do more for them than to tell why."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        room.open_breaker("echo")
        guest.speak(0, UTTERANCE)
        await settle()
        assert not room.model.made
        room.model.is_held = True
        await room.probe()
        room.model.release(ProviderError("still broken"))
        await settle()
        room.model.release(ProviderError("still broken"))
        await settle()
        assert [error.message for error in guest.told(Error)] == ["still broken"]
        assert [event for event, *_ in moves(guest)] == ["dropped"]

    run(scenario)


def test_a_stream_opened_meanwhile_begins_with_the_fallback(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        other = room.put(OTHER, ModelState.STARTING)
        guest = room.greeted()
        room.open_breaker("echo")
        guest.open(0)
        await settle()
        assert not guest.told(Opened)  # it loads
        other.enter(ModelState.READY)
        await settle()
        guest.open(1)
        for stream in (0, 1):
            (opened,) = guest.told(Opened, stream)
            assert (opened.provider, opened.model) == ("moonshine", "tiny-en")
            assert moves(guest, stream) == [AWAY]
            told = [type(one) for one in guest.messages if getattr(one, "stream", None) == stream]
            assert told == [Opened, Event]
        await room.probe()
        assert moves(guest, 0) == moves(guest, 1) == [AWAY, BACK]

    run(scenario)


def test_a_model_that_is_not_here_is_passed_over(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(OTHER)
        guest = room.greeted()
        guest.open(0, provider="faster_whisper")
        assert guest.told(Opened)[0].provider == "moonshine"
        assert moves(guest) == [AWAY]
        guest.speak(0, UTTERANCE)
        await settle()
        assert guest.told(Segment)[0].provider == "moonshine"

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    run(scenario)


def test_a_load_that_fails_is_followed_by_the_next_of_the_chain(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        other = room.put(OTHER, ModelState.STARTING)
        guest = room.greeted()
        room.model.enter(ModelState.STARTING)
        guest.open(0)
        guest.speak(0, UTTERANCE)
        await settle()
        room.model.enter(ModelState.UNAVAILABLE, "no memory")
        await settle()
        assert other.begun == 1
        assert not guest.told(Error)
        other.enter(ModelState.READY)
        await settle()
        assert guest.told(Opened)[0].provider == "moonshine"
        assert moves(guest) == [AWAY]
        assert guest.told(Segment)[0].provider == "moonshine"

    run(scenario)


def test_a_stream_is_refused_when_all_of_its_chain_has_failed(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        other = room.put(OTHER, ModelState.STARTING)
        guest = room.greeted()
        room.model.enter(ModelState.STARTING)
        guest.open(0)
        await settle()
        room.model.enter(ModelState.UNAVAILABLE, "no memory")
        await settle()
        other.enter(ModelState.UNAVAILABLE, "no luck")
        await settle()
        (error,) = guest.told(Error)
        assert error.message == "moonshine/tiny-en does not load: no luck"
        assert not guest.told(Opened)
        assert not moves(guest)
        assert room.hub.no_streams.is_set()
        assert room.hub.pool.tenancy.streams_on(ECHO) == 0
        assert room.hub.pool.tenancy.streams_on(OTHER) == 0

    run(scenario)


def test_a_rest_that_begins_before_a_stream_is_open_moves_it_as_well(registry: Registry) -> None:
    """It waits for voice activity while its provider fails on the streams of others."""

    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(OTHER)
        guest = room.greeted()
        room.voice.enter(ModelState.STARTING)
        guest.open(0)
        room.open_breaker("echo")
        room.voice.enter(ModelState.READY)
        await settle()
        assert guest.told(Opened)[0].provider == "moonshine"
        assert moves(guest) == [AWAY]

    run(scenario)


# ── time ──────────────────────────────────────────────────────────────────────────────────────


def test_a_check_looks_after_workers_and_what_streams_had_to_leave(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",))
        room.put(OTHER)
        guest = room.greeted()
        guest.open(0)
        room.model.enter(ModelState.UNAVAILABLE, "it died too often")
        assert moves(guest) == [AWAY]
        begun = room.model.begun
        room.hub.check()
        assert room.model.checked_at_s == room.voice.checked_at_s == [room.clock.now_s()]
        assert room.model.begun == begun
        room.clock.advance(room.config.supervision.breaker_open_s)
        room.hub.check()
        assert room.model.begun == begun + 1
        room.model.enter(ModelState.READY)
        assert moves(guest) == [AWAY, BACK]

    run(scenario)


# ── what a chunk costs ────────────────────────────────────────────────────────────────────────


def test_audio_that_tells_nothing_leaves_the_queue_alone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        updated: list[ServedStream] = []
        monkeypatch.setattr(room.hub.decoding, "update", updated.append)
        guest.speak(0, speech(0.1))
        assert not updated
        guest.say(Audio(stream=0, data=speech(0.1), offset=16_000))
        assert [event.event for event in guest.told(Event)] == ["gap"]  # told at once
        assert len(updated) == 1

    run(scenario)
