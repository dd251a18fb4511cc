"""What of a stream a model reads next: the oldest final, else the utterance that is still open."""

import math

from asrd.audio import SAMPLE_RATE
from asrd.session.ahead import Ahead, Queued
from asrd.session.draft import Draft, Told
from asrd.session.endpoint import Utterance
from asrd.session.feeding import Feeding
from asrd.session.listener import Listener
from asrd.session.rule import StreamRule
from asrd.session.window import NextWindow, Want, Window
from asrd.transcript import Hypothesis

DECODE_ATTEMPTS = 2
"""Workers that one utterance may end before it is set aside."""

FIRST_PART = 0.5
"""An utterance is read for the first time after so much of the interval between two partials: that
is when people wait for the first word, and a short window costs little."""

PART_OF_WINDOW = 0.4
"""The interval grows with the window, to so much of it: an utterance of whatever length then costs
about three times its audio in the mean, the final reading included."""


class Reading:
    """The one decode of a stream that may run at a time, and what the next should be.

    `partial_interval_s` is the new speech that an open utterance must hold before it is read again;
    None where no partials are wanted. It may be changed at any time. `heard_s` are the seconds that
    finals have to read, or had to: what windows leave of utterances that were finished and not read
    to their end already. A model that is fed is left out: its finals take what its feeding left.
    `speech_s` are the seconds of all utterances that were finished, whoever read them.
    """

    def __init__(self, listener: Listener, ahead: Ahead, rule: StreamRule) -> None:
        self._listener = listener
        self._speech = listener.endpointer
        self._ahead = ahead
        self._rule = rule
        self.partial_interval_s: float | None = None
        self.heard_s = 0.0
        self.speech_s = 0.0
        self.feeding = Feeding()
        self._current: Window | None = None
        self._draft: Draft | None = None  # of the utterance that was read last while it was open
        # How far the open utterance was read, or need not be; and how far before `_current`.
        self._read_until: float = 0
        self._read_before: float = 0
        self._thorough_until = 0  # how far it was read as a final is
        self._partial_deaths = 0  # workers that the open utterance has ended

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    @property
    def want(self) -> Want | None:
        """What should be decoded now; None while a decode runs."""
        if self._current is not None:
            return None
        if self._ahead:
            return Want.FINAL
        return Want.PARTIAL if self._intervals >= 1 else None

    @property
    def is_under_way(self) -> bool:
        """Whether a decode runs."""
        return self._current is not None

    @property
    def next_window(self) -> NextWindow | None:
        """The window that `begin` would give now, without its audio; None where it gives none."""
        want = self.want
        if want is None:
            return None
        utterance, start, end = self._span(want)
        if self.feeding.feed_s is not None:
            start = self.feeding.begin_of(utterance, end)
        return NextWindow(
            audio_s=(end - start) / SAMPLE_RATE,
            is_thorough=self._is_thorough(want),
            prompt=self._prompt(want),
        )

    @property
    def waiting_since_s(self) -> float | None:
        """When the oldest utterance that no model has read was finished; None where none waits."""
        head = self._ahead.head
        return head.queued_at_s if isinstance(head, Queued) else None

    @property
    def is_at_first(self) -> bool:
        """Whether the utterance that stands first is being read to its end."""
        head, window = self._ahead.head, self._current
        return window is not None and isinstance(head, Queued) and window.ends(head.utterance)

    def is_of_open_utterance(self, window: Window) -> bool:
        """Whether a partial of `window` still says something about the next segment."""
        return self._speech.open_start == window.utterance

    # ── a decode ──────────────────────────────────────────────────────────────────────────────

    def begin(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        want = self.want
        if want is None:
            return None
        is_thorough, prompt = self._is_thorough(want), self._prompt(want)
        utterance, start, end = self._span(want)
        coalesced, part = 0, None
        if self.feeding.feed_s is not None:
            part = self.feeding.part(utterance, end, is_last=want is Want.FINAL)
            start = part.start
            draft = self._ahead.first.draft if want is Want.FINAL else self._open_draft
            if draft is not None:
                draft.widen()
        if want is Want.PARTIAL:
            coalesced = math.floor(self._intervals) - 1
            self._read_before, self._read_until = self._read_until, end
            if self._open_draft is None:
                rule = self._rule
                self._draft = Draft(utterance, self._speech.settled_before, rule.agreement)
        self._current = Window(
            start=start,
            end=end,
            audio=self._listener.audio(start, end),
            want=want,
            utterance=utterance,
            is_thorough=is_thorough,
            prompt=prompt,
            part=part,
            coalesced=coalesced,
        )
        return self._current

    def end(self, *, has_failed: bool = False) -> Window | None:
        """The decode is over: the window it had, or None if there was none.

        What a model has been fed of an utterance is fed again where it `has_failed`.
        """
        window, self._current = self._current, None
        if has_failed:
            self.feeding.forget()
            self._note_unread(window)
        elif window is not None:
            self.feeding.heard()
        return window

    def take_partial(self, window: Window, hypothesis: Hypothesis, now_s: float) -> Told | None:
        """A partial of `window`, which was the last and is over, and what may be told of it.

        Where the utterance has ended meanwhile just where the window does, that was its final.
        """
        queued = self._ahead.beginning_at(window.utterance)
        if queued is not None:
            if window.ends(queued.utterance):
                queued.conclude(hypothesis, now_s)
            return None
        draft = self._open_draft
        if draft is None or not self.is_of_open_utterance(window):
            return None
        if window.may_be_final:
            draft.note_conclusion(window.end, hypothesis)
            self._thorough_until = window.end
        if self.partial_interval_s is None:  # who is told nothing is bound by nothing
            return None
        told = draft.add(
            window.end,
            hypothesis,
            is_at_pause=window.is_thorough,
            may_trim=window.part is None,
        )
        return told if told.text else None

    def heard(self, utterance: Utterance, now_s: float) -> None:
        """The open utterance is finished and waits for a model now, if it was not read already."""
        self.speech_s += (utterance.end - utterance.start) / SAMPLE_RATE
        draft, self._draft = self._open_draft_of(utterance.start), None
        attempts, self._partial_deaths = self._partial_deaths, 0
        queued = Queued(
            utterance=utterance,
            queued_at_s=now_s,
            late_s=self._late_s(utterance),
            attempts=attempts,
            draft=draft,
        )
        if draft is not None and (conclusion := draft.conclusion(utterance.end)) is not None:
            queued.hypothesis, queued.read_at_s = conclusion, now_s
        self._ahead.put(queued)
        self._read_until = utterance.end
        is_being_read = self._current is not None and self._current.ends(utterance)
        if queued.hypothesis is None and not is_being_read:
            self._count_heard(queued)

    def _late_s(self, utterance: Utterance) -> float | None:
        """The audio that has come behind the end of its speech; None where that has a hole: how
        long it took, its sender alone knows."""
        intake, pcm_format = self._listener.intake, self._rule.pcm_format
        if intake.refused or pcm_format.to_16k(intake.resumed) > utterance.speech_end:
            return None
        return (pcm_format.to_16k(intake.expected) - utterance.speech_end) / SAMPLE_RATE

    def _count_heard(self, queued: Queued) -> None:
        if self.feeding.feed_s is None:
            utterance, draft = queued.utterance, queued.draft
            begin = utterance.start if draft is None else draft.begin
            self.heard_s += (utterance.end - begin) / SAMPLE_RATE

    # ── a decode that came to nothing ─────────────────────────────────────────────────────────

    def _note_unread(self, window: Window | None) -> None:
        """A partial that would have been the final is none: the utterance is still to be read."""
        if window is None or window.want is Want.FINAL:
            return
        queued = self._ahead.beginning_at(window.utterance)
        if queued is not None and window.ends(queued.utterance):
            self._count_heard(queued)

    def put_back(self, window: Window) -> None:
        """Nothing came of `window`, which was the last and is over: have it read as though it had
        never begun."""
        if window.want is Want.PARTIAL and self.is_of_open_utterance(window):
            self._read_until = self._read_before

    def blame(self, window: Window) -> bool:
        """A worker has died over `window`, which was the last and is over.

        The utterance that it was of is read again, but by no partial. Returns whether that is the
        one that stands first and has now ended as many workers as it may.
        """
        if window.want is Want.FINAL:
            queued = self._ahead.first
            queued.attempts += 1
            return queued.attempts >= DECODE_ATTEMPTS
        queued_meanwhile = self._ahead.beginning_at(window.utterance)
        if queued_meanwhile is not None:
            queued_meanwhile.attempts += 1
        elif self.is_of_open_utterance(window):
            self._partial_deaths += 1
            self._read_until = math.inf  # until it is finished
        return False

    def let_go(self) -> None:
        """Have the model forget an utterance that was fed and is not there any more."""
        kept = self.feeding.utterance
        if kept is None or kept == self._speech.open_start:
            return
        if self._ahead.beginning_at(kept) is None:
            self.feeding.forget()

    def clear(self) -> None:
        """The stream has ended: nothing of it is read any more."""
        self._draft, self._read_until = None, math.inf
        self.feeding.forget()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    @property
    def _open_draft(self) -> Draft | None:
        start = self._speech.open_start
        return None if start is None else self._open_draft_of(start)

    def _open_draft_of(self, start: int) -> Draft | None:
        draft = self._draft
        return draft if draft is not None and draft.start == start else None

    @property
    def _intervals(self) -> float:
        """How many times over the open utterance has grown enough to be read again."""
        start = self._speech.open_start
        needed_s = self._needed_s
        if start is None or needed_s is None:
            return 0.0
        pause_end = self._speech.pause_end
        if pause_end is not None:
            return self._pauses(start, pause_end, needed_s)
        if self._speech.is_trailing:
            return 0.0
        new_s = (self._speech.position - max(start, self._read_until)) / SAMPLE_RATE
        is_first = self._read_until <= start and self.feeding.feed_s is None
        first_s = (self.partial_interval_s or 0.0) * FIRST_PART if is_first else needed_s
        return 1 + (new_s - first_s) / needed_s

    def _pauses(self, start: int, pause_end: int, needed_s: float) -> float:
        """Whether the window up to a pause is worth a reading: 1 or 0.

        Who hesitates makes many pauses. They are read as seldom as partials come, counted from the
        last one that was; the first one of an utterance always is.
        """
        new_samples = pause_end - self._thorough_until
        is_due = self._thorough_until <= start or new_samples >= needed_s * SAMPLE_RATE
        is_fed = self.feeding.feed_s is not None
        return float(self._read_until < pause_end and (is_due or is_fed))

    @property
    def _needed_s(self) -> float | None:
        """New audio of the open utterance that is worth another reading; None: none is.

        Of a first reading, that is what would be worth another one behind it.
        """
        interval_s, feed_s = self.partial_interval_s, self.feeding.feed_s
        start = self._speech.open_start
        if start is None:
            return None
        if feed_s is not None:  # has to be heard anyway, and costs the same in longer parts
            usual_s = self._rule.partial_interval_s
            return feed_s if not interval_s or not usual_s else feed_s * interval_s / usual_s
        if interval_s is None:
            return None
        draft = self._open_draft
        window = self._speech.position - (start if draft is None else draft.begin)
        return max(interval_s, PART_OF_WINDOW * window / SAMPLE_RATE)

    def _is_thorough(self, want: Want) -> bool:
        return want is Want.FINAL or self._speech.pause_end is not None

    def _prompt(self, want: Want) -> str:
        """What was said before the window that is next, in the same utterance."""
        draft = self._ahead.first.draft if want is Want.FINAL else self._open_draft
        return "" if draft is None or self.feeding.feed_s is not None else draft.prompt

    def _span(self, want: Want) -> tuple[int, int, int]:
        """Where the utterance begins that is to be read, and from where to where the window is."""
        if want is Want.FINAL:
            queued = self._ahead.first
            utterance, draft = queued.utterance, queued.draft
            start, end = utterance.start, utterance.end
        else:
            start, draft = self._speech.finished_before, self._open_draft
            end = self._speech.pause_end or self._speech.position
        return start, start if draft is None else draft.begin, end
