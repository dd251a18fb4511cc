"""A little HTTP over asyncio, for pages of a line or a few thousand: one GET or HEAD a connection.

Everything is bounded: how many connect, how long a request may take to come and its answer to be
taken, how long its head may be. Who connects and says nothing keeps nobody out: it is the first to
go. There are no bodies, and no second request: a connection on the
same machine costs less than the question which of two ends may close it when.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import cast

import h11

from asrd.server.acceptor import Acceptor
from asrd.server.pages import Page, sentence
from asrd.server.tasks import TaskKeeper

MAX_CONNECTIONS = 32
MAX_TURNED_AWAY = 8
"""Beyond those: connections that are being told that there are too many."""

MAX_HEAD_BYTES = 8 * 2**10
ANSWER_S = 4.0
"""How long a page may take to be made; who waits is told then that it takes too long."""

REQUEST_S = 5.0
"""From the connection to the end of its answer: what is not done by then is broken off."""

LINGER_S = 1.0
MAX_DISCARDED_BYTES = 2**16
"""What still comes behind the answer is taken and forgotten for so long, and so much: a socket that
is closed before it was read to its end resets the connection, answer and all."""

TOO_MANY = "Too many connections are open: try again."

Answer = Callable[[str, str], Awaitable[Page]]
"""Makes the page at a path; the second is what the client accepts. Never raises."""

IsOwnName = Callable[[str], bool]


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine as only itself can: no name that a page on the
    internet could have made to mean it."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class HttpListener:
    """Owns a listening socket and the connections made to it.

    `is_own_name` says of a Host header whether it may be meant for us.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Answer,
        *,
        is_own_name: IsOwnName,
        tasks: TaskKeeper,
    ) -> None:
        self.answer = answer
        self.is_own_name = is_own_name
        self.tasks = tasks
        self._connections: dict[_Connection, None] = {}  # the oldest first
        self._acceptor = Acceptor(
            listener,
            lambda: _Connection(self),
            start=tasks.start,
            on_refusal=lambda code: None,
            hang_up=_hang_up,
        )

    def close(self) -> None:
        """Accept nobody any more, and break off what is under way."""
        self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()

    def came(self, connection: "_Connection") -> str | None:
        """A client has connected. Returns the sentence that turns it away, if it is."""
        if len(self._connections) >= MAX_CONNECTIONS:
            silent = next((each for each in self._connections if each.has_not_asked), None)
            if silent is not None:
                silent.abort()
                self.left(silent)
        if len(self._connections) >= MAX_CONNECTIONS + MAX_TURNED_AWAY:
            connection.abort()
            return TOO_MANY
        self._connections[connection] = None
        return TOO_MANY if len(self._connections) > MAX_CONNECTIONS else None

    def left(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the end."""

    def __init__(self, owner: HttpListener) -> None:
        self._owner = owner
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._request: h11.Request | None = None
        self._room_bytes = MAX_HEAD_BYTES
        self._is_answered = False
        self._has_input_ended = False
        self._discarded_bytes = 0

    # ── asyncio's side ────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        refusal = self._owner.came(self)
        self._end_within(REQUEST_S)
        if refusal is not None and not self._transport.is_closing():
            self._tell(sentence(503, refusal))

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._request is not None or self._is_answered:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.abort()
            return
        head, rest = data[: self._room_bytes], data[self._room_bytes :]
        self._room_bytes -= len(head)
        try:
            self._http.receive_data(head)
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            self._tell(sentence(400, "That is no HTTP/1.1 request."))
            return
        if isinstance(event, h11.Request):
            self._asked(event)
        elif rest or not self._room_bytes:
            self._tell(sentence(431, f"The head of a request has {MAX_HEAD_BYTES} bytes at most."))

    def eof_received(self) -> bool:
        """The client sends no more. Returns whether the connection stays open for its answer."""
        self._has_input_ended = True
        if self.has_not_asked and self._room_bytes < MAX_HEAD_BYTES:
            self._tell(sentence(400, "The request ended within its head."))
        return self._request is not None and not self._is_answered

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._owner.left(self)

    @property
    def has_not_asked(self) -> bool:
        """Whether a request has yet to come, or to come to its end."""
        return self._request is None and not self._is_answered

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # ── the request ───────────────────────────────────────────────────────────────────────────

    def _asked(self, request: h11.Request) -> None:
        self._request = request
        headers = dict(request.headers)
        host = headers.get(b"host", b"").decode("latin-1")
        if request.method not in (b"GET", b"HEAD"):
            self._tell(sentence(405, "These pages are read with GET or HEAD."))
        elif headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            self._tell(sentence(400, "These pages take no body."))
        elif not request.target.startswith(b"/"):
            self._tell(sentence(400, "The target of a request is a path here."))
        elif host and not self._owner.is_own_name(host):
            text = "This is a page of the machine itself: ask for it as localhost or 127.0.0.1."
            self._tell(sentence(421, text))
        else:
            path = request.target.partition(b"?")[0].decode("latin-1")
            accept = headers.get(b"accept", b"").decode("latin-1")
            self._answering = self._owner.tasks.start(self._answer(path, accept))

    async def _answer(self, path: str, accept: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                page = await self._owner.answer(path, accept)
        except TimeoutError:
            page = sentence(503, f"The page was not ready within {ANSWER_S:.0f} s: try again.")
        self._tell(page)

    # ── the answer ────────────────────────────────────────────────────────────────────────────

    def _tell(self, page: Page) -> None:
        """Write the answer and close when it is taken; what still comes is forgotten."""
        if self._transport is None or self._transport.is_closing():
            return
        self._is_answered = True
        self._transport.write(_response(page, has_body=not self._is_head))
        if self._has_input_ended:
            self._transport.close()
            return
        with suppress(OSError):  # the client has gone
            self._transport.write_eof()
        if not self._transport.get_write_buffer_size():
            self._end_within(LINGER_S)

    @property
    def _is_head(self) -> bool:
        return self._request is not None and self._request.method == b"HEAD"

    def _end_within(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)


def _response(page: Page, *, has_body: bool) -> bytes:
    reason = HTTPStatus(page.status).phrase
    head = [
        f"HTTP/1.1 {page.status} {reason}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status == HTTPStatus.METHOD_NOT_ALLOWED:
        head.append("Allow: GET, HEAD")
    return "\r\n".join([*head, "", ""]).encode() + (page.body if has_body else b"")


def _hang_up(channel: socket.socket) -> None:
    """The daemon has no file descriptor left: say so with the one that was kept."""
    page = sentence(503, "The daemon has no file descriptor left: try again.")
    channel.setblocking(False)
    with suppress(OSError):
        channel.send(_response(page, has_body=True))
        channel.shutdown(socket.SHUT_WR)
        channel.recv(MAX_DISCARDED_BYTES)
