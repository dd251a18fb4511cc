"""`asrd replay`: its options, the daemons it finds, and how it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrd.framing import HEADER
from asrd.wire.recording import packed
from cli.conftest import Outcome, Run, command
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, is_alive, running_daemon
from support.waiting import wait_until

TINY = Path(__file__).parent.parent / "tiny_whisper" / "samples"
PCM = read_pcm(TINY / "phrase_1.wav") + silent_pcm(0.6)

THROUGH_ECHO = ("-p", "echo", "--speed", "max", "-f", "jsonl")


def frames(*messages: dict[str, Any]) -> bytes:
    payloads = [packed(message) for message in messages]
    return b"".join(HEADER.pack(len(payload)) + payload for payload in payloads)


def stream(number: int = 1, at: float = 1.0, **opening: Any) -> list[dict[str, Any]]:
    """A stream from its beginning to its end."""
    return [
        {"type": "open", "stream": number, "source": "file", "at": at, **opening},
        {"type": "audio", "stream": number, "data": PCM[:60_000], "at": at},
        {"type": "audio", "stream": number, "data": PCM[60_000:], "at": at},
        {"type": "close", "stream": number, "at": at + 0.1},
    ]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "a.frames", *stream())


def write(path: Path, *messages: dict[str, Any]) -> Path:
    hello = {"type": "hello", "session": path.stem, "at": 1.0}
    path.write_bytes(frames(hello, *messages))
    return path


def texts(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line)["text"] for line in outcome.out.splitlines()]


# ── what is said of the command ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("speed", ["-1", "nan", "inf", "fast", ""])
def test_a_speed_that_is_none_is_a_usage_error(asrd: Run, recording: Path, speed: str) -> None:
    outcome = asrd("replay", recording, f"--speed={speed}")
    assert outcome.code == 64
    assert "nor max" in outcome.error


def test_everything_is_jsonl(asrd: Run, recording: Path) -> None:
    outcome = asrd("replay", recording, "--all")
    assert outcome.code == 64
    assert "--format jsonl" in outcome.error


def test_no_file_is_a_usage_error(asrd: Run) -> None:
    assert asrd("replay").code == 64


def test_a_missing_file_is_told_before_any_daemon_is_sought(asrd: Run, tmp_path: Path) -> None:
    outcome = asrd("replay", tmp_path / "none.frames", "--socket", tmp_path / "s")
    assert outcome.code == 66
    assert "No such file" in outcome.error


def test_what_is_no_recording_is_told(asrd: Run) -> None:
    outcome = asrd("replay", __file__)
    assert outcome.code == 65
    assert "name a file of `asrd serve --record`" in outcome.error


def test_a_session_of_several_connections_is_not_played_slower(asrd: Run, tmp_path: Path) -> None:
    """Its daemon would have forgotten it between them."""
    hello = {"type": "hello", "session": "s1"}
    first, then = tmp_path / "a.frames", tmp_path / "b.frames"
    first.write_bytes(frames({**hello, "at": 1.0}))
    then.write_bytes(frames({**hello, "resume": "s1", "at": 41.0}))
    outcome = asrd("replay", first, then, "--speed=0.5", "--socket", tmp_path / "s")
    assert outcome.code == 64
    assert "slower than it was recorded" in outcome.error
    outcome = asrd("replay", first, then, "--speed=1", "--socket", tmp_path / "s")
    assert outcome.code == 69


def test_times_that_cannot_be_are_refused(asrd: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "far.frames", {"type": "ping", "at": 1e12})
    outcome = asrd("replay", path)
    assert outcome.code == 65
    assert "days late" in outcome.error


def test_a_number_that_no_stream_can_have_is_not_waited_for(
    asrd_process: Run, tmp_path: Path
) -> None:
    opening = {"type": "open", "stream": -1, "source": "file"}
    again = [{**opening, "at": 1.0}, {"type": "close", "stream": -1, "at": 1.1}]
    path = write(tmp_path / "neg.frames", *again, {**opening, "at": 1.2})
    assert asrd_process("replay", path, "-p", "echo").code == 0


def test_a_socket_that_was_named_must_answer(asrd: Run, recording: Path, tmp_path: Path) -> None:
    outcome = asrd("replay", recording, "--socket", tmp_path / "s")
    assert outcome.code == 69
    assert "start one with `asrd serve --socket" in outcome.error


def test_a_daemon_of_its_own_that_cannot_start_says_why(asrd_process: Run, recording: Path) -> None:
    outcome = asrd_process("replay", recording, "-p", "nothing")
    assert outcome.code == 78
    assert "nothing" in outcome.error


# ── what comes of it ──────────────────────────────────────────────────────────────────────────


def test_text_is_a_line_for_each_segment(asrd_process: Run, recording: Path) -> None:
    outcome = asrd_process("replay", recording, "-p", "echo", "--speed", "max")
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    assert line.startswith("echo ")


def test_lines_of_several_streams_say_whose_they_are(
    asrd_process: Run, recording: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "b.frames", *stream(7), *stream(9))
    outcome = asrd_process("replay", other, recording, "-p", "echo", "--speed", "max")
    assert [line.split(": ")[0] for line in outcome.out.splitlines()] == ["b/7", "b/9", "a/1"]


def test_everything_that_comes_back_and_no_token(asrd_process: Run, recording: Path) -> None:
    outcome = asrd_process("replay", recording, *THROUGH_ECHO, "--all")
    told = [json.loads(line) for line in outcome.out.splitlines()]
    assert [told[0]["type"], told[-1]["type"]] == ["welcome", "closed"]
    assert {"opened", "segment", "event"} <= {each["type"] for each in told}
    assert all("resume" not in each for each in told)


def test_the_provider_of_the_recording_is_replaced(asrd_process: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a", *stream(provider="moonshine", model="none"))
    outcome = asrd_process("replay", path, *THROUGH_ECHO, "-m", "echo")
    assert json.loads(outcome.out)["provider"] == "echo"
    refused = asrd_process("replay", path, "--speed", "max")
    assert refused.code == 69
    assert "none" in refused.err
    assert refused.out == ""


def test_a_number_is_used_again_only_when_its_stream_has_ended(
    asrd_process: Run, tmp_path: Path
) -> None:
    """The recorded client waited for `closed`; a replay without pauses must as well."""
    path = write(tmp_path / "a", *stream(at=1.0), *stream(at=2.0), *stream(at=3.0))
    outcome = asrd_process("replay", path, *THROUGH_ECHO, "-o", "latency_ms=100")
    assert outcome.err == ""
    assert len(set(texts(outcome))) == 1
    assert len(texts(outcome)) == 3


def test_errors_that_the_recording_earns_are_told_once_and_are_no_failure(
    asrd_process: Run, tmp_path: Path
) -> None:
    wrong = [{"type": "audio", "stream": 3, "data": b"", "at": 1.0}] * 5
    path = write(tmp_path / "a", *wrong, {"type": "wink", "at": 1.0}, *stream())
    outcome = asrd_process("replay", path, *THROUGH_ECHO)
    assert len(texts(outcome)) == 1
    assert [line.split(": ")[1] for line in outcome.err.splitlines()] == ["a/3", "a"]


# ── daemons ───────────────────────────────────────────────────────────────────────────────────


def test_a_daemon_that_runs_is_used(asrd: Run, recording: Path, tmp_path: Path) -> None:
    with running_daemon(tmp_path / "daemon") as daemon:
        outcome = asrd("replay", recording, *THROUGH_ECHO, "--socket", daemon.path)
        assert len(texts(outcome)) == 1


def long_recording(tmp_path: Path) -> Path:
    return write(tmp_path / "long", *stream(at=1.0), {"type": "ping", "at": 1000.0})


def test_a_daemon_that_is_killed_ends_the_replay(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "daemon") as daemon:
        process = begun(long_recording(tmp_path), "--socket", daemon.path)
        wait_for_a_client(daemon)
        daemon.kill()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 69
    assert b"before all was played" in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whoever_ends_a_replay_ends_its_daemon(tmp_path: Path, number: int) -> None:
    process = begun(long_recording(tmp_path), "-p", "echo")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"echo ")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3  # a daemon and its workers
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert (out, errors) == (b"", b"")
    wait_until(lambda: not any(is_alive(child.pid) for child in children), "the daemon's end")


def test_a_reader_that_has_gone_ends_the_replay(tmp_path: Path) -> None:
    many = [each for number in range(50) for each in stream(number, at=1.0 + number)]
    process = begun(write(tmp_path / "many", *many), "-p", "echo", "--speed", "20")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 74
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def begun(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command("replay", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_RUNTIME_DIR": "/nonexistent"},
    )


def wait_for_a_client(daemon: Daemon) -> None:
    """The first to have connected was the test's own."""
    wait_until(lambda: daemon.logged("client_connected")[1:], "a client of the daemon")
