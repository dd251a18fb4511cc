"""How the daemon is: states, numbers, and a real inference where one is asked for.

It tells what is so, not what was hoped for. `ready` says that the daemon can take work: every
required provider (the default one, where none is) is up, or was not asked for yet and is here to be
loaded. It is false from the moment a worker's death is seen until its successor is warm, and in the
answer of a deep check at which all models of a required provider failed.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress

from asrd.breaker import BreakerState
from asrd.errors import AsrdError
from asrd.providers import processes
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.pool import PROBE_S, probe_call, probe_problem
from asrd.providers.resident import Resident
from asrd.server.hub import Hub
from asrd.wire.messages import Health
from asrd.wire.reports import HealthState, ModelHealth, ProviderHealth

DEEP_TIMEOUT_S = 30.0

_WORST_FIRST = (
    ModelState.UNAVAILABLE,
    ModelState.STARTING,
    ModelState.WARMING_UP,
    ModelState.DEGRADED,
    ModelState.READY,
)


class Checkup:
    """Looks at the hub and says how it is."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._started_s = hub.clock.now_s()

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is.

        `deep` has every loaded model, and those that ought to be loaded, read half a second of
        silence first; what fails at it counts as an error of the model, and is told.
        """
        failures: dict[ModelKey, str] = {}
        if deep:
            keys = self._to_try()
            found = await asyncio.gather(*(self._try(key) for key in keys))
            failures = dict(zip(keys, found, strict=True))
        names = self._hub.pool.catalogue.names
        providers = {name: self._provider(name, failures) for name in names}
        voice = self._model("silero", self._hub.voice.resident, streams=0)
        is_ready = self._is_ready(failures)
        return Health(
            state=self._state(providers, is_ready=is_ready),
            live=True,
            ready=is_ready,
            providers=providers,
            uptime_s=round(self._hub.clock.now_s() - self._started_s, 3),
            voice_activity=voice,
            memory_bytes=processes.memory_bytes(os.getpid())
            + voice.memory_bytes
            + sum(provider.memory_bytes for provider in providers.values()),
        )

    @property
    def is_ready(self) -> bool:
        """Whether the daemon can take work: `ready` of a health that is not deep."""
        return self._is_ready({})

    # ── the whole ─────────────────────────────────────────────────────────────────────────────

    @property
    def _required(self) -> list[str]:
        config = self._hub.config
        return [name for name, own in config.providers.items() if own.required] or [config.provider]

    def _is_ready(self, failures: Mapping[ModelKey, str]) -> bool:
        if _has_failed(self._hub.voice.resident):
            return False
        for name in self._required:
            tried = [failure for key, failure in failures.items() if key.provider == name]
            if not self._can_serve(name) or (tried and all(tried)):
                return False
        return True

    def _can_serve(self, provider: str) -> bool:
        """Whether the provider is up, or only waits for somebody to need it."""
        pool = self._hub.pool
        residents = {
            key: one
            for key, one in pool.residents.items()
            if key.provider == provider and not one.has_no_room
        }
        if any(pool.is_up(key) for key in residents):
            return True
        if pool.breaker(provider).state is not BreakerState.CLOSED:
            return False
        if any(one.state.is_coming_up for one in residents.values()):
            return False
        return any(key not in residents for key in self._own_models(provider))

    def _own_models(self, provider: str) -> list[ModelKey]:
        """The models that the provider ought to have, as far as they are here."""
        found = []
        for model in self._hub.config.of(provider).models or (None,):
            with suppress(AsrdError):
                found.append(self._hub.pool.catalogue.key(provider, model))
        return found

    def _state(self, providers: dict[str, ProviderHealth], *, is_ready: bool) -> HealthState:
        if is_ready:
            states = [providers[name].state for name in self._required]
            return "degraded" if "degraded" in states else "ready"
        if any(served.level for served in self._hub.all_streams):
            return "degraded"  # what is required is not there, and something else reads
        asked = [self._hub.voice.resident.state.value]
        for name in self._required:  # one that is not among them has a broken plugin
            asked.append(providers[name].state if name in providers else "unavailable")
        return next(state.value for state in _WORST_FIRST if state.value in asked)

    # ── one provider ──────────────────────────────────────────────────────────────────────────

    def _provider(self, name: str, failures: Mapping[ModelKey, str]) -> ProviderHealth:
        hub = self._hub
        entry = hub.registry.registered[name]
        default_model = hub.pool.catalogue.default_model(name)
        breaker = hub.pool.breaker(name)
        residents = {key: one for key, one in hub.pool.residents.items() if key.provider == name}
        models = [
            self._model(
                key.model,
                one,
                streams=hub.pool.tenancy.streams_on(key),
                failure=failures.get(key, ""),
            )
            for key, one in residents.items()
        ]
        status = entry.status(default_model)  # knows its one right name
        shown = _foremost(models, status.model)
        if shown is None:
            problem = status.problem or ("" if status.is_present else "the model is not present")
            is_resting = breaker.state is not BreakerState.CLOSED
            return ProviderHealth(
                state="unavailable",
                model=status.model,
                problem=problem or "not loaded; the first stream that asks for it loads it",
                remedy=status.remedy,
                is_default=name == hub.config.provider,
                is_required=hub.config.of(name).required,
                is_loadable=not problem and not is_resting,
                breaker=breaker.state.value,
            )
        state = shown.state
        problem = shown.problem
        if state in ("ready", "degraded") and breaker.state is not BreakerState.CLOSED:
            state = "unavailable"
            problem = f"it failed too often and is given a rest; last: {problem or 'a death'}"
        return ProviderHealth(
            state=state,
            model=shown.model,
            last_inference_ms=shown.last_inference_ms,
            consecutive_errors=max(model.consecutive_errors for model in models),
            restarts=sum(model.restarts for model in models),
            load_s=shown.load_s,
            memory_bytes=sum(model.memory_bytes for model in models),
            problem=problem,
            is_default=name == hub.config.provider,
            is_required=hub.config.of(name).required,
            breaker=breaker.state.value,
            models=models,
        )

    def _model(
        self, name: str, resident: Resident, *, streams: int, failure: str = ""
    ) -> ModelHealth:
        last_s, worked_at_s = resident.last_inference_s, resident.worked_at_s
        is_in_doubt = bool(failure) and resident.state is ModelState.READY
        return ModelHealth(
            model=name,
            state=ModelState.DEGRADED.value if is_in_doubt else resident.state.value,
            streams=streams,
            last_inference_ms=None if last_s is None else round(last_s * 1000, 3),
            idle_s=None if worked_at_s is None else round(time.monotonic() - worked_at_s, 3),
            consecutive_errors=resident.consecutive_errors,
            restarts=resident.restarts,
            load_s=None if resident.load_s is None else round(resident.load_s, 3),
            warm_up_s=None if resident.warm_up_s is None else round(resident.warm_up_s, 3),
            memory_bytes=resident.memory_bytes,
            gpu_memory_bytes=resident.gpu_bytes,
            pid=resident.pid,
            problem=resident.problem or failure,
        )

    # ── a real inference ──────────────────────────────────────────────────────────────────────

    def _to_try(self) -> list[ModelKey]:
        residents = self._hub.pool.residents.items()
        keys = [key for key, one in residents if one.state is not ModelState.UNAVAILABLE]
        for name in self._required:
            if all(key.provider != name for key in keys):
                keys += self._own_models(name)[:1]
        return keys

    async def _try(self, key: ModelKey) -> str:
        """Have the model read something; returns what went wrong."""
        resident = self._hub.pool.resident(key)
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(DEEP_TIMEOUT_S):
                await resident.ensure()
                # Shielded: the call is the worker's until it answers, however long we look.
                return probe_problem(await asyncio.shield(resident.call(probe_call, PROBE_S)))
        except TimeoutError:
            # One that has done other work meanwhile has proved itself by that.
            if (resident.worked_at_s or 0.0) < began_s:
                problem = f"the deep check had no answer within {DEEP_TIMEOUT_S:.0f} s"
                resident.complain(problem)  # it cannot know itself: its call is under way
                return problem
        except (AsrdError, OSError) as error:
            return str(error)
        return ""


def _has_failed(resident: Resident) -> bool:
    """Whether it is down though it was wanted; one that nobody wanted yet has no problem."""
    return resident.state.is_coming_up or (
        resident.state is ModelState.UNAVAILABLE and bool(resident.problem)
    )


def _foremost(models: list[ModelHealth], default: str) -> ModelHealth | None:
    """The model that stands for its provider: the default one, else the first."""
    return next(
        (model for model in models if model.model == default), models[0] if models else None
    )
