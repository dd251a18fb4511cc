"""The inference lock: how many decode at a time, and who.

The lock covers the engine call and nothing else. It is counted: `slots` local decodes run at a
time, one by default; below it each provider has a limit of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from asrd.clock import Clock
from asrd.scheduler.measures import Latencies, Tally
from asrd.scheduler.queue import StreamQueue, Ticket

MAX_SOURCES = 32
"""Sources counted by name: their names come from clients and must not cost memory for ever."""

OTHER_SOURCES = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A stream's turn to decode; it holds the lock until it is finished."""

    ticket: Ticket
    started_s: float
    waited_s: float


class Scheduler:
    """Decides who decodes next. It starts nothing itself: the server asks and tells."""

    def __init__(self, clock: Clock, *, slots: int, decodes_per_provider: int) -> None:
        self._clock = clock
        self._slots = slots
        self._decodes_per_provider = decodes_per_provider
        self._queue = StreamQueue()
        self._came_s: dict[Hashable, float] = {}
        self._ready: set[Hashable] = set()
        self._busy: Counter[str] = Counter()
        self.by_source: defaultdict[str, Tally] = defaultdict(Tally)
        self.by_provider: defaultdict[str, Tally] = defaultdict(Tally)
        self.queue_wait = Latencies()
        self.decode_time = Latencies()

    @property
    def slots(self) -> int:
        """Decodes that may run at a time."""
        return self._slots

    @property
    def decodes_per_provider(self) -> int:
        """Decodes that one provider may run at a time."""
        return self._decodes_per_provider

    @property
    def running(self) -> int:
        """Decodes that hold the lock now."""
        return self._busy.total()

    @property
    def waiting(self) -> int:
        """Streams in the queue."""
        return len(self._queue)

    def source_tally(self, source: str) -> Tally:
        """The tally of a source; sources beyond the first few are counted together."""
        is_known = source in self.by_source or len(self.by_source) < MAX_SOURCES
        return self.by_source[source if is_known else OTHER_SOURCES]

    def want(self, ticket: Ticket) -> None:
        """A stream wants a decode; asking again changes only what it stands for."""
        old = self._queue.get(ticket.stream)
        if self._queue.put(ticket):
            self._came_s[ticket.stream] = self._clock.now_s()
        if old is not None:
            for tally in self._tallies(old):
                tally.waiting -= 1
        for tally in self._tallies(ticket):
            tally.waiting += 1

    def withdraw(self, stream: Hashable) -> None:
        """A stream wants nothing any more."""
        ticket = self._queue.remove(stream)
        if ticket is not None:
            del self._came_s[stream]
            for tally in self._tallies(ticket):
                tally.waiting -= 1

    def set_ready(self, model: Hashable, *, is_ready: bool) -> None:
        """Whether a model takes work; streams of one that does not keep their place."""
        if is_ready:
            self._ready.add(model)
        else:
            self._ready.discard(model)

    def next_turn(self) -> Turn | None:
        """Give the lock to the next stream; None when nobody may have it now."""
        if self.running >= self._slots:
            return None
        ticket = self._queue.pop(self._is_admitted)
        if ticket is None:
            return None
        self._busy[ticket.provider] += 1
        now_s = self._clock.now_s()
        waited_s = now_s - self._came_s.pop(ticket.stream)
        for tally in self._tallies(ticket):
            tally.waiting -= 1
            tally.decoding += 1
        return Turn(ticket=ticket, started_s=now_s, waited_s=waited_s)

    def finish(self, turn: Turn, *, audio_s: float, has_failed: bool = False) -> float:
        """Take the lock back and count the decode; returns how long it was held, in seconds."""
        decode_s = self._clock.now_s() - turn.started_s
        ticket = turn.ticket
        self._busy[ticket.provider] -= 1
        for tally in self._tallies(ticket):
            tally.decoding -= 1
            if has_failed:
                tally.failed += 1
            else:
                tally.finals += not ticket.is_partial
                tally.partials += ticket.is_partial
                tally.audio_s += audio_s
                tally.decode_s += decode_s
        if not has_failed:
            self.queue_wait.add(turn.waited_s)
            self.decode_time.add(decode_s)
        return decode_s

    def abandon(self, turn: Turn) -> None:
        """Take the lock back from a stream that, when its turn came, wanted nothing."""
        self._busy[turn.ticket.provider] -= 1
        for tally in self._tallies(turn.ticket):
            tally.decoding -= 1

    def _is_admitted(self, ticket: Ticket) -> bool:
        is_free = self._busy[ticket.provider] < self._decodes_per_provider
        return is_free and ticket.model in self._ready

    def _tallies(self, ticket: Ticket) -> Iterable[Tally]:
        return self.source_tally(ticket.source), self.by_provider[ticket.provider]
