"""What is counted, by source and by provider."""

from collections import defaultdict
from collections.abc import Collection

from asrd.scheduler.measures import (
    DECODE_BOUNDS_S,
    DELAY_BOUNDS_S,
    FACTOR_BOUNDS,
    WAIT_BOUNDS_S,
    Histogram,
    OfKinds,
    Outcome,
    Tally,
)
from asrd.scheduler.queue import Job

MAX_SOURCES = 32
"""Sources counted by name: their names come from clients and must not cost memory for ever."""

OTHER_SOURCES = "(others)"


class Accounts:
    """One tally for each source and each provider, and one for all.

    `reserved` sources are counted by name whatever others came before. A name is taken once, by
    `of_source`, and kept by whoever is counted: it stands for itself from then on, whereas the
    source that it was taken for may be given another after a `reserve`.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self.by_source: defaultdict[str, Tally] = defaultdict(Tally)
        self.by_provider: defaultdict[str, Tally] = defaultdict(Tally)
        self.total = Tally()
        # Histograms: waits and delays by source, what decodes cost by provider.
        self.queue_waits = defaultdict[str, OfKinds](lambda: OfKinds(WAIT_BOUNDS_S))
        self.delays = defaultdict[str, Histogram](lambda: Histogram(DELAY_BOUNDS_S))
        self.decode_times = defaultdict[str, OfKinds](lambda: OfKinds(DECODE_BOUNDS_S))
        self.factors = defaultdict[str, Histogram](lambda: Histogram(FACTOR_BOUNDS))
        self.dropped_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        """By source and reason."""

    def reserve(self, sources: Collection[str]) -> None:
        """Give these their own names too, from now on. Who was given another keeps it."""
        self._reserved |= frozenset(sources)

    def name_of(self, source: str) -> str:
        """The name that a source is counted under; those beyond the first few share one."""
        is_known = source in self.by_source or source in self._reserved
        return source if is_known or len(self.by_source) < MAX_SOURCES else OTHER_SOURCES

    def of_source(self, source: str) -> Tally:
        """The tally of a source."""
        return self.by_source[self.name_of(source)]

    def of(self, job: Job) -> tuple[Tally, Tally, Tally]:
        """Every tally that a job counts in."""
        return self.of_source(job.source), self.by_provider[job.provider], self.total

    def wait(self, job: Job, change: int) -> None:
        """So many jobs like this one wait more than before."""
        for tally in self.of(job):
            tally.waiting += change

    def wait_for(self, job: Job, old: Job) -> None:
        """Who has waited for the one waits for the other."""
        self.wait(old, -1)
        self.wait(job, 1)

    def begin(self, job: Job) -> None:
        """A job is being decoded."""
        for tally in self.of(job):
            tally.decoding += 1

    def end(
        self,
        job: Job,
        outcome: Outcome,
        *,
        is_aborted: bool,
        audio_s: float,
        waited_s: float,
        held_s: float,
        share_s: float,
    ) -> None:
        """A job's decode has ended: it held a slot for `held_s`, of which `share_s` is its own."""
        for tally in self.of(job):
            tally.decoding -= 1
            tally.count(outcome, is_partial=job.is_partial, is_aborted=is_aborted)
            if outcome is Outcome.READ:
                tally.audio_s += audio_s
                tally.decode_s += share_s
                tally.queue_wait.add(waited_s)
                tally.decode_time.add(held_s)
        if outcome is Outcome.READ:
            is_partial = job.is_partial
            self.queue_waits[self.name_of(job.source)].add(waited_s, is_partial=is_partial)
            self.decode_times[job.provider].add(held_s, is_partial=is_partial)
            if audio_s > 0:
                self.factors[job.provider].add(share_s / audio_s)

    def drop(self, source: str, reason: str, dropped_s: float) -> None:
        """So many seconds of a source's audio will not be recognised."""
        self.of_source(source).dropped_s += dropped_s
        self.dropped_s[self.name_of(source), reason] += dropped_s

    def leave_out(self, job: Job) -> None:
        """A partial was not let in, or had to go, because the queue of its source is full."""
        for tally in self.of(job):
            tally.left_out += 1

    def coalesce(self, job: Job, partials: int) -> None:
        """So many partials of a job's stream were never decoded, because newer audio came first."""
        for tally in self.of(job) if partials else ():
            tally.coalesced += partials

    def time_out(self, job: Job) -> None:
        """A job has waited for too long."""
        for tally in self.of(job):
            tally.timed_out += 1

    def batch(self, provider: str, windows: int) -> None:
        """A call read so many windows."""
        self.by_provider[provider].batches[windows] += 1
        self.total.batches[windows] += 1
