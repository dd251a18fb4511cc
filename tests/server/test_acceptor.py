"""Clients in a socket's queue: all are let in or told why not, also without a descriptor left."""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from asrd.errors import ErrorCode
from asrd.server.acceptor import ACCEPTED_AT_ONCE, RETRY_S, Acceptor
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import Error
from support.room import run, settle
from support.waiting import until

MANY = 2 * ACCEPTED_AT_ONCE + 8


class Listener(socket.socket):
    """A listening socket whose `accept` fails while there are `failures` left."""

    failures: list[int]
    asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.failures:
            raise OSError(self.failures.pop(0), "as the test wants it")
        return super().accept()


class Scene:
    """An acceptor on a real socket, and what became of its clients."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.listener = stack.enter_context(Listener(socket.AF_UNIX))
        self.listener.failures = []
        self.listener.bind(str(path))
        self.listener.listen(2 * MANY)
        self.path = path
        self.started: list[asyncio.Task[None]] = []
        self.served: list[asyncio.BaseTransport] = []
        self.refused: list[str] = []
        self.problems: list[OSError] = []
        self.stack = stack
        self.acceptor = Acceptor(
            self.listener, self._make, start=self._start, on_refusal=self.refused.append
        )
        stack.callback(self._end)

    def connect(self, count: int = 1) -> list[socket.socket]:
        """So many clients, who stand in the queue now."""
        clients = []
        for _ in range(count):
            clients.append(self.stack.enter_context(socket.socket(socket.AF_UNIX)))
            clients[-1].connect(str(self.path))
            clients[-1].setblocking(False)
        return clients

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.started.append(asyncio.create_task(work))

    def _make(self) -> asyncio.BaseProtocol:
        if self.problems:
            raise self.problems.pop(0)
        scene = self

        class Served(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                scene.served.append(transport)

        return Served()

    def _end(self) -> None:
        self.acceptor.close()
        for transport in self.served:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()


def run_with(path: Path, scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        with ExitStack() as stack:
            await scenario(Scene(path / "s", stack))
        await settle()

    run(whole)


def told(client: socket.socket) -> list[Any]:
    """What a client hears to the end of its connection."""
    data = b"".join(iter(lambda: client.recv(2**16), b""))
    return list(ClientConnection().receive(memoryview(data)))


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """No file can be opened inside: the number that would come next is beyond the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── with room ─────────────────────────────────────────────────────────────────────────────────


