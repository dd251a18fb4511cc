"""What the core and a worker say to each other: typed structs in the frames of `asrd.framing`.

As many decodes are under way at a time as the model can (`Abilities.decodes_at_once`), two calls to
`Score`, and one of any other kind. Those that are not carried out side by side are answered in the
order in which they were made. An answer bears its call's id, and so does each `Progress` before it.
A worker that answers with `Failed` goes on; a worker that cannot go on ends, and the core sees the
end of its socket.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from asrd.abilities import Abilities
from asrd.choices import Setting, WarmUp
from asrd.framing import HEADER
from asrd.providers.spec import Task
from asrd.transcript import Hypothesis

MAX_CALL_BYTES = 64 * 2**20
"""A batch of long windows; far above what is ever sent."""


class Call(Struct, frozen=True, kw_only=True, tag_field="call"):
    """Something asked of a worker."""

    id: int


class LoadModel(Call, frozen=True, kw_only=True, tag="load_model"):
    """Load a model through the plugin (an import path) that brings `provider`, and warm it.

    A `Progress` with `is_loaded` tells when the one is done and the other begins.
    """

    plugin: str
    provider: str
    model: str
    settings: dict[str, Setting]
    warm_up: WarmUp = WarmUp.MINIMAL


class LoadVoiceActivity(Call, frozen=True, kw_only=True, tag="load_voice_activity"):
    """Load the voice-activity model."""


class Feeding(Struct, frozen=True, kw_only=True):
    """Which part of an utterance an item of a streaming model is.

    `utterance` is the core's number for it. With `is_first` the audio is its beginning, whatever
    the worker knows of it already; with `is_last` its end, and the reading asked for the final one.
    """

    utterance: int
    is_first: bool
    is_last: bool


class Item(Struct, frozen=True, kw_only=True):
    """One window to decode: mono float32 at 16 kHz, native byte order.

    `feeding` is given to a streaming model, whose audio goes on where the item before ended.
    """

    audio: bytes
    language: str | None
    task: Task
    words: bool
    prompt: str | None
    is_partial: bool
    feeding: Feeding | None = None


class Decode(Call, frozen=True, kw_only=True, tag="decode"):
    """Decode windows, in one call of the engine where there are several."""

    items: list[Item]


class Windows(Struct, frozen=True, kw_only=True):
    """Windows of 512 float32 samples of one stream, and the model's state before them.

    The state travels with the windows, so that a worker which dies takes nothing with it. An
    empty one begins anew.
    """

    windows: bytes
    state: bytes


class Score(Call, frozen=True, kw_only=True, tag="score"):
    """Score the windows of many streams."""

    streams: list[Windows]


class Abort(Call, frozen=True, kw_only=True, tag="abort"):
    """Nobody wants the call of this id any more. Not answered itself; that call still is."""


class Forget(Call, frozen=True, kw_only=True, tag="forget"):
    """Nobody goes on with this utterance of a streaming model. Not answered."""

    utterance: int


class MeasureGpu(Call, frozen=True, kw_only=True, tag="measure_gpu"):
    """Say how much GPU memory this worker holds."""


class Answer(Struct, frozen=True, kw_only=True, tag_field="answer"):
    """What a worker says to a call."""

    id: int


class Progress(Answer, frozen=True, kw_only=True, tag="progress"):
    """The call has got further and goes on. `is_loaded`: the model is loaded, warm-up begins."""

    is_loaded: bool = False


class WarmUpDecode(Struct, frozen=True, kw_only=True):
    """One inference of the warm-up: seconds of audio, and seconds that the engine took."""

    audio_s: float
    took_s: float


class Loaded(Answer, frozen=True, kw_only=True, tag="loaded"):
    """The model is loaded and warm; seconds each took."""

    load_s: float
    warm_up_s: float
    warm_up: list[WarmUpDecode] = []
    gpu_bytes: int = 0
    abilities: Abilities = Abilities()


class GpuMeasured(Answer, frozen=True, kw_only=True, tag="gpu_measured"):
    """GPU memory of this worker, of all its GPUs together, and what is free on the fullest of them.

    All are 0 where it uses no GPU, or nobody can tell.
    """

    gpu_bytes: int
    gpu_total_bytes: int
    gpu_free_bytes: int = 0


FailureKind = Literal["unavailable", "request", "cancelled", "forgotten", "provider", "internal"]
"""Whose fault a failure is. `forgotten`: the worker keeps nothing of the utterance, because it is
another one than before, or more were begun than it has room for. Feed it from its first sample."""

NOBODYS_FAULT: tuple[FailureKind, ...] = ("request", "cancelled", "forgotten")
"""Windows that were not read for such a reason say nothing of the model."""


class Read(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="read"):
    """The reading of one window."""

    hypothesis: Hypothesis


class NotRead(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="not_read"):
    """Why one window could not be read."""

    kind: FailureKind
    message: str


class Decoded(Answer, frozen=True, kw_only=True, tag="decoded"):
    """What became of each window, in the order of the call, and the seconds that all took."""

    outcomes: list[Read | NotRead]
    decode_s: float

    @property
    def is_unread(self) -> bool:
        """Whether no window at all could be read."""
        return all(isinstance(each, NotRead) for each in self.outcomes)

    @property
    def fault(self) -> NotRead | None:
        """The first window that the model itself is to blame for."""
        unread = (each for each in self.outcomes if isinstance(each, NotRead))
        return next((each for each in unread if each.kind not in NOBODYS_FAULT), None)


class Probabilities(Struct, frozen=True, kw_only=True):
    """The speech probability (float32) of each window, and the model's state behind them."""

    probabilities: bytes
    state: bytes


class Scored(Answer, frozen=True, kw_only=True, tag="scored"):
    """What was found for each stream, in the order of the call."""

    streams: list[Probabilities]


class Failed(Answer, frozen=True, kw_only=True, tag="failed"):
    """The call could not be carried out; `kind` says whose fault it is."""

    kind: FailureKind
    message: str


AnyCall = LoadModel | LoadVoiceActivity | Decode | Score | Abort | Forget | MeasureGpu
AnyAnswer = Progress | Loaded | Decoded | Scored | GpuMeasured | Failed

_encoder = msgspec.msgpack.Encoder()
_calls: msgspec.msgpack.Decoder[AnyCall] = msgspec.msgpack.Decoder(AnyCall)
_answers: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)


def frame(message: AnyCall | AnyAnswer) -> bytearray:
    """The whole frame of a call or an answer."""
    buffer = bytearray(HEADER.size)
    _encoder.encode_into(message, buffer, HEADER.size)
    HEADER.pack_into(buffer, 0, len(buffer) - HEADER.size)
    return buffer


def check(answer: AnyAnswer) -> None:
    """See that the core will be able to read an answer.

    Raises:
        TypeError, msgspec.ValidationError: a plugin put something into it that is not of the type.
    """
    _answers.decode(_encoder.encode(answer))


def read_call(payload: bytes | memoryview) -> AnyCall:
    """A call from a frame's payload."""
    return _calls.decode(payload)


def read_answer(payload: bytes | memoryview) -> AnyAnswer:
    """An answer from a frame's payload. Raises msgspec.ValidationError for anything else."""
    return _answers.decode(payload)
