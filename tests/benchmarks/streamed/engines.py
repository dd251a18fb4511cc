"""The engines of the benchmark `streaming`, and how each reads without the daemon."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asrd import ProviderError, Setting
from asrd.providers.registry import discover
from benchmarks.common import pcm
from benchmarks.streamed.material import Take, spoken_takes, twenty_word_takes, write
from conftest import TINY_WHISPER, Recording, TinyWhisper
from flow.test_speech import Pcm, faster_whisper_alone, moonshine_alone, whisper_cpp_alone

ReadAlone = Callable[[Sequence[Take]], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A provider with a model and settings, what it is to hear, and how it reads whole takes.

    `read_alone` is None for one that understands nothing.
    """

    name: str
    provider: str
    takes: Sequence[Take]
    read_alone: ReadAlone | None
    model: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """What `asrd serve` is told."""
        model = ["--model", self.model] if self.model else []
        options = [f"--option={key}={_written(value)}" for key, value in self.settings.items()]
        return ["--provider", self.provider, *model, *options]


def moonshine() -> Engine:
    return Engine(
        name="moonshine",
        provider="moonshine",
        takes=spoken_takes(),
        read_alone=_moonshine_alone,
    )


def moonshine_streaming() -> Engine:
    """Raises ProviderError where the plugin does not know its streaming mode."""
    settings = {"streaming": True}
    discover().get("moonshine").provider.check_settings(settings)
    return Engine(
        name="moonshine_streaming",
        provider="moonshine",
        takes=spoken_takes(),
        read_alone=_moonshine_alone,
        settings=settings,
    )


def faster_whisper(folder: Path) -> Engine:
    files = expanded(folder)

    def alone(takes: Sequence[Take]) -> list[str]:
        return faster_whisper_alone(files, _recordings(takes, folder))

    return Engine(
        name="faster_whisper",
        provider="faster_whisper",
        model=str(files.ctranslate2),
        takes=twenty_word_takes(),
        read_alone=alone,
    )


def whisper_cpp(folder: Path) -> Engine:
    files = expanded(folder)

    def alone(takes: Sequence[Take]) -> list[str]:
        return whisper_cpp_alone(files, _recordings(takes, folder))

    return Engine(
        name="whisper_cpp",
        provider="whisper_cpp",
        model=str(files.ggml),
        takes=twenty_word_takes(),
        read_alone=alone,
    )


def slow(real_time_factor: float) -> Engine:
    """One that waits instead of reading: cost without noise, and no text to hold against any."""
    return Engine(
        name="slow",
        provider="echo",
        takes=spoken_takes(),
        read_alone=None,
        settings={"real_time_factor": real_time_factor},
    )


def chosen(names: Sequence[str], folder: Path, slow_factor: float) -> list[Engine]:
    """The engines of these names; one that cannot be had is left out, and the reason printed."""
    makers: dict[str, Callable[[], Engine]] = {
        "moonshine": moonshine,
        "moonshine_streaming": moonshine_streaming,
        "faster_whisper": lambda: faster_whisper(folder),
        "whisper_cpp": lambda: whisper_cpp(folder),
        "slow": lambda: slow(slow_factor),
    }
    engines = []
    for name in names:
        try:
            engines.append(makers[name]())
        except ProviderError as error:
            print(f"{name} is left out: {error}", flush=True)
    return engines


def expanded(folder: Path) -> TinyWhisper:
    """The tests' own Whisper in the formats of both engines, written once."""
    target = folder / "tiny_whisper"
    files = TinyWhisper(ctranslate2=target / "ctranslate2", ggml=target / "ggml.bin")
    if not target.is_dir():
        target.mkdir()
        script, weights = TINY_WHISPER / "expand.py", TINY_WHISPER / "tiny_whisper.npz"
        subprocess.run(
            [sys.executable, script, weights, target], check=True, stdout=subprocess.DEVNULL
        )
    return files


def _moonshine_alone(takes: Sequence[Take]) -> list[str]:
    return moonshine_alone([Pcm(data=pcm(take.samples), rate=16_000, channels=1) for take in takes])


def _recordings(takes: Sequence[Take], folder: Path) -> list[Recording]:
    recordings = []
    for take in takes:
        path = folder / f"{take.name}.wav"
        write(take, path)
        recordings.append(Recording(path=path, transcript=take.transcript))
    return recordings


def _written(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
