"""Who decodes next, against a sorted list that does the same slowly."""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asrd.scheduler.queue import StreamQueue, Ticket
from support.profiles import examples

MODELS = ("a", "b", "c")


def ticket(stream: int, *, priority: int = 5, is_partial: bool = False, model: str = "a") -> Ticket:
    return Ticket(
        stream=stream,
        priority=priority,
        is_partial=is_partial,
        model=model,
        provider=f"provider of {model}",
        source="mic",
    )


def everything(_: Ticket) -> bool:
    return True


def drain(queue: StreamQueue) -> list[object]:
    order: list[object] = []
    while (popped := queue.pop(everything)) is not None:
        order.append(popped.stream)
    return order


def queue_of(*tickets: Ticket) -> StreamQueue:
    queue = StreamQueue()
    for each in tickets:
        assert queue.put(each)
    return queue


def test_an_empty_queue_gives_nothing() -> None:
    queue = StreamQueue()
    assert queue.pop(everything) is None
    assert queue.remove("nobody") is None
    assert len(queue) == 0


def test_the_highest_priority_goes_first() -> None:
    tickets = [ticket(number, priority=priority) for number, priority in enumerate([5, 10, 1, 2])]
    assert drain(queue_of(*tickets)) == [2, 3, 0, 1]


def test_finals_go_before_partials_of_their_priority_only() -> None:
    queue = queue_of(ticket(1, is_partial=True), ticket(2), ticket(3, priority=4, is_partial=True))
    assert drain(queue) == [3, 2, 1]


def test_equals_are_served_in_the_order_they_came() -> None:
    models = [MODELS[number % 3] for number in range(30)]
    queue = queue_of(*(ticket(number, model=model) for number, model in enumerate(models)))
    assert drain(queue) == list(range(30))


def test_a_stream_stands_in_the_queue_once() -> None:
    queue = queue_of(ticket(1))
    assert not queue.put(ticket(1))
    assert not queue.put(ticket(1, is_partial=True))
    assert not queue.put(ticket(1, model="b"))
    assert len(queue) == 1
    assert drain(queue) == [1]


def test_a_partial_that_becomes_a_final_keeps_its_turn() -> None:
    queue = queue_of(ticket(1, is_partial=True), ticket(2), ticket(3))
    queue.put(ticket(1))
    assert drain(queue) == [1, 2, 3]


def test_a_stream_that_was_removed_and_comes_back_stands_last() -> None:
    queue = queue_of(ticket(1), ticket(2))
    assert queue.remove(1) == ticket(1)
    assert 1 not in queue
    assert queue.put(ticket(1))
    assert drain(queue) == [2, 1]


def test_who_is_not_admitted_is_passed_over_and_keeps_the_place() -> None:
    queue = queue_of(ticket(1), ticket(2, model="b", priority=9), ticket(3))
    popped = queue.pop(lambda one: one.model == "b")
    assert popped is not None
    assert popped.stream == 2
    assert queue.pop(lambda one: one.model == "b") is None
    assert drain(queue) == [1, 3]


@dataclass
class Standing:
    """A ticket in the slow queue."""

    came: int
    ticket: Ticket

    @property
    def place(self) -> tuple[int, bool, int]:
        return self.ticket.priority, self.ticket.is_partial, self.came


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done, the queue does as a list does that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = StreamQueue()
        self.model: dict[object, Standing] = {}
        self.came = 0

    @rule(
        stream=st.integers(0, 15),
        priority=st.sampled_from([1, 1, 5, 10]),
        is_partial=st.booleans(),
        model=st.sampled_from(MODELS),
    )
    def put(self, stream: int, priority: int, is_partial: bool, model: str) -> None:
        wished = ticket(stream, priority=priority, is_partial=is_partial, model=model)
        is_new = stream not in self.model
        assert self.queue.put(wished) is is_new
        if is_new:
            self.came += 1
            self.model[stream] = Standing(self.came, wished)
        else:
            self.model[stream].ticket = wished

    @precondition(lambda self: bool(self.model))
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        """A wish becomes a final, or a partial, as utterances end and begin."""
        stream = data.draw(st.sampled_from(sorted(self.model, key=str)))
        old = self.model[stream].ticket
        self.model[stream].ticket = replace(old, is_partial=not old.is_partial)
        assert not self.queue.put(self.model[stream].ticket)

    @rule(stream=st.integers(0, 15))
    def remove(self, stream: int) -> None:
        standing = self.model.pop(stream, None)
        assert self.queue.remove(stream) == (None if standing is None else standing.ticket)

    @rule(admitted=st.sets(st.sampled_from(MODELS)))
    def pop(self, admitted: set[str]) -> None:
        allowed = [one for one in self.model.values() if one.ticket.model in admitted]
        first = min(allowed, key=lambda one: one.place, default=None)
        assert self.queue.pop(lambda one: one.model in admitted) == (
            None if first is None else first.ticket
        )
        if first is not None:
            del self.model[first.ticket.stream]

    @invariant()
    def the_same_streams_stand(self) -> None:
        assert len(self.queue) == len(self.model)
        assert all((stream in self.queue) is (stream in self.model) for stream in range(16))

    @invariant()
    def no_more_is_kept_than_twice_what_waits(self) -> None:
        assert self.queue.kept <= 2 * len(self.model)

    def teardown(self) -> None:
        ordered = sorted(self.model.values(), key=lambda one: one.place)
        assert drain(self.queue) == [one.ticket.stream for one in ordered]
        assert self.queue.kept == 0


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = examples(100, steps=50)


# ── cost ──────────────────────────────────────────────────────────────────────────────────────


class CountedPriority(int):
    """A priority that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        CountedPriority.compared += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        CountedPriority.compared += 1
        return int(self) == other

    def __hash__(self) -> int:
        return hash(int(self))


def comparisons_per_stream(streams: int) -> float:
    """Each stream comes, changes its wish, and is served; a tenth goes away unserved."""
    CountedPriority.compared = 0
    queue = StreamQueue()
    for number in range(streams):
        priority = CountedPriority(1 + number * 7919 % 10)
        queue.put(ticket(number, priority=priority, is_partial=True, model=MODELS[number % 3]))
    for number in range(0, streams, 2):
        priority = CountedPriority(1 + number * 7919 % 10)
        queue.put(ticket(number, priority=priority, model=MODELS[number % 3]))
    for number in range(0, streams, 10):
        queue.remove(number)
    assert len(drain(queue)) == streams - len(range(0, streams, 10))
    return CountedPriority.compared / streams


def test_the_cost_of_a_turn_grows_with_the_logarithm_of_who_waits() -> None:
    small, large = comparisons_per_stream(1_000), comparisons_per_stream(10_000)
    assert large < small * math.log(10_000) / math.log(1_000) * 1.25
    assert large < 10 * math.log2(10_000)


@pytest.mark.parametrize("is_removed", [True, False])
def test_wishes_that_come_and_go_while_nobody_is_served_cost_no_memory(is_removed: bool) -> None:
    """A model that loads for a minute must not collect what streams no longer want."""
    queue = queue_of(ticket(0, priority=1))
    for turn in range(10_000):
        queue.put(ticket(1, is_partial=turn % 2 == 0))
        if is_removed:
            queue.remove(1)
    assert queue.kept <= 5
    assert drain(queue) == ([0] if is_removed else [0, 1])