def test_a_crowd_is_let_in_a_few_in_each_turn_of_the_loop(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.connect(MANY)
        grown = []
        while len(scene.started) < MANY:
            before = len(scene.started)
            await asyncio.sleep(0)
            grown.append(len(scene.started) - before)
        assert max(grown) == ACCEPTED_AT_ONCE
        await until(lambda: len(scene.served) == MANY)
        assert scene.refused == []

    run_with(tmp_path, scenario)


def test_the_rest_of_the_queue_is_in_before_the_end(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.connect(MANY)
        await scene.acceptor.accept_rest()
        assert len(scene.served) == MANY
        await scene.acceptor.accept_rest()  # nobody is there: it is over at once

    run_with(tmp_path, scenario)


def test_a_client_for_whom_there_is_no_memory_is_hung_up_on_and_the_next_is_served(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        scene.problems = [OSError(errno.ENOMEM, "no memory")]
        unlucky, _ = scene.connect(2)
        await scene.acceptor.accept_rest()
        assert len(scene.served) == 1
        assert told(unlucky) == []

    with capture_logs() as logs:
        run_with(tmp_path, scenario)
    assert [line["event"] for line in logs] == ["connection_lost"]


@pytest.mark.parametrize("passing", [errno.EINTR, errno.ECONNABORTED, errno.EAGAIN])
def test_a_client_who_has_gone_again_is_no_trouble(tmp_path: Path, passing: int) -> None:
    async def scenario(scene: Scene) -> None:
        scene.listener.failures = [passing]
        scene.connect()
        await scene.acceptor.accept_rest()
        assert len(scene.served) == 1

    with capture_logs() as logs:
        run_with(tmp_path, scenario)
    assert logs == []


def test_at_its_end_everything_is_given_back_and_nobody_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = psutil.Process().num_fds()
        with ExitStack() as stack:
            scene = Scene(tmp_path / "s", stack)
            scene.connect()
            await scene.acceptor.accept_rest()
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(str(scene.path))
        await settle()
        assert psutil.Process().num_fds() == before

    run(scenario)


# ── without a descriptor ──────────────────────────────────────────────────────────────────────


def test_without_a_descriptor_each_client_is_told_so_and_the_log_once(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for _ in range(2):
            clients = scene.connect(3)
            with no_descriptor_left():
                await settle()
            for client in clients:
                (error,) = told(client)
                assert error == Error(
                    code=ErrorCode.BUSY,
                    message="the daemon has no file descriptor left",
                    fatal=True,
                    retry_after_ms=1000,
                )
            assert scene.served == []
        assert scene.refused == [ErrorCode.BUSY] * 6
        scene.connect()
        await scene.acceptor.accept_rest()
        assert len(scene.served) == 1
        scene.connect()
        with no_descriptor_left():
            await settle()  # there was room between: this is news

    with capture_logs() as logs:
        run_with(tmp_path, scenario)
    assert [line["event"] for line in logs] == ["no_descriptors"] * 2


def test_what_a_client_had_said_makes_no_reset_of_the_reason(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        (client,) = scene.connect()
        client.send(bytes(10_000))
        with no_descriptor_left():
            await settle()
        (error,) = told(client)  # a reset would raise here
        assert error.code == ErrorCode.BUSY

    run_with(tmp_path, scenario)


def test_where_nobody_can_even_be_told_accepting_pauses(tmp_path: Path) -> None:
    """Else the loop would spin on a socket that stays readable."""

    async def scenario(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        later: list[tuple[float, Callable[[], object]]] = []
        call_later = loop.call_later

        def held(delay_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
            later.append((delay_s, callback))
            return call_later(1000, callback)

        loop.call_later = held  # type: ignore[method-assign, assignment]
        scene.listener.failures = [errno.ENFILE, errno.ENFILE]
        scene.connect()
        await settle()
        assert scene.listener.asked == 2  # with the reserve given up, too
        ((delay_s, go_on),) = later
        assert delay_s == RETRY_S
        go_on()
        await scene.acceptor.accept_rest()
        assert len(scene.served) == 1
        assert scene.refused == []

    run_with(tmp_path, scenario)


def test_one_that_pauses_can_be_closed(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.listener.failures = [errno.EMFILE, errno.EMFILE]
        scene.connect()
        await settle()
        retry = scene.acceptor._retry
        assert retry is not None
        scene.stack.close()
        assert retry.cancelled()

    run_with(tmp_path, scenario)


def test_the_reserve_is_taken_again_once_that_is_possible(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.listener.failures = [errno.EMFILE, errno.EAGAIN]  # the client has gone meanwhile
        scene.connect()
        await settle()
        assert len(scene.served) == 1
        scene.connect(2)
        with no_descriptor_left():
            await settle()
        assert len(scene.refused) == 2

    run_with(tmp_path, scenario)


def test_an_error_of_whatever_kind_is_told_once_and_looked_at_now_and_then(tmp_path: Path) -> None:
    """It would be there at every look, and the loop would do nothing else."""

    async def scenario(scene: Scene) -> None:
        scene.listener.failures = [errno.EPERM] * 2
        scene.connect()
        await settle()
        assert scene.listener.asked == 1
        await until(lambda: len(scene.served) == 1)
        assert scene.listener.asked >= 3
        scene.listener.failures = [errno.EPERM]  # it had gone meanwhile: this is news
        scene.connect()
        await until(lambda: len(scene.served) == 2)

    with capture_logs() as logs:
        run_with(tmp_path, scenario)
    assert [line["event"] for line in logs] == ["accept_failed"] * 2
