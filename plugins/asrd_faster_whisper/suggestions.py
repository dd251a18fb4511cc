"""Which model a machine can run in real time, with room to spare.

Speed: a decode costs the same for a second of audio as for thirty, so a model keeps up with a live
stream, which wants a text about every second, when it takes less than that. Measured on one core,
tiny in int8 takes 0.4 s and base 0.76 s; a second thread makes that 1.2 to 1.35 times faster, and
with two small took 2.1 s. So base wants two cores. Small reads finals in time and partials late; it
wants six, so that four threads are its own and others are left free. How many threads there are is
not suggested: the provider takes fewer for each decode where several run side by side.

Memory: `_CPU` has the most that a process with a model of that shape was seen to take (while it
loads; afterwards 0.21, 0.23 and 0.44 GB). `_GPU` is reckoned: the weights in float16, half as much
again for what a decode needs, and 0.5 GB for CUDA itself. A model is suggested where twice as much
is free.

Quality: 100 less the mean word error rate on read and spontaneous English that is published for the
models (7.7 for large-v3-turbo).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from asrd import Gpu, Machine, Suggestion

_MB = 1_000_000
_ROOM = 2
_FLOAT16_CAPABILITY = (7, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    model: str
    memory_bytes: int
    quality: float
    cores_at_least: float = 0


_GPU = (
    _Candidate(model="large-v3-turbo", memory_bytes=2_900 * _MB, quality=92.3),
    _Candidate(model="small", memory_bytes=1_250 * _MB, quality=90.5),
    _Candidate(model="base", memory_bytes=750 * _MB, quality=88.5),
)
_CPU = (
    _Candidate(model="small", memory_bytes=680 * _MB, quality=90.5, cores_at_least=6),
    _Candidate(model="base", memory_bytes=340 * _MB, quality=88.5, cores_at_least=2),
    _Candidate(model="tiny", memory_bytes=280 * _MB, quality=86.0, cores_at_least=1),
)


def suggest(machine: Machine) -> Iterator[Suggestion]:
    """Everything that runs well on `machine`, the best first."""
    gpus = [gpu for gpu in machine.gpus if gpu.compute_capability >= _FLOAT16_CAPABILITY]
    if gpus:
        yield from _on_gpu(max(gpus, key=lambda gpu: gpu.free_bytes))
    yield from _on_cpu(machine)


def _on_gpu(gpu: Gpu) -> Iterator[Suggestion]:
    for candidate in _GPU:
        if gpu.free_bytes >= _ROOM * candidate.memory_bytes:
            yield Suggestion(
                model=candidate.model,
                settings={"device": "cuda", "device_index": gpu.index, "compute_type": "float16"},
                memory_bytes=candidate.memory_bytes,
                quality=candidate.quality,
                reason=f"The GPU {gpu.name} has {gpu.free_bytes / 1e9:.1f} GB free.",
            )


def _on_cpu(machine: Machine) -> Iterator[Suggestion]:
    for candidate in _CPU:
        has_memory = machine.available_bytes >= _ROOM * candidate.memory_bytes
        if has_memory and machine.cores >= candidate.cores_at_least:
            yield Suggestion(
                model=candidate.model,
                settings={"device": "cpu", "compute_type": "int8"},
                memory_bytes=candidate.memory_bytes,
                quality=candidate.quality,
                reason=(
                    f"There are {machine.cores:g} cores and "
                    f"{machine.available_bytes / 1e9:.1f} GB of memory free."
                ),
            )
