"""Whisper on ggml (whisper.cpp through pywhispercpp): one file per model, Metal on a Mac."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, ClassVar

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
from asrd_whisper_cpp.files import is_downloadable, locate


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperCppSettings:
    """What a user may set for this provider."""

    threads: Annotated[int, (0, 256)] = 0
    """0 takes the cores this process may use but one, at most 4."""

    use_gpu: bool = True
    """Use a GPU where the installed library was built for one."""

    gpu_device: Annotated[int, (0, 63)] = 0
    flash_attention: bool = True

    beam_size: Annotated[int, (1, 8)] = 1
    """Above 1, finals are read by beam search; a partial never is."""

    temperature_fallback: bool = True
    """Read a window again, less greedily, when the text repeats itself or is unlikely."""


class WhisperCppProvider(Provider):
    """Finds ggml models in pywhispercpp's folder or at a path."""

    name: ClassVar[str] = "whisper_cpp"
    summary: ClassVar[str] = "Whisper on whisper.cpp: one file per model, CPU and Metal"
    default_model: ClassVar[str] = "base"

    def status(self, model: str) -> ModelStatus:
        """Look for the model's file."""
        python = shlex.quote(sys.executable)
        problem = remedy = ""
        if find_spec("pywhispercpp") is None:
            problem = "The package pywhispercpp is not installed."
            remedy = f"{python} -m pip install 'pywhispercpp>=1.5,<2'"
        elif not (path := locate(model)).is_file():
            problem = f"There is no file {path}."
            if is_downloadable(model):
                fetch = f"from pywhispercpp.utils import download_model; download_model('{model}')"
                remedy = f'{python} -c "{fetch}"'
        return ModelStatus(model=model, is_present=not problem, problem=problem, remedy=remedy)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load the model into this process."""
        chosen = read_settings(WhisperCppSettings, settings, provider=self.name)
        status = self.status(model)
        if not status.is_present:
            raise ModelUnavailable(f"{status.problem} {status.remedy}".strip())
        from asrd_whisper_cpp.model import WhisperCppModel

        return WhisperCppModel(
            path=locate(model),
            threads=chosen.threads,
            use_gpu=chosen.use_gpu,
            gpu_device=chosen.gpu_device,
            flash_attention=chosen.flash_attention,
            beam_size=chosen.beam_size,
            has_temperature_fallback=chosen.temperature_fallback,
        )


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `whisper_cpp`."""
    register(WhisperCppProvider())
