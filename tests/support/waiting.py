"""Waiting for what another process does: by looking, never by guessing how long it takes."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 20.0
LOOK_EVERY_S = 0.005


def wait_until(look: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first thing that `look` returns and that counts as true."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {patience_s} s in vain: {what}"
        time.sleep(LOOK_EVERY_S)
    return seen


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop run until something is so; whoever calls bounds it by a timeout."""
    while not is_so():  # noqa: ASYNC110 - what is waited for is not of this loop's making
        await asyncio.sleep(0)
