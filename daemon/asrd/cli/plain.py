"""Text that a terminal shows and does not obey.

What a model, a provider, a daemon or a device says is not ours: it may hold escape sequences that
move the cursor, change the window's title or answer questions in the user's name.
"""

from asrd.controls import is_obeyed, without_controls

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """Text that cannot end a line or a cue."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """One line with a mark in place of each character that a terminal would obey."""
    return without_controls(one_line(text), REPLACEMENT)


def plain_json(line: str) -> str:
    """JSON that says the same, with such characters as JSON's own escapes."""
    if line.isprintable():
        return line
    return "".join(f"\\u{ord(each):04x}" if is_obeyed(each) else each for each in line)
