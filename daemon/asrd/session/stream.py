"""One stream: audio in, utterances to decode, text and commits out.

    receive ─► Listener ──(utterances, marks)──► Ahead ─► begin_decode ─► (a model)
    effects ◄──────────────── Ledger ◄───────────────────── end_decode ◄───────┘

Everything is told in the order of its audio. Nothing here knows a clock: whoever calls hands in
the time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.ahead import Ahead, Queued
from asrd.session.effects import CloseReason, Effect
from asrd.session.endpoint import EndpointRule, SpeechBegan, Utterance
from asrd.session.intake import Mark, MarkKind
from asrd.session.ledger import Ledger
from asrd.session.listener import Heard, Listener, Unscored
from asrd.session.reading import Reading, Want, Window
from asrd.session.states import StreamInput, StreamState, next_state
from asrd.transcript import Hypothesis

__all__ = ["Stream", "StreamRule", "Want", "Window"]

DROPPED_AT_ONCE_S = 1.0
"""Unscored audio dropped in one go, so that a long overload is not told chunk by chunk."""

DECODE_ATTEMPTS = 2
"""Workers that one utterance may end before it is set aside."""

MAX_PIECES = 16384
"""Unscored pieces of audio, and marks between them: what splinters cost beside their samples."""

MAX_FLUSHES_DUE = 1000
"""Flushes that wait for their answers; one more is refused."""


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
        self._ahead = Ahead()
        self._ledger = Ledger(
            number,
            rule.pcm_format,
            start_offset=rule.start_offset,
            start_id=rule.start_id,
            window=self._own(rule.window_s) if rule.is_lossless else None,
        )
        interval_s = rule.partial_interval_s
        self._reading = Reading(
            self._listener, self._ahead, None if interval_s is None else interval_s * SAMPLE_RATE
        )
        self._flushes_due = 0
        self._partial_deaths = 0  # workers that the open utterance has ended
        self._close_reason: CloseReason = "client"
        self._effects: list[Effect] = []

    # ── what comes in ─────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """The model is ready: speech is looked for from now on."""
        self.is_ready = True
        self._tell(self._ledger.opened())

    def receive(self, data: bytes, offset: int | None) -> None:
        """Take audio in. Raises ProtocolError for a bad chunk or a stream that takes none."""
        self._enter(StreamInput.AUDIO)
        try:
            hole = self._intake.receive(data, offset)
        except ProtocolError as error:
            error.stream = self.number
            raise
        if hole is not None:
            start, end = (self._format.to_16k(edge) for edge in hole)
            self._tell(effects.Gap(stream=self.number, start=start, end=end))
        if not self._rule.is_lossless:
            self._drop_what_is_too_much()

    def flush(self) -> None:
        """Finish all audio received so far; told by `Flushed`.

        Raises:
            ProtocolError: the stream takes no flush any more, or too many wait for their answers.
        """
        self._enter(StreamInput.FLUSH)
        if self._flushes_due >= MAX_FLUSHES_DUE:
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{MAX_FLUSHES_DUE} flushes of stream {self.number} wait for their answers",
                stream=self.number,
                retry_after_ms=1000,
            )
        self._flushes_due += 1
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
        """Whether a lossless sender is so far past its credit that it must be made to wait.

        So must one whose audio comes in so many splinters that they cost more than its samples.
        """
        has_splinters = self._rule.is_lossless and self._intake.pieces > MAX_PIECES
        return has_splinters or self._ledger.is_overdrawn(self._intake.expected)

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
        return None if self.state is StreamState.CLOSED else self._reading.want

    def begin_decode(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        return None if self.state is StreamState.CLOSED else self._reading.begin()

    def end_decode(self, hypothesis: Hypothesis, now_s: float) -> None:
        """The model's reading of the window that `begin_decode` gave."""
        window = self._end_reading()
        if window is None:
            return
        if window.want is Want.PARTIAL:
            self._tell_partial(window, hypothesis)
            return
        queued = self._ahead.pop()
        if hypothesis.text:
            self._move_commit()
            latency_s = now_s - queued.queued_at_s
            self._tell(self._ledger.segment(queued.utterance, hypothesis, latency_s))
        self._settle()

    def retry_decode(self, reason: str, *, is_suspect: bool = True) -> None:
        """The worker died under the decode: it is tried again, or set aside if it was the second.

        A partial is not tried again while its utterance lasts. Audio is no suspect when the worker
        was ended on purpose.
        """
        window = self._end_reading()
        if window is None or not is_suspect:
            return
        if window.want is Want.PARTIAL:
            self._reading.give_up_partials(window, self._rule.endpoint_rule.longest)
            queued_meanwhile = self._ahead.beginning_at(window.start)
            if queued_meanwhile is not None:
                queued_meanwhile.attempts += 1
            elif self._speech.open_start == window.start:
                self._partial_deaths += 1
            return
        queued = self._ahead.first
        queued.attempts += 1
        if queued.attempts >= DECODE_ATTEMPTS:
            self._set_aside(reason)

    def fail_decode(self, reason: str) -> None:
        """The model refused the window: the utterance is set aside and the stream goes on."""
        window = self._end_reading()
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
        return self._ledger.committed

    @property
    def credit(self) -> int | None:
        """The own offset before which audio may be sent, as told last; None on a live stream."""
        return self._ledger.credit

    @property
    def has_received(self) -> bool:
        """Whether any audio came."""
        return self._intake.received > 0

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
                    attempts, self._partial_deaths = self._partial_deaths, 0
                    queued = Queued(utterance=event, queued_at_s=now_s, attempts=attempts)
                    self._ahead.put(queued)
                    self._reading.heard(event)
                case Mark():
                    if event.kind is not MarkKind.HOLE:
                        self._ahead.put(event)
        self._settle()

    def _end_reading(self) -> Window | None:
        window = self._reading.end()
        return None if self.state is StreamState.CLOSED else window

    def _settle(self) -> None:
        """Tell the marks that nothing stands before, move the commit, let go of audio."""
        while (mark := self._ahead.pop_mark()) is not None:
            self._ledger.move_to(mark.offset)
            self._effects += self._ledger.overdue()
            if mark.kind is MarkKind.CLOSE:
                self._enter(StreamInput.FINISH)
                self._end(self._close_reason)
                return
            self._flushes_due -= 1
            self._tell(self._ledger.flushed(mark.offset))
        self._move_commit()
        self._effects += self._ledger.due()

    def _move_commit(self) -> None:
        """All before the first thing that waits, or is still heard, is finished."""
        head = self._ahead.head
        if isinstance(head, Mark):  # its answer comes first, then what lies behind it
            position = self._format.to_16k(head.offset)
            self._ledger.move_to(head.offset)
        else:
            position = head.utterance.start if head else self._speech.finished_before
            self._ledger.move_to(self._format.to_own(position))
        self._listener.forget_before(position)
        last_end = self._ahead.last_end
        if last_end is not None and not self._speech.is_listening:
            # Silence behind what waits for a model: that may take long, and silence goes on.
            self._listener.forget_between(last_end, self._speech.finished_before)

    def _tell_partial(self, window: Window, hypothesis: Hypothesis) -> None:
        speech_start = self._speech.speech_start
        is_current = self._reading.is_of_open_utterance(window)
        if speech_start is not None and is_current and hypothesis.text:
            self._tell(self._ledger.partial(speech_start, window.end, hypothesis.text))

    def _set_aside(self, reason: str) -> None:
        utterance = self._ahead.pop().utterance
        self._tell(effects.DecodeFailed(stream=self.number, message=reason))
        self._tell(self._ledger.dropped(utterance.start, utterance.end, "provider_failed"))
        self._settle()

    def _drop_what_is_too_much(self) -> None:
        """The oldest goes first: utterances that no decode has begun, then unscored audio."""
        while self._backlog > self._rule.window_s * SAMPLE_RATE:
            utterance = self._ahead.drop_oldest(has_begun=self._reading.is_at_final)
            if utterance is None:
                self._drop_unscored()
            else:
                self._tell(self._ledger.dropped(utterance.start, utterance.end, "backlog"))
                self._settle()
        while self._intake.pieces > MAX_PIECES and self._intake.waiting:
            self._drop_unscored()

    def _drop_unscored(self) -> None:
        dropped = self._intake.drop_oldest(self._own(DROPPED_AT_ONCE_S))
        start, end = (self._format.to_16k(edge) for edge in dropped)
        self._tell(self._ledger.dropped(start, end, "backlog"))

    @property
    def _backlog(self) -> int:
        """16 kHz samples that wait: unscored, or in utterances that no decode has begun."""
        unscored = self._format.to_16k(self._intake.waiting)
        return unscored + self._ahead.waiting_samples(has_begun=self._reading.is_at_final)

    def _end(self, reason: CloseReason) -> None:
        self._tell(self._ledger.closed(reason, self._intake.received))
        self._ahead.clear()
        self._listener.clear()
