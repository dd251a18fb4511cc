"""One stream from the client's side, across all the connections that it lives through.

    the user ─► Outgoing ─► Speaker ─► the connection of the moment
    the user ◄─ Inbox ◄──── History ◄─────────┘

What a break means for a stream is decided here and nowhere else: `connected` says all again that
has no answer, on a daemon that knows the stream or on one that has to be told of it.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping

import msgspec

from asrd.client.errors import ClientError, ConnectionLost, Refused, SegmentsMissing, StreamEnded
from asrd.client.history import History
from asrd.client.inbox import Inbox, StreamEvent
from asrd.client.outgoing import Outgoing
from asrd.client.pulse import Pulse
from asrd.client.recovery import Recovery, asked_wait_s
from asrd.client.speaker import Outlet, Speaker
from asrd.errors import ErrorCode
from asrd.wire.messages import Cancel, Closed, Credit, Error, Flushed, Open, Opened

StreamMessage = StreamEvent | Opened | Credit

OPEN_REFUSALS = frozenset(
    {
        ErrorCode.BUSY,
        ErrorCode.DRAINING,
        ErrorCode.INVALID_MESSAGE,
        ErrorCode.PROVIDER_UNAVAILABLE,
        ErrorCode.STREAM_EXISTS,
        ErrorCode.TOO_MANY_STREAMS,
        ErrorCode.UNKNOWN_PROVIDER,
    }
)
"""What a stream may be refused with when it is opened; any other error is of one that is open."""


class Course:
    """What has been asked of a stream, what has come of it, and where it stands just now."""

    opened: Opened

    def __init__(
        self,
        request: Open,
        outlet: Outlet,
        recovery: Recovery,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.request = request
        self.outgoing = Outgoing(request)
        self.history = History(request)
        self.inbox = Inbox()
        self.changed = Pulse()
        self.speaker = Speaker(self.outgoing, outlet, self.changed, recovers=recovery.is_on)
        self.closed: Closed | None = None
        self._outlet = outlet
        self._recovery = recovery
        self._chance = chance
        self._failure: ClientError | None = None
        self._refusal: ClientError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._postponed = 0
        self._has_opened = False
        self._is_confirmed = False
        self._is_left_behind = False
        """Whether a daemon may have it, from a connection of before, that knows of no end."""

    @property
    def is_ended(self) -> bool:
        """Whether it is over for its user."""
        return self.closed is not None or self._refusal is not None

    @property
    def is_gone(self) -> bool:
        """Whether it is over, and no daemon has it still and has to be told so."""
        return self.is_ended and not self._is_left_behind

    @property
    def was_asked_for(self) -> bool:
        """Whether any daemon was told of it."""
        return self.outgoing.was_opened

    @property
    def last_id(self) -> int | None:
        """The id of the last segment received; None before the first."""
        return self.history.next_id - 1 if self.history.has_segments else None

    async def until_opened(self) -> None:
        """Wait for `opened`. Raises Refused, ConnectionLost."""
        while not self._has_opened:
            self.raise_if_over()
            await self.changed.wait()

    def connected(self, known: Mapping[int, int], max_chunk_bytes: int) -> None:
        """There is a connection; `known` are the commits of the streams that its daemon has."""
        if self.is_ended:
            self._is_left_behind = self.request.stream in known
            if self._is_left_behind:  # it was cancelled while this daemon was away
                self._cancel_there()
            return
        self._is_left_behind = False
        self.outgoing.max_chunk_bytes = max_chunk_bytes
        is_again = self.outgoing.was_opened
        if self.request.stream in known:
            # The daemon's commit says where to go on, and not what may be forgotten: the segments
            # before it may still be on their way here, and this connection may break as well.
            self.outgoing.go_on_here(max(self.history.committed, known[self.request.stream]))
            self._is_confirmed = True
        elif self.outgoing.is_cancelling:
            self._end_cancelled()
        else:
            self._open_here()
        if is_again:
            self.speaker.say_soon()
        else:
            self.speaker.say_nowait()

    def disconnected(self) -> None:
        """The connection is gone."""
        self._is_left_behind |= self.outgoing.is_here
        self._leave()

    def fail(self, error: ClientError) -> None:
        """Nobody is looking for a connection any more: whoever waits on this stream is told."""
        if not self.is_ended:
            self._failure = error
            self.inbox.end(error)
            self.changed.beat()

    def revive(self) -> None:
        """A connection is looked for again after all."""
        if self._failure is not None and not self.is_ended:
            self._failure = None
            self.inbox.reopen()

    def cancel(self) -> None:
        """Have it end now: here alone, where no daemon can be told."""
        self.outgoing.is_cancelling = True
        if not self.is_ended and not self.outgoing.is_here and self._failure is None:
            self._end_cancelled()

    def give_up(self) -> None:
        """No daemon need go on with it."""
        self.outgoing.is_cancelling = True
        self.speaker.stop()  # its audio need not go any more, so nothing waits behind it
        with contextlib.suppress(ConnectionLost):
            self.speaker.say_nowait()

    def abandon(self) -> None:
        """Nobody will read it any more."""
        self.inbox.discard()

    async def deliver(self, message: StreamMessage) -> None:
        """Take what the daemon said of this stream, waiting while the reader is far behind."""
        if self.is_ended:
            self._learn_of_end(message)
            return
        match message:
            case Credit(offset=offset):
                if self.outgoing.credit is not None:
                    self.outgoing.credit = max(self.outgoing.credit, offset)
            case Opened():
                self._open(message)
            case Flushed():
                await self._flushed(message)
            case Error():
                await self._complain(message)
            case Closed():
                await self._close(message)
            case _:
                await self._tell(message)
        self.changed.beat()
        self.speaker.say_soon()

    async def stop(self) -> None:
        """Leave nothing running."""
        self._leave()
        await self.speaker.ended()

    def raise_if_over(self) -> None:
        """Raise what ended the stream, or the client."""
        if self.closed is not None:
            raise _end_of(self.closed)
        if (error := self._refusal or self._failure) is not None:
            raise error

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _open_here(self) -> None:
        self.outgoing.open_here(self.history.reopen())

    def _open(self, opened: Opened) -> None:
        outgoing = self.outgoing
        self.opened = opened
        self._has_opened = self._is_confirmed = True
        self._postponed = 0
        if opened.delivery == "live":
            outgoing.credit = None
            outgoing.limit_samples = round(self._recovery.held_live_s * self.request.sample_rate)
        else:
            credit = opened.credit if isinstance(opened.credit, int) else 0
            outgoing.credit = max(outgoing.credit or 0, credit)
        if not self._recovery.is_on:
            outgoing.limit_samples = 0  # nothing will be sent again

    async def _flushed(self, flushed: Flushed) -> None:
        self.history.flushed(flushed.offset)
        due = self.outgoing.flushed(flushed.offset)
        if due is not None:
            await self.inbox.put(flushed)
            due.answer = flushed

    async def _tell(self, message: StreamEvent) -> None:
        try:
            events = self.history.accept(message)
        except SegmentsMissing as error:
            self._is_left_behind = True
            self.give_up()
            self._refuse(error)
            return
        self.outgoing.committed(self.history.committed)
        for event in events:
            if isinstance(event, Closed):
                self.inbox.put_nowait(event)
                self._end(event)
            else:
                await self.inbox.put(event)

    async def _complain(self, error: Error) -> None:
        is_opening = not self._has_opened or not self._is_confirmed
        if is_opening and (not self._has_opened or error.code in OPEN_REFUSALS):
            self._leave()
            if self._may_be_had_later(error):
                self._open_later(error)
            else:
                self._refuse(Refused.of(error))
        elif error.code == ErrorCode.UNKNOWN_STREAM and self._recovery.is_on:
            pass  # what was said came behind the stream's end there, which is told as well
        else:
            await self.inbox.put(error)

    async def _close(self, closed: Closed) -> None:
        """This daemon has the stream no more: its end, unless some daemon has to go on with it.

        A daemon that shuts down ends it, and so does one that is told, by a relay between, that
        our input has ended. Neither is what was asked for here.
        """
        outgoing = self.outgoing
        is_passing = closed.reason in ("client", "shutdown")
        is_lacking = self.history.lacks(closed)
        is_finished = outgoing.is_closing and outgoing.is_finished_at(closed.offset)
        if not self._recovery.is_on:
            await self._tell(closed)
        elif outgoing.is_cancelling:
            reason = "cancelled" if is_passing else closed.reason
            await self._tell(msgspec.structs.replace(closed, reason=reason))
        elif is_passing and is_finished and not is_lacking:
            await self._tell(msgspec.structs.replace(closed, reason="client"))
        elif is_passing or is_lacking:
            self._go_on_elsewhere(closed, is_lacking=is_lacking)
        else:
            await self._tell(closed)

    def _go_on_elsewhere(self, closed: Closed, *, is_lacking: bool) -> None:
        """Leave this daemon, and open the stream again where the segments that came reach to."""
        if not is_lacking:
            self.history.flushed(closed.offset)
            self.outgoing.committed(closed.offset)
        self._leave()
        if closed.reason != "shutdown":  # the connection may last
            self._open_in(self._recovery.wait_s(0, self._chance()))

    def _cancel_there(self) -> None:
        with contextlib.suppress(ConnectionLost):  # then the next connection is for it
            self._outlet.send_nowait(Cancel(stream=self.request.stream))

    def _learn_of_end(self, message: StreamMessage) -> None:
        """What is told of a stream that is over here: whether it is over there, too."""
        match message:
            case Closed() | Error(code=ErrorCode.UNKNOWN_STREAM):
                self._is_left_behind = False
            case _:
                pass

    def _may_be_had_later(self, error: Error) -> bool:
        is_passing = error.code == ErrorCode.DRAINING or (
            self._has_opened
            and (error.code == ErrorCode.BUSY or isinstance(error.retry_after_ms, int))
        )
        return is_passing and self._postponed < self._recovery.max_attempts

    def _open_later(self, error: Error) -> None:
        wait_s = self._recovery.wait_s(self._postponed, self._chance())
        self._postponed += 1
        self._open_in(max(wait_s, asked_wait_s(Refused.of(error))))

    def _open_in(self, wait_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._open_again)

    def _open_again(self) -> None:
        self._open_here()
        self.speaker.say_soon()

    def _leave(self) -> None:
        """The daemon of this connection has the stream no more, if there is a connection."""
        self._is_confirmed = False
        self.outgoing.leave()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.speaker.stop()

    def _end_cancelled(self) -> None:
        closed = self.history.cancelled()
        self.inbox.put_nowait(closed)
        self._end(closed)

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        self._over(_end_of(closed))

    def _refuse(self, error: ClientError) -> None:
        self._refusal = error
        self._over(error)

    def _over(self, error: ClientError) -> None:
        self._leave()
        self.outgoing.committed(self.outgoing.held.end)  # nothing that is held will be needed
        self.inbox.end(error)
        self.changed.beat()


def _end_of(closed: Closed) -> StreamEnded:
    return StreamEnded(f"the stream has ended ({closed.reason})", closed.reason)
