"""The utterances that a streaming model has begun and not finished: their readers, and their end.

Readers of different utterances may be used from different threads at a time; one that is in use is
never taken away. The lock covers the table alone, and never a call of the plugin's.
"""

import sys
import threading
from dataclasses import dataclass

from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.providers.readings import read_of
from asrd.providers.spec import DecodeOptions, DecodeRequest, StreamingModel, UtteranceReader
from asrd.transcript import Hypothesis

_NOTHING_HEARD = calls.Read(hypothesis=Hypothesis(text=""))


class Forgotten(Exception):
    """Nothing is kept of an utterance: it has to be fed from its first sample."""


@dataclass(slots=True, eq=False)
class _Utterance:
    """`latest` is its reading so far. It `is_in_use` while a call for it is under way, and
    `is_unwanted` once it is to end with that call."""

    reader: UtteranceReader | None = None
    latest: calls.Read = _NOTHING_HEARD
    is_in_use: bool = True
    is_unwanted: bool = False


class Utterances:
    """The readers of one model, by the core's numbers of their utterances."""

    def __init__(self, model: StreamingModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._open: dict[object, _Utterance] = {}  # those fed least recently first
        self._has_complained = False

    def read(self, feeding: calls.Feeding, request: DecodeRequest) -> calls.Read:
        """Feed an utterance the audio that follows, and finish it with the last.

        Whatever is raised, and once it is finished, nothing is kept of it.

        Raises:
            Forgotten: it is not known here; or as many are open as may be, and this one, which is
                new, can wait.
            Exception: what the reader raised; ProviderError and others for a senseless answer.
        """
        if feeding.is_first:
            self.forget(feeding.utterance)
            utterance = self._claim(feeding.utterance, may_displace=feeding.is_last)
        else:
            utterance = self._resume(feeding.utterance)
        is_kept = False
        try:
            if utterance.reader is None:
                utterance.reader = self._begin(request.options)
            if request.audio.size:
                heard = utterance.reader.feed(request.audio, request.options.keep_going)
                utterance.latest = read_of(heard)
            if feeding.is_last:
                utterance.latest = read_of(utterance.reader.finish(request.options.keep_going))
            is_kept = not feeding.is_last
            return utterance.latest
        finally:
            self._release(feeding.utterance, utterance, is_kept=is_kept)

    def read_window(self, request: DecodeRequest) -> calls.Read:
        """Read an utterance that comes in one piece. Raises what `read` raises."""
        number = object()  # none of the core's
        window = self._claim(number, may_displace=True)
        try:
            return read_of(self._model.decode(request.audio, request.options))
        finally:
            self._release(number, window, is_kept=False)

    def forget(self, number: int) -> None:
        """Nobody goes on with an utterance; one that is being fed ends with that."""
        with self._lock:
            utterance = self._open.get(number)
            if utterance is None:
                return
            if utterance.is_in_use:
                utterance.is_unwanted = True
                return
            del self._open[number]
        self._close(utterance)

    def _claim(self, number: object, *, may_displace: bool) -> _Utterance:
        """A place among the readers, for one that is not begun yet."""
        displaced = None
        with self._lock:
            if len(self._open) >= self._model.most_readers:
                idle = (each for each, other in self._open.items() if not other.is_in_use)
                oldest = next(idle, None) if may_displace else None
                if oldest is None:
                    raise Forgotten(f"{len(self._open)} utterances are open, as many as may be")
                displaced = self._open.pop(oldest)
            utterance = self._open[number] = _Utterance()
        if displaced is not None:
            self._close(displaced)
        return utterance

    def _resume(self, number: int) -> _Utterance:
        with self._lock:
            utterance = self._open.get(number)
            if utterance is None:
                raise Forgotten("nothing is kept of this utterance")
            utterance.is_in_use = True
            return utterance

    def _begin(self, options: DecodeOptions) -> UtteranceReader:
        reader = self._model.begin(options)
        if not isinstance(reader, UtteranceReader):
            raise ProviderError(f"the model's begin() gave {reader!r:.100}, not an UtteranceReader")
        return reader

    def _release(self, number: object, utterance: _Utterance, *, is_kept: bool) -> None:
        """The call for an utterance is over."""
        with self._lock:
            del self._open[number]
            if is_kept and not utterance.is_unwanted:
                utterance.is_in_use = False
                self._open[number] = utterance  # as the one that was fed last
                return
        self._close(utterance)

    def _close(self, utterance: _Utterance) -> None:
        """Close a reader that is in the table no more."""
        if utterance.reader is None:
            return
        try:
            utterance.reader.close()
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            if not self._has_complained:
                self._has_complained = True
                sys.stderr.write(
                    "asrd worker: the reader of an utterance could not be closed: "
                    f"{type(error).__name__}: {error} (further ones are not mentioned)\n"
                )
