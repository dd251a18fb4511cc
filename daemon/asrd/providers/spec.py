"""What a plugin implements: a `Provider` that can load a `Model`.

A provider object lives twice. In the daemon's core it answers cheap questions (its name, which
models are on disk) and must import nothing heavy. In a worker process its `load` is called once,
and the model it returns is then called for one window of audio after another, from one thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pluggy

from asrd.abilities import Abilities
from asrd.choices import Setting
from asrd.errors import ProviderError
from asrd.machine import Machine

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from asrd.transcript import Hypothesis

hookspec = pluggy.HookspecMarker("asrd")
hookimpl = pluggy.HookimplMarker("asrd")

Task = Literal["transcribe", "translate"]


def _for_ever() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """What one decode is asked for, beside the audio.

    `keep_going` is to be called whenever the engine has got further (a token, a segment, another
    attempt), as often as that is: it costs next to nothing. Calling it tells the daemon that the
    decode makes progress, so that long work is not taken for a hang. Once it returns False nobody
    wants the decode any more, and the model may stop and raise `DecodeCancelled`.
    """

    language: str | None = None
    task: Task = "transcribe"
    words: bool = False
    prompt: str | None = None
    is_partial: bool = False
    keep_going: Callable[[], bool] = field(default=_for_ever, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """Whether a model can be loaded here, and what to do when not.

    `model` is its one right name: what other names stand for the same weights (`turbo`, say) is
    resolved here, so that they are never loaded twice. `problem` is one sentence, `remedy` one
    command that a user can paste; both are empty when the model is present. `size_bytes` is what
    its files take on disk, the least that it will take in memory; 0 where nobody knows.
    """

    model: str
    is_present: bool
    problem: str = ""
    remedy: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What a provider would run on a machine, in real time and with room to spare.

    `quality` compares suggestions of different providers: 100 less the word error rate in percent
    that is usual for the model. `memory_bytes` is what the loaded model takes, in the GPU's memory
    where it runs there.
    """

    model: str
    settings: Mapping[str, Setting]
    memory_bytes: int
    quality: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """One window of a batch: mono samples at 16 kHz, as `Model.decode` takes them, and what is
    asked for."""

    audio: "npt.NDArray[np.float32]"
    options: DecodeOptions


class Model(ABC):
    """Loaded weights, resident in a worker.

    `abilities` may be set by a class or by an instance; it is looked at once, after loading.
    """

    abilities: Abilities = Abilities()

    @abstractmethod
    def decode(self, audio: "npt.NDArray[np.float32]", options: DecodeOptions) -> "Hypothesis":
        """Read one window of speech.

        Args:
            audio: mono samples at 16 kHz, float32 in -1..1, shape (n,), at most 30 s, not
                writable.
            options: what is asked for; a model ignores what its engine cannot do.

        Raises:
            RequestUnsupported: the model is well and cannot do what `options` asks for.
            DecodeCancelled: `options.keep_going()` returned False.
            ProviderError: the engine failed on this window; after several in a row the provider is
                given a rest.
        """

    def decode_batch(
        self, requests: "Sequence[DecodeRequest]"
    ) -> "Sequence[Hypothesis | ProviderError]":
        """Read several windows in one call. Called where `abilities.max_batch` is more than 1, and
        then for two windows or more.

        The windows are all partials or all finals, all with words or all without, and of the same
        context; languages, tasks and prompts may differ.

        Returns:
            For each window, in order, its hypothesis, or the error that concerns it alone.

        Raises:
            DecodeCancelled: `keep_going()` of the options, which all share, returned False.
            Exception: anything else has each window decoded by itself instead.
        """
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 - most models have nothing to give back
        """Give back what it holds, for those who use a model by itself, as tests do.

        Not called in a worker: unloading a model ends the process, which gives back everything.
        """


class UtteranceReader(ABC):
    """One utterance on its way through a `StreamingModel`. Used from one thread at a time."""

    @abstractmethod
    def feed(
        self, audio: "npt.NDArray[np.float32]", keep_going: Callable[[], bool]
    ) -> "Hypothesis":
        """Take more of the utterance in, and say what it reads so far.

        Args:
            audio: the samples that follow those of the call before, as `Model.decode` takes them.
            keep_going: see `DecodeOptions`.

        Returns:
            The reading of all that was fed, not only of what is new. It may lag behind the audio,
            and may still change, but for its first `Hypothesis.stable` characters.

        Raises:
            DecodeCancelled: `keep_going()` returned False.
            ProviderError: the engine failed; the utterance is begun anew with another reader.
        """

    @abstractmethod
    def finish(self, keep_going: Callable[[], bool]) -> "Hypothesis":
        """The utterance has ended: read what is left of it. Called at most once, and last.

        Raises what `feed` raises.
        """

    def close(self) -> None:  # noqa: B027 - most readers have nothing to give back
        """Nobody wants the reader any more, finished or not: give back what it holds."""


