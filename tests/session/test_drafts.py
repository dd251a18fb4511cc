"""A stream and the readings of its open utterance: what is stable, and finals that are there
already when the speaker stops."""

from dataclasses import replace
from itertools import pairwise

import pytest

from asrd.audio import SAMPLE_RATE
from asrd.session import effects
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.session.stream import Want, Window
from support.streams import QUICK_RULE, Driver, Outcome, heard_in, loud, silence, word

W = WINDOW_SAMPLES
HALF = silence(2 * W)
"""Half of the silence that ends an utterance: behind it, the open one is read as a final is."""

LONG_RULE = replace(QUICK_RULE, longest=30 * SAMPLE_RATE, silence=20 * W, post_roll=6 * W)


def want_of(driver: Driver) -> Want | None:
    return driver.stream.want


def spoken(windows: int = 20) -> Driver:
    """Speech that was read as it came."""
    driver = Driver()
    speak(driver, windows)
    return driver


def speak(driver: Driver, windows: int) -> None:
    for _ in range(windows):
        driver.send(loud(driver.expected, driver.expected + W))
        driver.run()


def pause(driver: Driver) -> Window:
    """Silence in which the speaker may have ended, and the window that is read then."""
    driver.send(HALF)
    driver.listen()
    window = driver.begin()
    assert window is not None
    return window


def told(driver: Driver) -> list[str]:
    return [segment.hypothesis.text for segment in driver.audit.segments]


# ── stable text ───────────────────────────────────────────────────────────────────────────────


def test_what_two_readings_agree_on_is_stable() -> None:
    partials = spoken(20).audit.partials
    assert [(partial.text, partial.text[: partial.stable]) for partial in partials] == [
        ("t0 x2048", ""),
        ("t0 t1 t2 x5632", "t0"),
        ("t0 t1 t2 t3 t4 t5 x9728", "t0 t1 t2"),
    ]


def test_a_final_that_reads_otherwise_keeps_what_was_stable() -> None:
    driver = spoken()
    stable = driver.audit.stable
    assert stable.startswith("t0 t1")
    driver.send(silence(4 * W))
    driver.listen()
    assert want_of(driver) is Want.FINAL
    driver.decode("slip")
    heard = heard_in(0, 22 * W, has_slips=True).split()
    assert heard[:3] != stable.split()
    assert told(driver) == [" ".join([*stable.split(), *heard[3:]])]


def test_an_empty_final_keeps_what_was_stable() -> None:
    driver = spoken()
    stable = driver.audit.stable
    driver.send(silence(4 * W))
    driver.listen()
    driver.decode("empty")
    assert told(driver) == [stable]


def test_nothing_is_committed_that_a_split_may_give_to_the_next_utterance() -> None:
    driver = Driver()
    speak(driver, 47)
    settled = driver.stream._speech.settled_before
    assert 20 * W <= settled <= 24 * W
    last = driver.audit.stable.split()[-1]
    speak(driver, 20)
    first = driver.audit.segments[0]
    assert settled <= first.end
    assert int(last.removeprefix("t")) * 1600 + 1600 <= settled
    assert first.hypothesis.text == heard_in(0, first.end)
    driver.finish()
    assert told(driver)[1] == heard_in(first.end, driver.audit.segments[1].end)


def test_a_long_window_begins_anew_behind_a_pause_and_nothing_is_lost_or_doubled() -> None:
    driver = Driver(rule=LONG_RULE, window_s=60.0, partial_interval_s=0.5)
    speak(driver, 144)
    driver.send(silence(12 * W))
    driver.run()
    starts = {driver.audit.partials[-1].start}
    windows = []
    for _ in range(80):
        driver.send(loud(driver.expected, driver.expected + 8 * W))
        driver.listen()
        if (window := driver.begin()) is not None:
            windows.append(window)
            driver.end()
    starts |= {partial.start for partial in driver.audit.partials}
    assert starts == {0}
    begun_anew = [window for window in windows if window.start > 0]
    assert {window.start for window in begun_anew} == {(144 + 6 - 3) * W}
    assert all(window.prompt.endswith("t46 t47") for window in begun_anew)
    assert all(window.start == 0 for window in windows if window.end <= 10 * SAMPLE_RATE)
    driver.finish()
    words = told(driver)[0].split()
    assert words[:48] == [f"t{at}" for at in range(48)]
    whole = [each for each in words if each[0] == "t"]
    assert whole == sorted(set(whole), key=lambda each: int(each[1:]))


