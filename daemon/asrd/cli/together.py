"""Work that goes on side by side."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any


async def together(jobs: Sequence[Coroutine[Any, Any, int]]) -> list[int]:
    """Run them side by side, all to the end or to the first error, which ends the others."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
