"""Where speech begins and ends, window by window."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asrd.session.endpoint import (
    WINDOW_SAMPLES,
    Endpointer,
    EndpointRule,
    SpeechBegan,
    Utterance,
)
from support.profiles import examples

W = WINDOW_SAMPLES
LOUD = 0.1
"""The power of every window, where a test says no other."""

RULE = EndpointRule(
    silence=5 * W, pre_roll=3 * W, post_roll=2 * W, longest=40 * W, shortest_windows=3
)


@dataclass
class Heard:
    """What an endpointer said, in order.

    A listener that begins anew a little earlier is played by pushing what came there once more: a
    window is as likely speech, and as loud, as most of it was.
    """

    endpointer: Endpointer
    began: list[int] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    windows: list[tuple[int, float, float]] = field(default_factory=list)

    def push(self, *probabilities: float, power: float = LOUD) -> "Heard":
        for probability in probabilities:
            end = self.windows[-1][0] + W if self.windows else self.endpointer.position
            self.windows.append((end, probability, power))
            while self.endpointer.position <= end:
                self._push_next()
        return self

    def _push_next(self) -> None:
        middle = self.endpointer.position + W // 2
        _, probability, power = next(each for each in self.windows if middle < each[0] + W)
        event = self.endpointer.push(probability, power)
        if isinstance(event, SpeechBegan):
            self.began.append(event.position)
        elif event is not None:
            self.utterances.append(event)

    def speech(self, windows: int) -> "Heard":
        return self.push(*[1.0] * windows)

    def silence(self, windows: int) -> "Heard":
        return self.push(*[0.0] * windows, power=0.0)

    def cut(self, position: int) -> "Heard":
        utterance = self.endpointer.cut(position)
        self.windows.clear()
        if utterance is not None:
            self.utterances.append(utterance)
        return self

    @property
    def only(self) -> Utterance:
        (utterance,) = self.utterances
        return utterance


def hear(rule: EndpointRule = RULE, position: int = 0) -> Heard:
    return Heard(Endpointer(rule, position))


# ── beginning ─────────────────────────────────────────────────────────────────────────────────


def test_an_utterance_reaches_back_by_the_pre_roll_and_on_by_the_post_roll() -> None:
    heard = hear().silence(10).speech(4).silence(5)
    assert heard.began == [10 * W]
    assert heard.only == Utterance(
        start=7 * W, end=16 * W, speech_start=10 * W, speech_end=14 * W, origin=0
    )


def test_the_pre_roll_never_reaches_behind_the_beginning_of_the_stream() -> None:
    assert hear(position=1000).silence(1).speech(4).silence(5).only.start == 1000


def test_the_pre_roll_never_reaches_into_the_utterance_before() -> None:
    """The silence between two utterances is shared out, and no sample is in both."""
    heard = hear(replace(RULE, pre_roll=10 * W)).speech(4).silence(5).speech(4).silence(5)
    first, second = heard.utterances
    assert first.end == second.start == 6 * W


def test_the_pre_roll_never_reaches_behind_a_cut() -> None:
    heard = hear().silence(10).cut(10 * W).silence(1).speech(4).silence(5)
    assert heard.only.start == 10 * W


def test_speech_begins_at_the_upper_threshold_and_lasts_down_to_the_lower() -> None:
    upper, lower = RULE.begin_probability, RULE.stay_probability
    assert lower < upper
    assert not hear().push(*[upper - 0.01] * 20).silence(9).utterances
    heard = hear().push(upper, upper, upper, *[lower] * 20).silence(5)
    assert heard.only.speech_end == 23 * W
    heard = hear().push(upper, upper, upper, *[lower - 0.01] * 20)
    assert heard.only.speech_end == 3 * W


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_what_is_as_long_as_the_shortest_word_is_speech(windows: int) -> None:
    heard = hear(replace(RULE, shortest_windows=windows)).silence(4).speech(windows).silence(5)
    assert heard.began == [4 * W]
    assert heard.only.speech_end == (4 + windows) * W


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(5, 20)), max_size=20))
def test_blips_of_noise_yield_nothing(blips: list[tuple[int, int]]) -> None:
    heard = hear()
    for loud, quiet in blips:
        heard.speech(loud).silence(quiet)
        assert heard.endpointer.open_start is None
    assert not heard.began
    assert not heard.utterances


def test_windows_that_hardly_stay_do_not_make_noise_a_word() -> None:
    """Only windows above the upper threshold count towards the shortest word."""
    heard = hear().push(1.0, 1.0, *[0.3] * 20).silence(9)
    assert not heard.began
    assert not heard.utterances


def test_half_a_minute_of_doubt_is_noise() -> None:
    heard = hear().push(1.0, *[0.3] * 60)
    assert not heard.utterances
    assert heard.endpointer.finished_before > 40 * W


# ── ending ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("silence", "windows"), [(1, 1), (W, 1), (W + 1, 2), (1600, 4), (8000, 16), (80000, 157)]
)
def test_an_utterance_ends_with_the_window_that_completes_the_silence(
    silence: int, windows: int
) -> None:
    rule = replace(RULE, silence=silence, longest=1000 * W)
    heard = hear(rule).speech(4).silence(windows - 1)
    assert not heard.utterances
    assert heard.endpointer.is_trailing is (windows > 1)
    assert heard.silence(1).only.speech_end == 4 * W


def test_a_pause_shorter_than_the_silence_ends_nothing() -> None:
    heard = hear().speech(4).silence(4).speech(4).silence(5)
    assert (heard.only.speech_start, heard.only.speech_end) == (0, 12 * W)
    assert len(heard.began) == 1


def test_the_post_roll_is_no_longer_than_the_silence_that_was_heard() -> None:
    heard = hear(replace(RULE, post_roll=100 * W)).speech(4).silence(5)
    assert heard.only.end == 9 * W


def test_a_cut_ends_what_is_open_where_the_audio_ends() -> None:
    heard = hear().silence(5).speech(4).cut(8 * W + 100)  # the last window was filled up
    assert heard.only == Utterance(
        start=2 * W, end=8 * W + 100, speech_start=5 * W, speech_end=8 * W + 100, origin=0
    )
    assert heard.endpointer.position == 8 * W + 100


def test_a_cut_in_silence_or_doubt_yields_nothing() -> None:
    assert not hear().silence(5).cut(5 * W).utterances
    assert not hear().speech(2).cut(2 * W).utterances


# ── what may be relied on meanwhile ───────────────────────────────────────────────────────────


def test_what_is_open_is_told_only_once_it_surely_is_speech() -> None:
    endpointer = hear().silence(10).speech(2).endpointer
    assert (endpointer.open_start, endpointer.speech_start) == (None, None)
    assert endpointer.is_listening
    endpointer.push(1.0, LOUD)
    assert (endpointer.open_start, endpointer.speech_start) == (7 * W, 10 * W)
    assert not endpointer.is_trailing
    endpointer.push(0.0, LOUD)
    assert endpointer.is_trailing


def test_all_but_the_pre_roll_of_silence_is_finished() -> None:
    heard = hear().silence(10)
    assert heard.endpointer.finished_before == 7 * W
    heard.speech(1)
    assert heard.endpointer.finished_before == 7 * W  # doubt may become an utterance
    heard.silence(5)
    assert heard.endpointer.finished_before == 13 * W


# ── splitting ─────────────────────────────────────────────────────────────────────────────────


def test_an_endless_utterance_is_split_at_the_quietest_point_of_its_later_half() -> None:
    heard = hear()
    for index in range(40):
        heard.push(1.0, power=0.001 if 8 <= index < 13 or 28 <= index < 33 else LOUD)
    assert heard.only == Utterance(
        start=0, end=30 * W, speech_start=0, speech_end=30 * W, origin=0, is_split=True
    )
    heard.speech(2).silence(5)
    second = heard.utterances[1]
    assert (second.start, second.speech_start, second.is_split) == (30 * W, 30 * W, False)
    assert len(heard.began) == 1  # it is one stretch of speech


def test_an_utterance_that_is_in_a_pause_when_it_grows_too_long_ends_there() -> None:
    """What follows the last sound is silence: it must not become an utterance of its own."""
    heard = hear().speech(37).silence(3)
    heard.silence(20)
    assert heard.only.speech_end == 37 * W
    assert not heard.only.is_split
    heard.speech(4).silence(5)
    assert heard.began == [0, 60 * W]
    assert heard.utterances[1].start >= heard.utterances[0].end


@given(
    rule=st.builds(
        EndpointRule,
        silence=st.integers(1, 12 * W),
        pre_roll=st.integers(0, 12).map(lambda windows: windows * W),
        post_roll=st.integers(0, 12).map(lambda windows: windows * W),
        longest=st.integers(24, 60).map(lambda windows: windows * W),
        shortest_windows=st.integers(1, 4),
    ),
    runs=st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 0.7]), st.integers(1, 70), st.floats(0, 1)),
        max_size=12,
    ),
    cuts=st.sets(st.integers(0, 11)),
    start=st.integers(0, 10**6),
)
@examples(300)
def test_utterances_tile_the_speech(
    rule: EndpointRule, runs: list[tuple[float, int, float]], cuts: set[int], start: int
) -> None:
    """In order, apart from each other, none too long, none without speech, and no sample that
    was speech outside of them, but for what was too short to be a word."""
    endpointer = Endpointer(rule, start)
    utterances: list[Utterance] = []
    likely: list[int] = []
    stayed: list[int] = []
    finished = start
    for index, (probability, windows, power) in enumerate(runs):
        for _ in range(windows):
            before = endpointer.position
            event = endpointer.push(probability, power)
            if probability >= rule.begin_probability:
                likely.append(before)
            if probability >= rule.stay_probability:
                stayed.append(before)
            if isinstance(event, Utterance):
                utterances.append(event)
                assert event.start >= finished
            assert finished <= endpointer.finished_before <= endpointer.position
            finished = endpointer.finished_before
            if endpointer.open_start is not None:
                assert endpointer.position - endpointer.open_start <= rule.longest + W
        if index in cuts:
            utterance = endpointer.cut(endpointer.position)
            utterances += [] if utterance is None else [utterance]
            finished = endpointer.finished_before
            assert finished == endpointer.position
    utterance = endpointer.cut(endpointer.position)
    utterances += [] if utterance is None else [utterance]

    assert all(first.end <= second.start for first, second in pairwise(utterances))
    for utterance in utterances:
        assert utterance.start <= utterance.speech_start < utterance.speech_end <= utterance.end
        assert utterance.end - utterance.start <= rule.longest + W
        assert any(utterance.start <= at < utterance.end for at in stayed)
    covered = [at for at in likely if any(spoken.start <= at < spoken.end for spoken in utterances)]
    lost = sorted(set(likely) - set(covered))
    run = 1
    for first, second in pairwise(lost):  # noise: fewer likely windows than the shortest word
        run = run + 1 if second == first + W else 1
        assert run < rule.shortest_windows
    if rule.shortest_windows == 1:
        assert not lost


@given(st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_a_split_loses_no_sample(powers: list[float]) -> None:
    heard = hear()
    for power in powers:
        heard.push(1.0, power=power)
    first = heard.only
    assume(first.is_split)
    assert 20 * W <= first.end < 40 * W
    assert heard.endpointer.open_start == heard.endpointer.finished_before == first.end
