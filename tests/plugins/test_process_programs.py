"""The running programs: how many there are, what becomes of those that end, and of all in the end.

The programs are real. They hear nothing here, since it is their lives that count.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from asrd import DecodeCancelled, ProviderError
from asrd_process import ProcessSettings, _launch, programs
from asrd_process.output import TextOutput
from asrd_process.program import Launch
from asrd_process.programs import Programs
from asrd_process.vigil import Vigil
from support.daemon import is_alive
from support.listening import settings
from support.waiting import wait_until

Run = Callable[..., Programs]


def keep_going() -> bool:
    return True


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs programs until the test ends."""
    with ExitStack() as stack:

        def run_some(
            *options: str, at_once: int = 1, spares: int = 0, timeout_s: float = 30.0
        ) -> Programs:
            chosen = settings("--deaf", *options)
            launch = _launch(ProcessSettings(**chosen), "program")  # type: ignore[arg-type]
            made = Programs(launch, at_once=at_once, spares=spares, start_timeout_s=timeout_s)
            stack.callback(made.close)
            return made

        yield run_some


def pids(of: Programs) -> list[int]:
    return [program.pid for program in (*of._idle, *of._lent)]


def test_so_many_are_kept_as_are_read_by_and_spared(run: Run) -> None:
    kept = run(at_once=2, spares=1)
    wait_until(lambda: len(kept._idle) == 3, "three programs")
    taken = kept.take(keep_going)
    time.sleep(0.1)  # nothing more is started for one that reads
    assert len(pids(kept)) == 3
    kept.give_up(taken, has_served=True)
    wait_until(lambda: len(kept._idle) == 3, "another in its place")
    assert taken.pid not in pids(kept)
    wait_until(lambda: taken.has_ended, "its end")


def test_they_are_started_one_after_another(run: Run) -> None:
    kept = run("--slow-start", "0.3", at_once=1, spares=1)
    kept.wait_until_ready()
    began_s = time.monotonic()
    wait_until(lambda: len(kept._idle) == 2, "the second")
    assert time.monotonic() - began_s > 0.25


def test_no_more_are_lent_than_may_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LONGEST_WAIT_S", 0.1)
    kept = run(at_once=1, spares=1)
    first = kept.take(keep_going)
    with pytest.raises(ProviderError, match=r"All 1 programs are reading.*'programs'"):
        kept.take(keep_going)
    kept.put_back(first)
    assert kept.take(keep_going) is not None


def test_who_takes_one_waits_while_it_loads_and_tells_of_it(run: Run) -> None:
    kept = run("--slow-start", "0.3")
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return True

    began_s = time.monotonic()
    program = kept.take(count)
    assert time.monotonic() - began_s > 0.3
    assert program.is_ready
    assert asked > 0


def test_who_waits_may_be_told_to_stop(run: Run) -> None:
    kept = run("--slow-start", "1")
    with pytest.raises(DecodeCancelled):
        kept.take(lambda: False)
    assert kept.take(keep_going).is_ready  # and has taken nobody's place


def test_one_that_cannot_start_says_why(run: Run) -> None:
    with pytest.raises(ProviderError, match=r"ended with exit code 3: \[no such model\]"):
        run("--no-start").wait_until_ready()


def test_the_pause_between_starts_in_vain_doubles(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "FIRST_PAUSE_S", 0.05)
    kept = run("--no-start")
    wait_until(lambda: kept._failures == 4, "four starts in vain")
    rest_s = kept._start_at_s - time.monotonic()
    assert 0.05 * 2**2 < rest_s <= 0.05 * 2**3
    monkeypatch.setattr(programs, "LONGEST_WAIT_S", 0.0)
    with pytest.raises(ProviderError, match="no such model"):  # and nobody waits for the next
        kept.take(keep_going)


def test_one_that_never_says_that_it_listens_is_ended(run: Run) -> None:
    kept = run("--slow-start", "60", timeout_s=0.3)
    with pytest.raises(ProviderError, match=r"has not said within 0\.3 s that it listens"):
        kept.wait_until_ready()


def test_an_idle_one_that_dies_is_replaced_and_costs_no_utterance(run: Run) -> None:
    kept = run(at_once=1, spares=1)
    wait_until(lambda: len(kept._idle) == 2, "two programs")
    victim = kept._idle[0]
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: victim.has_ended, "its end")
    assert kept.take(keep_going) is not victim
    wait_until(lambda: len(pids(kept)) == 2 and victim.pid not in pids(kept), "two programs")


def test_all_of_them_may_die_and_the_next_utterance_waits_for_another(run: Run) -> None:
    kept = run()
    kept.wait_until_ready()
    (victim,) = kept._idle
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: victim.has_ended, "its end")
    assert kept.take(keep_going).is_ready


