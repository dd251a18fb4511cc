"""Clients that ask for much and read nothing, and one that is polite beside them."""

import array
import fcntl
import multiprocessing
import socket
import statistics
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from asrd.wire.codec import encode
from asrd.wire.messages import ClientMessage, GetStats, Hello, Ping, Pong, Welcome
from support.daemon import Daemon
from support.waiting import PATIENCE_S
from support.wire_client import WireClient

PING_EVERY_S = 0.01

ASKED_AT_ONCE = 3000
"""Several times what the kernel and the daemon take for one reader."""


@dataclass(frozen=True)
class Latency:
    """Round trips of pings."""

    p50_ms: float
    p99_ms: float
    count: int


class Polite:
    """A client that pings all the while, in a process of its own: nobody takes its time."""

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_ping_on, args=(path, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Polite":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._ours.close()

    def lap(self) -> Latency:
        """The round trips since the last lap."""
        self._ours.send(None)
        assert self._ours.poll(PATIENCE_S), "the polite client was not answered"
        latency = self._ours.recv()
        assert isinstance(latency, Latency)
        return latency


def _ping_on(path: Path, laps: "Connection[Latency, None]") -> None:
    took_s: list[float] = []
    with WireClient(path) as client:
        client.hello()
        while True:
            if laps.poll(PING_EVERY_S):
                laps.recv()
                median_ms = 1000 * statistics.median(took_s)
                laps.send(Latency(median_ms, 1000 * percentile(took_s, 0.99), len(took_s)))
                took_s.clear()
            started = time.perf_counter()
            client.send(Ping(id=1))
            client.expect(Pong)
            took_s.append(time.perf_counter() - started)
            client.log.clear()


class StalledReader:
    """One connection that says what it is told to say, as far as it is taken, and reads nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsent = b""
        self._token: str | None = None
        self._connect()

    def _connect(self) -> None:
        with WireClient(self._path) as client:
            client.send(Hello(client="stalled", resume=self._token))
            self._token = client.expect(Welcome).resume
            self._socket = socket.socket(fileno=client.socket.detach())
        self._unsent = b""

    def say(self, *messages: ClientMessage) -> None:
        """Say something behind what could not be said yet."""
        self._unsent += b"".join(encode(message) for message in messages)
        self.push()

    def push(self) -> None:
        """Say as much as is taken now."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # it was given up
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent[: 2**16]) :]

    def take(self) -> int:
        """Read what there is, unlike one that stalls; returns how many bytes it was."""
        taken = 0
        with suppress(BlockingIOError):
            while data := self._socket.recv(2**16):
                taken += len(data)
        return taken

    def come_back(self) -> None:
        """Give the connection up, unread, and resume on another."""
        self._socket.close()
        self._connect()

    @property
    def unread_bytes(self) -> int:
        """What lies in the kernel for it."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
        return waiting[0]

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Outcome:
    """What a crowd of stalled readers cost the daemon and everybody else."""

    rounds: int
    given_up: int
    produced_bytes: int
    peak_bytes: int
    left_bytes: int
    before: Latency
    during: Latency
    after: Latency


def stall(
    daemon: Daemon,
    *,
    readers: int,
    produced_bytes: int,
    patience_s: float = 20.0,
    recovery_s: float = 30.0,
) -> Outcome:
    """Have so many readers ask for results and read none, until so many bytes were produced.

    Each asks for more than is taken for it, is given up as a slow consumer, comes back, and does
    it again as soon as all of them were. What counts as produced is what lies unread in the kernel.
    """
    with Polite(daemon.path) as polite:
        crowd = [StalledReader(daemon.path) for _ in range(readers)]
        for reader in crowd:
            reader.come_back()  # what is made once has been made
        time.sleep(2)
        base_bytes = memory_bytes(daemon.pid)
        before = polite.lap()
        produced = peak = rounds = given_up = 0
        while True:
            rounds += 1
            for reader in crowd:
                reader.say(*[GetStats()] * ASKED_AT_ONCE)
            ends_at_s = time.monotonic() + patience_s
            while given_up < readers * rounds and time.monotonic() < ends_at_s:
                for reader in crowd:
                    reader.push()
                time.sleep(0.1)
                peak = max(peak, memory_bytes(daemon.pid) - base_bytes)
                given_up = len(daemon.logged("slow_consumer"))
            produced += sum(reader.unread_bytes for reader in crowd)
            if produced >= produced_bytes:
                break
            for reader in crowd:
                reader.come_back()
        during = polite.lap()
        for reader in crowd:
            reader.close()
        time.sleep(recovery_s)
        after = polite.lap()
        left = memory_bytes(daemon.pid) - base_bytes
        return Outcome(rounds, given_up, produced, peak, left, before, during, after)


def read_along(daemon: Daemon, *, readers: int, produced_bytes: int) -> Latency:
    """A ping's time while so many readers ask for as much as stalled ones, and read it.

    What the same answers cost whoever reads them: against that a stalled crowd is judged.
    """
    with Polite(daemon.path) as polite:
        crowd = [StalledReader(daemon.path) for _ in range(readers)]
        time.sleep(2)
        polite.lap()
        for reader in crowd:
            reader.say(*[GetStats()] * ASKED_AT_ONCE)
        taken, ends_at_s = 0, time.monotonic() + PATIENCE_S
        while taken < produced_bytes and time.monotonic() < ends_at_s:
            for reader in crowd:
                reader.push()
                taken += reader.take()
            time.sleep(0.01)
        during = polite.lap()
        for reader in crowd:
            reader.close()
    assert taken >= produced_bytes, f"{taken} of {produced_bytes} bytes were answered"
    return during


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not pass (nearest rank)."""
    return sorted(values)[round((len(values) - 1) * share)]


def memory_bytes(pid: int) -> int:
    """What a process has for itself of the machine's memory."""
    return int(psutil.Process(pid).memory_full_info().uss)
