"""What recognition yields. Times are seconds from the start of the decoded window."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word with its time; `probability` is 0..1, or None where the engine gives none."""

    word: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A place where the engine itself ends a stretch of speech: the first `characters` of the text
    were spoken before `at`, and what follows was not."""

    characters: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A model's whole current reading of one window of audio.

    `text` is what a person would read, without surrounding blanks; empty where the model heard no
    speech. `words` is empty unless words were asked for and the engine has them. `confidence` is
    0..1, or None where the engine gives none. `boundaries` are in order, and empty where the engine
    knows none. `stable` is how many characters of `text` the engine will not change as it hears
    more of the same utterance: 0 for one that reads windows, all of them for one that only ever
    adds. `provider` and `model` say who read it; the daemon fills them in.
    """

    text: str
    words: tuple[Word, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    stable: int = 0
    language: str | None = None
    confidence: float | None = None
    provider: str = ""
    model: str = ""
