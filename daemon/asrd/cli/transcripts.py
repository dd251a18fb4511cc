"""How transcripts are written: text, json, jsonl, srt and vtt.

Subtitles are twenty lines of our own. pysubs2, the one well-kept library for them, builds the
whole file in memory before it writes a line and has no word times in WebVTT, and here a cue is to
be on the disk as soon as it is final.
"""

import html
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import msgspec

from asrd.cli.cues import Cue, Spoken, cut_into_cues, milliseconds, spoken_words
from asrd.cli.options import Format
from asrd.cli.plain import one_line
from asrd.wire.messages import Event, Partial, Segment


def to_json(value: object) -> str:
    """One line of JSON, readable in every language."""
    return json.dumps(value, ensure_ascii=False)


def as_dict(message: Segment | Partial | Event) -> dict[str, Any]:
    """A message as users see it: without what only the protocol needs."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    for internal in ("stream", "offset"):
        fields.pop(internal, None)
    return {key: value for key, value in fields.items() if value is not None}


class Writer(ABC):
    """Turns the segments of one file into text; each method returns what can be written by now."""

    def begin(self, file: str) -> str:
        """Before the first segment."""
        return ""

    @abstractmethod
    def segment(self, segment: Segment) -> str:
        """At each final segment."""

    def end(self, duration_s: float) -> str:
        """Behind the last one; `duration_s` is the length of the audio."""
        return ""


class TextWriter(Writer):
    """One line a segment."""

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        return f"{one_line(segment.text)}\n"


class JsonlWriter(Writer):
    """One object a segment, on a line of its own."""

    def begin(self, file: str) -> str:
        """See Writer."""
        self._file = file
        return ""

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        fields = as_dict(segment)
        return to_json({"type": fields.pop("type"), "file": self._file, **fields}) + "\n"


class JsonWriter(Writer):
    """One object for the file, written at its end."""

    def begin(self, file: str) -> str:
        """See Writer."""
        self._file = file
        self._segments: list[Segment] = []
        return ""

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        self._segments.append(segment)
        return ""

    def end(self, duration_s: float) -> str:
        """See Writer."""
        return json.dumps(self.document(duration_s), ensure_ascii=False, indent=2) + "\n"

    def document(self, duration_s: float) -> Mapping[str, object]:
        """The whole transcript."""
        segments = [as_dict(segment) for segment in self._segments]
        shared = {}
        for key in ("provider", "model", "language"):
            values = {segment.get(key) for segment in segments}
            if len(values) == 1 and None not in values:
                shared[key] = values.pop()
        for segment in segments:
            for key in ("type", *shared):
                segment.pop(key, None)
        return {
            "file": self._file,
            "duration": round(duration_s, 3),
            **shared,
            "text": " ".join(one_line(segment.text) for segment in self._segments),
            "segments": segments,
        }


class SrtWriter(Writer):
    """SubRip: a cue a segment, or short ones of a few words each where words have times."""

    def begin(self, file: str) -> str:
        """See Writer."""
        self._cues = 0
        return ""

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        return "".join(map(self._cue, _short_cues(segment)))

    def _cue(self, cue: Cue) -> str:
        self._cues += 1
        times = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
        return f"{self._cues}\n{times}\n{cue.text}\n\n"


class VttWriter(Writer):
    """WebVTT. Words bear their times where there are any, as karaoke players want it."""

    def begin(self, file: str) -> str:
        """See Writer."""
        return "WEBVTT\n\n"

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        start_ms, end_ms = milliseconds(segment.start), milliseconds(segment.end)
        text = _with_times(_spoken(segment), start_ms, end_ms) or _escaped(one_line(segment.text))
        return f"{_clock(start_ms, '.')} --> {_clock(end_ms, '.')}\n{text}\n\n"


WRITERS: dict[Format, type[Writer]] = {
    Format.TEXT: TextWriter,
    Format.JSON: JsonWriter,
    Format.JSONL: JsonlWriter,
    Format.SRT: SrtWriter,
    Format.VTT: VttWriter,
}


def _spoken(segment: Segment) -> list[Spoken]:
    return spoken_words(
        one_line(segment.text),
        segment.words or [],
        start_ms=milliseconds(segment.start),
        end_ms=milliseconds(segment.end),
    )


def _short_cues(segment: Segment) -> list[Cue]:
    start_ms, end_ms = milliseconds(segment.start), milliseconds(segment.end)
    cues = cut_into_cues(_spoken(segment), start_ms=start_ms, end_ms=end_ms)
    return cues or [Cue(text=one_line(segment.text), start_ms=start_ms, end_ms=end_ms)]


def _with_times(words: list[Spoken], start_ms: int, end_ms: int) -> str:
    """The text with a time before each word, which stands in an element of its own: a style sheet
    can tell only elements that are past from those to come.

    Times inside a cue have to lie between its own and ascend; a word that has none such is shown
    with the one before.
    """
    parts: list[str] = []
    told_ms = start_ms
    for word in words:
        text = _escaped(word.text.rstrip())
        blank = word.text[len(word.text.rstrip()) :]
        if told_ms < word.start_ms < end_ms:
            told_ms = word.start_ms
            text = f"<{_clock(told_ms, '.')}><c>{text}</c>"
        parts.append(text + blank)
    return "".join(parts).rstrip()


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _clock(whole_ms: int, point: str) -> str:
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"
