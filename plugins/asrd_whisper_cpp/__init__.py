"""Whisper on ggml (whisper.cpp through pywhispercpp): one file per model, Metal on a Mac."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
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
from asrd_whisper_cpp.files import NAMES, REPOSITORY, ModelFile, file_name, locate

MOST_CONTEXTS = 16
MOST_SPREAD = 4
"""Contexts that nobody asked for: each has all of the weights for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperCppSettings:
    """What a user may set for this provider.

    What the library was built with decides the rest: Metal on Apple Silicon, CUDA or Vulkan in
    builds of one's own. With Core ML built in, the encoder beside the model's file
    (`ggml-base-encoder.mlmodelc`) is taken by itself; nothing selects it at run time.
    """

    contexts: Annotated[int, (1, MOST_CONTEXTS)] = 1
    """Decodes that may run side by side. Each has the whole model in memory for itself, and
    `threads` threads. Where there is no room for all, there are fewer."""

    threads: Annotated[int, (0, 256)] = 0
    """0 takes the cores this process may use but one, at most 4."""

    use_gpu: bool = True
    """Use a GPU where the installed library was built for one."""

    gpu_device: Annotated[int, (0, 63)] = 0
    """Which of several GPUs."""

    flash_attention: bool = True

    beam_size: Annotated[int, (1, 8)] = 1
    """Above 1, finals are read by beam search; a partial never is."""

    temperature_fallback: bool = True
    """Read a window again, less greedily, when the text repeats itself or is unlikely."""

    short_context: Literal["never", "partials"] = "partials"
    """`partials` reads a partial of up to 12 s without the silence that Whisper fills its 30 s up
    with, in a fraction of the time. Finals never are."""


# On one thread `base` takes 3 s for a window of any length, and `tiny` 1.1 s. Memory is the
# worker's, once it has read a window; that of `small` is the engine's own figure. Quality: 100
# less the word error rate that is published for English.
_TINY_BYTES, _BASE_BYTES, _SMALL_BYTES = 220_000_000, 330_000_000, 850_000_000
_TINY_CORES, _BASE_CORES = 2, 4
_CPU = (
    (
        _BASE_CORES,
        Suggestion(
            model="base",
            settings={},
            memory_bytes=_BASE_BYTES,
            quality=88.5,
            reason="keeps up on the CPU with four cores or more",
        ),
    ),
    (
        _TINY_CORES,
        Suggestion(
            model="tiny",
            settings={},
            memory_bytes=_TINY_BYTES,
            quality=86.0,
            reason="keeps up on the CPU with two cores or more",
        ),
    ),
)
_METAL = (
    Suggestion(
        model="small",
        settings={},
        memory_bytes=_SMALL_BYTES,
        quality=90.5,
        reason="runs on the Mac's GPU through Metal",
    ),
    Suggestion(
        model="base",
        settings={},
        memory_bytes=_BASE_BYTES,
        quality=88.5,
        reason="runs on the Mac's GPU through Metal, in little memory",
    ),
)
_ROOM = 2
"""As much memory is to be free as the model takes, and as much again."""


