"""A loaded whisper.cpp context. Runs in a worker process, from one thread.

This calls the binding under pywhispercpp's `Model` class. That class keeps one set of parameters
for its life, so what one call sets, the next one inherits; it drops the engine's return code, so
a failed decode looks like silence; and importing it brings `requests`.

The engine gives up the interpreter's lock while it computes. It asks whether to go on before each
run of the encoder and after each run of the encoder or decoder, always from the calling thread,
whatever number of threads computes. So a decode is heard of once per token, and not at all while
the encoder runs, which is most of the time on a CPU.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module
import numpy as np
import numpy.typing as npt

from asrd import (
    DecodeCancelled,
    DecodeOptions,
    Hypothesis,
    Model,
    ProviderError,
    RequestUnsupported,
    Word,
)

SHORTEST_SAMPLES = 1_600
"""Up to 0.1 s the engine refuses; and given nothing at all, it repeats its last result."""

# Its threads spin while they wait for each other: on cores that others use, too, as many threads
# as cores take longer than one.
_MOST_THREADS = 4
_LOG_LEVEL_ERROR = 4
_TICKS_PER_S = 100
_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


class WhisperCppModel(Model):
    """One context, with fresh parameters for each window."""

    def __init__(
        self,
        *,
        path: Path,
        threads: int,
        use_gpu: bool,
        gpu_device: int,
        flash_attention: bool,
        beam_size: int,
        has_temperature_fallback: bool,
    ) -> None:
        self._threads = threads or max(1, min(_MOST_THREADS, _usable_cores() - 1))
        self._beam_size = beam_size
        self._has_temperature_fallback = has_temperature_fallback
        wanted = whisper.whisper_context_default_params()
        wanted.use_gpu = use_gpu
        wanted.gpu_device = gpu_device
        wanted.flash_attn = flash_attention
        self._context: Any = None
        with _listen_to_engine() as errors:
            try:
                self._context = whisper.whisper_init_from_file_with_params(str(path), wanted)
            except (MemoryError, RuntimeError, ValueError) as error:  # C++'s, by the binding
                raise ProviderError(f"whisper.cpp cannot load {path}: {error!r}.") from error
        # A failed load hands back an object around a null pointer; its first use would be a
        # segmentation fault. Only the log tells them apart.
        if errors:
            self.close()
            raise ProviderError(f"whisper.cpp cannot load {path}: {'; '.join(errors)}.")
        self._is_multilingual = bool(whisper.whisper_is_multilingual(self._context))

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window.

        An English-only model reads English whatever language or task is asked for.

        Raises:
            RequestUnsupported: the language is none that Whisper knows.
            DecodeCancelled: `options.keep_going()` returned False.
            ProviderError: the engine failed, or ran out of memory.
        """
        if audio.size <= SHORTEST_SAMPLES:
            return Hypothesis(text="")
        with _listen_to_engine():  # it calls "auto" an unknown language, and obeys
            parameters = self._parameters(options)
        inquiry = _Inquiry(options.keep_going)
        whisper.assign_encoder_begin_callback(parameters, inquiry.begin_encoder)
        whisper.assign_abort_callback(parameters, inquiry.is_to_stop)
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        with _listen_to_engine() as errors:
            try:
                code: int = whisper.whisper_full(self._context, parameters, samples, samples.size)
            except MemoryError as error:
                raise ProviderError("whisper.cpp ran out of memory on this window.") from error
        if inquiry.has_stopped:
            raise DecodeCancelled("Nobody wanted this decode any more.")
        if code != 0:
            reason = "; ".join([f"code {code}", *errors])
            raise ProviderError(f"whisper.cpp cannot decode this window: {reason}.")
        language: str = whisper.whisper_lang_str(whisper.whisper_full_lang_id(self._context))
        tokens = list(self._tokens())
        text = b"".join(token.text for token in tokens).decode("utf-8", "replace").strip()
        if not text:
            return Hypothesis(text="", language=language)
        return Hypothesis(
            text=text,
            words=tuple(_words(tokens, language)) if options.words else (),
            language=language,
            confidence=_geometric_mean(tokens),
        )

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            whisper.whisper_free(self._context)
            self._context = None

    def _parameters(self, options: DecodeOptions) -> Any:
        is_beam = self._beam_size > 1 and not options.is_partial
        strategies = whisper.whisper_sampling_strategy
        parameters = whisper.whisper_full_default_params(
            strategies.WHISPER_SAMPLING_BEAM_SEARCH
            if is_beam
            else strategies.WHISPER_SAMPLING_GREEDY
        )
        if is_beam:
            parameters.beam_search = {"beam_size": self._beam_size, "patience": -1.0}
        parameters.n_threads = self._threads
        parameters.print_progress = False
        parameters.print_timestamps = False
        parameters.language = self._language(options.language)
        parameters.translate = options.task == "translate" and self._is_multilingual
        parameters.token_timestamps = options.words
        parameters.suppress_nst = True  # else silence reads as "[BLANK_AUDIO]"
        parameters.initial_prompt = options.prompt or ""
        if options.is_partial or not self._has_temperature_fallback:
            parameters.temperature_inc = 0.0
        return parameters

    def _language(self, asked: str | None) -> str:
        if not self._is_multilingual:
            return "en"
        if not asked:
            return "auto"
        code = asked.replace("_", "-").split("-")[0].lower()
        if whisper.whisper_lang_id(code) < 0:
            known = [whisper.whisper_lang_str(i) for i in range(whisper.whisper_lang_max_id() + 1)]
            close = get_close_matches(code, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "give a code such as 'en'."
            raise RequestUnsupported(f"Whisper knows no language '{asked}'; {hint}")
        return code

    def _tokens(self) -> "Iterator[_Token]":
        """The text tokens of the last decode; times and control tokens are left out."""
        first_control: int = whisper.whisper_token_eot(self._context)
        for segment in range(whisper.whisper_full_n_segments(self._context)):
            for index in range(whisper.whisper_full_n_tokens(self._context, segment)):
                token = whisper.whisper_full_get_token_data(self._context, segment, index)
                if token.id < first_control:
                    yield _Token(
                        text=whisper.whisper_token_to_bytes(self._context, token.id),
                        start=token.t0 / _TICKS_PER_S,
                        end=token.t1 / _TICKS_PER_S,
                        probability=token.p,
                    )


class _Inquiry:
    """Passes the engine's questions on, and keeps in mind that the answer was no."""

    def __init__(self, keep_going: Callable[[], bool]) -> None:
        self._keep_going = keep_going
        self.has_stopped = False

    def is_to_stop(self) -> bool:
        self.has_stopped = self.has_stopped or not self._keep_going()
        return self.has_stopped

    def begin_encoder(self, _: Any) -> bool:
        return not self.is_to_stop()


@contextmanager
def _listen_to_engine() -> Iterator[list[str]]:
    """Gather the errors that the engine logs, and let nothing of its log reach stderr.

    It is listened to during calls alone: a listener left in place at the interpreter's end aborts
    the process.
    """
    errors: list[str] = []

    def log(level: int, line: str) -> None:
        # A file cut off before its first tensor is only worth a warning to the engine.
        if (level == _LOG_LEVEL_ERROR or "no tensors loaded" in line) and line.strip():
            errors.append(line.strip())

    whisper.whisper_log_set(log)
    try:
        yield errors
    finally:
        whisper.whisper_log_set(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: bytes
    start: float
    end: float
    probability: float


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


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
