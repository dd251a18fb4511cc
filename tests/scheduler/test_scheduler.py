"""The counted lock: who may decode, how many at a time, and what is counted."""

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

from asrd.scheduler.measures import Tally
from asrd.scheduler.queue import Ticket
from asrd.scheduler.scheduler import MAX_SOURCES, OTHER_SOURCES, Scheduler, Turn
from support.clock import VirtualClock
from support.profiles import examples

MODELS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
"""Models and their providers."""

SOURCES = {1: "mic", 2: "system", 3: "file", 4: "pipe"}
"""Sources by their priority."""


def ticket(
    stream: int,
    *,
    priority: int = 1,
    is_partial: bool = False,
    model: str = "a1",
    source: str = "mic",
) -> Ticket:
    return Ticket(
        stream=stream,
        priority=priority,
        is_partial=is_partial,
        model=model,
        provider=MODELS[model],
        source=source,
    )


class Room:
    """A scheduler whose models are all ready, and its clock."""

    def __init__(self, *, slots: int = 1, per_provider: int = 1) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, slots=slots, decodes_per_provider=per_provider)
        for model in MODELS:
            self.scheduler.set_ready(model, is_ready=True)

    def want(self, *streams: int, model: str = "a1") -> None:
        for stream in streams:
            self.scheduler.want(ticket(stream, model=model))

    def turn(self) -> Turn:
        turn = self.scheduler.next_turn()
        assert turn is not None
        return turn


def test_one_decode_at_a_time_by_its_slots() -> None:
    room = Room(slots=1, per_provider=5)
    room.want(1, 2)
    turn = room.turn()
    assert room.scheduler.next_turn() is None
    room.scheduler.finish(turn, audio_s=1.0)
    assert room.turn().ticket.stream == 2


def test_a_provider_has_a_limit_of_its_own_below_the_slots() -> None:
    room = Room(slots=5, per_provider=1)
    room.want(1, model="a1")
    room.want(2, model="a2")  # another model of the same provider
    room.want(3, model="b1")
    assert [room.turn().ticket.stream, room.turn().ticket.stream] == [1, 3]
    assert room.scheduler.next_turn() is None


def test_a_model_that_is_not_ready_makes_nobody_else_wait() -> None:
    room = Room()
    room.scheduler.set_ready("a1", is_ready=False)
    room.want(1, model="a1")
    room.want(2, model="b1")
    first = room.turn()
    assert first.ticket.stream == 2
    room.want(3, model="b1")
    room.scheduler.set_ready("a1", is_ready=True)
    room.scheduler.finish(first, audio_s=1.0)
    assert room.turn().ticket.stream == 1  # it kept its place


def test_a_model_of_which_nothing_was_said_is_not_ready() -> None:
    scheduler = Scheduler(VirtualClock(), slots=1, decodes_per_provider=1)
    scheduler.want(ticket(1))
    assert scheduler.next_turn() is None
    assert scheduler.waiting == 1


def test_waiting_counts_from_the_first_wish() -> None:
    """A partial that becomes a final has waited since it came."""
    room = Room()
    room.scheduler.want(ticket(1, is_partial=True))
    room.clock.advance(2.0)
    room.scheduler.want(ticket(1))
    room.clock.advance(1.0)
    turn = room.turn()
    assert (turn.waited_s, turn.started_s) == (3.0, room.clock.now_s())
    assert not turn.ticket.is_partial


def test_a_finished_decode_is_measured() -> None:
    room = Room()
    room.want(1)
    room.clock.advance(0.5)
    turn = room.turn()
    room.clock.advance(0.25)
    assert room.scheduler.finish(turn, audio_s=4.0) == 0.25
    assert room.scheduler.queue_wait.percentiles_ms()["p50"] == 500.0
    assert room.scheduler.decode_time.percentiles_ms()["p50"] == 250.0
    expected = Tally(finals=1, audio_s=4.0, decode_s=0.25)
    assert room.scheduler.by_source["mic"] == expected
    assert room.scheduler.by_provider["a"] == expected


def test_a_failed_decode_is_counted_as_failed_and_not_measured() -> None:
    room = Room()
    room.want(1)
    room.scheduler.finish(room.turn(), audio_s=4.0, has_failed=True)
    assert room.scheduler.by_source["mic"] == Tally(failed=1)
    assert room.scheduler.decode_time.percentiles_ms() == {}


def test_a_turn_that_was_not_needed_gives_the_lock_back() -> None:
    room = Room()
    room.want(1, 2)
    room.scheduler.abandon(room.turn())
    assert room.scheduler.running == 0
    assert room.scheduler.by_source["mic"] == Tally(waiting=1)
    assert room.turn().ticket.stream == 2


def test_who_wants_nothing_any_more_leaves_the_queue() -> None:
    room = Room()
    room.want(1)
    room.scheduler.withdraw(1)
    room.scheduler.withdraw(1)
    room.scheduler.withdraw("nobody")
    assert room.scheduler.next_turn() is None
    assert room.scheduler.by_source["mic"] == Tally()


def test_a_wish_that_changes_its_source_is_counted_where_it_stands() -> None:
    room = Room()
    room.scheduler.want(ticket(1, source="mic", model="a1"))
    room.scheduler.want(ticket(1, source="file", model="b1"))
    assert room.scheduler.by_source["mic"] == Tally()
    assert room.scheduler.by_source["file"] == Tally(waiting=1)
    assert room.scheduler.by_provider["a"] == Tally()
    room.scheduler.abandon(room.turn())
    assert room.scheduler.by_provider["b"] == Tally()


