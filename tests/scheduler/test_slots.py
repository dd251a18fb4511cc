"""The counted inference lock: of groups, of providers, of models."""

from asrd.abilities import Abilities
from asrd.config import Concurrency, Scheduling
from asrd.scheduler.slots import Placement, Slots

MANY = Abilities(decodes_at_once=100)
PLACEMENTS = {
    "near": Placement(),
    "few": Placement(max_decodes=1),
    "gpu": Placement(group="gpu"),
    "spare": Placement(group="spare"),
    "remote": Placement(group=None, max_decodes=2),
}


def slots(count: int = 2, **groups: int) -> Slots:
    return Slots(Scheduling(slots=count, group_slots=groups), PLACEMENTS.__getitem__)


def taken(lock: Slots, provider: str, most: int = 10, abilities: Abilities = MANY) -> int:
    """How many decodes of a provider could begin."""
    for count in range(most):
        if not lock.is_free(provider, provider, abilities):
            return count
        lock.take(provider, provider)
    return most


def test_a_group_has_as_many_slots_as_it_was_given() -> None:
    assert taken(slots(1), "near") == 1
    assert taken(slots(3), "near") == 3


def test_groups_do_not_wait_for_each_other_and_have_one_slot_unless_told() -> None:
    lock = slots(1, gpu=2)
    assert [taken(lock, name) for name in ("near", "gpu", "spare")] == [1, 2, 1]


def test_a_provider_may_have_a_limit_below_its_groups() -> None:
    lock = slots(3)
    assert taken(lock, "few") == 1
    assert taken(lock, "near") == 2


def test_a_model_decodes_no_more_at_once_than_it_can() -> None:
    assert taken(slots(3), "near", abilities=Abilities(decodes_at_once=2)) == 2


def test_remote_decodes_hold_no_slot_and_have_their_own_limit() -> None:
    lock = slots(1)
    lock.take("near", "near")
    assert taken(lock, "remote") == 2


def test_what_is_given_back_is_free() -> None:
    lock = slots(1)
    lock.take("near", "model")
    assert not lock.is_free("near", "model", MANY)
    lock.give_back("near", "model")
    assert lock.is_free("near", "model", MANY)
    assert lock.running == lock.running_in("local") == 0


def test_while_memory_is_short_no_decode_begins_beside_another() -> None:
    lock = slots(4)
    lock.has_memory = False
    assert taken(lock, "near") == 1
    lock.has_memory = True
    assert taken(lock, "near") == 3


def test_a_limit_that_is_lowered_lets_what_runs_finish() -> None:
    lock = slots(3)
    assert taken(lock, "near") == 3
    lock.local = 1
    lock.give_back("near", "near")
    assert not lock.is_free("near", "near", MANY)
    lock.give_back("near", "near")
    lock.give_back("near", "near")
    assert taken(lock, "near") == 1


def test_auto_begins_at_the_least() -> None:
    rule = Scheduling(slots="auto", concurrency=Concurrency(min_slots=2))
    assert taken(Slots(rule, PLACEMENTS.__getitem__), "near") == 2


def test_other_slots_count_at_once_and_what_runs_beyond_them_finishes() -> None:
    lock = slots(3)
    assert taken(lock, "near") == 3
    lock.apply(Scheduling(slots=2, group_slots={"gpu": 2}))
    assert (lock.local, lock.running) == (2, 3)
    lock.give_back("near", "near")
    assert not lock.is_free("near", "near", MANY)
    lock.give_back("near", "near")
    assert lock.is_free("near", "near", MANY)
    assert taken(lock, "gpu") == 2


def test_slots_that_become_automatic_begin_where_they_are() -> None:
    lock = slots(3)
    lock.apply(Scheduling(slots="auto"))
    assert lock.local == 3
