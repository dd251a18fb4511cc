"""What is counted, by source and by provider."""

from collections import defaultdict
from collections.abc import Collection

from asrd.scheduler.measures import Outcome, Tally
from asrd.scheduler.queue import Job

MAX_SOURCES = 32
"""Sources counted by name: their names come from clients and must not cost memory for ever."""

OTHER_SOURCES = "(others)"


class Accounts:
    """One tally for each source and each provider, and one for all.

    `reserved` sources are counted by name whatever others came before.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self.by_source: defaultdict[str, Tally] = defaultdict(Tally)
        self.by_provider: defaultdict[str, Tally] = defaultdict(Tally)
        self.total = Tally()

    def reserve(self, sources: Collection[str]) -> None:
        """Count these by name too, from now on. Whoever has been counted so stays so."""
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
