"""How fast a recorded stream may be sent again, so that a replay loses nothing by its speed.

Pure: offsets and times in, a yes or no out.
"""

import math
from collections.abc import Mapping
from typing import Any

from asrd.choices import SAMPLE_BYTES, default_delivery
from asrd.config import Limits
from asrd.wire.messages import Ack, Credit, Opened, Segment, ServerMessage

BACKLOG_SHARE = 0.75
"""Of the live audio that may wait: the rest is for what the daemon has not told about yet."""

BURST_SHARE = 0.5
"""Of the live audio that may come at once: the rest is for clocks that differ."""

MARGIN_S = 5.0
"""Beyond the longest utterance: what is behind the commit when that one has just ended."""


class Pacing:
    """One stream's place between what was sent, what is finished, and what may come.

    Lossless streams keep to their credit. Live ones have none: played faster than they were
    recorded, they stay inside the daemon's backlog and rate, so that nothing is dropped; played as
    recorded, they are sent as recorded.

    Args:
        opening: the fields of `open`, which may hold anything.
        limits: the daemon's, from `welcome`.
        is_hurried: the recording is played faster than it was recorded.
        now_s: when the stream is opened.
    """

    def __init__(
        self,
        opening: Mapping[str, Any],
        limits: Mapping[str, int | float],
        *,
        is_hurried: bool,
        now_s: float,
    ) -> None:
        own = Limits()
        known: dict[str, Any] = {
            **{name: getattr(own, name) for name in Limits.__slots__},
            **limits,
        }
        source = opening.get("source") or "mic"
        delivery = opening.get("delivery") or default_delivery(str(source))
        self._is_live = delivery == "live"
        self._is_hurried = is_hurried
        self._rate = _number(opening.get("sample_rate"), 16000)
        channels = _number(opening.get("channels"), 1)
        encoding = opening.get("encoding")
        self._frame_bytes = channels * SAMPLE_BYTES.get(
            encoding if isinstance(encoding, str) else "pcm_s16le", 2
        )
        self._position = self._commit = _number(opening.get("start_offset"), 0, least=0)
        self._credit = self._position + known["credit_window_s"] * self._rate
        self._ahead = self._rate * max(
            BACKLOG_SHARE * known["live_backlog_s"], known["max_utterance_s"] + MARGIN_S
        )
        self._burst_s: float = BURST_SHARE * known["live_burst_s"]
        self._live_rate: float = known["live_rate"]
        self._max_chunk_bytes = known["max_chunk_bytes"]
        self._opened_at_s = now_s
        self._sent = 0

    def told(self, message: ServerMessage) -> None:
        """The daemon said something of this stream."""
        match message:
            case Opened(credit=int(offset)) | Credit(offset=offset):
                self._credit = max(self._credit, offset)
            case Segment(offset=offset) | Ack(offset=offset):
                self._commit = max(self._commit, offset)
            case _:
                pass

    def wait_s(self, audio: Mapping[str, Any], now_s: float) -> float:
        """For how long a chunk has to wait: 0 not at all, infinite until the daemon says more."""
        begin, end = self._span(audio)
        if begin == end or begin > self._position:
            return 0.0  # not taken, or behind a hole, to which no credit reaches
        if not self._is_live:
            return 0.0 if end <= self._credit else math.inf
        if not self._is_hurried:
            return 0.0
        if end > self._commit + self._ahead:
            return math.inf
        sent_s = (self._sent + end - self._position) / self._rate
        due_s = self._opened_at_s + (sent_s - self._burst_s) / self._live_rate
        return max(0.0, due_s - now_s)

    def sent(self, audio: Mapping[str, Any]) -> None:
        """A chunk is on its way."""
        begin, end = self._span(audio)
        if end > self._position:
            self._sent += end - max(begin, self._position)
            self._position = end

    def _span(self, audio: Mapping[str, Any]) -> tuple[int, int]:
        """Where a chunk begins and ends; it is empty where the daemon does not take it."""
        data, offset = audio.get("data"), audio.get("offset")
        begin = self._position if offset is None else _number(offset, -1, least=0)
        if begin < 0 or not isinstance(data, bytes) or len(data) > self._max_chunk_bytes:
            return begin, begin
        samples, rest = divmod(len(data), self._frame_bytes)
        return begin, begin + (0 if rest else samples)


def _number(value: object, default: int, least: int = 1) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    return default
