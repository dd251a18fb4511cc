"""The facts that the rules of residency are given: in use or not, since when, and how large."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from asrd.config import Config, ProviderConfig, Residency
from asrd.errors import ProviderError
from asrd.providers import tenancy as module
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.residency import Footprint
from asrd.providers.resident import Resident
from asrd.providers.tenancy import Tenancy
from support.clock import VirtualClock

MB = 1_000_000
MACHINE_BYTES = 1000 * MB

A, B, C, D = (ModelKey(provider=f"p_{name}", model=name) for name in "abcd")


@dataclass
class StandIn:
    """As much of a `Resident` as is looked at."""

    state: ModelState = ModelState.READY
    is_busy: bool = False
    is_restarting: bool = False
    memory_bytes: int = 100 * MB
    gpu_bytes: int = 0


@dataclass
class House:
    """A tenancy over models that a test loads and changes by hand."""

    rule: dict[str, Any] = field(default_factory=dict)
    kept_warm: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.sizes = {key: Footprint(memory_bytes=50 * MB) for key in (A, B, C, D)}
        self.models: dict[ModelKey, StandIn] = {}
        self.outdated: set[ModelKey] = set()
        config = Config(
            residency=Residency(**self.rule),
            providers={name: ProviderConfig(keep_warm=True) for name in self.kept_warm},
        )
        self.tenancy = Tenancy(cast("Catalogue", self), config, self.clock)

    def size(self, key: ModelKey) -> Footprint:
        """What the catalogue says of files."""
        return self.sizes[key]

    def is_current(self, key: ModelKey) -> bool:
        """Whether the catalogue would still give this key for its name."""
        return key not in self.outdated

    @property
    def residents(self) -> dict[ModelKey, Resident]:
        return cast("dict[ModelKey, Resident]", self.models)

    def load(
        self, key: ModelKey, gpu_free_bytes: int | None = None, **facts: Any
    ) -> list[ModelKey]:
        """As the pool does: room is taken, what has to go is ended, and the model comes up."""
        self.models[key] = StandIn(state=ModelState.STARTING)
        gone = self.tenancy.claim(key, self.residents, gpu_free_bytes)
        for each in gone:
            del self.models[each]
            self.tenancy.leave(each)
        self.models[key] = StandIn(**facts)
        self.tenancy.touch(key)
        return gone

    def refusal(self, key: ModelKey, gpu_free_bytes: int | None = None) -> str:
        with pytest.raises(ProviderError) as told:
            self.load(key, gpu_free_bytes)
        del self.models[key]
        return str(told.value)

    def overstayed(self) -> dict[ModelKey, str]:
        return self.tenancy.overstayed(self.residents)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A machine of 1000 MB, all of it free unless a test says otherwise."""
    facts = {"available": MACHINE_BYTES}
    monkeypatch.setattr(module, "machine_memory_bytes", lambda: MACHINE_BYTES)
    monkeypatch.setattr(module, "available_memory_bytes", lambda: facts["available"])
    return facts


def test_without_limits_everything_stays() -> None:
    house = House()
    assert [house.load(key) for key in (A, B, C, D)] == [[]] * 4
    house.clock.advance(1e9)
    assert house.overstayed() == {}


# ── room for one more ─────────────────────────────────────────────────────────────────────────


def test_the_least_recently_used_model_makes_room() -> None:
    house = House({"max_models": 2})
    for key in (A, B):
        house.load(key)
        house.clock.advance(10)
    house.tenancy.acquire(A)
    house.tenancy.release(A)
    house.clock.advance(1)
    assert house.load(C) == [B]
    house.clock.advance(1)
    assert house.load(B) == [A]


@pytest.mark.parametrize(
    "facts",
    [
        {"is_busy": True},
        {"state": ModelState.STARTING},
        {"state": ModelState.WARMING_UP},
    ],
)
def test_what_works_or_comes_up_is_in_use(facts: dict[str, Any]) -> None:
    house = House({"max_models": 1})
    house.load(A, **facts)
    house.clock.advance(1000)
    assert house.refusal(B) == (
        "there is no room for p_b/b beside p_a/a: max_models is 1; end streams or raise the limit"
    )
    house.models[A] = StandIn()
    assert house.load(B) == [A]


def test_a_model_is_in_use_while_a_stream_is_open_on_it() -> None:
    house = House({"max_models": 1, "idle_ttl_s": 60.0})
    house.load(A)
    for _ in range(2):
        house.tenancy.acquire(A)
    assert house.tenancy.streams_on(A) == 2
    house.tenancy.release(A)
    house.clock.advance(1000)
    assert house.overstayed() == {}
    assert "max_models is 1" in house.refusal(B)
    house.tenancy.release(A)
    assert house.tenancy.streams_on(A) == 0
    assert house.load(B) == [A]


def test_a_model_that_is_kept_warm_never_goes() -> None:
    rule = {"max_models": 2, "idle_ttl_s": 60.0}
    house = House(rule, kept_warm=("p_a",))
    house.load(A)
    house.load(B)
    house.clock.advance(1000)
    assert house.overstayed() == {B: "idle"}
    assert house.load(C) == [B]


