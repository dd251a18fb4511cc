"""Log-mel features: those of faster-whisper's `FeatureExtractor`, without its matrix product.

That product is small, and yet numpy's library for them spreads it over all cores. Where these are
busy with decodes, waiting for one another took up to twenty times longer than the work. A filter
touches only a few frequencies, so they are summed up as they are.
"""

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

Features = npt.NDArray[np.float32]

_LEAST_POWER = 1e-10
_RANGE = 8.0


class LogMel:
    """What Whisper hears of a window. Nothing in it changes, so threads may share it."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        """Take the sizes and the filters of a model's extractor."""
        self._hop: int = extractor.hop_length
        self._size: int = extractor.n_fft
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        used = [np.flatnonzero(row) for row in extractor.mel_filters]
        used = [bins if bins.size else np.zeros(1, np.intp) for bins in used]
        self._starts = np.cumsum([0, *(bins.size for bins in used[:-1])])
        self._bins = np.concatenate(used)
        self._weights = np.concatenate(
            [row[bins] for row, bins in zip(extractor.mel_filters, used, strict=True)]
        ).astype(np.float32)[:, np.newaxis]

    def __call__(self, audio: npt.NDArray[np.float32]) -> Features:
        """The features of samples at 16 kHz, shape (mels, whole hops of audio), one each 10 ms."""
        frames = len(audio) // self._hop
        padded = np.pad(np.pad(audio, (0, self._hop)), self._size // 2, mode="reflect")
        slices = np.lib.stride_tricks.sliding_window_view(padded, self._size)[:: self._hop]
        # One frame behind the audio takes part, because the loudest of all sets the floor.
        spectrum = np.fft.rfft(slices[: frames + 1] * self._window)
        power = np.ascontiguousarray((spectrum.real**2 + spectrum.imag**2).T, np.float32)
        mel = np.add.reduceat(power[self._bins] * self._weights, self._starts, axis=0)
        loudness = np.log10(np.maximum(mel, _LEAST_POWER))
        scaled: Features = (np.maximum(loudness, loudness.max() - _RANGE) + 4.0) / 4.0
        return scaled[:, :frames]
