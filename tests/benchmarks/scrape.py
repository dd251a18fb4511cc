"""What a scrape takes of the event loop: `python -m benchmarks.scrape` in `tests/`.

A daemon's parts in this process, with many open streams of several sources that were all read.
`collect` runs in the loop's thread; what processes hold and the text are other threads' work, and
take the interpreter from the loop for no longer than a switch at a time.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

from asrd.providers.registry import discover
from asrd.server.metrics import Metrics
from asrd.server.sight import look_at
from support.exposition import text_of
from support.room import UTTERANCE, Room, settle
from support.sights import HELD, sight_of

SOURCES = ("mic", "system", "file", "phone", "meeting")
STREAMS_EACH = 50


async def measure(streams: int, runs: int) -> None:
    room = Room(discover(), scheduling={"max_waiting_others": streams})
    guests = []
    for number in range(streams):
        if number % STREAMS_EACH == 0:
            guests.append(room.greeted())
        guests[-1].open(number, source=SOURCES[number % len(SOURCES)])
        guests[-1].speak(number, UTTERANCE)
        room.clock.advance(0.02)
        await settle()
    sight = sight_of(room, *guests)
    metrics = Metrics(sight)
    text = text_of(metrics.collect(HELD))
    series = sum(not line.startswith("#") for line in text.splitlines())
    print(f"{len(room.hub.all_streams)} streams, {series} series, {len(text)} bytes")
    families = [*metrics.collect(HELD)]
    print(f"  in the loop: collect           {median_ms(lambda: [*metrics.collect(HELD)], runs)}")
    print(f"  in a thread: text              {median_ms(lambda: text_of(families), runs)}")
    print(f"  in a thread: look at one pid   {median_ms(lambda: look_at(sight.pids), runs)}")


def median_ms(work: Callable[[], object], runs: int) -> str:
    took_s = []
    for _ in range(runs):
        began_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - began_s)
    return f"{statistics.median(took_s) * 1e3:7.2f} ms (slowest {max(took_s) * 1e3:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    asyncio.run(measure(options.streams, options.runs))


if __name__ == "__main__":
    main()
