"""One connection's conversation: what the client says becomes calls, answers become frames.

The peer knows no socket. Whoever owns the byte channel feeds it what arrives, tells it of the end
of input and of the loss of the channel, and gives it a `PeerChannel` to write to.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from asrd.errors import AsrdError, ErrorCode, ProtocolError
from asrd.server.hub import Hub
from asrd.server.outbox import Channel, Outbox
from asrd.server.report import Reporter
from asrd.server.served import ServedStream
from asrd.server.sessions import SessionStore
from asrd.server.translate import error_message, welcome_message
from asrd.session.session import Session
from asrd.session.states import StreamState
from asrd.wire import messages as wire
from asrd.wire.codec import encode
from asrd.wire.connection import ServerConnection

log = structlog.get_logger()

MAX_ANSWERS_DUE = 16
"""Health checks and loads that one connection may have under way."""


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
    ) -> None:
        limits = hub.config.limits
        self._channel = channel
        self._uid = uid
        self._hub = hub
        self._sessions = sessions
        self._reporter = reporter
        self._limits = limits
        self._connection = ServerConnection(limits.max_frame_bytes)
        self._session: Session | None = None
        self._touched: dict[int, ServedStream] = {}
        self._has_input_ended = False
        self._is_reading_paused = False
        self._is_closing = False
        self._answers_due = 0
        self.was_refused = False
        self._opened_at_s = self._heard_at_s = hub.clock.now_s()
        self.outbox = Outbox(
            channel,
            hub.clock,
            max_bytes=limits.outbox_bytes,
            max_messages=limits.outbox_messages,
            send_timeout_s=limits.send_timeout_s,
            on_slow=self._give_up_reader,
        )

    # ── what the channel's owner tells ────────────────────────────────────────────────────────

    def received(self, data: memoryview) -> None:
        """Bytes have arrived."""
        self._heard_at_s = self._hub.clock.now_s()
        for said in self._connection.receive(data):
            try:
                if isinstance(said, ProtocolError):
                    raise said
                self._handle(said)
            except ProtocolError as error:
                self._refuse(error)
            except Exception:  # a bug, whichever: it costs this connection alone
                log.exception("connection_failed", session=self._session_id)
                text = "the daemon failed on this connection; its log says why"
                self._refuse(ProtocolError(ErrorCode.INTERNAL, text, fatal=True))
        # A read brings many chunks; each stream moves on once for all of them.
        touched, self._touched = self._touched, {}
        with self._hub.decoding.together():
            for served in touched.values():
                with self._hub.containing(served):
                    self._hub.advance(served)
        self._balance_reading()
        self.outbox.flush()

    def input_ended(self) -> bool:
        """The client will say no more: finish what it began. Returns whether a frame was cut."""
        was_cut = self._connection.is_mid_frame
        if was_cut:
            log.warning("input_ended_in_frame", session=self._session_id)
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
        self._connection.stop()
        self.outbox.close()
        if self._session is not None:
            self._sessions.leave(self._session)
            self._session = None

    def displaced(self) -> None:
        """The client is back on another connection, which has its session now."""
        self._session = None
        self._close()

    def check(self) -> None:
        """Look after time: greetings that do not come, idle peers, stalled readers."""
        if self._is_closing:
            return
        now_s = self._hub.clock.now_s()
        self.outbox.check()
        limits = self._limits
        if self._session is None:
            if now_s - self._opened_at_s >= limits.hello_timeout_s and not self._has_input_ended:
                text = f"no hello came within {limits.hello_timeout_s:g} s"
                self._refuse(ProtocolError(ErrorCode.HELLO_EXPECTED, text, fatal=True))
        elif (
            now_s - self._heard_at_s >= limits.idle_timeout_s
            and not self._has_input_ended
            and not self._is_reading_paused
        ):
            log.info("idle_connection_closed", session=self._session_id)
            self._close()

    def finish(self) -> None:
        """Send what is left and end: the daemon is going."""
        self._close()

    # ── messages ──────────────────────────────────────────────────────────────────────────────

    def _handle(self, message: wire.ClientMessage) -> None:
        match message:
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
            case wire.GetHealth():
                self._answer_later(self._send_health(deep=message.deep))
            case wire.GetStats():
                self.send(self._reporter.stats())
            case wire.Load() | wire.Unload():
                self._answer_later(self._load_or_unload(message))

    def _hello(self, message: wire.Hello) -> None:
        if self._hub.is_draining:
            raise ProtocolError(
                ErrorCode.DRAINING, "the daemon is ending", fatal=True, retry_after_ms=1000
            )
        session = self._sessions.find(message.resume, self._uid) if message.resume else None
        again: list[wire.ServerMessage] = []
        is_resumed = session is not None
        if session is None:
            if self._sessions.connected >= self._limits.max_sessions:
                text = f"{self._limits.max_sessions} sessions are open, which is the limit"
                raise ProtocolError(ErrorCode.BUSY, text, fatal=True, retry_after_ms=1000)
            session = self._sessions.create(self._uid, self)
        else:
            again = self._sessions.resume(session, message.have, self)
        self._session = session
        providers = list(self._hub.registry.registered)
        self.send(welcome_message(session, self._limits, providers, is_resumed=is_resumed))
        for told in again:
            self.send(told)
        log.info(
            "client_connected",
            session=session.session_id,
            client=message.client,
            uid=self._uid,
            resumed=is_resumed,
        )

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
        served.receive(message.data, message.offset, self._heard_at_s)

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

    def _answer_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Let an answer take its time without holding up the messages behind it."""
        if self._answers_due >= MAX_ANSWERS_DUE:
            work.close()
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{MAX_ANSWERS_DUE} requests of this connection are being worked on",
                retry_after_ms=1000,
            )
        self._answers_due += 1
        self._hub.tasks.start(work).add_done_callback(self._answered)

    def _answered(self, _: object) -> None:
        self._answers_due -= 1
        self.outbox.flush()
        if self._has_input_ended:
            self._end_if_finished()

    async def _send_health(self, *, deep: bool) -> None:
        self.send(await self._reporter.health(deep=deep))

    async def _load_or_unload(self, message: wire.Load | wire.Unload) -> None:
        try:
            key = self._hub.resolve(message.provider, message.model)
            if isinstance(message, wire.Load):
                await self._hub.ensure(key)
            else:
                await self._hub.pool.unload(key)
        except ProtocolError as error:
            self._refuse(error)
        else:
            self.send(await self._reporter.health())

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def send(self, message: wire.ServerMessage) -> None:
        """Send a message, or let it wait in the outbox."""
        replaces = None
        if isinstance(message, wire.Partial):
            replaces = (message.stream, message.id)
        elif isinstance(message, wire.Error):
            self._hub.errors[message.code] += 1
        self.outbox.send(encode(message), replaces)

    def moved_on(self) -> None:
        """A stream has told all it had to tell: write it; see if there is room again."""
        self.outbox.flush()
        self._balance_reading()
        if self._has_input_ended:
            self._end_if_finished()

    def resumed_writing(self) -> None:
        """The channel takes bytes again."""
        self.outbox.resume()
        if self._has_input_ended:
            self._end_if_finished()

    def _refuse(self, error: ProtocolError) -> None:
        self.send(error_message(error))
        if error.fatal:
            self.was_refused = True
            log.info("connection_refused", session=self._session_id, code=error.code)
            self._close()

    def _give_up_reader(self) -> None:
        log.warning("slow_consumer", session=self._session_id)
        text = "the reader does not keep up; connect again and resume"
        error = ProtocolError(ErrorCode.SLOW_CONSUMER, text, fatal=True)
        self._channel.write(encode(error_message(error)))
        self._close()

    def _close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._connection.stop()
            self.outbox.flush()
            self._channel.close()

    def _end_if_finished(self) -> None:
        """After the end of input: close when every stream has ended and all is written."""
        if not self._streams and not self._answers_due and self.outbox.is_empty:
            self._close()

    def _balance_reading(self) -> None:
        """Make a lossless sender wait that is far past its credit, and only for so long."""
        must_wait = any(served.stream.is_overdrawn for served in self._streams)
        if must_wait and not self._is_reading_paused and not self._is_closing:
            self._is_reading_paused = True
            self._channel.pause_reading()
        elif self._is_reading_paused and not must_wait:
            self._is_reading_paused = False
            self._heard_at_s = self._hub.clock.now_s()
            if not self._is_closing:
                self._channel.resume_reading()

    # ── small things ──────────────────────────────────────────────────────────────────────────

    @property
    def _open_session(self) -> Session:
        if self._session is None:
            raise AsrdError("the connection let a message through before hello")
        return self._session

    @property
    def _session_id(self) -> str | None:
        return self._session.session_id if self._session is not None else None

    @property
    def _streams(self) -> list[ServedStream]:
        return self._hub.streams_of(self._session) if self._session is not None else []
