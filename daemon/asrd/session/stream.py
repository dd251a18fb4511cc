"""One stream: audio in, utterances to decode, text and commits out.

    receive ─► Listener ──(utterances, marks)──► Ahead ─► begin_decode ─► (a model)
    effects ◄──────────────── Ledger ◄───────────────────── end_decode ◄───────┘

Everything is told in the order of its audio. Nothing here knows a clock: whoever calls hands in
the time.
"""

import numpy as np
import numpy.typing as npt

from asrd.errors import ErrorCode
from asrd.session import effects
from asrd.session.ahead import Ahead, Queued
from asrd.session.arrivals import Arrivals
from asrd.session.backlog import Backlog
from asrd.session.effects import CloseReason, DropReason, Effect
from asrd.session.endpoint import SpeechBegan, Utterance
from asrd.session.intake import Mark, MarkKind
from asrd.session.ledger import Ledger
from asrd.session.listener import Heard, Listener, Unscored
from asrd.session.reading import Reading
from asrd.session.repetition import without_loops
from asrd.session.rule import StreamRule
from asrd.session.states import StreamInput, StreamState, next_state
from asrd.session.view import StreamView, view_of
from asrd.session.window import Want, Window
from asrd.transcript import Hypothesis

__all__ = ["Stream", "StreamRule", "Want", "Window"]


