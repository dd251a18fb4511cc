"""What a machine offers to models: cores, memory, accelerators. Facts alone; who looks is
`providers.inspection`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """An NVIDIA GPU. `index` is CUDA's; `compute_capability` is (major, minor)."""

    index: int
    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as this process may use it: limits of its container and its CPU set count.

    `cores` are those it may run on, as whole ones (a quota of 150 % is 1.5). `memory_bytes` is
    what it may take in all, `available_bytes` what it could take now.
    """

    cores: float
    memory_bytes: int
    available_bytes: int
    gpus: tuple[Gpu, ...] = ()
    is_apple_silicon: bool = False
