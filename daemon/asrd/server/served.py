"""A stream as the server holds it: the pure stream, what was asked for, and where it belongs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from asrd.audio import PcmFormat
from asrd.config import Config
from asrd.providers.catalogue import ModelKey
from asrd.session.endpoint import EndpointRule
from asrd.session.session import Session
from asrd.session.stream import Stream, StreamRule
from asrd.wire.messages import Delivery, Open, ServerMessage

LIVE_SOURCES = {"mic": 1, "system": 2}
"""Sources that are heard as they happen, and their priority; any other is a file or the like."""

OTHER_PRIORITY = 5

_ids = count(1)


@dataclass(eq=False, slots=True)
class ServedStream:
    """One open stream. `served_id` names it in this process, across sessions.

    `chain` is the model that was asked for and those that take over from it, None where one is not
    here; `level` is the place in it of the model that reads the stream now, `key`.
    """

    stream: Stream
    session: Session
    asked: Open
    chain: tuple[ModelKey | None, ...]
    key: ModelKey
    level: int
    priority: int
    delivery: Delivery
    served_id: int = field(default_factory=lambda: next(_ids))
    voice_state: bytes = b""
    """What the voice-activity model has to know of the audio scored so far."""


Containing = Callable[[ServedStream], AbstractContextManager[None]]
"""Keeps an unexpected error inside the stream that it struck."""


def priority_of(asked: Open) -> int:
    """The priority that was asked for, or that of its source."""
    return asked.priority or LIVE_SOURCES.get(asked.source, OTHER_PRIORITY)


def delivery_of(asked: Open) -> Delivery:
    """The delivery that was asked for, or that of its source."""
    return asked.delivery or ("live" if asked.source in LIVE_SOURCES else "lossless")


def rule_of(asked: Open, config: Config) -> StreamRule:
    """The rule by which the stream's audio is treated."""
    limits = config.limits
    is_lossless = delivery_of(asked) == "lossless"
    return StreamRule(
        pcm_format=PcmFormat(
            encoding=asked.encoding, sample_rate=asked.sample_rate, channels=asked.channels
        ),
        endpoint_rule=EndpointRule(
            silence=asked.endpointing_ms * 16, longest=round(limits.max_utterance_s * 16000)
        ),
        is_lossless=is_lossless,
        window_s=limits.credit_window_s if is_lossless else limits.live_backlog_s,
        partial_interval_s=config.scheduling.partial_interval_s if asked.partials else None,
        start_offset=asked.start_offset,
        start_id=asked.start_id,
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
