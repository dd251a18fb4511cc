"""What a machine offers, read from folders that look like its `/proc`, `/sys` and `/dev`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from asrd.machine import Gpu
from asrd.providers import inspection
from asrd.providers.inspection import (
    Container,
    Nvidia,
    ask_nvidia,
    available_memory_bytes,
    inspect,
    inspect_machine,
    parse_nvidia,
    read_container,
    usable_cores,
    visible,
)

MB = 2**20
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)
V1_GROUPS = "4:memory:/box/job\n2:cpu,cpuacct:/box/job\n1:name=systemd:/\n"


def make_root(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def v2(folder: Path, files: Mapping[str, str], group: str = "/box/job") -> Path:
    """A machine with version 2 alone; `files` lie below its mount."""
    return make_root(
        folder,
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/self/mountinfo": V2_MOUNT,
            **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
        },
    )


# ── control groups ────────────────────────────────────────────────────────────────────────────────


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert read_container(tmp_path) == Container()


def test_version_2(tmp_path: Path) -> None:
    root = v2(
        tmp_path,
        {
            "box/job/cpu.max": "150000 100000\n",
            "box/job/memory.max": f"{512 * MB}\n",
            "box/job/memory.current": f"{300 * MB}\n",
            "box/job/memory.stat": f"anon {90 * MB}\nactive_file {40 * MB}\n"
            f"inactive_file {60 * MB}\nshmem {20 * MB}\n",
        },
    )
    assert read_container(root) == Container(
        cores=1.5, memory_bytes=512 * MB, free_bytes=(512 - 300 + 100) * MB
    )


def test_unlimited_groups_of_version_2(tmp_path: Path) -> None:
    root = v2(tmp_path, {"box/job/cpu.max": "max 100000\n", "box/job/memory.max": "max\n"})
    assert read_container(root) == Container()


def test_the_tightest_limit_counts_on_whatever_level(tmp_path: Path) -> None:
    """Here the inner group may take more than the one around it, but has less left."""
    root = v2(
        tmp_path,
        {
            "cpu.max": "max 100000",
            "box/cpu.max": "50000 100000",
            "box/job/cpu.max": "400000 100000",
            "box/memory.max": str(1000 * MB),
            "box/memory.current": str(200 * MB),
            "box/job/memory.max": str(1500 * MB),
            "box/job/memory.current": str(1400 * MB),
        },
    )
    assert read_container(root) == Container(cores=0.5, memory_bytes=1000 * MB, free_bytes=100 * MB)


def test_version_1(tmp_path: Path) -> None:
    """The limit is the outer group's; version 1 counts inner groups under `total_`."""
    memory, cpu = "sys/fs/cgroup/memory/box", "sys/fs/cgroup/cpu,cpuacct/box"
    root = make_root(
        tmp_path,
        {
            "proc/self/cgroup": V1_GROUPS,
            "proc/self/mountinfo": V1_MOUNTS,
            f"{memory}/memory.limit_in_bytes": str(256 * MB),
            f"{memory}/memory.usage_in_bytes": str(200 * MB),
            f"{memory}/memory.stat": f"active_file 1\ntotal_active_file {10 * MB}\n"
            f"total_inactive_file {20 * MB}\n",
            f"{memory}/job/memory.limit_in_bytes": "9223372036854771712",
            f"{cpu}/cpu.cfs_quota_us": "-1",
            f"{cpu}/cpu.cfs_period_us": "100000",
            f"{cpu}/job/cpu.cfs_quota_us": "250000",
            f"{cpu}/job/cpu.cfs_period_us": "100000",
        },
    )
    assert read_container(root) == Container(
        cores=2.5, memory_bytes=256 * MB, free_bytes=(256 - 200 + 30) * MB
    )


@pytest.mark.parametrize(
    ("group", "mounted"),
    [
        ("/docker/4f2", "/docker/4f2"),  # the host's paths, and a mount of one group
        ("/", "/"),  # a namespace of its own
        ("/../../elsewhere", "/"),  # a process of another namespace
        ("/not/shown/here", "/"),
    ],
)
def test_inside_a_container_the_mount_is_the_own_group(
    tmp_path: Path, group: str, mounted: str
) -> None:
    root = v2(tmp_path, {"memory.max": str(64 * MB)}, group)
    (root / "proc/self/mountinfo").write_text(V2_MOUNT.replace("0:28 / ", f"0:28 {mounted} "))
    assert read_container(root).memory_bytes == 64 * MB


@pytest.mark.parametrize("text", ["", "nonsense", "-5", "12 34 56", "1e9", "٣", "0 0", "\0"])
def test_what_makes_no_sense_is_no_limit(tmp_path: Path, text: str) -> None:
    files = {"box/job/cpu.max": text, "box/job/memory.max": text, "box/job/memory.stat": text}
    assert read_container(v2(tmp_path, files)) == Container()
    for name in ("cgroup", "mountinfo"):
        (tmp_path / "proc/self" / name).write_text(text)
        assert read_container(tmp_path) == Container()


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    files = {"box/job/memory.max": str(MB), "box/job/memory.current": str(2 * MB)}
    assert read_container(v2(tmp_path, files)).free_bytes == 0


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────


def test_this_machine() -> None:
    machine = inspect_machine()
    assert 0 < machine.cores <= (os.cpu_count() or 0)
    assert 0 < machine.available_bytes <= machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.is_apple_silicon == (sys.platform == "darwin" and os.uname().machine == "arm64")


