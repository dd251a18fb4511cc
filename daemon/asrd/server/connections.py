"""Clients on the Unix socket: asyncio's transports joined to peers, and the door they come by."""

import asyncio
import select
import socket
import sys
from collections.abc import Callable
from typing import cast

import structlog

from asrd.errors import ErrorCode, ProtocolError
from asrd.server.listeners import may_connect, peer_uid
from asrd.server.peer import Peer, PeerChannel
from asrd.server.translate import error_message
from asrd.wire.codec import encode

log = structlog.get_logger()

READ_BYTES = 2**16
WRITE_HIGH_BYTES = 2**16
LINGER_S = 5.0
"""How long a reader may take nothing of what is buffered for it when its connection closes."""

_read_buffer = bytearray(READ_BYTES)
"""One for all connections: a read is worked off before the next begins."""

MakePeer = Callable[[PeerChannel, int], Peer]


class SocketChannel:
    """A `PeerChannel` over an asyncio transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send bytes, or buffer them."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Let the sender wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is buffered for as long as the reader takes of it, then end."""
        self._transport.close()
        self._linger(-1)

    def _linger(self, left_before: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left == left_before:
            self._transport.abort()
        elif left:
            asyncio.get_running_loop().call_later(LINGER_S, self._linger, left)


class SocketConnection(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._peer: Peer | None = None
        self._socket: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: see who it is, and whether there is room."""
        transport = cast(asyncio.Transport, transport)
        self._socket = cast(socket.socket, transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._peer = self._door.admit(self, transport, self._socket)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives."""
        return memoryview(_read_buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        if self._peer is not None:
            self._peer.received(memoryview(_read_buffer)[:nbytes])

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether the channel stays open for writing."""
        if self._peer is None or self._is_gone():
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
        max_connections: int,
        on_refusal: Callable[[str], None] = lambda code: None,
    ) -> None:
        self._make_peer = make_peer
        self._on_refusal = on_refusal
        self._max_connections = max_connections
        self._connections: set[SocketConnection] = set()
        self.empty = asyncio.Event()
        self.empty.set()

    @property
    def peers(self) -> list[Peer]:
        """Every admitted peer."""
        return [connection.peer for connection in self._connections if connection.peer is not None]

    def admit(
        self, connection: SocketConnection, transport: asyncio.Transport, channel: socket.socket
    ) -> Peer | None:
        """The peer for a new connection; None when it was turned away."""
        uid = peer_uid(channel)
        if not may_connect(uid):
            log.warning("connection_unauthorized", uid=uid)
            text = f"uid {uid} may not use this daemon"
            self._turn_away(transport, ProtocolError(ErrorCode.UNAUTHORIZED, text, fatal=True))
            return None
        if len(self._connections) >= self._max_connections:
            text = f"{self._max_connections} clients are connected, which is the limit"
            self._turn_away(
                transport,
                ProtocolError(ErrorCode.BUSY, text, fatal=True, retry_after_ms=1000),
            )
            return None
        self._connections.add(connection)
        self.empty.clear()
        return self._make_peer(SocketChannel(transport), uid)

    def left(self, connection: SocketConnection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self.empty.set()

    def _turn_away(self, transport: asyncio.Transport, error: ProtocolError) -> None:
        self._on_refusal(error.code)
        transport.write(encode(error_message(error)))
        transport.close()
