"""Whether a worker gets further, in ticks that a test makes."""

import asyncio
from collections.abc import Iterator

import pytest

from asrd.providers import calls
from asrd.providers.patience import Patience
from asrd.providers.watch import LONGEST_TICK_S, Watch

ALLOWED_S = 5.0
"""The allowance: what is known asks for less than this floor."""

AUDIO_S = 1.0


class Ticking:
    """A watch that is asked every `TICK_S`, and calls to watch."""

    TICK_S = 0.5

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        patience = Patience(floor_s=ALLOWED_S, factor=2.0)
        patience.note(AUDIO_S, 0.1)
        self.watch = Watch(patience)
        self.patience = patience
        self._loop = loop
        self._last_id = 0
        self._now_s = 1000.0
        self.watch.hung_for_s(self._now_s)

    def call(
        self, audio_s: float = AUDIO_S, windows: int = 1, *, is_partial: bool = False
    ) -> "asyncio.Future[calls.AnyAnswer]":
        """A call; their ids are 1, 2 and so on."""
        future: asyncio.Future[calls.AnyAnswer] = self._loop.create_future()
        self._last_id += 1
        self.watch.began(future, self._last_id, audio_s, windows, is_partial=is_partial)
        return future

    def tick(self, seconds: float) -> float | None:
        """One tick of so long."""
        self._now_s += seconds
        return self.watch.hung_for_s(self._now_s)

    def pass_time(self, seconds: float) -> float | None:
        """Ticks as usual; what the last of them said."""
        said = None
        for _ in range(round(seconds / self.TICK_S)):
            said = self.tick(self.TICK_S)
        return said


@pytest.fixture
def ticking() -> Iterator[Ticking]:
    loop = asyncio.new_event_loop()
    yield Ticking(loop)
    loop.close()


def test_one_without_a_call_is_never_hung(ticking: Ticking) -> None:
    assert not ticking.watch.is_busy
    assert ticking.pass_time(1000) is None


def test_a_call_may_be_quiet_for_the_allowance_and_no_longer(ticking: Ticking) -> None:
    ticking.call()
    assert ticking.watch.is_busy
    assert ticking.pass_time(ALLOWED_S) is None
    assert ticking.pass_time(Ticking.TICK_S) == ALLOWED_S + Ticking.TICK_S


def test_the_time_before_a_call_does_not_count(ticking: Ticking) -> None:
    ticking.pass_time(100)
    ticking.call()
    assert ticking.pass_time(ALLOWED_S) is None


def test_progress_begins_it_anew(ticking: Ticking) -> None:
    ticking.call()
    for _ in range(20):
        assert ticking.pass_time(ALLOWED_S) is None
        ticking.watch.progressed(1)
    assert ticking.pass_time(ALLOWED_S + 1) is not None


def test_a_second_call_does_not_lengthen_the_first(ticking: Ticking) -> None:
    ticking.call()
    ticking.pass_time(ALLOWED_S)
    ticking.call()
    assert ticking.pass_time(Ticking.TICK_S) is not None


def test_a_call_that_waited_begins_when_the_one_before_it_is_answered(ticking: Ticking) -> None:
    first, second = ticking.call(), ticking.call()
    ticking.pass_time(ALLOWED_S)
    ticking.watch.ended(first)
    assert ticking.pass_time(ALLOWED_S) is None
    assert ticking.pass_time(Ticking.TICK_S) is not None
    ticking.watch.ended(second)
    assert ticking.pass_time(100) is None


def test_one_is_busy_until_its_last_call_is_answered(ticking: Ticking) -> None:
    under_way = [ticking.call(), ticking.call()]
    busy = [ticking.watch.is_busy]
    for call in under_way:
        ticking.watch.ended(call)
        busy.append(ticking.watch.is_busy)
    assert busy == [True, True, False]


def test_the_call_that_runs_is_measured_by_its_own_length(ticking: Ticking) -> None:
    ticking.patience.note(30.0, 20.0)
    short, long = ticking.call(AUDIO_S), ticking.call(30.0)
    assert ticking.pass_time(ALLOWED_S + 1) is not None
    ticking.watch.ended(short)
    assert ticking.pass_time(40.0) is None
    assert ticking.pass_time(1.0) is not None
    ticking.watch.ended(long)


