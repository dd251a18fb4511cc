"""The models that are loaded: kept while they may be, and given back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from asrd.abilities import Abilities
from asrd.breaker import BreakerState
from asrd.choices import Setting, WarmUp
from asrd.config import Config, ProviderConfig, Residency, Supervision
from asrd.errors import ProviderError
from asrd.machine import Gpu
from asrd.providers import calls
from asrd.providers import pool as module
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.gpu_memory import measure
from asrd.providers.inspection import Nvidia
from asrd.providers.lifecycle import ModelState
from asrd.providers.pool import ModelPool, probe_problem
from asrd.providers.registry import Registry, discover
from asrd.providers.supervisor import WorkerDied
from asrd.transcript import Hypothesis
from support.clock import VirtualClock
from support.waiting import PATIENCE_S, until
from support.workers import UNRULY, decode, run, texts

ECHO = ModelKey(provider="echo", model="echo")
PICKY = ModelKey(provider="picky", model="fine")

READ = calls.Read(hypothesis=Hypothesis(text=""))
NOT_READ = calls.NotRead(kind="provider", message="broken inside")

Settings = Mapping[str, Mapping[str, Setting]]


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = discover()
    registry.add(UNRULY)
    registry.add("support.picky")
    return registry


@dataclass
class House:
    """A pool, its time, and what it has told and begun."""

    registry: Registry
    config: Config
    clock: VirtualClock = field(default_factory=VirtualClock)
    changed: list[ModelKey] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pool = ModelPool(
            Catalogue(self.registry, self.config),
            self.config,
            self.clock,
            on_change=self.changed.append,
            start=lambda work: self.tasks.add(asyncio.create_task(work)),
        )

    def key(self, provider: str, model: str | None = None) -> ModelKey:
        return self.pool.catalogue.key(provider, model)

    async def pass_time(self, seconds: float) -> None:
        """Let it look after its models once, and wait for all that this begins."""
        self.clock.advance(seconds)
        self.pool.check()
        await self.settle()

    async def settle(self) -> None:
        while self.tasks:
            await self.tasks.pop()


@asynccontextmanager
async def house_of(
    registry: Registry,
    settings: Settings | None = None,
    *,
    residency: Residency | None = None,
    supervision: Supervision | None = None,
    use: Mapping[str, Any] | None = None,
) -> AsyncIterator[House]:
    """A house whose pool is stopped at the end; `use` is how every provider with settings is."""
    config = Config(
        provider="echo",
        providers={
            name: ProviderConfig(settings=own, **(use or {}))
            for name, own in (settings or {}).items()
        },
        residency=residency or Residency(),
        supervision=supervision or Supervision(first_pause_s=0.001),
    )
    house = House(registry, config)
    try:
        yield house
    finally:
        await house.pool.stop()
        await house.settle()


def test_a_model_is_loaded_once_and_with_its_providers_settings(registry: Registry) -> None:
    async def scenario() -> None:
        async with house_of(registry, {"unruly": {"deed": "refuse"}}) as house:
            pool, key = house.pool, house.key("unruly")
            assert not pool.takes_work(key)
            resident = pool.resident(key)
            assert pool.resident(key) is resident
            await resident.ensure()
            assert pool.takes_work(key)
            assert house.changed == [key] * 3  # starting, warming up, ready
            assert pool.is_up(key)
            assert texts(await resident.call(decode(is_marked=True))) == ["!provider"]
            assert pool.residents == {key: resident}

    run(scenario)


def children() -> set[int]:
    """This process's children; daemons of other tests may be among them."""
    return {child.pid for child in psutil.Process().children()}


def test_unloading_gives_the_memory_back(registry: Registry) -> None:
    """The worker is gone, and with it every byte."""

    async def scenario() -> None:
        async with house_of(registry) as house:
            pool = house.pool
            before = children()
            await pool.resident(ECHO).ensure()
            pid = pool.resident(ECHO).pid
            assert pid is not None
            assert psutil.Process(pid).memory_info().rss > 10_000_000
            await pool.unload(ECHO)
            assert not psutil.pid_exists(pid)
            assert children() == before
            assert not pool.takes_work(ECHO)
            assert not pool.residents
            assert house.changed == [ECHO] * 5
            await pool.unload(ECHO)  # nothing to do

    run(scenario)


