"""One stream: audio in, utterances to decode, text and commits out.

    receive ─► Listener ──(utterances, marks)──► the queue `_ahead` ─► begin_decode ─► (a model)
    effects ◄──────────────────────────────────────────────────────── end_decode ◄───────┘

The queue holds finished utterances and, between them, the flushes and closes that wait for those
before them, so everything is told in the order of its audio. Nothing here knows a clock: whoever
calls hands in the time.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from asrd.audio import SAMPLE_RATE, PcmFormat, Samples
from asrd.session import effects
from asrd.session.effects import CloseReason, DropReason, Effect
from asrd.session.endpoint import EndpointRule, SpeechBegan, Utterance
from asrd.session.intake import Mark, MarkKind
from asrd.session.listener import Heard, Listener, Unscored
from asrd.session.states import StreamInput, StreamState, next_state
from asrd.transcript import Hypothesis

TOLD_EVERY_S = 0.5
"""Audio by which the commit moves before it is told without a segment."""

DROPPED_AT_ONCE_S = 1.0
"""Unscored audio dropped in one go, so that a long overload is not told chunk by chunk."""

DECODE_ATTEMPTS = 2
"""Workers that one utterance may end before it is set aside."""


class Want(Enum):
    """What a stream would have decoded."""

    FINAL = auto()
    PARTIAL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """What was asked for when the stream was opened, as far as its audio goes.

    `window_s` is, on a lossless stream, the credit ahead of the commit; on a live one, the audio
    held before the oldest is dropped. `partial_interval_s` is None where no partials are wanted.
    """

    pcm_format: PcmFormat
    endpoint_rule: EndpointRule
    is_lossless: bool
    window_s: float
    partial_interval_s: float | None
    start_offset: int = 0
    start_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Audio for one decode: [start, end) of the stream's 16 kHz clock."""

    start: int
    end: int
    audio: Samples
    want: Want


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queued:
    utterance: Utterance
    queued_at_s: float


