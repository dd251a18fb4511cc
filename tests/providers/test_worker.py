"""The child process: what it answers, what it survives, and that it never outlives the core."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from asrd import Abilities, DecodeOptions, Hypothesis
from asrd.choices import WarmUp
from asrd.errors import DecodeCancelled
from asrd.framing import HEADER
from asrd.providers import calls, gpu_memory
from asrd.providers.channel import CallChannel, Ongoing
from asrd.providers.supervisor import WorkerDied
from asrd.providers.voice import WINDOW_SAMPLES
from asrd.providers.worker import Worker
from support.able import NONSENSE
from support.waiting import until
from support.workers import (
    Make,
    decode,
    decode_all,
    item,
    load,
    load_able,
    load_attentive,
    load_unruly,
    only,
    part,
    run,
    texts,
    unwarmed,
    worker_process,
)

LOAD_ECHO = load("asrd_echo", "echo", "echo")

PATIENCE_S = 20.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The core's end of a worker's socket, and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE_S)
        yield ours, theirs


@pytest.fixture
def core(ends: tuple[socket.socket, socket.socket]) -> socket.socket:
    return ends[0]


@pytest.fixture
def worker(ends: tuple[socket.socket, socket.socket]) -> Worker:
    """A worker in this process, whose socket's other end is `core`."""
    return Worker(CallChannel(ends[1]))


def answer(worker: Worker, make: Make) -> calls.AnyAnswer:
    answered = worker.answer(make(7))
    assert answered is not None
    return answered


@contextmanager
def bare_worker() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A worker process and our end of its socket, without a supervisor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "asrd.providers.worker", str(number)], pass_fds=[number]
        )
        theirs.close()
        ours.settimeout(PATIENCE_S)
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


def read_answer(channel: socket.socket) -> calls.AnyAnswer:
    (size,) = HEADER.unpack(channel.recv(HEADER.size, socket.MSG_WAITALL))
    return calls.read_answer(memoryview(channel.recv(size, socket.MSG_WAITALL)))


