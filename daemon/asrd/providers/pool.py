"""The models that are loaded, each in a worker of its own: when they come, and when they go."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from asrd.audio import SAMPLE_RATE
from asrd.breaker import Breaker, BreakerState
from asrd.clock import Clock
from asrd.config import Config
from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.inspection import ask_nvidia
from asrd.providers.lifecycle import ModelState
from asrd.providers.resident import Resident
from asrd.providers.tenancy import Tenancy

log = structlog.get_logger()

PROBE_S = 0.5
"""Silence of this length: a short inference that shows whether an engine works."""


def probe_call(call_id: int) -> calls.AnyCall:
    """An inference on silence; `probe_problem` reads its answer."""
    silence = calls.Item(
        audio=bytes(4 * round(PROBE_S * SAMPLE_RATE)),
        language=None,
        task="transcribe",
        words=False,
        prompt=None,
        is_partial=False,
    )
    return calls.Decode(id=call_id, items=[silence])


def probe_problem(answer: calls.AnyAnswer) -> str:
    """What kept the silence from being read, in the plugin's words; empty where it was read."""
    if not isinstance(answer, calls.Decoded):
        return f"a decode was answered with {type(answer).__name__}"
    problems = [each.message for each in answer.outcomes if isinstance(each, calls.NotRead)]
    return (problems[0] or "it could not be read") if problems else ""


