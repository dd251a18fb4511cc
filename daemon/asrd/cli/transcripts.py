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

from asrd.cli.options import Format
from asrd.wire.messages import Event, Partial, Segment, WordTime


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
    """SubRip."""

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        times = f"{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}"
        return f"{segment.id + 1}\n{times}\n{one_line(segment.text)}\n\n"


class VttWriter(Writer):
    """WebVTT. Words bear their times where there are any, as karaoke players want it."""

    def begin(self, file: str) -> str:
        """See Writer."""
        return "WEBVTT\n\n"

    def segment(self, segment: Segment) -> str:
        """See Writer."""
        text = html.escape(one_line(segment.text), quote=False)
        if segment.words:
            text = " ".join(_timed(word, segment) for word in segment.words)
        return f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{text}\n\n"


WRITERS: dict[Format, type[Writer]] = {
    Format.TEXT: TextWriter,
    Format.JSON: JsonWriter,
    Format.JSONL: JsonlWriter,
    Format.SRT: SrtWriter,
    Format.VTT: VttWriter,
}


def one_line(text: str) -> str:
    """Text that cannot end a line or a cue."""
    return " ".join(text.split())


def _timed(word: WordTime, cue: Segment) -> str:
    text = html.escape(one_line(word.word), quote=False)
    if not cue.start < word.start < cue.end:  # players drop a cue with a time outside of it
        return text
    return f"<{_clock(word.start, '.')}>{text}"


def _clock(seconds: float, point: str) -> str:
    whole_ms = max(0, round(seconds * 1000))
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"
