"""A worker that is kept: loaded once for all, back after a death, honest when it cannot be."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from asrd.abilities import Abilities
from asrd.config import Supervision
from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError
from asrd.providers import calls
from asrd.providers import resident as module
from asrd.providers.lifecycle import ModelState
from asrd.providers.patience import UNKNOWN_S
from asrd.providers.resident import Resident, pause_s
from asrd.providers.supervisor import WorkerDied, WorkerProcess
from support.waiting import until
from support.workers import (
    QUICK,
    decode,
    decode_all,
    item,
    load,
    load_able,
    load_unruly,
    only,
    resident,
    run,
    texts,
    unwarmed,
)

LOAD_ECHO = load("asrd_echo", "echo", "echo")
COMING_UP = [ModelState.STARTING, ModelState.WARMING_UP]


async def killed(kept: Resident) -> None:
    """Kill its worker and wait until that was noticed."""
    pid = kept.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: kept.pid != pid)


@pytest.mark.parametrize(("deaths", "longest"), [(0, 0.1), (1, 0.2), (5, 3.2), (1000, 30.0)])
def test_the_pause_doubles_from_a_tenth_of_a_second_to_half_a_minute(
    deaths: int, longest: float
) -> None:
    assert pause_s(Supervision(), deaths, 0.0) == pytest.approx(longest)
    assert pause_s(Supervision(), deaths, 1.0) == pytest.approx(0.8 * longest)


def test_one_load_serves_all_who_wait() -> None:
    async def scenario() -> None:
        states: list[ModelState] = []
        async with resident(LOAD_ECHO, lambda: states.append(kept.state)) as kept:
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.pid is None
            await asyncio.gather(*(kept.ensure() for _ in range(5)))
            assert states == [*COMING_UP, ModelState.READY]
            assert kept.load_s is not None
            assert kept.warm_up_s is not None
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
            assert states == [*COMING_UP, ModelState.READY]
            assert kept.restarts == 1

    run(scenario)


def test_a_model_that_ends_every_worker_is_given_up() -> None:
    async def scenario() -> None:
        async with resident(load_unruly("bad_at_warm_up", deed="kill")) as kept:
            with pytest.raises(ProviderError, match="died"):
                await kept.ensure()
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.restarts == QUICK.load_attempts - 1
            assert kept.consecutive_errors == QUICK.load_attempts

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
            assert states == [*COMING_UP, ModelState.READY] * 2
            assert (kept.restarts, kept.consecutive_errors) == (1, 1)
            await kept.call(decode())
            assert kept.consecutive_errors == 0

    run(scenario)


def test_a_new_worker_waits_for_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it was asked for before."""

    async def scenario() -> None:
        pauses: list[int] = []

        def for_ever(rule: Supervision, deaths: int, jitter: float) -> float:
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
                pauses = iter([0.001] * QUICK.load_attempts + [999.0])
                monkeypatch.setattr(module, "pause_s", lambda rule, deaths, jitter: next(pauses))
            with pytest.raises(ProviderError, match="No such file"):
                await kept.ensure()
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.restarts == QUICK.load_attempts
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
                outcome = only(await kept.call(decode(is_marked=True)))
                assert isinstance(outcome, calls.NotRead)
                assert outcome.message == "RuntimeError: unruly by design"
                assert kept.consecutive_errors == count
            await kept.call(decode())
            assert kept.consecutive_errors == 0
            assert kept.state is ModelState.READY

    run(scenario)


def test_what_one_stream_asks_for_in_vain_is_no_failure() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        make = load("support.picky", "picky", "fine")
        async with resident(make, on_outcome=outcomes.append) as kept:
            await kept.ensure()
            for _ in range(5):
                assert texts(await kept.call(decode(language="de"))) == ["!request"]
            assert (kept.state, kept.consecutive_errors) == (ModelState.READY, 0)
            assert outcomes == []
            await kept.call(decode(language="en"))
            assert outcomes == [False]

    run(scenario)


