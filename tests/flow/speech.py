"""Real speech to tell a daemon, as 16-bit mono PCM at 16 kHz."""

import wave
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "tiny_whisper" / "samples"
RATE = 16_000


def recording(name: str) -> bytes:
    """A recording of synthetic speech."""
    with wave.open(str(SAMPLES / f"{name}.wav")) as file:
        assert file.getparams()[:3] == (1, 2, RATE)
        pcm: bytes = file.readframes(file.getnframes())
    return pcm


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


def seconds_of(pcm: bytes) -> float:
    return len(pcm) / 2 / RATE


SPEECH = recording("pauses_1")
"""14 s: four phrases with long pauses between them."""

PHRASE = recording("six_1")
"""3.5 s: one phrase, silence before and behind it."""
