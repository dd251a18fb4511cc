"""A stream held to the protocol: by example, and by machines that do whatever can be done."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.arrivals import MAX_FLUSHES_DUE
from asrd.session.backlog import MAX_PIECES
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.session.states import StreamState
from asrd.session.stream import Stream, Want
from asrd.transcript import Hypothesis
from support.profiles import examples
from support.streams import QUICK_RULE, Driver, Outcome, loud, silence, texts_and_times, word

W = WINDOW_SAMPLES
RATES = [16000, 8000, 44100, 48000]
PAUSE = silence(8 * W)
"""Silence that ends an utterance, whatever window it begins in."""


def kinds(told: list[effects.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in told]


def want_of(driver: Driver) -> Want | None:
    return driver.stream.want


def is_overdrawn(driver: Driver) -> bool:
    return driver.stream.is_overdrawn


def speak(driver: Driver, number: int) -> None:
    """A word and the silence that ends it."""
    driver.send(word(number))
    driver.send(PAUSE)


# ── opening ───────────────────────────────────────────────────────────────────────────────────


def test_credit_is_named_when_the_stream_opens_and_counts_from_its_start() -> None:
    driver = Driver(start_offset=5000, window_s=2.0)
    assert driver.audit.told == [effects.OpenedStream(stream=1, credit=5000 + 32000)]


def test_a_live_stream_has_no_credit() -> None:
    driver = Driver(is_lossless=False)
    speak(driver, 1)
    driver.run()
    assert driver.audit.told[0] == effects.OpenedStream(stream=1, credit=None)
    assert "CreditRaised" not in kinds(driver.audit.told)


def test_audio_that_came_before_the_model_was_ready_is_heard_once_it_is() -> None:
    driver = Driver(is_opened=False)
    speak(driver, 7)
    assert not driver.stream.has_unscored
    assert driver.stream.take_unscored(0.0) is None
    driver.open()
    driver.finish()
    assert driver.texts == ["w7"]


# ── the order of things ───────────────────────────────────────────────────────────────────────


def test_a_word_becomes_a_segment_with_its_commit() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(silence(10 * W))
    speak(driver, 1)
    driver.clock.advance(1.0)
    driver.listen()
    assert driver.begin() is not None
    driver.clock.advance(0.25)
    driver.end()
    (segment,) = driver.audit.segments
    assert (segment.id, segment.hypothesis.text, segment.latency_s) == (0, "w1", 0.25)
    assert (segment.start, segment.end) == (10 * W, 22 * W)
    assert segment.window_start == 7 * W
    assert segment.offset >= 22 * W  # speech, and what is surely silence behind it


def test_the_delay_of_a_segment_counts_from_the_end_of_its_speech() -> None:
    """What had come behind the speech when its end was known, heard already or not."""
    driver = Driver(partial_interval_s=None, pcm_format=PcmFormat(sample_rate=8000))
    driver.send(loud(0, 3 * W))
    driver.send(silence(6 * W))
    driver.listen()
    assert driver.begin() is not None
    driver.clock.advance(0.25)
    driver.end()
    (segment,) = driver.audit.segments
    assert segment.delay_s == pytest.approx((18 * W - segment.end) / SAMPLE_RATE + 0.25)
    assert segment.latency_s == 0.25


@pytest.mark.parametrize("quiet_windows", [0, 6])
def test_a_segment_behind_which_a_hole_came_has_no_delay(quiet_windows: int) -> None:
    """How long the hole took, its sender alone knows. The next segment has one again."""
    offset = 60 * SAMPLE_RATE
    driver = Driver(partial_interval_s=None, is_lossless=False)
    driver.send(loud(0, 3 * W))
    driver.send(silence(quiet_windows * W))
    driver.send(silence(W), offset)
    driver.send(loud(0, 3 * W))
    driver.send(silence(6 * W))
    driver.finish()
    first, second = driver.audit.segments
    assert first.end < offset < second.end
    assert first.delay_s is None
    assert second.delay_s is not None
    assert 0 < second.delay_s <= 10 * W / SAMPLE_RATE


def test_a_segment_behind_which_audio_was_refused_has_no_delay() -> None:
    """Whoever sends too fast says nothing about time; told already, or not yet."""
    for seconds in (0.5, 30.0):
        driver = Driver(partial_interval_s=None, is_lossless=False)
        driver.send(loud(0, 3 * W))
        driver.send(silence(6 * W))
        driver.refuse(silence(round(seconds * SAMPLE_RATE)))
        driver.finish()
        (segment,) = driver.audit.segments
        assert segment.delay_s is None


def test_a_segment_behind_which_speech_goes_on_has_no_delay() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(loud(0, 2 * QUICK_RULE.longest))
    driver.finish()
    first, *_ = driver.audit.segments
    assert (first.delay_s, first.latency_s >= 0) == (None, True)


def test_ids_and_times_go_on_from_where_another_daemon_stopped() -> None:
    driver = Driver(start_offset=10**9, start_id=41)
    for number in (1, 2):
        speak(driver, number)
    driver.finish()
    assert [segment.id for segment in driver.audit.segments] == [41, 42]
    assert driver.audit.segments[0].start == 10**9


def test_an_utterance_without_text_takes_no_id() -> None:
    driver = Driver(partial_interval_s=None)
    for number, outcome in ((1, "text"), (2, "empty"), (3, "text")):
        speak(driver, number)
        driver.run(outcome)  # type: ignore[arg-type]
    assert [segment.id for segment in driver.audit.segments] == [0, 1]


def test_a_flush_ends_the_open_utterance_and_is_told_behind_its_segment() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(word(1))
    driver.flush()
    driver.listen()
    assert "Flushed" not in kinds(driver.audit.told)
    driver.run()
    assert kinds(driver.audit.told)[-2:] == ["Segment", "Flushed"]


def test_a_flush_of_silence_is_answered_at_once() -> None:
    driver = Driver()
    driver.send(silence(100))
    driver.flush()
    driver.hand_out()
    assert driver.audit.told[-1] == effects.Flushed(stream=1, offset=100)


def test_the_commit_of_a_segment_does_not_overtake_the_flush_behind_it() -> None:
    """What is told as finished grows: segment, flush, and only then what was heard later."""
    driver = Driver(partial_interval_s=None)
    driver.send(word(1))
    driver.flush()
    driver.send(silence(2 * SAMPLE_RATE))
    speak(driver, 2)
    driver.listen()
    driver.decode()
    at = kinds(driver.audit.told).index("Segment")
    assert kinds(driver.audit.told)[at : at + 3] == ["Segment", "Flushed", "Committed"]
    assert driver.audit.segments[0].offset == 6000
    driver.finish()


def test_a_stream_is_closed_once_all_before_is_finished() -> None:
    driver = Driver()
    driver.send(word(1))
    driver.close()
    driver.listen()
    assert driver.stream.state is StreamState.CLOSING
    driver.run()
    assert driver.audit.end == effects.StreamClosed(
        stream=1, reason="client", offset=6000, segments=1, audio=6000, dropped=0
    )


def test_a_drain_says_that_the_daemon_ends_but_not_to_who_closed_before() -> None:
    for is_closed, reason in ((False, "shutdown"), (True, "client")):
        driver = Driver()
        driver.send(word(1))
        if is_closed:
            driver.close()
        driver.stream.drain()
        driver.finish()
        assert driver.audit.end is not None
        assert driver.audit.end.reason == reason
        assert driver.texts == ["w1"]


@pytest.mark.parametrize("reason", ["cancelled", "idle", "error"])
def test_a_cancel_ends_at_once_and_lets_go_of_all_audio(reason: effects.CloseReason) -> None:
    driver = Driver()
    speak(driver, 1)
    driver.listen()
    driver.begin()
    driver.send(word(2))
    driver.hand_out()
    driver.send(word(3))
    driver.stream.cancel(reason)
    driver.collect()
    assert driver.audit.end is not None
    assert (driver.audit.end.reason, driver.audit.end.segments) == (reason, 0)
    assert driver.held == 0
    driver.score()
    driver.end()  # both come too late and change nothing
    assert driver.held == 0
    assert driver.stream.take_effects() == []


@pytest.mark.parametrize("late", ["receive", "flush", "close", "drain", "cancel"])
def test_an_ended_stream_refuses_everything(late: str) -> None:
    stream = Driver().stream
    stream.cancel()
    calls: dict[str, Callable[[], None]] = {
        "receive": lambda: stream.receive(b"", None),
        "flush": stream.flush,
        "close": stream.close,
        "drain": stream.drain,
        "cancel": stream.cancel,
    }
    with pytest.raises(ProtocolError) as refusal:
        calls[late]()
    assert refusal.value.code is ErrorCode.UNKNOWN_STREAM


@pytest.mark.parametrize("late", ["receive", "flush", "close"])
def test_a_stream_that_is_closed_takes_no_more(late: str) -> None:
    stream = Driver().stream
    stream.close()
    calls: dict[str, Callable[[], None]] = {
        "receive": lambda: stream.receive(b"ab", None),
        "flush": stream.flush,
        "close": stream.close,
    }
    with pytest.raises(ProtocolError, match="closing"):
        calls[late]()


def test_a_broken_chunk_is_refused_and_the_stream_goes_on() -> None:
    driver = Driver()
    with pytest.raises(ProtocolError) as refusal:
        driver.stream.receive(b"abc", 0)
    assert (refusal.value.code, refusal.value.stream) == (ErrorCode.INVALID_MESSAGE, 1)
    speak(driver, 1)
    driver.finish()
    assert driver.texts == ["w1"]


# ── what is told of a hole ────────────────────────────────────────────────────────────────────


def test_a_hole_ends_the_utterance_and_the_clock_skips_it() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(word(1))
    driver.send(word(2), offset=106000)
    driver.finish()
    assert effects.Gap(stream=1, start=6000, end=106000) in driver.audit.told
    assert [(s.start, s.end) for s in driver.audit.segments] == [(0, 6000), (106000, 112000)]
    assert driver.audit.end is not None
    assert driver.audit.end.audio == 12000


# ── decodes that go wrong ─────────────────────────────────────────────────────────────────────


def test_an_utterance_is_read_again_when_a_worker_dies_under_it() -> None:
    driver = Driver(partial_interval_s=None)
    speak(driver, 1)
    driver.listen()
    driver.decode("die")
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert driver.texts == ["w1"]


def test_an_utterance_that_ends_two_workers_is_set_aside_and_the_next_one_is_read() -> None:
    driver = Driver(partial_interval_s=None)
    for number in (1, 2):
        speak(driver, number)
    driver.listen()
    driver.decode("die")
    driver.decode("die")
    at = kinds(driver.audit.told).index("DecodeFailed")
    assert kinds(driver.audit.told)[at + 1] == "Dropped"
    driver.decode("die")  # the second word has two attempts of its own
    driver.finish()
    assert driver.texts == ["w2"]
    assert [segment.id for segment in driver.audit.segments] == [0]


def test_an_utterance_that_the_model_refuses_is_set_aside_at_once() -> None:
    driver = Driver(partial_interval_s=None)
    for number in (1, 2):
        speak(driver, number)
    driver.listen()
    driver.decode("fail")
    driver.finish()
    (dropped,) = driver.audit.dropped
    assert driver.texts == ["w2"]
    assert driver.audit.end is not None
    assert driver.audit.end.dropped == dropped[1] - dropped[0] > 6000


def test_a_dropped_utterance_leaves_the_next_one_all_its_attempts() -> None:
    driver = Driver(is_lossless=False, window_s=1.5, partial_interval_s=None)
    speak(driver, 1)
    driver.listen()
    driver.decode("die")
    for number in (2, 3):  # the first is dropped for these
        speak(driver, number)
        driver.listen()
    assert len(driver.audit.dropped) == 1
    driver.decode("die")
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert driver.texts == ["w2", "w3"]


# ── partials ──────────────────────────────────────────────────────────────────────────────────


def test_the_open_utterance_is_read_whenever_it_has_grown_by_the_interval() -> None:
    driver = Driver(partial_interval_s=0.25)
    for start in range(0, 24000, 1600):
        driver.send(loud(start, start + 1600))
        driver.run()
    ends = [partial.end for partial in driver.audit.partials]
    assert len(ends) >= 4
    assert 2000 <= ends[0] < 2000 + 2100  # the first after half of it
    for sooner, later in pairwise(ends):
        needed = max(4000, 0.4 * later)  # or by two fifths of what is there then
        assert needed <= later - sooner < needed + 2100
    assert {partial.id for partial in driver.audit.partials} == {0}
    assert {partial.start for partial in driver.audit.partials} == {0}


def test_where_no_partials_are_wanted_none_are_read() -> None:
    driver = Driver(partial_interval_s=None)
    driver.send(loud(0, 16000))
    driver.listen()
    assert want_of(driver) is None


def test_silence_behind_a_word_is_not_read_over_and_over() -> None:
    driver = Driver()
    driver.send(loud(0, 8 * W))
    driver.listen()
    assert want_of(driver) is Want.PARTIAL
    driver.send(silence(W))
    driver.listen()
    assert want_of(driver) is None
    driver.send(silence(W))  # half of the silence that ends it: that is read once
    driver.listen()
    assert want_of(driver) is Want.PARTIAL
    driver.decode()
    driver.send(silence(W))
    driver.listen()
    assert want_of(driver) is None


def test_a_final_goes_before_a_partial() -> None:
    driver = Driver()
    speak(driver, 1)
    driver.send(loud(0, 20 * W))
    driver.listen()
    assert want_of(driver) is Want.FINAL
    driver.decode()
    assert want_of(driver) is Want.PARTIAL


def test_a_partial_that_comes_when_its_utterance_is_over_is_not_told() -> None:
    driver = Driver()
    driver.send(loud(0, 20 * W))
    driver.listen()
    driver.begin()
    driver.send(PAUSE)
    driver.listen()
    driver.end()
    assert not driver.audit.partials
    assert want_of(driver) is Want.FINAL
    driver.finish()


def test_an_empty_partial_is_not_told() -> None:
    driver = Driver()
    driver.send(loud(0, 20 * W))
    driver.listen()
    driver.decode("empty")
    assert not driver.audit.partials


def test_a_partial_that_ended_a_worker_is_not_tried_again_while_its_utterance_lasts() -> None:
    driver = Driver()
    for start in range(0, 40 * W, 10 * W):
        driver.send(loud(start, start + 10 * W))
        driver.listen()
        assert want_of(driver) is (Want.PARTIAL if start == 0 else None)
        driver.decode("die")
    driver.send(PAUSE)
    driver.run()
    driver.send(loud(0, 20 * W))
    driver.listen()
    assert want_of(driver) is Want.PARTIAL
    driver.finish()


def test_a_partial_that_ends_a_worker_late_costs_the_next_utterance_nothing() -> None:
    driver = Driver()
    driver.send(loud(0, 20 * W))
    driver.listen()
    driver.begin()
    driver.send(PAUSE)
    driver.listen()
    driver.end("die")
    driver.run()
    driver.send(loud(0, 20 * W))
    driver.listen()
    assert want_of(driver) is Want.PARTIAL
    driver.finish()


# ── commits and credit ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rate", RATES)
def test_silence_is_acknowledged_at_least_once_per_second(rate: int) -> None:
    driver = Driver(pcm_format=PcmFormat(sample_rate=rate))
    for _ in range(100):
        driver.send(silence(rate // 10))
        driver.run()
    acks = [told.offset for told in driver.audit.told if isinstance(told, effects.Committed)]
    steps = [later - sooner for sooner, later in pairwise([0, *acks])]
    assert all(0 < step <= rate for step in steps)
    assert acks[-1] > 8 * rate


@pytest.mark.parametrize("rate", RATES)
@given(
    runs=st.lists(st.tuples(st.booleans(), st.floats(0.1, 8.0)), min_size=1, max_size=5),
    chunk_s=st.floats(0.01, 1.0),
)
@examples(8)
def test_a_sender_that_keeps_to_its_credit_always_finishes(
    rate: int, runs: list[tuple[bool, float]], chunk_s: float
) -> None:
    """With a window little longer than the longest utterance there is always room to end it."""
    window_s = QUICK_RULE.longest / SAMPLE_RATE + 1.0
    driver = Driver(pcm_format=PcmFormat(sample_rate=rate), window_s=window_s)
    sound = np.concatenate(
        [(loud if is_loud else quiet)(0, round(seconds * rate)) for is_loud, seconds in runs]
    )
    while driver.expected < len(sound):
        assert driver.audit.credit is not None
        until = min(driver.expected + max(1, round(chunk_s * rate)), driver.audit.credit)
        assert driver.expected < until, "no credit, and nothing left to do: a deadlock"
        driver.send(sound[driver.expected : until], driver.expected)
        if driver.expected == driver.audit.credit or driver.expected >= len(sound):
            driver.run()  # as late as may be
        assert not is_overdrawn(driver)
        assert driver.held <= window_s * SAMPLE_RATE + 40 * W
    driver.finish()


def quiet(start: int, end: int) -> npt.NDArray[np.int16]:
    return silence(end - start)


def test_a_sender_far_past_its_credit_has_to_wait_until_there_is_room() -> None:
    driver = Driver(window_s=1.0, rule=QUICK_RULE)
    driver.send(silence(2 * SAMPLE_RATE))
    assert not is_overdrawn(driver)
    driver.send(silence(1))
    assert is_overdrawn(driver)
    driver.run()
    assert not is_overdrawn(driver)


def test_a_lossless_sender_of_many_splinters_has_to_wait_too() -> None:
    """Holes and single samples take little of the credit but cost memory all the same."""
    driver = Driver(window_s=60.0, is_opened=False)
    stream, offset = driver.stream, 0
    while not is_overdrawn(driver):
        stream.receive(b"ab", offset)
        offset += 2
        assert offset <= 2 * MAX_PIECES
    stream.open()
    while (unscored := stream.take_unscored(0.0)) is not None:
        stream.scored(np.zeros(len(unscored.windows), np.float32), 0.0)
    assert not is_overdrawn(driver)
    assert offset - stream.committed < 3 * W


def test_a_live_sender_of_many_splinters_loses_the_oldest() -> None:
    stream = Driver(window_s=60.0, is_opened=False, is_lossless=False).stream
    for offset in range(0, 2 * MAX_PIECES, 2):
        stream.receive(b"ab", offset)
    assert stream._listener.intake.pieces <= MAX_PIECES
    dropped = [told for told in stream.take_effects() if isinstance(told, effects.Dropped)]
    assert [(told.start, told.end) for told in dropped[:2]] == [(0, 1), (2, 3)]


def test_empty_chunks_ahead_of_all_audio_cost_nothing() -> None:
    stream = Driver(is_lossless=False).stream
    for offset in range(1, 1000):
        stream.receive(b"", offset)
    assert stream._listener.intake.pieces == 1


def test_flushes_that_wait_are_bounded_and_the_one_too_many_is_refused() -> None:
    driver = Driver(is_opened=False)
    for _ in range(MAX_FLUSHES_DUE):
        driver.send(silence(1))
        driver.flush()
    with pytest.raises(ProtocolError, match="wait") as refusal:
        driver.stream.flush()
    assert refusal.value.code is ErrorCode.BUSY
    assert refusal.value.stream == 1
    driver.open()
    driver.run()
    driver.flush()
    driver.finish()


# ── live: the oldest is dropped ───────────────────────────────────────────────────────────────


def test_an_utterance_that_waits_too_long_is_dropped_and_told() -> None:
    driver = Driver(is_lossless=False, window_s=1.5, partial_interval_s=None)
    for number in range(4):
        speak(driver, number)
        driver.listen()
    driver.finish()
    assert len(driver.audit.dropped) == 2
    assert driver.texts == ["w2", "w3"]


def test_what_a_model_reads_already_is_not_dropped() -> None:
    driver = Driver(is_lossless=False, window_s=1.0, partial_interval_s=None)
    speak(driver, 0)
    driver.listen()
    driver.begin()
    for number in range(1, 6):
        speak(driver, number)
        driver.listen()
    driver.end()
    assert driver.texts == ["w0"]
    assert driver.audit.dropped
    driver.finish()


def test_audio_that_nobody_scores_is_dropped_and_its_spans_tile() -> None:
    driver = Driver(is_lossless=False, window_s=2.0, is_opened=False)
    for start in range(0, 10 * SAMPLE_RATE, 800):
        driver.send(loud(start, start + 800))
        assert driver.held <= 2 * SAMPLE_RATE
    spans = driver.audit.dropped
    assert spans[0][0] == 0
    assert all(first[1] == second[0] for first, second in pairwise(spans))
    assert spans[-1][1] + driver.held == 10 * SAMPLE_RATE
    driver.open()
    driver.finish()


@pytest.mark.parametrize("is_read", [True, False])
def test_silence_behind_an_utterance_that_waits_costs_no_memory(is_read: bool) -> None:
    """A model that hangs or never comes must not have a microphone fill the memory."""
    driver = Driver(is_lossless=False, window_s=2.0)
    speak(driver, 1)
    driver.listen()
    if is_read:
        driver.begin()
    for _ in range(600):
        driver.send(silence(1600))
        driver.listen()
        assert driver.held < 2 * SAMPLE_RATE
    driver.end()
    driver.finish()
    assert driver.texts == ["w1"]


def test_a_flush_inside_dropped_audio_is_answered_in_its_place() -> None:
    driver = Driver(is_lossless=False, window_s=2.0, is_opened=False)
    for start in range(0, 6 * SAMPLE_RATE, 8000):
        driver.send(loud(start, start + 8000))
        driver.flush()
    driver.open()
    driver.finish()


# ── independence of how it came ───────────────────────────────────────────────────────────────

RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 30000)), min_size=1, max_size=10)


def sound_of(runs: list[tuple[bool, int]]) -> npt.NDArray[np.int16]:
    return np.concatenate([(loud if is_loud else quiet)(0, count) for is_loud, count in runs])


@pytest.mark.parametrize("rate", RATES)
@given(
    runs=RUNS,
    chunkings=st.tuples(
        *[st.lists(st.integers(1, 20000), min_size=1, max_size=8) for _ in range(2)]
    ),
    flushes=st.lists(st.integers(1, 100000), max_size=2),
    partials=st.tuples(st.booleans(), st.booleans()),
)
@example(  # two pauses of one utterance are read, and the second is its end
    runs=[(True, 374), (False, 1558), (True, 3895), (False, 1347)],
    chunkings=([1000], [1000]),
    flushes=[],
    partials=(False, True),
)
@examples(12)
def test_what_a_stream_yields_does_not_depend_on_how_its_audio_was_cut(
    rate: int,
    runs: list[tuple[bool, int]],
    chunkings: tuple[list[int], list[int]],
    flushes: list[int],
    partials: tuple[bool, bool],
) -> None:
    sound = sound_of(runs)
    cuts = sorted({min(cut, len(sound)) for cut in flushes} | {len(sound)})
    yields = []
    for chunks, has_partials in zip(chunkings, partials, strict=True):
        driver = Driver(
            pcm_format=PcmFormat(sample_rate=rate),
            window_s=60.0,
            partial_interval_s=0.3 if has_partials else None,
        )
        sent = 0
        for cut in cuts:
            while driver.expected < cut:
                until = min(cut, driver.expected + chunks[sent % len(chunks)])
                driver.send(sound[driver.expected : until])
                driver.run()
                sent += 1
            driver.flush()
        driver.finish()
        yields.append(texts_and_times(driver))
    assert yields[0] == yields[1]


@given(
    words=st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 30000)), min_size=1, max_size=12),
    chunk=st.integers(100, 20000),
    broken_after=st.integers(0, 60),
    unheard=st.integers(0, 2),
    longest=st.sampled_from([24, 48, 400]),
)
@examples(60)
def test_another_daemon_continues_without_loss_or_doubling(
    words: list[tuple[int, int]], chunk: int, broken_after: int, unheard: int, longest: int
) -> None:
    """Broken off anywhere: from its last commit and the next id a client gets the rest."""
    sound = np.concatenate(
        [np.append(word(number, n), silence(pause)) for number, (n, pause) in enumerate(words)]
    )
    rule = replace(QUICK_RULE, longest=longest * W)
    first = Driver(rule=rule, window_s=60.0)
    for _ in range(broken_after):
        first.send(sound[first.expected : first.expected + chunk])
        first.listen()
        if unheard == 0 or len(first.audit.segments) % (unheard + 1):
            first.run()
    heard = [segment.hypothesis.text for segment in first.audit.segments]
    second = Driver(
        rule=rule, window_s=60.0, start_offset=first.audit.commit, start_id=first.audit.next_id
    )
    second.send(sound[second.expected :])
    second.finish()
    assert second.audit.next_id - len(second.audit.segments) == len(heard)
    text = " ".join([*heard, *second.texts])
    assert [part for part in text.split() if part[0] == "w"] == [
        f"w{number}" for number in range(len(words))
    ]


# ── machines ──────────────────────────────────────────────────────────────────────────────────

OUTCOMES: list[Outcome] = [
    "text", "text", "text", "slip", "slip", "empty", "fail", "die", "abort", "forget"
]  # fmt: skip


class StreamMachine(RuleBasedStateMachine):
    """Does to a stream whatever a client, the voice activity and the workers can do."""

    is_lossless = True

    @initialize(
        rate=st.sampled_from(RATES),
        channels=st.sampled_from([1, 1, 2]),
        start_offset=st.sampled_from([0, 12345]),
        start_id=st.integers(0, 3),
        is_opened=st.sampled_from([True, True, False]),
        feed_s=st.sampled_from([None, None, 0.2]),
    )
    def begin_stream(
        self,
        rate: int,
        channels: int,
        start_offset: int,
        start_id: int,
        is_opened: bool,
        feed_s: float | None,
    ) -> None:
        self.driver = Driver(
            pcm_format=PcmFormat(sample_rate=rate, channels=channels),
            is_lossless=self.is_lossless,
            window_s=4.0 if self.is_lossless else 1.5,
            start_offset=start_offset,
            start_id=start_id,
            is_opened=is_opened,
            feed_s=feed_s,
        )
        self.history = [np.zeros(start_offset, "<i2")]
        self.largest = 0
        self.shed_s: float | None = None
        self.pace_s: float | None = 0.2
        self.refused: list[tuple[int, int]] = []  # 16 kHz spans, one for each run of chunks
        self.is_refusing = False

    @property
    def is_open(self) -> bool:
        return self.driver.stream.state is StreamState.OPEN

    @property
    def is_alive(self) -> bool:
        return self.driver.stream.state is not StreamState.CLOSED

    def make(self, is_loud: bool, seconds: float) -> npt.NDArray[np.int16]:
        count = round(seconds * self.driver.format.sample_rate)
        self.largest = max(self.largest, count)
        start = self.driver.expected
        return loud(start, start + count) if is_loud else silence(count)

    def note(self, sound: npt.NDArray[np.int16], offset: int | None) -> int:
        """A chunk that is sent: how many of its samples are new."""
        expected = self.driver.expected
        start = expected if offset is None else offset
        if start > expected:
            self.history.append(silence(start - expected))
        self.history.append(sound[max(0, expected - start) :])
        return len(self.history[-1])

    def send(self, sound: npt.NDArray[np.int16], offset: int | None) -> None:
        self.note(sound, offset)
        self.driver.send(sound, offset)
        self.is_refusing = False
        self.check_backlog()

    def check_backlog(self) -> None:
        """Too much waits at no time; by the smaller bound one utterance may."""
        stream = self.driver.stream
        if self.is_lossless:
            return
        unscored = self.driver.format.to_16k(stream._listener.intake.waiting)
        utterances = stream._ahead.waiting(has_begun=stream.reading.is_at_first)
        waiting = unscored + sum(utterances)
        assert waiting <= self.driver.rule.window_s * SAMPLE_RATE
        if self.shed_s is not None and len(utterances) != 1:
            assert waiting <= self.shed_s * SAMPLE_RATE

    @precondition(lambda self: not self.driver.stream.is_ready and self.is_alive)
    @rule()
    def open(self) -> None:
        self.driver.open()

    @precondition(lambda self: self.is_open and not self.driver.stream.is_overdrawn)
    @rule(is_loud=st.booleans(), seconds=st.floats(0, 1.2), is_exact=st.booleans())
    def audio(self, is_loud: bool, seconds: float, is_exact: bool) -> None:
        self.send(self.make(is_loud, seconds), self.driver.expected if is_exact else None)

    @precondition(lambda self: self.is_open and not self.driver.stream.is_overdrawn)
    @rule(
        runs=st.lists(st.tuples(st.booleans(), st.floats(0.1, 1.2)), min_size=1, max_size=4),
        outcome=st.sampled_from([None, *OUTCOMES]),
    )
    def talk(self, runs: list[tuple[bool, float]], outcome: Outcome | None) -> None:
        """As it goes where nothing goes wrong: audio is heard as it comes, and decoded."""
        for is_loud, seconds in runs:
            if not self.driver.stream.is_overdrawn:
                self.send(self.make(is_loud, seconds), None)
            if self.driver.stream.is_ready:
                self.driver.listen()
            if outcome is not None and self.driver.window is None:
                self.driver.decode(outcome)

    @precondition(lambda self: self.is_open and not self.driver.stream.is_overdrawn)
    @rule(back_s=st.floats(0, 2), is_loud=st.booleans(), seconds=st.floats(0, 0.5))
    def resend(self, back_s: float, is_loud: bool, seconds: float) -> None:
        """What was sent once more, with something new behind it."""
        new = self.make(is_loud, seconds)
        sent = np.concatenate(self.history)
        back = min(len(sent), round(back_s * self.driver.format.sample_rate))
        offset = self.driver.expected - back
        self.send(np.concatenate([sent[len(sent) - back :], new]), offset)

    @precondition(lambda self: self.is_open and not self.driver.stream.is_overdrawn)
    @rule(skipped=st.integers(1, 5000), is_loud=st.booleans(), seconds=st.floats(0, 0.5))
    def hole(self, skipped: int, is_loud: bool, seconds: float) -> None:
        self.send(self.make(is_loud, seconds), self.driver.expected + skipped)

    @precondition(lambda self: self.is_open)
    @rule(
        chunks=st.lists(st.floats(0, 0.7), min_size=1, max_size=4),
        shift=st.one_of(st.none(), st.integers(-3000, 3000)),
        is_loud=st.booleans(),
    )
    def refuse(self, chunks: list[float], shift: int | None, is_loud: bool) -> None:
        """Chunks in a row that come too fast, the first behind a hole, or in part once more."""
        for seconds in chunks:
            sound = self.make(is_loud, seconds)
            expected, offset = self.driver.expected, None
            if shift is not None:
                offset, shift = max(0, expected + shift), None
            is_behind_hole = offset is not None and offset > expected
            new = self.note(sound, offset)
            told = len(self.driver.audit.told)
            self.driver.refuse(sound, offset)
            if new:
                to_16k = self.driver.format.to_16k
                end = to_16k(self.driver.expected)
                if self.is_refusing and not is_behind_hole:
                    self.refused[-1] = (self.refused[-1][0], end)
                else:
                    self.refused.append((to_16k(self.driver.expected - new), end))
            self.is_refusing = (self.is_refusing and not is_behind_hole) or bool(new)
            drops = [e for e in self.driver.audit.told[told:] if isinstance(e, effects.Dropped)]
            assert len(drops) <= 1 + is_behind_hole

    @precondition(lambda self: self.is_alive)
    @rule(shed_s=st.sampled_from([None, None, 0.0, 0.3, 1.0, 9.0]))
    def shed(self, shed_s: float | None) -> None:
        self.shed_s = shed_s
        self.driver.stream.shed_to(shed_s)
        self.driver.collect()
        self.check_backlog()

    @rule(reason=st.sampled_from(["queue_full", "queue_timeout"]))
    def drop_waiting(self, reason: effects.DropReason) -> None:
        stream = self.driver.stream
        waiting = len(stream._ahead.waiting(has_begun=stream.reading.is_at_first))
        self.driver.collect()  # what a drain has told
        before = len(self.driver.audit.dropped)
        has_dropped = stream.drop_waiting(reason)
        self.driver.collect()
        assert has_dropped is (bool(waiting) and not self.is_lossless)
        assert len(self.driver.audit.dropped) - before == has_dropped

    @rule(pace_s=st.sampled_from([None, 0.05, 0.2, 1.0]))
    def set_pace(self, pace_s: float | None) -> None:
        self.pace_s = pace_s
        self.driver.stream.set_pace(pace_s)

    @precondition(lambda self: self.is_alive)
    @rule(model=st.sampled_from(["model", "other"]), feed_s=st.sampled_from([None, 0.1, 0.5]))
    def change_model(self, model: str, feed_s: float | None) -> None:
        self.driver.stream.reading.feeding.go_by(model, feed_s)
        self.driver.collect()

    @precondition(lambda self: self.is_open)
    @rule()
    def flush(self) -> None:
        self.driver.flush()
        self.is_refusing = False

    @rule()
    def hand_out(self) -> None:
        self.driver.hand_out()

    @precondition(lambda self: self.driver.unscored is not None)
    @rule()
    def score(self) -> None:
        self.driver.score()

    @precondition(lambda self: self.driver.stream.has_unscored)
    @rule()
    def listen(self) -> None:
        self.driver.listen()

    @precondition(lambda self: self.driver.window is None)
    @rule()
    def begin(self) -> None:
        self.driver.begin()

    @precondition(lambda self: self.driver.window is not None)
    @rule(outcome=st.sampled_from(OUTCOMES), seconds=st.floats(0, 1))
    def end(self, outcome: Outcome, seconds: float) -> None:
        self.driver.clock.advance(seconds)
        self.driver.end(outcome)

    @precondition(lambda self: self.driver.stream.want is not None)
    @rule(outcome=st.sampled_from(OUTCOMES))
    def decode(self, outcome: Outcome) -> None:
        self.driver.decode(outcome)

    @precondition(lambda self: self.is_open and self.driver.stream.is_ready)
    @rule(dice=st.integers(0, 9), is_drain=st.booleans())
    def end_stream(self, dice: int, is_drain: bool) -> None:
        if dice == 0 and is_drain:
            self.driver.stream.drain()
        elif dice == 0:
            self.driver.close()

    @precondition(lambda self: self.is_alive)
    @rule(dice=st.integers(0, 19))
    def cancel(self, dice: int) -> None:
        if dice == 0:
            self.driver.stream.cancel()
            self.driver.collect()
            assert self.driver.held == 0

    @invariant()
    def the_pace_is_kept(self) -> None:
        stream = self.driver.stream
        assert stream.want is stream.reading.want
        is_fed = stream.reading.feeding.feed_s is not None
        assert stream.want is not Want.PARTIAL or self.pace_s is not None or is_fed
        assert (stream.reading.next_window is not None) is (stream.want is not None)

    @invariant()
    def memory_is_bounded(self) -> None:
        """What may wait, an open utterance, one at the model, and pieces not yet let go of."""
        driver = self.driver
        window = driver.rule.window_s * SAMPLE_RATE * (2 if self.is_lossless else 1)
        chunk = self.largest * SAMPLE_RATE / driver.format.sample_rate
        spoken = 2 * (QUICK_RULE.longest + 5 * W) + 2 * 33 * W
        edges = 2 * 33 * W * len(driver.stream._ahead)  # of utterances that wait
        assert driver.held <= window + 2 * chunk + spoken + edges

    def teardown(self) -> None:
        if self.is_alive:
            if not self.driver.stream.is_ready:
                self.driver.open()
            self.driver.finish()
        self.check_refused()

    def check_refused(self) -> None:
        """All that was refused is told, and nothing else, in pieces of a second but for the last
        of each run."""
        told = [
            (effect.start, effect.end)
            for effect in self.driver.audit.told
            if isinstance(effect, effects.Dropped) and effect.reason == "rate_limited"
        ]
        for start, end in self.refused:
            at = start
            while at < end:
                piece = told.pop(0)
                assert piece[0] == at
                at = piece[1]
                assert at == end or at - piece[0] >= SAMPLE_RATE - 1
            assert at == end
        assert not told


class LiveStreamMachine(StreamMachine):
    is_lossless = False


TestLosslessStream = StreamMachine.TestCase
TestLosslessStream.settings = examples(120, steps=40)
TestLiveStream = LiveStreamMachine.TestCase
TestLiveStream.settings = examples(120, steps=40)


def test_a_late_answer_to_a_stream_that_never_asked_changes_nothing() -> None:
    stream: Stream = Driver().stream
    stream.take_effects()
    stream.end_decode(Hypothesis(text="hello"), 0.0)
    stream.fail_decode("no")
    stream.retry_decode("no")
    stream.scored(np.zeros(0, np.float32), 0.0)
    assert stream.take_effects() == []
    assert stream.want is None
