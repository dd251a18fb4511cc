"""Who gets a slot, with whom, what full queues answer, and what is counted."""

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from asrd.abilities import Abilities
from asrd.config import Batches, Scheduling
from asrd.scheduler.batching import Batch, Took
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job
from asrd.scheduler.scheduler import Scheduler
from asrd.scheduler.slots import Placement
from support.clock import VirtualClock
from support.profiles import examples

PROVIDERS = {"a1": "a", "a2": "a", "b1": "b", "cloud": "remote"}
"""Models and their providers."""

READ, FAILED, PUT_BACK, NOTHING = Outcome


def job(
    stream: int,
    *,
    priority: int = 1,
    is_partial: bool = False,
    model: str = "a1",
    source: str = "mic",
    is_live: bool = True,
    batch_key: object = None,
    session: object = None,
) -> Job:
    return Job(
        stream=stream,
        session=stream if session is None else session,
        priority=priority,
        is_partial=is_partial,
        model=model,
        batch_key=batch_key,
        provider=PROVIDERS[model],
        source=source,
        is_live=is_live,
    )


def placement(provider: str) -> Placement:
    return Placement(group=None if provider == "remote" else "local")


class Desk:
    """A scheduler whose models are all ready, and its clock."""

    def __init__(self, abilities: Abilities | None = None, **rule: object) -> None:
        self.clock = VirtualClock()
        chosen: dict[str, object] = {"background_share": 0.0, **rule}
        self.scheduler = Scheduler(self.clock, Scheduling(**chosen), placement)  # type: ignore[arg-type]
        for model in PROVIDERS:
            self.scheduler.set_model(model, abilities or Abilities(decodes_at_once=100))

    def want(self, *jobs: Job) -> list[object]:
        """Whether each found the queue of its source full of live finals."""
        return [self.scheduler.want(each) for each in jobs]

    def batch(self) -> Batch:
        batch = self.scheduler.next_batch()
        assert batch is not None
        return batch

    def streams(self) -> list[object]:
        return [each.stream for each in self.batch().jobs]

    def finish(self, batch: Batch, outcome: Outcome = READ, took_s: float = 0.0) -> Took:
        self.clock.advance(took_s)
        count = len(batch.jobs)
        return self.scheduler.finish(batch, [outcome] * count, [2.0] * count)


def settled(desk: Desk) -> tuple[int, int]:
    """Finals read, and anything that still waits or decodes."""
    total = desk.scheduler.accounts.total
    return total.finals, total.waiting + total.decoding


def test_who_finishes_a_batch_is_told_what_was_counted() -> None:
    """So that nobody reads the clock again and tells another time."""
    desk = Desk()
    begun_s = desk.clock.now_s()
    desk.want(job(1), job(2))
    assert desk.finish(desk.batch(), took_s=0.5) == Took(begun_s + 0.5, held_s=0.5, share_s=0.5)
    assert desk.scheduler.accounts.total.decode_s == 0.5
    assert desk.finish(desk.batch(), FAILED, 0.25) == Took(begun_s + 0.75, 0.25, 0.25)


def test_one_decode_at_a_time_by_default() -> None:
    desk = Desk()
    desk.want(job(1), job(2))
    batch = desk.batch()
    assert desk.scheduler.next_batch() is None
    desk.finish(batch)
    assert desk.streams() == [2]


def test_a_model_that_takes_no_work_makes_nobody_else_wait() -> None:
    desk = Desk()
    desk.scheduler.set_model("a1", None)
    desk.want(job(1), job(2, model="b1", priority=9))
    first = desk.batch()
    assert [each.stream for each in first.jobs] == [2]
    desk.want(job(3, model="b1"))
    desk.scheduler.set_model("a1", Abilities())
    desk.finish(first)
    assert desk.streams() == [1]  # it kept its place


def test_remote_decodes_hold_no_slot() -> None:
    desk = Desk()
    desk.want(job(1), job(2, model="cloud"), job(3, model="cloud"))
    assert [desk.streams() for _ in range(3)] == [[1], [2], [3]]
    assert desk.scheduler.slots.running == 3
    assert desk.scheduler.slots.running_in("local") == 1


