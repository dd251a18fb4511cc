"""A client that sends whatever it likes disturbs nobody, and hears what was wrong.

Real sockets and a real daemon; a polite client speaks all the while.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.errors import ProtocolError
from asrd.framing import HEADER
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection, ServerConnection
from asrd.wire.messages import (
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Error,
    Flush,
    GetHealth,
    GetStats,
    Hello,
    Load,
    Open,
    Ping,
    Pong,
    Segment,
    ServerMessage,
)
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, running_daemon
from support.profiles import examples
from support.wire_client import WireClient, texts

PATIENCE_S = 20.0
EXAMPLES = 400
MAX_GROWTH_BYTES = 15_000_000
PHRASE = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)

WIRE_CODES = {"hello_expected", "frame_too_large", "invalid_frame", "unknown_type"}
"""Codes that the wire alone gives; the rest depend on what streams there are."""

SESSION: list[ClientMessage] = [
    Hello(client="hostile"),
    Open(stream=1, source="file", partials=False, prompt="x", language="en"),
    Audio(stream=1, data=PHRASE[20_000:52_000], offset=0),
    Flush(stream=1),
    Ping(id=1),
    GetHealth(deep=True),
    GetStats(),
    Load(provider="echo"),
    Open(stream=2, encoding="pcm_f32le", sample_rate=44_100, channels=2),
    Audio(stream=2, data=bytes(8000), offset=5000),
    Cancel(stream=2),
    Close(stream=1),
]
FRAMES = [encode(message) for message in SESSION]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A session with frames left out, doubled, swapped, and bytes of them changed."""
    order = draw(st.lists(st.integers(0, len(FRAMES) - 1), max_size=15))
    frames = [FRAMES[0]] * draw(st.booleans()) + [FRAMES[index] for index in order]
    data = bytearray(b"".join(frames))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "insert", "length"])):
            case "change" if place < len(data):
                data[place] = draw(st.integers(0, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 50))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=50))
            case _:
                data[place:place] = HEADER.pack(draw(st.integers(0, 2**32 - 1)))
    return bytes(data)


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=300).map(lambda body: HEADER.pack(len(body)) + body),
    st.binary(max_size=300).map(lambda body: FRAMES[0] + body),
    st.binary(min_size=1, max_size=300).map(
        lambda body: FRAMES[0] + HEADER.pack(len(body)) + body + FRAMES[4]
    ),
    mangled(),
)


def said_by(path: Path, data: bytes) -> list[ServerMessage]:
    """Everything that the daemon says to `data` up to the end of the connection."""
    wire = ClientConnection()
    heard: list[ServerMessage] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(PATIENCE_S)
        channel.connect(str(path))
        with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR)
        try:
            while got := channel.recv(2**16):
                heard += wire.receive(memoryview(got))
        except ConnectionResetError:  # it was closed before all was read
            return heard
    return heard


@dataclass
class Scene:
    """A daemon, and a polite client in the middle of its audio."""

    daemon: Daemon
    polite: WireClient
    undisturbed: list[str]
    bytes_before: int = 0
    rounds: int = 0
    spoken: int = 0
    pings: int = field(default=0)

    def speak_on(self) -> None:
        """A little more of the audio, and a sign of life."""
        chunk = PHRASE[self.spoken % len(PHRASE) :][:6400]
        self.spoken += len(chunk)
        self.pings += 1
        self.polite.send(Audio(stream=1, data=chunk), Ping(id=self.pings))
        assert self.polite.expect(Pong).id == self.pings


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    limits = {"max_connections": 256}
    with (
        running_daemon(tmp_path_factory.mktemp("hostile"), limits=limits) as daemon,
        daemon.greet() as polite,
    ):
        undisturbed = texts(polite.transcribe(0, PHRASE * 2, partials=False))
        polite.open(1, partials=False)
        for frame in FRAMES:  # everything that is made once has been made
            said_by(daemon.path, FRAMES[0] + frame)
        scene = Scene(daemon, polite, undisturbed)
        scene.bytes_before = psutil.Process(daemon.pid).memory_info().rss
        yield scene


@examples(EXAMPLES)
@given(data=HOSTILE)
def test_whatever_is_sent_is_answered_and_disturbs_nobody(scene: Scene, data: bytes) -> None:
    scene.speak_on()
    heard = said_by(scene.daemon.path, data)
    scene.speak_on()
    expected = list(ServerConnection().receive(memoryview(data)))
    earned = [str(item.code) for item in expected if isinstance(item, ProtocolError)]
    told = [message for message in heard if isinstance(message, Error)]
    fatal = [item.code for item in expected if isinstance(item, ProtocolError) and item.fatal]
    assert [error.code for error in told if error.fatal] == fatal
    for code in WIRE_CODES & set(earned):
        assert sum(error.code == code for error in told) == earned.count(code)
    assert sum(error.code == "invalid_message" for error in told) >= earned.count("invalid_message")
    scene.rounds += 1


def test_after_all_of_it_the_daemon_is_as_it_was(scene: Scene) -> None:
    """The polite client's text, the log, the memory, the streams."""
    assert scene.rounds >= EXAMPLES  # runs behind the test above
    while scene.spoken % len(PHRASE) or scene.spoken < 2 * len(PHRASE):
        scene.speak_on()
    scene.polite.finish(1)
    segments = texts(scene.polite.logged(Segment, 1))
    assert segments[0] == scene.undisturbed[0]
    assert len(segments) == scene.spoken // len(PHRASE)
    scene.polite.send(GetStats())
    assert not scene.daemon.strays
    events = {line["event"] for line in scene.daemon.events}
    assert not events & {"task_failed", "worker_died", "call_failed", "voice_activity_failed"}
    health = scene.polite.health()
    assert health.ready
    grown = psutil.Process(scene.daemon.pid).memory_info().rss - scene.bytes_before
    assert grown < MAX_GROWTH_BYTES


@pytest.mark.parametrize("count", [300])
def test_many_who_come_and_say_nothing_are_bounded(scene: Scene, count: int) -> None:
    """Connections beyond the limit are told so; the polite client is answered all the while."""
    crowd: list[socket.socket] = []
    try:
        refused = 0
        for _ in range(count):
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            crowd.append(channel)
            channel.connect(str(scene.daemon.path))  # waits where too many wait already
            channel.settimeout(PATIENCE_S)
        scene.polite.send(Ping(id="still there"))
        scene.polite.expect(Pong)
        for channel in crowd[-40:]:
            (message,) = ClientConnection().receive(memoryview(channel.recv(2**16)))
            assert isinstance(message, Error)
            refused += message.code == "busy"
        assert refused == 40
    finally:
        for channel in crowd:
            channel.close()
