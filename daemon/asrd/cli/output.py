"""Standard output and files that results go to.

A failed write is an exit code (74), never a traceback, and a reader that has stopped reading must
not stop the event loop: while `| less` waits for a key, the daemon's answers are still taken.
"""

import asyncio
import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from asrd.cli.exits import CommandError, Exit
from asrd.cli.printing import failed

PIECE_BYTES = 4096
"""A pipe that says it can be written to takes this much without waiting (POSIX's PIPE_BUF)."""


class Output:
    """Text to a descriptor, written without blocking the loop."""

    def __init__(self, descriptor: int, name: str, *, is_owned: bool) -> None:
        self.name = name
        self._descriptor = descriptor
        self._is_owned = is_owned
        # Regular files are always ready, and the loop's selector refuses them.
        self._may_block = not stat.S_ISREG(os.fstat(descriptor).st_mode)

    @classmethod
    def standard(cls) -> Self:
        """Standard output. Raises CommandError where it is closed."""
        if sys.stdout is None:
            raise CommandError("standard output is closed", Exit.IO, "give it a place to write to")
        return cls(1, "standard output", is_owned=False)

    @classmethod
    def to_file(cls, path: Path) -> Self:
        """A file, emptied. Raises CommandError where it cannot be written."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise CommandError(
                f"cannot write {path}: {error.strerror}", Exit.IO, "choose another --output"
            ) from error
        return cls(descriptor, str(path), is_owned=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_owned:
            os.close(self._descriptor)

    async def write(self, text: str) -> None:
        """Write all of `text`.

        Raises:
            OutputClosed: its reader has gone.
            CommandError: it cannot be written.
        """
        rest = memoryview(text.encode(errors="replace"))
        while rest:
            try:
                if self._may_block:
                    await self._until_writable()
                rest = rest[os.write(self._descriptor, rest[:PIECE_BYTES]) :]
            except BlockingIOError:
                continue  # someone who shares it was quicker
            except OSError as error:
                raise failed(error, self.name) from error

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_writer(self._descriptor, ready.set)
        except PermissionError:  # /dev/null and its like: never blocks
            self._may_block = False
            return
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._descriptor)
