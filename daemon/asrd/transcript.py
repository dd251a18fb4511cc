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
class Hypothesis:
    """A model's whole current reading of one window of audio.

    `text` is what a person would read, without surrounding blanks; empty where the model heard no
    speech. `words` is empty unless words were asked for and the engine has them. `confidence` is
    0..1, or None where the engine gives none. `provider` and `model` say who read it; the daemon
    fills them in.
    """

    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None
    provider: str = ""
    model: str = ""
