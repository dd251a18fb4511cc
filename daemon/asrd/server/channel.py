"""The byte channel of a connection on a socket, up to an end that the client can read."""

import asyncio

LINGER_S = 5.0
"""How long a reader may take nothing of what is buffered for it when its connection closes."""

MAX_LINGER_S = 20.0
"""How long it may take for all of it, however steadily it takes a little."""

DISCARD_S = 1.0
MAX_DISCARDED_BYTES = 2**20
"""What still comes from a client that was refused is taken and forgotten for so long, and so much.
A socket that is closed before it was read to its end resets the connection, and the client finds
the reset in place of the reason."""


class SocketChannel:
    """A `PeerChannel` over an asyncio transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._discarded = 0
        self._is_refused = False
        self._is_closed = False
        self._ends_at_s = 0.0

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not been sent."""
        return self._transport.get_write_buffer_size()

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is said or heard on it."""
        return self._is_refused or self._is_closed

    def write(self, data: bytes) -> None:
        """Send bytes, or buffer them. At the end nothing more is taken."""
        if not self.is_ending:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Let the sender wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def refuse(self) -> None:
        """Send what is buffered, then the end; take and forget what still comes for a moment."""
        if self.is_ending or self._transport.is_closing():
            return
        self._is_refused = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(DISCARD_S, self.close)

    def discard(self, count: int) -> None:
        """So many bytes came behind the end."""
        self._discarded += count
        if self._discarded > MAX_DISCARDED_BYTES:
            self.close()

    def close(self) -> None:
        """Send what is buffered for as long as the reader takes of it, then end."""
        if not self._is_closed:
            self._is_closed = True
            self._ends_at_s = self._loop.time() + MAX_LINGER_S
            self._transport.close()
            self._linger(-1)

    def _linger(self, left_before: int) -> None:
        left = self.buffered_bytes
        is_late = self._loop.time() >= self._ends_at_s
        if left and (left == left_before or is_late):
            self._transport.abort()
        elif left:
            self._loop.call_later(LINGER_S, self._linger, left)
