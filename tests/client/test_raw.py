"""A connection for frames as they are: what is sent arrives, and its end is told from a refusal."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from asrd.client import raw
from asrd.client.errors import ConnectionLost, Unreachable
from asrd.client.raw import BARRIER, RawConnection, answers, connected, framed
from asrd.wire.codec import encode
from asrd.wire.messages import Error, Hello, Ping, Pong, ServerMessage
from asrd.wire.recording import packed
from support.fake_daemon import HANG_UP, FakeDaemon, Reply, Rule, listening, refusal, welcome
from support.waiting import until

HELLO = framed(packed({"type": "hello"}))


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(whole())


class Scene:
    """A daemon of a few lines and one connection to it."""

    def __init__(self, path: Path, rules: dict[type, Rule] | None = None) -> None:
        self.path = path / "s"
        self.daemon = FakeDaemon(rules=rules or {})
        self.told: list[ServerMessage] = []

    async def use(self, work: Callable[[RawConnection], Coroutine[Any, Any, None]]) -> None:
        async with (
            listening(self.daemon, self.path),
            connected(self.path, self.told.append) as connection,
        ):
            await work(connection)


class Mute(asyncio.Protocol):
    """Takes everything; says nothing but the first words that it is given."""

    def __init__(self, first: bytes = b"", then: str = "") -> None:
        self.came = bytearray()
        self._first = first
        self._then = then

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._first)
        if self._then:
            getattr(transport, self._then)()

    def data_received(self, data: bytes) -> None:
        self.came += data


def run_with(
    path: Path, mute: Mute, work: Callable[[RawConnection], Coroutine[Any, Any, None]]
) -> None:
    async def scenario() -> None:
        server = await asyncio.get_running_loop().create_unix_server(lambda: mute, path)
        async with server, connected(path, lambda _: None) as connection:
            await work(connection)

    run(scenario)


def test_bytes_go_as_they_are_broken_ones_too(tmp_path: Path) -> None:
    mute = Mute()
    noise = b"\0\0\0\3\xc1\xc1\xc1" + framed(b"x" * 200_000)

    async def work(connection: RawConnection) -> None:
        assert await connection.write(noise)
        assert await connection.write(b"")
        await until(lambda: len(mute.came) >= len(noise))

    run_with(tmp_path / "s", mute, work)
    assert mute.came == noise


def test_all_that_is_said_is_passed_on_but_the_answer_to_our_own_ping(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    async def work(connection: RawConnection) -> None:
        await connection.barrier()  # before the hello there is nothing to wait for
        assert scene.daemon.heard == []
        await connection.ask(HELLO)
        assert connection.is_greeted
        await connection.write(encode(Ping(id="theirs")))
        await connection.barrier()
        assert scene.told == [welcome(), Pong(id="theirs")]

    run(lambda: scene.use(work))
    assert scene.daemon.heard == [Hello(), Ping(id="theirs"), Ping(id=BARRIER)]


@pytest.mark.parametrize("is_fatal", [True, False])
def test_a_refusal_is_told_from_an_end(tmp_path: Path, is_fatal: bool) -> None:
    scene = Scene(tmp_path, {Hello: lambda _: [refusal("busy", is_fatal=is_fatal), HANG_UP]})

    async def work(connection: RawConnection) -> None:
        await connection.write(HELLO)
        await connection.finish()
        assert connection.has_ended
        assert connection.was_refused == is_fatal
        assert not connection.is_greeted
        assert not await connection.write(HELLO)

    run(lambda: scene.use(work))
    assert [each.code for each in scene.told if isinstance(each, Error)] == ["busy"]


def test_an_end_lets_go_whoever_waits(tmp_path: Path) -> None:
    async def work(connection: RawConnection) -> None:
        await connection.ask(HELLO)
        connection.is_greeted = True
        await connection.barrier()
        assert connection.has_ended

    run_with(tmp_path / "s", Mute(then="abort"), work)


def test_what_can_still_be_said_after_our_end_is_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came = await reader.read()
            writer.write(encode(Pong(id=len(came))))
            writer.close()

        told: list[ServerMessage] = []
        async with (
            await asyncio.start_unix_server(serve, tmp_path / "s"),
            connected(tmp_path / "s", told.append) as connection,
        ):
            await connection.write(bytes(7))
            await connection.finish()
        assert told == [Pong(id=7)]

    run(scenario)


def test_no_answer_to_a_hello_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "ANSWER_TIMEOUT_S", 0.01)

    async def work(connection: RawConnection) -> None:
        with pytest.raises(ConnectionLost, match=r"gave no answer in 0\.01 s"):
            await connection.ask(HELLO)

    run_with(tmp_path / "s", Mute(), work)


def test_what_cannot_be_read_is_raised_where_the_connection_is_used(tmp_path: Path) -> None:
    async def work(connection: RawConnection) -> None:
        await connection.finish()

    with pytest.raises(ConnectionLost, match="cannot be read"):
        run_with(tmp_path / "s", Mute(b"\0\0\0\1\xc1"), work)


@pytest.mark.parametrize("name", ["nobody", "x" * 200])
def test_where_nobody_listens_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        with pytest.raises(Unreachable, match=name):
            async with connected(tmp_path / name, lambda _: None):
                pytest.fail("connected")

    run(scenario)


def test_it_is_broken_off_at_the_end_and_nothing_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        gone = asyncio.Event()

        class Watcher(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                gone.set()

        server = await asyncio.get_running_loop().create_unix_server(Watcher, tmp_path / "s")
        before = asyncio.all_tasks()
        async with server:
            with pytest.raises(LookupError):
                async with connected(tmp_path / "s", lambda _: None):
                    raise LookupError
            await gone.wait()
            assert asyncio.all_tasks() == before

    run(scenario)


@pytest.mark.parametrize(
    ("reply", "does_answer"),
    [([welcome()], True), ([refusal("busy", is_fatal=True)], False), ([HANG_UP], False)],
)
def test_only_a_welcome_is_an_answer(tmp_path: Path, reply: Reply, does_answer: bool) -> None:
    async def scenario() -> None:
        assert not await answers(tmp_path / "s", 5)
        async with listening(FakeDaemon(rules={Hello: lambda _: reply}), tmp_path / "s"):
            assert await answers(tmp_path / "s", 5) == does_answer

    run(scenario)


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 400 Bad Request\r\n"])
def test_what_is_no_daemon_gives_no_answer(tmp_path: Path, first: bytes) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_unix_server(lambda: Mute(first), tmp_path / "s"):
            assert not await answers(tmp_path / "s", 0.01)

    run(scenario)


def test_a_frame_is_its_length_and_its_payload() -> None:
    assert framed(b"ab") == b"\0\0\0\2ab"
    assert framed(bytes(2**21))[:4] == b"\0\x20\0\0"  # however large