def test_work_for_an_unloaded_model_loads_it_again(registry: Registry) -> None:
    async def scenario() -> None:
        async with house_of(registry) as house:
            pool = house.pool
            await pool.resident(ECHO).ensure()
            await pool.unload(ECHO)
            pool.need(ECHO)
            pool.need(ECHO)
            assert pool.resident(ECHO).state is ModelState.STARTING
            await pool.resident(ECHO).ensure()
            assert isinstance(await pool.resident(ECHO).call(decode()), calls.Decoded)

    run(scenario)


def test_a_model_that_cannot_be_had_takes_work_so_that_nobody_waits_for_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        async with house_of(registry, {"unruly": {"deed": "raise"}}) as house:
            pool, key = house.pool, house.key("unruly", "bad_at_load")
            assert not pool.has_failed(key)
            with pytest.raises(ProviderError):
                await pool.resident(key).ensure()
            assert pool.takes_work(key)
            assert pool.has_failed(key)
            assert not pool.is_up(key)
            with pytest.raises(ProviderError, match="unruly by design"):
                await pool.resident(key).call(decode())

    run(scenario)


def test_after_the_end_nothing_is_loaded_any_more(registry: Registry) -> None:
    async def scenario() -> None:
        async with house_of(registry) as house:
            pool = house.pool
            before = children()
            await pool.resident(ECHO).ensure()
            await pool.stop()
            pool.need(ECHO)
            assert not pool.residents
            assert children() == before

    run(scenario)


# ── room ──────────────────────────────────────────────────────────────────────────────────────


