"""Who decodes next: the order, and nothing else.

The queue holds streams, each once, never audio. Its order is: priority, finals before partials,
fair between sessions, first come first served. What cannot run just now is passed over and keeps
its place.

**Fair between sessions**: start-time fair queueing (Goyal, Vin and Cheng 1996), each turn costing
one. The sessions of one priority, for finals or for partials, share a virtual time, the round, and
each has a tag, the round of its next turn. Who begins to wait gets the round that is on, or the own
tag if that is later. A turn moves the round up to the tag served, and the tag to the round after.
Equal tags go by the moment of the last turn or, before any, of coming. Both belong to the session,
whatever its lanes and streams, and only turns move them back. So of two sessions that wait and are
admitted all the while, neither is picked twice before the other is picked once.
Not in the paper: who was passed over for many rounds does not make up for more than one of them,
and a round ends after one turn more than sessions waited when it began, or wait now, lest newcomers
keep it for ever. Who waits no more is remembered to the end of the round.

**Nothing starves**: a share s of the decode time is kept for lower priorities. A turn of d seconds
behind which an admitted job of lower priority waits earns these d * s / (1 - s). Once that covers
what a turn of theirs usually takes, the next turn is a background turn: it goes to that priority
below the head's whose last turn is longest ago, and is paid in full, so one longer than usual makes
a debt. All background turns together so take what was earned, give or take one decode. A turn that
a lower priority has anyway takes what is owed down to 0 at most. Nothing is earned where no lower
priority can be served, nor while enough is owed: a usual turn and what running turns earn bound it.

**Cost**: a lane is a heap of sessions, each a heap of streams. On average a call costs a logarithm
of who waits, for each lane that the session stands in; `pop` looks at every lane besides.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
Lane = tuple[Hashable, Hashable]
Rank = tuple[int, bool]
LEARNING_RATE = 1 / 8  # the weight of the newest turn in what a turn usually takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stream's wish to have something decoded. `priority` counts from 1, the highest, to 10.

    Jobs of one model and one `batch_key` may be read in one call; they are of one provider.
    `is_fed`: the model hears bit by bit, so that the job is a part of what has to be heard anyway.
    """

    stream: Hashable
    session: Hashable
    priority: int
    is_partial: bool
    model: Hashable
    batch_key: Hashable
    provider: str
    source: str  # as its stream is counted, from its opening to its end
    is_live: bool
    is_fed: bool = False

    @property
    def rank(self) -> Rank:
        """Priority, then finals before partials: what counts before fairness."""
        return self.priority, self.is_partial

    @property
    def lane(self) -> Lane:
        """What jobs have in common that may be read in one call."""
        return self.model, self.batch_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A job whose turn has come.

    `passes_over`: an admitted job of lower priority waited meanwhile. `is_background`: picked
    before one of higher priority, as decode time is owed; `set_aside_s` of it is booked already.
    """

    job: Job
    passes_over: bool
    is_background: bool
    set_aside_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    order: tuple[int, ...]
    item: T
    is_void: bool = False

    def __lt__(self, other: "_Entry[T]") -> bool:
        return self.order < other.order


@dataclass(slots=True, eq=False)
class _Heap(Generic[T]):
    """Entries in order; `void` of them, never more than half, are wanted no more."""

    entries: list[_Entry[T]] = field(default_factory=list)
    void: int = 0

    def push(self, order: tuple[int, ...], item: T) -> _Entry[T]:
        entry = _Entry(order, item)
        heapq.heappush(self.entries, entry)
        return entry

    def withdraw(self, entry: _Entry[T]) -> None:
        entry.is_void = True
        self.void += 1
        if self.void * 2 > len(self.entries):
            self.entries = [each for each in self.entries if not each.is_void]
            heapq.heapify(self.entries)
            self.void = 0

    def head(self) -> _Entry[T]:
        """The first entry of a heap that has one."""
        while self.entries[0].is_void:
            heapq.heappop(self.entries)
            self.void -= 1
        return self.entries[0]


@dataclass(slots=True, eq=False)
class _Standing:
    """A session in a rank: the round of its next turn, and since when it has waited without one:
    the moment of its last turn or, where none is known, that its oldest stream came."""

    tag: int
    since: int
    had_turn: bool = False
    places: "dict[Lane, _Place]" = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Place:
    """A session in a lane: its streams there in the order they came, its entry in the lane."""

    standing: _Standing
    entry: "_Entry[_Place]" = field(init=False)
    streams: _Heap[Job] = field(default_factory=_Heap)


class _Round:
    """The sessions that wait with one priority, for finals or for partials."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, _Heap[_Place]] = {}
        self._standings: dict[Hashable, _Standing] = {}
        self._rested: dict[Hashable, _Standing] = {}  # had a turn in this round, wait no more
        self._round = self._turns = 0
        self._waited = 0  # sessions, when the round had its first turn

    @property
    def kept(self) -> int:
        standings = self._standings.values()
        in_lanes = sum(len(heap.entries) for heap in self.lanes.values())
        streams = sum(len(p.streams.entries) for each in standings for p in each.places.values())
        return in_lanes + streams + len(standings) + len(self._rested)

    def join(self, job: Job, came: int) -> _Entry[Job]:
        standing = self._standings.get(job.session) or self._rested.pop(job.session, None)
        self._standings[job.session] = standing = standing or _Standing(self._round, came)
        if came < standing.since and not standing.had_turn:
            standing.since = came
            self._move(standing)
        if job.lane not in standing.places:
            place = standing.places[job.lane] = _Place(standing)
            heap = self.lanes.setdefault(job.lane, _Heap())
            place.entry = heap.push((standing.tag, standing.since), place)
        return standing.places[job.lane].streams.push((came,), job)

    def leave(self, entry: _Entry[Job]) -> None:
        """Take a stream out, at no cost to its session."""
        session, lane = entry.item.session, entry.item.lane
        standing = self._standings[session]
        place, heap = standing.places[lane], self.lanes[lane]
        place.streams.withdraw(entry)
        if not place.streams.entries:
            del standing.places[lane]
            heap.withdraw(place.entry)
        if not heap.entries:
            del self.lanes[lane]
        if not standing.places:
            del self._standings[session]
            if standing.tag > self._round:
                self._rested[session] = standing
        if self._turns > min(self._waited, len(self._standings)):
            self._next_round()

    def head(self, lane: Lane) -> _Entry[Job]:
        return self.lanes[lane].head().item.streams.head()

    def order(self, lane: Lane) -> tuple[int, ...]:
        """Where a lane's head stands in the rank."""
        return self.lanes[lane].head().order + self.head(lane).order

    def take(self, lane: Lane, moment: int) -> Job:
        """Give a lane's head its turn."""
        entry, standing = self.head(lane), self.lanes[lane].head().item.standing
        if standing.tag > self._round:
            self._next_round()
        self._waited = self._waited if self._turns else len(self._standings)
        self._turns += 1
        standing.tag, standing.since, standing.had_turn = self._round + 1, moment, True
        self.leave(entry)
        self._move(standing)
        return entry.item

    def _move(self, standing: _Standing) -> None:
        for lane, place in standing.places.items():
            self.lanes[lane].withdraw(place.entry)
            place.entry = self.lanes[lane].push((standing.tag, standing.since), place)

    def _next_round(self) -> None:
        self._round += 1
        self._turns = 0
        self._rested.clear()


