"""What a process holds: memory, descriptors, threads; and its children's memory."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """One process, counted at one moment; `children_bytes` is the resident memory of all below."""

    rss_bytes: int
    descriptors: int
    threads: int
    children_bytes: int = 0


def census(pid: int) -> Census:
    """Count what the process holds now. Raises psutil.NoSuchProcess where it has ended."""
    process = psutil.Process(pid)
    with process.oneshot():
        rss_bytes, threads = process.memory_info().rss, process.num_threads()
    return Census(
        rss_bytes=rss_bytes,
        descriptors=process.num_fds(),
        threads=threads,
        children_bytes=sum(map(_rss_bytes, process.children(recursive=True))),
    )


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it ended while it was counted
        return 0
