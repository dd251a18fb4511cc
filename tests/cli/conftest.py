"""The program, run inside this process or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from asrd.cli.app import main
from support.fake_daemon import FakeDaemon, listening_in_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of the program left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("asrd: ")
        return lines[0].removeprefix("asrd: ")


Run = Callable[..., Outcome]


@pytest.fixture
def asrd(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process: `asrd("transcribe", path)`."""

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code=code, out=out, err=err)

    return run


@pytest.fixture
def asrd_process() -> Run:
    """Run the program in a process of its own; its stdin is /dev/null or `stdin`."""

    def run(
        *arguments: str | Path, stdin: bytes = b"", environment: dict[str, str] | None = None
    ) -> Outcome:
        done = subprocess.run(
            command(*arguments),
            input=stdin,
            capture_output=True,
            env={**os.environ, **(environment or {})},
            timeout=60,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    return run


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "asrd", *map(str, arguments)]


@pytest.fixture(autouse=True)
def no_configuration_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is in /etc; the user's own is kept out by the environment."""
    monkeypatch.setattr("asrd.configuring.layers.SYSTEM_FILE", tmp_path / "system.toml")


@pytest.fixture(autouse=True)
def no_daemon_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever runs on this machine, tests meet only daemons of their own."""
    for user in ("asrd.paths", "asrd.cli.reach"):
        monkeypatch.setattr(f"{user}.default_socket_path", lambda: tmp_path / "nobody.sock")


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """Where a test's daemon listens."""
    return tmp_path / "s"


@pytest.fixture
def daemon(socket: Path) -> Iterator[FakeDaemon]:
    """A daemon at `socket` that does as it is told."""
    with listening_in_thread(FakeDaemon(), socket) as fake:
        yield fake


def write_media(
    path: Path, *, audio_s: float, rate: int = 16000, layout: str = "mono", **more: float
) -> Path:
    """Write a file whose audio is a tone; the name decides the format.

    `video_s` adds a picture from the start, `audio_at_s` starts the audio later.
    """
    with av.open(str(path), "w") as container:
        pictures: Any = None
        if more.get("video_s"):
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            pictures.pix_fmt = "yuv420p"
        codec = {".mp3": "mp3", ".wav": "pcm_s16le"}.get(path.suffix, "aac")
        sound = None
        if audio_s:
            sound = container.add_stream(codec, rate=rate, layout=layout)
        for index in range(int(more.get("video_s", 0) * 10)):
            picture = av.VideoFrame(32, 32, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes(plane.buffer_size))
            picture.pts = index
            container.mux(pictures.encode(picture))
        if pictures is not None:
            container.mux(pictures.encode(None))
        if sound is not None:
            _write_tone(container, sound, audio_s, more.get("audio_at_s", 0.0))
    return path


def _write_tone(
    container: av.container.OutputContainer, sound: av.AudioStream, length_s: float, at_s: float
) -> None:
    resampler = av.AudioResampler(sound.format, sound.layout, sound.rate)
    period = [0, 12000, 0, -12000]
    samples = int(length_s * sound.rate)
    pcm = b"".join(value.to_bytes(2, "little", signed=True) for value in period)
    for start in range(0, samples, 1024):
        count = min(1024, samples - start)
        frame = av.AudioFrame("s16", "mono", count)
        frame.planes[0].update((pcm * 256)[: 2 * count].ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = sound.rate
        frame.pts = start + int(at_s * sound.rate)
        for piece in resampler.resample(frame):
            container.mux(sound.encode(piece))
    for piece in resampler.resample(None):
        container.mux(sound.encode(piece))
    container.mux(sound.encode(None))
