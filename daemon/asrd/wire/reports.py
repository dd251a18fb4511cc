"""What `health` and `stats` are made of: how one model, one provider, one stream is.

Field names are the wire's own, as in `messages`.
"""

from typing import Literal

from msgspec import Struct

from asrd.choices import Delivery

HealthState = Literal["starting", "warming_up", "ready", "degraded", "unavailable"]
StreamActivity = Literal["opening", "silent", "speaking", "waiting", "decoding", "closing"]


class ModelHealth(Struct, frozen=True, kw_only=True):
    """How one loaded model is, and the worker that it lives in."""

    model: str
    state: HealthState
    streams: int = 0
    last_inference_ms: float | None = None
    idle_s: float | None = None
    consecutive_errors: int = 0
    restarts: int = 0
    load_s: float | None = None
    warm_up_s: float | None = None
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    pid: int | None = None
    problem: str = ""


class ProviderHealth(Struct, frozen=True, kw_only=True):
    """How one provider is. `model` is the one that is loaded or would be."""

    state: HealthState
    model: str
    last_inference_ms: float | None = None
    consecutive_errors: int = 0
    restarts: int = 0
    load_s: float | None = None
    memory_bytes: int = 0
    problem: str = ""
    remedy: str = ""
    is_default: bool = False
    is_required: bool = False
    is_loadable: bool = False
    breaker: Literal["closed", "open", "half_open"] = "closed"
    models: list[ModelHealth] = []


class StreamStats(Struct, frozen=True, kw_only=True):
    """How one open stream is."""

    session: str
    client: str = ""
    is_connected: bool = True
    stream: int
    source: str
    priority: int
    delivery: Delivery
    provider: str
    model: str
    state: StreamActivity
    level: int = 0
    audio_dbfs: float | None = None
    audio_s: float = 0.0
    backlog_s: float = 0.0
    uncommitted_s: float = 0.0
    dropped_s: float = 0.0
    segments: int = 0
    delay_ms: float | None = None
