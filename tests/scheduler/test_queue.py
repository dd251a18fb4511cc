"""Who decodes next, against a sorted list that does the same slowly."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asrd.scheduler import queue as queue_module
from asrd.scheduler.queue import Job, Lane, Pick, Rank, StreamQueue
from support.profiles import examples

MODELS = ("a", "b", "c")
LANES = [(model, key) for model in MODELS for key in (4, 30)]


def job(
    stream: int,
    *,
    session: object = None,
    priority: int = 5,
    is_partial: bool = False,
    model: str = "a",
    batch_key: int = 30,
) -> Job:
    """A job of a session of its own, unless told otherwise."""
    return Job(
        stream=stream,
        session=f"session of {stream}" if session is None else session,
        priority=priority,
        is_partial=is_partial,
        model=model,
        batch_key=batch_key,
        provider=f"provider of {model}",
        source="mic",
        is_live=True,
    )


def everything(_: Job) -> bool:
    return True


def nothing(_: Job) -> bool:
    return False


def only(*models: str) -> Callable[[Job], bool]:
    return lambda one: one.model in models


def popped(queue: StreamQueue, is_admitted: Callable[[Job], bool] = everything) -> Pick:
    pick = queue.pop(is_admitted)
    assert pick is not None
    return pick


def drain(queue: StreamQueue) -> list[object]:
    order: list[object] = []
    while (pick := queue.pop(everything)) is not None:
        order.append(pick.job.stream)
    return order


def queue_of(*jobs: Job, background_share: float = 0.0) -> StreamQueue:
    queue = StreamQueue(background_share)
    for each in jobs:
        assert queue.put(each)
    return queue


# ── priority, finals, first come ──────────────────────────────────────────────────────────────


def test_an_empty_queue_gives_nothing() -> None:
    queue = StreamQueue()
    assert queue.pop(everything) is None
    assert queue.pop_alike(job(1), everything) is None
    assert queue.remove("nobody") is None
    assert queue.get("nobody") is None
    assert len(queue) == 0


def test_the_highest_priority_goes_first() -> None:
    jobs = [job(number, priority=priority) for number, priority in enumerate([5, 10, 1, 2])]
    assert drain(queue_of(*jobs)) == [2, 3, 0, 1]


def test_finals_go_before_partials_of_their_priority_only() -> None:
    queue = queue_of(job(1, is_partial=True), job(2), job(3, priority=4, is_partial=True))
    assert drain(queue) == [3, 2, 1]


@pytest.mark.parametrize("session", [None, "one for all"])
def test_equals_are_served_in_the_order_they_came(session: object) -> None:
    models = [MODELS[number % 3] for number in range(30)]
    queue = queue_of(*(job(n, session=session, model=model) for n, model in enumerate(models)))
    assert drain(queue) == list(range(30))


def test_a_stream_stands_in_the_queue_once() -> None:
    queue = queue_of(job(1))
    assert not queue.put(job(1))
    assert not queue.put(job(1, is_partial=True))
    assert not queue.put(job(1, model="b"))
    assert queue.get(1) == job(1, model="b")
    assert len(queue) == 1
    assert drain(queue) == [1]


@pytest.mark.parametrize("session", [None, "one for all"])
def test_a_partial_that_becomes_a_final_keeps_its_turn(session: object) -> None:
    queue = queue_of(
        job(1, session=session, is_partial=True), job(2, session=session), job(3, session=session)
    )
    queue.put(job(1, session=session))
    assert drain(queue) == [1, 2, 3]


def test_a_stream_that_was_removed_and_comes_back_stands_last() -> None:
    queue = queue_of(job(1), job(2))
    assert queue.remove(1) == job(1)
    assert queue.get(1) is None
    assert queue.put(job(1))
    assert drain(queue) == [2, 1]


def test_who_is_not_admitted_is_passed_over_and_keeps_the_place() -> None:
    queue = queue_of(job(1), job(2, model="b", priority=9), job(3))
    assert popped(queue, only("b")).job.stream == 2
    assert queue.pop(only("b")) is None
    assert drain(queue) == [1, 3]


def test_a_pick_says_whether_an_admitted_job_of_lower_priority_waits_behind_it() -> None:
    queue = queue_of(job(1, priority=1), job(2, priority=1), job(3, priority=9, model="b"))
    assert not popped(queue, only("a")).passes_over
    assert popped(queue).passes_over
    assert not popped(queue).passes_over


def test_jobs_to_be_read_with_another_come_from_its_lane_until_one_is_not_wanted() -> None:
    queue = queue_of(
        job(1), job(2, batch_key=4), job(3, model="b"), job(4, priority=6), job(5), job(6)
    )
    first = popped(queue).job
    read_with = [queue.pop_alike(first, lambda one: one.priority == 5) for _ in range(3)]
    assert read_with == [job(5), job(6), None]
    assert drain(queue) == [2, 3, 4]


def test_a_job_that_is_not_wanted_hides_those_behind_it_and_nothing_changes() -> None:
    queue = queue_of(job(1), job(2), job(3))
    first = popped(queue).job
    assert queue.pop_alike(first, lambda one: one.stream == 3) is None
    assert drain(queue) == [2, 3]


# ── fair between sessions ─────────────────────────────────────────────────────────────────────


def test_a_session_of_many_streams_takes_no_more_turns_than_one_of_a_single_stream() -> None:
    many = [job(number, session="many") for number in range(5)]
    queue = queue_of(*many, job(10, session="single"))
    order = []
    for _ in range(6):
        pick = popped(queue)
        order.append(pick.job.session)
        if pick.job.session == "single":
            queue.put(pick.job)
    assert order == ["many", "single"] * 3


def test_a_session_that_begins_to_wait_goes_before_those_that_had_their_turn() -> None:
    queue = queue_of(*(job(number, session="many") for number in range(5)))
    popped(queue)
    queue.put(job(10, session="new"))
    assert popped(queue).job.session == "new"


def test_fairness_is_common_to_all_lanes_and_models() -> None:
    many = [job(n, session="many", model=MODELS[n % 3], batch_key=n) for n in range(6)]
    queue = queue_of(*many, job(10, session="other"), job(11, session="other"))
    assert drain(queue) == [0, 10, 1, 11, 2, 3, 4, 5]


def test_jobs_read_together_are_taken_in_turn_between_sessions() -> None:
    queue = queue_of(*(job(n, session="many") for n in range(4)), job(10), job(11))
    first = popped(queue).job
    together = [queue.pop_alike(first, everything) for _ in range(3)]
    assert [one.stream for one in together if one is not None] == [10, 11, 1]


def test_who_was_passed_over_for_long_goes_first_but_does_not_take_all_missed_turns() -> None:
    queue = queue_of(*(job(n, session="loading", model="b") for n in range(5)))
    for number in range(100, 120):
        queue.put(job(number, session="other"))
        popped(queue, only("a"))
    for number in range(200, 204):
        queue.put(job(number, session="other"))
    assert drain(queue) == [0, 200, 1, 201, 2, 202, 3, 203, 4]


def test_newcomers_without_end_do_not_keep_anyone_waiting_for_ever() -> None:
    queue = queue_of(*(job(number, session="many") for number in range(3)))
    served = []
    for number in range(100, 130):
        queue.put(job(number))
        queue.put(job(number + 1000))
        served.append(popped(queue).job.stream)
    assert {0, 1, 2} <= set(served)


def test_a_wish_that_changes_its_lane_does_not_give_back_a_turn() -> None:
    """The only stream of a session grows into another bucket after the session had its turn."""
    queue = queue_of(job(1, session="s"), job(2, session="s"), job(3), job(4))
    assert popped(queue).job.stream == 1
    queue.put(job(2, session="s", batch_key=4))
    assert drain(queue) == [3, 4, 2]


def test_withdrawals_do_not_cost_a_session_its_standing() -> None:
    queue = queue_of(*(job(number, session="fickle") for number in range(10)), job(20), job(21))
    for number in range(9):
        queue.remove(number)
    assert drain(queue) == [9, 20, 21]


def test_who_leaves_after_a_turn_and_comes_back_in_the_same_round_has_had_the_turn() -> None:
    queue = queue_of(job(1), job(2), job(3))
    popped(queue)
    queue.put(job(1))
    queue.put(job(4))
    assert drain(queue) == [2, 3, 4, 1]


@examples(150)
@given(
    sessions=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    lanes=st.lists(st.sampled_from(LANES), min_size=1, max_size=8),
    turns=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60),
)
def test_of_sessions_that_wait_all_the_while_none_is_ever_more_than_a_turn_ahead(
    sessions: list[int], lanes: list[Lane], turns: list[tuple[int, bool]]
) -> None:
    """Streams come back at once, in any lane; meanwhile others come, and wishes are withdrawn."""
    numbers, lane_of = count(), count()
    queue = StreamQueue()

    def put(session: int) -> None:
        model, key = lanes[next(lane_of) % len(lanes)]
        queue.put(job(next(numbers), session=session, model=str(model), batch_key=int(str(key))))

    for session, streams in enumerate(sessions):
        for _ in range(streams):
            put(session)
    order: list[object] = []
    for fickle, is_newcomer in turns:
        if is_newcomer:
            queue.put(job(next(numbers), session=f"newcomer {fickle}"))
        session = fickle % len(sessions)
        put(session)
        waiting = [s for s in range(next(numbers)) if (w := queue.get(s)) and w.session == session]
        queue.remove(waiting[fickle % len(waiting)])
        pick = popped(queue)
        order.append(pick.job.session)
        if pick.job.session in range(len(sessions)):
            put(int(str(pick.job.session)))
    for one in range(len(sessions)):
        for other in range(one):
            between = [session for session in order if session in (one, other)]
            assert all(a != b for a, b in pairwise(between))


# ── the order against a sorted list ───────────────────────────────────────────────────────────


@dataclass
class Turns:
    """What the slow queue knows of a rank."""

    round: int = 0
    taken: int = 0
    waited: int = 0
    tags: dict[object, int] = field(default_factory=dict)
    since: dict[object, int] = field(default_factory=dict)
    had_turn: set[object] = field(default_factory=set)


class SlowQueue:
    """Everything that waits in one list, sorted whenever somebody asks."""

    def __init__(self) -> None:
        self.waiting: dict[object, tuple[int, Job]] = {}
        self.moment = 0
        self.ranks: dict[Rank, Turns] = {}

    def sessions(self, rank: Rank) -> set[object]:
        return {one.session for _, one in self.waiting.values() if one.rank == rank}

    def put(self, wished: Job) -> None:
        self.moment += 1
        came = self.waiting.get(wished.stream, (self.moment, wished))[0]
        turns = self.ranks.setdefault(wished.rank, Turns())
        before = self.waiting.get(wished.stream)
        turns.tags.setdefault(wished.session, turns.round)
        if wished.session not in turns.had_turn:
            since = turns.since.get(wished.session, came)
            turns.since[wished.session] = min(since, came)
        self.waiting[wished.stream] = came, wished
        if before is not None:
            self.settle(before[1].rank)

    def remove(self, stream: object) -> Job | None:
        _, old = self.waiting.pop(stream, (0, None))
        if old is not None:
            self.settle(old.rank)
        return old

    def settle(self, rank: Rank) -> None:
        turns = self.ranks[rank]
        if turns.taken > min(turns.waited, len(self.sessions(rank))):
            turns.round, turns.taken = turns.round + 1, 0
        for session in set(turns.tags) - self.sessions(rank):
            if turns.tags[session] <= turns.round:
                del turns.tags[session]
                turns.since.pop(session)
                turns.had_turn.discard(session)

    def place(self, stream: object) -> tuple[int, bool, int, int, int]:
        came, one = self.waiting[stream]
        turns = self.ranks[one.rank]
        return *one.rank, turns.tags[one.session], turns.since[one.session], came

    def order(self, is_admitted: Callable[[Job], bool]) -> list[Job]:
        streams = sorted(self.waiting, key=self.place)
        return [one for stream in streams if is_admitted(one := self.waiting[stream][1])]

    def take(self, one: Job) -> None:
        self.moment += 1
        turns = self.ranks[one.rank]
        if turns.tags[one.session] > turns.round:
            turns.round, turns.taken = turns.round + 1, 0
        if turns.taken == 0:
            turns.waited = len(self.sessions(one.rank))
        turns.taken += 1
        turns.tags[one.session] = turns.round + 1
        turns.since[one.session] = self.moment
        turns.had_turn.add(one.session)
        del self.waiting[one.stream]
        self.settle(one.rank)


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done, the queue does as a list does that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = StreamQueue(background_share=0.3)
        self.slow = SlowQueue()

    @rule(
        stream=st.integers(0, 19),
        priority=st.sampled_from([1, 5, 5, 5, 10]),
        is_partial=st.booleans(),
        lane=st.sampled_from(LANES),
    )
    def put(self, stream: int, priority: int, is_partial: bool, lane: tuple[str, int]) -> None:
        self.wish(
            job(
                stream,
                session=stream % 4,
                priority=priority,
                is_partial=is_partial,
                model=lane[0],
                batch_key=lane[1],
            )
        )

    def wish(self, wished: Job) -> None:
        is_new = wished.stream not in self.slow.waiting
        assert self.queue.put(wished) is is_new
        self.slow.put(wished)

    @precondition(lambda self: bool(self.slow.waiting))
    @rule(data=st.data(), batch_key=st.sampled_from([4, 30]), is_partial=st.booleans())
    def change(self, data: st.DataObject, batch_key: int, is_partial: bool) -> None:
        """Utterances end and begin, and grow out of their bucket."""
        stream = data.draw(st.sampled_from(sorted(self.slow.waiting, key=str)))
        old = self.slow.waiting[stream][1]
        wished = replace(old, is_partial=is_partial, batch_key=batch_key)
        if wished != old:
            self.wish(wished)

    @rule(stream=st.integers(0, 19))
    def remove(self, stream: int) -> None:
        assert self.queue.remove(stream) == self.slow.remove(stream)

    @rule(
        admitted=st.sets(st.sampled_from(LANES), min_size=2),
        more=st.integers(0, 3),
        most_urgent=st.sampled_from([1, 1, 5]),
        decode_s=st.floats(0, 2),
    )
    def pop(self, admitted: set[Lane], more: int, most_urgent: int, decode_s: float) -> None:
        order = self.slow.order(lambda one: one.lane in admitted)
        pick = self.queue.pop(lambda one: one.lane in admitted)
        if pick is None:
            assert not order
            return
        assert pick.is_background is (pick.job.priority > order[0].priority)
        assert pick.job == next(one for one in order if one.priority == pick.job.priority)
        assert pick.passes_over is (order[-1].priority > pick.job.priority)
        self.slow.take(pick.job)
        for _ in range(more):
            same = [one for one in self.slow.order(everything) if one.lane == pick.job.lane]
            alike = same[0] if same else None
            if alike is not None and alike.priority < most_urgent:
                alike = None
            found = self.queue.pop_alike(pick.job, lambda one: one.priority >= most_urgent)
            assert found == alike
            if alike is None:
                break
            self.slow.take(alike)
        self.queue.charge(pick, decode_s)

    @invariant()
    def the_same_streams_stand(self) -> None:
        assert len(self.queue) == len(self.slow.waiting)
        for stream in range(20):
            _, expected = self.slow.waiting.get(stream, (0, None))
            assert self.queue.get(stream) == expected

    @invariant()
    def no_more_is_kept_than_in_proportion_to_what_waits(self) -> None:
        assert self.queue.kept <= 6 * len(self.slow.waiting)

    def teardown(self) -> None:
        while (pick := self.queue.pop(everything)) is not None:
            order = self.slow.order(everything)
            assert pick.job == next(one for one in order if one.priority == pick.job.priority)
            self.slow.take(pick.job)
        assert not self.slow.waiting
        assert self.queue.kept == 0


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = examples(100, steps=50)


# ── nothing starves ───────────────────────────────────────────────────────────────────────────


def test_without_a_share_nobody_is_owed_anything() -> None:
    queue = queue_of(job(0, priority=10))
    for number in range(1, 100):
        queue.put(job(number, priority=1))
        pick = popped(queue)
        assert pick.job.priority == 1
        queue.charge(pick, 30.0)


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        StreamQueue(share)


def under_load(
    queue: StreamQueue, background: tuple[int, ...], cost_s: Callable[[int], float]
) -> Iterator[tuple[Pick, float]]:
    """Turns, and what each took, where jobs of priority 1 and of these always wait."""
    numbers = count(1000)
    for priority in (1, *background):
        queue.put(job(next(numbers), session=priority, priority=priority))
    while True:
        pick = popped(queue)
        decode_s = cost_s(pick.job.priority)
        queue.charge(pick, decode_s)
        queue.put(replace(pick.job, stream=next(numbers)))
        yield pick, decode_s


COSTS = st.lists(st.floats(0.01, 10), min_size=1, max_size=30)


@examples(150)
@given(share=st.sampled_from([0.02, 0.05, 0.3, 0.5]), foreground=COSTS, background=COSTS)
def test_background_work_has_its_share_and_no_more_give_or_take_a_decode(
    share: float, foreground: list[float], background: list[float]
) -> None:
    queue = StreamQueue(share)
    turn = count()

    def cost_s(priority: int) -> float:
        costs = foreground if priority == 1 else background
        return costs[next(turn) % len(costs)]

    spent_s: Counter[bool] = Counter()
    turns = under_load(queue, (7,), cost_s)
    rate = share / (1 - share)
    for (pick, decode_s), _ in zip(turns, range(300), strict=False):
        spent_s[pick.is_background] += decode_s  # type: ignore[assignment]
        assert pick.is_background is (pick.job.priority == 7)
        earned_s = spent_s[False] * rate
        assert spent_s[True] <= earned_s + max(background) + 1e-6
        assert spent_s[True] >= earned_s - max(background) - max(foreground) * rate - 1e-6


def test_all_lower_priorities_take_turns_in_the_background() -> None:
    turns = under_load(StreamQueue(0.5), tuple(range(2, 11)), lambda _: 1.0)
    picks = [pick for (pick, _), _ in zip(turns, range(200), strict=False)]
    background = [pick.job.priority for pick in picks if pick.is_background]
    assert len(background) in range(98, 102)
    assert background[:9] == list(range(2, 11))
    assert background[9:18] == background[:9]


def test_the_lowest_priority_has_its_share_where_a_middle_one_fills_the_gaps() -> None:
    """The foreground leaves half of the time, and the middle would take all of it."""
    queue = queue_of(job(0, priority=10, session="low"), background_share=0.1)
    served_s: Counter[int] = Counter()
    for number in range(1, 1000):
        queue.put(job(3 * number, priority=5, session="middle"))
        if number % 2:
            queue.put(job(3 * number + 1, priority=1, session="high"))
        pick = popped(queue)
        queue.charge(pick, 1.0)
        served_s[pick.job.priority] += 1
        if pick.job.priority == 10:
            queue.put(replace(pick.job, stream=-number))
    assert served_s[10] >= 98


def test_before_anything_is_known_of_the_background_it_has_a_turn_soon_and_then_pays() -> None:
    turns = under_load(StreamQueue(0.05), (9,), lambda priority: 1.0 if priority == 1 else 2.0)
    picks = [pick for (pick, _), _ in zip(turns, range(100), strict=False)]
    at = [number for number, pick in enumerate(picks) if pick.is_background]
    assert at[0] == 1
    assert 70 < at[1] < 80  # the debt of the first, and what the second takes: 38 turns each


def test_turns_that_the_background_has_anyway_are_taken_from_what_it_is_owed() -> None:
    queue = queue_of(job(0, priority=9), background_share=0.5)
    queue.charge(popped(queue), 2.0)
    for stream in (1, 2, 3, 4):
        queue.put(job(10 + stream, priority=9))
        queue.put(job(stream, priority=1))
        assert popped(queue).job.stream == stream  # and charged below: 1.5 s of the usual 2 s
        pick = Pick(job=job(stream, priority=1), passes_over=True, is_background=False)
        queue.charge(pick, 1.5)
        pick = popped(queue)
        assert not pick.is_background
        queue.charge(pick, 2.0)


def test_where_no_lower_priority_is_admitted_nothing_is_owed_to_it() -> None:
    queue = queue_of(job(0, priority=9, model="b"), background_share=0.5)
    for number in range(1, 50):
        queue.put(job(number, priority=1))
        queue.charge(popped(queue, only("a")), 1.0)
    queue.put(job(100, priority=1))
    assert popped(queue).job.stream == 100


def test_turns_of_the_foreground_take_nothing_from_what_the_background_is_owed() -> None:
    queue = queue_of(job(0, priority=9, model="b"), background_share=0.5)
    queue.charge(popped(queue), 2.0)
    queue.put(job(1, priority=9, model="b"))
    for stream, models in ((2, "ab"), (3, "a"), (4, "ab")):
        queue.put(job(stream, priority=1))
        pick = popped(queue, only(*models))
        assert pick.job.stream == stream
        queue.charge(pick, 1.0)
    queue.put(job(5, priority=1))
    assert popped(queue).is_background


def test_what_is_owed_is_given_once_though_many_turns_run_at_the_time() -> None:
    queue = StreamQueue(0.5)
    for number in range(10):
        queue.put(job(number, priority=1))
        queue.put(job(100 + number, priority=9))
    queue.charge(popped(queue), 1.0)
    assert [popped(queue).is_background for _ in range(4)] == [True, False, False, False]


@examples(100)
@given(
    share=st.sampled_from([0.05, 0.2]),
    arrivals=st.lists(
        st.tuples(st.integers(0, 60), st.integers(2, 10), st.integers(0, 3)), max_size=25
    ),
    costs=COSTS,
)
def test_every_final_of_every_priority_is_served_though_the_foreground_never_pauses(
    share: float, arrivals: list[tuple[int, int, int]], costs: list[float]
) -> None:
    queue = StreamQueue(share)
    waiting = set()
    dearest = max(costs) / min(costs) / share
    patience = math.ceil(60 + (len(arrivals) + 2) * 10 * (dearest + 2))
    for turn in range(patience):
        for number, (at, priority, session) in enumerate(arrivals):
            if at == turn:
                queue.put(job(number, session=session, priority=priority))
                waiting.add(number)
        queue.put(job(-1, session="foreground", priority=1))
        pick = popped(queue)
        waiting.discard(int(str(pick.job.stream)))
        queue.charge(pick, costs[turn % len(costs)])
        if turn > 60 and not waiting:
            break
    assert not waiting


# ── cost ──────────────────────────────────────────────────────────────────────────────────────


def comparisons_per_stream(streams: int, sessions: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Each stream comes, changes its wish, and is served; a tenth goes away unserved."""
    compared = count()
    is_less = queue_module._Entry.__lt__

    def counted(one: object, other: object) -> bool:
        next(compared)
        return is_less(one, other)  # type: ignore[arg-type]

    def wish(number: int, *, is_partial: bool) -> Job:
        return job(
            number,
            session=number % sessions,
            priority=1 + number * 7919 % 10,
            is_partial=is_partial,
            model=MODELS[number * 31 % 3],
        )

    with monkeypatch.context() as patch:
        patch.setattr(queue_module._Entry, "__lt__", counted)
        queue = queue_of(*(wish(number, is_partial=True) for number in range(streams)))
        for number in range(0, streams, 2):
            queue.put(wish(number, is_partial=False))
        for number in range(0, streams, 10):
            queue.remove(number)
        assert len(drain(queue)) == streams - len(range(0, streams, 10))
    return next(compared) / streams


