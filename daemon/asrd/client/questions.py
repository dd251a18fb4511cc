"""What was asked of the daemon beside its streams, and is not answered yet.

All questions may be asked twice without harm, so those that a break has left without an answer are
asked again on the next connection.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from asrd.client.errors import ClientError, ConnectionLost, Refused
from asrd.wire.messages import ClientMessage, Error, Health, Ping, Pong, Stats

Answer = TypeVar("Answer", Health, Stats)


@dataclass(slots=True, eq=False)
class _Question:
    message: ClientMessage
    answer: asyncio.Future[Health | Stats]
    is_awaited: bool = True


class Questions:
    """Pings, and one question at a time.

    `say` puts a message on the connection if there is one; it raises ConnectionLost once there
    will be none any more.
    """

    def __init__(self, say: Callable[[ClientMessage], None]) -> None:
        self._say = say
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._ping_ids = itertools.count(1)
        self._asking = asyncio.Lock()
        self._asked: _Question | None = None

    async def ping(self) -> None:
        """Return when the daemon has answered. Raises ConnectionLost."""
        number = next(self._ping_ids)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings[number] = pong
        try:
            self._say(Ping(id=number))
            await pong
        finally:
            del self._pings[number]

    async def ask(self, message: ClientMessage, kind: type[Answer]) -> Answer:
        """The answer to a question. Raises Refused, ConnectionLost."""
        # Answers bear no id, and `load` is answered by the same message as `health`: so one
        # question at a time, and the answer to one whose asker has gone is waited for first.
        async with self._asking:
            if self._asked is not None:
                with contextlib.suppress(ClientError):
                    await asyncio.shield(self._asked.answer)
            self._say(message)
            future = asyncio.get_running_loop().create_future()
            self._asked = asked = _Question(message, future)
            try:
                answer = await asyncio.shield(asked.answer)
            finally:
                asked.is_awaited = False
        if not isinstance(answer, kind):
            raise ConnectionLost(f"the daemon answered {type(answer).__name__.lower()} instead")
        return answer

    def answered(self, message: Pong | Health | Stats) -> None:
        """The daemon has answered."""
        if isinstance(message, Pong):
            if isinstance(message.id, int) and message.id in self._pings:
                _settle(self._pings[message.id], None)
        elif self._asked is not None:
            asked, self._asked = self._asked, None
            _settle(asked.answer, message)

    def refused(self, error: Error) -> None:
        """The daemon has answered with an error."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            _reject(asked.answer, Refused.of(error))

    def ask_again(self) -> None:
        """There is another connection: what is not answered is asked once more."""
        for number in self._pings:
            self._say(Ping(id=number))
        if (asked := self._asked) is None:
            return
        if asked.is_awaited:
            self._say(asked.message)
        else:  # nobody wants to know, and the daemon that was asked will not answer here
            self._asked = None
            _reject(asked.answer, ConnectionLost("the connection to the daemon broke"))

    def fail(self, error: ConnectionLost) -> None:
        """There will be no answers."""
        for pong in self._pings.values():
            _reject(pong, error)
        if self._asked is not None:
            asked, self._asked = self._asked, None
            _reject(asked.answer, error)


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():  # its waiter may have been cancelled
        future.set_result(value)


def _reject(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # its waiter may have gone, which is no mistake
