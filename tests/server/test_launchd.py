"""launch_activate_socket, against a library whose functions are real ones of C."""

import ctypes
import errno
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from asrd.errors import StartupError
from asrd.server.launchd import SOCKET_NAME, activated_descriptors, system_library

PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
    ctypes.POINTER(ctypes.c_size_t),
)
"""int launch_activate_socket(const char *name, int **fds, size_t *cnt)"""


class Library(SimpleNamespace):
    """Hands over what it is told to, in memory of C's own, and counts what is freed."""

    def __init__(self, descriptors: Sequence[int] = (), code: int = 0) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.freed: list[int | None] = []
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = ctypes.c_void_p
        self._libc.free.argtypes = [ctypes.c_void_p]
        self._descriptors = descriptors
        self._code = code
        self.address: int | None = None
        self.launch_activate_socket = PROTOTYPE(self._activate)

    def _activate(self, name: bytes, fds: Any, count: Any) -> int:
        self.asked.append(name)
        if self._code:
            return self._code
        self.address = self._libc.calloc(max(1, len(self._descriptors)), 4)
        array = ctypes.cast(self.address or 0, ctypes.POINTER(ctypes.c_int))
        for place, descriptor in enumerate(self._descriptors):
            array[place] = descriptor
        fds[0] = array
        count[0] = len(self._descriptors)
        return 0

    def free(self, pointer: Any) -> None:
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        self.freed.append(address)
        self._libc.free(address)


@pytest.mark.parametrize("descriptors", [[], [7], [7, 9, 11]])
def test_what_launchd_has_for_us_is_taken_and_its_array_freed(descriptors: list[int]) -> None:
    library = Library(descriptors)
    assert activated_descriptors(library) == descriptors
    assert library.asked == [SOCKET_NAME.encode()]
    assert library.freed == [library.address]


@pytest.mark.parametrize("code", [errno.ESRCH, errno.ENOENT])
def test_a_daemon_that_launchd_has_no_socket_for_binds_its_own(code: int) -> None:
    library = Library(code=code)
    assert activated_descriptors(library) == []
    assert library.freed == []


def test_a_socket_that_was_taken_before_is_an_error() -> None:
    with pytest.raises(StartupError, match="does not hand over the socket 'Listener'") as told:
        activated_descriptors(Library(code=errno.EALREADY))
    assert told.value.exit_code == 64


@pytest.mark.skipif(sys.platform == "darwin", reason="launchd is there")
def test_there_is_no_launchd_elsewhere() -> None:
    assert system_library() is None
