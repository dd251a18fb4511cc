"""The end of input, signals, stdio, and peers that break every rule."""

import signal
import socket
import struct
import subprocess
import time
import wave
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest

from flow.daemons import (
    SLOW,
    Daemon,
    running_daemon,
    stdio_command,
    stdio_daemon,
)
from flow.independent_client import CHUNK_BYTES, Client, frame, recorded, refused, told
from flow.protocol_rules import Message
from flow.speech import PHRASE, RATE, SPEECH

# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_a_half_closed_socket_finishes_every_stream_and_ends(
    daemon: Daemon, unbroken: list[Message]
) -> None:
    with daemon.greet() as client:
        client.open(1, source="file")
        client.open(2, source="file")
        client.speak(1, SPEECH)
        client.speak(2, PHRASE[: 4 * RATE])
        client.half_close()
        client.read_to_end()
        assert told(client.logged("segment", stream=1)) == told(unbroken)
        assert len(client.logged("segment", stream=2)) == 1
        reasons = {closed["stream"]: closed["reason"] for closed in client.logged("closed")}
        assert reasons == {1: "client", 2: "client"}


def test_a_half_closed_socket_waits_for_a_slow_decode(slow_daemon: Daemon) -> None:
    with slow_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.half_close()
        client.read_to_end()
        assert len(client.logged("segment")) == 1
        assert client.logged("closed")[0]["reason"] == "client"


def test_a_half_closed_socket_without_streams_ends(daemon: Daemon) -> None:
    with daemon.connect() as silent, daemon.greet() as client:
        for end in (silent, client):
            end.half_close()
            assert end.read_to_end() == []


def test_a_socket_that_is_half_closed_inside_a_frame_finishes_what_came_whole(
    daemon: Daemon,
) -> None:
    with daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.send_bytes(frame(type="ping", id=1)[:7])
        client.half_close()
        client.read_to_end()
        assert len(client.logged("segment")) == 1
        assert client.logged("closed")[0]["reason"] == "client"
        assert not client.logged("pong")


def test_sigterm_finishes_open_streams_refuses_new_ones_and_exits_with_0(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "-o", "latency_ms=2000") as daemon, daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE[: 4 * RATE])
        client.expect("event", event="speech_start")
        daemon.terminate()
        time.sleep(0.5)
        client.send("open", stream=2)
        refused(client, code="draining", fatal=False, stream=2)
        client.ping()
        assert_refuses_connections(daemon)
        closed = client.expect("closed", stream=1)
        assert closed["reason"] == "shutdown"
        assert closed["offset"] == 2 * RATE
        assert len(client.logged("segment", stream=1)) == closed["segments"] == 1
        assert client.read_to_end() == []
        assert daemon.process.wait(10) == 0


