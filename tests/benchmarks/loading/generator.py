"""The process that plays streams and notes when their finals come: `epoll`, and little else.

It does as it is told through a pipe: `Connect`, then `Open`, then `Play`, each answered when done.
Every frame is encoded beforehand and the same bytes serve all streams, so a frame costs a `send`.
"""

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from asrd.wire import messages as wire
from asrd.wire.codec import encode
from benchmarks.common import Samples, percentile
from benchmarks.loading.material import STREAM, messages
from benchmarks.loading.pacing import FRAME_SAMPLES, completing_frame, due_after_s, slot_of, turn
from benchmarks.loading.replies import Replies

PATIENCE_S = 60.0
READ_BYTES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one generator has to do. `streams` are the numbers that are its own, of all."""

    path: Path
    streams: tuple[int, ...]
    first_frames: tuple[int, ...]
    """Where in the material each of them begins."""
    material: Samples
    silence_s: float
    has_partials: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Connect and greet up to so many of the streams' connections."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open the streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Play from a moment of `time.perf_counter` on, then close every stream.

    What is told of the last second of it goes to `Held`.
    """

    begin_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How much audio of its streams the daemon has to hold while they play: told once, amid it."""

    samples: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Final:
    """A segment: when the frame that completed its silence was due, and when it came."""

    due_s: float
    came_s: float


@dataclass(slots=True)
class Played:
    """What came of it. `lags_s` are of turns; `stalls` are frames that the socket did not take."""

    finals: list[Final] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    stalls: int = 0
    dropped_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    unfinished: int = 0

    @property
    def lag_p99_s(self) -> float:
        """How late it was itself."""
        return percentile(self.lags_s, 0.99)


class Voice:
    """One stream on its connection."""

    def __init__(self, path: Path, stream: int, first: int) -> None:
        self.slot = slot_of(stream)
        self.first = first
        self.sent = 0
        self.commit = 0
        self.is_greeted = self.is_open = False
        self.closed: wire.Closed | None = None
        self.replies = Replies()
        self._unsent = b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.setblocking(False)

    def send(self, data: bytes) -> bool:
        """Send bytes, or keep them until the next call. Returns whether all went out."""
        data = self._unsent + data if self._unsent else data
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:] if sent < len(data) else b""
        return not self._unsent


class Generator:
    """The streams of one process."""

    def __init__(self, plan: Plan, pipe: Pipe) -> None:
        self._plan = plan
        self._pipe = pipe
        self._frames = messages(plan.material)
        self._voices: list[Voice] = []
        self._selector = selectors.DefaultSelector()
        self._played = Played()
        self._begin_s = 0.0
        self._play_s = 0.0

    def obey(self) -> None:
        """Do what comes through the pipe, until it is closed."""
        while True:
            try:
                order: Connect | Open | Play = self._pipe.recv()
            except EOFError:
                return
            match order:
                case Connect():
                    self._connect(order.count)
                    self._pipe.send(None)
                case Open():
                    self._open()
                    self._pipe.send(None)
                case Play():
                    self._play(order)
                    self._pipe.send(self._played)

    # ── the three orders ──────────────────────────────────────────────────────────────────────

    def _connect(self, count: int) -> None:
        plan = self._plan
        for place in range(len(self._voices), min(count, len(plan.streams))):
            voice = Voice(plan.path, plan.streams[place], plan.first_frames[place])
            self._voices.append(voice)
            self._selector.register(voice.socket, selectors.EVENT_READ, voice)
            voice.send(encode(wire.Hello(client="benchmark")))
            if place % 16 == 15:  # no more at once than may wait at the daemon's door
                self._until(lambda: all(voice.is_greeted for voice in self._voices))
        self._until(lambda: all(voice.is_greeted for voice in self._voices))

    def _open(self) -> None:
        asked = wire.Open(
            stream=STREAM,
            source="mic",
            partials=self._plan.has_partials,
            endpointing_ms=round(self._plan.silence_s * 1000),
        )
        for voice in self._voices:
            voice.send(encode(asked))
        self._until(lambda: all(voice.is_open for voice in self._voices))

    def _play(self, play: Play) -> None:
        by_slot: dict[int, list[Voice]] = {}
        for voice in self._voices:
            by_slot.setdefault(voice.slot, []).append(voice)
        self._begin_s, self._play_s = play.begin_s, play.seconds
        has_told = False
        count = 0
        while (next_turn := turn(count)).after_s < play.seconds:
            due_s = play.begin_s + next_turn.after_s
            self._receive_until(due_s)
            self._played.lags_s.append(time.perf_counter() - due_s)
            for voice in by_slot.get(next_turn.slot, ()):
                self._send_frame(voice)
            if not has_told and next_turn.after_s > play.seconds - 1.0:
                has_told = True
                self._tell_held()
            count += 1
        for voice in self._voices:
            voice.send(encode(wire.Close(stream=STREAM)))
        self._until(lambda: all(voice.closed for voice in self._voices), must=False)
        self._played.unfinished = sum(voice.closed is None for voice in self._voices)
        self._played.dropped_s = sum(
            voice.closed.dropped_seconds for voice in self._voices if voice.closed
        )

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _send_frame(self, voice: Voice) -> None:
        frame = self._frames[(voice.first + voice.sent) % len(self._frames)]
        voice.sent += 1
        if not voice.send(frame):
            self._played.stalls += 1

    def _tell_held(self) -> None:
        samples = sum(voice.sent * FRAME_SAMPLES - voice.commit for voice in self._voices)
        self._pipe.send(Held(samples=samples, at_s=time.perf_counter()))

    def _receive_until(self, at_s: float) -> None:
        """Take in what comes until then; what is there already is taken in at least once."""
        left_s = max(at_s - time.perf_counter(), 0.0)
        while True:
            self._receive(left_s)
            left_s = at_s - time.perf_counter()
            if left_s <= 0:
                return

    def _receive(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            voice: Voice = key.data
            data = voice.socket.recv(READ_BYTES)
            came_s = time.perf_counter()
            if not data:
                self._selector.unregister(voice.socket)
                self._played.errors.append("the daemon closed a connection")
                continue
            for message in voice.replies.take(data):
                self._note(voice, message, came_s)

    def _note(self, voice: Voice, message: wire.ServerMessage, came_s: float) -> None:
        match message:
            case wire.Segment():
                voice.commit = message.offset
                number = completing_frame(message.end, self._plan.silence_s)
                after_s = due_after_s(voice.slot, number)
                if number < voice.sent:  # else the close has ended it
                    self._played.finals.append(Final(self._begin_s + after_s, came_s))
            case wire.Ack():
                voice.commit = message.offset
            case wire.Closed():
                voice.closed = message
            case wire.Error():
                self._played.errors.append(message.code)
            case wire.Opened():
                voice.is_open = True
            case wire.Welcome():
                voice.is_greeted = True
            case _:
                raise AssertionError(f"{message} is not counted")

    def _until(self, is_done: Callable[[], bool], *, must: bool = True) -> None:
        end_s = time.perf_counter() + PATIENCE_S
        while not is_done():
            if time.perf_counter() > end_s or self._played.errors:
                if must:
                    raise RuntimeError(f"the daemon does not answer: {self._played.errors}")
                return
            self._receive(0.1)


def generate(plan: Plan, pipe: Pipe) -> None:
    """The whole process."""
    Generator(plan, pipe).obey()
