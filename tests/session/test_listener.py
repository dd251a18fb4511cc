"""From audio to utterances: windows handed out, scores taken back, marks in their places."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import PcmFormat
from asrd.session.endpoint import WINDOW_SAMPLES, EndpointRule, SpeechBegan, Utterance
from asrd.session.gate import OPEN_FOR_WINDOWS
from asrd.session.intake import Mark, MarkKind
from asrd.session.listener import BATCH_WINDOWS, Heard, Listener, Unscored
from support.profiles import examples
from support.streams import QUICK_RULE, loud, loud_probability, silence

W = WINDOW_SAMPLES
MOST_WINDOWS = BATCH_WINDOWS + 8
"""What a mark may add to a batch: the resampler's rest, and a window that is filled up."""


def listener(
    *, rate: int = 16000, rule: EndpointRule = QUICK_RULE, start_offset: int = 0
) -> Listener:
    return Listener(PcmFormat(sample_rate=rate), rule, start_offset)


def give(to: Listener, sound: npt.NDArray[np.int16], offset: int | None = None) -> None:
    to.intake.receive(sound.tobytes(), offset)


def listen(to: Listener, seen: Callable[[Unscored], None] = lambda _: None) -> list[Heard]:
    """Everything that is heard in what waits."""
    heard: list[Heard] = []
    while to.has_work:
        at_once, unscored = to.take_unscored()
        heard += at_once
        if unscored is not None:
            seen(unscored)
            heard += to.scored(loud_probability(unscored.windows))
    return heard


def only_utterance(heard: list[Heard]) -> Utterance:
    (utterance,) = [event for event in heard if isinstance(event, Utterance)]
    return utterance


def test_silence_is_judged_without_a_model() -> None:
    ear = listener()
    give(ear, silence(100 * W + 7))
    assert ear.take_unscored() == ([], None)
    assert ear.endpointer.position == 100 * W
    assert not ear.has_work


def test_what_is_audible_is_handed_out_and_nothing_more_until_it_is_scored() -> None:
    ear = listener()
    give(ear, np.concatenate([silence(3 * W), loud(0, 2 * W)]))
    heard, unscored = ear.take_unscored()
    assert heard == []
    assert unscored is not None
    assert unscored.windows.shape == (2, W)
    assert ear.endpointer.position == 3 * W  # the silence was judged at once
    give(ear, loud(0, W))
    assert not ear.has_work
    assert ear.take_unscored() == ([], None)
    ear.scored(np.zeros(2, np.float32))
    assert ear.endpointer.position == 5 * W
    assert ear.has_work


def test_scores_that_nobody_asked_for_say_nothing() -> None:
    assert listener().scored(np.ones(3, np.float32)) == []


def test_a_wrong_number_of_scores_is_a_bug_and_seen_as_one() -> None:
    ear = listener()
    give(ear, loud(0, 2 * W))
    ear.take_unscored()
    with pytest.raises(ValueError, match="zip"):
        ear.scored(np.ones(3, np.float32))


def test_speech_that_begins_in_the_middle_of_a_window_is_heard_with_its_audio() -> None:
    ear = listener()
    sound = np.concatenate([silence(5 * W + 100), loud(0, 6 * W), silence(6 * W)])
    give(ear, sound)
    heard = listen(ear)
    assert heard[0] == SpeechBegan(position=5 * W)
    utterance = only_utterance(heard)
    assert (utterance.speech_start, utterance.speech_end) == (5 * W, 12 * W)
    audio = ear.audio(utterance.start, utterance.end)
    expected = sound[utterance.start : utterance.end] / np.float32(32768)
    assert audio.tolist() == expected.tolist()


def test_the_last_window_before_a_mark_is_filled_up_and_reaches_no_further_than_the_audio() -> None:
    ear = listener()
    give(ear, loud(0, 3 * W + 10))
    ear.intake.mark(MarkKind.FLUSH)
    sizes: list[int] = []
    heard = listen(ear, lambda unscored: sizes.append(len(unscored.windows)))
    assert sizes == [4]
    assert heard[1:] == [
        Utterance(start=0, end=3 * W + 10, speech_start=0, speech_end=3 * W + 10, origin=0),
        Mark(kind=MarkKind.FLUSH, offset=3 * W + 10, resume=3 * W + 10),
    ]
    assert ear.endpointer.position == 3 * W + 10


