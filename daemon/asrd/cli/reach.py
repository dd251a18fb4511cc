"""Which daemon a command talks to: the one that runs, else one of its own."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import typer

from asrd.choices import Setting
from asrd.cli.configured import configured_provider
from asrd.cli.exits import CommandError, Exit, is_debugging
from asrd.cli.options import read_settings, write_settings
from asrd.cli.progress import waiting
from asrd.client import Client, Recovery, Unreachable, connect, spawn
from asrd.client.daemons import DEFAULT_RECOVERY
from asrd.paths import default_socket_path
from asrd.version import __version__

Answer = TypeVar("Answer")

QUICKLY_S = 2.0
"""A daemon that lives answers hello within milliseconds, whatever it decodes."""

ANSWER_S = 10.0
"""So long a question is waited on: one that is busy answers within milliseconds, too."""

CLIENT_NAME = f"asrd-cli/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user asked for. Provider and model are for a daemon of one's own to load early."""

    socket: Path | None = None
    provider: str | None = None
    model: str | None = None
    settings: dict[str, dict[str, Setting]] = field(default_factory=dict)


def wanted_daemon(
    socket: Path | None, provider: str | None, model: str | None, option: list[str]
) -> Wanted:
    """What the options of a command ask for. Raises a usage error."""
    settings = read_settings(option, provider or configured_provider()) if option else {}
    if settings and socket is not None:
        raise typer.BadParameter(
            "a provider's settings are for `asrd serve`, not for a daemon that runs already",
            param_hint="--option",
        )
    return Wanted(socket=socket, provider=provider, model=model, settings=settings)


@contextlib.asynccontextmanager
async def reach(wanted: Wanted) -> AsyncIterator[Client]:
    """A client of the running daemon or, where none answers, of one started for this command.

    It recovers from broken connections by itself: audio takes its time, and must not be lost.
    A socket that was named must answer: silence there is an error. Providers' own settings belong
    to the daemon, so a command with such settings always starts its own.

    Raises:
        ClientError: no daemon can be had, or it refuses us.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield await _reached(wanted, stack)


@contextlib.asynccontextmanager
async def running(socket: Path | None) -> AsyncIterator[Client]:
    """A client of the daemon that runs. Raises ClientError; nothing is started.

    A connection that breaks is an error: whoever asks a question wants its answer now.
    """
    path = socket or default_socket_path()
    async with contextlib.AsyncExitStack() as stack:
        with waiting("waiting for the daemon"):
            client = await _running(path, stack, None)
        yield client


async def answered(question: Awaitable[Answer], timeout_s: float = ANSWER_S) -> Answer:
    """The answer to a question that was asked of a daemon. Raises CommandError where none comes."""
    try:
        async with asyncio.timeout(timeout_s):
            return await question
    except TimeoutError:
        raise CommandError(
            f"the daemon does not answer: nothing came for {timeout_s:g} s",
            Exit.UNAVAILABLE,
            "look at its log, or start it again",
        ) from None


async def _reached(wanted: Wanted, stack: contextlib.AsyncExitStack) -> Client:
    if wanted.socket is not None:
        return await _running(wanted.socket, stack, DEFAULT_RECOVERY)
    if not wanted.settings:
        with contextlib.suppress(Unreachable):
            connection = connect(default_socket_path(), name=CLIENT_NAME, timeout_s=QUICKLY_S)
            return await stack.enter_async_context(connection)
    own = spawn(arguments_of(wanted), name=CLIENT_NAME, is_stderr_shown=is_debugging())
    return await stack.enter_async_context(own)


async def _running(
    path: Path, stack: contextlib.AsyncExitStack, recovery: Recovery | None
) -> Client:
    try:
        connection = connect(path, name=CLIENT_NAME, timeout_s=QUICKLY_S, recovery=recovery)
        return await stack.enter_async_context(connection)
    except Unreachable as error:
        where = [] if path == default_socket_path() else ["--socket", str(path)]
        start = shlex.join(["asrd", "serve", *where])
        raise CommandError(str(error), Exit.UNAVAILABLE, f"start one with `{start}`") from error


def arguments_of(wanted: Wanted) -> list[str]:
    """What a daemon of one's own is started with."""
    arguments = [f"--log-level={'debug' if is_debugging() else 'error'}"]
    if wanted.provider is not None:
        arguments.append(f"--provider={wanted.provider}")
    if wanted.model is not None:
        arguments.append(f"--model={wanted.model}")
    return arguments + write_settings(wanted.settings)
