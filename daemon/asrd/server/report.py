"""Health and statistics, as the daemon tells them."""

from asrd.scheduler.measures import Tally
from asrd.server.checkup import Checkup
from asrd.server.hub import Hub
from asrd.wire.messages import Health, Stats


class Reporter:
    """Looks at the hub and says how it is and what it counts."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._checkup = Checkup(hub)

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is; see `Checkup`."""
        return await self._checkup.health(deep=deep)

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
