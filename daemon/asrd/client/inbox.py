"""What a stream's reader has not taken yet."""

import asyncio
from collections import deque

from asrd.client.errors import ClientError
from asrd.wire.messages import Ack, Closed, Error, Event, Flushed, Partial, Segment

StreamEvent = Partial | Segment | Ack | Event | Flushed | Closed | Error


class Inbox:
    """A bounded queue with one producer (the connection) and one consumer (the user).

    What waits may be replaced by what says the same more recently: a partial by the next one of
    the same segment, an ack by the next ack. When it is full the producer waits, so the connection
    is not read and the daemon sees a slow consumer; lossless senders stop at half of that.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._items: deque[StreamEvent] = deque()
        self._end: ClientError | None = None
        self._is_discarding = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: StreamEvent) -> None:
        """Add `item`, waiting while there is no room."""
        if self._items and _replaces(item, self._items[-1]):
            self._items[-1] = item
            return
        await self._fewer_than(self._limit)
        self.put_nowait(item)

    def put_nowait(self, item: StreamEvent) -> None:
        """Add `item` whether or not there is room: a stream's last word."""
        if not self._is_discarding:
            self._items.append(item)
            self._filled.set()

    async def get(self) -> StreamEvent:
        """Take the oldest item, waiting for it. Raises the error of `end` once all is taken."""
        while not self._items:
            if self._end is not None:
                raise self._end
            self._filled.clear()
            await self._filled.wait()
        self._emptied.set()
        return self._items.popleft()

    async def until_half_empty(self) -> None:
        """Wait while more than half of the room is taken."""
        await self._fewer_than(self._limit // 2)

    def end(self, error: ClientError) -> None:
        """Nothing more will come; what is here can still be taken. Never waits."""
        self._end = self._end or error
        self._filled.set()
        self._emptied.set()

    def reopen(self) -> None:
        """More may come after all."""
        self._end = None

    def discard(self) -> None:
        """Nobody will take anything any more: forget what is here and what comes."""
        self._is_discarding = True
        self._items.clear()
        self._emptied.set()

    async def _fewer_than(self, limit: int) -> None:
        while len(self._items) >= limit and self._end is None and not self._is_discarding:
            self._emptied.clear()
            await self._emptied.wait()


def _replaces(new: StreamEvent, old: StreamEvent) -> bool:
    match new, old:
        case Partial(id=new_id), Partial(id=old_id):
            return new_id == old_id
        case Ack(), Ack():
            return True
        case _:
            return False