def test_waiting_counts_from_the_first_wish() -> None:
    """A partial that becomes a final has waited since it came."""
    desk = Desk()
    desk.want(job(1, is_partial=True))
    desk.clock.advance(2.0)
    desk.want(job(1))
    desk.clock.advance(1.0)
    batch = desk.batch()
    assert batch.waits_s == (3.0,)
    assert not batch.jobs[0].is_partial
    assert desk.scheduler.accounts.of_source("mic").coalesced == 1


def test_a_finished_decode_is_measured() -> None:
    desk = Desk()
    desk.want(job(1))
    desk.clock.advance(0.5)
    desk.finish(desk.batch(), took_s=0.25)
    for tally in desk.scheduler.accounts.of(job(1)):
        assert (tally.finals, tally.audio_s, tally.decode_s) == (1, 2.0, 0.25)
        assert tally.queue_wait.percentiles_ms()["p50"] == 500.0
        assert tally.decode_time.percentiles_ms()["p50"] == 250.0
        assert tally.real_time_factor == 0.125
    assert desk.scheduler.real_time_factor("a1") == pytest.approx(0.125)


def test_a_failed_decode_is_counted_as_failed_and_teaches_no_cost() -> None:
    desk = Desk()
    desk.want(job(1))
    desk.finish(desk.batch(), FAILED, took_s=9.0)
    tally = desk.scheduler.accounts.of_source("mic")
    assert (tally.failed, tally.finals, tally.audio_s) == (1, 0, 0.0)
    assert tally.decode_time.percentiles_ms() == {}
    assert desk.scheduler.real_time_factor("a1") is None


def test_a_turn_that_was_not_needed_gives_the_slot_back() -> None:
    desk = Desk()
    desk.want(job(1), job(2))
    desk.finish(desk.batch(), NOTHING)
    assert desk.scheduler.slots.running == 0
    assert desk.streams() == [2]


def test_who_wants_nothing_any_more_leaves_the_queue() -> None:
    desk = Desk()
    desk.want(job(1))
    desk.scheduler.withdraw(1)
    desk.scheduler.withdraw(1)
    desk.scheduler.withdraw("nobody")
    assert desk.scheduler.next_batch() is None
    assert settled(desk) == (0, 0)


# ── batches ───────────────────────────────────────────────────────────────────────────────────

BATCHING = Abilities(max_batch=8)


def taught(desk: Desk, seconds_per_window: float, *counts: int) -> None:
    """Calls of so many windows were seen, in which each took so long, and twice that by itself."""
    for count in counts:
        took_s = seconds_per_window * max(count, 2)
        desk.scheduler.costs.note(job(1).lane, count, 2.0 * count, took_s)


def test_what_waits_for_one_model_is_read_in_one_call_in_the_order_of_the_queue() -> None:
    desk = Desk(BATCHING)
    taught(desk, 0.01, 1, 2, 4, 8)
    desk.want(job(1), job(2, model="b1"), job(3, batch_key="other"), job(4), job(5))
    assert desk.streams() == [1, 4, 5]


def test_a_batch_grows_no_further_than_the_model_the_rule_and_the_time_allow() -> None:
    for abilities, batches, cost_s, size in (
        (BATCHING, Batches(), 0.01, 8),
        (BATCHING, Batches(max_batch=3), 0.01, 3),
        (BATCHING, Batches(max_s=0.45), 0.1, 4),
        (Abilities(), Batches(), 0.01, 1),
    ):
        desk = Desk(abilities, batches=batches)
        taught(desk, cost_s, 1, 2, 4, 8)
        desk.want(*(job(stream) for stream in range(20)))
        assert len(desk.streams()) == size


def test_an_urgent_job_is_hardly_slowed_by_less_urgent_ones() -> None:
    desk = Desk(BATCHING)
    desk.scheduler.costs.note(job(1).lane, 1, 2.0, 0.10)
    desk.scheduler.costs.note(job(1).lane, 2, 4.0, 0.14)
    desk.scheduler.costs.note(job(1).lane, 3, 6.0, 0.18)
    desk.want(job(1), *(job(stream, priority=5) for stream in range(2, 9)))
    assert desk.streams() == [1, 2]


