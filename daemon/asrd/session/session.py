"""A client's set of streams, which outlives its connection.

While nobody is connected the streams go on. Segments are kept so that they can be sent again to a
client that comes back and says what it has; so are the answers that found nobody, and what was told
of lost audio so shortly before the break that it may not have arrived.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from sys import getsizeof

from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.keeping import Keeping
from asrd.session.states import StreamState
from asrd.session.stream import Stream, StreamRule

ANSWERS = (
    effects.OpenedStream,
    effects.Flushed,
    effects.Dropped,
    effects.Gap,
    effects.DecodeFailed,
    effects.StreamClosed,
)
"""What must reach the client beside segments; credit is told anew, and the rest has lost its
meaning by then."""

LASTING = (effects.Dropped, effects.Gap, effects.StreamClosed)
"""What is rather told twice than not at all: the span of audio tells that it is the same."""

MAX_KEPT_ANSWERS = 256

SEGMENT_BYTES = 512
WORD_BYTES = 256
"""What a kept segment, and a word of one, take beside their text."""

MAX_ENDED_STREAMS = 256
"""Ended streams of one session kept in case their end has to be told again."""


class Stale(Exception):
    """What a client said of a stream is past, and nothing is wrong with that."""


@dataclass(frozen=True, slots=True)
class _Told:
    """An effect, its place among all that its stream told, and when it was told.

    `has_found_nobody`: nobody was connected then.
    """

    place: int
    effect: Effect
    at_s: float
    has_found_nobody: bool


@dataclass(slots=True)
class _Record:
    """One stream and what may have to be sent again. `dropped_to` is the last segment that no
    more is."""

    stream: Stream
    dropped_to: int = -1
    segments: deque[_Told] = field(default_factory=deque)
    answers: deque[_Told] = field(default_factory=lambda: deque(maxlen=MAX_KEPT_ANSWERS))
    told: int = 0
    closed_at_s: float | None = None
    is_end_told_again: bool = False

    def again(self, last: int, before_s: float) -> list[Effect]:
        """What a client has to hear that has the segments up to `last`, in the order told.

        What was told before `before_s`, to somebody, has arrived.
        """
        missed = [told for told in self.segments if _id_of(told.effect) > last]
        answers = [each for each in self.answers if each.has_found_nobody or each.at_s >= before_s]
        told = [each.effect for each in sorted([*missed, *answers], key=lambda each: each.place)]
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

    `now_s` gives the time. At most `kept_segments` of a stream are kept, and as much of all as
    `keeping` has room for; what was told longer ago than `delivered_after_s` counts as received.
    """

    def __init__(
        self,
        *,
        session_id: str,
        token: str,
        max_streams: int,
        kept_segments: int,
        keeping: Keeping,
        delivered_after_s: float,
        now_s: Callable[[], float],
        client: str = "",
    ) -> None:
        self.session_id = session_id
        self.token = token
        self.client = client
        """What its client calls itself, for people; who comes back may call itself otherwise."""
        self.is_attached = True
        self._max_streams = max_streams
        self._kept_segments = kept_segments
        self._keeping = keeping
        self.kept_bytes = 0
        """What its kept segments take."""
        self._delivered_after_s = delivered_after_s
        self._now_s = now_s
        self._left_at_s = 0.0
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
        self.forget(number)
        self._records[number] = _Record(stream)
        return stream

    def get(self, number: int) -> Stream:
        """The open stream of that number.

        Raises:
            Stale: it has ended, and its client, who has come back, may not have heard it yet.
            ProtocolError: there is none.
        """
        record = self._records.get(number)
        if record is not None and record.is_end_told_again:
            raise Stale
        if record is None or record.stream.state is StreamState.CLOSED:
            raise ProtocolError(
                ErrorCode.UNKNOWN_STREAM, f"stream {number} is not open", stream=number
            )
        return record.stream

    def forget(self, number: int) -> None:
        """Leave no trace of a stream that never came to be, or has ended."""
        record = self._records.pop(number, None)
        if record is not None:
            self._grow(-sum(_bytes_of(told.effect) for told in record.segments))

    def collect(self, stream: Stream) -> list[Effect]:
        """What `stream` tells now, noted for a client that has to hear it again."""
        told = stream.take_effects()
        record = self._records.get(stream.number)
        if record is None or record.stream is not stream:
            return []
        for effect in told:
            self._note(record, effect)
        return told

    def _note(self, record: _Record, effect: Effect) -> None:
        record.told += 1
        told = _Told(record.told, effect, self._now_s(), has_found_nobody=not self.is_attached)
        if isinstance(effect, effects.Segment):
            record.segments.append(told)
            self._grow(_bytes_of(effect))
            if len(record.segments) > self._kept_segments:
                self._drop_oldest_of(record)
        elif isinstance(effect, LASTING if self.is_attached else ANSWERS):
            record.answers.append(told)
        if isinstance(effect, effects.StreamClosed):
            record.closed_at_s = told.at_s

    def drop_oldest(self) -> None:
        """Let go of the oldest segment of the stream that has most of them."""
        self._drop_oldest_of(max(self._records.values(), key=lambda each: len(each.segments)))

    def clear(self) -> None:
        """Nobody will come back: let go of everything."""
        for number in list(self._records):
            self.forget(number)

    def _drop_oldest_of(self, record: _Record) -> None:
        effect = record.segments.popleft().effect
        record.dropped_to = _id_of(effect)
        self._grow(-_bytes_of(effect))

    def _grow(self, by_bytes: int) -> None:
        self.kept_bytes += by_bytes
        self._keeping.grown(self, by_bytes)

    def detach(self) -> None:
        """The connection is gone: what is told from now on waits for the next one."""
        self.is_attached = False
        self._left_at_s = self._now_s()
        self._forget_delivered()

    def can_resume(self, have: Mapping[int, int]) -> bool:
        """Whether every segment after those that the client has is still here.

        A stream that ended just now and that the client does not name counts as one of which it
        has nothing: rather is something recognised once more than a segment lost.
        """
        return all(
            have.get(number, -1) >= record.dropped_to for number, record in self._records.items()
        )

    def resume(self, have: Mapping[int, int]) -> list[Effect]:
        """The client is back: what it has to hear once more, in order for each stream.

        Credit is told anew, since it may have been raised while nobody heard it.
        """
        self.is_attached = True
        now_s = self._now_s()
        before_s = self._left_at_s - self._delivered_after_s
        again: list[Effect] = []
        for number, record in self._records.items():
            again += record.again(have.get(number, -1), before_s)
            # Told just now, so it may be lost just now.
            kept = [each for each in record.answers if isinstance(each.effect, LASTING)]
            record.answers.clear()
            record.answers += [replace(each, at_s=now_s, has_found_nobody=False) for each in kept]
            record.stream.may_repeat = True
            if record.closed_at_s is not None:
                record.closed_at_s = now_s
                record.is_end_told_again = True
        return again

    def _forget_delivered(self) -> None:
        """Let go of streams that ended so long before the break that the client has heard it.

        Who does not take what is written is given up and leaves the session, so an end that was
        told longer ago than `delivered_after_s` has arrived. No more than `MAX_ENDED_STREAMS` are
        kept.
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
            self.forget(number)


def _id_of(effect: Effect) -> int:
    return effect.id if isinstance(effect, effects.Segment) else -1


def _bytes_of(effect: Effect) -> int:
    if not isinstance(effect, effects.Segment):
        return 0
    hypothesis = effect.hypothesis
    return SEGMENT_BYTES + getsizeof(hypothesis.text) + WORD_BYTES * len(hypothesis.words)