class Stream:
    """A stream from its opening to its end."""

    def __init__(self, number: int, rule: StreamRule) -> None:
        self.number = number
        self.state = StreamState.OPEN
        self.is_ready = False
        self._rule = rule
        self._format = rule.pcm_format
        self._listener = Listener(rule.pcm_format, rule.endpoint_rule, rule.start_offset)
        self._speech = self._listener.endpointer
        self._intake = self._listener.intake
        self._ahead: deque[_Queued | Mark] = deque()
        self._decoding: Window | None = None
        self._attempts = 0
        self._partial_end = 0
        self._committed = self._told = self._credit = rule.start_offset
        self._next_id = rule.start_id
        self._segments = 0
        self._dropped = 0
        self._close_reason: CloseReason = "client"
        self._effects: list[Effect] = []

    # ── what comes in ─────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """The model is ready: speech is looked for from now on."""
        self.is_ready = True
        credit = None
        if self._rule.is_lossless:
            credit = self._credit = self._committed + self._own(self._rule.window_s)
        self._tell(effects.OpenedStream(stream=self.number, credit=credit))

    def receive(self, data: bytes, offset: int | None) -> None:
        """Take audio in. Raises ProtocolError for a bad chunk or a stream that takes none."""
        self._enter(StreamInput.AUDIO)
        hole = self._intake.receive(data, offset)
        if hole is not None:
            start, end = (self._format.to_16k(edge) for edge in hole)
            self._tell(effects.Gap(stream=self.number, start=start, end=end))
        if not self._rule.is_lossless:
            while self._backlog > self._rule.window_s * SAMPLE_RATE:
                self._drop_oldest()

    def flush(self) -> None:
        """Finish all audio received so far; told by `Flushed`."""
        self._enter(StreamInput.FLUSH)
        self._intake.mark(MarkKind.FLUSH)

    def close(self) -> None:
        """Finish all audio, then end; told by `StreamClosed`."""
        self._enter(StreamInput.CLOSE)
        self._intake.mark(MarkKind.CLOSE)

    def drain(self) -> None:
        """Close because the daemon ends."""
        was_open = self.state is StreamState.OPEN
        self._enter(StreamInput.DRAIN)
        if was_open:
            self._close_reason = "shutdown"
            self._intake.mark(MarkKind.CLOSE)

    def cancel(self, reason: CloseReason = "cancelled") -> None:
        """End at once; what is not finished is dropped."""
        self._enter(StreamInput.CANCEL)
        self._end(reason)

    # ── voice activity ────────────────────────────────────────────────────────────────────────

    @property
    def is_overdrawn(self) -> bool:
        """Whether a lossless sender is so far past its credit that it must be made to wait."""
        ahead = self._intake.expected - self._committed
        return self._rule.is_lossless and ahead > 2 * self._own(self._rule.window_s)

    @property
    def has_unscored(self) -> bool:
        """Whether `take_unscored` could do anything now."""
        return self.is_ready and self.state is not StreamState.CLOSED and self._listener.has_work

    def take_unscored(self, now_s: float) -> Unscored | None:
        """Windows to be scored next; None when there are none, or some are out already."""
        if not self.has_unscored:
            return None
        heard, unscored = self._listener.take_unscored()
        self._hear(heard, now_s)
        return unscored

    def scored(self, probabilities: npt.NDArray[np.float32], now_s: float) -> None:
        """The speech probability of each window that was handed out, in order."""
        if self.state is not StreamState.CLOSED:
            self._hear(self._listener.scored(probabilities), now_s)

    # ── decoding ──────────────────────────────────────────────────────────────────────────────

    @property
    def want(self) -> Want | None:
        """What this stream would have decoded now; None while a decode runs."""
        if self._decoding is not None or self.state is StreamState.CLOSED:
            return None
        if self._ahead:
            return Want.FINAL
        start = self._speech.open_start
        if start is None or self._rule.partial_interval_s is None or self._speech.is_trailing:
            return None
        new_samples = self._speech.position - max(start, self._partial_end)
        return Want.PARTIAL if new_samples >= self._rule.partial_interval_s * SAMPLE_RATE else None

    def begin_decode(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        want = self.want
        if want is None:
            return None
        if want is Want.FINAL:
            utterance = self._first_queued().utterance
            start, end = utterance.start, utterance.end
        else:
            start, end = self._speech.finished_before, self._speech.position
            self._partial_end = end
        audio = self._listener.audio(start, end)
        self._decoding = Window(start=start, end=end, audio=audio, want=want)
        return self._decoding

    def end_decode(self, hypothesis: Hypothesis, now_s: float) -> None:
        """The model's reading of the window that `begin_decode` gave."""
        window = self._take_decoding()
        if window is None:
            return
        if window.want is Want.PARTIAL:
            self._tell_partial(window, hypothesis)
            return
        queued = self._pop_queued()
        if hypothesis.text:
            self._tell_segment(window, queued, hypothesis, now_s)
        self._settle()

    def retry_decode(self, reason: str) -> None:
        """The worker died under the decode: it is tried again, or set aside if it was the second.

        A partial is not tried again while its utterance lasts.
        """
        window = self._take_decoding()
        if window is None:
            return
        if window.want is Want.PARTIAL:
            self._partial_end = window.start + self._rule.endpoint_rule.longest
            return
        self._attempts += 1
        if self._attempts >= DECODE_ATTEMPTS:
            self._set_aside(reason)

    def fail_decode(self, reason: str) -> None:
        """The model refused the window: the utterance is set aside and the stream goes on."""
        window = self._take_decoding()
        if window is not None and window.want is Want.FINAL:
            self._set_aside(reason)

    # ── what goes out ─────────────────────────────────────────────────────────────────────────

    def take_effects(self) -> list[Effect]:
        """What is to be told, in order; each is given once."""
        given, self._effects = self._effects, []
        return given

    @property
    def committed(self) -> int:
        """The own offset before which all is finished."""
        return self._committed

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _enter(self, happened: StreamInput) -> None:
        self.state = next_state(self.state, happened, self.number)

    def _tell(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _own(self, seconds: float) -> int:
        return round(seconds * self._format.sample_rate)

    def _hear(self, heard: list[Heard], now_s: float) -> None:
        for event in heard:
            match event:
                case SpeechBegan():
                    self._tell(effects.SpeechStarted(stream=self.number, position=event.position))
                case Utterance():
                    if not event.is_split:
                        end = event.speech_end
                        self._tell(effects.SpeechEnded(stream=self.number, position=end))
                    self._ahead.append(_Queued(utterance=event, queued_at_s=now_s))
                    self._partial_end = event.end
                case Mark():
                    if event.kind is not MarkKind.HOLE:
                        self._ahead.append(event)
        self._settle()

    def _first_queued(self) -> _Queued:
        head = self._ahead[0]
        if isinstance(head, Mark):  # `_settle` leaves none there
            raise AssertionError("a mark stands at the head of the queue")
        return head

    def _pop_queued(self) -> _Queued:
        queued = self._first_queued()
        self._ahead.popleft()
        self._attempts = 0
        return queued

    def _take_decoding(self) -> Window | None:
        window, self._decoding = self._decoding, None
        return None if self.state is StreamState.CLOSED else window

    def _settle(self) -> None:
        """Tell the marks that nothing stands before, move the commit, let go of audio."""
        while self._ahead and isinstance(mark := self._ahead[0], Mark):
            self._ahead.popleft()
            self._committed = max(self._committed, mark.offset)
            if mark.kind is MarkKind.CLOSE:
                self._enter(StreamInput.FINISH)
                self._end(self._close_reason)
                return
            self._told = self._committed
            self._tell(effects.Flushed(stream=self.number, offset=mark.offset))
        self._move_commit()
        if self._committed - self._told >= self._own(TOLD_EVERY_S):
            self._told = self._committed
            self._tell(effects.Committed(stream=self.number, offset=self._committed))
        credit = self._committed + self._own(self._rule.window_s)
        if self._rule.is_lossless and credit - self._credit >= self._own(TOLD_EVERY_S):
            self._credit = credit
            self._tell(effects.CreditRaised(stream=self.number, offset=credit))

    def _move_commit(self) -> None:
        waiting = (item.utterance.start for item in self._ahead if isinstance(item, _Queued))
        position = next(waiting, self._speech.finished_before)
        self._committed = max(self._committed, self._format.to_own(position))
        self._listener.forget_before(position)

    def _tell_partial(self, window: Window, hypothesis: Hypothesis) -> None:
        speech_start = self._speech.speech_start
        is_current = self._speech.open_start == window.start and not self._ahead
        if speech_start is not None and is_current and hypothesis.text:
            self._tell(
                effects.Partial(
                    stream=self.number,
                    id=self._next_id,
                    start=speech_start,
                    end=window.end,
                    text=hypothesis.text,
                    stable=0,
                )
            )

    def _tell_segment(
        self, window: Window, queued: _Queued, hypothesis: Hypothesis, now_s: float
    ) -> None:
        self._move_commit()
        self._told = self._committed
        self._tell(
            effects.Segment(
                stream=self.number,
                id=self._next_id,
                start=queued.utterance.speech_start,
                end=queued.utterance.speech_end,
                window_start=window.start,
                hypothesis=hypothesis,
                offset=self._committed,
                latency_s=now_s - queued.queued_at_s,
            )
        )
        self._next_id += 1
        self._segments += 1

    def _set_aside(self, reason: str) -> None:
        utterance = self._pop_queued().utterance
        self._tell(effects.DecodeFailed(stream=self.number, message=reason))
        self._tell_dropped(utterance.start, utterance.end, "provider_failed")
        self._settle()

    @property
    def _backlog(self) -> int:
        """16 kHz samples that wait: unscored, or in utterances that no decode has begun."""
        waiting = [item.utterance for item in self._ahead if isinstance(item, _Queued)]
        if self._decoding is not None and self._decoding.want is Want.FINAL:
            del waiting[0]
        unscored = self._format.to_16k(self._intake.waiting)
        return unscored + sum(utterance.end - utterance.start for utterance in waiting)

    def _drop_oldest(self) -> None:
        has_begun = self._decoding is not None and self._decoding.want is Want.FINAL
        for index, item in enumerate(self._ahead):
            if isinstance(item, _Queued) and not (has_begun and index == 0):
                del self._ahead[index]
                self._tell_dropped(item.utterance.start, item.utterance.end, "backlog")
                self._settle()
                return
        dropped = self._intake.drop_oldest(self._own(DROPPED_AT_ONCE_S))
        start, end = (self._format.to_16k(edge) for edge in dropped)
        self._tell_dropped(start, end, "backlog")

    def _tell_dropped(self, start: int, end: int, reason: DropReason) -> None:
        self._dropped += end - start
        self._tell(effects.Dropped(stream=self.number, start=start, end=end, reason=reason))

    def _end(self, reason: CloseReason) -> None:
        self._ahead.clear()
        self._listener.forget_before(self._speech.position)
        self._tell(
            effects.StreamClosed(
                stream=self.number,
                reason=reason,
                offset=self._committed,
                segments=self._segments,
                audio=self._format.to_16k(self._intake.received),
                dropped=self._dropped,
            )
        )
