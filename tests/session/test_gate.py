"""Silence is judged without a model, and nothing that might be speech is."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from asrd.session.gate import OPEN_FOR_WINDOWS, SILENT_BELOW_POWER, EnergyGate


def powers(*audible: bool) -> npt.NDArray[np.float32]:
    return np.array(audible, np.float32) * np.float32(0.01)


def test_a_batch_of_silence_is_gated_whole() -> None:
    assert EnergyGate().count_silent(powers(*[False] * 9), is_listening=False) == 9


def test_silence_ahead_of_sound_is_gated_and_the_sound_is_not() -> None:
    batch = powers(False, False, True, False, True)
    assert EnergyGate().count_silent(batch, is_listening=False) == 2


def test_nothing_is_gated_while_an_utterance_is_open() -> None:
    assert EnergyGate().count_silent(powers(*[False] * 9), is_listening=True) == 0


def test_an_empty_batch_changes_nothing() -> None:
    gate = EnergyGate()
    gate.count_silent(powers(True), is_listening=False)
    for _ in range(100):
        assert gate.count_silent(powers(), is_listening=False) == 0
    assert gate.count_silent(powers(False), is_listening=False) == 0


def test_the_gate_stays_open_behind_sound_for_half_a_second() -> None:
    gate = EnergyGate()
    assert gate.count_silent(powers(True), is_listening=False) == 0
    gated = [gate.count_silent(powers(False), is_listening=False) for _ in range(20)]
    assert gated == [0] * OPEN_FOR_WINDOWS + [1] * (20 - OPEN_FOR_WINDOWS)


def test_the_time_it_stays_open_counts_from_the_last_sound_inside_a_batch() -> None:
    gate = EnergyGate()
    gate.count_silent(powers(True, *[False] * 10), is_listening=False)
    gate.count_silent(powers(*[False] * (OPEN_FOR_WINDOWS - 10)), is_listening=False)
    assert gate.count_silent(powers(False), is_listening=False) == 1


def test_the_edge_of_silence_is_sixty_decibels_below_full_scale() -> None:
    edge = np.array([SILENT_BELOW_POWER], np.float32)
    assert EnergyGate().count_silent(edge * np.float32(1.01), is_listening=False) == 0
    assert EnergyGate().count_silent(edge * np.float32(0.99), is_listening=False) == 1


@given(st.lists(st.tuples(st.lists(st.booleans(), max_size=40), st.booleans()), max_size=20))
def test_no_sound_is_ever_gated_nor_what_follows_it_closely(
    batches: list[tuple[list[bool], bool]],
) -> None:
    gate = EnergyGate()
    silent_run = OPEN_FOR_WINDOWS
    for audible, is_listening in batches:
        count = gate.count_silent(powers(*audible), is_listening=is_listening)
        assert not any(audible[:count])
        if count:
            assert not is_listening
            assert silent_run >= OPEN_FOR_WINDOWS
        for sounds in audible:
            silent_run = 0 if sounds else silent_run + 1
