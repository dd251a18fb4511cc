"""Which error ends a command with which exit code, and how it is told.

An error is one line on stderr, `asrd: what happened: what to do`; a traceback is shown only with
ASRD_DEBUG=1 in the environment. The codes are those of sysexits.h.
"""

import contextlib
import os
import sys

from asrd.cli.plain import plain
from asrd.errors import AsrdError, ErrorCode, ProviderError, StartupError
from asrd.exit_codes import Exit as Exit


class CommandError(AsrdError):
    """A command cannot go on. `remedy` says what to do, where something can be done."""

    def __init__(self, problem: str, code: Exit, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.code = code


class OutputClosed(CommandError):
    """The reader of our output has gone (`| head -1`)."""

    def __init__(self) -> None:
        super().__init__("the output was closed", Exit.IO)


_TRY_LATER = "try again later"
_OF_WIRE: dict[str, tuple[Exit, str]] = {
    ErrorCode.BUSY: (Exit.BUSY, _TRY_LATER),
    ErrorCode.TOO_MANY_STREAMS: (Exit.BUSY, _TRY_LATER),
    ErrorCode.RATE_LIMITED: (Exit.BUSY, _TRY_LATER),
    ErrorCode.QUEUE_TIMEOUT: (Exit.BUSY, _TRY_LATER),
    ErrorCode.DRAINING: (Exit.BUSY, "it is being stopped; try again when it is back"),
    ErrorCode.SLOW_CONSUMER: (Exit.UNAVAILABLE, "its answers were not taken in time; run again"),
    ErrorCode.UNAUTHORIZED: (Exit.NOT_PERMITTED, "ask whoever runs the daemon to admit you"),
    ErrorCode.UNKNOWN_PROVIDER: (Exit.USAGE, "see `asrd providers`"),
    ErrorCode.PROVIDER_UNAVAILABLE: (Exit.UNAVAILABLE, ""),  # the message itself has the remedy
    ErrorCode.PROVIDER_FAILED: (Exit.INTERNAL, "see the daemon's log"),
    ErrorCode.UNSUPPORTED_VERSION: (Exit.UNAVAILABLE, "use a daemon and a client of one version"),
    ErrorCode.INVALID_MESSAGE: (Exit.USAGE, "see `asrd COMMAND --help` for what is allowed"),
}


def is_debugging() -> bool:
    """Whether tracebacks and the logs of daemons of one's own are wanted (ASRD_DEBUG=1)."""
    return os.environ.get("ASRD_DEBUG", "") not in ("", "0")


def tell(text: str) -> None:
    """One line on stderr, whatever its state."""
    line = plain(text).replace(".: ", ": ")  # a remedy behind a whole sentence
    with contextlib.suppress(OSError):  # there is nobody left to tell
        print(f"asrd: {line}", file=sys.stderr, flush=True)


def judge(error: BaseException) -> tuple[Exit | int, str]:
    """The exit code for an error and the line that tells it, "" where nothing need be told."""
    match error:
        case OutputClosed():
            return Exit.IO, ""
        case CommandError():
            return error.code, str(error)
        case StartupError():
            return error.exit_code, str(error)
        case ProviderError():
            return Exit.UNAVAILABLE, str(error)
        case KeyboardInterrupt():
            return Exit.INTERRUPTED, ""
        case AsrdError():
            return _judge_client(error)
        case _:
            remedy = "run it again with ASRD_DEBUG=1 and report what it shows"
            return Exit.INTERNAL, f"internal error, {type(error).__name__}: {error}: {remedy}"


def report(error: BaseException) -> int:
    """Tell an error on stderr; returns the exit code."""
    code, line = judge(error)
    if is_debugging() and not isinstance(error, OutputClosed | KeyboardInterrupt):
        import traceback

        traceback.print_exception(error)
    # A configuration may have several mistakes, a line each.
    for each in line.splitlines() if isinstance(error, StartupError) else filter(None, [line]):
        tell(each)
    return int(code)


def _judge_client(error: AsrdError) -> tuple[Exit | int, str]:
    from asrd.client.errors import ConnectionLost, Refused, Unreachable
    from asrd.providers.registry import UnknownProvider

    match error:
        case Unreachable(exit_code=int(code)) if code > 0:
            return code, str(error)
        case Unreachable():
            return Exit.UNAVAILABLE, str(error)
        case Refused(code=wire_code) | ConnectionLost(code=str(wire_code)):
            code, remedy = _OF_WIRE.get(wire_code, (Exit.INTERNAL, ""))
            return code, f"{str(error).rstrip('.')}: {remedy}" if remedy else str(error)
        case ConnectionLost():
            return Exit.UNAVAILABLE, f"{error}: repeat the command"
        case UnknownProvider():
            return Exit.USAGE, f"{error}: see `asrd providers`"
        case _:
            return Exit.INTERNAL, str(error)
