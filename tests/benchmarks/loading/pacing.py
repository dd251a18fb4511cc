"""When each frame of each stream is due, and which frame completes an utterance. Pure."""

import math
from dataclasses import dataclass

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import WINDOW_SAMPLES

FRAME_S = 0.1
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE)

SLOTS = 50
"""Streams begin at so many phases of a frame, evenly spread: a timer serves all of one phase."""

SLOT_S = FRAME_S / SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The `number`-th frame of every stream of one slot; due `after_s` behind the beginning."""

    slot: int
    number: int
    after_s: float


def slot_of(stream: int) -> int:
    """The slot of the stream that is the so-manieth of all."""
    return stream % SLOTS


def due_after_s(slot: int, number: int) -> float:
    """When a frame is due behind the beginning: at its end, when a microphone would have it."""
    return slot * SLOT_S + (number + 1) * FRAME_S


def turn(count: int) -> Turn:
    """What is due as the so-manieth of all, counted from 0."""
    number, slot = divmod(count, SLOTS)
    return Turn(slot=slot, number=number, after_s=due_after_s(slot, number))


def completing_frame(speech_end_s: float, silence_s: float) -> int:
    """The frame with which an utterance can be known to have ended.

    The daemon hears windows, and speech ends with one of them: so many follow as hold `silence_s`,
    and the frame in which the last of them ends completes the silence.
    """
    windows = math.ceil(round(silence_s * SAMPLE_RATE) / WINDOW_SAMPLES)
    heard = round(speech_end_s * SAMPLE_RATE) + windows * WINDOW_SAMPLES
    return math.ceil(heard / FRAME_SAMPLES) - 1
