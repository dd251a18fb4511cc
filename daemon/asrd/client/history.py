"""What the daemons have told of one stream, each thing once: pure.

Around a break a daemon may tell a thing twice, and the next daemon begins its counts anew. What
passes here is what one daemon would have told over one connection.
"""

import msgspec

from asrd.client.errors import SegmentsMissing
from asrd.client.inbox import StreamEvent
from asrd.client.spans import Spans
from asrd.wire.messages import Ack, Closed, Event, Open, Partial, Segment

DIGITS = 4
"""Decimals of seconds on the wire."""

TICKS_PER_S = 10_000
"""Spans are kept in these, so that what the wire says is compared exactly."""


class History:
    """How far a stream is finished, the next segment's id, and what was counted.

    `committed` is the offset before which whatever there was has been told.
    """

    def __init__(self, request: Open) -> None:
        self._request = request
        self._opened_at = request.start_offset
        self._opened_id = request.start_id
        self._spans = {"dropped": Spans(), "gap": Spans()}
        self._last_at_s: dict[str, float] = {}
        self._earlier_audio_s = 0.0
        self._earlier_dropped_s = 0.0
        self.committed = request.start_offset
        self.next_id = request.start_id

    @property
    def has_segments(self) -> bool:
        """Whether any segment was received."""
        return self.next_id > self._request.start_id

    def reopen(self) -> Open:
        """How the stream is opened on a daemon that does not know it, to go on at the commit.

        What the daemons before told up to there is counted from now on.
        """
        start_s, end_s = (
            offset / self._request.sample_rate for offset in (self._opened_at, self.committed)
        )
        start, end = _ticks(start_s), _ticks(end_s)
        self._earlier_audio_s += end_s - start_s - _seconds(self._spans["gap"].measure(start, end))
        self._earlier_dropped_s += _seconds(self._spans["dropped"].measure(start, end))
        self._opened_at = self.committed
        self._opened_id = self.next_id
        return msgspec.structs.replace(
            self._request, start_offset=self.committed, start_id=self.next_id
        )

    def accept(self, message: StreamEvent) -> list[StreamEvent]:
        """What of a message is new.

        Raises:
            SegmentsMissing: the daemon has left segments out.
        """
        match message:
            case Segment():
                return self._segment(message)
            case Partial(id=number):
                return [message] if number >= self.next_id else []
            case Ack(offset=offset):
                is_new = offset >= self.committed
                self._move_to(offset)
                return [message] if is_new else []
            case Event():
                return self._event(message)
            case Closed(offset=offset):
                if not self.lacks(message):
                    self._move_to(offset)
                return [self._whole(message)]
            case _:
                return [message]

    def lacks(self, closed: Closed) -> bool:
        """Whether segments were told before this end that have not come here.

        A daemon that ends while it tells a client again what it missed may leave some out.
        """
        return self._opened_id + closed.segments > self.next_id

    def flushed(self, offset: int) -> None:
        """All before `offset` is finished."""
        self._move_to(offset)

    def cancelled(self) -> Closed:
        """The end of a stream that is cancelled while no daemon has it."""
        self.reopen()
        end = Closed(
            stream=self._request.stream,
            reason="cancelled",
            offset=self.committed,
            segments=0,
            audio_seconds=0.0,
            dropped_seconds=0.0,
        )
        return self._whole(end)

    def _move_to(self, offset: int) -> None:
        self.committed = max(self.committed, offset)

    def _segment(self, segment: Segment) -> list[StreamEvent]:
        if segment.id < self.next_id:
            return []
        if segment.id > self.next_id:
            raise SegmentsMissing(
                f"segment {segment.id} of stream {segment.stream} came where {self.next_id} was "
                "due; please report this"
            )
        self.next_id += 1
        self._move_to(segment.offset)
        return [segment]

    def _event(self, event: Event) -> list[StreamEvent]:
        if (spans := self._spans.get(event.event)) is not None:
            if not isinstance(event.start, float) or not isinstance(event.end, float):
                return [event]
            span = (_ticks(event.start), _ticks(event.end))
            new = spans.add(*span)
            return [event] if new == [span] else [_part(event, *part) for part in new]
        if event.event in ("speech_start", "speech_end"):
            if event.at <= self._last_at_s.get(event.event, -1.0):
                return []
            self._last_at_s[event.event] = event.at
        return [event]

    def _whole(self, closed: Closed) -> Closed:
        if self._opened_at == self._request.start_offset:
            return closed  # one daemon had all of it
        return msgspec.structs.replace(
            closed,
            segments=self.next_id - self._request.start_id,
            audio_seconds=round(self._earlier_audio_s + closed.audio_seconds, DIGITS),
            dropped_seconds=round(self._earlier_dropped_s + closed.dropped_seconds, DIGITS),
        )


def _part(event: Event, start: int, end: int) -> Event:
    start_s, end_s = _seconds(start), _seconds(end)
    return msgspec.structs.replace(event, at=end_s, start=start_s, end=end_s)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def _seconds(ticks: int) -> float:
    return ticks / TICKS_PER_S
