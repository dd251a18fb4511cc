"""A provider for tests whose readings are long: much to be written, quickly made."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    DecodeOptions,
    Hypothesis,
    Model,
    ModelStatus,
    Provider,
    Register,
    Setting,
    hookimpl,
)

TEXT_BYTES = 20_000


class WordyModel(Model):
    """Says the same letter many times, and then how many samples it was given."""

    abilities = Abilities()

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        return Hypothesis(text="x" * TEXT_BYTES + f" {len(audio)}")


class WordyProvider(Provider):
    """Has one model, `wordy`."""

    name: ClassVar[str] = "wordy"
    summary: ClassVar[str] = "Talks too much"
    default_model: ClassVar[str] = "wordy"

    def status(self, model: str) -> ModelStatus:
        return ModelStatus(model=model, is_present=True)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        return WordyModel()


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(WordyProvider())
