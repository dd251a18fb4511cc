"""Bytes written to a descriptor by a thread of their own: who writes never waits for it."""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asrd.server.log_backlog import Backlog

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class LogWriter(io.RawIOBase):
    """A binary file whose `write` never waits; a thread of its own writes to the descriptor.

    What is lost, because too much waited or because the descriptor took no more, is counted;
    `tell_lost` makes the line that tells how many, written before the first that gets through.
    """

    def __init__(self, descriptor: int, tell_lost: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._tell_lost = tell_lost
        self._backlog: Backlog[bytes] = Backlog()
        self._is_torn = False  # the thread's alone
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def lost_lines(self) -> int:
        """Since the start, told or not."""
        return self._backlog.lost_lines

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
        self._backlog.put(line, len(line), _lines(line))
        return len(line)

    def drain(self, patience_s: float) -> bool:
        """Wait until all is written, and for so long at the most; returns whether it is."""
        return self._backlog.drain(patience_s)

    # ── in its thread ─────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        lost = 0
        while True:
            taken = self._backlog.take()
            lost = self._put(taken.lines, lost)
            if taken.dropped:
                lost = self._put([], lost + taken.dropped)

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
            self._backlog.lose(newly_lost)
            return newly_lost if is_told else lost + newly_lost
        self._is_torn = False
        return 0


def _lines(data: bytes) -> int:
    return data.count(b"\n")
