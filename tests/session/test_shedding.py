"""A stream under load: its pace, what it lets go of when told to, and audio that comes too fast."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.effects import DropReason
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.session.states import StreamState
from asrd.session.stream import Want
from support.streams import Driver, loud, silence, word

W = WINDOW_SAMPLES
PAUSE = silence(8 * W)
"""Silence that ends an utterance, whatever window it begins in."""


def live(window_s: float = 60.0, *, is_opened: bool = True) -> Driver:
    return Driver(
        is_lossless=False, window_s=window_s, partial_interval_s=None, is_opened=is_opened
    )


def speak(driver: Driver, *numbers: int) -> Driver:
    for number in numbers:
        driver.send(word(number))
        driver.send(PAUSE)
        driver.listen()
    return driver


def want_of(driver: Driver) -> Want | None:
    return driver.stream.want


def drops(driver: Driver) -> list[effects.Dropped]:
    return [told for told in driver.audit.told if isinstance(told, effects.Dropped)]


def reasons(driver: Driver) -> list[DropReason]:
    return [dropped.reason for dropped in drops(driver)]


# ── pace ──────────────────────────────────────────────────────────────────────────────────────


def test_partials_follow_the_pace_as_it_changes() -> None:
    driver = Driver(partial_interval_s=0.1)
    counts = []
    for pace_s, chunks in ((0.1, 6), (0.3, 12), (None, 12), (0.1, 1)):
        driver.stream.set_pace(pace_s)
        before = len(driver.audit.partials)
        for _ in range(chunks):
            driver.send(loud(driver.expected, driver.expected + 800))
            driver.run()
        counts.append(len(driver.audit.partials) - before)
    assert counts == [2, 1, 0, 1]
    driver.finish()


@pytest.mark.parametrize("pace_s", [None, 0.1, 1.0])
def test_a_stream_without_partials_stays_without(pace_s: float | None) -> None:
    driver = live()
    driver.stream.set_pace(pace_s)
    driver.send(loud(0, 20 * W))
    driver.listen()
    assert not driver.stream.has_partials
    assert want_of(driver) is None


def test_a_stream_with_partials_has_them_even_while_there_are_none() -> None:
    driver = Driver(partial_interval_s=0.2)
    driver.stream.set_pace(None)
    assert driver.stream.has_partials


def test_a_partial_that_was_wanted_is_not_when_the_pace_says_so_and_its_final_comes() -> None:
    driver = Driver(partial_interval_s=0.2)
    driver.send(word(1))
    driver.listen()
    assert want_of(driver) is Want.PARTIAL
    window = driver.stream.reading.next_window
    assert window is not None
    assert window.audio_s == driver.stream._speech.position / SAMPLE_RATE > 0
    driver.stream.set_pace(None)
    assert want_of(driver) is None
    assert driver.stream.reading.next_window is None
    driver.finish()
    assert driver.texts == ["w1"]
    assert not driver.audit.partials


def test_what_was_heard_counts_whatever_becomes_of_it() -> None:
    driver = speak(live(), 1, 2)
    heard_s = driver.stream.reading.heard_s
    driver.stream.drop_waiting("queue_full")
    driver.decode("fail")
    first, second = driver.audit.dropped
    samples = first[1] - first[0] + second[1] - second[0]
    assert driver.stream.reading.heard_s == heard_s == samples / SAMPLE_RATE


# ── decodes that are taken back ───────────────────────────────────────────────────────────────


def test_an_aborted_final_is_read_again_however_often_and_is_not_to_blame() -> None:
    driver = speak(live(), 1)
    for _ in range(5):
        driver.decode("abort")
    driver.decode("die")
    driver.decode("abort")
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert driver.texts == ["w1"]
    assert not driver.audit.dropped


def test_an_aborted_partial_is_read_again_at_once_with_all_that_is_there() -> None:
    driver = Driver(partial_interval_s=0.2)
    driver.send(loud(0, 10 * W))
    driver.listen()
    driver.begin()
    driver.send(loud(10 * W, 20 * W))
    driver.listen()
    driver.end("abort")
    window = driver.begin()
    assert window is not None
    assert (window.start, window.end, window.want) == (0, 20 * W, Want.PARTIAL)
    assert window.coalesced == 20 * W // 3200 - 1 == 2
    driver.end()
    assert driver.audit.partials[-1].end == 20 * W
    driver.finish()


def test_an_aborted_final_may_be_dropped_as_it_waits_again() -> None:
    driver = speak(live(), 1, 2)
    driver.begin()
    driver.end("abort")
    assert driver.stream.drop_waiting("queue_timeout")
    driver.finish()
    assert driver.texts == ["w2"]


# ── a smaller bound ───────────────────────────────────────────────────────────────────────────


def test_what_is_too_much_by_the_smaller_bound_is_dropped_at_once_oldest_first() -> None:
    driver = speak(live(), 0, 1, 2, 3)
    driver.stream.shed_to(1.2)
    driver.collect()
    assert reasons(driver) == ["overload"] * 2
    driver.finish()
    assert driver.texts == ["w2", "w3"]


def test_the_smaller_bound_holds_for_what_comes_until_it_is_taken_back() -> None:
    driver = live()
    driver.stream.shed_to(1.0)
    speak(driver, 0, 1, 2)
    assert reasons(driver) == ["overload"]
    driver.stream.shed_to(None)
    speak(driver, 3, 4)
    assert len(drops(driver)) == 1
    driver.finish()
    assert driver.texts == ["w1", "w2", "w3", "w4"]


def test_a_bound_that_is_no_smaller_changes_nothing() -> None:
    driver = live(window_s=1.5)
    driver.stream.shed_to(10.0)
    speak(driver, 0, 1, 2)
    assert reasons(driver) == ["backlog"]


def test_what_is_being_read_is_not_shed() -> None:
    driver = speak(live(), 0, 1, 2)
    driver.begin()
    driver.stream.shed_to(0.5)
    driver.collect()
    assert reasons(driver) == ["overload"]
    driver.end()
    driver.finish()
    assert driver.texts == ["w0", "w2"]


def test_a_single_utterance_is_spared_until_something_else_waits_or_is_too_much() -> None:
    driver = speak(live(), 0)
    driver.stream.shed_to(0.4)  # a little less than a word
    for sound in (word(1), PAUSE):
        driver.send(sound)
        driver.listen()
    assert not drops(driver)
    driver.send(silence(1))
    assert [(drop.start, drop.reason) for drop in drops(driver)] == [(0, "overload")]
    driver.send(silence(6399))
    assert len(drops(driver)) == 1
    driver.send(silence(1))
    assert len(drops(driver)) == 3  # the other word, and the silence itself
    driver.finish()
    assert driver.texts == []


def test_unscored_audio_is_shed_too() -> None:
    driver = live(is_opened=False)
    for start in range(0, 8 * SAMPLE_RATE, 1600):
        driver.send(loud(start, start + 1600))
    driver.stream.shed_to(2.0)
    driver.collect()
    assert set(reasons(driver)) == {"overload"}
    assert driver.held <= 2 * SAMPLE_RATE
    spans = driver.audit.dropped
    assert spans[0][0] == 0
    assert all(first[1] == second[0] for first, second in pairwise(spans))
    driver.open()
    driver.finish()


def test_nothing_of_a_lossless_stream_is_shed_or_dropped() -> None:
    driver = speak(Driver(window_s=4.0, partial_interval_s=None), 0, 1, 2)
    driver.send(word(3))
    driver.stream.shed_to(0.0)
    assert not driver.stream.drop_waiting("queue_full")
    driver.finish()
    assert driver.texts == ["w0", "w1", "w2", "w3"]
    assert not driver.audit.dropped


# ── dropping what waits ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", ["queue_full", "queue_timeout"])
def test_the_oldest_that_waits_is_dropped_on_demand(reason: DropReason) -> None:
    driver = speak(live(), 0, 1)
    driver.begin()
    assert driver.stream.drop_waiting(reason)
    assert not driver.stream.drop_waiting(reason)
    driver.collect()
    (dropped,) = drops(driver)
    second = 6000 + len(PAUSE)
    assert second - 4 * W < dropped.start <= second < second + 6000 <= dropped.end
    assert dropped.reason == reason
    driver.end()
    driver.finish()
    assert driver.texts == ["w0"]


def test_the_marks_behind_what_is_dropped_are_answered_and_the_commit_moves() -> None:
    driver = live()
    driver.send(word(0))
    driver.flush()
    driver.listen()
    assert driver.stream.committed == 0
    assert driver.stream.drop_waiting("queue_full")
    told = driver.collect()
    assert [type(effect) for effect in told[:1]] == [effects.Dropped]
    assert told[-1] == effects.Flushed(stream=1, offset=6000)
    assert driver.stream.committed == 6000


def test_a_closing_stream_ends_when_the_last_that_waited_is_dropped() -> None:
    driver = live()
    driver.send(word(0))
    driver.close()
    driver.listen()
    assert driver.stream.state is StreamState.CLOSING
    assert driver.stream.drop_waiting("queue_timeout")
    driver.collect()
    assert driver.audit.end is not None
    assert driver.audit.end.dropped == 6000
    assert not driver.stream.drop_waiting("queue_timeout")
    driver.stream.shed_to(0.0)
    assert driver.stream.take_effects() == []


# ── audio that comes too fast ─────────────────────────────────────────────────────────────────


def test_refused_audio_ends_the_utterance_takes_its_time_and_is_told_exactly() -> None:
    driver = live()
    driver.send(word(1))
    driver.refuse(word(2, 5000))
    driver.refuse(word(3, 3000))
    driver.send(word(4))
    driver.finish()
    assert drops(driver) == [
        effects.Dropped(stream=1, start=6000, end=14000, reason="rate_limited")
    ]
    assert [(s.start, s.end) for s in driver.audit.segments] == [(0, 6000), (14000, 20000)]
    assert driver.texts == ["w1", "w4"]
    assert driver.audit.end == effects.StreamClosed(
        stream=1, reason="client", offset=20000, segments=2, audio=20000, dropped=8000
    )
    assert "Gap" not in {type(told).__name__ for told in driver.audit.told}


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_sender_that_is_far_too_fast_is_told_once_a_second(rate: int) -> None:
    driver = Driver(pcm_format=PcmFormat(sample_rate=rate), is_lossless=False, window_s=60.0)
    driver.send(loud(0, rate))
    for _ in range(500):  # of 20 ms each
        driver.refuse(loud(0, rate // 50))
    assert [dropped.end - dropped.start for dropped in drops(driver)] == [SAMPLE_RATE] * 10
    driver.refuse(loud(0, rate // 50))
    assert len(drops(driver)) == 10
    driver.finish()
    assert driver.audit.dropped[-1] == (11 * SAMPLE_RATE, 11 * SAMPLE_RATE + 320)


ENDS: dict[str, Callable[[Driver], None]] = {
    "send": lambda driver: driver.send(silence(10)),
    "flush": Driver.flush,
    "close": Driver.close,
    "drain": lambda driver: driver.stream.drain(),
    "cancel": lambda driver: driver.stream.cancel(),
    "another reason": lambda driver: driver.stream.refuse(b"", None, "overload"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_was_refused_is_told_when_anything_else_comes(end: Callable[[Driver], None]) -> None:
    driver = live()
    driver.refuse(silence(100))
    assert not drops(driver)
    end(driver)
    driver.collect()
    assert drops(driver) == [effects.Dropped(stream=1, start=0, end=100, reason="rate_limited")]
    if driver.stream.state is not StreamState.CLOSED:
        driver.finish()
    assert driver.audit.end is not None
    assert driver.audit.end.dropped == 100


def test_what_was_refused_before_a_hole_is_told_before_it() -> None:
    driver = live()
    driver.refuse(silence(100))
    driver.refuse(silence(10), 300)
    assert driver.audit.told[-2:] == [
        effects.Dropped(stream=1, start=0, end=100, reason="rate_limited"),
        effects.Gap(stream=1, start=100, end=300),
    ]
    driver.finish()
    assert driver.audit.dropped == [(0, 100), (300, 310)]


def test_the_commit_waits_for_what_was_refused_to_be_told() -> None:
    driver = live()
    driver.send(silence(W))
    driver.refuse(silence(5000))
    driver.listen()
    assert driver.stream.committed <= W
    driver.send(silence(W))
    driver.listen()
    assert driver.stream.committed >= W + 5000


def test_what_was_sent_before_is_not_refused() -> None:
    driver = live()
    driver.send(silence(1000))
    driver.refuse(silence(1000), 0)
    driver.refuse(silence(700), 500)
    driver.refuse(silence(100), 1100)
    driver.send(silence(300), 1000)
    driver.finish()
    assert driver.audit.dropped == [(1000, 1200)]
    assert driver.audit.end is not None
    assert (driver.audit.end.audio, driver.audit.end.dropped) == (1300, 200)


def test_a_broken_chunk_is_refused_as_it_would_be_received() -> None:
    driver = live()
    with pytest.raises(ProtocolError) as refusal:
        driver.stream.refuse(b"abc", None, "rate_limited")
    assert (refusal.value.code, refusal.value.stream) == (ErrorCode.INVALID_MESSAGE, 1)
    driver.finish()
    assert not driver.audit.dropped
    with pytest.raises(ProtocolError) as late:
        driver.stream.refuse(b"ab", None, "rate_limited")
    assert late.value.code is ErrorCode.UNKNOWN_STREAM


def test_refused_audio_that_is_too_short_for_a_position_leaves_a_hole_and_is_not_told() -> None:
    driver = Driver(pcm_format=PcmFormat(sample_rate=48000), is_lossless=False)
    driver.send(silence(48001))
    driver.refuse(silence(1))
    driver.send(silence(48000))
    driver.finish()
    assert not driver.audit.dropped


def test_a_lossless_sender_may_be_refused_too() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(word(1))
    driver.refuse(word(2))
    driver.send(word(3))
    driver.finish()
    assert driver.texts == ["w1", "w3"]