def test_nobody_waits_for_a_batch_to_fill() -> None:
    desk = Desk(BATCHING)
    desk.want(job(1))
    assert desk.streams() == [1]


def test_windows_read_together_share_the_time_and_are_counted_by_size() -> None:
    desk = Desk(BATCHING)
    desk.want(job(1), job(2, source="file"))
    batch = desk.batch()
    assert len(batch.jobs) == 2
    desk.finish(batch, took_s=0.5)
    accounts = desk.scheduler.accounts
    assert accounts.of_source("mic").decode_s == accounts.of_source("file").decode_s == 0.25
    assert accounts.total.batches == accounts.by_provider["a"].batches == {2: 1}
    assert accounts.total.decode_time.percentiles_ms()["p50"] == 500.0


def test_the_engines_own_account_of_a_call_is_what_is_learned() -> None:
    desk = Desk()
    desk.want(job(1))
    batch = desk.batch()
    desk.clock.advance(9.0)  # most of it on the way
    desk.scheduler.finish(batch, [READ], [2.0], 0.5)
    assert desk.scheduler.real_time_factor("a1") == pytest.approx(0.25)


# ── preemption ────────────────────────────────────────────────────────────────────────────────

ABORTABLE = Abilities(can_abort=True)


def running_background(desk: Desk, *, priority: int = 6) -> Batch:
    desk.want(job(1, priority=priority, source="file", is_live=False))
    return desk.batch()


def test_an_urgent_final_ends_a_decode_of_low_priority() -> None:
    desk = Desk(ABORTABLE)
    running = running_background(desk)
    desk.want(job(2))
    assert desk.scheduler.preempt(2) is running
    assert desk.scheduler.preempt(2) is None  # it is ending already
    desk.want(job(1, priority=6, source="file", is_live=False))
    desk.finish(running, PUT_BACK)
    assert desk.scheduler.accounts.of_source("file").aborted == 1
    assert desk.streams() == [2]


@pytest.mark.parametrize(
    ("wanted", "running", "abilities", "rule"),
    [
        (job(2, priority=3), 6, ABORTABLE, {}),
        (job(2, is_partial=True), 6, ABORTABLE, {}),
        (job(2), 5, ABORTABLE, {}),
        (job(2), 6, Abilities(), {}),
        (job(2), 6, ABORTABLE, {"preemption": False}),
        (job(2, model="cloud"), 6, ABORTABLE, {}),
        (job(2), 6, Abilities(can_abort=True, decodes_at_once=2), {"slots": 2}),
    ],
    ids=["not urgent", "partial", "not low", "no abort", "off", "remote", "slot free"],
)
def test_nothing_is_ended_without_need(
    wanted: Job, running: int, abilities: Abilities, rule: dict[str, object]
) -> None:
    desk = Desk(abilities, **rule)
    running_background(desk, priority=running)
    desk.want(wanted)
    assert desk.scheduler.preempt(2) is None


def test_what_would_not_let_the_final_in_is_not_ended() -> None:
    """Its own model is full, and there are slots: another model's decode is in nobody's way."""
    desk = Desk(ABORTABLE, slots=4)
    running_background(desk)
    desk.want(job(5, model="a2"))
    desk.batch()
    desk.want(job(2, model="a2"))
    assert desk.scheduler.preempt(2) is None


def test_what_was_aborted_is_not_aborted_twice_in_a_row() -> None:
    desk = Desk(ABORTABLE)
    background = job(1, priority=6, source="file", is_live=False)
    for round_ in range(4):
        desk.want(background)
        running = desk.batch()
        desk.want(job(2))
        is_ended = desk.scheduler.preempt(2) is running
        assert is_ended == (round_ % 2 == 0)
        desk.finish(running, PUT_BACK if is_ended else READ)
        desk.finish(desk.batch())


def test_an_abort_that_comes_too_late_loses_nothing() -> None:
    desk = Desk(ABORTABLE)
    running = running_background(desk)
    desk.want(job(2))
    assert desk.scheduler.preempt(2) is running
    desk.finish(running, READ)
    tally = desk.scheduler.accounts.of_source("file")
    assert (tally.finals, tally.aborted) == (1, 0)


