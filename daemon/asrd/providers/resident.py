"""A worker that is kept: started, loaded, and started again when it dies.

    unavailable ──begin, ensure──► starting ──loaded──► ready ──death──► starting ...
                                      └──load failed──► unavailable

A worker's death, while it loads or later, is followed by a new start after a pause that doubles
from 0.1 to 30 s and begins anew when work is done again. It stays `starting` meanwhile, so work
for it waits, until it has failed `TRIES_BEFORE_UNAVAILABLE` times.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from itertools import count

import structlog

from asrd.errors import ModelUnavailable, ProviderError
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
        self._settled = asyncio.Event()  # set in every state but `starting`
        self._settled.set()
        self._try_now = asyncio.Event()
        self._failure: type[ProviderError] = ProviderError
        self._deaths = 0
        self._is_stopped = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return self._worker.pid if self._worker is not None else None

    def begin(self) -> None:
        """Start loading, unless that is under way; `ensure` waits for it and tells the outcome."""
        if self.state is ModelState.UNAVAILABLE and not self._is_stopped:
            self._enter(ModelState.STARTING)
            self._try_now.set()
            if self._coming_up is None or self._coming_up.done():
                self._coming_up = asyncio.create_task(self._come_up(has_run=False))

    async def ensure(self) -> None:
        """Return when it is ready; one load serves all who wait.

        Raises:
            ModelUnavailable: it is not on this machine.
            ProviderError: it does not load, or was unloaded meanwhile.
        """
        self.begin()
        while self.state is ModelState.STARTING:
            await self._settled.wait()
        if self.state is not ModelState.READY:
            raise self._failure(self.problem)

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
        """End the worker for good; whoever waits for it is told."""
        self._is_stopped = True
        if self._coming_up is not None:
            self._coming_up.cancel()
            await asyncio.wait([self._coming_up])
        if self._worker is not None:
            await self._worker.stop()
            self._worker = None
        self._failure = ProviderError
        self._enter(ModelState.UNAVAILABLE, f"{self.name} was unloaded")

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _enter(self, state: ModelState, problem: str = "") -> None:
        if state is ModelState.STARTING:
            self._settled.clear()
        else:
            self._settled.set()
        if (state, problem) != (self.state, self.problem):
            self.state, self.problem = state, problem
            self._on_change()

    async def _come_up(self, *, has_run: bool) -> None:
        """Start and load until it is ready.

        A first load that is refused is not tried again, nor one that ends too many workers. What
        has run once is tried for ever; after a few tries in vain it counts as unavailable, so
        that nobody waits for it, and whoever asks for it hastens the next try.
        """
        for attempt in count(1):
            if has_run or attempt > 1:
                await self._pause()
                self.restarts += 1
            try:
                await self._bring_up()
            except (ProviderError, OSError) as error:
                self.consecutive_errors += 1
                is_refused = not isinstance(error, WorkerDied)
                log.error("load_failed", worker=self.name, problem=str(error))
                if attempt < TRIES_BEFORE_UNAVAILABLE and (has_run or not is_refused):
                    continue
                is_missing = isinstance(error, ModelUnavailable)
                self._failure = ModelUnavailable if is_missing else ProviderError
                self._enter(ModelState.UNAVAILABLE, str(error))
                if not has_run:
                    return
            else:
                return

    async def _pause(self) -> None:
        # Jitter keeps several workers that one event killed from loading in step.
        seconds = pause_s(self._deaths, random.random())  # noqa: S311
        self._deaths += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._try_now.wait(), seconds)

    async def _bring_up(self) -> None:
        self._try_now.clear()
        self._enter(ModelState.STARTING)
        started = time.monotonic()
        self._worker = worker = await WorkerProcess.start(self.name)
        try:
            answer = await worker.call(self._make_load)
            if not isinstance(answer, calls.Loaded):
                raise ProviderError(f"{self.name} answered a load with {type(answer).__name__}")
        except ProviderError:
            self._worker = None
            await worker.stop()
            raise
        worker.on_death = self._died
        self.load_s = time.monotonic() - started
        log.info(
            "model_ready",
            worker=self.name,
            pid=worker.pid,
            load_s=round(answer.load_s, 3),
            warm_up_s=round(answer.warm_up_s, 3),
            total_s=round(self.load_s, 3),
        )
        self._enter(ModelState.READY)

    def _died(self) -> None:
        self.consecutive_errors += 1
        self._worker = None
        if not self._is_stopped:
            self._enter(ModelState.STARTING)
            self._coming_up = asyncio.create_task(self._come_up(has_run=True))

    def _note(self, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        if answer.cancelled() or isinstance(answer.exception(), WorkerDied):
            return  # a death is counted once, whatever was under way
        error = answer.exception()
        if error is not None:
            self.consecutive_errors += 1
            log.warning("call_failed", worker=self.name, problem=str(error))
            return
        self.consecutive_errors = 0
        self._deaths = 0
        result = answer.result()
        if isinstance(result, calls.Decoded):
            self.last_inference_s = result.decode_s
