"""What a program has printed for one utterance, as text. Pure: bytes in, text out.

Text that was once told as stable never changes, whatever is printed later and however the pipe cuts
it. Words are told with single blanks between them, and without control characters.
"""

import codecs
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

MAX_TEXT_BYTES = 64 * 1024
"""Of one utterance's text, and of one line of JSON. Half a minute of speech is less than 1 KiB."""

MAX_PRINTED_BYTES = 16 * 1024 * 1024
"""Of all that is printed for one utterance. Lines of JSON may tell the open text again and again.
"""

HELD_CHARACTERS = 64
"""Where a pattern is removed, so much at the end may still become part of a match."""


class TooMuchPrinted(Exception):
    """A program prints more for one utterance than anybody can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that was printed so far; the first `stable` characters of `text` will not change."""

    text: str = ""
    stable: int = 0


class Output(ABC):
    """What is printed for one utterance."""

    def __init__(self) -> None:
        self._printed_bytes = 0

    def take(self, data: bytes) -> None:
        """Take in what was printed next. Raises TooMuchPrinted."""
        self._printed_bytes += len(data)
        if self._printed_bytes > MAX_PRINTED_BYTES:
            raise TooMuchPrinted(f"more than {MAX_PRINTED_BYTES} bytes")
        self._take(data)

    @abstractmethod
    def _take(self, data: bytes) -> None: ...

    @abstractmethod
    def end(self) -> None:
        """Nothing more comes for this utterance: what was still open is final. Raises
        TooMuchPrinted."""

    @property
    @abstractmethod
    def reading(self) -> Reading:
        """The text so far."""


class TextOutput(Output):
    """Plain text that is only ever added to. What `strip` matches is left out.

    A match of more than `HELD_CHARACTERS` may be left in.
    """

    def __init__(self, strip: re.Pattern[str] | None = None) -> None:
        super().__init__()
        self._strip = strip
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._settled = ""
        self._open = ""

    def _take(self, data: bytes) -> None:
        self._add(self._decoder.decode(data), HELD_CHARACTERS)

    def end(self) -> None:
        """What was held back is settled."""
        self._add(self._decoder.decode(b"", final=True), 0)

    def _add(self, text: str, held: int) -> None:
        self._open += text
        self._settle(held)
        size = len(self._settled) + len(self._open)
        if size > MAX_TEXT_BYTES:
            raise TooMuchPrinted(f"more than {MAX_TEXT_BYTES} characters")

    def _settle(self, held: int) -> None:
        """Settle the open text but for `held` characters, and for a match that reaches into them:
        it may grow."""
        end = len(self._open)
        if self._strip is not None and held:
            end = max(0, end - held)
            for match in self._strip.finditer(self._open):
                if match.start() < end <= match.end():
                    end = match.start()
        self._settled += _without(self._strip, self._open[:end])
        self._open = self._open[end:]

    @property
    def reading(self) -> Reading:
        """The text so far; the open end of it only where a pattern is removed."""
        stable = len(_plain(self._settled))
        text = _plain(self._settled + _without(self._strip, self._open))
        return Reading(text=text, stable=stable)


class JsonLinesOutput(Output):
    """A JSON object per line, whose `text_key` has a text.

    A line whose `final_key` is true is appended for good. One whose `final_key` is not, or that
    has none, takes the place of the text behind the final ones. Lines without a text are left
    out, and those that are no objects are counted in `strays`.
    """

    def __init__(
        self, *, text_key: str, final_key: str, strip: re.Pattern[str] | None = None
    ) -> None:
        super().__init__()
        self.strays = 0
        self._text_key = text_key
        self._final_key = final_key
        self._strip = strip
        self._line = b""
        self._final = ""
        self._open = ""

    def _take(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        if max(map(len, (*lines, self._line))) > MAX_TEXT_BYTES:
            raise TooMuchPrinted(f"a line of more than {MAX_TEXT_BYTES} bytes")
        for line in lines:
            self._read(line)

    def end(self) -> None:
        """A line that was not ended is one, and the open text is final."""
        line, self._line = self._line, b""
        self._read(line)
        self._final, self._open = _joined(self._final, self._open), ""

    def _read(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            told = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            self.strays += 1
            return
        text = told.get(self._text_key)
        if not isinstance(text, str):
            return
        self._open = _plain(_without(self._strip, text))
        if told.get(self._final_key) is True:
            self._final, self._open = _joined(self._final, self._open), ""
        if len(self._final) + len(self._open) > MAX_TEXT_BYTES:
            raise TooMuchPrinted(f"more than {MAX_TEXT_BYTES} characters")

    @property
    def reading(self) -> Reading:
        """The final texts, and the open one behind them."""
        return Reading(text=_joined(self._final, self._open), stable=len(self._final))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """How a program prints; makes the `Output` of each utterance."""

    kind: Literal["text", "json_lines"] = "text"
    text_key: str = "text"
    final_key: str = "final"
    strip: re.Pattern[str] | None = None

    def begin(self) -> Output:
        """The output of an utterance of which nothing was printed yet."""
        if self.kind == "text":
            return TextOutput(self.strip)
        return JsonLinesOutput(text_key=self.text_key, final_key=self.final_key, strip=self.strip)


def _without(pattern: re.Pattern[str] | None, text: str) -> str:
    return text if pattern is None else pattern.sub("", text)


def _joined(first: str, second: str) -> str:
    return f"{first} {second}" if first and second else first or second


def _plain(text: str) -> str:
    """`text` with single blanks, and without what is no character: it can be sent and shown."""
    if not text.isascii() or not text.isprintable():
        text = "".join(character for character in text if _is_shown(character))
    return " ".join(text.split())


def _is_shown(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cs")
