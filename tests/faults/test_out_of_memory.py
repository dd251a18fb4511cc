"""Workers that take memory without end: they end, the core does not, and the audio is tried twice.

What is real here: the memory is taken, up to a bound; it is the kernel that refuses more, having
been told a limit for the worker (RLIMIT_AS); the abort is the C library's; and the kernel's own
scores decide whom the signal hits. What is not: the machine never really runs out, for that would
end other people's work. So the signal that the kernel sends then is sent by the test. A cgroup
of the daemon's own would have the kernel send it, but wants rights that few machines give.
"""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from asrd.wire.messages import Error, Segment
from faults.scenes import (
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    Reading,
    assert_set_aside,
    assert_undisturbed,
    deaths,
    reading,
    unruly_daemon,
)
from support.daemon import Daemon
from support.unruly import STEP_BYTES, SWELL_BYTES, marked
from support.waiting import wait_until

BAD = marked(PHRASE, MARKED_AT_S)
WORKERS_SCORE = 500
MAX_CORE_BYTES = 120_000_000

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="these scores are Linux's")


def oom_score(pid: int, of: str = "oom_score") -> int:
    """How likely the kernel is to end a process when memory runs out."""
    return int(Path(f"/proc/{pid}/{of}").read_text())


def family(daemon: Daemon) -> list[int]:
    """The core and its workers."""
    return [daemon.pid, *daemon.worker_pids]


@linux_only
def test_the_kernel_would_end_any_worker_before_the_core(tmp_path: Path) -> None:
    with unruly_daemon(tmp_path) as daemon:
        own = oom_score(os.getpid(), "oom_score_adj")
        assert oom_score(daemon.pid, "oom_score_adj") == own
        workers = [daemon.worker(UNRULY), daemon.worker(VOICE)]
        assert [oom_score(pid, "oom_score_adj") for pid in workers] == [WORKERS_SCORE] * 2
        assert all(oom_score(pid) > oom_score(daemon.pid) for pid in workers)


def test_a_worker_that_python_refuses_memory_loses_the_window_and_lives(tmp_path: Path) -> None:
    """What it took is given back, and the next window is read by the same process."""
    with unruly_daemon(tmp_path, deed="allocate") as daemon, daemon.greet() as client:
        pid = daemon.worker(UNRULY)
        client.open(1, partials=False)
        client.speak(1, BAD + PHRASE)
        client.finish(1)
        assert_set_aside(client, 1, at_s=MARKED_AT_S)
        assert "MemoryError" in client.logged(Error)[0].message
        assert len(client.logged(Segment)) == 1
        assert daemon.worker(UNRULY) == pid
        assert not deaths(daemon, UNRULY)


def test_a_worker_that_aborts_for_want_of_memory_is_replaced(
    tmp_path: Path, undisturbed: Reading
) -> None:
    """Its audio is tried once more, and set aside for its stream alone."""
    with unruly_daemon(tmp_path, deed="allocate_in_c") as daemon:
        with daemon.greet() as bad, daemon.greet() as good:
            for client in (bad, good):
                client.open(1, partials=False)
            bad.speak(1, BAD)
            good.speak(1, PHRASE)
            bad.finish(1)
            good.finish(1)
            assert_set_aside(bad, 1, at_s=MARKED_AT_S)
            assert reading(good.logged(Segment)) == undisturbed
            assert_undisturbed(good)
        assert [death["exit_code"] for death in deaths(daemon, UNRULY)] == [-signal.SIGABRT] * 2
        assert psutil.Process(daemon.pid).memory_info().rss < MAX_CORE_BYTES


@linux_only
def test_whom_the_kernel_would_choose_is_the_worker_that_swells(
    tmp_path: Path, undisturbed: Reading
) -> None:
    """The same, ended from outside once it has grown, twice, as the kernel ends a process."""
    with unruly_daemon(tmp_path, deed="swell") as daemon:
        core_bytes = psutil.Process(daemon.pid).memory_info().rss
        with daemon.greet() as bad, daemon.greet() as good:
            for client in (bad, good):
                client.open(1, partials=False)
            bad.speak(1, BAD)
            ended: list[int] = []
            for _ in range(2):
                swollen = wait_until(
                    lambda: [pid for pid in family(daemon) if is_swollen(pid)], "a swollen worker"
                )
                victim = max(family(daemon), key=oom_score)
                assert swollen == [victim]
                os.kill(victim, signal.SIGKILL)
                ended.append(victim)
                wait_until(lambda: len(deaths(daemon, UNRULY)) == len(ended), "its death")
            good.speak(1, PHRASE)
            bad.finish(1)
            good.finish(1)
            assert_set_aside(bad, 1, at_s=MARKED_AT_S)
            assert reading(good.logged(Segment)) == undisturbed
            assert_undisturbed(good)
        assert [death["pid"] for death in deaths(daemon, UNRULY)] == ended
        assert psutil.Process(daemon.pid).memory_info().rss - core_bytes < SWELL_BYTES / 10


def is_swollen(pid: int) -> bool:
    """Whether a process has taken what `swell` takes."""
    try:
        return bool(psutil.Process(pid).memory_info().rss > SWELL_BYTES - STEP_BYTES)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """The transcript of a run with memory enough."""
    with unruly_daemon(tmp_path_factory.mktemp("peace")) as daemon, daemon.greet() as client:
        return reading(client.transcribe(1, PHRASE, partials=False))
