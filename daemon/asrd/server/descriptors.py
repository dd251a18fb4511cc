"""File descriptors: how many connections there is room for.

A process that has run out of descriptors can accept nobody, start no worker and read no file. So
the limit of connections is set below that, and who is beyond it is told so.
"""

import resource

from asrd.config import Config

RESERVED = 128
"""Kept free for workers and their start, files that are read, logs, and the refusal of clients."""


def room_for_connections(wanted: int, descriptors_each: int = 1) -> int:
    """Make room for so many connections; returns how many there is room for, one at the least.

    Each takes `descriptors_each`: its socket, and its recording's file where there is one.

    The soft limit is raised as far as they need and the hard limit allows, and never lowered. Not
    further: children inherit it, and some programs go through all descriptors there might be.
    """
    needed = wanted * descriptors_each + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, needed):
        target = hard if _is_less(hard, needed) else needed
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError):  # the system has a lower limit of its own, as macOS does
            target = soft
        soft = target
    return wanted if not _is_less(soft, needed) else max(1, (soft - RESERVED) // descriptors_each)


def room_for(config: Config) -> int:
    """Make room for the connections that a configuration lets in; returns how many there is."""
    return room_for_connections(
        config.limits.max_connections,
        descriptors_each=1 if config.recording.directory is None else 2,
    )


def _is_less(limit: int, needed: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < needed
