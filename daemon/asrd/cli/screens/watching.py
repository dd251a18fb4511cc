"""The work of `asrd top`: one look at a daemon after the other, on a screen or as lines.

A daemon that goes away is waited for. The screen shows the last look meanwhile; in a pipe, what is
wrong is a line on stderr.
"""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from asrd.cli.exits import Exit, tell
from asrd.cli.output import Output
from asrd.cli.reach import running
from asrd.cli.screens.frame import frame
from asrd.cli.screens.looks import Look, Lost, as_json, look_at
from asrd.cli.screens.stage import Ending, Stage, can_be_taken, glyphs_here
from asrd.cli.signals import die_of
from asrd.cli.tables import PIPED_COLUMNS
from asrd.errors import AsrdError

RETRY_S = 1.0
ANSWER_TIMEOUT_S = 5.0
"""A daemon answers within milliseconds, whatever it decodes."""

PIPED_ROWS = 2000
"""A frame that goes to a file has room for every stream that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was asked for: `count` looks, or None for no end."""

    socket: Path
    interval_s: float
    count: int | None
    is_json: bool


async def watch(wanted: Watch) -> int:
    """Show looks until nobody wants more; returns the exit code.

    Raises:
        AsrdError: no daemon answers at the start, it refuses us, or nothing can be written.
    """
    async with contextlib.aclosing(_looks(wanted)) as looks:
        first = await anext(looks)  # before there is a screen: an error is told on the usual one
        if wanted.is_json or not can_be_taken():
            return await _print(first, looks, wanted)
        with Stage(first) as stage:
            left = None if wanted.count is None else wanted.count - isinstance(first, Look)
            ending = await _until_ended(stage, looks, left)
    if ending.signal is not None:
        die_of(ending.signal)
    return ending.code


async def _looks(wanted: Watch) -> AsyncGenerator[Look | Lost, None]:
    """Looks without end. Raises what `running` does, before the first one."""
    has_seen = False
    while True:
        try:
            async with running(wanted.socket) as client:
                while True:
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        look = await look_at(client, wanted.socket, streams=True)
                    has_seen = True
                    yield look
                    await asyncio.sleep(wanted.interval_s)
        except TimeoutError:
            problem = f"the daemon has not answered for {ANSWER_TIMEOUT_S:g} s"
        except AsrdError as error:
            if not has_seen:
                raise
            problem = str(error)
        yield Lost(problem)
        await asyncio.sleep(RETRY_S)


async def _until_ended(stage: Stage, looks: AsyncIterator[Look | Lost], left: int | None) -> Ending:
    """Show what comes until there were so many looks, or the user or a signal ends it."""
    showing = asyncio.create_task(_show(stage, looks, left), name="asrd-top")
    try:
        return await stage.ended
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _show(stage: Stage, looks: AsyncIterator[Look | Lost], left: int | None) -> None:
    try:
        while left is None or left > 0:
            look = await anext(looks)
            stage.show(look)
            if left is not None and isinstance(look, Look):
                left -= 1
    except Exception as error:  # noqa: BLE001 - whoever waits for the end raises it
        stage.fail(error)
    else:
        stage.end(Exit.OK)


async def _print(first: Look | Lost, looks: AsyncIterator[Look | Lost], wanted: Watch) -> int:
    """Looks as lines: one frame, or JSON without end, unless `count` says otherwise."""
    output = Output.standard()
    left = wanted.count or (None if wanted.is_json else 1)
    look, was_lost = first, False
    while True:
        if isinstance(look, Look):
            await output.write((as_json(look) if wanted.is_json else _as_text(look)) + "\n")
            if left is not None and (left := left - 1) <= 0:
                return int(Exit.OK)
        elif not was_lost:
            tell(f"{look.problem}: trying again every {RETRY_S:g} s")
        was_lost = isinstance(look, Lost)
        look = await anext(looks)


def _as_text(look: Look) -> str:
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else PIPED_COLUMNS
    lines = frame(look, width=width, height=PIPED_ROWS, glyphs=glyphs_here())
    return "\n".join(line.plain.rstrip() for line in lines)
