"""What a break, a refusal or an end means for one stream. Whole sequences of them: `resumption`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asrd.client.course import Course
from asrd.client.errors import ConnectionLost, Refused, StreamEnded
from asrd.client.recovery import Recovery
from asrd.errors import ErrorCode
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Credit,
    Error,
    Flush,
    Flushed,
    Open,
    Opened,
)
from support.fake_daemon import closed, refusal, segment

CHUNK_BYTES = 2**16
LOST = ConnectionLost("it is gone for good")
RECOVERY = Recovery(first_wait_s=2.0, jitter=0.0, max_attempts=3, held_live_s=1.0)


class Scene:
    """A course, what it says, and the timers it sets, which go off when the test says so."""

    def __init__(self, recovery: Recovery = RECOVERY, **asked: Any) -> None:
        self.said: list[ClientMessage] = []
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self._loop = asyncio.get_running_loop()
        self._call_later = self._loop.call_later
        self._loop.call_later = self._held  # type: ignore[method-assign, assignment]
        self.course = Course(Open(stream=1, **asked), self, recovery, lambda: 0.5)

    def send_nowait(self, message: ClientMessage) -> None:
        self.said.append(message)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def _held(self, delay_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        handle = self._call_later(1000, callback)

        def go_off() -> None:
            if not handle.cancelled():
                callback()

        self.timers.append((delay_s, go_off))
        return handle

    @classmethod
    async def opened(cls, credit: int | None = None, **fields: Any) -> "Scene":
        """One that is open; live without credit."""
        scene = cls(**fields)
        scene.course.connected({}, CHUNK_BYTES)
        await scene.open(credit)
        scene.said.clear()
        return scene

    async def open(self, credit: int | None = None) -> None:
        await self.course.deliver(opened(credit))

    async def hear(self, code: str, **fields: Any) -> Error:
        error = refusal(code, stream=1, **fields)
        await self.course.deliver(error)
        return error

    async def say(self, samples: int) -> None:
        self.course.outgoing.append(bytes(2 * samples))
        await self.course.speaker.say()

    async def break_off(self, known: dict[int, int] | None = None) -> None:
        """The connection breaks, and another one is there."""
        self.course.disconnected()
        self.said.clear()
        self.course.connected(known or {}, CHUNK_BYTES)
        await settle()

    @property
    def spans(self) -> list[tuple[int | None, int]]:
        return [(each.offset, len(each.data) // 2) for each in self.said if isinstance(each, Audio)]


def opened(credit: int | None) -> Opened:
    return Opened(
        stream=1,
        provider="fake",
        model="none",
        priority=5,
        delivery="live" if credit is None else "lossless",
        credit=credit,
    )


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(whole())


# ── opening ───────────────────────────────────────────────────────────────────────────────────


def test_it_is_open_when_the_daemon_says_so() -> None:
    async def scenario() -> None:
        scene = Scene(delivery="lossless")
        waiting = asyncio.create_task(scene.course.until_opened())
        await settle()
        was_asked_for = [scene.course.was_asked_for]
        scene.course.connected({}, CHUNK_BYTES)
        assert scene.said == [Open(stream=1, delivery="lossless")]
        assert [*was_asked_for, scene.course.was_asked_for] == [False, True]
        await settle()
        assert not waiting.done()
        await scene.open(credit=500)
        await waiting
        assert scene.course.opened.credit == 500
        assert scene.course.outgoing.room_samples == 500

    run(scenario)


@pytest.mark.parametrize("code", [ErrorCode.BUSY, ErrorCode.PROVIDER_UNAVAILABLE])
def test_a_refusal_of_the_first_opening_is_told_at_once(code: ErrorCode) -> None:
    """Also one that would pass: whoever opens it may choose another provider."""

    async def scenario() -> None:
        scene = Scene()
        scene.course.connected({}, CHUNK_BYTES)
        await scene.hear(code, retry_after_ms=1000)
        with pytest.raises(Refused) as told:
            await scene.course.until_opened()
        assert told.value.code == code
        assert scene.course.is_ended
        assert scene.timers == []

    run(scenario)


def test_who_waits_for_the_opening_learns_that_nobody_seeks_a_daemon_any_more() -> None:
    async def scenario() -> None:
        scene = Scene()
        waiting = asyncio.create_task(scene.course.until_opened())
        await settle()
        scene.course.fail(LOST)
        with pytest.raises(ConnectionLost) as told:
            await waiting
        assert told.value is LOST

    run(scenario)


# ── a daemon that cannot have it now ──────────────────────────────────────────────────────────


def test_a_stream_that_was_open_is_opened_again_after_ever_longer_waits() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.break_off()
        for wait_s in (2.0, 4.0):
            await scene.hear(ErrorCode.BUSY)
            delay_s, go_off = scene.timers.pop()
            assert delay_s == wait_s
            scene.said.clear()
            go_off()
            await settle()
            assert scene.said == [Open(stream=1)]
        await scene.hear(ErrorCode.PROVIDER_UNAVAILABLE, retry_after_ms=30_000)
        ((delay_s, _),) = scene.timers
        assert delay_s == 30.0  # as the daemon asked
        assert not scene.course.is_ended
        await scene.hear(ErrorCode.BUSY)
        with pytest.raises(Refused):
            scene.course.raise_if_over()

    run(scenario)


def test_an_opening_that_succeeds_begins_the_waits_anew() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        for _ in range(5):
            await scene.break_off()
            await scene.hear(ErrorCode.BUSY)
            delay_s, go_off = scene.timers.pop()
            assert delay_s == 2.0
            go_off()
            await scene.open()
        assert not scene.course.is_ended

    run(scenario)


def test_an_attempt_that_waits_is_forgotten_with_its_connection() -> None:
    """Else the stream would be opened twice on the next one."""

    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.break_off()
        await scene.hear(ErrorCode.BUSY)
        await scene.break_off()
        assert scene.said == [Open(stream=1)]
        for _, go_off in scene.timers:
            go_off()
        await settle()
        assert scene.said == [Open(stream=1)]

    run(scenario)


def test_what_will_not_pass_ends_the_stream_with_its_reason() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(50)
        await scene.break_off()
        await scene.hear(ErrorCode.UNKNOWN_PROVIDER)
        with pytest.raises(Refused) as told:
            await scene.course.inbox.get()
        assert told.value.code == ErrorCode.UNKNOWN_PROVIDER
        held = scene.course.outgoing.held
        assert held.start == held.end == 50  # nothing is held for nobody

    run(scenario)


# ── errors of an open stream ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [ErrorCode.RATE_LIMITED, ErrorCode.BUSY])
def test_an_error_of_an_open_stream_is_one_of_its_events(code: ErrorCode) -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        error = await scene.hear(code)
        assert await scene.course.inbox.get() == error
        assert not scene.course.is_ended

    run(scenario)


def test_that_a_stream_is_unknown_is_no_news_where_all_was_said_again() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.break_off(known={1: 0})
        await scene.hear(ErrorCode.UNKNOWN_STREAM)
        assert len(scene.course.inbox) == 0

    run(scenario)


# ── a break ───────────────────────────────────────────────────────────────────────────────────


def test_on_a_daemon_that_knows_it_audio_goes_on_at_the_later_commit() -> None:
    async def scenario() -> None:
        for ours, theirs in ((100, 300), (300, 100)):
            scene = await Scene.opened()
            await scene.say(500)
            await scene.course.deliver(Ack(stream=1, offset=ours))
            await scene.break_off(known={1: theirs})
            assert scene.spans == [(300, 200)]
            await scene.course.stop()

    run(scenario)


def test_on_a_daemon_that_does_not_know_it_it_is_opened_at_our_commit() -> None:
    async def scenario() -> None:
        scene = await Scene.opened(source="mic")
        await scene.say(500)
        await scene.course.deliver(segment(number=0, offset=120))
        await scene.break_off(known={2: 400})
        assert scene.said[0] == Open(stream=1, source="mic", start_offset=120, start_id=1)
        assert scene.spans == [(120, 380)]
        assert scene.course.last_id == 0

    run(scenario)


def test_a_flush_without_an_answer_is_said_again_and_told_once() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(100)
        due = scene.course.outgoing.flush()
        await scene.course.speaker.say()
        await scene.break_off(known={1: 0})
        assert [each for each in scene.said if isinstance(each, Flush)] == [Flush(stream=1)]
        for _ in range(2):  # that of before the break comes, too
            await scene.course.deliver(Flushed(stream=1, offset=100))
        assert due.answer == Flushed(stream=1, offset=100)
        assert len(scene.course.inbox) == 1

    run(scenario)


def test_credit_is_never_lowered_by_what_comes_late() -> None:
    async def scenario() -> None:
        scene = await Scene.opened(credit=100)
        await scene.course.deliver(Credit(stream=1, offset=300))
        await scene.course.deliver(Credit(stream=1, offset=200))
        assert scene.course.outgoing.room_samples == 300
        live = await Scene.opened()
        await live.course.deliver(Credit(stream=1, offset=300))
        assert live.course.outgoing.credit is None

    run(scenario)


def test_live_streams_hold_the_last_of_their_audio_and_lossless_ones_all() -> None:
    async def scenario() -> None:
        live = await Scene.opened(sample_rate=8000)
        assert live.course.outgoing.limit_samples == 8000
        lossless = await Scene.opened(credit=100)
        assert lossless.course.outgoing.limit_samples is None

    run(scenario)


@pytest.mark.parametrize("credit", [None, 100])
def test_without_recovery_nothing_is_held(credit: int | None) -> None:
    async def scenario() -> None:
        scene = await Scene.opened(credit, recovery=Recovery.none())
        assert scene.course.outgoing.limit_samples == 0

    run(scenario)


# ── failing and coming back ───────────────────────────────────────────────────────────────────


def test_a_failure_is_told_and_forgotten_when_a_daemon_is_sought_again() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        scene.course.disconnected()
        scene.course.fail(LOST)
        with pytest.raises(ConnectionLost):
            scene.course.raise_if_over()
        with pytest.raises(ConnectionLost):
            await scene.course.inbox.get()
        assert not scene.course.is_ended
        scene.course.revive()
        scene.course.raise_if_over()
        reading = asyncio.create_task(scene.course.inbox.get())
        await settle()
        scene.course.connected({1: 0}, CHUNK_BYTES)
        await scene.course.deliver(segment())
        assert await reading == segment()

    run(scenario)


def test_what_has_ended_neither_fails_nor_comes_back() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        end = closed(reason="error", segments=0)
        await scene.course.deliver(end)
        scene.course.fail(LOST)
        scene.course.revive()
        assert await scene.course.inbox.get() == end
        with pytest.raises(StreamEnded) as told:
            await scene.course.inbox.get()
        assert told.value.reason == "error"

    run(scenario)


# ── the end ───────────────────────────────────────────────────────────────────────────────────


def test_the_end_forgets_all_audio_and_wakes_who_waits() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(100)
        waiting = asyncio.create_task(scene.course.changed.wait())
        await settle()
        await scene.course.deliver(closed(reason="error", offset=60, segments=0))
        await waiting
        held = scene.course.outgoing.held
        assert held.start == held.end == 100
        with pytest.raises(StreamEnded):
            scene.course.raise_if_over()
        await scene.break_off()
        assert scene.said == []

    run(scenario)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_cancel_is_the_daemons_affair_while_there_is_one(is_connected: bool) -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.course.deliver(segment(offset=16_000))
        if not is_connected:
            scene.course.disconnected()
        scene.course.cancel()
        scene.course.speaker.say_nowait()
        assert scene.said == [Cancel(stream=1)] * is_connected
        assert scene.course.is_ended != is_connected
        if is_connected:
            await scene.course.deliver(closed(reason="cancelled"))
        assert scene.course.closed is not None
        assert scene.course.closed.reason == "cancelled"

    run(scenario)


def test_a_cancel_that_no_daemon_has_answered_ends_it_where_the_next_does_not_know_it() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        scene.course.cancel()
        scene.course.speaker.say_nowait()
        await scene.break_off()
        assert scene.said == []
        assert scene.course.is_ended

    run(scenario)


@pytest.mark.parametrize(
    ("asked", "offset", "reason"),
    [
        ("nothing", 100, None),
        ("close", 60, None),
        ("close", 100, "client"),
        ("cancel", 60, "cancelled"),
    ],
)
def test_a_daemon_that_ends_takes_along_only_what_is_finished(
    asked: str, offset: int, reason: str | None
) -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(100)
        scene.course.outgoing.is_closing = asked == "close"
        if asked == "cancel":
            scene.course.cancel()
        scene.course.speaker.say_nowait()
        await scene.course.deliver(closed(reason="shutdown", offset=offset, segments=0))
        assert scene.course.is_ended == (reason is not None)
        if reason is not None:
            end = await scene.course.inbox.get()
            assert isinstance(end, Closed)
            assert end.reason == reason
            return
        assert len(scene.course.inbox) == 0
        await scene.break_off()
        assert scene.said[0] == Open(stream=1, start_offset=offset)
        assert scene.spans == ([(offset, 100 - offset)] if offset < 100 else [])
        assert (Close(stream=1) in scene.said) == (asked == "close")

    run(scenario)


def test_without_recovery_the_daemons_end_is_the_streams() -> None:
    async def scenario() -> None:
        scene = await Scene.opened(recovery=Recovery.none())
        await scene.course.deliver(closed(reason="shutdown"))
        assert await scene.course.inbox.get() == closed(reason="shutdown")
        assert scene.course.is_ended

    run(scenario)


def test_giving_up_tells_the_daemon_and_raises_nothing() -> None:
    async def scenario() -> None:
        scene = await Scene.opened(recovery=Recovery.none())
        scene.course.give_up()
        assert scene.said == [Cancel(stream=1)]

        def broken(message: ClientMessage) -> None:
            raise LOST

        other = await Scene.opened(recovery=Recovery.none())
        other.send_nowait = broken  # type: ignore[method-assign]
        other.course.give_up()

    run(scenario)


def test_what_nobody_will_read_holds_nobody_up() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        scene.course.abandon()
        for number in range(5000):
            await scene.course.deliver(segment(number=number))
        assert len(scene.course.inbox) == 0
        assert scene.course.last_id == 4999

    run(scenario)
