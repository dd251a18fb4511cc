"""Which model to run on a machine: the most accurate one that is here, fits, and keeps up.

Providers say what they would run there; here their suggestions are compared. `asrd doctor` shows
the result, and `provider = "auto"` runs it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asrd.choices import Setting
from asrd.errors import ProviderError
from asrd.machine import Machine
from asrd.providers.registry import Registered, Registry
from asrd.providers.spec import ModelStatus, Suggestion

RESERVED_BYTES = 2_000_000_000
"""Left to everything else when models are counted that fit beside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """A model that would read better here and is not present; `remedy` is what gets it."""

    provider: str
    model: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to run. `models_that_fit` counts this one; `notes` tell what was left out, and why."""

    provider: str
    model: str
    settings: Mapping[str, Setting]
    memory_bytes: int
    models_that_fit: int
    reason: str
    better: Better | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    provider: str
    suggestion: Suggestion
    status: ModelStatus
    free_bytes: int

    @property
    def has_room(self) -> bool:
        return self.suggestion.memory_bytes <= self.free_bytes

    @property
    def remedy(self) -> str:
        return self.status.remedy or f"asrd models pull {self.provider}/{self.suggestion.model}"

    def __str__(self) -> str:
        return f"{self.provider}/{self.suggestion.model}"


def recommend(machine: Machine, registry: Registry) -> Recommendation:
    """Choose among all providers' suggestions for `machine`. Looks at the disk for the models.

    Raises:
        ProviderError: nothing can run here; says what is missing and what gets it.
    """
    notes: list[str] = []
    candidates: list[_Candidate] = []
    for name, entry in registry.registered.items():
        try:
            candidates += _candidates(name, entry, machine)
        except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
            notes.append(f"{name} is left out: {type(error).__name__}: {error}")
    # `sorted` is stable: of two that are as good, the provider that comes first.
    by_quality = sorted(candidates, key=lambda candidate: -candidate.suggestion.quality)
    fitting = [candidate for candidate in by_quality if candidate.has_room]
    chosen = next((candidate for candidate in fitting if candidate.status.is_present), None)
    if chosen is None:
        raise ProviderError(_nothing(by_quality, fitting, notes))
    notes += [_too_large(candidate) for candidate in by_quality if not candidate.has_room]
    return Recommendation(
        provider=chosen.provider,
        model=chosen.suggestion.model,
        settings=dict(chosen.suggestion.settings),
        memory_bytes=chosen.suggestion.memory_bytes,
        models_that_fit=_count(chosen),
        reason=_sentence(chosen.suggestion.reason),
        better=_better(fitting[0], chosen),
        notes=tuple(notes),
    )


def _better(best: _Candidate, chosen: _Candidate) -> Better | None:
    if best.suggestion.quality <= chosen.suggestion.quality:
        return None
    return Better(provider=best.provider, model=best.suggestion.model, remedy=best.remedy)


def _candidates(name: str, entry: Registered, machine: Machine) -> Iterator[_Candidate]:
    for suggestion in list(entry.provider.suggest(machine)):  # all of a provider's, or none
        yield _Candidate(
            provider=name,
            suggestion=suggestion,
            status=entry.status(suggestion.model),
            free_bytes=_free_bytes(suggestion, machine),
        )


def _free_bytes(suggestion: Suggestion, machine: Machine) -> int:
    """The memory that the model would be loaded into.

    Settings are a provider's own, but these are the engines' usual names for the one question
    whether a model is meant for an NVIDIA GPU, and for which.
    """
    settings = suggestion.settings
    is_on_gpu = settings.get("device") == "cuda" or settings.get("use_gpu") is True
    index = settings.get("device_index", settings.get("gpu_device", 0))
    gpus = {gpu.index: gpu for gpu in machine.gpus}
    if is_on_gpu and index in gpus:
        return gpus[int(index)].free_bytes
    return machine.available_bytes


def _count(candidate: _Candidate) -> int:
    """Copies of the model that have room, at least the one that is recommended."""
    room_bytes = candidate.free_bytes - RESERVED_BYTES
    return max(1, room_bytes // max(1, candidate.suggestion.memory_bytes))


def _nothing(by_quality: list[_Candidate], fitting: list[_Candidate], notes: list[str]) -> str:
    if fitting:
        best = fitting[0]
        return f"no model that suits this machine is here: get {best} by `{best.remedy}`"
    if by_quality:
        least = min(by_quality, key=lambda candidate: candidate.suggestion.memory_bytes)
        return f"no model has room in this machine's memory: {_too_large(least)}"
    reason = f" ({'; '.join(notes)})" if notes else ""
    return f"no provider has a model that suits this machine{reason}: see `asrd providers`"


def _too_large(candidate: _Candidate) -> str:
    needed, free = (
        f"{amount / 1e9:.1f} GB"
        for amount in (candidate.suggestion.memory_bytes, candidate.free_bytes)
    )
    return f"{candidate} needs {needed} of memory, {free} are free"


def _sentence(reason: str) -> str:
    claim = "The most accurate model that is present and suits this machine"
    reason = " ".join(reason.split()).removesuffix(".")
    return f"{claim}: {reason}." if reason else f"{claim}."