# ── finals that are there already ─────────────────────────────────────────────────────────────


def test_a_reading_of_all_that_was_said_is_the_final_once_the_silence_is_long_enough() -> None:
    driver = spoken()
    window = pause(driver)
    assert (window.want, window.start, window.end) == (Want.PARTIAL, 0, 22 * W)
    assert window.is_thorough
    assert window.may_be_final
    driver.clock.advance(0.3)
    driver.end()
    assert driver.audit.partials[-1].end == 22 * W
    driver.send(silence(W))
    driver.listen()
    assert not driver.audit.segments
    heard_s = driver.stream.reading.heard_s
    driver.send(silence(W))
    driver.listen()
    (segment,) = driver.audit.segments
    assert (segment.start, segment.end, segment.window_start) == (0, 20 * W, 0)
    assert segment.hypothesis.text == heard_in(0, 22 * W)
    assert segment.latency_s == 0
    assert driver.stream.reading.heard_s == heard_s == 0  # there was nothing left to read
    assert driver.stream.reading.speech_s == 22 * W / SAMPLE_RATE
    assert want_of(driver) is None
    driver.finish()


def test_an_utterance_may_end_while_the_reading_of_all_of_it_runs() -> None:
    driver = spoken()
    pause(driver)
    driver.send(HALF)
    driver.listen()
    assert not driver.audit.segments
    assert want_of(driver) is None
    partials = len(driver.audit.partials)
    driver.clock.advance(0.25)
    driver.end()
    assert told(driver) == [heard_in(0, 22 * W)]
    assert driver.audit.segments[0].latency_s == 0.25
    assert len(driver.audit.partials) == partials
    assert want_of(driver) is None
    driver.finish()


@pytest.mark.parametrize("outcome", ["die", "fail", "abort"])
@pytest.mark.parametrize("is_over", [True, False])
def test_where_nothing_came_of_that_reading_the_final_is_decoded(
    outcome: Outcome, is_over: bool
) -> None:
    driver = spoken()
    pause(driver)
    if is_over:
        driver.send(HALF)
        driver.listen()
        driver.end(outcome)
    else:
        driver.end(outcome)
        driver.send(HALF)
        driver.listen()
    assert want_of(driver) is Want.FINAL
    window = driver.begin()
    assert window is not None
    assert (window.start, window.end) == (0, 22 * W)
    driver.end()
    assert told(driver) == [heard_in(0, 22 * W)]
    assert not driver.audit.dropped
    driver.finish()


def test_an_aborted_reading_in_a_pause_is_read_again_there() -> None:
    driver = spoken()
    first = pause(driver)
    driver.end("abort")
    again = driver.begin()
    assert again is not None
    assert (again.start, again.end, again.is_thorough) == (first.start, first.end, True)
    driver.end()
    driver.send(HALF)
    driver.listen()
    assert told(driver) == [heard_in(0, 22 * W)]


def test_a_worker_that_dies_over_it_counts_for_the_final() -> None:
    driver = spoken()
    pause(driver)
    driver.send(HALF)
    driver.listen()
    driver.end("die")
    driver.decode("die")
    assert driver.audit.dropped == [(0, 22 * W)]
    driver.finish()


def test_where_speech_goes_on_behind_a_pause_nothing_is_final() -> None:
    driver = spoken()
    pause(driver)
    driver.end()
    speak(driver, 10)
    assert not driver.audit.segments
    driver.send(silence(4 * W))
    driver.run()
    assert told(driver) == [heard_in(0, 34 * W)]
    driver.finish()


def test_where_speech_went_on_while_it_was_read_the_reading_is_a_partial_like_any_other() -> None:
    driver = spoken()
    window = pause(driver)
    driver.send(loud(0, 10 * W))
    driver.listen()
    driver.end()
    assert driver.audit.partials[-1].end == window.end
    driver.send(silence(4 * W))
    driver.run()
    assert told(driver) == [heard_in(0, 34 * W)]
    driver.finish()


def test_an_utterance_that_has_ended_further_on_when_the_reading_comes_is_decoded() -> None:
    driver = spoken()
    pause(driver)
    driver.send(loud(0, 10 * W))
    driver.send(silence(4 * W))
    driver.listen()
    driver.end()
    assert not driver.audit.segments
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert told(driver) == [heard_in(0, 34 * W)]