def test_of_two_loads_at_once_that_have_room_for_one_the_other_is_refused(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        async with house_of(registry, residency=Residency(max_models=1)) as house:
            pool, before = house.pool, children()
            loads = (pool.resident(key).ensure() for key in (ECHO, PICKY))
            won, lost = await asyncio.gather(*loads, return_exceptions=True)
            assert won is None
            assert str(lost) == (
                "there is no room for picky/fine beside echo/echo: max_models is 1; end streams or "
                "raise the limit"
            )
            assert len(children() - before) == 1
            assert pool.is_up(ECHO)
            assert pool.has_failed(PICKY)
            await pool.resident(PICKY).ensure()  # now the other is idle, and goes
            assert pool.is_up(PICKY)
            assert ECHO not in pool.residents

    run(scenario)


def test_the_model_that_was_used_least_recently_goes_and_its_worker_with_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        async with house_of(registry, residency=Residency(max_models=2)) as house:
            pool, fine = house.pool, house.key("unruly", "fine")
            for key in (ECHO, PICKY):
                await pool.resident(key).ensure()
                house.clock.advance(1)
            pool.tenancy.touch(ECHO)  # so that picky is the idle one
            gone = pool.resident(PICKY).pid
            house.clock.advance(1)
            await pool.resident(fine).ensure()
            assert pool.residents.keys() == {ECHO, fine}
            assert gone is not None
            assert not psutil.pid_exists(gone)

    run(scenario)


def test_a_model_in_use_is_not_taken_from_those_who_use_it(registry: Registry) -> None:
    async def scenario() -> None:
        async with house_of(registry, residency=Residency(max_models=1)) as house:
            pool = house.pool
            await pool.resident(ECHO).ensure()
            pool.tenancy.acquire(ECHO)
            with pytest.raises(ProviderError, match="end streams or raise the limit"):
                await pool.resident(PICKY).ensure()
            assert pool.is_up(ECHO)
            pool.tenancy.release(ECHO)
            await pool.resident(PICKY).ensure()
            assert not pool.is_up(ECHO)

    run(scenario)


def test_a_load_that_failed_is_not_in_its_own_way(registry: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"unruly": {"deed": "raise", "flag": str(tmp_path / "flag")}}
        async with house_of(registry, settings, residency=Residency(max_models=1)) as house:
            resident = house.pool.resident(house.key("unruly", "bad_at_first_load"))
            with pytest.raises(ProviderError, match="unruly by design"):
                await resident.ensure()
            await resident.ensure()
            assert resident.state is ModelState.READY

    run(scenario)


def test_an_idle_model_is_unloaded_when_its_time_is_over(registry: Registry) -> None:
    async def scenario() -> None:
        rule = Residency(idle_ttl_s=60.0, check_interval_s=2.0)
        async with house_of(registry, residency=rule) as house:
            pool, before = house.pool, children()
            await pool.resident(ECHO).ensure()
            await house.pass_time(59.0)
            pool.tenancy.touch(ECHO)  # it has read for a stream
            await pool.resident(ECHO).call(decode())  # as a probe does, which is no use
            await house.pass_time(59.0)
            assert pool.is_up(ECHO)
            pool.tenancy.acquire(ECHO)
            await house.pass_time(1000.0)
            pool.tenancy.release(ECHO)
            await house.pass_time(59.0)
            assert pool.is_up(ECHO)
            await house.pass_time(1.0)  # it looks every 2 s
            assert pool.is_up(ECHO)
            await house.pass_time(1.0)
            assert not pool.residents
            assert children() == before

    run(scenario)


def test_a_model_that_is_kept_warm_outlasts_its_idle_time(registry: Registry) -> None:
    async def scenario() -> None:
        use = {"keep_warm": True}
        rule = Residency(idle_ttl_s=60.0)
        async with house_of(registry, {"echo": {}}, residency=rule, use=use) as house:
            await house.pool.resident(ECHO).ensure()
            await house.pass_time(1000.0)
            assert house.pool.is_up(ECHO)

    run(scenario)


def test_a_model_over_the_memory_budget_goes_when_it_is_idle(registry: Registry) -> None:
    """Its size is measured: `echo` has no files to judge it by."""

    async def scenario() -> None:
        rule = Residency(memory_budget="150MB")
        async with house_of(registry, {"echo": {"memory_mb": 200}}, residency=rule) as house:
            pool, key = house.pool, house.key("echo")
            await pool.resident(key).ensure()
            pool.tenancy.acquire(key)
            await house.pass_time(5.0)
            assert pool.is_up(key)
            pool.tenancy.release(key)
            await house.pass_time(5.0)
            assert not pool.residents
            with pytest.raises(
                ProviderError, match=r"it takes 2\d\d MB .* memory_budget of 150 MB"
            ):
                await pool.resident(key).ensure()  # what it takes is known by now

    run(scenario)


# ── trust ─────────────────────────────────────────────────────────────────────────────────────


async def fail(house: House, key: ModelKey, times: int) -> None:
    for _ in range(times):
        assert texts(await house.pool.resident(key).call(decode())) == ["!provider"]
        await asyncio.sleep(0)


def test_a_provider_that_fails_gets_a_rest_and_a_probe(registry: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        flag = tmp_path / "flag"
        settings = {"unruly": {"deed": "refuse", "flag": str(flag)}}
        rule = Supervision(breaker_failures=4, breaker_open_s=30.0)
        async with house_of(registry, settings, supervision=rule) as house:
            pool, key = house.pool, house.key("unruly", "flagged")

            def state() -> BreakerState:
                return pool.breaker("unruly").state

            await pool.resident(key).ensure()
            await pool.resident(ECHO).ensure()

            flag.touch()  # from now on every decode fails
            await fail(house, key, 3)
            assert (pool.takes_work(key), pool.has_failed(key)) == (True, False)
            house.changed.clear()
            await fail(house, key, 1)
            assert state() is BreakerState.OPEN
            assert key in house.changed
            assert (pool.takes_work(key), pool.has_failed(key)) == (False, True)
            assert not pool.is_up(key)
            assert pool.is_up(ECHO)  # another's trouble is not its own
            assert pool.takes_work(ECHO)

            await house.pass_time(29.9)
            assert state() is BreakerState.OPEN
            house.changed.clear()
            await house.pass_time(0.1)  # a probe, in vain
            assert state() is BreakerState.OPEN
            assert key in house.changed
            assert pool.takes_work(key)  # who has nowhere else to go gets an answer
            assert not pool.is_up(key)

            flag.unlink()
            await house.pass_time(29.9)
            assert state() is BreakerState.OPEN
            house.changed.clear()
            await house.pass_time(0.1)
            assert state() is BreakerState.CLOSED
            assert key in house.changed
            assert (pool.is_up(key), pool.has_failed(key)) == (True, False)

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (calls.Decoded(id=1, outcomes=[READ], decode_s=0.1), ""),
        (calls.Decoded(id=1, outcomes=[NOT_READ], decode_s=0.1), "broken inside"),
        (
            calls.Decoded(id=1, outcomes=[calls.NotRead(kind="request", message="")], decode_s=0.1),
            "it could not be read",
        ),
        (calls.Scored(id=1, streams=[]), "a decode was answered with Scored"),
    ],
)
def test_a_probe_has_a_problem_unless_its_window_was_read(
    answer: calls.AnyAnswer, problem: str
) -> None:
    assert probe_problem(answer) == problem


