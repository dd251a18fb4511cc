"""Printing, and what a failed write becomes."""

import errno
import os
import sys

from asrd.cli.exits import CommandError, Exit, OutputClosed


def say(text: str) -> None:
    """Print lines on standard output, from a command that has nothing else to do meanwhile."""
    if sys.stdout is None:
        raise CommandError("standard output is closed", Exit.IO, "give it a place to write to")
    try:
        print(text, flush=True)
    except OSError as error:
        raise failed(error, "standard output") from error


def failed(error: OSError, name: str) -> CommandError:
    """What a failed write becomes. Python's own flush at exit is silenced for a closed pipe."""
    if name == "standard output":
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    if error.errno == errno.EPIPE:
        return OutputClosed()
    return CommandError(
        f"cannot write {name}: {error.strerror}", Exit.IO, "make room or choose another place"
    )
