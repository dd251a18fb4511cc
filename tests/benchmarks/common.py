"""What the benchmarks share: a daemon of their own, a plain client, speech, and a table."""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.providers.registry import discover
from asrd.providers.voice import VoiceActivity
from asrd.session.endpoint import EndpointRule, Utterance
from asrd.session.intake import MarkKind
from asrd.session.listener import Listener
from asrd.wire import messages as wire
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.audio import read_wav

Samples = npt.NDArray[np.float32]
Kind = TypeVar("Kind", bound=wire.ServerMessage)
Span = tuple[float, float]
"""Seconds of a stream's clock, from and to."""

FRAME_S = 0.1


class WireClient:
    """A blocking client with nothing between the caller and the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._connection = ClientConnection()
        self._buffer = bytearray(2**16)
        self._received: list[wire.ServerMessage] = []
        self.send(wire.Hello(client="benchmark"))
        self.wait_for(wire.Welcome)

    def send(self, *messages: wire.ClientMessage) -> None:
        """Write messages in one system call."""
        self._socket.sendall(b"".join(map(encode, messages)))

    def wait_for(self, kind: type[Kind]) -> Kind:
        """The next message of that kind; others are passed over, errors raised."""
        while True:
            while self._received:
                message = self._received.pop(0)
                if isinstance(message, kind):
                    return message
                if isinstance(message, wire.Error):
                    raise RuntimeError(message.message)
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise RuntimeError("the daemon closed the connection")
            self._received += self._connection.receive(memoryview(self._buffer)[:count])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@contextmanager
def daemon(*arguments: str, config: str = "", is_loaded: bool = True) -> Iterator[Path]:
    """A daemon on a socket of its own, its model loaded or not; yields the socket's path.

    `config` is a configuration in TOML.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asrd.sock"
        if config:
            (Path(folder) / "asrd.toml").write_text(config)
            arguments = ("--config", f"{folder}/asrd.toml", *arguments)
        process = subprocess.Popen(
            [sys.executable, "-m", "asrd", "serve", "--socket", path, *arguments],
            stderr=subprocess.DEVNULL,
        )
        try:
            while (client := _connect(path)) is None:
                if process.poll() is not None:
                    raise RuntimeError(f"the daemon ended with exit code {process.returncode}")
                time.sleep(0.005)
            if is_loaded:
                client.send(wire.Load())
                client.wait_for(wire.Health)
            client.close()
            yield path
        finally:
            process.terminate()
            process.wait()


def _connect(path: Path) -> WireClient | None:
    try:
        return WireClient(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def speech(seconds: float = 0.0) -> Samples:
    """A person reading (moonshine-voice's recording), cut to `seconds` where they are given."""
    path = discover().providers["moonshine"].sample()
    if path is None:
        raise RuntimeError("moonshine-voice has no recording in this installation")
    samples = read_wav(path)
    return samples[: round(seconds * SAMPLE_RATE)] if seconds else samples


def pcm(samples: Samples) -> bytes:
    """Samples as pcm_s16le."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def dense_speech(seconds: float) -> Samples:
    """Up to 4 s of the recording in which every window is speech: nothing ends or pauses in it."""
    begin = round(32.8 * SAMPLE_RATE)
    return speech()[begin : begin + round(seconds * SAMPLE_RATE)]


def frames(samples: Samples) -> list[bytes]:
    """Samples as pieces of `FRAME_S` to be played; what is left at the end is left out."""
    data, size = pcm(samples), round(FRAME_S * SAMPLE_RATE) * 2
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]


def utterances(samples: Samples, silence_s: float = 0.5) -> list[tuple[Utterance, Samples]]:
    """What the daemon would cut from a live stream, and the windows its models would read."""
    rule = EndpointRule(silence=round(silence_s * SAMPLE_RATE))
    listener = Listener(PcmFormat(), rule, 0)
    detector = VoiceActivity()
    listener.intake.receive(pcm(samples), None)
    listener.intake.mark(MarkKind.CLOSE)
    heard, unscored = listener.take_unscored()
    state = b""
    while unscored is not None:
        state = b"" if unscored.is_fresh else state
        probabilities, state = detector.score(unscored.windows, state)
        heard += listener.scored(probabilities)
        more, unscored = listener.take_unscored()
        heard += more
    found = [event for event in heard if isinstance(event, Utterance)]
    return [(utterance, listener.audio(utterance.start, utterance.end)) for utterance in found]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all values do not pass (nearest rank)."""
    return sorted(values)[round((len(values) - 1) * share)]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def unaccounted(expected: Iterable[Span], accounted: Iterable[Span]) -> list[Span]:
    """Those of the expected spans that none of the others touches."""
    known = sorted(accounted)
    return [
        (start, end)
        for start, end in expected
        if not any(begin < end and finish > start for begin, finish in known)
    ]


def row(what: str, measured: str, aim: str = "", *, is_met: bool | None = None) -> None:
    """Print one line of a table: what, how much, and what was aimed for."""
    verdict = {None: "", True: "  met", False: "  MISSED"}[is_met]
    print(f"{what:58} {measured:>24}   {aim}{verdict}", flush=True)


def run_python(code: str, *arguments: str) -> tuple[float, dict[str, float]]:
    """Wall seconds of a fresh Python process, and the JSON object that it printed last."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    wall_s = time.perf_counter() - started
    lines = done.stdout.strip().splitlines()
    return wall_s, json.loads(lines[-1]) if lines else {}
