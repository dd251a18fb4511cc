"""A client's set of streams, which outlives its connection.

While nobody is connected the streams go on. Segments are kept so that they can be sent again to a
client that comes back and says what it has; so are the answers that found nobody.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.states import StreamState
from asrd.session.stream import Stream, StreamRule

ANSWERS = (
    effects.OpenedStream,
    effects.Flushed,
    effects.Dropped,
    effects.Gap,
    effects.DecodeFailed,
)
"""What must reach the client beside segments; credit is told anew, and the rest has lost its
meaning by then."""

MAX_KEPT_ANSWERS = 256

MAX_ENDED_STREAMS = 256
"""Ended streams of one session kept in case their end has to be told again."""


@dataclass(slots=True)
class _Record:
    """One stream and what may have to be sent again, each with its place among all it told."""

    stream: Stream
    segments: deque[tuple[int, effects.Segment]]
    answers: deque[tuple[int, Effect]] = field(
        default_factory=lambda: deque(maxlen=MAX_KEPT_ANSWERS)
    )
    told: int = 0
    closed_at_s: float | None = None

    def again(self, last: int) -> list[Effect]:
        """What a client has to hear that has the segments up to `last`, in the order told."""
        missed: list[tuple[int, Effect]] = [
            (place, segment) for place, segment in self.segments if segment.id > last
        ]
        told = [effect for _, effect in sorted([*missed, *self.answers], key=lambda item: item[0])]
        stream = self.stream
        if self.closed_at_s is not None or not stream.is_ready:
            return told
        has_opened = any(isinstance(effect, effects.OpenedStream) for effect in told)
        if not has_opened and not stream.has_received:
            # Nothing shows that the client has heard it: it may have been lost in the break.
            return [effects.OpenedStream(stream=stream.number, credit=stream.credit), *told]
        if stream.credit is not None:
            told.append(effects.CreditRaised(stream=stream.number, offset=stream.credit))
        return told


class Session:
    """The streams of one client.

    `now_s` gives the time. At most `kept_segments` of a stream are kept; what was told longer ago
    than `delivered_after_s` counts as received.
    """

    def __init__(
        self,
        *,
        session_id: str,
        token: str,
        max_streams: int,
        kept_segments: int,
        delivered_after_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self.session_id = session_id
        self.token = token
        self.is_attached = True
        self._max_streams = max_streams
        self._kept_segments = kept_segments
        self._delivered_after_s = delivered_after_s
        self._now_s = now_s
        self._records: dict[int, _Record] = {}

    @property
    def streams(self) -> list[Stream]:
        """The streams that have not ended."""
        return [record.stream for record in self._records.values() if record.closed_at_s is None]

    @property
    def commits(self) -> dict[int, int]:
        """Each known stream's committed offset, for `welcome`."""
        return {number: record.stream.committed for number, record in self._records.items()}

    def open(self, number: int, rule: StreamRule) -> Stream:
        """Begin a stream. Raises ProtocolError when the number is in use or too many are open."""
        record = self._records.get(number)
        if record is not None and record.closed_at_s is None:
            raise ProtocolError(
                ErrorCode.STREAM_EXISTS, f"stream {number} is open already", stream=number
            )
        if len(self.streams) >= self._max_streams:
            raise ProtocolError(
                ErrorCode.TOO_MANY_STREAMS,
                f"{self._max_streams} streams are open, which is the limit; close one first",
                stream=number,
            )
        self._forget_delivered()
        stream = Stream(number, rule)
        self._records[number] = _Record(stream, deque(maxlen=self._kept_segments))
        return stream

    def get(self, number: int) -> Stream:
        """The open stream of that number. Raises ProtocolError when there is none."""
        record = self._records.get(number)
        if record is None or record.stream.state is StreamState.CLOSED:
            raise ProtocolError(
                ErrorCode.UNKNOWN_STREAM, f"stream {number} is not open", stream=number
            )
        return record.stream

    def forget(self, number: int) -> None:
        """A stream that never came to be leaves no trace."""
        self._records.pop(number, None)

    def collect(self, stream: Stream) -> list[Effect]:
        """What `stream` tells now, noted for a client that has to hear it again."""
        told = stream.take_effects()
        record = self._records.get(stream.number)
        if record is None or record.stream is not stream:
            return []
        for effect in told:
            record.told += 1
            if isinstance(effect, effects.Segment):
                record.segments.append((record.told, effect))
            elif isinstance(effect, effects.StreamClosed):
                record.closed_at_s = self._now_s()
                record.answers.append((record.told, effect))
            elif not self.is_attached and isinstance(effect, ANSWERS):
                record.answers.append((record.told, effect))
        return told

    def detach(self) -> None:
        """The connection is gone: what is told from now on waits for the next one."""
        self.is_attached = False
        self._forget_delivered()

    def resume(self, have: Mapping[int, int]) -> list[Effect]:
        """The client is back: what it has to hear once more, in order for each stream.

        Credit is told anew, since it may have been raised while nobody heard it.
        """
        self.is_attached = True
        again: list[Effect] = []
        for number, record in self._records.items():
            again += record.again(have.get(number, -1))
            end = record.answers[-1] if record.closed_at_s is not None else None
            record.answers.clear()
            if end is not None:  # it was told just now, so it may be lost just now
                record.answers.append(end)
                record.closed_at_s = self._now_s()
        return again

    def _forget_delivered(self) -> None:
        """Let go of streams that ended so long before the break that the client has heard it.

        A connection takes what is written within the send timeout or is closed, so an end that
        was told longer ago than that has arrived. No more than `MAX_ENDED_STREAMS` are kept.
        """
        before = self._now_s() - self._delivered_after_s
        ended = {
            number: record.closed_at_s
            for number, record in self._records.items()
            if record.closed_at_s is not None
        }
        latest = sorted(ended, key=lambda number: ended[number])[-MAX_ENDED_STREAMS:]
        kept = {number for number in latest if ended[number] > before}
        for number in ended.keys() - kept:
            del self._records[number]
