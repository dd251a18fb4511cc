"""How fast a recorded stream may be sent again."""

import math
from typing import Any

import pytest

from asrd.client.pacing import BACKLOG_SHARE, BURST_SHARE, Pacing
from asrd.config import Limits
from asrd.wire.messages import Ack, Credit, Opened, Segment

RATE = 16_000
LIMITS = Limits()
SECOND = bytes(2 * RATE)


def pacing(*, is_hurried: bool = True, **opening: Any) -> Pacing:
    return Pacing(opening, {}, is_hurried=is_hurried, now_s=0.0)


def audio(seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"type": "audio", "data": bytes(2 * round(seconds * RATE)), **more}


def seconds_sent(paced: Pacing, now_s: float = 0.0, at_most: int = 10_000) -> int:
    """How many seconds may be sent one after the other."""
    for count in range(at_most):
        if paced.wait_s(audio(), now_s):
            return count
        paced.sent(audio())
    return at_most


def acked(seconds: float) -> Ack:
    return Ack(stream=1, offset=round(seconds * RATE))


# ── lossless ──────────────────────────────────────────────────────────────────────────────────


def test_lossless_audio_goes_up_to_the_credit_that_everybody_has() -> None:
    paced = pacing(source="file")
    assert seconds_sent(paced) == LIMITS.credit_window_s
    assert paced.wait_s(audio(), 0.0) == math.inf
    paced.told(Credit(stream=1, offset=62 * RATE))
    assert seconds_sent(paced) == 2


def test_credit_is_that_of_this_daemon_and_never_falls() -> None:
    paced = Pacing({"source": "x"}, {"credit_window_s": 5}, is_hurried=False, now_s=0.0)
    paced.told(
        Opened(stream=1, provider="", model="", priority=5, delivery="lossless", credit=3 * RATE)
    )
    assert seconds_sent(paced) == 5


def test_what_was_sent_before_goes_again_without_waiting() -> None:
    paced = pacing(source="file")
    seconds_sent(paced)
    assert paced.wait_s(audio(offset=0), 0.0) == 0.0
    paced.sent(audio(offset=0))
    assert paced.wait_s(audio(), 0.0) == math.inf


def test_no_credit_reaches_behind_a_hole_so_nothing_waits_there() -> None:
    paced = pacing(source="file")
    assert paced.wait_s(audio(offset=1000 * RATE), 0.0) == 0.0
    paced.sent(audio(offset=1000 * RATE))
    assert paced.wait_s(audio(), 0.0) == math.inf
    paced.told(Credit(stream=1, offset=1061 * RATE))
    assert paced.wait_s(audio(), 0.0) == 0.0


@pytest.mark.parametrize(
    "chunk",
    [
        {"data": bytes(LIMITS.max_chunk_bytes + 2)},
        {"data": b"odd"},
        {"data": "text"},
        {},
        {"data": SECOND, "offset": "there"},
        {"data": SECOND, "offset": -1},
        {"data": SECOND, "offset": True},
    ],
)
def test_what_the_daemon_does_not_take_counts_for_nothing(chunk: dict[str, Any]) -> None:
    paced = pacing(source="file")
    seconds_sent(paced, at_most=59)
    for _ in range(100):
        assert paced.wait_s(chunk, 0.0) == 0.0
        paced.sent(chunk)
    assert seconds_sent(paced) == 1


@pytest.mark.parametrize(
    ("opening", "frame_bytes"),
    [
        ({"encoding": "pcm_f32le", "channels": 2}, 8),
        ({"encoding": "mp3", "channels": 0, "sample_rate": "fast", "start_offset": None}, 2),
        ({"encoding": None, "channels": True}, 2),
    ],
)
def test_formats_are_those_of_open_and_nonsense_is_the_default(
    opening: dict[str, Any], frame_bytes: int
) -> None:
    paced = pacing(source="file", **opening)
    chunk = {"data": bytes(frame_bytes * 4_000)}
    count = 0
    while not paced.wait_s(chunk, 0.0):
        paced.sent(chunk)
        count += 1
    assert count == LIMITS.credit_window_s * 4


# ── live ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("opening", [{}, {"source": "system"}, {"source": "x", "delivery": "live"}])
def test_live_audio_that_is_hurried_stays_inside_the_backlog(opening: dict[str, Any]) -> None:
    paced = pacing(**opening)
    ahead = BACKLOG_SHARE * LIMITS.live_backlog_s
    assert seconds_sent(paced) == ahead
    paced.told(acked(10))
    assert seconds_sent(paced) == 10
    segment = Segment(
        stream=1, id=0, start=0, end=1, text="", offset=13 * RATE, provider="", model="",
        latency_ms=0,
    )  # fmt: skip
    paced.told(segment)
    assert seconds_sent(paced) == 3


def test_live_audio_that_is_hurried_stays_inside_the_rate() -> None:
    paced = pacing()
    paced.told(acked(100_000))
    burst = BURST_SHARE * LIMITS.live_burst_s
    assert seconds_sent(paced) == burst
    assert paced.wait_s(audio(), 0.0) == pytest.approx(1 / LIMITS.live_rate)
    assert seconds_sent(paced, now_s=10.0) == 10 * LIMITS.live_rate


def test_live_audio_as_it_was_recorded_never_waits() -> None:
    assert seconds_sent(pacing(is_hurried=False), at_most=2000) == 2000


def test_an_utterance_always_fits_into_what_may_be_ahead() -> None:
    paced = Pacing({}, {"live_backlog_s": 2}, is_hurried=True, now_s=0.0)
    assert seconds_sent(paced) > LIMITS.max_utterance_s
