"""Which models go: the rules, over facts that are made up."""

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.providers.residency import (
    Footprint,
    Room,
    Tenant,
    evictions,
    expired,
    least_recent_first,
    until_free,
    until_gpu_free,
)
from support.profiles import examples

Rule = Callable[[Sequence[Tenant], Sequence[Hashable], int], list[Hashable] | None]

SIZES = st.integers(0, 5)
FOOTPRINTS = st.builds(Footprint, memory_bytes=SIZES, gpu_bytes=SIZES)
LIMITS = st.none() | st.integers(0, 12)
ROOMS = st.builds(
    Room, max_models=st.none() | st.integers(1, 5), memory_bytes=LIMITS, gpu_bytes=LIMITS
)


@st.composite
def houses(draw: st.DrawFn) -> list[Tenant]:
    """Up to six tenants, with a name each."""
    return [
        Tenant(
            key=f"model {number}",
            footprint=draw(FOOTPRINTS),
            idle_s=0.0 if is_in_use else draw(st.floats(0, 1000)),
            is_in_use=is_in_use,
            is_kept_warm=draw(st.sampled_from([False, False, True])),
        )
        for number, is_in_use in enumerate(draw(st.lists(st.booleans(), max_size=6)))
    ]


def tenant(
    key: str,
    idle_s: float,
    memory: int = 1,
    gpu: int = 0,
    *,
    used: bool = False,
    warm: bool = False,
) -> Tenant:
    return Tenant(
        key=key,
        footprint=Footprint(memory_bytes=memory, gpu_bytes=gpu),
        idle_s=idle_s,
        is_in_use=used,
        is_kept_warm=warm,
    )


def within(room: Room, tenants: list[Tenant], wanted: Footprint | None) -> bool:
    """Whether the room holds all of them, added up by hand."""
    all_of_them = [each.footprint for each in tenants] + ([wanted] if wanted else [])
    memory = sum(each.memory_bytes for each in all_of_them)
    gpu = sum(each.gpu_bytes for each in all_of_them)
    return (
        (room.max_models is None or len(all_of_them) <= room.max_models)
        and (room.memory_bytes is None or memory <= room.memory_bytes)
        and (room.gpu_bytes is None or gpu <= room.gpu_bytes)
    )


def can_go(each: Tenant) -> bool:
    return not each.is_in_use and not each.is_kept_warm


@examples(400)
@given(houses(), ROOMS, FOOTPRINTS)
def test_what_goes_makes_room_or_nothing_can(
    tenants: list[Tenant], room: Room, wanted: Footprint
) -> None:
    gone = evictions(tenants, room, wanted)
    if gone is None:
        assert not within(room, [each for each in tenants if not can_go(each)], wanted)
        return
    by_key = {each.key: each for each in tenants}
    assert len(set(gone)) == len(gone)
    assert all(can_go(by_key[key]) for key in gone)
    assert within(room, [each for each in tenants if each.key not in gone], wanted)
    if gone:  # the last was needed
        assert not within(room, [each for each in tenants if each.key not in gone[:-1]], wanted)
    for earlier, later in pairwise(gone):
        assert by_key[earlier].idle_s >= by_key[later].idle_s


@examples(200)
@given(houses(), ROOMS)
def test_who_is_over_budget_gives_up_what_can_be_given_up(
    tenants: list[Tenant], room: Room
) -> None:
    gone = evictions(tenants, room)
    assert gone is not None
    assert all(can_go(each) for each in tenants if each.key in gone)
    left = [each for each in tenants if each.key not in gone]
    if not within(room, left, None):
        useful = [each for each in left if can_go(each)]
        assert all(room.max_models is None or len(left) <= room.max_models for _ in useful)
        for each in useful:  # none of what stays would have helped
            total = sum((one.footprint for one in left), Footprint())
            is_memory_short = (
                room.memory_bytes is not None and total.memory_bytes > room.memory_bytes
            )
            is_gpu_short = room.gpu_bytes is not None and total.gpu_bytes > room.gpu_bytes
            assert not (is_memory_short and each.footprint.memory_bytes)
            assert not (is_gpu_short and each.footprint.gpu_bytes)


@examples(200)
@given(houses(), ROOMS, FOOTPRINTS)
def test_with_equal_models_the_least_recently_used_are_those_that_go(
    tenants: list[Tenant], room: Room, wanted: Footprint
) -> None:
    equal = [
        Tenant(
            key=each.key,
            footprint=Footprint(memory_bytes=2, gpu_bytes=2),
            idle_s=each.idle_s,
            is_in_use=each.is_in_use,
            is_kept_warm=each.is_kept_warm,
        )
        for each in tenants
    ]
    gone = evictions(equal, room, wanted) or []
    order = [each.key for each in least_recent_first(equal)]
    assert gone == order[: len(gone)]


