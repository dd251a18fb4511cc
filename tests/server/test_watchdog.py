"""Signs of life: given while the scheduler moves, held back while it does not."""

from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from asrd.abilities import Abilities
from asrd.config import Scheduling
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.scheduler.queue import Job
from asrd.scheduler.scheduler import Scheduler
from asrd.server.app import Daemon
from asrd.server.notify import ServiceManager
from asrd.server.standstill import Standstill
from asrd.server.watchdog import LOOK_EVERY_S, Watchdog, watchdog_of
from benchmarks.simulation.arrivals import TALKS, Source
from benchmarks.simulation.decodes import Decodes
from benchmarks.simulation.engines import ENGINES
from benchmarks.simulation.world import Plan, World
from support.clock import VirtualClock
from support.room import UTTERANCE, Room, run, settle


def wish(stream: int) -> Job:
    return Job(
        stream=stream,
        session=stream,
        priority=1,
        is_partial=False,
        model="a",
        batch_key=None,
        provider="a",
        source="mic",
        is_live=True,
    )


class Watched:
    """A scheduler of one slot, and the beats of its watchdog."""

    def __init__(self, every_s: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, Scheduling())
        self.scheduler.set_model("a", Abilities())
        self.beats = 0
        self.watchdog = Watchdog(self.scheduler, self._beat, every_s, self.clock.now_s)

    def _beat(self) -> None:
        self.beats += 1

    def look(self, times: int = 1) -> int:
        """So many looks later; returns how many beats those have given."""
        before = self.beats
        for _ in range(times):
            self.clock.advance(LOOK_EVERY_S)
            self.watchdog.look()
        return self.beats - before


def test_an_idle_daemon_lives() -> None:
    assert Watched().look(4) == 4


def test_beats_are_no_further_apart_than_they_may() -> None:
    watched = Watched(every_s=10.0)
    assert watched.look(2) == 1  # at once, for nobody knows what went before
    assert watched.look(100) == 5


def test_what_could_begin_and_does_not_keeps_the_beat_back() -> None:
    watched = Watched()
    watched.scheduler.want(wish(1))
    with capture_logs() as lines:
        assert watched.look(100) == 0
        assert [line["event"] for line in lines] == ["scheduler_stuck"]  # said once
        assert watched.scheduler.next_batch() is not None
        assert watched.look() == 1


def test_a_slow_engine_a_full_lock_and_a_model_that_takes_no_work_are_no_standstill() -> None:
    watched = Watched()
    watched.scheduler.want(wish(1))
    assert watched.scheduler.next_batch() is not None
    watched.scheduler.want(wish(2))  # which waits for the only slot, for as long as it takes
    assert watched.look(1000) == 1000
    other = Watched()
    other.scheduler.set_model("a", None)  # it loads, or its breaker is open
    other.scheduler.want(wish(1))
    assert other.look(1000) == 1000


def test_a_hub_whose_model_comes_and_goes_lives(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        scheduler, beats = room.hub.scheduler, Mock()
        watchdog = Watchdog(scheduler, beats)
        peer = room.greeted()
        peer.open(1)
        room.model.enter(ModelState.STARTING)
        peer.speak(1, UTTERANCE)
        await settle()
        assert (scheduler.waiting, scheduler.slots.running) == (1, 0)
        for state in (ModelState.WARMING_UP, ModelState.READY):
            room.model.enter(state)
            room.hub.check()
            watchdog.look()
        assert beats.call_count == 2
        assert scheduler.waiting == 0  # its turn has come

    run(scenario)


def test_a_look_of_the_hub_that_raises_gives_no_beat() -> None:
    daemon = Mock()
    Daemon.check_hub(daemon)
    assert daemon.watchdog.look.call_count == 1
    daemon.hub.check.side_effect = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        Daemon.check_hub(daemon)
    assert daemon.watchdog.look.call_count == 1


@pytest.mark.parametrize("load", [20, 400])
def test_nobody_cries_wolf_in_a_simulated_day(monkeypatch: pytest.MonkeyPatch, load: int) -> None:
    """Bursts, files, overload and engines that abort: nothing that could begin is ever left."""
    looks: list[bool] = []
    check = Decodes.check

    def checked(decodes: Decodes) -> None:
        check(decodes)
        looks.append(decodes._scheduler.could_begin)

    monkeypatch.setattr(Decodes, "check", checked)
    sources = (
        Source(name="mic", priority=1, streams=4, talk=TALKS["ptt"]),
        Source(name="system", priority=2, streams=load, talk=TALKS["bursts"]),
        Source(name="file", priority=6, streams=2, talk=None, has_partials=False),
    )
    World(Plan(sources=sources, engine=ENGINES["whisper-cpp-tiny"], seconds=40.0)).run()
    assert len(looks) > 50
    assert not any(looks)


def test_beats_go_to_whoever_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Watched().scheduler
    given: list[str] = []
    nobody = ServiceManager({})
    watching = ServiceManager({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000"})
    standstill = Standstill(30.0)
    monkeypatch.setattr(watching, "alive", lambda: given.append("manager"))
    monkeypatch.setattr(standstill, "beat", lambda: given.append("standstill"))
    watchdog_of(scheduler, watching, None).look()
    watchdog_of(scheduler, nobody, standstill).look()
    watchdog_of(scheduler, nobody, None).look()
    assert given == ["manager", "standstill"]
    watching.close()


def test_a_watchdog_that_is_too_impatient_is_told_of() -> None:
    hasty = ServiceManager({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "300000"})
    with capture_logs() as lines:
        watchdog_of(Watched().scheduler, hasty, None)
    assert [line["event"] for line in lines] == ["watchdog_too_short"]
    hasty.close()