def test_a_turn_that_was_saved_up_for_is_not_ended() -> None:
    desk = Desk(ABORTABLE, background_share=0.5)
    desk.want(job(1, priority=9), job(2))
    desk.finish(desk.batch(), took_s=1.0)
    desk.want(job(3))
    running = desk.batch()
    assert [each.stream for each in running.jobs] == [1]
    assert running.pick.is_background
    assert desk.scheduler.preempt(3) is None


def test_a_stream_that_has_ended_leaves_nothing_behind() -> None:
    desk = Desk(ABORTABLE)
    running = running_background(desk)
    desk.want(job(2))
    desk.scheduler.preempt(2)
    desk.finish(running, PUT_BACK)
    desk.scheduler.forget(1)
    desk.scheduler.forget(2)
    assert not desk.scheduler.preemption._was_aborted
    assert desk.scheduler.waiting == 0


# ── full queues ───────────────────────────────────────────────────────────────────────────────


def full_desk(*jobs: Job) -> Desk:
    desk = Desk(max_waiting={"mic": 2, "file": 2})
    assert desk.want(*jobs) == [False] * len(jobs)
    return desk


def test_a_partial_that_finds_the_queue_full_is_left_out() -> None:
    desk = full_desk(job(1), job(2))
    assert desk.want(job(3, is_partial=True), job(3, is_partial=True)) == [False, False]
    assert desk.scheduler.waiting == 2
    assert desk.scheduler.accounts.of_source("mic").left_out == 1


def test_a_live_final_takes_the_place_of_a_partial() -> None:
    desk = full_desk(job(1), job(2, is_partial=True))
    assert desk.want(job(3)) == [False]
    assert desk.scheduler.accounts.of_source("mic").left_out == 1
    desk.finish(desk.batch())
    assert desk.streams() == [3]


def test_a_live_final_among_finals_displaces_the_oldest_audio() -> None:
    desk = full_desk(job(1), job(2))
    assert desk.want(job(3)) == [True]
    assert desk.scheduler.in_the_way(3) == 1
    desk.scheduler.withdraw(1)  # it has dropped what it held
    assert desk.scheduler.accounts.of_source("mic").waiting == 2
    desk.finish(desk.batch())
    assert desk.streams() == [3]


def test_a_live_final_waits_outside_while_the_displaced_stream_holds_more() -> None:
    desk = full_desk(job(1), job(2))
    assert desk.want(job(3), job(3)) == [True, False]  # asking again displaces nobody else
    assert desk.scheduler.accounts.of_source("mic").waiting == 3
    for stream in (1, 2, 3):
        batch = desk.batch()
        assert [each.stream for each in batch.jobs] == [stream]
        desk.finish(batch)
    assert settled(desk) == (3, 0)


def test_lossless_streams_wait_outside_and_are_let_in_in_order() -> None:
    files = [job(stream, source="file", is_live=False) for stream in range(6)]
    desk = Desk(max_waiting={"file": 2})
    assert desk.want(*files) == [False] * 6
    desk.scheduler.withdraw(3)
    desk.clock.advance(5.0)
    for stream in (0, 1, 2, 4, 5):
        batch = desk.batch()
        assert [each.stream for each in batch.jobs] == [stream]
        assert batch.waits_s == (5.0,)
        desk.finish(batch)
    assert settled(desk) == (5, 0)


def test_whoever_has_found_a_place_meanwhile_is_in_nobodys_way() -> None:
    desk = full_desk(job(1), job(2))
    assert desk.want(job(3)) == [True]
    desk.batch()
    assert desk.scheduler.in_the_way(3) is None


def test_the_audio_that_has_waited_longest_is_in_the_way() -> None:
    desk = Desk(max_waiting={"mic": 2})
    desk.clock.advance(9.0)
    desk.scheduler.want(job(1), since_s=8.0)
    desk.scheduler.want(job(2), since_s=3.0)
    assert desk.scheduler.want(job(3), since_s=9.0)
    assert desk.scheduler.in_the_way(3) == 2


def test_a_full_source_is_nothing_to_another() -> None:
    desk = full_desk(job(1), job(2))
    assert desk.want(job(3, source="system"), job(4, source="whatever")) == [False, False]
    assert desk.scheduler.waiting == 4


