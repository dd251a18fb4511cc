"""Calls for workers, and workers that are ended again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np

from asrd.choices import Setting, WarmUp
from asrd.config import Supervision
from asrd.providers import calls
from asrd.providers.resident import Resident
from asrd.providers.supervisor import WorkerProcess
from support.unruly import MARK
from support.waiting import PATIENCE_S

Make = Callable[[int], calls.AnyCall]

UNRULY = "support.unruly"

QUICK = Supervision(first_pause_s=0.001)
"""Backing off is tested by its formula; elsewhere nobody waits for it."""


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in a loop of its own, for no longer than `PATIENCE_S`."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


def load(plugin: str, provider: str, model: str, **settings: Setting) -> Make:
    return lambda call_id: calls.LoadModel(
        id=call_id, plugin=plugin, provider=provider, model=model, settings=settings
    )


def unwarmed(make: Make) -> Make:
    """The same load without its warm-up."""

    def make_cold(call_id: int) -> calls.AnyCall:
        call = make(call_id)
        assert isinstance(call, calls.LoadModel)
        return msgspec.structs.replace(call, warm_up=WarmUp.NONE)

    return make_cold


def load_unruly(model: str = "fine", **settings: Setting) -> Make:
    return load(UNRULY, "unruly", model, **settings)


def item(
    samples: int = 1600,
    *,
    is_marked: bool = False,
    language: str | None = None,
    prompt: str | None = None,
    feeding: calls.Feeding | None = None,
) -> calls.Item:
    """A window of quiet audio, which `is_marked` has the unruly plugin misbehave at.

    What the able plugin does with it, the `prompt` says. `feeding` is for the attentive plugin.
    """
    audio = np.full(samples, 0.25, np.float32)
    if is_marked:
        audio[0] = MARK
    return calls.Item(
        audio=audio.tobytes(),
        language=language,
        task="transcribe",
        words=False,
        prompt=prompt,
        is_partial=False,
        feeding=feeding,
    )


def decode(
    samples: int = 1600,
    *,
    is_marked: bool = False,
    language: str | None = None,
    prompt: str | None = None,
) -> Make:
    """Decode one such window."""
    return decode_all(item(samples, is_marked=is_marked, language=language, prompt=prompt))


def decode_all(*items: calls.Item) -> Make:
    """Decode windows in one call."""
    return lambda call_id: calls.Decode(id=call_id, items=list(items))


def part(
    utterance: int,
    samples: int = 1600,
    *,
    is_first: bool = False,
    is_last: bool = False,
    prompt: str | None = None,
) -> calls.Item:
    """Part of an utterance, for a streaming model."""
    feeding = calls.Feeding(utterance=utterance, is_first=is_first, is_last=is_last)
    return item(samples, prompt=prompt, feeding=feeding)


def load_attentive(**settings: Setting) -> Make:
    return load("support.attentive", "attentive", "attentive", **settings)


def load_able(**settings: Setting) -> Make:
    return load("support.able", "able", "able", **settings)


def texts(answer: calls.AnyAnswer | None) -> list[str]:
    """What was read of each window; for one that was not, whose fault it is, with a `!`."""
    assert isinstance(answer, calls.Decoded), answer
    return [
        outcome.hypothesis.text if isinstance(outcome, calls.Read) else f"!{outcome.kind}"
        for outcome in answer.outcomes
    ]


def only(answer: calls.AnyAnswer | None) -> calls.Read | calls.NotRead:
    """What became of the one window of a decode."""
    assert isinstance(answer, calls.Decoded), answer
    (outcome,) = answer.outcomes
    return outcome


@asynccontextmanager
async def worker_process(make: Make | None = None) -> AsyncIterator[WorkerProcess]:
    """A worker, loaded with what `make` says."""
    worker = await WorkerProcess.start("under test")
    try:
        if make is not None:
            await worker.call(make)
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def resident(
    make: Make,
    on_change: Callable[[], None] = lambda: None,
    *,
    rule: Supervision = QUICK,
    **more: Any,
) -> AsyncIterator[Resident]:
    """A resident that nobody has asked for yet."""
    made = Resident("under test", make, on_change, rule=rule, **more)
    try:
        yield made
    finally:
        await made.stop()
