"""From audio to utterances: what a stream does before any model reads it.

receive ─► Intake ─► take_unscored ─► (voice activity) ─► scored ─► Endpointer ─► what was heard
             └► HeldAudio ─► audio
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from asrd.audio import NO_SAMPLES, SAMPLE_RATE, PcmFormat, Samples
from asrd.session.endpoint import (
    WINDOW_SAMPLES,
    Endpointer,
    EndpointRule,
    SpeechBegan,
    Utterance,
)
from asrd.session.gate import EnergyGate
from asrd.session.held import HeldAudio
from asrd.session.intake import Intake, Mark

BATCH_WINDOWS = 32
"""Windows scored in one round trip per stream: a file at full speed delays nobody by more."""

LEVEL_WINDOWS = 8
"""What a level is told of, a quarter of a second: long enough for a syllable."""

Heard = SpeechBegan | Utterance | Mark
"""In the order of the audio. A mark comes behind the utterance that it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """Windows for the voice-activity model, shape (n, 512).

    `is_fresh`: it is to know nothing of what came before them.
    """

    windows: npt.NDArray[np.float32]
    is_fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Windows in a row, all of them silent or none; the last run of a batch bears its mark.

    `end` is where the audio of the batch ends.
    """

    windows: npt.NDArray[np.float32]
    powers: npt.NDArray[np.float32]
    is_silent: bool
    end: int
    mark: Mark | None

    def split(self, count: int) -> tuple["_Run", "_Run"]:
        """The first `count` windows, and the others."""
        first, second = (
            replace(self, windows=self.windows[part], powers=self.powers[part])
            for part in (slice(count), slice(count, None))
        )
        return replace(first, mark=None), second


class Listener:
    """Finds the speech in one stream. Positions are samples on its 16 kHz clock."""

    def __init__(self, pcm_format: PcmFormat, rule: EndpointRule, start_offset: int) -> None:
        self._format = pcm_format
        self._own_window = WINDOW_SAMPLES * pcm_format.sample_rate // SAMPLE_RATE
        self.intake = Intake(pcm_format, start_offset)
        self.endpointer = Endpointer(rule, pcm_format.to_16k(start_offset))
        self._gate = EnergyGate()
        self._held = HeldAudio()
        self._rest = NO_SAMPLES  # of the last batch, less than a window
        self._is_fresh = True
        self._runs: deque[_Run] = deque()  # cut, and not looked at yet
        self._scoring: _Run | None = None  # on its way to the voice-activity model and back
        self._powers: list[float] = []  # of the windows that were judged last

    @property
    def has_work(self) -> bool:
        """Whether `take_unscored` could do anything now."""
        return self._scoring is None and (bool(self._runs) or not self.intake.is_empty)

    @property
    def newest_power(self) -> float | None:
        """Mean power of the newest `LEVEL_WINDOWS` windows, full scale being 1, as far as they were
        judged together; None before the first."""
        newest = self._powers[-LEVEL_WINDOWS:]
        return sum(newest) / len(newest) if newest else None

    def take_unscored(self) -> tuple[list[Heard], Unscored | None]:
        """Look at what came in: what was heard without a model, and windows that need one.

        About `BATCH_WINDOWS` windows are handed out, and no more before `scored` is called for
        them. Silence is judged here.
        """
        heard: list[Heard] = []
        while self.has_work:
            if not self._runs:
                heard += self._take_batch()
                continue
            run = self._runs.popleft()
            to_go = self.endpointer.windows_to_go
            if to_go is not None and to_go < len(run.windows):
                run, behind = run.split(to_go)  # which would only be heard anew
                self._runs.appendleft(behind)
            if not run.is_silent:
                self._scoring = run
                is_fresh, self._is_fresh = self._is_fresh, False
                return heard, Unscored(windows=run.windows, is_fresh=is_fresh)
            self._is_fresh = True
            heard += self._judge(run, np.zeros(len(run.windows), np.float32))
        return heard, None

    def scored(self, probabilities: npt.NDArray[np.float32]) -> list[Heard]:
        """What is heard, given the speech probability of each window handed out, in order."""
        run, self._scoring = self._scoring, None
        return [] if run is None else self._judge(run, probabilities)

    def audio(self, start: int, end: int) -> Samples:
        """The samples between two positions."""
        return self._held.cut(start, end)

    def keep_from(self, position: int, waiting_end: int | None) -> None:
        """Let go of the audio before `position`, which nothing needs any more.

        Where utterances wait for a model, the last of them up to `waiting_end`, the silence behind
        them goes as well: they may wait for long, and silence goes on.
        """
        self._held.forget_before(position)
        if waiting_end is not None and not self.endpointer.is_listening:
            self._held.forget_between(waiting_end, self.endpointer.finished_before)

    def clear(self) -> None:
        """The stream has ended: let go of all audio."""
        self.intake.clear()
        self._held = HeldAudio()
        self._rest = NO_SAMPLES
        self._runs.clear()
        self._scoring = None

    def _take_batch(self) -> list[Heard]:
        batch = self.intake.take(BATCH_WINDOWS * self._own_window)
        if batch.mark is not None and not len(batch.samples) + len(self._rest):
            # A flush behind audio that was heard already: the usual end of a push-to-talk,
            # where every microsecond is waited for.
            return self._pass_mark(batch.mark, batch.position)
        self._held.append(batch.position, batch.samples)
        end = batch.position + len(batch.samples)
        self._runs += self._cut([self._rest, batch.samples], end, batch.mark)
        return []

    def _cut(self, parts: list[Samples], end: int, mark: Mark | None) -> Iterator[_Run]:
        """Cut audio that ends at `end`, with a mark there or none, into runs."""
        if mark is not None:  # the last window is filled up with silence
            missing = -sum(map(len, parts)) % WINDOW_SAMPLES
            parts.append(np.zeros(missing, np.float32))
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        whole = len(samples) // WINDOW_SAMPLES
        self._rest = samples[whole * WINDOW_SAMPLES :]
        windows = samples[: whole * WINDOW_SAMPLES].reshape(whole, WINDOW_SAMPLES)
        powers = np.einsum("ij,ij->i", windows, windows) / np.float32(WINDOW_SAMPLES)
        silent = self._gate.find_silent(powers)
        if not silent.any():
            if whole:
                yield _Run(windows=windows, powers=powers, is_silent=False, end=end, mark=mark)
            return
        edges = [0, *(np.flatnonzero(silent[1:] != silent[:-1]) + 1).tolist(), whole]
        for first, behind in pairwise(edges):
            if first < behind:
                yield _Run(
                    windows=windows[first:behind],
                    powers=powers[first:behind],
                    is_silent=bool(silent[first]),
                    end=end,
                    mark=mark if behind == whole else None,
                )

    def _judge(self, run: _Run, probabilities: npt.NDArray[np.float32]) -> list[Heard]:
        heard: list[Heard] = []
        mark = self._runs[-1].mark if self._runs else run.mark
        self._powers = run.powers.tolist()
        for probability, power in zip(probabilities.tolist(), self._powers, strict=True):
            event = self.endpointer.push(probability, power)
            if event is not None:
                heard.append(event if mark is None else _within(event, run.end))
            if self.endpointer.has_begun_anew:
                self._begin_anew(run.end, mark)
                break
        if mark is not None and not self._runs:
            heard += self._pass_mark(mark, run.end)
        return heard

    def _begin_anew(self, end: int, mark: Mark | None) -> None:
        """Hear the rest of a batch, up to `end`, as one who has heard nothing before."""
        self._gate = EnergyGate()
        self._is_fresh = True
        rest = self._held.cut(self.endpointer.position, end)
        self._runs = deque(self._cut([rest], end, mark if len(rest) else None))

    def _pass_mark(self, mark: Mark, end: int) -> list[Heard]:
        """End what is open at `end`, where the audio before the mark ends."""
        utterance = self.endpointer.cut(end)
        self.endpointer.restart(self._format.to_16k(mark.resume))
        self._gate = EnergyGate()
        self._is_fresh = True
        return [mark] if utterance is None else [_within(utterance, end), mark]


def _within(event: Heard, end: int) -> Heard:
    """An utterance found in a window that was filled up may reach past the audio."""
    if isinstance(event, Utterance) and event.end > end:
        return replace(event, end=end, speech_end=min(event.speech_end, end))
    return event
