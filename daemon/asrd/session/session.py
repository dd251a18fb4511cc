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
"""What must reach the client beside segments; the rest is told anew or has lost its meaning."""

MAX_KEPT_ANSWERS = 256


@dataclass(slots=True)
class _Record:
    """One stream and what may have to be sent again."""

    stream: Stream
    segments: deque[effects.Segment]
    answers: deque[Effect] = field(default_factory=lambda: deque(maxlen=MAX_KEPT_ANSWERS))
    closed_at_s: float | None = None


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
            if isinstance(effect, effects.Segment):
                record.segments.append(effect)
            elif isinstance(effect, effects.StreamClosed):
                record.closed_at_s = self._now_s()
                record.answers.append(effect)
            elif not self.is_attached and isinstance(effect, ANSWERS):
                record.answers.append(effect)
        return told

    def detach(self) -> None:
        """The connection is gone: what is told from now on waits for the next one."""
        self.is_attached = False
        self._forget_delivered()

    def resume(self, have: Mapping[int, int]) -> list[Effect]:
        """The client is back: what it has to hear once more, in order for each stream."""
        self.is_attached = True
        again: list[Effect] = []
        for number, record in self._records.items():
            last = have.get(number, -1)
            again += [segment for segment in record.segments if segment.id > last]
            again += record.answers
            if record.closed_at_s is None:
                record.answers.clear()
        return again

    def _forget_delivered(self) -> None:
        """Let go of streams that ended so long before the break that the client has heard it.

        A connection takes what is written within the send timeout or is closed, so an end that
        was told longer ago than that has arrived.
        """
        before = self._now_s() - self._delivered_after_s
        self._records = {
            number: record
            for number, record in self._records.items()
            if record.closed_at_s is None or record.closed_at_s > before
        }
