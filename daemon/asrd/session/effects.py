"""What a stream tells the outside. Positions are 16 kHz samples, offsets the stream's own."""

from dataclasses import dataclass
from typing import Literal

from asrd.errors import ErrorCode
from asrd.transcript import Hypothesis

CloseReason = Literal["client", "cancelled", "idle", "shutdown", "error"]
DropReason = Literal[
    "backlog", "overload", "queue_full", "queue_timeout", "rate_limited", "provider_failed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something to be told about one stream."""

    stream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStream(Effect):
    """The stream's model is ready. `credit` is None on live streams."""

    credit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRaised(Effect):
    """Audio before `offset` may be sent."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted(Effect):
    """Speech began at `position`."""

    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEnded(Effect):
    """Speech ended at `position`."""

    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial(Effect):
    """The reading so far of the segment that will be `id`.

    The first `stable` characters of `text` are also those of every later reading, and of the
    segment.
    """

    id: int
    start: int
    end: int
    text: str
    stable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Effect):
    """Final text of one utterance; `offset` is the commit once it is received.

    Times inside `hypothesis` count from `window_start`. `latency_s` is from knowing that the
    utterance had ended to having its text, `delay_s` from the end of its speech: the audio that
    came behind it till then, and `latency_s`. None where it was split and speech went on, and where
    a hole came behind it.
    """

    id: int
    start: int
    end: int
    window_start: int
    hypothesis: Hypothesis
    offset: int
    latency_s: float
    delay_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Effect):
    """The commit moved without a segment."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Effect):
    """Audio that will not be recognised."""

    start: int
    end: int
    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Effect):
    """Audio that never came."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed(Effect):
    """All audio before `offset` is finished."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeFailed(Effect):
    """An utterance was set aside; the stream goes on."""

    message: str
    code: ErrorCode = ErrorCode.PROVIDER_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed(Effect):
    """The last effect of a stream. `audio` and `dropped` are 16 kHz samples."""

    reason: CloseReason
    offset: int
    segments: int
    audio: int
    dropped: int
