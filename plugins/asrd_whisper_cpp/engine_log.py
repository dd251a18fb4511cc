"""What whisper.cpp logs, sorted by the call that it belongs to.

The engine has one log for the whole process, and calls may run side by side. It logs in the thread
that called it, so the thread tells whose line it is.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module

_LOG_LEVEL_ERROR = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Listener:
    thread: int
    errors: list[str] = field(default_factory=list)


_lock = threading.Lock()
# Replaced and never changed, so that a line can be sorted without the lock.
_listeners: tuple[_Listener, ...] = ()


@contextmanager
def listen_to_engine() -> Iterator[list[str]]:
    """Gather the errors that the engine logs in this thread, and let nothing of its log reach
    stderr. May be used in several threads at once.

    It is listened to during calls alone: a listener left in place at the interpreter's end aborts
    the process. And for as long as any call runs: were it taken away under a call that is about to
    log, the binding would throw an exception through the engine.
    """
    global _listeners
    listener = _Listener(threading.get_ident())
    with _lock:
        if not _listeners:
            whisper.whisper_log_set(_sort)
        _listeners = (*_listeners, listener)
    try:
        yield listener.errors
    finally:
        with _lock:
            _listeners = tuple(other for other in _listeners if other is not listener)
            if not _listeners:
                whisper.whisper_log_set(None)


def _sort(level: int, line: str) -> None:
    # A file cut off before its first tensor is only worth a warning to the engine.
    if (level != _LOG_LEVEL_ERROR and "no tensors loaded" not in line) or not line.strip():
        return
    listeners = _listeners
    here = threading.get_ident()
    # A line from a thread of the engine's own is blamed on a call only where there is just one.
    belongs_to = [one for one in listeners if one.thread == here] or (
        listeners if len(listeners) == 1 else ()
    )
    for listener in belongs_to:
        listener.errors.append(line.strip())