def test_closing_ends_all_of_them(run: Run) -> None:
    kept = run(at_once=2, spares=1)
    wait_until(lambda: len(kept._idle) == 3, "three programs")
    kept.take(keep_going)
    running = pids(kept)
    kept.close()
    assert [pid for pid in running if is_alive(pid)] == []
    assert not kept._keeper.is_alive()


def test_many_threads_take_and_give_back(run: Run) -> None:
    kept = run(at_once=2, spares=1)
    failures: list[BaseException] = []

    def use() -> None:
        try:
            for turn in range(4):
                program = kept.take(keep_going)
                program.begin(TextOutput())
                program.write(bytes(4096), Vigil(program, keep_going).look, 5.0)
                program.end_output()
                if turn % 2:
                    kept.give_up(program, has_served=True)
                else:
                    kept.put_back(program)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wait_until(lambda: len(kept._idle) == 3, "as many as before")
    assert kept._lent == []


def test_one_that_is_cleared_may_have_the_next_utterance(run: Run) -> None:
    kept = run()
    program = kept.take(keep_going)
    is_clear = threading.Event()
    kept.clear(program, is_clear.wait)
    threading.Timer(0.2, is_clear.set).start()
    began_s = time.monotonic()
    assert kept.take(keep_going) is program
    assert time.monotonic() - began_s > 0.15


def test_one_that_cannot_be_cleared_is_replaced(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ProviderError("it is stuck")

    kept = run()
    program = kept.take(keep_going)
    kept.clear(program, fail)
    assert kept.take(keep_going) is not program
    wait_until(lambda: program.has_ended, "its end")
    assert "did not finish what was given up: it is stuck" in capfd.readouterr().err


def test_who_waits_is_served_in_order_and_costs_no_core(run: Run) -> None:
    kept = run("--slow-start", "1", at_once=2)
    served: list[int] = []

    def take(number: int) -> None:
        kept.take(keep_going)
        served.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(2)]
    began_s, used_s = time.monotonic(), time.process_time()
    for number, thread in enumerate(threads):
        thread.start()
        wait_until(lambda: len(kept._waiting) > number, "a taker that waits")  # noqa: B023
    for thread in threads:
        thread.join()
    used_s = time.process_time() - used_s
    assert time.monotonic() - began_s > 2.0
    assert used_s < 0.3
    assert served == [0, 1]


def test_nobody_takes_one_before_who_waits_for_longer(run: Run) -> None:
    kept = run(at_once=2)
    wait_until(lambda: len(kept._idle) == 2, "two programs")
    earlier = object()
    kept._waiting.append(earlier)
    thread = threading.Thread(target=kept.take, args=(keep_going,))
    thread.start()
    wait_until(lambda: len(kept._waiting) == 2, "a taker that waits")
    thread.join(0.1)
    assert thread.is_alive()
    with kept._changed:
        kept._waiting.remove(earlier)
    thread.join()
    assert len(kept._lent) == 1


def test_a_place_is_had_in_order_of_arrival(run: Run) -> None:
    kept = run(at_once=1)
    first = kept.take(keep_going)
    served: list[int] = []

    def use(number: int) -> None:
        program = kept.take(keep_going)
        served.append(number)
        kept.put_back(program)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_until(lambda: len(kept._arrived) > number, "a taker that waits")  # noqa: B023
    kept.put_back(first)
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3]


def test_a_program_that_cannot_be_listened_to_is_ended_and_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name.startswith("listen to"):
            raise RuntimeError("can't start new thread")
        start(self)

    before = psutil.Process().children()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        kept = run()
        with pytest.raises(ProviderError, match="cannot be started: RuntimeError: can't start new"):
            kept.wait_until_ready()
        assert psutil.Process().children() == before
    assert kept.take(keep_going).is_ready


def test_a_command_that_the_system_refuses_is_a_start_in_vain() -> None:
    launch = Launch(arguments=("/bin/cat", "\0"), ready=None, ready_after_s=0.0)
    kept = Programs(launch, at_once=1, spares=0, start_timeout_s=5.0)
    with pytest.raises(ProviderError, match="cat cannot be started: ValueError: embedded null"):
        kept.wait_until_ready()
    assert kept._keeper.is_alive()
    kept.close()


def test_nobody_waits_for_a_keeper_that_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Programs, "_keep", lambda _: None)
    kept = run()
    wait_until(lambda: not kept._keeper.is_alive(), "its end")
    with pytest.raises(ProviderError, match="is not started any more"):
        kept.wait_until_ready()
    with pytest.raises(ProviderError, match="is not started any more"):
        kept.take(keep_going)


def test_who_waits_for_a_pause_may_be_told_to_stop(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "FIRST_PAUSE_S", 0.9)
    kept = run("--no-start")
    with pytest.raises(ProviderError, match="no such model"):
        kept.wait_until_ready()
    with pytest.raises(DecodeCancelled):
        kept.take(lambda: False)
