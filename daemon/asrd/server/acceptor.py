"""Accepts clients from a listening socket, also when the process has no descriptor left.

asyncio's own server stops accepting for a second when descriptors run out, and who connects then
hangs in the queue. Here one descriptor is kept in reserve: it is given up to accept the client,
tell it `busy`, and hang up. Nothing spins, because each look at the socket takes somebody from the
queue; where not even that works, accepting pauses.
"""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from asrd.errors import ErrorCode, ProtocolError
from asrd.server.translate import error_message
from asrd.wire.codec import encode

log = structlog.get_logger()

ACCEPTED_AT_ONCE = 16
"""Clients accepted in one turn of the loop: who is connected goes on being served."""

RETRY_S = 0.25
DISCARDED_BYTES = 2**16
NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

Start = Callable[[Coroutine[Any, Any, None]], object]


class Acceptor:
    """Owns a listening socket: accepts from it until it is closed.

    `make_protocol` makes what serves a client, `start` runs a coroutine, `on_refusal` is told the
    code of each refusal. `hang_up` tells a client for whom there is no descriptor.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        start: Start,
        on_refusal: Callable[[str], None],
        hang_up: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self._hang_up = hang_up or _hang_up
        self._listener = listener
        self._make_protocol = make_protocol
        self._start = start
        self._on_refusal = on_refusal
        self._loop = asyncio.get_running_loop()
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)
        self._retry: asyncio.TimerHandle | None = None
        self._is_without_room = False
        self._is_failing = False
        self._connecting = 0
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    async def accept_rest(self) -> None:
        """Accept all who stand in the socket's queue. Whoever calls bounds it by a timeout."""
        queue = select.poll()
        queue.register(self._listener, select.POLLIN)
        while self._connecting or queue.poll(0):  # noqa: ASYNC110 - each turn accepts some
            await asyncio.sleep(0)

    def close(self) -> None:
        """Accept nobody any more."""
        self._loop.remove_reader(self._listener)
        if self._retry is not None:
            self._retry.cancel()
        self._give_up_reserve()
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                channel, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._refuse_one(error)
                else:
                    self._put_off(error)
                return
            self._is_without_room = self._is_failing = False
            channel.setblocking(False)
            self._connecting += 1
            self._start(self._connect(channel))

    async def _connect(self, channel: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, channel)
        except OSError as error:  # it is gone already, or there is no memory for it
            log.warning("connection_lost", problem=str(error))
            channel.close()
        finally:
            self._connecting -= 1

    def _refuse_one(self, error: OSError) -> None:
        """Spend the reserve on telling one client that there is no room."""
        if not self._is_without_room:  # said once, however many come
            self._is_without_room = True
            log.error("no_descriptors", problem=error.strerror)
        self._give_up_reserve()
        try:
            channel, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            self._take_reserve()
        except OSError:
            self._take_reserve()
            self._pause()
        else:
            with channel:
                self._hang_up(channel)
            self._on_refusal(ErrorCode.BUSY)
            self._take_reserve()

    def _put_off(self, error: OSError) -> None:
        """Whatever it is, it is there at the next look as well: do not look all the time."""
        if not self._is_failing:  # said once
            self._is_failing = True
            log.error("accept_failed", problem=error.strerror or str(error))
        self._pause()

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(RETRY_S, self._go_on)

    def _go_on(self) -> None:
        self._retry = None
        if self._reserve is None:
            self._take_reserve()
        self._loop.add_reader(self._listener, self._accept)

    def _take_reserve(self) -> None:
        with suppress(OSError):  # somebody else was quicker; it is tried again
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _give_up_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _hang_up(channel: socket.socket) -> None:
    text = "the daemon has no file descriptor left"
    error = ProtocolError(ErrorCode.BUSY, text, fatal=True, retry_after_ms=1000)
    channel.setblocking(False)
    with suppress(OSError):  # it has hung up, too
        channel.send(encode(error_message(error)))
        channel.shutdown(socket.SHUT_WR)
        channel.recv(DISCARDED_BYTES)  # what lies unread at a close becomes a reset
