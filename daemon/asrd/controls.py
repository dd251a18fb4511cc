"""Characters that a terminal obeys instead of showing them."""

import unicodedata

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
_REORDERING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional classes of invisible characters that turn around what stands beside them."""


def is_obeyed(character: str) -> bool:
    """Whether it moves, ends or turns around what is shown, or is half a character."""
    return (
        unicodedata.category(character) in _CONTROLS
        or unicodedata.bidirectional(character) in _REORDERING
    )


def without_controls(text: str, mark: str, but: str = "") -> str:
    """The text with a mark in place of each such character, except for those in `but`."""
    if text.isprintable():
        return text
    return "".join(mark if is_obeyed(each) and each not in but else each for each in text)
