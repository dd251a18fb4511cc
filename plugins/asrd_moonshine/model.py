"""A loaded Moonshine model. Runs in a worker process, from one thread.

The library's own voice activity detection stays off (`vad_threshold=0`): it is one object for the
whole process, whose state leaks from one stream's audio into another's text, and the session has
cut the audio already. So a window is one line, and `transcribe_without_streaming` gives the same
text at the same cost as a stream of its own, with nothing to create, stop and free per window.
"""

import ctypes
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asrd import DecodeOptions, Hypothesis, Model, ProviderError, Word
from asrd_moonshine.files import ARCHITECTURES, Architecture
from asrd_moonshine.library import (
    FLOATS,
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


class MoonshineModel(Model):
    """One transcriber of libmoonshine.

    Its abilities are the defaults. The library has no call for several windows and cannot be
    stopped in one, and calls from two threads give garbage for text: one transcriber, one thread,
    one window at a time.
    """

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

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window; the model's language counts, whatever `options` says.

        The library cannot be stopped in between. It need not be: `tiny-en` takes less than a
        second for the longest window.
        """
        if audio.size < SHORTEST_SAMPLES:
            return Hypothesis(text="", language=self._language)
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        result = ctypes.POINTER(TranscriptC)()
        code: int = self._library.moonshine_transcribe_without_streaming(
            self._handle,
            samples.ctypes.data_as(FLOATS),
            samples.size,
            SAMPLE_RATE,
            0,
            ctypes.byref(result),
        )
        if code < 0:
            reason = error_text(self._library, code)
            raise ProviderError(f"Moonshine cannot decode this window: {reason}.")
        # The result belongs to the transcriber and dies with its next call: copy it now.
        lines = result.contents.lines[: result.contents.line_count] if result else []
        texts = (_text(line.text) for line in lines)
        words = tuple(word for line in lines for word in _words(line)) if options.words else ()
        return Hypothesis(
            text=" ".join(text for text in texts if text), words=words, language=self._language
        )

    def close(self) -> None:
        """Free the transcriber."""
        if self._handle >= 0:
            self._library.moonshine_free_transcriber(self._handle)
            self._handle = -1


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace").strip()


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
