"""Pipes whose other end is gone, or takes nothing: of the daemon on stdio, and of every command."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from asrd.wire.codec import encode
from asrd.wire.messages import Audio, ClientMessage, Hello, Open, Ping
from faults.scenes import MARKED_AT_S, PHRASE
from support.daemon import command, environment, install_plugins, is_alive, running_daemon
from support.unread import full_pipe
from support.unruly import marked
from support.waiting import wait_until

GONE_WITHIN_S = 2.0
BAD = marked(PHRASE, MARKED_AT_S)
SAMPLE = Path(__file__).parents[1] / "tiny_whisper" / "samples" / "pauses_1.wav"


def frames(pcm: bytes) -> bytes:
    parts = [Audio(stream=1, data=pcm[at : at + 32_000]) for at in range(0, len(pcm), 32_000)]
    said: list[ClientMessage] = [Hello(), Open(stream=1, partials=False), *parts]
    return b"".join(encode(message) for message in said)


def _both_workers(pid: int) -> list[psutil.Process] | None:
    found = psutil.Process(pid).children()
    return found if len(found) == 2 else None


def _have_ended(family: list[psutil.Process]) -> bool:
    return not any(is_alive(each.pid) for each in family)


def test_a_daemon_on_pipes_leaves_no_process_whatever_ends_it(tmp_path: Path) -> None:
    """Amid a decode that never ends."""
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    limits = {"drain_timeout_s": 0.5, "send_timeout_s": 0.5}
    for how, expected in (("SIGTERM", 0), ("cut off", 65), ("EPIPE", 74), ("SIGKILL", -9)):
        with subprocess.Popen(
            command(None, provider="unruly", settings={"deed": "sleep"}, limits=limits),
            env=environment(plugins),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            is_cut = how == "cut off"
            process.stdin.write(frames(PHRASE if is_cut else BAD))
            process.stdin.flush()
            family = wait_until(partial(_both_workers, process.pid), "two workers")
            match how:
                case "cut off":
                    process.stdin.write(encode(Ping(id="cut off"))[:9])
                    process.stdin.close()
                case "EPIPE":
                    process.stdout.read(4)
                    process.stdout.close()
                    process.stdin.write(encode(Ping(id=1)))
                    process.stdin.flush()
                case name:
                    process.send_signal(signal.Signals[name])
            assert process.wait(20) == expected, how
            wait_until(partial(_have_ended, family), f"workers to end after {how}", GONE_WITHIN_S)


def shell(line: str, tmp_path: Path, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """A line of bash with `asrd` in it; the code is the first command's."""
    return subprocess.run(
        [
            "/bin/bash",
            "-c",
            f'asrd() {{ "$PYTHON" -P -m asrd "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}',
        ],
        env={**environment(), "PYTHON": sys.executable, "XDG_RUNTIME_DIR": str(tmp_path)},
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "line",
    [
        "asrd serve --stdio --provider echo | head -c 10 >/dev/null",
        f"asrd transcribe --provider echo --format jsonl {SAMPLE} | true",
        "asrd providers | true",
        "asrd models list | true",
        "asrd doctor | true",
        "asrd version | true",
    ],
)
def test_an_output_that_is_closed_ends_a_command_with_74_and_no_word(
    tmp_path: Path, line: str
) -> None:
    # The first command may only write once `true` has gone.
    line = line.replace("| true", "| (exec <&-; sleep 0.1)")
    done = shell(line, tmp_path, frames(PHRASE) + encode(Ping(id="x" * 50)) * 20_000)
    assert done.returncode == 74, (done.returncode, done.stderr)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@pytest.mark.parametrize("command_line", ["stats", "stats --json", "health", "health --json"])
def test_an_output_that_is_closed_while_a_daemon_is_asked(
    tmp_path: Path, command_line: str
) -> None:
    with running_daemon(tmp_path) as daemon:
        done = shell(
            f"asrd {command_line} --socket {daemon.path} | (exec <&-; sleep 0.1)", tmp_path
        )
        assert (done.returncode, done.stderr) == (74, b"")


def test_a_stdout_that_is_never_read_does_not_keep_the_daemon(tmp_path: Path) -> None:
    """It ends as a slow consumer's, though a write to the pipe waits for ever."""
    reader, writer = full_pipe()
    try:
        with subprocess.Popen(
            command(None, limits={"send_timeout_s": 0.5}),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=writer,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(encode(Hello()) + encode(Ping(id="x" * 1000)) * 200)
            process.stdin.close()
            assert process.wait(20) == 74
            stderr = process.stderr.read()
    finally:
        os.close(reader)
        os.close(writer)
    assert b"stdout_failed" in stderr
    assert b"Traceback" not in stderr