def test_an_utterance_that_ends_in_the_last_window_reaches_no_further_than_the_audio() -> None:
    """The silence that ended it is partly what the window was filled up with."""
    ear = listener(rule=replace(QUICK_RULE, post_roll=100 * W))
    give(ear, np.concatenate([loud(0, 2 * W), silence(3 * W + 10)]))
    ear.intake.mark(MarkKind.FLUSH)
    utterance = only_utterance(listen(ear))
    assert (utterance.speech_end, utterance.end) == (2 * W, 5 * W + 10)


def test_windows_begin_anew_behind_a_mark() -> None:
    ear = listener()
    give(ear, loud(0, W + 10))
    ear.intake.mark(MarkKind.FLUSH)
    give(ear, loud(W + 10, 3 * W + 10))
    batches: list[Unscored] = []
    listen(ear, batches.append)
    first, second = batches
    assert round(float(second.windows[0, 0]) * 32768) == 6000 + W + 10
    assert first.is_fresh
    assert second.is_fresh


def test_a_hole_ends_the_utterance_and_nothing_reaches_over_it() -> None:
    ear = listener()
    give(ear, loud(0, 4 * W))
    give(ear, loud(10**6, 10**6 + 4 * W), 10**6)
    ear.intake.mark(MarkKind.CLOSE)
    utterances = [event for event in listen(ear) if isinstance(event, Utterance)]
    assert [(spoken.start, spoken.end) for spoken in utterances] == [
        (0, 4 * W),
        (10**6, 10**6 + 4 * W),
    ]


def test_a_stream_that_begins_anywhere_has_that_clock() -> None:
    ear = listener(rate=48000, start_offset=48000 * 100)
    give(ear, loud(0, 48000))
    ear.intake.mark(MarkKind.FLUSH)
    assert only_utterance(listen(ear)).start == 1_600_000


def test_forgotten_audio_is_let_go_of() -> None:
    ear = listener()
    for _ in range(10):
        give(ear, silence(32 * W))
        listen(ear)
    ear.keep_from(9 * 32 * W, None)
    assert len(ear.audio(0, 10**9)) == 32 * W


def test_an_ended_listener_holds_nothing() -> None:
    ear = listener()
    give(ear, loud(0, 10 * W))
    listen(ear)
    give(ear, loud(10 * W, 90 * W))
    ear.take_unscored()
    ear.clear()
    assert len(ear.audio(0, 10**9)) == 0
    assert not ear.has_work
    assert ear.scored(np.ones(32, np.float32)) == []


def test_the_model_is_told_where_audio_jumped() -> None:
    """Else it would take what it hears now for what follows what it heard then."""
    ear = listener()
    is_fresh: list[bool] = []
    for sound in (
        loud(0, W),  # the beginning
        loud(0, W),
        silence((OPEN_FOR_WINDOWS + 4) * W),
        silence(8 * W),  # these are not handed out
        loud(0, W),
        loud(0, W),
    ):
        give(ear, sound)
        listen(ear, lambda unscored: is_fresh.append(unscored.is_fresh))
    assert is_fresh == [True, False, False, True, False]


