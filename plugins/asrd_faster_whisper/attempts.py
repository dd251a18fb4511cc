"""Decoding windows together, and again those whose text is not to be believed."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asrd_faster_whisper.encoded import Encoded
from asrd_faster_whisper.vocabulary import MOST_TOKENS, Vocabulary

FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Temperatures, tried one after another until a text is believed."""

# The thresholds are those of Whisper itself, which faster-whisper uses too.
_MOST_REPETITIVE = 2.4
_LEAST_LOG_PROBABILITY = -1.0
_NO_SPEECH = 0.6
_LATEST_START = 50
_DRAWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to decode: beam search at temperature 0, draws at others, at most so many tokens."""

    beam_size: int
    temperatures: tuple[float, ...]
    most_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one decode of one window wrote.

    `log_probability` is the mean over the tokens. `repetition` is how far the text can be
    compressed; 0 where nobody would decode again for its sake.
    """

    tokens: list[int]
    log_probability: float
    no_speech: float
    repetition: float

    @property
    def is_silence(self) -> bool:
        """Whether the model heard no speech, and its text is improbable as well."""
        return self.no_speech > _NO_SPEECH and self.log_probability <= _LEAST_LOG_PROBABILITY

    @property
    def is_repetitive(self) -> bool:
        """Whether the text repeats itself."""
        return self.repetition > _MOST_REPETITIVE

    @property
    def has_failed(self) -> bool:
        """Whether it is worth trying again, less greedily."""
        is_improbable = self.log_probability < _LEAST_LOG_PROBABILITY
        if self.no_speech > _NO_SPEECH and is_improbable:
            return False
        return self.is_repetitive or is_improbable


def decode(
    whisper: Any,
    vocabulary: Vocabulary,
    encoded: Encoded,
    prompts: Sequence[list[int]],
    manner: Manner,
) -> list[Attempt]:
    """Decode encoded windows, each behind its own prompt; all prompts are of the same length.

    Windows whose text is not believed are decoded once more at the next temperature, and only
    they. What is drawn there depends on what this thread of the engine drew before.
    """
    tried: list[list[Attempt]] = [[] for _ in prompts]
    left = list(range(len(prompts)))
    is_judged = len(manner.temperatures) > 1
    for temperature in manner.temperatures:
        drawing: dict[str, Any] = {"beam_size": manner.beam_size}
        if temperature > 0:
            drawing = {
                "beam_size": 1,
                "num_hypotheses": _DRAWS,
                "sampling_topk": 0,
                "sampling_temperature": temperature,
            }
        results = whisper.generate(
            encoded.take(left),
            [prompts[place] for place in left],
            max_length=_max_length(manner.most_tokens, len(prompts[0])),
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=_LATEST_START,
            suppress_tokens=vocabulary.suppressed,
            **drawing,
        )
        for place, result in zip(left, results, strict=True):
            tried[place].append(_weigh(result, vocabulary if is_judged else None))
        left = [place for place in left if tried[place][-1].has_failed]
        if not left:
            break
    return [_choose(attempts) for attempts in tried]


def _max_length(most_tokens: int, prompt: int) -> int:
    """What CTranslate2 has to be told: of this, it leaves half for the text, and no more than what
    the prompt leaves."""
    return min(most_tokens + max(most_tokens, prompt - 1), MOST_TOKENS)


def _weigh(result: Any, vocabulary: Vocabulary | None) -> Attempt:
    """Judge a result; without a vocabulary, not whether it repeats itself."""
    tokens: list[int] = result.sequences_ids[0]
    return Attempt(
        tokens=tokens,
        # The score is the mean without the end of the text, which was decoded as well.
        log_probability=result.scores[0] * len(tokens) / (len(tokens) + 1),
        no_speech=result.no_speech_prob,
        repetition=_repetition(vocabulary.text(tokens).strip()) if vocabulary else 0.0,
    )


def _choose(attempts: Sequence[Attempt]) -> Attempt:
    """The first that was believed, which is the last; else the likeliest, not repetitive if any."""
    if not attempts[-1].has_failed:
        return attempts[-1]
    candidates = [attempt for attempt in attempts if not attempt.is_repetitive] or attempts
    return max(candidates, key=lambda attempt: attempt.log_probability)


def _repetition(text: str) -> float:
    written = text.encode()
    return len(written) / len(zlib.compress(written))