class _Background:
    """The account of what lower priorities are owed."""

    def __init__(self, share: float) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"a share of the decode time is from 0 to below 1, not {share}")
        self._rate = share / (1 - share)
        self._owed_s = 0.0
        self._payer = 0  # the lowest priority whose turns earned what is owed
        self._usual_s: dict[int, float] = {}
        self._turned: dict[int, int] = {}

    def turn(self, ready: Sequence[int], moment: int) -> tuple[int, float]:
        """Whose turn it is among priorities that ascend, and what is set aside for it already."""
        first, set_aside_s = ready[0], 0.0
        lower = [priority for priority in ready if priority > first]
        if lower and self._owed_s > 0:
            owed = min(lower, key=lambda priority: self._turned.get(priority, 0))
            usual_s = self._usual_s.get(owed, self._owed_s)
            if self._owed_s >= usual_s:
                first, set_aside_s = owed, usual_s
        self._turned[first] = moment
        self._owed_s -= set_aside_s
        return first, set_aside_s

    def charge(self, pick: Pick, decode_s: float) -> None:
        """A turn is over."""
        priority = pick.job.priority
        if decode_s > 0:
            usual_s = self._usual_s.get(priority, decode_s)
            self._usual_s[priority] = usual_s + (decode_s - usual_s) * LEARNING_RATE
        if pick.is_background:
            self._owed_s += pick.set_aside_s - decode_s
        elif pick.passes_over:
            self._owed_s += decode_s * self._rate
            self._payer = max(self._payer, priority)
        elif priority > self._payer:
            self._owed_s = min(self._owed_s, max(0.0, self._owed_s - decode_s))
        self._payer = self._payer if self._owed_s > 0 else 0