def test_a_flush_amid_speech_decodes_the_final_at_once() -> None:
    driver = spoken()
    driver.flush()
    driver.listen()
    assert want_of(driver) is Want.FINAL
    driver.decode()
    assert told(driver) == [heard_in(0, 20 * W)]
    assert effects.Flushed(stream=1, offset=20 * W) in driver.audit.told
    speak(driver, 20)
    driver.finish()
    assert len(told(driver)) == 2


def test_a_flush_in_a_pause_that_was_read_needs_no_decode() -> None:
    driver = spoken()
    pause(driver)
    driver.end()
    driver.flush()
    driver.listen()
    assert told(driver) == [heard_in(0, 22 * W)]
    assert effects.Flushed(stream=1, offset=22 * W) in driver.audit.told
    driver.finish()


def test_finals_that_are_there_already_wait_for_those_before_them() -> None:
    driver = Driver(partial_interval_s=0.2)
    driver.send(word(1))
    driver.send(silence(8 * W))
    driver.listen()
    driver.begin()
    driver.send(word(2))
    driver.listen()
    driver.end("abort")
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert told(driver) == ["w1", "w2"]


def test_an_utterance_that_is_being_read_to_its_end_is_not_dropped_for_those_behind() -> None:
    driver = Driver(is_lossless=False, window_s=1.0, partial_interval_s=0.2)
    speak(driver, 20)
    pause(driver)
    driver.send(HALF)
    driver.listen()
    for number in range(1, 5):
        driver.send(word(number))
        driver.send(silence(8 * W))
        driver.listen()
    assert driver.audit.dropped
    assert driver.audit.dropped[0][0] >= 22 * W
    driver.end()
    assert told(driver) == [heard_in(0, 22 * W)]
    driver.finish()


def test_a_reading_of_an_utterance_that_still_waits_behind_another_is_its_final() -> None:
    """The window it had is just the one that its final would have."""
    driver = spoken()
    pause(driver)
    driver.send(HALF)
    driver.listen()
    driver.send(word(7))
    driver.send(silence(8 * W))
    driver.listen()
    driver.end()
    assert told(driver) == [heard_in(0, 22 * W)]
    assert want_of(driver) is Want.FINAL
    driver.finish()
    assert told(driver)[1] == "w7"


# ── models that are fed ───────────────────────────────────────────────────────────────────────


def fed_windows(driver: Driver, windows: int) -> list[Window]:
    """Speech that is fed as it comes."""
    found = []
    for _ in range(windows):
        driver.send(loud(driver.expected, driver.expected + W))
        driver.listen()
        if (window := driver.begin()) is not None:
            found.append(window)
            driver.end()
    return found


@pytest.mark.parametrize("interval_s", [0.5, None])
def test_a_model_that_is_fed_hears_each_sample_once(interval_s: float | None) -> None:
    driver = Driver(partial_interval_s=interval_s, feed_s=0.25)
    windows = fed_windows(driver, 40)
    assert [window.end - window.start for window in windows] == [8 * W] * 5
    parts = [window.part for window in windows]
    assert [part.is_first for part in parts if part is not None] == [True] + [False] * 4
    driver.send(silence(4 * W))
    driver.listen()
    window = driver.begin()
    assert window is not None
    assert window.part is not None
    assert (window.want, window.start, window.end) == (Want.FINAL, 40 * W, 42 * W)
    assert window.part.is_last
    driver.end()
    assert told(driver) == [heard_in(0, 42 * W)]
    assert len(driver.audit.partials) == (0 if interval_s is None else 5)
    driver.finish()
    assert driver.fed.finished == {1: (0, 42 * W)}
    assert not driver.fed.given_up


def test_a_fed_utterance_is_fed_to_its_end_in_a_pause_and_finished_without_audio() -> None:
    driver = Driver(partial_interval_s=0.25, feed_s=0.25)
    fed_windows(driver, 20)
    window = pause(driver)
    assert (window.start, window.end, window.may_be_final) == (16 * W, 22 * W, False)
    driver.end()
    driver.send(HALF)
    driver.listen()
    last = driver.begin()
    assert last is not None
    assert (last.want, len(last.audio)) == (Want.FINAL, 0)
    driver.end()
    assert told(driver) == [heard_in(0, 22 * W)]
    driver.finish()


