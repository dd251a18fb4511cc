"""`asrd serve --record` and `asrd replay`: what is recorded plays again, byte for byte."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asrd.wire.recording import FrameCutter, read_frames
from flow.daemons import Daemon, running_daemon, stdio_command
from flow.independent_client import Client, frame, told
from flow.protocol_rules import Message
from flow.speech import PHRASE, SPEECH
from support.waiting import wait_until

REPLAY = (sys.executable, "-P", "-m", "asrd", "replay", "-f", "jsonl", "-p", "echo")
REPLAY_TIMEOUT_S = 60.0
JUNK = b"\x00\x00\x00\x03\xc1\xc1\xc1"
SMALL_CHUNK_BYTES = 6_400

Line = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def recorded_daemon(tmp_path: Path, folder: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path, "--record", str(folder)) as daemon:
        yield daemon


def files_in(folder: Path, count: int = 1) -> list[Path]:
    """The recordings, in the order in which their connections began."""
    wait_until(lambda: len(list(folder.glob("*.frames"))) == count, f"{count} recordings")
    return sorted(folder.glob("*.frames"), key=lambda path: int(path.stem.rpartition("-")[2]))


def finished(daemon: Daemon) -> None:
    """End the daemon in order, so that all is written."""
    daemon.terminate()
    assert daemon.process.wait(20) == 0


def replay(*arguments: str | Path, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
    """`asrd replay --format jsonl` through the echo, on a daemon of its own."""
    done = subprocess.run(
        [*REPLAY, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=REPLAY_TIMEOUT_S,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done


def lines(output: bytes) -> list[Line]:
    return [json.loads(line) for line in output.splitlines()]


def transcripts(output: bytes) -> dict[tuple[str, int], list[tuple[Any, ...]]]:
    """What was heard of each stream, as `told` has it of a client's segments."""
    heard: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for line in lines(output):
        heard.setdefault((line["session"], line["stream"]), []).append(
            tuple(line[key] for key in ("id", "start", "end", "text"))
        )
    return heard


def frames_of(path: Path) -> tuple[list[Any], bytes]:
    """Every frame of a recording, and what follows the last."""
    cutter = FrameCutter()
    return list(read_frames(cutter, path.read_bytes())), bytes(cutter.rest)


def speak_side_by_side(client: Client, pcms: dict[int, bytes], pause_s: float = 0.0) -> None:
    for begin in range(0, max(map(len, pcms.values())), SMALL_CHUNK_BYTES):
        for stream, pcm in pcms.items():
            if chunk := pcm[begin : begin + SMALL_CHUNK_BYTES]:
                client.send("audio", stream=stream, data=chunk)
        time.sleep(pause_s)


# ── the same segments ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["file", "mic"])
def test_one_stream_plays_again_byte_for_byte(
    recorded_daemon: Daemon, folder: Path, source: str
) -> None:
    with recorded_daemon.greet() as client:
        client.open(7, source=source, partials=True)
        speak_side_by_side(client, {7: PHRASE}, pause_s=0.02)
        original = told(client.finish(7))
    finished(recorded_daemon)
    (path,) = files_in(folder)

    outputs = {replay("--speed", speed, path).stdout for speed in ("1", "1", "max", "max")}

    (output,) = outputs
    assert list(transcripts(output).values()) == [original]
    assert original


