"""What the operating system tells of a worker process, by psutil; cheap, and never an error."""

import psutil

from asrd.providers.inspection import read_container


def memory_bytes(pid: int) -> int:
    """Its resident memory; 0 when it cannot be told. What it shares with others counts in full."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):  # OSError: no descriptor is free to look with
        return 0


def activity(pid: int) -> tuple[float, int]:
    """CPU seconds used and bytes resident: one of them moves while a model is being loaded."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return times.user + times.system, int(process.memory_info().rss)
    except (psutil.Error, OSError):  # OSError: no descriptor is free to look with
        return 0.0, 0


def machine_memory_bytes() -> int:
    """What the machine, or the container that this runs in, has in all."""
    limit = read_container().memory_bytes
    total = int(psutil.virtual_memory().total)
    return total if limit is None else min(total, limit)
