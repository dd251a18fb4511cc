"""Keeps an unexpected error inside the stream that it struck."""

from collections.abc import Callable
from types import TracebackType

import structlog

from asrd.errors import ErrorCode
from asrd.server.served import ServedStream

log = structlog.get_logger()


class Contained:
    """`with Contained(served, cut_off):` lets such an error cost that stream and no other.

    A class and no generator, because every chunk of audio passes three.
    """

    __slots__ = ("_cut_off", "_served")

    def __init__(
        self, served: ServedStream, cut_off: Callable[[ServedStream, ErrorCode, str], None]
    ) -> None:
        self._served = served
        self._cut_off = cut_off

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        # A bug, whichever: it is logged with its traceback.
        log.error("stream_failed", exc_info=error, **self._served.names)
        text = "the daemon failed on this stream; its log says why"
        self._cut_off(self._served, ErrorCode.INTERNAL, text)
        return True
