"""Streams and engines around the real scheduler: in time, what `server/decoding.py` is in tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import cast

from asrd.providers.catalogue import ModelKey
from asrd.scheduler.batching import Batch
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job
from asrd.scheduler.scheduler import Scheduler
from benchmarks.simulation.agenda import Agenda
from benchmarks.simulation.engines import Engine
from benchmarks.simulation.results import Results
from benchmarks.simulation.streams import SimulatedStream, Window

PROVIDER = "simulated"


@dataclass(eq=False, slots=True)
class _Call:
    """A decode that runs, and when it ends; an abort ends it sooner."""

    batch: Batch
    windows: dict[int, Window]
    ends_s: float
    is_aborted: bool = False


class Decodes:
    """Keeps the queue in step with what streams want, and the engines busy.

    Engines take `jitter` more or less than they should. `finished` hears of each stream that a
    decode has changed.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        agenda: Agenda,
        streams: list[SimulatedStream],
        engines: Mapping[ModelKey, Engine],
        results: Results,
        *,
        piece_s: float,
        jitter: float,
        random: Random,
        finished: Callable[[SimulatedStream], None],
    ) -> None:
        self._scheduler = scheduler
        self._agenda = agenda
        self._streams = streams
        self._engines = engines
        self._results = results
        self._piece_s = piece_s
        self._jitter = jitter
        self._random = random
        self._finished = finished
        self._running: dict[Batch, _Call] = {}

    # ── waiting ───────────────────────────────────────────────────────────────────────────────

    def update(self, stream: SimulatedStream) -> None:
        """A stream may want something else than before."""
        now_s = self._agenda.now_s
        window = stream.next_window(now_s)
        if window is None:
            if stream.is_waiting:
                stream.is_waiting = False
                self._scheduler.withdraw(stream.number)
            due_s = stream.due_s()
            if due_s is not None and stream.current is None:
                self._look_at(stream, due_s)
            return
        stream.is_waiting = True
        since_s = None
        if stream.is_live and not window.is_partial:
            since_s = window.queued_s
        is_crowded = self._scheduler.want(self._job(stream, window), since_s)
        self.pump()
        if is_crowded:
            in_the_way = self._scheduler.in_the_way(stream.number)
            if in_the_way is not None:
                other = self._streams[cast(int, in_the_way)]
                self.drop(other, "queue_full")
                self.update(other)
        if not stream.is_waiting:
            return
        if window.is_partial:  # which grows, and which the queue may have left out
            self._look_at(stream, now_s + self._piece_s)
        else:
            self._preempt(stream)

    def drop(self, stream: SimulatedStream, reason: str) -> None:
        """The oldest final of a stream that no decode has begun goes, and is told."""
        window = stream.drop_oldest()
        if window is not None:
            source = stream.source.name
            self._results.utterances[source].dropped += 1
            if self._agenda.now_s >= self._results.from_s:
                self._results.dropped_s[source, reason] += window.audio_s

    def let_go(self, stream: SimulatedStream) -> None:
        """What is too much of a stream goes; then it may want something else."""
        while (reason := stream.too_much()) is not None:
            self.drop(stream, reason)
        self.update(stream)

    def check(self) -> None:
        """Look after finals that have waited for too long."""
        for job in self._scheduler.timed_out():
            stream = self._streams[cast(int, job.stream)]
            self._scheduler.accounts.time_out(job)
            self.drop(stream, "queue_timeout")
            self.update(stream)
        self.pump()

    def _look_at(self, stream: SimulatedStream, at_s: float) -> None:
        """Look at a stream again then, if not sooner."""
        if stream.look_s > at_s or stream.look_s <= self._agenda.now_s:
            stream.look_s = at_s
            self._agenda.at(at_s, self._look, stream)

    def _look(self, stream: SimulatedStream) -> None:
        if stream.look_s <= self._agenda.now_s:  # else another look was put down since, for later
            stream.look_s = float("inf")
            if stream.current is None:
                self.update(stream)

    def _job(self, stream: SimulatedStream, window: Window) -> Job:
        abilities = self._engines[stream.key].abilities
        is_partial = window.is_partial
        context_s = 0.0
        if abilities.max_batch > 1:
            context_s = abilities.context_s(window.audio_s, is_partial=is_partial)
        name = stream.key.model, is_partial, context_s
        job = stream.jobs.get(name)
        if job is None:
            job = stream.jobs[name] = Job(
                stream=stream.number,
                session=stream.number,
                priority=stream.source.priority,
                is_partial=is_partial,
                model=stream.key,
                batch_key=(context_s, is_partial) if context_s else None,
                provider=PROVIDER,
                source=stream.source.name,
                is_live=stream.is_live,
            )
        return job

    # ── decoding ──────────────────────────────────────────────────────────────────────────────

    def pump(self) -> None:
        """Start every decode that may start now."""
        now_s = self._agenda.now_s
        while (batch := self._scheduler.next_batch()) is not None:
            windows = {}
            for job in batch.jobs:
                stream = self._streams[cast(int, job.stream)]
                stream.is_waiting = False
                window = stream.begin_decode(now_s)
                if window is not None:
                    windows[stream.number] = window
            if windows:
                self._start(batch, windows)
            else:
                count = len(batch.jobs)
                self._scheduler.finish(batch, [Outcome.NOTHING] * count, [0.0] * count)

    def _start(self, batch: Batch, windows: dict[int, Window]) -> None:
        head = batch.jobs[0]
        for job in batch.jobs:
            window = windows.get(cast(int, job.stream))
            if window is not None and window.coalesced:
                self._scheduler.accounts.coalesce(job, window.coalesced)
        engine = self._engines[cast(ModelKey, head.model)]
        lengths_s = [window.audio_s for window in windows.values()]
        took_s = engine.call_s(lengths_s, is_partial=head.is_partial)
        took_s *= 1.0 + self._random.uniform(-self._jitter, self._jitter)
        ends_s = self._agenda.now_s + took_s
        call = self._running[batch] = _Call(batch, windows, ends_s)
        self._agenda.at(ends_s, self._decoded, call)

    def _preempt(self, stream: SimulatedStream) -> None:
        batch = self._scheduler.preempt(stream.number)
        call = self._running.get(batch) if batch is not None else None
        if call is None:
            return
        engine = self._engines[cast(ModelKey, call.batch.jobs[0].model)]
        ends_s = self._agenda.now_s + engine.abort_s
        if ends_s < call.ends_s:  # else it has ended before it hears of it
            call.is_aborted, call.ends_s = True, ends_s
            self._agenda.at(ends_s, self._decoded, call)

    def _decoded(self, call: _Call) -> None:
        if self._running.pop(call.batch, None) is None:
            return  # it was aborted before
        now_s, batch, windows = self._agenda.now_s, call.batch, call.windows
        outcome = Outcome.PUT_BACK if call.is_aborted else Outcome.READ
        numbers = [cast(int, job.stream) for job in batch.jobs]
        self._scheduler.finish(
            batch,
            [outcome if number in windows else Outcome.NOTHING for number in numbers],
            [windows[number].audio_s if number in windows else 0.0 for number in numbers],
            now_s - batch.started_s,
        )
        self._note(call)
        for number in windows:
            stream = self._streams[number]
            stream.end_decode(is_read=not call.is_aborted)
            self._finished(stream)
        self.pump()

    def _note(self, call: _Call) -> None:
        """What the figures are made of."""
        results, batch, now_s = self._results, call.batch, self._agenda.now_s
        is_counted = batch.started_s >= results.from_s
        held_s = now_s - max(batch.started_s, results.from_s)
        results.aborted += call.is_aborted and is_counted
        if is_counted and not call.is_aborted:
            results.batches[batch.jobs[0].is_partial][len(call.windows)] += 1
        for job, waited_s in zip(batch.jobs, batch.waits_s, strict=True):
            window = call.windows.get(cast(int, job.stream))
            if window is None:
                continue
            results.decode_s[job.source] += max(held_s, 0.0) / len(call.windows)
            if call.is_aborted:
                continue
            if not window.is_partial:
                results.utterances[job.source].read += 1
            if is_counted and window.is_partial:
                results.partials_wait[job.source].append(waited_s)
            elif is_counted:
                results.finals_wait[job.source].append(waited_s)
                results.finals[job.source].append(now_s - window.queued_s)
