"""A loaded Moonshine model that reads windows. Runs in a worker process, from one thread."""

import numpy as np
import numpy.typing as npt

from asrd import DecodeOptions, Hypothesis, Model
from asrd_moonshine.transcriber import Transcriber


class MoonshineModel(Model):
    """Reads window after window, each by itself.

    `transcribe_without_streaming` gives the same text at the same cost as a stream of its own, with
    nothing to create, stop and free per window. Its abilities are the defaults: the library has no
    call for several windows, cannot be stopped in one, and is used from one thread.
    """

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window; the model's language counts, whatever `options` says.

        The library cannot be stopped in between. It need not be: `tiny-en` takes less than a
        second for the longest window.
        """
        return self._transcriber.read_window(audio, words=options.words)

    def close(self) -> None:
        """Free the transcriber."""
        self._transcriber.close()
