"""What all sessions keep, together: who keeps most lets go first."""

from hypothesis import given
from hypothesis import strategies as st

from asrd.session.keeping import Keeping


class Hoarder:
    """Keeps pieces of bytes, the oldest first."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self.pieces: list[int] = []

    @property
    def kept_bytes(self) -> int:
        return sum(self.pieces)

    def keep(self, size: int) -> None:
        self.pieces.append(size)
        self._keeping.grown(self, size)

    def drop_oldest(self) -> None:
        self._keeping.grown(self, -self.pieces.pop(0))


def test_who_keeps_most_lets_go_of_its_oldest() -> None:
    keeping = Keeping(100)
    modest, greedy = Hoarder(keeping), Hoarder(keeping)
    modest.keep(30)
    for size in (20, 25, 25):
        greedy.keep(size)
    assert (modest.pieces, greedy.pieces) == ([30], [20, 25, 25])
    modest.keep(10)  # over by ten, through the modest one
    assert (modest.pieces, greedy.pieces) == ([30, 10], [25, 25])


def test_what_is_larger_than_all_is_not_kept() -> None:
    keeping = Keeping(100)
    hoarder = Hoarder(keeping)
    hoarder.keep(101)
    assert hoarder.pieces == []
    hoarder.keep(100)
    assert hoarder.pieces == [100]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=60))
def test_together_they_never_keep_more_and_nobody_starves(steps: list[tuple[int, int]]) -> None:
    keeping = Keeping(100)
    hoarders = [Hoarder(keeping) for _ in range(5)]
    for who, size in steps:
        hoarders[who].keep(size)
        kept = [each.kept_bytes for each in hoarders]
        assert sum(kept) <= 100
        if size and size <= 20:
            assert hoarders[who].pieces
