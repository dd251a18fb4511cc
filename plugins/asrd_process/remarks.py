"""What a program says on stderr, in lines: bounded in length and in number. Pure."""

import re

MAX_LINE_CHARACTERS = 500
LINES_AT_A_TIME = 20
PERIOD_S = 10.0
"""So many lines are passed on in each period; the rest is counted."""

_ENDS = re.compile(rb"[\r\n]+")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Remarks:
    """The lines of one program. `last` is the newest that was not empty."""

    def __init__(self) -> None:
        self.last = ""
        self._rest = b""
        self._period_began_s: float | None = None
        self._told = 0
        self._left_out = 0

    def take(self, data: bytes, now_s: float) -> list[str]:
        """The lines to pass on, of what was said next."""
        *lines, self._rest = _ENDS.split(self._rest + data)
        if len(self._rest) > MAX_LINE_CHARACTERS:
            lines.append(self._rest)
            self._rest = b""
        return self._admit([shown for line in lines if (shown := _shown(line))], now_s)

    def end(self, now_s: float) -> list[str]:
        """The lines to pass on when nothing more comes."""
        line, self._rest = _shown(self._rest), b""
        return self._admit([line] if line else [], now_s)

    def _admit(self, lines: list[str], now_s: float) -> list[str]:
        admitted = []
        for line in lines:
            self.last = line
            if self._period_began_s is None or now_s - self._period_began_s >= PERIOD_S:
                if self._left_out:
                    admitted.append(f"({self._left_out} lines were left out)")
                self._period_began_s, self._told, self._left_out = now_s, 0, 0
            if self._told < LINES_AT_A_TIME:
                self._told += 1
                admitted.append(line)
            else:
                self._left_out += 1
        return admitted


def _shown(line: bytes) -> str:
    """A line as it can be shown on a terminal."""
    text = line[:MAX_LINE_CHARACTERS].decode("utf-8", "replace")
    return _UNSHOWN.sub(" ", text).strip()
