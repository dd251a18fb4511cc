"""The offered load of live streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.scheduler.load import LoadGauge

NOTES = st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 3.0)), min_size=1, max_size=40)


def after(notes: list[tuple[float, float]], *, time_constant_s: float = 5.0) -> LoadGauge:
    """A gauge that was told of these costs, each so long after the one before."""
    gauge, now_s = LoadGauge(time_constant_s=time_constant_s), 0.0
    for pause_s, cost_s in notes:
        now_s += pause_s
        gauge.note(now_s, cost_s)
    return gauge


def end_s(notes: list[tuple[float, float]]) -> float:
    now_s = 0.0
    for pause_s, _ in notes:
        now_s += pause_s
    return now_s


def test_without_work_there_is_no_load() -> None:
    gauge = LoadGauge()
    assert gauge.load(0.0, 1) == 0.0
    assert gauge.load(1000.0, 1) == 0.0


def test_a_steady_load_is_told_as_it_is() -> None:
    gauge = LoadGauge()
    for second in range(60):
        gauge.note(float(second), 0.7)
    assert gauge.load(60.0, 1) == pytest.approx(0.7, rel=0.05)
    assert gauge.load(60.0, 2) == pytest.approx(0.35, rel=0.05)


def test_one_long_decode_on_an_idle_machine_is_no_overload() -> None:
    gauge = LoadGauge()
    gauge.note(100.0, 2.0)
    loads = [gauge.load(100.0 + tenth / 10, 1) for tenth in range(600)]
    assert 0.25 < max(loads) < 0.3
    assert loads[0] == 0.0
    assert loads[-1] < 0.001


def test_rare_long_decodes_hardly_swing_the_load() -> None:
    gauge, loads = LoadGauge(), []
    for tenth in range(1200):
        if tenth % 40 == 0:
            gauge.note(tenth / 10, 2.0)
        loads.append(gauge.load(tenth / 10, 1))
    assert 0.35 < min(loads[600:]) < max(loads[600:]) < 0.65


def test_an_overload_is_seen_within_the_time_constant_and_forgotten_after_it() -> None:
    gauge = LoadGauge()
    for tenth in range(200):
        gauge.note(tenth / 10, 0.2)
        if tenth == 55:
            assert gauge.load(tenth / 10, 1) > 1.0
    assert gauge.load(20.0, 1) == pytest.approx(2.0, rel=0.05)
    assert gauge.load(30.0, 1) < 0.25


def test_a_time_before_the_latest_is_no_time() -> None:
    gauge = after([(10.0, 1.0), (1.0, 1.0)])
    loaded = gauge.load(14.0, 1)
    assert gauge.load(3.0, 1) == loaded
    gauge.note(5.0, 0.5)
    assert gauge.load(14.0, 1) == loaded


@given(NOTES, st.floats(0.0, 30.0))
def test_looking_changes_nothing(notes: list[tuple[float, float]], later_s: float) -> None:
    looked, now_s = LoadGauge(), 0.0
    for pause_s, cost_s in notes:
        looked.load(now_s + pause_s / 3, 1)
        now_s += pause_s
        looked.note(now_s, cost_s)
        looked.load(now_s, 1)
    looked.load(now_s + later_s / 2, 1)
    expected = after(notes).load(now_s + later_s, 1)
    assert looked.load(now_s + later_s, 1) == pytest.approx(expected)


@given(NOTES, st.floats(0.5, 10.0))
def test_every_second_asked_for_counts_for_one_second(
    notes: list[tuple[float, float]], time_constant_s: float
) -> None:
    gauge, now_s, area_s, tick_s = LoadGauge(time_constant_s=time_constant_s), 0.0, 0.0, 0.02
    for _, cost_s in notes:  # all within a second, so that the sum below is short
        gauge.note(now_s, cost_s)
        now_s += tick_s
        area_s += gauge.load(now_s, 1) * tick_s
    for _ in range(int(8 * time_constant_s / tick_s)):
        now_s += tick_s
        area_s += gauge.load(now_s, 1) * tick_s
    assert area_s == pytest.approx(sum(cost_s for _, cost_s in notes), rel=0.05)


@given(NOTES, st.floats(0.0, 100.0))
def test_the_load_is_never_above_what_a_burst_of_it_all_would_make(
    notes: list[tuple[float, float]], later_s: float
) -> None:
    load = after(notes).load(end_s(notes) + later_s, 1)
    assert 0.0 <= load <= sum(cost_s for _, cost_s in notes) * 0.1472  # 1 / (e * 2.5 s)


@given(NOTES, st.floats(0.0, 20.0), st.integers(1, 16))
def test_slots_share_the_load(notes: list[tuple[float, float]], later_s: float, slots: int) -> None:
    now_s = end_s(notes) + later_s
    assert after(notes).load(now_s, slots) * slots == pytest.approx(after(notes).load(now_s, 1))
