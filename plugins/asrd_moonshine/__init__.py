"""Moonshine (moonshine-voice): small, quick, and carried inside its wheel. The default provider."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from asrd import (
    Machine,
    Model,
    ModelStatus,
    ModelUnavailable,
    Provider,
    ProviderError,
    Register,
    ReportPull,
    Setting,
    Suggestion,
    hookimpl,
    read_settings,
)
from asrd_moonshine.files import (
    CATALOGUE,
    Architecture,
    ModelFiles,
    is_whole_tokenizer,
    locate,
    package_folder,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoonshineSettings:
    """What a user may set for this provider.

    The library takes no number of threads: it has one, or ONNX Runtime's own pool.
    """

    single_thread: bool = True
    """One thread costs a half to a third of the CPU time that ONNX Runtime's own pool costs."""

    architecture: Literal["auto", Architecture] = "auto"
    """The shape of a model given by path, where the folder's name does not tell."""

    max_tokens_per_second: Annotated[float, (0, 50)] = 0.0
    """Longer output than this is cut as a loop; 0 takes what suits the model's language."""

    streaming: bool = False
    """The library keeps each utterance and is fed it bit by bit, in place of whole windows."""


# Word error rate: the mean over the Open ASR Leaderboard's English sets. Memory: the worker's, once
# it has read a window of 20 s, in which it takes 0.02 to 0.03 of one core.
_TINY_EN = Suggestion(
    model="tiny-en",
    settings={},
    memory_bytes=210_000_000,
    quality=87.3,
    reason="English only; a quarter of a core is enough",
)
_FEWEST_CORES = 0.25
_ROOM = 2


class MoonshineProvider(Provider):
    """Finds Moonshine models in the wheel, in moonshine-voice's cache, or at a path."""

    name: ClassVar[str] = "moonshine"
    summary: ClassVar[str] = "Moonshine: quick on a CPU; English model included"
    default_model: ClassVar[str] = "tiny-en"

    def status(self, model: str) -> ModelStatus:
        """Look for the model's files."""
        files = locate(model)
        if package_folder() is None:
            return ModelStatus(
                model=files.name if files else model,
                is_present=False,
                problem="The package moonshine-voice is not installed.",
                remedy=_install(),
            )
        if files is None:
            close = get_close_matches(model, CATALOGUE, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(CATALOGUE)}."
            return ModelStatus(
                model=model,
                is_present=False,
                problem=f"Moonshine has no model '{model}'; {hint}",
            )
        problem = ""
        if files.missing:
            problem = f"The folder {files.folder} lacks {', '.join(files.missing)}."
        if files.download and not files.folder.is_dir():
            problem = f"The model '{files.name}' is not in Moonshine's cache."
        return ModelStatus(
            model=files.name,
            is_present=not problem,
            problem=problem,
            remedy=_remedy(files) if problem else "",
            size_bytes=files.size_bytes,
        )

    def models(self) -> Iterator[ModelStatus]:
        """The model in the wheel, and those that the library's downloader offers."""
        return map(self.status, CATALOGUE)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """See whether every setting is known and in its bounds."""
        read_settings(MoonshineSettings, settings, provider=self.name)

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
        if not is_whole_tokenizer(files.folder / "tokenizer.bin"):
            problem = f"The file {files.folder / 'tokenizer.bin'} is damaged."
            raise ProviderError(f"{problem} {_remedy(files)}".strip())
        from asrd_moonshine.model import MoonshineModel
        from asrd_moonshine.streaming import StreamingMoonshineModel
        from asrd_moonshine.transcriber import Transcriber

        transcriber = Transcriber(
            library_folder=folder,
            model_folder=files.folder,
            architecture=architecture,
            language=files.language,
            single_thread=chosen.single_thread,
            max_tokens_per_second=chosen.max_tokens_per_second or files.max_tokens_per_second,
            remedy=_remedy(files),
        )
        if chosen.streaming:
            return StreamingMoonshineModel(transcriber)
        return MoonshineModel(transcriber)

    def pull(self, model: str, report: ReportPull) -> None:
        """Fetch the model with the library's own downloader; the one in the wheel is here."""
        status = self.status(model)
        files = locate(model)
        if files is None or package_folder() is None:
            raise ProviderError(f"{status.problem} {status.remedy}".strip())
        if files.download is None:
            if status.problem:
                raise ProviderError(f"{status.problem} {status.remedy}".strip())
            report(status.size_bytes, status.size_bytes)
            return
        from asrd_moonshine.download import download

        download(files.folder, *files.download, report)
        if problem := self.status(model).problem:
            raise ProviderError(f"Moonshine's downloader has ended, but: {problem}")

    def suggest(self, machine: Machine) -> Iterator[Suggestion]:
        """Suggest the model in the wheel, wherever there is some of a core and twice its memory."""
        if (
            machine.cores >= _FEWEST_CORES
            and machine.available_bytes >= _ROOM * _TINY_EN.memory_bytes
        ):
            yield _TINY_EN

    def sample(self) -> Path | None:
        """The opening of A Tale of Two Cities, 44 seconds, from the wheel."""
        folder = package_folder()
        recording = folder / "assets" / "two_cities.wav" if folder else None
        return recording if recording is not None and recording.is_file() else None


def _remedy(files: ModelFiles) -> str:
    """The command that brings a model, or brings it again; empty for a path."""
    if files.download is not None:
        return f"asrd models pull moonshine/{files.name}"
    return _install("--force-reinstall", "--no-deps") if files.name in CATALOGUE else ""


def _install(*options: str) -> str:
    python = shlex.quote(sys.executable)
    return " ".join([python, "-m pip install", *options, "moonshine-voice==0.1.0"])


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `moonshine`."""
    register(MoonshineProvider())