def test_names_of_sources_are_bounded_and_the_rest_is_counted_together() -> None:
    """They come from clients; a stream stays in the tally in which it began."""
    room = Room(slots=1000, per_provider=1000)
    for stream in range(1000):
        room.scheduler.want(ticket(stream, source=f"source {stream}"))
    turns = [room.turn() for _ in range(1000)]
    for turn in turns:
        room.scheduler.finish(turn, audio_s=1.0)
    tallies = room.scheduler.by_source
    assert len(tallies) == MAX_SOURCES + 1
    assert tallies["source 0"].finals == 1
    assert tallies[OTHER_SOURCES].finals == 1000 - MAX_SOURCES
    assert all(tally.waiting == tally.decoding == 0 for tally in tallies.values())


@pytest.mark.parametrize(("slots", "per_provider"), [(1, 1), (4, 2)])
def test_the_limits_can_be_read(slots: int, per_provider: int) -> None:
    scheduler = Scheduler(VirtualClock(), slots=slots, decodes_per_provider=per_provider)
    assert (scheduler.slots, scheduler.decodes_per_provider) == (slots, per_provider)


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever is asked and told, against lists that do the same slowly."""

    @initialize(slots=st.integers(1, 4), per_provider=st.integers(1, 3))
    def begin(self, slots: int, per_provider: int) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, slots=slots, decodes_per_provider=per_provider)
        self.slots, self.per_provider = slots, per_provider
        self.ready: set[str] = set()
        self.waiting: dict[int, tuple[int, float, Ticket]] = {}
        self.turns: list[Turn] = []
        self.came = 0
        self.done: Counter[tuple[str, str]] = Counter()
        self.audio_s: Counter[str] = Counter()

    @rule(
        stream=st.integers(0, 11), is_partial=st.booleans(), model=st.sampled_from(sorted(MODELS))
    )
    def want(self, stream: int, is_partial: bool, model: str) -> None:
        priority = 1 + stream % len(SOURCES)
        wished = ticket(
            stream,
            priority=priority,
            is_partial=is_partial,
            model=model,
            source=SOURCES[priority],
        )
        self.scheduler.want(wished)
        if stream in self.waiting:
            came, since_s, _ = self.waiting[stream]
        else:
            self.came += 1
            came, since_s = self.came, self.clock.now_s()
        self.waiting[stream] = (came, since_s, wished)

    @rule(stream=st.integers(0, 11))
    def withdraw(self, stream: int) -> None:
        self.scheduler.withdraw(stream)
        self.waiting.pop(stream, None)

    @rule(model=st.sampled_from(sorted(MODELS)), is_ready=st.sampled_from([True, True, False]))
    def set_ready(self, model: str, is_ready: bool) -> None:
        self.scheduler.set_ready(model, is_ready=is_ready)
        if is_ready:
            self.ready.add(model)
        else:
            self.ready.discard(model)

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def next_turn(self) -> None:
        busy = Counter(turn.ticket.provider for turn in self.turns)
        allowed = [
            (one.priority, one.is_partial, came)
            for came, _, one in self.waiting.values()
            if one.model in self.ready and busy[one.provider] < self.per_provider
        ]
        turn = self.scheduler.next_turn()
        if len(self.turns) >= self.slots or not allowed:
            assert turn is None
            return
        assert turn is not None
        came, since_s, wished = self.waiting.pop(int(str(turn.ticket.stream)))
        assert turn.ticket == wished
        assert (wished.priority, wished.is_partial, came) == min(allowed)
        assert turn.waited_s == self.clock.now_s() - since_s
        self.turns.append(turn)

    @precondition(lambda self: bool(self.turns))
    @rule(which=st.integers(0, 3), how=st.sampled_from(["finish", "fail", "abandon"]))
    def end(self, which: int, how: str) -> None:
        turn = self.turns.pop(which % len(self.turns))
        kind = "partials" if turn.ticket.is_partial else "finals"
        if how == "abandon":
            self.scheduler.abandon(turn)
            return
        held_s = self.scheduler.finish(turn, audio_s=2.0, has_failed=how == "fail")
        assert held_s == self.clock.now_s() - turn.started_s
        for name in (turn.ticket.source, turn.ticket.provider):
            self.done[name, "failed" if how == "fail" else kind] += 1
            self.audio_s[name] += 0 if how == "fail" else 2

    @invariant()
    def limits_are_kept(self) -> None:
        assert self.scheduler.running == len(self.turns) <= self.slots
        busy = Counter(turn.ticket.provider for turn in self.turns)
        assert all(count <= self.per_provider for count in busy.values())

    @invariant()
    def counters_add_up(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        wishes = [wished for _, _, wished in self.waiting.values()]
        running = [turn.ticket for turn in self.turns]
        for tallies, key in (
            (self.scheduler.by_source, "source"),
            (self.scheduler.by_provider, "provider"),
        ):
            for name, tally in tallies.items():
                assert tally.waiting == sum(getattr(one, key) == name for one in wishes)
                assert tally.decoding == sum(getattr(one, key) == name for one in running)
                for kind in ("finals", "partials", "failed"):
                    assert getattr(tally, kind) == self.done[name, kind]
                assert tally.audio_s == self.audio_s[name]
            assert sum(tally.waiting for tally in tallies.values()) == len(self.waiting)

    def teardown(self) -> None:
        """Whoever waits is served in the end."""
        for held in self.turns:
            self.scheduler.abandon(held)
        for model in MODELS:
            self.scheduler.set_ready(model, is_ready=True)
        for _ in range(len(self.waiting)):
            turn = self.scheduler.next_turn()
            assert turn is not None
            self.scheduler.finish(turn, audio_s=1.0)
        assert self.scheduler.waiting == self.scheduler.running == 0


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = examples(80, steps=50)
