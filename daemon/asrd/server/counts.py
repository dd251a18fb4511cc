"""What streams have told, counted by source. What is said of audio that flows costs one look-up."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from asrd.scheduler.accounts import Accounts
from asrd.server.served import ServedStream
from asrd.server.translate import seconds
from asrd.session import effects
from asrd.session.effects import Effect


class Counts:
    """Counts effects as they are told. Sources are named as the scheduler's `accounts` name them.

    `received_s` is the audio of streams that have ended: what an open one has received is its own
    to say.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._by_kind: dict[type[Effect], Callable[[ServedStream, Any], None]] = {
            effects.OpenedStream: self._opened,
            effects.Segment: self._segment,
            effects.Dropped: self._dropped,
            effects.StreamClosed: self._closed,
        }
        self.opened: Counter[str] = Counter()
        self.ended: Counter[tuple[str, ...]] = Counter()
        """By source and reason."""
        self.received_s: defaultdict[str, float] = defaultdict(float)

    def told(self, served: ServedStream, effect: Effect) -> None:
        """A stream has told something, whether a client hears it or not."""
        count = self._by_kind.get(type(effect))
        if count is not None:
            count(served, effect)

    def source_of(self, served: ServedStream) -> str:
        """The name that a stream's source is counted under, from now on if it was not yet."""
        self._accounts.of_source(served.asked.source)  # which is what takes one of the few names
        return self._accounts.name_of(served.asked.source)

    def _opened(self, served: ServedStream, _: effects.OpenedStream) -> None:
        self.opened[self.source_of(served)] += 1

    def _segment(self, served: ServedStream, told: effects.Segment) -> None:
        """Of live streams alone: how long ago a file's speech ended, nobody can tell."""
        if served.is_live and told.delay_s is not None:
            self._accounts.delays[self.source_of(served)].add(told.delay_s)

    def _dropped(self, served: ServedStream, told: effects.Dropped) -> None:
        dropped_s = seconds(told.end - told.start)
        self._accounts.drop(served.asked.source, told.reason, dropped_s)

    def _closed(self, served: ServedStream, told: effects.StreamClosed) -> None:
        source = self.source_of(served)
        self.ended[source, told.reason] += 1
        self.received_s[source] += seconds(told.audio)
