"""Free memory is given back when it is much, and not wanted again."""

import subprocess
import sys

import pytest

from asrd.server.heap import LOOK_EVERY_S, Allocator, Heap, glibc
from support.clock import VirtualClock


class Library:
    def __init__(self) -> None:
        self.free = 0
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1


def test_it_is_given_back_once_it_is_much_and_steady() -> None:
    clock, library = VirtualClock(), Library()
    heap = Heap(clock, Allocator(lambda: library.free, library.trim))

    def look(free_bytes: int) -> int:
        library.free = free_bytes
        clock.advance(LOOK_EVERY_S)
        heap.check()
        heap.check()  # too soon to look again
        return library.trims

    assert look(30_000_000) == 0  # it has only just become free
    assert look(60_000_000) == 0
    assert look(60_000_100) == 1
    assert look(60_000_200) == 1  # still free, but the system's
    assert look(65_000_000) == 1
    assert look(65_000_000) == 1  # too little to be worth it
    assert look(10_000_000) == 1  # all of it is used again
    assert look(40_000_000) == 1
    assert look(40_000_000) == 2


def test_where_there_is_no_such_library_nothing_is_done() -> None:
    clock = VirtualClock()
    heap = Heap(clock, None)
    clock.advance(LOOK_EVERY_S)
    heap.check()


FREE = """
from asrd.server.heap import glibc
allocator = glibc()
before = allocator.free_bytes()
pieces = [bytes(20_000) for _ in range(1000)]
kept = pieces[::50]
del pieces
print(allocator.free_bytes() - before)
allocator.trim()
"""
"""In a process of its own: what others have left free there would be used first."""


@pytest.mark.skipif(glibc() is None, reason="the C library is not glibc 2.33 or newer")
def test_glibc_tells_what_is_free_and_takes_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10_000_000
