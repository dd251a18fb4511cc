"""Clients on a real socket: let in, turned away, half-closed, gone, or too slow."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asrd.config import Access
from asrd.providers.registry import Registry
from asrd.server import channel as channels
from asrd.server import connections
from asrd.server.admission import Admission, admission_of
from asrd.server.channel import SocketChannel
from asrd.server.connections import READ_BYTES, SHORT_READ_BYTES, Door, SocketConnection
from asrd.server.monotonic import MonotonicClock
from asrd.server.peer import Peer, PeerChannel
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import (
    Audio,
    ClientMessage,
    Closed,
    Error,
    GetHealth,
    GetStats,
    Health,
    Hello,
    Open,
    Ping,
    Pong,
    Segment,
    ServerMessage,
    Welcome,
)
from support.room import UTTERANCE, Room, run, settle, speech
from support.waiting import until

ONLY_US = admission_of(Access())
NOBODY = Admission(frozenset())


class Caller:
    """A client on the loop of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.log: list[ServerMessage] = []
        self._wire = ClientConnection()

    async def say(self, *messages: ClientMessage) -> None:
        self.writer.write(b"".join(encode(message) for message in messages))
        await self.writer.drain()

    async def hear(self, kind: type[ServerMessage]) -> ServerMessage:
        """The first message of that kind that comes now."""
        while True:
            data = await self.reader.read(2**16)
            assert data, f"the end came before {kind.__name__}: {self.log}"
            came = list(self._wire.receive(memoryview(data)))
            self.log += came
            for message in came:
                if isinstance(message, kind):
                    return message

    async def hear_all(self) -> list[ServerMessage]:
        """Everything up to the end of the connection."""
        try:
            while data := await self.reader.read(2**16):
                self.log += self._wire.receive(memoryview(data))
        except ConnectionResetError:  # what we said last was not read any more
            return self.log
        return self.log

    def told(self, kind: type[ServerMessage]) -> list[ServerMessage]:
        return [message for message in self.log if isinstance(message, kind)]

    async def leave(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


class House:
    """A room with a door on a real socket."""

    def __init__(self, room: Room, path: Path, admission: Admission, max_connections: int) -> None:
        self.room = room
        self.path = path
        self.door = Door(self._make_peer, admission, max_connections, room.clock)

    def _make_peer(self, channel: PeerChannel, uid: int) -> Peer:
        room = self.room
        return Peer(
            channel,
            uid=uid,
            hub=room.hub,
            sessions=room.sessions,
            reporter=room.reporter,
            turns=room.turns,
            shelf=room.shelf,
        )

    async def call(self) -> Caller:
        return Caller(*await asyncio.open_unix_connection(str(self.path)))

    async def greeted(self) -> Caller:
        caller = await self.call()
        await caller.say(Hello())
        await caller.hear(Welcome)
        return caller


@asynccontextmanager
async def open_house(
    registry: Registry,
    tmp_path: Path,
    *,
    max_connections: int = 10,
    admission: Admission = ONLY_US,
    **limits: float,
) -> AsyncIterator[House]:
    room = Room(registry, limits=dict(limits))
    house = House(room, tmp_path / "s", admission, max_connections)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: SocketConnection(house.door), str(house.path))
    try:
        yield house
    finally:
        server.close()
        for connection in list(house.door._connections):
            connection._door = Door(house._make_peer, NOBODY, 0, house.room.clock)
        for peer in house.door.peers:
            peer.finish()
        await asyncio.sleep(0)


