"""The daemon put together, started, and brought to its end."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import structlog

from asrd.config import Config
from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.providers.registry import Registry, discover
from asrd.server import logs
from asrd.server.acceptor import Acceptor
from asrd.server.admission import admission_of
from asrd.server.connections import Door, SocketConnection
from asrd.server.descriptors import room_for
from asrd.server.ending import STOP_S, Guard, cut_off_rest, drain
from asrd.server.heap import Heap, glibc
from asrd.server.hub import Hub
from asrd.server.listeners import bound_socket, inherited_socket
from asrd.server.monitoring import monitored
from asrd.server.monotonic import LoopWatch, MonotonicClock
from asrd.server.notify import ServiceManager
from asrd.server.outbox import Shelf
from asrd.server.peer import Peer, PeerChannel
from asrd.server.recorder import RecordedPeer, recorder_of
from asrd.server.reload import ReadConfig, Reloader
from asrd.server.report import Reporter
from asrd.server.sessions import SessionStore
from asrd.server.sight import Sight
from asrd.server.signals import Signals
from asrd.server.standstill import Standstill, tell_crashes
from asrd.server.startup import load_first, settled
from asrd.server.status_line import StatusTeller
from asrd.server.stdio import StdioChannel, take_stdout
from asrd.server.tracing import tracing_of
from asrd.server.turns import Turns
from asrd.server.watchdog import LOOK_EVERY_S, watchdog_of
from asrd.version import __version__

log = structlog.get_logger()

GREETING_S = 0.3
"""At the very end: how long those who have just come may take to be told so."""


class Daemon:
    """Everything that one running daemon owns."""

    def __init__(
        self, config: Config, registry: Registry, signals: Signals, guard: Guard, read: ReadConfig
    ) -> None:
        clock = MonotonicClock()
        self.signals = signals
        self.guard = guard
        self.hub = Hub(config, registry, clock)
        self.sessions = SessionStore(self.hub, config.limits, clock)
        self.tracing = tracing_of(config, clock)
        if self.tracing is not None:
            self.hub.watched_by(self.tracing)
        self.reporter = Reporter(self.hub)
        self.recorder = recorder_of(config, clock)
        self.admission = admission_of(config.access)
        self.turns = Turns()
        self.loop = LoopWatch(every_s=LOOK_EVERY_S)
        self.shelf = Shelf(config.limits.outboxes_bytes)
        self.door = Door(
            self.make_peer,
            self.admission,
            room_for(config),
            clock,
            self.note_refusal,
        )
        self.manager = ServiceManager(os.environ)
        self.status = StatusTeller(self.hub, clock, self.manager.status)
        guards_itself = self.manager.watchdog_s is None and config.supervision.watchdog_s
        self.standstill = Standstill(config.supervision.watchdog_s) if guards_itself else None
        self.watchdog = watchdog_of(self.hub.scheduler, self.manager, self.standstill)
        self.reloader = Reloader(read, registry, self.hub, self.sessions, self.door, self.manager)
        signals.on_reload = self.reloader.ask
        signals.on_end = lambda: guard.begin(self.hub.config.limits.drain_timeout_s + STOP_S)
        self.is_serving = asyncio.Event()
        self.failure: StartupError | None = None
        self._stdio_peer: Peer | None = None

    def make_peer(self, channel: PeerChannel, uid: int) -> Peer:
        """A peer for a new connection."""
        recorder = self.recorder
        make = Peer if recorder is None else partial(RecordedPeer, recorder=recorder)
        return make(
            channel,
            uid=uid,
            hub=self.hub,
            sessions=self.sessions,
            reporter=self.reporter,
            turns=self.turns,
            shelf=self.shelf,
        )

    def note_refusal(self, code: str) -> None:
        """A client was turned away before it had a peer."""
        self.hub.errors[code] += 1

    def make_stdio_peer(self, channel: PeerChannel) -> Peer:
        """The one peer of a daemon on stdio."""
        self._stdio_peer = self.make_peer(channel, os.geteuid())
        return self._stdio_peer

    @property
    def peers(self) -> list[Peer]:
        """Every connected peer."""
        return self.door.peers + ([self._stdio_peer] if self._stdio_peer is not None else [])

    def begin_serving(self) -> None:
        """Who connects from now on is answered."""
        self.is_serving.set()
        self.manager.ready()

    @property
    def sight(self) -> Sight:
        """What those who look at the daemon are shown."""
        return Sight(
            hub=self.hub,
            sessions=self.sessions,
            reporter=self.reporter,
            door=self.door,
            shelf=self.shelf,
            loop=self.loop,
            recorder=self.recorder,
            peers=lambda: self.peers,
        )

    async def load_first(self) -> None:
        """Load what is loaded at the start; the daemon ends when what is required does not."""
        # Not before: two workers that start would take the core's time from its first answers.
        await self.is_serving.wait()
        try:
            await load_first(self.hub)
        except StartupError as error:
            log.error("cannot_start", problem=str(error))
            self.failure = error
            self.guard.code = error.exit_code
            self.signals.end_now()
        else:
            log.info("started")

    async def watch(self) -> None:
        """Look after everything that only time tells."""
        heap = Heap(self.hub.clock, glibc())
        others = (self.loop.look, self.door.check, self.sessions.expire, self.check_hub, heap.check)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            checks = [peer.check for peer in self.peers]
            for check in (*checks, *others, logs.look):
                try:
                    check()
                except Exception:  # a bug, whichever: the others are looked after all the same
                    log.exception("check_failed")

    def check_hub(self) -> None:
        """Look after the hub and tell that it moves: not where that raises."""
        self.hub.check()
        self.watchdog.look()
        self.status.look()

    async def drain(self, everybody_left: asyncio.Event) -> None:
        """Finish every stream within the drain timeout, then say goodbye; see `ending`.

        A second signal cuts it short.
        """
        self.manager.stopping()
        self.door.is_draining = True
        work = asyncio.ensure_future(drain(self.hub, lambda: self.peers, everybody_left))
        now = asyncio.ensure_future(self.signals.must_end_now.wait())
        await asyncio.wait((work, now), return_when=asyncio.FIRST_COMPLETED)
        for future in (work, now):
            future.cancel()
            with suppress(asyncio.CancelledError):
                await future


@asynccontextmanager
async def running(
    config: Config, signals: Signals, guard: Guard, read: ReadConfig
) -> AsyncIterator[Daemon]:
    """A daemon with its timer and its first models loading.

    Raises:
        StartupError: the configuration makes no sense, or what is required could not be loaded.
    """
    registry = discover()
    daemon = Daemon(settled(config, registry), registry, signals, guard, read)
    for name, reason in daemon.hub.registry.broken.items():
        log.warning("plugin_broken", plugin=name, problem=reason)
    daemon.hub.tasks.start(daemon.watch())
    daemon.hub.tasks.start(daemon.load_first())
    daemon.hub.tasks.start(daemon.reloader.run())
    # What exists now lives as long as the daemon; the collector need not look at it again.
    gc.freeze()
    gc.enable()
    try:
        with daemon.standstill or nullcontext():
            async with monitored(daemon.hub.config.monitoring, daemon.sight):
                yield daemon
    finally:
        guard.begin(STOP_S)
        cut_off_rest(daemon.hub)  # where a second signal, or a failed start, left no time for it
        await daemon.hub.stop()
        if daemon.tracing is not None:
            await asyncio.to_thread(daemon.tracing.end)
        if daemon.recorder is not None:
            daemon.recorder.end()
            await asyncio.to_thread(daemon.recorder.join)
        log.info("ended")
        daemon.manager.close()
    if daemon.failure is not None:
        raise daemon.failure


def _signals(config: Config, guard: Guard) -> Signals:
    """Signals that bind the end of the process in time, from before there is anything to end."""
    signals = Signals()
    signals.on_end = lambda: guard.begin(config.limits.drain_timeout_s + STOP_S)
    signals.on_end_now = lambda: guard.begin(STOP_S)
    return signals


async def _serve(config: Config, socket_path: Path, read: ReadConfig, guard: Guard) -> int:
    signals = _signals(config, guard)
    with signals.handled():
        inherited = inherited_socket()
        if inherited is not None:
            async with running(config, signals, guard, read) as daemon:
                with inherited:
                    await _listen(daemon, inherited)
            return Exit.OK
        with bound_socket(socket_path, admission_of(config.access)) as listener:
            guard.last = partial(_remove, socket_path)
            async with running(config, signals, guard, read) as daemon:
                await _listen(daemon, listener, socket_path)
    return Exit.OK


async def _listen(daemon: Daemon, listener: socket.socket, own_path: Path | None = None) -> None:
    """Serve until the end is asked for, then drain.

    On a path of our own, who comes meanwhile is told `draining`. A socket of the service manager's
    is left alone: who waits in its queue is served by the daemon that is started next.
    """
    acceptor = Acceptor(
        listener,
        lambda: SocketConnection(daemon.door),
        start=daemon.hub.tasks.start,
        on_refusal=daemon.note_refusal,
    )
    daemon.begin_serving()
    log.info("listening", version=__version__, socket=listener.getsockname(), pid=os.getpid())
    try:
        await daemon.signals.asked_to_end.wait()
        if own_path is not None:
            await daemon.drain(daemon.door.empty)
            _remove(own_path)  # first, so that nobody comes behind the last
            with suppress(TimeoutError):
                await asyncio.wait_for(acceptor.accept_rest(), GREETING_S)
    finally:
        acceptor.close()
    if own_path is None:
        await daemon.drain(daemon.door.empty)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _serve_stdio(config: Config, write_fd: int, read: ReadConfig, guard: Guard) -> int:
    signals = _signals(config, guard)
    with signals.handled():
        async with running(config, signals, guard, read) as daemon:
            channel = StdioChannel(0, write_fd, daemon.hub.clock)
            peer = daemon.make_stdio_peer(channel)
            channel.start(peer)
            daemon.begin_serving()
            log.info("serving_stdio", version=__version__, pid=os.getpid())
            asked = asyncio.ensure_future(signals.asked_to_end.wait())
            ended = asyncio.ensure_future(channel.ended.wait())
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if not ended.done():
                await daemon.drain(channel.ended)
                ended.cancel()
            if daemon.failure is None:
                guard.code = _exit_code(channel, peer)
    return guard.code


def _exit_code(channel: StdioChannel, peer: Peer) -> int:
    """What became of a conversation on stdin and stdout."""
    if not channel.ended.is_set() and channel.untaken_bytes:
        log.error("stdout_failed", problem="it was not read to its end in time")
        return Exit.IO
    if channel.failed is not None:
        log.error("stdout_failed", problem=str(channel.failed))
        return Exit.IO
    return Exit.DATA if channel.was_frame_cut or peer.was_refused else Exit.OK


def serve(config: Config, *, socket_path: Path, read: ReadConfig | None = None) -> int:
    """Run the daemon on a Unix socket until a signal ends it; returns the exit code.

    `read` reads the configuration again; without it, SIGHUP changes nothing.

    Raises:
        StartupError: it cannot start, and what to do.
    """
    tell_crashes()
    with Guard() as guard:
        return asyncio.run(_serve(config, socket_path, read or (lambda: config), guard))


def serve_stdio(config: Config, *, read: ReadConfig | None = None) -> int:
    """Run the daemon on stdin and stdout until either ends; returns the exit code.

    `read` reads the configuration again; without it, SIGHUP changes nothing.

    Raises:
        StartupError: it cannot start, and what to do.
    """
    write_fd = take_stdout()
    tell_crashes()
    with Guard() as guard:
        return asyncio.run(_serve_stdio(config, write_fd, read or (lambda: config), guard))
