"""Voice activity for all streams: what has arrived is scored in one round trip per tick.

A tick begins when the worker is free and something waits, never by a timer: while one is under
way, what arrives gathers for the next. So a single stream waits for nobody and a thousand
streams share a round trip.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import structlog

from asrd.audio import SAMPLE_RATE
from asrd.clock import Clock
from asrd.config import Supervision
from asrd.errors import AsrdError, ErrorCode
from asrd.providers import calls
from asrd.providers.lifecycle import ModelState
from asrd.providers.resident import Resident
from asrd.server.served import Containing, ServedStream
from asrd.session.listener import Unscored
from asrd.session.states import StreamState

log = structlog.get_logger()

CutOff = Callable[[ServedStream, ErrorCode, str], None]

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
        self._waiting: dict[int, ServedStream] = {}
        self._sent: list[tuple[ServedStream, Unscored]] = []
        self._suspects: deque[tuple[ServedStream, Unscored]] = deque()
        self._deaths = 0  # of workers over what was sent last
        self._is_under_way = False
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
        if self.resident.state.is_up and not self._is_under_way:
            if self._sent:  # the worker died over these: its successor has to score them
                self._send()
            else:
                self._go_on()

    def _schedule(self) -> None:
        if not self._is_tick_due and not self._sent and self._waiting:
            self._is_tick_due = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self._is_tick_due = False
        if self.resident.state is ModelState.UNAVAILABLE:
            self._give_up()
        if self._sent or not self.resident.state.is_up:
            return
        waiting, self._waiting = self._waiting, {}
        now_s = self._clock.now_s()
        with self._together():
            for served in waiting.values():
                with self._containing(served):
                    unscored = served.stream.take_unscored(now_s)
                    if unscored is not None:
                        self._sent.append((served, unscored))
                    self._advance(served)
        if self._sent:
            self._send()

    def _send(self) -> None:
        streams = [
            calls.Windows(
                windows=unscored.windows.tobytes(),
                state=b"" if unscored.is_fresh else served.voice_state,
            )
            for served, unscored in self._sent
        ]
        audio_s = sum(unscored.windows.size for _, unscored in self._sent) / SAMPLE_RATE
        self._is_under_way = True
        answer = self.resident.call(
            lambda call_id: calls.Score(id=call_id, streams=streams), audio_s
        )
        answer.add_done_callback(self._scored)

    def _scored(self, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        self._is_under_way = False
        try:
            result = answer.result()
        except AsrdError as error:
            log.warning("voice_activity_failed", problem=str(error))
            self._blame()
            # Should the worker itself refuse, it is ended, so that a fresh one tries.
            if self.resident.state.is_up:
                self.resident.kill()
            return
        if not isinstance(result, calls.Scored):
            raise TypeError(f"a score was answered with {type(result).__name__}")
        sent, self._sent = self._sent, []
        now_s = self._clock.now_s()
        with self._together():
            for (served, _), found in zip(sent, result.streams, strict=True):
                with self._containing(served):
                    served.voice_state = found.state
                    served.stream.scored(np.frombuffer(found.probabilities, np.float32), now_s)
                    self._advance(served)
        self._go_on()

    def _blame(self) -> None:
        """What was sent has ended a worker, and is sent again to the next.

        What has ended two is sent stream by stream; a stream that ends two by itself is cut off.
        """
        self._deaths += 1
        if self._deaths < WORKERS_PER_AUDIO:
            return
        self._deaths = 0
        if len(self._sent) > 1:
            self._suspects += self._sent[1:]
            self._sent = self._sent[:1]
            return
        sent, self._sent = self._sent, []
        for served, _ in sent:
            problem = "its audio has ended two workers of voice activity"
            self._end(served, ErrorCode.PROVIDER_FAILED, problem)

    def _give_up(self) -> None:
        """The worker does not come back: nobody is to wait for it without being told."""
        if self._is_stopped:
            return
        sent = [served for served, _ in (*self._sent, *self._suspects)]
        lost = {served.served_id: served for served in sent} | self._waiting
        self._waiting, self._sent = {}, []
        self._suspects.clear()
        for served in lost.values():
            problem = f"voice activity cannot be brought back: {self.resident.problem}"
            self._end(served, ErrorCode.PROVIDER_UNAVAILABLE, problem)

    def _end(self, served: ServedStream, code: ErrorCode, problem: str) -> None:
        if served.stream.state is not StreamState.CLOSED:
            with self._containing(served):
                self._cut_off(served, code, problem)

    def _go_on(self) -> None:
        self._deaths = 0
        if self._suspects:
            self._sent = [self._suspects.popleft()]
            self._send()
        else:
            self._schedule()