def test_sources_that_have_a_limit_of_their_own_are_always_counted_by_name() -> None:
    desk = Desk(max_waiting={"mic": 3})
    desk.want(*(job(stream, source=f"source {stream}") for stream in range(40)))
    desk.want(job(99, source="mic"))
    assert desk.scheduler.accounts.by_source["mic"].waiting == 1


def test_names_of_sources_are_bounded_and_the_rest_is_counted_together() -> None:
    desk = Desk(slots=1000, max_waiting_others=1000)
    desk.scheduler.set_model("a1", Abilities(decodes_at_once=1000))
    desk.want(*(job(stream, source=f"source {stream}") for stream in range(1000)))
    for batch in [desk.batch() for _ in range(1000)]:
        desk.finish(batch)
    tallies = desk.scheduler.accounts.by_source
    assert len(tallies) == 33
    assert tallies["source 0"].finals == 1
    assert tallies["(others)"].finals == 1000 - 32
    assert all(tally.waiting == tally.decoding == 0 for tally in tallies.values())


# ── time ──────────────────────────────────────────────────────────────────────────────────────


def test_live_finals_that_wait_for_too_long_are_told_of_once() -> None:
    desk = Desk(queue_timeout_s=10.0)
    waiting = [job(1), job(2, is_partial=True), job(3, is_live=False)]
    desk.want(*waiting)
    desk.clock.advance(9.9)
    assert desk.scheduler.timed_out() == []
    desk.clock.advance(0.2)
    assert desk.scheduler.timed_out() == [waiting[0]]
    assert desk.scheduler.timed_out() == []


def test_without_a_limit_nobody_waits_for_too_long() -> None:
    desk = Desk(queue_timeout_s=None)
    desk.want(job(1))
    desk.clock.advance(1e6)
    assert desk.scheduler.timed_out() == []


def test_the_oldest_live_final_is_the_age_of_the_queue() -> None:
    desk = Desk()
    desk.want(job(1, is_live=False), job(2, is_partial=True))
    desk.clock.advance(5.0)
    assert desk.scheduler.oldest_live_final_s("local") == 0.0
    desk.want(job(3), job(4, model="cloud"))
    desk.clock.advance(2.0)
    assert desk.scheduler.oldest_live_final_s("local") == 2.0
    assert desk.scheduler.oldest_live_final_s("gpu") == 0.0
    desk.scheduler.set_model("a1", None)  # it waits for its model, not for its turn
    assert desk.scheduler.oldest_live_final_s("local") == 0.0


