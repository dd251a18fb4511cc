"""One connection's conversation: what the client says becomes calls, answers become frames.

The peer knows no socket. Whoever owns the byte channel feeds it what arrives, tells it of the end
of input and of the loss of the channel, and gives it a `PeerChannel` to write to.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog

from asrd.errors import AsrdError, ErrorCode, ProtocolError
from asrd.server.answers import LateAnswers
from asrd.server.greeting import greet
from asrd.server.hearing import Hearing
from asrd.server.hub import Hub
from asrd.server.outbox import Channel, Outbox, Shelf
from asrd.server.report import Reporter
from asrd.server.served import ServedStream
from asrd.server.sessions import SessionStore
from asrd.server.streams_report import tell_streams
from asrd.server.translate import error_message, newest_of
from asrd.server.turns import SLICE_S, Turns
from asrd.session.session import Session, Stale
from asrd.session.states import StreamState
from asrd.wire import messages as wire
from asrd.wire.codec import encode

log = structlog.get_logger()


class PeerChannel(Channel, Protocol):
    """The byte channel of a connection."""

    def pause_reading(self) -> None:
        """Take nothing more from the sender, so that it has to wait."""
        ...

    def resume_reading(self) -> None:
        """Take from the sender again."""
        ...

    def close(self) -> None:
        """Send what is buffered, then end."""
        ...

    def refuse(self) -> None:
        """End like `close`, but take and forget what still comes, so that the last is read."""
        ...

    def check(self) -> None:
        """Look after time: end what is not read to its end."""
        ...


class Peer:
    """One client's connection, from its first byte to its last."""

    def __init__(
        self,
        channel: PeerChannel,
        *,
        uid: int,
        hub: Hub,
        sessions: SessionStore,
        reporter: Reporter,
        turns: Turns,
        shelf: Shelf,
    ) -> None:
        limits = hub.config.limits
        self._channel = channel
        self._uid = uid
        self._hub = hub
        self._sessions = sessions
        self._reporter = reporter
        self._turns = turns
        self._limits = limits
        self._session: Session | None = None
        self.greeted_session: Session | None = None
        """The session of its hello, also when it has left that."""
        self._touched: dict[int, ServedStream] = {}
        self._has_input_ended = False
        self._is_reading_paused = False
        self._is_closing = False
        self._is_in_line = False
        self.was_refused = False
        self._answers = LateAnswers(
            hub, reporter, send=self.send, refuse=self._refuse, answered=self._answered
        )
        self.outbox = Outbox(channel, hub.clock, limits, shelf, on_slow=self._give_up_reader)
        self._hearing = Hearing(hub.clock, limits, lambda: self.outbox.is_crowded)

    # ── what the channel's owner tells ────────────────────────────────────────────────────────

    def received(self, data: memoryview) -> bool:
        """Bytes have arrived. Returns whether all of them are worked off.

        If not, no more are read for now, and `data` has to be left as it is: the rest is worked
        off when this connection has its next turn, and has taken the answers that it asked for.
        """
        self._hearing.take(data)
        self._work_off(self._turns.slice_s)
        return not self._hearing.has_more

    def _go_on(self) -> None:
        """It is this connection's turn: work off more of what arrived, send again more."""
        self._is_in_line = False
        if self.outbox.may_replay:
            self._guarded(self.outbox.replay_on)
        if self._hearing.may_go_on:
            self._work_off(SLICE_S)
        self._stand_in_line()
        if self._has_input_ended:
            self._end_if_finished()

    def _stand_in_line(self) -> None:
        has_more = self._hearing.may_go_on or self.outbox.may_replay
        if has_more and not self._is_in_line:
            self._is_in_line = True
            self._turns.wait(self._go_on)

    def _work_off(self, slice_s: float) -> None:
        for said in self._hearing.slice(slice_s):
            self._guarded(partial(self._handle, said))
        # A read brings many chunks; each stream moves on once for all of them.
        touched, self._touched = self._touched, {}
        with self._hub.decoding.together():
            for served in touched.values():
                with self._hub.containing(served):
                    self._hub.heard(served)
        self._balance_reading(touched.values())
        self.outbox.flush()
        self._stand_in_line()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Stale:
            pass  # its sender will hear what became of that stream
        except ProtocolError as error:
            self._refuse(error)
        except Exception:  # a bug, whichever: it costs this connection alone
            log.exception("connection_failed", **self.names)
            text = "the daemon failed on this connection; its log says why"
            self._refuse(ProtocolError(ErrorCode.INTERNAL, text, fatal=True))

    def input_ended(self) -> bool:
        """The client will say no more: finish what it began. Returns whether a frame was cut."""
        was_cut = self._hearing.is_mid_frame
        if was_cut:
            log.warning("input_ended_in_frame", **self.names)
        self._has_input_ended = True
        for served in self._streams:
            if served.stream.state is StreamState.OPEN:
                served.stream.close()
                self._hub.advance(served)
        self._end_if_finished()
        return was_cut

    def lost(self) -> None:
        """The channel is gone. The session stays, for the client to come back to."""
        self._is_closing = True
        self._hearing.stop()
        self.outbox.close()
        if self._session is not None:
            self._sessions.leave(self._session)
            self._session = None
        self._sessions.forget_surplus()

    def displaced(self) -> None:
        """The client is back on another connection, which has its session now."""
        self._session = None
        self._close()

    def check(self) -> None:
        """Look after time: greetings that do not come, idle peers, stalled readers."""
        self._channel.check()
        if self._is_closing:
            return
        is_asking = self._hearing.has_more and not self._hearing.may_go_on
        self.outbox.check(is_asked_for_more=is_asking)
        if self._has_input_ended or self._is_reading_paused:
            return
        try:
            self._hearing.patience.check(is_greeted=self._session is not None)
        except ProtocolError as error:
            self._refuse(error)
        if self._hearing.patience.is_idle and not self._is_closing:
            log.info("idle_connection_closed", **self.names)
            self._close()

    def finish(self) -> None:
        """Send what is left and end: the daemon is going."""
        self._close()

    # ── messages ──────────────────────────────────────────────────────────────────────────────

    def _handle(self, message: wire.ClientMessage | ProtocolError) -> None:
        match message:
            case ProtocolError():
                raise message
            case wire.Audio():
                self._audio(message)
            case wire.Hello():
                self._hello(message)
            case wire.Ping():
                self.send(wire.Pong(id=message.id))
            case wire.Open():
                self._hub.open(self._open_session, message)
            case wire.Flush() | wire.Close() | wire.Cancel():
                self._control(message)
            case wire.GetStats(streams=is_asked):
                told = tell_streams(self._hub, self._sessions, self._uid) if is_asked else None
                self.send(self._reporter.stats(told))
            case wire.GetHealth() | wire.Load() | wire.Unload():
                self._answers.begin(message)

    def _hello(self, message: wire.Hello) -> None:
        greeting = greet(message, self._uid, self, self._hub, self._sessions)
        self._session = self.greeted_session = greeting.session
        self.send(greeting.welcome)
        self.outbox.send_again(encode(told) for told in greeting.again)

    def _audio(self, message: wire.Audio) -> None:
        served = self._hub.get(self._open_session, message.stream)
        if len(message.data) > self._limits.max_chunk_bytes:
            raise ProtocolError(
                ErrorCode.CHUNK_TOO_LARGE,
                f"a chunk has {len(message.data)} bytes; {self._limits.max_chunk_bytes} are "
                "allowed: send it in smaller ones",
                stream=message.stream,
            )
        self._touched[message.stream] = served
        served.receive(message.data, message.offset, self._hearing.patience.heard_at_s)

    def _control(self, message: wire.Flush | wire.Close | wire.Cancel) -> None:
        served = self._hub.get(self._open_session, message.stream)
        match message:
            case wire.Flush():
                served.stream.flush()
            case wire.Close():
                served.stream.close()
            case wire.Cancel():
                served.stream.cancel()
                self._hub.advance(served)  # its number is free at once
        self._touched[message.stream] = served

    def _answered(self) -> None:
        self.outbox.flush()
        if self._has_input_ended:
            self._end_if_finished()

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def send(self, message: wire.ServerMessage) -> None:
        """Send a message, or let it wait in the outbox."""
        if isinstance(message, wire.Error):
            self._hub.errors[message.code] += 1
        self.outbox.send(encode(message), newest_of(message))

    def moved_on(self) -> None:
        """A stream has told all it had to tell: write it; see if there is room again."""
        self.outbox.flush()
        if self._is_reading_paused:
            self._balance_reading()
        if self._has_input_ended:
            self._end_if_finished()

    def resumed_writing(self) -> None:
        """The channel takes bytes again."""
        self._guarded(self.outbox.resume)
        self._stand_in_line()
        if self._has_input_ended:
            self._end_if_finished()

    def _refuse(self, error: ProtocolError) -> None:
        if not error.fatal:
            self._hub.note_error(self._session, error)
            self.send(error_message(error))
            return
        self.was_refused = True
        log.info("connection_refused", **self.names, code=error.code)
        self._close(error)

    def _give_up_reader(self) -> None:
        log.warning("slow_consumer", **self.names)
        text = "the reader does not keep up; connect again and resume"
        self._close(ProtocolError(ErrorCode.SLOW_CONSUMER, text, fatal=True))

    def _close(self, reason: ProtocolError | None = None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._hearing.stop()
        self.outbox.finish()
        if self._session is not None:  # at once: what is told from now on has to be told again
            self._sessions.leave(self._session)
            self._session = None
        if reason is None:
            self._channel.close()
        else:
            self._hub.errors[reason.code] += 1
            self._channel.write(encode(error_message(reason)))
            self._channel.refuse()

    def _end_if_finished(self) -> None:
        """After the end of input: close when every stream has ended and all is written."""
        if not self._streams and not self._answers.due and self.outbox.is_empty:
            self._close()

    def _balance_reading(self, heard: Iterable[ServedStream] = ()) -> None:
        """Make a sender wait while it is far past its credit, or all it said is not worked off.

        Only streams that were `heard` just now can have come to be past it.
        """
        suspects = self._streams if self._is_reading_paused else heard
        is_overdrawn = any(
            served.stream.is_overdrawn and served.stream.state is not StreamState.CLOSED
            for served in suspects
        )
        must_wait = is_overdrawn or self._hearing.has_more
        if must_wait and not self._is_reading_paused and not self._is_closing:
            self._is_reading_paused = True
            self._channel.pause_reading()
        elif self._is_reading_paused and not must_wait:
            self._is_reading_paused = False
            self._hearing.patience.read_again()
            if not self._is_closing:
                self._channel.resume_reading()

    # ── small things ──────────────────────────────────────────────────────────────────────────

    @property
    def _open_session(self) -> Session:
        if self._session is None:
            raise AsrdError("the connection let a message through before hello")
        return self._session

    @property
    def names(self) -> dict[str, str | int | None]:
        """What its lines in the log are found by."""
        session = self.greeted_session
        return {"session": session.session_id if session else None, "uid": self._uid}

    @property
    def _streams(self) -> list[ServedStream]:
        return self._hub.streams_of(self._session) if self._session is not None else []
