"""How long a decode may be quiet: what is learnt, and what no history can lower."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.providers.patience import EDGES_S, KEPT_DECODES, UNKNOWN_S, Patience
from support.profiles import examples

FLOOR_S = 10.0
FACTOR = 5.0

LENGTHS_S = st.floats(0.0, 30.0)
TAKEN_S = st.floats(0.0, 200.0)
HISTORIES = st.lists(st.tuples(LENGTHS_S, TAKEN_S), max_size=60)


def patience_after(history: list[tuple[float, float]]) -> Patience:
    patience = Patience(floor_s=FLOOR_S, factor=FACTOR)
    for audio_s, took_s in history:
        patience.note(audio_s, took_s)
    return patience


def learnt_apart(
    finals: list[tuple[float, float]], partials: list[tuple[float, float]]
) -> Patience:
    patience = patience_after(finals)
    for audio_s, took_s in partials:
        patience.note(audio_s, took_s, is_partial=True)
    return patience


def group(audio_s: float) -> int:
    """Which of the lengths that are told apart; so much is by the edges' documentation."""
    return sum(audio_s > edge for edge in EDGES_S)


def p99(values: list[float]) -> float:
    """The least that at least 99 % of the values do not exceed."""
    return min(
        each for each in values if sum(value <= each for value in values) >= 0.99 * len(values)
    )


def test_while_nothing_is_known_it_is_a_minute_at_least() -> None:
    assert Patience(floor_s=10.0, factor=5.0).allowance_s(1.0) == UNKNOWN_S
    assert Patience(floor_s=10.0, factor=5.0).allowance_s(1.0, 3) == 3 * UNKNOWN_S
    assert Patience(floor_s=90.0, factor=5.0).allowance_s(1.0) == 90.0


@examples(300)
@given(HISTORIES, LENGTHS_S)
def test_it_is_never_below_the_floor_nor_what_is_known_asks_for(
    history: list[tuple[float, float]], audio_s: float
) -> None:
    allowed_s = patience_after(history).allowance_s(audio_s)
    assert allowed_s >= FLOOR_S
    assert math.isfinite(allowed_s)
    for each in range(group(audio_s) + 1):
        known = [took_s for length_s, took_s in history if group(length_s) == each]
        if known:
            assert allowed_s >= FACTOR * p99(known)


@examples(300)
@given(HISTORIES.filter(bool), st.lists(LENGTHS_S, min_size=2, max_size=20))
def test_a_longer_decode_is_never_allowed_less(
    history: list[tuple[float, float]], lengths_s: list[float]
) -> None:
    patience = patience_after(history)
    allowed = [patience.allowance_s(audio_s) for audio_s in sorted(lengths_s)]
    assert allowed == sorted(allowed)


@examples(100)
@given(HISTORIES.filter(bool))
def test_it_knows_no_more_than_it_was_told(history: list[tuple[float, float]]) -> None:
    """Of a length that was decoded, the p99 of that length or of a shorter one is the measure."""
    patience = patience_after(history)
    for audio_s, _ in history:
        worst = max(
            p99([took_s for length_s, took_s in history if group(length_s) == each])
            for each in range(group(audio_s) + 1)
            if any(group(length_s) == each for length_s, _ in history)
        )
        assert patience.allowance_s(audio_s) == max(FLOOR_S, FACTOR * worst)


def test_one_outlier_in_a_hundred_is_not_what_is_usual() -> None:
    usual = [(3.0, 4.0)] * 99
    assert patience_after([*usual, (3.0, 1000.0)]).allowance_s(3.0) == 20.0
    assert patience_after([*usual, *[(3.0, 1000.0)] * 2]).allowance_s(3.0) == 5000.0


def test_a_length_that_was_never_decoded_is_judged_by_the_next_longer_one() -> None:
    patience = patience_after([(0.5, 3.0), (6.0, 8.0), (30.0, 100.0)])
    assert patience.allowance_s(1.5) == 40.0
    assert patience.allowance_s(12.0) == 500.0


def test_a_length_beyond_all_that_was_decoded_is_allowed_more_in_proportion() -> None:
    patience = patience_after([(0.5, 3.0), (2.0, 4.0)])
    assert patience.allowance_s(20.0) == pytest.approx(10 * 20.0)
    shortest = patience_after([(0.0, 3.0)])  # counts as a tenth of a second
    assert shortest.allowance_s(10.0) == pytest.approx(100 * 15.0)


