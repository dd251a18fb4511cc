"""What a context of whisper.cpp has found, as a hypothesis with words and their times."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module

from asrd import Hypothesis, Word

_TICKS_PER_S = 100
_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: bytes
    start: float
    end: float
    probability: float


def read(context: Any, *, with_words: bool) -> Hypothesis:
    """What the last decode in this context has found."""
    language: str = whisper.whisper_lang_str(whisper.whisper_full_lang_id(context))
    tokens = list(_tokens(context))
    text = b"".join(token.text for token in tokens).decode("utf-8", "replace").strip()
    if not text:
        return Hypothesis(text="", language=language)
    return Hypothesis(
        text=text,
        words=tuple(_words(tokens, language)) if with_words else (),
        language=language,
        confidence=_geometric_mean(tokens),
    )


def _tokens(context: Any) -> Iterator[_Token]:
    """The text tokens of the last decode; times and control tokens are left out."""
    first_control: int = whisper.whisper_token_eot(context)
    for segment in range(whisper.whisper_full_n_segments(context)):
        for index in range(whisper.whisper_full_n_tokens(context, segment)):
            token = whisper.whisper_full_get_token_data(context, segment, index)
            if token.id < first_control:
                yield _Token(
                    text=whisper.whisper_token_to_bytes(context, token.id),
                    start=token.t0 / _TICKS_PER_S,
                    end=token.t1 / _TICKS_PER_S,
                    probability=token.p,
                )


def _words(tokens: list[_Token], language: str) -> Iterator[Word]:
    """Gather tokens into words: at blanks, or, where a script has none, at whole characters."""
    gathered: list[_Token] = []
    for token in tokens:
        starts_word = token.text.startswith(b" ") or (
            language in _UNSPACED_LANGUAGES and _is_whole(b"".join(part.text for part in gathered))
        )
        if gathered and starts_word:
            yield from _word(gathered)
            gathered = []
        gathered.append(token)
    yield from _word(gathered)


def _word(tokens: list[_Token]) -> Iterator[Word]:
    text = b"".join(token.text for token in tokens).decode("utf-8", "replace").strip()
    if text:
        start = max(0.0, tokens[0].start)
        yield Word(
            word=text,
            start=start,
            end=max(start, tokens[-1].end),
            probability=_geometric_mean(tokens),
        )


def _is_whole(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _geometric_mean(tokens: list[_Token]) -> float:
    """The probability of one token in the mean; the engine may report an exact zero."""
    logarithms = [math.log(max(token.probability, 1e-9)) for token in tokens]
    return min(1.0, math.exp(sum(logarithms) / len(logarithms)))
