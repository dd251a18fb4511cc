"""CTranslate2's Whisper with somebody who is asked, between its calls, whether to go on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asrd import DecodeCancelled

# A decode is made out of these: one `encode` for each window or batch, perhaps `detect_language`,
# a `generate` for each attempt at each temperature, and `align` for the times of words.
_LONG_CALLS = frozenset({"align", "detect_language", "encode", "generate"})


class _Asked(threading.local):
    """Whom each thread's decode asks; nobody, outside of one."""

    keep_going: Callable[[], bool] | None = None


class WatchedWhisper:
    """Stands in for a `ctranslate2.models.Whisper` and passes everything on to it.

    Threads may decode side by side: each asks whom its own decode named.
    """

    def __init__(self, whisper: Any) -> None:
        self._whisper = whisper
        self._asked = _Asked()

    @contextmanager
    def asking(self, keep_going: Callable[[], bool]) -> Iterator[None]:
        """Call `keep_going` before and after each long call of this thread.

        Raises:
            DecodeCancelled: from such a call, once `keep_going` returned False.
        """
        before, self._asked.keep_going = self._asked.keep_going, keep_going
        try:
            yield
        finally:
            self._asked.keep_going = before

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._whisper, name)
        if name not in _LONG_CALLS:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            self._ask()
            result = attribute(*args, **kwargs)
            self._ask()
            return result

        return call

    def _ask(self) -> None:
        keep_going = self._asked.keep_going
        if keep_going is not None and not keep_going():
            raise DecodeCancelled("Nobody wants this decode any more.")
