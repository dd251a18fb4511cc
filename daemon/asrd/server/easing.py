"""What a stream is served under load, and what its client was told of that.

Each stream is compared with what it should have now; what differs is done and told. So it makes no
difference why something changed: a step of the ladder, a stream that came or went, a move to
another device group, or a client that was away and is back.
"""

from collections.abc import Callable

from asrd.config import Scheduling
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.scheduler.ladder import Step, level_of
from asrd.server.served import Ease, ServedStream
from asrd.server.translate import ladder_message
from asrd.wire.messages import ServerMessage


class Easing:
    """Does to streams what load asks for.

    `replace` moves a stream to the best model of its chain, `send` tells its client and says
    whether anybody listened, `advance` moves it on.
    """

    def __init__(
        self,
        rule: Scheduling,
        pool: ModelPool,
        *,
        replace: Callable[[ServedStream], None],
        send: Callable[[ServedStream, ServerMessage], bool],
        advance: Callable[[ServedStream], None],
    ) -> None:
        self.rule = rule
        self._pool = pool
        self._replace = replace
        self._send = send
        self._advance = advance
        self._smaller: dict[ModelKey, tuple[ModelKey, ...]] = {}

    def settle(
        self, served: ServedStream, step: Step, interval_s: float, *, is_secondary: bool
    ) -> None:
        """See that a stream has what it should have at that step, and that its client knows."""
        ease = Ease(
            interval_s=None if is_secondary and step >= Step.FINALS_ONLY else interval_s,
            backlog_s=(
                self.rule.ladder.shed_backlog_s if is_secondary and step >= Step.SHED else None
            ),
            relief=self._relief(served) if served.is_live and step >= Step.SMALLER_MODEL else (),
        )
        if not served.stream.is_ready:
            return
        if ease != served.ease:
            self._ease(served, ease)
        self._tell_steps(served, step, is_secondary=is_secondary)
        self._tell_model(served, level_of(step))

    def forget(self) -> None:
        """What fits, and what is here, may have changed."""
        self._smaller.clear()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _ease(self, served: ServedStream, ease: Ease) -> None:
        before, served.ease = served.ease, ease
        served.stream.set_pace(ease.interval_s)
        served.stream.shed_to(ease.backlog_s)
        if ease.relief != before.relief:
            for key in ease.relief:
                self._pool.resident(key).begin()  # refused where it does not fit
            served.relieve(ease.relief)
            self._replace(served)
        self._advance(served)

    def _relief(self, served: ServedStream) -> tuple[ModelKey, ...]:
        key = served.asked_key
        if key not in self._smaller:
            self._smaller[key] = self._pool.catalogue.smaller(key)[:1]
        return self._smaller[key]

    def _tell_steps(self, served: ServedStream, step: Step, *, is_secondary: bool) -> None:
        felt = {
            each
            for each in Step
            if Step.NORMAL < each <= step and _feels(served, each, is_secondary=is_secondary)
        }
        for gone in sorted(served.told_steps - felt, reverse=True):
            level = served.level_felt(level_of(step))
            if self._tell(served, level, self._action(gone), is_restored=True):
                served.told_steps -= {gone}
        for new in sorted(felt - served.told_steps):
            if self._tell(served, level_of(new), self._action(new), is_restored=False):
                served.told_steps |= {new}

    def _tell_model(self, served: ServedStream, level: int) -> None:
        """Tell who reads the stream, where that is not who its client thinks."""
        if served.key == served.told_key:
            return
        # Back on the first of the chain without its being up: there the work at least waits.
        is_restored = served.key == served.own_chain[0] and self._pool.is_up(served.key)
        action = f"read by {served.key}"
        if self._tell(served, served.level_felt(level), action, is_restored=is_restored):
            served.told_key = served.key

    def _tell(self, served: ServedStream, level: int, action: str, *, is_restored: bool) -> bool:
        served.summary.worst_level = max(served.summary.worst_level, level)
        return self._send(served, ladder_message(served, level, action, is_restored=is_restored))

    def _action(self, step: Step) -> str:
        pace, ladder = self.rule.pace, self.rule.ladder
        return {
            Step.LONGER_CHUNKS: f"a partial at most every {pace.busy_s:g} s",
            Step.FEWER_PARTIALS: f"a partial at most every {pace.critical_s:g} s",
            Step.FINALS_ONLY: "finals only",
            Step.SHED: f"of what waits, the latest {ladder.shed_backlog_s:g} s are kept",
        }[step]


def _feels(served: ServedStream, step: Step, *, is_secondary: bool) -> bool:
    """Whether a step changes something for a stream. (A smaller model is told by the move.)"""
    match step:
        case Step.LONGER_CHUNKS | Step.FEWER_PARTIALS:
            return served.stream.has_partials
        case Step.FINALS_ONLY:
            return is_secondary and served.stream.has_partials
        case Step.SHED:
            return is_secondary
        case _:
            return False