def test_a_client_is_let_in_by_the_uid_that_the_kernel_attests(
    registry: Registry, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with open_house(registry, tmp_path) as house:
            caller = await house.greeted()
            (peer,) = house.door.peers
            assert peer._uid == os.geteuid()
            assert not house.door.empty.is_set()
            await caller.leave()
            await house.door.empty.wait()
            assert not house.door.peers

    run(scenario)


def test_another_users_client_is_turned_away_with_a_word(
    registry: Registry, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with open_house(registry, tmp_path, admission=NOBODY) as house:
            caller = await house.call()
            (error,) = await caller.hear_all()
            assert isinstance(error, Error)
            assert (error.code, error.fatal) == ("unauthorized", True)
            assert house.door.empty.is_set()
            await caller.leave()

    run(scenario)


def test_one_client_too_many_is_told_to_wait(registry: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_house(registry, tmp_path, max_connections=2) as house:
            first, second = await house.greeted(), await house.greeted()
            third = await house.call()
            (error,) = await third.hear_all()
            assert isinstance(error, Error)
            assert (error.code, error.fatal, error.retry_after_ms) == ("busy", True, 1000)
            await third.leave()
            await first.leave()
            await until(lambda: len(house.door.peers) == 1)
            fourth = await house.greeted()
            for caller in (second, fourth):
                await caller.say(Ping(id=1))
                await caller.hear(Pong)
                await caller.leave()

    run(scenario)


def test_a_half_closed_socket_is_answered_in_full(registry: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_house(registry, tmp_path) as house:
            caller = await house.greeted()
            await caller.say(Open(stream=0), GetHealth(deep=True))
            await caller.say(*_chunks(UTTERANCE + speech(1.0)))
            caller.writer.write_eof()
            log = await caller.hear_all()
            assert len(caller.told(Segment)) == 2
            assert len(caller.told(Health)) == 1
            assert isinstance(log[-1], Closed)
            await caller.leave()
            assert not house.room.hub.all_streams

    run(scenario)


def test_a_client_that_is_gone_closes_no_stream_and_may_come_back(
    registry: Registry, tmp_path: Path
) -> None:
    """A full close and a half-close look alike to a reader; only the kernel knows."""

    async def scenario() -> None:
        async with open_house(registry, tmp_path) as house:
            caller = await house.call()
            await caller.say(Hello())
            welcome = await caller.hear(Welcome)
            assert isinstance(welcome, Welcome)
            await caller.say(Open(stream=0), *_chunks(UTTERANCE + speech(1.0)))
            await caller.hear(Segment)
            await settle()  # all that was said is read on both sides: nothing tells but the end
            await caller.leave()
            await house.door.empty.wait()
            await settle()
            assert len(house.room.hub.all_streams) == 1
            again = await house.call()
            await again.say(Hello(resume=welcome.resume))
            answer = await again.hear(Welcome)
            assert isinstance(answer, Welcome)
            assert answer.resumed
            await again.leave()

    run(scenario)


@pytest.mark.parametrize("how", ["reset", "in_a_frame", "before_hello"])
def test_a_client_that_breaks_off_disturbs_nobody(
    registry: Registry, tmp_path: Path, how: str
) -> None:
    async def scenario() -> None:
        async with open_house(registry, tmp_path) as house:
            other = await house.greeted()
            caller = await house.call() if how == "before_hello" else await house.greeted()
            if how == "in_a_frame":
                caller.writer.write(encode(Ping(id="cut"))[:5])
            if how == "reset":
                await caller.say(*(Ping(id=number) for number in range(100)))
            caller.writer.transport.abort()
            await until(lambda: len(house.door.peers) == 1)
            await other.say(Ping(id=1))
            await other.hear(Pong)
            await other.leave()
            await caller.leave()

    run(scenario)


def test_a_client_that_reads_nothing_is_closed_and_others_are_served(
    registry: Registry, tmp_path: Path
) -> None:
    """It asks for far more than its outbox, the kernel's buffer and the daemon's hold."""

    async def scenario() -> None:
        async with open_house(registry, tmp_path) as house:
            other = await house.greeted()
            others = house.door.peers
            slow = await house.greeted()
            slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
            (stalled,) = (peer for peer in house.door.peers if peer not in others)
            while not stalled.outbox.is_crowded:
                slow.writer.write(encode(GetStats()) * 100)
                await asyncio.sleep(0)
            assert stalled.outbox.held_bytes < 2**18
            house.room.clock.advance(5.1)
            for peer in house.door.peers:
                peer.check()
            slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
            await slow.hear_all()
            last = slow.log[-1]
            assert isinstance(last, Error)
            assert (last.code, last.fatal) == ("slow_consumer", True)
            await other.say(Ping(id=1))
            await other.hear(Pong)
            await slow.leave()
            await other.leave()

    run(scenario)


def _paired(buffered: int) -> tuple[socket.socket, socket.socket]:
    """Two ends; the first sends through a small buffer."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffered)
    for end in (ours, theirs):
        end.setblocking(False)
    return ours, theirs


@pytest.mark.parametrize("does_read", [True, False])
def test_a_closing_connection_waits_for_a_reader_as_long_as_it_takes_something(
    monkeypatch: pytest.MonkeyPatch, does_read: bool
) -> None:
    """Once the kernel holds all it can, so that the channel's buffer stays as it is for long."""
    monkeypatch.setattr(channels, "LINGER_S", 0.3)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = _paired(4096)
        lost: asyncio.Future[None] = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set_result(None)

        transport, _ = await loop.create_connection(Protocol, sock=ours)
        channel = SocketChannel(transport, MonotonicClock())
        channel.write(bytes(200_000))
        channel.close()

        async def look() -> None:
            while not lost.done():
                await asyncio.sleep(0.02)
                channel.check()

        looking = asyncio.ensure_future(look())
        got = 0
        with theirs:
            if not does_read:
                await lost
            while data := await loop.sock_recv(theirs, 8192):
                got += len(data)
                await asyncio.sleep(0.03)  # the whole takes several times the linger
        assert got == 200_000 if does_read else got < 50_000
        await lost
        await looking

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else tells what the kernel holds")
def test_what_the_reader_takes_of_the_kernels_buffer_shows() -> None:
    """The channel's own buffer stays as it is until the kernel's is almost empty."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        channel = SocketChannel(transport, MonotonicClock())
        while not channel.buffered_bytes:
            channel.write(bytes(1000))
        before, buffered = channel.untaken_bytes, channel.buffered_bytes
        with theirs:
            theirs.recv(5000)
            assert channel.untaken_bytes < before
            assert channel.buffered_bytes == buffered
            transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert channel.untaken_bytes == channel.buffered_bytes  # its descriptor is gone

    run(scenario)


def test_a_crowd_that_floods_keeps_short_reads_and_gives_them_back(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_KEPT_READS", 3)

    async def scenario() -> None:
        async with open_house(registry, tmp_path, max_connections=20) as house:
            callers = [await house.greeted() for _ in range(12)]
            for peer in house.door.peers:
                peer._hearing._is_crowded = lambda: True
            for caller in callers:
                caller.writer.write(encode(Ping(id="x" * 100)) * 30)
            await until(lambda: len(connections._kept_reads) == len(callers))
            held = [reference() for reference in connections._kept_reads.values()]
            sizes = sorted(len(buffer) for buffer in held if buffer is not None)
            del held
            assert sizes == [SHORT_READ_BYTES] * 9 + [READ_BYTES] * 3
            for peer in house.door.peers:
                peer._hearing._is_crowded = lambda: False
                peer.resumed_writing()
            for caller in callers:
                while len(caller.told(Pong)) < 30:
                    await caller.hear(Pong)
                await caller.leave()
            assert not connections._kept_reads
            await until(lambda: not house.door.peers)

    run(scenario)


def _chunks(pcm: bytes) -> list[Audio]:
    return [
        Audio(stream=0, data=pcm[begin : begin + 32_000]) for begin in range(0, len(pcm), 32_000)
    ]
