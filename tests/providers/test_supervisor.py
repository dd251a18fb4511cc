"""One child process: its answers, and its death."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError, RequestUnsupported
from asrd.providers import calls
from asrd.providers.supervisor import WorkerDied, WorkerProcess, as_error
from support.workers import decode, load, load_unruly, only, texts, unwarmed, worker_process

SEEN_WITHIN_S = 0.1
PATIENCE_S = 20.0
LOAD_ECHO = load("asrd_echo", "echo", "echo", latency_ms=0)


def test_each_call_gets_its_own_answer() -> None:
    async def scenario() -> None:
        async with worker_process(LOAD_ECHO) as worker:
            sizes = [1600, 3200, 800, 4000]
            answers = await asyncio.gather(*(worker.call(decode(size)) for size in sizes))
            said = [texts(answer)[0].split()[1] for answer in answers]
            assert said == ["0.100s", "0.200s", "0.050s", "0.250s"]
            assert worker.last_id == 1 + len(sizes)

    asyncio.run(scenario())


def test_failures_are_told_in_the_plugins_own_kind() -> None:
    async def scenario() -> None:
        async with worker_process() as worker:
            with pytest.raises(ModelUnavailable, match="echo has one model"):
                await worker.call(load("asrd_echo", "echo", "other"))
            with pytest.raises(ProviderError, match="no model is loaded") as told:
                await worker.call(decode())
            assert type(told.value) is ProviderError
            await worker.call(load("support.picky", "picky", "fine"))
            outcome = only(await worker.call(decode(language="de")))
            assert isinstance(outcome, calls.NotRead)
            error = as_error(outcome)
            assert type(error) is RequestUnsupported
            assert str(error) == "this model cannot read 'de'"

    asyncio.run(scenario())


def test_progress_is_told_apart_from_answers() -> None:
    """A load tells when it is done with the model and begins to warm it."""

    async def scenario() -> None:
        async with worker_process() as worker:
            told: list[calls.Progress] = []
            worker.on_progress = told.append
            loaded = await worker.call(LOAD_ECHO)
            assert isinstance(loaded, calls.Loaded)
            assert told == [calls.Progress(id=loaded.id, is_loaded=True)]

    asyncio.run(scenario())


def test_an_aborted_decode_ends_early_and_costs_only_itself() -> None:
    async def scenario() -> None:
        slow = load("asrd_echo", "echo", "echo", real_time_factor=100.0)
        async with worker_process(unwarmed(slow)) as worker:
            long, short = worker.call(decode(16_000 * 30)), worker.call(decode(16))
            worker.abort(long)
            with pytest.raises(DecodeCancelled):
                await asyncio.wait_for(long, PATIENCE_S)  # 50 minutes otherwise
            assert isinstance(await short, calls.Decoded)
            worker.abort(long)  # too late, and no matter
            assert isinstance(await worker.call(decode(16)), calls.Decoded)

    asyncio.run(scenario())


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told")
def test_when_memory_runs_out_a_worker_goes_before_the_core() -> None:
    async def scenario() -> None:
        async with worker_process(LOAD_ECHO) as worker:
            assert oom_score(worker.pid) == 500

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_death_is_seen_at_once_by_the_call_under_way_and_by_the_owner(number: int) -> None:
    async def scenario() -> None:
        async with worker_process(load_unruly(deed="spin")) as worker:
            deaths: list[float] = []
            worker.on_death = lambda: deaths.append(time.monotonic())
            call = worker.call(decode(is_marked=True))
            killed = time.monotonic()
            os.kill(worker.pid, number)
            with pytest.raises(WorkerDied, match=f"pid {worker.pid}"):
                await call
            assert deaths[0] - killed < SEEN_WITHIN_S
            assert await worker.ended == -number
            with pytest.raises(WorkerDied, match="has ended"):
                await worker.call(decode())
            assert len(deaths) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("deed", ["kill", "segv", "abort", "exit", "sys_exit"])
def test_a_worker_that_ends_itself_amid_a_decode_has_died(deed: str) -> None:
    """Exit code 0 as well."""

    async def scenario() -> None:
        async with worker_process(load_unruly(deed=deed)) as worker:
            with pytest.raises(WorkerDied):
                await worker.call(decode(is_marked=True))

    asyncio.run(scenario())


def test_a_worker_that_garbles_its_socket_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with worker_process(load_unruly(deed="garble")) as worker:
            with pytest.raises(WorkerDied):
                await worker.call(decode(is_marked=True))
            assert await worker.ended == -signal.SIGKILL

    asyncio.run(scenario())
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_plugin_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with worker_process(load_unruly(deed="print")) as worker:
            await worker.call(decode(is_marked=True))

    asyncio.run(scenario())
    out, err = capfd.readouterr()
    assert out == ""
    for line in ("by Python", "to descriptor 1", "from C", "by a child"):
        assert line in err


def test_stop_leaves_no_process_and_is_no_death() -> None:
    async def scenario() -> None:
        worker = await WorkerProcess.start("under test")
        worker.on_death = lambda: pytest.fail("it was asked to stop")
        call = worker.call(load_unruly("slow", flag="/nonexistent"))
        await worker.stop()
        assert not psutil.pid_exists(worker.pid)  # not even a zombie
        with pytest.raises(WorkerDied):
            await call
        await worker.stop()

    asyncio.run(scenario())


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def scenario() -> None:
        async with worker_process(LOAD_ECHO) as worker:
            worker.call(decode()).cancel()
            assert isinstance(await worker.call(decode()), calls.Decoded)

    asyncio.run(scenario())
