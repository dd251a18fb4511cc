"""Every setting of the daemon, its default and its unit.

Sizes, counts and times that protect the daemon are all here, by name; code refers to them and
never to a number of its own. Each key tells in the lines below it what it is for; the annotated
file of `asrd config init` and `CONFIGURATION.md` are made of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated

from annotated_types import Ge, Le

from asrd.choices import Loading, LogFormat, LogLevel, WarmUp
from asrd.config_limits import CHUNK_OVERHEAD_BYTES, Limits
from asrd.config_scheduling import Batches, Concurrency, LadderRule, Pace, Scheduling
from asrd.ranges import (
    LONGEST_S,
    MOST,
    Count,
    CountOrZero,
    Factor,
    PathText,
    Reason,
    Seconds,
    Size,
    size_bytes,
)
from asrd.secrets import AnySetting

__all__ = [
    "CHUNK_OVERHEAD_BYTES",
    "LOCAL_GROUP",
    "LONGEST_S",
    "MOST",
    "Access",
    "Batches",
    "Concurrency",
    "Config",
    "Contradiction",
    "LadderRule",
    "Limits",
    "Monitoring",
    "Pace",
    "ProviderConfig",
    "Recording",
    "Residency",
    "Scheduling",
    "Size",
    "Supervision",
    "Tracing",
    "contradictions",
    "size_bytes",
]

LOCAL_GROUP = "local"
"""The device group of every provider that names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may connect beside the daemon's own user and root."""

    uids: tuple[CountOrZero | str, ...] = ()
    """Users, by number or name."""
    groups: tuple[CountOrZero | str, ...] = ()
    """Groups, by number or name; it counts whether a peer's process is in one of them, as its
    primary group or any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """How one provider is used. `settings` are its own; only it understands them."""

    loading: Loading | None = None
    """When its models are loaded: `eager` (at the start), `background` (at the start, and nothing
    waits for it) or `lazy`; none: eager for the default provider, lazy for every other."""
    models: tuple[str, ...] = ()
    """What `eager` and `background` load; empty: the provider's default model. Under overload,
    streams go to a smaller one of these."""
    warm_up: WarmUp = WarmUp.MINIMAL
    """How much a model reads before it counts as ready: `none`, `minimal` (half a second),
    `standard` or `full`. More makes the start longer and the first answers faster."""
    required: bool = False
    """The daemon is ready only while this provider is; with `eager`, it does not start without."""
    keep_warm: bool = False
    """Its models are never unloaded to save memory."""
    device_group: str = LOCAL_GROUP
    """Decodes of one group share its inference lock. Remote providers are outside of any. Needs a
    restart."""
    max_decodes: Count | None = None
    """Decodes of this provider at a time; none: as many as its models can."""
    fallback: tuple[str, ...] | None = None
    """Where its streams go while it is unavailable, instead of the daemon's own `fallback`; none:
    there."""
    settings: Mapping[str, AnySetting] = field(default_factory=dict)
    """The provider's own settings; `plugins/README.md` lists them. A secret is
    `{ file = "/path" }` or `{ credential = "name" }`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """How many models stay in memory, and for how long."""

    max_models: Count | None = None
    """Models in memory at a time; none: no limit. One more has the least recently used go."""
    idle_ttl_s: Seconds | None = None
    """A model that has had no work for so many seconds is unloaded, and the next stream loads it
    again; none: it stays."""
    memory_budget: Size | None = None
    """For all models together, of the machine's memory, as `4GB` or `60%`; none: no limit."""
    gpu_memory_budget: Size | None = None
    """The same of the memory of the GPUs."""
    min_available: Size = "5%"
    """When less of the machine's memory than this is left, idle models are unloaded."""
    check_interval_s: Seconds = 2.0
    """How often memory is looked at, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """When a worker counts as hung, how it is restarted, and when a provider gets a rest."""

    hang_after_s: Seconds = 10.0
    """The least time without progress, in seconds, after which a worker is ended."""
    hang_factor: Factor = 5.0
    """Without progress for `hang_after_s`, and for so many times the p99 of decodes of that
    length, a worker is ended. More for an engine whose times vary widely."""
    load_hang_after_s: Seconds = 60.0
    """The same while a model loads, where progress is CPU time used or memory taken, in
    seconds."""
    load_timeout_s: Seconds = 900.0
    """The longest that a load may take, whatever it does, in seconds."""
    first_pause_s: Seconds = 0.1
    """Before the first restart of a worker that has died, in seconds; each next one is twice as
    long."""
    longest_pause_s: Seconds = 30.0
    """The longest pause between restarts, in seconds."""
    load_attempts: Count = 3
    """Restarts in vain after which a model counts as unavailable."""
    breaker_failures: Count = 5
    """Decodes in a row whose failure opens a provider's circuit breaker. Needs a restart."""
    breaker_open_s: Seconds = 30.0
    """How many seconds it stays open before one inference tries the provider again. Needs a
    restart."""
    watchdog_s: Annotated[
        float, Ge(0), Le(LONGEST_S), Reason("0 is never, more than a week protects from nothing")
    ] = 30.0
    """Where no service manager watches, a daemon that has stood still for so many seconds writes
    the stacks of its threads to stderr and ends, with 1; 0: it never does. Needs a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Whether what clients send is written to files, audio and all, to be played again.

    Needs a restart.
    """

    directory: PathText | None = None
    """Where, a file for each connection; none: nothing is written."""
    max_file_bytes: Count = 2**31
    """A file that would outgrow so many bytes is ended; at 16 kHz that is 18 hours."""
    max_queued_bytes: Count = 2**25
    """What may wait for the disk, in bytes. A connection whose bytes find no room is recorded no
    further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """Where `/metrics`, `/live`, `/ready` and `/health` are answered over HTTP.

    Needs a restart.
    """

    listen: str | None = None
    """`127.0.0.1:9464`, `[::1]:9464` or `unix:/run/asrd/daemon/metrics.sock`; none: nowhere."""
    expose: bool = False
    """Whether an address that other machines can reach is taken, too. There is no password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Whether each utterance and each decode becomes a span of OpenTelemetry.

    Needs a restart.
    """

    enabled: bool = False
    """Needs the extra `otel`; where spans go is said by OTEL_EXPORTER_OTLP_ENDPOINT and the other
    variables of OpenTelemetry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration of one daemon."""

    provider: str = "moonshine"
    """Serves streams that name none; `auto`: what suits the machine. See `asrd providers`."""
    model: str | None = None
    """The model of that provider for streams that name none; none: the provider's own default. Who
    names another provider in a later layer, and no model, goes back to that."""
    fallback: tuple[str, ...] = ()
    """Providers, as `whisper_cpp` or `whisper_cpp/base`, that take over, in order, while a
    stream's own is unavailable."""
    endpointing_ms: Annotated[
        int,
        Ge(100),
        Le(5000),
        Reason("under 100 ms speech is cut into fragments, over 5000 ms it feels dead"),
    ] = 500
    """Silence that ends an utterance, in ms, for streams that do not say. More suits those who
    think while they speak, less brings the text sooner."""
    log_level: LogLevel = LogLevel.INFO
    """How much the log tells: `debug`, `info`, `warning` or `error`."""
    log_format: LogFormat = LogFormat.AUTO
    """How the log is written: `console`, `json`, `journal`, or `auto`: to the journal where stderr
    is the journal, for people on a terminal, as JSON elsewhere. Needs a restart."""
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    access: Access = Access()
    scheduling: Scheduling = field(default_factory=Scheduling)
    residency: Residency = Residency()
    supervision: Supervision = Supervision()
    recording: Recording = Recording()
    monitoring: Monitoring = Monitoring()
    tracing: Tracing = Tracing()

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


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A value that another one makes senseless: the key, the other key, and a sentence."""

    key: str
    other: str
    sentence: str


def contradictions(config: Config) -> Iterator[Contradiction]:
    """What a range cannot say, because it lies between two keys."""
    limits, slots = config.limits, config.scheduling.concurrency
    if limits.max_frame_bytes < limits.max_chunk_bytes + CHUNK_OVERHEAD_BYTES:
        yield Contradiction(
            "limits.max_frame_bytes",
            "limits.max_chunk_bytes",
            f"a frame must hold a chunk of {limits.max_chunk_bytes} bytes "
            f"(limits.max_chunk_bytes) and {CHUNK_OVERHEAD_BYTES} more",
        )
    if slots.max_slots is not None:
        yield from _more(config, "scheduling.concurrency", "min_slots", "max_slots")
    yield from _more(config, "limits", "outbox_soft_bytes", "outbox_bytes")
    yield from _more(config, "limits", "outbox_bytes", "outboxes_bytes")
    yield from _more(config, "scheduling.concurrency", "cpu_low", "cpu_high")
    yield from _more(config, "scheduling.pace", "busy_load", "critical_load")
    yield from _more(config, "supervision", "first_pause_s", "longest_pause_s")


def _more(config: Config, table: str, low: str, high: str) -> Iterator[Contradiction]:
    """The first of two keys of a table is to be no more than the second."""
    values = attrgetter(table)(config)
    at_most = getattr(values, high)
    if getattr(values, low) > at_most:
        yield Contradiction(
            f"{table}.{low}",
            f"{table}.{high}",
            f"expected no more than {table}.{high}, which is {at_most}",
        )