def ask(channel: socket.socket, call: calls.AnyCall) -> calls.AnyAnswer:
    """Make a call and read its answer, past the progress before it."""
    channel.sendall(calls.frame(call))
    while isinstance(told := read_answer(channel), calls.Progress):
        assert told.id == call.id
    return told


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process are, where the system tells."""
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


def test_it_loads_warms_and_decodes(worker: Worker, core: socket.socket) -> None:
    loaded = answer(worker, LOAD_ECHO)
    assert isinstance(loaded, calls.Loaded)
    assert [decode.audio_s for decode in loaded.warm_up] == [0.5]
    assert loaded.gpu_bytes == 0
    assert read_answer(core) == calls.Progress(id=7, is_loaded=True)
    decoded = answer(worker, decode(16_000))
    assert isinstance(decoded, calls.Decoded)
    assert decoded.id == 7
    assert texts(decoded)[0].startswith("echo 1.000s ")
    assert decoded.decode_s >= 0


def test_it_scores_the_streams_of_a_call_in_order(worker: Worker) -> None:
    answer(worker, lambda call_id: calls.LoadVoiceActivity(id=call_id))
    quiet = np.zeros((3, WINDOW_SAMPLES), np.float32)
    streams = [calls.Windows(windows=quiet[:n].tobytes(), state=b"") for n in (1, 3)]
    scored = answer(worker, lambda call_id: calls.Score(id=call_id, streams=streams))
    assert isinstance(scored, calls.Scored)
    assert [len(item.probabilities) for item in scored.streams] == [4, 12]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (decode(), "provider", "no model is loaded"),
        (lambda n: calls.Score(id=n, streams=[]), "provider", "voice-activity model is not loaded"),
        (load("asrd_echo", "echo", "other"), "unavailable", "echo has one model"),
        (load("asrd_echo", "echo", "echo", latncy_ms=1), "provider", "did you mean 'latency_ms'"),
        (
            load("no_such_plugin", "x", "y"),
            "provider",
            "(No module named 'no_such_plugin')",
        ),
        (load("asrd_echo", "other", "y"), "internal", "there is no provider 'other'"),
        (load_unruly("bad_at_load", deed="raise"), "internal", "RuntimeError: unruly by design"),
        (load_unruly("bad_at_warm_up", deed="raise"), "internal", "RuntimeError: unruly by design"),
        (load_unruly("bad_at_warm_up", deed="refuse"), "provider", "is not to be read"),
    ],
)
def test_what_cannot_be_done_is_an_answer(
    worker: Worker, make: Make, kind: str, message: str
) -> None:
    failed = answer(worker, make)
    assert isinstance(failed, calls.Failed)
    assert failed.kind == kind
    assert message in failed.message


@pytest.mark.parametrize("deed", ["raise", "refuse", "nonsense", "unsendable"])
def test_a_decode_that_fails_costs_only_itself(worker: Worker, deed: str) -> None:
    answer(worker, load_unruly(deed=deed))
    assert isinstance(only(answer(worker, decode(is_marked=True))), calls.NotRead)
    assert isinstance(only(answer(worker, decode())), calls.Read)


@pytest.mark.parametrize(
    ("level", "lengths_s"), [("none", []), ("standard", [0.5, 1, 4])], ids=["none", "standard"]
)
def test_it_warms_as_it_is_told(worker: Worker, level: str, lengths_s: list[float]) -> None:
    def make(call_id: int) -> calls.AnyCall:
        call = LOAD_ECHO(call_id)
        assert isinstance(call, calls.LoadModel)
        return msgspec.structs.replace(call, warm_up=WarmUp(level))

    loaded = answer(worker, make)
    assert isinstance(loaded, calls.Loaded)
    assert [decode.audio_s for decode in loaded.warm_up] == lengths_s
    assert isinstance(answer(worker, decode()), calls.Decoded)


def test_an_abort_that_was_too_late_has_no_answer(worker: Worker) -> None:
    assert worker.answer(calls.Abort(id=3)) is None


def test_it_says_what_it_holds_of_the_gpus(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = calls.GpuMeasured(id=7, gpu_bytes=5, gpu_total_bytes=9)
    monkeypatch.setattr(gpu_memory, "measure", {7: found}.__getitem__)
    assert answer(worker, lambda call_id: calls.MeasureGpu(id=call_id)) is found
    loaded = answer(worker, LOAD_ECHO)
    assert isinstance(loaded, calls.Loaded)
    assert loaded.gpu_bytes == 5


def test_what_one_stream_asks_for_in_vain_is_told_as_its_own_fault(worker: Worker) -> None:
    answer(worker, load("support.picky", "picky", "fine"))
    outcome = only(answer(worker, decode(language="de")))
    assert outcome == calls.NotRead(kind="request", message="this model cannot read 'de'")


def test_the_window_cannot_be_written_to_by_the_model(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the frame's own memory."""
    answer(worker, LOAD_ECHO)
    assert worker._engine is not None
    model = worker._engine.model
    seen: list[bool] = []
    original = model.decode

    def look(audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        seen.append(audio.flags.writeable)
        return original(audio, options)

    monkeypatch.setattr(model, "decode", look)
    answer(worker, decode())
    assert seen == [False]


def test_the_end_of_the_core_ends_an_idle_worker() -> None:
    with bare_worker() as (process, channel):
        assert isinstance(ask(channel, LOAD_ECHO(1)), calls.Loaded)
        channel.close()
        assert process.wait(PATIENCE_S) == 0


def test_the_end_of_the_core_ends_a_worker_amid_a_decode() -> None:
    """Without the kernel's help: only the socket closes here, and the parent lives on."""
    with bare_worker() as (process, channel):
        ask(channel, load_unruly(deed="spin")(1))
        channel.sendall(calls.frame(decode(is_marked=True)(2)))
        channel.close()
        assert process.wait(PATIENCE_S) == 0


def test_a_call_cut_short_ends_the_worker_without_a_word() -> None:
    with bare_worker() as (process, channel):
        ask(channel, LOAD_ECHO(1))
        channel.sendall(calls.frame(decode()(2))[:-1])
        channel.close()
        assert process.wait(PATIENCE_S) == 0


def test_an_interrupt_at_the_terminal_is_the_cores_affair() -> None:
    """Ctrl-C reaches the whole process group."""
    with bare_worker() as (process, channel):
        ask(channel, LOAD_ECHO(1))
        process.send_signal(signal.SIGINT)
        assert isinstance(ask(channel, decode()(2)), calls.Decoded)


# ── what a model can ──────────────────────────────────────────────────────────────────────────


def test_what_the_model_can_is_told_with_its_load(worker: Worker) -> None:
    loaded = answer(worker, load_able(max_batch=4, decodes_at_once=2))
    assert isinstance(loaded, calls.Loaded)
    assert loaded.abilities == Abilities(
        max_batch=4, decodes_at_once=2, partial_contexts_s=(4.0, 30.0)
    )


def test_a_model_that_says_nothing_can_what_every_model_can(worker: Worker) -> None:
    loaded = answer(worker, load_unruly())
    assert isinstance(loaded, calls.Loaded)
    assert loaded.abilities == Abilities()


@pytest.mark.parametrize("attribute", NONSENSE)
def test_abilities_that_make_no_sense_end_the_load(worker: Worker, attribute: str) -> None:
    failed = answer(worker, load_able(nonsense=attribute))
    assert isinstance(failed, calls.Failed)
    assert failed.kind == "provider"
    assert f"abilities.{attribute} must be" in failed.message


def test_windows_of_one_call_are_answered_in_order(worker: Worker) -> None:
    answer(worker, load_able(max_batch=3))
    made = decode_all(item(10), item(20, prompt="fail"), item(30))
    assert texts(answer(worker, made)) == ["10 of 3", "!provider", "30 of 3"]


def test_a_batch_that_nobody_wants_any_more_is_one_failure(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(worker, load_able(max_batch=3, batch_deed="cancel"))
    with monkeypatch.context() as aborted:
        aborted.setattr(Ongoing, "keep_going", lambda self: False)
        failed = answer(worker, decode_all(item(10), item(20)))
    assert failed == calls.Failed(id=7, kind="cancelled", message="nobody wants these")
    read = answer(worker, decode_all(item(10), item(20)))  # which it gives up though it is wanted
    assert texts(read) == ["10 alone", "20 alone"]


def test_a_decode_that_was_aborted_before_its_turn_is_not_begun(
    worker: Worker, core: socket.socket
) -> None:
    answer(worker, load_able())
    core.sendall(calls.frame(decode(prompt="sleep")(8)) + calls.frame(calls.Abort(id=8)))
    failed = worker.answer(worker._channel.next_call())
    assert isinstance(failed, calls.Failed)
    assert (failed.id, failed.kind) == (8, "cancelled")


# ── several at once ───────────────────────────────────────────────────────────────────────────


def test_two_decodes_run_at_the_same_time_where_the_model_can() -> None:
    """Each waits for the other."""

    async def scenario() -> None:
        async with worker_process(load_able(decodes_at_once=2, max_batch=2)) as worker:
            batch = worker.call(decode_all(item(1), item(2, prompt="meet")))
            single = worker.call(decode(3, prompt="meet"))
            assert texts(await batch) == ["1 of 2", "2 of 2"]
            assert texts(await single) == ["3 alone"]

    run(scenario)


def test_no_more_decodes_run_at_the_same_time_than_the_model_can() -> None:
    """Two keep both threads busy, so a third is only begun when one of them is over."""

    async def scenario() -> None:
        async with worker_process(load_able(decodes_at_once=2)) as worker:
            told: list[int] = []
            worker.on_progress = lambda progress: told.append(progress.id)
            first, second = (worker.call(decode(prompt="work_on")) for _ in range(2))
            third = worker.call(decode(prompt="work_on"))
            await until(lambda: {2, 3} <= set(told))
            assert 4 not in told
            worker.abort(second)
            with pytest.raises(DecodeCancelled):
                await second
            await until(lambda: 4 in told)
            assert not first.done()
            for call in (first, third):
                worker.abort(call)
                with pytest.raises(DecodeCancelled):
                    await call
            assert texts(await worker.call(decode(5))) == ["5 alone"]

    run(scenario)


def test_an_abort_is_heard_while_every_thread_is_busy_and_one_says_nothing() -> None:
    async def scenario() -> None:
        async with worker_process(load_able(decodes_at_once=2)) as worker:
            stuck, busy = worker.call(decode(prompt="sleep")), worker.call(decode(prompt="work_on"))
            waiting = worker.call(decode())
            worker.abort(busy)
            with pytest.raises(DecodeCancelled):
                await busy
            assert texts(await waiting) == ["1600 alone"]
            measured = await worker.call(lambda call_id: calls.MeasureGpu(id=call_id))
            assert isinstance(measured, calls.GpuMeasured)
            assert not stuck.done()
            stuck.cancel()

    run(scenario)


def test_what_one_of_two_decodes_gets_wrong_costs_only_itself() -> None:
    async def scenario() -> None:
        async with worker_process(load_able(decodes_at_once=2)) as worker:
            wrong = [worker.call(decode(prompt=deed)) for deed in ("crash", "nonsense", "import")]
            right = [worker.call(decode(size)) for size in (1, 2, 3)]
            assert [texts(await call) for call in wrong] == [
                ["!internal"],
                ["!internal"],
                ["!provider"],
            ]
            assert [texts(await call) for call in right] == [["1 alone"], ["2 alone"], ["3 alone"]]

    run(scenario)


def test_one_decode_of_two_that_ends_its_thread_ends_the_worker(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        async with worker_process(load_able(decodes_at_once=2)) as worker:
            other = worker.call(decode(prompt="sleep"))
            for call in (worker.call(decode(prompt="exit")), other):
                with pytest.raises(WorkerDied):
                    await call
            assert await worker.ended == 1

    run(scenario)
    assert "SystemExit" in capfd.readouterr().err


@pytest.mark.parametrize("deed", ["sleep", "work_on"])
def test_the_end_of_the_core_ends_a_worker_amid_several_decodes(deed: str) -> None:
    with bare_worker() as (process, channel):
        assert isinstance(ask(channel, unwarmed(load_able(decodes_at_once=2))(1)), calls.Loaded)
        for number, prompt in enumerate((deed, "work_on", deed), start=2):
            channel.sendall(calls.frame(decode(prompt=prompt)(number)))
        while read_answer(channel) != calls.Progress(id=3):  # which the second thread tells
            pass
        channel.close()
        assert process.wait(PATIENCE_S) == 0


def test_a_model_that_can_one_at_a_time_sees_one_thread(worker: Worker) -> None:
    answer(worker, load_able(max_batch=2))
    before = threading.active_count()
    worker.take(decode()(8))
    assert threading.active_count() == before


# ── bit by bit ────────────────────────────────────────────────────────────────────────────────


def test_an_utterance_to_be_forgotten_is_not_answered_for(worker: Worker) -> None:
    forget = calls.Forget(id=8, utterance=1)
    assert worker.answer(forget) is None  # with no model at all
    loaded = answer(worker, load_attentive())
    assert isinstance(loaded, calls.Loaded)
    assert loaded.abilities.feed_s == 0.5
    answer(worker, decode_all(part(1, 5, is_first=True)))
    assert worker.answer(forget) is None
    assert texts(answer(worker, decode_all(part(1, 6)))) == ["!forgotten"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_worker_hears_utterances_bit_by_bit(at_once: int) -> None:
    with bare_worker() as (_, channel):

        def hear(number: int, item: calls.Item) -> list[str]:
            return texts(ask(channel, decode_all(item)(number)))

        assert isinstance(ask(channel, load_attentive(decodes_at_once=at_once)(1)), calls.Loaded)
        assert hear(2, part(1, 5, is_first=True)) == ["5"]
        assert hear(3, part(2, 50, is_first=True)) == ["50"]
        assert hear(4, part(1, 6)) == ["5 6"]
        channel.sendall(calls.frame(calls.Forget(id=5, utterance=2)))
        assert hear(6, part(2, 60)) == ["!forgotten"]
        assert hear(7, part(1, 0, is_last=True)) == ["5 6."]
        assert hear(8, item(9)) == ["9."]


def test_two_utterances_are_heard_at_the_same_time_and_a_third_is_forgotten_beside_them() -> None:
    """Each of the two waits for the other."""
    with bare_worker() as (_, channel):
        ask(channel, load_attentive(decodes_at_once=2)(1))
        ask(channel, decode_all(part(3, 9, is_first=True))(2))
        for number in (1, 2):
            item = part(number, 5, is_first=True, prompt="feed:meet")
            channel.sendall(calls.frame(decode_all(item)(2 + number)))
            channel.sendall(calls.frame(calls.Forget(id=4 + number, utterance=3)))
        answers = [read_answer(channel), read_answer(channel)]
        assert [texts(each) for each in answers] == [["5"], ["5"]]
        assert {each.id for each in answers} == {3, 4}
        assert texts(ask(channel, decode_all(part(3, 9))(7))) == ["!forgotten"]


def test_files_in_the_working_directory_stand_in_for_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "socket", "asrd", "asrd_echo"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        async with worker_process(LOAD_ECHO) as worker:
            assert isinstance(await worker.call(decode()), calls.Decoded)

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_worker_holds_nothing_of_the_cores() -> None:
    """No socket of a client or of another worker: such a one would never close."""
    with socket.socket(socket.AF_UNIX) as kept:
        os.set_inheritable(kept.fileno(), False)

        async def scenario() -> None:
            async with worker_process(LOAD_ECHO), worker_process(LOAD_ECHO) as worker:
                targets = descriptors(worker.pid)
                assert sum(target.startswith("socket:") for target in targets) == 1, targets

        run(scenario)
