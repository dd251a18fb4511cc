"""What the scheduler itself costs per job: `python -m benchmarks.overhead` in `tests/`.

So many streams wait. A `turn` is what a job costs from wish to end: `want`, its part of
`next_batch`, its part of `finish`; whoever was read wants again, so as many wait as before.
`churn` is a stream's wish withdrawn and another's put in. Sessions: one that all streams share, one
for each stream, one for every ten. With batches, up to sixteen jobs are read in a call.

Every figure is CPU time, the median over the rounds, and rounds of all numbers of waiting streams
take turns, so that noise hits all. A cost that grows with the logarithm of who waits grows by
`log2` of the largest over `log2` of the smallest number at the most, give or take `SLACK`.
"""

import argparse
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from asrd.abilities import Abilities
from asrd.config import Batches, Scheduling
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job
from asrd.scheduler.scheduler import Scheduler
from benchmarks.common import median, row
from support.clock import VirtualClock

WAITING = (10, 1_000, 10_000)
MORE_WAITING = 100_000
SESSIONS: dict[str, Callable[[int], int]] = {
    "one session": lambda stream: 0,
    "one per stream": lambda stream: stream,
    "one per ten": lambda stream: stream // 10,
}
SLACK = 1.25
SOURCES = (("mic", 1, True), ("system", 2, True), ("file", 5, False))
DECODE_S = 0.05
LARGEST_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Microseconds per job: one turn, and one wish withdrawn and put in."""

    turn_us: float
    churn_us: float


class Bench:
    """A scheduler with a number of waiting streams, three sources by turns."""

    def __init__(self, waiting: int, session_of: Callable[[int], int], max_batch: int) -> None:
        self._clock = VirtualClock()
        batches = Batches(max_batch=max_batch, max_s=1000.0)
        places = {name: 2 * waiting + 2 for name, _, _ in SOURCES}
        rule = Scheduling(max_waiting=places, batches=batches, queue_timeout_s=None)
        self._scheduler = Scheduler(self._clock, rule)
        self._scheduler.set_model("model", Abilities(max_batch=max_batch))
        # One more than wait, so that another stream comes in where one is withdrawn.
        self._jobs = [_job(stream, session_of(stream)) for stream in range(waiting + 1)]
        for job in self._jobs[:-1]:
            self._scheduler.want(job)
        self._outside = self._jobs[-1]
        self._at = 0

    def turns(self, count: int) -> float:
        """Microseconds per job over at least so many turns."""
        scheduler, done = self._scheduler, 0
        started_s = time.process_time()
        while done < count:
            batch = scheduler.next_batch()
            if batch is None:
                raise AssertionError("nobody waits")
            size = len(batch.jobs)
            done += size
            self._clock.advance(DECODE_S * size / (2 if size > 1 else 1))
            scheduler.finish(batch, [Outcome.READ] * size, [4.0] * size)
            for job in batch.jobs:
                scheduler.want(job)
        return (time.process_time() - started_s) / done * 1e6

    def churn(self, count: int) -> float:
        """Microseconds for a stream that leaves and another that comes, over so many."""
        scheduler, jobs = self._scheduler, self._jobs
        started_s = time.process_time()
        for _ in range(count):
            self._at = (self._at + 7919) % len(jobs)
            leaving = jobs[self._at]
            scheduler.withdraw(leaving.stream)
            scheduler.want(self._outside)
            self._outside = leaving
        return (time.process_time() - started_s) / count * 1e6


def _job(stream: int, session: int) -> Job:
    source, priority, is_live = SOURCES[stream % len(SOURCES)]
    is_partial = is_live and stream % 2 == 1
    return Job(
        stream=stream,
        session=session,
        priority=priority,
        is_partial=is_partial,
        model="model",
        batch_key=(30.0, is_partial),
        provider="provider",
        source=source,
        is_live=is_live,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2000, help="turns of a round")
    parser.add_argument("--more", action="store_true", help=f"{MORE_WAITING} waiting, too")
    options = parser.parse_args()
    waiting = (*WAITING, MORE_WAITING) if options.more else WAITING
    for name, session_of in SESSIONS.items():
        for max_batch in (1, LARGEST_BATCH):
            benches = {count: Bench(count, session_of, max_batch) for count in waiting}
            costs = _measure(benches, options.rounds, options.jobs)
            what = f"{name}, {'batches' if max_batch > 1 else 'one by one'}"
            _report(what, costs)


def _measure(benches: dict[int, Bench], rounds: int, jobs: int) -> dict[int, Costs]:
    turns: dict[int, list[float]] = {count: [] for count in benches}
    churns: dict[int, list[float]] = {count: [] for count in benches}
    gc.collect()
    for number in range(rounds + 1):
        for count, bench in benches.items():
            turn_us, churn_us = bench.turns(jobs), bench.churn(jobs)
            if number:  # the first warms up
                turns[count].append(turn_us)
                churns[count].append(churn_us)
    return {
        count: Costs(turn_us=median(turns[count]), churn_us=median(churns[count]))
        for count in benches
    }


def _report(what: str, costs: dict[int, Costs]) -> None:
    for count, cost in costs.items():
        row(
            f"{what}: {count} waiting",
            f"{cost.turn_us:.1f} us a turn",
            f"{cost.churn_us:.1f} us withdrawn and put in",
        )
    few, many = min(costs), max(costs)
    most = math.log2(many) / math.log2(few) * SLACK
    for name, grown in (
        ("turn", costs[many].turn_us / costs[few].turn_us),
        ("churn", costs[many].churn_us / costs[few].churn_us),
    ):
        row(
            f"  {name}: {many} over {few} waiting",
            f"{grown:.2f} times",
            f"at most {most:.2f}",
            is_met=grown <= most,
        )


if __name__ == "__main__":
    main()