@pytest.mark.parametrize("source", ["file", "mic"])
def test_three_streams_side_by_side_play_again_byte_for_byte(
    recorded_daemon: Daemon, folder: Path, source: str
) -> None:
    pcms = {1: SPEECH, 2: PHRASE, 3: SPEECH[len(SPEECH) // 4 * 2 :]}
    with recorded_daemon.greet() as client:
        for stream in pcms:
            client.open(stream, source=source, partials=stream != 2, words=stream == 3)
        speak_side_by_side(client, pcms)
        original = [told(client.finish(stream)) for stream in pcms]
    finished(recorded_daemon)
    (path,) = files_in(folder)

    outputs = {replay("--speed", speed, path).stdout for speed in ("1", "max", "max")}

    (output,) = outputs
    assert list(transcripts(output).values()) == original
    assert all(original)


def test_a_long_live_recording_is_dropped_from_by_no_speed(
    recorded_daemon: Daemon, folder: Path
) -> None:
    """Far more audio than the backlog holds, and more than may come at once."""
    pcm = SPEECH * 12
    with recorded_daemon.greet() as client:
        client.open(1, source="mic", delivery="lossless", partials=False)
        client.speak_within_credit(1, pcm)
        original = told(client.finish(1))
    finished(recorded_daemon)
    (path,) = files_in(folder)
    live = path.with_suffix(".live")
    live.write_bytes(opened_otherwise(path, delivery="live"))

    assert list(transcripts(replay("--speed", "max", live).stdout).values()) == [original]


def opened_otherwise(path: Path, **change: Any) -> bytes:
    """The recording with other values in its `open`."""
    changed = b""
    for each in frames_of(path)[0]:
        fields = {**each.fields, **change} if each.fields["type"] == "open" else each.fields
        changed += frame(**fields)
    return changed


def test_the_file_is_a_conversation_for_stdio_as_it_is(
    recorded_daemon: Daemon, folder: Path
) -> None:
    with recorded_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, SPEECH)
        original = told(client.finish(1))
    finished(recorded_daemon)
    (path,) = files_in(folder)

    with path.open("rb") as recording:
        done = subprocess.run(
            stdio_command(), stdin=recording, capture_output=True, timeout=60, check=False
        )

    assert done.returncode == 0, done.stderr.decode()
    answers = [each.fields or {} for each in read_frames(FrameCutter(), done.stdout)]
    assert told([each for each in answers if each["type"] == "segment"]) == original


# ── connections that break ────────────────────────────────────────────────────────────────────


def broken_and_resumed(daemon: Daemon, pcm: bytes) -> tuple[Message, list[Any]]:
    """A client that breaks off in the middle, comes back, and sends what it still holds."""
    middle = len(pcm) // 4 * 2
    client = daemon.connect()
    welcome = client.hello()
    client.open(5, source="file")
    client.speak(5, pcm[:middle])
    client.expect("segment", stream=5)
    have = client.logged("segment", stream=5)
    client.send_bytes(frame(type="audio", stream=5, data=b"\0\0" * 500)[:100])
    client.abandon()
    wait_until(lambda: '"resumed"' in daemon.errors.read_text(), "the log of a connection")
    again, back = daemon.resume(welcome, have={5: have[-1]["id"]})
    commit = back["streams"][5]
    with again:
        again.speak(5, pcm[2 * commit :], offset=commit)
        rest = again.finish(5)
    return welcome, told([*have, *rest])


def test_a_session_that_broke_and_came_back_is_played_over_both_connections(
    recorded_daemon: Daemon, folder: Path
) -> None:
    welcome, original = broken_and_resumed(recorded_daemon, SPEECH)
    with recorded_daemon.greet() as bystander:
        bystander.open(1, source="file")
        bystander.speak(1, PHRASE)
        beside = told(bystander.finish(1))
    finished(recorded_daemon)
    first, second, other = files_in(folder, 3)
    assert first.name.split("-")[2] == second.name.split("-")[2] == welcome["session"]

    outputs = [replay("--speed", "max", other, second, first).stdout for _ in range(2)]

    assert outputs[0] == outputs[1]
    assert list(transcripts(outputs[0]).values()) == [original, beside]
    alone = replay("--speed", "4", first).stdout
    assert transcripts(alone)


def test_a_recording_that_resumes_asks_for_the_one_before(
    recorded_daemon: Daemon, folder: Path
) -> None:
    broken_and_resumed(recorded_daemon, SPEECH)
    finished(recorded_daemon)
    _, second = files_in(folder, 2)

    done = replay(second, check=False)

    assert done.returncode == 66
    assert b"name that file too" in done.stderr
    assert done.stdout == b""


def test_no_token_is_in_any_file(recorded_daemon: Daemon, folder: Path) -> None:
    welcome, _ = broken_and_resumed(recorded_daemon, SPEECH)
    token = welcome["resume"].encode()
    with recorded_daemon.connect() as client:
        client.hello(resume="0123456789abcdef" * 2)  # another daemon's
        client.send("hello", resume=welcome["resume"])
    with recorded_daemon.connect() as client:
        client.send_bytes(frame(type="hello", resume=welcome["resume"])[:-2])
    with recorded_daemon.connect() as client:
        client.send_bytes(JUNK[:4] + b"\xc1" + token[:2] + b"\0\0\0\x40" + token)
        client.read_to_end()
    finished(recorded_daemon)

    for path in files_in(folder, 5):
        data = path.read_bytes()
        assert token[:9] not in data
        assert b"0123456789" not in data


def test_a_broken_frame_is_sent_again_as_it_was(recorded_daemon: Daemon, folder: Path) -> None:
    with recorded_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, SPEECH)
        client.send_bytes(JUNK)
        client.read_to_end()
        before = told(client.logged("segment"))
    finished(recorded_daemon)
    (path,) = files_in(folder)
    assert path.read_bytes().endswith(JUNK)

    outputs = [replay("--speed", speed, path) for speed in ("max", "4")]

    assert outputs[0].stdout == outputs[1].stdout
    (heard,) = transcripts(outputs[0].stdout).values()
    assert heard[: len(before)] == before
    assert len(heard) == 4
    assert b"not one well-formed msgpack map" in outputs[0].stderr


