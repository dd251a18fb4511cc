"""The line that each stream leaves in the log, whatever became of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.abilities import Abilities
from asrd.errors import ErrorCode, ProviderError
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.session.endpoint import EndpointRule
from asrd.wire.messages import Audio, Cancel, Close, Error, Partial, Segment
from support.room import UTTERANCE, Guest, Room, quiet, run, settle, speech

OPERATIONS = Path(__file__).parents[2] / "daemon" / "OPERATIONS.md"

KEPT_APART = ("event", "log_level")

EDGE_S = EndpointRule(silence=0).post_roll / 16_000
"""What belongs to an utterance before the speech in it, where there is so much, and behind it."""

OTHER = ModelKey(provider="moonshine", model="tiny-en")


def records(lines: Any, event: str = "stream_ended") -> list[Any]:
    return [line for line in lines if line["event"] == event]


def test_the_line_of_a_stream_says_all_that_it_came_to(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.guest()
        token = guest.hello(client="a client").resume
        guest.open(1, partials=True)
        room.clock.advance(2.0)
        guest.speak(1, speech(3.0))
        await settle()
        room.model.is_held = True
        guest.speak(1, speech(1.0) + quiet(0.7))
        await settle()
        room.clock.advance(0.5)
        room.model.is_held = False
        room.model.release()
        await settle()
        (segment,) = guest.told(Segment)
        assert len(guest.told(Partial)) == 1
        guest.say(Audio(stream=1, data=quiet(0.1), offset=10 * 16_000))  # behind a gap
        guest.say(Audio(stream=1, data=bytes(2**16 + 2), offset=11 * 16_000))
        guest.say(Audio(stream=1, data=bytes(2**16 + 2), offset=11 * 16_000))
        guest.peer.lost()
        room.clock.advance(1.0)
        back = room.guest()
        back.hello(resume=token, client="a client")
        with capture_logs() as lines:
            back.say(Close(stream=1))
            await settle()
        (line,) = records(lines)
        told = {key: line[key] for key in line if key not in KEPT_APART}
        delay_ms = told.pop("final_delay_p50_ms")
        assert delay_ms == told.pop("final_delay_max_ms")
        assert 900 <= delay_ms <= 1300  # half a second of silence, and of waiting
        assert told == {
            "session": "s1",
            "stream": 1,
            "source": "mic",
            "model": "echo/echo",
            "client": "a client",
            "priority": 1,
            "delivery": "live",
            "reason": "client",
            "open_s": 3.5,
            "audio_s": 4.8,
            "speech_s": pytest.approx(segment.end - segment.start + EDGE_S, abs=1e-3),
            "segments": 1,
            "partials": 1,
            "decodes": 3,  # two of partials; the second kept the final waiting
            "decodes_failed": 0,
            "decodes_put_back": 0,
            "decode_s": 0.5,
            "real_time_factor": told["real_time_factor"],
            "queue_wait_mean_ms": 166.7,
            "queue_wait_max_ms": 500.0,
            "dropped_s": 0.0,
            "gaps": 1,
            "resumes": 1,
            "moves": 0,
            "worst_level": 0,
            "errors": {"chunk_too_large": 2},
        }
        documented = OPERATIONS.read_text()
        assert [key for key in line if key not in KEPT_APART and f"`{key}`" not in documented] == []
        assert 0.05 <= told["real_time_factor"] <= 0.1

    run(scenario)


def test_speech_counts_whoever_read_it(registry: Registry) -> None:
    """Also what was read at a pause already, and what a model was fed bit by bit."""

    async def scenario(feed_s: float | None) -> None:
        room = Room(registry)
        room.model.abilities = Abilities(feed_s=feed_s)
        guest = room.greeted()
        guest.open(1, partials=True)
        for piece in (speech(3.0), quiet(0.3), quiet(0.4), speech(2.0), quiet(0.7)):
            guest.speak(1, piece)
            await settle()
        segments = guest.told(Segment)
        with capture_logs() as lines:
            guest.say(Close(stream=1))
            await settle()
        (line,) = records(lines)
        assert len(segments) == 2
        spoken_s = sum(each.end - each.start for each in segments)
        assert 4.5 < spoken_s < 5.5
        assert line["speech_s"] == pytest.approx(spoken_s + 3 * EDGE_S, abs=1e-3)

    run(lambda: scenario(None))
    run(lambda: scenario(0.5))


def test_another_that_wants_its_number_leaves_no_error_in_the_record_of_a_stream(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(1)
        guest.open(1)
        guest.open(1, provider="nobody")
        assert [each.code for each in guest.told(Error)] == ["stream_exists", "unknown_provider"]
        with capture_logs() as lines:
            guest.say(Cancel(stream=1))
            await settle()
        (line,) = records(lines)
        assert "errors" not in line

    run(scenario)


def test_what_failed_moved_and_was_dropped_is_counted(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, fallback=("moonshine",), limits={"live_backlog_s": 3.0})
        room.put(OTHER)
        guest = room.greeted()
        guest.open(1, source="system")
        room.model.is_held = True
        guest.speak(1, UTTERANCE)
        await settle()
        room.model.release(ProviderError("no"))
        for _ in range(4):
            guest.speak(1, UTTERANCE)
            await settle()
        room.open_breaker("echo")
        with capture_logs() as lines:
            guest.say(Cancel(stream=1))
            await settle()
        (line,) = records(lines)
        assert line["reason"] == "cancelled"
        assert line["decodes_failed"] == 1
        assert line["errors"] == {"provider_failed": 1}
        assert (line["moves"], line["worst_level"], line["model"]) == (1, 4, str(OTHER))
        assert set(line["dropped"]) == {"provider_failed", "backlog"}
        assert line["dropped_s"] == pytest.approx(sum(line["dropped"].values()))
        assert "final_delay_p50_ms" not in line

    run(scenario)


def refused(room: Room, guest: Guest) -> None:
    guest.open(1, provider="nobody")


def refused_late(room: Room, guest: Guest) -> None:
    slow = room.put(OTHER, ModelState.STARTING)
    guest.open(1, provider="moonshine")
    slow.enter(ModelState.UNAVAILABLE, "no memory")


def cut_off(room: Room, guest: Guest) -> None:
    guest.open(1)
    (served,) = room.hub.all_streams
    room.hub.cut_off(served, ErrorCode.PROVIDER_FAILED, "a problem")


def cancelled_while_it_loads(room: Room, guest: Guest) -> None:
    slow = room.put(OTHER, ModelState.STARTING)
    guest.open(1, provider="moonshine")
    guest.say(Cancel(stream=1))
    slow.enter(ModelState.UNAVAILABLE, "no memory")


def forgotten(room: Room, guest: Guest) -> None:
    guest.open(1)
    guest.peer.lost()
    room.clock.advance(1000.0)
    room.sessions.expire()


@pytest.mark.parametrize(
    ("end", "event", "reason"),
    [
        (refused, "stream_refused", "unknown_provider"),
        (refused_late, "stream_refused", "provider_unavailable"),
        (cut_off, "stream_ended", "error"),
        (cancelled_while_it_loads, "stream_ended", "cancelled"),
        (forgotten, "stream_ended", "idle"),
    ],
)
def test_whatever_becomes_of_a_stream_it_leaves_one_line(
    registry: Registry, end: Callable[[Room, Guest], None], event: str, reason: str
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted(client="a client")
        with capture_logs() as lines:
            end(room, guest)
            await settle()
        (line,) = records(lines, "stream_ended") + records(lines, "stream_refused")
        assert line["event"] == event
        assert line.get("reason", line.get("code")) == reason
        assert (line["session"], line["stream"], line["client"]) == ("s1", 1, "a client")
        if event == "stream_ended":
            assert line.get("errors", {}) == dict.fromkeys(
                [error.code for error in guest.told(Error)], 1
            )

    run(scenario)
