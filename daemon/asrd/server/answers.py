"""Requests whose answers take their time: they hold up nothing that stands behind them."""

import asyncio
from collections.abc import Callable

from asrd.errors import ErrorCode, ProtocolError
from asrd.server.hub import Hub
from asrd.server.report import Reporter
from asrd.wire import messages as wire

MAX_ANSWERS_DUE = 16
"""Health checks and loads that one connection may have under way."""


class LateAnswers:
    """The answers that one connection waits for.

    `send` and `refuse` take what is told, `answered` is called behind each.
    """

    def __init__(
        self,
        hub: Hub,
        reporter: Reporter,
        *,
        send: Callable[[wire.ServerMessage], None],
        refuse: Callable[[ProtocolError], None],
        answered: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._reporter = reporter
        self._send = send
        self._refuse = refuse
        self._answered = answered
        self.due = 0

    def begin(self, message: wire.GetHealth | wire.Load | wire.Unload) -> None:
        """Work on a request. Raises ProtocolError when too many are worked on already."""
        if self.due >= MAX_ANSWERS_DUE:
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{MAX_ANSWERS_DUE} requests of this connection are being worked on",
                retry_after_ms=1000,
            )
        self.due += 1
        work = (
            self._tell_health(deep=message.deep)
            if isinstance(message, wire.GetHealth)
            else self._load_or_unload(message)
        )
        self._hub.tasks.start(work).add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.due -= 1
        if not task.cancelled() and task.exception() is not None:  # logged by its keeper
            text = "the daemon failed over this request; its log says why"
            self._refuse(ProtocolError(ErrorCode.INTERNAL, text))
        self._answered()

    async def _tell_health(self, *, deep: bool) -> None:
        self._send(await self._reporter.health(deep=deep))

    async def _load_or_unload(self, message: wire.Load | wire.Unload) -> None:
        try:
            key = self._hub.resolve(message.provider, message.model)
            if isinstance(message, wire.Load):
                await self._hub.ensure(key)
            else:
                await self._hub.pool.unload(key)
        except ProtocolError as error:
            self._refuse(error)
        else:
            self._send(await self._reporter.health())