def test_limits_bind_what_the_machine_has(tmp_path: Path) -> None:
    files = {
        "box/job/cpu.max": "50000 100000",
        "box/job/memory.max": str(64 * MB),
        "box/job/memory.current": str(14 * MB),
    }
    root = v2(tmp_path, files)
    machine = inspect(root).machine
    assert (machine.cores, machine.memory_bytes) == (0.5, 64 * MB)
    assert machine.available_bytes == available_memory_bytes(root) == 50 * MB


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU sets on this system")
def test_cores_that_this_process_may_not_use_do_not_count() -> None:
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_cores)})
    try:
        assert inspect_machine().cores <= 1
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, all_cores)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max", 8), ("800000", 8), ("799999", 7), ("250000", 2), ("99999", 1), ("1000", 1)],
)
def test_a_quota_leaves_whole_cores_and_one_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(inspection, "_allowed_cores", lambda: 8)
    assert usable_cores(v2(tmp_path, {"box/job/cpu.max": f"{quota} 100000"})) == cores


def test_limits_larger_than_the_machine_do_not_enlarge_it(tmp_path: Path) -> None:
    huge = str(2**59)
    root = v2(tmp_path, {"box/job/cpu.max": "99900000 100000", "box/job/memory.max": huge})
    machine = inspect(root).machine
    assert machine.cores <= (os.cpu_count() or 0)
    assert machine.memory_bytes == psutil.virtual_memory().total


# ── NVIDIA ────────────────────────────────────────────────────────────────────────────────────────

PYNVML = """
import os, time

class NVMLError(Exception):
    pass

class Memory:
    total, free = 25769803776, 24000000000

def nvmlInit(): {init}
def nvmlSystemGetCudaDriverVersion_v2(): return 12040
def nvmlSystemGetDriverVersion(): return "550.54.15"
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return f"GPU number {{handle}}"
def nvmlDeviceGetUUID(handle): return f"GPU-{{handle}}{{handle}}aa"
def nvmlDeviceGetCudaComputeCapability(handle): return (8, 9)
def nvmlDeviceGetMemoryInfo(handle):
    if handle == 1:
        raise NVMLError("Not Supported")
    return Memory
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with an NVIDIA driver."""
    return make_root(tmp_path / "root", {"dev/nvidiactl": ""})


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, init: str) -> None:
    """What the child process finds in place of NVIDIA's library."""
    folder.mkdir()
    (folder / "pynvml.py").write_text(PYNVML.format(init=init))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def gpu(index: int, name: str) -> Gpu:
    return Gpu(
        index=index,
        name=name,
        memory_bytes=25769803776,
        free_bytes=24000000000,
        compute_capability=(8, 9),
    )


def test_gpus_are_asked_for_in_a_child(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer as it should, the second here, does not hide the others."""
    stand_in(tmp_path / "lib", monkeypatch, "pass")
    whole = (gpu(0, "GPU number 0"), gpu(2, "GPU number 2"))
    assert ask_nvidia(root) == Nvidia(gpus=whole, driver="550.54.15", cuda="12.4")
    assert inspect(root).machine.gpus == whole
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert ask_nvidia(root).gpus == (gpu(0, "GPU number 2"),)
    assert "pynvml" not in sys.modules


@pytest.mark.parametrize(
    ("init", "problem"),
    [
        ("raise NVMLError('Driver Not Loaded')", "cannot be used: Driver Not Loaded"),
        ("os.abort()", "gave no answer"),
        ("print('{')", "gave no answer"),
    ],
)
def test_a_driver_that_fails(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, init: str, problem: str
) -> None:
    if init.startswith("print"):
        init += "; os._exit(0)"
    stand_in(tmp_path / "lib", monkeypatch, init)
    nvidia = ask_nvidia(root)
    assert nvidia.gpus == ()
    assert problem in nvidia.problem


def test_a_driver_that_hangs_is_given_up(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "lib", monkeypatch, "time.sleep(600)")
    before = psutil.Process().children()  # daemons of other tests may be among them
    began_s = time.monotonic()
    assert ask_nvidia(root, timeout_s=0.3).problem == "The NVIDIA driver did not answer in 0.3 s."
    assert time.monotonic() - began_s < 10
    assert psutil.Process().children() == before


def test_behind_the_device_of_wsl_may_be_another_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "root", {"dev/dxg": ""})
    stand_in(tmp_path / "lib", monkeypatch, "raise NVMLError('Not Found')")
    assert ask_nvidia(root) == Nvidia()


def test_where_no_driver_is_no_child_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert ask_nvidia(tmp_path) == Nvidia()


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", "null", json.dumps({"gpus": [{"index": 0}]}), '{"gpus": [], "x": 1}']
)
def test_an_answer_that_makes_no_sense(answer: str) -> None:
    assert parse_nvidia(answer).problem


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("-1", []),
        ("2,0", ["c", "a"]),
        ("1, 7, 0", ["b"]),
        ("GPU-cc", ["c"]),
        ("GPU-b1,GPU-a1", ["b", "a"]),
        ("GPU-", []),
    ],
)
def test_cuda_visible_devices(wish: str | None, names: list[str]) -> None:
    there = [("GPU-a1", gpu(0, "a")), ("GPU-b1", gpu(1, "b")), ("GPU-cc9", gpu(2, "c"))]
    seen = visible(there, wish)
    assert [found.name for found in seen] == names
    assert [found.index for found in seen] == list(range(len(names)))


def test_the_module_is_cheap_to_import() -> None:
    script = (
        "import sys, asrd.providers.inspection;"
        "print(*sorted({'numpy', 'psutil', 'pynvml'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")
