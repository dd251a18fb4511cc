"""Microphone beside too much system audio, on Moonshine: `python -m benchmarks.mixed` in `tests/`.

One microphone stream speaks in short phrases with pauses. First it is alone; then as many streams
of system audio play beside it as it takes for their finals alone to ask for `--load` seconds of
decode time per second, by what a second of that recording was seen to cost just before. Partials
are wanted on every stream, so what is really asked for is more. Everything is sent in pieces of
100 ms, each when it would have been recorded.

A final's latency is what lies beyond its endpoint: from the moment when the piece went out that
completed the trailing silence until the segment came.
"""

import argparse
import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.wire import messages as wire
from benchmarks.common import (
    Samples,
    Span,
    daemon,
    frames,
    median,
    percentile,
    row,
    speech,
    unaccounted,
    utterances,
)
from benchmarks.crowd import Crowd, Feed, Watch

ENDPOINT_S = -(-SAMPLE_RATE // 2 // WINDOW_SAMPLES) * WINDOW_SAMPLES / SAMPLE_RATE
"""Half a second, in whole windows of the detector."""
PAUSE_S = 0.7
PHRASE_S = 1.0, 3.2
FILLING_S = 8.0
"""So long the overload lasts before the microphone's finals count."""
STREAMS_OF_A_SESSION = 40
MAX_STREAMS = 240
CALIBRATION_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of the daemon while it was overloaded."""

    stats: list[wire.Stats]
    busy: str
    lag_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", type=float, default=50.0, help="seconds of the first part")
    parser.add_argument("--seconds", type=float, default=70.0, help="of the second part")
    parser.add_argument("--load", type=float, default=2.0)
    parser.add_argument("--no-partials", action="store_true", help="of system audio")
    options = parser.parse_args()
    with daemon("--provider", "moonshine") as path:
        asyncio.run(_measure(path, options))


async def _measure(path: Path, options: argparse.Namespace) -> None:
    recording = speech()
    async with Crowd.at(path) as crowd, AsyncExitStack() as stack:
        watch = Watch(await crowd.ask(wire.GetHealth(), wire.Health))
        cost = await _cost(crowd, recording)
        count = min(MAX_STREAMS, round(options.load / cost))
        phrases = frames(_phrases(recording))
        alone = await crowd.open(1, source="mic")
        await alone.play(phrases, options.alone)
        await alone.end(wire.Close(stream=1))
        mic = await crowd.open(2, source="mic")
        feeds = await _open_system(path, stack, count, partials=not options.no_partials)
        seen = await _overload(
            crowd, mic, feeds, frames(recording), phrases, watch, options.seconds
        )
        closed = await asyncio.gather(
            mic.end(wire.Close(stream=mic.number)),
            *(feed.end(wire.Close(stream=feed.number)) for feed in feeds),
        )
    _report(alone, mic, feeds, closed, seen, cost)
    _report_spans(feeds, recording)


async def _cost(crowd: Crowd, recording: Samples) -> float:
    """Decode time that a second of the recording takes, silence included, as finals alone."""
    for _ in range(CALIBRATION_ROUNDS):
        before = await crowd.ask(wire.GetStats(), wire.Stats)
        feed = await crowd.open(1000, source="file", partials=False)
        await feed.pour(frames(recording), len(recording) / SAMPLE_RATE)
        await feed.end(wire.Close(stream=1000))
        after = await crowd.ask(wire.GetStats(), wire.Stats)
    took_s = float(after.counters["decode_s"] - before.counters["decode_s"])
    return took_s / feed.sent_s


def _phrases(recording: Samples) -> Samples:
    """Short utterances with pauses between them that end each."""
    silence = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    cut = [window for _, window in utterances(recording, silence_s=0.25)]
    shortest, longest = (round(length_s * SAMPLE_RATE) for length_s in PHRASE_S)
    chosen = [window for window in cut if shortest <= len(window) <= longest]
    return np.concatenate([part for window in chosen for part in (window, silence)])


async def _open_system(
    path: Path, stack: AsyncExitStack, count: int, *, partials: bool
) -> list[Feed]:
    feeds = []
    for number in range(count):
        if number % STREAMS_OF_A_SESSION == 0:
            session = await stack.enter_async_context(Crowd.at(path))
        feeds.append(await session.open(number, source="system", partials=partials))
    return feeds


async def _overload(
    crowd: Crowd,
    mic: Feed,
    feeds: list[Feed],
    recording: list[bytes],
    phrases: list[bytes],
    watch: Watch,
    seconds: float,
) -> Seen:
    stats: list[wire.Stats] = []

    async def look() -> None:
        while True:
            stats.append(await crowd.ask(wire.GetStats(), wire.Stats))
            await asyncio.sleep(1.0)

    looking = asyncio.create_task(look())
    watch.restart()
    step = len(recording) / len(feeds)
    await asyncio.gather(
        mic.play(phrases, seconds),
        *(feed.play(recording, seconds, round(at * step)) for at, feed in enumerate(feeds)),
    )
    looking.cancel()
    stats.append(await crowd.ask(wire.GetStats(), wire.Stats))
    lag_s = max(feed.lag_s for feed in (mic, *feeds))
    return Seen(stats=stats, busy=watch.busy(), lag_s=lag_s)


# ── what came of it ───────────────────────────────────────────────────────────────────────────


def _report(
    alone: Feed,
    mic: Feed,
    feeds: list[Feed],
    closed: list[wire.Closed],
    seen: Seen,
    cost: float,
) -> None:
    first, second = _latencies_s(alone), _latencies_s(mic, after_s=FILLING_S)
    last = seen.stats[-1]
    decode_s = last.queues["source:system"]["decode_ms"]["p95"] / 1000
    alone_s, loaded_s = percentile(first, 0.95), percentile(second, 0.95)
    slower = _per_second(last, "system") / _per_second(last, "file")
    row("cost of a second of system audio, alone", f"{cost * 1000:.1f} ms")
    row("streams of system audio", f"{len(feeds)}")
    row("their load in finals: as planned", f"{cost * len(feeds):.2f}")
    row("  by what decodes took under load", f"{cost * len(feeds) * slower:.2f}")
    row("  with partials, as the daemon reckons: at most", f"{max(map(_load, seen.stats)):.2f}")
    row(f"mic finals alone ({len(first)}): p50, p95", _ms(median(first), alone_s))
    row(f"mic finals under load ({len(second)}): p50, p95", _ms(median(second), loaded_s))
    row("one decode in flight: p95 of system decodes", _ms(decode_s))
    aim_s = 2.0 * alone_s + decode_s
    row("mic p95 under load", _ms(loaded_s), f"at most {_ms(aim_s)}", is_met=loaded_s <= aim_s)
    row("  over mic p95 alone", f"{loaded_s / alone_s:.2f} times")
    lost_s = closed[0].dropped_seconds
    row("mic seconds dropped", f"{lost_s:.3f}", "0", is_met=lost_s == 0)
    told = [sum(end - start for start, end in feed.dropped()) for feed in feeds]
    counted = [each.dropped_seconds for each in closed[1:]]
    sent_s = sum(feed.sent_s for feed in feeds)
    row("system seconds sent", f"{sent_s:.0f}")
    row("  dropped, as events told", f"{sum(told):.2f}")
    row("  dropped, as `closed` counted", f"{sum(counted):.2f}")
    furthest_s = max(abs(a - b) for a, b in zip(told, counted, strict=True))
    is_same = furthest_s < 0.001
    row("  furthest apart in any stream", f"{furthest_s:.4f} s", "0", is_met=is_same)
    partials = len(mic.of(wire.Partial)), sum(len(feed.of(wire.Partial)) for feed in feeds)
    finals = len(mic.of(wire.Segment)), sum(len(feed.of(wire.Segment)) for feed in feeds)
    row("finals: mic, system", f"{finals[0]}, {finals[1]}")
    row("partials: mic, system", f"{partials[0]}, {partials[1]}")
    row("highest rung of the ladder", f"{max(each.level for each in seen.stats)}")
    for (name, event, action), times in sorted(_steps([mic], "mic") + _steps(feeds, "system")):
        row(f"  {name} {event}: {action}", f"{times}")
    errors = [message.code for feed in (mic, *feeds) for _, message in feed.of(wire.Error)]
    row("errors", ", ".join(sorted(set(errors))) or "none")
    row("the generator's latest piece", f"{seen.lag_s * 1000:.0f} ms late")
    print(f"of one core each: {seen.busy}")


def _report_spans(feeds: list[Feed], recording: Samples) -> None:
    """Every utterance of system audio became text or was told as dropped."""
    length_s = len(frames(recording)) / 10
    spoken = [
        (found.speech_start / SAMPLE_RATE, found.speech_end / SAMPLE_RATE)
        for found, _ in utterances(recording)
    ]
    missing, count = 0, 0
    for at, feed in enumerate(feeds):
        offset_s = round(at * length_s * 10 / len(feeds)) / 10
        laps = range(2 + int(feed.sent_s / length_s))
        places = [(lap * length_s - offset_s, span) for lap in laps for span in spoken]
        moved: list[Span] = [(begin + start, begin + end) for begin, (start, end) in places]
        heard = [(start, end) for start, end in moved if start >= 0 and end <= feed.sent_s]
        count += len(heard)
        missing += len(unaccounted(heard, feed.read() + feed.dropped()))
    row("utterances of system audio sent", f"{count}")
    row("  neither read nor told as dropped", f"{missing}", "0", is_met=missing == 0)


def _latencies_s(feed: Feed, after_s: float = 0.0) -> list[float]:
    """Of each final that silence ended: from the piece that completed its endpoint on."""
    completed = [
        (at_s, feed.sent_at_s(segment.end + ENDPOINT_S))
        for at_s, segment in feed.of(wire.Segment)
        if segment.end >= after_s
    ]
    return [at_s - sent_s for at_s, sent_s in completed if sent_s is not None]


def _per_second(stats: wire.Stats, source: str) -> float:
    """Decode time per second of audio that a source had read."""
    queue = stats.queues[f"source:{source}"]
    return float(queue["decode_s"] / queue["audio_s"])


def _load(stats: wire.Stats) -> float:
    return max((group["load"] for group in stats.groups.values()), default=0.0)


def _steps(feeds: list[Feed], name: str) -> list[tuple[tuple[str, str, str], int]]:
    """Steps of the ladder that were told, and to how many."""
    told = Counter(
        (name, f"{event.event} to level {event.level}", str(event.action))
        for feed in feeds
        for _, event in feed.of(wire.Event)
        if event.event in ("degraded", "restored")
    )
    return list(told.items())


def _ms(*seconds: float) -> str:
    return ", ".join(f"{each * 1000:.0f}" for each in seconds) + " ms"


if __name__ == "__main__":
    main()