@pytest.mark.parametrize("share_of_sessions", [0, 0.1, 1], ids=["one", "some", "all"])
def test_the_cost_of_a_turn_grows_with_the_logarithm_of_who_waits(
    share_of_sessions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times as many add the same few comparisons, and a thousand times three times those."""
    few, small, large = (
        comparisons_per_stream(streams, max(1, round(streams * share_of_sessions)), monkeypatch)
        for streams in (10, 1_000, 10_000)
    )
    assert small < large < small + 5 * math.log2(10)
    assert large < few + 5 * math.log2(1_000)


@pytest.mark.parametrize("is_removed", [True, False])
def test_wishes_that_come_and_go_while_nobody_is_served_cost_no_memory(is_removed: bool) -> None:
    """A model that loads for a minute must not collect what streams no longer want."""
    queue = queue_of(job(0, priority=1))
    for turn in range(10_000):
        queue.put(job(1, is_partial=turn % 2 == 0))
        if is_removed:
            queue.remove(1)
    assert queue.kept <= 6 * len(queue)
    assert drain(queue) == ([0] if is_removed else [0, 1])


def test_sessions_that_were_served_are_not_remembered_for_ever() -> None:
    """One stream waits for its model while thousands of sessions come, are served and go."""
    queue = queue_of(job(0, model="b"))
    for number in range(1, 5_000):
        queue.put(job(number))
        popped(queue, only("a"))
        assert queue.kept <= 6
    assert drain(queue) == [0]
