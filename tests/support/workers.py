"""Calls for workers, and workers that are ended again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from asrd.config import Setting
from asrd.providers import calls
from asrd.providers.resident import Resident
from asrd.providers.supervisor import WorkerProcess
from support.unruly import MARK

Make = Callable[[int], calls.AnyCall]

UNRULY = "support.unruly"


def load(plugin: str, provider: str, model: str, **settings: Setting) -> Make:
    return lambda call_id: calls.LoadModel(
        id=call_id, plugin=plugin, provider=provider, model=model, settings=settings
    )


def load_unruly(model: str = "fine", **settings: Setting) -> Make:
    return load(UNRULY, "unruly", model, **settings)


def decode(samples: int = 1600, *, is_marked: bool = False) -> Make:
    """Decode quiet audio, which `is_marked` has the unruly plugin misbehave at."""
    audio = np.full(samples, 0.25, np.float32)
    if is_marked:
        audio[0] = MARK
    return lambda call_id: calls.Decode(
        id=call_id,
        audio=audio.tobytes(),
        language=None,
        task="transcribe",
        words=False,
        prompt=None,
        is_partial=False,
    )


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
    make: Make, on_change: Callable[[], None] = lambda: None
) -> AsyncIterator[Resident]:
    """A resident that nobody has asked for yet."""
    made = Resident("under test", make, on_change)
    try:
        yield made
    finally:
        await made.stop()
