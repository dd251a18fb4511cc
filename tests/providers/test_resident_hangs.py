"""Workers that get no further are ended, in ticks that are pretended, so that nobody waits."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest

from asrd.config import Supervision
from asrd.errors import DecodeCancelled, ProviderError
from asrd.providers import calls, processes
from asrd.providers.lifecycle import ModelState
from asrd.providers.resident import Resident
from asrd.providers.supervisor import WorkerDied
from support.waiting import until
from support.workers import (
    decode,
    decode_all,
    item,
    load,
    load_able,
    load_unruly,
    resident,
    run,
    texts,
    unwarmed,
)

IMPATIENT = Supervision(
    first_pause_s=0.001, hang_after_s=0.3, load_hang_after_s=1.0, load_timeout_s=3.0
)


class Ticks:
    """Asks a resident at times that are made up."""

    def __init__(self, kept: Resident) -> None:
        self._kept = kept
        self._now_s = 1000.0

    def pass_time(self, seconds: float, *, every_s: float = 0.1) -> None:
        for _ in range(round(seconds / every_s)):
            self._now_s += every_s
            self._kept.check(self._now_s)


@pytest.mark.parametrize("deed", ["sleep", "spin", "hold_the_gil"])
def test_a_decode_that_gets_no_further_is_ended(deed: str) -> None:
    async def scenario() -> None:
        outcomes: list[bool] = []
        async with resident(
            load_unruly(deed=deed), rule=IMPATIENT, on_outcome=outcomes.append
        ) as kept:
            await kept.ensure()
            ticks, first = Ticks(kept), kept.pid
            ticks.pass_time(100)  # with nothing to do
            assert kept.pid == first
            call = kept.call(decode(is_marked=True))
            ticks.pass_time(IMPATIENT.hang_after_s)
            assert not call.done()
            ticks.pass_time(0.2)
            with pytest.raises(WorkerDied):
                await call
            await kept.ensure()
            assert kept.pid != first
            assert (kept.restarts, outcomes) == (1, [True])
            ticks.pass_time(100)
            assert isinstance(await kept.call(decode()), calls.Decoded)

    run(scenario)


def test_a_decode_that_is_slow_and_gets_further_is_left_alone() -> None:
    """However long it takes in all: without the progress it would have been ended."""

    async def scenario() -> None:
        async with resident(load_unruly(deed="work_on"), rule=IMPATIENT) as kept:
            await kept.ensure()
            ticks, worker = Ticks(kept), kept._worker
            assert worker is not None
            told: list[calls.Progress] = []
            take = worker.on_progress

            def listen(progress: calls.Progress) -> None:
                take(progress)
                told.append(progress)

            worker.on_progress = listen
            ticks.pass_time(0.1)
            call = kept.call(decode(is_marked=True))

            def has_told(count: int) -> bool:
                return call.done() or len(told) > count

            quiet_s = 0.0
            while not call.done():
                ticks.pass_time(0.2)
                quiet_s += 0.2
                await until(partial(has_told, len(told)))
            assert isinstance(call.result(), calls.Decoded)
            assert quiet_s > IMPATIENT.hang_after_s
            assert kept.restarts == 0

    run(scenario)


async def next_progress(kept: Resident, call_id: int) -> None:
    """Wait until the worker says that it has got further with a call."""
    worker = kept._worker
    assert worker is not None
    take, told = worker.on_progress, list[int]()

    def listen(progress: calls.Progress) -> None:
        take(progress)
        told.append(progress.id)

    worker.on_progress = listen
    await until(lambda: call_id in told)
    worker.on_progress = take


def test_one_of_two_decodes_that_gets_no_further_is_not_saved_by_the_other() -> None:
    async def scenario() -> None:
        make = load_able(decodes_at_once=2)
        async with resident(make, rule=IMPATIENT) as kept:
            await kept.ensure()
            ticks, first = Ticks(kept), kept.pid
            ticks.pass_time(0.1)
            stuck, busy = kept.call(decode(prompt="sleep")), kept.call(decode(prompt="work_on"))
            ticks.pass_time(0.2)
            await next_progress(kept, 3)
            assert not stuck.done()
            ticks.pass_time(0.2)  # of which only the one that sleeps has had too much
            for call in (stuck, busy):
                with pytest.raises(WorkerDied):
                    await call
            await kept.ensure()
            assert kept.pid != first
            assert texts(await kept.call(decode(5))) == ["5 alone"]

    run(scenario)


def test_decodes_that_all_get_further_are_left_alone_and_so_is_one_that_waits() -> None:
    async def scenario() -> None:
        make = load_able(decodes_at_once=2)
        async with resident(make, rule=IMPATIENT) as kept:
            await kept.ensure()
            ticks, first = Ticks(kept), kept.pid
            ticks.pass_time(0.1)
            under_way = [kept.call(decode(prompt="work_on")) for _ in range(2)]
            waiting = kept.call(decode(5))
            for _ in range(3):
                ticks.pass_time(0.2)
                for call_id in (2, 3):
                    await next_progress(kept, call_id)
            assert kept.pid == first
            for call in under_way:
                kept.abort(call)
                with pytest.raises(DecodeCancelled):
                    await call
            assert texts(await waiting) == ["5 alone"]

    run(scenario)


def test_a_batch_is_given_the_time_of_its_windows() -> None:
    async def scenario() -> None:
        async with resident(load_able(max_batch=8), rule=IMPATIENT) as kept:
            await kept.ensure()
            kept._patience.note(1.0, 0.2)  # five times of which each may take
            ticks = Ticks(kept)
            ticks.pass_time(0.1)
            call = kept.call(decode_all(item(prompt="sleep"), item()), 1.0, windows=2)
            ticks.pass_time(1.9)
            assert kept.state is ModelState.READY
            ticks.pass_time(0.3)
            with pytest.raises(WorkerDied):
                await call

    run(scenario)


def test_quick_partials_take_nothing_of_the_time_that_a_final_may_take() -> None:
    async def scenario() -> None:
        make = load("asrd_echo", "echo", "echo")
        async with resident(unwarmed(make), rule=IMPATIENT) as kept:
            await kept.ensure()
            kept._patience.note(0.5, 0.2)  # of which five times may pass
            await kept.call(decode(), 0.5, 1, True)
            assert kept._patience.allowance_s(0.5) == 1.0
            assert kept._patience.allowance_s(0.5, is_partial=True) == IMPATIENT.hang_after_s

    run(scenario)


def test_a_length_that_is_known_to_take_long_is_given_longer() -> None:
    async def scenario() -> None:
        make = load("asrd_echo", "echo", "echo", latency_ms=200)
        async with resident(make, rule=IMPATIENT) as kept:  # 5 times the 0.2 s of its warm-up
            await kept.ensure()
            ticks = Ticks(kept)
            ticks.pass_time(0.1)
            call = kept.call(decode())
            ticks.pass_time(0.9)
            assert isinstance(await call, calls.Decoded)
            kept.call(decode())
            ticks.pass_time(30)
            await until(lambda: kept.state is ModelState.STARTING)

    run(scenario)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")
def test_a_load_that_is_stopped_is_ended_and_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        flag = tmp_path / "flag"
        async with resident(load_unruly("slow", flag=str(flag)), rule=IMPATIENT) as kept:
            ready = asyncio.create_task(kept.ensure())
            await until(lambda: kept.pid is not None)
            first = kept.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            await until(lambda: psutil.Process(first).status() == psutil.STATUS_STOPPED)
            Ticks(kept).pass_time(IMPATIENT.load_hang_after_s + 0.3)
            await until(lambda: kept.pid != first)
            flag.touch()
            await ready
            assert (kept.state, kept.restarts) == (ModelState.READY, 1)

    run(scenario)


def test_a_warm_up_that_gets_no_further_is_ended_and_not_tried_for_ever() -> None:
    async def scenario() -> None:
        make = load_unruly("bad_at_warm_up", deed="sleep")
        async with resident(make, rule=IMPATIENT) as kept:
            ready = asyncio.create_task(kept.ensure())
            pids: list[int | None] = [None]
            for _ in range(IMPATIENT.load_attempts):
                await until(lambda: kept.pid not in pids and kept.state is ModelState.WARMING_UP)
                pids.append(kept.pid)
                ticks = Ticks(kept)
                while kept.pid == pids[-1]:  # until its CPU time and memory stand still
                    ticks.pass_time(0.5)
                    await asyncio.sleep(0.01)
            with pytest.raises(ProviderError, match="died"):
                await ready
            assert kept.state is ModelState.UNAVAILABLE
            assert kept.restarts == IMPATIENT.load_attempts - 1

    run(scenario)


def test_a_load_that_works_is_left_alone_until_it_has_taken_too_long() -> None:
    async def scenario() -> None:
        async with resident(load_unruly("bad_at_load", deed="spin"), rule=IMPATIENT) as kept:
            ready = asyncio.create_task(kept.ensure())
            await until(lambda: kept.pid is not None)
            pid, ticks = kept.pid, Ticks(kept)
            assert pid is not None

            def has_worked(before: tuple[float, int]) -> bool:
                return processes.activity(pid) != before

            taken_s = 0.0
            while taken_s < IMPATIENT.load_timeout_s:
                assert kept.pid == pid
                await until(partial(has_worked, processes.activity(pid)))
                ticks.pass_time(0.2, every_s=0.2)
                taken_s += 0.2
            ticks.pass_time(1.0, every_s=0.2)
            await until(lambda: kept.pid != pid)
            await kept.stop()
            with pytest.raises(ProviderError, match="was unloaded"):
                await ready

    run(scenario)
