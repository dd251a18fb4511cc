"""A stream as the server holds it: the pure stream, what was asked for, and where it belongs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from asrd.audio import PcmFormat
from asrd.choices import LIVE_SOURCES, Delivery, default_delivery
from asrd.config import Config
from asrd.errors import ErrorCode, ProtocolError
from asrd.providers.catalogue import ModelKey
from asrd.scheduler.bucket import TokenBucket
from asrd.scheduler.ladder import Step
from asrd.server.summary import Summary
from asrd.session.endpoint import EndpointRule
from asrd.session.session import Session
from asrd.session.stream import Stream, StreamRule
from asrd.wire.messages import Open, ServerMessage

OTHER_PRIORITY = 5

NOT_IN_CHAIN = -1

REFILL_S = 5.0
"""Audio that a live sender who was too fast may send at once when he is let in again."""

FALLBACK_LEVEL = 4
"""The rung of a stream that is read by a fallback because its own model is unavailable."""

_ids = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ease:
    """What a stream is served under load. None: as if there were none (`interval_s`: no partials).

    `interval_s` is the new audio between two partials, `backlog_s` what may wait, `relief` the
    smaller models that may read it.
    """

    interval_s: float | None = None
    backlog_s: float | None = None
    relief: tuple[ModelKey, ...] = ()


@dataclass(eq=False, slots=True)
class ServedStream:
    """One open stream. `served_id` names it in this process, across sessions; its source is counted
    as `counted_as` from its opening to its end, whatever is reserved meanwhile.

    `own_chain` is the model that was asked for and those that take over from it, None where one is
    not here. While the daemon is overloaded, `relief` (smaller models) stands before it. `level` is
    the place in `chain`, the two together, of the model that reads the stream now, `key`.
    """

    stream: Stream
    session: Session
    asked: Open
    counted_as: str
    own_chain: tuple[ModelKey | None, ...]
    key: ModelKey
    level: int
    priority: int
    delivery: Delivery
    bucket: TokenBucket | None
    summary: Summary
    relief: tuple[ModelKey, ...] = ()
    ease: Ease = Ease()
    told_steps: frozenset[Step] = frozenset()
    """The steps of the ladder that its client knows it to be under."""
    told_key: ModelKey | None = None
    """The model that its client takes for the reader; None before it is open."""
    served_id: int = field(default_factory=lambda: next(_ids))
    noted_s: float = 0.0
    """Seconds of speech that the load already counts."""
    stays_until_s: float = 0.0
    """It waited for its model for too long, and stays with another till then."""
    waits_anew_s: float = 0.0
    """Since when its waiting counts: it has moved on since it began."""
    goes_alone: bool = False
    """A worker died over it, perhaps over others: its next window is read by itself."""
    is_too_fast: bool = False
    """Its sender has been told so, and goes on."""
    voice_state: bytes = b""
    """What the voice-activity model has to know of the audio scored so far."""

    @property
    def is_live(self) -> bool:
        """Whether its audio may be dropped, and its sender never waits."""
        return self.delivery == "live"

    @property
    def chain(self) -> tuple[ModelKey | None, ...]:
        """The models that may read it, the best first."""
        return (*self.relief, *self.own_chain)

    @property
    def names(self) -> dict[str, str | int]:
        """What its lines in the log are found by."""
        return {
            "session": self.session.session_id,
            "stream": self.asked.stream,
            "source": self.asked.source,
            "model": str(self.key),
        }

    @property
    def label(self) -> str:
        """A name for it among several in one line of the log."""
        return f"{self.session.session_id}/{self.asked.stream}"

    @property
    def asked_key(self) -> ModelKey:
        """The model that was asked for, or the first after it that is here."""
        return next(key for key in self.own_chain if key is not None)

    @property
    def is_on_fallback(self) -> bool:
        """Whether another model reads it because its own is unavailable."""
        return self.key != self.own_chain[0] and self.key not in self.relief

    def level_felt(self, level: int) -> int:
        """The rung of the ladder that the stream is on, where load alone would be `level`."""
        return FALLBACK_LEVEL if self.is_on_fallback else level

    def relieve(self, relief: tuple[ModelKey, ...]) -> None:
        """Let smaller models stand before the chain, or none any more."""
        self.relief = relief
        here = [place for place, key in enumerate(self.chain) if key == self.key]
        self.level = here[0] if here else NOT_IN_CHAIN

    def _wait_s(self, new_bytes: int, now_s: float) -> float:
        return self.bucket.take(new_bytes, now_s) if self.bucket is not None and new_bytes else 0.0

    def receive(self, data: bytes, offset: int | None, now_s: float) -> None:
        """Take audio in.

        Raises:
            ProtocolError: it is a bad chunk, the stream takes none, or live audio comes too fast:
                then it counts on the stream's clock, is told as dropped, and the sender hears of
                it once until it slows down.
        """
        wait_s = self._wait_s(self.stream.new_bytes(data, offset), now_s)
        if not wait_s:
            self.is_too_fast = False
            self.stream.receive(data, offset)
            return
        self.stream.refuse(data, offset, "rate_limited")
        if not self.is_too_fast:
            self.is_too_fast = True
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"live audio of stream {self.asked.stream} comes faster than it may: send it as "
                "it is recorded, or open the stream as lossless",
                stream=self.asked.stream,
                retry_after_ms=max(1, round(wait_s * 1000)),
            )


Containing = Callable[[ServedStream], AbstractContextManager[None]]
"""Keeps an unexpected error inside the stream that it struck."""


def serve(
    stream: Stream,
    session: Session,
    asked: Open,
    chain: tuple[ModelKey | None, ...],
    level: int,
    config: Config,
    now_s: float,
    *,
    counted_as: str,
) -> ServedStream:
    """A stream that has just been opened, read by the model at `level` of its chain."""
    key = chain[level]
    if key is None:
        raise AssertionError(f"no model stands at place {level} of {chain}")
    return ServedStream(
        stream=stream,
        session=session,
        asked=asked,
        counted_as=counted_as,
        own_chain=chain,
        key=key,
        level=level,
        priority=priority_of(asked),
        delivery=delivery_of(asked),
        bucket=bucket_of(asked, config, now_s),
        summary=Summary(opened_at_s=now_s, is_live=delivery_of(asked) == "live"),
    )


def priority_of(asked: Open) -> int:
    """The priority that was asked for, or that of its source."""
    return asked.priority or LIVE_SOURCES.get(asked.source, OTHER_PRIORITY)


def delivery_of(asked: Open) -> Delivery:
    """The delivery that was asked for, or that of its source."""
    return asked.delivery or default_delivery(asked.source)


def rule_of(asked: Open, config: Config) -> StreamRule:
    """The rule by which the stream's audio is treated."""
    limits = config.limits
    is_lossless = delivery_of(asked) == "lossless"
    return StreamRule(
        pcm_format=PcmFormat(
            encoding=asked.encoding, sample_rate=asked.sample_rate, channels=asked.channels
        ),
        endpoint_rule=EndpointRule(
            silence=(asked.endpointing_ms or config.endpointing_ms) * 16,
            longest=round(limits.max_utterance_s * 16000),
        ),
        is_lossless=is_lossless,
        window_s=limits.credit_window_s if is_lossless else limits.live_backlog_s,
        partial_interval_s=config.scheduling.pace.idle_s if asked.partials else None,
        agreement=config.scheduling.agreement,
        start_offset=asked.start_offset,
        start_id=asked.start_id,
    )


def bucket_of(asked: Open, config: Config, now_s: float) -> TokenBucket | None:
    """How fast the stream's audio may come; None where its sender waits instead."""
    if delivery_of(asked) == "lossless":
        return None
    pcm_format = PcmFormat(
        encoding=asked.encoding, sample_rate=asked.sample_rate, channels=asked.channels
    )
    bytes_per_s = pcm_format.frame_bytes * asked.sample_rate
    limits = config.limits
    return TokenBucket(
        bytes_per_s * limits.live_rate,
        bytes_per_s * limits.live_burst_s,
        now_s,
        refill=bytes_per_s * REFILL_S,
    )


class Owner(Protocol):
    """The connection that a session is on."""

    def send(self, message: ServerMessage) -> None:
        """Send a message to the client."""
        ...

    def moved_on(self) -> None:
        """A stream of the session has told all it had to tell for now."""
        ...

    def displaced(self) -> None:
        """The client has come back on another connection; this one is dead and knows it now."""
        ...
