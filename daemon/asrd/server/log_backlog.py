"""Lines of the log between those who say them and the one thread that writes them.

Who says something never waits: what finds no room is dropped and counted.
"""

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_WAITING_BYTES = 2**20
"""What may wait to be written. Beyond it the newest is dropped: what led to the jam is kept."""

Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class Taken(Generic[Line]):
    """Lines to be written, and how many were dropped behind them."""

    lines: list[Line]
    dropped: int


class Backlog(Generic[Line]):
    """Bounded in bytes. For any thread, and one that takes lines out."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[Line] = []
        self._dropped = 0  # behind all that waits
        self._is_writing = False
        self.waiting_bytes = 0
        self.lost_lines = 0
        """Since the start, told or not."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken out."""
        return not self._waiting

    def put(self, line: Line, size: int, count: int = 1) -> None:
        """Let something of that size wait, or drop it. It counts as so many lines."""
        with self._condition:
            # Once one is dropped, so is all behind it: the gap is one, and told at its place.
            if self._dropped or self.waiting_bytes + size > MAX_WAITING_BYTES:
                self._dropped += count
                self.lost_lines += count
            else:
                self._waiting.append(line)
                self.waiting_bytes += size
            if not self._is_writing:
                self._condition.notify()

    def lose(self, count: int) -> None:
        """Lines that were taken out could not be written."""
        with self._condition:
            self.lost_lines += count

    def take(self) -> Taken[Line]:
        """All that waits, as soon as there is something. What was taken before is written now."""
        with self._condition:
            self._is_writing = False
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._has_work)
            taken = Taken(self._waiting, self._dropped)
            self._waiting, self.waiting_bytes, self._dropped = [], 0, 0
            self._is_writing = True
            return taken

    def drain(self, patience_s: float) -> bool:
        """Wait until all is written, and for so long at the most; returns whether it is."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._has_work and not self._is_writing, patience_s
            )

    @property
    def _has_work(self) -> bool:
        return bool(self._waiting or self._dropped)
