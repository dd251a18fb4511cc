"""Every pair of state and input, by the table and by what a client means."""

from itertools import product

import pytest

from asrd.client.states import TRANSITIONS, ClientInput, ClientState, next_state
from asrd.errors import AsrdError


@pytest.mark.parametrize(("state", "happened"), [*product(ClientState, ClientInput)])
def test_what_is_not_in_the_table_is_a_bug(state: ClientState, happened: ClientInput) -> None:
    if (state, happened) in TRANSITIONS:
        assert next_state(state, happened) in ClientState
    else:
        with pytest.raises(AsrdError, match=f"a client that is {state} cannot have"):
            next_state(state, happened)


def test_only_reaching_a_daemon_connects() -> None:
    connecting = {pair for pair, after in TRANSITIONS.items() if after is ClientState.CONNECTED}
    assert connecting == {(ClientState.RECONNECTING, ClientInput.REACHED)}


def test_from_everywhere_it_can_fail_and_from_failure_it_can_come_back() -> None:
    for state in ClientState:
        assert next_state(state, ClientInput.CLOSED) is ClientState.FAILED
    assert next_state(ClientState.FAILED, ClientInput.RETRIED) is ClientState.RECONNECTING
