"""The model of `echo`: duration and checksum of the audio, as words."""

import time
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    DecodeCancelled,
    DecodeOptions,
    DecodeRequest,
    Hypothesis,
    Model,
    Word,
)

SAMPLE_RATE = 16_000
LONGEST_SLEEP_S = 0.01
"""So long a cancelled decode may go on."""


class EchoModel(Model):
    """Waits as long as it is told to, then says what it was given.

    The text is three words, such as `echo 1.250s 0a1b2c3d`: the length of the audio and the CRC-32
    of its samples as 16-bit integers, so equal audio gives equal text in every process and
    encoding, and one sample lost or added shows. Nothing is kept from one decode to the next, so
    any number of threads may decode.
    """

    def __init__(
        self,
        *,
        load_s: float,
        latency_s: float,
        real_time_factor: float,
        memory_bytes: int,
        decodes_at_once: int,
        max_batch: int,
        batch_cost: float,
    ) -> None:
        self.abilities = Abilities(
            max_batch=max_batch, decodes_at_once=decodes_at_once, can_abort=True
        )
        self._latency_s = latency_s
        self._real_time_factor = real_time_factor
        self._batch_cost = batch_cost
        # Ones and not zeros: pages of zeros are lent by the system, and take nothing.
        self._ballast = np.ones(memory_bytes, np.uint8)
        time.sleep(load_s)

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Say the length and checksum of `audio`; empty text for no samples.

        Raises:
            DecodeCancelled: `options.keep_going()` returned False during the wait.
        """
        _wait(self._pause_s(audio), options)
        return _say(audio, options)

    def decode_batch(self, requests: Sequence[DecodeRequest]) -> Sequence[Hypothesis]:
        """Say each window's length and checksum, after the time that the first takes and
        `batch_cost` of what the others would take.

        Raises:
            DecodeCancelled: `keep_going()` returned False during the wait.
        """
        first_s, *others_s = (self._pause_s(request.audio) for request in requests)
        _wait(first_s + self._batch_cost * sum(others_s), requests[0].options)
        return [_say(request.audio, request.options) for request in requests]

    def _pause_s(self, audio: npt.NDArray[np.float32]) -> float:
        return self._latency_s + self._real_time_factor * audio.size / SAMPLE_RATE


def _say(audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
    if not audio.size:
        return Hypothesis(text="", language=options.language)
    duration_s = audio.size / SAMPLE_RATE
    integers = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype("<i2")
    spoken = ("echo", f"{duration_s:.3f}s", f"{zlib.crc32(integers.tobytes()):08x}")
    return Hypothesis(
        text=" ".join(spoken),
        words=_spread(spoken, duration_s) if options.words else (),
        language=options.language,
        confidence=1.0,
    )


def _wait(pause_s: float, options: DecodeOptions) -> None:
    if not pause_s:  # asking for no sleep at all still costs a timer's slack
        return
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