@given(
    rate=st.sampled_from([8000, 16000, 44100]),
    runs=st.lists(
        st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 511)), min_size=1, max_size=8
    ),
    chunk=st.integers(50, 9000),
    marks=st.sets(st.integers(0, 7)),
)
@examples(60)
def test_every_sample_that_matters_is_handed_out_once_and_in_order(
    rate: int, runs: list[tuple[bool, int, int]], chunk: int, marks: set[int]
) -> None:
    """Windows that follow each other are told as such; no batch is much too long; utterances and
    marks come in order of position."""
    ear = listener(rate=rate)
    handed: list[npt.NDArray[np.float32]] = []

    def see(unscored: Unscored) -> None:
        assert 0 < len(unscored.windows) <= MOST_WINDOWS
        assert unscored.is_fresh or handed
        handed.append(unscored.windows.reshape(-1))

    heard: list[Heard] = []
    position = 0
    for index, (is_loud, windows, rest) in enumerate(runs):
        count = windows * W + rest
        sound = loud(position, position + count) if is_loud else silence(count)
        position += count
        for at in range(0, count, chunk):
            give(ear, sound[at : at + chunk])
            heard += listen(ear, see)
        if index in marks:
            ear.intake.mark(MarkKind.FLUSH)
    ear.intake.mark(MarkKind.CLOSE)
    heard += listen(ear, see)

    if rate == 16000:
        everything = np.concatenate([np.zeros(0, np.float32), *handed])
        wanted = np.concatenate(
            [np.zeros(0, np.int64)]
            + [
                loud(0, end)[start:end].astype(np.int64)
                for (is_loud, *_), start, end in zip(runs, starts(runs), ends(runs), strict=True)
                if is_loud
            ]
        )
        got = np.rint(everything[everything != 0] * 32768).astype(np.int64)
        assert got.tolist() == wanted.tolist()
    ends_of = [event.end for event in heard if isinstance(event, Utterance)]
    assert ends_of == sorted(ends_of)
    flushes = [event.offset for event in heard if isinstance(event, Mark)]
    assert flushes == [
        *[ends(runs)[index] for index in sorted(marks) if index < len(runs)],
        position,
    ]
    assert isinstance(heard[-1], Mark)
    assert heard[-1].kind is MarkKind.CLOSE
    assert ear.endpointer.position == PcmFormat(sample_rate=rate).to_16k(position)


def ends(runs: list[tuple[bool, int, int]]) -> list[int]:
    return list(accumulate(windows * W + rest for _, windows, rest in runs))


def starts(runs: list[tuple[bool, int, int]]) -> list[int]:
    return [0, *ends(runs)[:-1]]


@given(st.lists(st.integers(min_value=1, max_value=40 * W), min_size=1, max_size=30))
@examples(60)
def test_what_is_heard_follows_from_the_audio_and_not_from_how_it_comes(sizes: list[int]) -> None:
    """The scores come from a model with a memory, which begins anew where silence was gated."""
    quiet_tail = np.concatenate([loud(0, 9 * W), silence(50 * W)])
    sound = np.concatenate([quiet_tail, loud(0, 30 * W), silence(12 * W), quiet_tail])

    def heard_in(pieces: list[npt.NDArray[np.int16]]) -> list[Heard]:
        ear, heard, windows_seen = listener(), [], 0
        for piece in pieces:
            give(ear, piece)
            while ear.has_work:
                at_once, unscored = ear.take_unscored()
                heard += at_once
                if unscored is None:
                    continue
                windows_seen = 0 if unscored.is_fresh else windows_seen
                count = len(unscored.windows)
                is_settled = np.arange(windows_seen, windows_seen + count) >= 3
                windows_seen += count
                heard += ear.scored(loud_probability(unscored.windows) * is_settled)
        return heard

    edges = [0, *np.cumsum(sizes).tolist(), len(sound)]
    pieces = [sound[a:b] for a, b in pairwise(edges) if a < min(b, len(sound))]
    whole = heard_in([sound])
    assert [event for event in whole if isinstance(event, Utterance)]
    assert heard_in(pieces) == whole


@dataclass
class Moody:
    """Voice activity with a memory: what it says of a window hangs on every one since it began."""

    past: int = 0

    def score(self, unscored: Unscored) -> npt.NDArray[np.float32]:
        if unscored.is_fresh:
            self.past = 0
        scores = []
        for window in unscored.windows:
            self.past = zlib.crc32(window.tobytes(), self.past)
            is_loud = np.abs(window).max() > 0.02
            scores.append(0.7 * is_loud + 0.55 * self.past / 2**32 - 0.15)
        return np.clip(np.array(scores, np.float32), 0, 1)


