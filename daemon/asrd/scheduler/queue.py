"""Who decodes next: the order, and nothing else.

The queue holds streams, each once, never audio. An entry's place is

    (priority, finals before partials, first come first served)

and an entry whose model cannot take work just now is passed over, not waited for. Entries of one
model stand in one heap, so a turn costs a look at the head of each model's heap and one pop. An
entry that is withdrawn stays in its heap, void, until it comes up or half of the heap is void.
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


class _Heap:
    """The entries of one model; `void` of them are wanted no more."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.void = 0

    def push(self, entry: _Entry) -> None:
        heapq.heappush(self.entries, entry)

    def withdraw(self, entry: _Entry) -> None:
        entry.is_void = True
        self.void += 1
        self._tidy()

    def pop(self) -> _Entry:
        entry = heapq.heappop(self.entries)
        self._tidy()
        return entry

    def _tidy(self) -> None:
        if self.void * 2 > len(self.entries):
            self.entries = [each for each in self.entries if not each.is_void]
            heapq.heapify(self.entries)
            self.void = 0

    def head(self) -> _Entry | None:
        while self.entries and self.entries[0].is_void:
            heapq.heappop(self.entries)
            self.void -= 1
        return self.entries[0] if self.entries else None


class StreamQueue:
    """Waiting streams, each at most once."""

    def __init__(self) -> None:
        self._heaps: dict[Hashable, _Heap] = {}
        self._entries: dict[Hashable, _Entry] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, stream: Hashable) -> bool:
        return stream in self._entries

    @property
    def kept(self) -> int:
        """Entries in memory, void ones among them: never more than twice the streams that wait."""
        return sum(len(heap.entries) for heap in self._heaps.values())

    def get(self, stream: Hashable) -> Ticket | None:
        """What a stream stands for; None where it does not stand here."""
        entry = self._entries.get(stream)
        return entry.ticket if entry is not None else None

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
            self._withdraw(old)
            came = old.order[2]
        entry = _Entry((ticket.priority, ticket.is_partial, came), ticket)
        self._entries[ticket.stream] = entry
        self._heaps.setdefault(ticket.model, _Heap()).push(entry)
        return old is None

    def remove(self, stream: Hashable) -> Ticket | None:
        """Take a stream out, wherever it stands; returns what it stood for."""
        entry = self._entries.pop(stream, None)
        if entry is None:
            return None
        self._withdraw(entry)
        return entry.ticket

    def pop(self, is_admitted: Callable[[Ticket], bool]) -> Ticket | None:
        """Take out the first stream that is admitted, or None.

        Whether a ticket is admitted may depend on its model and provider only.
        """
        best: tuple[_Entry, _Heap] | None = None
        for heap in self._heaps.values():
            head = heap.head()
            if head is None or (best is not None and best[0] < head):
                continue
            if is_admitted(head.ticket):
                best = head, heap
        if best is None:
            return None
        entry, heap = best
        heap.pop()
        del self._entries[entry.ticket.stream]
        self._forget_if_empty(entry.ticket.model)
        return entry.ticket

    def _withdraw(self, entry: _Entry) -> None:
        self._heaps[entry.ticket.model].withdraw(entry)
        self._forget_if_empty(entry.ticket.model)

    def _forget_if_empty(self, model: Hashable) -> None:
        if not self._heaps[model].entries:
            del self._heaps[model]
