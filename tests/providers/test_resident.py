"""A worker that is kept: loaded once for all, back after a death, honest when it cannot be."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrd.errors import ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers import resident as module
from asrd.providers.lifecycle import ModelState
from asrd.providers.resident import Resident, pause_s
from asrd.providers.supervisor import WorkerDied
from support.waiting import until
from support.workers import decode, load, load_unruly, resident

LOAD_ECHO = load("asrd_echo", "echo", "echo")

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backing off is tested by its formula; here nobody waits for it."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


async def killed(kept: Resident) -> None:
    """Kill its worker and wait until that was noticed."""
    pid = kept.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: kept.pid != pid)


@pytest.mark.parametrize(("deaths", "longest"), [(0, 0.001), (1, 0.002), (5, 0.032), (1000, 30.0)])
def test_the_pause_doubles_up_to_half_a_minute(deaths: int, longest: float) -> None:
    assert pause_s(deaths, 0.0) == pytest.approx(longest)
    assert pause_s(deaths, 1.0) == pytest.approx(0.8 * longest)


def test_one_load_serves_all_who_wait() -> None:
    async def scenario() -> None:
        states: list[ModelState] = []
        async with resident(LOAD_ECHO, lambda: states.append(kept.state)) as kept:
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.pid is None
            await asyncio.gather(*(kept.ensure() for _ in range(5)))
            assert states == [ModelState.STARTING, ModelState.READY]
            assert kept.load_s is not None
            assert kept.restarts == 0
            await kept.ensure()
            assert isinstance(await kept.call(decode()), calls.Decoded)
            assert kept.last_inference_s is not None

    run(scenario)


def test_a_call_to_one_that_is_not_ready_fails_at_once() -> None:
    async def scenario() -> None:
        async with resident(LOAD_ECHO) as kept:
            with pytest.raises(ProviderError, match="under test is not loaded"):
                await kept.call(decode())

    run(scenario)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (load("asrd_echo", "echo", "other"), ModelUnavailable, "echo has one model"),
        (load_unruly("bad_at_load", deed="raise"), ProviderError, "unruly by design"),
        (load_unruly("bad_at_warm_up", deed="raise"), ProviderError, "unruly by design"),
    ],
)
def test_a_load_that_is_refused_is_told_to_everyone_and_not_tried_again(
    make: Callable[[int], calls.AnyCall], kind: type[Exception], message: str
) -> None:
    async def scenario() -> None:
        async with resident(make) as kept:
            outcomes = await asyncio.gather(kept.ensure(), kept.ensure(), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [kind, kind]
            assert kept.state is ModelState.UNAVAILABLE
            assert message in kept.problem
            assert kept.restarts == 0
            assert kept.pid is None
            with pytest.raises(ProviderError, match=message):
                await kept.call(decode())

    run(scenario)


def test_who_asks_after_a_refusal_has_it_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        make = load_unruly("bad_at_first_load", deed="raise", flag=str(tmp_path / "flag"))
        async with resident(make) as kept:
            with pytest.raises(ProviderError):
                await kept.ensure()
            await kept.ensure()
            assert kept.state is ModelState.READY
            assert kept.problem == ""

    run(scenario)


@pytest.mark.parametrize("deed", ["kill", "segv", "exit"])
def test_a_worker_that_dies_while_it_loads_is_followed_by_another(
    deed: str, tmp_path: Path
) -> None:
    """Whoever waits for the load does not hear of it."""

    async def scenario() -> None:
        states: list[ModelState] = []
        make = load_unruly("bad_at_first_load", deed=deed, flag=str(tmp_path / "flag"))
        async with resident(make, lambda: states.append(kept.state)) as kept:
            await kept.ensure()
            assert states == [ModelState.STARTING, ModelState.READY]
            assert kept.restarts == 1

    run(scenario)


def test_a_model_that_ends_every_worker_is_given_up() -> None:
    async def scenario() -> None:
        async with resident(load_unruly("bad_at_warm_up", deed="kill")) as kept:
            with pytest.raises(ProviderError, match="died"):
                await kept.ensure()
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.restarts == module.TRIES_BEFORE_UNAVAILABLE - 1
            assert kept.consecutive_errors == module.TRIES_BEFORE_UNAVAILABLE

    run(scenario)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_death_is_followed_by_a_new_worker(number: int) -> None:
    async def scenario() -> None:
        states: list[ModelState] = []
        async with resident(LOAD_ECHO, lambda: states.append(kept.state)) as kept:
            await kept.ensure()
            first = kept.pid
            assert first is not None
            os.kill(first, number)
            await until(lambda: kept.state is not ModelState.READY)
            await kept.ensure()
            assert kept.pid not in (None, first)
            assert states == [ModelState.STARTING, ModelState.READY] * 2
            assert (kept.restarts, kept.consecutive_errors) == (1, 1)
            await kept.call(decode())
            assert kept.consecutive_errors == 0

    run(scenario)


def test_a_new_worker_waits_for_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it was asked for before."""

    async def scenario() -> None:
        pauses: list[int] = []

        def for_ever(deaths: int, jitter: float) -> float:
            pauses.append(deaths)
            return 999

        monkeypatch.setattr(module, "pause_s", for_ever)
        async with resident(LOAD_ECHO) as kept:
            await kept.ensure()
            kept.begin()
            await killed(kept)
            for _ in range(100):
                kept.begin()
                await asyncio.sleep(0)
            assert pauses == [0]
            assert (kept.pid, kept.restarts) == (None, 0)
            assert kept.state is ModelState.STARTING

    run(scenario)