class StreamQueue:
    """Waiting streams, each at most once. `background_share` of the decode time, from 0 to below
    1, is kept for priorities below the highest that waits."""

    def __init__(self, background_share: float = 0.0) -> None:
        self._ranks: defaultdict[Rank, _Round] = defaultdict(_Round)
        self._entries: dict[Hashable, _Entry[Job]] = {}
        self._background = _Background(background_share)
        self._moment = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def kept(self) -> int:
        """Entries and sessions in memory: at most six times the streams that wait."""
        return sum(rank.kept for rank in self._ranks.values())

    def get(self, stream: Hashable) -> Job | None:
        """What a stream stands for; None where it does not stand here."""
        entry = self._entries.get(stream)
        return entry.item if entry is not None else None

    def put(self, job: Job) -> bool:
        """Let a stream stand in the queue, or change what it stands for.

        A stream that waited for a partial and now has a final keeps the moment it came, so
        changing its wish never costs it its turn. Returns whether the stream is new.
        """
        old = self._entries.get(job.stream)
        if old is not None and old.item == job:
            return False
        self._moment += 1
        came = self._moment if old is None else old.order[0]
        self._entries[job.stream] = self._ranks[job.rank].join(job, came)
        if old is not None:  # only now, so that a session that stays in its rank keeps its standing
            self._ranks[old.item.rank].leave(old)
        return old is None

    def remove(self, stream: Hashable) -> Job | None:
        """Take a stream out, wherever it stands; returns what it stood for."""
        if (entry := self._entries.pop(stream, None)) is not None:
            self._ranks[entry.item.rank].leave(entry)
        return None if entry is None else entry.item

    def admitted(self, is_admitted: Callable[[Job], bool]) -> set[Lane]:
        """The lanes whose jobs are admitted, each asked about once; `pop` takes one of theirs out.

        Whether a job is admitted may depend on its model, its batch key and its provider only."""
        heads = {lane: rank.head(lane).item for rank in self._ranks.values() for lane in rank.lanes}
        return {lane for lane, job in heads.items() if is_admitted(job)}

    def pop(self, is_admitted: Callable[[Job], bool]) -> Pick | None:
        """Take out the first stream that is admitted, or one of lower priority that is owed a turn.

        None where none is admitted; see `admitted`."""
        admitted = self.admitted(is_admitted)
        ready = [key for key in sorted(self._ranks) if admitted & self._ranks[key].lanes.keys()]
        if not ready:
            return None
        turn, set_aside_s = self._background.turn([key[0] for key in ready], self._moment)
        key = next(key for key in ready if key[0] == turn)
        lanes = admitted & self._ranks[key].lanes.keys()
        return Pick(
            job=self._take(key, min(lanes, key=self._ranks[key].order)),
            passes_over=ready[-1][0] > turn,
            is_background=ready[0][0] < turn,
            set_aside_s=set_aside_s,
        )

    def pop_alike(self, job: Job, is_wanted: Callable[[Job], bool]) -> Job | None:
        """Take out the next stream in the lane of a job that was picked, to be read with it.

        It takes its session's turn. None, and nothing changes, where it is not wanted or none is.
        """
        key = min((key for key in self._ranks if job.lane in self._ranks[key].lanes), default=None)
        if key is None or not is_wanted(self._ranks[key].head(job.lane).item):
            return None
        return self._take(key, job.lane)

    def charge(self, pick: Pick, decode_s: float) -> None:
        """Book what a turn took in all: once for each pick, with 0 if nothing was decoded."""
        self._background.charge(pick, decode_s)

    def _take(self, key: Rank, lane: Lane) -> Job:
        self._moment += 1
        job = self._ranks[key].take(lane, self._moment)
        del self._entries[job.stream]
        return job
