"""The daemon put together, started, and brought to its end."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from asrd.config import Config
from asrd.errors import StartupError
from asrd.providers.registry import Registry, discover
from asrd.server.connections import Door, SocketConnection
from asrd.server.hub import Hub
from asrd.server.listeners import BACKLOG, bound_socket, inherited_socket
from asrd.server.monotonic import MonotonicClock
from asrd.server.notify import notify
from asrd.server.peer import Peer, PeerChannel
from asrd.server.report import Reporter
from asrd.server.sessions import SessionStore
from asrd.server.startup import load_first, settled
from asrd.server.stdio import StdioChannel, take_stdout
from asrd.version import __version__

log = structlog.get_logger()

EX_OK = 0
EX_DATAERR = 65
EX_IOERR = 74

CHECK_EVERY_S = 0.5
LAST_WORDS_S = 1.0
"""After a drain: how long connections may take to be sent their last frames."""


class Daemon:
    """Everything that one running daemon owns."""

    def __init__(self, config: Config, registry: Registry) -> None:
        clock = MonotonicClock()
        self.config = config
        self.hub = Hub(config, registry, clock)
        self.sessions = SessionStore(self.hub, config.limits, clock)
        self.reporter = Reporter(self.hub)
        self.door = Door(
            self.make_peer,
            config.limits.max_connections,
            lambda code: self.hub.errors.update([code]),
        )
        self.asked_to_end = asyncio.Event()
        self.must_end_now = asyncio.Event()
        self.is_serving = asyncio.Event()
        self.failure: StartupError | None = None
        self._stdio_peer: Peer | None = None

    def make_peer(self, channel: PeerChannel, uid: int) -> Peer:
        """A peer for a new connection."""
        return Peer(channel, uid=uid, hub=self.hub, sessions=self.sessions, reporter=self.reporter)

    def make_stdio_peer(self, channel: PeerChannel) -> Peer:
        """The one peer of a daemon on stdio."""
        self._stdio_peer = self.make_peer(channel, os.geteuid())
        return self._stdio_peer

    @property
    def peers(self) -> list[Peer]:
        """Every connected peer."""
        return self.door.peers + ([self._stdio_peer] if self._stdio_peer is not None else [])

    async def load_first(self) -> None:
        """Load what is loaded at the start; the daemon ends when what is required does not."""
        # Not before: two workers that start would take the core's time from its first answers.
        await self.is_serving.wait()
        try:
            await load_first(self.hub)
        except StartupError as error:
            log.error("cannot_start", problem=str(error))
            self.failure = error
            self.asked_to_end.set()
            self.must_end_now.set()
        else:
            notify("READY=1")
            log.info("started")

    def signalled(self) -> None:
        """SIGTERM or SIGINT: the first drains, the second ends at once."""
        if self.asked_to_end.is_set():
            self.must_end_now.set()
        self.asked_to_end.set()

    async def watch(self) -> None:
        """Look after everything that only time tells."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            checks = [peer.check for peer in self.peers]
            for check in (*checks, self.sessions.expire, self.hub.check):
                try:
                    check()
                except Exception:  # a bug, whichever: the others are looked after all the same
                    log.exception("check_failed")

    async def drain(self) -> None:
        """Finish every stream within the drain timeout, then say goodbye."""
        self.hub.is_draining = True
        log.info("draining", streams=len(self.hub.all_streams))
        for served in self.hub.all_streams:
            served.stream.drain()
            self.hub.advance(served)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.limits.drain_timeout_s):
                await self.hub.no_streams.wait()
        for served in self.hub.all_streams:
            log.warning("stream_cut_off", stream=served.asked.stream)
            served.stream.cancel("shutdown")
            self.hub.advance(served)
        for peer in self.peers:
            peer.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.door.empty.wait()


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    """A daemon with its signals, its timer and its first models loading.

    Raises:
        StartupError: the configuration makes no sense, or what is required could not be loaded.
    """
    registry = discover()
    daemon = Daemon(settled(config, registry), registry)
    for name, reason in daemon.hub.registry.broken.items():
        log.warning("plugin_broken", plugin=name, problem=reason)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.signalled)
    daemon.hub.tasks.start(daemon.watch())
    daemon.hub.tasks.start(daemon.load_first())
    # What exists now lives as long as the daemon; the collector need not look at it again.
    gc.freeze()
    gc.enable()
    try:
        yield daemon
    finally:
        await daemon.hub.stop()
        log.info("ended")
    if daemon.failure is not None:
        raise daemon.failure


async def _until_ended(daemon: Daemon, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`; a second signal cuts it short."""
    task = asyncio.ensure_future(work())
    now = asyncio.ensure_future(daemon.must_end_now.wait())
    await asyncio.wait((task, now), return_when=asyncio.FIRST_COMPLETED)
    for future in (task, now):
        future.cancel()
        with suppress(asyncio.CancelledError):
            await future


async def _serve(config: Config, socket_path: Path) -> int:
    inherited = inherited_socket()
    if inherited is not None:
        async with running(config) as daemon:
            with inherited:
                await _listen(daemon, inherited)
        return EX_OK
    with bound_socket(socket_path) as listener:
        async with running(config) as daemon:
            await _listen(daemon, listener)
    return EX_OK


async def _listen(daemon: Daemon, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        lambda: SocketConnection(daemon.door), sock=listener, backlog=BACKLOG
    )
    daemon.is_serving.set()
    log.info("listening", version=__version__, socket=listener.getsockname(), pid=os.getpid())
    await daemon.asked_to_end.wait()
    notify("STOPPING=1")
    server.close()
    await _until_ended(daemon, daemon.drain)


async def _serve_stdio(config: Config, write_fd: int) -> int:
    async with running(config) as daemon:
        channel = StdioChannel(0, write_fd)
        peer = daemon.make_stdio_peer(channel)
        channel.start(peer)
        daemon.is_serving.set()
        log.info("serving_stdio", version=__version__, pid=os.getpid())
        asked = asyncio.ensure_future(daemon.asked_to_end.wait())
        ended = asyncio.ensure_future(channel.ended.wait())
        await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not ended.done():
            await _until_ended(daemon, daemon.drain)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended, LAST_WORDS_S)
    if channel.failed is not None:
        log.error("stdout_failed", problem=str(channel.failed))
        return EX_IOERR
    return EX_DATAERR if channel.was_frame_cut or peer.was_refused else EX_OK


def serve(config: Config, *, socket_path: Path) -> int:
    """Run the daemon on a Unix socket until a signal ends it; returns the exit code.

    Raises:
        StartupError: it cannot start, and what to do.
    """
    return asyncio.run(_serve(config, socket_path))


def serve_stdio(config: Config) -> int:
    """Run the daemon on stdin and stdout until either ends; returns the exit code.

    Raises:
        StartupError: it cannot start, and what to do.
    """
    write_fd = take_stdout()
    return asyncio.run(_serve_stdio(config, write_fd))
