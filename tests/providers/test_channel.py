"""A worker's end of its socket, over a real one; the core's end is the test's."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from asrd.framing import HEADER, FrameError, FrameSplitter
from asrd.providers import calls, channel
from asrd.providers.channel import CallChannel, Ongoing
from support.workers import decode

PATIENCE_S = 20.0


class Core:
    """The core's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._splitter = FrameSplitter(calls.MAX_CALL_BYTES)

    def send(self, *messages: calls.AnyCall) -> None:
        """All of them in one piece."""
        self.socket.sendall(b"".join(calls.frame(message) for message in messages))

    def heard(self) -> list[calls.AnyAnswer]:
        """What has arrived."""
        found: list[calls.AnyAnswer] = []
        self.socket.setblocking(False)
        try:
            while data := self.socket.recv(2**16):
                found += [calls.read_answer(each) for each in self._splitter.feed(memoryview(data))]
        except BlockingIOError:
            pass
        return found


class Time:
    """What the channel takes for the time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def ends() -> Iterator[tuple[Core, CallChannel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE_S)
        theirs.settimeout(PATIENCE_S)
        yield Core(ours), CallChannel(theirs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """For tests that ask for it before `ends`, time stands still."""
    clock = Time()
    monkeypatch.setattr(channel, "time", clock)
    return clock


def begun(worker: CallChannel) -> Ongoing:
    """The next call, which is carried out from now on."""
    return worker.begin(worker.next_call().id)


def test_calls_come_in_order_however_they_arrive(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    made = [decode(size)(number) for number, size in enumerate((1, 10_000, 3, 4, 5), start=1)]
    core.send(*made[:2])
    assert [worker.next_call() for _ in range(2)] == made[:2]

    def drip() -> None:
        for byte in b"".join(bytes(calls.frame(call)) for call in (made[2], made[4])):
            core.socket.send(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert [worker.next_call() for _ in range(2)] == [made[2], made[4]]
    dripping.join()


def test_an_answer_arrives_as_it_is_sent(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    answer = calls.Failed(id=7, kind="provider", message="é")
    worker.send(answer)
    assert core.heard() == [answer]


def test_a_running_call_that_is_aborted_is_told_so(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1))
    running = begun(worker)
    clock.now_s += channel.LOOK_EVERY_S
    assert running.keep_going()
    core.send(calls.Abort(id=1))
    assert running.keep_going()  # too soon to look again
    clock.now_s += channel.LOOK_EVERY_S
    assert not running.keep_going()
    assert not running.keep_going()


def test_a_call_that_waits_can_be_aborted_and_the_others_are_not(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1), decode()(2), decode()(3), calls.Abort(id=2))
    going = []
    for number in (1, 2, 3):
        running = begun(worker)
        clock.now_s += channel.LOOK_EVERY_S
        going.append(running.keep_going())
        worker.send(calls.Failed(id=number, kind="cancelled", message=""))
    assert going == [True, False, True]


def test_an_abort_that_comes_too_late_is_forgotten(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1))
    over = begun(worker)
    worker.send(calls.Failed(id=1, kind="provider", message=""))
    assert not over.is_wanted
    core.send(calls.Abort(id=1), decode()(2), calls.Abort(id=1))
    running = begun(worker)
    clock.now_s += channel.LOOK_EVERY_S
    assert running.keep_going()
    worker.send(calls.Failed(id=2, kind="provider", message=""))
    assert not worker._ongoing


def test_calls_that_arrive_amid_a_decode_wait_for_their_turn(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1))
    running = begun(worker)
    core.send(decode()(2), decode()(3))
    clock.now_s += channel.LOOK_EVERY_S
    assert running.keep_going()
    assert [worker.next_call().id for _ in range(2)] == [2, 3]


def test_progress_is_told_four_times_a_second_however_often_it_is_made(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(4))
    running = begun(worker)
    steps = 1000
    for _ in range(steps):
        clock.now_s += 0.9 / steps
        assert running.keep_going()
    assert core.heard() == [calls.Progress(id=4)] * 3


def test_one_that_gets_no_further_tells_no_progress(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(4))
    begun(worker)
    clock.now_s += 100
    assert core.heard() == []
    core.send(decode()(5))
    begun(worker).keep_going()
    assert core.heard() == []  # the new call has only begun


def test_the_end_of_a_load_is_told_at_once(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    core.send(calls.LoadVoiceActivity(id=3))
    worker.next_call()
    worker.tell_loaded(3)
    assert core.heard() == [calls.Progress(id=3, is_loaded=True)]


def test_the_end_of_the_core_ends_the_waiting(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    core.send(decode()(1))
    core.socket.close()
    assert worker.next_call().id == 1  # what had come still counts
    with pytest.raises(EOFError):
        worker.next_call()


def test_the_end_of_the_core_is_no_abort(clock: Time, ends: tuple[Core, CallChannel]) -> None:
    """The process ends by other means; here the decode only must not spin."""
    core, worker = ends
    core.send(decode()(1))
    running = begun(worker)
    core.socket.shutdown(socket.SHUT_WR)
    clock.now_s += channel.LOOK_EVERY_S
    assert running.keep_going()
    with pytest.raises(EOFError):
        worker.next_call()


def test_an_engines_late_thread_takes_nothing_from_the_worker(
    ends: tuple[Core, CallChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it gets further while the worker waits for its next call, or answers."""
    monkeypatch.setattr(channel, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(channel, "TELL_EVERY_S", 0.0)
    core, worker = ends
    is_over = threading.Event()
    late = worker.begin(0)

    def go_on() -> None:
        with suppress(OSError):  # at the end, when the core's end is closed
            while not is_over.is_set():
                late.keep_going()

    rounds = 200
    answered: list[int] = []

    def ask() -> None:
        splitter = FrameSplitter(calls.MAX_CALL_BYTES)
        for number in range(1, rounds + 1):
            core.send(decode(20_000)(number))
            while len(answered) < number:
                data = core.socket.recv(2**16)
                told = [calls.read_answer(each) for each in splitter.feed(memoryview(data))]
                answered.extend(each.id for each in told if isinstance(each, calls.Failed))

    threads = [threading.Thread(target=each) for each in (ask, go_on)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, rounds + 1):
            assert worker.next_call() == decode(20_000)(number)
            worker.send(calls.Failed(id=number, kind="provider", message="x" * 1000))
        threads[0].join(PATIENCE_S)
    finally:
        is_over.set()
        core.socket.close()
        for thread in threads:
            thread.join()
    assert answered == list(range(1, rounds + 1))


# ── several at once ───────────────────────────────────────────────────────────────────────────


def test_each_call_under_way_tells_of_itself_and_is_aborted_by_itself(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1), decode()(2))
    first, second = begun(worker), begun(worker)
    clock.now_s += channel.TELL_EVERY_S
    assert first.keep_going()
    assert core.heard() == [calls.Progress(id=1)]
    core.send(calls.Abort(id=2))
    clock.now_s += channel.LOOK_EVERY_S
    assert first.keep_going()
    assert not second.keep_going()
    assert core.heard() == [calls.Progress(id=2)]  # it goes on until it has stopped
    clock.now_s += channel.TELL_EVERY_S
    assert not second.keep_going()
    assert core.heard() == [calls.Progress(id=2)]


