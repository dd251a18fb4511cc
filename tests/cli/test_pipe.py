"""`asrd pipe` against a daemon that does as it is told, each run in a process of its own."""

import itertools
import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from asrd.wire.messages import Audio, Close, Event, GetStats, Hello, Open, Partial, Stats, WordTime
from cli.conftest import Run, command
from support.daemon import running_daemon
from support.fake_daemon import (
    HANG_UP,
    FakeDaemon,
    Reply,
    closed,
    listening_in_thread,
    refusal,
    segment,
    welcome,
)
from support.waiting import wait_until
from support.wire_client import WireClient

PCM = bytes(range(256)) * 500  # four seconds


def partial(text: str, number: int = 0) -> Partial:
    return Partial(stream=1, id=number, start=0.0, end=1.0, text=text, stable=0)


def test_lines_come_out_of_what_goes_in(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    outcome = asrd_process("pipe", "--socket", socket, stdin=PCM)
    assert (outcome.code, outcome.out, outcome.err) == (0, "hello there\n", "")
    assert daemon.audio[1] == PCM
    assert daemon.heard[1] == Open(stream=1, source="mic", delivery="lossless", partials=False)


def test_the_shape_of_the_audio_is_told(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    options = ["-r48000", "-c2", "-eF32LE", "--source=system", "--delivery=live", "--partials"]
    assert asrd_process("pipe", "--socket", socket, *options, stdin=PCM).code == 0
    assert daemon.heard[1] == Open(
        stream=1,
        source="system",
        delivery="live",
        encoding="pcm_f32le",
        sample_rate=48000,
        channels=2,
    )


def test_half_a_sample_at_the_end_is_left_out_and_told(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    outcome = asrd_process("pipe", "--socket", socket, "-c", "2", stdin=PCM + b"abc")
    assert outcome.code == 0
    assert outcome.error == "the input ended inside a sample: 3 of 4 bytes were left out"
    assert daemon.audio[1] == PCM


def test_json_lines(asrd_process: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Close] = lambda _: [partial("hello"), segment(language="en"), closed()]
    outcome = asrd_process("pipe", "--socket", socket, "-f", "jsonl", "--partials", stdin=PCM)
    first, second = map(json.loads, outcome.out.splitlines())
    assert first == {
        "type": "partial",
        "id": 0,
        "start": 0.0,
        "end": 1.0,
        "text": "hello",
        "stable": 0,
    }
    assert (second["type"], second["text"], second["language"]) == ("segment", "hello there", "en")


def test_words_are_asked_for_and_told_of_where_there_are_none(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    word = WordTime(word="hello", start=0.5, end=0.75, probability=0.5)
    daemon.rules[Close] = lambda _: [segment(words=[word]), segment(number=1, words=[]), closed()]
    outcome = asrd_process("pipe", "--socket", socket, "-f", "jsonl", "--words", stdin=PCM)
    first, second = map(json.loads, outcome.out.splitlines())
    assert first["words"] == [{"word": "hello", "start": 0.5, "end": 0.75, "probability": 0.5}]
    assert second["words"] == []
    assert outcome.error == "fake none gives no times of words"
    opened = daemon.heard[1]
    assert isinstance(opened, Open)
    assert opened.words


def test_partials_are_no_lines_of_text(asrd_process: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Close] = lambda _: [partial("hello"), segment(), closed()]
    outcome = asrd_process("pipe", "--socket", socket, "--partials", stdin=PCM)
    assert outcome.out == "hello there\n"


def test_on_a_terminal_the_live_line_is_redrawn(daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Close] = lambda _: [
        partial("hel"),
        segment(number=0, text="hello"),
        partial("x" * 300, 1),
        closed(),
    ]
    ours, theirs = pty.openpty()
    arguments = command("pipe", "--socket", socket, "--partials")
    subprocess.run(
        arguments, input=PCM, stdout=theirs, env={**os.environ, "COLUMNS": "20"}, check=True
    )
    os.close(theirs)
    live, final, cut = b"\x1b[2mhel\x1b[0m", b"\r\x1b[Khello\r\n", "…".encode() + b"x" * 16
    assert os.read(ours, 4096) == live + final + b"\x1b[2m" + cut + b"\x1b[0m\r\x1b[K"
    os.close(ours)


def test_a_second_ctrl_c_leaves_the_terminal_clean(daemon: FakeDaemon, socket: Path) -> None:
    shown = b""

    def show(_: Audio) -> Reply:
        return [partial("it was")] if len(daemon.heard) == 3 else []

    daemon.rules.update({Audio: show, Close: lambda _: []})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("pipe", "--socket", socket, "--partials"), stdin=subprocess.PIPE, stdout=theirs
    )
    assert process.stdin is not None
    with process:
        process.stdin.write(PCM[:2000])
        process.stdin.flush()
        while b"it was" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: any(isinstance(each, Close) for each in daemon.heard), "its close")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    os.write(theirs, b"behind")
    while b"behind" not in shown:
        shown += os.read(ours, 4096)
    assert shown.endswith(b"it was\x1b[0m\r\x1b[Kbehind")
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["recording", "/dev/null"])
def test_a_file_as_stdin(daemon: FakeDaemon, socket: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "recording").write_bytes(PCM)
    with (tmp_path / name).open("rb") as stdin:
        done = subprocess.run(command("pipe", "--socket", socket), stdin=stdin, check=True)
    assert done.returncode == 0
    is_recording = name == "recording"
    assert daemon.heard[1] == Open(
        stream=1, source="file" if is_recording else "mic", delivery="lossless", partials=False
    )
    assert daemon.audio[1] == (PCM if is_recording else b"")


def test_a_closed_stdin_is_no_input(socket: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *command("pipe", "--socket", socket)]
    done = subprocess.run(shell, capture_output=True, check=False)
    assert done.returncode == 66
    assert done.stderr == b"asrd: stdin is closed: pipe raw audio into it\n"


def test_a_terminal_as_stdin_is_a_mistake(socket: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command("pipe", "--socket", socket), stdin=theirs, capture_output=True, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 64
    assert b"it is a terminal; pipe audio into it" in done.stderr


def test_a_reader_that_has_gone_ends_it_quietly(daemon: FakeDaemon, socket: Path) -> None:
    """As in `asrd pipe | head -1`."""
    daemon.rules[Audio] = lambda _: [segment()]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        command("pipe", "--socket", socket),
        input=PCM,
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (74, b"")


def test_a_closed_stdout_is_told(socket: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command("pipe", "--socket", socket)]
    done = subprocess.run(shell, input=PCM, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 74
    assert b"standard output is closed" in done.stderr


def test_ctrl_c_finishes_what_was_said(daemon: FakeDaemon, socket: Path) -> None:
    """The usual end of a dictation: stdin stays open, and the last words must not be lost."""

    def interrupt(_: Audio) -> list[object]:
        process.send_signal(signal.SIGINT)
        return []

    daemon.rules[Audio] = interrupt  # type: ignore[assignment]
    process = subprocess.Popen(
        command("pipe", "--socket", socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(PCM[:2000])
    process.stdin.flush()
    with process:
        assert process.stdout.read() == b"hello there\n"
    assert process.returncode == 130


def test_a_second_ctrl_c_ends_at_once(daemon: FakeDaemon, socket: Path) -> None:
    def interrupt(_: object) -> list[object]:
        process.send_signal(signal.SIGINT)
        return []

    daemon.rules.update({Audio: interrupt, Close: interrupt})  # type: ignore[dict-item]
    process = subprocess.Popen(
        command("pipe", "--socket", socket),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(PCM[:2000])
    process.stdin.flush()
    assert process.wait(30) == 130
    assert process.communicate() == (b"", b"")


def test_lost_audio_is_told(asrd_process: Run, daemon: FakeDaemon, socket: Path) -> None:
    dropped = Event(stream=1, event="dropped", at=9.0, start=2.0, end=4.5, reason="overload")
    daemon.rules[Close] = lambda _: [dropped, closed()]
    outcome = asrd_process("pipe", "--socket", socket, "--delivery", "live", stdin=PCM)
    assert outcome.code == 0
    assert outcome.error == "2.5 s of audio at 2.0 s were lost: overload"


def test_text_that_was_lost_is_told_and_the_rest_goes_on(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    trouble = refusal("provider_failed", "it crashed", stream=1)
    daemon.rules[Close] = lambda _: [trouble, segment(), closed()]
    outcome = asrd_process("pipe", "--socket", socket, stdin=PCM)
    assert (outcome.code, outcome.out) == (70, "hello there\n")
    assert outcome.error == "it crashed: see the daemon's log"


def test_a_stream_that_the_daemon_ends(asrd_process: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Audio] = lambda _: [closed(reason="idle")]
    outcome = asrd_process("pipe", "--socket", socket, stdin=PCM)
    assert outcome.code == 69
    assert outcome.error.startswith("the daemon ended the stream (idle)")


def test_a_connection_that_breaks_and_comes_back(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    daemon.rules[Close] = lambda _: daemon.once("breaks", [HANG_UP], [segment(), closed()])
    outcome = asrd_process("pipe", "--socket", socket, stdin=PCM)
    broken, back = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == (0, "hello there\n")
    assert broken.startswith("asrd: the connection to the daemon broke: connecting again in ")
    assert back == "asrd: the connection to the daemon is back"
    assert daemon.audio[1] == PCM
    assert [message for message in daemon.heard if isinstance(message, Hello)][1].resume == "r"


def test_a_connection_that_is_lost_for_good(
    asrd_process: Run, daemon: FakeDaemon, socket: Path
) -> None:
    refused: Reply = [refusal("unauthorized", "who are you", is_fatal=True), HANG_UP]
    daemon.rules[Hello] = lambda _: daemon.once("greets", [welcome()], refused)
    daemon.rules[Audio] = lambda _: [HANG_UP]
    outcome = asrd_process("pipe", "--socket", socket, stdin=PCM)
    _, failed = outcome.err.splitlines()
    assert outcome.code == 77
    assert failed.startswith("asrd: who are you (one attempt to connect again was in vain)")


def test_ctrl_c_twice_ends_it_while_there_is_no_daemon(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with listening_in_thread(FakeDaemon(rules={Audio: lambda _: [HANG_UP]}), socket):
        process = subprocess.Popen(
            command("pipe", "--socket", socket), stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(PCM)
        process.stdin.flush()
        assert b"connecting again" in process.stderr.readline()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two signals at once are one
    assert process.wait(10) == 130
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


def has_stream(asker: WireClient) -> bool:
    asker.send(GetStats())
    return asker.expect(Stats).counters["streams_open"] == 1


def test_ctrl_c_ends_it_soon_while_the_daemon_stands_still(tmp_path: Path) -> None:
    """One that is stopped closes nothing, answers nothing and reads nothing."""
    with running_daemon(tmp_path, provider="echo") as daemon:
        process = subprocess.Popen(
            command("pipe", "--socket", daemon.path, "--delivery=live"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        with process:
            process.stdin.write(PCM)
            process.stdin.flush()
            with daemon.greet() as asker:
                wait_until(lambda: has_stream(asker), "its stream")
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                process.stdin.write(bytes(900_000))  # more than the socket holds
                process.stdin.flush()
                for _ in range(2):
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.2)  # two signals at once are one
                assert process.wait(10) == 130
            finally:
                daemon.process.send_signal(signal.SIGCONT)
                process.kill()


def test_the_blocks_of_a_slow_pipe_are_sent_as_they_come(daemon: FakeDaemon, socket: Path) -> None:
    """Each is answered before the next is written: nothing waits for a buffer to fill."""
    numbers = itertools.count()
    daemon.rules[Audio] = lambda message: [
        segment(number=next(numbers), text=f"{len(message.data)} bytes")
    ]
    daemon.rules[Close] = lambda _: [closed()]
    process = subprocess.Popen(
        command("pipe", "--socket", socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for size in (320, 640):
            process.stdin.write(bytes(size))
            process.stdin.flush()
            assert process.stdout.readline() == f"{size} bytes\n".encode()
        process.stdin.close()
