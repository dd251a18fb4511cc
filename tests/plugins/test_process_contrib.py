"""contrib/process: the configurations are taken as they are, and the script speaks as they say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asrd import ProviderError, read_settings
from asrd.config import Config
from asrd.configuring.layers import Places
from asrd.configuring.reading import read
from asrd.secrets import unwrapped
from asrd_process import ProcessProvider, ProcessSettings
from asrd_process.output import OutputFormat
from support.listening import pcm

CONTRIB = Path(__file__).parents[2] / "contrib" / "process"

# Hears a word in each half second that is loud, and an endpoint after half a second that is not.
STAND_IN = """
import numpy as np


class Stream:
    def __init__(self):
        self.waiting, self.words, self.quiet, self.is_over = np.zeros(0, np.float32), [], 0, False

    def accept_waveform(self, rate, samples):
        assert rate == 16_000 and samples.dtype == np.float32 and not self.is_over
        self.waiting = np.concatenate([self.waiting, samples])

    def input_finished(self):
        self.is_over = True


class OnlineRecognizer:
    @classmethod
    def from_transducer(cls, *, tokens, encoder, decoder, joiner, **options):
        assert [p.rsplit("/", 1)[1] for p in (tokens, encoder, decoder, joiner)] == [
            "tokens.txt", "encoder.int8.onnx", "decoder.onnx", "joiner.int8.onnx"]
        assert options == dict(
            num_threads=2, sample_rate=16_000, enable_endpoint_detection=True)
        return cls()

    def create_stream(self):
        return Stream()

    def is_ready(self, stream):
        return stream.waiting.size >= 8000

    def decode_stream(self, stream):
        half, stream.waiting = stream.waiting[:8000], stream.waiting[8000:]
        loud = np.abs(half).max() > 0.1
        stream.quiet = 0 if loud else stream.quiet + 1
        stream.words += ["word"] if loud else []

    def is_endpoint(self, stream):
        return bool(stream.words) and stream.quiet > 0

    def get_result(self, stream):
        return " " + " ".join(stream.words)

    def reset(self, stream):
        stream.words = []
"""


def read_config(path: Path) -> Config:
    nowhere = CONTRIB / "no such file"
    return read(Places(system=nowhere, user=nowhere, given=path)).config


@pytest.mark.parametrize("path", sorted(CONTRIB.glob("*.toml")), ids=lambda path: path.name)
def test_each_configuration_is_one(path: Path) -> None:
    config = read_config(path)
    settings = unwrapped(config.of(config.provider).settings)
    chosen = read_settings(ProcessSettings, settings, provider="process")
    assert ProcessProvider().status(config.model or "program").is_present
    assert ("{model}" in chosen.command) == (config.model is not None)
    # All that is amiss is that the program is not here.
    with pytest.raises(ProviderError, match="is not here"):
        ProcessProvider().check_settings({**settings, "command": "/no/such/program"})


def test_there_are_three() -> None:
    assert len(list(CONTRIB.glob("*.toml"))) == 3


def test_the_script_prints_lines_that_the_provider_reads(tmp_path: Path) -> None:
    (tmp_path / "sherpa_onnx.py").write_text(STAND_IN, encoding="utf-8")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokens.txt", "encoder.onnx", "encoder.int8.onnx", "decoder.onnx"):
        (folder / name).touch()
    path = CONTRIB / "sherpa_onnx_stdin.py"
    script = [sys.executable, str(path), str(folder), "--int8", "--threads", "2"]
    environment = {"PYTHONPATH": str(tmp_path)}
    heard = subprocess.run(script, input=b"", capture_output=True, env=environment)
    assert heard.returncode == 1
    assert b"has 0 files for the joiner" in heard.stderr

    (folder / "joiner.int8.onnx").touch()
    loud, quiet = np.full(8000, 0.5, np.float32), np.zeros(8000, np.float32)
    audio = np.concatenate([loud, loud, quiet, quiet, loud, loud[:1600]])
    heard = subprocess.run(
        script, input=pcm(audio) + b"\x01", capture_output=True, env=environment, check=True
    )
    told = [json.loads(line) for line in heard.stdout.splitlines()]
    assert told == [
        {"text": "word", "final": False},
        {"text": "word word", "final": False},
        {"text": "word word", "final": True},
        {"text": "word", "final": False},
        {"text": "word word", "final": True},
    ]
    settings = unwrapped(read_config(CONTRIB / "sherpa-onnx.toml").of("process").settings)
    chosen = read_settings(ProcessSettings, settings, provider="process")
    assert chosen.ready_pattern in heard.stderr.decode()
    output = OutputFormat(
        kind=chosen.output, text_key=chosen.text_key, final_key=chosen.final_key
    ).begin()
    output.take(heard.stdout)
    output.end()
    assert output.reading.text == "word word word word"
