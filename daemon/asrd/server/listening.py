"""Voice activity for all streams: what has arrived is scored in one round trip per tick.

A tick begins when the worker is free and something waits, never by a timer: while one is under
way, what arrives gathers for the next. So a single stream waits for nobody and a thousand
streams share a round trip.
"""

import asyncio
from collections.abc import Callable

import numpy as np
import structlog

from asrd.clock import Clock
from asrd.errors import AsrdError
from asrd.providers import calls
from asrd.providers.resident import ModelState, Resident
from asrd.server.served import Containing, ServedStream
from asrd.session.listener import Unscored

log = structlog.get_logger()


class VoiceService:
    """Feeds the voice-activity worker and hands its answers back.

    `advance` is called with each stream that has heard something; `containing` keeps an error of
    one stream from the others of the same tick.
    """

    def __init__(
        self, clock: Clock, advance: Callable[[ServedStream], None], containing: Containing
    ) -> None:
        self._clock = clock
        self._advance = advance
        self._containing = containing
        self._waiting: dict[int, ServedStream] = {}
        self._sent: list[tuple[ServedStream, Unscored]] = []
        self._is_tick_due = False
        self.resident = Resident(
            "voice_activity", lambda call_id: calls.LoadVoiceActivity(id=call_id), self._changed
        )

    def wake(self, served: ServedStream) -> None:
        """The stream has audio that was not scored."""
        self._waiting[served.served_id] = served
        self._schedule()

    def forget(self, served: ServedStream) -> None:
        """The stream has ended."""
        self._waiting.pop(served.served_id, None)

    def _changed(self) -> None:
        if self.resident.state is ModelState.READY:
            if self._sent:  # the worker died over these: its successor has to score them
                self._send()
            else:
                self._schedule()

    def _schedule(self) -> None:
        if not self._is_tick_due and not self._sent and self._waiting:
            self._is_tick_due = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self._is_tick_due = False
        if self._sent or self.resident.state is not ModelState.READY:
            return
        waiting, self._waiting = self._waiting, {}
        now_s = self._clock.now_s()
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
        answer = self.resident.call(lambda call_id: calls.Score(id=call_id, streams=streams))
        answer.add_done_callback(self._scored)

    def _scored(self, answer: asyncio.Future[calls.AnyAnswer]) -> None:
        try:
            result = answer.result()
        except AsrdError as error:
            # What was sent stays in `_sent` and is sent again once the worker is back. Should
            # the worker itself refuse, it is ended, so that a fresh one tries.
            log.warning("voice_activity_failed", problem=str(error))
            if self.resident.state is ModelState.READY:
                self.resident.kill()
            return
        if not isinstance(result, calls.Scored):
            raise TypeError(f"a score was answered with {type(result).__name__}")
        sent, self._sent = self._sent, []
        now_s = self._clock.now_s()
        for (served, _), found in zip(sent, result.streams, strict=True):
            with self._containing(served):
                served.voice_state = found.state
                served.stream.scored(np.frombuffer(found.probabilities, np.float32), now_s)
                self._advance(served)
        self._schedule()
