"""A plugin whose model can be told to read several windows in one call, or side by side.

Settings become its abilities: `max_batch`, `decodes_at_once`, and `nonsense`, the name of an
attribute that is to make none. A window's prompt says what is done with it (`DEEDS`), and
`batch_deed` what is done with a batch. The text of a window says how many samples it had, and
with how many others it was read.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, cast

import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    DecodeCancelled,
    DecodeOptions,
    DecodeRequest,
    Hypothesis,
    Model,
    ModelStatus,
    Provider,
    ProviderError,
    Register,
    RequestUnsupported,
    Setting,
    hookimpl,
)

MEETING_S = 15.0
"""How long a decode waits for another one beside it."""

NONSENSE: dict[str, Any] = {
    "max_batch": {"max_batch": 0},
    "decodes_at_once": {"decodes_at_once": True},
    "partial_contexts_s": {"partial_contexts_s": ()},
    "final_contexts_s": {"final_contexts_s": (30.0, 4.0)},
    "can_abort": {"can_abort": "yes"},
    "feed_s": {"feed_s": 0.5},  # which is for a StreamingModel
}

_meeting = threading.Barrier(2)


# ── with one window ───────────────────────────────────────────────────────────────────────────


def fail(_: DecodeOptions) -> NoReturn:
    raise ProviderError("this window is not to be read")


def refuse(_: DecodeOptions) -> NoReturn:
    raise RequestUnsupported("this cannot be done")


def miss_a_package(_: DecodeOptions) -> NoReturn:
    raise ImportError("no module named 'wheel'")


def crash(_: DecodeOptions) -> NoReturn:
    raise RuntimeError("broken \ud800 inside")


def answer_nonsense(_: DecodeOptions) -> Hypothesis:
    return Hypothesis(text=cast("str", ["not", "a", "text"]))


def meet(_: DecodeOptions) -> None:
    """Wait until another thread decodes too."""
    _meeting.wait(MEETING_S)


def work_on(options: DecodeOptions) -> NoReturn:
    """Get further until nobody wants it any more."""
    while options.keep_going():
        time.sleep(0.005)
    raise DecodeCancelled("nobody wants it")


def sleep_for_ever(_: DecodeOptions) -> NoReturn:
    while True:
        time.sleep(600)


def give_up(_: DecodeOptions) -> NoReturn:
    raise DecodeCancelled("had enough")


def end_thread(_: DecodeOptions) -> NoReturn:
    raise SystemExit(0)


DEEDS: dict[str, Callable[[DecodeOptions], Hypothesis | None]] = {
    "fail": fail,
    "refuse": refuse,
    "import": miss_a_package,
    "crash": crash,
    "nonsense": answer_nonsense,
    "meet": meet,
    "work_on": work_on,
    "sleep": sleep_for_ever,
    "give_up": give_up,
    "exit": end_thread,
}


# ── with several ──────────────────────────────────────────────────────────────────────────────


class AbleModel(Model):
    """Reads windows alone and together."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self.calls: list[int] = []
        self.abilities = Abilities(
            **(
                {
                    "max_batch": settings.get("max_batch", 1),
                    "decodes_at_once": settings.get("decodes_at_once", 1),
                    "partial_contexts_s": (4, 30.0),
                }
                | NONSENSE.get(str(settings.get("nonsense", "")), {})
            )
        )
        self._batch_deed = settings.get("batch_deed", "")

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        self.calls.append(1)
        return self._read(audio, options, "alone")

    def decode_batch(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis | ProviderError]:
        self.calls.append(len(requests))
        match self._batch_deed:
            case "not_implemented":
                return list(super().decode_batch(requests))
            case "raise":
                raise RuntimeError("out of memory")
            case "provider_error":
                raise ProviderError("too much at once")
            case "cancel":
                raise DecodeCancelled("nobody wants these")
            case "miscount":
                return [Hypothesis(text="one for all")]
            case "none":
                return cast("list[Hypothesis | ProviderError]", None)
            case _:
                pass
        found: list[Hypothesis | ProviderError] = []
        for request in requests:
            try:
                found.append(self._read(request.audio, request.options, f"of {len(requests)}"))
            except DecodeCancelled:
                raise
            except ProviderError as error:
                found.append(error)
            except Exception as error:  # noqa: BLE001 - which is no answer
                found.append(cast("Hypothesis", error))
        return found

    def _read(self, audio: npt.NDArray[np.float32], options: DecodeOptions, how: str) -> Hypothesis:
        deed = DEEDS.get(options.prompt or "")
        answer = deed(options) if deed else None
        return answer or Hypothesis(text=f"{audio.size} {how}")


class AbleProvider(Provider):
    """Has one model, and gives it one thread for each decode where several run side by side."""

    name: ClassVar[str] = "able"
    summary: ClassVar[str] = "Reads windows together or side by side, for tests"
    default_model: ClassVar[str] = "able"

    def status(self, model: str) -> ModelStatus:
        return ModelStatus(model=model, is_present=True)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        return AbleModel(settings)

    def spread(self, settings: Mapping[str, Setting], decodes: int) -> Mapping[str, Setting]:
        if "bad_at_spread" in settings:
            raise RuntimeError("able by half")
        return {"decodes_at_once": decodes, **settings}


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(AbleProvider())
