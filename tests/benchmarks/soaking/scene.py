"""The daemon that is soaked, whoever talks to it, and short questions to it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import ClientMessage, Error, Hello, ServerMessage
from benchmarks.soaking import leaks
from benchmarks.soaking.speech import Speech
from benchmarks.soaking.talker import Talker
from support.daemon import Daemon

Kind = TypeVar("Kind", bound=ServerMessage)

PATIENCE_S = 60.0
AGAIN_AFTER_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One soak. `leak` names one of `leaks.LEAKS`; `stop_s` is how long the daemon is stopped."""

    seconds: float
    fault_every_s: float = 60.0
    look_every_s: float = 5.0
    seed: int = 1
    provider: str = "echo"
    speed: float = 2.0
    stop_s: float = 3.0
    resume_window_s: float = 60.0
    send_timeout_s: float = 5.0
    kept_segments: int = 50
    """Of each stream, for clients that resume. By default it is 1,000, which takes a stream that
    is never closed half an hour to fill: so long memory would grow that is bounded all the same."""
    kills_daemon: bool = False
    leak: str | None = None


class Scene:
    """What faults and load share."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.dice = random.Random(plan.seed)
        self.steady: list[Talker] = []
        """Talkers that stay until the end."""
        self.finished: list[Speech] = []
        self.faults: Counter[str] = Counter()
        self.worker_kills = 0
        self.stalls = 0
        self.daemon_kills = 0
        self.wrongs: list[str] = []
        self._folder = folder
        self.daemon = self._start()

    @property
    def path(self) -> Path:
        """Where the daemon listens."""
        return self.daemon.path

    def restart(self) -> None:
        """Kill the daemon and start another in its place, as a service manager does."""
        self.daemon_kills += 1
        self.daemon.kill()
        self.daemon = self._start()

    def _start(self) -> Daemon:
        plan, folder = self.plan, self._folder
        folder.mkdir(exist_ok=True)
        plugins = []
        if plan.leak is not None:
            plugins = [leaks.plugin(folder / "plugins", plan.leak)]
        settings: dict[str, Any] = {"latency_ms": 3} if plan.provider == "echo" else {}
        limits = {
            "resume_window_s": plan.resume_window_s,
            "send_timeout_s": plan.send_timeout_s,
            "kept_segments": plan.kept_segments,
        }
        return Daemon(folder, plugins, provider=plan.provider, settings=settings, limits=limits)

    async def ask(self, message: ClientMessage, kind: type[Kind]) -> Kind:
        """Ask on a connection of its own, again and again while there is no room for one."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with visitor(self.path) as guest:
                        return await guest.ask(message, kind)
                except (ConnectionError, FileNotFoundError, Ended):
                    await asyncio.sleep(AGAIN_AFTER_S)


class Ended(Exception):
    """The daemon ended the connection."""


@dataclass
class Visitor:
    """A connection for a few words."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[ServerMessage] = field(default_factory=list)
    _wire: ClientConnection = field(default_factory=ClientConnection)

    async def ask(self, message: ClientMessage, kind: type[Kind]) -> Kind:
        """Say hello and a message, and wait for its answer. Raises Ended."""
        self.say(Hello(client="soak"), message)
        looked_at = 0
        while True:
            for found in self.heard[looked_at:]:
                if isinstance(found, kind):
                    return found
                if isinstance(found, Error) and found.fatal:
                    raise Ended(found.code)
            looked_at = len(self.heard)
            if not await self.hear():
                raise Ended

    def say(self, *messages: ClientMessage) -> None:
        """Send messages."""
        self.writer.write(b"".join(map(encode, messages)))

    async def hear(self) -> bool:
        """Take in what comes next; returns whether anything may follow."""
        data = await self.reader.read(2**16)
        self.heard += self._wire.receive(memoryview(data))
        return bool(data)

    async def hear_to_end(self) -> None:
        """Take in everything until the daemon ends the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.hear():
                    pass
            except ConnectionError:  # closed before it had read all that was sent
                return


@asynccontextmanager
async def visitor(path: Path, limit: int = 2**16) -> AsyncIterator[Visitor]:
    """Connect; in the end the connection is dropped without a word."""
    reader, writer = await asyncio.open_unix_connection(path, limit=limit)
    try:
        yield Visitor(reader, writer)
    finally:
        writer.transport.abort()
