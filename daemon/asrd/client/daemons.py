"""The two ways to a daemon: the one that runs, and one of one's own."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from asrd.client.client import Client
from asrd.client.errors import ConnectionLost, Unreachable
from asrd.client.link import READ_BYTES, Link
from asrd.wire.messages import Hello

CONNECT_TIMEOUT_S = 5.0
SPAWN_TIMEOUT_S = 60.0
"""Until a daemon of one's own answers: a slow disk with a cold cache, not its model's load."""

END_TIMEOUT_S = 5.0
KEPT_STDERR_BYTES = 8192

# -P: a file in the working directory must not stand in for a module of ours.
OWN_DAEMON = (sys.executable, "-P", "-m", "asrd", "serve", "--stdio")


@contextlib.asynccontextmanager
async def connect(
    path: Path, *, name: str = "asrd-python", timeout_s: float = CONNECT_TIMEOUT_S
) -> AsyncIterator[Client]:
    """A client of the daemon that listens at `path`.

    Raises:
        Unreachable: nobody listens there, or did not answer in `timeout_s`.
        Refused: the daemon will not have us, and says why.
    """
    try:
        async with asyncio.timeout(timeout_s):
            link = await Link.open_unix(path)
            client = await _greeted(link, name)
    except TimeoutError:
        raise Unreachable(f"the daemon at {path} did not answer in {timeout_s:g} s") from None
    except ConnectionLost as error:
        raise Unreachable(f"what listens at {path} gave no answer ({error})") from error
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def spawn(
    arguments: Sequence[str] = (),
    *,
    name: str = "asrd-python",
    command: Sequence[str] = OWN_DAEMON,
    is_stderr_shown: bool = False,
) -> AsyncIterator[Client]:
    """A client of a daemon started here, which ends with the block.

    Args:
        arguments: for `asrd serve --stdio`.
        name: told to the daemon.
        command: what to start, where it is not this installation.
        is_stderr_shown: its log goes to our stderr; else its last lines are kept for the error.

    Raises:
        Unreachable: it ended before it answered; `exit_code` is its own.
        ConnectionLost: it ended before we did.
    """
    daemon = await OwnDaemon.start([*command, *arguments], is_stderr_shown=is_stderr_shown)
    try:
        try:
            async with asyncio.timeout(SPAWN_TIMEOUT_S):
                client = await _greeted(daemon.link, name)
        except TimeoutError:
            raise Unreachable(f"the daemon did not start in {SPAWN_TIMEOUT_S:g} s") from None
        except ConnectionLost:
            raise Unreachable(await daemon.epitaph(), await daemon.end()) from None
        try:
            yield client
        except ConnectionLost as error:
            raise ConnectionLost(await daemon.epitaph(), error.code) from error
        finally:
            await client.close()
    finally:
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


async def _greeted(link: Link, name: str) -> Client:
    try:
        return Client(link, await link.greet(Hello(client=name)))
    except BaseException:
        await link.close()
        raise
