"""What the encoder made of several windows, and any of them again for the decoder."""

from collections.abc import Sequence
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from asrd_faster_whisper.features import Features


class Encoded:
    """The encoder's outputs of windows that were padded to the same context.

    On a CPU the windows are encoded one by one: measured, a batch is never quicker there, and of
    long windows slower, because it falls out of the cache. A GPU gets them all at once.
    """

    def __init__(self, whisper: Any, features: Sequence[Features]) -> None:
        """Encode log-mel features, each of shape (mels, frames) with the same number of frames."""
        self._whole: Any = None
        self._rows: list[npt.NDArray[Any]] = []
        self._type: Any = None
        self._count = len(features)
        if whisper.device == "cpu":
            for one in features:
                self._keep_rows(whisper.encode(ctranslate2.StorageView.from_array(one[np.newaxis])))
        else:
            together = np.stack(features)
            self._whole = whisper.encode(ctranslate2.StorageView.from_array(together))

    def take(self, places: Sequence[int]) -> Any:
        """The outputs of some windows, in that order, as one `StorageView`."""
        if self._whole is not None and list(places) == list(range(self._count)):
            return self._whole
        if not self._rows:  # part of what a GPU encoded: CTranslate2 cannot cut it up by itself
            self._keep_rows(self._whole.to_device(ctranslate2.Device.cpu))
        rows = [self._rows[place] for place in places]
        taken = ctranslate2.StorageView.from_array(
            rows[0] if len(rows) == 1 else np.concatenate(rows)
        )
        return taken if taken.dtype == self._type else taken.to(self._type)

    def _keep_rows(self, outputs: Any) -> None:
        """Keep outputs that lie in the CPU's memory, as something that numpy can cut up."""
        self._type = outputs.dtype
        if self._type != ctranslate2.DataType.float32:
            outputs = outputs.to(ctranslate2.DataType.float32)
        array = np.asarray(outputs)
        self._rows += [array[place : place + 1] for place in range(len(array))]
