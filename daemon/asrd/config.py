"""Every setting of the daemon, its default and its unit.

Sizes, counts and times that protect the daemon are all here, by name; code refers to them and
never to a number of its own.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from asrd.choices import Loading, Setting, WarmUp

Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Size = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)? *(%|([kMGT]i?)?B)\Z")]
"""An amount of memory: `2GB`, `1500 MB`, `512MiB`, or a share of what the machine has: `60%`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may cost."""

    max_frame_bytes: Count = 2**20
    max_chunk_bytes: Count = 2**16
    max_connections: Count = 256
    max_streams: Count = 64
    """Open streams of one session."""
    max_utterance_s: Annotated[float, Meta(ge=1, le=30)] = 30.0
    """No more than 30: what engines take."""
    credit_window_s: Seconds = 60.0
    """Lossless: audio that may be sent ahead of the commit. More than the longest utterance, so
    that an utterance can always be completed."""
    live_backlog_s: Seconds = 60.0
    """Live: audio held per stream before the oldest is dropped."""
    outbox_bytes: Count = 256 * 1024
    outbox_messages: Count = 1000
    send_timeout_s: Seconds = 5.0
    hello_timeout_s: Seconds = 10.0
    idle_timeout_s: Seconds = 300.0
    resume_window_s: Seconds = 60.0
    max_detached_sessions: CountOrZero = 256
    kept_segments: CountOrZero = 1000
    """Segments of one stream kept to be sent again after a broken connection."""
    drain_timeout_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How decodes are admitted."""

    slots: Count = 1
    """The global inference lock: local decodes at a time, over all providers."""
    decodes_per_provider: Count = 1
    partial_interval_s: Seconds = 1.0
    """New audio that an open utterance must hold before it is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """How one provider is used. `settings` are its own; only it understands them."""

    loading: Loading | None = None
    """None: eager for the default provider, lazy for every other."""
    models: tuple[str, ...] = ()
    """What `eager` and `background` load; empty: the provider's default model."""
    warm_up: WarmUp = WarmUp.MINIMAL
    required: bool = False
    """The daemon is ready only while this provider is; with `eager`, it does not start without."""
    keep_warm: bool = False
    """Its models are never unloaded to save memory."""
    fallback: tuple[str, ...] | None = None
    """Where its streams go while it is unavailable, instead of the daemon's own `fallback`."""
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """How many models stay in memory, and for how long. None: no limit."""

    max_models: Count | None = None
    idle_ttl_s: Seconds | None = None
    """A model that has had no work for so long is unloaded; the next stream loads it again."""
    memory_budget: Size | None = None
    """For all models together, of the machine's memory."""
    gpu_memory_budget: Size | None = None
    min_available: Size = "5%"
    """When less of the machine's memory than this is left, idle models are unloaded."""
    check_interval_s: Seconds = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """When a worker counts as hung, how it is restarted, and when a provider gets a rest."""

    hang_after_s: Seconds = 10.0
    hang_factor: Annotated[float, Meta(ge=1)] = 5.0
    """Without progress for `hang_after_s`, and for so many times the p99 of decodes of that
    length, a worker is ended."""
    load_hang_after_s: Seconds = 60.0
    """The same while a model loads, where progress is CPU time used or memory taken."""
    load_timeout_s: Seconds = 900.0
    """The longest that a load may take, whatever it does."""
    first_pause_s: Seconds = 0.1
    longest_pause_s: Seconds = 30.0
    """Between restarts; doubling from the first to the longest."""
    load_attempts: Count = 3
    """Restarts in vain after which a model counts as unavailable."""
    breaker_failures: Count = 5
    """Decodes in a row whose failure opens a provider's circuit breaker."""
    breaker_open_s: Seconds = 30.0
    """How long it stays open before one inference tries the provider again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration of one daemon.

    `provider` serves streams that name none; `auto` stands for what suits the machine. `fallback`
    names the providers, as `whisper_cpp` or `whisper_cpp/base`, that take over, in order, while a
    stream's own is unavailable.
    """

    provider: str = "moonshine"
    model: str | None = None
    fallback: tuple[str, ...] = ()
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    limits: Limits = Limits()
    scheduling: Scheduling = Scheduling()
    residency: Residency = Residency()
    supervision: Supervision = Supervision()

    def of(self, provider: str) -> ProviderConfig:
        """How that provider is used."""
        return self.providers.get(provider, ProviderConfig())

    def loading_of(self, provider: str) -> Loading:
        """When that provider's models are loaded."""
        is_default = provider == self.provider
        return self.of(provider).loading or (Loading.EAGER if is_default else Loading.LAZY)

    def fallback_of(self, provider: str) -> tuple[str, ...]:
        """Where that provider's streams go while it is unavailable."""
        own = self.of(provider).fallback
        return self.fallback if own is None else own


_UNITS = {"": 1} | {
    f"{letter}{mark}": base**power
    for power, letter in enumerate("kMGT", start=1)
    for mark, base in (("", 1000), ("i", 1024))
}


def size_bytes(size: Size, whole_bytes: int) -> int:
    """The bytes that a size stands for; a share is one of `whole_bytes`."""
    unit = size.lstrip("0123456789. ")
    number = float(size.removesuffix(unit))
    return round(number * (whole_bytes / 100 if unit == "%" else _UNITS[unit.removesuffix("B")]))


def default_socket_path() -> Path:
    """Where daemon and clients meet unless told otherwise.

    `/run/asrd/asrd.sock` for root, `$XDG_RUNTIME_DIR/asrd/asrd.sock` for everybody else, and a
    folder under /tmp that bears the uid where there is no such directory (macOS, bare containers).
    """
    if os.geteuid() == 0:
        return Path("/run/asrd/asrd.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "asrd" / "asrd.sock"
    return Path(f"/tmp/asrd-{os.geteuid()}/asrd.sock")  # noqa: S108 - 0700 and checked at bind