def test_while_the_daemon_was_stopped_its_workers_are_not_to_blame(ticking: Ticking) -> None:
    """A tick counts for no more than `LONGEST_TICK_S`, however long it was."""
    ticking.call()
    for _ in range(int(ALLOWED_S / LONGEST_TICK_S)):
        assert ticking.tick(3600.0) is None
    assert ticking.tick(3600.0) == ALLOWED_S + LONGEST_TICK_S


def test_the_first_look_of_all_says_nothing() -> None:
    loop = asyncio.new_event_loop()
    watch = Watch(Patience(floor_s=0.001, factor=1.0))
    watch.began(loop.create_future(), 1, AUDIO_S)
    assert watch.hung_for_s(1e9) is None
    loop.close()


def test_the_calls_of_a_worker_that_is_gone_are_forgotten(ticking: Ticking) -> None:
    call = ticking.call()
    ticking.pass_time(ALLOWED_S)
    ticking.watch.clear()
    assert not ticking.watch.is_busy
    assert ticking.pass_time(100) is None
    ticking.call()
    assert ticking.pass_time(ALLOWED_S) is None
    ticking.watch.ended(call)  # as its callback says at last
    assert ticking.pass_time(Ticking.TICK_S) == ALLOWED_S + Ticking.TICK_S


def test_windows_that_are_read_in_one_call_may_take_as_long_as_one_after_the_other(
    ticking: Ticking,
) -> None:
    ticking.patience.note(AUDIO_S, 1.0)  # of which twice as much is allowed for each
    batch = ticking.call(windows=16)
    assert ticking.pass_time(32.0) is None
    assert ticking.pass_time(Ticking.TICK_S) is not None
    ticking.watch.ended(batch)
    ticking.call(windows=2)  # two would take less than the floor
    assert ticking.pass_time(ALLOWED_S) is None
    assert ticking.pass_time(Ticking.TICK_S) is not None


def test_a_partial_is_measured_by_partials(ticking: Ticking) -> None:
    ticking.patience.note(AUDIO_S, 20.0)
    ticking.patience.note(AUDIO_S, 1.0, is_partial=True)
    final = ticking.call()
    assert ticking.pass_time(40.0) is None
    ticking.watch.ended(final)
    ticking.call(is_partial=True)
    assert ticking.pass_time(ALLOWED_S) is None
    assert ticking.pass_time(Ticking.TICK_S) is not None


# ── several at once ───────────────────────────────────────────────────────────────────────────


def test_of_several_at_once_each_has_a_quiet_time_of_its_own(ticking: Ticking) -> None:
    ticking.watch.at_once = 2
    ticking.call()
    ticking.pass_time(3.0)
    second = ticking.call()
    for _ in range(10):
        assert ticking.pass_time(2.0) is None
        ticking.watch.progressed(1)
        ticking.watch.progressed(2)
    assert ticking.pass_time(3.0) is None
    ticking.watch.progressed(1)  # which does nothing for the second
    assert ticking.pass_time(2.0) is None
    assert ticking.pass_time(Ticking.TICK_S) == ALLOWED_S + Ticking.TICK_S
    ticking.watch.ended(second)
    assert ticking.pass_time(Ticking.TICK_S) is None


def test_of_several_that_hang_the_longest_quiet_is_told(ticking: Ticking) -> None:
    ticking.watch.at_once = 3
    for _ in range(3):
        ticking.call()
        ticking.pass_time(1.0)
    assert ticking.pass_time(5.0) == 8.0


def test_a_call_beyond_those_that_run_waits_and_is_not_blamed(ticking: Ticking) -> None:
    ticking.watch.at_once = 2
    first, _, _ = (ticking.call() for _ in range(3))
    for _ in range(20):
        assert ticking.pass_time(ALLOWED_S) is None
        ticking.watch.progressed(1)
        ticking.watch.progressed(2)
    ticking.watch.ended(first)  # from now on the third runs
    for _ in range(5):
        assert ticking.pass_time(1.0) is None
        ticking.watch.progressed(2)
    assert ticking.pass_time(Ticking.TICK_S) == ALLOWED_S + Ticking.TICK_S


def test_progress_of_a_call_that_is_over_means_nothing(ticking: Ticking) -> None:
    ticking.watch.ended(ticking.call())
    ticking.call()
    for _ in range(5):
        assert ticking.pass_time(1.0) is None
        ticking.watch.progressed(1)
    assert ticking.pass_time(Ticking.TICK_S) is not None
