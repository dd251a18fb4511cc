"""Memory that is free in this process, given back to the system.

glibc keeps what was freed amid its heap: after a crowd of stalled readers has gone, tens of
megabytes stay with a process that has no use for them. `malloc_trim` gives every free page back.
Elsewhere the allocators do so by themselves, and nothing is done here.
"""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

from asrd.clock import Clock

WORTH_BYTES = 8 * 2**20
"""So much more must be free than after the last time, or it is not worth the loop's time: tens of
milliseconds for a hundred megabytes in small pieces."""

STEADY_BYTES = 2**20
LOOK_EVERY_S = 5.0
"""Only what has not been wanted again between two looks is given back: amid a load the heap would
take it anew at once."""


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc 2.33 and newer: ten sizes in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@dataclass(frozen=True, slots=True)
class Allocator:
    """What is asked of a C library: how many bytes are free in its heap; to give them back."""

    free_bytes: Callable[[], int]
    trim: Callable[[], None]


def glibc() -> Allocator | None:
    """The C library of this process, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _Mallinfo
    library.mallinfo2.argtypes = []
    return Allocator(
        free_bytes=lambda: int(library.mallinfo2().fordblks),
        trim=lambda: library.malloc_trim(0) and None,
    )


class Heap:
    """Gives memory back where much of it has become free."""

    def __init__(self, clock: Clock, allocator: Allocator | None) -> None:
        self._clock = clock
        self._allocator = allocator
        self._usual_bytes = 0
        self._last_bytes = 0
        self._looked_at_s = clock.now_s()

    def check(self) -> None:
        """Look whether it is worth it. To be called every half second or so."""
        now_s = self._clock.now_s()
        if self._allocator is None or now_s - self._looked_at_s < LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        free_bytes = self._allocator.free_bytes()
        is_steady = abs(free_bytes - self._last_bytes) < STEADY_BYTES
        self._last_bytes = free_bytes
        if is_steady and free_bytes - self._usual_bytes >= WORTH_BYTES:
            self._allocator.trim()
            # Free still, for the heap has not become shorter; but its pages are the system's.
            self._usual_bytes = self._last_bytes = self._allocator.free_bytes()
        self._usual_bytes = min(self._usual_bytes, free_bytes)
