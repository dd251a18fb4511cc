"""How many windows one call of the decoder may take, by the memory that it needs for them.

Before its first token the decoder projects what the encoder made of a window, once for each of its
layers, into keys and values. They are kept until the call ends, and are nearly all that it takes:
of 30 s, 37 MB for `base` in float32 and 246 MB for `large-v3` in float16. Beams share them. In a
batch of sixteen windows that adds up to more than the model itself.
"""

from dataclasses import dataclass

from asrd.providers.gpu_memory import measure
from asrd_faster_whisper.weights import DecoderShape

CALL_BYTES = 1_000_000_000
"""What one call may take on a CPU, and on a GPU of which nobody knows what is free."""

_GPU_SHARE = 4
_LARGEST = DecoderShape(layers=32, width=1280)
_PLACES_PER_S = 50
_KEYS_AND_VALUES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one call may take, and what a second of one window's context takes of it."""

    call_bytes: float
    second_bytes: int

    def most_windows(self, context_s: float) -> int:
        """How many windows of that context one call may take; at least one."""
        return max(1, int(self.call_bytes / (self.second_bytes * context_s)))


def budget_of(
    shape: DecoderShape | None, *, compute_type: str, device: str, num_workers: int
) -> Budget:
    """The budget of a model that has just been loaded; without a shape, as the largest has it.

    `compute_type` is the one that the engine really computes in. On a GPU all workers together may
    take a quarter of what the weights have left free.
    """
    shape = shape or _LARGEST
    number_bytes = 2 if compute_type.endswith("float16") else 4
    free_bytes = measure(0).gpu_free_bytes if device == "cuda" else 0
    return Budget(
        call_bytes=free_bytes / _GPU_SHARE / num_workers if free_bytes else CALL_BYTES,
        second_bytes=_KEYS_AND_VALUES * shape.layers * shape.width * _PLACES_PER_S * number_bytes,
    )
