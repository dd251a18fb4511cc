"""The life of a model: what may follow what."""

from itertools import product

import pytest

from asrd.errors import AsrdError
from asrd.providers.lifecycle import TRANSITIONS, ModelInput, ModelState, next_state


@pytest.mark.parametrize(("state", "happened"), list(product(ModelState, ModelInput)))
def test_a_pair_leads_where_the_table_says_or_is_a_bug(
    state: ModelState, happened: ModelInput
) -> None:
    if (state, happened) in TRANSITIONS:
        assert next_state(state, happened) is TRANSITIONS[state, happened]
    else:
        with pytest.raises(AsrdError, match=f"that is {state} cannot have {happened.name.lower()}"):
            next_state(state, happened)


@pytest.mark.parametrize("state", ModelState)
def test_a_state_is_coming_up_or_up_or_unavailable(state: ModelState) -> None:
    facts = [state.is_coming_up, state.is_up, state is ModelState.UNAVAILABLE]
    assert facts.count(True) == 1


def test_the_states_bear_the_protocols_names() -> None:
    names = {"starting", "warming_up", "ready", "degraded", "unavailable"}
    assert {str(state) for state in ModelState} == names


@pytest.mark.parametrize("state", ModelState)
def test_every_state_is_reached_and_left(state: ModelState) -> None:
    assert state in TRANSITIONS.values()
    assert any(begin is state and end is not state for (begin, _), end in TRANSITIONS.items())


def test_nothing_is_up_that_was_not_loaded_and_warmed_since_it_began_or_died() -> None:
    """In every history of six steps; each further one would only repeat a state."""
    begins = (ModelInput.BEGIN, ModelInput.DIED, ModelInput.GIVEN_UP, ModelInput.STOPPED)
    walks: list[tuple[ModelState, list[ModelInput]]] = [(ModelState.UNAVAILABLE, [])]
    for _ in range(6):
        walks = [
            (next_state(state, happened), [] if happened in begins else [*since, happened])
            for state, since in walks
            for begin, happened in TRANSITIONS
            if begin is state
        ]
        for state, since in walks:
            assert state.is_up == (since[:2] == [ModelInput.LOADED, ModelInput.WARMED])
            has_failed = bool(since) and since[-1] is ModelInput.FAILED_AGAIN
            assert (state is ModelState.DEGRADED) == has_failed
    assert {state for state, _ in walks} == set(ModelState)


@pytest.mark.parametrize("state", ModelState)
def test_whatever_it_does_it_can_be_stopped(state: ModelState) -> None:
    assert next_state(state, ModelInput.STOPPED) is ModelState.UNAVAILABLE