class WhisperCppProvider(Provider):
    """Finds ggml models in the Hugging Face cache, in pywhispercpp's folder, or at a path."""

    name: ClassVar[str] = "whisper_cpp"
    summary: ClassVar[str] = "Whisper on whisper.cpp: one file per model, CPU and Metal"
    default_model: ClassVar[str] = "base"

    def status(self, model: str) -> ModelStatus:
        """Look for the model's file, and at its first bytes."""
        found = locate(model)
        if find_spec("pywhispercpp") is None:
            python = shlex.quote(sys.executable)
            return ModelStatus(
                model=found.name,
                is_present=False,
                problem="The package pywhispercpp is not installed.",
                remedy=f"{python} -m pip install 'pywhispercpp>=1.5,<2'",
            )
        return ModelStatus(
            model=found.name,
            is_present=not found.problem,
            problem=found.problem,
            remedy=_remedy(found) if found.problem else "",
            size_bytes=found.size_bytes,
        )

    def models(self) -> Iterator[ModelStatus]:
        """All models that the hub has, smallest first."""
        return map(self.status, NAMES)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """See whether every setting is known and in its bounds."""
        read_settings(WhisperCppSettings, settings, provider=self.name)

    def spread(self, settings: Mapping[str, Setting], decodes: int) -> Mapping[str, Setting]:
        """As many contexts as decodes, at most 4, each with one thread.

        Each takes the memory of a model, so more of them only where the user sets `contexts`.
        """
        spread = {"contexts": min(decodes, MOST_SPREAD), "threads": 1, **settings}
        return spread if spread["contexts"] != 1 else settings

    def size_bytes(self, model: str, settings: Mapping[str, Setting]) -> int:
        """The file's size, once for each context."""
        chosen = read_settings(WhisperCppSettings, settings, provider=self.name)
        return self.status(model).size_bytes * chosen.contexts

    def wants_gpu(self, settings: Mapping[str, Setting]) -> bool:
        """Where `use_gpu` is on and the library was built for NVIDIA's GPUs.

        The usual wheel was not: its models must not be refused because a GPU is full.
        """
        chosen = read_settings(WhisperCppSettings, settings, provider=self.name)
        return chosen.use_gpu and _is_built_for_nvidia()

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load the model into this process."""
        chosen = read_settings(WhisperCppSettings, settings, provider=self.name)
        status = self.status(model)
        if not status.is_present:
            raise ModelUnavailable(f"{status.problem} {status.remedy}".strip())
        found = locate(model)
        from asrd_whisper_cpp.ggml import is_whole
        from asrd_whisper_cpp.model import WhisperCppModel

        if not is_whole(found.path):
            raise ProviderError(f"The file {found.path} is cut off. {_remedy(found)}".strip())
        return WhisperCppModel(
            path=found.path,
            contexts=chosen.contexts,
            threads=chosen.threads,
            use_gpu=chosen.use_gpu,
            gpu_device=chosen.gpu_device,
            flash_attention=chosen.flash_attention,
            beam_size=chosen.beam_size,
            has_temperature_fallback=chosen.temperature_fallback,
            has_short_partials=chosen.short_context == "partials",
        )

    def pull(self, model: str, report: ReportPull) -> None:
        """Fetch the model's file into the Hugging Face cache, unless a whole one is here."""
        from asrd.providers.downloads import fetch_from_hub
        from asrd_whisper_cpp.ggml import is_whole

        found = locate(model)
        if not found.problem and is_whole(found.path):
            report(found.size_bytes, found.size_bytes)
        elif found.is_downloadable:
            fetch_from_hub(REPOSITORY, [file_name(found.name)], report)
        else:
            raise ProviderError(found.problem or f"The file {found.path} is cut off.")

    def suggest(self, machine: Machine) -> Iterator[Suggestion]:
        """Suggest what keeps up, the best first: by Metal on Apple Silicon, elsewhere by cores."""
        by_cores = [made for cores, made in _CPU if machine.cores >= cores]
        for suggestion in _METAL if machine.is_apple_silicon else by_cores:
            if machine.available_bytes >= _ROOM * suggestion.memory_bytes:
                yield suggestion


def _is_built_for_nvidia() -> bool:
    """Whether a GPU backend that NVIDIA's cards run lies among the engine's own libraries."""
    engine = find_spec("_pywhispercpp")
    if engine is None or engine.origin is None:
        return False
    beside = Path(engine.origin).parent
    return any(
        found
        for folder in (beside, beside / "pywhispercpp.libs")
        for backend in ("cuda", "vulkan")
        for found in folder.glob(f"*ggml-{backend}*")
    )


def _remedy(found: ModelFile) -> str:
    return f"asrd models pull whisper_cpp/{found.name}" if found.is_downloadable else ""


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `whisper_cpp`."""
    register(WhisperCppProvider())
