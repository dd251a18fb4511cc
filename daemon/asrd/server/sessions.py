"""Sessions by their resume token: made, left, resumed, and in the end forgotten."""

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import structlog

from asrd.clock import Clock
from asrd.config import Limits
from asrd.server.admission import ROOT
from asrd.server.hub import Hub
from asrd.server.served import Owner
from asrd.server.translate import message_of
from asrd.session.keeping import Keeping
from asrd.session.session import Session
from asrd.wire.messages import Hello, ServerMessage

log = structlog.get_logger()

TOKEN_BYTES = 16
"""128 random bits: nobody guesses another's session."""


LOOK_S = 1.0
"""At least as long as the time between two looks at the readers."""


def delivered_after_s(limits: Limits) -> float:
    """After so long, what was told has been taken, or its reader was given up."""
    return limits.send_timeout_s + limits.outbox_soft_s + LOOK_S


@dataclass(slots=True)
class _Entry:
    session: Session
    uid: int
    owner: Owner | None
    left_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SeenSession:
    """A session as it is told to people."""

    session: Session
    is_connected: bool


class SessionStore:
    """Every session that lives or may be resumed. Sessions belong to the uid that made them."""

    def __init__(self, hub: Hub, limits: Limits, clock: Clock) -> None:
        self._hub = hub
        self._limits = limits
        self._clock = clock
        self._keeping = Keeping(limits.kept_bytes)
        self._by_token: dict[str, _Entry] = {}
        self._made = 0

    def __len__(self) -> int:
        return len(self._by_token)

    def apply(self, limits: Limits) -> None:
        """Go by other limits; sessions that were made keep what they were promised."""
        self._limits = limits
        self._keeping.max_bytes = limits.kept_bytes

    @property
    def connected(self) -> int:
        """Sessions that a client is connected to."""
        return sum(entry.owner is not None for entry in self._by_token.values())

    def seen_by(self, uid: int) -> Iterator[SeenSession]:
        """The sessions that a peer of that uid may look at: its own, and all if it is the daemon's
        own user or root."""
        sees_all = uid in (os.geteuid(), ROOT)
        for entry in self._by_token.values():
            if sees_all or entry.uid == uid:
                yield SeenSession(entry.session, is_connected=entry.owner is not None)

    def create(self, uid: int, owner: Owner, client: str = "") -> Session:
        """A new session for a client of that uid, which calls itself `client`."""
        self._made += 1
        session = Session(
            session_id=f"s{self._made}",
            client=client,
            token=secrets.token_hex(TOKEN_BYTES),
            max_streams=self._limits.max_streams,
            kept_segments=self._limits.kept_segments,
            keeping=self._keeping,
            delivered_after_s=delivered_after_s(self._limits),
            now_s=self._clock.now_s,
        )
        self._by_token[session.token] = _Entry(session, uid, owner)
        self._hub.attach(session, owner)
        return session

    def find(self, token: str, uid: int, have: Mapping[int, int]) -> Session | None:
        """The session of that token, if it is this uid's and can go on.

        One that no longer keeps what its client lacks is ended: the client opens its streams again
        from its last commit, so what it lacks is recognised once more.
        """
        entry = self._by_token.get(token)
        if entry is None or entry.uid != uid:
            return None
        if entry.session.can_resume(have):
            return entry.session
        log.warning("session_not_resumable", session=entry.session.session_id)
        if entry.owner is not None:
            entry.owner.displaced()
        self._forget(entry)
        return None

    def resume(self, session: Session, hello: Hello, owner: Owner) -> Iterator[ServerMessage]:
        """Give a session to the connection its client came back on, and said `hello` to.

        Returns what the client has to hear once more, made one by one as it is taken.
        """
        entry = self._by_token[session.token]
        if entry.owner is not None:
            entry.owner.displaced()
            session.detach()  # not `leave`: nobody is left behind, so nobody has to go for it
            self._hub.detach(session)
        entry.owner, session.client = owner, hello.client
        self._hub.attach(session, owner)
        return (
            message_of(served, effect)
            for served, effect in self._hub.again(session, session.resume(hello.have))
        )

    def leave(self, session: Session) -> None:
        """Nobody reads of the session any more; its client may be back in the resume window."""
        session.detach()
        self._hub.detach(session)
        entry = self._by_token.get(session.token)
        if entry is None:
            return  # it was ended meanwhile
        entry.owner = None
        entry.left_at_s = self._clock.now_s()

    def forget_surplus(self) -> None:
        """Forget those that were left first, where more were left than may be.

        Not in `leave`, which may come in the midst of what a stream tells its client.
        """
        left = [entry for entry in self._by_token.values() if entry.owner is None]
        left.sort(key=lambda entry: entry.left_at_s)
        for entry in left[: max(0, len(left) - self._limits.max_detached_sessions)]:
            self._forget(entry)

    def expire(self) -> None:
        """Forget sessions that nobody came back for. Call it now and then."""
        self.forget_surplus()
        before_s = self._clock.now_s() - self._limits.resume_window_s
        for entry in list(self._by_token.values()):
            if entry.owner is None and entry.left_at_s <= before_s:
                self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        del self._by_token[entry.session.token]
        self._hub.end_session(entry.session)
        entry.session.clear()
