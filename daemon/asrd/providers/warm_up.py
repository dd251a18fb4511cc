"""What a model reads before it counts as ready, so that the first words do not pay for it.

An engine allocates, compiles and caches at its first inference, and again for lengths that it has
not met. What is read is silence: engines end it after a token or two, so that the time goes where
the cost is, and no text of noise makes them try again and again. A model that reads several windows
in one call reads two so as well, where there is time for it; partials, because these are what comes
in numbers.
"""

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from asrd.abilities import Abilities
from asrd.audio import SAMPLE_RATE
from asrd.choices import WarmUp
from asrd.errors import DecodeCancelled
from asrd.providers.calls import WarmUpDecode
from asrd.providers.spec import DecodeOptions, DecodeRequest, Model

LENGTHS_S: dict[WarmUp, tuple[float, ...]] = {
    WarmUp.NONE: (),
    WarmUp.MINIMAL: (0.5,),
    WarmUp.STANDARD: (0.5, 1.0, 4.0),
    WarmUp.FULL: (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0),
}

BATCH_AT = (WarmUp.STANDARD, WarmUp.FULL)
BATCH_S = 1.0


def warm(
    model: Model, abilities: Abilities, level: WarmUp, options: DecodeOptions
) -> list[WarmUpDecode]:
    """Have the model read silence of each of the level's lengths, and two windows in one call.

    Raises what the model raises, but for the two: what cannot be read in one call is read one by
    one. Returns the decodes of one window.
    """
    done = []
    for audio_s in LENGTHS_S[level]:
        audio = _silence(audio_s)
        started = time.monotonic()
        model.decode(audio, options)
        done.append(WarmUpDecode(audio_s=audio_s, took_s=time.monotonic() - started))
    if abilities.max_batch > 1 and level in BATCH_AT:
        partial = replace(options, is_partial=True)
        two = [DecodeRequest(audio=_silence(BATCH_S), options=partial) for _ in range(2)]
        try:
            list(model.decode_batch(two))
        except DecodeCancelled:
            raise
        except Exception:  # noqa: BLE001, S110 - it costs no window, and is told at the first batch
            pass
    return done


def _silence(audio_s: float) -> npt.NDArray[np.float32]:
    audio = np.zeros(round(audio_s * SAMPLE_RATE), np.float32)
    audio.flags.writeable = False
    return audio
