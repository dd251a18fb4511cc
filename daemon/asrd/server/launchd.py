"""A socket that launchd has opened for us: launch_activate_socket(3), by ctypes.

It has not been run under launchd: the tests hand in a library of their own.
"""

import ctypes
import errno
import os
import sys
from typing import Any

from asrd.errors import StartupError
from asrd.exit_codes import Exit

SOCKET_NAME = "Listener"
"""The key under `Sockets` in the property list."""

NONE_FOR_US = (errno.ESRCH, errno.ENOENT)
"""Nobody's job of launchd's, and a job without a socket of that name."""


def system_library() -> Any | None:
    """The library that has `launch_activate_socket`; None on systems without launchd."""
    return ctypes.CDLL("/usr/lib/libSystem.B.dylib") if sys.platform == "darwin" else None


def activated_descriptors(library: Any) -> list[int]:
    """The listening sockets that launchd hands over, ours from now on. Empty: it has none for us.

    `library` has `launch_activate_socket`, which allocates an array of descriptors, and `free`.

    Raises:
        StartupError: they were handed over before, or cannot be.
    """
    descriptors, count = ctypes.POINTER(ctypes.c_int)(), ctypes.c_size_t()
    code = library.launch_activate_socket(
        SOCKET_NAME.encode(), ctypes.byref(descriptors), ctypes.byref(count)
    )
    if code in NONE_FOR_US:
        return []
    if code:
        raise StartupError(
            f"launchd does not hand over the socket {SOCKET_NAME!r} ({os.strerror(code)})",
            Exit.USAGE,
        )
    try:
        return descriptors[: count.value]
    finally:
        library.free(descriptors)
