"""Who decodes next, with whom, and what is counted.

The scheduler starts nothing itself: the server tells it what streams want and asks for batches.

    want ─► Places (so many per source) ─► StreamQueue (the order)
    next_batch ◄─ Slots (the inference lock) ◄─ the head, and what may be read with it
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from asrd.abilities import Abilities
from asrd.clock import Clock
from asrd.config import Scheduling
from asrd.scheduler.accounts import Accounts
from asrd.scheduler.batching import Batch, Took, may_join
from asrd.scheduler.costs import Costs
from asrd.scheduler.measures import Outcome
from asrd.scheduler.preemption import Preemption
from asrd.scheduler.queue import Job, StreamQueue
from asrd.scheduler.slots import Alone, Placement, Slots
from asrd.scheduler.waiting import Places


class Scheduler:
    """Decides who decodes next. `placement_of` says where a provider decodes."""

    def __init__(
        self,
        clock: Clock,
        rule: Scheduling,
        placement_of: Callable[[str], Placement] = lambda provider: Placement(),
    ) -> None:
        self._clock = clock
        self.rule = rule
        self._queue = StreamQueue(rule.background_share)
        self.places = Places(rule)
        self._came_s: dict[Hashable, float] = {}
        self._tried_s: dict[Hashable, float] = {}  # when a decode that is done again had failed
        self._ready: dict[Hashable, Abilities] = {}
        self._alone: dict[Hashable, Hashable] = {}  # streams that are to be read alone: models
        self._left_out: set[Hashable] = set()  # streams whose partials were turned away
        self._running: dict[Batch, None] = {}
        self._taken_s: defaultdict[tuple[str, bool], float] = defaultdict(float)
        self.slots = Slots(rule, placement_of)
        self.preemption = Preemption(self.slots, is_on=rule.preemption)
        self.costs = Costs()
        self.accounts = Accounts(reserved=rule.max_waiting)

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    @property
    def waiting(self) -> int:
        """Streams that want a decode, those outside the queue among them."""
        return len(self._came_s)

    def real_time_factor(self, model: Hashable) -> float | None:
        """Decode time that a second of a live final's audio takes on a model; None: not known yet.

        Lossless streams' windows, which are longer and so cost less per second, count only until a
        live one has been read: else a file would make the load of all others look small.
        """
        live = self.costs.real_time_factor((model, False))
        return self.costs.real_time_factor((model, True)) if live is None else live

    def oldest_live_final_s(self, group: str) -> float:
        """How long the live final has waited that waits longest in a group.

        Those whose model takes no work just now are left out: that is no overload.
        """
        return max(
            (
                waited_s
                for job, waited_s in self.waits_s()
                if job.is_live
                and not job.is_partial
                and job.model in self._ready
                and self.slots.placement(job.provider).group == group
            ),
            default=0.0,
        )

    def timed_out(self) -> list[Job]:
        """Live finals that have waited for longer than they may; each is told once."""
        limit_s = self.rule.queue_timeout_s
        if limit_s is None:
            return []
        late = [
            job
            for job, waited_s in self.waits_s()
            if job.is_live and not job.is_partial and waited_s >= limit_s
        ]
        for job in late:
            self._came_s[job.stream] = self._clock.now_s()  # else it would be told again
        return late

    def take_partial_s(self, group: str, *, is_fed: bool = False) -> float:
        """Decode time that partials of live streams took in a group since it was last asked; with
        `is_fed` what models took that are fed, finals included."""
        return self._taken_s.pop((group, is_fed), 0.0)

    def waits_s(self) -> Iterable[tuple[Job, float]]:
        """Everything that wants a decode, and since how many seconds."""
        now_s = self._clock.now_s()
        for stream, came_s in self._came_s.items():
            job = self._queue.get(stream) or self.places.find_outside(stream)
            if job is not None:
                yield job, now_s - came_s

    # ── wanting ───────────────────────────────────────────────────────────────────────────────

    def stands_for(self, stream: Hashable) -> Job | None:
        """What a stream waits for in the queue; None where it does not stand there."""
        return self._queue.get(stream)

    def want(self, job: Job, since_s: float | None = None) -> bool:
        """A stream wants a decode; asking again changes only what it stands for.

        It has waited since `since_s`, where given, else since it asked first. Its source stays.

        Returns whether it is a live final that has found the queue of its source full and waits
        outside; see `in_the_way`.
        """
        source = self.accounts.name_of(job.source)
        if since_s is not None and job.stream in self._came_s:
            self._came_s[job.stream] = since_s
        old = self._queue.get(job.stream)
        if old is not None:
            if old != job:
                self._change(old, job)
            return False
        if (waited := self.places.outside(source, job.stream)) is not None:
            self.places.wait_outside(source, job)
            self.accounts.wait_for(job, waited)
            return False
        came_s = self._clock.now_s() if since_s is None else since_s
        if self.places.is_free(source):
            self._came_s[job.stream] = came_s
            self._let_in(source, job)
            return False
        return self._turn_away(source, job, came_s)

    def in_the_way(self, stream: Hashable) -> Hashable | None:
        """The stream whose oldest waiting audio has to go, because this one finds no place.

        The one of its source whose live final has waited longest; None where there is none, or a
        place has been found meanwhile."""
        job = self.places.find_outside(stream)
        if job is None:
            return None
        every = self.places.inside(self.accounts.name_of(job.source))
        waiting = ((other, self._queue.get(other)) for other in every)
        finals = (each for each, its in waiting if its and its.is_live and not its.is_partial)
        return min(finals, key=lambda each: self._came_s[each], default=None)

    def withdraw(self, stream: Hashable) -> None:
        """A stream wants nothing any more."""
        if self._came_s.pop(stream, None) is None:
            return
        if (job := self._queue.remove(stream)) is not None:
            self._left(job)
            return
        for source in self.accounts.by_source:
            if (waited := self.places.give_up(source, stream)) is not None:
                self.accounts.wait(waited, -1)
                return

    def set_model(self, model: Hashable, abilities: Abilities | None) -> None:
        """A model takes work, and how; None: it takes none, and its streams keep their places."""
        if abilities is None:
            self._ready.pop(model, None)
        else:
            self._ready[model] = abilities

    # ── turns ─────────────────────────────────────────────────────────────────────────────────

    @property
    def could_begin(self) -> bool:
        """Whether `next_batch` would give a slot to somebody now."""
        return bool(self._queue.admitted(self._is_admitted))

    def next_batch(self) -> Batch | None:
        """Give a slot to the next stream and those read with it; None when nobody may have one."""
        pick = self._queue.pop(self._is_admitted)
        if pick is None:
            return None
        head = pick.job
        jobs = [head]
        while (more := self._pop_joiner(head, len(jobs))) is not None:
            jobs.append(more)
        self.slots.take(head.provider, head.model, is_alone=isinstance(head.batch_key, Alone))
        now_s, streams = self._clock.now_s(), [job.stream for job in jobs]
        # A decode that failed and is done again was no waiting.
        since_s = [max(self._came_s.pop(n), self._tried_s.pop(n, 0.0)) for n in streams]
        waits_s = tuple(now_s - each_s for each_s in since_s)
        for job in jobs:
            self.accounts.begin(job)
        for job in jobs:
            self._left(job)
        spared = self.preemption.begin(jobs)
        batch = Batch(
            jobs=tuple(jobs), pick=pick, started_s=now_s, waits_s=waits_s, is_spared=spared
        )
        self._running[batch] = None
        return batch

    def finish(
        self,
        batch: Batch,
        outcomes: Sequence[Outcome],
        audio_s: Sequence[float],
        decode_s: float | None = None,
    ) -> Took:
        """Take the slot back and count, for each job of the batch, what became of it.

        `audio_s`: the length of each window; `decode_s`: the engine's own time, where it is known.
        """
        del self._running[batch]
        head = batch.jobs[0]
        self.slots.give_back(head.provider, head.model)
        took = batch.took(self._clock.now_s(), outcomes)
        told = zip(batch.jobs, outcomes, strict=True)
        put_back = [job.stream for job, outcome in told if outcome is Outcome.PUT_BACK]
        self._tried_s.update(dict.fromkeys(put_back, took.ended_s))
        is_aborted = self.preemption.end(batch, put_back)
        read = outcomes.count(Outcome.READ)
        if read:
            took_s = took.held_s if decode_s is None else decode_s
            if read == len(outcomes) - outcomes.count(Outcome.NOTHING):
                self.costs.note(head.lane, read, sum(audio_s), took_s)
                if not head.is_partial and not head.is_fed:
                    self.costs.note((head.model, not head.is_live), read, sum(audio_s), took_s)
            self.accounts.batch(head.provider, read)
        self._queue.charge(batch.pick, took.held_s * batch.charged_part(outcomes))
        for job, outcome, length_s, waited_s in zip(
            batch.jobs, outcomes, audio_s, batch.waits_s, strict=True
        ):
            if outcome is Outcome.READ and job.is_live and (job.is_partial or job.is_fed):
                group = self.slots.placement(job.provider).group or ""
                self._taken_s[group, job.is_fed] += took.share_s
            self.accounts.end(
                job,
                outcome,
                is_aborted=is_aborted,
                audio_s=length_s,
                waited_s=waited_s,
                held_s=took.held_s,
                share_s=took.share_s,
            )
        return took

    def preempt(self, stream: Hashable) -> Batch | None:
        """The running batch that has to end so that this stream's job gets its turn at once.

        None where the job is not urgent, is not held up by others, or nobody has to yield. The
        batch still has to be finished, aborted or not.
        """
        job = self._queue.get(stream)
        if job is None or job.model not in self._ready or self._is_admitted(job):
            return None
        return self.preemption.choose(job, self._running, self._ready)

    def forget(self, stream: Hashable) -> None:
        """The stream has ended."""
        self.withdraw(stream)
        self._tried_s.pop(stream, None)
        self._left_out.discard(stream)
        self.preemption.forget(stream)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _is_admitted(self, job: Job) -> bool:
        if (abilities := self._ready.get(job.model)) is None:
            return False
        is_alone = isinstance(job.batch_key, Alone)
        # Where several run side by side, the others hold back until it has had its turn.
        is_crowded = abilities.decodes_at_once > 1 and not is_alone
        if is_crowded and job.model in self._alone.values():
            return False
        return self.slots.is_free(job.provider, job.model, abilities, is_alone=is_alone)

    def _pop_joiner(self, head: Job, count: int) -> Job | None:
        most = self._ready[head.model].max_batch
        if count >= most:
            return None
        urgency = head.priority, head.is_partial
        return self._queue.pop_alike(
            head,
            lambda job: may_join(
                self.rule.batches,
                self.costs,
                head.lane,
                count,
                max_batch=most,
                is_less_urgent=(job.priority, job.is_partial) > urgency,
            ),
        )

    def _turn_away(self, source: str, job: Job, came_s: float) -> bool:
        """The queue of the source is full: a partial stays out, a final takes the place of one."""
        if job.is_partial:
            self._leave_out(job)
            return False
        self._came_s[job.stream] = came_s
        self.places.wait_outside(source, job)
        self.accounts.wait(job, 1)
        if not job.is_live:
            return False
        for stream in list(self.places.inside(source)):
            other = self._queue.get(stream)
            if other is not None and other.is_partial:  # its audio waits in its stream
                self.withdraw(stream)
                self._leave_out(other)
                return False
        return True

    def _leave_out(self, job: Job) -> None:
        """Counted once, however often its stream asks before it is let in."""
        if job.stream not in self._left_out:
            self._left_out.add(job.stream)
            self.accounts.leave_out(job)

    def _let_in(self, source: str, job: Job) -> None:
        self._left_out.discard(job.stream)
        self.places.enter(source, job.stream)
        self._put(job)
        self.accounts.wait(job, 1)

    def _put(self, job: Job) -> None:
        self._queue.put(job)
        if isinstance(job.batch_key, Alone):
            self._alone[job.stream] = job.model
        else:
            self._alone.pop(job.stream, None)

    def _left(self, job: Job) -> None:
        """A stream stands in the queue no more: the next of its source that waits may come in."""
        self._alone.pop(job.stream, None)
        source = self.accounts.name_of(job.source)
        self.accounts.wait(job, -1)
        next_in = self.places.leave(source, job.stream)
        if next_in is not None:
            self.accounts.wait(next_in, -1)
            self._let_in(source, next_in)

    def _change(self, old: Job, job: Job) -> None:
        self._put(job)
        self.accounts.wait_for(job, old)
        if old.is_partial and not job.is_partial:
            self.accounts.coalesce(job, 1)
