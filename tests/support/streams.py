"""Streams under test: sound made to measure, voice activity and a model by script, and an audit.

`Driver` moves one `Stream` by hand. Whatever the stream tells passes an `Audit`, which holds it
to the protocol at once and, at the end, counts for every loud sample that came who took it.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from asrd.audio import SAMPLE_RATE, Converter, PcmFormat, Samples
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.endpoint import WINDOW_SAMPLES, EndpointRule
from asrd.session.listener import Unscored
from asrd.session.states import StreamState
from asrd.session.stream import Stream, StreamRule, Want, Window
from asrd.transcript import Hypothesis
from support.clock import VirtualClock

QUICK_RULE = EndpointRule(
    silence=4 * WINDOW_SAMPLES,
    pre_roll=3 * WINDOW_SAMPLES,
    post_roll=2 * WINDOW_SAMPLES,
    longest=48 * WINDOW_SAMPLES,
    shortest_windows=1,
)
"""The usual rule in small, with no shortest word, so that every loud sample has to be covered."""

TOLD_WITHIN_S = 1.0
"""Audio within which a commit that moves has to be told."""

LOUD_FROM, HEARD_FROM = 0.1, 0.02
"""Loud samples must be recognised; a resampler's ringing, above the lower mark, may be."""

SLOT = SAMPLE_RATE // 10
"""Of speech without words, `heard_in` hears a word in each of these."""

Outcome = Literal["text", "slip", "empty", "fail", "die", "abort", "forget"]


# ── sound ─────────────────────────────────────────────────────────────────────────────────────


def loud(start: int, end: int) -> npt.NDArray[np.int16]:
    """Speech, of a sort: no sample is quiet, and its value tells where it lies."""
    return (6000 + np.arange(start, end) % 20000).astype("<i2")


