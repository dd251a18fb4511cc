"""The model of `echo`: duration and checksum of the audio, as words."""

import time
import zlib

import numpy as np
import numpy.typing as npt

from asrd import DecodeCancelled, DecodeOptions, Hypothesis, Model, Word

SAMPLE_RATE = 16_000
LONGEST_SLEEP_S = 0.05
"""So long a cancelled decode may go on."""


class EchoModel(Model):
    """Waits as long as it is told to, then says what it was given.

    The text is three words, such as `echo 1.250s 0a1b2c3d`: the length of the audio and the CRC-32
    of its samples as 16-bit integers, so equal audio gives equal text in every process and
    encoding, and one sample lost or added shows.
    """

    def __init__(
        self, *, load_s: float, latency_s: float, real_time_factor: float, memory_bytes: int
    ) -> None:
        self._latency_s = latency_s
        self._real_time_factor = real_time_factor
        # Ones and not zeros: pages of zeros are lent by the system, and take nothing.
        self._ballast = np.ones(memory_bytes, np.uint8)
        time.sleep(load_s)

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Say the length and checksum of `audio`; empty text for no samples.

        Raises:
            DecodeCancelled: `options.keep_going()` returned False during the wait.
        """
        duration_s = audio.size / SAMPLE_RATE
        pause_s = self._latency_s + self._real_time_factor * duration_s
        if pause_s:  # asking for no sleep at all still costs a timer's slack
            _wait(pause_s, options)
        if not audio.size:
            return Hypothesis(text="", language=options.language)
        integers = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype("<i2")
        spoken = ("echo", f"{duration_s:.3f}s", f"{zlib.crc32(integers.tobytes()):08x}")
        return Hypothesis(
            text=" ".join(spoken),
            words=_spread(spoken, duration_s) if options.words else (),
            language=options.language,
            confidence=1.0,
        )


def _wait(pause_s: float, options: DecodeOptions) -> None:
    end = time.monotonic() + pause_s
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(LONGEST_SLEEP_S, left_s))
        if not options.keep_going():
            raise DecodeCancelled("Nobody wanted this decode any more.")


def _spread(spoken: tuple[str, ...], duration_s: float) -> tuple[Word, ...]:
    """Words of equal length that fill the window."""
    step_s = duration_s / len(spoken)
    return tuple(
        Word(word=word, start=index * step_s, end=(index + 1) * step_s, probability=1.0)
        for index, word in enumerate(spoken)
    )
