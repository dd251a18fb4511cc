"""Segments out of the tokens of one decode, by the times that Whisper writes between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NotRequired, TypedDict

FRAMES_PER_S = 100
_FRAMES_PER_TIMESTAMP = 2


class TimedWord(TypedDict):
    """A word as faster-whisper's alignment writes it, with the blank before it."""

    word: str
    start: float
    end: float
    probability: float


class Segment(TypedDict):
    """A stretch of speech in the form that faster-whisper's alignment takes and completes.

    `start` and `end` are seconds from the beginning of the audio, which alignment may move;
    `marked_end` is the end that the decoder wrote, None where it wrote none. `seek` is the frame at
    which the decode began that yielded it.
    """

    seek: int
    start: float
    end: float
    marked_end: float | None
    tokens: list[int]
    words: NotRequired[list[TimedWord]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The segments of one decode, and the frame to which they reach.

    `is_complete` says that the decoder ended its text with the time of its end, behind which
    nothing is spoken; then, and where there is but one segment, `read_to` is the end of the audio.
    Else the decoder began a segment at `read_to` that it could not complete.
    """

    segments: list[Segment]
    read_to: int
    is_complete: bool


def split(tokens: Sequence[int], *, first_timestamp: int, seek: int, frames: int) -> Division:
    """Cut the tokens of a decode at the times among them.

    Args:
        tokens: what the decoder wrote for the audio from `seek` on.
        first_timestamp: the token that means 0.00 s; each next one means 20 ms more.
        seek: the frame at which the decode began.
        frames: the frames of audio that it was given, without padding.
    """
    offset_s = seek / FRAMES_PER_S

    def is_time(place: int) -> bool:
        return tokens[place] >= first_timestamp

    def frame(token: int) -> int:
        return (token - first_timestamp) * _FRAMES_PER_TIMESTAMP

    def segment(begin: int, end: int, start: int, stop: int, *, is_marked: bool) -> Segment:
        return Segment(
            seek=seek,
            start=offset_s + start / FRAMES_PER_S,
            end=offset_s + stop / FRAMES_PER_S,
            marked_end=offset_s + min(stop, frames) / FRAMES_PER_S if is_marked else None,
            tokens=list(tokens[begin:end]),
        )

    count = len(tokens)
    is_complete = count > 1 and is_time(count - 1) and not is_time(count - 2)
    cuts = [place for place in range(1, count) if is_time(place - 1) and is_time(place)]
    if not cuts:
        times = [token for token in tokens if token >= first_timestamp]
        has_time = bool(times) and times[-1] != first_timestamp
        stop = frame(times[-1]) if has_time else frames
        return Division(
            segments=[segment(0, count, 0, stop, is_marked=is_complete and has_time)],
            read_to=seek + frames,
            is_complete=is_complete,
        )
    if is_complete:
        cuts.append(count)
    return Division(
        segments=[
            segment(begin, end, frame(tokens[begin]), frame(tokens[end - 1]), is_marked=True)
            for begin, end in pairwise((0, *cuts))
        ],
        read_to=seek + (frames if is_complete else frame(tokens[cuts[-1] - 1])),
        is_complete=is_complete,
    )
