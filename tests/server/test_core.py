"""The core process: small, quick to answer, and free of engines."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from asrd.wire.messages import GetHealth, Health
from conftest import TINY_WHISPER
from support.audio import read_pcm
from support.daemon import Daemon, environment, running_daemon
from support.waiting import wait_until
from support.wire_client import WireClient

PHRASE = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav")

ENGINES = {
    "asrd_faster_whisper.model",
    "asrd_moonshine.library",
    "asrd_moonshine.model",
    "asrd_moonshine.streaming",
    "asrd_moonshine.transcriber",
    "asrd_whisper_cpp.model",
    "_pywhispercpp",
    "av",
    "ctranslate2",
    "faster_whisper",
    "huggingface_hub",
    "moonshine_voice",
    "onnxruntime",
    "pynvml",
    "pywhispercpp",
    "tokenizers",
    "torch",
}

MAX_CORE_BYTES = 80_000_000
HEALTH_WITHIN_S = 0.5

PROGRAM = """
import json, sys
from pathlib import Path
from asrd.config import Config
from asrd.server import app, logs

logs.configure("warning")
app.serve(Config(fallback=("echo",)), socket_path=Path(sys.argv[1]))
print(json.dumps(sorted(sys.modules)))
"""


def test_the_core_imports_no_engine(tmp_path: Path) -> None:
    """Not even after it has recognised speech and told of deep health and every provider."""
    path = tmp_path / "d" / "s"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(path.exists, "a socket")
        with WireClient(path) as client:
            client.hello()
            assert client.transcribe(1, PHRASE, source="file")
            client.send(GetHealth(deep=True))
            assert client.expect(Health).ready
            assert client.health().providers.keys() >= {"echo", "moonshine", "whisper_cpp"}
        process.terminate()
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    modules = set(json.loads(out.splitlines()[-1]))
    assert "asrd.server.hub" in modules  # it is the core's list that was printed
    assert not modules & ENGINES


def test_the_core_is_small_after_work(tmp_path: Path) -> None:
    with running_daemon(tmp_path, provider="moonshine") as daemon, daemon.greet() as client:
        client.transcribe(1, PHRASE)
        assert psutil.Process(daemon.pid).memory_info().rss < MAX_CORE_BYTES


@pytest.mark.parametrize("provider", ["moonshine", "echo"])
def test_health_is_answered_after_half_a_second_of_work_at_most(
    tmp_path: Path, provider: str
) -> None:
    """Whatever loads meanwhile.

    CPU time, which other programs stretch less than time; the least of five for the same reason.
    `benchmarks.cold_start` has the time.
    """
    spent_s = []
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        daemon = Daemon(folder, provider=provider)
        try:
            with daemon.greet() as client:
                assert client.health().live
                times = psutil.Process(daemon.pid).cpu_times()
            spent_s.append(times.user + times.system)
        finally:
            daemon.kill()
    assert min(spent_s) < HEALTH_WITHIN_S, spent_s
