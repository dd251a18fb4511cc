"""What a context of whisper.cpp has found, as a hypothesis with words and their times."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module

from asrd import Boundary, Hypothesis, Word

_TICKS_PER_S = 100
_MARKS_PER_S = 50
_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: bytes
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Tokens, and the time that the decoder wrote behind them; None where it wrote none."""

    tokens: list[_Token]
    marked_end: float | None


def read(context: Any, *, audio_s: float, is_single_segment: bool, with_words: bool) -> Hypothesis:
    """What the last decode in this context has found in a window of `audio_s`."""
    language: str = whisper.whisper_lang_str(whisper.whisper_full_lang_id(context))
    stretches = list(_stretches(context, is_single_segment=is_single_segment))
    tokens = [token for stretch in stretches for token in stretch.tokens]
    text = _text(tokens)
    if not text.strip():
        return Hypothesis(text="", language=language)
    return Hypothesis(
        text=text.strip(),
        words=tuple(_words(tokens, language)) if with_words else (),
        boundaries=tuple(_boundaries(stretches, audio_s)),
        language=language,
        confidence=_geometric_mean(tokens),
    )


def _stretches(context: Any, *, is_single_segment: bool) -> Iterator[_Stretch]:
    """The text tokens of the last decode up to each time mark; control tokens are left out.

    A segment ends with its mark, which counts from where its round began; the engine knows the
    segment's end in the window. A single segment may have marks within it; its only round began
    with the window.
    """
    first_control: int = whisper.whisper_token_eot(context)
    first_mark: int = whisper.whisper_token_beg(context)
    for segment in range(whisper.whisper_full_n_segments(context)):
        tokens: list[_Token] = []
        for index in range(whisper.whisper_full_n_tokens(context, segment)):
            token = whisper.whisper_full_get_token_data(context, segment, index)
            if token.id < first_control:
                tokens.append(
                    _Token(
                        text=whisper.whisper_token_to_bytes(context, token.id),
                        start=token.t0 / _TICKS_PER_S,
                        end=token.t1 / _TICKS_PER_S,
                        probability=token.p,
                    )
                )
            elif token.id > first_mark and tokens:
                at = (token.id - first_mark) / _MARKS_PER_S
                if not is_single_segment:
                    at = whisper.whisper_full_get_segment_t1(context, segment) / _TICKS_PER_S
                yield _Stretch(tokens=tokens, marked_end=at)
                tokens = []
        if tokens:
            yield _Stretch(tokens=tokens, marked_end=None)


def _boundaries(stretches: list[_Stretch], audio_s: float) -> Iterator[Boundary]:
    tokens: list[_Token] = []
    whole = _text(token for stretch in stretches for token in stretch.tokens)
    blanks = len(whole) - len(whole.lstrip())
    latest = 0.0
    for stretch in stretches:
        tokens += stretch.tokens
        if stretch.marked_end is None or not _text(stretch.tokens).strip():
            continue
        at = min(stretch.marked_end, audio_s)
        if at > latest:  # a mark behind the end of the audio says no more than the end
            latest = at
            characters = min(len(_text(tokens)) - blanks, len(whole.strip()))
            yield Boundary(characters=characters, at=at)


def _text(tokens: Iterable[_Token]) -> str:
    return b"".join(token.text for token in tokens).decode("utf-8", "replace")


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
    text = _text(tokens).strip()
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
