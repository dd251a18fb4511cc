"""A daemon that is tied to who started it: the end of its stdin is its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from asrd.cli.exits import Exit
from asrd.wire.messages import Close, GetStats, Stats
from support.audio import read_pcm
from support.daemon import is_alive
from support.waiting import PATIENCE_S, wait_until
from support.wire_client import WireClient

SPEECH = read_pcm(Path(__file__).parent.parent / "tiny_whisper" / "samples" / "phrase_1.wav")
ECHO = ("--provider", "echo", "--warm-up", "none")
QUICKLY_S = 5.0
"""Half of what a daemon that drains has for its streams."""


@contextmanager
def tied(*arguments: str | Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "asrd.cli.tied", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def connected(path: Path) -> WireClient:
    def look() -> WireClient | None:
        try:
            return WireClient(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    return wait_until(look, "a daemon that listens", 30.0)


@pytest.mark.parametrize("is_busy", [False, True])
def test_it_serves_until_its_stdin_ends(tmp_path: Path, is_busy: bool) -> None:
    """And ends at once, also amid a decode: nobody listens to its outcome any more."""
    path = tmp_path / "d" / "s"
    with tied("--socket", path, *ECHO, "-o", "echo.latency_ms=60000") as process:
        assert process.stdin is not None
        process.stdin.write(b"what is said there means nothing\n")
        process.stdin.flush()
        with connected(path) as client:
            client.hello()
            if is_busy:
                client.open(1, source="file", partials=False)
                client.speak(1, SPEECH)
                client.send(Close(stream=1))
                wait_until(lambda: is_decoding(client), "a decode")
            assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
            process.stdin.close()
            assert process.wait(QUICKLY_S) == Exit.OK
        assert not path.exists()
    wait_until(lambda: not any(is_alive(child.pid) for child in children), "the workers' end")


def is_decoding(client: WireClient) -> bool:
    client.send(GetStats())
    return bool(client.expect(Stats).counters["decodes_running"])


def test_it_takes_what_serve_takes_and_ends_as_that_does(tmp_path: Path) -> None:
    with tied("--socket", tmp_path / "s", "--provider", "nobody") as process:
        code = process.wait(PATIENCE_S)  # its stdin is open all the while
        assert process.stderr is not None
        errors = process.stderr.read()
    assert code == Exit.CONFIG
    assert b"nobody" in errors
    assert b"Traceback" not in errors
