"""Health and statistics, as the daemon tells them."""

import asyncio

from asrd.audio import SAMPLE_RATE
from asrd.errors import AsrdError
from asrd.providers import calls
from asrd.providers.pool import ModelKey
from asrd.providers.resident import ModelState, Resident
from asrd.scheduler.measures import Tally
from asrd.server.hub import Hub
from asrd.wire.messages import Health, HealthState, ProviderHealth, Stats

DEEP_SAMPLES = SAMPLE_RATE // 2
DEEP_TIMEOUT_S = 30.0


class Reporter:
    """Looks at the hub and says how it is."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._started_s = hub.clock.now_s()

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is; `deep` has every loaded model decode half a second of silence."""
        if deep:
            residents = self._hub.pool.residents.values()
            await asyncio.gather(*(self._try(resident) for resident in residents))
        providers = {name: self._provider(name) for name in self._hub.registry.registered}
        state = self._state(providers)
        return Health(
            state=state,
            live=True,
            ready=state in ("ready", "degraded"),
            providers=providers,
            uptime_s=round(self._hub.clock.now_s() - self._started_s, 3),
        )

    def stats(self) -> Stats:
        """Counters since the start, queues as they are now, latencies of the latest decodes."""
        scheduler = self._hub.scheduler
        tallies = list(scheduler.by_source.values())
        audio_s = sum(tally.audio_s for tally in tallies)
        decode_s = sum(tally.decode_s for tally in tallies)
        limits = self._hub.config.limits
        bound = limits.max_connections * limits.max_streams
        queues = {
            f"{kind}:{name}": self._queue(tally, bound)
            for kind, group in (
                ("source", scheduler.by_source),
                ("provider", scheduler.by_provider),
            )
            for name, tally in group.items()
        }
        return Stats(
            counters={
                "streams_open": len(self._hub.all_streams),
                "decodes_running": scheduler.running,
                "decode_slots": scheduler.slots,
                "streams_waiting": scheduler.waiting,
                "finals": sum(tally.finals for tally in tallies),
                "partials": sum(tally.partials for tally in tallies),
                "decodes_failed": sum(tally.failed for tally in tallies),
                "audio_s": round(audio_s, 3),
                "decode_s": round(decode_s, 3),
                "dropped_s": round(sum(tally.dropped_s for tally in tallies), 3),
                "worker_restarts": sum(
                    resident.restarts for resident in self._hub.pool.residents.values()
                ),
            },
            queues=queues,
            latencies={
                "queue_wait_ms": scheduler.queue_wait.percentiles_ms(),
                "decode_ms": scheduler.decode_time.percentiles_ms(),
            },
            real_time_factor=round(decode_s / audio_s, 4) if audio_s else None,
            level=0,
        )

    def _queue(self, tally: Tally, bound: int) -> dict[str, int | float]:
        return {
            "depth": tally.waiting,
            "limit": bound,
            "fill_ratio": round(tally.waiting / bound, 4),
            "decoding": tally.decoding,
            "finals": tally.finals,
            "partials": tally.partials,
            "failed": tally.failed,
            "audio_s": round(tally.audio_s, 3),
            "decode_s": round(tally.decode_s, 3),
            "dropped_s": round(tally.dropped_s, 3),
        }

    def _state(self, providers: dict[str, ProviderHealth]) -> HealthState:
        if self._hub.config.provider not in providers:
            return "unavailable"
        default = providers[self._hub.config.provider].state
        voice = self._hub.voice.resident.state
        if default == "ready" and voice is not ModelState.READY:
            return "starting" if voice is ModelState.STARTING else "unavailable"
        return default

    def _provider(self, name: str) -> ProviderHealth:
        hub = self._hub
        entry = hub.registry.registered[name]
        is_default = name == hub.config.provider
        default_model = (hub.config.model if is_default else None) or entry.provider.default_model
        key, resident = self._resident(name, default_model)
        if resident is None:
            status = entry.status(default_model)
            problem = status.problem or ("" if status.is_present else "the model is not present")
            return ProviderHealth(
                state="unavailable",
                model=default_model,
                problem=problem or "not loaded yet; the first stream that asks for it loads it",
                remedy=status.remedy,
                is_default=is_default,
            )
        last_s = resident.last_inference_s
        return ProviderHealth(
            state=resident.state.value,
            model=key.model,
            last_inference_ms=None if last_s is None else round(last_s * 1000, 3),
            consecutive_errors=resident.consecutive_errors,
            restarts=resident.restarts,
            load_s=None if resident.load_s is None else round(resident.load_s, 3),
            problem=resident.problem,
            is_default=is_default,
        )

    def _resident(self, name: str, model: str) -> tuple[ModelKey, Resident | None]:
        residents = self._hub.pool.residents
        default = ModelKey(provider=name, model=model)
        if default in residents:
            return default, residents[default]
        for key, resident in residents.items():
            if key.provider == name:
                return key, resident
        return default, None

    async def _try(self, resident: Resident) -> None:
        def make_decode(call_id: int) -> calls.AnyCall:
            return calls.Decode(
                id=call_id,
                audio=bytes(4 * DEEP_SAMPLES),
                language=None,
                task="transcribe",
                words=False,
                prompt=None,
                is_partial=False,
            )

        try:
            await asyncio.wait_for(resident.call(make_decode), DEEP_TIMEOUT_S)
        except (AsrdError, TimeoutError) as error:
            resident.problem = f"the deep check failed: {error or 'no answer in time'}"
