"""What all sessions keep to be sent again, bounded for all of them together."""

from typing import Protocol


class Keeper(Protocol):
    """Whoever keeps something."""

    @property
    def kept_bytes(self) -> int:
        """How much that is."""
        ...

    def drop_oldest(self) -> None:
        """Let go of something, and say so by `Keeping.grown`. Called while something is kept."""
        ...


class Keeping:
    """The account. When `max_bytes` is passed, who keeps most lets go of its oldest.

    So one client that lets megabytes pile up costs those of others nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._total = 0
        self._keepers: set[Keeper] = set()

    def grown(self, keeper: Keeper, by_bytes: int) -> None:
        """Somebody keeps so much more than before; less, where that is negative."""
        self._total += by_bytes
        if keeper.kept_bytes:
            self._keepers.add(keeper)
        else:
            self._keepers.discard(keeper)
        while by_bytes > 0 and self._total > self.max_bytes:
            max(self._keepers, key=lambda each: each.kept_bytes).drop_oldest()
