"""A worker that is kept: started, loaded, warmed, and started again when it dies or hangs.

Its states and what moves them stand in `lifecycle`. A worker's death, while it loads or later, is
followed by a new start after a pause that doubles from 0.1 to 30 s and begins anew when work is
done again. It counts as coming up meanwhile, so work for it waits, until it has failed
`load_attempts` times running.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

import structlog

from asrd.abilities import Abilities
from asrd.config import Supervision
from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError, RequestUnsupported
from asrd.providers import calls, processes
from asrd.providers.lifecycle import ModelInput, ModelState, next_state
from asrd.providers.patience import Patience
from asrd.providers.residency import NoRoom
from asrd.providers.supervisor import WorkerDied, WorkerProcess
from asrd.providers.watch import Call, LoadWatch, Watch

log = structlog.get_logger()

ERRORS_UNTIL_DEGRADED = 3
DEFAULT_RULE = Supervision()


def pause_s(rule: Supervision, deaths: int, jitter: float) -> float:
    """How long to wait before the next start; `jitter` in 0..1 spreads it by up to a fifth."""
    longest = min(rule.longest_pause_s, rule.first_pause_s * 2.0 ** min(deaths, 30))
    return longest * (1 - 0.2 * jitter)


class Resident:
    """One worker with one thing loaded in it.

    Args:
        name: for people.
        make_load: builds the call that loads it.
        on_change: called whenever `state` or `problem` has changed.
        rule: when a worker hangs, and how it is restarted.
        make_room: awaited before a first load; may raise ProviderError.
        on_outcome: told of each call that says something of the provider whether it failed.
    """

    def __init__(
        self,
        name: str,
        make_load: Callable[[int], calls.AnyCall],
        on_change: Callable[[], None],
        *,
        rule: Supervision = DEFAULT_RULE,
        make_room: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
        on_outcome: Callable[[bool], None] = lambda has_failed: None,
    ) -> None:
        self.name = name
        self.state = ModelState.UNAVAILABLE
        self.problem = ""
        self.abilities = Abilities()
        self.load_s: float | None = None
        self.warm_up_s: float | None = None
        self.restarts = 0
        self.consecutive_errors = 0
        self.last_inference_s: float | None = None
        self.worked_at_s: float | None = None
        self.gpu_bytes = 0
        self._make_load = make_load
        self._on_change = on_change
        self._rule = rule
        self._make_room = make_room
        self._on_outcome = on_outcome
        self._patience = Patience(floor_s=rule.hang_after_s, factor=rule.hang_factor)
        self._watch = Watch(self._patience)
        self._loading = LoadWatch()
        self._worker: WorkerProcess | None = None
        self._coming_up: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # set in every state but those of coming up
        self._settled.set()
        self._try_now = asyncio.Event()
        self._failure: type[ProviderError] = ProviderError
        self._deaths = 0
        self._is_stopped = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return self._worker.pid if self._worker is not None else None

    @property
    def memory_bytes(self) -> int:
        """Memory that the worker holds now."""
        return processes.memory_bytes(self._worker.pid) if self._worker is not None else 0

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self._watch.is_busy

    @property
    def is_restarting(self) -> bool:
        """Whether it was up before and is coming back."""
        return self.state.is_coming_up and self.load_s is not None

    @property
    def has_no_room(self) -> bool:
        """Whether it is not loaded because others take the room: that says nothing of itself."""
        return self.state is ModelState.UNAVAILABLE and self._failure is NoRoom

    def begin(self) -> None:
        """Start loading, unless that is under way; `ensure` waits for it and tells the outcome."""
        if self.state is ModelState.UNAVAILABLE and not self._is_stopped:
            self._enter(ModelInput.BEGIN)
            self._try_now.set()
            if self._coming_up is None or self._coming_up.done():
                self._coming_up = asyncio.create_task(self._come_up(has_run=False))

    async def ensure(self) -> None:
        """Return when it is up; one load serves all who wait.

        Raises:
            ModelUnavailable: it is not on this machine.
            ProviderError: it does not load, or was unloaded meanwhile.
        """
        self.begin()
        while self.state.is_coming_up:
            await self._settled.wait()
        if not self.state.is_up:
            raise self._failure(self.problem)

    def call(
        self,
        make: Callable[[int], calls.AnyCall],
        audio_s: float = 0.0,
        windows: int = 1,
        is_partial: bool = False,
    ) -> Call:
        """Make a call over so many windows, the longest of so much audio; see `WorkerProcess.call`.

        Partials and finals are learnt apart. Fails at once when not up.
        """
        if self._worker is None or not self.state.is_up:
            future: Call = asyncio.get_running_loop().create_future()
            future.set_exception(ProviderError(self.problem or f"{self.name} is not loaded"))
            return future
        future = self._worker.call(make)
        began_s = time.monotonic()
        self._watch.began(future, self._worker.last_id, audio_s, windows, is_partial=is_partial)
        noted_s = audio_s if windows == 1 else None  # of a batch there is nothing to learn
        future.add_done_callback(lambda done: self._note(done, noted_s, began_s, is_partial))
        return future

    def abort(self, call: Call) -> None:
        """Have the engine stop a decode that nobody wants, where it can; the answer still comes."""
        if self._worker is not None:
            self._worker.abort(call)

    def forget(self, utterance: int) -> None:
        """Nobody goes on with an utterance that the model was fed."""
        if self._worker is not None:
            self._worker.forget(utterance)

    def check(self, now_s: float) -> None:
        """End a worker that gets no further. To be called every half second or so."""
        if self._worker is None:
            return
        if self.state.is_coming_up:
            hung_s = self._loading.hung_for_s(now_s, self._worker.pid, self._rule)
        else:
            hung_s = self._watch.hung_for_s(now_s)
        if hung_s is not None:
            log.error(
                "worker_hung", worker=self.name, pid=self.pid, state=self.state, quiet_s=hung_s
            )
            self._worker.kill()

    def complain(self, problem: str) -> None:
        """Somebody found fault with it that it cannot see itself."""
        if self.state.is_up:
            self.consecutive_errors += 1
            self._enter(ModelInput.FAILED_AGAIN, problem)

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
        self._enter(ModelInput.STOPPED, f"{self.name} was unloaded")

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _enter(self, happened: ModelInput, problem: str = "") -> None:
        state = next_state(self.state, happened)
        if (state, problem) == (self.state, self.problem):
            return
        self.state, self.problem = state, problem
        if state.is_coming_up:
            self._settled.clear()
        else:
            self._settled.set()
        self._on_change()

    async def _come_up(self, *, has_run: bool) -> None:
        """Start, load and warm until it is ready.

        A first load that is refused is not tried again, nor one that ends too many workers. What
        has run once is tried for ever; after a few tries in vain it counts as unavailable, so
        that nobody waits for it, and whoever asks for it hastens the next try.
        """
        for attempt in count(1):
            if has_run or attempt > 1:
                await self._pause()
                self.restarts += 1
            try:
                if not has_run and attempt == 1:
                    await self._make_room()
                await self._bring_up()
            except Exception as error:
                if not isinstance(error, ProviderError | OSError):
                    log.exception("load_failed_unexpectedly", worker=self.name)
                self.consecutive_errors += 1
                is_refused = not isinstance(error, WorkerDied)
                log.error("load_failed", worker=self.name, problem=str(error))
                if attempt < self._rule.load_attempts and (has_run or not is_refused):
                    self._enter(ModelInput.DIED)
                    continue
                is_known = isinstance(error, ModelUnavailable | NoRoom)
                self._failure = type(error) if is_known else ProviderError  # type: ignore[assignment]
                self._enter(ModelInput.GIVEN_UP, str(error))
                if not has_run:
                    return
            else:
                return

    async def _pause(self) -> None:
        # Jitter keeps several workers that one event killed from loading in step.
        seconds = pause_s(self._rule, self._deaths, random.random())  # noqa: S311
        self._deaths += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._try_now.wait(), seconds)

    async def _bring_up(self) -> None:
        self._try_now.clear()
        if self.state is ModelState.UNAVAILABLE:
            self._enter(ModelInput.BEGIN)
        started = time.monotonic()
        self._loading = LoadWatch()
        self._worker = worker = await WorkerProcess.start(self.name)
        worker.on_progress = self._progressed
        try:
            answer = await worker.call(self._make_load)
            if not isinstance(answer, calls.Loaded):
                raise ProviderError(f"{self.name} answered a load with {type(answer).__name__}")
            if worker.has_ended:  # behind its answer, before anybody listened for its death
                raise WorkerDied(f"the worker of {self.name} died as soon as it was loaded")
        except BaseException:  # a stop may have cancelled the load: no worker is left behind
            self._worker = None
            await worker.stop()
            raise
        worker.on_death = self._died
        for decode in answer.warm_up:
            self._patience.note(decode.audio_s, decode.took_s)
        self.load_s = time.monotonic() - started
        self.warm_up_s = answer.warm_up_s
        self.gpu_bytes = answer.gpu_bytes
        self.abilities = answer.abilities
        self._watch.at_once = answer.abilities.decodes_at_once
        log.info(
            "model_ready",
            worker=self.name,
            pid=worker.pid,
            load_s=round(answer.load_s, 3),
            warm_up_s=round(answer.warm_up_s, 3),
            total_s=round(self.load_s, 3),
        )
        self._enter(ModelInput.WARMED)

    def _progressed(self, progress: calls.Progress) -> None:
        self._watch.progressed(progress.id)
        self._loading.progressed()
        if progress.is_loaded and self.state is ModelState.STARTING:
            self._enter(ModelInput.LOADED)

    def _died(self) -> None:
        """The worker ended by itself: one failure, however much was under way."""
        self.consecutive_errors += 1
        self._worker = None
        was_busy = self._watch.is_busy
        self._watch.clear()
        if not self._is_stopped:
            self._enter(ModelInput.DIED)
            if was_busy:
                self._on_outcome(True)
            self._coming_up = asyncio.create_task(self._come_up(has_run=True))

    def _note(self, answer: Call, audio_s: float | None, began_s: float, is_partial: bool) -> None:
        self._watch.ended(answer)
        if answer.cancelled():
            return
        error = answer.exception()
        if isinstance(error, RequestUnsupported | DecodeCancelled | WorkerDied):
            return  # says nothing of the model; and a death is counted by itself, once
        if error is not None:
            self._failed(str(error))
            return
        said = answer.result()
        if isinstance(said, calls.Decoded) and said.is_unread:
            if said.fault is not None:
                self._failed(said.fault.message)
            return
        took_s = self._succeeded(said, time.monotonic() - began_s)
        if audio_s is not None and took_s is not None:
            self._patience.note(audio_s, took_s, is_partial=is_partial)

    def _failed(self, problem: str) -> None:
        self.consecutive_errors += 1
        log.warning("call_failed", worker=self.name, problem=problem)
        self._on_outcome(True)
        if self.consecutive_errors >= ERRORS_UNTIL_DEGRADED and self.state.is_up:
            self._enter(ModelInput.FAILED_AGAIN, problem)

    def _succeeded(self, answer: calls.AnyAnswer, took_s: float) -> float | None:
        """Returns what the work took, by the worker's own clock where it tells; None for none."""
        self._deaths = 0
        if isinstance(answer, calls.GpuMeasured):
            self.gpu_bytes = answer.gpu_bytes
            return None
        self.worked_at_s = time.monotonic()
        self.consecutive_errors = 0
        self._on_outcome(False)
        if isinstance(answer, calls.Decoded):
            self.last_inference_s = took_s = answer.decode_s
        if self.state.is_up:
            self._enter(ModelInput.SUCCEEDED)
        return took_s
