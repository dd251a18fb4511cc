"""Reading several windows with few calls of CTranslate2, below `WhisperModel.transcribe`.

`transcribe` reads one recording in one language, and pads it to 30 s. Here windows of different
sessions, each with its language, task and prompt, share the calls that gain by being shared; what
comes out for one does not depend on the others, unless it is drawn at random in the fallback.

A window is padded to its context with features of zero, as `transcribe` pads to 30 s. Where its
text ends before its audio does, the rest is read in a further round, again together with others.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from asrd import Abilities, DecodeOptions
from asrd_faster_whisper import attempts
from asrd_faster_whisper.attempts import Attempt, Manner
from asrd_faster_whisper.budget import Budget
from asrd_faster_whisper.encoded import Encoded
from asrd_faster_whisper.features import Features, LogMel
from asrd_faster_whisper.segments import FRAMES_PER_S, TimedWord, split
from asrd_faster_whisper.vocabulary import MOST_TOKENS, Vocabulary

_OPENING = "\"'“¿([{-"
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - full-width marks are meant

# Whisper may write 224 tokens for 30 s, far more than anybody says in 4 s; and a model that was
# trained on 30 s is apt to write on behind the end of a shorter context. Fast speech is reckoned at
# 7 tokens a second, and at 15 in scripts that are spelled byte by byte. At 12 s both bounds meet.
_TOKENS_PER_S = 16
_TOKENS_AT_LEAST = 32


@dataclass(slots=True, kw_only=True, eq=False)
class Window:
    """Audio to be read, and what was read of it so far.

    `language` is None until it is detected, and stays it for less than 10 ms of audio.
    `ends` are the places of `text` behind which the decoder wrote a time, and that time.
    `log_probability` is the sum over the `tokens` of the text.
    """

    audio: npt.NDArray[np.float32]
    options: DecodeOptions
    language: str | None
    text: str = ""
    words: list[TimedWord] = field(default_factory=list)
    ends: list[tuple[int, float]] = field(default_factory=list)
    log_probability: float = 0.0
    tokens: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _Course:
    """Where the reading of a window stands: `seek` of its `frames` are done.

    `preface` is what the next decode is given before the text. `heard_s` is the end of the last
    word. `rounds_left` makes an end of a model that writes ever the same short segment: one a
    second is more than speech has.
    """

    window: Window
    features: Features
    frames: int
    preface: list[int]
    rounds_left: int
    seek: int = 0
    heard_s: float = 0.0


class Reader:
    """Reads windows with one model. Several threads may, as far as the model has workers."""

    def __init__(
        self,
        engine: WhisperModel,
        vocabulary: Vocabulary,
        abilities: Abilities,
        budget: Budget,
        *,
        beam_size: int,
        temperatures: tuple[float, ...],
        hotwords: str,
    ) -> None:
        """`abilities` say which contexts there are, and `budget` how many windows may be decoded in
        one call; beam and temperatures are those of finals."""
        self._engine = engine
        self._log_mel = LogMel(engine.feature_extractor)
        self._vocabulary = vocabulary
        self._abilities = abilities
        self._budget = budget
        self._beam_size = beam_size
        self._temperatures = temperatures
        self._hotwords = hotwords

    def read(self, windows: Sequence[Window]) -> None:
        """Read windows, each at its context, as far as possible in calls that they share.

        Raises:
            DecodeCancelled: nobody wants the texts any more.
            RuntimeError, MemoryError: the engine failed.
        """
        left = [self._begin(window) for window in windows]
        while left := [course for course in left if course.seek < course.frames]:
            for context_s, together in self._groups(left):
                self._read_on(context_s, together)

    def _begin(self, window: Window) -> _Course:
        features = self._log_mel(window.audio)
        frames = features.shape[1]
        return _Course(
            window=window,
            features=features,
            frames=frames,
            preface=self._vocabulary.preface(self._hotwords, window.options.prompt),
            rounds_left=2 + frames // FRAMES_PER_S,
        )

    def _groups(self, courses: Iterable[_Course]) -> Iterator[tuple[float, list[_Course]]]:
        """What can be decoded in one call: the same context, manner, and lengths of prompt and
        start, as far as memory goes."""
        groups: dict[tuple[float, bool, int, int], list[_Course]] = defaultdict(list)
        for course in courses:
            is_partial = course.window.options.is_partial
            rest_s = (course.frames - course.seek) / FRAMES_PER_S
            context_s = self._abilities.context_s(rest_s, is_partial=is_partial)
            key = (context_s, is_partial, len(course.preface), len(self._start(course.window)))
            groups[key].append(course)
        for (context_s, *_), group in groups.items():
            most = self._budget.most_windows(context_s)
            for begin in range(0, len(group), most):
                yield context_s, group[begin : begin + most]

    def _read_on(self, context_s: float, courses: Sequence[_Course]) -> None:
        """One round of windows that can be decoded in one call."""
        whisper, vocabulary = self._engine.model, self._vocabulary
        most_frames = round(context_s * FRAMES_PER_S)
        encoded = Encoded(whisper, [_pad(course, most_frames) for course in courses])
        self._detect_languages(encoded, [course.window for course in courses])
        prompts = [course.preface + self._start(course.window) for course in courses]
        is_partial = courses[0].window.options.is_partial
        manner = Manner(
            beam_size=1 if is_partial else self._beam_size,
            temperatures=attempts.FALLBACK[:1] if is_partial else self._temperatures,
            most_tokens=_most_tokens(context_s),
        )
        decoded = attempts.decode(whisper, vocabulary, encoded, prompts, manner)
        for place, (course, attempt) in enumerate(zip(courses, decoded, strict=True)):
            self._take_in(course, attempt, encoded, place, most_frames)

    def _start(self, window: Window) -> list[int]:
        return self._vocabulary.start(window.language or "en", window.options.task)

    def _detect_languages(self, encoded: Encoded, windows: Sequence[Window]) -> None:
        unknown = [place for place, window in enumerate(windows) if window.language is None]
        if unknown:
            found = self._engine.model.detect_language(encoded.take(unknown))
            for place, languages in zip(unknown, found, strict=True):
                token, _ = languages[0]
                windows[place].language = token[2:-2]

    def _take_in(
        self, course: _Course, attempt: Attempt, encoded: Encoded, place: int, most_frames: int
    ) -> None:
        """Add what a decode wrote to the window's text, and see how far that was."""
        frames = min(most_frames, course.frames - course.seek)
        course.preface = self._vocabulary.preface(self._hotwords, None)
        course.rounds_left -= 1
        if attempt.is_silence:
            course.seek += frames
            return
        window, vocabulary = course.window, self._vocabulary
        division = split(
            attempt.tokens,
            first_timestamp=vocabulary.first_timestamp,
            seek=course.seek,
            frames=frames,
        )
        read_to = division.read_to
        if window.options.words:
            self._engine.add_word_timestamps(
                [division.segments],
                vocabulary.tokenizer_for(window.language or "en", window.options.task),
                encoded.take([place]),
                frames,
                _OPENING,
                _CLOSING,
                last_speech_timestamp=course.heard_s,
            )
            spoken = [word["end"] for one in division.segments for word in one.get("words", ())]
            course.heard_s = spoken[-1] if spoken else division.segments[-1]["end"]
            if not division.is_complete and course.heard_s > course.seek / FRAMES_PER_S:
                read_to = round(course.heard_s * FRAMES_PER_S)
        for segment in division.segments:
            text = vocabulary.text(segment["tokens"])
            if segment["start"] != segment["end"] and text.strip():
                window.text += text
                window.words += segment.get("words", ())
                if segment["marked_end"] is not None:
                    window.ends.append((len(window.text), segment["marked_end"]))
                window.log_probability += attempt.log_probability * len(segment["tokens"])
                window.tokens += len(segment["tokens"])
        is_going_on = read_to > course.seek and course.rounds_left
        course.seek = read_to if is_going_on else course.frames


def _pad(course: _Course, most_frames: int) -> Features:
    """The features that are to be read next, followed by as many of zero as the context wants."""
    part = course.features[:, course.seek : min(course.frames, course.seek + most_frames)]
    padded = np.zeros((len(part), most_frames), np.float32)
    padded[:, : part.shape[1]] = part
    return padded


def _most_tokens(context_s: float) -> int:
    return min(MOST_TOKENS // 2, _TOKENS_AT_LEAST + round(_TOKENS_PER_S * context_s))
