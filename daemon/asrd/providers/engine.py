"""A loaded model as its worker uses it: what it says of itself is checked, and what it answers.

Windows of one call are read together where the model can. A window that fails, or an answer that
is none, costs that window alone. A streaming model reads parts of utterances, one after another.
"""

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np

from asrd.abilities import LONGEST_WINDOW_S, Abilities
from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError, RequestUnsupported
from asrd.providers import calls
from asrd.providers.readings import read_of
from asrd.providers.spec import DecodeOptions, DecodeRequest, Model, StreamingModel
from asrd.providers.utterances import Forgotten, Utterances

MOST = 1024
"""Nobody means more windows in one call, decodes side by side, or open readers, than this."""

MOST_WINDOWS = 32
"""So many windows of 30 s fit into `calls.MAX_CALL_BYTES`."""

_KINDS: tuple[tuple[type[ProviderError], calls.FailureKind], ...] = (
    (ModelUnavailable, "unavailable"),
    (RequestUnsupported, "request"),
    (DecodeCancelled, "cancelled"),
    (ProviderError, "provider"),
)


def blame(error: Exception) -> calls.NotRead:
    """Whose fault an error of a plugin is, and what to tell people of it."""
    kind: calls.FailureKind = "internal"
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        kind = "provider"
        text = f"its engine cannot be imported ({error}); install that package again"
    elif isinstance(error, ProviderError):
        kind = next(kind for known, kind in _KINDS if isinstance(error, known))
        text = str(error)
    # Half a surrogate pair (the name of a file, say) could not be sent.
    return calls.NotRead(kind=kind, message=text.encode("utf-8", "replace").decode())


def checked(given: object) -> Abilities:
    """The abilities that a plugin gave its model; no more windows in one call than can be sent.

    Raises:
        ProviderError: they make no sense; the message names the attribute.
    """
    if not isinstance(given, Abilities):
        raise ProviderError(f"the model's abilities must be asrd.Abilities, not {given!r:.100}")
    if not isinstance(given.can_abort, bool):
        raise ProviderError(_wrong("can_abort", "True or False", given.can_abort))
    max_batch = min(MOST_WINDOWS, _count("max_batch", given.max_batch))
    feed_s = None if given.feed_s is None else _feed_s(given.feed_s)
    if feed_s is not None and max_batch != 1:
        raise ProviderError(_wrong("max_batch", "1 where feed_s is set", max_batch))
    return Abilities(
        max_batch=max_batch,
        partial_contexts_s=_contexts("partial_contexts_s", given.partial_contexts_s),
        final_contexts_s=_contexts("final_contexts_s", given.final_contexts_s),
        decodes_at_once=_count("decodes_at_once", given.decodes_at_once),
        can_abort=given.can_abort,
        feed_s=feed_s,
    )


def _utterances(model: Model, abilities: Abilities) -> Utterances | None:
    """What a streaming model has open; None for one that reads windows.

    Raises:
        ProviderError: it is half the one and half the other, or cannot have so many readers open
            as it reads at once; the message names the attribute.
    """
    if isinstance(model, StreamingModel) != (abilities.feed_s is not None):
        wanted = "set where the model is an asrd.StreamingModel, and None where it is not"
        raise ProviderError(_wrong("feed_s", wanted, abilities.feed_s))
    if not isinstance(model, StreamingModel):
        return None
    fewest, most_readers = abilities.decodes_at_once, model.most_readers
    if type(most_readers) is not int or not fewest <= most_readers <= MOST:
        raise ProviderError(
            f"the model's most_readers must be a whole number from {fewest}, its decodes_at_once, "
            f"to {MOST}, not {most_readers!r:.100}"
        )
    return Utterances(model)


def _wrong(name: str, wanted: str, given: object) -> str:
    return f"the model's abilities.{name} must be {wanted}, not {given!r:.100}"


def _count(name: str, given: object) -> int:
    if type(given) is not int or not 1 <= given <= MOST:
        raise ProviderError(_wrong(name, f"a whole number from 1 to {MOST}", given))
    return given


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def _feed_s(given: float) -> float:
    if not _is_number(given) or not 0 < given <= LONGEST_WINDOW_S:
        wanted = f"None or seconds, more than 0 and at most {LONGEST_WINDOW_S:g}"
        raise ProviderError(_wrong("feed_s", wanted, given))
    return float(given)


def _contexts(name: str, given: object) -> tuple[float, ...]:
    wanted = "a tuple of seconds, in ascending order"
    if not isinstance(given, tuple | list) or not given:
        raise ProviderError(_wrong(name, wanted, given))
    contexts_s = []
    before_s = 0.0
    for context_s in given:
        if not _is_number(context_s) or not before_s < context_s < math.inf:
            raise ProviderError(_wrong(name, wanted, given))
        contexts_s.append(before_s := float(context_s))
    return tuple(contexts_s)


