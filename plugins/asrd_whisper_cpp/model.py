"""A loaded whisper.cpp model. Runs in a worker process, from as many threads as it has contexts.

A context used from two threads is a segmentation fault, and the binding offers no second state of
the same weights. So each decode that may run at a time has a context, and weights, of its own.

This calls the binding under pywhispercpp's `Model` class. That class keeps one set of parameters
for its life, so what one call sets, the next one inherits; it drops the engine's return code, so
a failed decode looks like silence; and importing it brings `requests`.

The engine gives up the interpreter's lock while it computes. It asks whether to go on before each
run of the encoder and after each run of the encoder or decoder, always from the calling thread,
whatever number of threads computes. So a decode is heard of once per token, and not at all while
the encoder runs, which is most of the time on a CPU. It ends 0.1 ms after it has heard that nobody
wants it; until it asks, 10 ms (`tiny`) or 14 ms (`base`) go by while it writes, and as much as the
whole encoder takes before: on one thread at full context 1.2 s (`tiny`) or 2.6 s (`base`).
"""

import math
import os
import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module
import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    DecodeCancelled,
    DecodeOptions,
    Hypothesis,
    Model,
    ProviderError,
    RequestUnsupported,
)
from asrd.tones import is_tones
from asrd_whisper_cpp.engine_log import listen_to_engine
from asrd_whisper_cpp.reading import read

SHORTEST_SAMPLES = 1_600
"""Up to 0.1 s the engine refuses; and given nothing at all, it repeats its last result."""

# Its threads spin while they wait for each other: on cores that others use, too, as many threads
# as cores take longer than one.
_MOST_THREADS = 4
_SAMPLE_RATE = 16_000
# The tests' own model reads 58 beginnings of its recordings as at full context; the engine calls
# that experimental all the same. Few lengths, because the daemon learns what each costs; with the
# room after the speech they are just below multiples of the step in which the context grows.
_SHORT_CONTEXTS_S = (2.0, 4.0, 8.0, 12.0)
_ROOM_S = 0.5
_PLACES_PER_S = 50
_PLACES_STEP = 64
# Whisper's own thresholds. In place of how far a text can be compressed, the engine takes the
# entropy of its last 32 tokens, of which too little means that it repeats itself.
_NO_SPEECH = 0.6
_LEAST_LOG_PROBABILITY = -1.0
_LEAST_ENTROPY = 2.4
# What a multilingual vocabulary has beside its languages, by the engine's own reckoning.
_TOKENS_BESIDE_LANGUAGES = 51_766


class WhisperCppModel(Model):
    """Contexts, of which each decode takes a free one, with fresh parameters for each window.

    `decode` may be called from as many threads at once as there are contexts; another one waits.
    """

    def __init__(
        self,
        *,
        path: Path,
        contexts: int,
        threads: int,
        use_gpu: bool,
        gpu_device: int,
        flash_attention: bool,
        beam_size: int,
        has_temperature_fallback: bool,
        has_short_partials: bool,
    ) -> None:
        self._threads = threads or max(1, min(_MOST_THREADS, _usable_cores() - 1))
        self._beam_size = beam_size
        self._has_temperature_fallback = has_temperature_fallback
        wanted = whisper.whisper_context_default_params()
        wanted.use_gpu = use_gpu
        wanted.gpu_device = gpu_device
        wanted.flash_attn = flash_attention
        # The one given back last is taken first: what it works in may still be in the cache.
        self._free: queue.LifoQueue[_Context] = queue.LifoQueue()
        self._contexts: list[_Context] = []
        for _ in range(contexts):
            try:
                self._load_context(path, wanted)
            except ProviderError as error:
                if not self._contexts:
                    raise
                # The file is sound, for it has just been loaded: what is lacking is the room.
                sys.stderr.write(
                    f"whisper_cpp has room for {len(self._contexts)} of {contexts} contexts, and "
                    f"decodes as many windows at once: {error}\n"
                )
                break
        self._is_multilingual = bool(whisper.whisper_is_multilingual(self._contexts[0].handle))
        words: int = whisper.whisper_n_vocab(self._contexts[0].handle)
        listed = whisper.whisper_lang_max_id() + 1
        self._languages: int = min(words - _TOKENS_BESIDE_LANGUAGES, listed)
        short_s = _SHORT_CONTEXTS_S if has_short_partials else ()
        # There is no batch call.
        self.abilities = Abilities(
            partial_contexts_s=(*short_s, *Abilities().partial_contexts_s),
            decodes_at_once=len(self._contexts),
            can_abort=True,
        )

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window.

        An English-only model reads English whatever language or task is asked for.

        Raises:
            RequestUnsupported: the language is none that the model knows.
            DecodeCancelled: `options.keep_going()` returned False.
            ProviderError: the engine failed, or ran out of memory.
        """
        if audio.size <= SHORTEST_SAMPLES:
            return Hypothesis(text="")
        with listen_to_engine():  # it calls "auto" an unknown language, and obeys
            parameters = self._parameters(options, audio.size / _SAMPLE_RATE)
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        if is_tones(samples):
            return Hypothesis(text="")
        context = self._free.get()
        try:
            return _decode(context, parameters, samples, options)
        except MemoryError as error:
            raise ProviderError("whisper.cpp ran out of memory on this window.") from error
        finally:
            self._free.put(context)

    def close(self) -> None:
        """Free the contexts; none of them may be in use."""
        while self._contexts:
            whisper.whisper_free(self._contexts.pop().handle)
        self._free = queue.LifoQueue()

    def _load_context(self, path: Path, wanted: Any) -> None:
        with listen_to_engine() as errors:
            try:
                handle = whisper.whisper_init_from_file_with_params(str(path), wanted)
            except (MemoryError, RuntimeError, ValueError) as error:  # C++'s, by the binding
                raise ProviderError(f"whisper.cpp cannot load {path}: {error!r}.") from error
        # A failed load hands back an object around a null pointer; its first use would be a
        # segmentation fault. Only the log tells them apart.
        if errors:
            whisper.whisper_free(handle)
            raise ProviderError(f"whisper.cpp cannot load {path}: {'; '.join(errors)}.")
        self._contexts.append(_Context(handle))
        self._free.put(self._contexts[-1])

    def _parameters(self, options: DecodeOptions, audio_s: float) -> Any:
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
        parameters.no_context = True  # else the context's last text, of another stream, goes first
        # What exceeds the first and stays below the second is no speech, at whichever temperature;
        # what stays below the second or the third is tried at another one, for finals.
        parameters.no_speech_thold = _NO_SPEECH
        parameters.logprob_thold = _LEAST_LOG_PROBABILITY
        parameters.entropy_thold = _LEAST_ENTROPY
        if options.is_partial or not self._has_temperature_fallback:
            parameters.temperature_inc = 0.0
        context_s = self.abilities.context_s(audio_s, is_partial=options.is_partial)
        if context_s in _SHORT_CONTEXTS_S:
            places = (context_s + _ROOM_S) * _PLACES_PER_S
            parameters.audio_ctx = math.ceil(places / _PLACES_STEP) * _PLACES_STEP
            parameters.single_segment = True  # else the rest after a time mark is encoded again
        return parameters

    def _language(self, asked: str | None) -> str:
        if not self._is_multilingual:
            return "en"
        if not asked:
            return "auto"
        code = asked.replace("_", "-").split("-")[0].lower()
        # The engine's list is that of the newest models. It would take the token behind an older
        # one's last language, which is a task's.
        if not 0 <= whisper.whisper_lang_id(code) < self._languages:
            known = [whisper.whisper_lang_str(i) for i in range(self._languages)]
            close = get_close_matches(code, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "give a code such as 'en'."
            raise RequestUnsupported(f"This Whisper knows no language '{asked}'; {hint}")
        return code


@dataclass(slots=True)
class _Context:
    """One of the engine's contexts, and the `audio_ctx` that it keeps; None where nobody knows."""

    handle: Any
    audio_ctx: int | None = 0


