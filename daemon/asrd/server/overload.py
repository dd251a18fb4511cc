"""What the daemon does about load: measures it, twice a second, and climbs the ladder.

The rules are the scheduler's pure modules; here the facts are gathered, and `easing` does what
follows. Each device group has a ladder of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from asrd.clock import Clock
from asrd.config import Scheduling
from asrd.scheduler.ladder import Ladder, Step, level_of
from asrd.scheduler.load import LoadGauge
from asrd.scheduler.pace import Pacer
from asrd.scheduler.scheduler import Scheduler
from asrd.server.easing import Easing
from asrd.server.served import ServedStream

log = structlog.get_logger()


@dataclass(slots=True)
class GroupLoad:
    """The load of one device group, and its ladder.

    `asked` is what finals would take on the models that were asked for, `finals` what they take on
    those that read them, `partials` what partials did take. What feeding took counts as finals: it
    has to be done, however often.
    """

    ladder: Ladder
    pacer: Pacer
    asked: LoadGauge = field(default_factory=LoadGauge)
    finals: LoadGauge = field(default_factory=LoadGauge)
    partials: LoadGauge = field(default_factory=LoadGauge)
    load: float = 0.0
    secondary: int | None = None
    """The lowest priority among its live streams, where there are two."""

    @property
    def level(self) -> int:
        """The rung of the ladder that it is on."""
        return level_of(self.ladder.step)


class Overload:
    """Watches the load of every group, and has `easing` degrade service step by step, and back.

    `streams` gives every open stream.
    """

    def __init__(
        self,
        rule: Scheduling,
        scheduler: Scheduler,
        clock: Clock,
        easing: Easing,
        streams: Callable[[], Iterable[ServedStream]],
    ) -> None:
        self._rule = rule
        self._scheduler = scheduler
        self._clock = clock
        self._easing = easing
        self._streams = streams
        self._groups: dict[str, GroupLoad] = {}
        self._back: dict[int, ServedStream] = {}
        self._is_stale = False

    def apply(self, rule: Scheduling) -> None:
        """Go by another rule; streams feel it at the next look."""
        self._rule = self._easing.rule = rule
        for group in self._groups.values():
            group.ladder.apply(rule.ladder)
            group.pacer = Pacer(rule.pace)
        self._is_stale = True

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    @property
    def level(self) -> int:
        """The highest rung that anybody is on."""
        fallen_back = [served.level_felt(0) for served in self._streams()]
        return max([*fallen_back, *(group.level for group in self._groups.values())], default=0)

    @property
    def groups(self) -> dict[str, GroupLoad]:
        """Every device group that has had a stream, and how it is."""
        return dict(self._groups)

    @property
    def partial_interval_s(self) -> float:
        """New audio between two partials now; of several groups, the slowest."""
        pacers = [group.pacer for group in self._groups.values()]
        return max((pacer.interval_s for pacer in pacers), default=self._rule.pace.idle_s)

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    def settle(self, served: ServedStream) -> None:
        """A stream has opened, or has moved to another model."""
        self._changed()
        self._settle(served)

    def left(self, served: ServedStream) -> None:
        """A stream has ended."""
        self._note_finals(served)
        self._back.pop(served.served_id, None)
        self._changed()

    def listens_again(self, served: ServedStream) -> None:
        """The client of a stream is back: it hears, soon, what it has missed."""
        self._back[served.served_id] = served

    def check(self) -> None:
        """Look at the load, and take or take back a step. To be called every half second or so."""
        for served in self._streams():
            self._note_finals(served)
        is_new = self._is_stale
        for name, group in self._groups.items():
            before = group.ladder.step, group.pacer.interval_s
            self._observe(name, group)
            if group.ladder.step is not before[0]:
                self._log(name, group, before[0])
            is_new |= (group.ladder.step, group.pacer.interval_s) != before
        back, self._back = self._back, {}
        if is_new:
            self._is_stale = False
            self._easing.forget()
            self._find_secondary()
        for served in list(self._streams()) if is_new else back.values():
            self._settle(served)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _changed(self) -> None:
        """Who is secondary may be another now: that matters only while somebody has to yield."""
        if any(group.ladder.step >= Step.FINALS_ONLY for group in self._groups.values()):
            self._is_stale = True

    def _settle(self, served: ServedStream) -> None:
        group = self._group_of(served)
        if group is None:
            pace_s = self._rule.pace.idle_s
            self._easing.settle(served, Step.NORMAL, pace_s, is_secondary=False)
            return
        is_secondary = served.is_live and served.priority == group.secondary
        self._easing.settle(
            served, group.ladder.step, group.pacer.interval_s, is_secondary=is_secondary
        )

    def _find_secondary(self) -> None:
        live: dict[int, set[int]] = {}
        for served in self._streams():
            group = self._group_of(served) if served.is_live and served.stream.is_ready else None
            if group is not None:
                live.setdefault(id(group), set()).add(served.priority)
        for group in self._groups.values():
            priorities = live.get(id(group), set())
            group.secondary = max(priorities) if len(priorities) > 1 else None

    def _note_finals(self, served: ServedStream) -> None:
        """What a stream has heard since the last look is to be read."""
        heard_s = served.stream.reading.heard_s
        new_s, served.noted_s = heard_s - served.noted_s, heard_s
        group = self._group_of(served) if new_s > 0 and served.is_live else None
        if group is not None:
            now_s = self._clock.now_s()
            here = self._scheduler.real_time_factor(served.key) or 0.0
            asked = self._scheduler.real_time_factor(served.asked_key) or here
            group.finals.note(now_s, new_s * here)
            group.asked.note(now_s, new_s * asked)

    def _observe(self, name: str, group: GroupLoad) -> None:
        now_s = self._clock.now_s()
        slots = self._scheduler.slots.of_group(name)
        group.partials.note(now_s, self._scheduler.take_partial_s(name))
        fed_s = self._scheduler.take_partial_s(name, is_fed=True)
        group.finals.note(now_s, fed_s)
        group.asked.note(now_s, fed_s)
        asked = group.asked.load(now_s, slots)
        finals = group.finals.load(now_s, slots)
        partials = group.partials.load(now_s, slots)
        step, pace = group.ladder.step, self._rule.pace
        group.load = finals + partials
        # Once partials have been cut, those that are left only take what finals leave.
        decisive = group.load if step < Step.FEWER_PARTIALS else finals
        undone = {
            Step.LONGER_CHUNKS: finals + partials * pace.busy_s / pace.idle_s,
            Step.FEWER_PARTIALS: finals + partials * pace.critical_s / pace.busy_s,
            Step.SMALLER_MODEL: asked,
        }
        group.ladder.observe(
            now_s=now_s,
            load=decisive,
            load_undone=undone.get(step, decisive),
            oldest_age_s=self._scheduler.oldest_live_final_s(name),
        )
        at_idle_pace = partials * group.pacer.interval_s / pace.idle_s
        group.pacer.observe(finals + at_idle_pace, group.ladder.step)

    def _log(self, name: str, group: GroupLoad, before: Step) -> None:
        step = group.ladder.step
        log.warning(
            "overload_step_taken" if step > before else "overload_step_taken_back",
            group=name,
            step=(step if step > before else before).name.lower(),
            level=level_of(step),
            load=round(group.load, 3),
            oldest_wait_s=round(self._scheduler.oldest_live_final_s(name), 3),
        )

    def _group_of(self, served: ServedStream) -> GroupLoad | None:
        name = self._scheduler.slots.placement(served.key.provider).group
        if name is None:
            return None
        if name not in self._groups:
            rule = self._rule
            self._groups[name] = GroupLoad(ladder=Ladder(rule.ladder), pacer=Pacer(rule.pace))
        return self._groups[name]
