"""The byte channel of a connection on a socket, up to an end that the client can read."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios

from asrd.clock import Clock

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
    """A `PeerChannel` over an asyncio transport. Its times pass with its owner's `check`."""

    def __init__(self, transport: asyncio.Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._discarded = 0
        self._is_refused = False
        self._is_closed = False
        self._refused_at_s = self._closed_at_s = self._taken_at_s = 0.0
        self._untaken_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not been sent."""
        return self._transport.get_write_buffer_size()

    @property
    def untaken_bytes(self) -> int:
        """What was written and the reader has not taken, with the kernel's overhead."""
        return self.buffered_bytes + _held_by_kernel(self._transport.get_extra_info("socket"))

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
        self._refused_at_s = self._clock.now_s()
        self._transport.write_eof()
        self._transport.resume_reading()

    def discard(self, count: int) -> None:
        """So many bytes came behind the end."""
        self._discarded += count
        if self._discarded > MAX_DISCARDED_BYTES:
            self.close()

    def close(self) -> None:
        """Send what is buffered for as long as the reader takes of it, then end."""
        if not self._is_closed:
            self._is_closed = True
            self._closed_at_s = self._taken_at_s = self._clock.now_s()
            self._untaken_bytes = self.untaken_bytes
            self._transport.close()

    def check(self) -> None:
        """Look after time: give up a reader at the end. To be called twice a second or so."""
        now_s = self._clock.now_s()
        if self._is_refused and not self._is_closed and now_s - self._refused_at_s >= DISCARD_S:
            self.close()
        if not self._is_closed or not self.buffered_bytes:
            return
        before_bytes, self._untaken_bytes = self._untaken_bytes, self.untaken_bytes
        if self._untaken_bytes < before_bytes:
            self._taken_at_s = now_s
        is_late = now_s - self._closed_at_s >= MAX_LINGER_S
        if is_late or now_s - self._taken_at_s >= LINGER_S:
            self._transport.abort()


def _held_by_kernel(channel: socket.socket | None) -> int:
    """What the kernel holds of what was sent, until the other end takes it.

    On Linux in steps of a whole write, and with its overhead. Elsewhere nobody can tell.
    """
    if sys.platform != "linux" or channel is None or channel.fileno() < 0:
        return 0
    held = fcntl.ioctl(channel.fileno(), termios.TIOCOUTQ, bytes(4))  # the same as SIOCOUTQ
    return int(struct.unpack("i", held)[0])