def test_what_is_long_past_is_forgotten() -> None:
    history = [(1.0, 100.0)] * 20 + [(1.0, 1.0)] * KEPT_DECODES
    assert patience_after(history[: 20 + KEPT_DECODES - 20]).allowance_s(1.0) == 500.0
    assert patience_after(history).allowance_s(1.0) == FLOOR_S


@pytest.mark.parametrize("audio_s", [-1.0, 0.0, 30.9, 31.0, 1000.0])
def test_a_strange_length_is_judged_all_the_same(audio_s: float) -> None:
    patience = patience_after([(audio_s, 7.0)])
    assert patience.allowance_s(audio_s) == 35.0


@given(HISTORIES.filter(bool), LENGTHS_S, st.integers(1, 100))
@examples(200)
def test_a_batch_is_allowed_what_its_windows_would_be_one_after_the_other_and_the_floor_once(
    history: list[tuple[float, float]], audio_s: float, windows: int
) -> None:
    patience = patience_after(history)
    allowed_s = patience.allowance_s(audio_s, windows)
    assert FLOOR_S <= allowed_s <= windows * patience.allowance_s(audio_s)
    if patience.allowance_s(audio_s) > FLOOR_S:
        assert math.isclose(allowed_s, windows * patience.allowance_s(audio_s))


# ── partials and finals ───────────────────────────────────────────────────────────────────────


def test_any_number_of_quick_partials_leaves_a_final_its_time() -> None:
    warm_up = [(0.5, 40.0), (1.0, 40.0), (4.0, 40.0)]
    partials = [(audio_s, 5.0) for audio_s in (0.4, 0.8, 3.0)] * KEPT_DECODES
    patience = learnt_apart(warm_up, partials)
    assert patience.allowance_s(3.0) == FACTOR * 40.0
    assert patience.allowance_s(3.0, is_partial=True) == FACTOR * 5.0


def test_finals_do_not_lengthen_what_is_known_of_partials() -> None:
    patience = learnt_apart([(1.0, 40.0), (30.0, 40.0)], [(4.0, 5.0)])
    assert patience.allowance_s(4.0, is_partial=True) == FACTOR * 5.0
    assert patience.allowance_s(1.0, is_partial=True) == FACTOR * 5.0  # as a longer one takes


def test_partials_longer_than_any_before_may_take_what_finals_take() -> None:
    patience = learnt_apart([(1.0, 40.0)], [(4.0, 5.0)])
    assert patience.allowance_s(10.0, is_partial=True) == FACTOR * 400.0
    assert learnt_apart([(30.0, 6.0)], [(4.0, 5.0)]).allowance_s(16.0, is_partial=True) == 100.0


@pytest.mark.parametrize("is_partial", [False, True])
def test_partials_without_any_history_are_judged_by_finals_and_never_the_other_way_round(
    is_partial: bool,
) -> None:
    patience = learnt_apart([(1.0, 40.0)], [])
    assert patience.allowance_s(1.0, 2, is_partial=is_partial) == 2 * FACTOR * 40.0
    nothing = Patience(floor_s=FLOOR_S, factor=FACTOR)
    assert nothing.allowance_s(1.0, 3, is_partial=is_partial) == 3 * UNKNOWN_S
    quick = learnt_apart([], [(1.0, 4.0)])
    assert quick.allowance_s(1.0, 2, is_partial=is_partial) == (40.0 if is_partial else 120.0)
    slow = learnt_apart([], [(1.0, 40.0)])
    assert slow.allowance_s(1.0, is_partial=is_partial) == FACTOR * 40.0


@examples(300)
@given(HISTORIES, HISTORIES, st.lists(LENGTHS_S, min_size=2, max_size=20), st.booleans())
def test_of_either_kind_a_longer_decode_is_never_allowed_less(
    finals: list[tuple[float, float]],
    partials: list[tuple[float, float]],
    lengths_s: list[float],
    is_partial: bool,
) -> None:
    patience = learnt_apart(finals, partials)
    allowed = [
        patience.allowance_s(audio_s, is_partial=is_partial) for audio_s in sorted(lengths_s)
    ]
    assert allowed == sorted(allowed)
    assert allowed[0] >= FLOOR_S
