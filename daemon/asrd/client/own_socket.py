"""A daemon of one's own on a socket of its own, for who needs more than one connection to it."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from asrd.client.dialler import SPAWN_TIMEOUT_S, UNSEEN, OwnDaemon
from asrd.client.errors import Unreachable
from asrd.client.raw import answers

LOOK_EVERY_S = 0.02

# -P: a file in the working directory must not stand in for a module of ours.
TIED_DAEMON = (sys.executable, "-P", "-m", "asrd.cli.tied", *UNSEEN)


@contextlib.asynccontextmanager
async def own_socket(
    arguments: Sequence[str] = (), *, is_stderr_shown: bool = False
) -> AsyncIterator[Path]:
    """The socket of a daemon started here, which ends with the block.

    Args:
        arguments: for `asrd serve`.
        is_stderr_shown: its log goes to our stderr; else its last lines are kept for the error.

    Raises:
        Unreachable: it ended before it listened; `exit_code` is its own.
    """
    with tempfile.TemporaryDirectory(prefix="asrd-") as folder:
        path = Path(folder) / "s"
        command = [*TIED_DAEMON, "--socket", str(path), *arguments]
        daemon = await OwnDaemon.start(command, is_stderr_shown=is_stderr_shown)
        ended = asyncio.create_task(anext(daemon.link.messages(), None))  # it says nothing there
        try:
            try:
                async with asyncio.timeout(SPAWN_TIMEOUT_S):
                    while not ended.done() and not await answers(path, SPAWN_TIMEOUT_S):
                        await asyncio.wait([ended], timeout=LOOK_EVERY_S)
            except TimeoutError:
                raise Unreachable(f"the daemon did not start in {SPAWN_TIMEOUT_S:g} s") from None
            if ended.done():
                raise Unreachable(await daemon.epitaph(), await daemon.end())
            yield path
        finally:
            ended.cancel()
            await asyncio.wait([ended])
            await daemon.end()
