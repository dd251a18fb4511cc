"""Which running decode has to end for a more urgent one. Pure.

A final of priority 1 or 2 that finds no slot ends a decode of priority 6 or lower, where the engine
can stop soon. What was aborted is spared at its next turn, so that it is read in the end however
much urgent work there is.
"""

from collections.abc import Hashable, Iterable, Mapping

from asrd.abilities import Abilities
from asrd.scheduler.batching import Batch
from asrd.scheduler.queue import Job
from asrd.scheduler.slots import Slots

URGENT_PRIORITY = 2
YIELDING_PRIORITY = 6


class Preemption:
    """Keeps in mind what is being aborted, and what was."""

    def __init__(self, slots: Slots, *, is_on: bool) -> None:
        self._slots = slots
        self.is_on = is_on
        self._aborting: set[Batch] = set()
        self._was_aborted: set[Hashable] = set()

    def choose(
        self, job: Job, running: Iterable[Batch], ready: Mapping[Hashable, Abilities]
    ) -> Batch | None:
        """The batch that has to end so that a job which waits gets its turn; None: none.

        Only one whose end would let the job in: a slot, its provider or its model may be full.
        Among those that may, the one of the lowest priority that has begun last: it loses least.
        """
        group = self._slots.placement(job.provider).group
        if not self.is_on or job.is_partial or job.priority > URGENT_PRIORITY or group is None:
            return None
        if not any(abilities.can_abort for abilities in ready.values()):
            return None  # with many slots, looking at every batch for every final adds up
        full = self._slots.full(job.provider, job.model, ready[job.model])
        yielding = [
            batch
            for batch in running
            if self._yields(batch, ready)
            and (not full.group or self._slots.placement(batch.jobs[0].provider).group == group)
            and (not full.provider or batch.jobs[0].provider == job.provider)
            and (not full.model or batch.jobs[0].model == job.model)
        ]
        if not yielding:
            return None
        chosen = max(yielding, key=lambda batch: (batch.jobs[0].priority, batch.started_s))
        self._aborting.add(chosen)
        return chosen

    def begin(self, jobs: Iterable[Job]) -> bool:
        """Jobs are about to be read; returns whether they are spared."""
        streams = {job.stream for job in jobs}
        is_spared = not streams.isdisjoint(self._was_aborted)
        self._was_aborted -= streams
        return is_spared

    def end(self, batch: Batch, put_back: Iterable[Hashable]) -> bool:
        """A batch has ended, these streams of it unread; returns whether it was to be aborted."""
        is_aborted = batch in self._aborting
        self._aborting.discard(batch)
        if is_aborted:
            self._was_aborted.update(put_back)
        return is_aborted

    def forget(self, stream: Hashable) -> None:
        """The stream has ended."""
        self._was_aborted.discard(stream)

    def _yields(self, batch: Batch, ready: Mapping[Hashable, Abilities]) -> bool:
        head = batch.jobs[0]
        abilities = ready.get(head.model)
        return (
            abilities is not None
            and abilities.can_abort
            and not batch.is_spared
            and not batch.pick.is_background  # its time was saved up for, and is charged
            and batch not in self._aborting
            and all(job.priority >= YIELDING_PRIORITY for job in batch.jobs)
        )
