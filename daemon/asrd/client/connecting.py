"""Getting a broken connection back: attempt after attempt, until one succeeds or all are made."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from asrd.client.errors import ClientError, ConnectionLost
from asrd.client.recovery import Pacer, Recovery, asked_wait_s, is_final

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


async def pause(hurry: asyncio.Event, wait_s: float) -> None:
    """Let `wait_s` pass, or less where `hurry` is set."""
    try:
        async with asyncio.timeout(wait_s):
            await hurry.wait()
    except TimeoutError:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time and chance, handed in: `now_s` is monotonic, `chance` gives numbers from 0 to 1."""

    now_s: Callable[[], float] = monotonic
    pause: Callable[[asyncio.Event, float], Awaitable[None]] = pause
    chance: Callable[[], float] = random.random


class Reconnector:
    """Makes the attempts of one client.

    `on_wait` is told the error of before, the number of the next attempt, and when it comes.
    """

    def __init__(
        self,
        recovery: Recovery,
        timing: Timing,
        on_wait: Callable[[ClientError, int, float], None],
    ) -> None:
        self._timing = timing
        self._on_wait = on_wait
        self._pacer = Pacer(recovery, timing.chance)
        self._pacer.reached(timing.now_s())
        self._hurry = asyncio.Event()
        self._wait_s: float | None = None
        self._is_anew = False

    @property
    def attempts(self) -> int:
        """How many were made in a row."""
        return self._pacer.attempts

    def worked(self) -> None:
        """The daemon has finished something on the connection that there is."""
        self._pacer.worked()

    def hurry(self) -> None:
        """Make the next attempt now, however long it was to be waited for."""
        self._hurry.set()

    def start_anew(self) -> None:
        """Somebody asked for it: the first attempt is made at once, and all may be made again."""
        self._pacer.start_anew()
        self._hurry.set()
        self._is_anew = True

    async def reconnect(self, lost: ClientError, dial: Callable[[], Awaitable[T]]) -> T:
        """What `dial` returns once it succeeds, `lost` being what went wrong before.

        Raises:
            ClientError: it is given up; the error of the last attempt.
        """
        # Imported when it is needed first: it takes as long as all the rest of the client.
        from tenacity import AsyncRetrying, retry_if_exception

        self._pacer.broke(self._timing.now_s())
        if self._is_anew:  # somebody asked for it, whatever the daemon said before
            lost, self._is_anew = ConnectionLost(str(lost)), False
        attempts = AsyncRetrying(
            sleep=self._pause,
            retry=retry_if_exception(lambda error: not is_final(error)),
            after=self._decide,
            stop=lambda _: self._wait_s is None,
            wait=lambda _: self._wait_s or 0.0,
            before_sleep=self._tell,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise lost  # so that the first wait comes before the first attempt
                return await self._try(dial)
        raise AssertionError("an attempt returns or raises")

    async def _try(self, dial: Callable[[], Awaitable[T]]) -> T:
        self._hurry.clear()
        self._pacer.begin()
        try:
            reached = await dial()
        except ClientError:
            self._pacer.missed(self._timing.now_s())
            raise
        self._pacer.reached(self._timing.now_s())
        return reached

    def _decide(self, state: "RetryCallState") -> None:
        self._wait_s = self._pacer.next_wait_s(self._timing.now_s(), asked_wait_s(_error_of(state)))

    def _tell(self, state: "RetryCallState") -> None:
        self._on_wait(_error_of(state), self._pacer.attempts + 1, self._wait_s or 0.0)

    async def _pause(self, wait_s: float) -> None:
        await self._timing.pause(self._hurry, wait_s)


def _error_of(state: "RetryCallState") -> ClientError:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, ClientError) else ConnectionLost("the connection broke")
