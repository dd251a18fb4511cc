"""Who decodes next: the order, and nothing else.

The queue holds streams, each once, never audio. An entry's place is

    (priority, finals before partials, first come first served)

and an entry whose model cannot take work just now is passed over, not waited for. Entries of one
model stand in one heap, so a turn costs a look at the head of each model's heap and one pop.
"""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A stream's wish to have something decoded. `priority` counts from 1, the highest, to 10."""

    stream: Hashable
    priority: int
    is_partial: bool
    model: Hashable
    provider: str
    source: str


@dataclass(order=True, slots=True)
class _Entry:
    order: tuple[int, bool, int]
    ticket: Ticket = field(compare=False)
    is_void: bool = field(default=False, compare=False)


class StreamQueue:
    """Waiting streams, each at most once."""

    def __init__(self) -> None:
        self._heaps: dict[Hashable, list[_Entry]] = {}
        self._entries: dict[Hashable, _Entry] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, stream: Hashable) -> bool:
        return stream in self._entries

    def put(self, ticket: Ticket) -> bool:
        """Let a stream stand in the queue, or change what it stands for.

        A stream that waited for a partial and now has a final keeps the moment it came, so
        changing its wish never costs it its turn. Returns whether the stream is new.
        """
        old = self._entries.get(ticket.stream)
        if old is not None and old.ticket == ticket:
            return False
        if old is None:
            self._count += 1
            came = self._count
        else:
            old.is_void = True
            came = old.order[2]
        entry = _Entry((ticket.priority, ticket.is_partial, came), ticket)
        self._entries[ticket.stream] = entry
        heapq.heappush(self._heaps.setdefault(ticket.model, []), entry)
        return old is None

    def remove(self, stream: Hashable) -> Ticket | None:
        """Take a stream out, wherever it stands; returns what it stood for."""
        entry = self._entries.pop(stream, None)
        if entry is None:
            return None
        entry.is_void = True
        return entry.ticket

    def pop(self, is_admitted: Callable[[Ticket], bool]) -> Ticket | None:
        """Take out the first stream that is admitted, or None.

        Whether a ticket is admitted may depend on its model and provider only.
        """
        best: list[_Entry] | None = None
        for model in list(self._heaps):
            heap = self._heaps[model]
            while heap and heap[0].is_void:
                heapq.heappop(heap)
            if not heap:
                del self._heaps[model]
            elif (best is None or heap[0] < best[0]) and is_admitted(heap[0].ticket):
                best = heap
        if best is None:
            return None
        entry = heapq.heappop(best)
        del self._entries[entry.ticket.stream]
        return entry.ticket
