"""What a daemon may have told of itself, for tests of what is made of it."""

from pathlib import Path
from typing import Any

from asrd.cli.screens.looks import Look
from asrd.wire.messages import Health, Stats
from asrd.wire.reports import ModelHealth, ProviderHealth, StreamStats

COUNTERS: dict[str, int | float] = {
    "streams_open": 2,
    "sessions": 25,
    "sessions_connected": 1,
    "streams_waiting": 1,
    "decodes_running": 1,
    "decode_slots": 1,
    "partial_interval_s": 4.0,
    "dropped_s": 0.0,
}
TIMES = {"p50": 1.25, "p95": 88.4, "p99": 1234.0}
QUEUE: dict[str, Any] = {
    "depth": 3,
    "limit": 100,
    "dropped_s": 12.5,
    "real_time_factor": 0.1234,
    "queue_wait_ms": TIMES,
    "decode_ms": TIMES,
}


def stream(number: int = 1, **changes: Any) -> StreamStats:
    fields: dict[str, Any] = {
        "session": "s1",
        "client": "a recorder",
        "stream": number,
        "source": "mic",
        "priority": 1,
        "delivery": "live",
        "provider": "echo",
        "model": "echo",
        "state": "speaking",
        "audio_dbfs": -30.0,
        "audio_s": 12.5,
    }
    return StreamStats(**(fields | changes))


def stats(**changes: Any) -> Stats:
    fields: dict[str, Any] = {
        "counters": COUNTERS,
        "queues": {"source:mic": QUEUE, "provider:echo": QUEUE},
        "groups": {"local": {"slots": 2, "running": 1, "load": 0.875, "level": 2}},
        "latencies": {"queue_wait_ms": TIMES, "decode_ms": TIMES},
        "real_time_factor": 0.1234,
        "level": 2,
        "streams": [stream(1), stream(2, state="waiting", backlog_s=7.25)],
        "streams_left_out": 0,
    }
    return Stats(**(fields | changes))


def health(**changes: Any) -> Health:
    echo = ProviderHealth(
        state="ready",
        model="echo",
        is_default=True,
        models=[ModelHealth(model="echo", state="ready", streams=2, memory_bytes=35_000_000)],
    )
    fields: dict[str, Any] = {
        "state": "ready",
        "live": True,
        "ready": True,
        "providers": {"echo": echo},
        "uptime_s": 3725.0,
        "voice_activity": ModelHealth(model="silero", state="ready", memory_bytes=39_000_000),
        "memory_bytes": 144_000_000,
    }
    return Health(**(fields | changes))


def look(
    of_health: Health | None = None, of_stats: Stats | None = None, server: str = "asrd 0.1.0"
) -> Look:
    return Look(
        socket=Path("/run/asrd/asrd.sock"),
        server=server,
        health=of_health or health(),
        stats=of_stats or stats(),
    )


BARE = look(
    Health(state="ready", live=True, ready=True, providers={}, uptime_s=1.0),
    Stats(counters={}, queues={}, latencies={}, level=0),
    server="",
)
"""What a daemon of another version may leave out is left out."""
