"""`asrd listen` as a command line: what is asked for, and what is missing."""

import json
import os
from pathlib import Path

import pytest

from asrd.cli.listen import with_values
from cli.conftest import Run
from support.daemon import TESTS
from support.fake_sounddevice import FakeDevice, Machine, install

MACHINE = Machine(
    devices=(
        FakeDevice(name="Webcam"),
        FakeDevice(name="Speakers", inputs=0, outputs=2),
        FakeDevice(name="Monitor of Speakers", inputs=2),
    )
)


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """The environment of a child that finds the fake."""
    path = os.pathsep.join(map(str, (install(tmp_path / "fake"), TESTS)))
    return {"PYTHONPATH": path, **MACHINE.environment}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--mic"], ["--mic="]),
        (["--mic", "--system", "-l", "en"], ["--mic=", "--system=", "-l", "en"]),
        (["--mic", "USB", "--system"], ["--mic", "USB", "--system="]),
        (["--mic=USB", "-f", "jsonl"], ["--mic=USB", "-f", "jsonl"]),
        ([], []),
    ],
)
def test_a_source_may_stand_without_a_device(given: list[str], read: list[str]) -> None:
    assert with_values(given) == read


def test_the_inputs_are_listed(asrd_process: Run, fake: dict[str, str]) -> None:
    outcome = asrd_process("listen", "--list-devices", environment=fake)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "0  Webcam  (default)",
        "2  Monitor of Speakers  (hears what is played)",
    ]


def test_the_inputs_are_listed_as_json(asrd_process: Run, fake: dict[str, str]) -> None:
    outcome = asrd_process("listen", "--list-devices", "--json", environment=fake)
    assert (outcome.code, outcome.err) == (0, "")
    webcam, monitor = json.loads(outcome.out)
    assert (webcam["number"], webcam["is_default"], webcam["is_loopback"]) == (0, True, False)
    assert (monitor["name"], monitor["is_loopback"]) == ("Monitor of Speakers", True)


def test_json_is_for_the_list(asrd: Run) -> None:
    outcome = asrd("listen", "--json")
    assert outcome.code == 64
    assert "--format jsonl" in outcome.error


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            "raise ModuleNotFoundError('No module named sounddevice')",
            "`pip install 'asrd[listen]'`",
        ),
        ("raise OSError('PortAudio library not found')", "`apt install libportaudio2`"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--system"], ["--list-devices"]])
def test_what_is_missing_is_named(
    asrd_process: Run, tmp_path: Path, module: str, says: str, arguments: list[str]
) -> None:
    (tmp_path / "sounddevice.py").write_text(f"{module}\n")
    outcome = asrd_process("listen", *arguments, environment={"PYTHONPATH": str(tmp_path)})
    assert outcome.code == 69
    assert says in outcome.error


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--mic", "ghost"], 66, "there is no input 'ghost'"),
        (["--mic", "m"], 64, "'m' may be 0 (Webcam), 2 (Monitor of Speakers): give the number"),
    ],
)
def test_a_device_that_cannot_be_meant(
    asrd_process: Run, fake: dict[str, str], arguments: list[str], code: int, says: str
) -> None:
    outcome = asrd_process("listen", *arguments, environment=fake)
    assert outcome.code == code
    assert says in outcome.error


def test_settings_belong_to_a_daemon_of_ones_own(asrd_process: Run, tmp_path: Path) -> None:
    outcome = asrd_process("listen", "--socket", tmp_path / "s", "--option", "x=1")
    assert outcome.code == 64
    assert "not for a daemon that runs already" in outcome.error
