"""What slots buy: `python -m benchmarks.slots` in `tests/`.

Eight lossless streams keep faster-whisper (the shape of tiny, made-up weights, int8) busy with
finals of 3.5 s, each on one window per call: one slot with one engine thread, one with a thread for
every core, and a slot for every core with a thread each. The daemons take turns, so that noise hits
all; a figure is the median over the turns.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from asrd.wire import messages as wire
from benchmarks.common import daemon, dense_speech, frames, median, row
from benchmarks.crowd import Crowd, Feed
from benchmarks.shapes import make_model

STREAMS = 8
UTTERANCE_S = 3.5
CONTEXTS = {"always": "4 s", "never": "30 s"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="tiny", choices=("tiny", "base"))
    parser.add_argument("--slots", type=int, default=2, help="as many as there are cores to spare")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=7.0, help="of each turn")
    options = parser.parse_args()
    ways = ((1, 1), (1, options.slots), (options.slots, 1))
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(options.size, Path(folder))
        for context, name in CONTEXTS.items():
            with ExitStack() as stack:
                paths = [
                    stack.enter_context(daemon(config=_config(model, slots, threads, context)))
                    for slots, threads in ways
                ]
                rates, decodes_ms = asyncio.run(_measure(paths, options))
            for (slots, threads), rate, decode_ms in zip(ways, rates, decodes_ms, strict=True):
                row(
                    f"{options.size}, {name} context: {slots} slot(s), {threads} thread(s) each",
                    f"{median(rate):.2f} calls/s",
                    f"{median(rate) / median(rates[0]):.2f} times the first;"
                    f" a decode takes {decode_ms:.0f} ms (p50)",
                )


def _config(model: Path, slots: int, threads: int, context: str) -> str:
    return f"""
provider = "faster_whisper"
model = "{model}"
[scheduling]
slots = {slots}
[scheduling.batches]
max_batch = 1
[providers.faster_whisper.settings]
device = "cpu"
compute_type = "int8"
num_workers = {slots}
cpu_threads = {threads}
short_context = "{context}"
"""


async def _measure(
    paths: list[Path], options: argparse.Namespace
) -> tuple[list[list[float]], list[float]]:
    """Of each daemon: calls per second in each turn, and the median time of a decode."""
    rates: list[list[float]] = [[] for _ in paths]
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(Crowd.at(path)) for path in paths]
        feeds = [
            [await crowd.open(at, source="bench", partials=False) for at in range(STREAMS)]
            for crowd in crowds
        ]
        for _ in range(options.turns):
            for at, each in enumerate(feeds):
                rates[at].append(await _turn(each, options.seconds))
        stats = [await crowd.ask(wire.GetStats(), wire.Stats) for crowd in crowds]
    return rates, [each.latencies["decode_ms"]["p50"] for each in stats]


async def _turn(feeds: list[Feed], seconds: float) -> float:
    """Segments per second between the first and the last of a turn."""
    end_s = time.perf_counter() + seconds
    known = [len(feed.of(wire.Segment)) for feed in feeds]
    await asyncio.gather(*(_keep_busy(feed, end_s) for feed in feeds))
    pairs = zip(feeds, known, strict=True)
    came_s = sorted(at_s for feed, old in pairs for at_s, _ in feed.of(wire.Segment)[old:])
    within = [at_s for at_s in came_s if at_s <= end_s]  # later on not all streams have work
    return (len(within) - 1) / (within[-1] - within[0])


async def _keep_busy(feed: Feed, end_s: float) -> None:
    """The next utterance comes as soon as one has been read: most of the streams always wait."""
    spoken = frames(dense_speech(UTTERANCE_S))
    while time.perf_counter() < end_s:
        feed.say(spoken)
        feed.flush()
        await feed.wait_for(wire.Flushed)


if __name__ == "__main__":
    main()
