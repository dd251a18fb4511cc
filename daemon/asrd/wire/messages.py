"""The typed messages of protocol version 1, one frozen struct for each `type`.

`daemon/PROTOCOL.md` says what each means. Field names are the wire's own. Everything a peer can
send is bounded here: lengths of strings and maps, ranges of numbers.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asrd.choices import Delivery
from asrd.wire.reports import HealthState, ModelHealth, ProviderHealth, StreamStats

PROTOCOL_VERSION = 1

MAX_OFFSET_SAMPLES = 2**53
"""Positions stay exact as floats; at 96 kHz this is three thousand years."""

StreamId = Annotated[int, Meta(ge=0)]
"""Any unsigned integer of msgpack: up to 2**64 - 1."""
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET_SAMPLES)]
SegmentId = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(max_length=512)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
PingId = int | float | Annotated[str, Meta(max_length=128)]

Encoding = Literal["pcm_s16le", "pcm_f32le"]
Task = Literal["transcribe", "translate"]
CloseReason = Literal["client", "cancelled", "idle", "shutdown", "error"]


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """A frame's value."""


# ── client to daemon ──────────────────────────────────────────────────────────────────────────


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The first message of a connection."""

    version: int = PROTOCOL_VERSION
    client: Name = ""
    resume: Annotated[str, Meta(max_length=128)] | None = None
    have: Annotated[dict[StreamId, SegmentId], Meta(max_length=4096)] = {}


class Open(Message, frozen=True, kw_only=True, tag="open"):
    """Open a stream."""

    stream: StreamId
    source: Label = "mic"
    priority: Annotated[int, Meta(ge=1, le=10)] | None = None
    delivery: Delivery | None = None
    provider: Name | None = None
    model: Name | None = None
    language: Annotated[str, Meta(max_length=32)] | None = None
    task: Task = "transcribe"
    encoding: Encoding = "pcm_s16le"
    sample_rate: Annotated[int, Meta(ge=8000, le=96000)] = 16000
    channels: Annotated[int, Meta(ge=1, le=8)] = 1
    partials: bool = True
    words: bool = False
    endpointing_ms: Annotated[int, Meta(ge=100, le=5000)] | None = None
    prompt: Annotated[str, Meta(max_length=4096)] | None = None
    start_offset: Offset = 0
    start_id: SegmentId = 0


class Audio(Message, frozen=True, kw_only=True, tag="audio"):
    """PCM of one stream; `offset` counts samples per channel at the stream's own rate."""

    stream: StreamId
    data: bytes
    offset: Offset | None = None


class Flush(Message, frozen=True, kw_only=True, tag="flush"):
    """Finish all audio received so far."""

    stream: StreamId


class Close(Message, frozen=True, kw_only=True, tag="close"):
    """Flush, then end the stream."""

    stream: StreamId


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Drop what is not finished and end the stream at once."""

    stream: StreamId


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Ask for a `pong` with the same id."""

    id: PingId | None = None


class GetHealth(Message, frozen=True, kw_only=True, tag="health"):
    """Ask for `health`; `deep` runs a real inference."""

    deep: bool = False


class GetStats(Message, frozen=True, kw_only=True, tag="stats"):
    """Ask for `stats`; with `streams` each stream is told as well."""

    streams: bool = False


class Load(Message, frozen=True, kw_only=True, tag="load"):
    """Load and warm a model now."""

    provider: Name | None = None
    model: Name | None = None


class Unload(Message, frozen=True, kw_only=True, tag="unload"):
    """End a model's worker."""

    provider: Name | None = None
    model: Name | None = None


ClientMessage = (
    Hello | Open | Audio | Flush | Close | Cancel | Ping | GetHealth | GetStats | Load | Unload
)

# ── daemon to client ──────────────────────────────────────────────────────────────────────────


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The answer to `hello`."""

    version: int
    server: str
    session: str
    resume: str
    resumed: bool
    streams: dict[int, int]
    limits: dict[str, int | float]
    providers: list[str]


class Opened(Message, frozen=True, kw_only=True, tag="opened"):
    """The stream is ready for audio. `credit` is an offset; absent on live streams."""

    stream: int
    provider: str
    model: str
    priority: int
    delivery: Delivery
    credit: int | UnsetType | None = UNSET


class Credit(Message, frozen=True, kw_only=True, tag="credit"):
    """Samples before `offset` may be sent now."""

    stream: int
    offset: int


class Partial(Message, frozen=True, kw_only=True, tag="partial"):
    """The reading so far of the segment that will bear this id."""

    stream: int
    id: int
    start: float
    end: float
    text: str
    stable: int


class WordTime(Struct, frozen=True, kw_only=True):
    """One word of a segment, in seconds of the stream's clock."""

    word: str
    start: float
    end: float
    probability: float | None = None


class Segment(Message, frozen=True, kw_only=True, tag="segment"):
    """Final text, and the commit that goes with it."""

    stream: int
    id: int
    start: float
    end: float
    text: str
    offset: int
    provider: str
    model: str
    latency_ms: float
    words: list[WordTime] | UnsetType | None = UNSET
    language: str | UnsetType | None = UNSET
    confidence: float | UnsetType | None = UNSET


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """The commit moved without a segment."""

    stream: int
    offset: int


class Event(Message, frozen=True, kw_only=True, tag="event"):
    """Something happened on a stream at `at` seconds."""

    stream: int
    event: str
    at: float
    start: float | UnsetType = UNSET
    end: float | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    level: int | UnsetType = UNSET
    action: str | UnsetType = UNSET


class Flushed(Message, frozen=True, kw_only=True, tag="flushed"):
    """All audio before `offset` is finished."""

    stream: int
    offset: int


class Closed(Message, frozen=True, kw_only=True, tag="closed"):
    """The last message of a stream."""

    stream: int
    reason: CloseReason
    offset: int
    segments: int
    audio_seconds: float
    dropped_seconds: float


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to `ping`."""

    id: int | float | str | None = None


class Health(Message, frozen=True, kw_only=True, tag="health"):
    """How the daemon is."""

    state: HealthState
    live: bool
    ready: bool
    providers: dict[str, ProviderHealth]
    uptime_s: float
    voice_activity: ModelHealth | None = None
    memory_bytes: int = 0
    """Of the daemon and all its workers."""


class Stats(Message, frozen=True, kw_only=True, tag="stats"):
    """Counters, queues and latencies; the keys are listed in `daemon/PROTOCOL.md`."""

    counters: dict[str, int | float]
    queues: dict[str, dict[str, Any]]
    latencies: dict[str, dict[str, float]]
    groups: dict[str, dict[str, float]] = {}
    errors: dict[str, int] = {}
    real_time_factor: float | None = None
    level: int
    streams: list[StreamStats] | UnsetType = UNSET
    streams_left_out: int | UnsetType = UNSET


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Something was refused or went wrong."""

    code: str
    message: str
    fatal: bool
    stream: int | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


ServerMessage = (
    Welcome
    | Opened
    | Credit
    | Partial
    | Segment
    | Ack
    | Event
    | Flushed
    | Closed
    | Pong
    | Health
    | Stats
    | Error
)
