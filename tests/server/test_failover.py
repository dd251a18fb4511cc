"""Where along its chain a stream belongs, and when what it left is tried again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.server.failover import Failover, place_in
from asrd.server.served import ServedStream
from asrd.server.summary import Summary
from support.clock import VirtualClock

RETRY_S = 30.0


class Is(Enum):
    """How a model of a chain is."""

    ABSENT = auto()
    """Not on this machine: its place in the chain is None."""
    UP = auto()
    AWAY = auto()
    """Not loaded, or being restarted: it can be waited for."""
    FAILED = auto()
    """Its work is answered with the failure."""
    RESTS = auto()
    """Its breaker is open for the first time: its work waits."""


@dataclass
class StubTenancy:
    held: dict[ModelKey, int] = field(default_factory=dict)

    def acquire(self, key: ModelKey) -> None:
        self.held[key] = self.held.get(key, 0) + 1

    def release(self, key: ModelKey) -> None:
        self.held[key] = self.held.get(key, 0) - 1


@dataclass
class StubPool:
    """Models that are as they are told to be, and count how often they are asked to load."""

    states: Mapping[ModelKey, Is]
    begun: list[ModelKey] = field(default_factory=list)
    tenancy: StubTenancy = field(default_factory=StubTenancy)

    def is_up(self, key: ModelKey) -> bool:
        return self.states[key] is Is.UP

    def has_failed(self, key: ModelKey) -> bool:
        return self.states[key] in (Is.FAILED, Is.RESTS)

    def takes_work(self, key: ModelKey) -> bool:
        return self.states[key] in (Is.UP, Is.FAILED)

    def resident(self, key: ModelKey) -> Any:
        begun = self.begun

        class Resident:
            def begin(self) -> None:
                begun.append(key)

        return Resident()


def chain_of(states: list[Is]) -> tuple[ModelPool, tuple[ModelKey | None, ...]]:
    keys = [ModelKey(provider="p", model=str(place)) for place in range(len(states))]
    pool = StubPool(dict(zip(keys, states, strict=True)))
    chain = [None if state is Is.ABSENT else key for key, state in zip(keys, states, strict=True)]
    return cast("ModelPool", pool), tuple(chain)


@st.composite
def placed_streams(draw: st.DrawFn) -> tuple[list[Is], int]:
    """A chain in which something is present, and the place of something present in it."""
    states = draw(st.lists(st.sampled_from(Is), min_size=1, max_size=6))
    present = [place for place, state in enumerate(states) if state is not Is.ABSENT]
    if not present:
        present = [draw(st.integers(0, len(states) - 1))]
        states[present[0]] = draw(st.sampled_from([Is.UP, Is.AWAY, Is.FAILED]))
    return states, draw(st.sampled_from(present))


@given(placed_streams())
def test_a_stream_is_never_sent_where_nothing_is(stream: tuple[list[Is], int]) -> None:
    states, level = stream
    assert states[place_in(*chain_of(states), level)] is not Is.ABSENT


@given(placed_streams())
def test_from_what_is_well_it_moves_back_only_to_what_is_up(
    stream: tuple[list[Is], int],
) -> None:
    states, level = stream
    place = place_in(*chain_of(states), level)
    up = [earlier for earlier in range(level) if states[earlier] is Is.UP]
    if states[level] in (Is.UP, Is.AWAY):
        assert place == (up[0] if up else level)
    elif place < level and any(state in (Is.UP, Is.AWAY) for state in states):
        assert states[place] in (Is.UP, Is.AWAY)


@given(placed_streams())
def test_it_moves_on_only_from_what_failed_and_to_the_next_that_has_not(
    stream: tuple[list[Is], int],
) -> None:
    states, level = stream
    place = place_in(*chain_of(states), level)
    lost = {Is.FAILED, Is.RESTS, Is.ABSENT}
    if place > level:
        assert states[level] in lost
        assert set(states[level:place]) <= lost
        assert states[place] in (Is.UP, Is.AWAY) or set(states[level:]) <= lost
    elif place == level and states[level] in lost:
        assert set(states[level:]) <= lost


@given(placed_streams())
def test_it_stays_where_nothing_works(stream: tuple[list[Is], int]) -> None:
    states, level = stream
    states = [Is.ABSENT if state is Is.ABSENT else Is.FAILED for state in states]
    assert place_in(*chain_of(states), level) == level


@given(placed_streams())
def test_where_none_can_be_had_it_is_where_its_work_waits(stream: tuple[list[Is], int]) -> None:
    states, level = stream
    states = [Is.FAILED if state in (Is.UP, Is.AWAY) else state for state in states]
    place = place_in(*chain_of(states), level)
    assert place == (states.index(Is.RESTS) if Is.RESTS in states else level)


@given(placed_streams())
def test_where_it_moves_to_it_stays(stream: tuple[list[Is], int]) -> None:
    """Asking again changes nothing: no stream goes to and fro."""
    states, level = stream
    pool, chain = chain_of(states)
    place = place_in(pool, chain, level)
    assert place_in(pool, chain, place) == place


@pytest.mark.parametrize(
    ("states", "level", "place"),
    [
        ([Is.AWAY, Is.UP], 0, 0),  # a restart is waited for
        ([Is.FAILED, Is.AWAY], 0, 1),  # which loads it
        ([Is.AWAY, Is.AWAY], 1, 1),  # not back before it is up
        ([Is.UP, Is.UP], 1, 0),
        ([Is.FAILED, Is.ABSENT, Is.UP], 0, 2),
        ([Is.AWAY, Is.FAILED, Is.AWAY], 1, 0),
        ([Is.RESTS, Is.FAILED], 1, 0),  # where its work waits
    ],
)
def test_some_places(states: list[Is], level: int, place: int) -> None:
    assert place_in(*chain_of(states), level) == place


# ── trying again ──────────────────────────────────────────────────────────────────────────────


@dataclass
class StubStream:
    chain: tuple[ModelKey | None, ...]
    level: int
    key: ModelKey | None = None
    names: dict[str, str] = field(default_factory=dict)
    stays_until_s: float = 0.0
    relief: tuple[ModelKey, ...] = ()
    summary: Summary = field(default_factory=lambda: Summary(opened_at_s=0.0, is_live=True))

    def __post_init__(self) -> None:
        self.key = self.chain[self.level]


def failover(*states: Is, level: int) -> tuple[Failover, StubPool, list[Any], VirtualClock]:
    """With one stream at that level."""
    pool, chain = chain_of(list(states))
    clock = VirtualClock()
    tried = Failover(pool, clock, RETRY_S, lambda served: None)
    return tried, cast("StubPool", pool), [StubStream(chain, level)], clock


def test_what_a_stream_had_to_leave_is_tried_again_at_its_interval_and_no_more_often() -> None:
    tried, pool, streams, clock = failover(Is.FAILED, Is.FAILED, Is.UP, level=2)
    first, second, _ = streams[0].chain
    for _ in range(60):  # half a second each: 30 s in all
        tried.check(streams)
        clock.advance(0.5)
    assert pool.begun == []
    for _ in range(60):
        tried.check(streams)
        clock.advance(0.5)
    assert sorted(pool.begun, key=str) == [first, second]
    for _ in range(60):
        tried.check(streams)
        clock.advance(0.5)
    assert sorted(pool.begun, key=str) == [first, first, second, second]


def test_what_is_up_or_absent_or_lies_ahead_is_not_loaded_again() -> None:
    tried, pool, streams, clock = failover(Is.ABSENT, Is.UP, Is.UP, Is.FAILED, level=2)
    for _ in range(3):
        tried.check(streams)
        clock.advance(RETRY_S)
    assert pool.begun == []


def test_what_nobody_misses_any_more_is_left_alone() -> None:
    """And its time begins anew when somebody does again."""
    tried, pool, streams, clock = failover(Is.FAILED, Is.UP, level=1)
    tried.check(streams)
    clock.advance(RETRY_S)
    tried.check([])
    tried.check(streams)
    clock.advance(RETRY_S - 1)
    tried.check(streams)
    assert pool.begun == []
    clock.advance(1)
    tried.check(streams)
    assert len(pool.begun) == 1


@pytest.mark.parametrize(("states", "place"), [([Is.UP, Is.UP], 0), ([Is.FAILED, Is.UP], 1)])
def test_a_stream_is_moved_only_if_it_belongs_elsewhere(states: list[Is], place: int) -> None:
    pool, chain = chain_of(states)
    told: list[ServedStream] = []
    served = cast("ServedStream", StubStream(chain, 0))
    Failover(pool, VirtualClock(), RETRY_S, told.append).place(served)
    assert (served.level, served.key) == (place, chain[place])
    assert told == [served] * (place > 0)
    assert cast("StubPool", pool).tenancy.held == (
        {} if place == 0 else {chain[0]: -1, chain[1]: 1}
    )


@pytest.mark.parametrize(
    ("states", "place"),
    [
        ([Is.UP, Is.FAILED, Is.AWAY, Is.UP], 2),
        ([Is.UP, Is.ABSENT, Is.RESTS], None),
        ([Is.UP], None),
    ],
)
def test_a_stream_that_waited_for_too_long_goes_to_the_next_that_can_be_had(
    states: list[Is], place: int | None
) -> None:
    pool, chain = chain_of(states)
    served = cast("ServedStream", StubStream(chain, 0))
    failover = Failover(pool, VirtualClock(), RETRY_S, lambda served: None)
    assert failover.move_on(served) is (place is not None)
    assert served.level == (place or 0)


def test_who_went_on_stays_for_a_while_and_then_goes_back() -> None:
    pool, chain = chain_of([Is.UP, Is.UP])
    clock = VirtualClock()
    served = cast("ServedStream", StubStream(chain, 0))
    tried = Failover(pool, clock, RETRY_S, lambda served: None)
    assert tried.move_on(served)
    clock.advance(RETRY_S - 1)
    tried.place(served)
    tried.check([served])
    assert served.level == 1
    clock.advance(2)
    tried.check([served])
    assert served.level == 0


def test_who_went_on_to_a_model_that_fails_does_not_stay() -> None:
    pool, chain = chain_of([Is.UP, Is.UP])
    served = cast("ServedStream", StubStream(chain, 0))
    tried = Failover(pool, VirtualClock(), RETRY_S, lambda served: None)
    assert tried.move_on(served)
    cast("StubPool", pool).states = {chain[0]: Is.UP, chain[1]: Is.FAILED}  # type: ignore[dict-item]
    tried.place(served)
    assert served.level == 0


def test_a_larger_model_of_the_same_machine_is_no_way_out_for_who_waits_too_long() -> None:
    pool, chain = chain_of([Is.UP, Is.UP, Is.UP])
    served = cast("ServedStream", StubStream(chain, 0, relief=(chain[0],)))  # type: ignore[arg-type]
    tried = Failover(pool, VirtualClock(), RETRY_S, lambda served: None)
    assert tried.move_on(served)
    assert served.level == 2
