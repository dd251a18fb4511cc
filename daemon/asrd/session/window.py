"""What is handed to a model in one decode, and why."""

from dataclasses import dataclass
from enum import Enum, auto

from asrd.audio import Samples
from asrd.session.endpoint import Utterance
from asrd.session.feeding import Part


class Want(Enum):
    """What a stream would have decoded."""

    FINAL = auto()
    PARTIAL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Audio for one decode: [start, end) of the stream's 16 kHz clock.

    `utterance` is where the utterance begins that it is of. `is_thorough`: what is read may become
    a final, and is to be read as one; so may a partial in whose trailing silence the speaker may
    have ended. `prompt` is what was said before, in the same utterance. `part` says which part of
    the utterance it is, for a model that is fed; None for one that reads windows.

    `coalesced` is how many partials this one stands for beside itself: whole intervals of new audio
    that it covers beyond the first, because nobody read it when they were there. 0 for a final.
    """

    start: int
    end: int
    audio: Samples
    want: Want
    utterance: int
    is_thorough: bool
    prompt: str = ""
    part: Part | None = None
    coalesced: int = 0

    @property
    def may_be_final(self) -> bool:
        """Whether its reading is the final one of an utterance that ends with it."""
        return self.is_thorough and self.part is None

    def ends(self, utterance: Utterance) -> bool:
        """Whether it is of that utterance, and all of it is read once the window is."""
        if self.utterance != utterance.start:
            return False
        return self.want is Want.FINAL or (self.may_be_final and self.end == utterance.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextWindow:
    """A window to come: seconds of audio in it, and what `Window` says of it."""

    audio_s: float
    is_thorough: bool
    prompt: str
