"""Logs: structured lines on stderr; for people on a terminal, JSON for everything else.

A log must never hold up what it tells of. Lines go to a bounded queue, and one thread writes them:
a full disk, a pipe that nobody reads or a terminal that was stopped costs lines and nothing more.
"""

import atexit
import io
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

import structlog

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LEVELS = ("debug", "info", "warning", "error")

MAX_WAITING_BYTES = 2**20
"""What may wait to be written. Beyond it the newest is dropped: what led to the jam is kept."""

LAST_LINES_S = 0.5
"""At exit: how long what waits may take to be written."""

STDERR = 2


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
            if written < len(begin):
                return lost + sum(map(_lines, batch))
            return _lines(bytes(view))
        self._is_torn = False
        return 0


def _lines(data: bytes) -> int:
    return data.count(b"\n")


def _renderer() -> structlog.types.Processor:
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _stamp() -> structlog.types.Processor:
    return structlog.processors.TimeStamper(fmt="iso", utc=True)


def _lost_line(count: int) -> bytes:
    """The line that tells of lost ones, made as every other."""
    event: structlog.types.EventDict = {"lines": count, "event": "log_lines_lost"}
    _stamp()(None, "", event)
    event["level"] = "warning"
    return f"{_renderer()(None, '', event)!s}\n".encode()


def configure(level: str) -> None:
    """Set up logging for a process that is nothing but a daemon. `level` is one of `LEVELS`.

    A writer that never waits takes the place of `sys.stderr`, for whoever else writes there.
    """
    writer = LogWriter(STDERR, _lost_line)
    atexit.register(flush)
    sys.stderr = io.TextIOWrapper(
        cast(BinaryIO, writer), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    set_level(level)


def flush() -> None:
    """Give what waits to be written its last chance: half a second, and never more."""
    writer = getattr(sys.stderr, "buffer", None)
    if isinstance(writer, LogWriter):
        writer.drain(LAST_LINES_S)


def set_level(level: str) -> None:
    """Log from that level on, on whatever `sys.stderr` is."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp(),
            structlog.processors.format_exc_info,
            _renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,  # another level has to reach those who have a logger
    )
