"""`asrd listen` at work, each run in a process of its own with devices that play PCM."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asrd.wire.messages import Audio, Close, Event, Open, Partial
from cli.conftest import command
from conftest import Recording
from support.audio import read_wav
from support.daemon import TESTS, Daemon, running_daemon
from support.errors import word_error_rate
from support.fake_daemon import FakeDaemon, Reply, closed, segment
from support.fake_sounddevice import FakeDevice, Machine, install

PCM = bytes(range(256)) * 250  # two seconds
FIRST_S = 6.2
FIRST_TEXT = "it was the best of times it was the worst of times it was the age of wisdom"


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return install(tmp_path / "fake")


@contextmanager
def listening(
    fake: Path,
    machine: Machine,
    *arguments: str | Path,
    stdout: int = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
) -> Iterator["subprocess.Popen[bytes]"]:
    """`asrd listen` on that machine; ended if the test has not done so."""
    path = os.pathsep.join(map(str, (fake, TESTS)))
    process = subprocess.Popen(
        command("listen", *arguments),
        env={**os.environ, **machine.environment, "PYTHONPATH": path},
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def play(fake: Path, machine: Machine, *arguments: str | Path) -> tuple[int, str, list[str]]:
    """Listen until the device ends: code, output, notices."""
    with listening(fake, machine, *arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(), err.decode().splitlines()


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    (tmp_path / "pcm").write_bytes(PCM)
    return tmp_path / "pcm"


def playing(pcm: Path, pace: float = 10.0, **changes: Any) -> Machine:
    fields: dict[str, Any] = {"name": "Webcam", "pcm": str(pcm), "ends": True}
    return Machine(devices=(FakeDevice(**(fields | changes)),), pace=pace)


# ── what the daemon is told ───────────────────────────────────────────────────────────────────


def test_the_default_microphone_is_one_live_stream(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    code, out, err = play(fake, playing(pcm), "--socket", socket)
    assert daemon.heard[1] == Open(
        stream=1, source="mic", priority=1, delivery="live", partials=False
    )
    assert bytes(daemon.audio[1]).rstrip(b"\0") == PCM.rstrip(b"\0")
    assert (code, out) == (66, "hello there\n")
    assert err == ["asrd: Webcam has ended"]  # what was said before that is not lost


def test_a_device_of_another_shape_is_told(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    machine = playing(pcm, name="BlackHole 2ch", inputs=16, rate=44_100, rates=(44_100,))
    play(fake, machine, "--system", "--socket", socket, "-l", "en", "--endpointing-ms", "300")
    assert daemon.heard[1] == Open(
        stream=1,
        source="system",
        priority=2,
        delivery="live",
        sample_rate=44_100,
        channels=2,
        language="en",
        endpointing_ms=300,
        partials=False,
    )


def test_lost_audio_is_told_once_and_leaves_a_hole(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    holes: list[tuple[int, int]] = []
    expected = 0

    def hear(message: Audio) -> Reply:
        nonlocal expected
        assert message.offset is not None
        reply: Reply = []
        if message.offset > expected:
            holes.append((expected, message.offset))
            start, end = expected / 16_000, message.offset / 16_000
            reply = [Event(stream=1, event="gap", at=end, start=start, end=end)]
        expected = message.offset + len(message.data) // 2
        return reply

    daemon.rules[Audio] = hear
    daemon.takes_holes = True
    _, _, err = play(fake, playing(pcm, overruns={"10": 0.5}), "--socket", socket)
    assert holes == [(10 * 512, 10 * 512 + 8000)]
    assert err == [
        "asrd: 0.5 s of audio at 0.3 s were lost: Webcam was not read in time",
        "asrd: Webcam has ended",
    ]


def test_a_gap_that_is_not_ours_is_told(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    gap = Event(stream=1, event="gap", at=2.0, start=0.5, end=2.0)
    daemon.rules[Close] = lambda _: [gap, closed()]
    _, _, err = play(fake, playing(pcm), "--socket", socket)
    assert "asrd: 1.5 s of audio at 0.5 s were lost: they never arrived" in err


# ── two at once ───────────────────────────────────────────────────────────────────────────────


def test_two_sources_are_two_streams_of_one_session(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    both = Machine(
        devices=(
            FakeDevice(name="Webcam", pcm=str(pcm), ends=True),
            FakeDevice(name="Monitor of Speakers", ends=True, pcm=str(pcm)),
        ),
        pace=10.0,
    )
    daemon.rules[Close] = lambda message: [
        segment(message.stream, text=f"stream {message.stream}"),
        closed(message.stream),
    ]
    arguments = ("--mic", "--system", "--socket", socket)
    _, out, err = play(fake, both, *arguments)
    opened = [(each.source, each.priority) for each in daemon.heard if isinstance(each, Open)]
    assert opened == [("mic", 1), ("system", 2)]
    assert sorted(out.splitlines()) == ["mic: stream 1", "system: stream 2"]
    assert sorted(err) == [
        "asrd: mic: Webcam has ended",
        "asrd: system: Monitor of Speakers has ended",
    ]
    _, out, _ = play(fake, both, *arguments, "-f", "jsonl")
    objects = [json.loads(line) for line in out.splitlines()]
    assert {each["source"]: each["text"] for each in objects} == {
        "mic": "stream 1",
        "system": "stream 2",
    }


def test_one_that_the_daemon_ends_ends_all(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    both = Machine(devices=(FakeDevice(name="Webcam"), FakeDevice(name="Monitor")))
    daemon.rules[Audio] = lambda message: [closed(2, reason="idle")] if message.stream == 2 else []
    code, _, err = play(fake, both, "--mic", "--system", "--socket", socket)
    assert code == 69
    assert err == ["asrd: the daemon ended the stream (idle): start again"]


# ── its end ───────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_finishes_what_was_said(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    def interrupt(_: Audio) -> Reply:
        if len(daemon.heard) == 3:  # behind hello and open
            process.send_signal(signal.SIGINT)
        return []

    daemon.rules[Audio] = interrupt
    with listening(fake, playing(pcm, ends=False), "--socket", socket) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"hello there\n", b"")


def test_a_second_ctrl_c_ends_at_once(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    def interrupt(message: Audio | Close) -> Reply:
        if isinstance(message, Close) or len(daemon.heard) == 3:
            process.send_signal(signal.SIGINT)
        return []

    daemon.rules.update({Audio: interrupt, Close: interrupt})
    with listening(fake, playing(pcm, ends=False), "--socket", socket) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_terminal_has_partials_without_being_asked(
    fake: Path, pcm: Path, daemon: FakeDaemon, socket: Path
) -> None:
    daemon.rules[Close] = lambda _: [
        Partial(stream=1, id=0, start=0.0, end=1.0, text="hello the", stable=5),
        segment(),
        closed(),
    ]
    ours, theirs = pty.openpty()
    with listening(fake, playing(pcm), "--socket", socket, stdout=theirs, stderr=None) as process:
        os.close(theirs)
        process.wait(60)
        shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert shown == "hello\x1b[2m the\x1b[0m\r\x1b[Khello there\r\n"
    opened = daemon.heard[1]
    assert isinstance(opened, Open)
    assert opened.partials


# ── real speech, a real daemon ────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("moonshine"), provider="moonshine") as daemon:
        yield daemon


def said_first(recording: Recording) -> bytes:
    """The first sentence, as a device plays it."""
    samples = read_wav(recording.path)[: int(FIRST_S * 16_000)]
    pcm: bytes = (samples * 32767).astype("<i2").tobytes()
    return pcm


def test_speech_is_read_while_it_is_heard(
    fake: Path, moonshine: Daemon, two_cities: Recording, tmp_path: Path
) -> None:
    """Both sources at once, in real time; the second hears the sentence a second later."""
    pcm = said_first(two_cities)
    (tmp_path / "near").write_bytes(pcm)
    (tmp_path / "far").write_bytes(bytes(32_000) + pcm)
    machine = Machine(
        devices=(
            FakeDevice(name="Webcam", pcm=str(tmp_path / "near")),
            FakeDevice(name="Monitor", pcm=str(tmp_path / "far")),
        ),
    )
    arguments = ("--mic", "--system", "-f", "jsonl", "--partials", "--socket", moonshine.path)
    finals: dict[str, list[str]] = {"mic": [], "system": []}
    partials: dict[str, int] = {"mic": 0, "system": 0}
    is_interrupted = False
    with listening(fake, machine, *arguments) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if told["type"] == "partial":
                partials[told["source"]] += 1
            else:
                finals[told["source"]].append(told["text"])
            if all(finals.values()) and not is_interrupted:
                is_interrupted = True
                process.send_signal(signal.SIGINT)  # both go on hearing silence
        assert process.wait(30) == 130
    for source in ("mic", "system"):
        assert word_error_rate([(FIRST_TEXT, " ".join(finals[source]))]) <= 0.1, finals
        assert partials[source] > 0


def test_a_real_daemon_s_gap_is_not_told_twice(
    fake: Path, moonshine: Daemon, two_cities: Recording, tmp_path: Path
) -> None:
    """The device tells of the overrun, the daemon of the hole: it is one loss."""
    (tmp_path / "pcm").write_bytes(said_first(two_cities))
    machine = playing(tmp_path / "pcm", pace=4.0, overruns={"60": 0.7})
    code, out, err = play(fake, machine, "--socket", moonshine.path)
    assert code == 66
    assert "the worst of times" in out.lower()
    assert err == [
        "asrd: 0.7 s of audio at 1.9 s were lost: Webcam was not read in time",
        "asrd: Webcam has ended",
    ]
