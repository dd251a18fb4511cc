"""Ten times too much for a minute: `python -m benchmarks.overload` in `tests/`.

The engine is `echo`, which takes `--latency-ms` for each decode and nothing of the machine. Its
peak is measured with some streams that always have one utterance waiting. Then live streams speak
utterances of a third of a second without a pause between them, flushing each: so many streams that
they ask for `--factor` times the peak. A light probe, a microphone that speaks one such utterance
four times a second, runs before, meanwhile and afterwards. When the load ends its streams fall
silent and stay open for ten seconds, then they are cancelled.

All that was sent before a stream's commit must have become text or been told as dropped.
"""

import argparse
import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.wire import messages as wire
from benchmarks.common import daemon, dense_speech, pcm, percentile, row, unaccounted
from benchmarks.crowd import Crowd, Feed, Watch

UTTERANCE_S = 10 * WINDOW_SAMPLES / SAMPLE_RATE
PROBE_S = 0.25
STREAMS_OF_A_SESSION = 40
CLOSED_LOOP_STREAMS = 8
CALM_S = 8.0
RECOVERY_S = 5.0


@dataclass(slots=True)
class Seen:
    """What was looked at all the while: when, the memory, and the rung of the ladder."""

    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    def most_mb(self, begin_s: float, end_s: float) -> float:
        """The highest between two times."""
        return max(each for at_s, each in self.memory_mb if begin_s <= at_s < end_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--factor", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    setting = f"echo.latency_ms={options.latency_ms:g}"
    with daemon("--provider", "echo", "--option", setting) as path:
        asyncio.run(_measure(path, options))


async def _measure(path: Path, options: argparse.Namespace) -> None:
    utterance = pcm(dense_speech(UTTERANCE_S))
    seen = Seen()
    async with Crowd.at(path) as crowd, AsyncExitStack() as stack:
        watch = Watch(await crowd.ask(wire.GetHealth(), wire.Health))
        peak = await _peak(crowd, utterance)
        count = round(options.factor * peak * UTTERANCE_S)
        probe = await crowd.open(1000, source="mic", partials=False)
        looking = asyncio.create_task(_look(crowd, watch, seen))
        probing = asyncio.create_task(_speak(probe, utterance, PROBE_S, 3600.0))
        await asyncio.sleep(CALM_S)

        feeds = []
        for number in range(count):
            if number % STREAMS_OF_A_SESSION == 0:
                session = await stack.enter_async_context(Crowd.at(path))
            feeds.append(await session.open(number, source="system", partials=False))
        watch.restart()
        began_s = time.perf_counter()
        await asyncio.gather(
            *(
                _speak(feed, utterance, UTTERANCE_S, options.seconds, number / count)
                for number, feed in enumerate(feeds)
            )
        )
        ended_s = time.perf_counter()
        busy = watch.busy()
        await asyncio.sleep(2 * RECOVERY_S)
        looking.cancel()
        probing.cancel()
        closed = await asyncio.gather(
            *(feed.end(wire.Cancel(stream=feed.number)) for feed in feeds),
        )
    _report_goodput(peak, began_s, ended_s, feeds, probe)
    _report_probe(probe, began_s, ended_s, options)
    _report_memory(seen, began_s, ended_s)
    _report_drops(feeds, closed)
    row(
        "highest rung of the ladder; most streams waiting",
        f"{max(seen.levels)}; {max(seen.depths)}",
    )
    print(f"of one core each during the overload: {busy}")


async def _peak(crowd: Crowd, utterance: bytes, seconds: float = 6.0) -> float:
    """Finals per second of streams that wait for each of theirs, one of which is always there."""
    feeds = [
        await crowd.open(number, source="bench", partials=False)
        for number in range(CLOSED_LOOP_STREAMS)
    ]
    end_s = time.perf_counter() + seconds

    async def loop(feed: Feed) -> None:
        while time.perf_counter() < end_s:
            feed.send(utterance)
            feed.flush()
            await feed.wait_for(wire.Flushed)

    await asyncio.gather(*map(loop, feeds))
    came_s = sorted(at_s for feed in feeds for at_s, _ in feed.of(wire.Segment))
    within = [at_s for at_s in came_s if end_s - seconds + 1.0 <= at_s <= end_s]
    for feed in feeds:
        await feed.end(wire.Close(stream=feed.number))
    return (len(within) - 1) / (within[-1] - within[0])


async def _speak(
    feed: Feed, utterance: bytes, every_s: float, seconds: float, share: float = 0.0
) -> None:
    """An utterance and a flush again and again, on a clock of its own."""
    began_s = time.perf_counter() + share * every_s
    for number in range(round(seconds / every_s)):
        left_s = began_s + number * every_s - time.perf_counter()
        feed.lag_s = max(feed.lag_s, -left_s)
        await asyncio.sleep(max(left_s, 0.0))
        feed.send(utterance)
        feed.flush()


async def _look(crowd: Crowd, watch: Watch, seen: Seen) -> None:
    while True:
        stats = await crowd.ask(wire.GetStats(), wire.Stats)
        seen.levels.append(stats.level)
        seen.depths.append(int(stats.counters["streams_waiting"]))
        seen.memory_mb.append((time.perf_counter(), watch.resident_mb()))
        await asyncio.sleep(0.5)


# ── what came of it ───────────────────────────────────────────────────────────────────────────


def _report_goodput(
    peak: float, began_s: float, ended_s: float, feeds: list[Feed], probe: Feed
) -> None:
    came_s = [at_s for feed in (*feeds, probe) for at_s, _ in feed.of(wire.Segment)]
    during = [at_s for at_s in came_s if began_s <= at_s < ended_s]
    goodput = len(during) / (ended_s - began_s)
    sent = sum(feed.sent_s for feed in feeds) / UTTERANCE_S
    row("peak: finals per second, always one waiting", f"{peak:.1f}")
    row(f"offered by {len(feeds)} live streams, per second", f"{sent / (ended_s - began_s):.0f}")
    row(
        "goodput: finals per second under overload",
        f"{goodput:.1f} = {goodput / peak:.1%}",
        "at least 90 % of the peak",
        is_met=goodput >= 0.9 * peak,
    )
    last_s = max((at_s for feed in feeds for at_s, _ in feed.of(wire.Segment)), default=ended_s)
    row("  the last of the load's finals came", f"{max(last_s - ended_s, 0.0):.1f} s after its end")
    lag_s = max(feed.lag_s for feed in (*feeds, probe))
    row("the generator's latest utterance", f"{lag_s * 1000:.0f} ms late")


def _report_probe(probe: Feed, began_s: float, ended_s: float, options: argparse.Namespace) -> None:
    waits = probe.waits_s()

    def p95_ms(begin_s: float, end_s: float) -> float:
        return percentile([each for at_s, each in waits if begin_s <= at_s < end_s], 0.95) * 1000

    before_ms = p95_ms(began_s - CALM_S + 1.0, began_s - 0.5)
    row("probe p95: before", f"{before_ms:.1f} ms")
    row("  under overload", f"{p95_ms(began_s + 1.0, ended_s):.1f} ms")
    row(f"  in the first {RECOVERY_S:g} s after its end", f"{p95_ms(ended_s, ended_s + 5):.1f} ms")
    after_ms = p95_ms(ended_s + RECOVERY_S, ended_s + 2 * RECOVERY_S)
    row(
        f"  in the next {RECOVERY_S:g} s",
        f"{after_ms:.1f} ms",
        "as before, within 10 % or 2 ms",
        is_met=after_ms <= max(1.1 * before_ms, before_ms + 2.0),
    )


def _report_memory(seen: Seen, began_s: float, ended_s: float) -> None:
    third_s = (ended_s - began_s) / 3
    middle_mb = seen.most_mb(began_s + third_s, ended_s - third_s)
    last_mb = seen.most_mb(ended_s - third_s, ended_s)
    row("memory of the daemon: before", f"{seen.most_mb(began_s - 2.0, began_s):.0f} MB")
    row(
        "  most in the second, in the last third of the overload",
        f"{middle_mb:.0f}, {last_mb:.0f} MB",
        "grows by no more than 5 %",
        is_met=last_mb <= 1.05 * middle_mb,
    )
    row("  ten seconds after its end", f"{seen.memory_mb[-1][1]:.0f} MB")


def _report_drops(feeds: list[Feed], closed: list[wire.Closed]) -> None:
    told = [sum(end - start for start, end in feed.dropped()) for feed in feeds]
    counted = [each.dropped_seconds for each in closed]
    furthest_s = max(abs(a - b) for a, b in zip(told, counted, strict=True))
    row(
        "seconds dropped: as events told, as `closed` counted",
        f"{sum(told):.2f}, {sum(counted):.2f}",
    )
    row("  furthest apart in any stream", f"{furthest_s:.4f} s", "0", is_met=furthest_s < 0.001)
    reasons = Counter(
        str(event.reason)
        for feed in feeds
        for _, event in feed.of(wire.Event)
        if event.event == "dropped"
    )
    row("  events by reason", ", ".join(f"{name} {times}" for name, times in reasons.items()))
    sent, missing = 0, 0
    for feed, each in zip(feeds, closed, strict=True):
        finished = int(each.offset / SAMPLE_RATE / UTTERANCE_S)
        spans = [(at * UTTERANCE_S, (at + 1) * UTTERANCE_S) for at in range(finished)]
        sent += len(spans)
        missing += len(unaccounted(spans, feed.read() + feed.dropped()))
    row(
        f"of {sent} finished utterances, neither read nor told as dropped",
        f"{missing}",
        "0",
        is_met=missing == 0,
    )
    errors = Counter(message.code for feed in feeds for _, message in feed.of(wire.Error))
    row("errors", ", ".join(f"{code} {times}" for code, times in errors.items()) or "none")


if __name__ == "__main__":
    main()
