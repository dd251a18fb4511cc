"""libmoonshine's C interface, as far as it is used: load, transcribe, stream, free.

The wheel's own Python binding is not used: importing it brings `requests` and 300 modules, it
turns each sample into a Python float on the way in, and the audio again on the way out.
"""

import ctypes
import sys
from pathlib import Path

from asrd import ProviderError

HEADER_VERSION = 30000
"""The interface that the structures below describe; the library refuses one it does not know."""

FORCE_UPDATE = 1
"""MOONSHINE_FLAG_FORCE_UPDATE: read what a stream has heard now, however little of it is new."""

FLOATS = ctypes.POINTER(ctypes.c_float)


class WordC(ctypes.Structure):
    """transcript_word_t: times in seconds, confidence 0..1."""

    _fields_ = (
        ("text", ctypes.c_char_p),
        ("start", ctypes.c_float),
        ("end", ctypes.c_float),
        ("confidence", ctypes.c_float),
    )


class LineC(ctypes.Structure):
    """transcript_line_t: what was said between two pauses."""

    _fields_ = (
        ("text", ctypes.c_char_p),
        ("audio_data", ctypes.c_void_p),
        ("audio_data_count", ctypes.c_size_t),
        ("start_time", ctypes.c_float),
        ("duration", ctypes.c_float),
        ("id", ctypes.c_uint64),
        ("is_complete", ctypes.c_int8),
        ("is_updated", ctypes.c_int8),
        ("is_new", ctypes.c_int8),
        ("has_text_changed", ctypes.c_int8),
        ("have_speakers_changed", ctypes.c_int8),
        ("speaker_spans", ctypes.c_void_p),
        ("speaker_span_count", ctypes.c_uint64),
        ("last_transcription_latency_ms", ctypes.c_uint32),
        ("words", ctypes.POINTER(WordC)),
        ("word_count", ctypes.c_uint64),
    )


class TranscriptC(ctypes.Structure):
    """transcript_t: owned by the transcriber, valid until its next call."""

    _fields_ = (("lines", ctypes.POINTER(LineC)), ("line_count", ctypes.c_uint64))


class OptionC(ctypes.Structure):
    """moonshine_option_t: both as text."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p))


# A wrong layout reads through wild pointers; better not to start.
_SIZES = {WordC: 24, LineC: 88, TranscriptC: 16, OptionC: 16}


def open_library(folder: Path) -> ctypes.CDLL:
    """Load the shared library from the wheel's folder and declare what is called.

    Raises:
        ProviderError: the platform is not one that the structures fit, or the file does not load.
    """
    for structure, size in _SIZES.items():
        if ctypes.sizeof(structure) != size:
            raise ProviderError("Moonshine runs on 64-bit machines only.")
    suffix = "dylib" if sys.platform == "darwin" else "so"
    path = folder / f"libmoonshine.{suffix}"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ProviderError(f"The library {path} does not load: {error}.") from error
    library.moonshine_error_to_string.restype = ctypes.c_char_p
    library.moonshine_error_to_string.argtypes = [ctypes.c_int32]
    library.moonshine_load_transcriber_from_files.restype = ctypes.c_int32
    library.moonshine_load_transcriber_from_files.argtypes = [
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.POINTER(OptionC),
        ctypes.c_uint64,
        ctypes.c_int32,
    ]
    library.moonshine_free_transcriber.restype = None
    library.moonshine_free_transcriber.argtypes = [ctypes.c_int32]
    library.moonshine_transcribe_without_streaming.restype = ctypes.c_int32
    library.moonshine_transcribe_without_streaming.argtypes = [
        ctypes.c_int32,
        FLOATS,
        ctypes.c_uint64,
        ctypes.c_int32,
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.POINTER(TranscriptC)),
    ]
    _declare_streams(library)
    return library


def _declare_streams(library: ctypes.CDLL) -> None:
    """A stream is a number, of one transcriber; its creation gives one, or an error code."""
    library.moonshine_create_stream.restype = ctypes.c_int32
    library.moonshine_create_stream.argtypes = [ctypes.c_int32, ctypes.c_uint32]
    for call in (
        library.moonshine_start_stream,
        library.moonshine_stop_stream,
        library.moonshine_free_stream,
    ):
        call.restype = ctypes.c_int32
        call.argtypes = [ctypes.c_int32, ctypes.c_int32]
    library.moonshine_transcribe_add_audio_to_stream.restype = ctypes.c_int32
    library.moonshine_transcribe_add_audio_to_stream.argtypes = [
        ctypes.c_int32,
        ctypes.c_int32,
        FLOATS,
        ctypes.c_uint64,
        ctypes.c_int32,
        ctypes.c_uint32,
    ]
    library.moonshine_transcribe_stream.restype = ctypes.c_int32
    library.moonshine_transcribe_stream.argtypes = [
        ctypes.c_int32,
        ctypes.c_int32,
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.POINTER(TranscriptC)),
    ]


def error_text(library: ctypes.CDLL, code: int) -> str:
    """The library's words for an error code."""
    text: bytes | None = library.moonshine_error_to_string(code)
    return text.decode("utf-8", "replace") if text else f"error {code}"
