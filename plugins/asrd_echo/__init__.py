"""A provider that recognises nothing: its text follows from the audio alone. For tests and load."""

from collections.abc import Mapping
from dataclasses import dataclass
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

MOST_DECODES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSettings:
    """What a user may set for this provider."""

    latency_ms: Annotated[float, (0, 600_000)] = 0.0
    """Time that each decode takes, whatever its length."""

    real_time_factor: Annotated[float, (0, 100)] = 0.0
    """Time that each decode takes besides, as a share of the audio's length."""

    decodes_at_once: Annotated[int, (1, MOST_DECODES)] = 1
    """Decodes that may run side by side; none makes another one slower."""

    max_batch: Annotated[int, (1, 64)] = 1
    """Windows that may be read in one call."""

    batch_cost: Annotated[float, (0, 1)] = 0.2
    """Time that each window of a call but the first takes, as a share of what it takes alone."""

    load_ms: Annotated[float, (0, 600_000)] = 0.0
    """Time that loading takes."""

    memory_mb: Annotated[int, (0, 65_536)] = 0
    """Memory that the loaded model takes, in millions of bytes."""


class EchoProvider(Provider):
    """Always present; has one model, `echo`."""

    name: ClassVar[str] = "echo"
    summary: ClassVar[str] = "Deterministic stand-in for tests and load; recognises nothing"
    default_model: ClassVar[str] = "echo"

    def status(self, model: str) -> ModelStatus:
        """Present when `model` is `echo`."""
        if model == self.default_model:
            return ModelStatus(model=model, is_present=True)
        return ModelStatus(
            model=model, is_present=False, problem=f"echo has one model, 'echo', and no '{model}'."
        )

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        """See whether every setting is known and in its bounds."""
        read_settings(EchoSettings, settings, provider=self.name)

    def spread(self, settings: Mapping[str, Setting], decodes: int) -> Mapping[str, Setting]:
        """So many decodes at once, at most 256; it has no threads of its own."""
        if decodes == 1:
            return settings
        return {"decodes_at_once": min(decodes, MOST_DECODES), **settings}

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Make the model, after `load_ms`."""
        chosen = read_settings(EchoSettings, settings, provider=self.name)
        status = self.status(model)
        if not status.is_present:
            raise ModelUnavailable(status.problem)
        from asrd_echo.model import EchoModel

        return EchoModel(
            load_s=chosen.load_ms / 1000,
            latency_s=chosen.latency_ms / 1000,
            real_time_factor=chosen.real_time_factor,
            memory_bytes=chosen.memory_mb * 1_000_000,
            decodes_at_once=chosen.decodes_at_once,
            max_batch=chosen.max_batch,
            batch_cost=chosen.batch_cost,
        )


@hookimpl
def asrd_register_providers(register: Register) -> None:
    """Bring `echo`."""
    register(EchoProvider())
