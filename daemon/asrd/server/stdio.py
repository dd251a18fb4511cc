"""The protocol over stdin and stdout.

Both are used through plain blocking threads: an event loop cannot wait on a regular file, never
hears of the end of /dev/null, and would make a terminal non-blocking for whoever shares it.

File descriptor 1 is kept aside and replaced by stderr, so that nothing printed by a library gets
between two frames.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable

import structlog

from asrd.clock import Clock
from asrd.server.peer import Peer

log = structlog.get_logger()

READ_BYTES = 2**16
WRITE_HIGH_BYTES = 2**16
WRITE_BYTES = 2**12
"""Written at once: a page, which a pipe takes as soon as one is free. So what is taken shows."""

LINGER_S = 5.0
"""How long a reader may take nothing of what is buffered for it when the channel closes."""


def take_stdout() -> int:
    """Keep stdout for the protocol alone; returns the descriptor to write to.

    Raises:
        OSError: there is no stdout.
    """
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


class StdioChannel:
    """A `PeerChannel` over two descriptors, and the feeding of its peer.

    `failed` bears the error of a stdout that takes no more; `ended` is set when all is written
    or nothing can be.
    """

    def __init__(self, read_fd: int, write_fd: int, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._may_read = threading.Event()
        self._may_read.set()
        self._to_write: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unwritten = 0
        self._clock = clock
        self._given_bytes = 0
        self._taken_bytes = 0  # the writing thread's alone to change
        self._untaken_bytes = 0
        self._taken_at_s = 0.0
        self._is_closing = False
        self._on_pause: Callable[[], None] = lambda: None
        self._on_resume: Callable[[], None] = lambda: None
        self.was_frame_cut = False
        self.failed: OSError | None = None
        self.ended = asyncio.Event()

    def start(self, peer: Peer) -> None:
        """Begin to feed the peer."""
        self._on_pause = peer.outbox.pause
        self._on_resume = peer.resumed_writing
        threading.Thread(target=self._read, args=(peer,), name="stdin", daemon=True).start()
        threading.Thread(target=self._write, name="stdout", daemon=True).start()

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not been taken."""
        return self.untaken_bytes

    @property
    def untaken_bytes(self) -> int:
        """The same: of what a pipe holds nobody tells."""
        return self._given_bytes - self._taken_bytes

    def write(self, data: bytes) -> None:
        """Hand bytes to the writing thread."""
        if self._is_closing:
            return
        self._unwritten += len(data)
        self._given_bytes += len(data)
        self._to_write.put(data)
        if self._unwritten > WRITE_HIGH_BYTES:
            self._on_pause()

    def pause_reading(self) -> None:
        """Let the sender wait."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Read on."""
        self._may_read.set()

    def close(self) -> None:
        """Write what is left for as long as the reader takes of it, then end."""
        if not self._is_closing:
            self._is_closing = True
            self._to_write.put(None)
            self._taken_at_s = self._clock.now_s()
            self._untaken_bytes = self.untaken_bytes

    def check(self) -> None:
        """Look after time: give up a reader at the end. To be called twice a second or so."""
        if not self._is_closing or self.ended.is_set():
            return
        now_s = self._clock.now_s()
        before_bytes, self._untaken_bytes = self._untaken_bytes, self.untaken_bytes
        if self._untaken_bytes < before_bytes:
            self._taken_at_s = now_s
        if now_s - self._taken_at_s >= LINGER_S:
            self._ended(TimeoutError(f"nothing was read from it for {LINGER_S:g} s"))

    def refuse(self) -> None:
        """The same: nobody resets a pipe for what lies unread in the other."""
        self.close()

    # ── in the reading thread ─────────────────────────────────────────────────────────────────

    def _read(self, peer: Peer) -> None:
        taken = threading.Event()
        while True:
            self._may_read.wait()
            try:
                data = os.read(self._read_fd, READ_BYTES)
            except OSError as error:  # stdin was closed, or never was
                log.warning("stdin_failed", problem=str(error))
                data = b""
            taken.clear()
            try:
                self._loop.call_soon_threadsafe(self._feed, peer, data, taken)
            except RuntimeError:
                return  # the loop has ended
            if not data:
                return
            taken.wait()  # at most one piece is on its way: memory stays bounded

    def _feed(self, peer: Peer, data: bytes, taken: threading.Event) -> None:
        try:
            if data:
                peer.received(memoryview(data))
            else:
                self.was_frame_cut = peer.input_ended()
        finally:
            taken.set()

    # ── in the writing thread ─────────────────────────────────────────────────────────────────

    def _write(self) -> None:
        failed: OSError | None = None
        while (data := self._to_write.get()) is not None:
            view = memoryview(data)
            try:
                while view:
                    count = os.write(self._write_fd, view[:WRITE_BYTES])
                    self._taken_bytes += count
                    view = view[count:]
            except OSError as error:
                failed = error
                break
            self._tell(self._written, len(data))
        self._tell(self._ended, failed)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return  # the loop has ended

    def _written(self, count: int) -> None:
        was_full = self._unwritten > WRITE_HIGH_BYTES
        self._unwritten -= count
        if was_full and self._unwritten <= WRITE_HIGH_BYTES:
            self._on_resume()

    def _ended(self, failed: OSError | None) -> None:
        self.failed = self.failed or failed
        self._is_closing = True
        self.ended.set()
