"""Real models and real recordings, shared by all tests."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import support.profiles  # noqa: F401 - hypothesis draws the same examples in every run
from asrd_moonshine import MoonshineProvider

# A shell starts its background jobs with Ctrl-C ignored, which children inherit: undone here, so
# that tests of Ctrl-C say the same wherever they are run.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nobody's own configuration reaches the tests: there is no such folder, and no variable.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
for _name in [name for name in os.environ if name.upper().startswith("ASRD_")]:
    del os.environ[_name]

TESTS = Path(__file__).parent
TINY_WHISPER = TESTS / "tiny_whisper"
SHARED_AUDIO = TESTS.parent.parent / "shared" / "audio"

# What is heard in moonshine-voice's two_cities.wav, all of it (Charles Dickens, 1859).
TWO_CITIES_TEXT = """
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of
light, it was the season of darkness, it was the spring of hope, it was the winter of despair, we
had everything before us, we had nothing before us, we were all going direct to heaven, we were all
going direct the other way. In short, the period was so far like the present period, that some of
its noisiest authorities insisted on its being received, for good or for evil, in the superlative
degree of comparison only.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyWhisper:
    """The tests' own Whisper, in the formats of both engines."""

    ctranslate2: Path
    ggml: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A WAV file and what is said in it."""

    path: Path
    transcript: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run of the tests may be told."""
    parser.addoption(
        "--kills", type=int, default=200, help="workers that the random kills under load end"
    )
    parser.addoption(
        "--cuts", type=int, default=2000, help="connections cut at random bytes, for each engine"
    )
    parser.addoption(
        "--daemon-kills", type=int, default=100, help="times that a daemon is killed at random"
    )
    parser.addoption(
        "--fuzz-times", type=int, default=1, help="so many times the frames that CI has time for"
    )
    parser.addoption("--fuzz-seed", type=int, default=1, help="what mutated frames are drawn from")


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> TinyWhisper:
    """The twenty-word model, expanded once per run."""
    folder = tmp_path_factory.mktemp("tiny_whisper")
    script, weights = TINY_WHISPER / "expand.py", TINY_WHISPER / "tiny_whisper.npz"
    subprocess.run([sys.executable, script, weights, folder], check=True, stdout=subprocess.DEVNULL)
    return TinyWhisper(ctranslate2=folder / "ctranslate2", ggml=folder / "ggml.bin")


@pytest.fixture(scope="session")
def tiny_samples() -> list[Recording]:
    """Recordings that both engines read exactly with the twenty-word model; two hold no speech."""
    return read_transcripts(TINY_WHISPER / "samples")


@pytest.fixture(scope="session")
def shared_audio() -> list[Recording]:
    """Recordings of people, where the folder with them lies beside the repository."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip(f"there are no recordings in {SHARED_AUDIO}")
    return read_transcripts(SHARED_AUDIO)


@pytest.fixture(scope="session")
def two_cities() -> Recording:
    """44 seconds of a person reading, from the moonshine-voice package."""
    path = MoonshineProvider().sample()
    assert path is not None
    return Recording(path=path, transcript=" ".join(TWO_CITIES_TEXT.split()))


def read_transcripts(folder: Path) -> list[Recording]:
    """Every line of the folder's transcripts.tsv that names a file; a header line names none."""
    rows = (
        line.split("\t")
        for line in (folder / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    )
    return [Recording(path=folder / row[0], transcript=row[1]) for row in rows if row[0] != "file"]
