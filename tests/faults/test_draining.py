"""The drain: who comes meanwhile is told, and nobody holds it up."""

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from asrd.wire.codec import encode
from asrd.wire.messages import Closed, Error, Hello, Open, Opened, Ping, Segment, Welcome
from faults.scenes import MARKED_AT_S, PHRASE, is_decoding, unruly_daemon
from support.daemon import Daemon, command, environment, running_daemon
from support.unruly import marked
from support.waiting import wait_until
from support.wire_client import Ended, WireClient

BUSY_MACHINE_S = 1.0
"""What a test grants a machine that has other things to do."""

ENOUGH = 11
BAD = marked(PHRASE, MARKED_AT_S)


def test_who_connects_during_the_drain_is_told(tmp_path: Path) -> None:
    with unruly_daemon(tmp_path, deed="sleep") as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        client.speak(1, BAD)
        wait_until(lambda: is_decoding(client), "a decode that never ends")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the drain")
        for _ in range(20):
            with WireClient(daemon.path) as late:
                error = late.expect(Error)
                assert (error.code, error.fatal) == ("draining", True)
                assert error.retry_after_ms
                late.read_to_end()
        client.send(Open(stream=2))
        assert client.expect(Error).code == "draining"
        assert daemon.terminate() == 0


def test_nobody_is_left_in_the_queue_at_the_end(tmp_path: Path) -> None:
    """Who connects, at whatever moment of the end, is served, told, or finds no daemon.

    The drain lasts until more than ten were told, and then ends while others come.
    """
    with running_daemon(tmp_path, limits={"drain_timeout_s": 15.0}) as daemon:
        with daemon.greet() as client:
            client.open(1, partials=False)
            worker = daemon.worker("echo/echo")
            os.kill(worker, signal.SIGSTOP)
            client.speak(1, PHRASE)
            daemon.process.send_signal(signal.SIGTERM)
            # Who is quicker than the signal is served as ever, and is told nothing.
            wait_until(lambda: daemon.logged("draining"), "the drain")
            told = 0
            while daemon.process.poll() is None:
                if told == ENOUGH:
                    os.kill(worker, signal.SIGCONT)
                    client.socket.close()
                try:
                    late = WireClient(daemon.path)
                except (FileNotFoundError, ConnectionRefusedError):
                    continue
                with late:
                    with suppress(Ended):
                        late.send(Hello())
                    assert late.expect(Error).code == "draining"
                    told += 1
        assert told >= ENOUGH
        assert daemon.process.returncode == 0


def _stop_reading(client: WireClient) -> None:
    """Ask for answers until no more is taken, and read none of them."""
    client.socket.setblocking(True)
    client.socket.settimeout(0.2)
    pings = b"".join(encode(Ping(id="x" * 200)) for _ in range(200))
    with suppress(TimeoutError):
        while True:
            client.socket.sendall(pings)


@pytest.mark.parametrize("when", ["before", "amid"])
def test_a_reader_that_stalls_does_not_hold_up_the_end(tmp_path: Path, when: str) -> None:
    """Whether it does so before the end begins, or at results that come during the drain."""
    drain_s = 2.0
    with (
        running_daemon(tmp_path, limits={"drain_timeout_s": drain_s}) as daemon,
        WireClient(daemon.path) as stalled,
        daemon.greet() as other,
    ):
        stalled.hello()
        if when == "before":
            _stop_reading(stalled)
        else:
            stalled.open(1, source="file", partials=False)
        other.open(1, partials=False)
        other.speak(1, PHRASE)
        worker = daemon.worker("echo/echo")
        if when == "amid":
            os.kill(worker, signal.SIGSTOP)  # so that there is a drain to be amid of
            stalled.speak(1, PHRASE)
        started = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        if when == "amid":
            wait_until(lambda: daemon.logged("draining"), "the drain")
            _stop_reading(stalled)
            os.kill(worker, signal.SIGCONT)
        assert other.expect(Closed).reason == "shutdown"
        assert len(other.logged(Segment)) == 1
        assert daemon.process.wait(20) == 0
        assert time.monotonic() - started < drain_s + 2.0 + BUSY_MACHINE_S


STREAMS = 64
CLIENTS = 12
"""With as many streams each more than any event may be logged at once."""


def test_every_stream_leaves_its_line_however_many_end_at_once(tmp_path: Path) -> None:
    """At the level of every day: at `debug` nothing is left out anyway."""
    with running_daemon(tmp_path, log_level="info") as daemon, ExitStack() as stack:
        clients = [stack.enter_context(daemon.greet()) for _ in range(CLIENTS)]
        for client in clients:
            client.send(*(Open(stream=number) for number in range(STREAMS)))
        for client in clients:
            for _ in range(STREAMS):
                client.expect(Opened)
        daemon.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.read_to_end()
        assert daemon.process.wait(20) == 0
        ended = Counter((line["session"], line["stream"]) for line in daemon.logged("stream_ended"))
        assert len(ended) == CLIENTS * STREAMS
        assert set(ended.values()) == {1}


def test_a_second_signal_leaves_every_stream_its_line(tmp_path: Path) -> None:
    with (
        unruly_daemon(tmp_path, deed="sleep") as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.open(2, partials=False)
        client.speak(1, BAD)
        wait_until(lambda: is_decoding(client), "a decode that never ends")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the drain")
        assert client.expect(Closed).stream == 2
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
        ended = [(line["stream"], line["reason"]) for line in daemon.logged("stream_ended")]
        assert ended == [(2, "shutdown"), (1, "shutdown")]


class ActivatedDaemon(Daemon):
    """A daemon that is handed a listening socket, as by a service manager."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        folder.mkdir()
        self.path = Path(listener.getsockname())
        self.stderr_path = folder / "stderr"
        script = 'number=$1; shift; exec 3<&"$number"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        daemon = command(folder / "unused")
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script, "bash", str(listener.fileno()), *daemon],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[listener.fileno()],
            )


def test_who_comes_to_a_service_managers_socket_is_served_by_the_successor(tmp_path: Path) -> None:
    """The manager keeps the socket, and starts the next daemon for who waits in its queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(8)
        first = ActivatedDaemon(tmp_path / "first", listener)
        try:
            first.wait_until_ready()
            with first.greet() as client:
                client.open(1, partials=False)
                worker = first.worker("echo/echo")
                os.kill(worker, signal.SIGSTOP)
                client.speak(1, PHRASE)
                first.process.send_signal(signal.SIGTERM)
                wait_until(lambda: first.logged("draining"), "the drain")
                late = WireClient(first.path)
                late.send(Hello())
                os.kill(worker, signal.SIGCONT)
                assert client.expect(Closed).reason == "shutdown"
                assert len(client.logged(Segment)) == 1
            assert first.process.wait(20) == 0
        finally:
            first.kill()
        second = ActivatedDaemon(tmp_path / "second", listener)
        try:
            with late:
                late.expect(Welcome)
                assert len(late.transcribe(1, PHRASE, partials=False)) == 1
            assert second.terminate() == 0
        finally:
            second.kill()
        assert (tmp_path / "s").exists()