def test_a_model_without_a_worker_takes_no_room() -> None:
    house = House({"max_models": 1})
    house.load(A, state=ModelState.UNAVAILABLE)
    assert house.load(B) == []


def test_a_model_that_did_not_come_up_may_be_tried_again() -> None:
    """It is not in its own way."""
    house = House({"max_models": 1})
    house.load(A, state=ModelState.UNAVAILABLE)
    house.models[A].state = ModelState.STARTING
    assert house.tenancy.claim(A, house.residents) == []


def test_models_that_were_asked_for_and_have_no_room_yet_take_none() -> None:
    """Two at once: the first that claims wins."""
    house = House({"max_models": 1})
    house.models = {key: StandIn(state=ModelState.STARTING) for key in (A, B)}
    assert house.tenancy.claim(B, house.residents) == []
    with pytest.raises(ProviderError, match="no room for p_a/a beside p_b/b: max_models is 1"):
        house.tenancy.claim(A, house.residents)


def test_a_memory_budget_counts_what_is_measured() -> None:
    house = House({"memory_budget": "30%"})
    house.load(A, memory_bytes=120 * MB)
    house.clock.advance(1)
    house.load(B, memory_bytes=120 * MB)
    house.clock.advance(1)
    assert house.load(C, memory_bytes=10 * MB) == []  # 50 MB by its files: 290 of 300
    house.sizes[D] = Footprint(memory_bytes=100 * MB)
    assert house.load(D) == [A]


def test_a_budget_that_cannot_be_kept_is_told_with_its_figures() -> None:
    house = House({"memory_budget": "300MB"})
    house.load(A, memory_bytes=260 * MB, is_busy=True)
    assert house.refusal(B) == (
        "there is no room for p_b/b beside p_a/a: it takes 50 MB and the others 260 MB of a "
        "memory_budget of 300 MB; end streams or raise the limit"
    )
    house.models.clear()
    house.sizes[C] = Footprint(memory_bytes=301 * MB)
    assert "no room for p_c/c beside nothing: it takes 301 MB" in house.refusal(C)


def test_what_a_model_took_when_it_ran_is_what_it_is_judged_by() -> None:
    house = House({"memory_budget": "300MB"})
    house.load(A, memory_bytes=250 * MB)
    assert house.overstayed() == {}
    del house.models[A]
    house.tenancy.leave(A)
    house.load(B, memory_bytes=60 * MB, is_busy=True)
    assert "it takes 250 MB" in house.refusal(A)


def test_a_gpu_budget_counts_once_the_gpus_are_known() -> None:
    house = House({"gpu_memory_budget": "50%"})
    house.load(A, gpu_bytes=600 * MB)
    assert house.overstayed() == {}
    house.tenancy.learn_gpu_total(1000 * MB)
    house.tenancy.learn_gpu_total(0)  # a GPU that does not answer is no smaller
    assert house.overstayed() == {A: "over budget"}
    house.models[A].is_busy = True
    assert "gpu_memory_budget is 500 MB" in house.refusal(B)


def test_a_model_that_the_machine_has_no_memory_for_is_refused(machine: dict[str, int]) -> None:
    house = House()
    house.load(A, is_busy=True)
    machine["available"] = 30 * MB
    assert house.refusal(B) == (
        "there is too little memory for p_b/b: it takes at least 50 MB and 30 MB are free; choose "
        "a smaller model or end other programs"
    )
    machine["available"] = 50 * MB
    assert house.load(B) == []


def test_idle_models_go_for_one_that_the_memory_is_short_for(machine: dict[str, int]) -> None:
    house = House()
    for key in (A, B, C):
        house.load(key, memory_bytes=40 * MB)
        house.clock.advance(1)
    machine["available"] = 0
    assert house.load(D) == [A, B]  # 50 MB are needed and each gives 40


def test_a_model_that_no_gpu_has_memory_for_is_refused() -> None:
    house = House()
    house.load(A, gpu_bytes=900 * MB, is_busy=True)
    house.load(B)  # on the CPU: it would give the GPU nothing
    house.clock.advance(1)
    assert house.refusal(C, gpu_free_bytes=49 * MB) == (
        "there is too little GPU memory for p_c/c: it takes at least 50 MB and 49 MB are free; "
        "choose a smaller model, have it run on the CPU, or end other programs on the GPU"
    )
    assert house.load(C, gpu_free_bytes=50 * MB) == []
    house.sizes[D] = Footprint()  # nobody knows
    assert house.load(D, gpu_free_bytes=0) == []


def test_idle_models_leave_a_gpu_that_is_short_for_another() -> None:
    house = House()
    for key, gpu_bytes in ((A, 40 * MB), (B, 0), (C, 40 * MB)):
        house.load(key, gpu_bytes=gpu_bytes)
        house.clock.advance(1)
    house.sizes[D] = Footprint(memory_bytes=100 * MB)
    assert "it takes at least 100 MB and 19 MB are free" in house.refusal(D, 19 * MB)
    assert house.residents.keys() == {A, B, C}
    assert house.load(D, 60 * MB) == [A]


