"""A loaded CTranslate2 Whisper. Runs in a worker process, from a thread per worker of its own."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from asrd import (
    Abilities,
    Boundary,
    DecodeOptions,
    DecodeRequest,
    Hypothesis,
    Model,
    ProviderError,
    RequestUnsupported,
    Word,
)
from asrd.abilities import LONGEST_WINDOW_S
from asrd.tones import is_tones
from asrd_faster_whisper.attempts import FALLBACK
from asrd_faster_whisper.budget import budget_of
from asrd_faster_whisper.reader import Reader, Window
from asrd_faster_whisper.vocabulary import Vocabulary
from asrd_faster_whisper.watched import WatchedWhisper
from asrd_faster_whisper.weights import decoder_shape

_PREFERRED = {"cpu": ("int8", "float32"), "cuda": ("float16", "int8_float16", "float32")}
_MOST_THREADS = 4
_SEED = 0
_FULL_CONTEXT_S = (LONGEST_WINDOW_S,)
_CONTEXTS_S = (4.0, 8.0, 12.0, LONGEST_WINDOW_S)
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
    """One `WhisperModel`, driven below its `transcribe`.

    Beam search for finals and greedy search for partials: on a CPU the encoder is most of the
    cost, a wider beam adds little to it, and a final is what stays; a partial is replaced soon.

    It does not claim that it can abort. A call into CTranslate2 cannot be ended, only what follows
    it be left out: of a small model all is over nearly as soon anyway, and of a large one a single
    call takes seconds, so whoever waits for it gains little for work that has to be done again.
    What nobody wants any more is left between two calls all the same.
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
        max_batch: int,
        short_context: Literal["never", "partials", "always"],
        advice: str,
    ) -> None:
        """Load the model; `advice` is a sentence for the case that its files are damaged."""
        device = _choose_device(device, device_index)
        compute_type = _choose_compute_type(compute_type, device, device_index)
        # Only the fallback draws at random, from generators that CTranslate2 seeds once, as its
        # threads start: what one of them reads depends on what it read before, and on nothing else.
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
        self.abilities = Abilities(
            max_batch=max_batch,
            partial_contexts_s=_FULL_CONTEXT_S if short_context == "never" else _CONTEXTS_S,
            final_contexts_s=_CONTEXTS_S if short_context == "always" else _FULL_CONTEXT_S,
            decodes_at_once=num_workers,
        )
        self._vocabulary = Vocabulary(
            tokenizer,
            languages=self._engine.supported_languages,
            is_multilingual=self._watched.is_multilingual,
        )
        self._reader = Reader(
            self._engine,
            self._vocabulary,
            self.abilities,
            budget_of(
                decoder_shape(folder / "model.bin"),
                compute_type=self._watched.compute_type,
                device=device,
                num_workers=num_workers,
            ),
            beam_size=beam_size,
            temperatures=FALLBACK if has_temperature_fallback else FALLBACK[:1],
            hotwords=hotwords,
        )

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window.

        An English-only model reads English whatever language or task is asked for.

        Raises:
            RequestUnsupported: the language is none that the model knows.
            DecodeCancelled: nobody wants the text any more.
            ProviderError: the engine failed.
        """
        window = self._prepare(DecodeRequest(audio=audio, options=options))
        self._read([window], options.keep_going)
        return _hypothesis(window)

    def decode_batch(
        self, requests: Sequence[DecodeRequest]
    ) -> Sequence[Hypothesis | ProviderError]:
        """Read several windows, with the texts that `decode` gives for each of them alone.

        Only where a window is read again at higher temperatures, which draws at random, may its
        text be another one. Whoever asks for an unknown language gets that as an error.

        Raises:
            DecodeCancelled: nobody wants the texts any more.
            ProviderError: the engine failed.
        """
        prepared: list[Window | ProviderError] = []
        for request in requests:
            try:
                prepared.append(self._prepare(request))
            except RequestUnsupported as error:
                prepared.append(error)
        windows = [one for one in prepared if isinstance(one, Window)]
        if windows:
            self._read(windows, windows[0].options.keep_going)
        return [_hypothesis(one) if isinstance(one, Window) else one for one in prepared]

    def _prepare(self, request: DecodeRequest) -> Window:
        return Window(
            audio=request.audio,
            options=request.options,
            language=self._vocabulary.language(request.options.language),
        )

    def _read(self, windows: Sequence[Window], keep_going: Callable[[], bool]) -> None:
        try:
            with self._watched.asking(keep_going):
                self._reader.read(
                    [one for one in windows if one.audio.size and not is_tones(one.audio)]
                )
        except (RuntimeError, MemoryError) as error:
            raise ProviderError(f"faster-whisper failed: {error}.") from error


def _hypothesis(window: Window) -> Hypothesis:
    text = window.text.strip()
    mean = window.log_probability / window.tokens if window.tokens else 0.0
    words = [
        Word(
            word=word["word"].strip(),
            start=float(word["start"]),
            end=float(word["end"]),
            probability=float(word["probability"]),
        )
        for word in window.words
    ]
    return Hypothesis(
        text=text,
        words=tuple(word for word in words if word.word),
        boundaries=tuple(_boundaries(window)),
        language=window.language,
        confidence=min(1.0, math.exp(mean)) if text and window.tokens else None,
    )


def _boundaries(window: Window) -> Iterator[Boundary]:
    """The ends of segments, as places in the text without the blanks around it.

    A round that begins at the end of a word, before the time that was written for it, may write an
    earlier one: it is left out.
    """
    blanks = len(window.text) - len(window.text.lstrip())
    characters = len(window.text.strip())
    latest = 0.0
    for place, at in window.ends:
        if at > latest:
            latest = at
            yield Boundary(characters=min(place - blanks, characters), at=at)


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
