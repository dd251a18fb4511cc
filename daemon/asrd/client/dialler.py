"""How a client comes to a connection, the first time and every time it breaks."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from asrd.client.errors import ConnectionLost, Unreachable
from asrd.client.link import READ_BYTES, Link
from asrd.wire.messages import Hello, Welcome

SPAWN_TIMEOUT_S = 60.0
"""Until a daemon of one's own answers: a slow disk with a cold cache, not its model's load."""

END_TIMEOUT_S = 5.0
KEPT_STDERR_BYTES = 8192

UNSEEN = ("--monitor=none", "--no-trace")
"""Whatever is configured: the address belongs to the daemon that runs all day, and a collector that
is not there would hold up every end."""

# -P: a file in the working directory must not stand in for a module of ours.
OWN_DAEMON = (sys.executable, "-P", "-m", "asrd", "serve", "--stdio", *UNSEEN)


class Dialler(Protocol):
    """Makes connections to a daemon."""

    async def dial(self, hello: Hello) -> tuple[Link, Welcome]:
        """Connect and say hello. Raises Unreachable, Refused."""

    async def explain(self, lost: ConnectionLost) -> ConnectionLost:
        """What became of the connection, where more is known than that it broke."""

    async def end(self) -> None:
        """There will be no more connections."""


class SocketDialler:
    """The daemon that listens at `path`, whichever that is at the time."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s

    async def dial(self, hello: Hello) -> tuple[Link, Welcome]:
        """Connect and say hello. Raises Unreachable, Refused."""
        try:
            async with asyncio.timeout(self._timeout_s):
                link = await Link.open_unix(self._path)
                return link, await _greeted(link, hello)
        except TimeoutError:
            raise Unreachable(
                f"the daemon at {self._path} did not answer in {self._timeout_s:g} s"
            ) from None
        except ConnectionLost as error:
            raise Unreachable(f"what listens at {self._path} gave no answer ({error})") from error

    async def explain(self, lost: ConnectionLost) -> ConnectionLost:
        """What became of the connection: no more is known."""
        return lost

    async def end(self) -> None:
        """There is nothing to give back."""


class OwnDialler:
    """A daemon that is started for each connection, and ended with it.

    `is_stderr_shown`: its log goes to our stderr; else its last lines are kept for the error.
    """

    def __init__(self, command: Sequence[str], *, is_stderr_shown: bool) -> None:
        self._command = command
        self._is_stderr_shown = is_stderr_shown
        self._daemon: OwnDaemon | None = None

    async def dial(self, hello: Hello) -> tuple[Link, Welcome]:
        """Start a daemon and say hello to it. Raises Unreachable, Refused."""
        await self.end()
        self._daemon = daemon = await OwnDaemon.start(
            self._command, is_stderr_shown=self._is_stderr_shown
        )
        try:
            async with asyncio.timeout(SPAWN_TIMEOUT_S):
                return daemon.link, await _greeted(daemon.link, hello)
        except TimeoutError:
            raise Unreachable(f"the daemon did not start in {SPAWN_TIMEOUT_S:g} s") from None
        except ConnectionLost:
            raise Unreachable(await daemon.epitaph(), await daemon.end()) from None

    async def explain(self, lost: ConnectionLost) -> ConnectionLost:
        """What became of the daemon."""
        if self._daemon is None:
            return lost
        return ConnectionLost(await self._daemon.epitaph(), lost.code, lost.retry_after_ms)

    async def end(self) -> None:
        """End the daemon that runs, if one does."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            await daemon.end()


class OwnDaemon:
    """A daemon in a child process that speaks over its stdin and stdout.

    It has a session of its own, so a Ctrl-C at our terminal reaches only us; if we die without a
    word, the end of its stdin ends it.
    """

    def __init__(self, process: asyncio.subprocess.Process, link: Link) -> None:
        self.link = link
        self._process = process
        self._stderr = bytearray()
        self._listener = asyncio.create_task(self._keep_stderr(), name="asrd-daemon-stderr")

    @classmethod
    async def start(cls, command: Sequence[str], *, is_stderr_shown: bool) -> "OwnDaemon":
        """Start `command`. Raises Unreachable."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if is_stderr_shown else asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=READ_BYTES,
            )
        except OSError as error:
            raise Unreachable(f"the daemon cannot be started: {error}") from error
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101
        return cls(process, Link(process.stdout, process.stdin))

    async def end(self) -> int:
        """Close its input, wait for it, kill it when it takes too long; returns its exit code."""
        self.link.end_input()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._run_out()
        except TimeoutError:
            pass
        finally:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                    os.killpg(self._process.pid, signal.SIGKILL)  # its workers too
                await self._run_out()
            self._listener.cancel()
            await asyncio.wait([self._listener])
            await self.link.close()
        return self._process.returncode or 0

    async def epitaph(self) -> str:
        """What became of a daemon that ended by itself, in one line."""
        code = await self.end()
        words = self._stderr.decode(errors="replace").strip().splitlines() or [""]
        own = [line.removeprefix("asrd: ") for line in words if line.startswith("asrd: ")]
        if own:
            return own[-1]
        end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"the daemon {end} ({words[-1][:300]})" if words[-1] else f"the daemon {end}"

    async def _run_out(self) -> None:
        stdout = self._process.stdout
        while stdout is not None and await stdout.read(READ_BYTES):
            pass  # so that it cannot hang in a write to us
        await self._process.wait()
        await asyncio.wait([self._listener])

    async def _keep_stderr(self) -> None:
        stderr = self._process.stderr
        while stderr is not None and (data := await stderr.read(KEPT_STDERR_BYTES)):
            self._stderr += data
            del self._stderr[:-KEPT_STDERR_BYTES]


async def _greeted(link: Link, hello: Hello) -> Welcome:
    try:
        return await link.greet(hello)
    except BaseException:
        await link.close()
        raise
