"""How the listening program is run: as settings of `process`, and by itself."""

import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from asrd import Hypothesis, Setting, UtteranceReader
from support.audio import SAMPLE_RATE, Samples

PROGRAM = Path(__file__).parent / "listening_program.py"
FEED_SAMPLES = SAMPLE_RATE // 2


def arguments(*options: str) -> list[str]:
    return [sys.executable, "-P", str(PROGRAM), *options]


def settings(*options: str, **more: Setting) -> dict[str, Setting]:
    """Settings under which `process` runs the program with these options."""
    return {
        "command": shlex.join(arguments(*options)),
        "ready_pattern": r"\[listening\]",
        "start_timeout_s": 30.0,
        **more,
    }


def pcm(audio: Samples) -> bytes:
    """The samples as the program reads them."""
    return np.clip(np.rint(audio * 32768), -32768, 32767).astype("<i2").tobytes()


@cache
def _text_of(heard: bytes) -> str:
    told = subprocess.run(arguments(), input=heard, capture_output=True, check=True).stdout
    return " ".join(told.decode().split())


def text_alone(audio: Samples, padding_ms: int) -> str:
    """What the program makes of an utterance and the padding behind it, run by hand."""
    return _text_of(pcm(audio) + bytes(2 * SAMPLE_RATE * padding_ms // 1000))


def feed_all(
    reader: UtteranceReader, audio: Samples, heard: list[Hypothesis] | None = None
) -> Hypothesis:
    """Feed an utterance bit by bit, finish it, and hold what it says to what was stable."""
    kept = ""
    hypothesis = None
    for begin in range(0, audio.size, FEED_SAMPLES):
        hypothesis = reader.feed(audio[begin : begin + FEED_SAMPLES], lambda: True)
        assert hypothesis.text.startswith(kept)
        kept = hypothesis.text[: hypothesis.stable]
        if heard is not None:
            heard.append(hypothesis)
    hypothesis = reader.finish(lambda: True)
    assert hypothesis.text.startswith(kept)
    reader.close()
    return hypothesis
