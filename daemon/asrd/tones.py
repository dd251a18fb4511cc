"""Telling tones from speech, for engines that write something for whatever they are given.

Notes and beeps that a machine makes are lines in the spectrum with next to nothing between them. A
voice has breath between its harmonics, and its pitch is never still. Voice activity takes single
low notes for speech now and then, and few engines know that nobody speaks there. Chords and hum
have so many lines that they are not told from a voice here; voice activity knows them.
"""

import numpy as np
import numpy.typing as npt

SHORTEST_SAMPLES = 1_024
"""64 ms at 16 kHz, which tells the harmonics of a voice apart. Less is never judged to be tones."""

_HOP = SHORTEST_SAMPLES // 2
_WINDOW = np.blackman(SHORTEST_SAMPLES).astype(np.float32)
_BAND = slice(6, 218)
"""100 to 3,400 Hz, which every telephone and codec passes."""

_FILLED_ABOVE = 10**-4.5
"""A line is filled that is less than 45 dB below the loudest one of its 64 ms."""

_TONES_BELOW = 0.235
"""The share of filled lines, the loud moments counting most, below which there are tones alone.
Notes that pass for speech have 0.12 to 0.22; voices have 0.28 and more, and still 0.26 where all
that is 30 dB below the loudest is taken out of them."""

_LEAST_POWER = 1e-12


def is_tones(audio: npt.NDArray[np.float32]) -> bool:
    """Whether there is nothing but single tones in a window of mono samples at 16 kHz."""
    if audio.size < SHORTEST_SAMPLES:
        return False
    frames = np.lib.stride_tricks.sliding_window_view(audio, SHORTEST_SAMPLES)[::_HOP]
    powers = np.abs(np.fft.rfft(frames * _WINDOW)[:, _BAND]) ** 2
    loudest = powers.max(axis=1, keepdims=True)
    if loudest.max() < _LEAST_POWER:
        return False
    filled = (powers > _FILLED_ABOVE * loudest).mean(axis=1)
    return bool(np.average(filled, weights=powers.mean(axis=1)) < _TONES_BELOW)
