"""`asrd bench`: what it refuses before it begins, one real measurement, and Ctrl-C."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import psutil
import pytest

from cli.conftest import Run, command
from support.daemon import is_alive
from support.waiting import wait_until

SPEECH = Path(__file__).parent.parent / "tiny_whisper" / "samples" / "phrase_1.wav"


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "concurrency", ["", "0", "1,x", "65", "-1", ",".join(map(str, range(1, 18)))]
)
def test_concurrency_that_is_none_is_a_usage_error(asrd: Run, concurrency: str) -> None:
    outcome = asrd("bench", SPEECH, f"--concurrency={concurrency}")
    assert outcome.code == 64
    assert "no list such as 1,2,4" in outcome.error


def test_a_file_or_the_sample(asrd: Run) -> None:
    assert asrd("bench", SPEECH, "--sample").code == 64


def test_a_file_that_is_missing_or_has_no_audio_is_told(asrd: Run, tmp_path: Path) -> None:
    assert asrd("bench", tmp_path / "none.wav").code == 66
    assert asrd("bench", __file__).code == 65


def test_a_picture_that_cannot_be_is_told_before_all_else(
    asrd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.wav"
    outcome = asrd("bench", missing, "--plot", tmp_path / "no" / "a.png")
    assert (outcome.code, outcome.error.partition(" /")[0]) == (74, "there is no folder")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = asrd("bench", missing, "--plot", tmp_path / "a.png")
    assert outcome.code == 69
    assert outcome.error.endswith("pip install 'asrd[plot]'")


def test_a_daemon_that_cannot_start_says_why(asrd_process: Run) -> None:
    outcome = asrd_process("bench", SPEECH, "-p", "echo", "-o", "latency_ms=never")
    assert outcome.code == 78
    assert outcome.out == ""
    assert "latency_ms" in outcome.error


def test_a_mistyped_provider_is_a_usage_error_and_the_others_are_named(asrd: Run) -> None:
    outcome = asrd("bench", SPEECH, "-p", "nothing")
    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.error.startswith("there is no provider 'nothing'; there are echo, ")
    assert outcome.error.endswith(": see `asrd providers`")
    assert asrd("bench", SPEECH, "-p", "ecko").error.startswith("there is no provider 'ecko'; did")


def test_a_recording_without_speech_is_told(asrd_process: Run) -> None:
    outcome = asrd_process("bench", SPEECH.with_name("silence_1.wav"), "-p", "echo", "-c", "1")
    assert (outcome.code, outcome.out) == (65, "")
    assert outcome.error.startswith("no speech was heard in silence_1.wav")


# ── what is measured ──────────────────────────────────────────────────────────────────────────────


def test_a_measurement(asrd_process: Run, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    outcome = asrd_process(
        *("bench", SPEECH, "-p", "echo", "-o", "latency_ms=100"),
        *("--concurrency", "2,1", "--json", "--plot", picture),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    told = json.loads(outcome.out)
    assert (told["provider"], told["file"], told["is_cut"]) == ("echo", "phrase_1.wav", False)
    one, two = told["steps"]
    assert [(step["streams"], step["slots"]) for step in (one, two)] == [(1, 1), (2, 2)]
    for step in (one, two):
        assert step["decode_p50_ms"] >= 100  # what the engine takes, and no daemon's start
        assert min(step["runs_s"]) >= 0.1
        assert 20_000_000 < step["memory_bytes"] < 2_000_000_000
    # Two slots sleep side by side; one sleeps twice. That is what the control is for.
    assert told["control"]["slots"] == 1
    assert told["control"]["seconds"] > 0.2
    assert two["slots_used"] > 1.5 > told["control"]["slots_used"]
    assert told["slots"] in (2, None)  # None where other programs keep this machine busy
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_shows_what_was_measured_and_leaves_nobody_behind() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        command("bench", SPEECH, "-p", "echo", "-o", "latency_ms=100", "-c", "1,2"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "XDG_RUNTIME_DIR": "/nonexistent"},
    )
    os.set_blocking(ours, False)
    shown = b""

    def has_shown(what: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(ours, 2**16)
        return what in shown

    wait_until(lambda: has_shown(b"2 streams (2 of 2)"), "the second step")
    wait_until(lambda: psutil.Process(process.pid).children(), "the second daemon")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    has_shown(b"")
    os.close(ours)
    os.close(theirs)
    assert b"Traceback" not in shown
    assert shown.endswith(b"\x1b[2K")  # the bar has gone
    assert b"s left" in shown
    rows = [line.split() for line in out.decode().splitlines() if line[:7].strip().isdigit()]
    assert [row[:2] for row in rows] == [["1", "1"]]
    assert b"slots =" not in out
    wait_until(lambda: not any(is_alive(child.pid) for child in children), "the daemon's end")
