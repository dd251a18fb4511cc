"""What streams have told, counted by source. What is said of audio that flows costs one look-up."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from asrd.scheduler.accounts import Accounts
from asrd.server.served import ServedStream
from asrd.server.translate import seconds
from asrd.session import effects
from asrd.session.effects import DropReason, Effect


class Counts:
    """Counts effects as they are told, by the name that a stream's source is `counted_as`.

    Whatever a stream tells counts once it has opened: one that never does leaves nothing behind.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._by_kind: dict[type[Effect], Callable[[ServedStream, Any], None]] = {
            effects.OpenedStream: self._opened,
            effects.Segment: self._segment,
            effects.Dropped: self._dropped,
            effects.StreamClosed: self._closed,
        }
        self._unopened: dict[int, Counter[DropReason]] = {}
        """What streams dropped that have yet to open, in 16 kHz samples: by `served_id`, reason."""
        self.opened: Counter[str] = Counter()
        self.ended: Counter[tuple[str, ...]] = Counter()
        """By source and reason."""
        self.received: Counter[str] = Counter()
        """Audio of streams that have ended, in 16 kHz samples: open ones tell theirs themselves.
        Whole numbers, so that their sum is the same whoever has ended."""

    def told(self, served: ServedStream, effect: Effect) -> None:
        """A stream has told something, whether a client hears it or not."""
        count = self._by_kind.get(type(effect))
        if count is not None:
            count(served, effect)

    def refused(self, served: ServedStream) -> None:
        """A stream could not be opened."""
        self._unopened.pop(served.served_id, None)

    def take_name(self, source: str) -> str:
        """The name that a stream of this source is counted under, for as long as it lives."""
        name = self._accounts.name_of(source)
        self._accounts.of_source(name)  # which is what takes one of the few names
        return name

    def _opened(self, served: ServedStream, _: effects.OpenedStream) -> None:
        self.opened[served.counted_as] += 1
        for reason, samples in self._unopened.pop(served.served_id, {}).items():
            self._accounts.drop(served.counted_as, reason, seconds(samples))

    def _segment(self, served: ServedStream, told: effects.Segment) -> None:
        """Of live streams alone: how long ago a file's speech ended, nobody can tell."""
        if served.is_live and told.delay_s is not None:
            self._accounts.delays[served.counted_as].add(told.delay_s)

    def _dropped(self, served: ServedStream, told: effects.Dropped) -> None:
        samples = told.end - told.start
        if served.stream.is_ready:
            self._accounts.drop(served.counted_as, told.reason, seconds(samples))
        else:
            self._unopened.setdefault(served.served_id, Counter())[told.reason] += samples

    def _closed(self, served: ServedStream, told: effects.StreamClosed) -> None:
        self._unopened.pop(served.served_id, None)
        if served.stream.is_ready:
            self.ended[served.counted_as, told.reason] += 1
            self.received[served.counted_as] += told.audio
