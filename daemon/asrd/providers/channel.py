"""A worker's end of its socket: calls in, answers out, progress between them.

Where the worker's main thread is the engine's too, the socket is looked at amid a decode only when
the engine says that it has got further (`Ongoing.keep_going`), which an engine's own threads may
do as well: hence the locks. Where decodes run in threads of their own, the main thread reads
(`is_always_read`), and they never do.
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


class Ongoing:
    """A call that is not answered yet.

    `is_wanted` becomes false once the core has aborted it, as far as that was read, and once it is
    answered.
    """

    def __init__(self, channel: "CallChannel", call_id: int) -> None:
        self._channel = channel
        self._call_id = call_id
        self._looked_s = 0.0
        self._told_s = 0.0
        self.is_wanted = True

    def begin(self) -> None:
        """It is carried out from now on."""
        self._looked_s = self._told_s = time.monotonic()

    def keep_going(self) -> bool:
        """It has got further; returns whether it is still wanted. May be called by any thread."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            if now_s - self._told_s >= TELL_EVERY_S and self._channel.tell_progress(self._call_id):
                self._told_s = now_s
            self._channel.look()
        return self.is_wanted


class CallChannel:
    """Calls to this worker, in order. Answers may be sent by any thread.

    `is_always_read` is to be set once a thread does nothing but wait for the next call.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.is_always_read = False
        self._socket = sock
        self._splitter = FrameSplitter(calls.MAX_CALL_BYTES)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._calls: deque[calls.AnyCall] = deque()
        self._ongoing: dict[int, Ongoing] = {}
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._reading = threading.Lock()
        self._sending = threading.Lock()

    def next_call(self) -> calls.AnyCall:
        """The next call, waited for. Raises EOFError when the core has closed, or OSError."""
        while not self._calls:
            with self._reading:  # a thread of the engine's that is late may just have read
                if not self._calls and not self._read():
                    raise EOFError
        return self._calls.popleft()

    def begin(self, call_id: int) -> Ongoing:
        """A call is carried out from now on."""
        ongoing = self._ongoing.setdefault(call_id, Ongoing(self, call_id))
        ongoing.begin()
        return ongoing

    def send(self, answer: calls.AnyAnswer) -> None:
        """Send an answer, with which its call is over. Raises OSError when the core is gone."""
        ongoing = self._ongoing.pop(answer.id, None)
        if ongoing is not None:
            ongoing.is_wanted = False
        self._send(answer)

    def tell_loaded(self, call_id: int) -> None:
        """Tell that the model of a load is loaded and is being warmed."""
        self._send(calls.Progress(id=call_id, is_loaded=True))

    def tell_progress(self, call_id: int) -> bool:
        """Tell that a call has got further; returns False where another thread is just sending."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            self._socket.sendall(calls.frame(calls.Progress(id=call_id)))
        finally:
            self._sending.release()
        return True

    def look(self) -> None:
        """Take in what has arrived, unless somebody else reads."""
        if self.is_always_read or not self._reading.acquire(blocking=False):
            return
        try:
            while self._poller.poll(0) and self._read():
                pass
        finally:
            self._reading.release()

    def _send(self, answer: calls.AnyAnswer) -> None:
        frame = calls.frame(answer)
        with self._sending:
            self._socket.sendall(frame)

    def _read(self) -> int:
        """Take in what has arrived; waits where nothing has. Returns 0 at the end."""
        size = self._socket.recv_into(self._buffer)
        for payload in self._splitter.feed(self._buffer[:size]):
            call = calls.read_call(payload)
            if isinstance(call, calls.Abort):
                ongoing = self._ongoing.get(call.id)
                if ongoing is not None:  # else it comes too late
                    ongoing.is_wanted = False
            else:
                if not isinstance(call, calls.Forget):  # which is not answered
                    self._ongoing[call.id] = Ongoing(self, call.id)
                self._calls.append(call)
        return size
