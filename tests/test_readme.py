"""What the README shows is run as it stands there, by a user who is not root, in an empty home."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from asrd.audio import SAMPLE_RATE, Samples
from conftest import Recording, TinyWhisper
from support.audio import read_wav
from support.listening import pcm
from support.waiting import wait_until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
PROGRAMS = Path(__file__).parent / "support" / "programs"
IN_CI_SCRIPT = 2
"""The two commands of "Try it": CI consists of them, see `.ci/run`."""
PATIENCE_S = 100.0
SPOKEN_S = 5

EXPECTED = {
    "asrd pipe": "best of times",
    "asrd transcribe talk.mp4 --socket": "best of times",
    "asrd status": "moonshine",
    "asrd service": "asrd.socket",
    "asrd doctor": "moonshine",
    "asrd config init": "environment",
    "asrd replay": "best of times",
}
"""A command of a block, and what has to be seen when the block is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a newcomer works: a home of their own, and a folder with a recording."""

    folder: Path
    environment: dict[str, str]

    def run(self, script: str) -> str:
        """What a shell shows that runs it; fails as it fails.

        What it leaves in the background is ended.
        """
        out = self.folder / "shown"
        command = ["bash", "-euo", "pipefail", "-c", script]
        if os.geteuid() == 0:
            command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]
        with out.open("wb") as shown:
            shell = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=shown,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            code = shell.wait(PATIENCE_S)
        finally:
            _end_group(shell.pid)
        text = out.read_text()
        assert code == 0, text
        return text


def _end_group(group: int) -> None:
    """End what is left of a shell, as somebody who closes the terminal does."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    wait_until(lambda: not _lives(group), "the end of a shell's children")


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def home(tmp_path: Path, tiny_whisper: TinyWhisper, two_cities: Recording) -> Home:
    if os.geteuid() == 0 and subprocess.call(["unshare", "-U", "--map-user=1000", "true"]):
        pytest.skip("the examples are a user's, and root may not become one here")
    folder, run = tmp_path / "work", tmp_path / "run"
    for each in (folder, run):
        each.mkdir(mode=0o700)
    speech = read_wav(two_cities.path)[: SPOKEN_S * SAMPLE_RATE]
    (tmp_path / "spoken.raw").write_bytes(pcm(speech))
    _write_movie(folder / "talk.mp4", speech)
    models = tmp_path / ".local" / "share" / "pywhispercpp" / "models"
    models.mkdir(parents=True)
    shutil.copy(tiny_whisper.ggml, models / "ggml-base.bin")
    kept = {key: os.environ[key] for key in ("LANG", "TMPDIR") if key in os.environ}
    path = [str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]]
    return Home(
        folder=folder,
        environment=kept
        | {
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join(path),
            "XDG_RUNTIME_DIR": str(run),
            "SPOKEN": str(tmp_path / "spoken.raw"),
        },
    )


def _write_movie(path: Path, speech: Samples) -> None:
    with av.open(path, "w") as movie:
        stream = movie.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(speech[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            movie.mux(packet)


def test_every_block_is_of_a_kind_that_is_held() -> None:
    """`text` is for pictures; there is nothing else that could go stale."""
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "text", "toml"}
    assert sum(kind == "python" for kind, _ in BLOCKS) == 1  # tests/client/test_example.py


def test_ci_consists_of_the_two_commands_of_try_it() -> None:
    """`.ci/run` takes them out of the README; a third would not be run."""
    script = (ROOT / ".ci" / "run").read_text()
    assert all(f"readme_command {number}" in script for number in range(1, IN_CI_SCRIPT + 1))
    assert all(".venv/bin/pip install" in text for text in SHELL[:IN_CI_SCRIPT])
    assert not any("pip install" in text for text in SHELL[IN_CI_SCRIPT:])


def test_the_examples_do_what_they_say(home: Home) -> None:
    """All in one shell, one after the other, as somebody does who reads from top to bottom."""
    marked = [f"echo '== {number}'\n{text}" for number, text in enumerate(SHELL)]
    shown = home.run("\n".join(marked[IN_CI_SCRIPT:])).lower()
    assert "traceback" not in shown
    assert "best of times" in (home.folder / "talk.srt").read_text()
    _, *parts = re.split(r"^== \d+$", shown, flags=re.MULTILINE)
    for script, part in zip(SHELL[IN_CI_SCRIPT:], parts, strict=True):
        for command, words in EXPECTED.items():
            if command in script:
                assert words in part, (command, part)


def test_what_is_expected_of_examples_belongs_to_one() -> None:
    assert all(any(command in script for script in SHELL) for command in EXPECTED)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "toml"])
def test_a_configuration_makes_sense(home: Home, text: str) -> None:
    (home.folder / "shown.toml").write_text(text)
    home.run("asrd config check shown.toml")
