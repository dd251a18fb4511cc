"""What a plugin implements: a `Provider` that can load a `Model`.

A provider object lives twice. In the daemon's core it answers cheap questions (its name, which
models are on disk) and must import nothing heavy. In a worker process its `load` is called once,
and the model it returns is then called for one window of audio after another, from one thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pluggy

from asrd.config import Setting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asrd.transcript import Hypothesis

hookspec = pluggy.HookspecMarker("asrd")
hookimpl = pluggy.HookimplMarker("asrd")

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """What one decode is asked for, beside the audio."""

    language: str | None = None
    task: Task = "transcribe"
    words: bool = False
    prompt: str | None = None
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """Whether a model can be loaded here, and what to do when not.

    `problem` is one sentence, `remedy` one command that a user can paste; both are empty when the
    model is present.
    """

    model: str
    is_present: bool
    problem: str = ""
    remedy: str = ""


class Model(ABC):
    """Loaded weights, resident in a worker."""

    @abstractmethod
    def decode(self, audio: "npt.NDArray[np.float32]", options: DecodeOptions) -> "Hypothesis":
        """Read one window of speech.

        Args:
            audio: mono samples at 16 kHz, float32 in -1..1, shape (n,), at most 30 s, not
                writable.
            options: what is asked for; a model ignores what its engine cannot do.

        Raises:
            ProviderError: this window cannot be decoded; the model itself goes on.
        """

    def close(self) -> None:  # noqa: B027 - most models have nothing to give back
        """Give back what the process's end does not."""


class Provider(ABC):
    """A kind of engine that can load models by name."""

    name: ClassVar[str]
    """How users and the wire name it: lower case, digits and underscores."""

    summary: ClassVar[str]
    """One line for `asrd providers`."""

    default_model: ClassVar[str]
    """The model used where none is named."""

    @abstractmethod
    def status(self, model: str) -> ModelStatus:
        """Say whether `model` can be loaded here. Runs in the core: look, do not import."""

    @abstractmethod
    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        """Load `model`. Runs in a worker; heavy imports belong here.

        Args:
            model: the name, or a path where the provider takes paths.
            settings: the user's settings for this provider, unknown to asrd.

        Raises:
            ModelUnavailable: it is not here; the message says how to get it.
            ProviderError: it is here and does not load, or a setting makes no sense.
        """

    def sample(self) -> Path | None:
        """A recording of speech that the engine ships, for a first try; None without one."""
        return None


Register = Callable[[Provider], None]


class Hooks:
    """The hooks that a plugin may implement."""

    @hookspec
    def asrd_register_providers(self, register: Register) -> None:
        """Call `register(provider)` once for each provider that the plugin brings."""
