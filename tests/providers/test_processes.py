"""What the operating system tells of a process: never an error."""

import errno
import os
import subprocess
import sys
import time

import psutil
import pytest

from asrd.providers import processes
from asrd.providers.inspection import Container


def gone() -> int:
    """The id of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


HOLDS_MORE = """
import os
import numpy as np
from asrd.providers import processes

before = processes.memory_bytes(os.getpid())
kept = np.ones(50_000_000, np.uint8)
print(before, processes.memory_bytes(os.getpid()) - before)
"""


def test_memory_is_what_is_resident() -> None:
    """In a process of its own: where much was let go, new memory may be resident already."""
    done = subprocess.run(
        [sys.executable, "-c", HOLDS_MORE], capture_output=True, check=True, text=True, timeout=30
    )
    before, grown = map(int, done.stdout.split())
    assert before > 1_000_000
    assert grown > 0.9 * 50_000_000


def test_work_shows_in_the_activity() -> None:
    before, _ = processes.activity(os.getpid())
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert processes.activity(os.getpid())[0] > before


def test_a_process_that_is_gone_has_nothing() -> None:
    pid = gone()
    assert processes.memory_bytes(pid) == 0
    assert processes.activity(pid) == (0.0, 0)


def test_the_machine_is_no_larger_than_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = psutil.virtual_memory().total
    for limit, expected in ((None, whole), (1000, 1000), (2 * whole, whole)):
        monkeypatch.setattr(
            processes, "read_container", lambda limit=limit: Container(memory_bytes=limit)
        )
        assert processes.machine_memory_bytes() == expected


def test_where_no_descriptor_is_free_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    pid = os.getpid()
    monkeypatch.setattr("builtins.open", opened)
    assert processes.memory_bytes(pid) == 0
    assert processes.activity(pid) == (0.0, 0)
