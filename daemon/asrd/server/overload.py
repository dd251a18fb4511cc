"""What the daemon does about load: measures it, climbs the ladder, and has streams feel it.

The rules are the scheduler's pure modules; here the facts are gathered, twice a second, and what
follows is done to streams and told to their clients. Each device group has a ladder of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from asrd.clock import Clock
from asrd.config import Scheduling
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.scheduler.ladder import Ladder, Step, level_of
from asrd.scheduler.load import LoadGauge
from asrd.scheduler.pace import Pacer
from asrd.scheduler.scheduler import Scheduler
from asrd.server.served import ServedStream
from asrd.server.translate import ladder_message
from asrd.wire.messages import ServerMessage

log = structlog.get_logger()


@dataclass(slots=True)
class GroupLoad:
    """The load of one device group, and its ladder.

    `asked` is what finals would take on the models that were asked for, `finals` what they take on
    those that read them, `partials` what partials did take.
    """

    ladder: Ladder
    pacer: Pacer
    asked: LoadGauge = field(default_factory=LoadGauge)
    finals: LoadGauge = field(default_factory=LoadGauge)
    partials: LoadGauge = field(default_factory=LoadGauge)
    load: float = 0.0

    @property
    def level(self) -> int:
        """The rung of the ladder that it is on."""
        return level_of(self.ladder.step)


class Overload:
    """Watches the load of every group and degrades service, step by step, and back.

    `streams` gives every open stream, `replace` moves one to the best model of its chain, `send`
    tells its client, and `advance` moves it on.
    """

    def __init__(
        self,
        rule: Scheduling,
        scheduler: Scheduler,
        pool: ModelPool,
        clock: Clock,
        *,
        streams: Callable[[], list[ServedStream]],
        replace: Callable[[ServedStream], None],
        send: Callable[[ServedStream, ServerMessage], None],
        advance: Callable[[ServedStream], None],
    ) -> None:
        self._rule = rule
        self._scheduler = scheduler
        self._pool = pool
        self._clock = clock
        self._streams = streams
        self._replace = replace
        self._send = send
        self._advance = advance
        self._groups: dict[str, GroupLoad] = {}

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    @property
    def level(self) -> int:
        """The highest rung that anybody is on."""
        levels = [group.level for group in self._groups.values()]
        return max((served.level_felt(0) for served in self._streams()), default=0) or max(
            levels, default=0
        )

    def level_of(self, served: ServedStream) -> int:
        """The rung that load alone has put a stream on."""
        group = self._group_of(served)
        return group.level if group is not None else 0

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

    def joined(self, served: ServedStream) -> None:
        """A stream has opened: it feels what all others do."""
        group = self._group_of(served)
        if group is not None:
            step = group.ladder.step
            secondary = self._secondary(group) if step >= Step.FINALS_ONLY else None
            self._apply(served, group, secondary)
            if step is not Step.NORMAL and self._feels(served, step, secondary):
                self._tell(served, step, group, is_restored=False)

    def check(self) -> None:
        """Look at the load, and take or take back a step. To be called every half second or so."""
        for served in self._streams():
            self._note_finals(served)
        for name, group in self._groups.items():
            before = group.ladder.step
            pace_before_s = group.pacer.interval_s
            self._observe(name, group)
            step = group.ladder.step
            if step is not before:
                self._log(name, group, before)
            if step is not before or group.pacer.interval_s != pace_before_s:
                self._changed(name, group, before)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _note_finals(self, served: ServedStream) -> None:
        """What a stream has heard since the last look is to be read."""
        new_s, served.noted_s = served.stream.heard_s - served.noted_s, served.stream.heard_s
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

    def _changed(self, name: str, group: GroupLoad, before: Step) -> None:
        step = group.ladder.step
        secondary = self._secondary(group)
        for served in self._streams():
            if self._group_of(served) is not group or not served.stream.is_ready:
                continue
            self._apply(served, group, secondary)
            if step > before and self._feels(served, step, secondary):
                self._tell(served, step, group, is_restored=False)
            elif step < before and self._feels(served, before, secondary):
                self._tell(served, before, group, is_restored=True)
            self._advance(served)

    def _apply(self, served: ServedStream, group: GroupLoad, secondary: int | None) -> None:
        step = group.ladder.step
        is_secondary = served.is_live and served.priority == secondary
        is_silenced = is_secondary and step >= Step.FINALS_ONLY
        served.stream.set_pace(None if is_silenced else group.pacer.interval_s)
        is_shed = is_secondary and step >= Step.SHED
        served.stream.shed_to(self._rule.ladder.shed_backlog_s if is_shed else None)
        smaller = self._smaller(served) if step >= Step.SMALLER_MODEL and served.is_live else ()
        if served.relief != smaller:
            served.relieve(smaller)
            self._replace(served)

    def _tell(
        self, served: ServedStream, step: Step, group: GroupLoad, *, is_restored: bool
    ) -> None:
        level = group.level if is_restored else level_of(step)
        action = _action(step, self._rule, group.pacer.interval_s)
        self._send(served, ladder_message(served, level, action, is_restored=is_restored))

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

    def _smaller(self, served: ServedStream) -> tuple[ModelKey, ...]:
        smaller = self._pool.catalogue.smaller(served.asked_key)
        for key in smaller[:1]:
            self._pool.resident(key).begin()  # refused where it does not fit
        return smaller[:1]

    def _feels(self, served: ServedStream, step: Step, secondary: int | None) -> bool:
        """Whether a step changes something for a stream. (A move to another model tells itself.)"""
        is_secondary = served.is_live and served.priority == secondary
        match step:
            case Step.LONGER_CHUNKS | Step.FEWER_PARTIALS:
                return served.stream.has_partials
            case Step.FINALS_ONLY:
                return is_secondary and served.stream.has_partials
            case Step.SHED:
                return is_secondary
            case _:
                return False

    def _secondary(self, group: GroupLoad) -> int | None:
        """The lowest priority among the group's live streams, where there are two."""
        live = {
            served.priority
            for served in self._streams()
            if served.is_live and self._group_of(served) is group
        }
        return max(live) if len(live) > 1 else None

    def _group_of(self, served: ServedStream) -> GroupLoad | None:
        name = self._scheduler.slots.placement(served.key.provider).group
        if name is None:
            return None
        if name not in self._groups:
            rule = self._rule
            self._groups[name] = GroupLoad(ladder=Ladder(rule.ladder), pacer=Pacer(rule.pace))
        return self._groups[name]


def _action(step: Step, rule: Scheduling, interval_s: float) -> str:
    """What a step does, in words."""
    match step:
        case Step.LONGER_CHUNKS | Step.FEWER_PARTIALS:
            return f"partials every {interval_s:g} s"
        case Step.FINALS_ONLY:
            return "finals only"
        case Step.SHED:
            return f"of what waits, the latest {rule.ladder.shed_backlog_s:g} s are kept"
        case _:
            return step.name.lower()
