"""File descriptors: how many connections there is room for.

A process that has run out of descriptors can accept nobody, start no worker and read no file. So
the limit of connections is set below that, and who is beyond it is told so.
"""

import resource

RESERVED = 128
"""Kept free for workers and their start, files that are read, logs, and the refusal of clients."""


def room_for_connections(wanted: int) -> int:
    """Make room for so many connections; returns how many there is room for, one at the least.

    The soft limit is raised as far as they need and the hard limit allows, and never lowered. Not
    further: children inherit it, and some programs go through all descriptors there might be.
    """
    needed = wanted + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, needed):
        target = hard if _is_less(hard, needed) else needed
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError):  # the system has a lower limit of its own, as macOS does
            target = soft
        soft = target
    return wanted if not _is_less(soft, needed) else max(1, soft - RESERVED)


def _is_less(limit: int, needed: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < needed
