"""Silence is judged without a model, and nothing that might be speech is."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from asrd.session.gate import OPEN_FOR_WINDOWS, SILENT_BELOW_POWER, EnergyGate


def powers(*audible: bool) -> npt.NDArray[np.float32]:
    return np.array(audible, np.float32) * np.float32(0.01)


def find(gate: EnergyGate, *audible: bool) -> list[bool]:
    return [bool(silent) for silent in gate.find_silent(powers(*audible))]


def test_a_stream_begins_in_silence() -> None:
    assert find(EnergyGate(), *[False] * 9) == [True] * 9


def test_silence_ahead_of_sound_is_gated_and_the_sound_is_not() -> None:
    assert find(EnergyGate(), False, False, True, False, True) == [True, True, False, False, False]


def test_an_empty_batch_changes_nothing() -> None:
    gate = EnergyGate()
    find(gate, True)
    for _ in range(100):
        assert find(gate) == []
    assert find(gate, False) == [False]


def test_the_gate_stays_open_behind_sound_for_half_a_second() -> None:
    gate = EnergyGate()
    gated = [find(gate, sounds) for sounds in [True, *[False] * 20]]
    assert gated == [[False]] * (1 + OPEN_FOR_WINDOWS) + [[True]] * (20 - OPEN_FOR_WINDOWS)


def test_the_edge_of_silence_is_sixty_decibels_below_full_scale() -> None:
    edge = np.array([SILENT_BELOW_POWER], np.float32)
    assert not EnergyGate().find_silent(edge * np.float32(1.01)).any()
    assert EnergyGate().find_silent(edge * np.float32(0.99)).all()


@given(
    st.lists(st.booleans(), max_size=100),
    st.lists(st.integers(min_value=0, max_value=40), max_size=20),
)
def test_it_follows_from_the_audio_and_not_from_how_it_comes(
    audible: list[bool], sizes: list[int]
) -> None:
    gate, found, rest = EnergyGate(), [], list(audible)
    for size in [*sizes, len(audible)]:
        batch, rest = rest[:size], rest[size:]
        found += find(gate, *batch)
    expected, silent_run = [], OPEN_FOR_WINDOWS
    for sounds in audible:
        silent_run = 0 if sounds else silent_run + 1
        expected.append(silent_run > OPEN_FOR_WINDOWS)
    assert found == expected
