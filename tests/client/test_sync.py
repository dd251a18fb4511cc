"""The client for programs without a loop."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asrd.client import ClientState, ConnectionLost, Recovery, Refused, StreamEnded, Unreachable
from asrd.client.inbox import StreamEvent
from asrd.client.sync import SyncClient, connect, spawn
from asrd.wire.messages import Ack, Close, Closed, GetHealth, Hello, Open, Ping, Segment
from client.test_spawn import fake
from support.fake_daemon import (
    HANG_UP,
    FakeDaemon,
    closed,
    listening_in_thread,
    refusal,
    segment,
)
from support.waiting import wait_until

QUICK = Recovery(first_wait_s=0.01, longest_wait_s=0.02, breaker_failures=100)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with listening_in_thread(FakeDaemon(), tmp_path / "s") as fake_daemon:
        yield fake_daemon


@pytest.fixture
def client(daemon: FakeDaemon, tmp_path: Path) -> Iterator[SyncClient]:
    with connect(tmp_path / "s", recovery=QUICK) as client:
        yield client
    assert not our_threads()


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asrd-client"]


def test_a_stream_from_its_opening_to_its_end(client: SyncClient, daemon: FakeDaemon) -> None:
    stream = client.open_stream(source="file", delivery="lossless")
    assert (stream.opened.model, stream.frame_bytes, stream.sample_rate) == ("none", 2, 16000)
    stream.send(b"\x01\x02" * 1000)
    assert stream.flush().offset == stream.sent == 1000
    assert stream.close() == closed(offset=1000, segments=1)
    events = list(stream)
    assert events[-2:] == [segment(offset=1000), closed(offset=1000, segments=1)]
    assert stream.committed == 1000
    assert daemon.audio[1] == b"\x01\x02" * 1000


def test_one_thread_sends_while_another_reads(client: SyncClient, daemon: FakeDaemon) -> None:
    daemon.rules[Close] = lambda message: [
        segment(message.stream),
        closed(message.stream, offset=50_000),
    ]
    streams = [client.open_stream(delivery="lossless") for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(list[StreamEvent], stream) for stream in streams]
        for stream in streams:
            for _ in range(50):
                stream.send(bytes(2000))
        ends = [stream.close() for stream in streams]
        assert [reader.result(10)[-1] for reader in readers] == ends


def test_what_is_skipped_leaves_a_hole(client: SyncClient, daemon: FakeDaemon) -> None:
    daemon.takes_holes = True
    stream = client.open_stream(source="mic", delivery="live")
    stream.send(b"\1" * 200)
    stream.skip(50)
    stream.send(b"\2" * 100)
    stream.close()
    assert stream.sent == 200
    assert daemon.audio[1] == b"\1" * 200 + bytes(100) + b"\2" * 100


def test_questions_are_answered(client: SyncClient) -> None:
    client.ping()
    assert client.health(deep=True).ready
    assert client.load().ready
    assert client.unload().ready
    assert client.stats().counters == {"streams": 1}
    assert client.welcome.server == "fake"


def test_errors_are_those_of_the_asynchronous_client(
    client: SyncClient, daemon: FakeDaemon, tmp_path: Path
) -> None:
    daemon.rules[Open] = lambda _: [refusal("unknown_provider", "no such", stream=1)]
    with pytest.raises(Refused, match="no such"):
        client.open_stream()
    daemon.rules = {}
    stream = client.open_stream()
    stream.cancel()
    with pytest.raises(StreamEnded):
        stream.send(bytes(2))
    with pytest.raises(Unreachable), connect(tmp_path / "nobody"):
        pytest.fail("connected")


def test_a_break_is_not_seen(client: SyncClient, daemon: FakeDaemon) -> None:
    changes: list[ClientState] = []
    client.on_state(lambda change: changes.append(change.state))
    daemon.rules[Ping] = lambda _: daemon.once("breaks", [HANG_UP], daemon.usual(Ping(id=1)))
    client.ping()
    assert client.state is ClientState.CONNECTED
    assert changes == [ClientState.RECONNECTING, ClientState.CONNECTED]


def test_a_client_that_has_failed_can_be_brought_back(daemon: FakeDaemon, tmp_path: Path) -> None:
    with connect(tmp_path / "s", recovery=None) as client:
        daemon.rules[Ping] = lambda _: daemon.once("breaks", [HANG_UP], daemon.usual(Ping(id=2)))
        with pytest.raises(ConnectionLost):
            client.ping()
        assert client.state is ClientState.FAILED
    with connect(tmp_path / "s", recovery=Recovery(first_wait_s=0.01, max_attempts=1)) as client:
        daemon.rules = {Hello: lambda _: [HANG_UP], Ping: lambda _: [HANG_UP]}
        with pytest.raises(ConnectionLost):
            client.ping()
        assert client.state is ClientState.FAILED
        daemon.rules = {}
        client.retry()
        client.ping()
    with pytest.raises(ConnectionLost, match="the client was closed"):
        client.retry()


def test_an_interrupt_loses_no_event(client: SyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it that the event has just come, or that it comes while nobody waits."""
    stream = client.open_stream(delivery="lossless")
    stream.send(bytes(20))
    stream.close()
    wait = client._background.outcome
    interrupts = iter([True, False])

    def interrupted(future: Any) -> Any:
        outcome = wait(future)
        if next(interrupts, False):
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(client._background, "outcome", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert [type(event) for event in stream] == [Ack, Segment, Closed]


def test_a_connection_that_is_being_made_can_be_interrupted(tmp_path: Path) -> None:
    """What listens there gives no answer."""
    program = f"""
import os, signal, socket, threading, time
from pathlib import Path
from asrd.client import sync
path = Path({str(tmp_path / "mute")!r})
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(path))
listener.listen()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with sync.connect(path, timeout_s=60.0):
        pass
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_whoever_waits_when_it_is_closed_is_told(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.rules[GetHealth] = lambda _: []
    with ThreadPoolExecutor() as pool:
        with connect(tmp_path / "s") as client:
            waiting = pool.submit(client.health)
            wait_until(lambda: GetHealth() in daemon.heard, "a question")
        with pytest.raises(ConnectionLost, match="the client was closed"):
            waiting.result(10)
    with pytest.raises(ConnectionLost, match="the client was closed"):
        client.ping()


def test_an_exception_inside_ends_it(daemon: FakeDaemon, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), connect(tmp_path / "s"):
        1 / 0  # noqa: B018
    assert not our_threads()


def test_a_callback_may_not_wait_for_the_client(client: SyncClient, daemon: FakeDaemon) -> None:
    caught: list[Exception] = []

    def ask(_: object) -> None:
        try:
            client.ping()
        except RuntimeError as error:
            caught.append(error)

    client.on_state(ask)
    daemon.rules[Ping] = lambda _: daemon.once("breaks", [HANG_UP], daemon.usual(Ping(id=1)))
    client.ping()
    assert "may not wait" in str(caught[0])


def test_a_daemon_of_ones_own() -> None:
    with spawn(command=fake("usual")) as client:
        client.ping()


def test_a_program_that_forgets_to_leave_ends_and_so_does_its_daemon(tmp_path: Path) -> None:
    program = f"""
import sys
from asrd.client.inbox import StreamEvent
from asrd.client.sync import spawn
context = spawn(command={fake("usual")!r})
client = context.__enter__()
stream = client.open_stream(delivery="lossless")
print(client._client._dialler._daemon._process.pid, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr == ""
    assert not Path(f"/proc/{int(done.stdout)}").exists()