def test_noise_is_no_recording_but_a_file_of_it_is_kept(
    recorded_daemon: Daemon, folder: Path
) -> None:
    noise = b"\xff" * 100
    with recorded_daemon.connect() as client:
        client.send_bytes(noise)
        client.read_to_end()
    finished(recorded_daemon)
    (path,) = files_in(folder)
    assert path.read_bytes() == noise
    done = replay(path, check=False)
    assert done.returncode == 65
    assert b"is no recording" in done.stderr


# ── ends ──────────────────────────────────────────────────────────────────────────────────────


def test_what_came_before_kill_9_is_in_the_file(recorded_daemon: Daemon, folder: Path) -> None:
    with recorded_daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, PHRASE)
        client.ping()
        time.sleep(1.0)
        recorded_daemon.kill()
    (path,) = files_in(folder)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 10)
    audio = [each.fields for each in frames_of(path)[0] if each.fields["type"] == "audio"]
    assert b"".join(each["data"] for each in audio) == PHRASE

    done = replay("--speed", "max", path)

    assert transcripts(done.stdout)
    assert b"that are no whole frame" in done.stderr


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    limit_bytes = 100_000

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    process = subprocess.Popen(
        stdio_command("--record", str(folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit,
    )
    try:
        client = Client.over_pipes(process)
        client.hello()
        client.open(1, source="file")
        for begin in range(0, len(SPEECH), SMALL_CHUNK_BYTES):
            client.speak(1, SPEECH[begin : begin + SMALL_CHUNK_BYTES])
            time.sleep(0.005)
        assert len(client.finish(1)) == 4
        client.half_close()
        client.read_to_end()
        assert process.stderr is not None
        log = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    ended = [line for line in log if line["event"] == "recording_ended"]
    assert [line["problem"] for line in ended] == [os.strerror(27)]
    (path,) = files_in(folder)
    assert path.stat().st_size == limit_bytes
    done = replay("--speed", "max", path)
    assert b"that are no whole frame" in done.stderr
    assert transcripts(done.stdout)


def test_files_are_for_their_owner_alone_and_the_log_says_so(
    recorded_daemon: Daemon, folder: Path
) -> None:
    with recorded_daemon.greet() as client:
        client.ping()
    finished(recorded_daemon)
    (path,) = files_in(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    log = [json.loads(line) for line in recorded_daemon.errors.read_text().splitlines()]
    (warning,) = [line for line in log if line["event"] == "audio_is_recorded"]
    assert warning["level"] == "warning"
    assert warning["directory"] == str(folder)


def test_times_are_those_of_the_recording_and_speed_divides_them(
    recorded_daemon: Daemon, folder: Path, spent: Callable[..., float]
) -> None:
    with recorded_daemon.greet() as client:
        client.ping()
        time.sleep(2.0)
        client.ping()
    finished(recorded_daemon)
    (path,) = files_in(folder)
    times = [each.at_s for each in frames_of(path)[0]]
    assert 2.0 <= times[-1] - times[0] < 4.0

    assert spent("1") - spent("max") > 1.5
    assert spent("2") - spent("max") > 0.7


@pytest.fixture
def spent(folder: Path, daemon: Daemon) -> Callable[..., float]:
    """How long a replay takes, through a daemon that runs."""

    def measure(speed: str) -> float:
        (path,) = files_in(folder)
        began = time.monotonic()
        command = [sys.executable, "-P", "-m", "asrd", "replay", "--speed", speed]
        subprocess.run([*command, "--socket", daemon.path, path], check=True, timeout=60)
        return time.monotonic() - began

    return measure
