"""What goes wrong between a client and its daemon.

ClientError
├── Unreachable      no daemon could be had at all; `exit_code` where one was started and ended
├── ConnectionLost   it was there and is gone, and is not being sought any more
├── Refused          the daemon answered with an `error`
├── StreamEnded      the stream takes no more audio; the connection goes on
└── SegmentsMissing  the daemon left out segments of a stream: a bug in it
"""

from typing import Self

from asrd.errors import AsrdError
from asrd.wire.messages import Error


class ClientError(AsrdError):
    """The root of what the client raises."""


class Unreachable(ClientError):
    """No daemon answers, or the one that was started ended before it did.

    `exit_code` is that of the daemon started here (from sysexits.h), None for any other.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ConnectionLost(ClientError):
    """The connection broke. `code` is the daemon's reason where it could still give one.

    With recovery it is raised only once the client has failed. Its streams are still there, and
    `Client.retry` brings them back.
    """

    def __init__(
        self, message: str, code: str | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_ms = retry_after_ms


class Refused(ClientError):
    """The daemon answered with an `error`; `code` is one of `asrd.errors.ErrorCode`."""

    def __init__(self, message: str, code: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_ms = retry_after_ms

    @classmethod
    def of(cls, error: Error) -> Self:
        """The exception for an `error` message."""
        wait_ms = error.retry_after_ms
        return cls(error.message, error.code, wait_ms if isinstance(wait_ms, int) else None)


class StreamEnded(ClientError):
    """Audio was sent to a stream that is closed; `reason` is that of its `closed`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SegmentsMissing(ClientError):
    """A segment came whose predecessors never did, which the protocol rules out."""