class Stream:
    """A stream from its opening to its end."""

    def __init__(self, number: int, rule: StreamRule) -> None:
        self.number = number
        self.state = StreamState.OPEN
        self.is_ready = False
        self.may_repeat = False
        """Its client came back, and may say again what it said before `close`."""
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
            window=round(rule.window_s * rule.pcm_format.sample_rate) if rule.is_lossless else None,
        )
        self.reading = Reading(self._listener, self._ahead, rule)
        """What a model has to do with it: others only look, and say which model it is."""
        self.set_pace(rule.partial_interval_s)
        self._backlog = Backlog(rule, self._intake, self._ahead, self.reading, self._ledger)
        self._close_reason: CloseReason = "client"
        self._effects: list[Effect] = []
        self._arrivals = Arrivals(
            number, rule.pcm_format, self._intake, self._ledger, self._effects
        )

    # ── what comes in ─────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """The model is ready: speech is looked for from now on."""
        self.is_ready = True
        self._tell(self._ledger.opened())

    def receive(self, data: bytes, offset: int | None) -> None:
        """Take audio in. Raises ProtocolError for a bad chunk or a stream that takes none."""
        if self._takes(StreamInput.AUDIO, is_repeat=not self.new_bytes(data, offset)):
            self._arrivals.receive(data, offset)
            self._drop_what_is_too_much()

    def new_bytes(self, data: bytes, offset: int | None) -> int:
        """How much of a chunk is not there yet: sending again is always safe, and costs nothing."""
        return self._arrivals.new_bytes(data, offset)

    def refuse(self, data: bytes, offset: int | None, reason: DropReason) -> None:
        """Let audio that came too fast pass: it counts on the clock and as received, and is told
        as dropped, and the utterance that is open ends where it began, as at a gap.

        Chunks refused in a row are told together: once they make up a second, and when anything
        else comes, be it a chunk that is taken, a flush, or the end. Raises what `receive` does.
        """
        if self._takes(StreamInput.AUDIO, is_repeat=not self.new_bytes(data, offset)):
            self._arrivals.refuse(data, offset, reason)

    def flush(self) -> None:
        """Finish all audio received so far; told by `Flushed`. Raises ProtocolError where no
        flush is taken any more, or too many wait for their answers."""
        if self._takes(StreamInput.FLUSH):
            self._arrivals.flush()

    def close(self) -> None:
        """Finish all audio, then end; told by `StreamClosed`."""
        if self._takes(StreamInput.CLOSE):
            self._arrivals.close()

    def drain(self) -> None:
        """Close because the daemon ends."""
        if self._takes(StreamInput.DRAIN):
            self._close_reason = "shutdown"
            self._arrivals.close()

    def cancel(self, reason: CloseReason = "cancelled") -> None:
        """End at once; what is not finished is dropped."""
        self._enter(StreamInput.CANCEL)
        self._arrivals.tell_refused()
        self._end(reason)

    # ── load ──────────────────────────────────────────────────────────────────────────────────

    @property
    def has_partials(self) -> bool:
        """Whether partials were asked for, however many there are at present."""
        return self._rule.partial_interval_s is not None

    def set_pace(self, interval_s: float | None) -> None:
        """How much new audio, above 0, the open utterance must hold from now on to be read again;
        None: it is not read before it is finished. A stream without partials stays without."""
        has_any = self.has_partials and interval_s is not None
        self.reading.partial_interval_s = interval_s if has_any else None

    def shed_to(self, backlog_s: float | None) -> None:
        """Let a live stream have only so much audio waiting from now on; None: its `window_s`.

        What is more is dropped at once, and whenever audio comes, the oldest first, for "overload".
        One utterance may wait, be it longer than that. Nothing happens on a lossless stream.
        """
        self._backlog.shed_to_s = backlog_s
        self._drop_what_is_too_much()

    def drop_waiting(self, reason: DropReason) -> bool:
        """Drop the oldest utterance that no decode has begun. Returns whether there was one; a
        lossless stream drops none."""
        dropped = self._backlog.drop_waiting(reason)
        if dropped is not None:
            self._tell(dropped)
            self._settle()
        return dropped is not None

    def time_out(self, message: str) -> None:
        """Drop the oldest utterance that no decode has begun, and say that it waited too long."""
        failed = effects.DecodeFailed(
            stream=self.number, message=message, code=ErrorCode.QUEUE_TIMEOUT
        )
        self._tell(failed)
        self.drop_waiting("queue_timeout")

    # ── voice activity ────────────────────────────────────────────────────────────────────────

    @property
    def is_overdrawn(self) -> bool:
        """Whether a lossless sender is so far past its credit that it must be made to wait.

        So must one whose audio comes in so many splinters that they cost more than its samples.
        """
        has_splinters = self._rule.is_lossless and self._backlog.has_splinters
        return has_splinters or self._ledger.is_overdrawn(self._intake.expected)

    @property
    def has_unscored(self) -> bool:
        """Whether `take_unscored` could do anything now."""
        return self.is_ready and self.state is not StreamState.CLOSED and self._listener.has_work

    def take_unscored(self, now_s: float) -> Unscored | None:
        """Windows to be scored next; None when there are none, or some are out already."""
        if not self.has_unscored:
            return None
        position = self._speech.position
        heard, unscored = self._listener.take_unscored()
        if heard or self._speech.position != position:  # else all is as it was
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
        return None if self.state is StreamState.CLOSED else self.reading.want

    def begin_decode(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        return None if self.state is StreamState.CLOSED else self.reading.begin()

    def end_decode(self, hypothesis: Hypothesis, now_s: float) -> None:
        """The model's reading of the window that `begin_decode` gave."""
        window = self._end_reading()
        if window is None:
            return
        hypothesis = without_loops(hypothesis)
        if window.want is Want.FINAL:
            self._ahead.first.conclude(hypothesis, now_s)
        elif (told := self.reading.take_partial(window, hypothesis, now_s)) is not None:
            start = self._speech.speech_start or window.utterance
            self._tell(self._ledger.partial(start, window.end, told))
        self._settle()

    def retry_decode(self, reason: str, *, is_suspect: bool = True) -> None:
        """Nothing came of the decode: what the stream then holds is to be read anew.

        Where the worker died under it, its audio is suspect: it is read by no partial again, and
        set aside once it has ended a second worker. It is no suspect where the decode was stopped
        on purpose, or windows of other streams were read together with it.
        """
        window = self._end_reading(has_failed=True)
        if window is None:
            return
        if not is_suspect:
            self.reading.put_back(window)
        elif self.reading.blame(window):
            self._set_aside(reason)

    def fail_decode(self, reason: str) -> None:
        """The model refused the window: the utterance is set aside and the stream goes on."""
        window = self._end_reading(has_failed=True)
        if window is not None and window.want is Want.FINAL:
            self._set_aside(reason)

    def feed_again(self) -> None:
        """The model keeps nothing of the utterance that it was fed: it has to hear it anew."""
        self._end_reading(has_failed=True)

    # ── what goes out ─────────────────────────────────────────────────────────────────────────

    def take_effects(self) -> list[Effect]:
        """What is to be told, in order; each is given once."""
        given = self._effects.copy()
        self._effects.clear()
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
    def view(self) -> StreamView:
        """How it is now."""
        return view_of(self._format, self._listener, self._ledger, self._backlog)

    @property
    def has_received(self) -> bool:
        """Whether any audio came."""
        return self._intake.received > 0

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _takes(self, happened: StreamInput, *, is_repeat: bool = True) -> bool:
        """Whether that changes something. Raises ProtocolError where it is wrong."""
        if is_repeat and self.may_repeat and self.state is StreamState.CLOSING:
            return False
        was_open = self.state is StreamState.OPEN
        self._enter(happened)
        return was_open

    def _enter(self, happened: StreamInput) -> None:
        self.state = next_state(self.state, happened, self.number)

    def _tell(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _hear(self, heard: list[Heard], now_s: float) -> None:
        for event in heard:
            match event:
                case SpeechBegan():
                    self._tell(effects.SpeechStarted(stream=self.number, position=event.position))
                case Utterance():
                    if not event.is_split:
                        end = event.speech_end
                        self._tell(effects.SpeechEnded(stream=self.number, position=end))
                    self.reading.heard(event, now_s)
                case Mark():
                    if event.kind is not MarkKind.HOLE:
                        self._ahead.put(event)
        self._settle()

    def _end_reading(self, *, has_failed: bool = False) -> Window | None:
        window = self.reading.end(has_failed=has_failed)
        return None if self.state is StreamState.CLOSED else window

    def _settle(self) -> None:
        """Tell what nothing stands before, move the commit, let go of audio."""
        while (mark := self._next_mark()) is not None:
            self._effects += self._ledger.advance(mark.offset, self._speech.origins)
            if mark.kind is MarkKind.CLOSE:
                self._enter(StreamInput.FINISH)
                self._end(self._close_reason)
                return
            self._arrivals.flushed()
            self._tell(self._ledger.flushed(mark.offset))
        self._effects += self._ledger.advance(self._finished, self._speech.origins)
        self._effects += self._ledger.due()
        head = self._ahead.head
        needed = head.utterance.start if isinstance(head, Queued) else self._speech.finished_before
        self._listener.keep_from(needed, self._ahead.last_end)
        self.reading.let_go()

    @property
    def _finished(self) -> int:
        """The own offset before which all is finished: where one would go on with what waits
        first, or with what is still heard."""
        head = self._ahead.head
        if isinstance(head, Mark):  # its answer comes first, then what lies behind it
            return head.offset
        return self._format.to_own(self._speech.origin if head is None else head.utterance.origin)

    def _next_mark(self) -> Mark | None:
        """The mark that stands first once the utterances before it are told, as far as read."""
        while (read := self._ahead.pop_read()) is not None:
            if read.hypothesis is not None and read.hypothesis.text:
                self._ledger.move_to(self._finished)
                times_s = read.latency_s, read.late_s
                self._tell(self._ledger.segment(read.utterance, read.hypothesis, *times_s))
        return self._ahead.pop_mark()

    def _set_aside(self, reason: str) -> None:
        utterance = self._ahead.pop().utterance
        self._tell(effects.DecodeFailed(stream=self.number, message=reason))
        self._tell(self._ledger.dropped(utterance.start, utterance.end, "provider_failed"))
        self._settle()

    def _drop_what_is_too_much(self) -> None:
        for dropped in self._backlog.drop_too_much():
            self._tell(dropped)
            self._settle()

    def _end(self, reason: CloseReason) -> None:
        self._tell(self._ledger.closed(reason, self._intake.received))
        self._ahead.clear()
        self._listener.clear()
        self.reading.clear()