@pytest.mark.parametrize("outcome", ["forget", "die", "fail", "abort"])
def test_what_a_model_has_lost_it_is_fed_from_the_first_sample(outcome: Outcome) -> None:
    driver = Driver(partial_interval_s=0.25, feed_s=0.25)
    fed_windows(driver, 12)
    driver.send(loud(driver.expected, driver.expected + 8 * W))
    driver.listen()
    driver.decode(outcome)
    driver.send(silence(4 * W))
    driver.run()
    assert told(driver) == [heard_in(0, 22 * W)]
    driver.finish()
    assert driver.fed.finished == {2: (0, 22 * W)}
    assert driver.fed.given_up == {1}


@pytest.mark.parametrize("outcome", ["forget", "abort", "die"])
def test_a_last_part_that_came_to_nothing_is_given_up_and_fed_anew(outcome: Outcome) -> None:
    driver = Driver(partial_interval_s=None, feed_s=0.25)
    fed_windows(driver, 12)
    driver.send(silence(4 * W))
    driver.listen()
    driver.decode(outcome)
    window = driver.begin()
    assert window is not None
    assert window.part is not None
    assert (window.part.is_first, window.part.is_last, window.start) == (True, True, 0)
    driver.end()
    driver.finish()
    assert (driver.fed.given_up, set(driver.fed.finished)) == ({1}, {2})


@pytest.mark.parametrize("feeds_s", [(0.25, 0.25), (0.25, None), (None, 0.25)])
def test_another_model_hears_an_open_utterance_from_its_beginning(
    feeds_s: tuple[float | None, float | None],
) -> None:
    driver = Driver(partial_interval_s=0.25, feed_s=feeds_s[0])
    fed_windows(driver, 20)
    stable = driver.audit.stable
    assert stable
    driver.stream.reading.feeding.go_by("other", feeds_s[1])
    windows = fed_windows(driver, 10)
    assert windows[0].start == 0
    assert len(driver.audit.stable) > len(stable)
    driver.send(silence(4 * W))
    driver.run()
    assert told(driver) == [heard_in(0, 32 * W)]
    driver.finish()


def test_a_fed_model_that_takes_over_behind_a_trimmed_window_doubles_nothing() -> None:
    driver = Driver(rule=LONG_RULE, window_s=60.0, partial_interval_s=0.5)
    speak(driver, 144)
    driver.send(silence(12 * W))
    driver.run()
    speak(driver, 300)
    assert driver.stream.reading._draft is not None
    assert driver.stream.reading._draft.prompt.endswith("t46 t47")
    stable = driver.audit.stable
    driver.stream.reading.feeding.go_by("other", 0.5)
    driver.run()
    speak(driver, 40)
    assert driver.audit.stable.startswith(stable)
    driver.send(silence(30 * W))
    driver.run()
    words = told(driver)[0].split()
    whole = [each for each in words if each[0] == "t"]
    assert whole == sorted(set(whole), key=lambda each: int(each[1:]))
    assert whole[:48] == [f"t{at}" for at in range(48)]
    driver.finish()


def test_a_cancelled_stream_gives_up_what_it_fed_and_wants_nothing() -> None:
    driver = Driver(partial_interval_s=0.25, feed_s=0.25)
    fed_windows(driver, 12)
    driver.stream.cancel()
    driver.collect()
    assert driver.fed.given_up == {1}
    assert driver.stream.reading.want is None
    assert driver.stream.reading.next_window is None


def test_who_hesitates_is_not_read_at_each_pause() -> None:
    """The first pause is read, and then no more often than partials come."""
    driver = Driver(rule=LONG_RULE, partial_interval_s=2.0, window_s=60.0)
    ends = []
    for _ in range(6):
        speak(driver, 10)
        driver.send(silence(11 * W))
        driver.listen()
        while (window := driver.begin()) is not None:
            if window.is_thorough:
                ends.append(window.end)
            driver.end()
    assert ends[0] == 16 * W  # behind the first pause, with its post-roll
    steps = [later - sooner for sooner, later in pairwise(ends)]
    assert steps
    assert all(step >= 2 * SAMPLE_RATE for step in steps)


def test_the_load_counts_what_finals_have_still_to_read() -> None:
    driver = spoken()
    driver.send(silence(4 * W))
    driver.listen()
    assert driver.stream.reading.heard_s == 22 * W / SAMPLE_RATE
    concluded = Driver()
    speak(concluded, 20)
    pause(concluded)
    concluded.end()
    concluded.send(silence(2 * W))
    concluded.run()
    assert len(concluded.audit.segments) == 1
    assert concluded.stream.reading.heard_s == 0.0