def test_the_death_of_one_worker_costs_no_trust_however_much_was_under_way(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        slow: Settings = {"echo": {"latency_ms": 60_000.0, "decodes_at_once": 8}}
        async with house_of(registry, slow, use={"warm_up": WarmUp.NONE}) as house:
            resident = house.pool.resident(house.key("echo"))
            await resident.ensure()
            under_way = [resident.call(decode()) for _ in range(8)]
            resident.kill()
            answers = await asyncio.gather(*under_way, return_exceptions=True)
            assert [type(answer) for answer in answers] == [WorkerDied] * 8
            assert house.pool.breaker("echo").state is BreakerState.CLOSED
            assert resident.consecutive_errors == 1

    run(scenario)


def test_a_success_between_failures_keeps_the_trust(registry: Registry, tmp_path: Path) -> None:
    async def scenario() -> None:
        flag = tmp_path / "flag"
        settings = {"unruly": {"deed": "refuse", "flag": str(flag)}}
        rule = Supervision(breaker_failures=3)
        async with house_of(registry, settings, supervision=rule) as house:
            key = house.key("unruly", "flagged")
            await house.pool.resident(key).ensure()
            for _ in range(3):
                flag.touch()
                await fail(house, key, 2)
                flag.unlink()
                await house.pool.resident(key).call(decode())
            assert house.pool.breaker("unruly").state is BreakerState.CLOSED

    run(scenario)


def test_a_probe_whose_models_are_unloaded_meanwhile_loads_none(registry: Registry) -> None:
    async def scenario() -> None:
        settings = {"unruly": {"flag": "/nonexistent"}}
        async with house_of(registry, settings) as house:
            pool, before = house.pool, children()
            slow, fine = (house.key("unruly", model) for model in ("slow", "fine"))
            pool.resident(slow).begin()
            await pool.resident(fine).ensure()
            while pool.breaker("unruly").state is BreakerState.CLOSED:
                pool.breaker("unruly").fail(house.clock.now_s())
            house.clock.advance(1000.0)
            pool.check()
            await asyncio.sleep(0)  # the probe waits for the slow one
            assert pool.breaker("unruly").state is BreakerState.HALF_OPEN
            await pool.stop()
            await house.settle()
            assert not pool.residents
            assert children() == before

    run(scenario)


def test_a_worker_that_hangs_is_ended_by_the_regular_look(registry: Registry) -> None:
    async def scenario() -> None:
        rule = Supervision(first_pause_s=0.001, hang_after_s=2.0)
        async with house_of(registry, {"unruly": {"deed": "sleep"}}, supervision=rule) as house:
            resident = house.pool.resident(house.key("unruly"))
            await resident.ensure()
            await house.pass_time(0.5)
            call = resident.call(decode(is_marked=True))
            for _ in range(5):
                await house.pass_time(0.5)
            with pytest.raises(WorkerDied):
                await call
            await until(lambda: resident.state is ModelState.READY)

    run(scenario)


def test_the_gpu_memory_of_idle_models_is_measured_anew(registry: Registry) -> None:
    """By their workers, for a driver may hang; without one, the answer is none."""

    async def scenario() -> None:
        async with house_of(registry) as house:
            resident = house.pool.resident(ECHO)
            await resident.ensure()
            resident.gpu_bytes = 5  # as if the load had said so
            await house.pass_time(2.0)
            assert resident.gpu_bytes == measure(1).gpu_bytes
            resident.gpu_bytes = 5
            await house.pass_time(1.0)  # too soon for another look
            assert resident.gpu_bytes == 5

    run(scenario)


# ── GPUs ──────────────────────────────────────────────────────────────────────────────────────

MB = 1_000_000


def nvidia(*free_bytes: int) -> Nvidia:
    """A driver that answers, and GPUs of 100 MB."""
    return Nvidia(
        gpus=tuple(
            Gpu(
                index=index,
                name="a GPU",
                memory_bytes=100 * MB,
                free_bytes=free,
                compute_capability=(8, 9),
            )
            for index, free in enumerate(free_bytes)
        )
    )


@pytest.fixture
def picky_wants_gpu(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of `picky`, which take 12 MB, are put on a GPU."""
    kind = type(registry.get("picky").provider)
    monkeypatch.setattr(kind, "wants_gpu", lambda self, settings: True)


@pytest.mark.usefixtures("picky_wants_gpu")
def test_a_model_that_no_gpu_has_room_for_is_not_loaded(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        answers = [nvidia(3 * MB, 11 * MB), nvidia(3 * MB, 12 * MB)]
        monkeypatch.setattr(module, "ask_nvidia", lambda: answers.pop(0))
        async with house_of(registry) as house:
            resident, before = house.pool.resident(PICKY), children()
            with pytest.raises(ProviderError) as told:
                await resident.ensure()
            assert str(told.value) == (
                "there is too little GPU memory for picky/fine: it takes at least 12 MB and 11 MB "
                "are free; choose a smaller model, have it run on the CPU, or end other programs "
                "on the GPU"
            )
            assert resident.has_no_room
            assert children() == before
            await resident.ensure()  # the one GPU that has room is enough
            assert house.pool.is_up(PICKY)
            assert answers == []

    run(scenario)


@pytest.mark.usefixtures("picky_wants_gpu")
def test_an_idle_model_leaves_the_gpu_for_one_that_is_loaded(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "ask_nvidia", lambda: nvidia(2 * MB))
        async with house_of(registry) as house:
            pool = house.pool
            await pool.resident(ECHO).ensure()
            pool.resident(ECHO).gpu_bytes = 10 * MB  # as if the load had said so
            pool.tenancy.acquire(ECHO)
            with pytest.raises(ProviderError, match="too little GPU memory"):
                await pool.resident(PICKY).ensure()
            pool.tenancy.release(ECHO)
            await pool.resident(PICKY).ensure()
            assert pool.residents.keys() == {PICKY}

    run(scenario)


@pytest.mark.usefixtures("picky_wants_gpu")
@pytest.mark.parametrize("problem", ["", "The NVIDIA driver did not answer in 10 s."])
def test_where_no_gpu_is_known_a_model_that_wants_one_is_loaded_all_the_same(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """A driver that should have answered is told of."""

    async def scenario() -> None:
        monkeypatch.setattr(module, "ask_nvidia", lambda: Nvidia(problem=problem))
        async with house_of(registry) as house:
            with capture_logs() as logged:
                await house.pool.resident(PICKY).ensure()
            told = [line["problem"] for line in logged if line["event"] == "gpu_memory_unknown"]
            assert told == ([problem] if problem else [])
            assert house.pool.is_up(PICKY)

    run(scenario)


@pytest.mark.usefixtures("picky_wants_gpu")
def test_nvidia_is_not_asked_for_a_model_that_wants_no_gpu(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "ask_nvidia", None)
        async with house_of(registry) as house:
            await house.pool.resident(ECHO).ensure()

    run(scenario)


@pytest.mark.usefixtures("picky_wants_gpu")
def test_while_the_driver_is_waited_for_everything_else_goes_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def take_long() -> Nvidia:
        asked.set()
        assert may_answer.wait(PATIENCE_S)
        return nvidia(50 * MB)

    async def scenario() -> None:
        monkeypatch.setattr(module, "ask_nvidia", take_long)
        async with house_of(registry) as house:
            pool = house.pool
            try:
                pool.resident(PICKY).begin()
                await until(asked.is_set)
                await pool.resident(ECHO).ensure()
                assert isinstance(await pool.resident(ECHO).call(decode()), calls.Decoded)
                assert not pool.is_up(PICKY)
            finally:
                may_answer.set()
            await pool.resident(PICKY).ensure()

    run(scenario)


def test_what_workers_say_of_their_gpus_is_passed_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they do not know any more is forgotten, and so is a model that is on no GPU now."""

    async def scenario() -> None:
        async with house_of(registry) as house:
            pool, resident = house.pool, house.pool.resident(ECHO)
            await resident.ensure()
            resident.gpu_bytes = 5
            free, total = 7 * MB, 100 * MB

            async def answer(_: object) -> calls.AnyAnswer:
                return calls.GpuMeasured(
                    id=1, gpu_bytes=5, gpu_total_bytes=total, gpu_free_bytes=free
                )

            def known() -> tuple[int, int] | None:
                return pool.tenancy.gpu_memory

            monkeypatch.setattr(resident, "call", answer)
            await house.pass_time(2.0)
            assert known() == (7 * MB, 100 * MB)
            free = 0
            await house.pass_time(2.0)
            assert known() == (0, 100 * MB)
            total = 0  # the driver has fallen sick
            await house.pass_time(2.0)
            assert known() is None
            free, total = 1 * MB, 100 * MB
            await house.pass_time(2.0)
            assert known() == (1 * MB, 100 * MB)
            resident.gpu_bytes = 0
            await house.pass_time(2.0)
            assert known() is None

    run(scenario)


@pytest.mark.parametrize(("at_once", "is_asked"), [(1, False), (2, True)])
def test_a_busy_worker_is_asked_for_its_gpu_where_it_can_answer_beside_a_decode(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, at_once: int, is_asked: bool
) -> None:
    async def scenario() -> None:
        async with house_of(registry) as house:
            resident = house.pool.resident(ECHO)
            await resident.ensure()
            resident.gpu_bytes = 5
            resident.abilities = Abilities(decodes_at_once=at_once)
            under_way = resident.call(decode())
            asked = []
            call = resident.call

            def note(make: Any) -> Any:
                asked.append(make(1))
                return call(make)

            monkeypatch.setattr(resident, "call", note)
            await house.pass_time(2.0)
            assert asked == ([calls.MeasureGpu(id=1)] if is_asked else [])
            await under_way

    run(scenario)


def test_what_a_model_says_after_it_was_unloaded_is_not_kept(registry: Registry) -> None:
    async def scenario() -> None:
        async with house_of(registry) as house:
            pool, resident = house.pool, house.pool.resident(ECHO)
            await resident.ensure()
            resident.gpu_bytes = 5
            answered = asyncio.Event()

            async def answer(_: object) -> calls.AnyAnswer:
                await answered.wait()
                return calls.GpuMeasured(
                    id=1, gpu_bytes=5, gpu_total_bytes=100 * MB, gpu_free_bytes=0
                )

            resident.call = answer  # type: ignore[method-assign, assignment]
            house.clock.advance(2.0)
            pool.check()
            await asyncio.sleep(0)
            await pool.unload(ECHO)
            answered.set()
            await house.settle()
            assert pool.tenancy.gpu_memory is None
            pool.tenancy.learn_gpu_total(100 * MB)
            assert pool.tenancy.gpu_memory is None

    run(scenario)
