"""Whisper on CTranslate2 (faster-whisper): ninety-nine languages, CPU and NVIDIA GPUs."""

import difflib
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
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
from asrd_faster_whisper.files import (
    FILES,
    OPTIONAL_FILES,
    REPOSITORIES,
    ModelFiles,
    cached_names,
    known_names,
    locate,
)
from asrd_faster_whisper.suggestions import suggest

_MOST_WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FasterWhisperSettings:
    """What a user may set for this provider."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    device_index: Annotated[int, (0, 63)] = 0
    compute_type: Literal[
        "auto",
        "default",
        "int8",
        "int8_float32",
        "int8_float16",
        "int8_bfloat16",
        "int16",
        "float16",
        "bfloat16",
        "float32",
    ] = "auto"
    """`auto` is int8 on a CPU and float16 on CUDA, `default` what the model's files have."""

    cpu_threads: Annotated[int, (0, 256)] = 0
    """0 takes the cores this process may use, at most 4: more buys almost nothing."""

    num_workers: Annotated[int, (1, _MOST_WORKERS)] = 1
    """Decodes that CTranslate2 may run side by side, each with `cpu_threads` threads. They share
    the weights."""

    max_batch: Annotated[int, (1, 64)] = 16
    """Windows that may be read in one call."""

    short_context: Literal["never", "partials", "always"] = "partials"
    """Which windows are padded only to 4, 8 or 12 s of audio instead of 30 s, which makes a window
    of 4 s several times cheaper, and is what batches gain most from on a CPU. Whisper was trained
    on 30 s and may read worse at less, so finals are read at 30 s unless this is `always`."""

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
        """Look for the model's files, and whether they are whole."""
        files = locate(model)
        if find_spec("faster_whisper") is None:
            python = shlex.quote(sys.executable)
            return ModelStatus(
                model=files.name if files else model,
                is_present=False,
                problem="The package faster-whisper is not installed.",
                remedy=f"{python} -m pip install 'faster-whisper>=1.2.1,<2'",
            )
        if files is None:
            return ModelStatus(model=model, is_present=False, problem=_unknown(model))
        if files.is_whole:
            return ModelStatus(model=files.name, is_present=True, size_bytes=files.size_bytes)
        return ModelStatus(
            model=files.name,
            is_present=False,
            problem=_describe_problem(files),
            remedy=self._pull_command(files),
        )

    def models(self) -> Iterator[ModelStatus]:
        """The models with a short name, and others of the cache that are CTranslate2 Whispers."""
        for name in (*known_names(), *cached_names()):
            yield self.status(name)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """See whether the settings are known; what the device can do shows when a model loads."""
        read_settings(FasterWhisperSettings, settings, provider=self.name)

    def spread(self, settings: Mapping[str, Setting], decodes: int) -> Mapping[str, Setting]:
        """Workers of one thread each, at most 16; what the user has set himself stays."""
        spread = {"cpu_threads": 1, "num_workers": min(decodes, _MOST_WORKERS), **settings}
        return spread if spread["num_workers"] != 1 else settings

    def wants_gpu(self, settings: Mapping[str, Setting]) -> bool:
        """Unless the user has chosen the CPU: `auto` takes a GPU where there is one."""
        return read_settings(FasterWhisperSettings, settings, provider=self.name).device != "cpu"

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load the model into this process."""
        chosen = read_settings(FasterWhisperSettings, settings, provider=self.name)
        status = self.status(model)
        files = locate(model)
        if not status.is_present or files is None:
            is_damaged = files is not None and files.damaged and not files.missing
            kind = ProviderError if is_damaged else ModelUnavailable
            raise kind(f"{status.problem} {status.remedy}".strip())
        from asrd_faster_whisper.model import FasterWhisperModel

        command = self._pull_command(files)
        return FasterWhisperModel(
            folder=files.folder,
            device=chosen.device,
            device_index=chosen.device_index,
            compute_type=chosen.compute_type,
            cpu_threads=chosen.cpu_threads,
            num_workers=chosen.num_workers,
            beam_size=chosen.beam_size,
            has_temperature_fallback=chosen.temperature_fallback,
            hotwords=chosen.hotwords,
            max_batch=chosen.max_batch,
            short_context=chosen.short_context,
            advice=f"Fetch it again: {command}" if command else "Convert or copy it again.",
        )

    def pull(self, model: str, report: ReportPull) -> None:
        """Fetch the model's repository into the Hugging Face cache."""
        files = locate(model)
        if files is None:
            raise ProviderError(_unknown(model))
        if files.repository is None:
            names = ", ".join(known_names())
            raise ProviderError(
                f"'{model}' is a path, and only names are fetched: {names}, or owner/name of a "
                f"repository."
            )
        from asrd.providers.downloads import fetch_from_hub

        folder = fetch_from_hub(files.repository, FILES, report, optional=OPTIONAL_FILES)
        status = self.status(model)
        if not status.is_present:
            raise ProviderError(
                f"What the hub has for '{model}' cannot be used. {status.problem} If it should be "
                f"there, delete {folder} and fetch it again."
            )

    def suggest(self, machine: Machine) -> Iterator[Suggestion]:
        """What runs in real time on the machine's best GPU, and on its cores."""
        return suggest(machine)

    def _pull_command(self, files: ModelFiles) -> str:
        return f"asrd models pull {self.name}/{files.name}" if files.repository else ""


def _unknown(model: str) -> str:
    close = difflib.get_close_matches(model.lower(), REPOSITORIES, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(known_names())}."
    return f"faster-whisper has no model '{model}'; {hint}"


def _describe_problem(files: ModelFiles) -> str:
    if files.repository is None:
        if not files.folder.is_dir():
            return f"There is no folder {files.folder}."
        if files.missing:
            return f"The folder {files.folder} lacks {', '.join(files.missing)}."
        return f"The model in {files.folder} is damaged: {', '.join(files.damaged)}."
    if not files.folder.is_dir():
        return f"The model '{files.name}' is not in the Hugging Face cache."
    faults = (*(f"{name} is missing" for name in files.missing), *files.damaged)
    return f"The model '{files.name}' in the Hugging Face cache is not whole: {', '.join(faults)}."


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `faster_whisper`."""
    register(FasterWhisperProvider())