class Engine:
    """A model that reads for a worker. Raises ProviderError for senseless abilities."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.abilities = checked(model.abilities)
        self._utterances = _utterances(model, self.abilities)
        self._has_complained = False

    def forget(self, utterance: int) -> None:
        """Nobody goes on with an utterance of a streaming model, if it is known here."""
        if self._utterances is not None:
            self._utterances.forget(utterance)

    def read(
        self, items: Sequence[calls.Item], keep_going: Callable[[], bool]
    ) -> list[calls.Read | calls.NotRead]:
        """What becomes of each window, or part of an utterance, in order.

        Raises:
            DecodeCancelled: nobody wants them any more, as the model has seen, or was seen between
                two calls to it.
        """
        requests = [_request(item, keep_going) for item in items]
        most = self.abilities.max_batch
        outcomes: list[calls.Read | calls.NotRead] = []
        for begin in range(0, len(requests), most):
            some = requests[begin : begin + most]
            feedings = [item.feeding for item in items[begin : begin + most]]
            if outcomes:
                _ask(keep_going)
            together = self._read_together(some) if len(some) > 1 else None
            outcomes += together or self._read_one_by_one(some, feedings)
        return outcomes

    def _read_together(
        self, requests: Sequence[DecodeRequest]
    ) -> list[calls.Read | calls.NotRead] | None:
        """What becomes of each window; None where the model cannot read these in one call."""
        try:
            found = list(self.model.decode_batch(requests))
            if len(found) != len(requests):
                raise ValueError(f"it answered {len(found)} windows of {len(requests)}")
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            self._complain(_blame_for(requests[0], error).message, len(requests))
            return None
        outcomes: list[calls.Read | calls.NotRead] = []
        for request, each in zip(requests, found, strict=True):
            try:
                told = (
                    _blame_for(request, each) if isinstance(each, ProviderError) else read_of(each)
                )
                outcomes.append(told)
            except DecodeCancelled:
                raise
            except Exception as error:  # noqa: BLE001 - a stranger's object may raise anything
                outcomes.append(blame(error))
        return outcomes

    def _read_one_by_one(
        self, requests: Sequence[DecodeRequest], feedings: Sequence[calls.Feeding | None]
    ) -> list[calls.Read | calls.NotRead]:
        """What becomes of each. Where there are several, the model has worked on them already."""
        outcomes: list[calls.Read | calls.NotRead] = []
        for request, feeding in zip(requests, feedings, strict=True):
            if len(requests) > 1:
                _ask(request.options.keep_going)
            try:
                outcomes.append(self._read_one(request, feeding))
            except Forgotten as error:
                outcomes.append(calls.NotRead(kind="forgotten", message=str(error)))
            except Exception as error:  # noqa: BLE001 - an engine may raise anything
                outcomes.append(_blame_for(request, error))
        return outcomes

    def _read_one(self, request: DecodeRequest, feeding: calls.Feeding | None) -> calls.Read:
        """Raises what the model raises, and Forgotten."""
        if self._utterances is None:
            if feeding is not None:
                raise ValueError("a model of whole windows was given part of an utterance")
            return read_of(self.model.decode(request.audio, request.options))
        if feeding is None:
            return self._utterances.read_window(request)
        return self._utterances.read(feeding, request)

    def _complain(self, problem: str, count: int) -> None:
        """Nothing is lost by it but time, so whoever looks for that time has to find this."""
        if not self._has_complained:
            self._has_complained = True
            sys.stderr.write(
                f"asrd worker: {count} windows could not be read in one call, so they are read one "
                f"by one: {problem} (further such calls are not mentioned)\n"
            )


def _request(item: calls.Item, keep_going: Callable[[], bool]) -> DecodeRequest:
    options = DecodeOptions(
        language=item.language,
        task=item.task,
        words=item.words,
        prompt=item.prompt,
        is_partial=item.is_partial,
        keep_going=keep_going,
    )
    return DecodeRequest(audio=np.frombuffer(item.audio, np.float32), options=options)


def _ask(keep_going: Callable[[], bool]) -> None:
    """Raises DecodeCancelled where nobody wants the windows any more."""
    if not keep_going():
        raise DecodeCancelled("nobody wanted it any more")


def _blame_for(request: DecodeRequest, error: Exception) -> calls.NotRead:
    """Whose fault it is that a window was not read.

    Who gives up what is wanted is at fault: it would be given the window again, and again.
    Raises DecodeCancelled for what nobody wants.
    """
    told = blame(error)
    if told.kind != "cancelled":
        return told
    if not request.options.keep_going():
        raise error
    text = f"it gave up a window that was wanted: {told.message}"
    return calls.NotRead(kind="provider", message=text)
