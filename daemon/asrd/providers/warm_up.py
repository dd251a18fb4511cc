"""What a model reads before it counts as ready, so that the first words do not pay for it.

An engine allocates, compiles and caches at its first inference, and again for lengths that it has
not met. What is read is silence: engines end it after a token or two, so that the time goes where
the cost is, and no text of noise makes them try again and again.
"""

import time

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd.choices import WarmUp
from asrd.providers.calls import WarmUpDecode
from asrd.providers.spec import DecodeOptions, Model

LENGTHS_S: dict[WarmUp, tuple[float, ...]] = {
    WarmUp.NONE: (),
    WarmUp.MINIMAL: (0.5,),
    WarmUp.STANDARD: (0.5, 1.0, 4.0),
    WarmUp.FULL: (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0),
}


def warm(model: Model, level: WarmUp, options: DecodeOptions) -> list[WarmUpDecode]:
    """Have the model read silence of each of the level's lengths; raises what the model raises."""
    done = []
    for audio_s in LENGTHS_S[level]:
        audio = np.zeros(round(audio_s * SAMPLE_RATE), np.float32)
        audio.flags.writeable = False
        started = time.monotonic()
        model.decode(audio, options)
        done.append(WarmUpDecode(audio_s=audio_s, took_s=time.monotonic() - started))
    return done