def test_a_decode_that_is_aborted_answers_early_and_is_no_failure() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        make = load("asrd_echo", "echo", "echo", real_time_factor=100.0)
        async with resident(unwarmed(make), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            call = kept.call(decode(16_000 * 30), 30.0)
            assert kept.is_busy
            kept.abort(call)
            with pytest.raises(DecodeCancelled):
                await call  # `run` bounds it; it would take 50 minutes
            facts = (kept.is_busy, kept.state, kept.consecutive_errors)
            assert facts == (False, ModelState.READY, 0)
            assert outcomes == []

    run(scenario)


def test_it_is_degraded_after_three_failures_and_ready_after_a_success() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(load_unruly(deed="refuse"), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            for expected in (ModelState.READY, ModelState.READY, ModelState.DEGRADED):
                assert texts(await kept.call(decode(is_marked=True))) == ["!provider"]
                assert kept.state is expected
            assert kept.problem == "this window is not to be read"
            await kept.call(decode())  # which it still takes
            assert (kept.state, kept.problem) == (ModelState.READY, "")
            assert outcomes == [True, True, True, False]

    run(scenario)


def test_a_complaint_degrades_it_until_a_decode_succeeds() -> None:
    async def scenario() -> None:
        async with resident(LOAD_ECHO) as kept:
            kept.complain("it is not even loaded")
            assert (kept.state, kept.problem) == (ModelState.UNAVAILABLE, "")
            await kept.ensure()
            kept.complain("its texts are empty")
            assert (kept.state, kept.problem) == (ModelState.DEGRADED, "its texts are empty")
            await kept.call(decode())
            assert kept.state is ModelState.READY

    run(scenario)


def test_a_death_counts_as_one_failure_however_many_calls_were_under_way() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(load_unruly(deed="kill"), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            under_way = [kept.call(decode(is_marked=True)) for _ in range(3)]
            answers = await asyncio.gather(*under_way, return_exceptions=True)
            assert [type(answer) for answer in answers] == [WorkerDied] * 3
            assert kept.consecutive_errors == 1
            assert outcomes == [True]

    run(scenario)


def test_a_worker_that_dies_idle_is_no_failure_of_its_provider() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(load_unruly(), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            await killed(kept)
            assert (kept.consecutive_errors, outcomes) == (1, [])

    run(scenario)


def test_its_memory_is_told_while_it_has_a_worker() -> None:
    async def scenario() -> None:
        async with resident(load("asrd_echo", "echo", "echo", memory_mb=100)) as kept:
            assert kept.memory_bytes == 0
            await kept.ensure()
            assert kept.memory_bytes > 100_000_000
            await kept.stop()
            assert kept.memory_bytes == 0

    run(scenario)


# ── what its model can ────────────────────────────────────────────────────────────────────────


def test_what_the_model_can_is_known_when_it_is_ready_and_not_before() -> None:
    async def scenario() -> None:
        seen: list[tuple[ModelState, int]] = []
        async with resident(
            load_able(max_batch=4, decodes_at_once=2),
            lambda: seen.append((kept.state, kept.abilities.max_batch)),
        ) as kept:
            assert kept.abilities == Abilities()
            await kept.ensure()
            assert seen == [(COMING_UP[0], 1), (COMING_UP[1], 1), (ModelState.READY, 4)]
            assert kept.abilities.decodes_at_once == 2
            kept._make_load = load_able(max_batch=8)
            await killed(kept)
            await kept.ensure()
            assert (kept.abilities.max_batch, kept.abilities.decodes_at_once) == (8, 1)

    run(scenario)


def test_a_model_whose_abilities_make_no_sense_is_refused() -> None:
    async def scenario() -> None:
        async with resident(load_able(nonsense="decodes_at_once")) as kept:
            with pytest.raises(ProviderError, match=r"abilities\.decodes_at_once must be"):
                await kept.ensure()

    run(scenario)


@pytest.mark.parametrize(
    ("deeds", "told", "errors", "problem"),
    [
        (("", ""), [False], 0, ""),
        (("fail", "", "crash"), [False], 0, ""),
        (("refuse", ""), [False], 0, ""),
        (("refuse", "fail"), [True], 2, ""),
        (("crash", "fail"), [True], 2, ""),
        (("refuse", "refuse"), [], 1, ""),
    ],
)
def test_a_batch_is_a_failure_only_where_nothing_was_read_and_the_model_is_to_blame(
    deeds: tuple[str, ...], told: list[bool], errors: int, problem: str
) -> None:
    """After one failure, which a success makes forgotten."""

    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(load_able(max_batch=8), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            await kept.call(decode(prompt="fail"))
            outcomes.clear()
            made = decode_all(*(item(prompt=deed) for deed in deeds))
            await kept.call(made, 0.1, windows=len(deeds))
            assert (outcomes, kept.consecutive_errors) == (told, errors)
            assert kept.problem == problem

    run(scenario)


def test_the_first_fault_of_a_batch_is_what_is_told_of_it() -> None:
    async def scenario() -> None:
        async with resident(load_able(max_batch=8)) as kept:
            await kept.ensure()
            for _ in range(3):
                await kept.call(decode_all(item(prompt="refuse"), item(prompt="fail")))
            assert kept.state is ModelState.DEGRADED
            assert kept.problem == "this window is not to be read"

    run(scenario)


def test_a_batch_that_is_aborted_is_no_failure() -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(load_able(max_batch=8), on_outcome=outcomes.append) as kept:
            await kept.ensure()
            call = kept.call(decode_all(item(), item(prompt="work_on")), 0.1, windows=2)
            kept.abort(call)
            with pytest.raises(DecodeCancelled):
                await call
            assert (kept.is_busy, kept.consecutive_errors, outcomes) == (False, 0, [])

    run(scenario)


def test_what_a_batch_took_is_not_taken_for_the_time_of_one_window() -> None:
    async def scenario() -> None:
        async with resident(unwarmed(load_able(max_batch=8))) as kept:
            await kept.ensure()
            await kept.call(decode_all(item(), item()), 0.1, windows=2)
            assert kept._patience.allowance_s(0.1) == UNKNOWN_S
            assert kept.last_inference_s is not None
            await kept.call(decode(prompt="fail"), 0.1)  # nor of one that failed
            assert kept._patience.allowance_s(0.1) == UNKNOWN_S
            await kept.call(decode(), 0.1)
            assert kept._patience.allowance_s(0.1) == QUICK.hang_after_s

    run(scenario)


# ── room ──────────────────────────────────────────────────────────────────────────────────────


def test_room_is_made_before_the_first_load_and_not_for_a_new_worker() -> None:
    async def scenario() -> None:
        pids: list[int | None] = []

        async def make_room() -> None:
            pids.append(kept.pid)

        async with resident(LOAD_ECHO, make_room=make_room) as kept:
            await kept.ensure()
            await killed(kept)
            await kept.ensure()
            assert pids == [None]

    run(scenario)


def test_without_room_nothing_is_started_and_whoever_asks_again_has_it_tried() -> None:
    async def scenario() -> None:
        refusals = [ProviderError("there is no room")]
        states: list[ModelState] = []

        async def make_room() -> None:
            if refusals:
                raise refusals.pop()

        async with resident(
            LOAD_ECHO, lambda: states.append(kept.state), make_room=make_room
        ) as kept:
            with pytest.raises(ProviderError, match="there is no room"):
                await kept.ensure()
            assert states == [ModelState.STARTING, ModelState.UNAVAILABLE]
            assert (kept.pid, kept.restarts) == (None, 0)
            await kept.ensure()
            assert kept.state is ModelState.READY

    run(scenario)


def test_a_death_just_behind_the_answer_to_a_load_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would count as ready for ever, with nobody behind it."""

    async def scenario() -> None:
        call = WorkerProcess.call
        pids: list[int] = []

        def call_and_die(
            worker: WorkerProcess, make: Callable[[int], calls.AnyCall]
        ) -> asyncio.Future[calls.AnyAnswer]:
            answer = call(worker, make)
            if pids:
                return answer
            pids.append(worker.pid)
            late: asyncio.Future[calls.AnyAnswer] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(lambda _: worker.kill())
            worker.ended.add_done_callback(lambda _: late.set_result(answer.result()))
            return late

        monkeypatch.setattr(WorkerProcess, "call", call_and_die)
        async with resident(LOAD_ECHO) as kept:
            await kept.ensure()
            assert kept.pid not in (None, *pids)
            assert kept.restarts == 1
            assert isinstance(await kept.call(decode()), calls.Decoded)

    run(scenario)
