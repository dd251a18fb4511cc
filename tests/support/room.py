"""The server's parts in this process: real streams and peers, workers that answer as told.

Speech is a loud tone here and anything else is silence; a model says how many samples it was
given. Time stands still until the test moves it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import numpy as np

from asrd.abilities import Abilities
from asrd.config import Config, Limits, Scheduling
from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.providers.voice import STATE_BYTES, WINDOW_SAMPLES
from asrd.server.hub import Hub
from asrd.server.outbox import Shelf
from asrd.server.peer import Peer
from asrd.server.report import Reporter
from asrd.server.sessions import SessionStore
from asrd.server.turns import Turns
from asrd.transcript import Hypothesis
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import Audio, ClientMessage, Hello, Open, ServerMessage, Welcome
from support.clock import VirtualClock

M = TypeVar("M", bound=ServerMessage)

ECHO = ModelKey(provider="echo", model="echo")
PATIENCE_S = 20.0


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on a loop, but not for ever."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(100):
        await asyncio.sleep(0)


def speech(seconds: float) -> bytes:
    """16-bit PCM that counts as speech."""
    return (10_000).to_bytes(2, "little") * round(seconds * 16_000)


def quiet(seconds: float) -> bytes:
    return bytes(2 * round(seconds * 16_000))


UTTERANCE = speech(1.0) + quiet(0.6)
"""Becomes one segment: the default endpointing is half a second."""


class StubResident:
    """What the server sees of a worker. `is_held` lets calls wait until `release`."""

    def __init__(self, answer: Callable[[calls.AnyCall], calls.AnyAnswer]) -> None:
        self.state = ModelState.READY
        self.problem = ""
        self.abilities = Abilities()
        self.load_s: float | None = 0.25
        self.warm_up_s: float | None = 0.05
        self.worked_at_s: float | None = None
        self.memory_bytes = 50_000_000
        self.gpu_bytes = 0
        self.is_busy = False
        self.is_restarting = False
        self.has_no_room = False
        self.restarts = 0
        self.consecutive_errors = 0
        self.last_inference_s: float | None = None
        self.pid: int | None = None
        self.is_held = False
        self.kills = 0
        self.begun = 0
        self.checked_at_s: list[float] = []
        self.aborted: list[asyncio.Future[calls.AnyAnswer]] = []
        self.made: list[calls.AnyCall] = []
        self.forgotten: list[int] = []
        self.on_change: Callable[[], None] = lambda: None
        self._answer = answer
        self._waiting: list[tuple[asyncio.Future[calls.AnyAnswer], calls.AnyCall]] = []
        self._left_starting = asyncio.Event()

    def call(
        self,
        make: Callable[[int], calls.AnyCall],
        audio_s: float = 0.0,
        windows: int = 1,
        is_partial: bool = False,
    ) -> asyncio.Future[calls.AnyAnswer]:
        future: asyncio.Future[calls.AnyAnswer] = asyncio.get_running_loop().create_future()
        self.made.append(call := make(len(self.made) + 1))
        self._waiting.append((future, call))
        if not self.is_held:
            self.release()
        return future

    def release(
        self, error: Exception | None = None, *, answer: calls.AnyAnswer | None = None
    ) -> None:
        """Answer every call that waits, with `answer` if it is given, or fail it."""
        waiting, self._waiting = self._waiting, []
        for future, call in waiting:
            if future.done():
                continue
            try:
                if error is not None:
                    raise error
                future.set_result(self._answer(call) if answer is None else answer)
            except ProviderError as failure:
                future.set_exception(failure)

    def forget(self, utterance: int) -> None:
        self.forgotten.append(utterance)

    def enter(self, state: ModelState, problem: str = "") -> None:
        self.state, self.problem = state, problem
        if state is ModelState.STARTING:
            self._left_starting.clear()
        else:
            self._left_starting.set()
        self.on_change()

    def begin(self) -> None:
        self.begun += 1

    async def ensure(self) -> None:
        if self.state is ModelState.STARTING:
            await self._left_starting.wait()
        if self.state is ModelState.UNAVAILABLE:
            raise ModelUnavailable(self.problem or "gone")

    def abort(self, call: asyncio.Future[calls.AnyAnswer]) -> None:
        self.aborted.append(call)

    def check(self, now_s: float) -> None:
        self.checked_at_s.append(now_s)

    def complain(self, problem: str) -> None:
        self.enter(ModelState.DEGRADED, problem)

    def kill(self) -> None:
        self.kills += 1

    async def stop(self) -> None:
        self.enter(ModelState.UNAVAILABLE, "was unloaded")


def say_size(call: calls.AnyCall) -> calls.AnyAnswer:
    """Decode by counting samples."""
    assert isinstance(call, calls.Decode)
    outcomes: list[calls.Read | calls.NotRead] = [
        calls.Read(hypothesis=Hypothesis(text=str(len(item.audio) // 4))) for item in call.items
    ]
    return calls.Decoded(id=call.id, outcomes=outcomes, decode_s=0.0)


def hear_loud(call: calls.AnyCall) -> calls.AnyAnswer:
    """Call loud windows speech; the state counts the windows of a stream."""
    assert isinstance(call, calls.Score)
    found = []
    for item in call.streams:
        windows = np.frombuffer(item.windows, np.float32).reshape(-1, WINDOW_SAMPLES)
        loud = (np.abs(windows).max(axis=1) > 0.1).astype(np.float32)
        before = int.from_bytes(item.state[:4], "little")
        state = (before + len(windows)).to_bytes(4, "little").ljust(STATE_BYTES, b"\0")
        found.append(calls.Probabilities(probabilities=loud.tobytes(), state=state))
    return calls.Scored(id=call.id, streams=found)


class FakeChannel:
    """A byte channel that keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_paused = False
        self.is_closed = False
        self.was_refused = False
        self.buffered_bytes = 0

    @property
    def untaken_bytes(self) -> int:
        return self.buffered_bytes

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        self.is_closed = True

    def refuse(self) -> None:
        self.is_closed = self.was_refused = True

    def check(self) -> None:
        """Its times are its own."""


