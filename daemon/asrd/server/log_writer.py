"""Bytes written to a descriptor by a thread of their own: who writes never waits for it."""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_WAITING_BYTES = 2**20
"""What may wait to be written. Beyond it the newest is dropped: what led to the jam is kept."""


class LogWriter(io.RawIOBase):
    """A binary file whose `write` never waits; a thread of its own writes to the descriptor.

    What is lost, because too much waited or because the descriptor took no more, is counted;
    `tell_lost` makes the line that tells how many, written before the first that gets through.
    """

    def __init__(self, descriptor: int, tell_lost: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._tell_lost = tell_lost
        self._condition = threading.Condition()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = 0  # behind all that waits
        self.lost_lines = 0
        """Since the start, told or not."""
        self._is_writing = False
        self._is_torn = False  # the thread's alone
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def writable(self) -> bool:
        """It is written to, and nothing else."""
        return True

    def fileno(self) -> int:
        """The descriptor, for those who ask what it is."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether people read it."""
        return os.isatty(self._descriptor)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Let bytes wait to be written, or drop them. Never waits, never fails."""
        line = bytes(data)
        with self._condition:
            # Once one is dropped, so is all behind it: the gap is one, and told at its place.
            if self._dropped or self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
                self._dropped += _lines(line)
                self.lost_lines += _lines(line)
            else:
                self._waiting.append(line)
                self._waiting_bytes += len(line)
            if not self._is_writing:
                self._condition.notify()
        return len(line)

    def drain(self, patience_s: float) -> bool:
        """Wait until all is written, and for so long at the most; returns whether it is."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._has_work and not self._is_writing, patience_s
            )

    @property
    def _has_work(self) -> bool:
        return bool(self._waiting or self._dropped)

    # ── in its thread ─────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        lost = 0
        while True:
            with self._condition:
                self._is_writing = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._has_work)
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                dropped, self._dropped = self._dropped, 0
                self._is_writing = True
            lost = self._put(batch, lost)
            if dropped:
                lost = self._put([], lost + dropped)

    def _put(self, batch: list[bytes], lost: int) -> int:
        """Write some lines, and before them how many were lost; returns how many are lost now.

        A line that was torn, of which only the beginning was taken, is one of those. What comes
        next begins a line of its own.
        """
        told = self._tell_lost(lost) if lost else b""
        begin = b"\n" * self._is_torn + told
        data = begin + b"".join(batch)
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:  # somebody who shares it has made it non-blocking
                    select.select([], [self._descriptor], [])
        except (OSError, ValueError):  # a full disk, a reader that has gone, a closed descriptor
            written = len(data) - len(view)
            if written:
                self._is_torn = data[written - 1 : written] != b"\n"
            is_told = written >= len(begin)
            newly_lost = _lines(bytes(view) if is_told else b"".join(batch))
            with self._condition:
                self.lost_lines += newly_lost
            return newly_lost if is_told else lost + newly_lost
        self._is_torn = False
        return 0


def _lines(data: bytes) -> int:
    return data.count(b"\n")
