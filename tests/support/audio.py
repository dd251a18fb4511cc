"""Recordings as the engines want them."""

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE = 16_000

Samples = npt.NDArray[np.float32]


def read_wav(path: Path) -> Samples:
    """A 16-bit WAV file as float32 in -1..1 at 16 kHz, mono, shape (n,)."""
    with wave.open(str(path), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        integers = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    mono = (integers.astype(np.float32) / 32768).reshape(-1, channels).mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.asarray(mono, np.float32)


def silence(duration_s: float) -> Samples:
    """Zeros."""
    return np.zeros(int(duration_s * SAMPLE_RATE), np.float32)


def read_pcm(path: Path) -> bytes:
    """The samples of a 16-bit WAV file that is mono at 16 kHz, as they are sent to a daemon."""
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        pcm: bytes = file.readframes(file.getnframes())
    return pcm


def silent_pcm(duration_s: float) -> bytes:
    """Zeros, as they are sent to a daemon."""
    return bytes(2 * round(duration_s * SAMPLE_RATE))
