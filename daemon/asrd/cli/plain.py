"""Text that a terminal shows and does not obey.

What a model, a provider, a daemon or a device says is not ours: it may hold escape sequences that
move the cursor, change the window's title or answer questions in the user's name.
"""

import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_CONTROLS = ("Cc", "Cs")
_REORDERING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional classes of invisible characters that turn around what stands beside them."""


def one_line(text: str) -> str:
    """Text that cannot end a line or a cue."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """One line with a mark in place of each character that a terminal would obey."""
    line = one_line(text)
    return line if line.isprintable() else "".join(map(_shown, line))


def plain_json(line: str) -> str:
    """JSON that says the same, with such characters as JSON's own escapes."""
    if line.isprintable():
        return line
    return "".join(f"\\u{ord(each):04x}" if _is_obeyed(each) else each for each in line)


def _shown(character: str) -> str:
    return REPLACEMENT if _is_obeyed(character) else character


def _is_obeyed(character: str) -> bool:
    return (
        unicodedata.category(character) in _CONTROLS
        or unicodedata.bidirectional(character) in _REORDERING
    )