@dataclass
class Hearing:
    """What one listener heard of `sound` from `begin` on, and where its commit stood meanwhile."""

    heard: list[Heard]
    origins: list[int]

    @classmethod
    def of(
        cls, sound: npt.NDArray[np.int16], begin: int, sizes: list[int], rule: EndpointRule
    ) -> "Hearing":
        ear, voice = listener(rule=rule, start_offset=begin), Moody()
        hearing = cls([], [])
        position, rest = begin, [*sizes, len(sound)]
        while position < len(sound):
            give(ear, sound[position : position + rest[0]])
            position += rest.pop(0)
            if position >= len(sound):
                ear.intake.mark(MarkKind.CLOSE)
            while ear.has_work:
                at_once, unscored = ear.take_unscored()
                hearing.heard += at_once
                hearing.origins.append(ear.endpointer.origin)
                if unscored is not None:
                    hearing.heard += ear.scored(voice.score(unscored))
                    hearing.origins.append(ear.endpointer.origin)
        return hearing

    @property
    def utterances(self) -> list[Utterance]:
        return [event for event in self.heard if isinstance(event, Utterance)]


ANEW_RULE = replace(QUICK_RULE, longest=10**6, shortest_windows=2)


def talk(runs: list[tuple[bool, int]], level: int) -> npt.NDArray[np.int16]:
    """Loud stretches, and noise of that level between them."""
    pieces, position = [], 0
    for is_loud, count in runs:
        places = np.arange(position, position + count)
        noise = (places * 7919 % (2 * level + 1) - level).astype("<i2")
        pieces.append(loud(position, position + count) if is_loud else noise)
        position += count
    return np.concatenate(pieces)


def assert_same_from(commit: int, sound: npt.NDArray[np.int16], sizes: list[int]) -> None:
    first = Hearing.of(sound, 0, [], ANEW_RULE)
    wanted = [event for event in first.utterances if event.origin >= commit]
    assert Hearing.of(sound, commit, sizes, ANEW_RULE).utterances == wanted


@pytest.mark.parametrize("level", [0, 1, 200])
@pytest.mark.parametrize("seed", range(8))
def test_who_goes_on_at_a_commit_hears_what_the_first_would_have_heard(
    seed: int, level: int
) -> None:
    """The same utterances, to the sample: silence, noise, and whatever voice activity remembers."""
    dice = Random(seed)
    runs = [(place % 2 == 0, dice.randint(1, 12 * W)) for place in range(24)]
    sound = np.tile(talk([*runs, (False, 70 * W)], level), 2)
    first = Hearing.of(sound, 0, [], ANEW_RULE)
    assert first.origins == sorted(first.origins)
    assert len(first.utterances) > 2
    for commit in {*first.origins, *(utterance.origin for utterance in first.utterances)}:
        assert_same_from(commit, sound, [])


@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 12 * W)), min_size=1, max_size=14),
    level=st.sampled_from([0, 1, 200]),
    sizes=st.lists(st.integers(1, 40 * W), max_size=12),
    data=st.data(),
)
@examples(60)
def test_how_the_audio_comes_to_who_goes_on_changes_nothing(
    runs: list[tuple[bool, int]], level: int, sizes: list[int], data: st.DataObject
) -> None:
    sound = talk([*runs, (False, 70 * W), *runs], level)
    first = Hearing.of(sound, 0, sizes, ANEW_RULE)
    assert_same_from(data.draw(st.sampled_from(first.origins)), sound, sizes)


def test_the_commit_follows_in_noise_as_in_silence() -> None:
    """It lags by a second and the pre-roll at most, so that an ack a second can be told."""
    noise = (np.arange(40 * 16000) * 7919 % 401 - 200).astype("<i2")
    ear = listener()
    for start in range(0, len(noise), 1600):
        give(ear, noise[start : start + 1600])
        while ear.has_work:
            _, unscored = ear.take_unscored()
            if unscored is not None:
                ear.scored(np.zeros(len(unscored.windows), np.float32))
        lag = start + 1600 - ear.endpointer.origin
        assert lag < 16000 + QUICK_RULE.pre_roll + 1600
