"""The commands with the daemon as it is: every process is real, and every one ends."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.conftest import Run, command, write_media
from conftest import Recording, TinyWhisper
from support.errors import word_error_rate

ECHO = "--provider=echo"


@pytest.fixture(autouse=True)
def no_daemon_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Own daemons only, in processes of their own too."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if os.geteuid() == 0 and Path("/run/asrd/asrd.sock").exists():
        pytest.skip("a daemon of root runs on this machine")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """The socket of a real daemon whose default is `echo`."""
    socket = tmp_path / "served" / "s"
    process = subprocess.Popen(
        command("serve", "--socket", socket, ECHO), stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == "listening":
                break
        yield socket
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 0


def test_the_first_command_of_the_readme(asrd_process: Run, two_cities: Recording) -> None:
    outcome = asrd_process("transcribe", "--sample")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) > 1  # a line for each utterance
    assert word_error_rate([(two_cities.transcript, " ".join(lines))]) < 0.15


def test_a_film_with_whisper(
    asrd_process: Run, tiny_whisper: TinyWhisper, tiny_samples: list[Recording]
) -> None:
    spoken = next(sample for sample in tiny_samples if sample.transcript)
    outcome = asrd_process(
        "transcribe",
        "--provider=faster_whisper",
        f"--model={tiny_whisper.ctranslate2}",
        spoken.path,
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert word_error_rate([(spoken.transcript, outcome.out)]) == 0


def test_the_running_daemon_does_the_same_as_one_of_ones_own(
    asrd_process: Run, served: Path, two_cities: Recording
) -> None:
    own = asrd_process("transcribe", ECHO, "-f", "srt", two_cities.path)
    shared = asrd_process("transcribe", "--socket", served, "-f", "srt", two_cities.path)
    assert own.out.count("-->") > 3
    assert (own.code, own.out, own.err) == (shared.code, shared.out, shared.err)


def test_a_pipe_says_the_same_as_the_file(
    asrd_process: Run, served: Path, two_cities: Recording
) -> None:
    from asrd.cli.media import Media

    pcm = b"".join(Media(two_cities.path).blocks())
    common = ("--socket", served, "--endpointing-ms", "600")
    piped = asrd_process("pipe", *common, stdin=pcm)
    assert piped.out == asrd_process("transcribe", *common, two_cities.path).out


def test_questions_to_a_real_daemon(asrd_process: Run, served: Path, tmp_path: Path) -> None:
    write_media(tmp_path / "a.wav", audio_s=1)
    assert asrd_process("transcribe", "--socket", served, tmp_path / "a.wav").code == 0
    deep = asrd_process("health", "--deep", "--json", "--socket", served)
    assert deep.code == 0
    assert json.loads(deep.out)["providers"]["echo"]["is_default"]
    assert asrd_process("stats", "--json", "--socket", served).code == 0


def test_a_model_that_is_not_here(asrd_process: Run, two_cities: Recording) -> None:
    outcome = asrd_process(
        "transcribe", "--provider=faster_whisper", "--model=/nowhere/model", two_cities.path
    )
    assert outcome.code == 69
    assert "/nowhere/model" in outcome.error


def test_a_setting_that_makes_no_sense(asrd_process: Run, two_cities: Recording) -> None:
    outcome = asrd_process("transcribe", ECHO, "--option", "nonsense=1", two_cities.path)
    assert outcome.code in (69, 78)
    assert "nonsense" in outcome.error


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    """Two interrupts while the daemon and a worker are alive end all of them."""
    process = subprocess.Popen(
        command("pipe", ECHO, "--option", "latency_ms=10"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    family: list[psutil.Process] = []
    try:
        process.stdin.write(bytes(64000))
        process.stdin.flush()
        while len(family) < 2 and process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
    finally:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b""
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


def test_a_daemon_whose_default_nobody_can_have_does_not_start(
    asrd_process: Run, tmp_path: Path
) -> None:
    outcome = asrd_process("serve", "--provider", "mooonshine", "--socket", tmp_path / "s")
    assert outcome.code == 78
    log, error = outcome.err.splitlines()
    assert json.loads(log)["event"] == "configuration"
    assert "did you mean 'moonshine'?" in error