class _Inquiry:
    """Passes the engine's questions on, and keeps in mind that the answer was no."""

    def __init__(self, keep_going: Callable[[], bool]) -> None:
        self._keep_going = keep_going
        self.has_begun = False
        self.has_stopped = False

    def is_to_stop(self) -> bool:
        self.has_stopped = self.has_stopped or not self._keep_going()
        return self.has_stopped

    def begin_encoder(self, _: Any) -> bool:
        self.has_begun = True
        return not self.is_to_stop()


def _decode(
    context: _Context, parameters: Any, samples: npt.NDArray[np.float32], options: DecodeOptions
) -> Hypothesis:
    """Read a window in a context that nobody else uses meanwhile."""
    # The language is found out before the parameters' `audio_ctx` is taken over: with that of the
    # decode before, whose length would then decide about this text.
    if not parameters.language and context.audio_ctx != parameters.audio_ctx:
        _hand_over(context, parameters.audio_ctx)
    inquiry = _Inquiry(options.keep_going)
    code, errors = _run(context, parameters, samples, inquiry)
    if inquiry.has_stopped:
        raise DecodeCancelled("Nobody wanted this decode any more.")
    if code != 0:
        reason = "; ".join([f"code {code}", *errors])
        raise ProviderError(f"whisper.cpp cannot decode this window: {reason}.")
    return read(
        context.handle,
        audio_s=samples.size / _SAMPLE_RATE,
        is_single_segment=parameters.single_segment,
        with_words=options.words,
    )


def _hand_over(context: _Context, audio_ctx: int) -> None:
    """Have the engine take over an `audio_ctx`, by a decode that ends before its encoder runs."""
    parameters = whisper.whisper_full_default_params(
        whisper.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY
    )
    parameters.print_progress = False
    parameters.n_threads = 1
    parameters.language = "en"
    parameters.audio_ctx = audio_ctx
    silence = np.zeros(2 * SHORTEST_SAMPLES, np.float32)
    _run(context, parameters, silence, _Inquiry(lambda: False))


def _run(
    context: _Context, parameters: Any, samples: npt.NDArray[np.float32], inquiry: _Inquiry
) -> tuple[int, list[str]]:
    """The engine's code for a window, and what it has logged as errors."""
    whisper.assign_encoder_begin_callback(parameters, inquiry.begin_encoder)
    whisper.assign_abort_callback(parameters, inquiry.is_to_stop)
    context.audio_ctx = None
    with listen_to_engine() as errors:
        code: int = whisper.whisper_full(context.handle, parameters, samples, samples.size)
    if inquiry.has_begun:
        context.audio_ctx = parameters.audio_ctx
    return code, errors


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