def test_what_partials_of_live_streams_took_is_told_once() -> None:
    desk = Desk()
    desk.want(job(1, is_partial=True), job(2, is_partial=True, is_live=False), job(3))
    for _ in range(3):
        desk.finish(desk.batch(), took_s=0.5)
    assert desk.scheduler.take_partial_s("local") == 0.5
    assert desk.scheduler.take_partial_s("local") == 0.0


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever is asked and told: limits are kept, nobody is lost, and what is counted adds up."""

    @initialize(
        slots=st.integers(1, 3),
        at_once=st.integers(1, 3),
        max_batch=st.integers(1, 4),
        room=st.integers(1, 4),
    )
    def begin(self, slots: int, at_once: int, max_batch: int, room: int) -> None:
        abilities = Abilities(decodes_at_once=at_once, max_batch=max_batch, can_abort=True)
        self.abilities = abilities
        self.desk = Desk(
            abilities,
            slots=slots,
            max_waiting={},
            max_waiting_others=room,
            background_share=0.1,
        )
        self.slots, self.room = slots, room
        self.ready = set(PROVIDERS)
        self.wanted: dict[int, Job] = {}
        self.running: list[Batch] = []
        self.read = 0

    @rule(
        stream=st.integers(0, 11),
        is_partial=st.booleans(),
        is_live=st.booleans(),
        model=st.sampled_from(sorted(PROVIDERS)),
    )
    def want(self, stream: int, is_partial: bool, is_live: bool, model: str) -> None:
        if any(each.stream == stream for batch in self.running for each in batch.jobs):
            return  # a stream has one decode at a time
        wished = job(
            stream,
            priority=1 + stream % 10,
            is_partial=is_partial,
            is_live=is_live,
            model=model,
            source=f"source {stream % 3}",
            session=stream % 4,
        )
        is_crowded = self.desk.scheduler.want(wished)
        self.wanted[stream] = wished
        if is_crowded:
            assert is_live
            in_the_way = self.desk.scheduler.in_the_way(stream)
            if in_the_way is not None:  # else it is full of lossless ones
                assert not self.wanted[int(str(in_the_way))].is_partial
                self.withdraw(int(str(in_the_way)))
        self._forget_left_out()
        self.desk.scheduler.preempt(stream)

    def _forget_left_out(self) -> None:
        """Partials may be left out; nothing else ever is."""
        came = self.desk.scheduler._came_s
        for stream, wished in list(self.wanted.items()):
            if stream not in came:
                assert wished.is_partial
                del self.wanted[stream]

    @rule(stream=st.integers(0, 11))
    def withdraw(self, stream: int) -> None:
        self.desk.scheduler.withdraw(stream)
        self.wanted.pop(stream, None)

    @rule(model=st.sampled_from(sorted(PROVIDERS)), is_ready=st.booleans())
    def set_model(self, model: str, is_ready: bool) -> None:
        self.desk.scheduler.set_model(model, self.abilities if is_ready else None)
        (self.ready.add if is_ready else self.ready.discard)(model)

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.desk.clock.advance(seconds)

    @rule()
    def next_batch(self) -> None:
        could_begin = self.desk.scheduler.could_begin
        batch = self.desk.scheduler.next_batch()
        assert could_begin == (batch is not None)
        if batch is None:
            return
        head = batch.jobs[0]
        assert len(batch.jobs) <= self.abilities.max_batch
        assert {each.lane for each in batch.jobs} == {head.lane}
        assert head.model in self.ready
        for each in batch.jobs:
            assert self.wanted.pop(int(str(each.stream))) == each
        self.running.append(batch)

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0, 3), outcome=st.sampled_from(list(Outcome)))
    def finish(self, which: int, outcome: Outcome) -> None:
        batch = self.running.pop(which % len(self.running))
        self.desk.finish(batch, outcome, took_s=0.25)
        self.read += len(batch.jobs) * (outcome is READ)

    @invariant()
    def limits_are_kept(self) -> None:
        slots = self.desk.scheduler.slots
        assert slots.running == len(self.running)
        assert slots.running_in("local") <= self.slots
        models = Counter(batch.jobs[0].model for batch in self.running)
        assert all(count <= self.abilities.decodes_at_once for count in models.values())

    @invariant()
    def counters_add_up(self) -> None:
        scheduler, accounts = self.desk.scheduler, self.desk.scheduler.accounts
        assert scheduler.waiting == len(self.wanted)
        running = [each for batch in self.running for each in batch.jobs]
        for tallies, key in ((accounts.by_source, "source"), (accounts.by_provider, "provider")):
            for name, tally in tallies.items():
                waiting = sum(getattr(one, key) == name for one in self.wanted.values())
                assert tally.waiting == waiting
                assert tally.decoding == sum(getattr(one, key) == name for one in running)
        assert accounts.total.waiting == len(self.wanted)
        assert accounts.total.finals + accounts.total.partials == self.read

    @invariant()
    def no_source_has_more_in_the_queue_than_it_may(self) -> None:
        inside = Counter(
            one.source
            for one in self.wanted.values()
            if self.desk.scheduler._queue.get(one.stream) is not None
        )
        assert all(count <= self.room for count in inside.values())

    def teardown(self) -> None:
        """Whoever waits is served in the end."""
        for held in self.running:
            self.desk.finish(held, NOTHING)
        for model in PROVIDERS:
            self.desk.scheduler.set_model(model, self.abilities)
        for _ in range(len(self.wanted)):
            batch = self.desk.scheduler.next_batch()
            if batch is None:
                break
            self.desk.finish(batch)
        assert self.desk.scheduler.waiting == self.desk.scheduler.slots.running == 0


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = examples(80, steps=50)
