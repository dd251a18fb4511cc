"""A plugin that takes some requests and not others: its one model reads English alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from asrd import (
    DecodeOptions,
    Hypothesis,
    Model,
    ModelStatus,
    Provider,
    Register,
    RequestUnsupported,
    Setting,
    hookimpl,
    read_settings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PickySettings:
    """There is one."""

    strictness: int = 1


class PickyModel(Model):
    """Refuses every language but English."""

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        if options.language not in (None, "en"):
            raise RequestUnsupported(f"this model cannot read {options.language!r}")
        return Hypothesis(text=f"{audio.size} samples", language="en")


class PickyProvider(Provider):
    """`fine` is its model, which is also called `good`; `absent` is known and not here."""

    name: ClassVar[str] = "picky"
    summary: ClassVar[str] = "Reads English alone, for tests"
    default_model: ClassVar[str] = "fine"

    def status(self, model: str) -> ModelStatus:
        if model in ("fine", "good"):
            return ModelStatus(model="fine", is_present=True, size_bytes=12_000_000)
        return ModelStatus(
            model=model,
            is_present=False,
            problem=f"picky has not got {model!r}",
            remedy=f"asrd models pull picky/{model}",
        )

    def check_settings(self, settings: Mapping[str, Setting]) -> None:
        read_settings(PickySettings, settings, provider=self.name)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        return PickyModel()


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(PickyProvider())
