"""A plugin whose model hears bit by bit, and can be told to misbehave.

Settings become its abilities: `feed_s`, `max_batch`, `decodes_at_once`, `most_readers`. The text of
an utterance is the sizes of the pieces that its reader was fed, and a full stop once it is
finished. The prompt of an utterance says what its reader does amiss, and when: `feed:raise`,
`finish:refuse`, `close:raise`, `begin:raise`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import ClassVar, NoReturn, cast

import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    Boundary,
    DecodeCancelled,
    DecodeOptions,
    Hypothesis,
    ModelStatus,
    Provider,
    ProviderError,
    Register,
    RequestUnsupported,
    Setting,
    StreamingModel,
    UtteranceReader,
    hookimpl,
)

MEETING_S = 15.0
"""How long a reader waits for another one beside it."""

_meeting = threading.Barrier(2)

KeepGoing = Callable[[], bool]


def fail(_: KeepGoing) -> NoReturn:
    raise ProviderError("its ears are full")


def refuse(_: KeepGoing) -> NoReturn:
    raise RequestUnsupported("this cannot be heard")


def crash(_: KeepGoing) -> NoReturn:
    raise RuntimeError("broken inside")


def give_up(_: KeepGoing) -> NoReturn:
    raise DecodeCancelled("had enough")


def answer_nonsense(_: KeepGoing) -> Hypothesis:
    return Hypothesis(text="short", boundaries=(Boundary(characters=6, at=0.1),))


def meet(_: KeepGoing) -> None:
    """Wait until another thread reads too."""
    _meeting.wait(MEETING_S)


def ask(keep_going: KeepGoing) -> None:
    """Get further, and go on whatever is said."""
    keep_going()


def work_on(keep_going: KeepGoing) -> NoReturn:
    """Get further until nobody wants it any more."""
    while keep_going():
        time.sleep(0.005)
    raise DecodeCancelled("nobody wants it")


DEEDS: dict[str, Callable[[KeepGoing], Hypothesis | None]] = {
    "fail": fail,
    "refuse": refuse,
    "raise": crash,
    "give_up": give_up,
    "nonsense": answer_nonsense,
    "meet": meet,
    "ask": ask,
    "work_on": work_on,
}


class AttentiveReader(UtteranceReader):
    """Remembers how it was used."""

    def __init__(self, prompt: str) -> None:
        self.pieces: list[int] = []
        self.is_finished = False
        self.closed = 0
        self._when, _, self._deed = prompt.partition(":")

    def feed(self, audio: npt.NDArray[np.float32], keep_going: KeepGoing) -> Hypothesis:
        self.pieces.append(audio.size)
        return self._do("feed", keep_going) or self._heard()

    def finish(self, keep_going: KeepGoing) -> Hypothesis:
        self.is_finished = True
        return self._do("finish", keep_going) or self._heard()

    def close(self) -> None:
        self.closed += 1
        self._do("close", lambda: True)

    def _do(self, what: str, keep_going: KeepGoing) -> Hypothesis | None:
        return DEEDS[self._deed](keep_going) if what == self._when else None

    def _heard(self) -> Hypothesis:
        text = " ".join(map(str, self.pieces)) + "." * self.is_finished
        return Hypothesis(text=text, stable=len(text))


class AttentiveModel(StreamingModel):
    """Keeps the readers that it has begun, so that tests can look at them."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self.abilities = Abilities(
            feed_s=cast("float", settings.get("feed_s", 0.5)),
            max_batch=int(settings.get("max_batch", 1)),
            decodes_at_once=int(settings.get("decodes_at_once", 1)),
        )
        if "most_readers" in settings:
            self.most_readers = cast("int", settings["most_readers"])
        self.readers: list[AttentiveReader] = []

    def begin(self, options: DecodeOptions) -> AttentiveReader:
        prompt = options.prompt or ""
        if prompt == "begin:nonsense":
            return cast("AttentiveReader", "a reader")
        if prompt.startswith("begin:"):
            DEEDS[prompt.removeprefix("begin:")](options.keep_going)
        self.readers.append(AttentiveReader(prompt))
        return self.readers[-1]


class AttentiveProvider(Provider):
    """Has one model, `attentive`."""

    name: ClassVar[str] = "attentive"
    summary: ClassVar[str] = "Hears bit by bit, for tests"
    default_model: ClassVar[str] = "attentive"

    def status(self, model: str) -> ModelStatus:
        return ModelStatus(model=model, is_present=True)

    def load(self, model: str, settings: Mapping[str, Setting]) -> AttentiveModel:
        return AttentiveModel(settings)


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(AttentiveProvider())
