"""A loaded CTranslate2 Whisper. Runs in a worker process, from one thread."""

import difflib
import math
import os
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from asrd import DecodeOptions, Hypothesis, Model, ProviderError, RequestUnsupported, Word
from asrd_faster_whisper.watched import WatchedWhisper

_PREFERRED = {"cpu": ("int8", "float32"), "cuda": ("float16", "int8_float16", "float32")}
_MOST_THREADS = 4
_FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SEED = 0
_CONTROLS = (
    "<|startoftranscript|>",
    "<|startofprev|>",
    "<|startoflm|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|notimestamps|>",
    "<|endoftext|>",
)
"""Tokens that every Whisper's tokenizer has, and that faster-whisper uses without looking."""


class FasterWhisperModel(Model):
    """One `WhisperModel`.

    Beam search for finals and greedy search for partials: on a CPU the encoder is most of the
    cost, a wider beam adds little to it, and a final is what stays; a partial is replaced soon.
    """

    def __init__(
        self,
        *,
        folder: Path,
        device: str,
        device_index: int,
        compute_type: str,
        cpu_threads: int,
        num_workers: int,
        beam_size: int,
        has_temperature_fallback: bool,
        hotwords: str,
        advice: str,
    ) -> None:
        """Load the model; `advice` is a sentence for the case that its files are damaged."""
        device = _choose_device(device, device_index)
        compute_type = _choose_compute_type(compute_type, device, device_index)
        self._beam_size = beam_size
        self._temperatures = _FALLBACK if has_temperature_fallback else _FALLBACK[:1]
        self._hotwords = hotwords or None
        # Only the fallback draws at random, from generators that CTranslate2 seeds once, as its
        # threads start: what a worker reads depends on what it read before, and on nothing else.
        ctranslate2.set_random_seed(_SEED)
        try:
            self._engine = WhisperModel(
                str(folder),
                device=device,
                device_index=device_index,
                compute_type=compute_type,
                cpu_threads=cpu_threads or min(_MOST_THREADS, _usable_cores()),
                num_workers=num_workers,
                local_files_only=True,
            )
        except Exception as error:  # the engine raises whatever its parts raise
            raise ProviderError(_explain(error, folder, advice)) from error
        tokenizer = self._engine.hf_tokenizer
        lacking = [token for token in _CONTROLS if tokenizer.token_to_id(token) is None]
        if lacking:
            raise ProviderError(
                f"The model in {folder} is damaged: tokenizer.json has no {', '.join(lacking)}. "
                f"{advice}"
            )
        self._watched = WatchedWhisper(self._engine.model)
        self._engine.model = self._watched
        self._is_multilingual: bool = self._watched.is_multilingual

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window.

        An English-only model reads English whatever language or task is asked for.

        Raises:
            RequestUnsupported: the language is none that Whisper knows.
            DecodeCancelled: nobody wants the text any more.
            ProviderError: the engine failed.
        """
        if not audio.size:
            return Hypothesis(text="")
        try:
            with self._watched.asking(options.keep_going):
                return self._read(audio, options)
        except (RuntimeError, MemoryError) as error:
            raise ProviderError(f"faster-whisper failed: {error}.") from error

    def _read(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        segments, info = self._engine.transcribe(
            audio,
            language=self._language(options.language),
            task=options.task if self._is_multilingual else "transcribe",
            beam_size=1 if options.is_partial else self._beam_size,
            temperature=_FALLBACK[:1] if options.is_partial else self._temperatures,
            condition_on_previous_text=False,
            initial_prompt=options.prompt or None,
            hotwords=self._hotwords,
            word_timestamps=options.words,
            vad_filter=False,
        )
        # The generator is lazy: this loop is where the decoding happens.
        texts: list[str] = []
        words: list[Word] = []
        log_probability, tokens = 0.0, 0
        for segment in segments:
            texts.append(segment.text)
            log_probability += segment.avg_logprob * len(segment.tokens)
            tokens += len(segment.tokens)
            words += [
                Word(
                    word=word.word.strip(),
                    start=float(word.start),
                    end=float(word.end),
                    probability=float(word.probability),
                )
                for word in segment.words or ()
            ]
        text = "".join(texts).strip()
        return Hypothesis(
            text=text,
            words=tuple(word for word in words if word.word),
            language=info.language,
            confidence=min(1.0, math.exp(log_probability / tokens)) if text and tokens else None,
        )

    def _language(self, asked: str | None) -> str | None:
        if not self._is_multilingual:
            return "en"
        if not asked:
            return None
        code = asked.replace("_", "-").split("-")[0].lower()
        if code not in self._engine.supported_languages:
            close = difflib.get_close_matches(code, self._engine.supported_languages, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "give a code such as 'en'."
            raise RequestUnsupported(f"Whisper knows no language '{asked}'; {hint}")
        return code


def _explain(error: Exception, folder: Path, advice: str) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return (
            f"There is too little memory to load {folder} ({error}); choose a smaller model, or "
            f"the compute type int8."
        )
    return f"faster-whisper cannot load {folder}: {error}. {advice}"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_device(device: str, device_index: int) -> str:
    gpus = ctranslate2.get_cuda_device_count()
    if device == "auto":
        return "cuda" if device_index < gpus else "cpu"
    if device == "cuda" and device_index >= gpus:
        raise ProviderError(
            f"CTranslate2 sees {gpus} CUDA devices, so there is no device {device_index}."
        )
    return device


def _choose_compute_type(compute_type: str, device: str, device_index: int) -> str:
    index = device_index if device == "cuda" else 0
    supported: set[str] = ctranslate2.get_supported_compute_types(device, index)
    if compute_type == "auto":
        return next(kind for kind in _PREFERRED[device] if kind in supported)
    if compute_type not in supported | {"default"}:
        raise ProviderError(
            f"The {device} cannot compute in '{compute_type}'; it can in "
            f"{', '.join(sorted(supported))}."
        )
    return compute_type
