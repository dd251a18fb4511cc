"""One transcriber of libmoonshine: loaded weights, and what it reads in windows and in streams.

The library's own voice activity detection stays off (`vad_threshold=0`): it is one object for the
whole process, whose state leaks from one stream's audio into another's text, and the session has
cut the audio already. So a window is one line, and so is a stream. Calls from two threads give
garbage for text: one transcriber, one thread, one call at a time. None can be stopped.
"""

import ctypes
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asrd import Hypothesis, ProviderError, Word
from asrd.tones import is_tones
from asrd_moonshine.files import ARCHITECTURES, Architecture
from asrd_moonshine.library import (
    FLOATS,
    FORCE_UPDATE,
    HEADER_VERSION,
    LineC,
    OptionC,
    TranscriptC,
    error_text,
    open_library,
)

SAMPLE_RATE = 16_000
SHORTEST_SAMPLES = SAMPLE_RATE // 10
"""The encoder's strided convolutions fail on less, and no word is that short."""

_WORD_TIME_FILES = ("decoder_with_attention.ort", "decoder_kv_with_attention.ort")

Samples = npt.NDArray[np.float32]


class Transcriber:
    """Raises ProviderError where the model does not load."""

    def __init__(
        self,
        *,
        library_folder: Path,
        model_folder: Path,
        architecture: Architecture,
        language: str,
        single_thread: bool,
        max_tokens_per_second: float,
        remedy: str,
    ) -> None:
        # Read once, when ONNX Runtime makes its first session. Not setdefault: the setting decides.
        if single_thread:
            os.environ["MOONSHINE_ORT_SINGLE_THREAD"] = "1"
        else:
            os.environ.pop("MOONSHINE_ORT_SINGLE_THREAD", None)
        self._language = language
        self._has_word_times = any((model_folder / file).is_file() for file in _WORD_TIME_FILES)
        self._library = open_library(library_folder)
        options = {
            "vad_threshold": "0",
            "return_audio_data": "false",  # else each result keeps a copy of the audio
            "max_tokens_per_second": f"{max_tokens_per_second:g}",
            "word_timestamps": "true" if self._has_word_times else "false",
        }
        array = (OptionC * len(options))(
            *(OptionC(name.encode(), value.encode()) for name, value in options.items())
        )
        self._handle: int = self._library.moonshine_load_transcriber_from_files(
            os.fsencode(model_folder),
            ARCHITECTURES.index(architecture),
            array,
            len(options),
            HEADER_VERSION,
        )
        if self._handle < 0:
            problem = (
                f"Moonshine cannot load {model_folder} as '{architecture}'; "
                "a file is damaged or of another model."
            )
            raise ProviderError(f"{problem} {remedy}".strip())

    def nothing(self) -> Hypothesis:
        """What is read where nobody speaks."""
        return Hypothesis(text="", language=self._language)

    def read_window(self, audio: Samples, *, words: bool) -> Hypothesis:
        """Read one window. Raises ProviderError."""
        if audio.size < SHORTEST_SAMPLES:
            return self.nothing()
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        if is_tones(samples):
            return self.nothing()
        result = ctypes.POINTER(TranscriptC)()
        code: int = self._library.moonshine_transcribe_without_streaming(
            self._handle,
            samples.ctypes.data_as(FLOATS),
            samples.size,
            SAMPLE_RATE,
            0,
            ctypes.byref(result),
        )
        self._check(code, "decode this window")
        return self._hypothesis(result, words=words)

    def open_stream(self) -> int:
        """Begin a stream, which `free_stream` ends. Raises ProviderError."""
        stream: int = self._library.moonshine_create_stream(self._handle, 0)
        self._check(stream, "begin an utterance")
        try:
            code: int = self._library.moonshine_start_stream(self._handle, stream)
            self._check(code, "begin an utterance")
        except ProviderError:
            self.free_stream(stream)
            raise
        return stream

    def feed_stream(self, stream: int, audio: Samples) -> None:
        """Have a stream take in more audio; nothing is read yet. Raises ProviderError."""
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        code: int = self._library.moonshine_transcribe_add_audio_to_stream(
            self._handle, stream, samples.ctypes.data_as(FLOATS), samples.size, SAMPLE_RATE, 0
        )
        self._check(code, "take in this audio")

    def read_stream(self, stream: int, *, words: bool) -> Hypothesis:
        """Read all that a stream has heard; costs nothing where it has heard nothing new.

        Raises:
            ProviderError: the engine failed; nothing can be read in this stream any more.
        """
        result = ctypes.POINTER(TranscriptC)()
        code: int = self._library.moonshine_transcribe_stream(
            self._handle, stream, FORCE_UPDATE, ctypes.byref(result)
        )
        self._check(code, "decode this utterance")
        return self._hypothesis(result, words=words)

    def stop_stream(self, stream: int) -> None:
        """End a stream that has been read: what it has not analysed yet is dropped with this.

        Raises ProviderError.
        """
        code: int = self._library.moonshine_stop_stream(self._handle, stream)
        self._check(code, "end this utterance")

    def free_stream(self, stream: int) -> None:
        """Give a stream's memory back; closing the transcriber does it too."""
        if self._handle >= 0:
            self._library.moonshine_free_stream(self._handle, stream)

    def close(self) -> None:
        """Free the transcriber."""
        if self._handle >= 0:
            self._library.moonshine_free_transcriber(self._handle)
            self._handle = -1

    def _check(self, code: int, deed: str) -> None:
        if code < 0:
            reason = error_text(self._library, code)
            raise ProviderError(f"Moonshine cannot {deed}: {reason}.")

    def _hypothesis(self, result: "ctypes._Pointer[TranscriptC]", *, words: bool) -> Hypothesis:
        """The result belongs to the transcriber and dies with its next call: copied now."""
        lines = result.contents.lines[: result.contents.line_count] if result else []
        lines = [line for line in lines if _is_spoken(_text(line.text))]
        found = tuple(word for line in lines for word in _words(line)) if words else ()
        text = " ".join(_text(line.text) for line in lines)
        return Hypothesis(text=text, words=found, language=self._language)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace").strip()


def _is_spoken(text: str) -> bool:
    """Whether there is a letter or a digit: what the model writes for music has none."""
    return any(character.isalnum() for character in text)


def _words(line: LineC) -> list[Word]:
    return [
        Word(
            word=_text(word.text),
            start=word.start,
            end=word.end,
            probability=min(max(word.confidence, 0.0), 1.0),
        )
        for word in line.words[: line.word_count]
    ]
