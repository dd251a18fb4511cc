"""What a model answers, made sure of before it is sent."""

import math

from asrd.errors import ProviderError
from asrd.providers import calls
from asrd.transcript import Hypothesis

MOST_CHARACTERS = 2**16
MOST_WORDS = 2**13
"""Of one window or utterance: a hundred times what anybody says in half a minute."""


def read_of(hypothesis: Hypothesis) -> calls.Read:
    """The hypothesis of a plugin as an outcome.

    Raises:
        ProviderError: its numbers make no sense; the message names them.
        TypeError, msgspec.ValidationError: it holds something that is not of the type.
    """
    read = calls.Read(hypothesis=hypothesis)
    calls.check(calls.Decoded(id=0, outcomes=[read], decode_s=0.0))
    length = len(hypothesis.text)
    _bound("text", length, MOST_CHARACTERS)
    _bound("words", len(hypothesis.words), MOST_WORDS)
    _bound("boundaries", len(hypothesis.boundaries), MOST_WORDS)
    if not 0 <= hypothesis.stable <= length:
        raise ProviderError(
            f"its hypothesis.stable must be from 0 to the {length} characters of the text, "
            f"not {hypothesis.stable}"
        )
    characters, at = 0, -math.inf
    for boundary in hypothesis.boundaries:
        is_in_order = characters <= boundary.characters <= length and at <= boundary.at
        if not is_in_order or not math.isfinite(boundary.at):
            raise ProviderError(
                "its hypothesis.boundaries must be in order, at finite seconds and within the "
                f"{length} characters of the text, not {hypothesis.boundaries!r:.200}"
            )
        characters, at = boundary.characters, boundary.at
    return read


def _bound(name: str, count: int, most: int) -> None:
    if count > most:
        raise ProviderError(f"its hypothesis.{name} has a length of {count}; {most} is the most")