class ModelPool:
    """Loads models when they are asked for, keeps them, and gives their memory back.

    `on_change` is called with a key when its model becomes able or unable to take work. `start`
    runs a coroutine that nobody waits for.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        config: Config,
        clock: Clock,
        *,
        on_change: Callable[[ModelKey], None],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.catalogue = catalogue
        self._config = config
        self._clock = clock
        self._on_change = on_change
        self._start = start
        self._residents: dict[ModelKey, Resident] = {}
        self._breakers: dict[str, Breaker] = {}
        self._past_restarts: Counter[ModelKey] = Counter()  # of models that were unloaded
        self.tenancy = Tenancy(catalogue, config, clock)
        self._looked_at_s = clock.now_s()
        self._is_stopped = False

    def apply(self, config: Config) -> None:
        """Go by another configuration. A model that is loaded is supervised as it was."""
        self._config = config
        self.catalogue.apply(config)
        self.tenancy.apply(config)

    # ── asking ────────────────────────────────────────────────────────────────────────────────

    def resident(self, key: ModelKey) -> Resident:
        """The model's resident, made (not yet started) when there is none."""
        if key not in self._residents:
            self._residents[key] = Resident(
                str(key),
                lambda call_id: self.catalogue.load_call(key, call_id),
                lambda: self._changed(key),
                rule=self._config.supervision,
                make_room=lambda: self._make_room(key),
                on_outcome=lambda has_failed: self._worked(key, has_failed=has_failed),
            )
        return self._residents[key]

    @property
    def residents(self) -> dict[ModelKey, Resident]:
        """Every model that was ever asked for and not unloaded."""
        return dict(self._residents)

    @property
    def restarts(self) -> Counter[ModelKey]:
        """How often each model's worker was started again, before it was unloaded too."""
        restarts = self._past_restarts.copy()
        restarts.update({key: resident.restarts for key, resident in self._residents.items()})
        return restarts

    def breaker(self, provider: str) -> Breaker:
        """The circuit breaker of a provider."""
        rule = self._config.supervision
        return self._breakers.setdefault(
            provider, Breaker(failures=rule.breaker_failures, open_s=rule.breaker_open_s)
        )

    def need(self, key: ModelKey) -> None:
        """Work has come for this model: load it again if it was unloaded meanwhile."""
        if self._is_stopped:
            return
        resident = self.resident(key)
        if resident.state is ModelState.UNAVAILABLE and not resident.problem:
            resident.begin()

    def takes_work(self, key: ModelKey) -> bool:
        """Whether a decode given to this model is answered without waiting.

        A model that cannot be brought back answers too: with its failure, at once, so that no
        stream waits for ever. So does one whose provider has failed its probe: work may pass then,
        because those who could go elsewhere have gone.
        """
        resident = self._residents.get(key)
        if resident is None or resident.state.is_coming_up:
            return False
        breaker = self.breaker(key.provider)
        return breaker.state is BreakerState.CLOSED or breaker.has_failed_probe

    def is_up(self, key: ModelKey) -> bool:
        """Whether the model is loaded and its provider trusted."""
        resident = self._residents.get(key)
        is_closed = self.breaker(key.provider).state is BreakerState.CLOSED
        return is_closed and resident is not None and resident.state.is_up

    def has_failed(self, key: ModelKey) -> bool:
        """Whether those who can do without this model should."""
        resident = self._residents.get(key)
        is_given_up = resident is not None and resident.state is ModelState.UNAVAILABLE
        is_open = self.breaker(key.provider).state is not BreakerState.CLOSED
        return is_open or (is_given_up and bool(resident and resident.problem))

    async def unload(self, key: ModelKey) -> None:
        """End the model's worker, if it has one; the next who needs it loads it again."""
        resident = self._take_out(key)
        if resident is not None:
            await resident.stop()

    async def stop(self) -> None:
        """End every worker, for good."""
        self._is_stopped = True
        await asyncio.gather(*(self.unload(key) for key in list(self._residents)))

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Look after hung workers, idle models, memory and breakers. To be called regularly."""
        now_s = self._clock.now_s()
        for resident in list(self._residents.values()):
            resident.check(now_s)
        for provider, breaker in self._breakers.items():
            if breaker.is_probe_due(now_s):
                breaker.begin_probe()
                self._start(self._probe(provider, breaker))
        if now_s - self._looked_at_s >= self._config.residency.check_interval_s:
            self._looked_at_s = now_s
            for key, reason in self.tenancy.overstayed(self._residents).items():
                log.info("model_evicted", model=str(key), reason=reason)
                if (gone := self._take_out(key)) is not None:
                    self._start(gone.stop())
            for key, resident in self._residents.items():
                if not resident.gpu_bytes or not resident.state.is_up:
                    self.tenancy.learn_gpu_free(key, None)
                elif not resident.is_busy or resident.abilities.decodes_at_once > 1:
                    # A worker that decodes in its main thread would answer only after that.
                    self._start(self._measure_gpu(key, resident))

    async def _make_room(self, key: ModelKey) -> None:
        """Unload what has to go before a model can be loaded. Raises ProviderError."""
        gpu_free_bytes = await self._gpu_free_bytes(key)
        gone = self.tenancy.claim(key, self._residents, gpu_free_bytes)
        for each in gone:
            log.info("model_evicted", model=str(each), reason=f"makes room for {key}")
        await asyncio.gather(*(self.unload(each) for each in gone))

    async def _gpu_free_bytes(self, key: ModelKey) -> int | None:
        """What is free on the GPU that has most; None where no GPU is wanted, there, or known of.

        A driver that does not answer holds up this load alone, and for so long only as it is
        waited for; whether the engine gets along with it will be seen.
        """
        if not self.catalogue.wants_gpu(key):
            return None
        nvidia = await asyncio.to_thread(ask_nvidia)
        if nvidia.problem:
            log.warning("gpu_memory_unknown", model=str(key), problem=nvidia.problem)
        return max((gpu.free_bytes for gpu in nvidia.gpus), default=None)

    async def _measure_gpu(self, key: ModelKey, resident: Resident) -> None:
        try:
            found = await resident.call(lambda call_id: calls.MeasureGpu(id=call_id))
        except ProviderError:
            return  # it has just died, which its owner has seen
        if isinstance(found, calls.GpuMeasured) and self._residents.get(key) is resident:
            is_known = found.gpu_total_bytes > 0
            self.tenancy.learn_gpu_total(found.gpu_total_bytes)
            self.tenancy.learn_gpu_free(key, found.gpu_free_bytes if is_known else None)

    def _take_out(self, key: ModelKey) -> Resident | None:
        """Have nobody given to the model any more, from this moment on."""
        resident = self._residents.pop(key, None)
        self.tenancy.leave(key)
        if resident is not None:
            if resident.restarts:
                self._past_restarts[key] += resident.restarts
            self._on_change(key)
        return resident

    def _changed(self, key: ModelKey) -> None:
        self.tenancy.touch(key)
        self._on_change(key)

    # ── trust ─────────────────────────────────────────────────────────────────────────────────

    def _worked(self, key: ModelKey, *, has_failed: bool) -> None:
        breaker = self.breaker(key.provider)
        if not has_failed:
            breaker.succeed()
        elif breaker.fail(self._clock.now_s()):
            log.error("breaker_opened", provider=key.provider)
            self._trust_changed(key.provider)

    async def _probe(self, provider: str, breaker: Breaker) -> None:
        """One inference decides whether the provider is trusted again."""
        error = ""
        residents = [self._residents[key] for key in self._of(provider)]
        # Whoever is up answers at once; only where nobody is, a load has to show it.
        for resident in [one for one in residents if one.state.is_up] or residents:
            try:
                await resident.ensure()  # one that was unloaded meanwhile stays so
                error = probe_problem(await resident.call(probe_call, PROBE_S))
            except ProviderError as failure:
                error = str(failure)
            if not error:
                break
        breaker.end_probe(self._clock.now_s(), has_succeeded=not error)
        log.info("breaker_probed", provider=provider, state=breaker.state, problem=error)
        self._trust_changed(provider)

    def _of(self, provider: str) -> list[ModelKey]:
        return [key for key in self._residents if key.provider == provider]

    def _trust_changed(self, provider: str) -> None:
        for key in self._of(provider):
            self._on_change(key)
