"""What a `hello` leads to: a session, new or resumed, or a refusal."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from asrd.errors import ErrorCode, ProtocolError
from asrd.server.hub import Hub
from asrd.server.served import Owner
from asrd.server.sessions import SessionStore
from asrd.server.translate import welcome_message
from asrd.session.session import Session
from asrd.wire.messages import Hello, ServerMessage, Welcome

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Greeting:
    """A session, and what its client is told: the welcome, then all that it has to hear again."""

    session: Session
    welcome: Welcome
    again: Iterator[ServerMessage]


def greet(hello: Hello, uid: int, owner: Owner, hub: Hub, sessions: SessionStore) -> Greeting:
    """Give a client of that uid its session.

    Raises:
        ProtocolError: the daemon is ending, or serves as many sessions as it may.
    """
    if hub.is_draining:
        raise ProtocolError(
            ErrorCode.DRAINING, "the daemon is ending", fatal=True, retry_after_ms=1000
        )
    limits = hub.config.limits
    session = sessions.find(hello.resume, uid, hello.have) if hello.resume else None
    again: Iterator[ServerMessage] = iter(())
    is_resumed = session is not None
    if session is not None:
        again = sessions.resume(session, hello, owner)
    else:
        if sessions.connected >= limits.max_sessions:
            text = f"{limits.max_sessions} sessions are open, which is the limit"
            raise ProtocolError(ErrorCode.BUSY, text, fatal=True, retry_after_ms=1000)
        session = sessions.create(uid, owner, hello.client)
    log.info(
        "client_connected",
        session=session.session_id,
        client=hello.client,
        uid=uid,
        resumed=is_resumed,
    )
    providers = list(hub.registry.registered)
    welcome = welcome_message(session, limits, providers, is_resumed=is_resumed)
    return Greeting(session, welcome, again)
