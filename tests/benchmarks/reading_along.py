"""Sessions that speak in real time and want to read along once a second."""

import asyncio
import contextlib
import math
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import EndpointRule
from asrd.wire import messages as wire
from benchmarks.common import Span, dense_speech, frames, percentile
from benchmarks.crowd import Crowd, Feed

UTTERANCE_S = 3.5
PARTIAL_S = 1.0
WARM_UP_S = 3.0
LAST_DUE_S = UTTERANCE_S - 0.1
GIVEN_UP_S = 5.0
CARRIED = (*range(2, 14), *range(14, 40, 2), 40, 44, 48, 56, 64, 80, 96, 120)
PRE_ROLL_S = EndpointRule(silence=1).pre_roll / SAMPLE_RATE


def most_carried(
    path: Path, first: int, seconds: float, *, has_finals: bool
) -> tuple[int, dict[int, float]]:
    """The most sessions of `CARRIED` with a p95 below a second, and the p95 of all that were tried.

    Strides grow until the limit is between two tries, then it is sought by bisection. What fails
    has a second chance, because a noisy moment is no limit.
    """
    seen: dict[int, float] = {}
    low, high = -1, len(CARRIED)
    place, stride = bisect_left(CARRIED, first), 1
    while high - low > 1:
        count = CARRIED[place]
        for _ in range(2):
            p95_s = asyncio.run(reading_along_p95_s(path, count, seconds, has_finals=has_finals))
            seen[count] = min(p95_s, seen.get(count, p95_s))
            if p95_s < 1.0:
                break
        low, high = (place, high) if seen[count] < 1.0 else (low, place)
        if low >= 0 and high < len(CARRIED):
            place = (low + high) // 2
        else:
            place = min(place + stride, high - 1) if low >= 0 else max(place - stride, 0)
            stride *= 2
    return (CARRIED[low] if low >= 0 else 0), seen


async def reading_along_p95_s(path: Path, count: int, seconds: float, *, has_finals: bool) -> float:
    """Have so many sessions speak on and on, each a partial a second; p95 of how late text came.

    A partial is due when a second of audio has been sent beyond what the one before covers; it is
    late by the time from then until it came.
    """
    how = _flush_and_go_on if has_finals else _speak_anew
    speaking = partial(how, count=count, seconds=WARM_UP_S + seconds)
    spoken = await sessions(path, count, speaking)
    return percentile([late_s for feeds in spoken for late_s in _reading_along_s(feeds)], 0.95)


async def _flush_and_go_on(crowd: Crowd, at: int, *, count: int, seconds: float) -> list[Feed]:
    await asyncio.sleep(at / count * UTTERANCE_S)  # sessions do not speak in step
    feed = await crowd.open(0, source="mic", endpointing_ms=5000)
    while feed.sent_s < seconds:
        await feed.play(frames(dense_speech(UTTERANCE_S)), UTTERANCE_S)
        feed.flush()
    await feed.end(wire.Close(stream=0))
    return [feed]


async def _speak_anew(crowd: Crowd, at: int, *, count: int, seconds: float) -> list[Feed]:
    await asyncio.sleep(at / count * UTTERANCE_S)
    feeds, retiring = [], []
    for number in range(math.ceil(seconds / UTTERANCE_S)):
        feed = await crowd.open(number, source="mic", endpointing_ms=5000)
        await feed.play(frames(dense_speech(UTTERANCE_S)), UTTERANCE_S)
        retiring.append(asyncio.create_task(_retire(feed)))
        feeds.append(feed)
    await asyncio.gather(*retiring)
    return feeds


async def _retire(feed: Feed) -> None:
    """Cancel a stream that has had all that it may expect, or waits in vain."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GIVEN_UP_S):
            end_s = 0.0
            while end_s + PARTIAL_S <= LAST_DUE_S:
                end_s = (await feed.wait_for(wire.Partial))[1].end
    await feed.end(wire.Cancel(stream=feed.number))


def _reading_along_s(feeds: Sequence[Feed]) -> list[float]:
    """For each partial of a session that was due, how late it came."""
    late_s: list[float] = []
    before_s = 0.0  # what the session had said before this stream
    for feed in feeds:
        texts: dict[int, list[tuple[float, wire.Partial | wire.Segment]]] = {}
        for at_s, message in feed.arrivals:
            if isinstance(message, wire.Partial | wire.Segment):
                texts.setdefault(message.id, []).append((at_s, message))
        if not texts:
            late_s.append(math.inf)
        for told in texts.values():
            for due_s, came_s in _due(told):
                sent_s = feed.sent_at_s(due_s)
                if before_s + due_s > WARM_UP_S and sent_s is not None:
                    late_s.append(came_s - sent_s)
        before_s += feed.sent_s
    return late_s


def _due(told: list[tuple[float, wire.Partial | wire.Segment]]) -> Iterator[Span]:
    """Of each partial of an utterance: where in the stream it was due, and when it came.

    It is due a second behind what the one before covers; the segment stands for one that was due
    when the utterance ended. What never came did so at the end of time.
    """
    start_s = told[0][1].start
    began_s = start_s // UTTERANCE_S * UTTERANCE_S
    due_s = max(began_s, start_s - PRE_ROLL_S) + PARTIAL_S
    for came_s, message in told:
        if due_s > began_s + LAST_DUE_S:
            return
        yield due_s, came_s
        if isinstance(message, wire.Segment):
            return
        due_s = message.end + PARTIAL_S
    if due_s <= began_s + LAST_DUE_S:
        yield due_s, math.inf


async def sessions(
    path: Path, count: int, speak: Callable[[Crowd, int], Coroutine[None, None, list[Feed]]]
) -> list[list[Feed]]:
    """Have so many sessions speak, each with a connection of its own; their streams."""
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(Crowd.at(path)) for _ in range(count)]
        return await asyncio.gather(*(speak(crowd, at) for at, crowd in enumerate(crowds)))
