"""A stream without audio: what `asrd.session` says of positions, here by the clock alone."""

from collections import deque
from dataclasses import dataclass, field

from asrd.providers.catalogue import ModelKey
from asrd.scheduler.ladder import Step
from asrd.scheduler.queue import Job
from asrd.server.served import Ease
from asrd.server.summary import Summary
from benchmarks.simulation.arrivals import Source

EARLY_S = 1e-6
"""A partial so little before its time is in time: clocks round."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is read: audio of so many seconds. `queued_s` is when a final began to wait."""

    audio_s: float
    is_partial: bool
    queued_s: float = 0.0
    coalesced: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message to a client takes from the opening of its stream."""

    stream: int = 1
    sample_rate: int = 16000


_ASKED = Asked()


@dataclass(eq=False, slots=True)
class SimulatedStream:
    """One stream, as the server holds it and as the session's rooms know it, in one.

    The overload control handles it as a `ServedStream` with its `Stream`: what that asks for has
    the same name here. `ahead` holds the finals that wait, length and moment of each.
    """

    number: int
    source: Source
    asked_key: ModelKey
    key: ModelKey
    interval_s: float | None
    backlog_s: float
    ahead: deque[Window] = field(default_factory=deque)
    current: Window | None = None
    speech_s: float | None = None
    """Since when somebody speaks; None in a pause, and in the silence that ends an utterance."""
    length_s: float = 0.0
    read_until_s: float = 0.0
    read_before_s: float = 0.0
    look_s: float = float("inf")
    """When a partial is looked for next."""
    is_waiting: bool = False
    heard_s: float = 0.0
    noted_s: float = 0.0
    shed_s: float | None = None
    relief: tuple[ModelKey, ...] = ()
    ease: Ease = field(default_factory=Ease)
    told_steps: frozenset[Step] = frozenset()
    told_key: ModelKey | None = None
    summary: Summary = field(default_factory=lambda: Summary(opened_at_s=0.0, is_live=True))
    jobs: dict[tuple[str, bool, float], Job] = field(default_factory=dict)

    # ── as the overload control sees it ───────────────────────────────────────────────────────

    is_ready = True
    committed = 0
    asked = _ASKED

    @property
    def stream(self) -> "SimulatedStream":
        return self

    @property
    def reading(self) -> "SimulatedStream":
        return self

    @property
    def served_id(self) -> int:
        return self.number

    @property
    def own_chain(self) -> tuple[ModelKey]:
        return (self.asked_key,)

    @property
    def is_live(self) -> bool:
        return self.source.talk is not None

    @property
    def priority(self) -> int:
        return self.source.priority

    @property
    def has_partials(self) -> bool:
        return self.source.has_partials

    def level_felt(self, level: int) -> int:
        return level

    def relieve(self, relief: tuple[ModelKey, ...]) -> None:
        self.relief = relief

    def set_pace(self, interval_s: float | None) -> None:
        self.interval_s = interval_s if self.has_partials else None

    def shed_to(self, backlog_s: float | None) -> None:
        """What is too much by then goes as soon as the world looks at the stream."""
        self.shed_s = backlog_s

    # ── as a decode sees it ───────────────────────────────────────────────────────────────────

    def due_s(self) -> float | None:
        """When the open utterance will have grown enough to be read; None where it is not read."""
        if self.speech_s is None or self.interval_s is None:
            return None
        return self.read_until_s + self.interval_s

    def next_window(self, now_s: float) -> Window | None:
        """The oldest final, or all of the open utterance; None while a decode runs."""
        if self.current is not None:
            return None
        if self.ahead:
            return self.ahead[0]
        due_s = self.due_s()
        if due_s is None or self.speech_s is None or self.interval_s is None:
            return None
        if now_s < due_s - EARLY_S:
            return None
        coalesced = int((now_s - self.read_until_s + EARLY_S) / self.interval_s) - 1
        return Window(now_s - self.speech_s, True, coalesced=coalesced)

    def begin_decode(self, now_s: float) -> Window | None:
        """Late binding: what there is to be read at this moment."""
        self.current = self.next_window(now_s)
        if self.current is not None and self.current.is_partial:
            self.read_before_s, self.read_until_s = self.read_until_s, now_s
        return self.current

    def end_decode(self, *, is_read: bool) -> Window:
        """A decode is over. What was not read is to be read as though it had never begun."""
        window, self.current = self.current, None
        if window is None:
            raise AssertionError(f"stream {self.number} was not being read")
        if is_read and not window.is_partial:
            self.ahead.popleft()
        elif not is_read and window.is_partial and self.speech_s is not None:
            self.read_until_s = max(self.speech_s, self.read_before_s)
        return window

    def too_much(self) -> str | None:
        """Why the oldest that no decode has begun has to go; None where nothing has to."""
        if not self.is_live:
            return None
        waiting = self.unbegun()
        if not waiting:
            return None
        waiting_s = sum(window.audio_s for window in waiting)
        if waiting_s > self.backlog_s:
            return "backlog"
        is_shed = self.shed_s is not None and waiting_s > self.shed_s
        return "overload" if is_shed and len(waiting) > 1 else None

    def unbegun(self) -> list[Window]:
        """Finals that no decode has begun."""
        is_at_final = self.current is not None and not self.current.is_partial
        return list(self.ahead)[1:] if is_at_final else list(self.ahead)

    def drop_oldest(self) -> Window | None:
        """Let the oldest final go that no decode has begun; lossless streams let none go."""
        waiting = self.unbegun()
        if not waiting or not self.is_live:
            return None
        del self.ahead[len(self.ahead) - len(waiting)]
        return waiting[0]