def word(number: int, samples: int = 6000) -> npt.NDArray[np.int16]:
    """A word that `words_in` reads back; at 16 kHz and in s16 alone. `number` is below 2000."""
    sound = np.full(samples, 6000, "<i2")
    sound[samples // 2] = 30000 + number
    return sound


def silence(samples: int) -> npt.NDArray[np.int16]:
    """Nothing to be heard."""
    return np.zeros(samples, "<i2")


def words_in(audio: Samples) -> str:
    """A model that hears words and nothing else."""
    values = np.rint(audio * 32768).astype(int)
    return " ".join(f"w{value - 30000}" for value in values[values >= 30000].tolist())


def heard_in(start: int, end: int, *, has_slips: bool = False) -> str:
    """What a model hears in speech without words: one for each tenth of a second on the stream's
    clock, and a wrong one where the end cuts it. With `has_slips` others are wrong as well."""
    whole = [f"t{slot}" for slot in range(-(-start // SLOT), end // SLOT)]
    heard = [*whole, f"x{end}"] if end % SLOT or not whole else whole
    if has_slips:
        heard = [f"s{end}," if (at + end) % 3 == 0 else each for at, each in enumerate(heard)]
    return " ".join(heard)


def loud_probability(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Voice activity by script: speech is what is loud, anywhere in the window."""
    is_loud: npt.NDArray[np.bool_] = np.abs(windows).max(axis=1) >= HEARD_FROM
    return is_loud.astype(np.float32)


# ── what must hold ────────────────────────────────────────────────────────────────────────────


@dataclass
class Audit:
    """Holds what one stream tells to the protocol."""

    rule: StreamRule
    is_open: bool = True
    commit: int = 0
    credit: int | None = None
    next_id: int = 0
    segments: list[effects.Segment] = field(default_factory=list)
    partials: list[effects.Partial] = field(default_factory=list)
    told: list[Effect] = field(default_factory=list)
    flushes_due: list[int] = field(default_factory=list)
    gaps_due: list[tuple[int, int]] = field(default_factory=list)
    finished: list[tuple[int, int]] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    received: list[tuple[int, npt.NDArray[np.int16]]] = field(default_factory=list)
    speech_start: int | None = None
    speech_position: int = 0
    flushed_before: int = 0
    end: effects.StreamClosed | None = None
    stable: str = ""
    """What was told as stable of the next segment."""

    def __post_init__(self) -> None:
        self.commit = self.rule.start_offset
        self.next_id = self.rule.start_id
        self.speech_position = self.rule.pcm_format.to_16k(self.rule.start_offset)

    def hear(self, effect: Effect) -> None:
        """Judge one effect, in the order told."""
        assert self.end is None, f"{effect} after the end"
        self.told.append(effect)
        to_16k = self.rule.pcm_format.to_16k
        match effect:
            case effects.OpenedStream():
                assert effect.credit == self.credit_for(self.commit)
                self.credit = effect.credit
            case effects.CreditRaised():
                assert self.credit is not None
                assert effect.offset > self.credit
                self.credit = effect.offset
            case effects.SpeechStarted():
                assert self.speech_start is None
                assert effect.position >= self.speech_position
                self.speech_start = self.speech_position = effect.position
            case effects.SpeechEnded():
                assert self.speech_start is not None
                assert effect.position > self.speech_position
                self.speech_start, self.speech_position = None, effect.position
            case effects.Partial():
                assert effect.id == self.next_id
                assert self.speech_start is not None
                assert self.speech_start <= effect.start < effect.end
                assert 0 <= effect.stable <= len(effect.text)
                assert effect.text.startswith(self.stable), (self.stable, effect.text)
                assert effect.stable >= len(self.stable)
                assert not self.stable or effect.start == self.partials[-1].start
                self.stable = effect.text[: effect.stable]
                self.partials.append(effect)
            case effects.Segment():
                assert effect.id == self.next_id
                assert effect.hypothesis.text
                assert effect.hypothesis.text.startswith(self.stable), self.stable
                self.stable = ""
                assert effect.window_start <= effect.start < effect.end
                if self.segments:
                    assert effect.start >= self.segments[-1].end
                assert effect.window_start >= self.flushed_before
                assert effect.latency_s >= 0
                self.next_id += 1
                self.segments.append(effect)
                self.move_commit(effect.offset)
            case effects.Committed():
                assert effect.offset > self.commit
                assert effect.offset - self.commit <= self.longest_step
                self.move_commit(effect.offset)
            case effects.Gap():
                assert (effect.start, effect.end) == self.gaps_due.pop(0)
            case effects.Dropped():
                assert effect.start < effect.end
                assert effect.start >= to_16k(self.commit), "what was committed is dropped"
                self.dropped.append((effect.start, effect.end))
                if self.stable and effect.start <= self.partials[-1].start < effect.end:
                    self.stable = ""  # of an utterance that will not be told
            case effects.Flushed():
                assert effect.offset == self.flushes_due.pop(0)
                assert effect.offset - self.commit <= self.longest_step
                self.flushed_before = to_16k(effect.offset)
                self.move_commit(effect.offset)
            case effects.StreamClosed():
                self.end = effect
                self.move_commit(effect.offset)
                self.check_counts(effect)
            case effects.DecodeFailed():
                assert effect.message
            case _:
                raise AssertionError(f"nobody expects {effect}")

    def credit_for(self, commit: int) -> int | None:
        """The credit that goes with a commit, to the moment."""
        ahead = round(self.rule.window_s * self.rule.pcm_format.sample_rate)
        return commit + ahead if self.rule.is_lossless else None

    @property
    def longest_step(self) -> int:
        """How far the commit may move without a segment before it has to be told."""
        return round(TOLD_WITHIN_S * self.rule.pcm_format.sample_rate)

    def move_commit(self, offset: int) -> None:
        """The commit never goes back, nor past what came."""
        assert offset >= self.commit, f"the commit went back from {self.commit} to {offset}"
        self.commit = offset

    def begin(self, window: Window, want: Want) -> None:
        """A window is handed to the model: nothing of it may be committed."""
        assert window.want is want
        assert window.start < window.end or (window.part is not None and window.part.is_last)
        assert window.utterance <= window.start
        assert window.coalesced >= 0
        assert want is Want.PARTIAL or not window.coalesced
        assert len(window.audio) == window.end - window.start
        assert window.start >= self.rule.pcm_format.to_16k(self.commit)
        longest = self.rule.endpoint_rule.longest + WINDOW_SAMPLES
        assert window.end - window.start <= longest

    def check_counts(self, end: effects.StreamClosed) -> None:
        """The last message counts right."""
        samples = sum(len(sound) for _, sound in self.received)
        assert end.segments == len(self.segments)
        assert end.audio == self.rule.pcm_format.to_16k(samples)
        assert end.dropped == sum(until - since for since, until in self.dropped)

    def check_coverage(self) -> None:
        """At a regular end: each loud sample that came was in one utterance, or told as dropped.

        No sample was in two, none dropped twice, and no utterance ran over a hole.
        """
        spans = sorted(self.finished + self.dropped)
        assert all(first[1] <= second[0] for first, second in pairwise(spans)), spans
        assert self.finished == sorted(self.finished)
        covered = np.zeros(max([end for _, end in spans], default=0) + 1, np.int8)
        for start, end in spans:
            covered[start:end] = 1
        # A flush or a drop ends a run of the resampler where the count here has none.
        edge = 0 if self.rule.pcm_format.sample_rate == SAMPLE_RATE else 16
        for position, samples in runs_at_16k(self.rule.pcm_format, self.received):
            is_loud = np.concatenate([[False], np.abs(samples) >= LOUD_FROM, [False]])
            first, last = np.flatnonzero(np.diff(is_loud)).reshape(-1, 2).T
            stretches = zip(first + edge, last - edge, strict=True)
            places = position + np.array([at for span in stretches for at in range(*span)], int)
            lost = [at for at in places.tolist() if at >= len(covered) or not covered[at]]
            assert not lost, f"nobody took the loud samples from {lost[0]} on ({len(lost)})"


def runs_at_16k(
    pcm_format: PcmFormat, received: list[tuple[int, npt.NDArray[np.int16]]]
) -> list[tuple[int, Samples]]:
    """Mono s16 audio by own offset, joined and converted run by run, by 16 kHz position."""
    runs: list[tuple[int, list[npt.NDArray[np.int16]]]] = []
    expected = -1
    for offset, sound in received:
        if offset != expected:
            runs.append((offset, []))
        runs[-1][1].append(sound)
        expected = offset + len(sound)
    converted = []
    for offset, sounds in runs:
        converter = Converter(PcmFormat(sample_rate=pcm_format.sample_rate), offset)
        pcm = np.concatenate(sounds).tobytes()
        samples = np.concatenate([converter.convert(pcm), converter.finish()])
        converted.append((pcm_format.to_16k(offset), samples))
    return converted


# ── the stream, moved by hand ─────────────────────────────────────────────────────────────────


class FedModel:
    """A model that is fed, and what it keeps: by number, up to where an utterance was fed."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.begun: set[int] = set()
        self.given_up: set[int] = set()
        self.finished: dict[int, tuple[int, int]] = {}

    def hear(self, window: Window) -> None:
        """Be given a part."""
        part = window.part
        if part is None:
            return
        if part.is_first:
            assert part.number not in self.begun
            assert window.start == window.utterance
            self.begun.add(part.number)
            self.open[part.number] = window.start
        assert part.number in self.begun - self.given_up - self.finished.keys()
        if part.number in self.open:
            assert window.start == self.open[part.number]
            self.open[part.number] = window.end

    def answers(self, window: Window) -> bool:
        """Whether it can, because it has lost nothing of the utterance since it began."""
        part = window.part
        if part is None or part.number in self.given_up:
            return True
        if part.is_last and part.number in self.open:
            self.finished[part.number] = (window.utterance, self.open.pop(part.number))
        return part.number in self.open or (part.is_last and part.number in self.finished)

    def give_up(self, number: int) -> None:
        """Nobody goes on with that utterance."""
        assert number in self.begun
        assert number not in self.given_up | self.finished.keys()
        self.given_up.add(number)
        self.open.pop(number, None)


class Driver:
    """One stream with a scripted ear and a scripted model, audited at every step."""

    def __init__(
        self,
        *,
        pcm_format: PcmFormat | None = None,
        rule: EndpointRule = QUICK_RULE,
        is_lossless: bool = True,
        window_s: float = 4.0,
        partial_interval_s: float | None = 0.2,
        start_offset: int = 0,
        start_id: int = 0,
        is_opened: bool = True,
        feed_s: float | None = None,
    ) -> None:
        self.format = pcm_format or PcmFormat()
        self.rule = StreamRule(
            pcm_format=self.format,
            endpoint_rule=rule,
            is_lossless=is_lossless,
            window_s=window_s,
            partial_interval_s=partial_interval_s,
            start_offset=start_offset,
            start_id=start_id,
        )
        self.stream = Stream(1, self.rule)
        self.audit = Audit(self.rule)
        self.clock = VirtualClock()
        self.expected = start_offset
        self.unscored: Unscored | None = None
        self.window: Window | None = None
        self.texts: list[str] = []
        self.deaths: Counter[int] = Counter()
        self.concluded: list[tuple[Window, str]] = []  # partials that may have been the final
        self.fed = FedModel()
        self.stream.reading.feeding.go_by("model", feed_s)
        if is_opened:
            self.open()

    # ── in ────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """The model is ready."""
        self.stream.open()
        self.collect()

    def send(self, sound: npt.NDArray[np.int16], offset: int | None = None) -> None:
        """Send mono sound; from `offset`, or where the last ended."""
        self._arrive(sound, offset)
        self.stream.receive(np.repeat(sound, self.format.channels).tobytes(), offset)
        self.collect()
        assert not self.audit.gaps_due

    def refuse(self, sound: npt.NDArray[np.int16], offset: int | None = None) -> None:
        """Send mono sound that comes too fast."""
        self._arrive(sound, offset)
        pcm = np.repeat(sound, self.format.channels).tobytes()
        self.stream.refuse(pcm, offset, "rate_limited")
        self.collect()
        assert not self.audit.gaps_due

    def _arrive(self, sound: npt.NDArray[np.int16], offset: int | None) -> None:
        to_16k = self.format.to_16k
        start = self.expected if offset is None else offset
        if start > self.expected:
            self.audit.gaps_due.append((to_16k(self.expected), to_16k(start)))
        new = sound[max(0, self.expected - start) :]
        if len(new):
            self.audit.received.append((max(start, self.expected), new))
        self.expected = max(self.expected, start, start + len(sound))

    def flush(self) -> None:
        """Ask for a flush, which must be answered with just this offset."""
        self.audit.flushes_due.append(self.expected)
        self.stream.flush()
        self.collect()

    def close(self) -> None:
        """End regularly."""
        self.stream.close()
        self.collect()

    # ── voice activity ────────────────────────────────────────────────────────────────────

    def hand_out(self) -> None:
        """Take windows to be scored."""
        unscored = self.stream.take_unscored(self.clock.now_s())
        if unscored is not None:
            assert self.unscored is None
            self.unscored = unscored
        self.collect()

    def score(self) -> None:
        """Give back the scores of what was handed out."""
        if self.unscored is not None:
            probabilities = loud_probability(self.unscored.windows)
            self.unscored = None
            self.stream.scored(probabilities, self.clock.now_s())
            self.collect()

    def listen(self) -> None:
        """Score all that waits."""
        self.score()
        while self.stream.has_unscored:
            self.hand_out()
            self.score()

    # ── decoding ──────────────────────────────────────────────────────────────────────────

    def begin(self) -> Window | None:
        """Hand a window to the model."""
        want, planned = self.stream.want, self.stream.reading.next_window
        window = self.stream.begin_decode()
        assert (window is None) == (want is None)
        if window is not None:
            assert planned is not None
            assert planned.audio_s == len(window.audio) / SAMPLE_RATE
            assert (planned.is_thorough, planned.prompt) == (window.is_thorough, window.prompt)
            assert self.stream.reading.next_window is None
        if window is not None and want is not None:
            assert self.window is None
            assert self.stream.want is None
            self.window = window
            self.audit.begin(window, want)
            self.fed.hear(window)
        self.collect()
        return window

    def end(self, outcome: Outcome = "text") -> None:
        """The model answers."""
        window, self.window = self.window, None
        if window is None:
            return
        span = (window.utterance, window.end)
        is_final = window.want is Want.FINAL
        is_over = self.stream.state is StreamState.CLOSED
        dropped = len(self.audit.dropped)
        match outcome:
            case "text" | "slip" | "empty" if self.fed.answers(window):
                begin = window.start if window.part is None else window.utterance
                has_slips = outcome == "slip"
                text = words_in(window.audio) or heard_in(begin, window.end, has_slips=has_slips)
                hypothesis = Hypothesis(text=text if outcome != "empty" else "")
                if window.want is Want.PARTIAL and window.may_be_final and not is_over:
                    self._may_conclude(window, hypothesis.text)
                self.stream.end_decode(hypothesis, self.clock.now_s())
                if is_final and not is_over:
                    self.audit.finished.append(span)
                    self.texts.append(hypothesis.text)
            case "text" | "slip" | "empty" | "forget":
                self.fed.open.clear()
                self.stream.feed_again()
            case "fail":
                self.stream.fail_decode("the model does not like it")
            case "die":
                self.fed.open.clear()
                self.deaths[window.utterance] += 1  # a partial's worker counts for its utterance
                self.stream.retry_decode("the worker died")
            case "abort":
                self.stream.retry_decode("something else goes first", is_suspect=False)
        self.collect()
        is_lost = outcome == "fail" or (outcome == "die" and self.deaths[window.utterance] >= 2)
        lost = [span] if is_lost and is_final and not is_over else []
        assert self.audit.dropped[dropped:] == lost

    def decode(self, outcome: Outcome = "text") -> bool:
        """One decode, begun and ended. Returns whether anything was wanted."""
        if self.window is None and self.begin() is None:
            return False
        self.end(outcome)
        return True

    def run(self, outcome: Outcome = "text") -> None:
        """Until there is nothing left to do."""
        self.listen()
        while self.decode(outcome):
            self.listen()

    # ── out ───────────────────────────────────────────────────────────────────────────────

    def collect(self) -> list[Effect]:
        """Audit what was told, and what stands after each step."""
        told = self.stream.take_effects()
        self._conclude()
        for _, number in self.stream.reading.feeding.take_given_up():
            self.fed.give_up(number)
        for effect in told:
            if isinstance(effect, effects.Partial):
                assert self.stream.want is not Want.FINAL, "a partial while a final waits"
                assert self.rule.partial_interval_s is not None
            self.audit.hear(effect)
        self.check()
        return told

    def _may_conclude(self, window: Window, text: str) -> None:
        """A pause was read to its end. Whoever speaks on makes what earlier ones gave stale."""
        others = [each for each in self.concluded if each[0].utterance != window.utterance]
        self.concluded = [*others, (window, text)]

    def _conclude(self) -> None:
        """An utterance that is over and waits for no model was read to its end by a partial."""
        stream = self.stream
        for window, text in self.concluded.copy():
            if stream._speech.open_start != window.utterance:
                self.concluded.remove((window, text))
                span = (window.utterance, window.end)
                is_waiting = stream._ahead.beginning_at(window.utterance) is not None
                if not is_waiting and span not in self.audit.finished:
                    self.audit.finished.append(span)
                    self.texts.append(text)

    def check(self) -> None:
        """What holds at any moment."""
        stream, audit, rate = self.stream, self.audit, self.format.sample_rate
        assert audit.commit <= stream.committed <= self.expected
        if stream.state is StreamState.CLOSED:
            assert audit.end is not None
            assert stream.want is None
            assert not stream.has_unscored
            return
        assert stream.committed - audit.commit < TOLD_WITHIN_S * rate
        if stream.is_ready and self.rule.is_lossless:
            wanted = audit.credit_for(stream.committed)
            assert wanted is not None
            assert audit.credit is not None
            assert wanted - TOLD_WITHIN_S * rate < audit.credit <= wanted

    @property
    def held(self) -> int:
        """16 kHz samples that the stream keeps, converted or not."""
        listener = self.stream._listener
        return len(listener._held) + self.format.to_16k(listener.intake.waiting)

    def finish(self) -> None:
        """Close, see everything through, and count."""
        if self.stream.state is StreamState.OPEN:
            self.close()
        self.score()
        self.end()
        self.run()
        assert self.audit.end is not None
        assert not self.audit.flushes_due
        assert self.fed.begun == self.fed.given_up | self.fed.finished.keys()
        assert not self.fed.open
        assert self.audit.end.offset == self.expected == self.stream.committed
        self.audit.check_coverage()


def texts_and_times(driver: Driver) -> list[tuple[int, str, int, int]]:
    """What a stream yielded: id, text, start and end of each segment."""
    return [
        (segment.id, segment.hypothesis.text, segment.start, segment.end)
        for segment in driver.audit.segments
    ]


__all__ = [
    "QUICK_RULE",
    "SAMPLE_RATE",
    "Audit",
    "Driver",
    "Outcome",
    "loud",
    "loud_probability",
    "silence",
    "texts_and_times",
    "word",
    "words_in",
]
