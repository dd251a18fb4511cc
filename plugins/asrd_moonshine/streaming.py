"""A loaded Moonshine model that hears bit by bit. Runs in a worker process, from one thread.

Each utterance has a stream of the library's own. The library decodes all that the stream has heard
again at every feed, so what it reads may change up to the end, and a feed costs as much as a window
of the utterance so far.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from asrd import Abilities, DecodeOptions, Hypothesis, StreamingModel, UtteranceReader
from asrd.tones import is_tones
from asrd_moonshine.transcriber import SHORTEST_SAMPLES, Transcriber

HOP_SAMPLES = 512
"""The library takes audio in by so many samples, and leaves what is over for the next call."""

FEED_S = 1.0
"""Half as much between two feeds costs twice as much time, for words that are half a second
younger."""


class MoonshineReader(UtteranceReader):
    """One stream of the library, and what was fed to it, to be judged as a window is."""

    def __init__(self, transcriber: Transcriber, *, words: bool) -> None:
        self._transcriber = transcriber
        self._words = words
        self._heard = np.zeros(0, np.float32)
        self._stream: int | None = transcriber.open_stream()

    def feed(self, audio: npt.NDArray[np.float32], keep_going: Callable[[], bool]) -> Hypothesis:
        """Take the audio in, and read the utterance so far, but for its last 31 ms at the most."""
        self._take_in(audio)
        return self._read()

    def finish(self, keep_going: Callable[[], bool]) -> Hypothesis:
        """Have the library take in what is over, behind which silence is laid, and read it all."""
        rest = -self._heard.size % HOP_SAMPLES
        if rest and self._heard.size >= SHORTEST_SAMPLES:
            self._take_in(np.zeros(rest, np.float32))
        read = self._read()
        # In this order: what is not analysed yet when a stream is stopped is lost.
        self._transcriber.stop_stream(self._opened())
        return read

    def close(self) -> None:
        """Free the stream."""
        if self._stream is not None:
            self._transcriber.free_stream(self._stream)
            self._stream = None

    def _take_in(self, audio: npt.NDArray[np.float32]) -> None:
        if audio.size:
            self._transcriber.feed_stream(self._opened(), audio)
            self._heard = np.concatenate([self._heard, audio])

    def _read(self) -> Hypothesis:
        whole = self._heard[: self._heard.size - self._heard.size % HOP_SAMPLES]
        # On less the library fails, and the stream with it.
        if whole.size < SHORTEST_SAMPLES or is_tones(whole):
            return self._transcriber.nothing()
        return self._transcriber.read_stream(self._opened(), words=self._words)

    def _opened(self) -> int:
        if self._stream is None:
            raise ValueError("the reader is closed")
        return self._stream


class StreamingMoonshineModel(StreamingModel):
    """Reads utterances as they are spoken, one call at a time."""

    abilities = Abilities(feed_s=FEED_S)

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    def begin(self, options: DecodeOptions) -> MoonshineReader:
        """Begin a stream; the model's language counts, whatever `options` says."""
        return MoonshineReader(self._transcriber, words=options.words)

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        """Read one window, which needs no stream."""
        return self._transcriber.read_window(audio, words=options.words)

    def close(self) -> None:
        """Free the transcriber, and with it the streams."""
        self._transcriber.close()
