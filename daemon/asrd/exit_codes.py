"""With which codes processes of asrd end: those of sysexits.h, and what shells make of signals."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of asrd."""

    OK = 0
    USAGE = 64
    """The command line makes no sense."""
    DATA = 65
    """The input is there and is not what it should be: no audio in it, a broken frame."""
    NO_INPUT = 66
    """The input is missing or cannot be read."""
    UNAVAILABLE = 69
    """No daemon answers, or the provider cannot be used."""
    INTERNAL = 70
    """A mistake in asrd or in an engine."""
    CANNOT_CREATE = 73
    """A file, such as a recording, cannot be made there."""
    IO = 74
    """The output cannot be written."""
    BUSY = 75
    """Try again later."""
    NOT_PERMITTED = 77
    CONFIG = 78
    """A setting makes no sense."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""
