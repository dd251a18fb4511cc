"""Every setting of the daemon, its default and its unit.

Sizes, counts and times that protect the daemon are all here, by name; code refers to them and
never to a number of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from asrd.choices import Loading, LogFormat, LogLevel, Setting, WarmUp

MOST = 2**48
"""Of anything that is counted: far beyond what a machine has, and no number that overflows."""

LONGEST_S = 604_800.0
"""A week. What would take longer is no protection any more; infinity is none."""

CHUNK_OVERHEAD_BYTES = 1024
"""More than the frame of a chunk of audio holds beside the audio."""

Count = Annotated[int, Meta(ge=1, le=MOST)]
CountOrZero = Annotated[int, Meta(ge=0, le=MOST)]
Seconds = Annotated[float, Meta(gt=0, le=LONGEST_S)]
Load = Annotated[float, Meta(gt=0, le=1000)]
"""Decode time asked for per second, over the slots there are."""
Factor = Annotated[float, Meta(ge=1, le=1000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[str, Meta(pattern=r"^[0-9]{1,15}(\.[0-9]{1,15})? *(%|([kMGT]i?)?B)\Z")]
"""An amount of memory: `2GB`, `1500 MB`, `512MiB`, or a share of what the machine has: `60%`."""


LOCAL_GROUP = "local"
"""The device group of every provider that names no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may cost."""

    max_frame_bytes: Annotated[int, Meta(ge=2**16 + CHUNK_OVERHEAD_BYTES, le=2**28)] = 2**20
    """At least a chunk of `max_chunk_bytes` and `CHUNK_OVERHEAD_BYTES` more."""
    max_chunk_bytes: Annotated[int, Meta(ge=2**10, le=2**28)] = 2**16
    max_connections: Count = 2048
    """Each takes some 5 kB while it is idle, and at the most an unfinished frame, an outbox and a
    read that is not worked off: 4 KiB, or 64 KiB for the first 64 that flood.
    Where the system gives us fewer file descriptors, fewer are let in."""
    max_sessions: Count = 2048
    """Sessions with a connection; one more is answered with `busy`."""
    max_streams: Count = 64
    """Open streams of one session."""
    max_utterance_s: Annotated[float, Meta(ge=1, le=30)] = 30.0
    """No more than 30: what engines take."""
    credit_window_s: Seconds = 60.0
    """Lossless: audio that may be sent ahead of the commit. More than the longest utterance, so
    that an utterance can always be completed."""
    live_backlog_s: Seconds = 60.0
    """Live: audio held per stream before the oldest is dropped."""
    live_rate: Factor = 4.0
    """Live: how many times faster than real time audio may come in the long run."""
    live_burst_s: Seconds = 600.0
    """Live: audio that may come at once. More than the backlog holds: whoever sends a little too
    much loses the oldest, and only a flood is not listened to."""
    outbox_bytes: Annotated[int, Meta(ge=2**16, le=MOST)] = 256 * 1024
    """What is held in memory for one reader, with what is being written to it."""
    outbox_messages: Count = 100
    """What waits for one reader beside that which is being written to it."""
    outbox_soft_bytes: Annotated[int, Meta(ge=2**12, le=MOST)] = 64 * 1024
    outbox_soft_s: Seconds = 5.0
    """A reader for whom more than `outbox_soft_bytes` are held for so long is too slow."""
    outboxes_bytes: Count = 24 * 2**20
    """What may wait for all readers together, beside that which is being written."""
    send_timeout_s: Seconds = 5.0
    hello_timeout_s: Seconds = 10.0
    frame_timeout_s: Seconds = 30.0
    """A frame that was begun must be complete within so long."""
    idle_timeout_s: Seconds = 300.0
    resume_window_s: Seconds = 60.0
    max_detached_sessions: CountOrZero = 256
    kept_segments: CountOrZero = 1000
    """Segments of one stream kept to be sent again after a broken connection."""
    kept_bytes: CountOrZero = 16 * 2**20
    """Of all sessions. A client that lacks more than is kept for it opens its streams anew."""
    drain_timeout_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may connect beside the daemon's own user and root."""

    uids: tuple[CountOrZero | str, ...] = ()
    """Users, by number or name."""
    groups: tuple[CountOrZero | str, ...] = ()
    """Groups, by number or name; it counts whether a peer's process is in one of them, as its
    primary group or any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much new audio an open utterance must hold before it is read again.

    `load` is the decode time that live streams ask for per second, over the decode slots.
    """

    idle_s: Seconds = 2.0
    busy_s: Seconds = 4.0
    critical_s: Seconds = 8.0
    busy_load: Load = 0.5
    critical_load: Load = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRule:
    """When and how service degrades under overload, one step at a time.

    A step is taken when the load, or the age of the oldest live final that waits, has been above
    its threshold for `up_after_s`; it is taken back when both have been below `down_ratio` of it
    for `down_after_s`.
    """

    enabled: bool = True
    longer_chunks_load: Load = 0.8
    longer_chunks_age_s: Seconds = 2.0
    fewer_partials_load: Load = 1.0
    fewer_partials_age_s: Seconds = 4.0
    shed_load: Load = 1.2
    shed_age_s: Seconds = 8.0
    up_after_s: Seconds = 3.0
    down_after_s: Seconds = 20.0
    down_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    shed_backlog_s: Seconds = 5.0
    """Audio that a live stream of the secondary source may have waiting once it is shed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Between which bounds `slots = "auto"` moves, and by what.

    One slot is given back while other programs use more than `cpu_high` of the machine's CPU time,
    or less than `memory_low` of its memory is left; one is taken while they use less than
    `cpu_low`, `memory_high` is left, and work waits.
    """

    min_slots: Count = 1
    max_slots: Count | None = None
    """None: as many as there are cores."""
    cpu_low: Share = 0.4
    cpu_high: Share = 0.6
    memory_low: Size = "5%"
    memory_high: Size = "10%"
    step_s: Seconds = 1.0
    """The least time between two changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How many windows are read in one call, where an engine can."""

    max_batch: Count = 16
    max_s: Seconds = 1.0
    """Predicted time of one call with more than one window."""
    max_slowdown: Factor = 1.5
    """How many times longer a window may take because less urgent ones are read with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How decodes are admitted."""

    slots: Count | Literal["auto"] = 1
    """The global inference lock: local decodes at a time, over all providers. `auto`: as many as
    the machine bears, see `concurrency`."""
    group_slots: Mapping[str, Count] = field(default_factory=dict)
    """Slots of other device groups, by the name that providers give as their `device_group`."""
    max_waiting: Mapping[str, Count] = field(default_factory=lambda: {"mic": 100, "system": 50})
    """Streams of a source that may wait for a decode."""
    max_waiting_others: Count = 50
    queue_timeout_s: Seconds | None = 60.0
    """A live final that has waited for so long goes to the next provider, or is dropped."""
    background_share: Annotated[float, Meta(ge=0, le=0.5)] = 0.05
    """Decode time kept for waiting streams of lower priority, whatever else there is to do."""
    preemption: bool = True
    """Finals of priority 1 and 2 end a running decode of priority 6 or lower."""
    batches: Batches = Batches()
    agreement: Annotated[int, Meta(ge=1, le=10)] = 2
    """Readings of a growing utterance in a row that have to agree on a word before it is told as
    stable."""
    pace: Pace = Pace()
    ladder: LadderRule = LadderRule()
    concurrency: Concurrency = Concurrency()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """How one provider is used. `settings` are its own; only it understands them."""

    loading: Loading | None = None
    """None: eager for the default provider, lazy for every other."""
    models: tuple[str, ...] = ()
    """What `eager` and `background` load; empty: the provider's default model. Under overload,
    streams go to a smaller one of these."""
    warm_up: WarmUp = WarmUp.MINIMAL
    required: bool = False
    """The daemon is ready only while this provider is; with `eager`, it does not start without."""
    keep_warm: bool = False
    """Its models are never unloaded to save memory."""
    device_group: str = LOCAL_GROUP
    """Decodes of one group share its inference lock. Remote providers are outside of any."""
    max_decodes: Count | None = None
    """Decodes of this provider at a time; None: as many as its models can."""
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
    hang_factor: Factor = 5.0
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
    watchdog_s: Annotated[float, Meta(ge=0, le=LONGEST_S)] = 30.0
    """Where no service manager watches, a daemon that has stood still for so long writes the stacks
    of its threads to stderr and ends, with 1; 0: it never does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Whether what clients send is written to files, audio and all, to be played again."""

    directory: str | None = None
    """Where, a file for each connection; None: nothing is written."""
    max_file_bytes: Count = 2**31
    """A file that would outgrow this is ended; at 16 kHz that is 18 hours."""
    max_queued_bytes: Count = 2**25
    """What may wait for the disk. A connection whose bytes find no room is recorded no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """Where `/metrics`, `/live`, `/ready` and `/health` are answered over HTTP."""

    listen: str | None = None
    """`127.0.0.1:9464`, `[::1]:9464` or `unix:/run/asrd/metrics.sock`; None: nowhere."""
    expose: bool = False
    """Whether an address that other machines can reach is taken, too. There is no password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Whether each utterance and each decode becomes a span of OpenTelemetry."""

    enabled: bool = False
    """Needs the extra `otel`; where spans go is said by OTEL_EXPORTER_OTLP_ENDPOINT and the other
    variables of OpenTelemetry."""


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
    access: Access = Access()
    scheduling: Scheduling = Scheduling()
    residency: Residency = Residency()
    supervision: Supervision = Supervision()
    recording: Recording = Recording()
    monitoring: Monitoring = Monitoring()
    tracing: Tracing = Tracing()
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.AUTO

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


def contradictions(config: Config) -> Iterator[str]:
    """A sentence, with the key first, for each value that another one makes senseless."""
    limits, slots = config.limits, config.scheduling.concurrency
    if limits.max_frame_bytes < limits.max_chunk_bytes + CHUNK_OVERHEAD_BYTES:
        yield (
            f"limits.max_frame_bytes: a frame must hold a chunk of {limits.max_chunk_bytes} bytes "
            f"(limits.max_chunk_bytes) and {CHUNK_OVERHEAD_BYTES} more"
        )
    if limits.outbox_soft_bytes > limits.outbox_bytes:
        yield "limits.outbox_soft_bytes: expected no more than limits.outbox_bytes"
    if limits.outboxes_bytes < limits.outbox_bytes:
        yield "limits.outboxes_bytes: expected no less than limits.outbox_bytes"
    if slots.max_slots is not None and slots.max_slots < slots.min_slots:
        yield "scheduling.concurrency.min_slots: expected no more than max_slots"


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
