"""Voice activity for all streams: what has arrived is scored in one round trip per tick.

A tick begins when the worker is free and something waits: while one is under way, what arrives
gathers for the next. So a single stream waits for nobody and a thousand streams share a round
trip. Where many streams are heard, ticks keep some milliseconds apart, and a second call may wait
for the worker (`gathering`).

A worker answers its calls in their order. When it dies, the first of those under way is to blame;
the others are sent again as they were.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import structlog

from asrd.audio import SAMPLE_RATE
from asrd.clock import Clock
from asrd.config import Supervision
from asrd.errors import AsrdError, ErrorCode
from asrd.providers import calls
from asrd.providers.lifecycle import ModelState
from asrd.providers.resident import Resident
from asrd.server.gathering import Gathering
from asrd.server.served import Containing, ServedStream
from asrd.session.listener import Unscored
from asrd.session.states import StreamState

log = structlog.get_logger()

CutOff = Callable[[ServedStream, ErrorCode, str], None]

Batch = list[tuple[ServedStream, Unscored]]
"""What one call holds."""

MAX_WINDOWS = 96
"""In one call, about: 192 KiB, which a socket takes in one piece. Were all that a thousand streams
have in one call, core and worker would take turns in waiting for each other."""

FULL_STREAMS = 32
"""So many with a frame of 100 ms each fill a call."""

WORKERS_PER_AUDIO = 2
"""Workers that the same audio may end before it is no accident."""


class VoiceService:
    """Feeds the voice-activity worker and hands its answers back.

    `advance` is called with each stream that has heard something; `containing` keeps an error of
    one stream from the others of the same tick; `cut_off` ends one that cannot be heard;
    what is heard of many is passed on `together`.
    """

    def __init__(
        self,
        clock: Clock,
        rule: Supervision,
        advance: Callable[[ServedStream], None],
        containing: Containing,
        cut_off: CutOff,
        together: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._clock = clock
        self._advance = advance
        self._containing = containing
        self._cut_off = cut_off
        self._together = together
        self._gathering = Gathering()
        self._waiting: dict[int, ServedStream] = {}
        self._under_way: deque[Batch] = deque()
        self._again: deque[Batch] = deque()  # lost with a worker; sent one by one, before all else
        self._deaths = 0  # of workers over the first of these
        self._is_tick_due = False
        self._is_stopped = False
        self.resident = Resident(
            "voice_activity",
            lambda call_id: calls.LoadVoiceActivity(id=call_id),
            self._changed,
            rule=rule,
        )

    def wake(self, served: ServedStream) -> None:
        """The stream has audio that was not scored."""
        self._waiting[served.served_id] = served
        self._schedule()

    def forget(self, served: ServedStream) -> None:
        """The stream has ended."""
        self._waiting.pop(served.served_id, None)

    async def stop(self) -> None:
        """End the worker, for good."""
        self._is_stopped = True
        await self.resident.stop()

    def _changed(self) -> None:
        if self.resident.state is ModelState.UNAVAILABLE:
            self._give_up()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if not self._again:
            self._schedule()
        elif not self._under_way and self.resident.state.is_up:
            self._send(self._again.popleft())

    def _schedule(self) -> None:
        if not self._is_tick_due and self._waiting and self._has_room:
            self._is_tick_due = True
            loop = asyncio.get_running_loop()
            wait_s = self._gathering.wait_s(self._clock.now_s())
            if wait_s and len(self._waiting) < FULL_STREAMS:
                loop.call_later(wait_s, self._tick)
            else:
                loop.call_soon(self._tick)

    @property
    def _has_room(self) -> bool:
        """Whether the worker may be given something new."""
        return not self._again and len(self._under_way) < self._gathering.max_calls

    def _tick(self) -> None:
        self._is_tick_due = False
        if self.resident.state is ModelState.UNAVAILABLE:
            self._give_up()
        if not self._has_room or not self.resident.state.is_up:
            return
        now_s = self._clock.now_s()
        self._gathering.begin(now_s)
        batch: Batch = []
        windows = 0
        with self._together():
            for served in list(self._waiting.values()):
                if windows >= MAX_WINDOWS:
                    break
                self._waiting.pop(served.served_id, None)
                with self._containing(served):
                    unscored = served.stream.take_unscored(now_s)
                    if unscored is not None:
                        self._gathering.count(served.served_id)
                        batch.append((served, unscored))
                        windows += len(unscored.windows)
                    self._advance(served)
        if batch:
            self._send(batch)
        self._schedule()

    def _send(self, batch: Batch) -> None:
        streams = [
            calls.Windows(
                windows=unscored.windows.tobytes(),
                state=b"" if unscored.is_fresh else served.voice_state,
            )
            for served, unscored in batch
        ]
        audio_s = sum(unscored.windows.size for _, unscored in batch) / SAMPLE_RATE
        self._under_way.append(batch)
        answer = self.resident.call(
            lambda call_id: calls.Score(id=call_id, streams=streams), audio_s
        )
        answer.add_done_callback(partial(self._scored, batch))

    def _scored(self, batch: Batch, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        error = answer.exception()
        if not any(each is batch for each in self._under_way):
            return  # it was lost with the one before it, or given up
        if isinstance(error, AsrdError):
            self._lost(error)
            return
        result = answer.result()
        if not isinstance(result, calls.Scored):
            raise TypeError(f"a score was answered with {type(result).__name__}")
        self._under_way.popleft()
        self._deaths = 0
        now_s = self._clock.now_s()
        with self._together():
            for (served, _), found in zip(batch, result.streams, strict=True):
                with self._containing(served):
                    served.voice_state = found.state
                    served.stream.scored(np.frombuffer(found.probabilities, np.float32), now_s)
                    self._advance(served)
        self._go_on()

    def _lost(self, error: AsrdError) -> None:
        """A call has failed, and those behind it will."""
        log.warning("voice_activity_failed", problem=str(error))
        self._again.extendleft(reversed(self._under_way))
        self._under_way.clear()
        self._blame(self._again.popleft())
        # Should the worker itself refuse, it is ended, so that a fresh one tries.
        if self.resident.state.is_up:
            self.resident.kill()

    def _blame(self, batch: Batch) -> None:
        """What was sent has ended a worker, and is sent again to the next.

        What has ended two is sent stream by stream; a stream that ends two by itself is cut off.
        """
        self._deaths += 1
        if self._deaths < WORKERS_PER_AUDIO:
            self._again.appendleft(batch)
            return
        self._deaths = 0
        if len(batch) > 1:
            self._again.extendleft([each] for each in reversed(batch))
            return
        for served, _ in batch:
            problem = "its audio has ended two workers of voice activity"
            self._end(served, ErrorCode.PROVIDER_FAILED, problem)

    def _give_up(self) -> None:
        """The worker does not come back: nobody is to wait for it without being told."""
        if self._is_stopped:
            return
        sent = [served for batch in (*self._under_way, *self._again) for served, _ in batch]
        lost = {served.served_id: served for served in sent} | self._waiting
        self._waiting = {}
        self._under_way.clear()
        self._again.clear()
        for served in lost.values():
            problem = f"voice activity cannot be brought back: {self.resident.problem}"
            self._end(served, ErrorCode.PROVIDER_UNAVAILABLE, problem)

    def _end(self, served: ServedStream, code: ErrorCode, problem: str) -> None:
        if served.stream.state is not StreamState.CLOSED:
            with self._containing(served):
                self._cut_off(served, code, problem)
