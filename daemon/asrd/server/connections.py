"""Clients on the Unix socket: asyncio's transports joined to peers, and the door they come by."""

import asyncio
import select
import socket
import sys
import weakref
from collections.abc import Callable
from typing import cast

import structlog

from asrd.clock import Clock
from asrd.errors import ErrorCode, ProtocolError
from asrd.server.admission import Admission
from asrd.server.channel import SocketChannel
from asrd.server.credentials import credentials_of
from asrd.server.peer import Peer, PeerChannel
from asrd.server.translate import error_message
from asrd.wire.codec import encode

log = structlog.get_logger()

READ_BYTES = 2**16
WRITE_HIGH_BYTES = 2**14
"""From here on frames wait in the outbox, where newer ones may replace them."""

MAX_TURNED_AWAY = 64
"""Connections that are being turned away politely; each has a descriptor for that long."""

MAX_KEPT_READS = 64
SHORT_READ_BYTES = 2**12
"""While so many whole reads are kept because there was too much in them for one turn, reads are
short: a crowd that floods costs no more than 4 KiB for each."""


class _ReadBuffer(bytearray):
    """What is read into. One for all connections: a read is worked off before the next begins.

    Who has too much in it for one turn keeps it until it is worked off, and the others get a new
    one.
    """


_read_buffer = _ReadBuffer(READ_BYTES)
_kept_reads: dict[int, "weakref.ref[_ReadBuffer]"] = {}


def _keep(buffer: _ReadBuffer) -> None:
    """Count a buffer as kept until nobody holds it any more."""
    number = id(buffer)
    _kept_reads[number] = weakref.ref(buffer, lambda _: _kept_reads.pop(number, None))


def _new_read_buffer() -> _ReadBuffer:
    has_room = len(_kept_reads) < MAX_KEPT_READS
    return _ReadBuffer(READ_BYTES if has_room else SHORT_READ_BYTES)


MakePeer = Callable[[PeerChannel, int], Peer]


class SocketConnection(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._peer: Peer | None = None
        self._channel: SocketChannel | None = None
        self._socket: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: see who it is, and whether there is room."""
        transport = cast(asyncio.Transport, transport)
        self._socket = cast(socket.socket, transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._channel = SocketChannel(transport, self._door.clock)
        self._peer = self._door.admit(self, self._channel, self._socket)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives."""
        global _read_buffer
        if len(_read_buffer) < READ_BYTES and len(_kept_reads) < MAX_KEPT_READS:
            _read_buffer = _ReadBuffer(READ_BYTES)
        return memoryview(_read_buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        global _read_buffer
        if self._channel is not None and self._channel.is_ending:
            self._channel.discard(nbytes)
        elif self._peer is not None:
            came = memoryview(_read_buffer)[:nbytes]
            if not self._peer.received(came):
                _keep(_read_buffer)
                _read_buffer = _new_read_buffer()

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether the channel stays open for writing."""
        has_ended = self._channel is None or self._channel.is_ending
        if self._peer is None or has_ended or self._is_gone():
            return False
        self._peer.input_ended()
        return True

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        if self._peer is not None:
            self._peer.outbox.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room."""
        if self._peer is not None:
            self._peer.resumed_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        if self._peer is not None:
            self._peer.lost()
            self._peer = None
        self._door.left(self)

    @property
    def peer(self) -> Peer | None:
        """The peer, for as long as the connection lives and was admitted."""
        return self._peer

    def check(self) -> None:
        """Look after the time of a connection that has no peer."""
        if self._channel is not None:
            self._channel.check()

    def _is_gone(self) -> bool:
        """Whether the other end is closed altogether and not only for writing.

        Both look like the end of input. Only the kernel tells a client that has finished, whose
        streams are to be finished too, from one that broke off and will come back to resume.
        """
        if self._socket is None:
            return True
        if sys.platform == "darwin":
            return False  # there POLLHUP is raised by a half-close as well
        poller = select.poll()
        poller.register(self._socket.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poller.poll(0))


class Door:
    """Lets clients in: the right uid, and no more than there is room for.

    `on_refusal` is told the code of each refusal.
    """

    def __init__(
        self,
        make_peer: MakePeer,
        admission: Admission,
        max_connections: int,
        clock: Clock,
        on_refusal: Callable[[str], None] = lambda code: None,
    ) -> None:
        self.clock = clock
        self._make_peer = make_peer
        self.admission = admission
        self._on_refusal = on_refusal
        self._max_connections = max_connections
        self._connections: set[SocketConnection] = set()
        self._turned_away: set[SocketConnection] = set()
        self.is_draining = False
        self.admitted = 0
        """Connections that were let in, ever."""
        self.empty = asyncio.Event()
        self.empty.set()

    def apply(self, max_connections: int, admission: Admission) -> None:
        """Go by another configuration; whoever is inside stays."""
        self.admission = admission
        self._max_connections = max_connections

    @property
    def peers(self) -> list[Peer]:
        """Every admitted peer."""
        return [connection.peer for connection in self._connections if connection.peer is not None]

    def admit(
        self, connection: SocketConnection, channel: SocketChannel, client: socket.socket
    ) -> Peer | None:
        """The peer for a new connection; None when it was turned away."""
        try:
            credentials = credentials_of(client)
        except OSError:  # it has gone already, and nobody can say whose it was
            channel.close()
            return None
        uid = credentials.uid
        if not self.admission.admits(credentials):
            log.warning("connection_unauthorized", uid=uid)
            text = f"uid {uid} may not use this daemon"
            error = ProtocolError(ErrorCode.UNAUTHORIZED, text, fatal=True)
            self._turn_away(connection, channel, error)
            return None
        if self.is_draining:
            error = ProtocolError(
                ErrorCode.DRAINING, "the daemon is ending", fatal=True, retry_after_ms=1000
            )
            self._turn_away(connection, channel, error)
            return None
        if len(self._connections) >= self._max_connections:
            text = f"{self._max_connections} clients are connected, which is the limit"
            error = ProtocolError(ErrorCode.BUSY, text, fatal=True, retry_after_ms=1000)
            self._turn_away(connection, channel, error)
            return None
        self._connections.add(connection)
        self.admitted += 1
        self.empty.clear()
        return self._make_peer(channel, uid)

    def check(self) -> None:
        """Look after the time of those who were turned away. Peers look after their own."""
        for connection in list(self._turned_away):
            connection.check()

    def left(self, connection: SocketConnection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        self._turned_away.discard(connection)
        if not self._connections:
            self.empty.set()

    def _turn_away(
        self, connection: SocketConnection, channel: SocketChannel, error: ProtocolError
    ) -> None:
        self._on_refusal(error.code)
        channel.write(encode(error_message(error)))
        if len(self._turned_away) < MAX_TURNED_AWAY:
            self._turned_away.add(connection)
            channel.refuse()
        else:
            channel.close()