def assert_refuses_connections(daemon: Daemon) -> None:
    """Either nobody listens any more, or hello is answered with draining."""
    try:
        late = daemon.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return
    with late:
        late.send("hello", version=1)
        refused(late, code="draining", fatal=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_ends_with_0_at_a_signal(tmp_path: Path, number: int) -> None:
    with running_daemon(tmp_path) as daemon, daemon.greet() as client:
        daemon.process.send_signal(number)
        assert client.read_to_end() == []
        assert daemon.process.wait(10) == 0
        assert not daemon.path.exists()


def test_a_drain_ends_within_its_timeout_whatever_hangs(tmp_path: Path) -> None:
    """The workers stand still: after ten seconds the stream is closed without them."""
    with running_daemon(tmp_path, *SLOW) as daemon, daemon.greet() as client:
        hang_in_decode(daemon, client)
        begin = time.monotonic()
        daemon.terminate()
        closed = client.expect("closed")
        assert closed["reason"] == "shutdown"
        assert closed["offset"] < len(PHRASE) // 2
        assert daemon.process.wait(10) == 0
        assert 9 < time.monotonic() - begin < 18


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with running_daemon(tmp_path, *SLOW) as daemon, daemon.greet() as client:
        hang_in_decode(daemon, client)
        begin = time.monotonic()
        daemon.terminate()
        time.sleep(0.5)
        daemon.terminate()
        daemon.process.wait(10)
        assert time.monotonic() - begin < 6


def hang_in_decode(daemon: Daemon, client: Client) -> None:
    """Stop every worker while one of them decodes."""
    client.open(1, source="file", partials=False)
    client.speak(1, PHRASE)
    client.expect("event", event="speech_end")
    for worker in psutil.Process(daemon.process.pid).children():
        worker.suspend()


# ── stdio ─────────────────────────────────────────────────────────────────────────────────────────


def test_stdio_speaks_the_same_protocol_and_the_end_of_input_exits_with_0(
    unbroken: list[Message],
) -> None:
    with stdio_daemon() as process, Client.over_pipes(process) as client:
        client.hello()
        client.open(1, source="file")
        client.speak(1, SPEECH)
        client.half_close()
        client.read_to_end()
        assert told(client.logged("segment")) == told(unbroken)
        assert client.logged("closed")[0]["reason"] == "client"
        assert process.wait(10) == 0


def replay(session: Path) -> tuple[int, list[Message]]:
    with session.open("rb") as stdin:
        done = subprocess.run(
            stdio_command(), stdin=stdin, capture_output=True, check=False, timeout=60
        )
    return done.returncode, unframed(done.stdout)


def unframed(data: bytes) -> list[Message]:
    """Every message of an output that is frames and nothing else."""
    messages = []
    while data:
        (length,) = struct.unpack_from(">I", data)
        messages.append(msgpack.unpackb(data[4 : 4 + length], strict_map_key=False))
        data = data[4 + length :]
    return messages


def test_a_recorded_session_is_replayed_from_a_regular_file(
    tmp_path: Path, unbroken: list[Message]
) -> None:
    session = tmp_path / "session.frames"
    session.write_bytes(recorded(SPEECH))
    code, messages = replay(session)
    assert code == 0
    assert told([m for m in messages if m["type"] == "segment"]) == told(unbroken)
    assert messages[0]["type"] == "welcome"
    assert messages[-1]["type"] == "closed"


def test_a_recording_that_ends_inside_a_frame_exits_with_65(tmp_path: Path) -> None:
    """What came whole is still finished."""
    session = tmp_path / "session.frames"
    session.write_bytes(recorded(SPEECH)[:-5])
    code, messages = replay(session)
    assert code == 65
    assert messages[-1]["type"] == "closed"
    assert len([m for m in messages if m["type"] == "segment"]) >= 3


def test_dev_null_as_stdin_exits_with_0() -> None:
    code, messages = replay(Path("/dev/null"))
    assert (code, messages) == (0, [])


def test_a_fatal_error_on_stdio_is_the_last_frame(tmp_path: Path) -> None:
    session = tmp_path / "session.frames"
    session.write_bytes(frame(type="ping", id=1) + recorded(SPEECH))
    _, messages = replay(session)
    assert [(m["type"], m.get("code")) for m in messages] == [("error", "hello_expected")]


def test_sigterm_on_stdio_finishes_streams_and_exits_with_0() -> None:
    with stdio_daemon() as process, Client.over_pipes(process) as client:
        client.hello()
        client.open(1, source="file")
        client.speak(1, PHRASE[: 4 * RATE])
        client.expect("event", event="speech_start")
        process.send_signal(signal.SIGTERM)
        closed = client.expect("closed")
        assert closed["reason"] == "shutdown"
        assert closed["segments"] == 1
        assert client.read_to_end() == []
        assert process.wait(10) == 0


# ── one connection and another ────────────────────────────────────────────────────────────────────


def test_a_peer_that_breaks_every_rule_disturbs_nobody(
    daemon: Daemon, unbroken: list[Message]
) -> None:
    """While one client speaks, others send rubbish, break off, and say nothing at all."""
    with daemon.greet() as client:
        client.open(1, source="file")
        for begin in range(0, len(SPEECH), CHUNK_BYTES):
            client.send("audio", stream=1, data=SPEECH[begin : begin + CHUNK_BYTES])
            for rubbish in (b"\xff" * 9, frame(type="audio"), b"\x00", frame(type="hello")[:7]):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                    channel.connect(str(daemon.path))
                    channel.sendall(rubbish)
        assert told(client.finish(1)) == told(unbroken)


def test_a_real_recording_at_its_own_rate_is_heard_from_beginning_to_end(
    client: Client, two_cities: Any
) -> None:
    """44 seconds of a person reading, at 48 kHz, as a client with credit sends them."""
    with wave.open(str(two_cities.path)) as file:
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    client.open(1, source="file", sample_rate=rate)
    client.speak_within_credit(1, pcm)
    segments = client.finish(1)
    assert len(segments) >= 5
    spoken = sum(segment["end"] - segment["start"] for segment in segments)
    assert spoken > 25
    assert client.logged("closed")[0]["offset"] == len(pcm) // 2
