"""A worker's end of its socket: calls in, answers out, progress between them.

Everything is done by the worker's main thread, which is the engine's too. So while a decode runs,
the socket is looked at only when the engine says that it has got further (`keep_going`), which an
engine's own threads may do as well: hence the lock.
"""

import select
import socket
import threading
import time
from collections import deque

from asrd.framing import FrameSplitter
from asrd.providers import calls

READ_BYTES = 2**18

LOOK_EVERY_S = 0.05
"""How often a decode that gets further looks whether it is still wanted."""

TELL_EVERY_S = 0.25
"""How often the core is told that a decode gets further."""


class CallChannel:
    """Calls to this worker, in order."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._splitter = FrameSplitter(calls.MAX_CALL_BYTES)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._calls: deque[calls.AnyCall] = deque()
        self._aborted: set[int] = set()
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._lock = threading.Lock()
        self._current = 0
        self._looked_s = 0.0
        self._told_s = 0.0

    def next_call(self) -> calls.AnyCall:
        """The next call, waited for. Raises EOFError when the core has closed, or OSError."""
        while not self._calls:
            with self._lock:  # a thread of the engine's that is late may just have read
                if not self._calls and not self._read():
                    raise EOFError
        call = self._calls.popleft()
        self._current = call.id
        if self._aborted:  # what came too late for an earlier call means nothing any more
            self._aborted = {number for number in self._aborted if number >= call.id}
        self._looked_s = self._told_s = time.monotonic()
        return call

    def send(self, answer: calls.AnyAnswer) -> None:
        """Send an answer. Raises OSError when the core is gone."""
        with self._lock:
            self._aborted.discard(answer.id)
            self._socket.sendall(calls.frame(answer))

    def tell_loaded(self) -> None:
        """Tell that the model of the current call is loaded and is being warmed."""
        with self._lock:
            self._socket.sendall(calls.frame(calls.Progress(id=self._current, is_loaded=True)))

    def keep_going(self) -> bool:
        """The current call has got further; returns whether it is still wanted."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S and self._lock.acquire(blocking=False):
            try:
                self._look(now_s)
            finally:
                self._lock.release()
        return self._current not in self._aborted

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._socket.sendall(calls.frame(calls.Progress(id=self._current)))
        while self._poller.poll(0) and self._read():
            pass

    def _read(self) -> int:
        """Take in what has arrived; waits where nothing has. Returns 0 at the end."""
        size = self._socket.recv_into(self._buffer)
        for payload in self._splitter.feed(self._buffer[:size]):
            call = calls.read_call(payload)
            if isinstance(call, calls.Abort):
                self._aborted.add(call.id)
            else:
                self._calls.append(call)
        return size
