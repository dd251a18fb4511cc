"""A pipe that is full and that nobody reads."""

import os
from contextlib import suppress

FILLING = b"\0"


def full_pipe() -> tuple[int, int]:
    """Its two ends, both blocking; the pipe holds nothing but `FILLING`."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for piece in (FILLING * 4096, FILLING):
        with suppress(BlockingIOError):
            while True:
                os.write(writer, piece)
    os.set_blocking(writer, True)
    return reader, writer
