"""The little HTTP: everything bounded, whatever comes, and every connection answered or closed."""

import asyncio
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asrd.server import http
from asrd.server.http import (
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_TURNED_AWAY,
    HttpListener,
    is_loopback_name,
)
from asrd.server.pages import Page, sentence
from asrd.server.tasks import TaskKeeper
from support.room import run, settle
from support.waiting import until

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n"

Answer = Callable[[str, str], Awaitable[Page]]


async def echo(path: str, accept: str) -> Page:
    return sentence(200, f"{path} {accept}")


@asynccontextmanager
async def listening(answer: Answer = echo) -> AsyncIterator["Scene"]:
    bound = socket.create_server(("127.0.0.1", 0))
    tasks = TaskKeeper()
    listener = HttpListener(bound, answer, is_own_name=is_loopback_name, tasks=tasks)
    scene = Scene(bound.getsockname()[1], listener)
    try:
        yield scene
    finally:
        listener.close()
        await tasks.stop()
        await asyncio.sleep(0)


class Scene:
    def __init__(self, port: int, listener: HttpListener) -> None:
        self.port = port
        self.listener = listener

    async def say(self, *parts: bytes, ends: bool = False) -> bytes:
        """Send pieces, then read to the end of what is answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if ends:
                writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def status(self, *parts: bytes) -> int:
        answer = await self.say(*parts)
        return int(answer.split()[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    async def everybody_left(self) -> None:
        await until(lambda: not self.listener._connections)


def has_ended(client: socket.socket) -> bool:
    """Whether a connection on which nothing was told is gone."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_page_is_told_with_its_type_and_length_and_the_end() -> None:
    async def scenario() -> None:
        async with listening() as scene:
            head, _, body = (await scene.say(GET)).partition(b"\r\n\r\n")
            assert body == b"/a text/plain\n"
            lines = head.split(b"\r\n")
            assert lines[0] == b"HTTP/1.1 200 OK"
            assert {b"Content-Length: 14", b"Connection: close"} <= set(lines)
            assert b"Content-Type: text/plain; charset=utf-8" in lines

    run(scenario)


def test_a_request_may_come_a_byte_at_a_time_and_end_behind_its_head() -> None:
    async def scenario() -> None:
        async with listening() as scene:
            pieces = [GET[at : at + 1] for at in range(len(GET))]
            assert (await scene.say(*pieces)).endswith(b"/a text/plain\n")
            assert (await scene.say(GET, ends=True)).endswith(b"/a text/plain\n")
            await scene.everybody_left()

    run(scenario)


