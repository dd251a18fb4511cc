"""A worker that is kept: started, loaded, and started again when it dies.

    (none) ──ensure──► starting ──loaded──► ready ──death──► starting ...
                          └──load failed──► unavailable ──ensure, or the next try──► starting

A death is followed by a new start after a pause that doubles from 0.1 to 30 s and begins anew
when work is done again.
"""

import asyncio
import random
import time
from collections.abc import Callable
from enum import StrEnum
from itertools import count

import structlog

from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.providers.supervisor import WorkerDied, WorkerProcess

log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
TRIES_BEFORE_UNAVAILABLE = 3


class ModelState(StrEnum):
    """How a model is, in the protocol's words."""

    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"


def pause_s(deaths: int, jitter: float) -> float:
    """How long to wait before the next start; `jitter` in 0..1 spreads it by up to a fifth."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(deaths, 30))
    return longest * (1 - 0.2 * jitter)


class Resident:
    """One worker with one thing loaded in it.

    `make_load` builds the call that loads it. `on_change` is called whenever `state` has changed.
    """

    def __init__(
        self,
        name: str,
        make_load: Callable[[int], calls.AnyCall],
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.state = ModelState.UNAVAILABLE
        self.problem = ""
        self.load_s: float | None = None
        self.restarts = 0
        self.consecutive_errors = 0
        self.last_inference_s: float | None = None
        self._make_load = make_load
        self._on_change = on_change
        self._worker: WorkerProcess | None = None
        self._coming_up: asyncio.Task[None] | None = None
        self._deaths = 0
        self._is_stopped = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return self._worker.pid if self._worker is not None else None

    def begin(self) -> asyncio.Task[None]:
        """Start loading, unless that is under way; `ensure` waits for it and tells the outcome."""
        if self._coming_up is None or self._coming_up.done():
            self._enter(ModelState.STARTING)
            self._coming_up = asyncio.create_task(self._bring_up())
            # Whoever waits hears of a failure; when nobody does, it is logged and in `problem`.
            self._coming_up.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._coming_up

    async def ensure(self) -> None:
        """Return when it is ready; one load serves all who wait.

        Raises:
            ModelUnavailable: it is not on this machine.
            ProviderError: it does not load.
        """
        if self.state is ModelState.READY:
            return
        await asyncio.shield(self.begin())

    def call(self, make: Callable[[int], calls.AnyCall]) -> asyncio.Future[calls.AnyAnswer]:
        """Make a call to the worker; see `WorkerProcess.call`. Fails at once when not ready."""
        if self._worker is None or self.state is not ModelState.READY:
            future: asyncio.Future[calls.AnyAnswer] = asyncio.get_running_loop().create_future()
            future.set_exception(ProviderError(self.problem or f"{self.name} is not loaded"))
            return future
        future = self._worker.call(make)
        future.add_done_callback(self._note)
        return future

    def kill(self) -> None:
        """End a worker that cannot be trusted any more; another takes its place."""
        if self._worker is not None:
            self._worker.kill()

    async def stop(self) -> None:
        """End the worker for good."""
        self._is_stopped = True
        if self._coming_up is not None:
            self._coming_up.cancel()
            await asyncio.wait([self._coming_up])
        if self._worker is not None:
            await self._worker.stop()
        self._enter(ModelState.UNAVAILABLE, f"{self.name} was unloaded")

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _enter(self, state: ModelState, problem: str = "") -> None:
        if (state, problem) != (self.state, self.problem):
            self.state, self.problem = state, problem
            self._on_change()

    async def _bring_up(self) -> None:
        self._enter(ModelState.STARTING)
        started = time.monotonic()
        try:
            self._worker = await WorkerProcess.start(self.name)
            answer = await self._worker.call(self._make_load)
        except (ProviderError, OSError) as error:
            await self._give_up(error)
            raise
        if not isinstance(answer, calls.Loaded):
            raise TypeError(f"{self.name} answered a load with {type(answer).__name__}")
        self._worker.on_death = self._died
        self.load_s = time.monotonic() - started
        log.info(
            "model_ready",
            worker=self.name,
            pid=self._worker.pid,
            load_s=round(answer.load_s, 3),
            warm_up_s=round(answer.warm_up_s, 3),
            total_s=round(self.load_s, 3),
        )
        self._enter(ModelState.READY)

    async def _give_up(self, error: Exception) -> None:
        if self._worker is not None:
            await self._worker.stop()
            self._worker = None
        log.error("load_failed", worker=self.name, problem=str(error))
        self._enter(ModelState.UNAVAILABLE, str(error))

    def _died(self) -> None:
        self.consecutive_errors += 1
        self._worker = None
        if not self._is_stopped:
            self._enter(ModelState.STARTING)
            self._coming_up = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        for attempt in count(1):
            # Jitter keeps several workers that one event killed from loading in step.
            await asyncio.sleep(pause_s(self._deaths, random.random()))  # noqa: S311
            self._deaths += 1
            self.restarts += 1
            try:
                await self._bring_up()
            except (ProviderError, OSError):
                if attempt < TRIES_BEFORE_UNAVAILABLE:
                    self._enter(ModelState.STARTING)
            else:
                return

    def _note(self, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        if answer.cancelled() or isinstance(answer.exception(), WorkerDied):
            return  # a death is counted once, whatever was under way
        if answer.exception() is not None:
            self.consecutive_errors += 1
            return
        self.consecutive_errors = 0
        self._deaths = 0
        result = answer.result()
        if isinstance(result, calls.Decoded):
            self.last_inference_s = result.decode_s