def test_what_goes_for_another_reason_counts_as_free_on_the_gpu() -> None:
    house = House({"max_models": 1})
    house.load(A, gpu_bytes=50 * MB)
    assert house.load(B, gpu_free_bytes=0) == [A]


def test_what_a_model_took_of_a_gpu_is_what_it_is_judged_by() -> None:
    house = House()
    house.load(A, gpu_bytes=70 * MB)
    house.overstayed()
    del house.models[A]
    house.tenancy.leave(A)
    assert "at least 70 MB and 60 MB are free" in house.refusal(A, 60 * MB)


def test_the_fullest_gpu_of_those_that_models_run_on_is_told() -> None:
    tenancy = House().tenancy

    def known() -> tuple[int, int] | None:
        return tenancy.gpu_memory

    tenancy.learn_gpu_total(1000 * MB)
    assert known() is None
    tenancy.learn_gpu_free(A, 300 * MB)
    tenancy.learn_gpu_free(B, 200 * MB)
    assert known() == (200 * MB, 1000 * MB)
    tenancy.learn_gpu_free(B, 0)
    assert known() == (0, 1000 * MB)
    tenancy.leave(B)  # what it knew is of no more use
    assert known() == (300 * MB, 1000 * MB)
    tenancy.learn_gpu_free(A, None)
    tenancy.learn_gpu_free(C, None)
    assert known() is None


def test_a_claim_that_is_refused_takes_no_room() -> None:
    house = House({"max_models": 1})
    house.load(A, is_busy=True)
    house.refusal(B)
    house.models[A] = StandIn()
    assert house.load(C) == [A]
    assert house.overstayed() == {}


# ── time to go ────────────────────────────────────────────────────────────────────────────────


def test_idle_time_begins_at_the_end_of_the_work() -> None:
    house = House({"idle_ttl_s": 60.0})
    house.load(A)
    house.models[A].is_busy = True
    for _ in range(100):
        house.clock.advance(10)
        assert house.overstayed() == {}
    house.models[A].is_busy = False
    house.clock.advance(20)
    house.tenancy.touch(A)  # as the pool does at the end of each call
    house.clock.advance(59.9)
    assert house.overstayed() == {}
    house.clock.advance(0.1)
    assert house.overstayed() == {A: "idle"}


def test_idle_time_begins_when_the_last_stream_leaves() -> None:
    house = House({"idle_ttl_s": 60.0})
    house.load(A)
    house.tenancy.acquire(A)
    house.clock.advance(1000)
    house.tenancy.release(A)
    house.clock.advance(59.9)
    assert house.overstayed() == {}
    house.clock.advance(0.1)
    assert house.overstayed() == {A: "idle"}


def test_models_that_have_grown_go_until_the_budget_is_kept() -> None:
    house = House({"memory_budget": "300MB"})
    for key in (A, B, C):
        house.load(key, memory_bytes=60 * MB)
        house.clock.advance(1)
    house.models[B].memory_bytes = 300 * MB
    house.models[A].is_busy = True
    assert house.overstayed() == {B: "over budget"}
    house.models[B].is_busy = True
    assert house.overstayed() == {C: "over budget"}  # the best that can be done


def test_when_memory_is_short_one_model_goes_at_a_time(machine: dict[str, int]) -> None:
    house = House({"min_available": "10%"})
    for key in (A, B):
        house.load(key)
        house.clock.advance(1)
    machine["available"] = 100 * MB
    assert house.overstayed() == {}
    machine["available"] = 100 * MB - 1
    assert house.overstayed() == {A: "memory is short"}
    house.models[A].is_busy = True
    assert house.overstayed() == {B: "memory is short"}
    house.models[B].is_busy = True
    assert house.overstayed() == {}


def test_a_model_that_is_gone_is_not_told_to_go() -> None:
    house = House({"idle_ttl_s": 60.0})
    house.load(A)
    house.load(B, state=ModelState.UNAVAILABLE)
    house.clock.advance(100)
    assert house.overstayed() == {A: "idle"}
    house.tenancy.leave(A)
    assert house.overstayed() == {}


def test_a_model_whose_settings_have_changed_goes_with_its_last_stream() -> None:
    """Though it is kept warm: what is kept is the model that streams are given now."""
    house = House(kept_warm=("p_a",))
    for key in (A, B):
        house.load(key)
    house.tenancy.acquire(A)
    house.outdated.add(A)
    assert house.overstayed() == {}
    house.tenancy.release(A)
    assert house.overstayed() == {A: "its settings have changed"}


def test_another_rule_counts_from_the_next_look_on() -> None:
    house = House()
    for key in (A, B, C):
        house.load(key)
        house.clock.advance(1)
    house.tenancy.apply(Config(residency=Residency(max_models=2)))
    assert house.overstayed() == {A: "over budget"}
    house.tenancy.apply(Config(providers={"p_a": ProviderConfig(keep_warm=True)}))
    assert house.overstayed() == {}
