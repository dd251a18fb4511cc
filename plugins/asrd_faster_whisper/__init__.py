"""Whisper on CTranslate2 (faster-whisper): ninety-nine languages, CPU and NVIDIA GPUs."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from asrd import (
    Model,
    ModelStatus,
    ModelUnavailable,
    Provider,
    Register,
    Setting,
    hookimpl,
    read_settings,
)
from asrd_faster_whisper.files import REPOSITORIES, locate


@dataclass(frozen=True, slots=True, kw_only=True)
class FasterWhisperSettings:
    """What a user may set for this provider."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    device_index: Annotated[int, (0, 63)] = 0
    compute_type: str = "auto"
    """A CTranslate2 type; `auto` is int8 on a CPU and float16 on CUDA."""

    cpu_threads: Annotated[int, (0, 256)] = 0
    """0 takes the cores this process may use, at most 4: more buys almost nothing."""

    beam_size: Annotated[int, (1, 32)] = 5
    """For finals; a partial is replaced soon and always takes 1."""

    temperature_fallback: bool = True
    """Read a window again, less greedily, when the text repeats itself or is unlikely."""

    hotwords: str = ""
    """Names and terms that the speakers use."""


class FasterWhisperProvider(Provider):
    """Finds CTranslate2 models in the Hugging Face cache or at a path."""

    name: ClassVar[str] = "faster_whisper"
    summary: ClassVar[str] = "Whisper on CTranslate2: many languages, CPU and CUDA"
    default_model: ClassVar[str] = "base"

    def status(self, model: str) -> ModelStatus:
        """Look for the model's files."""
        python = shlex.quote(sys.executable)
        if find_spec("faster_whisper") is None:
            return ModelStatus(
                model=model,
                is_present=False,
                problem="The package faster-whisper is not installed.",
                remedy=f"{python} -m pip install 'faster-whisper>=1.2.1,<2'",
            )
        files = locate(model)
        if files is None:
            names = ", ".join(REPOSITORIES)
            return ModelStatus(
                model=model,
                is_present=False,
                problem=f"faster-whisper has no model '{model}'; it has {names}.",
            )
        if not files.missing:
            return ModelStatus(model=model, is_present=True)
        if files.repository is None:
            problem, remedy = f"The folder {files.folder} lacks {', '.join(files.missing)}.", ""
        else:
            problem = f"The model '{model}' is not in the Hugging Face cache."
            fetch = f"import faster_whisper; faster_whisper.download_model('{files.repository}')"
            remedy = f'{python} -c "{fetch}"'
        return ModelStatus(model=model, is_present=False, problem=problem, remedy=remedy)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load the model into this process."""
        chosen = read_settings(FasterWhisperSettings, settings, provider=self.name)
        status = self.status(model)
        files = locate(model)
        if not status.is_present or files is None:
            raise ModelUnavailable(f"{status.problem} {status.remedy}".strip())
        from asrd_faster_whisper.model import FasterWhisperModel

        return FasterWhisperModel(
            folder=files.folder,
            device=chosen.device,
            device_index=chosen.device_index,
            compute_type=chosen.compute_type,
            cpu_threads=chosen.cpu_threads,
            beam_size=chosen.beam_size,
            has_temperature_fallback=chosen.temperature_fallback,
            hotwords=chosen.hotwords,
        )


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `faster_whisper`."""
    register(FasterWhisperProvider())