def test_an_answer_to_one_call_leaves_the_others_wanted(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    core.send(decode()(1), decode()(2))
    first, second = begun(worker), begun(worker)
    worker.send(calls.Failed(id=2, kind="provider", message=""))
    assert (first.is_wanted, second.is_wanted) == (True, False)


def test_where_somebody_always_reads_a_decode_reads_nothing_and_hears_of_its_abort(
    clock: Time, ends: tuple[Core, CallChannel]
) -> None:
    core, worker = ends
    core.send(decode()(1))
    running = begun(worker)
    worker.is_always_read = True
    core.send(calls.Abort(id=1), decode()(2))
    clock.now_s += channel.TELL_EVERY_S
    assert running.keep_going()  # nobody has read it yet
    assert core.heard() == [calls.Progress(id=1)]
    assert worker.next_call().id == 2
    assert not running.keep_going()


def test_answers_and_progress_of_many_threads_do_not_mix(
    ends: tuple[Core, CallChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(channel, "TELL_EVERY_S", 0.0)
    core, worker = ends
    worker.is_always_read = True
    numbers = range(1, 5)
    rounds = 50

    def decode_for(number: int) -> None:
        running = worker.begin(number)
        for _ in range(rounds):
            running.keep_going()
            worker.send(calls.Failed(id=number, kind="provider", message="x" * 20_000))

    threads = [threading.Thread(target=decode_for, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    answered: list[int] = []
    splitter = FrameSplitter(calls.MAX_CALL_BYTES)
    while len(answered) < rounds * len(numbers):
        data = core.socket.recv(2**16)
        told = [calls.read_answer(each) for each in splitter.feed(memoryview(data))]
        answered += [each.id for each in told if isinstance(each, calls.Failed)]
    for thread in threads:
        thread.join()
    assert sorted(answered) == sorted(list(numbers) * rounds)


def test_a_frame_that_is_too_long_is_an_error(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    core.socket.sendall(HEADER.pack(calls.MAX_CALL_BYTES + 1))
    with pytest.raises(FrameError):
        worker.next_call()


def test_what_is_not_answered_is_not_kept(ends: tuple[Core, CallChannel]) -> None:
    core, worker = ends
    core.send(*(calls.Forget(id=number, utterance=7) for number in range(1, 4)), decode()(4))
    assert [worker.next_call().id for _ in range(4)] == [1, 2, 3, 4]
    assert list(worker._ongoing) == [4]