def test_a_death_during_the_return_is_no_reason_to_give_up(tmp_path: Path) -> None:
    """Work that waits would be failed by a moment of `unavailable`."""

    async def scenario() -> None:
        flag = tmp_path / "flag"
        flag.touch()
        states: list[ModelState] = []
        async with resident(
            load_unruly("slow", flag=str(flag)), lambda: states.append(kept.state)
        ) as kept:
            await kept.ensure()
            flag.unlink()
            await killed(kept)
            await until(lambda: kept.pid is not None)
            await killed(kept)  # which loads until the flag is there
            flag.touch()
            await kept.ensure()
            assert ModelState.UNAVAILABLE not in states
            assert kept.restarts == 2

    run(scenario)


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_what_ran_once_is_tried_for_ever_and_told_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked_for: bool
) -> None:
    """After a few tries in vain who asks hears of it at once; and the next try comes at once."""

    async def scenario() -> None:
        flag, nowhere = tmp_path / "flag", tmp_path / "nowhere" / "flag"
        flag.touch()
        make = load_unruly("bad_at_first_load", deed="raise", flag=str(flag))
        async with resident(make) as kept:
            await kept.ensure()
            kept._make_load = load_unruly("bad_at_first_load", deed="raise", flag=str(nowhere))
            await killed(kept)
            if is_asked_for:  # then nothing but asking ends the pause
                pauses = iter([0.001] * module.TRIES_BEFORE_UNAVAILABLE + [999.0])
                monkeypatch.setattr(module, "pause_s", lambda deaths, jitter: next(pauses))
            with pytest.raises(ProviderError, match="No such file"):
                await kept.ensure()
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.restarts == module.TRIES_BEFORE_UNAVAILABLE
            kept._make_load = make
            if is_asked_for:
                await kept.ensure()
            await until(lambda: kept.state is ModelState.READY)

    run(scenario)


def test_stop_while_it_loads_tells_those_who_wait() -> None:
    async def scenario() -> None:
        async with resident(load_unruly("slow", flag="/nonexistent")) as kept:
            waiting = asyncio.create_task(kept.ensure())
            await until(lambda: kept.pid is not None)
            pid = kept.pid
            await kept.stop()
            assert not psutil.pid_exists(pid)
            with pytest.raises(ProviderError, match="was unloaded"):
                await waiting
            with pytest.raises(ProviderError, match="was unloaded"):
                await kept.ensure()

    run(scenario)


def test_stop_while_it_works_fails_the_call_and_is_no_death() -> None:
    async def scenario() -> None:
        async with resident(load_unruly(deed="spin")) as kept:
            await kept.ensure()
            call = kept.call(decode(is_marked=True))
            await kept.stop()
            with pytest.raises(WorkerDied):
                await call
            assert (kept.restarts, kept.pid) == (0, None)

    run(scenario)


def test_failures_are_counted_until_one_decode_succeeds() -> None:
    async def scenario() -> None:
        async with resident(load_unruly(deed="raise")) as kept:
            await kept.ensure()
            for count in (1, 2):
                with pytest.raises(ProviderError, match="RuntimeError: unruly by design"):
                    await kept.call(decode(is_marked=True))
                assert kept.consecutive_errors == count
            await kept.call(decode())
            assert kept.consecutive_errors == 0
            assert kept.state is ModelState.READY

    run(scenario)
