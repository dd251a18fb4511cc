"""The one line that each stream leaves in the log: how it ended and what it came to, or why it
could not be had."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from asrd.errors import ProtocolError
from asrd.server.served import ServedStream
from asrd.session.effects import StreamClosed
from asrd.session.session import Session
from asrd.wire.messages import Open

log = structlog.get_logger()


def log_ended(served: ServedStream, end: StreamClosed, now_s: float) -> None:
    """A stream has ended, however."""
    log.info(
        "stream_ended",
        **served.names,
        client=served.session.client,
        priority=served.priority,
        delivery=served.delivery,
        **served.summary.values(end, served.stream.reading.speech_s, now_s),
    )


def log_refused(session: Session, asked: Open, error: ProtocolError) -> None:
    """A stream could not be opened, at once or when its model was to be loaded."""
    log.warning(
        "stream_refused",
        session=session.session_id,
        stream=asked.stream,
        source=asked.source,
        client=session.client,
        code=error.code,
        problem=error.message,
    )


@contextmanager
def logging_refusal(session: Session, asked: Open) -> Iterator[None]:
    """Log it where opening a stream raises ProtocolError, and mark that as a refusal."""
    try:
        yield
    except ProtocolError as error:
        error.is_refusal = True
        log_refused(session, asked, error)
        raise
