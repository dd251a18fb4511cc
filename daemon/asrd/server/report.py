"""Health and statistics, as the daemon tells them."""

import asyncio
from typing import Any

from msgspec import UNSET

from asrd.scheduler.measures import Tally
from asrd.server.checkup import Checkup
from asrd.server.hub import Hub
from asrd.server.streams_report import StreamsTold
from asrd.wire.messages import Health, Stats


class Reporter:
    """Looks at the hub and says how it is and what it counts."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._checkup = Checkup(hub)

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is; see `Checkup`."""
        return await self._checkup.health(deep=deep)

    @property
    def is_ready(self) -> bool:
        """Whether the daemon can take work; see `Checkup`."""
        return self._checkup.is_ready

    def stats(self, told: StreamsTold | None = None) -> Stats:
        """Counters since the start, queues as they are now, latencies of the latest decodes.

        `told` are the streams that the asker may see, where it has asked for them.
        """
        hub = self._hub
        scheduler, accounts = hub.scheduler, hub.scheduler.accounts
        total = accounts.total
        sessions, connected = hub.sessions
        limits = hub.config.limits
        every_stream = limits.max_sessions * limits.max_streams
        queues = {
            f"source:{name}": _queue(tally, scheduler.places.limit(name))
            for name, tally in accounts.by_source.items()
        }
        for name, tally in accounts.by_provider.items():
            batches = {str(size): calls for size, calls in sorted(tally.batches.items())}
            queues[f"provider:{name}"] = {**_queue(tally, every_stream), "batches": batches}
        dropped_s = sum(tally.dropped_s for tally in accounts.by_source.values())
        return Stats(
            counters={
                "streams_open": len(hub.all_streams),
                "sessions": sessions,
                "sessions_connected": connected,
                "tasks": len(asyncio.all_tasks()),
                "decodes_running": scheduler.slots.running,
                "decode_slots": scheduler.slots.local,
                "streams_waiting": scheduler.waiting,
                "partial_interval_s": hub.overload.partial_interval_s,
                "finals": total.finals,
                "partials": total.partials,
                "decodes_failed": total.failed,
                "decodes_aborted": total.aborted,
                "partials_coalesced": total.coalesced,
                "partials_left_out": total.left_out,
                "queue_timeouts": total.timed_out,
                "calls": total.batches.total(),
                "audio_s": round(total.audio_s, 3),
                "decode_s": round(total.decode_s, 3),
                "dropped_s": round(dropped_s, 3),
                "worker_restarts": hub.pool.restarts.total(),
            },
            queues=queues,
            groups={
                name: {
                    "slots": scheduler.slots.of_group(name),
                    "running": scheduler.slots.running_in(name),
                    "load": round(group.load, 3),
                    "level": group.level,
                }
                for name, group in hub.overload.groups.items()
            },
            errors=dict(sorted(hub.errors.items())),
            latencies={
                "queue_wait_ms": total.queue_wait.percentiles_ms(),
                "decode_ms": total.decode_time.percentiles_ms(),
            },
            real_time_factor=_rounded(total.real_time_factor),
            level=hub.overload.level,
            streams=UNSET if told is None else told.streams,
            streams_left_out=UNSET if told is None else told.left_out,
        )


def _queue(tally: Tally, limit: int) -> dict[str, Any]:
    return {
        "depth": tally.waiting,
        "limit": limit,
        "fill_ratio": round(tally.waiting / limit, 4),
        "decoding": tally.decoding,
        "finals": tally.finals,
        "partials": tally.partials,
        "failed": tally.failed,
        "aborted": tally.aborted,
        "coalesced": tally.coalesced,
        "left_out": tally.left_out,
        "timed_out": tally.timed_out,
        "audio_s": round(tally.audio_s, 3),
        "decode_s": round(tally.decode_s, 3),
        "dropped_s": round(tally.dropped_s, 3),
        "real_time_factor": _rounded(tally.real_time_factor),
        "queue_wait_ms": tally.queue_wait.percentiles_ms(),
        "decode_ms": tally.decode_time.percentiles_ms(),
    }


def _rounded(factor: float | None) -> float | None:
    return None if factor is None else round(factor, 4)
