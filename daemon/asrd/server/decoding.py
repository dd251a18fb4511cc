"""Turns of the inference lock become calls to workers, and their answers text.

This is the only place where the scheduler, the pool and the streams meet.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog

from asrd.abilities import Abilities
from asrd.audio import SAMPLE_RATE
from asrd.clock import Clock
from asrd.errors import AsrdError, DecodeCancelled, ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.providers.supervisor import WorkerDied, WorkerStopped
from asrd.scheduler.batching import Batch, Took
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job
from asrd.scheduler.scheduler import Scheduler
from asrd.server.decodes import (
    Given,
    Observer,
    decodes_of,
    each_of,
    has_ended,
    outcome_of,
    result_of,
)
from asrd.server.jobs import item_of, job_of, utterance_number, waiting_since_s
from asrd.server.served import Containing, ServedStream
from asrd.session.stream import Want

log = structlog.get_logger()


@dataclass(eq=False, slots=True, kw_only=True)
class _Call:
    """A call under way: the batch that has the slot, and the windows of those that wanted one.

    `is_alone` while no other window was given to the same worker.
    """

    batch: Batch
    key: ModelKey
    reads: dict[Hashable, Given]
    answer: asyncio.Future[calls.AnyAnswer]
    is_alone: bool


class Decoding:
    """Keeps the queue in step with what streams want and the workers busy.

    `advance` is called with each stream that a decode has changed; `containing` keeps an error of
    one stream from the others. `move_on` lets the next model of its chain read a stream and says
    whether there is one; `may_drop` says whether a full queue may cost anybody audio.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        pool: ModelPool,
        clock: Clock,
        *,
        advance: Callable[[ServedStream], None],
        containing: Containing,
        move_on: Callable[[ServedStream], bool],
        may_drop: Callable[[], bool],
    ) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._clock = clock
        self._advance = advance
        self._containing = containing
        self._move_on = move_on
        self._may_drop = may_drop
        self._served: dict[Hashable, ServedStream] = {}
        self._running: dict[Hashable, _Call] = {}
        self._gathering = 0
        self._is_pump_due = False
        self._crowded: list[ServedStream] = []
        self.observer: Observer | None = None

    def update(self, served: ServedStream) -> None:
        """The stream may want something else than before."""
        self._feed(served)
        want = served.stream.want
        if want is None:
            self.forget(served)
            return
        self._served[served.served_id] = served
        self._pool.need(served.key)
        # A stream that moves to a model is told of that model's change before the queue is.
        abilities = self._see_model(served.key)
        job = job_of(served, want, abilities)
        is_old = self._scheduler.stands_for(served.served_id) == job
        if self._scheduler.want(job, waiting_since_s(served) if want is Want.FINAL else None):
            self._crowded.append(served)
        elif is_old:
            return  # most chunks change nothing
        self.pump()
        if want is Want.FINAL and served.served_id in self._served:
            self._preempt(served)

    def forget(self, served: ServedStream) -> None:
        """The stream wants nothing."""
        if self._served.pop(served.served_id, None) is not None:
            self._scheduler.withdraw(served.served_id)

    def give_up(self, served: ServedStream) -> None:
        """The stream has ended: what is being read of it need not be read to its end."""
        self._served.pop(served.served_id, None)
        self._feed(served)
        self._scheduler.forget(served.served_id)
        call = self._running.get(served.served_id)
        if call is not None and all(has_ended(read) for read in call.reads.values()):
            self._abort(call)

    def model_changed(self, key: ModelKey) -> None:
        """A model has become able or unable to take work."""
        if any(served.key == key for served in self._served.values()):
            self._pool.need(key)
        self._see_model(key)
        self.pump()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let many streams change before the next decode begins, so that it takes all it can."""
        self._gathering += 1
        try:
            yield
        finally:
            self._gathering -= 1
            if self._is_pump_due:  # most reads and ticks change nothing
                self.pump()

    def pump(self) -> None:
        """Start every decode that may start now."""
        self._is_pump_due = self._gathering > 0
        if self._is_pump_due:
            return
        self._start_all()
        while self._crowded and self._may_drop():
            in_the_way = self._scheduler.in_the_way(self._crowded.pop(0).served_id)
            if in_the_way is not None:
                self._drop_oldest(self._served[in_the_way])

    def _start_all(self) -> None:
        while (batch := self._scheduler.next_batch()) is not None:
            reads: dict[Hashable, Given] = {}
            for job in batch.jobs:
                served = self._served.pop(job.stream)
                window = None
                with self._containing(served):
                    self._feed(served)  # its model may be another than when it asked
                    window = served.stream.begin_decode()
                    self._feed(served)  # what it gave up goes before the new
                if window is not None:  # else it wants nothing any more, or failed
                    reads[job.stream] = Given(served=served, window=window)
            if reads:
                self._start(batch, reads)
            else:
                nothing = [Outcome.NOTHING] * len(batch.jobs)
                self._scheduler.finish(batch, nothing, [0.0] * len(batch.jobs))

    def check(self) -> None:
        """Look after finals that have waited for too long. To be called every half second or so."""
        self.pump()  # slots may have been added
        with self.together():
            for job in self._scheduler.timed_out():
                served = self._served.get(job.stream)
                if served is not None and served.stream.want is Want.FINAL:
                    with self._containing(served):
                        self._time_out(served, job)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _time_out(self, served: ServedStream, job: Job) -> None:
        self._scheduler.accounts.time_out(job)
        served.waits_anew_s = self._clock.now_s()
        if not self._move_on(served):
            served.stream.time_out("a final waited for its decode for too long, and was dropped")
        self._advance(served)

    def _feed(self, served: ServedStream) -> None:
        """See how the stream's model is to be given its audio, and have models forget what they
        were fed of utterances that nobody goes on with."""
        resident = self._pool.residents.get(served.key)
        feeding = served.stream.reading.feeding
        feeding.go_by(served.key, None if resident is None else resident.abilities.feed_s)
        for key, number in feeding.take_given_up():
            fed = self._pool.residents.get(key) if isinstance(key, ModelKey) else None
            if fed is not None:
                fed.forget(utterance_number(served, number))

    def _see_model(self, key: ModelKey) -> Abilities:
        resident = self._pool.residents.get(key)
        abilities = Abilities() if resident is None else resident.abilities
        self._scheduler.set_model(key, abilities if self._pool.takes_work(key) else None)
        return abilities

    def _drop_oldest(self, served: ServedStream) -> None:
        """The queue of its source is full: the oldest audio that waits in it goes."""
        with self._containing(served):
            served.stream.drop_waiting("queue_full")
            self._advance(served)

    def _preempt(self, served: ServedStream) -> None:
        batch = self._scheduler.preempt(served.served_id)
        if batch is not None:
            running = next(call for call in self._running.values() if call.batch is batch)
            self._abort(running)

    def _abort(self, call: _Call) -> None:
        resident = self._pool.residents.get(call.key)
        if resident is not None:
            resident.abort(call.answer)

    def _start(self, batch: Batch, reads: dict[Hashable, Given]) -> None:
        windows = [read.window for read in reads.values()]
        items = [item_of(read.served, read.window) for read in reads.values()]
        key = next(iter(reads.values())).served.key
        longest_s = max(len(window.audio) for window in windows) / SAMPLE_RATE
        try:
            answer = self._pool.resident(key).call(
                lambda call_id: calls.Decode(id=call_id, items=items),
                longest_s,
                len(items),
                not windows[0].is_thorough,
            )
        except Exception as error:  # a slot that is never given back would stop everybody
            streams = [read.served.label for read in reads.values()]
            log.exception("decode_not_sent", model=str(key), streams=streams)
            answer = asyncio.get_running_loop().create_future()
            answer.set_exception(ProviderError(f"the window could not be sent: {error}"))
        call = _Call(batch=batch, key=key, reads=reads, answer=answer, is_alone=len(reads) == 1)
        for other in self._running.values():
            if other.key == key:
                call.is_alone = other.is_alone = False
        self._running.update(dict.fromkeys(reads, call))
        answer.add_done_callback(partial(self._decoded, call))

    def _decoded(self, call: _Call, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        for stream in call.reads:
            del self._running[stream]
        self._pool.tenancy.touch(call.key)
        result = result_of(answer, len(call.reads))
        found = dict(zip(call.reads, each_of(result, len(call.reads)), strict=True))
        jobs = [job.stream for job in call.batch.jobs]
        for job in call.batch.jobs:
            if isinstance(found.get(job.stream), calls.Read):
                coalesced = call.reads[job.stream].window.coalesced
                self._scheduler.accounts.coalesce(job, coalesced)
        lengths = {stream: len(read.window.audio) for stream, read in call.reads.items()}
        outcomes = [outcome_of(call.reads.get(stream), found.get(stream)) for stream in jobs]
        took = self._scheduler.finish(
            call.batch,
            outcomes,
            [lengths.get(stream, 0) / SAMPLE_RATE for stream in jobs],
            result.decode_s if isinstance(result, calls.Decoded) else None,
        )
        self._note(call, outcomes, took)
        with self.together():
            self.pump()  # a slot is free, once all have moved on
            for stream, read in call.reads.items():
                with self._containing(read.served):
                    self._settle(read.served, call, found[stream])
                    self._advance(read.served)

    def _note(self, call: _Call, outcomes: list[Outcome], took: Took) -> None:
        for served, decode in decodes_of(call.batch, took, call.reads, call.key, outcomes):
            served.summary.decoded(decode)
            if self.observer is not None:
                self.observer.decoded(served, decode)

    def _settle(self, served: ServedStream, call: _Call, found: object) -> None:
        """Hand a stream what became of its window."""
        stream = served.stream
        served.goes_alone = False
        match found:
            case calls.Read():
                key = call.key
                read = replace(found.hypothesis, provider=key.provider, model=key.model)
                stream.end_decode(read, self._clock.now_s())
            case calls.NotRead(kind="cancelled"):
                stream.retry_decode(found.message, is_suspect=False)
            case calls.NotRead(kind="forgotten"):
                stream.feed_again()
            case calls.NotRead():
                stream.fail_decode(found.message)
            case WorkerStopped() | DecodeCancelled():
                stream.retry_decode(str(found), is_suspect=False)
            case WorkerDied():
                # Of several windows one may be to blame: each is read by itself then.
                served.goes_alone = True
                stream.retry_decode(str(found), is_suspect=call.is_alone)
            case AsrdError():
                stream.fail_decode(str(found))
            case _:
                raise TypeError(f"a decode was answered with {found!r}")
