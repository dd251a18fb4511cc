"""The world of the simulation: who speaks when, and twice a second a look at the load.

Nothing of how asrd decides is written here a second time. `Scheduler` and `Overload` are the
daemon's own, with the queue, the batches, the ladder and the pace in them; only what they handle
has no audio, no tasks and no workers.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import cast

from asrd.config import Config, Scheduling
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.scheduler.ladder import Step
from asrd.scheduler.scheduler import Scheduler
from asrd.server.easing import Easing
from asrd.server.overload import Overload
from asrd.server.served import ServedStream
from asrd.wire.messages import Event, ServerMessage
from benchmarks.simulation.agenda import Agenda, Progress
from benchmarks.simulation.arrivals import Source, Talk, file_window_s
from benchmarks.simulation.decodes import PROVIDER, Decodes
from benchmarks.simulation.engines import Engine
from benchmarks.simulation.results import Move, Results
from benchmarks.simulation.streams import SimulatedStream, Window

GROUP = "local"
CHECK_S = 0.5
USUAL = Scheduling()
AHEAD_OF_A_FILE = 2
"""Windows that a file has waiting: about what its credit allows to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be simulated: `rule.slots` is how many decodes run at a time, a number.

    `piece_s` is how often audio comes in: so often a stream asks again whose partial waits. Decodes
    take up to a `jitter` more or less than they should. Figures are taken from `warm_up_s` on.
    """

    sources: tuple[Source, ...]
    engine: Engine
    smaller: Engine | None = None
    rule: Scheduling = USUAL
    seconds: float = 60.0
    warm_up_s: float = 20.0
    seed: int = 1
    piece_s: float = 0.1
    jitter: float = 0.05


class _Models:
    """As much of a `ModelPool` as the overload control asks for; every model is up at once."""

    def __init__(self, smaller: dict[ModelKey, tuple[ModelKey, ...]]) -> None:
        self._smaller = smaller

    @property
    def catalogue(self) -> "_Models":
        return self

    def smaller(self, key: ModelKey) -> tuple[ModelKey, ...]:
        return self._smaller.get(key, ())

    def resident(self, key: ModelKey) -> "_Models":
        return self

    def begin(self) -> None:
        pass

    def is_up(self, key: ModelKey) -> bool:
        return True


class World:
    """One simulation, from silence to `plan.seconds`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._agenda = Agenda()
        self.slots = plan.rule.slots if isinstance(plan.rule.slots, int) else 1
        self.results = Results(plan.warm_up_s, plan.seconds, self.slots)
        self.scheduler = Scheduler(self._agenda.clock, plan.rule)
        asked = ModelKey(provider=PROVIDER, model=plan.engine.name)
        self._engines = {asked: plan.engine}
        relief: dict[ModelKey, tuple[ModelKey, ...]] = {}
        if plan.smaller is not None:
            smaller = ModelKey(provider=PROVIDER, model=plan.smaller.name)
            self._engines[smaller] = plan.smaller
            relief[asked] = (smaller,)
        for key, engine in self._engines.items():
            abilities = replace(engine.abilities, decodes_at_once=self.slots)
            self.scheduler.set_model(key, abilities)
        self._randoms = {each.name: Random(f"{plan.seed} {each.name}") for each in plan.sources}
        self.streams = _streams(plan, asked)
        self._decodes = Decodes(
            self.scheduler,
            self._agenda,
            self.streams,
            self._engines,
            self.results,
            piece_s=plan.piece_s,
            jitter=plan.jitter,
            random=Random(plan.seed),
            finished=self._finished,
        )
        easing = Easing(
            plan.rule,
            cast(ModelPool, _Models(relief)),
            replace=lambda served: _replace(cast(SimulatedStream, served)),
            send=lambda served, message: self._told(message),
            advance=lambda served: self._decodes.let_go(cast(SimulatedStream, served)),
        )
        streams = cast(list[ServedStream], self.streams)
        self.overload = Overload(
            plan.rule, self.scheduler, self._agenda.clock, easing, lambda: streams
        )

    def run(self, progress: Progress | None = None) -> Results:
        """Let it all happen; `progress` hears now and then of the time and the events so far."""
        for stream in self.streams:
            talk, random = stream.source.talk, self._randoms[stream.source.name]
            if talk is None:
                self._agenda.at(random.uniform(0.0, 1.0), self._fill, stream)
            else:
                self._agenda.at(talk.first_s(random), self._begin_speech, stream)
        self._agenda.at(CHECK_S, self._check)
        self._agenda.run(self._plan.seconds, progress)
        self.results.events = self._agenda.done
        return self.results

    # ── who speaks ────────────────────────────────────────────────────────────────────────────

    def _begin_speech(self, stream: SimulatedStream) -> None:
        talk, now_s = _talk(stream), self._agenda.now_s
        stream.speech_s = stream.read_until_s = now_s
        stream.length_s = talk.length_s(self._randoms[stream.source.name])
        end_s = now_s + stream.length_s
        if talk.endpoint_s:
            self._agenda.at(end_s, self._trail, stream)
        self._agenda.at(end_s + talk.endpoint_s, self._end_speech, stream)
        if stream.current is None:
            self._decodes.update(stream)

    def _trail(self, stream: SimulatedStream) -> None:
        """Nobody speaks any more, so no partial is wanted."""
        stream.speech_s = None
        if stream.is_waiting:
            self._decodes.update(stream)

    def _end_speech(self, stream: SimulatedStream) -> None:
        stream.speech_s = None
        self._hear(stream, stream.length_s)
        self._decodes.let_go(stream)
        again_s = _talk(stream).next_s(self._agenda.now_s, self._randoms[stream.source.name])
        self._agenda.at(again_s, self._begin_speech, stream)

    def _finished(self, stream: SimulatedStream) -> None:
        if stream.source.talk is None:
            self._fill(stream)
        else:
            self._decodes.update(stream)

    def _fill(self, stream: SimulatedStream) -> None:
        """A file has more."""
        while len(stream.ahead) < AHEAD_OF_A_FILE:
            self._hear(stream, file_window_s(self._randoms[stream.source.name]))
        self._decodes.update(stream)

    def _hear(self, stream: SimulatedStream, length_s: float) -> None:
        now_s = self._agenda.now_s
        stream.ahead.append(Window(length_s, is_partial=False, queued_s=now_s))
        stream.heard_s += length_s
        self.results.utterances[stream.source.name].heard += 1
        if stream.is_live and now_s >= self.results.from_s:
            alone_s = self._plan.engine.call_s((length_s,), is_partial=False)
            self.results.offered_s += alone_s

    # ── the load ──────────────────────────────────────────────────────────────────────────────

    def _check(self, _: object) -> None:
        """What the daemon does twice a second."""
        self.overload.check()
        self._decodes.check()
        group = self.overload.groups.get(GROUP)
        if group is not None:
            moves, step = self.results.moves, group.ladder.step
            if step is not (moves[-1].step if moves else Step.NORMAL):
                moves.append(Move(self._agenda.now_s, step, group.load))
        self._agenda.at(self._agenda.now_s + CHECK_S, self._check)

    def _told(self, message: ServerMessage) -> bool:
        if isinstance(message, Event):
            self.results.told[message.event] += 1
        return True


def _talk(stream: SimulatedStream) -> Talk:
    if stream.source.talk is None:
        raise AssertionError("a file does not speak")
    return stream.source.talk


def _replace(stream: SimulatedStream) -> None:
    """The best model of its chain reads a stream: every one is up."""
    stream.key = (*stream.relief, stream.asked_key)[0]


def _streams(plan: Plan, key: ModelKey) -> list[SimulatedStream]:
    sources = [source for source in plan.sources for _ in range(source.streams)]
    return [
        SimulatedStream(
            number=number,
            source=source,
            asked_key=key,
            key=key,
            told_key=key,
            interval_s=plan.rule.pace.idle_s if source.has_partials else None,
            backlog_s=Config().limits.live_backlog_s,
        )
        for number, source in enumerate(sources)
    ]