def test_a_head_is_answered_without_the_body() -> None:
    async def scenario() -> None:
        async with listening() as scene:
            answer = await scene.say(GET.replace(b"GET", b"HEAD"))
            assert b"Content-Length: 14\r\n" in answer
            assert answer.endswith(b"\r\n\r\n")

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET.replace(b"GET", b"POST"), 405),
        (GET.replace(b"GET", b"DELETE"), 405),
        (GET.replace(b"GET", b"CONNECT"), 405),
        (GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"), 400),
        (GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"), 200),
        (GET.replace(b"/a", b"http://localhost/a"), 400),
        (GET.replace(b"Host: localhost\r\n", b""), 400),
        (b"GET /a HTTP/1.0\r\n\r\n", 200),
        (GET.replace(b"localhost", b"127.0.0.1:9464"), 200),
        (GET.replace(b"localhost", b"[::1]:9464"), 200),
        (GET.replace(b"localhost", b"rebound.example"), 421),
        (GET.replace(b"localhost", b"localhost.rebound.example:80"), 421),
        (b"not http at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (GET[:-2] + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"x" * (MAX_HEAD_BYTES + 1), 431),
    ],
)
def test_what_is_no_request_for_a_page_is_told_so(request_: bytes, status: int) -> None:
    async def scenario() -> None:
        async with listening() as scene:
            assert await scene.status(request_) == status

    run(scenario)


def test_the_whole_of_a_long_head_is_taken() -> None:
    async def scenario() -> None:
        async with listening() as scene:
            begin = GET[:-2] + b"X: "
            longest = begin + b"x" * (MAX_HEAD_BYTES - len(begin) - 4) + b"\r\n\r\n"
            assert len(longest) == MAX_HEAD_BYTES
            assert await scene.status(longest) == 200

    run(scenario)


def test_a_page_that_takes_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(path: str, accept: str) -> Page:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        async with listening(never) as scene:
            assert await scene.status(GET) == 503

    monkeypatch.setattr(http, "ANSWER_S", 0.02)
    run(scenario)


@pytest.mark.parametrize("said", [b"", b"GET /a HT", GET])
def test_who_is_not_done_in_time_is_broken_off(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it that the request does not come, or that its answer is not taken."""

    async def large(path: str, accept: str) -> Page:
        return Page(status=200, body=bytes(2**24))

    async def scenario() -> None:
        async with listening(large) as scene:
            with socket.create_connection(("127.0.0.1", scene.port)) as client:
                client.sendall(said)
                await until(lambda: bool(scene.listener._connections))
                await scene.everybody_left()

    monkeypatch.setattr(http, "REQUEST_S", 0.05)
    run(scenario)


def test_who_floods_behind_the_request_is_broken_off() -> None:
    async def scenario() -> None:
        async with listening() as scene:
            await scene.say(GET, *[bytes(2**14)] * 8)
            await scene.everybody_left()

    run(scenario)


@pytest.mark.parametrize("said", [b"G", GET[:-1], b"GET /a HTTP/1.1\r\n"])
def test_a_head_that_is_cut_short_is_told_so(said: bytes) -> None:
    async def scenario() -> None:
        async with listening() as scene:
            assert (await scene.say(said, ends=True)).startswith(b"HTTP/1.1 400 ")
            await scene.everybody_left()
            assert await scene.say(ends=True) == b""  # who only looks whether somebody listens

    run(scenario)


def test_who_says_nothing_keeps_nobody_out() -> None:
    """The one that has been silent for longest goes, be it that half of its request is there."""

    async def scenario() -> None:
        async with listening() as scene:
            with ExitStack() as crowd:
                silent: list[socket.socket] = []

                async def come() -> None:
                    before = scene.listener._connections.copy()
                    client = crowd.enter_context(scene.connect())
                    client.sendall(GET[: len(silent) % 7])
                    silent.append(client)
                    await until(lambda: bool(scene.listener._connections.keys() - before.keys()))
                    assert len(scene.listener._connections) <= MAX_CONNECTIONS

                for _ in range(MAX_CONNECTIONS):
                    await come()
                assert await scene.status(GET) == 200
                assert [has_ended(each) for each in silent] == [True] + [False] * 31
                for number in range(4 * MAX_CONNECTIONS):
                    await come()
                    if number % MAX_CONNECTIONS == 0:
                        assert await scene.status(GET) == 200
            await scene.everybody_left()

    run(scenario)


def test_too_many_are_told_so_and_far_too_many_are_not_even_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where all have asked, and wait."""
    monkeypatch.setattr(http, "LINGER_S", 0.05)
    may_answer = asyncio.Event()

    async def late(path: str, accept: str) -> Page:
        await may_answer.wait()
        return await echo(path, accept)

    async def scenario() -> None:
        async with listening(late) as scene:
            address = "127.0.0.1", scene.port
            idle = [await asyncio.open_connection(*address) for _ in range(MAX_CONNECTIONS)]
            for _, writer in idle:
                writer.write(GET)
            await until(
                lambda: (
                    sum(not each.has_not_asked for each in scene.listener._connections)
                    == MAX_CONNECTIONS
                )
            )
            assert await scene.status() == 503
            crowd = [await asyncio.open_connection(*address) for _ in range(3 * MAX_TURNED_AWAY)]
            for reader, writer in crowd:
                with suppress(ConnectionError):  # those beyond
                    told = await reader.read()
                    assert told == b"" or told.startswith(b"HTTP/1.1 503")
                writer.close()
                assert len(scene.listener._connections) <= MAX_CONNECTIONS + MAX_TURNED_AWAY
            may_answer.set()
            for reader, writer in idle:
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                writer.close()
            await scene.everybody_left()
            assert await scene.status(GET) == 200

    run(scenario)


def test_who_leaves_while_a_page_is_made_leaves_nothing() -> None:
    began = asyncio.Event()

    async def never(path: str, accept: str) -> Page:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        async with listening(never) as scene:
            client = socket.create_connection(("127.0.0.1", scene.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(GET)
            await began.wait()
            client.close()  # broken off: the end of what is said would be no end of the answer
            await scene.everybody_left()

    run(scenario)


def test_without_a_descriptor_each_client_is_told_so() -> None:
    """With the one that the acceptor keeps for it."""

    async def scenario() -> None:
        async with listening() as scene:
            clients = [socket.create_connection(("127.0.0.1", scene.port)) for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with closing(socket.socket()) as probe:
                next_one = probe.fileno()
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
            try:
                await settle()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in clients:
                with client:
                    assert client.recv(100).startswith(b"HTTP/1.1 503 ")
            assert await scene.status(GET) == 200

    run(scenario)


PIECES = (
    *(b"GET ", b"HEAD ", b"/", b"/metrics", b" HTTP/1.1", b" HTTP/9.9", b"\r\n", b"\n", b"\0"),
    *(b"Host: localhost", b"Content-Length: -1", b"Transfer-Encoding: chunked", b":", b" "),
    *(b"Accept: \xff", b"Upgrade: h2c\r\nConnection: Upgrade", b"x" * 5000),
)
REQUESTS = st.one_of(
    st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
)


def test_whatever_comes_is_answered_or_closed_and_leaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing raises: an error in a callback of the loop fails the test."""
    monkeypatch.setattr(http, "REQUEST_S", 0.2)
    monkeypatch.setattr(http, "LINGER_S", 0.05)
    raised: list[dict[str, object]] = []

    async def scene_of(said: bytes) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        async with listening() as scene:
            answer = await scene.say(said, ends=True)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            await scene.everybody_left()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(REQUESTS)
    @example(GET + GET)
    @example(b"\r\n" * 4000)
    def each(said: bytes) -> None:
        asyncio.run(asyncio.wait_for(scene_of(said), 10))

    each()
    before = psutil.Process().num_fds()
    each()
    assert psutil.Process().num_fds() <= before
    assert not raised


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("LocalHost.:80", True),
        ("127.0.0.1", True),
        ("127.8.8.8:1", True),
        ("[::1]", True),
        ("[::1]:9464", True),
        ("192.168.0.1", False),
        ("0.0.0.0:9464", False),
        ("[::]:9464", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com:9464", False),
        ("127.0.0.1:9464:1", False),
        ("", False),
    ],
)
def test_names_that_only_the_machine_itself_has(host: str, is_ours: bool) -> None:
    assert is_loopback_name(host) is is_ours
