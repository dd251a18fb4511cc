"""The two ways to a daemon: the one that runs, and one of one's own."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from asrd.client.client import Client
from asrd.client.dialler import OWN_DAEMON, Dialler, OwnDialler, SocketDialler
from asrd.client.recovery import Recovery
from asrd.wire.messages import Hello

CONNECT_TIMEOUT_S = 5.0

CLIENT_NAME = "asrd-python"

DEFAULT_RECOVERY = Recovery()


@contextlib.asynccontextmanager
async def connect(
    path: Path,
    *,
    name: str = CLIENT_NAME,
    timeout_s: float = CONNECT_TIMEOUT_S,
    recovery: Recovery | None = DEFAULT_RECOVERY,
) -> AsyncIterator[Client]:
    """A client of the daemon that listens at `path`.

    Args:
        path: of its socket.
        name: told to the daemon.
        timeout_s: until it has answered, each time that a connection is made.
        recovery: how a connection that breaks is brought back; None: not at all. The first
            connection is tried once.

    Raises:
        Unreachable: nobody listens there, or did not answer in `timeout_s`.
        Refused: the daemon will not have us, and says why.
    """
    async with _client(SocketDialler(path, timeout_s), name, recovery) as client:
        yield client


@contextlib.asynccontextmanager
async def spawn(
    arguments: Sequence[str] = (),
    *,
    name: str = CLIENT_NAME,
    command: Sequence[str] = OWN_DAEMON,
    is_stderr_shown: bool = False,
    recovery: Recovery | None = DEFAULT_RECOVERY,
) -> AsyncIterator[Client]:
    """A client of a daemon started here, which ends with the block.

    Args:
        arguments: for `asrd serve --stdio`.
        name: told to the daemon.
        command: what to start, where it is not this installation.
        is_stderr_shown: its log goes to our stderr; else its last lines are kept for the error.
        recovery: how another daemon is started when this one ends by itself; None: not at all.

    Raises:
        Unreachable: it ended before it answered; `exit_code` is its own.
    """
    dialler = OwnDialler([*command, *arguments], is_stderr_shown=is_stderr_shown)
    async with _client(dialler, name, recovery) as client:
        yield client


@contextlib.asynccontextmanager
async def _client(dialler: Dialler, name: str, recovery: Recovery | None) -> AsyncIterator[Client]:
    try:
        link, welcome = await dialler.dial(Hello(client=name))
        client = Client(dialler, link, welcome, name=name, recovery=recovery or Recovery.none())
        try:
            yield client
        finally:
            await client.close()
    finally:
        await dialler.end()
