"""Every error that may leave a layer, and the codes that the wire knows.

    AsrdError
    ├── ProtocolError        a peer did what the protocol forbids, or asked for what cannot be had
    ├── ProviderError        a provider cannot do what it was asked to
    │   ├── ModelUnavailable the model is not here; the message names the way to get it
    │   ├── RequestUnsupported  what one stream asked for cannot be done; the model is well
    │   └── DecodeCancelled  nobody wants the decode any more
    └── StartupError         the daemon cannot start: address in use, not permitted, bad setting

Anything else that escapes a layer is a bug and is logged as one.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """The `code` of an `error` message: the closed list of protocol version 1."""

    HELLO_EXPECTED = "hello_expected"
    UNSUPPORTED_VERSION = "unsupported_version"
    FRAME_TOO_LARGE = "frame_too_large"
    INVALID_FRAME = "invalid_frame"
    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_STREAM = "unknown_stream"
    STREAM_EXISTS = "stream_exists"
    TOO_MANY_STREAMS = "too_many_streams"
    BUSY = "busy"
    CHUNK_TOO_LARGE = "chunk_too_large"
    RATE_LIMITED = "rate_limited"
    UNKNOWN_PROVIDER = "unknown_provider"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_FAILED = "provider_failed"
    QUEUE_TIMEOUT = "queue_timeout"
    SLOW_CONSUMER = "slow_consumer"
    UNAUTHORIZED = "unauthorized"
    DRAINING = "draining"
    INTERNAL = "internal"


class AsrdError(Exception):
    """The root of all errors that asrd raises on purpose."""


class ProtocolError(AsrdError):
    """What a peer is told with an `error` message.

    `fatal` errors close the connection; the others drop the frame that caused them.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        fatal: bool = False,
        stream: int | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fatal = fatal
        self.stream = stream
        self.retry_after_ms = retry_after_ms
        self.is_refusal = False
        """Of a stream that never came to be: another may have its number."""


class ProviderError(AsrdError):
    """A provider could not load, or could not decode. The text is shown to users as it is."""


class ModelUnavailable(ProviderError):
    """The model is not on this machine (or cannot run on it); says the one command that helps."""


class RequestUnsupported(ProviderError):
    """A stream asked for what this model cannot do, such as a language it does not know.

    The model is well: such an error counts neither against its health nor for its circuit breaker.
    """


class DecodeCancelled(ProviderError):
    """A decode was given up because nobody wants it any more."""


class StartupError(AsrdError):
    """The daemon cannot start. `exit_code` is from sysexits.h."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