def test_a_model_that_holds_none_of_what_is_short_stays() -> None:
    house = [tenant("cpu", 500, memory=3), tenant("gpu", 100, memory=1, gpu=4)]
    wanted = Footprint(memory_bytes=1, gpu_bytes=2)
    assert evictions(house, Room(gpu_bytes=5), wanted) == ["gpu"]
    assert evictions(house, Room(max_models=2), wanted) == ["cpu"]
    busy = tenant("busy", 0, gpu=9, used=True)
    assert evictions([house[0], busy], Room(gpu_bytes=5)) == []


def test_a_model_that_is_larger_than_all_room_is_not_loaded() -> None:
    assert evictions([], Room(memory_bytes=4), Footprint(memory_bytes=5)) is None
    assert evictions([], Room(memory_bytes=5), Footprint(memory_bytes=5)) == []
    assert evictions([], Room(), Footprint(memory_bytes=10**15)) == []


def test_what_is_idle_for_too_long_goes_unless_it_is_kept() -> None:
    house = [
        tenant("short", 59.9),
        tenant("long", 60.0),
        tenant("longer", 1e6),
        tenant("used", 1e6, used=True),
        tenant("warm", 1e6, warm=True),
    ]
    assert expired(house, 60.0) == ["long", "longer"]
    assert expired(house, None) == []
    assert expired([], 60.0) == []


@pytest.mark.parametrize(
    ("rule", "kind"), [(until_free, "memory_bytes"), (until_gpu_free, "gpu_bytes")]
)
@examples(300)
@given(houses(), st.integers(-3, 20), st.data())
def test_enough_memory_is_freed_or_it_cannot_be(
    rule: Rule, kind: str, tenants: list[Tenant], short_bytes: int, data: st.DataObject
) -> None:
    free = [each.key for each in tenants if can_go(each)]
    already = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
    leaving = rule(tenants, already, short_bytes)

    def held(each: Tenant) -> int:
        return int(getattr(each.footprint, kind))

    def freed(keys: list[object]) -> int:
        return sum(held(each) for each in tenants if each.key in keys)

    if leaving is None:
        assert freed(list(free)) < short_bytes
        return
    assert leaving[: len(already)] == already
    assert len(set(leaving)) == len(leaving)
    assert set(leaving) <= set(free)
    if leaving != already:
        assert freed(leaving) >= short_bytes > freed(leaving[:-1])
    useful = [each for each in least_recent_first(tenants) if held(each) > 0]
    order = [each.key for each in useful if each.key not in already]
    beyond = leaving[len(already) :]
    assert beyond == order[: len(beyond)]


def test_what_leaves_anyway_counts_as_freed() -> None:
    house = [tenant("one", 9, memory=4), tenant("two", 5, memory=4)]
    assert until_free(house, ["two"], 4) == ["two"]
    assert until_free(house, ["two"], 5) == ["two", "one"]
    assert until_free(house, [], 9) is None
    assert until_free(house, [], -1) == []


def test_for_a_gpu_only_those_go_that_are_on_one() -> None:
    house = [
        tenant("cpu", 900, memory=9),
        tenant("old", 500, gpu=4),
        tenant("new", 100, gpu=4),
        tenant("used", 0, gpu=9, used=True),
        tenant("warm", 999, gpu=9, warm=True),
    ]
    assert until_gpu_free(house, [], 0) == []
    assert until_gpu_free(house, [], 4) == ["old"]
    assert until_gpu_free(house, ["cpu"], 5) == ["cpu", "old", "new"]
    assert until_gpu_free(house, ["new"], 4) == ["new"]
    assert until_gpu_free(house, [], 9) is None


@pytest.mark.parametrize(
    ("count", "memory", "gpu", "is_held"),
    [(2, 5, 5, True), (3, 5, 5, False), (2, 6, 5, False), (2, 5, 6, False), (0, 0, 0, True)],
)
def test_a_limit_itself_is_within_the_room(
    count: int, memory: int, gpu: int, is_held: bool
) -> None:
    room = Room(max_models=2, memory_bytes=5, gpu_bytes=5)
    assert room.holds(count, Footprint(memory_bytes=memory, gpu_bytes=gpu)) is is_held
    assert Room().holds(1000, Footprint(memory_bytes=10**15, gpu_bytes=10**15))


def test_footprints_add_up() -> None:
    one, two = Footprint(memory_bytes=5, gpu_bytes=3), Footprint(memory_bytes=1, gpu_bytes=2)
    assert one + two == Footprint(memory_bytes=6, gpu_bytes=5)
    assert one - two == Footprint(memory_bytes=4, gpu_bytes=1)
