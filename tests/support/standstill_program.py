"""A daemon whose loop stands still when it is told to: by SIGUSR1, in the way that is named.

`standstill_program.py HOW WISH`, where WISH is what `daemon_program` takes.
"""

import re
import signal
import sys
import time
from collections.abc import Callable

from support import daemon_program


def sleep() -> None:
    """As a loop does that waits for a disk, or for a lock that nobody gives back."""
    time.sleep(600)


def spin() -> None:
    """In Python, whose threads take turns."""
    while True:
        pass


def backtrack() -> None:
    """In C, and no other thread of Python runs beside it."""
    re.match(r"(a+)+$", "a" * 64 + "b")


WAYS: dict[str, Callable[[], None]] = {"sleep": sleep, "spin": spin, "backtrack": backtrack}


def main() -> int:
    way = WAYS[sys.argv[1]]
    # In the main thread, which is the loop's, between two of its steps.
    signal.signal(signal.SIGUSR1, lambda *_: way())
    return daemon_program.main(sys.argv[2])


if __name__ == "__main__":
    sys.exit(main())