class StreamingModel(Model):
    """Loaded weights that hear an utterance bit by bit, and keep state for each.

    Its `abilities` say so with `feed_s`. Its readers may be forgotten at any time (a worker dies,
    too many are open); the daemon then feeds a new one from the utterance's first sample.
    """

    most_readers: int = 64
    """Readers that may be open at a time. An instance may set its own. One more that has to be
    finished takes the place of the one that was fed least recently; one that has not is made to
    wait."""

    @abstractmethod
    def begin(self, options: DecodeOptions) -> UtteranceReader:
        """Begin an utterance. `options.keep_going` is not for this; `feed` and `finish` have
        their own.

        Raises:
            RequestUnsupported: the model is well and cannot do what `options` asks for.
            ProviderError: the engine failed.
        """

    def decode(self, audio: "npt.NDArray[np.float32]", options: DecodeOptions) -> "Hypothesis":
        """Read one window: an utterance fed in one piece. Raises what a reader raises."""
        reader = self.begin(options)
        try:
            reader.feed(audio, options.keep_going)
            return reader.finish(options.keep_going)
        finally:
            reader.close()


class Provider(ABC):
    """A kind of engine that can load models by name."""

    name: ClassVar[str]
    """How users and the wire name it: lower case, digits and underscores."""

    is_remote: ClassVar[bool] = False
    """Whether its decodes run on somebody else's machine, and wait for nothing on this one."""

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

    def models(self) -> Iterable[ModelStatus]:
        """The models that users may name, for `asrd models list`. Runs outside workers: look only.

        Models that are given by path need not be among them.
        """
        return (self.status(self.default_model),)

    def check_settings(self, settings: Mapping[str, Setting]) -> None:  # noqa: B027 - may be left
        """See whether `load` would take these settings. Runs in the core, when the daemon starts.

        Raises:
            ProviderError: it would not; the message names the setting, and the nearest right name.
        """

    def spread(self, settings: Mapping[str, Setting], decodes: int) -> Mapping[str, Setting]:
        """Settings under which a model runs so many decodes side by side, each in one thread.

        Runs in the core. What the user has set himself stays; an engine that cannot do it leaves
        the settings as they are, and its model says what it can in `abilities.decodes_at_once`.
        """
        return settings

    def size_bytes(self, model: str, settings: Mapping[str, Setting]) -> int:
        """The least memory that `model` takes once it is loaded with these settings.

        Runs in the core, with settings as `spread` has made them: look, do not import. Room for so
        much is made before the model is loaded. The default is what its files take; an engine that
        holds the weights more than once says so here.
        """
        return self.status(model).size_bytes

    def wants_gpu(self, settings: Mapping[str, Setting]) -> bool:
        """Whether a model with these settings is put into the memory of an NVIDIA GPU, if one is
        there.

        Runs in the core, with settings as `spread` has made them: look, do not import. Where it is
        True and the GPUs have less free than `size_bytes`, the model is not loaded.
        """
        return False

    def pull(self, model: str, report: "ReportPull") -> None:
        """Fetch `model` over the network, to where `status` looks for it. Runs in a command.

        A download that breaks leaves nothing that `status` would take for a model.

        Args:
            model: the name.
            report: to be called with the bytes that are here and the bytes there will be (None
                while nobody knows), as often as that changes.

        Raises:
            ProviderError: it cannot be fetched, and why.
        """
        raise ProviderError(f"{self.name} cannot fetch models by itself")

    def suggest(self, machine: Machine) -> "Iterable[Suggestion]":
        """What to run on a machine, whether it is present or not. Looks at `machine` alone."""
        return ()

    def sample(self) -> Path | None:
        """A recording of speech that the engine ships, for a first try; None without one."""
        return None


ReportPull = Callable[[int, int | None], None]
Register = Callable[[Provider], None]


class Hooks:
    """The hooks that a plugin may implement."""

    @hookspec
    def asrd_register_providers(self, register: Register) -> None:
        """Call `register(provider)` once for each provider that the plugin brings."""
