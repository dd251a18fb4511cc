"""Ends of a stream that are none: what a client makes of them, message by message.

Beside `test_course`: a daemon that ends it too early, and one that does not hear that it is over.
"""

import pytest

from asrd.errors import ErrorCode
from asrd.wire.messages import Cancel, Close, Open
from client.test_course import Scene, run, settle
from support.fake_daemon import closed, segment


@pytest.mark.parametrize("reason", ["shutdown", "client", "error", "idle"])
def test_an_end_ahead_of_segments_that_never_came_moves_no_commit(reason: str) -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(500)
        await scene.course.deliver(segment(number=0, offset=100))
        await scene.course.deliver(closed(reason=reason, offset=500, segments=5))
        assert not scene.course.is_ended
        assert scene.course.history.committed == 100
        await scene.break_off()
        assert scene.said[0] == Open(stream=1, start_offset=100, start_id=1)
        assert scene.spans == [(100, 400)]
        await scene.course.stop()

    run(scenario)


def test_segments_are_counted_from_the_newest_opening() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(500)
        await scene.course.deliver(segment(number=0, offset=100))
        await scene.break_off()
        await scene.open()
        await scene.course.deliver(segment(number=1, offset=200))
        scene.course.outgoing.is_closing = True
        await scene.course.deliver(closed(offset=500, segments=1))
        assert scene.course.is_ended

    run(scenario)


def test_an_end_that_was_not_asked_for_is_none() -> None:
    """A relay that half-closes first makes the daemon believe that our input has ended."""

    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(500)
        await scene.course.deliver(closed(offset=300))
        assert not scene.course.is_ended
        assert len(scene.course.inbox) == 0
        scene.said.clear()
        ((delay_s, go_off),) = scene.timers  # the connection may last
        assert delay_s == 2.0
        go_off()
        await settle()
        assert scene.said[0] == Open(stream=1, start_offset=300)
        assert scene.spans == [(300, 200)]
        await scene.course.stop()

    run(scenario)


def test_an_end_that_was_asked_for_counts_only_behind_all_audio() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.say(500)
        scene.course.outgoing.is_closing = True
        await scene.course.deliver(closed(offset=300))
        assert not scene.course.is_ended
        await scene.break_off()
        assert scene.said[-1] == Close(stream=1)
        await scene.course.deliver(closed(offset=500))
        assert scene.course.is_ended

    run(scenario)


def test_audio_that_comes_behind_the_end_of_a_stream_is_nobodys_business() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        await scene.hear(ErrorCode.UNKNOWN_STREAM)
        await scene.course.deliver(closed(reason="shutdown", offset=0))
        await scene.hear(ErrorCode.UNKNOWN_STREAM)
        assert len(scene.course.inbox) == 0
        assert not scene.course.is_ended

    run(scenario)


def test_a_cancel_is_said_until_a_daemon_has_answered_it() -> None:
    async def scenario() -> None:
        scene = await Scene.opened()
        scene.course.disconnected()
        scene.course.cancel()
        assert scene.course.is_ended
        assert not scene.course.is_gone
        for _ in range(3):
            await scene.break_off(known={1: 0})
            assert scene.said == [Cancel(stream=1)]
            assert not scene.course.is_gone
        await scene.course.deliver(closed(reason="cancelled"))
        assert len(scene.course.inbox) == 1  # told once
        assert scene.course.is_gone

    run(scenario)


def test_a_cancel_is_no_more_said_once_no_daemon_knows_the_stream() -> None:
    async def scenario() -> None:
        for is_forgotten in (True, False):
            scene = await Scene.opened()
            scene.course.disconnected()
            scene.course.cancel()
            await scene.break_off(known={} if is_forgotten else {1: 0})
            if not is_forgotten:
                await scene.hear(ErrorCode.UNKNOWN_STREAM)
            assert scene.course.is_gone

    run(scenario)


def test_no_pump_is_started_for_what_may_not_be_said() -> None:
    async def scenario() -> None:
        scene = await Scene.opened(credit=10_000)
        await scene.say(100)
        scene.course.outgoing.flush()
        await scene.say(100)  # held back behind the flush
        scene.course.speaker.say_soon()
        assert scene.course.speaker._pump is None
        assert scene.spans == [(0, 100)]
        scene.course.cancel()
        scene.course.speaker.say_nowait()
        scene.course.speaker.say_soon()
        assert scene.course.speaker._pump is None

    run(scenario)
