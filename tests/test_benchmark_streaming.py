"""The streaming benchmark's own arithmetic: lateness, change, and which text is of which take."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import SAMPLE_RATE
from asrd.wire import messages as wire
from benchmarks.streamed.material import (
    PAUSE_S,
    Take,
    programme,
    read_by,
    spoken_takes,
    twenty_word_takes,
    whole_frames,
)
from benchmarks.streamed.measures import (
    Seen,
    SentAt,
    Told,
    broken_promises,
    changed_words,
    finalisation_delay_s,
    first_partial_s,
    stable_ages_s,
    time_of,
    utterances_told,
)
from benchmarks.streamed.report import Result, cost_ratio, is_falling, most_errors
from conftest import TWO_CITIES_TEXT
from support.errors import count_word_errors
from support.fake_daemon import segment


def partial(text: str, stable: int = 0, number: int = 0, start: float = 1.0) -> wire.Partial:
    return wire.Partial(stream=1, id=number, start=start, end=start + 1.0, text=text, stable=stable)


def told(final: str | None, *partials: wire.Partial, at_s: float = 104.0) -> Told:
    """Partials a tenth of a second after each other from 102.0 on, then the segment, 1 s to 3 s."""
    return Told(
        partials=tuple((102.0 + number / 10, each) for number, each in enumerate(partials)),
        segment=None if final is None else (at_s, segment(text=final, start=1.0, end=3.0)),
    )


def sent_at_once(position_s: float) -> float | None:
    """A player that began at 100 s of its clock and is never late; it sent ten seconds."""
    return 100.0 + position_s if position_s <= 10.0 else None


# ── partials and their segments ───────────────────────────────────────────────────────────────


def test_partials_belong_to_the_segment_of_their_id_and_start() -> None:
    came = [
        (1.0, partial("a", number=0, start=0.5)),
        (2.0, partial("a b", number=0, start=0.5)),
        (3.0, partial("you", number=1, start=5.0)),  # of it nothing was left
        (4.0, partial("c", number=1, start=9.0)),
    ]
    segments = [
        (2.5, segment(number=0, text="a b", start=0.5)),
        (4.5, segment(number=1, text="c", start=9.0)),
        (5.5, segment(number=2, text="d", start=12.0)),
    ]
    found = utterances_told(came, segments)
    assert [(len(each.partials), each.text) for each in found] == [
        (2, "a b"),
        (1, "c"),
        (0, "d"),
        (1, ""),
    ]


# ── lateness ──────────────────────────────────────────────────────────────────────────────────


def test_a_final_is_late_from_the_end_of_its_trailing_silence() -> None:
    assert finalisation_delay_s(told("a", at_s=103.7), sent_at_once, 0.5) == pytest.approx(0.2)
    split = told("a", at_s=103.4)  # it came before so much silence was sent
    assert finalisation_delay_s(split, sent_at_once, 0.5) is None
    assert finalisation_delay_s(told("a"), sent_at_once, 8.0) is None  # nothing more was sent
    assert finalisation_delay_s(told(None), sent_at_once, 0.5) is None


def test_the_first_partial_is_the_first_with_text() -> None:
    utterance = told("a b", partial(""), partial("a"), partial("a b"))
    assert first_partial_s(utterance, sent_at_once) == pytest.approx(1.1)
    assert first_partial_s(told("a"), sent_at_once) is None


def test_a_stable_word_is_as_old_as_its_end() -> None:
    utterance = told("ab cd", partial("ab"), partial("ab c", stable=2), partial("ab cd", stable=5))
    # 2 of 5 characters were said by 1.8 s, all of them by 3.0 s
    assert stable_ages_s(utterance, sent_at_once) == pytest.approx([0.3, -0.8])
    assert stable_ages_s(told(None, partial("ab", stable=2)), sent_at_once) == []


def test_the_times_of_words_are_believed_before_an_estimate() -> None:
    words = [
        wire.WordTime(word="ab", start=1.0, end=2.5),
        wire.WordTime(word="cd", start=2.5, end=2.75),
    ]
    spoken = segment(text="ab cd", start=1.0, end=3.0, words=words)
    assert [time_of(count, spoken) for count in (1, 2, 4, 5)] == [2.5, 2.5, 2.75, 2.75]
    assert time_of(5, segment(text="ab cd", start=1.0, end=3.0, words=[])) == 3.0
    assert time_of(9, segment(text="ab cd", start=1.0, end=3.0)) == 3.0
    assert time_of(2, segment(text="", start=1.0, end=3.0)) == 3.0


# ── change ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("partials", "final", "found"),
    [
        (["One", "one, two"], "One two three.", (3, 0)),
        (["won", "won to", "one two"], "one two", (5, 3)),
        (["one two three"], "one three", (3, 2)),
        (["you"], None, (1, 1)),
        ([], "one", (0, 0)),
    ],
)
def test_a_word_counts_as_changed_where_the_segment_has_another_in_its_place(
    partials: list[str], final: str | None, found: tuple[int, int]
) -> None:
    assert changed_words(told(final, *map(partial, partials))) == found


@pytest.mark.parametrize(
    ("stable_texts", "final", "found"),
    [
        (["", "One", "One two"], "One two three", (2, 0)),
        (["One", "one two"], "one two", (2, 1)),  # the case is another
        (["One two", "One"], "One two", (2, 1)),  # taken back, and given again
        (["One"], "Only", (1, 1)),
        (["One"], None, (1, 1)),
        (["", ""], "One", (0, 0)),
    ],
)
def test_a_stable_prefix_is_kept_to_the_character(
    stable_texts: list[str], final: str | None, found: tuple[int, int]
) -> None:
    partials = [partial(f"{text} x", stable=len(text)) for text in stable_texts]
    assert broken_promises(told(final, *partials)) == found


@given(text=st.text("ab ", max_size=30), cuts=st.lists(st.integers(0, 30), max_size=6))
def test_what_only_grows_breaks_nothing(text: str, cuts: list[int]) -> None:
    grown = [partial(text[:cut], stable=min(cut, len(text))) for cut in sorted(cuts)]
    assert broken_promises(told(text, *grown))[1] == 0


def test_what_was_seen_is_counted_together() -> None:
    seen = Seen()
    seen.add(told("a b", partial("a", stable=1), at_s=103.75), sent_at_once, 0.5, 0.05)
    seen.add(told("a b", at_s=103.0), sent_at_once, 0.5, 0.05)
    seen.add(told(None, partial("x", stable=1)), sent_at_once, 0.5, None)
    assert (seen.segments, seen.unpaused, seen.partials) == (2, 1, 2)
    assert (seen.shown, seen.changed, seen.promises, seen.broken) == (2, 1, 2, 1)
    assert seen.delays_s == pytest.approx([0.25])
    assert seen.beyond_decode_s == pytest.approx([0.2])
    assert len(seen.first_partials_s) == 2
    assert len(seen.stable_ages_s) == 1


def test_the_clock_that_is_handed_in_is_the_one_that_counts() -> None:
    late: Mapping[float, float] = {1.0: 101.5, 3.5: 103.9}
    sent_late: SentAt = late.get
    utterance = told("a", partial("a"), at_s=104.0)
    assert first_partial_s(utterance, sent_late) == pytest.approx(0.5)
    assert finalisation_delay_s(utterance, sent_late, 0.5) == pytest.approx(0.1)


# ── the programme ─────────────────────────────────────────────────────────────────────────────


def take(name: str, seconds: float) -> Take:
    samples = np.full(round(seconds * SAMPLE_RATE), 0.5, np.float32)
    return Take(name=name, samples=samples, transcript=name)


TAKES = [take("a", 2.0), take("b", 1.0), take("c", 4.0)]


def test_takes_follow_each_other_with_pauses_and_are_placed_where_they_are_whole() -> None:
    made = programme(TAKES, 8.5, first=1)
    assert made.duration_s == 8.5
    placed = [(each.take.name, each.begin_s, each.end_s) for each in made.placed]
    assert placed == [("b", 0.0, 1.0), ("c", 1.0 + PAUSE_S, 5.0 + PAUSE_S)]
    silent = made.samples == 0
    assert silent[SAMPLE_RATE : round((1.0 + PAUSE_S) * SAMPLE_RATE)].all()
    assert not silent[-SAMPLE_RATE:].any()  # the beginning of `a`, which is not placed


@given(seconds=st.floats(0.1, 30.0), first=st.integers(0, 20))
def test_a_programme_is_as_long_as_it_is_to_be_however_often_its_takes_are_said(
    seconds: float, first: int
) -> None:
    made = programme(TAKES, seconds, first)
    assert len(made.samples) == round(seconds * SAMPLE_RATE)
    for each in made.placed:
        begin = round(each.begin_s * SAMPLE_RATE)
        assert (made.samples[begin : begin + len(each.take.samples)] == 0.5).all()


def test_a_piece_of_text_belongs_to_the_take_in_which_its_middle_lies() -> None:
    made = programme(TAKES, 9.0)  # a: 0 to 2, b: 3 to 4, c: 5 to 9
    pieces = [(0.1, 1.0, "one"), (1.2, 2.4, "two"), (2.7, 4.2, "three"), (8.0, 9.4, "four")]
    assert read_by(made.placed, pieces) == ["one two", "three", "four"]


def test_what_is_sent_is_whole_pieces_of_a_tenth_of_a_second() -> None:
    assert len(whole_frames(np.ones(1601, np.float32))) == 3200
    assert len(whole_frames(np.ones(3200, np.float32))) == 3200


def test_the_parts_of_the_novel_are_all_of_it() -> None:
    parts = [each for each in spoken_takes() if each.name.startswith("two_cities")]
    assert " ".join(each.transcript for each in parts) == " ".join(TWO_CITIES_TEXT.split())
    assert parts[0].transcript.endswith("season of darkness,")
    assert parts[1].transcript.endswith("direct the other way.")
    assert all(10.0 < each.duration_s < 18.0 for each in parts)


def test_the_twenty_words_come_with_silence_and_noise() -> None:
    takes = twenty_word_takes()
    assert takes[0].duration_s > 10.0
    assert sum(not each.transcript for each in takes) == 2


# ── errors, costs and aims ────────────────────────────────────────────────────────────────────


def test_errors_are_counted_over_all_pairs() -> None:
    assert count_word_errors([("one two", "One, too!"), ("", "noise"), ("three", "")]) == (3, 3)
    assert count_word_errors([]) == (0, 0)


def test_streaming_may_make_a_twentieth_and_one_more() -> None:
    assert most_errors(0) == 1
    assert most_errors(20) == pytest.approx(22.0)


def result(policy: str, streams: int, decode_s: float) -> Result:
    return Result(
        policy=policy,
        streams=streams,
        seen=Seen(),
        errors=None,
        decode_s=decode_s,
        audio_s=10.0 * streams,
        finals_decoded=0,
        dropped_s=0.0,
        lag_s=0.0,
    )


def test_a_cost_is_held_against_the_finals_with_as_many_streams() -> None:
    finals, busy_finals = result("finals", 1, 1.0), result("finals", 4, 8.0)
    partials, busy = result("partials", 1, 2.5), result("partials", 4, 12.0)
    results = [finals, partials, busy_finals, busy]
    ratios = [cost_ratio(each, results) for each in results]
    assert ratios == pytest.approx([1.0, 2.5, 1.0, 1.5])
    assert cost_ratio(partials, [partials, busy_finals]) is None
    assert [each.busy for each in results] == pytest.approx([0.1, 0.25, 0.8, 1.2])


def test_what_falls_is_the_cost_at_the_most_streams_beside_that_at_the_fewest() -> None:
    assert is_falling([(1, 2.5), (4, 2.6), (16, 1.2)])
    assert not is_falling([(16, 2.5), (1, 2.5)])
    assert not is_falling([(1, 2.3), (4, 2.6), (16, 2.0)])
