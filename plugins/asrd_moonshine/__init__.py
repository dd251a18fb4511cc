"""Moonshine (moonshine-voice): small, quick, and carried inside its wheel. The default provider."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from asrd import (
    Model,
    ModelStatus,
    ModelUnavailable,
    Provider,
    ProviderError,
    Register,
    Setting,
    hookimpl,
    read_settings,
)
from asrd_moonshine.files import CATALOGUE, Architecture, locate, package_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class MoonshineSettings:
    """What a user may set for this provider."""

    single_thread: bool = True
    """One thread costs a half to a third of the CPU time that ONNX Runtime's own pool costs."""

    architecture: Literal["auto", Architecture] = "auto"
    """The shape of a model given by path, where the folder's name does not tell."""

    max_tokens_per_second: Annotated[float, (0, 50)] = 0.0
    """Longer output than this is cut as a loop; 0 takes what suits the model's language."""


class MoonshineProvider(Provider):
    """Finds Moonshine models in the wheel, in moonshine-voice's cache, or at a path."""

    name: ClassVar[str] = "moonshine"
    summary: ClassVar[str] = "Moonshine: quick on a CPU; English model included"
    default_model: ClassVar[str] = "tiny-en"

    def status(self, model: str) -> ModelStatus:
        """Look for the model's files."""
        python = shlex.quote(sys.executable)
        if package_folder() is None:
            return ModelStatus(
                model=model,
                is_present=False,
                problem="The package moonshine-voice is not installed.",
                remedy=f"{python} -m pip install moonshine-voice==0.1.0",
            )
        files = locate(model)
        if files is None:
            return ModelStatus(
                model=model,
                is_present=False,
                problem=f"Moonshine has no model '{model}'; it has {', '.join(CATALOGUE)}.",
            )
        if not files.missing:
            return ModelStatus(model=model, is_present=True)
        if files.download is None:
            remedy = ""
        else:
            language, number = files.download
            remedy = (
                f"{python} -m moonshine_voice.download --stt"
                f" --language {language} --model-arch {number}"
            )
        return ModelStatus(
            model=model,
            is_present=False,
            problem=f"The folder {files.folder} lacks {', '.join(files.missing)}.",
            remedy=remedy,
        )

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load the model into this process; the library lives until the process ends."""
        chosen = read_settings(MoonshineSettings, settings, provider=self.name)
        status = self.status(model)
        files = locate(model)
        folder = package_folder()
        if not status.is_present or files is None or folder is None:
            raise ModelUnavailable(f"{status.problem} {status.remedy}".strip())
        architecture = files.architecture
        if chosen.architecture != "auto":
            architecture = chosen.architecture
        if architecture is None:
            raise ProviderError(
                f"The name of {files.folder} does not tell the model's shape; set 'architecture'."
            )
        from asrd_moonshine.model import MoonshineModel

        return MoonshineModel(
            library_folder=folder,
            model_folder=files.folder,
            architecture=architecture,
            language=files.language,
            single_thread=chosen.single_thread,
            max_tokens_per_second=chosen.max_tokens_per_second or files.max_tokens_per_second,
        )

    def sample(self) -> Path | None:
        """The opening of A Tale of Two Cities, 44 seconds, from the wheel."""
        folder = package_folder()
        recording = folder / "assets" / "two_cities.wav" if folder else None
        return recording if recording is not None and recording.is_file() else None


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `moonshine`."""
    register(MoonshineProvider())
