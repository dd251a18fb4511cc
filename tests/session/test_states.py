"""The table of a stream's life: what is in it happens, and nothing else."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.errors import ErrorCode, ProtocolError
from asrd.session.states import TRANSITIONS, StreamInput, StreamState, next_state

PAIRS = list(product(StreamState, StreamInput))
UNLISTED = [pair for pair in PAIRS if pair not in TRANSITIONS]


def name_of(pair: tuple[StreamState, StreamInput]) -> str:
    return "-".join(part.name for part in pair)


def test_the_table_says_what_the_protocol_says() -> None:
    """Audio and flush while open; close and drain lead to the end; cancel ends at once. Amid a
    drain, of which its client may not know yet, nothing is wrong."""
    takes = {state: {what.name for at, what in TRANSITIONS if at is state} for state in StreamState}
    assert takes[StreamState.OPEN] == {"AUDIO", "FLUSH", "CLOSE", "DRAIN", "CANCEL"}
    assert takes[StreamState.CLOSING] == {"DRAIN", "CANCEL", "FINISH"}
    assert takes[StreamState.DRAINING] == {what.name for what in StreamInput}
    assert takes[StreamState.CLOSED] == set()


@pytest.mark.parametrize("pair", TRANSITIONS, ids=name_of)
def test_a_listed_pair_leads_where_the_table_says(pair: tuple[StreamState, StreamInput]) -> None:
    assert next_state(*pair, 7) is TRANSITIONS[pair]


@pytest.mark.parametrize("pair", UNLISTED, ids=name_of)
def test_an_unlisted_pair_is_refused_and_names_the_stream(
    pair: tuple[StreamState, StreamInput],
) -> None:
    with pytest.raises(ProtocolError, match="stream 7") as refusal:
        next_state(*pair, 7)
    assert refusal.value.code is ErrorCode.UNKNOWN_STREAM
    assert refusal.value.stream == 7
    assert not refusal.value.fatal


@given(st.lists(st.sampled_from(StreamInput), max_size=30))
def test_a_stream_never_opens_again(inputs: list[StreamInput]) -> None:
    """Whatever happens in whatever order, a stream only moves towards its end."""
    order = list(StreamState)
    state = StreamState.OPEN
    for happened in inputs:
        try:
            following = next_state(state, happened, 1)
        except ProtocolError:
            following = state
        assert order.index(following) >= order.index(state)
        state = following


def test_every_state_can_reach_the_end() -> None:
    for state in (StreamState.OPEN, StreamState.CLOSING):
        assert next_state(state, StreamInput.CANCEL, 1) is StreamState.CLOSED
    with pytest.raises(ProtocolError):
        next_state(StreamState.OPEN, StreamInput.FINISH, 1)  # only a stream that was closed ends
