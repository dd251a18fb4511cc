"""What a stream has heard and not finished: utterances, and the marks between them, in order.

A mark is a flush or the close; it waits for the utterances before it, so everything is told in
the order of its audio.
"""

from collections import deque
from dataclasses import dataclass

from asrd.session.draft import Draft
from asrd.session.endpoint import Utterance
from asrd.session.intake import Mark
from asrd.transcript import Hypothesis


@dataclass(eq=False, slots=True, kw_only=True)
class Queued:
    """An utterance that waits for a model. `attempts` counts the workers that it has ended.

    `late_s` is the audio that had come behind the end of its speech by the time it was queued, None
    where that had a hole.
    `draft` is what was read of it while it was open. `hypothesis` is its final reading, where there
    is one: then it waits for nothing but its turn to be told, and has done so since `read_at_s`.
    """

    utterance: Utterance
    queued_at_s: float
    late_s: float | None = None
    attempts: int = 0
    draft: Draft | None = None
    hypothesis: Hypothesis | None = None
    read_at_s: float = 0.0

    @property
    def latency_s(self) -> float:
        """From its being queued to its having been read."""
        return self.read_at_s - self.queued_at_s

    def conclude(self, hypothesis: Hypothesis, now_s: float) -> None:
        """It has been read to its end."""
        self.hypothesis = hypothesis if self.draft is None else self.draft.conclude(hypothesis)
        self.read_at_s = now_s


class Ahead:
    """The queue of one stream. Positions are 16 kHz samples."""

    def __init__(self) -> None:
        self._items: deque[Queued | Mark] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Queued | Mark) -> None:
        """Let something wait behind all others."""
        self._items.append(item)

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()

    @property
    def head(self) -> Queued | Mark | None:
        """What stands first."""
        return self._items[0] if self._items else None

    @property
    def first(self) -> Queued:
        """The utterance that stands first.

        Raises:
            AssertionError: none does; whoever asks has told the marks before it.
        """
        head = self.head
        if not isinstance(head, Queued):
            raise AssertionError(f"{head} stands where an utterance was expected")
        return head

    def pop(self) -> Queued:
        """Take out the utterance that stands first."""
        first = self.first
        self._items.popleft()
        return first

    def pop_read(self) -> Queued | None:
        """Take out the utterance that stands first, if its final reading is there; else None."""
        head = self.head
        if not isinstance(head, Queued) or head.hypothesis is None:
            return None
        self._items.popleft()
        return head

    def pop_mark(self) -> Mark | None:
        """Take out the mark that stands first; None where an utterance or nothing does."""
        head = self.head
        if not isinstance(head, Mark):
            return None
        self._items.popleft()
        return head

    @property
    def last_end(self) -> int | None:
        """Where the audio of the last utterance ends; None where no utterance waits."""
        queued = (item for item in reversed(self._items) if isinstance(item, Queued))
        last = next(queued, None)
        return None if last is None else last.utterance.end

    def beginning_at(self, position: int) -> Queued | None:
        """The utterance whose audio begins there, if it waits here."""
        waiting = self._waiting(has_begun=False)
        return next((queued for queued in waiting if queued.utterance.start == position), None)

    def waiting(self, *, has_begun: bool) -> list[int]:
        """Samples of each utterance that no decode has begun; `has_begun`: the first is being
        read."""
        utterances = [item.utterance for item in self._waiting(has_begun)]
        return [utterance.end - utterance.start for utterance in utterances]

    def drop_oldest(self, *, has_begun: bool) -> Utterance | None:
        """Take out the first utterance that no decode has begun; None where there is none."""
        waiting = self._waiting(has_begun)
        if not waiting:
            return None
        self._items.remove(waiting[0])
        return waiting[0].utterance

    def _waiting(self, has_begun: bool) -> list[Queued]:
        queued = [item for item in self._items if isinstance(item, Queued)]
        return queued[1:] if has_begun else queued
