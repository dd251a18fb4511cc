"""What a loaded model can do beyond reading one window at a time."""

from bisect import bisect_left
from dataclasses import dataclass

LONGEST_WINDOW_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """How a model wants to be given its work. The defaults are those of a model that reads one
    window after another, whatever its length.

    `max_batch` windows may be read in one call. Windows are read together that the engine pads to
    the same length: `partial_contexts_s` and `final_contexts_s` are these lengths in seconds, in
    ascending order, the last of them the longest window. `decodes_at_once` calls may run side by
    side, from as many threads. `can_abort` says that a decode ends soon after nobody wants it any
    more, so that stopping one for something more urgent is worth it.

    `feed_s` is set by a model that keeps state per utterance (`StreamingModel`): the seconds of new
    audio that it likes to be fed at a time. None for one that reads whole windows.
    """

    max_batch: int = 1
    partial_contexts_s: tuple[float, ...] = (LONGEST_WINDOW_S,)
    final_contexts_s: tuple[float, ...] = (LONGEST_WINDOW_S,)
    decodes_at_once: int = 1
    can_abort: bool = False
    feed_s: float | None = None

    def context_s(self, audio_s: float, *, is_partial: bool) -> float:
        """The length that a window of so much audio is padded to."""
        contexts_s = self.partial_contexts_s if is_partial else self.final_contexts_s
        return contexts_s[min(bisect_left(contexts_s, audio_s), len(contexts_s) - 1)]
