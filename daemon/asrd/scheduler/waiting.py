"""Places in the queue: so many for each source, and what stands outside when they are taken.

A stream that finds no place waits outside, in order, and is let in when one is free; so a limit
never loses work by itself. What a live source gives up for it is the scheduler's rule.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterator

from asrd.config import Scheduling
from asrd.scheduler.queue import Job


class Places:
    """Who waits, by source. Sources are told apart as the caller names them."""

    def __init__(self, rule: Scheduling) -> None:
        self.rule = rule
        self._inside: defaultdict[str, OrderedDict[Hashable, None]] = defaultdict(OrderedDict)
        self._outside: defaultdict[str, OrderedDict[Hashable, Job]] = defaultdict(OrderedDict)

    def limit(self, source: str) -> int:
        """Streams of a source that may stand in the queue."""
        return self.rule.max_waiting.get(source, self.rule.max_waiting_others)

    def is_free(self, source: str) -> bool:
        """Whether one more may come in."""
        return len(self._inside[source]) < self.limit(source)

    def enter(self, source: str, stream: Hashable) -> None:
        """A stream takes a place."""
        self._inside[source][stream] = None

    def leave(self, source: str, stream: Hashable) -> Job | None:
        """A stream gives its place up; returns the job of the one that may come in instead.

        That one stands outside no more; whoever lets it in says so by `enter`.
        """
        self._inside[source].pop(stream, None)
        if self._outside[source] and self.is_free(source):
            return self._outside[source].popitem(last=False)[1]
        return None

    def wait_outside(self, source: str, job: Job) -> None:
        """A stream finds no place; asking again keeps its turn."""
        self._outside[source][job.stream] = job

    def outside(self, source: str, stream: Hashable) -> Job | None:
        """What a stream waits for outside; None where it does not."""
        return self._outside[source].get(stream)

    def find_outside(self, stream: Hashable) -> Job | None:
        """The same for a stream whose source is not known."""
        every = (waiting.get(stream) for waiting in self._outside.values())
        return next((job for job in every if job is not None), None)

    def give_up(self, source: str, stream: Hashable) -> Job | None:
        """A stream waits outside no more; returns what it waited for."""
        return self._outside[source].pop(stream, None)

    def inside(self, source: str) -> Iterator[Hashable]:
        """The streams of a source that stand in the queue, the longest waiting first."""
        return iter(self._inside[source])

    def count_outside(self, source: str) -> int:
        """Streams that wait for a place."""
        return len(self._outside[source])
