"""Turns of the inference lock become calls to workers, and their answers text.

This is the only place where the scheduler, the pool and the streams meet.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from asrd.audio import SAMPLE_RATE
from asrd.clock import Clock
from asrd.errors import AsrdError, DecodeCancelled
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.providers.supervisor import WorkerDied, WorkerStopped
from asrd.scheduler.queue import Ticket
from asrd.scheduler.scheduler import Scheduler, Turn
from asrd.server.served import Containing, ServedStream
from asrd.session.stream import Want, Window


class Decoding:
    """Keeps the queue in step with what streams want and the workers busy.

    `advance` is called with each stream that a decode has changed; `containing` keeps an error of
    one stream from the others.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        pool: ModelPool,
        clock: Clock,
        advance: Callable[[ServedStream], None],
        containing: Containing,
    ) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._clock = clock
        self._advance = advance
        self._containing = containing
        self._served: dict[int, ServedStream] = {}
        self._running: dict[int, tuple[ModelKey, asyncio.Future[calls.AnyAnswer]]] = {}

    def update(self, served: ServedStream) -> None:
        """The stream may want something else than before."""
        want = served.stream.want
        if want is None:
            self.forget(served)
            return
        self._served[served.served_id] = served
        self._pool.need(served.key)
        # A stream that moves to a model is told of that model's change before the queue is.
        self._scheduler.set_ready(served.key, is_ready=self._pool.takes_work(served.key))
        self._scheduler.want(
            Ticket(
                stream=served.served_id,
                priority=served.priority,
                is_partial=want is Want.PARTIAL,
                model=served.key,
                provider=served.key.provider,
                source=served.asked.source,
            )
        )
        self.pump()

    def forget(self, served: ServedStream) -> None:
        """The stream wants nothing."""
        if self._served.pop(served.served_id, None) is not None:
            self._scheduler.withdraw(served.served_id)

    def give_up(self, served: ServedStream) -> None:
        """The stream has ended: what is being read of it need not be read to its end."""
        self.forget(served)
        running = self._running.get(served.served_id)
        if running is not None:
            key, call = running
            resident = self._pool.residents.get(key)
            if resident is not None:
                resident.abort(call)

    def model_changed(self, key: ModelKey) -> None:
        """A model has become able or unable to take work."""
        if any(served.key == key for served in self._served.values()):
            self._pool.need(key)
        self._scheduler.set_ready(key, is_ready=self._pool.takes_work(key))
        self.pump()

    def pump(self) -> None:
        """Start every decode that may start now."""
        while (turn := self._scheduler.next_turn()) is not None:
            served = self._served.pop(int(str(turn.ticket.stream)))
            window = None
            with self._containing(served):
                window = served.stream.begin_decode()
            if window is None:  # it wants nothing any more, or failed
                self._scheduler.abandon(turn)
            else:
                self._start(turn, served, window)

    def _start(self, turn: Turn, served: ServedStream, window: Window) -> None:
        asked, key = served.asked, served.key

        def make_decode(call_id: int) -> calls.AnyCall:
            return calls.Decode(
                id=call_id,
                audio=window.audio.tobytes(),
                language=asked.language,
                task=asked.task,
                words=asked.words,
                prompt=asked.prompt,
                is_partial=window.want is Want.PARTIAL,
            )

        answer = self._pool.resident(key).call(make_decode, len(window.audio) / SAMPLE_RATE)
        self._running[served.served_id] = key, answer
        answer.add_done_callback(partial(self._decoded, turn, served, window))

    def _decoded(
        self,
        turn: Turn,
        served: ServedStream,
        window: Window,
        answer: asyncio.Future[calls.AnyAnswer],
    ) -> None:
        key, _ = self._running.pop(served.served_id)
        self._pool.tenancy.touch(key)
        outcome = answer.exception() or answer.result()
        if isinstance(outcome, DecodeCancelled):
            self._scheduler.abandon(turn)
        else:
            self._scheduler.finish(
                turn,
                audio_s=len(window.audio) / SAMPLE_RATE,
                has_failed=isinstance(outcome, BaseException),
            )
        with self._containing(served):
            match outcome:
                case WorkerStopped():
                    served.stream.retry_decode(str(outcome), is_suspect=False)
                case WorkerDied():
                    served.stream.retry_decode(str(outcome))
                case AsrdError():
                    served.stream.fail_decode(str(outcome))
                case calls.Decoded():
                    read = replace(outcome.hypothesis, provider=key.provider, model=key.model)
                    served.stream.end_decode(read, self._clock.now_s())
                case _:
                    raise TypeError(f"a decode was answered with {outcome!r}")
            self._advance(served)
        self.pump()