class Guest:
    """A connection: a peer, and what it was told."""

    def __init__(self, room: "Room", uid: int = 1000) -> None:
        self.channel = FakeChannel()
        self.peer = Peer(
            self.channel,
            uid=uid,
            hub=room.hub,
            sessions=room.sessions,
            reporter=room.reporter,
            turns=room.turns,
            shelf=room.shelf,
        )

    def say(self, *messages: ClientMessage) -> None:
        self.say_bytes(b"".join(encode(message) for message in messages))

    def say_bytes(self, data: bytes) -> None:
        """As a socket would, in reads of 64 KiB."""
        for begin in range(0, len(data), 2**16):
            self.peer.received(memoryview(data)[begin : begin + 2**16])

    def speak(self, stream: int, pcm: bytes) -> None:
        for begin in range(0, len(pcm), 32_000):
            self.say(Audio(stream=stream, data=pcm[begin : begin + 32_000]))

    def hello(self, **fields: Any) -> Welcome:
        self.say(Hello(**fields))
        return self.told(Welcome)[-1]

    def open(self, stream: int, **fields: Any) -> None:
        self.say(Open(stream=stream, **({"partials": False} | fields)))

    @property
    def messages(self) -> list[ServerMessage]:
        return list(ClientConnection().receive(memoryview(bytes(self.channel.written))))

    def told(self, kind: type[M], stream: int | None = None) -> list[M]:
        return [
            message
            for message in self.messages
            if isinstance(message, kind)
            and (stream is None or getattr(message, "stream", None) == stream)
        ]


class Room:
    """A hub and what belongs to it, without a process or a socket."""

    def __init__(
        self,
        registry: Registry,
        *,
        limits: dict[str, Any] | None = None,
        scheduling: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.clock = VirtualClock()
        self.config = Config(
            limits=Limits(**(limits or {})),
            scheduling=Scheduling(**(scheduling or {})),
            **({"provider": "echo"} | more),
        )
        self.hub = Hub(self.config, registry, self.clock)
        self.voice = StubResident(hear_loud)
        self.voice.on_change = self.hub.voice._changed
        self.hub.voice.resident = self.voice  # type: ignore[assignment]
        self.sessions = SessionStore(self.hub, self.config.limits, self.clock)
        self.reporter = Reporter(self.hub)
        self.turns = Turns()
        self.shelf = Shelf(self.config.limits.outboxes_bytes)
        self.model = self.put(ECHO)

    def put(self, key: ModelKey, state: ModelState = ModelState.READY) -> StubResident:
        """Have a model that is loaded."""
        model = StubResident(say_size)
        model.on_change = lambda: self.hub._model_changed(key)
        self.hub.pool._residents[key] = model  # type: ignore[assignment]
        model.enter(state)
        return model

    def open_breaker(self, provider: str) -> None:
        """Have so many decodes fail that the provider is given a rest."""
        for _ in range(self.config.supervision.breaker_failures):
            self.hub.pool._worked(ModelKey(provider=provider, model="any"), has_failed=True)

    async def probe(self) -> None:
        """Let the rest be over: one inference decides whether providers are trusted again."""
        self.clock.advance(self.config.supervision.breaker_open_s)
        self.hub.check()
        await settle()

    def guest(self) -> Guest:
        """A connection that has said nothing."""
        return Guest(self)

    def greeted(self, **fields: Any) -> Guest:
        guest = self.guest()
        guest.hello(**fields)
        return guest
